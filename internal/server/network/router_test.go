package network

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

func (w *world) router(who authn.Principal, change ...func(*RouterSpec)) *model.Router {
	w.tb.Helper()
	rt, err := w.tryRouter(who, change...)
	if err != nil {
		w.tb.Fatalf("creating router: %v", err)
	}
	return rt
}

func (w *world) tryRouter(who authn.Principal, change ...func(*RouterSpec)) (*model.Router, error) {
	var spec RouterSpec
	for _, c := range change {
		c(&spec)
	}
	return try(w, func(tx *store.Tx) (*model.Router, error) { return w.rules.CreateRouter(tx, w.env, who, spec) })
}

func (w *world) tryUpdateRouter(who authn.Principal, id model.RouterID, spec RouterSpec) (*model.Router, error) {
	return try(w, func(tx *store.Tx) (*model.Router, error) { return w.rules.UpdateRouter(tx, w.env, who, id, spec, nil) })
}

func (w *world) tryAddLeg(who authn.Principal, id model.RouterID, spec LegSpec) (*Leg, error) {
	return try(w, func(tx *store.Tx) (*Leg, error) { return w.rules.AddRouterLeg(tx, w.env, who, id, spec) })
}

func (w *world) tryRemoveLeg(who authn.Principal, id model.RouterID, spec LegSpec) (*Leg, error) {
	return try(w, func(tx *store.Tx) (*Leg, error) { return w.rules.RemoveRouterLeg(tx, w.env, who, id, spec) })
}

func (w *world) addLeg(who authn.Principal, rt *model.Router, s *model.Subnet) *model.Port {
	w.tb.Helper()
	leg, err := w.tryAddLeg(who, rt.ID, bySubnet(s))
	if err != nil {
		w.tb.Fatalf("adding leg on %s: %v", s.CIDR, err)
	}
	return leg.Port
}

func (w *world) hostsOf(rt *model.Router) []string { return w.store.Snapshot().Router(rt.ID).Hosts }

func bySubnet(s *model.Subnet) LegSpec { return LegSpec{SubnetID: Some(s.ID)} }
func byPort(p *model.Port) LegSpec     { return LegSpec{PortID: Some(p.ID)} }

func via(n *model.Network, change ...func(*GatewaySpec)) func(*RouterSpec) {
	return func(s *RouterSpec) {
		gw := GatewaySpec{NetworkID: Some(n.ID)}
		for _, c := range change {
			c(&gw)
		}
		s.External = Some(gw)
	}
}

func redundant(on bool) func(*RouterSpec) { return func(s *RouterSpec) { s.HA = Some(on) } }

func gateway(h *model.Host) { h.Roles = []string{model.RoleGateway} }

// seen does what the dispatcher does when the agent of a host connects.
func (w *world) seen(name string, change ...func(*model.Host)) {
	before := w.store.Snapshot().Host(name)
	w.host(name, append([]func(*model.Host){gateway}, change...)...)
	if err := w.do(func(tx *store.Tx) error { w.rules.RebindHost(tx, w.env, before, name); return nil }); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) externalNetwork() (*model.Network, *model.Subnet) {
	n := w.network(admin, NetworkSpec{External: Some(true), NetworkType: Some("flat"), PhysicalNetwork: Some("physnet1")})
	return n, w.subnet(admin, n, "172.25.0.0/24", func(s *SubnetSpec) { s.EnableDHCP = Some(false) })
}

func TestRouterLegsRefused(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	sub := w.subnet(demo, n, "10.7.0.0/24")
	slaac0, slaac1 := w.subnet(demo, n, "fd00:7::/64", slaac), w.subnet(demo, n, "fd00:8::/64", slaac)
	far := w.network(demo, NetworkSpec{})
	overlapping := w.subnet(demo, far, "10.7.0.128/25")
	bare := w.subnet(demo, far, "10.9.0.0/24", func(s *SubnetSpec) { s.Gateway = NullOf[netip.Addr]() })
	foreignRA := w.subnet(demo, far, "fd00:9::/64", func(s *SubnetSpec) {
		s.AddressMode = Some(model.IPv6SLAAC)
	})
	shared := w.network(admin, NetworkSpec{Shared: Some(true)})
	foreign := w.subnet(admin, shared, "10.20.0.0/24", func(s *SubnetSpec) {
		s.Pools = Some([]model.Range{{First: addr("10.20.0.10"), Last: addr("10.20.0.20")}})
	})
	ext, extSub := w.externalNetwork()
	rt := w.router(demo, via(ext))
	w.addLeg(demo, rt, sub)
	w.addLeg(demo, rt, slaac0)
	used := w.port(demo, far, func(s *PortSpec) { s.DeviceID = Some("vm") })
	none := w.port(demo, far, func(s *PortSpec) { s.FixedIPs = Some([]FixedIPSpec{}) })
	wide := w.network(demo, NetworkSpec{})
	w.subnet(demo, wide, "10.31.0.0/24")
	w.subnet(demo, wide, "10.32.0.0/24")
	two := w.port(demo, wide, func(s *PortSpec) {
		s.FixedIPs = Some([]FixedIPSpec{{Addr: addr("10.31.0.5")}, {Addr: addr("10.32.0.5")}})
	})
	v6 := w.port(demo, n, func(s *PortSpec) { s.FixedIPs = Some([]FixedIPSpec{{SubnetID: slaac1.ID}}) })
	theirs := w.network(other, NetworkSpec{})
	hidden := w.subnet(other, theirs, "10.40.0.0/24")
	for _, c := range []struct {
		rule    string
		who     authn.Principal
		spec    LegSpec
		kind    fault.Kind
		typ     string
		message string
	}{
		{"nothing named", demo, LegSpec{}, fault.Invalid, "BadRequest", "Bad router request: Either subnet_id or port_id must be specified."},
		{"both named", demo, LegSpec{PortID: Some(used.ID), SubnetID: Some(sub.ID)}, fault.Invalid, "BadRequest", "Bad router request: Cannot specify both subnet-id and port-id."},
		{"twice", demo, bySubnet(sub), fault.Invalid, "BadRequest", "Bad router request: Router already has a port on subnet " + sub.ID.String() + "."},
		{"overlap", demo, bySubnet(overlapping), fault.Invalid, "BadRequest", ""},
		{"no gateway address", demo, bySubnet(bare), fault.Invalid, "BadRequest", "Bad router request: Subnet for router interface must have a gateway IP."},
		{"advertised by another router", demo, bySubnet(foreignRA), fault.Invalid, "BadRequest", ""},
		{"on the external network", admin, bySubnet(extSub), fault.Invalid, "BadRequest", ""},
		{"another project's subnet", demo, bySubnet(foreign), fault.Invalid, "BadRequest", ""},
		{"a hidden subnet", demo, bySubnet(hidden), fault.NotFound, "SubnetNotFound", ""},
		{"another project's router", other, bySubnet(bare), fault.NotFound, "RouterNotFound", ""},
		{"a reader", reader, bySubnet(bare), fault.Forbidden, "PolicyNotAuthorized", "rule:add_router_interface is disallowed by policy"},
		{"port in use", demo, byPort(used), fault.Conflict, "PortInUse", ""},
		{"port without address", demo, byPort(none), fault.Invalid, "BadRequest", ""},
		{"port with two IPv4 subnets", demo, byPort(two), fault.Invalid, "BadRequest", ""},
		{"second IPv6 port of a network", demo, byPort(v6), fault.Invalid, "BadRequest", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			before := w.store.Snapshot()
			_, err := w.tryAddLeg(c.who, rt.ID, c.spec)
			wantFault(t, err, c.kind, c.typ, c.message)
			if after := w.store.Snapshot(); after.Revision() != before.Revision() {
				t.Error("a refusal changed something")
			}
		})
	}
	// What is allowed beside: a port of one's own on a shared network, with an address of its pools.
	p := w.port(demo, shared)
	if leg, err := w.tryAddLeg(demo, rt.ID, byPort(p)); err != nil || leg.Subnets[0] != foreign.ID {
		t.Errorf("port on a shared network: %v", err)
	}
}

func TestRouterLeg(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RouterHA = false })
	w.seen("gw1")
	n := w.network(demo, NetworkSpec{})
	sub := w.subnet(demo, n, "10.7.0.0/24")
	first, second := w.subnet(demo, n, "fd00:7::/64", slaac), w.subnet(demo, n, "fd00:8::/64", slaac)
	rt := w.router(demo)
	p := w.addLeg(demo, rt, sub)
	if p.DeviceOwner != model.OwnerRouterInterface || p.DeviceID != rt.ID.String() || p.PortSecurity || p.SecurityGroups != nil ||
		p.ProjectID != "demo" || p.Binding.HostID != "gw1" || p.Binding.VIFType != model.VIFOVS || !slices.Equal(addrsOf(p), []string{"10.7.0.1"}) {
		t.Fatalf("leg %+v", p)
	}
	six := w.addLeg(demo, rt, first)
	if again := w.addLeg(demo, rt, second); again.ID != six.ID || !slices.Equal(addrsOf(again), []string{"fd00:7::", "fd00:8::"}) {
		t.Fatalf("second IPv6 prefix: %+v", again)
	}
	if got := w.store.Snapshot().Router(rt.ID).Revision; got != 4 {
		t.Errorf("revision %d, want 4", got)
	}
	if leg, err := w.tryRemoveLeg(demo, rt.ID, bySubnet(first)); err != nil || !slices.Equal(addrsOf(leg.Port), []string{"fd00:8::"}) {
		t.Fatalf("one of two prefixes: %+v, %v", leg, err)
	}
	wantFault(t, w.do(func(tx *store.Tx) error { return w.rules.DeleteRouter(tx, w.env, demo, rt.ID, nil) }), fault.Conflict, "RouterInUse", "")
	wantFault(t, w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, admin, p.ID, nil) }), fault.Conflict, "ServicePortInUse",
		"Port "+p.ID.String()+" cannot be deleted directly via the port API: has device owner network:router_interface.")
	wantFault(t, w.do(func(tx *store.Tx) error { return w.rules.DeleteSubnet(tx, w.env, demo, second.ID, nil) }), fault.Conflict, "SubnetInUse", "")
	_, err := try(w, func(tx *store.Tx) (*model.Subnet, error) {
		return w.rules.UpdateSubnet(tx, w.env, demo, sub.ID, SubnetSpec{Gateway: Some(addr("10.7.0.254"))}, nil)
	})
	wantFault(t, err, fault.Conflict, "GatewayIpInUse", "")
	_, err = w.tryRemoveLeg(demo, rt.ID, LegSpec{PortID: Some(p.ID), SubnetID: Some(second.ID)})
	wantFault(t, err, fault.Invalid, "SubnetMismatchForPort", "")
	for _, spec := range []LegSpec{byPort(p), bySubnet(second)} {
		if _, err := w.tryRemoveLeg(demo, rt.ID, spec); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.tryRemoveLeg(demo, rt.ID, byPort(p))
	wantFault(t, err, fault.NotFound, "RouterInterfaceNotFound", "")
	_, err = w.tryRemoveLeg(demo, rt.ID, bySubnet(sub))
	wantFault(t, err, fault.NotFound, "RouterInterfaceNotFoundForSubnet", "")
	if w.store.Snapshot().Port(p.ID) != nil {
		t.Error("the leg is still there")
	}
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteRouter(tx, w.env, demo, rt.ID, nil) }); err != nil {
		t.Error(err)
	}
}

func TestRouterGateway(t *testing.T) {
	w := newWorld(t)
	w.seen("gw1")
	ext, _ := w.externalNetwork()
	inner := w.network(demo, NetworkSpec{})
	sub := w.subnet(demo, inner, "10.7.0.0/24")
	fixed := func(a string) func(*GatewaySpec) {
		return func(g *GatewaySpec) { g.FixedIPs = Some([]FixedIPSpec{{Addr: addr(a)}}) }
	}
	noSNAT := func(g *GatewaySpec) { g.EnableSNAT = Some(false) }
	for _, c := range []struct {
		rule    string
		who     authn.Principal
		spec    func(*RouterSpec)
		kind    fault.Kind
		typ     string
		message string
	}{
		{"network is not external", demo, via(inner), fault.Invalid, "BadRequest", "Bad router request: Network " + inner.ID.String() + " is not an external network."},
		{"network is not there", demo, via(&model.Network{}), fault.NotFound, "NetworkNotFound", ""},
		{"address of the network's gateway", admin, via(ext, fixed("172.25.0.1")), fault.Invalid, "BadRequest", ""},
		{"addresses are for admins", demo, via(ext, fixed("172.25.0.77")), fault.Forbidden, "PolicyNotAuthorized",
			"(rule:create_router and (rule:create_router:external_gateway_info and (rule:create_router:external_gateway_info:network_id and " +
				"rule:create_router:external_gateway_info:external_fixed_ips))) is disallowed by policy"},
		{"so is SNAT", demo, via(ext, noSNAT), fault.Forbidden, "PolicyNotAuthorized", ""},
		{"distributed", demo, func(s *RouterSpec) { s.Distributed = Some(false) }, fault.Forbidden, "PolicyNotAuthorized",
			"(rule:create_router and rule:create_router:distributed) is disallowed by policy"},
		{"redundant", demo, redundant(false), fault.Forbidden, "PolicyNotAuthorized", ""},
		{"unknown zone", demo, func(s *RouterSpec) { s.ZoneHints = Some([]string{"moon"}) }, fault.NotFound, "AvailabilityZoneNotFound", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := w.tryRouter(c.who, c.spec)
			wantFault(t, err, c.kind, c.typ, c.message)
		})
	}
	rt := w.router(demo, via(ext))
	p := w.store.Snapshot().Port(rt.External.PortID)
	if p.ProjectID != "" || p.DeviceOwner != model.OwnerRouterGateway || p.DeviceID != rt.ID.String() || p.PortSecurity ||
		len(p.FixedIPs) != 1 || p.Binding.HostID != "gw1" || p.Binding.VIFType != model.VIFOVS || !rt.External.EnableSNAT {
		t.Fatalf("gateway port %+v of %+v", p, rt.External)
	}
	_, err := w.rules.Port(w.store.Snapshot(), demo, p.ID)
	wantFault(t, err, fault.NotFound, "PortNotFound", "")
	w.addLeg(demo, rt, sub)
	update := func(who authn.Principal, change func(*RouterSpec)) (*model.Router, error) {
		var spec RouterSpec
		change(&spec)
		return w.tryUpdateRouter(who, rt.ID, spec)
	}
	got, err := update(admin, via(ext, noSNAT, fixed("172.25.0.99")))
	if err != nil || got.External.EnableSNAT || got.External.PortID != p.ID || addrsOf(w.store.Snapshot().Port(p.ID))[0] != "172.25.0.99" {
		t.Fatalf("moved gateway: %+v, %v", got, err)
	}
	if got, err = update(demo, via(ext)); err != nil || got.External.EnableSNAT {
		t.Fatalf("naming the network again switched SNAT on: %+v, %v", got.External, err)
	}
	routes := func(hop string) func(*RouterSpec) {
		return func(s *RouterSpec) {
			s.Routes = Some([]model.Route{{Destination: prefix("192.168.77.0/24"), NextHop: addr(hop)}})
		}
	}
	for _, hop := range []string{"99.9.9.9", "10.7.0.1", "172.25.0.99", "fd00::1"} {
		_, err = update(demo, routes(hop))
		wantFault(t, err, fault.Invalid, "InvalidRoutes", "")
	}
	if _, err = update(demo, routes("172.25.0.1")); err != nil {
		t.Fatal(err)
	}
	_, err = update(demo, func(s *RouterSpec) { s.External = NullOf[GatewaySpec]() })
	wantFault(t, err, fault.Invalid, "InvalidRoutes", "")
	if _, err = update(demo, routes("10.7.0.9")); err != nil {
		t.Fatal(err)
	}
	_, err = w.tryRemoveLeg(demo, rt.ID, bySubnet(sub))
	wantFault(t, err, fault.Conflict, "RouterInterfaceInUseByRoute", "")
	_, err = try(w, func(tx *store.Tx) (*model.Network, error) {
		return w.rules.UpdateNetwork(tx, w.env, admin, ext.ID, NetworkSpec{External: Some(false)}, nil)
	})
	wantFault(t, err, fault.Conflict, "ExternalNetworkInUse", "")
	if got, err = update(demo, func(s *RouterSpec) { s.External = NullOf[GatewaySpec]() }); err != nil || got.External != nil || w.store.Snapshot().Port(p.ID) != nil {
		t.Fatalf("cleared: %+v, %v", got, err)
	}
	_, err = update(demo, func(s *RouterSpec) {
		for i := range 31 {
			s.Routes = Some(append(s.Routes.Value, model.Route{Destination: prefix(fmt.Sprintf("10.99.%d.0/24", i)), NextHop: addr("10.7.0.9")}))
		}
	})
	wantFault(t, err, fault.Invalid, "RoutesExhausted", "")
}

// Adding and removing routes keeps the others, and is no error when there is nothing to do.
func TestExtraRoutesOneByOne(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	rt := w.router(demo)
	w.addLeg(demo, rt, w.subnet(demo, n, "10.7.0.0/24"))
	route := func(i int) model.Route {
		return model.Route{Destination: prefix(fmt.Sprintf("192.168.%d.0/24", i)), NextHop: addr("10.7.0.9")}
	}
	for _, c := range []struct {
		add    bool
		routes []model.Route
		left   int
	}{
		{true, []model.Route{route(1), route(2)}, 2}, {true, []model.Route{route(2), route(3), route(3)}, 3},
		{false, []model.Route{route(1), route(9)}, 2}, {false, []model.Route{route(9)}, 2}, {false, []model.Route{route(2), route(3)}, 0},
	} {
		got, err := try(w, func(tx *store.Tx) (*model.Router, error) {
			return w.rules.ChangeRoutes(tx, w.env, demo, rt.ID, c.add, c.routes)
		})
		if err != nil || len(got.Routes) != c.left {
			t.Fatalf("add %v %v: %v, %v", c.add, c.routes, got.Routes, err)
		}
	}
	_, err := try(w, func(tx *store.Tx) (*model.Router, error) {
		return w.rules.ChangeRoutes(tx, w.env, demo, rt.ID, true, []model.Route{{Destination: prefix("0.0.0.0/0"), NextHop: addr("10.8.0.1")}})
	})
	wantFault(t, err, fault.Invalid, "InvalidRoutes", "")
}

func TestRouterKindChangesOnlyWhileDown(t *testing.T) {
	w := newWorld(t)
	for _, h := range []string{"gw1", "gw2"} {
		w.seen(h)
	}
	n := w.network(demo, NetworkSpec{})
	rt := w.router(demo)
	leg := w.addLeg(demo, rt, w.subnet(demo, n, "10.7.0.0/24"))
	if leg.DeviceOwner != model.OwnerRouterInterfaceHA || len(w.hostsOf(rt)) != 2 {
		t.Fatalf("leg %s, hosts %v", leg.DeviceOwner, w.hostsOf(rt))
	}
	_, err := w.tryUpdateRouter(admin, rt.ID, RouterSpec{Distributed: Some(true)})
	wantFault(t, err, fault.Invalid, "BadRequest", "")
	_, err = w.tryUpdateRouter(admin, rt.ID, RouterSpec{HA: Some(false), AdminStateUp: Some(false)})
	wantFault(t, err, fault.Invalid, "BadRequest", "")
	if _, err = w.tryUpdateRouter(demo, rt.ID, RouterSpec{AdminStateUp: Some(false)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec  RouterSpec
		owner string
		hosts int
	}{
		{RouterSpec{HA: Some(false)}, model.OwnerRouterInterface, 1},
		{RouterSpec{Distributed: Some(true)}, model.OwnerRouterInterfaceDistributed, 1},
		{RouterSpec{HA: Some(true)}, model.OwnerRouterInterfaceDistributed, 2},
		{RouterSpec{Distributed: Some(false)}, model.OwnerRouterInterfaceHA, 2},
	} {
		if _, err := w.tryUpdateRouter(admin, rt.ID, c.spec); err != nil {
			t.Fatal(err)
		}
		if got := w.store.Snapshot().Port(leg.ID).DeviceOwner; got != c.owner || len(w.hostsOf(rt)) != c.hosts {
			t.Errorf("%+v: leg %s, hosts %v", c.spec, got, w.hostsOf(rt))
		}
	}
}
