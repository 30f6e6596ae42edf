package hostview

import (
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/server/store"
)

// serves reports whether a host is one of a router's gateways.
func serves(r *model.Router, host string) bool {
	return r != nil && slices.Contains(r.Gateways(), host)
}

// router is a router that the host serves, or that has a leg on a network with a port on the host.
func (b builder) router(id model.RouterID) *model.RouterView {
	if _, ok := b.scope.Routers[id]; !ok {
		return nil
	}
	return routerView(b.snap, id)
}

// floating is a floating IP of a router that the host serves or, when the router is distributed,
// of a port on the host.
func (b builder) floating(id model.FloatingIPID) *model.FloatingView {
	f := b.snap.FloatingIP(id)
	if f == nil {
		return nil
	}
	if _, ok := b.scope.Routers[f.RouterID]; !ok {
		return nil
	}
	r := b.snap.Router(f.RouterID)
	if r == nil || !serves(r, b.host) && !(r.Distributed && local(b.snap, b.snap.Port(f.PortID), b.host)) {
		return nil
	}
	return floatingView(b.snap, f)
}

// routerView is a router as hosts see it.
func routerView(s *store.Snapshot, id model.RouterID) *model.RouterView {
	r := s.Router(id)
	if r == nil {
		return nil
	}
	v := &model.RouterView{ID: id, Revision: r.Revision, AdminStateUp: r.AdminStateUp, Distributed: r.Distributed, Routes: r.Routes}
	for _, name := range r.Gateways() {
		g := model.GatewayView{Host: name}
		if h := s.Host(name); h != nil {
			g.Tunnel = h.TunnelAddr
		}
		v.Gateways = append(v.Gateways, g)
	}
	for p := range s.PortsByDevice(id.String()) {
		switch {
		case p.IsRouterLeg():
			v.Legs = append(v.Legs, legView(s, p))
		case r.External != nil && p.ID == r.External.PortID:
			v.External = &model.ExternalView{LegView: legView(s, p), NextHops: nextHops(s, p), SNAT: r.External.EnableSNAT}
		}
	}
	return v
}

func legView(s *store.Snapshot, p *model.Port) model.LegView {
	l := model.LegView{PortID: p.ID, NetworkID: p.NetworkID, MAC: p.MAC, Scope: s.NetworkScope(p.NetworkID, 4), Scope6: s.NetworkScope(p.NetworkID, 6)}
	if n := s.Network(p.NetworkID); n != nil {
		l.MTU = n.MTU
	}
	for _, f := range p.FixedIPs {
		if sub := s.Subnet(f.SubnetID); sub != nil {
			l.Addrs = append(l.Addrs, netip.PrefixFrom(f.Addr, sub.CIDR.Bits()))
		}
	}
	return l
}

// nextHops are the gateways of the subnets that an external leg has addresses on, the first of
// each family.
func nextHops(s *store.Snapshot, p *model.Port) []netip.Addr {
	var out []netip.Addr
	for _, f := range p.FixedIPs {
		sub := s.Subnet(f.SubnetID)
		if sub == nil || !sub.Gateway.IsValid() {
			continue
		}
		if !slices.ContainsFunc(out, func(a netip.Addr) bool { return a.Is4() == sub.Gateway.Is4() }) {
			out = append(out, sub.Gateway)
		}
	}
	return out
}

func floatingView(s *store.Snapshot, f *model.FloatingIP) *model.FloatingView {
	v := &model.FloatingView{ID: f.ID, Revision: f.Revision, RouterID: f.RouterID, Addr: f.Addr}
	if f.FixedAddr.IsValid() && !f.PortID.IsZero() {
		v.Fixed, v.PortID = f.FixedAddr, f.PortID
		if p := s.Port(f.PortID); p != nil && p.Binding.VIFType == model.VIFOVS {
			v.PortHost = p.Binding.HostID
			v.AtPort = servedAtPort(s, f, p.Binding.HostID)
		}
	}
	for w := range s.PortForwardingsByFloatingIP(f.ID) {
		v.Forwarding = append(v.Forwarding, model.ForwardingView{
			ID: w.ID, Protocol: w.IPProtocol, Internal: w.InternalAddr,
			ExternalMin: w.ExternalMin, ExternalMax: w.ExternalMax, InternalMin: w.InternalMin, InternalMax: w.InternalMax,
		})
	}
	return v
}

// servedAtPort reports whether a floating IP is served by the host of its port: the router is distributed, the host has a
// bridge for the external network, and is none of the gateways, whose namespace has the router whole.
func servedAtPort(s *store.Snapshot, f *model.FloatingIP, host string) bool {
	r, h, n := s.Router(f.RouterID), s.Host(host), s.Network(f.NetworkID)
	if r == nil || h == nil || n == nil || !r.Distributed || serves(r, host) || !f.Addr.Is4() || !f.FixedAddr.Is4() {
		return false
	}
	segment, ok := segmentOn(n, h)
	return ok && segment.Physical != ""
}

// routersOn yields the routers whose view hosts with a port on the network need: those with a leg
// there, and those whose external network it is when it is tunnelled, so that their gateways are
// found by tunnels.
func routersOn(s *store.Snapshot, id model.NetworkID, yield func(model.RouterID)) {
	n := s.Network(id)
	tunnelled := n != nil && slices.ContainsFunc(n.Segments, func(g model.Segment) bool { return g.Type.IsTunnel() })
	for p := range s.RouterPortsByNetwork(id) {
		if r, ok := p.RouterOf(); ok && (tunnelled || p.IsRouterLeg()) {
			yield(r)
		}
	}
}

// routerPorts looks at a router's ports: which host has them depends on the router's hosts.
func (d *differ) routerPorts(id model.RouterID) {
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for p := range s.PortsByDevice(id.String()) {
			d.port(p.ID)
		}
	}
}

// routerFloating looks at all floating IPs of a router.
func (d *differ) routerFloating(id model.RouterID) {
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for f := range s.FloatingIPsByRouter(id) {
			d.floating(f.ID)
		}
	}
}

// hostFloating looks at the floating IPs of the ports on a host, which may serve them.
func (d *differ) hostFloating(host string) {
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for p := range s.PortsByHost(host) {
			for f := range s.FloatingIPsByPort(p.ID) {
				d.floating(f.ID)
			}
		}
	}
}

// networkFloating looks at the floating IPs of an external network, which hosts reach by its segments.
func (d *differ) networkFloating(id model.NetworkID) {
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for f := range s.FloatingIPsByNetwork(id) {
			d.floating(f.ID)
		}
	}
}

// routerChange looks at what a router's row decides.
func (d *differ) routerChange(c store.Change, id model.RouterID) {
	d.router(id)
	b, _ := c.Before.(*model.Router)
	a, _ := c.After.(*model.Router)
	if a == nil || b == nil || a.Distributed != b.Distributed || !slices.Equal(a.Gateways(), b.Gateways()) {
		d.routerPorts(id)
		d.routerFloating(id)
	}
}

// portRouting looks at the routers and floating IPs that a port takes part in.
func (d *differ) portRouting(p *model.Port) {
	if r, ok := p.RouterOf(); ok {
		d.router(r)
		return
	}
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for f := range s.FloatingIPsByPort(p.ID) {
			d.floating(f.ID)
		}
	}
}

// networkRouters looks at the routers with a port on a network, whose MTU or subnets changed.
func (d *differ) networkRouters(id model.NetworkID) {
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for p := range s.RouterPortsByNetwork(id) {
			if r, ok := p.RouterOf(); ok {
				d.router(r)
			}
		}
	}
}

// poolMoved looks at the routers on the networks of a subnet pool that changed its address scope.
func (d *differ) poolMoved(c store.Change, id model.SubnetPoolID) {
	b, _ := c.Before.(*model.SubnetPool)
	a, _ := c.After.(*model.SubnetPool)
	if a != nil && b != nil && a.AddressScopeID == b.AddressScopeID {
		return
	}
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for sub := range s.SubnetsByPool(id) {
			d.networkRouters(sub.NetworkID)
		}
	}
}

// gatewayMoved looks at the routers that a host serves, whose tunnel address changed.
func (d *differ) gatewayMoved(host string) {
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for r := range s.RoutersByHost(host) {
			d.router(r.ID)
		}
	}
}

func (d *differ) router(id model.RouterID) {
	if k := (model.ObjectKey{Kind: model.KindRouter, ID: id.UUID}); d.first(k) {
		settle(d, k, d.old.router(id), d.new.router(id), &d.delta.Routers)
	}
}

func (d *differ) floating(id model.FloatingIPID) {
	if k := (model.ObjectKey{Kind: model.KindFloating, ID: id.UUID}); d.first(k) {
		settle(d, k, d.old.floating(id), d.new.floating(id), &d.delta.Floating)
	}
}
