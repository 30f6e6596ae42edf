package network

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

// TestRandomOperationsKeepTheRules runs random operations of two projects and
// an admin, in ranges so narrow that everything collides, and holds after each
// that every stored object is valid and that nothing is there twice.
func TestRandomOperationsKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := openWorld(t, func(c *Config) {
			c.TunnelRanges[model.TypeGRE] = []IDRange{{1, 3}, {10, 12}}
			c.VLANRanges["physnet1"] = []IDRange{{100, 101}}
			c.TenantTypes = []model.NetworkType{model.TypeGRE, model.TypeVLAN}
			c.Quotas = map[string]int64{QuotaNetwork: 4, QuotaSubnet: 5, QuotaPort: 9, QuotaSecurityGroup: 3, QuotaSecurityGroupRule: 12}
		})
		defer w.stop()
		m := &machine{world: w, t: t}
		w.host("compute1")
		m.start()
		for i := range rapid.IntRange(20, 120).Draw(t, "operations") {
			w.env = testEnv(uint64(i + 2))
			m.step()
			m.check()
		}
	})
}

type machine struct {
	*world
	t *rapid.T
}

// start makes a network with two subnets, so that collisions begin at once.
func (m *machine) start() {
	if err := m.do(func(tx *store.Tx) error {
		n, err := m.rules.CreateNetwork(tx, m.env, demo, NetworkSpec{})
		if err != nil {
			return err
		}
		if _, err := m.rules.CreateSubnet(tx, m.env, demo, subnetSpec(n, "10.0.0.0/29")); err != nil {
			return err
		}
		_, err = m.rules.CreateSubnet(tx, m.env, demo, subnetSpec(n, "fd00::/64", slaac))
		return err
	}); err != nil {
		m.t.Fatalf("starting: %v", err)
	}
}

// step does one operation. Its refusal is fine, as long as it has a name.
func (m *machine) step() {
	s, r := m.store.Snapshot(), m.rules
	who := rapid.SampledFrom([]authn.Principal{admin, admin, demo, demo, demo, other}).Draw(m.t, "who")
	networks, subnets := slices.Collect(s.Networks()), slices.Collect(s.Subnets())
	ports, groups := slices.Collect(s.Ports()), slices.Collect(s.SecurityGroups())
	ops := map[string]func(tx *store.Tx) error{
		"create network": func(tx *store.Tx) error {
			spec := NetworkSpec{}
			if rapid.Bool().Draw(m.t, "provider") {
				spec.NetworkType = Some(rapid.SampledFrom([]string{"gre", "vlan", "flat", "local", "vxlan"}).Draw(m.t, "type"))
				if rapid.Bool().Draw(m.t, "explicit") {
					spec.SegmentationID = Some(rapid.SampledFrom([]int{1, 2, 11, 100, 5000}).Draw(m.t, "id"))
				}
				if rapid.Bool().Draw(m.t, "physical") {
					spec.PhysicalNetwork = Some("physnet1")
				}
				spec.Shared = Some(rapid.Bool().Draw(m.t, "shared"))
			}
			_, err := r.CreateNetwork(tx, m.env, who, spec)
			return err
		},
		"create group": func(tx *store.Tx) error {
			_, err := r.CreateSecurityGroup(tx, m.env, who, SecurityGroupSpec{Name: Some("g")})
			return err
		},
	}
	if len(networks) > 0 {
		n := rapid.SampledFrom(networks).Draw(m.t, "network")
		ops["delete network"] = func(tx *store.Tx) error { return r.DeleteNetwork(tx, m.env, who, n.ID, nil) }
		ops["create subnet"] = func(tx *store.Tx) error {
			cidr := rapid.SampledFrom([]string{"10.0.0.0/29", "10.0.0.0/30", "10.0.0.8/29", "10.0.1.0/31", "fd00::/64", "fd01::/125"}).Draw(m.t, "cidr")
			_, err := r.CreateSubnet(tx, m.env, who, subnetSpec(n, cidr, func(s *SubnetSpec) {
				if rapid.Bool().Draw(m.t, "slaac") {
					slaac(s)
				}
				if rapid.Bool().Draw(m.t, "no dhcp") {
					s.EnableDHCP = Some(false)
				}
			}))
			return err
		}
		for _, name := range []string{"create port", "create another port"} { // the more, the likelier
			ops[name] = func(tx *store.Tx) error {
				spec := m.portSpec(subnets, groups)
				spec.NetworkID = Some(n.ID)
				_, err := r.CreatePort(tx, m.env, who, spec)
				return err
			}
		}
	}
	if len(subnets) > 0 {
		sub := rapid.SampledFrom(subnets).Draw(m.t, "subnet")
		ops["delete subnet"] = func(tx *store.Tx) error { return r.DeleteSubnet(tx, m.env, who, sub.ID, nil) }
		ops["update subnet"] = func(tx *store.Tx) error {
			spec := SubnetSpec{EnableDHCP: Some(rapid.Bool().Draw(m.t, "dhcp"))}
			if rapid.Bool().Draw(m.t, "pool") {
				first := sub.CIDR.Addr().Next().Next()
				spec.Pools = Some([]model.Range{{First: first, Last: first.Next()}})
			}
			_, err := r.UpdateSubnet(tx, m.env, who, sub.ID, spec, nil)
			return err
		}
	}
	if len(ports) > 0 {
		p := rapid.SampledFrom(ports).Draw(m.t, "port")
		ops["delete port"] = func(tx *store.Tx) error { return r.DeletePort(tx, m.env, who, p.ID, nil) }
		ops["update port"] = func(tx *store.Tx) error {
			_, err := r.UpdatePort(tx, m.env, who, p.ID, m.portSpec(subnets, groups), nil)
			return err
		}
	}
	if len(groups) > 0 {
		g := rapid.SampledFrom(groups).Draw(m.t, "group")
		ops["delete group"] = func(tx *store.Tx) error { return r.DeleteSecurityGroup(tx, m.env, who, g.ID, nil) }
		ops["create rule"] = func(tx *store.Tx) error {
			spec := SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress),
				Protocol: Some(rapid.SampledFrom([]string{"", "tcp", "6", "icmp", "ipv6-icmp", "ah"}).Draw(m.t, "protocol"))}
			if rapid.Bool().Draw(m.t, "remote") {
				spec.RemoteGroup = Some(rapid.SampledFrom(groups).Draw(m.t, "remote group").ID)
			}
			_, err := r.CreateSecurityGroupRule(tx, m.env, who, spec)
			return err
		}
	}
	var names []string
	for name := range ops {
		names = append(names, name)
	}
	slices.Sort(names)
	name := rapid.SampledFrom(names).Draw(m.t, "operation")
	var drew any
	err := m.do(func(tx *store.Tx) (err error) {
		// rapid stops a run by a panic, which is not the store's to catch.
		defer func() { drew = recover() }()
		return ops[name](tx)
	})
	if drew != nil {
		panic(drew)
	}
	if err != nil && (fault.As(err) == nil || fault.Of(err) == fault.Internal || fault.Of(err) == fault.Unavailable) {
		m.t.Fatalf("%s by %s: %v", name, who.ProjectID, err)
	}
	if project := who.ProjectID; err == nil && name != "create network" {
		m.checkQuota(project, name)
	}
}

// checkQuota holds that a successful create left the project within its limit.
func (m *machine) checkQuota(project, name string) {
	resource := map[string]string{"create network": QuotaNetwork, "create subnet": QuotaSubnet, "create port": QuotaPort, "create another port": QuotaPort,
		"create group": QuotaSecurityGroup, "create rule": QuotaSecurityGroupRule}[name]
	if u := m.rules.Usage(m.store.Snapshot(), project)[resource]; resource != "" && u.Used > u.Limit {
		m.t.Fatalf("%s: project %s has %d of %d %s", name, project, u.Used, u.Limit, resource)
	}
}

func (m *machine) portSpec(subnets []*model.Subnet, groups []*model.SecurityGroup) PortSpec {
	var spec PortSpec
	switch rapid.IntRange(0, 7).Draw(m.t, "aspect") {
	case 0:
		spec.MAC = Some(model.MAC{0xfa, 0x16, 0x3e, 0, 0, byte(rapid.IntRange(1, 3).Draw(m.t, "mac"))})
	case 1, 2:
		var want []FixedIPSpec
		for range rapid.IntRange(0, 3).Draw(m.t, "addresses") {
			var f FixedIPSpec
			if len(subnets) > 0 && rapid.IntRange(0, 3).Draw(m.t, "by subnet") == 0 {
				f.SubnetID = rapid.SampledFrom(subnets).Draw(m.t, "of").ID
			}
			if rapid.Bool().Draw(m.t, "exact") {
				f.Addr = netip.MustParseAddr(rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "fd01::1"}).Draw(m.t, "address"))
			}
			want = append(want, f)
		}
		spec.FixedIPs = Some(want)
	case 3:
		spec.PortSecurity = Some(rapid.Bool().Draw(m.t, "secure"))
	case 4:
		var ids []model.SecurityGroupID
		for range rapid.IntRange(0, 2).Draw(m.t, "groups") {
			if len(groups) > 0 {
				ids = append(ids, rapid.SampledFrom(groups).Draw(m.t, "in").ID)
			}
		}
		spec.SecurityGroups = Some(ids)
	case 5:
		spec.AddressPairs = Some([]AddressPairSpec{{IP: Some("10.0.0.0/24")}})
	case 6:
		spec.HostID = Some(rapid.SampledFrom([]string{"", "compute1", "nowhere"}).Draw(m.t, "host"))
	case 7:
		spec.DeviceOwner = Some(rapid.SampledFrom([]string{"", "compute:nova", "network:dhcp", "network:router_interface"}).Draw(m.t, "owner"))
	}
	return spec
}

// check holds the invariants of the whole state.
func (m *machine) check() {
	s := m.store.Snapshot()
	tags := map[string]bool{}
	for n := range s.Networks() {
		if n.MTU < minMTU || len(n.Segments) == 0 || n.Revision < 1 {
			m.t.Fatalf("network %+v", n)
		}
		for _, g := range n.Segments {
			key := fmt.Sprint(g.Type, g.Physical, g.Tag)
			if g.Type != model.TypeLocal && tags[key] {
				m.t.Fatalf("segment %s twice", key)
			}
			tags[key] = true
			if g.ID.IsZero() || g.Tag > maxTag(g.Type) || g.Tag == 0 && (g.Type.IsTunnel() || g.Type == model.TypeVLAN) {
				m.t.Fatalf("segment %+v", g)
			}
		}
		m.checkSubnets(s, n)
		m.checkPorts(s, n)
	}
	for r := range s.SecurityGroupRules() {
		if s.SecurityGroup(r.GroupID) == nil || !r.RemoteGroup.IsZero() && s.SecurityGroup(r.RemoteGroup) == nil {
			m.t.Fatalf("rule %+v refers to a group that is not there", r)
		}
	}
	defaults := map[string]int{}
	for g := range s.SecurityGroups() {
		if g.IsDefault {
			defaults[g.ProjectID]++
		}
	}
	for project, n := range defaults {
		if n != 1 {
			m.t.Fatalf("project %s has %d default groups", project, n)
		}
	}
}

func (m *machine) checkSubnets(s *store.Snapshot, n *model.Network) {
	var seen []*model.Subnet
	for sub := range s.SubnetsByNetwork(n.ID) {
		for _, o := range seen {
			if o.CIDR.Overlaps(sub.CIDR) {
				m.t.Fatalf("subnets %s and %s overlap", o.CIDR, sub.CIDR)
			}
		}
		seen = append(seen, sub)
		for i, p := range sub.Pools {
			if p.Last.Less(p.First) || !sub.CIDR.Contains(p.First) || !sub.CIDR.Contains(p.Last) || sub.Gateway.IsValid() && p.Contains(sub.Gateway) ||
				i > 0 && !sub.Pools[i-1].Last.Less(p.First) {
				m.t.Fatalf("pools %v of %s with gateway %s", sub.Pools, sub.CIDR, sub.Gateway)
			}
		}
	}
}

func (m *machine) checkPorts(s *store.Snapshot, n *model.Network) {
	macs, addrs := map[model.MAC]bool{}, map[netip.Addr]bool{}
	dhcp, wantDHCP := 0, 0
	for sub := range s.SubnetsByNetwork(n.ID) {
		if sub.EnableDHCP {
			wantDHCP = 1
		}
	}
	for p := range s.PortsByNetwork(n.ID) {
		if macs[p.MAC] || p.MAC.IsZero() || p.MAC.IsMulticast() {
			m.t.Fatalf("MAC %s twice, or none", p.MAC)
		}
		macs[p.MAC] = true
		for _, f := range p.FixedIPs {
			sub := s.Subnet(f.SubnetID)
			if sub == nil || sub.NetworkID != n.ID || !sub.CIDR.Contains(f.Addr) {
				m.t.Fatalf("port %s has %v, which is not of its network", p.ID, f)
			}
			if addrs[f.Addr] {
				m.t.Fatalf("address %s twice", f.Addr)
			}
			addrs[f.Addr] = true
		}
		for _, g := range p.SecurityGroups {
			if s.SecurityGroup(g) == nil {
				m.t.Fatalf("port %s is in a group that is not there", p.ID)
			}
		}
		if !p.PortSecurity && len(p.SecurityGroups)+len(p.AddressPairs) > 0 {
			m.t.Fatalf("port %s has groups or pairs without port security", p.ID)
		}
		if (p.Binding.VIFType == model.VIFOVS) != (p.Binding.HostID == "compute1" && n.Segments[0].Type != model.TypeVXLAN) || p.Binding.Since > p.Revision {
			m.t.Fatalf("binding %+v on %s", p.Binding, n.Segments[0].Type)
		}
		if p.IsDHCPService() {
			dhcp++
			for _, f := range p.FixedIPs {
				if !s.Subnet(f.SubnetID).EnableDHCP {
					m.t.Fatal("the DHCP port has an address on a subnet without DHCP")
				}
			}
		}
	}
	if dhcp != wantDHCP {
		m.t.Fatalf("%d DHCP ports, want %d", dhcp, wantDHCP)
	}
}
