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
	networks map[model.NetworkID]*model.Network
	subnets  map[model.SubnetID]*model.Subnet
	ports    map[model.PortID]*model.Port
	groups   map[model.SecurityGroupID]*model.SecurityGroup
	rules    map[model.SecurityGroupRuleID]*model.SecurityGroupRule
	hosts    map[string]*model.Host
	pools    map[model.SubnetPoolID]*model.SubnetPool

	routers     map[model.RouterID]*model.Router
	floating    map[model.FloatingIPID]*model.FloatingIP
	forwardings map[model.PortForwardingID]*model.PortForwarding
	addresses   map[model.AddressGroupID]*model.AddressGroup
	scopes      map[model.AddressScopeID]*model.AddressScope
	reports     map[model.PortID]*model.PortReport
	quotas      map[string]*model.Quota
}

func newOracle() *oracle {
	return &oracle{
		map[model.NetworkID]*model.Network{}, map[model.SubnetID]*model.Subnet{}, map[model.PortID]*model.Port{},
		map[model.SecurityGroupID]*model.SecurityGroup{}, map[model.SecurityGroupRuleID]*model.SecurityGroupRule{}, map[string]*model.Host{},
		map[model.SubnetPoolID]*model.SubnetPool{},
		map[model.RouterID]*model.Router{}, map[model.FloatingIPID]*model.FloatingIP{}, map[model.PortForwardingID]*model.PortForwarding{},
		map[model.AddressGroupID]*model.AddressGroup{}, map[model.AddressScopeID]*model.AddressScope{}, map[model.PortID]*model.PortReport{}, map[string]*model.Quota{},
	}
}

func (o *oracle) clone() *oracle {
	return &oracle{maps.Clone(o.networks), maps.Clone(o.subnets), maps.Clone(o.ports), maps.Clone(o.groups), maps.Clone(o.rules), maps.Clone(o.hosts), maps.Clone(o.pools),
		maps.Clone(o.routers), maps.Clone(o.floating), maps.Clone(o.forwardings), maps.Clone(o.addresses), maps.Clone(o.scopes), maps.Clone(o.reports), maps.Clone(o.quotas)}
}

// len is how many rows there are.
func (o *oracle) len() int {
	return len(o.networks) + len(o.subnets) + len(o.ports) + len(o.groups) + len(o.rules) + len(o.hosts) + len(o.pools) +
		len(o.routers) + len(o.floating) + len(o.forwardings) + len(o.addresses) + len(o.scopes) + len(o.reports) + len(o.quotas)
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
		stepFurther(t, tx, o, remove)
	}
}

// stepFurther is step for the other tables.
func stepFurther(t *rapid.T, tx *Tx, o *oracle, remove bool) {
	host := func() string { return rapid.SampledFrom([]string{"h1", "h2"}).Draw(t, "host") }
	port, router := model.PortID{UUID: drawID(t, 'p', "port")}, model.RouterID{UUID: drawID(t, 'r', "router")}
	floating := model.FloatingIPID{UUID: drawID(t, 'f', "floating")}
	switch rapid.IntRange(0, 6).Draw(t, "further table") {
	case 0:
		r := &model.Router{ID: router, Meta: drawMeta(t)}
		for range rapid.IntRange(0, 2).Draw(t, "hosts") {
			r.Hosts = append(r.Hosts, host())
		}
		change(remove, o.routers, r.ID, r, tx.PutRouter, tx.DeleteRouter)
	case 1:
		f := &model.FloatingIP{ID: floating, Meta: drawMeta(t), NetworkID: model.NetworkID{UUID: drawID(t, 'n', "network")}, Addr: drawAddr(t)}
		if rapid.Bool().Draw(t, "associated") {
			f.PortID, f.RouterID, f.FixedAddr = port, router, drawAddr(t)
		}
		change(remove, o.floating, f.ID, f, tx.PutFloatingIP, tx.DeleteFloatingIP)
	case 2:
		f := &model.PortForwarding{ID: model.PortForwardingID{UUID: drawID(t, 'w', "forwarding")}, FloatingIPID: floating, PortID: port, InternalAddr: drawAddr(t)}
		change(remove, o.forwardings, f.ID, f, tx.PutPortForwarding, tx.DeletePortForwarding)
	case 3:
		s := &model.AddressScope{ID: model.AddressScopeID{UUID: drawID(t, 'c', "scope")}, Meta: drawMeta(t), Shared: rapid.Bool().Draw(t, "shared")}
		change(remove, o.scopes, s.ID, s, tx.PutAddressScope, tx.DeleteAddressScope)
	case 4:
		r := &model.PortReport{PortID: port, HostReport: model.HostReport{Host: host()}}
		change(remove, o.reports, r.PortID, r, tx.PutPortReport, tx.DeletePortReport)
	case 5:
		g := &model.AddressGroup{ID: model.AddressGroupID{UUID: drawID(t, 'd', "addresses")}, Meta: drawMeta(t), Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
		change(remove, o.addresses, g.ID, g, tx.PutAddressGroup, tx.DeleteAddressGroup)
	case 6:
		q := &model.Quota{ProjectID: rapid.SampledFrom([]string{"p1", "p/3"}).Draw(t, "project"), Limits: map[string]int64{"port": 1}}
		change(remove, o.quotas, q.ProjectID, q, tx.PutQuota, tx.DeleteQuota)
	}
}

// change puts or deletes an object in a table and its oracle.
func change[K comparable, T any](remove bool, all map[K]*T, key K, obj *T, put func(*T), del func(K)) {
	if remove {
		del(key)
		delete(all, key)
		return
	}
	put(obj)
	all[key] = obj
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
		same(t, "ports named "+name, r.PortsByName(name), o.ports, func(v *model.Port) bool { return v.Name == name && name != "" })
	}
	for _, h := range []string{"", "h1", "h2"} {
		same(t, "ports on "+h, r.PortsByHost(h), o.ports, func(v *model.Port) bool { return v.Binding.HostID == h && h != "" })
		same(t, "routers on "+h, r.RoutersByHost(h), o.routers, func(v *model.Router) bool { return slices.Contains(v.Hosts, h) })
		preferred := 0
		for _, v := range o.routers {
			if len(v.Hosts) > 0 && v.Hosts[0] == h {
				preferred++
			}
		}
		if got, want := r.RouterCountByHost(h), number(r.RoutersByHost(h)); got != want || r.RouterCountByPreferredHost(h) != preferred {
			t.Fatalf("count of routers on %s: %d, want %d; preferring it: %d, want %d", h, got, want, r.RouterCountByPreferredHost(h), preferred)
		}
	}
	for _, d := range []string{"", "vm1", "vm2"} {
		same(t, "ports of "+d, r.PortsByDevice(d), o.ports, func(v *model.Port) bool { return v.DeviceID == d && d != "" })
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
		if got, want := r.PortCountBySubnet(subnet), number2(r.AddrsInSubnet(subnet, netip.Addr{})); got != want {
			t.Fatalf("count of addresses on subnet: %d, want %d", got, want)
		}
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
	same(t, "routers", r.Routers(), o.routers, func(*model.Router) bool { return true })
	same(t, "floating IPs", objects(r.FloatingIPRows()), o.floating, func(*model.FloatingIP) bool { return true })
	same(t, "scopes", objects(r.AddressScopeRows()), o.scopes, func(*model.AddressScope) bool { return true })
	same(t, "reports", r.PortReports(), o.reports, func(*model.PortReport) bool { return true })
	same(t, "quotas", r.Quotas(), o.quotas, func(*model.Quota) bool { return true })
	for i := range 7 {
		port, router, floating := model.PortID{UUID: uuid('p', i)}, model.RouterID{UUID: uuid('r', i)}, model.FloatingIPID{UUID: uuid('f', i)}
		same(t, "floating IPs of port", r.FloatingIPsByPort(port), o.floating, func(v *model.FloatingIP) bool { return v.PortID == port && i > 0 })
		same(t, "floating IPs of router", r.FloatingIPsByRouter(router), o.floating, func(v *model.FloatingIP) bool { return v.RouterID == router && i > 0 })
		same(t, "forwardings of floating IP", r.PortForwardingsByFloatingIP(floating), o.forwardings, func(v *model.PortForwarding) bool { return v.FloatingIPID == floating })
		same(t, "forwardings of port", r.PortForwardingsByPort(port), o.forwardings, func(v *model.PortForwarding) bool { return v.PortID == port })
	}
}

func number[T any](seq iter.Seq[T]) (n int) {
	for range seq {
		n++
	}
	return n
}

func number2[A, B any](seq iter.Seq2[A, B]) (n int) {
	for range seq {
		n++
	}
	return n
}

// dump tells all that an index holds; rows by their identity.
func (x *index[K, T]) dump() string { return fmt.Sprint(x.tree.entries()) }
func (x *freeBlocks) dump() string  { return fmt.Sprint(x.tree.entries()) }

// dumpTables tells all that is in all indexes.
func dumpTables(t *tables) []string {
	var out []string
	loaders := t.loaders()
	for _, name := range slices.Sorted(maps.Keys(loaders)) {
		out = append(out, loaders[name].(interface{ dump() []string }).dump()...)
	}
	return out
}

func (l tableLoader[K, T]) dump() (out []string) {
	for _, x := range l.table.indexes() {
		out = append(out, x.(interface{ dump() string }).dump())
	}
	return out
}

// refillTables builds the indexes of all tables from their rows alone.
func refillTables(t *tables) *tables {
	n := newTables()
	to := n.loaders()
	for name, from := range t.loaders() {
		from.(interface{ refill(loader) }).refill(to[name])
	}
	return n
}

func (l tableLoader[K, T]) refill(to loader) {
	rows := slices.Collect(l.table.base().rows.every())
	for _, x := range to.(tableLoader[K, T]).table.indexes() {
		x.fill(rows)
	}
}

// Random transactions on live tables, failing ones among them; what was frozen is as it was then, whatever was written
// and undone since, and may take the place of the live tables.
func TestFrozenTablesStay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		live, o := newTables(), newOracle()
		type old struct {
			tables *tables
			oracle *oracle
			dump   []string
		}
		var kept []old
		for range rapid.IntRange(1, 20).Draw(rt, "transactions") {
			next, fail := o.clone(), rapid.IntRange(0, 2).Draw(rt, "fail") == 0
			_, err := run(live, func(tx *Tx) error {
				for range rapid.IntRange(1, 8).Draw(rt, "steps") {
					step(rt, tx, next)
				}
				if fail {
					return errors.New("refused")
				}
				return nil
			})
			if fail != (err != nil) {
				rt.Fatal(err)
			}
			if !fail {
				o = next
			}
			check(rt, Reader{live}, o)
			switch rapid.IntRange(0, 4).Draw(rt, "then") {
			case 0, 1:
				frozen := live.freeze()
				kept = append(kept, old{frozen, o, dumpTables(frozen)})
			case 2:
				if len(kept) > 0 { // the journal refused what came after
					k := rapid.SampledFrom(kept).Draw(rt, "kept")
					live, o = k.tables.freeze(), k.oracle
				}
			}
		}
		for i, k := range kept {
			check(rt, Reader{k.tables}, k.oracle)
			if got := dumpTables(k.tables); !slices.Equal(got, k.dump) {
				rt.Fatalf("frozen tables %d changed from\n%v\nto\n%v", i, k.dump, got)
			}
		}
		if got, want := dumpTables(live), dumpTables(refillTables(live)); !slices.Equal(got, want) {
			rt.Fatalf("indexes are\n%s\nbuilt from scratch they are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
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
		if got := again.ports.rows.tree.len(); got != len(o.ports) {
			rt.Fatalf("loaded %d ports, want %d", got, len(o.ports))
		}
		if got := len(j.Rows()); got != o.len() {
			rt.Fatalf("%d rows in the journal, want %d", got, o.len())
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
