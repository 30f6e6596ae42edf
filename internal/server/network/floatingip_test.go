package network

import (
	"net/netip"
	"testing"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

func (w *world) tryFloating(who authn.Principal, spec FloatingIPSpec) (*model.FloatingIP, error) {
	return try(w, func(tx *store.Tx) (*model.FloatingIP, error) { return w.rules.CreateFloatingIP(tx, w.env, who, spec) })
}

func (w *world) floating(who authn.Principal, spec FloatingIPSpec) *model.FloatingIP {
	w.tb.Helper()
	f, err := w.tryFloating(who, spec)
	if err != nil {
		w.tb.Fatalf("creating floating IP: %v", err)
	}
	return f
}

func (w *world) tryUpdateFloating(who authn.Principal, id model.FloatingIPID, spec FloatingIPSpec) (*model.FloatingIP, error) {
	return try(w, func(tx *store.Tx) (*model.FloatingIP, error) {
		return w.rules.UpdateFloatingIP(tx, w.env, who, id, spec, nil)
	})
}

func (w *world) tryForward(who authn.Principal, f *model.FloatingIP, p *model.Port, change func(*PortForwardingSpec)) (*model.PortForwarding, error) {
	spec := PortForwardingSpec{FloatingIPID: f.ID, PortID: Some(p.ID), Protocol: Some("tcp"), ExternalPort: Some(8080), InternalPort: Some(80)}
	if change != nil {
		change(&spec)
	}
	return try(w, func(tx *store.Tx) (*model.PortForwarding, error) {
		return w.rules.CreatePortForwarding(tx, w.env, who, spec)
	})
}

// routed is a network of demo's that a router connects with an external network.
type routed struct {
	ext, inner   *model.Network
	extSub, sub  *model.Subnet
	router       *model.Router
	port, second *model.Port
}

func (w *world) routed() routed {
	var c routed
	c.ext, c.extSub = w.externalNetwork()
	c.inner = w.network(demo, NetworkSpec{})
	c.sub = w.subnet(demo, c.inner, "10.7.0.0/24")
	c.router = w.router(demo, via(c.ext))
	w.addLeg(demo, c.router, c.sub)
	c.port, c.second = w.port(demo, c.inner), w.port(demo, c.inner)
	return c
}

func TestFloatingIPRefused(t *testing.T) {
	w := newWorld(t)
	c := w.routed()
	island := w.network(demo, NetworkSpec{})
	w.subnet(demo, island, "10.8.0.0/24")
	far := w.port(demo, island)
	bare := w.port(demo, island, func(s *PortSpec) { s.FixedIPs = Some([]FixedIPSpec{}) })
	two := w.port(demo, c.inner, func(s *PortSpec) {
		s.FixedIPs = Some([]FixedIPSpec{{SubnetID: c.sub.ID}, {SubnetID: c.sub.ID}})
	})
	theirs := w.port(admin, c.inner)
	v6only := w.network(admin, NetworkSpec{External: Some(true)})
	w.subnet(admin, v6only, "fd00:1::/64", func(s *SubnetSpec) { s.EnableDHCP = Some(false) })
	taken := w.floating(demo, FloatingIPSpec{NetworkID: Some(c.ext.ID), PortID: Some(c.port.ID)})
	var leg *model.Port
	for p := range w.store.Snapshot().PortsByDevice(c.router.ID.String()) {
		if p.IsRouterLeg() {
			leg = p
		}
	}
	on := func(p *model.Port) FloatingIPSpec { return FloatingIPSpec{PortID: Some(p.ID)} }
	for _, x := range []struct {
		rule    string
		who     authn.Principal
		spec    FloatingIPSpec
		kind    fault.Kind
		typ     string
		message string
	}{
		{"network is not external", demo, FloatingIPSpec{NetworkID: Some(c.inner.ID)}, fault.Invalid, "BadRequest",
			"Bad floatingip request: Network " + c.inner.ID.String() + " is not a valid external network."},
		{"network without IPv4", demo, FloatingIPSpec{NetworkID: Some(v6only.ID)}, fault.Invalid, "BadRequest", ""},
		{"address is for admins", demo, FloatingIPSpec{Addr: Some(addr("172.25.0.51"))}, fault.Forbidden, "PolicyNotAuthorized",
			"(rule:create_floatingip and rule:create_floatingip:floating_ip_address) is disallowed by policy"},
		{"address taken", admin, FloatingIPSpec{Addr: Some(taken.Addr)}, fault.Conflict, "IpAddressAlreadyAllocated", ""},
		{"the network's gateway", admin, FloatingIPSpec{Addr: Some(c.extSub.Gateway)}, fault.Invalid, "BadRequest", ""},
		{"address elsewhere", admin, FloatingIPSpec{Addr: Some(addr("192.0.2.1"))}, fault.Invalid, "InvalidIpForNetwork", ""},
		{"fixed address without port", demo, FloatingIPSpec{FixedAddr: Some(addr("10.7.0.9"))}, fault.Invalid, "BadRequest",
			"Bad floatingip request: fixed_ip_address cannot be specified without a port_id."},
		{"unreachable", demo, on(far), fault.NotFound, "ExternalGatewayForFloatingIPNotFound", "External network " + c.ext.ID.String() +
			" is not reachable from subnet " + far.FixedIPs[0].SubnetID.String() + ".  Therefore, cannot associate Port " + far.ID.String() + " with a Floating IP."},
		{"port without address", demo, on(bare), fault.Invalid, "BadRequest", ""},
		{"port with several addresses", demo, on(two), fault.Invalid, "BadRequest", ""},
		{"another project's port", demo, on(theirs), fault.Invalid, "BadRequest", ""},
		{"a router's leg", demo, on(leg), fault.Invalid, "BadRequest", ""},
		{"a hidden port", other, on(c.port), fault.NotFound, "PortNotFound", ""},
		{"associated already", demo, on(c.port), fault.Conflict, "FloatingIPPortAlreadyAssociated", ""},
		{"address that the port has not", demo, FloatingIPSpec{PortID: Some(two.ID), FixedAddr: Some(addr("10.7.0.250"))}, fault.Invalid, "BadRequest", ""},
	} {
		t.Run(x.rule, func(t *testing.T) {
			if !x.spec.NetworkID.Set {
				x.spec.NetworkID = Some(c.ext.ID)
			}
			before := w.store.Snapshot().Revision()
			_, err := w.tryFloating(x.who, x.spec)
			wantFault(t, err, x.kind, x.typ, x.message)
			if w.store.Snapshot().Revision() != before {
				t.Error("a refusal changed something")
			}
		})
	}
	if f, err := w.tryFloating(demo, FloatingIPSpec{NetworkID: Some(c.ext.ID), PortID: Some(two.ID), FixedAddr: Some(two.FixedIPs[1].Addr)}); err != nil || f.FixedAddr != two.FixedIPs[1].Addr {
		t.Errorf("one of several addresses: %v", err)
	}
}

func TestFloatingIPLife(t *testing.T) {
	w := newWorld(t)
	w.seen("gw1")
	c := w.routed()
	f := w.floating(demo, FloatingIPSpec{NetworkID: Some(c.ext.ID), SubnetID: Some(c.extSub.ID)})
	held := w.store.Snapshot().Port(f.ReservedPortID)
	if held.ProjectID != "" || held.DeviceOwner != model.OwnerFloatingIP || held.DeviceID != f.ID.String() || held.PortSecurity ||
		held.FixedIPs[0].Addr != f.Addr || !c.extSub.CIDR.Contains(f.Addr) || !f.RouterID.IsZero() || f.Revision != 0 {
		t.Fatalf("floating IP %+v, its port %+v", f, held)
	}
	status := func() string {
		s := w.store.Snapshot()
		f := s.FloatingIP(f.ID)
		rt := s.Router(f.RouterID)
		if rt == nil {
			return f.Status(nil, nil, nil)
		}
		return f.Status(rt, s.Port(rt.External.PortID), s.PortReport(rt.External.PortID))
	}
	update := func(who authn.Principal, spec FloatingIPSpec) *model.FloatingIP {
		t.Helper()
		got, err := w.tryUpdateFloating(who, f.ID, spec)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := update(demo, FloatingIPSpec{PortID: Some(c.port.ID)})
	if got.RouterID != c.router.ID || got.FixedAddr != c.port.FixedIPs[0].Addr || got.Revision != 1 || status() != "DOWN" {
		t.Fatalf("associated %+v, %s", got, status())
	}
	gw := w.store.Snapshot().Port(c.router.External.PortID)
	if err := w.do(func(tx *store.Tx) error {
		tx.PutPortReport(&model.PortReport{PortID: gw.ID, HostReport: model.HostReport{Host: "gw1", Revision: gw.Revision, State: model.ReportActive}})
		return nil
	}); err != nil || status() != "ACTIVE" {
		t.Fatalf("reported by its gateway host: %s, %v", status(), err)
	}
	if got = update(demo, FloatingIPSpec{Description: Some("x")}); got.PortID != c.port.ID {
		t.Fatal("an update that names no port took it away")
	}
	// What needs it is in the way.
	_, err := w.tryUpdateRouter(demo, c.router.ID, RouterSpec{External: NullOf[GatewaySpec]()})
	wantFault(t, err, fault.Conflict, "RouterExternalGatewayInUseByFloatingIp", "")
	_, err = w.tryRemoveLeg(demo, c.router.ID, bySubnet(c.sub))
	wantFault(t, err, fault.Conflict, "RouterInterfaceInUseByFloatingIP", "")
	_, err = w.tryUpdatePort(demo, c.port.ID, PortSpec{FixedIPs: Some([]FixedIPSpec{{Addr: addr("10.7.0.199")}})})
	wantFault(t, err, fault.Invalid, "BadRequest", "")
	wantFault(t, w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, admin, held.ID, nil) }), fault.Conflict, "ServicePortInUse", "")
	// A port that goes takes the association along.
	if got = update(demo, FloatingIPSpec{PortID: Some(c.second.ID)}); got.PortID != c.second.ID {
		t.Fatal("not associated anew")
	}
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, demo, c.second.ID, nil) }); err != nil {
		t.Fatal(err)
	}
	if got = w.store.Snapshot().FloatingIP(f.ID); !got.PortID.IsZero() || got.FixedAddr.IsValid() || !got.RouterID.IsZero() || status() != "DOWN" {
		t.Fatalf("after its port was deleted: %+v", got)
	}
	update(demo, FloatingIPSpec{PortID: Some(c.port.ID)})
	if got = update(demo, FloatingIPSpec{PortID: NullOf[model.PortID]()}); !got.PortID.IsZero() || !got.RouterID.IsZero() {
		t.Fatalf("disassociated: %+v", got)
	}
	// An admin's floating IP on a project's port is not the project's to end.
	w.floating(admin, FloatingIPSpec{NetworkID: Some(c.ext.ID), PortID: Some(c.port.ID)})
	wantFault(t, w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, demo, c.port.ID, nil) }), fault.Conflict, "FipAssociated", "")
	del := func(who authn.Principal) error {
		return w.do(func(tx *store.Tx) error { return w.rules.DeleteFloatingIP(tx, w.env, who, f.ID, nil) })
	}
	wantFault(t, del(other), fault.NotFound, "FloatingIPNotFound", "")
	if err := del(demo); err != nil || w.store.Snapshot().Port(held.ID) != nil {
		t.Fatalf("deleted: %v", err)
	}
}

func TestFloatingIPQuota(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quotas[QuotaFloatingIP], c.Quotas[QuotaRouter] = 1, 1 })
	c := w.routed()
	w.floating(demo, FloatingIPSpec{NetworkID: Some(c.ext.ID)})
	_, err := w.tryFloating(demo, FloatingIPSpec{NetworkID: Some(c.ext.ID)})
	wantFault(t, err, fault.QuotaExceeded, "OverQuota", "Quota exceeded for resources: ['floatingip'].")
	_, err = w.tryRouter(demo)
	wantFault(t, err, fault.QuotaExceeded, "OverQuota", "Quota exceeded for resources: ['router'].")
}

// A network goes with the floating IPs that lead nowhere, and stays while one leads somewhere.
func TestExternalNetworkGoesWithIdleFloatingIPs(t *testing.T) {
	w := newWorld(t)
	ext, _ := w.externalNetwork()
	f := w.floating(demo, FloatingIPSpec{NetworkID: Some(ext.ID)})
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteNetwork(tx, w.env, admin, ext.ID, nil) }); err != nil {
		t.Fatal(err)
	}
	if s := w.store.Snapshot(); s.FloatingIP(f.ID) != nil || s.Port(f.ReservedPortID) != nil {
		t.Error("the floating IP is still there")
	}
}

func TestPortForwarding(t *testing.T) {
	w := newWorld(t)
	c := w.routed()
	f := w.floating(demo, FloatingIPSpec{NetworkID: Some(c.ext.ID)})
	bound := w.floating(demo, FloatingIPSpec{NetworkID: Some(c.ext.ID), PortID: Some(c.second.ID)})
	pf, err := w.tryForward(demo, f, c.port, nil)
	if err != nil || pf.InternalAddr != c.port.FixedIPs[0].Addr || pf.IPProtocol != 6 || w.store.Snapshot().FloatingIP(f.ID).RouterID != c.router.ID {
		t.Fatalf("forwarding %+v, %v", pf, err)
	}
	ranges := func(external, internal, protocol string) func(*PortForwardingSpec) {
		return func(s *PortForwardingSpec) {
			s.ExternalPort, s.InternalPort = Opt[int]{}, Opt[int]{}
			s.ExternalRange, s.InternalRange, s.Protocol = Some(external), Some(internal), Some(protocol)
		}
	}
	island := w.network(demo, NetworkSpec{})
	w.subnet(demo, island, "10.8.0.0/24")
	for _, x := range []struct {
		rule   string
		who    authn.Principal
		f      *model.FloatingIP
		p      *model.Port
		change func(*PortForwardingSpec)
		kind   fault.Kind
		typ    string
	}{
		{"external collision", demo, f, c.port, func(s *PortForwardingSpec) { s.InternalPort = Some(81) }, fault.Invalid, "BadRequest"},
		{"internal collision", demo, f, c.port, func(s *PortForwardingSpec) { s.ExternalPort = Some(81) }, fault.Invalid, "BadRequest"},
		{"range collision", demo, f, c.port, ranges("8000:9000", "100", "tcp"), fault.Invalid, "BadRequest"},
		{"floating IP has a port", demo, bound, c.port, func(s *PortForwardingSpec) { s.ExternalPort, s.InternalPort = Some(1), Some(1) }, fault.Conflict, "FloatingIPPortAlreadyAssociated"},
		{"port has a floating IP", demo, f, c.second, func(s *PortForwardingSpec) { s.ExternalPort = Some(2) }, fault.Conflict, "PortHasBindingFloatingIP"},
		{"ranges of different length", demo, f, c.port, ranges("100:110", "200:205", "udp"), fault.Invalid, "BadRequest"},
		{"range backwards", demo, f, c.port, ranges("110:100", "100", "udp"), fault.Invalid, "HTTPBadRequest"},
		{"port 0", demo, f, c.port, ranges("0:1", "1", "udp"), fault.Invalid, "HTTPBadRequest"},
		{"port 65536", demo, f, c.port, ranges("65536", "1", "udp"), fault.Invalid, "HTTPBadRequest"},
		{"a word", demo, f, c.port, ranges("http", "1", "udp"), fault.Invalid, "HTTPBadRequest"},
		{"unknown protocol", demo, f, c.port, ranges("1", "1", "gre"), fault.Invalid, "HTTPBadRequest"},
		{"ICMP with ports", demo, f, c.port, ranges("1", "1", "icmp"), fault.Invalid, "BadRequest"},
		{"no port", demo, f, c.port, func(s *PortForwardingSpec) { s.ExternalPort = Opt[int]{} }, fault.Invalid, "BadRequest"},
		{"an address that the port has not", demo, f, c.port, func(s *PortForwardingSpec) {
			s.ExternalPort, s.InternalAddr = Some(3), Some(addr("10.7.0.251"))
		}, fault.Invalid, "BadRequest"},
		{"unreachable", demo, f, w.port(demo, island), func(s *PortForwardingSpec) { s.ExternalPort = Some(4) }, fault.Invalid, "BadRequest"},
		{"another project's port", demo, f, w.port(admin, c.inner), func(s *PortForwardingSpec) { s.ExternalPort = Some(5) }, fault.Invalid, "BadRequest"},
		{"another project's floating IP", other, f, c.port, nil, fault.NotFound, "FloatingIPNotFound"},
	} {
		t.Run(x.rule, func(t *testing.T) {
			before := w.store.Snapshot().Revision()
			_, err := w.tryForward(x.who, x.f, x.p, x.change)
			wantFault(t, err, x.kind, x.typ, "")
			if w.store.Snapshot().Revision() != before {
				t.Error("a refusal changed something")
			}
		})
	}
	if _, err := w.tryForward(demo, f, c.port, ranges("200:210", "100:110", "udp")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tryForward(demo, f, c.port, ranges("300:310", "22", "udp")); err != nil {
		t.Fatal(err)
	}
	_, err = w.tryUpdateFloating(demo, f.ID, FloatingIPSpec{PortID: Some(w.port(demo, c.inner).ID)})
	wantFault(t, err, fault.Conflict, "FipInUseByPortForwarding", "")
	wantFault(t, w.do(func(tx *store.Tx) error { return w.rules.DeleteFloatingIP(tx, w.env, demo, f.ID, nil) }), fault.Conflict, "FipInUseByPortForwarding", "")
	_, err = w.tryRemoveLeg(demo, c.router.ID, bySubnet(c.sub))
	wantFault(t, err, fault.Conflict, "RouterInterfaceInUseByFloatingIP", "")
	got, err := try(w, func(tx *store.Tx) (*model.PortForwarding, error) {
		return w.rules.UpdatePortForwarding(tx, w.env, demo, pf.ID, PortForwardingSpec{ExternalPort: Some(8081)}, nil)
	})
	if err != nil || got.ExternalMin != 8081 || got.InternalMin != 80 {
		t.Fatalf("changed %+v, %v", got, err)
	}
	// The port's other address ends its forwardings; with the last one, the floating IP is free.
	if _, err := w.tryUpdatePort(demo, c.port.ID, PortSpec{FixedIPs: Some([]FixedIPSpec{{SubnetID: c.sub.ID, Addr: netip.MustParseAddr("10.7.0.200")}})}); err != nil {
		t.Fatal(err)
	}
	s := w.store.Snapshot()
	for range s.PortForwardingsByFloatingIP(f.ID) {
		t.Error("a forwarding to an address that is gone")
	}
	if !s.FloatingIP(f.ID).RouterID.IsZero() {
		t.Error("the floating IP is still tied to the router")
	}
}
