package hostpb

import (
	"weft/internal/model"
)

func toRouter(r *model.RouterView) *Router {
	m := &Router{Id: r.ID.UUID[:], Revision: r.Revision, AdminStateUp: r.AdminStateUp, Distributed: r.Distributed, Routes: toRoutes(r.Routes)}
	for _, g := range r.Gateways {
		m.Gateways = append(m.Gateways, &Gateway{Host: g.Host, Tunnel: toAddr(g.Tunnel)})
	}
	for i := range r.Legs {
		m.Legs = append(m.Legs, toLeg(&r.Legs[i]))
	}
	if e := r.External; e != nil {
		m.External = &External{Leg: toLeg(&e.LegView), NextHops: toAddrs(e.NextHops), Snat: e.SNAT}
	}
	return m
}

func toLeg(l *model.LegView) *Leg {
	m := &Leg{PortId: l.PortID.UUID[:], NetworkId: l.NetworkID.UUID[:], Mac: toMAC(l.MAC), Addrs: toPrefixes(l.Addrs), Mtu: uint32(l.MTU)}
	if !l.Scope.IsZero() {
		m.Scope = l.Scope.UUID[:]
	}
	if !l.Scope6.IsZero() {
		m.Scope6 = l.Scope6.UUID[:]
	}
	return m
}

func toFloating(f *model.FloatingView) *Floating {
	m := &Floating{Id: f.ID.UUID[:], Revision: f.Revision, RouterId: f.RouterID.UUID[:], Addr: toAddr(f.Addr), Fixed: toAddr(f.Fixed), PortHost: f.PortHost, AtPort: f.AtPort}
	if !f.PortID.IsZero() {
		m.PortId = f.PortID.UUID[:]
	}
	for _, w := range f.Forwarding {
		m.Forwarding = append(m.Forwarding, &Forwarding{
			Id: w.ID.UUID[:], Protocol: uint32(w.Protocol), Internal: toAddr(w.Internal),
			ExternalMin: uint32(w.ExternalMin), ExternalMax: uint32(w.ExternalMax), InternalMin: uint32(w.InternalMin), InternalMax: uint32(w.InternalMax),
		})
	}
	return m
}

func (r *reader) router(m *Router) *model.RouterView {
	v := &model.RouterView{
		ID: model.RouterID{UUID: r.id(m.GetId())}, Revision: m.GetRevision(), AdminStateUp: m.GetAdminStateUp(),
		Distributed: m.GetDistributed(), Routes: r.routes(m.GetRoutes()),
	}
	for _, g := range m.GetGateways() {
		v.Gateways = append(v.Gateways, model.GatewayView{Host: g.GetHost(), Tunnel: r.addr(g.GetTunnel())})
	}
	for _, l := range m.GetLegs() {
		v.Legs = append(v.Legs, r.leg(l))
	}
	if e := m.GetExternal(); e != nil {
		v.External = &model.ExternalView{LegView: r.leg(e.GetLeg()), NextHops: r.addrs(e.GetNextHops()), SNAT: e.GetSnat()}
	}
	return v
}

func (r *reader) leg(m *Leg) model.LegView {
	v := model.LegView{
		PortID: model.PortID{UUID: r.id(m.GetPortId())}, NetworkID: model.NetworkID{UUID: r.id(m.GetNetworkId())},
		MAC: r.mac(m.GetMac()), MTU: int(m.GetMtu()),
		Scope: model.AddressScopeID{UUID: r.optionalID(m.GetScope())}, Scope6: model.AddressScopeID{UUID: r.optionalID(m.GetScope6())},
	}
	if v.MAC.IsZero() {
		r.bad("a leg without a MAC address")
	}
	for _, p := range m.GetAddrs() {
		v.Addrs = append(v.Addrs, r.prefix(p))
	}
	return v
}

func (r *reader) floating(m *Floating) *model.FloatingView {
	v := &model.FloatingView{
		ID: model.FloatingIPID{UUID: r.id(m.GetId())}, Revision: m.GetRevision(), RouterID: model.RouterID{UUID: r.id(m.GetRouterId())},
		Addr: r.addr(m.GetAddr()), Fixed: r.addr(m.GetFixed()), PortID: model.PortID{UUID: r.optionalID(m.GetPortId())}, PortHost: m.GetPortHost(), AtPort: m.GetAtPort(),
	}
	if !v.Addr.IsValid() {
		r.bad("no address")
	}
	for _, w := range m.GetForwarding() {
		f := model.ForwardingView{
			ID: model.PortForwardingID{UUID: r.id(w.GetId())}, Protocol: int(w.GetProtocol()), Internal: r.addr(w.GetInternal()),
			ExternalMin: r.port16(w.GetExternalMin()), ExternalMax: r.port16(w.GetExternalMax()),
			InternalMin: r.port16(w.GetInternalMin()), InternalMax: r.port16(w.GetInternalMax()),
		}
		if !f.Internal.IsValid() {
			r.bad("a forwarding to no address")
		}
		v.Forwarding = append(v.Forwarding, f)
	}
	return v
}

func (r *reader) port16(n uint32) int {
	if n > 65535 {
		r.bad("port %d", n)
	}
	return int(n)
}
