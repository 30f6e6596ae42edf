package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/server/journal"
)

// The oracle of the model-based test: every table as a map.
type oracle struct {
	networks  map[model.NetworkID]*model.Network
	subnets   map[model.SubnetID]*model.Subnet
	ports     map[model.PortID]*model.Port
	groups    map[model.SecurityGroupID]*model.SecurityGroup
	rules     map[model.SecurityGroupRuleID]*model.SecurityGroupRule
	hosts     map[string]*model.Host
	pools     map[model.SubnetPoolID]*model.SubnetPool
	addresses map[model.AddressGroupID]*model.AddressGroup
}

func newOracle() *oracle {
	return &oracle{
		map[model.NetworkID]*model.Network{}, map[model.SubnetID]*model.Subnet{}, map[model.PortID]*model.Port{},
		map[model.SecurityGroupID]*model.SecurityGroup{}, map[model.SecurityGroupRuleID]*model.SecurityGroupRule{}, map[string]*model.Host{},
		map[model.SubnetPoolID]*model.SubnetPool{}, map[model.AddressGroupID]*model.AddressGroup{},
	}
}

func (o *oracle) clone() *oracle {
	return &oracle{maps.Clone(o.networks), maps.Clone(o.subnets), maps.Clone(o.ports), maps.Clone(o.groups), maps.Clone(o.rules), maps.Clone(o.hosts), maps.Clone(o.pools), maps.Clone(o.addresses)}
}

// Few values, so that rows meet in indexes and are replaced and deleted often.
func uuid(kind byte, n int) model.UUID { return model.UUID{kind, 15: byte(n)} }

func drawID(t *rapid.T, kind byte, label string) model.UUID {
	return uuid(kind, rapid.IntRange(1, 6).Draw(t, label))
}

func drawMeta(t *rapid.T) model.Meta {
	return model.Meta{
		ProjectID: rapid.SampledFrom([]string{"", "p1", "p2", "p/3"}).Draw(t, "project"),
		Name:      rapid.SampledFrom([]string{"", "web", "db"}).Draw(t, "name"),
		Revision:  int64(rapid.IntRange(0, 3).Draw(t, "revision")),
	}
}

func drawAddr(t *rapid.T) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 5).Draw(t, "addr"))})
}

// step draws one change, and makes it in a transaction and in the oracle.
func step(t *rapid.T, tx *Tx, o *oracle) {
	remove := rapid.IntRange(0, 3).Draw(t, "remove") == 0
	switch rapid.IntRange(0, 7).Draw(t, "table") {
	case 0:
		n := &model.Network{ID: model.NetworkID{UUID: drawID(t, 'n', "network")}, Meta: drawMeta(t)}
		if remove {
			tx.DeleteNetwork(n.ID)
			delete(o.networks, n.ID)
			return
		}
		n.Shared, n.External = rapid.Bool().Draw(t, "shared"), rapid.Bool().Draw(t, "external")
		for range rapid.IntRange(0, 2).Draw(t, "segments") {
			n.Segments = append(n.Segments, model.Segment{Type: model.TypeVLAN, Physical: "a", Tag: uint32(rapid.IntRange(1, 3).Draw(t, "tag"))})
		}
		tx.PutNetwork(n)
		o.networks[n.ID] = n
	case 1:
		s := &model.Subnet{ID: model.SubnetID{UUID: drawID(t, 's', "subnet")}, Meta: drawMeta(t), NetworkID: model.NetworkID{UUID: drawID(t, 'n', "network")}}
		if remove {
			tx.DeleteSubnet(s.ID)
			delete(o.subnets, s.ID)
			return
		}
		// Of their own range each: the rules let no two of a pool overlap.
		s.CIDR = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, s.ID.UUID[15], byte(rapid.IntRange(0, 3).Draw(t, "quarter") << 6)}), rapid.IntRange(26, 28).Draw(t, "bits"))
		s.SubnetPoolID = rapid.SampledFrom([]model.SubnetPoolID{{}, {UUID: uuid('o', 1)}, {UUID: uuid('o', 2)}}).Draw(t, "pool")
		tx.PutSubnet(s)
		o.subnets[s.ID] = s
	case 2:
		p := &model.Port{ID: model.PortID{UUID: drawID(t, 'p', "port")}, Meta: drawMeta(t), NetworkID: model.NetworkID{UUID: drawID(t, 'n', "network")}}
		if remove {
			tx.DeletePort(p.ID)
			delete(o.ports, p.ID)
			return
		}
		p.MAC = model.MAC{5: byte(rapid.IntRange(1, 3).Draw(t, "mac"))}
		p.Binding.HostID = rapid.SampledFrom([]string{"", "h1", "h2"}).Draw(t, "host")
		p.DeviceID = rapid.SampledFrom([]string{"", "vm1", "vm2"}).Draw(t, "device")
		for range rapid.IntRange(0, 3).Draw(t, "addresses") { // of one value twice, at times
			p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: model.SubnetID{UUID: drawID(t, 's', "subnet")}, Addr: drawAddr(t)})
		}
		for range rapid.IntRange(0, 6).Draw(t, "groups") {
			p.SecurityGroups = append(p.SecurityGroups, model.SecurityGroupID{UUID: drawID(t, 'g', "group")})
		}
		tx.PutPort(p)
		o.ports[p.ID] = p
	case 3:
		g := &model.SecurityGroup{ID: model.SecurityGroupID{UUID: drawID(t, 'g', "group")}, Meta: drawMeta(t), IsDefault: rapid.Bool().Draw(t, "default")}
		if remove {
			tx.DeleteSecurityGroup(g.ID)
			delete(o.groups, g.ID)
			return
		}
		tx.PutSecurityGroup(g)
		o.groups[g.ID] = g
	case 4:
		r := &model.SecurityGroupRule{ID: model.SecurityGroupRuleID{UUID: drawID(t, 'r', "rule")}, Meta: drawMeta(t), GroupID: model.SecurityGroupID{UUID: drawID(t, 'g', "group")}}
		if remove {
			tx.DeleteSecurityGroupRule(r.ID)
			delete(o.rules, r.ID)
			return
		}
		if rapid.Bool().Draw(t, "remote") {
			r.RemoteGroup = model.SecurityGroupID{UUID: drawID(t, 'g', "group")}
		} else if rapid.Bool().Draw(t, "addresses") {
			r.RemoteAddressGroup = model.AddressGroupID{UUID: drawID(t, 'd', "addresses")}
		}
		tx.PutSecurityGroupRule(r)
		o.rules[r.ID] = r
	case 5:
		h := &model.Host{Name: rapid.SampledFrom([]string{"h1", "h2", "h/3"}).Draw(t, "host"), AgentID: model.AgentID{UUID: drawID(t, 'a', "agent")}}
		if remove {
			tx.DeleteHost(h.Name)
			delete(o.hosts, h.Name)
			return
		}
		tx.PutHost(h)
		o.hosts[h.Name] = h
	case 6:
		p := &model.SubnetPool{ID: model.SubnetPoolID{UUID: drawID(t, 'o', "pool")}, Meta: drawMeta(t), AddressScopeID: model.AddressScopeID{UUID: drawID(t, 'c', "scope")},
			Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Shared: rapid.Bool().Draw(t, "shared"), IsDefault: rapid.Bool().Draw(t, "default")}
		if remove {
			tx.DeleteSubnetPool(p.ID)
			delete(o.pools, p.ID)
			return
		}
		tx.PutSubnetPool(p)
		o.pools[p.ID] = p
	case 7:
		g := &model.AddressGroup{ID: model.AddressGroupID{UUID: drawID(t, 'd', "addresses")}, Meta: drawMeta(t), Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
		if remove {
			tx.DeleteAddressGroup(g.ID)
			delete(o.addresses, g.ID)
			return
		}
		tx.PutAddressGroup(g)
		o.addresses[g.ID] = g
	}
}

// same reports values of a table that differ from the oracle's that match.
func same[K comparable, T any](t *rapid.T, what string, got iter.Seq[*T], all map[K]*T, match func(*T) bool) {
	want := map[*T]bool{}
	for _, v := range all {
		if match(v) {
			want[v] = true
		}
	}
	n := 0
	for v := range got {
		if n++; !want[v] {
			t.Fatalf("%s: got %+v, which is not of them", what, v)
		}
	}
	if n != len(want) {
		t.Fatalf("%s: got %d, want %d", what, n, len(want))
	}
}

func check(t *rapid.T, r Reader, o *oracle) {
	same(t, "networks", r.Networks(), o.networks, func(*model.Network) bool { return true })
	same(t, "shared networks", r.SharedNetworks(), o.networks, func(n *model.Network) bool { return n.Shared })
	same(t, "external networks", r.ExternalNetworks(), o.networks, func(n *model.Network) bool { return n.External })
	for _, p := range []string{"", "p1", "p2", "p/3", "p4"} {
		same(t, "networks of "+p, r.NetworksByProject(p), o.networks, func(n *model.Network) bool { return n.ProjectID == p })
		same(t, "subnets of "+p, r.SubnetsByProject(p), o.subnets, func(s *model.Subnet) bool { return s.ProjectID == p })
		same(t, "ports of "+p, r.PortsByProject(p), o.ports, func(v *model.Port) bool { return v.ProjectID == p })
		same(t, "groups of "+p, r.SecurityGroupsByProject(p), o.groups, func(v *model.SecurityGroup) bool { return v.ProjectID == p })
		same(t, "rules of "+p, r.SecurityGroupRulesByProject(p), o.rules, func(v *model.SecurityGroupRule) bool { return v.ProjectID == p })
		for what, n := range map[string][2]int{
			"networks": {r.NetworkCount(p), number(r.NetworksByProject(p))},
			"subnets":  {r.SubnetCount(p), number(r.SubnetsByProject(p))},
			"ports":    {r.PortCount(p), number(r.PortsByProject(p))},
			"groups":   {r.SecurityGroupCount(p), number(r.SecurityGroupsByProject(p))},
			"rules":    {r.SecurityGroupRuleCount(p), number(r.SecurityGroupRulesByProject(p))},
		} {
			if n[0] != n[1] {
				t.Fatalf("count of %s of %s: %d, want %d", what, p, n[0], n[1])
			}
		}
		var def *model.SecurityGroup
		for g := range r.SecurityGroupsByProject(p) {
			if g.IsDefault && def == nil {
				def = g
			}
		}
		if got := r.DefaultSecurityGroup(p); got != def {
			t.Fatalf("default group of %s: %v, want %v", p, got, def)
		}
	}
	for _, name := range []string{"", "web", "db", "no"} {
		same(t, "networks named "+name, r.NetworksByName(name), o.networks, func(n *model.Network) bool { return n.Name == name })
		same(t, "ports named "+name, r.PortsByName(name), o.ports, func(v *model.Port) bool { return v.Name == name })
	}
	for _, h := range []string{"", "h1", "h2"} {
		same(t, "ports on "+h, r.PortsByHost(h), o.ports, func(v *model.Port) bool { return v.Binding.HostID == h })
	}
	for _, d := range []string{"", "vm1", "vm2"} {
		same(t, "ports of "+d, r.PortsByDevice(d), o.ports, func(v *model.Port) bool { return v.DeviceID == d })
	}
	for tag := range uint32(4) {
		n := r.NetworkByTag(model.TypeVLAN, "a", tag)
		has := func(n *model.Network) bool {
			return slices.ContainsFunc(n.Segments, func(s model.Segment) bool { return s.Tag == tag })
		}
		if n != nil && (o.networks[n.ID] != n || !has(n)) || n == nil && slices.ContainsFunc(slices.Collect(maps.Values(o.networks)), has) {
			t.Fatalf("network of tag %d: %+v", tag, n)
		}
	}
	for i := range 7 {
		network, subnet, group := model.NetworkID{UUID: uuid('n', i)}, model.SubnetID{UUID: uuid('s', i)}, model.SecurityGroupID{UUID: uuid('g', i)}
		same(t, "subnets on network", r.SubnetsByNetwork(network), o.subnets, func(v *model.Subnet) bool { return v.NetworkID == network })
		same(t, "ports on network", r.PortsByNetwork(network), o.ports, func(v *model.Port) bool { return v.NetworkID == network })
		if got, want := r.PortCountByNetwork(network), number(r.PortsByNetwork(network)); got != want {
			t.Fatalf("count of ports on network: %d, want %d", got, want)
		}
		same(t, "ports in group", r.PortsBySecurityGroup(group), o.ports, func(v *model.Port) bool { return slices.Contains(v.SecurityGroups, group) })
		same(t, "rules of group", r.SecurityGroupRulesByGroup(group), o.rules, func(v *model.SecurityGroupRule) bool { return v.GroupID == group })
		same(t, "rules about group", r.SecurityGroupRulesByRemoteGroup(group), o.rules, func(v *model.SecurityGroupRule) bool { return v.RemoteGroup == group && i > 0 })
		last := netip.Addr{}
		for a, p := range r.AddrsInSubnet(subnet, netip.Addr{}) {
			if a.Less(last) || o.ports[p.ID] != p || !slices.Contains(p.FixedIPs, model.FixedIP{SubnetID: subnet, Addr: a}) {
				t.Fatalf("address %v of %+v follows %v", a, p, last)
			}
			last = a
		}
		for k := range 6 {
			a, mac := netip.AddrFrom4([4]byte{10, 0, 0, byte(k)}), model.MAC{5: byte(k)}
			p := r.PortByAddr(subnet, a)
			if (p != nil) != slices.ContainsFunc(slices.Collect(maps.Values(o.ports)), func(v *model.Port) bool {
				return slices.Contains(v.FixedIPs, model.FixedIP{SubnetID: subnet, Addr: a})
			}) {
				t.Fatalf("port with %v: %v", a, p)
			}
			p = r.PortByMAC(network, mac)
			if (p != nil) != slices.ContainsFunc(slices.Collect(maps.Values(o.ports)), func(v *model.Port) bool { return v.NetworkID == network && v.MAC == mac }) {
				t.Fatalf("port with %v: %v", mac, p)
			}
		}
		if h := r.HostByAgent(model.AgentID{UUID: uuid('a', i)}); h != nil && o.hosts[h.Name] != h {
			t.Fatalf("host of agent: %v", h)
		}
	}
	for i := range 7 {
		pool, scope := model.SubnetPoolID{UUID: uuid('o', i)}, model.AddressScopeID{UUID: uuid('c', i)}
		same(t, "subnets of pool", r.SubnetsByPool(pool), o.subnets, func(v *model.Subnet) bool { return v.SubnetPoolID == pool })
		same(t, "pools of scope", r.SubnetPoolsByScope(scope), o.pools, func(v *model.SubnetPool) bool { return v.AddressScopeID == scope })
		for bits := 26; bits <= 28; bits++ {
			want := 0
			for v := range r.SubnetsByPool(pool) {
				if v.ProjectID == "p1" && v.CIDR.Bits() == bits {
					want++
				}
			}
			if got := r.SubnetCountByPool(pool, "p1", bits); got != want {
				t.Fatalf("subnets of pool of %d bits: %d, want %d", bits, got, want)
			}
		}
	}
	for i := range 7 {
		group := model.AddressGroupID{UUID: uuid('d', i)}
		if r.AddressGroup(group) != o.addresses[group] {
			t.Fatalf("address group %v: %v", group, r.AddressGroup(group))
		}
		same(t, "rules about addresses", r.SecurityGroupRulesByAddressGroup(group), o.rules, func(v *model.SecurityGroupRule) bool { return v.RemoteAddressGroup == group && i > 0 })
	}
	same(t, "address groups of project", objects(r.AddressGroupRowsByProject("p1")), o.addresses, func(v *model.AddressGroup) bool { return v.ProjectID == "p1" })
	same(t, "address groups of name", objects(r.AddressGroupRowsByName("web")), o.addresses, func(v *model.AddressGroup) bool { return v.Name == "web" })
	same(t, "default pools", r.DefaultSubnetPools(), o.pools, func(v *model.SubnetPool) bool { return v.IsDefault })
	same(t, "hosts", r.Hosts(), o.hosts, func(*model.Host) bool { return true })
}

func number[T any](seq iter.Seq[T]) (n int) {
	for range seq {
		n++
	}
	return n
}

// dump tells all that an index holds; rows by their identity.
func (x *index[K, T]) dump() string   { return fmt.Sprint(x.tree.Items()) }
func (c *counter[K, T]) dump() string { return fmt.Sprint(c.tree.Items()) }
func (x *freeBlocks) dump() string    { return fmt.Sprint(x.tree.Items()) }

// dumpTables tells all that is in all indexes.
func dumpTables(t *tables) []string {
	var out []string
	out = append(out, dumpTable(&t.networks)...)
	out = append(out, dumpTable(&t.subnets)...)
	out = append(out, dumpTable(&t.ports)...)
	out = append(out, dumpTable(&t.reports)...)
	out = append(out, dumpTable(&t.groups)...)
	out = append(out, dumpTable(&t.rules)...)
	out = append(out, dumpTable(&t.hosts)...)
	out = append(out, dumpTable(&t.pools)...)
	out = append(out, dumpTable(&t.addressGroups)...)
	return append(out, dumpTable(&t.quotas)...)
}

func dumpTable[K comparable, T any](t typed[K, T]) []string {
	var out []string
	for _, x := range t.indexes() {
		out = append(out, x.(interface{ dump() string }).dump())
	}
	return out
}

// refill builds the indexes of a table from its rows alone.
func refill[K comparable, T any](from, to typed[K, T]) {
	rows := slices.Collect(from.base().rows.every())
	for _, x := range to.indexes() {
		x.fill(rows)
	}
}

func refillTables(t *tables) *tables {
	n := newTables()
	refill(&t.networks, &n.networks)
	refill(&t.subnets, &n.subnets)
	refill(&t.ports, &n.ports)
	refill(&t.reports, &n.reports)
	refill(&t.groups, &n.groups)
	refill(&t.rules, &n.rules)
	refill(&t.hosts, &n.hosts)
	refill(&t.pools, &n.pools)
	refill(&t.addressGroups, &n.addressGroups)
	refill(&t.quotas, &n.quotas)
	return n
}

// Random transactions, failing ones among them, against maps; every index equal
// to one built from scratch; every snapshot as it was when it was taken; and all of it
// the same when the journal is read again.
func TestTablesBehaveLikeMaps(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(rt *rapid.T) {
		j := journal.NewMemory()
		s, stop := started(rt, j, Options{})
		defer stop()
		o := newOracle()
		type old struct {
			snapshot *Snapshot
			dump     []string
		}
		var kept []old
		refused := errors.New("refused")
		for range rapid.IntRange(1, 12).Draw(rt, "transactions") {
			next := o.clone()
			fail := rapid.IntRange(0, 3).Draw(rt, "fail")
			// The draws happen in the writer's goroutine, while this one waits.
			_, err := s.Update(ctx, func(tx *Tx) error {
				for range rapid.IntRange(1, 8).Draw(rt, "steps") {
					step(rt, tx, next)
				}
				check(rt, tx.Reader, next)
				switch fail {
				case 0:
					return refused
				case 1:
					if rapid.Bool().Draw(rt, "panic") {
						panic("out of order")
					}
				}
				o = next
				return nil
			})
			if fail == 0 && !errors.Is(err, refused) || fail > 1 && err != nil {
				rt.Fatalf("update: %v", err)
			}
			snap := s.Snapshot()
			check(rt, snap.Reader, o)
			kept = append(kept, old{snap, dumpTables(snap.t)})
			if got, want := dumpTables(snap.t), dumpTables(refillTables(snap.t)); !slices.Equal(got, want) {
				rt.Fatalf("indexes are\n%s\nbuilt from scratch they are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for i, k := range kept {
			if got := dumpTables(k.snapshot.t); !slices.Equal(got, k.dump) {
				rt.Fatalf("snapshot %d changed from\n%v\nto\n%v", i, k.dump, got)
			}
		}
		again, err := load(ctx, j)
		if err != nil {
			rt.Fatal(err)
		}
		for p := range (Reader{again}).Ports() {
			if !reflect.DeepEqual(p, o.ports[p.ID]) {
				rt.Fatalf("loaded %+v, want %+v", p, o.ports[p.ID])
			}
		}
		if got := again.ports.rows.tree.Len(); got != len(o.ports) {
			rt.Fatalf("loaded %d ports, want %d", got, len(o.ports))
		}
		if got := len(j.Rows()); got != len(o.networks)+len(o.subnets)+len(o.ports)+len(o.groups)+len(o.rules)+len(o.hosts)+len(o.pools)+len(o.addresses) {
			rt.Fatalf("%d rows in the journal", got)
		}
	})
}

func TestScanGoesOnInAChangedTable(t *testing.T) {
	s, stop := started(t, journal.NewMemory(), Options{})
	defer stop()
	network := model.NetworkID{UUID: uuid('n', 1)}
	port := func(i int) *model.Port {
		return &model.Port{ID: model.PortID{UUID: model.UUID{14: byte(i >> 8), 15: byte(i)}}, NetworkID: network}
	}
	update(t, s, func(tx *Tx) {
		for i := range 1000 {
			tx.PutPort(port(i))
		}
	})
	var seen, renamed int
	update(t, s, func(tx *Tx) {
		for p := range tx.PortsByNetwork(network) {
			seen++
			tx.DeletePort(p.ID)
		}
		for i := range 1000 {
			tx.PutPort(port(i))
		}
		for p := range tx.Ports() {
			c := p.Clone()
			c.Name = "x"
			tx.PutPort(c)
			renamed++
		}
	})
	snap := s.Snapshot()
	if seen != 1000 || renamed != 1000 || number(snap.PortsByName("x")) != 1000 || snap.PortCountByNetwork(network) != 1000 {
		t.Errorf("deleted %d, renamed %d, left %d; want 1000 each", seen, renamed, number(snap.PortsByName("x")))
	}
}

func TestMemoIsBuiltOncePerDependency(t *testing.T) {
	row := &Row[model.Port]{Obj: &model.Port{}}
	a, b := &model.PortReport{}, &model.PortReport{}
	built := 0
	build := func() []byte { built++; return fmt.Append(nil, built) }
	for _, c := range []struct {
		dep  any
		want string
	}{{nil, "1"}, {nil, "1"}, {a, "2"}, {a, "2"}, {b, "3"}, {(*model.PortReport)(nil), "4"}} {
		if got := row.Memo(c.dep, build); string(got) != c.want {
			t.Errorf("Memo(%p) = %s, want %s", c.dep, got, c.want)
		}
	}
}
