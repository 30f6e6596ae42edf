package pipeline

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// Distributed routers: a packet from a port of this host to a leg, whose destination is a known port
// on another leg's subnet, is routed here and goes straight to that port's host. Everything else that a
// router is asked for, errors above all, is the business of the gateway that its MAC leads to.

// ethernetHeader is what a packet is longer by than its MTU says, in bytes.
const ethernetHeader = 14

// routeFixed makes the flows that are there when a distributed router is.
func (b *builder) routeFixed() {
	c := Cookie(model.KindHost, model.UUID{})
	onward := flow.GotoTable{Table: IntRateLimit}
	for _, ip := range []func() flow.Match{flow.MatchIPv4, flow.MatchIPv6} {
		for ttl := range uint64(2) { // it would arrive with none left (RFC 1812, 5.3.1)
			b.brInt(c, IntRoute, prioRefused, ip().Uint(flow.NWTTL, ttl), onward)
		}
	}
	b.brInt(c, IntRoute, prioMiss, flow.Match{}, onward)
	b.brInt(c, IntRouted, prioRefused, flow.Match{}.Masked(RegTooBig, 1, 1), onward)
	b.brInt(c, IntRouted, prioMiss, flow.Match{}, onward)
}

// distributed is a distributed router with its legs on networks of this host.
type distributed struct {
	id   model.RouterID
	key  uint64 // in RegRouter: the first 32 bits of its id
	legs []routedLeg
	used map[netip.Prefix]bool
	// The address scopes of the legs, by family.
	scopes4, scopes6 []model.AddressScopeID
}

// scope is the number that a leg's address scope has here, 0 when the legs are of one.
func (d *distributed) scope(l *model.LegView, v4 bool) uint64 {
	scope, all := l.Scope6, d.scopes6
	if v4 {
		scope, all = l.Scope, d.scopes4
	}
	if len(all) < 2 {
		return 0
	}
	return uint64(1 + slices.Index(all, scope))
}

// taken reports whether a destination has its flow already: of two legs or ports that have it the first counts.
func (d *distributed) taken(dst netip.Prefix) bool {
	if d.used == nil {
		d.used = map[netip.Prefix]bool{}
	}
	was := d.used[dst]
	d.used[dst] = true
	return was
}

type routedLeg struct {
	network *network
	view    *model.LegView
}

// distributedRouters finds the routers that this host routes for.
func (b *builder) distributedRouters() []*distributed {
	byID := map[model.RouterID]*distributed{}
	keys := map[uint64]bool{}
	var out []*distributed
	for _, n := range b.networks {
		for i := range n.legs {
			l := &n.legs[i]
			r := b.in.Routers[l.router].View
			if !r.Distributed || l.external {
				continue
			}
			d := byID[l.router]
			if d == nil {
				d = &distributed{id: l.router, key: uint64(binary.BigEndian.Uint32(l.router.UUID[:4]))}
				byID[l.router] = d
				if d.key == 0 || keys[d.key] {
					b.problem(model.KindRouter, d.id.UUID, "another router's id begins alike: the gateway routes for this one")
				} else {
					keys[d.key] = true
					out = append(out, d)
				}
			}
			d.legs = append(d.legs, routedLeg{n, l.view})
		}
	}
	return out
}

// route makes a distributed router's flows.
func (b *builder) route(d *distributed) {
	if len(d.legs) < 2 {
		return
	}
	c := Cookie(model.KindRouter, d.id.UUID)
	widest := 0
	for _, l := range d.legs {
		widest = max(widest, l.view.MTU)
		d.scopes4, d.scopes6 = append(d.scopes4, l.view.Scope), append(d.scopes6, l.view.Scope6)
	}
	d.scopes4, d.scopes6 = model.SortScopes(d.scopes4), model.SortScopes(d.scopes6)
	for _, l := range d.legs {
		for _, v4 := range []bool{true, false} {
			ip := flow.MatchIPv6()
			if v4 {
				ip = flow.MatchIPv4()
			}
			actions := []flow.Action{flow.Set(RegRouter, d.key)}
			if n := d.scope(l.view, v4); n > 0 {
				actions = append(actions, flow.Set(RegScope, n))
			}
			b.brInt(c, IntLocalEgress, prioToLeg, l.network.on(ip).EthDst(hw(l.view.MAC)), append(actions, flow.GotoTable{Table: IntRoute})...)
		}
		for _, p := range l.view.Addrs {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
			if d.taken(p) {
				continue
			}
			var actions []flow.Action
			if l.view.MTU < widest {
				actions = append(actions, flow.CheckPktLarger{Len: uint16(l.view.MTU + ethernetHeader), Dst: flow.Range(RegTooBig, 0, 0)})
			}
			to := d.to(p)
			if n := d.scope(l.view, p.Addr().Is4()); n > 0 {
				to = to.Uint(RegScope, n)
			}
			b.brInt(c, IntRoute, prioSubnet, to, append(actions, flow.GotoTable{Table: IntRouted})...)
		}
		b.deliverRouted(d, l)
	}
}

// to matches packets of the router to a prefix.
func (d *distributed) to(p netip.Prefix) flow.Match {
	if p.Addr().Is4() {
		return flow.MatchIPv4().Uint(RegRouter, d.key).Prefix(flow.IPv4Dst, p)
	}
	return flow.MatchIPv6().Uint(RegRouter, d.key).Prefix(flow.IPv6Dst, p)
}

// deliverRouted hands packets over to the known ports on a leg's network, as the router would: from the
// leg's MAC, with one hop less to live.
func (b *builder) deliverRouted(d *distributed, l routedLeg) {
	to := routedTo{d, l.view}
	l.network.routed = append(l.network.routed, to)
	for _, p := range l.network.ports {
		if p.leg != nil {
			continue
		}
		var addrs []netip.Addr
		for _, f := range p.view.FixedIPs {
			addrs = append(addrs, f.Addr)
		}
		b.routeTo(l.network, to, model.KindPort, p.view.ID, p.view.MAC, addrs)
	}
	for _, p := range l.network.peers {
		b.as(p, func() { b.routePeer(l.network, to, p) })
	}
}

// routedTo is a distributed router with the leg by which it reaches a network.
type routedTo struct {
	router *distributed
	leg    *model.LegView
}

func (b *builder) routePeer(n *network, to routedTo, p *model.PeerView) {
	b.routeTo(n, to, model.KindPeer, p.PortID, p.MAC, p.Addrs)
}

// routeTo hands packets over to one port.
func (b *builder) routeTo(n *network, to routedTo, kind model.ObjectKind, port model.PortID, mac model.MAC, addrs []netip.Addr) {
	d := to.router
	for _, a := range addrs {
		a = a.Unmap()
		dst := netip.PrefixFrom(a, a.BitLen())
		if !to.leg.Reaches(a) {
			continue
		}
		if d.taken(dst) {
			b.clash = true
			continue
		}
		if b.sink != nil {
			b.sink.routed = append(b.sink.routed, routedDst{d, dst})
		}
		b.brInt(Cookie(kind, port.UUID), IntRouted, prioHop, d.to(dst),
			flow.SetMAC(flow.EthSrc, hw(to.leg.MAC)), flow.SetMAC(flow.EthDst, hw(mac)), flow.DecTTL{},
			n.setReg(), flow.GotoTable{Table: IntRateLimit})
	}
}
