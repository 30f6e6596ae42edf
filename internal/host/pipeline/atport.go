package pipeline

import (
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// Floating IPs that are served at their ports: the host has of such a distributed router what these ports need. Packets
// from a port's fixed address that are for none of the router's subnets go to the router here, not to a gateway;
// what comes from there is for these ports, and for nothing else. Its external leg is a port as any other.

// atPort is a floating IP whose port is here.
type atPort struct {
	view   *model.FloatingView
	port   port
	leg    *leg   // on the port's network
	ofport uint32 // of that leg, on this host
}

// checkAtPorts hands floating IPs to the networks of their ports, and external legs to theirs.
func (b *builder) checkAtPorts(networks map[model.NetworkID]*network) {
	for _, id := range sortedKeys(b.in.Floating, func(x, y model.FloatingIPID) int { return x.Compare(y.UUID) }) {
		f := b.in.Floating[id]
		r := b.in.Routers[f.RouterID].View
		v := b.in.Ports[f.PortID]
		if r == nil || !r.AdminStateUp || r.External == nil || v == nil || networks[v.NetworkID] == nil {
			continue
		}
		n, external := networks[v.NetworkID], networks[r.External.NetworkID]
		at := slices.IndexFunc(n.ports, func(p port) bool { return p.view.ID == f.PortID })
		if at < 0 {
			continue // not wired
		}
		switch {
		case external == nil:
			b.problem(model.KindFloating, id.UUID, "the host has no way to the external network")
			continue
		case !f.Fixed.Is4():
			b.problem(model.KindFloating, id.UUID, "%s is no IPv4 address: only a gateway can serve it", f.Fixed)
			continue
		}
		outer := b.in.Local.Ports[r.External.PortID]
		for i := range n.legs {
			l := &n.legs[i]
			ofport := b.in.Local.Ports[l.view.PortID]
			if l.router != r.ID || l.local || !l.view.Reaches(f.Fixed) || ofport == 0 || outer == 0 {
				continue
			}
			if ofport == outer || !b.free(ofport, l.view.PortID) || !b.free(outer, r.External.PortID) {
				b.problem(model.KindFloating, id.UUID, "ports %d and %d of br-int have another use", ofport, outer)
				break
			}
			b.used[ofport], b.used[outer] = l.view.PortID, r.External.PortID
			n.atPorts = append(n.atPorts, atPort{f, n.ports[at], l, ofport})
			b.externalLeg(external, r, outer)
			break
		}
	}
}

// externalLeg wires a router's external leg on a host that is none of its gateways, once.
func (b *builder) externalLeg(n *network, r *model.RouterView, ofport uint32) {
	mac := onNetwork{n.view.ID, r.MACAt(b.in.Host)}
	if b.legMACs[mac] {
		return
	}
	b.legMACs[mac] = true
	view := &model.PortView{ID: r.External.PortID, NetworkID: n.view.ID, MAC: mac.mac, AdminStateUp: true, DeviceOwner: model.OwnerRouterGateway}
	n.ports = append(n.ports, port{view: view, ofport: ofport, leg: &leg{router: r.ID, view: &r.External.LegView, external: true, local: true, active: true, expected: true}})
	b.out.External = append(b.out.External, r.External.PortID)
}

// atPortLeg makes what the floating IPs of ports on a network have in common: packets to the leg come to table IntRoute,
// where the router's subnets and its user's routes stay with the gateway; and its address is answered for here, since
// these ports do not depend on a gateway.
func (b *builder) atPortLeg(n *network, l *leg, routed bool) {
	r := b.in.Routers[l.router].View
	c := Cookie(model.KindRouter, r.ID.UUID)
	to := n.on(flow.MatchIPv4()).EthDst(hw(l.view.MAC))
	if !routed {
		b.brInt(c, IntLocalEgress, prioToLeg, to, flow.GotoTable{Table: IntRoute})
	}
	for _, a := range l.view.Addrs {
		if addr := a.Addr().Unmap(); addr.Is4() {
			b.brInt(c, IntLocalEgress, prioAnswer, n.on(flow.MatchARP()).Uint(flow.ARPOp, 1).Addr(flow.ARPTPA, addr), answerARP(l.view.MAC, addr)...)
		}
	}
	kept := map[netip.Prefix]bool{}
	keep := func(dst netip.Prefix) {
		if dst = dst.Masked(); dst.Addr().Is4() && !kept[dst] {
			kept[dst] = true
			b.brInt(c, IntRoute, prioKept, to.Prefix(flow.IPv4Dst, dst), flow.GotoTable{Table: IntRateLimit})
		}
	}
	for i := range r.Legs {
		for _, a := range r.Legs[i].Addrs {
			keep(a)
		}
	}
	for _, e := range r.Routes {
		keep(e.Destination)
	}
}

// serveAtPort makes the flows of one floating IP: between its port and the leg on this host.
func (b *builder) serveAtPort(n *network, a atPort) {
	p, c := a.port, Cookie(model.KindFloating, a.view.ID.UUID)
	fixed := netip.PrefixFrom(a.view.Fixed, a.view.Fixed.BitLen())
	mac := hw(a.leg.view.MAC)
	b.brInt(c, IntRoute, prioOutward, n.on(flow.MatchIPv4()).InPort(p.ofport).EthDst(mac).Prefix(flow.IPv4Src, fixed), flow.Output{Port: a.ofport})
	b.brInt(c, IntClassify, prioARP, flow.MatchARP().InPort(a.ofport).EthSrc(mac).Uint(flow.ARPOp, 1).Addr(flow.ARPTPA, a.view.Fixed),
		answerARP(p.view.MAC, a.view.Fixed)...)
	b.brInt(c, IntClassify, prioPort, flow.MatchIPv4().InPort(a.ofport).EthSrc(mac).Prefix(flow.IPv4Dst, fixed),
		flow.SetMAC(flow.EthDst, hw(p.view.MAC)), n.setReg(), flow.GotoTable{Table: IntRateLimit})
}

// serveAtPorts makes the flows of all floating IPs that are served here. routed are the routers that have flows of their own.
func (b *builder) serveAtPorts(routed []*distributed) {
	for _, n := range b.networks {
		done := map[*leg]bool{}
		for _, a := range n.atPorts {
			if !done[a.leg] {
				done[a.leg] = true
				b.atPortLeg(n, a.leg, slices.ContainsFunc(routed, func(d *distributed) bool { return d.id == a.leg.router && len(d.legs) > 1 }))
			}
			b.serveAtPort(n, a)
		}
	}
}

// servesAtPorts reports whether a floating IP is served here.
func (b *builder) servesAtPorts() bool {
	return slices.ContainsFunc(b.networks, func(n *network) bool { return len(n.atPorts) > 0 })
}
