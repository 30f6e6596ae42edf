package network

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

// TestRandomRouterOperationsKeepTheRules runs random operations of two projects and an admin on few networks, hosts and
// addresses, and holds after each: a router's ports are there, no two have one address, its hosts are gateways
// and its ports are bound to the preferred one, a fixed address has one floating IP per external network at most, and what
// is associated is reached by the router that it names.
func TestRandomRouterOperationsKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := openWorld(t, func(c *Config) { c.FlatNetworks, c.MaxGateways = []string{"*"}, 2 })
		defer w.stop()
		m := &machine{world: w, t: t}
		if err := m.do(func(tx *store.Tx) error { return m.startRouted(tx) }); err != nil {
			t.Fatalf("starting: %v", err)
		}
		for i := range rapid.IntRange(10, 60).Draw(t, "operations") {
			w.env = testEnv(uint64(i + 2))
			m.stepRouter()
			m.checkRouters()
		}
	})
}

func (m *machine) startRouted(tx *store.Tx) error {
	for _, who := range []authn.Principal{demo, admin} {
		n, err := m.rules.CreateNetwork(tx, m.env, who, NetworkSpec{Shared: Opt[bool]{}, External: Opt[bool]{Set: who.Admin, Value: true}})
		if err != nil {
			return err
		}
		cidrs := []string{"10.0.0.0/28", "10.0.0.16/28", "fd00::/64"}
		if who.Admin {
			cidrs = []string{"172.25.0.0/28"}
		}
		for _, cidr := range cidrs {
			if _, err := m.rules.CreateSubnet(tx, m.env, who, subnetSpec(n, cidr)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *machine) stepRouter() {
	s, r := m.store.Snapshot(), m.rules
	who := rapid.SampledFrom([]authn.Principal{admin, demo, demo, other}).Draw(m.t, "who")
	ports, subnets := slices.Collect(s.Ports()), slices.Collect(s.Subnets())
	networks := slices.Collect(s.Networks())
	network := rapid.SampledFrom(networks).Draw(m.t, "network")
	var floating []*model.FloatingIP
	for _, n := range networks {
		floating = slices.AppendSeq(floating, s.FloatingIPsByNetwork(n.ID))
	}
	port := func() Opt[model.PortID] { return Some(rapid.SampledFrom(ports).Draw(m.t, "port").ID) }
	host := rapid.SampledFrom([]string{"gw1", "gw2", "gw3"}).Draw(m.t, "host")
	flag := rapid.Bool().Draw(m.t, "flag")
	ops := map[string]func(tx *store.Tx) error{
		"create router": func(tx *store.Tx) error {
			spec := RouterSpec{}
			if flag {
				spec.External = Some(GatewaySpec{NetworkID: Some(network.ID)})
			}
			_, err := r.CreateRouter(tx, m.env, who, spec)
			return err
		},
		"host": func(tx *store.Tx) error {
			before := tx.Host(host)
			h := &model.Host{Name: host, AgentID: model.AgentID{UUID: model.UUID{host[2]}}, Roles: []string{model.RoleGateway}, AdminStateUp: flag,
				TunnelAddr: netip.MustParseAddr("10.0.1.1"), TunnelTypes: []model.NetworkType{model.TypeGRE}}
			tx.PutHost(h)
			r.RebindHost(tx, m.env, before, host)
			return nil
		},
		"create port": func(tx *store.Tx) error {
			_, err := r.CreatePort(tx, m.env, who, PortSpec{NetworkID: Some(network.ID)})
			return err
		},
		"create floating": func(tx *store.Tx) error {
			spec := FloatingIPSpec{NetworkID: Some(network.ID)}
			if flag && len(ports) > 0 {
				spec.PortID = port()
			}
			_, err := r.CreateFloatingIP(tx, m.env, who, spec)
			return err
		},
	}
	ops["report"] = func(tx *store.Tx) error {
		for p := range tx.Ports() {
			if p.IsRouterPort() && p.Binding.HostID == host {
				word := model.HostReport{Host: host, Revision: p.SpecRevision, State: model.ReportActive}
				tx.PutPortReport(tx.PortReport(p.ID).With(p.ID, word))
				r.LegReported(tx, m.env, p.ID)
			}
		}
		return nil
	}
	ops["time passes"] = func(tx *store.Tx) error {
		env := m.env
		env.Now = env.Now.Add(handsOver)
		r.EndHandOvers(tx, env)
		return nil
	}
	if len(ports) > 0 {
		ops["delete port"] = func(tx *store.Tx) error { return r.DeletePort(tx, m.env, who, port().Value, nil) }
	}
	if h := s.Host(host); h != nil {
		ops["delete agent"] = func(tx *store.Tx) error { return r.DeleteAgent(tx, m.env, who, h.AgentID, false) }
	}
	if routers := slices.Collect(s.Routers()); len(routers) > 0 {
		rt := rapid.SampledFrom(routers).Draw(m.t, "router")
		leg := func() LegSpec {
			if flag && len(ports) > 0 {
				return LegSpec{PortID: port()}
			}
			return bySubnet(rapid.SampledFrom(subnets).Draw(m.t, "subnet"))
		}
		ops["delete router"] = func(tx *store.Tx) error { return r.DeleteRouter(tx, m.env, who, rt.ID, nil) }
		ops["remove leg"] = func(tx *store.Tx) error { _, err := r.RemoveRouterLeg(tx, m.env, who, rt.ID, leg()); return err }
		for _, name := range []string{"add leg", "add another leg"} { // the more, the likelier
			ops[name] = func(tx *store.Tx) error { _, err := r.AddRouterLeg(tx, m.env, who, rt.ID, leg()); return err }
		}
		ops["update router"] = func(tx *store.Tx) error {
			spec := RouterSpec{}
			switch rapid.IntRange(0, 4).Draw(m.t, "aspect") {
			case 0:
				spec.External = NullOf[GatewaySpec]()
			case 1:
				spec.External = Some(GatewaySpec{NetworkID: Some(network.ID)})
			case 2:
				spec.AdminStateUp = Some(flag)
			case 3:
				spec.HA = Some(flag)
			case 4:
				spec.Distributed = Some(flag)
			}
			_, err := r.UpdateRouter(tx, m.env, who, rt.ID, spec, nil)
			return err
		}
		if h := s.Host(host); h != nil {
			ops["move router"] = func(tx *store.Tx) error {
				if flag {
					return r.AddRouterToAgent(tx, m.env, who, h.AgentID, rt.ID)
				}
				return r.RemoveRouterFromAgent(tx, m.env, who, h.AgentID, rt.ID)
			}
		}
	}
	if len(floating) > 0 {
		f := rapid.SampledFrom(floating).Draw(m.t, "floating")
		ops["delete floating"] = func(tx *store.Tx) error { return r.DeleteFloatingIP(tx, m.env, who, f.ID, nil) }
		ops["update floating"] = func(tx *store.Tx) error {
			spec := FloatingIPSpec{PortID: NullOf[model.PortID]()}
			if flag && len(ports) > 0 {
				spec.PortID = port()
			}
			_, err := r.UpdateFloatingIP(tx, m.env, who, f.ID, spec, nil)
			return err
		}
		ops["forward"] = func(tx *store.Tx) error {
			if len(ports) == 0 {
				return nil
			}
			n := rapid.IntRange(1, 3).Draw(m.t, "ports")
			_, err := r.CreatePortForwarding(tx, m.env, who, PortForwardingSpec{FloatingIPID: f.ID, PortID: port(), Protocol: Some("tcp"), ExternalPort: Some(n), InternalPort: Some(n)})
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
		defer func() { drew = recover() }() // rapid stops a run by a panic, which is not the store's to catch
		return ops[name](tx)
	})
	if drew != nil {
		panic(drew)
	}
	if err != nil && (fault.As(err) == nil || fault.Of(err) == fault.Internal || fault.Of(err) == fault.Unavailable) {
		m.t.Fatalf("%s by %s: %v", name, who.ProjectID, err)
	}
}

func (m *machine) checkRouters() {
	s := m.store.Snapshot()
	for rt := range s.Routers() {
		seen := map[model.FixedIP]bool{}
		for i, h := range rt.Hosts {
			host := s.Host(h)
			if host == nil || !host.IsGateway() || !host.AdminStateUp || slices.Contains(rt.Hosts[:i], h) {
				m.t.Fatalf("router is served by %v", rt.Hosts)
			}
		}
		for i, h := range rt.Gateways() {
			host := s.Host(h)
			if host == nil || !host.IsGateway() || slices.Contains(rt.Gateways()[:i], h) {
				m.t.Fatalf("router is at %v", rt.Gateways())
			}
		}
		if h := rt.HandOver; h != nil && (len(rt.Hosts) == 0 || h.From == rt.Hosts[0]) {
			m.t.Fatalf("router of %v is handed over by %s", rt.Hosts, h.From)
		}
		if !rt.HA && len(rt.Hosts) > 1 {
			m.t.Fatalf("a router that is not redundant is served by %v", rt.Hosts)
		}
		gateways := 0
		var cidrs []netip.Prefix
		for p := range s.PortsByDevice(rt.ID.String()) {
			if !p.IsRouterPort() {
				continue
			}
			if p.DeviceOwner == model.OwnerRouterGateway {
				gateways++
				if rt.External == nil || rt.External.PortID != p.ID || rt.External.NetworkID != p.NetworkID || !s.Network(p.NetworkID).External {
					m.t.Fatalf("gateway port %s of %+v", p.ID, rt.External)
				}
			} else if p.DeviceOwner != legOwner(rt) {
				m.t.Fatalf("leg of owner %s on %+v", p.DeviceOwner, rt)
			}
			if p.Binding.HostID != preferred(rt) || p.PortSecurity || len(p.SecurityGroups) > 0 {
				m.t.Fatalf("router port %+v of hosts %v", p, rt.Hosts)
			}
			for _, f := range p.FixedIPs {
				for _, c := range cidrs {
					if c.Overlaps(s.Subnet(f.SubnetID).CIDR) {
						m.t.Fatalf("router has two ways to %s", f.Addr)
					}
				}
				cidrs = append(cidrs, s.Subnet(f.SubnetID).CIDR)
				if seen[f] {
					m.t.Fatalf("two legs have %v", f)
				}
				seen[f] = true
			}
		}
		if (rt.External != nil) != (gateways == 1) || gateways > 1 {
			m.t.Fatalf("%d gateway ports of %+v", gateways, rt.External)
		}
	}
	m.checkFloating(s)
}

func (m *machine) checkFloating(s *store.Snapshot) {
	type stands struct {
		network model.NetworkID
		fixed   model.PortID
		addr    netip.Addr
	}
	seen := map[stands]bool{}
	for row := range s.FloatingIPRows() {
		f := row.Obj
		held := s.Port(f.ReservedPortID)
		if held == nil || held.DeviceOwner != model.OwnerFloatingIP || len(held.FixedIPs) != 1 || held.FixedIPs[0].Addr != f.Addr {
			m.t.Fatalf("floating IP %+v is held by %+v", f, held)
		}
		forwarded := 0
		for pf := range s.PortForwardingsByFloatingIP(f.ID) {
			forwarded++
			if s.Port(pf.PortID) == nil {
				m.t.Fatal("a forwarding leads to a port that is not there")
			}
		}
		if f.PortID.IsZero() != !f.FixedAddr.IsValid() || f.RouterID.IsZero() != (f.PortID.IsZero() && forwarded == 0) || forwarded > 0 && !f.PortID.IsZero() {
			m.t.Fatalf("floating IP %+v with %d forwardings", f, forwarded)
		}
		if rt := s.Router(f.RouterID); !f.RouterID.IsZero() && (rt == nil || rt.External == nil || rt.External.NetworkID != f.NetworkID) {
			m.t.Fatalf("floating IP %+v of router %+v", f, rt)
		}
		if f.PortID.IsZero() {
			continue
		}
		p := s.Port(f.PortID)
		if p == nil || !slices.ContainsFunc(p.FixedIPs, func(x model.FixedIP) bool { return x.Addr == f.FixedAddr }) || seen[stands{f.NetworkID, f.PortID, f.FixedAddr}] {
			m.t.Fatalf("floating IP %+v stands for %+v", f, p)
		}
		seen[stands{f.NetworkID, f.PortID, f.FixedAddr}] = true
	}
}
