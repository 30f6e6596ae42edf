package pipeline

import (
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// leg is a router's leg on a network of the host.
type leg struct {
	router   model.RouterID
	view     *model.LegView
	external bool
	local    bool // the host serves the router
	active   bool // and is the one that answers for it
	expected bool // what the network brings for its MAC is meant for this host, whatever a bridge has learned
	// gateways are the tunnel ports to the other hosts that serve the router, the preferred one first.
	gateways []uint32
	watched  bool // the switch knows whether the preferred one is alive
}

// checkLegs hands the legs of routers to their networks.
func (b *builder) checkLegs(networks map[model.NetworkID]*network) {
	for _, id := range sortedKeys(b.in.Routers, func(x, y model.RouterID) int { return x.Compare(y.UUID) }) {
		r := b.in.Routers[id]
		if !r.View.AdminStateUp {
			continue
		}
		views := make([]*model.LegView, 0, len(r.View.Legs)+1)
		for i := range r.View.Legs {
			views = append(views, &r.View.Legs[i])
		}
		if r.View.External != nil {
			views = append(views, &r.View.External.LegView)
		}
		for _, v := range views {
			n := networks[v.NetworkID]
			switch {
			case n == nil:
				continue // not on this host, or told why
			case !isUnicast(v.MAC):
				b.problem(model.KindRouter, id.UUID, "%s is not a MAC address that a leg can have", v.MAC)
				continue
			case b.legMACs[onNetwork{v.NetworkID, v.MAC}]:
				b.problem(model.KindRouter, id.UUID, "another leg on the network has MAC %s", v.MAC)
				continue
			}
			b.legMACs[onNetwork{v.NetworkID, v.MAC}] = true
			l := leg{router: id, view: v, external: r.View.External != nil && v == &r.View.External.LegView, local: r.View.ServedBy(b.in.Host)}
			l.active = l.local && r.Active && !(l.external && r.Quiet)
			l.expected = l.active || l.local && r.Lately
			for _, g := range r.View.Gateways {
				if ofport := b.in.Local.Tunnels[Tunnel{n.view.Segment.Type, g.Tunnel}]; n.tunnelled() && ofport != 0 && g.Host != b.in.Host {
					if len(l.gateways) == 0 {
						l.watched = b.in.Local.Watched[Tunnel{n.view.Segment.Type, g.Tunnel}]
					}
					l.gateways = append(l.gateways, ofport)
					if !slices.Contains(n.remotes, ofport) {
						n.remotes = append(n.remotes, ofport)
					}
				}
			}
			n.legs = append(n.legs, l)
		}
	}
}

// legTunnels are the tunnels to hosts that serve routers with a leg on the host's networks.
func (b *builder) legTunnels() map[Tunnel]bool {
	wanted := map[Tunnel]bool{}
	for _, n := range b.networks {
		for i := range n.legs {
			for _, g := range b.in.Routers[n.legs[i].router].View.Gateways {
				if n.tunnelled() && g.Host != b.in.Host && g.Tunnel.IsValid() && b.in.Local.TunnelAddr.IsValid() {
					wanted[Tunnel{n.view.Segment.Type, g.Tunnel}] = true
				}
			}
		}
	}
	return wanted
}

// leg returns the leg that is a local port, nil when there is none.
func (n *network) leg(id model.PortID) *leg {
	for i := range n.legs {
		if n.legs[i].view.PortID == id && n.legs[i].local {
			return &n.legs[i]
		}
	}
	return nil
}

// localLeg wires a leg whose router this host serves. It sends with its own MAC, from whatever address.
func (b *builder) localLeg(n *network, p port) {
	c := Cookie(model.KindPort, p.view.ID.UUID)
	b.brInt(c, IntClassify, prioTagged, flow.Match{}.InPort(p.ofport).Masked(flow.VlanTCI, 0x1000, 0x1000))
	if p.leg.expected && n.phy != nil {
		b.brPhy(n.phy.Bridge, c, prioToRouter, n.outside(flow.Match{}).EthDst(hw(p.view.MAC)), flow.Output{Port: n.phy.Phy})
	}
	if !p.leg.active && n.uplink != 0 {
		b.standbyLeg(n, p)
		return
	}
	from := flow.Match{}.InPort(p.ofport).EthSrc(hw(p.view.MAC))
	b.brInt(c, IntClassify, prioPort, from, n.setReg(), flow.GotoTable{Table: IntLocalEgress})
	b.brInt(c, IntDeliver, prioLocal, n.on(flow.Match{}).EthDst(hw(p.view.MAC)), flow.Output{Port: p.ofport})
	b.translate(n, p, nil)
}

// standbyLeg wires a leg of a router that another host answers for. What that one would be asked does not reach
// it: group addresses. What comes for its MAC from outside of the host is forwarded all the same, so that a change of hosts
// loses nothing; the host's own ports go to the one that answers.
//
// On a network of switches that learn it sends with a MAC of its own: what it forwards must not lead them to think that the
// router has moved.
func (b *builder) standbyLeg(n *network, p port) {
	c := Cookie(model.KindPort, p.view.ID.UUID)
	from := flow.Match{}.InPort(p.ofport).EthSrc(hw(p.view.MAC))
	to := n.on(flow.Match{}).InPort(n.uplink)
	out := flow.Output{Port: p.ofport}
	arp, nd := flow.MatchARP().Uint(flow.ARPOp, 1), icmpv6(neighborSolicit)
	var as, asARP, asND []flow.Action
	if n.phy != nil {
		own := b.in.Routers[p.leg.router].View.MACAt(b.in.Host)
		as = []flow.Action{flow.SetMAC(flow.EthSrc, hw(own))}
		// A question from no address changes nobody's idea of who has it (RFC 5227, 1.1).
		asARP = append(as[:1:1], flow.SetMAC(flow.ARPSHA, hw(own)), flow.SetAddr(flow.ARPSPA, netip.IPv4Unspecified()))
		asND = append(as[:1:1], flow.SetMAC(flow.NDSLL, hw(own)))
		b.brInt(c, IntDeliver, prioStandby, to.EthDst(hw(own)), flow.SetMAC(flow.EthDst, hw(p.view.MAC)), out)
	}
	send := func(as []flow.Action) []flow.Action {
		return append(as[:len(as):len(as)], n.setReg(), flow.GotoTable{Table: IntLocalEgress})
	}
	b.brInt(c, IntClassify, prioPort, from, send(as)...)
	b.brInt(c, IntClassify, prioARP, flow.Match{}.InPort(p.ofport).MACMasked(flow.EthDst, hw(groupBit), hw(groupBit)))
	// It asks for neighbours only to forward what was sent to it: whoever sent it takes this host for the gateway.
	b.brInt(c, IntClassify, prioQuestion, arp.InPort(p.ofport).EthSrc(hw(p.view.MAC)), send(asARP)...)
	b.brInt(c, IntClassify, prioQuestion, nd.InPort(p.ofport).EthSrc(hw(p.view.MAC)), send(asND)...)
	b.brInt(c, IntDeliver, prioStandby, to.EthDst(hw(p.view.MAC)), out)
	b.brInt(c, IntDeliver, prioLocal, n.on(flow.Match{}).EthDst(hw(p.view.MAC)), flow.GotoTable{Table: IntUplink})
	b.translate(n, p, as)
}

// translate gives what leaves by an external leg from a fixed address its floating one. The kernel has done so before, but for
// what belongs to a connection that it does not know: one that another host has seen the beginning of.
func (b *builder) translate(n *network, p port, as []flow.Action) {
	if !p.leg.external {
		return
	}
	for _, f := range b.served[p.leg.router] {
		m := flow.MatchIPv4().InPort(p.ofport).EthSrc(hw(p.view.MAC)).Prefix(flow.IPv4Src, netip.PrefixFrom(f.Fixed, 32))
		b.brInt(Cookie(model.KindFloating, f.ID.UUID), IntClassify, prioFloating, m,
			append(as[:len(as):len(as)], flow.SetAddr(flow.IPv4Src, f.Addr), n.setReg(), flow.GotoTable{Table: IntLocalEgress})...)
	}
}

// remoteLeg makes what a host knows of a leg that it does not itself answer for: the hosts that its
// MAC leads to, the first whose tunnel is alive, and who has its addresses.
func (b *builder) remoteLeg(n *network, l *leg) {
	c := Cookie(model.KindRouter, l.router.UUID)
	if n.open && !l.local {
		b.brInt(c, IntDeliver, prioRemote, n.on(flow.Match{}).EthDst(hw(l.view.MAC)), flow.GotoTable{Table: IntUplink})
	}
	if l.active || len(l.gateways) == 0 {
		return
	}
	b.brTun(c, TunUnicast, prioPeer, flow.Match{}.Vlan(n.vlan).EthDst(hw(l.view.MAC)), append(n.toTunnel(), l.toGateway())...)
	if !b.in.L2Population {
		return
	}
	for _, p := range l.view.Addrs {
		addr := p.Addr().Unmap()
		if !addr.Is4() {
			continue
		}
		if !n.claim(addr) {
			b.clash = true
			b.problem(model.KindRouter, l.router.UUID, "another leg on the network has address %s", addr)
			continue
		}
		b.brTun(c, TunARP, prioIn, flow.MatchARP().Uint(flow.ARPOp, 1).Vlan(n.vlan).Addr(flow.ARPTPA, addr), answerARP(l.view.MAC, addr)...)
	}
}

// toGateway sends to the first gateway that is alive. The switch sees that by itself; until it has heard
// of the preferred one for the first time, that one is taken to be alive.
func (l *leg) toGateway() flow.Action {
	if len(l.gateways) == 1 || !l.watched {
		return flow.Output{Port: l.gateways[0]}
	}
	return flow.Bundle{Members: l.gateways}
}
