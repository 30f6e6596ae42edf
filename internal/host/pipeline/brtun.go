package pipeline

import (
	"weft/internal/host/flow"
	"weft/internal/model"
)

// tunnelTable is where packets from tunnels of a type get their local VLAN id.
func tunnelTable(t model.NetworkType) uint8 {
	switch t {
	case model.TypeVXLAN:
		return TunVXLAN
	case model.TypeGeneve:
		return TunGeneve
	}
	return TunGRE
}

// tunFixed makes the flows of br-tun that are there on every host that has
// tunnels, and takes packets in from every tunnel that is wanted.
func (b *builder) tunFixed() {
	c := Cookie(model.KindHost, model.UUID{})
	next := func(table uint8) flow.Action { return flow.GotoTable{Table: table} }
	b.brTun(c, TunClassify, prioMiss, flow.Match{})
	group := hw(groupBit)
	b.brTun(c, TunKind, prioMiss, flow.Match{}.MACMasked(flow.EthDst, hw(model.MAC{}), group), next(TunUnicast))
	b.brTun(c, TunKind, prioMiss, flow.Match{}.MACMasked(flow.EthDst, group, group), next(TunFlood))
	for _, t := range []uint8{TunGRE, TunVXLAN, TunGeneve} {
		b.brTun(c, t, prioMiss, flow.Match{})
	}
	b.brTun(c, TunUnicast, prioMiss, flow.Match{}, next(TunFlood))
	b.brTun(c, TunFlood, prioMiss, flow.Match{})
	if b.in.L2Population {
		arp := flow.MatchARP().EthDst(hw(model.MAC{255, 255, 255, 255, 255, 255}))
		b.brTun(c, TunKind, prioIn, arp, next(TunARP))
		b.brTun(c, TunARP, prioMiss, flow.Match{}, next(TunFlood))
	}
	if b.in.Local.PatchInt == 0 {
		return
	}
	b.brTun(c, TunClassify, prioIn, flow.Match{}.InPort(b.in.Local.PatchInt), next(TunKind))
	b.brTun(c, TunLearn, prioIn, flow.Match{}, learnTunnel(), flow.Output{Port: b.in.Local.PatchInt})
	for _, t := range b.out.Tunnels {
		if ofport := b.in.Local.Tunnels[t]; ofport != 0 {
			b.brTun(Cookie(model.KindTunnel, model.UUID{}), TunClassify, prioIn, flow.Match{}.InPort(ofport), next(tunnelTable(t.Type)))
		}
	}
}

// learnTunnel remembers behind which tunnel the sender is.
func learnTunnel() flow.Action {
	vid := flow.Range(flow.VlanTCI, 0, 11)
	return flow.Learn{
		Table: TunUnicast, Priority: prioLearned, HardTimeout: learnedTimeout,
		Cookie: Cookie(model.KindLearned, model.UUID{}),
		Specs: []flow.LearnSpec{
			flow.LearnMatch(vid, vid),
			flow.LearnMatch(flow.Whole(flow.EthDst), flow.Whole(flow.EthSrc)),
			flow.LearnLoadValue(0, flow.Whole(flow.VlanTCI)),
			flow.LearnLoad(flow.Whole(flow.TunID), flow.Whole(flow.TunID)),
			flow.LearnOutput(flow.Whole(flow.InPort16)),
		},
	}
}

// tunNetwork translates between a network's tunnel key and local VLAN id.
func (b *builder) tunNetwork(n *network) {
	c := Cookie(model.KindNetwork, n.view.ID.UUID)
	seg := n.view.Segment
	b.brTun(c, tunnelTable(seg.Type), prioNetwork, flow.Match{}.TunID(uint64(seg.Tag)),
		flow.PushVLAN{}, flow.SetVlan(n.vlan), flow.GotoTable{Table: TunLearn})
	if len(n.remotes) == 0 {
		return
	}
	flood := n.toTunnel()
	for _, ofport := range n.remotes {
		flood = append(flood, flow.Output{Port: ofport})
	}
	b.brTun(c, TunFlood, prioNetwork, flow.Match{}.Vlan(n.vlan), flood...)
}

// toTunnel gives a packet the network's tunnel key in place of its VLAN id.
func (n *network) toTunnel() []flow.Action {
	return []flow.Action{flow.PopVLAN{}, flow.SetTunnel(uint64(n.view.Segment.Tag))}
}

// tunPeer makes what is known of a port on another host: where its MAC lives
// and who has its addresses. A tunnel that is not there yet leaves the MAC
// unknown, so that packets for it are flooded to those that are.
func (b *builder) tunPeer(n *network, p *model.PeerView) {
	c := Cookie(model.KindPeer, p.PortID.UUID)
	ofport := b.in.Local.Tunnels[Tunnel{n.view.Segment.Type, p.Tunnel}]
	if ofport == 0 {
		return
	}
	b.brTun(c, TunUnicast, prioPeer, flow.Match{}.Vlan(n.vlan).EthDst(hw(p.MAC)),
		append(n.toTunnel(), flow.Output{Port: ofport})...)
	for _, addr := range p.Addrs {
		addr = addr.Unmap()
		if !addr.Is4() {
			continue
		}
		if !n.claim(addr) {
			b.clash = true
			b.problem(model.KindPeer, p.PortID.UUID, "another peer on the network has address %s", addr)
			continue
		}
		if b.sink != nil {
			b.sink.claims = append(b.sink.claims, addr)
		}
		b.brTun(c, TunARP, prioIn, flow.MatchARP().Uint(flow.ARPOp, 1).Vlan(n.vlan).Addr(flow.ARPTPA, addr),
			answerARP(p.MAC, addr)...)
	}
}
