package pipeline

import (
	"net"
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// groupBit is the bit of a MAC that broadcast and multicast addresses have.
var groupBit = model.MAC{1}

func hw(m model.MAC) net.HardwareAddr { return m[:] }

// dhcpClientPort and dhcpServerPort are of RFC 2131; the others of RFC 8415.
const (
	dhcpServerPort   = 67
	dhcpClientPort   = 68
	dhcpv6ClientPort = 546
	dhcpv6ServerPort = 547
)

// ICMP and ICMPv6 types (RFC 792, RFC 4861).
const (
	echoReply       = 0
	echoRequest     = 8
	echoRequest6    = 128
	echoReply6      = 129
	listenerReport  = 131 // MLD, version 1
	routerSolicit   = 133
	routerAdvert    = 134
	neighborSolicit = 135
	neighborAdvert  = 136
	redirect        = 137
	listenerReport2 = 143 // MLD, version 2
)

// intFixed makes the flows of br-int that are there on every host.
func (b *builder) intFixed() {
	c := Cookie(model.KindHost, model.UUID{})
	b.brInt(c, IntClassify, prioDeadVLAN, flow.Match{}.Vlan(4095))
	b.brInt(c, IntClassify, prioMiss, flow.Match{})
	if len(b.in.Local.Filtered) > 0 {
		// The kernel's datapath shows what the host's own connection tracking said of
		// packets from its devices. It counts for nothing here.
		b.brInt(c, IntClassify, prioTracked, flow.Match{}.CTState(flow.CTTrk, 0), flow.CTClear{}, flow.Resubmit{Table: IntClassify})
	}
	if b.in.Local.PatchTun != 0 {
		b.brInt(c, IntClassify, prioUplink, flow.Match{}.InPort(b.in.Local.PatchTun))
	}
	for _, phy := range b.physical() {
		if phy.Int != 0 {
			b.brInt(c, IntClassify, prioUplink, flow.Match{}.InPort(phy.Int))
		}
	}
	b.brInt(c, IntCanary, prioMiss, flow.Match{})

	// A solicitation for no address: the switch shows one with broken options
	// like this, so that its link-layer address could not be checked.
	b.brInt(c, IntNeighbours, prioForged, icmpv6(neighborSolicit).Addr(flow.NDTarget, netip.IPv6Unspecified()))
	b.brInt(c, IntNeighbours, prioMiss, flow.Match{})

	// Only ports with port security come here: they are neither routers nor
	// DHCP servers.
	b.brInt(c, IntSource, prioServer, icmpv6(routerAdvert))
	b.brInt(c, IntSource, prioServer, icmpv6(redirect))
	b.brInt(c, IntSource, prioServer, udp(flow.EtherTypeIPv4, dhcpServerPort, dhcpClientPort))
	b.brInt(c, IntSource, prioServer, udp(flow.EtherTypeIPv6, dhcpv6ServerPort, dhcpv6ClientPort))
	b.brInt(c, IntSource, prioMiss, flow.Match{})

	b.servicesFixed()
	b.brInt(c, IntLocalEgress, prioMiss, flow.Match{}, flow.GotoTable{Table: IntRateLimit})
	b.brInt(c, IntLocalIP, prioMiss, flow.Match{}, flow.GotoTable{Table: IntRateLimit})
	b.brInt(c, IntRateLimit, prioMiss, flow.Match{}, flow.GotoTable{Table: IntDeliver})
	b.brInt(c, IntDeliver, prioMiss, flow.Match{})
	b.brInt(c, IntUplink, prioMiss, flow.Match{})
}

func icmpv6(typ uint64) flow.Match {
	return flow.MatchICMPv6().Uint(flow.ICMPv6Type, typ).Uint(flow.ICMPv6Code, 0)
}

func udp(etherType uint16, src, dst uint64) flow.Match {
	return flow.MatchUDP(etherType).Uint(flow.UDPSrc, src).Uint(flow.UDPDst, dst)
}

// on matches packets of a network.
func (n *network) on(m flow.Match) flow.Match { return m.Uint(RegNetwork, uint64(n.vlan)) }

func (n *network) setReg() flow.Action { return flow.Set(RegNetwork, uint64(n.vlan)) }

// intNetwork makes what a network has on br-int, whoever is on it.
func (b *builder) intNetwork(n *network) {
	c := Cookie(model.KindNetwork, n.view.ID.UUID)
	b.fromUplink(n, c)

	// A group address: all ports of the network on this host, then the uplink.
	// A switch never sends a packet back out of its port of entry.
	group := n.on(flow.Match{}).MACMasked(flow.EthDst, hw(groupBit), hw(groupBit))
	b.brInt(c, IntDeliver, prioGroup, group, append(outputs(n.ports, false), flow.GotoTable{Table: IntUplink})...)

	unknown := n.on(flow.Match{})
	if n.open {
		b.brInt(c, IntDeliver, prioUnknown, unknown,
			flow.Set(RegLookup, LookupUnknown), flow.Resubmit{Table: IntLearned}, flow.GotoTable{Table: IntUplink})
		b.brInt(c, IntUplink, prioLookup, n.on(flow.Match{}).Uint(RegLookup, LookupDelivered))
		b.brInt(c, IntUplink, prioLookup, n.on(flow.Match{}).Uint(RegLookup, LookupUnknown),
			append(outputs(n.ports, true), n.toUplink()...)...)
		if slices.ContainsFunc(n.ports, func(p port) bool { return p.open && p.filtered }) {
			b.brInt(c, IntUplink, prioLookup, n.on(flow.Match{}).Uint(RegLookup, LookupFiltered),
				flow.Set(RegSide, SideTo), flow.GotoTable{Table: IntIngressBase})
		}
	} else {
		// Every MAC of this host has its own flow.
		b.brInt(c, IntDeliver, prioUnknown, unknown, flow.GotoTable{Table: IntUplink})
	}
	if n.uplink != 0 {
		b.brInt(c, IntUplink, prioNetwork, n.on(flow.Match{}), n.toUplink()...)
	}
	b.intDHCP(n, c)
	b.networkServices(n, c)
}

// fromUplink takes the network's packets in from its uplink.
func (b *builder) fromUplink(n *network, cookie uint64) {
	if n.uplink == 0 {
		return
	}
	m := flow.Match{}.InPort(n.uplink)
	var actions []flow.Action
	switch n.view.Segment.Type {
	case model.TypeFlat:
		m = n.outside(m)
	case model.TypeVLAN:
		m = n.outside(m)
		actions = append(actions, flow.PopVLAN{})
	default: // br-tun speaks our local VLAN ids
		m = m.Vlan(n.vlan)
		actions = append(actions, flow.PopVLAN{})
	}
	actions = append(actions, n.setReg())
	if n.open {
		// A MAC that moved from a port of this host to another host.
		actions = append(actions, learnMAC(Cookie(model.KindLearned, n.view.ID.UUID),
			flow.LearnLoadValue(LookupUplink, flow.Whole(RegLookup))))
	}
	b.brInt(cookie, IntClassify, prioSegment, m, append(actions, flow.GotoTable{Table: IntRateLimit})...)
}

// toUplink sends a packet with the network's local VLAN id.
func (n *network) toUplink() []flow.Action {
	if n.uplink == 0 {
		return nil
	}
	return []flow.Action{flow.PushVLAN{}, flow.SetVlan(n.vlan), flow.Output{Port: n.uplink}}
}

// outputs sends to all ports, or to those only that may own any MAC: straight, or
// a copy each through the rules of filtered ones.
func outputs(ports []port, open bool) []flow.Action {
	var actions []flow.Action
	filtered := false
	for _, p := range ports {
		switch {
		case open && !p.open, p.leg != nil && !p.leg.active:
		case p.filtered:
			filtered = true
		default:
			actions = append(actions, flow.Output{Port: p.ofport})
		}
	}
	if !filtered {
		return actions
	}
	actions = append(actions, flow.Set(RegSide, SideTo))
	for _, p := range ports {
		if p.filtered && (p.open || !open) {
			actions = append(actions, flow.Set(RegPort, uint64(p.ofport)), flow.Resubmit{Table: IntIngressBase})
		}
	}
	return actions
}

// deliver sends to one port, through its rules if it is filtered.
func deliver(p port) []flow.Action {
	if !p.filtered {
		return []flow.Action{flow.Output{Port: p.ofport}}
	}
	return []flow.Action{flow.Set(RegPort, uint64(p.ofport)), flow.Set(RegSide, SideTo), flow.GotoTable{Table: IntIngressBase}}
}

// learnMAC remembers in table IntLearned what to do with packets for the MAC
// that sent this one.
func learnMAC(cookie uint64, specs ...flow.LearnSpec) flow.Action {
	return flow.Learn{
		Table: IntLearned, Priority: prioLearned, HardTimeout: learnedTimeout, Cookie: cookie,
		Specs: append([]flow.LearnSpec{
			flow.LearnMatch(flow.Whole(RegNetwork), flow.Whole(RegNetwork)),
			flow.LearnMatch(flow.Whole(flow.EthDst), flow.Whole(flow.EthSrc)),
		}, specs...),
	}
}

// learnPort remembers the sender's MAC behind a port of this host.
func learnPort(p port) flow.Action {
	if p.filtered {
		return learnMAC(Cookie(model.KindLearned, p.view.ID.UUID),
			flow.LearnLoadValue(LookupFiltered, flow.Whole(RegLookup)),
			flow.LearnLoadValue(uint64(p.ofport), flow.Whole(RegPort)))
	}
	return learnMAC(Cookie(model.KindLearned, p.view.ID.UUID),
		flow.LearnLoadValue(LookupDelivered, flow.Whole(RegLookup)),
		flow.LearnOutput(flow.Whole(flow.InPort16)))
}

// intDHCP lets the network's DHCP port be present on this host for the ports of
// this host. Nothing for it leaves the host: every host has one.
func (b *builder) intDHCP(n *network, cookie uint64) {
	mac := n.view.DHCPMAC
	if !isUnicast(mac) {
		return
	}
	for _, addr := range n.dhcp4 {
		ask := n.on(flow.MatchARP()).Uint(flow.ARPOp, 1).Addr(flow.ARPTPA, addr)
		b.brInt(cookie, IntLocalEgress, prioAnswer, ask, answerARP(mac, addr)...)
		ping := n.on(flow.MatchICMP()).EthDst(hw(mac)).Addr(flow.IPv4Dst, addr).
			Uint(flow.ICMPType, echoRequest).Uint(flow.ICMPCode, 0)
		b.brInt(cookie, IntLocalEgress, prioAnswer, ping, answerPing(mac, addr)...)
	}
	for _, addr := range n.dhcp6 {
		ping := n.on(icmpv6(echoRequest6)).EthDst(hw(mac)).Addr(flow.IPv6Dst, addr)
		b.brInt(cookie, IntLocalEgress, prioAnswer, ping, answerPing6(mac, addr)...)
	}
	b.brInt(cookie, IntDeliver, prioLocal, n.on(flow.Match{}).EthDst(hw(mac)))
}

// answerARP turns an ARP question into its answer and sends it back (RFC 826).
func answerARP(mac model.MAC, addr netip.Addr) []flow.Action {
	return []flow.Action{
		flow.Set(flow.ARPOp, 2),
		flow.Move{Src: flow.Whole(flow.ARPSHA), Dst: flow.Whole(flow.ARPTHA)},
		flow.Move{Src: flow.Whole(flow.ARPSPA), Dst: flow.Whole(flow.ARPTPA)},
		flow.SetMAC(flow.ARPSHA, hw(mac)),
		flow.SetAddr(flow.ARPSPA, addr),
		flow.Move{Src: flow.Whole(flow.EthSrc), Dst: flow.Whole(flow.EthDst)},
		flow.SetMAC(flow.EthSrc, hw(mac)),
		flow.Output{Port: flow.PortInPort},
	}
}

// answerPing turns an echo request into its reply and sends it back (RFC 792).
func answerPing(mac model.MAC, addr netip.Addr) []flow.Action {
	return []flow.Action{
		flow.Move{Src: flow.Whole(flow.EthSrc), Dst: flow.Whole(flow.EthDst)},
		flow.SetMAC(flow.EthSrc, hw(mac)),
		flow.Move{Src: flow.Whole(flow.IPv4Src), Dst: flow.Whole(flow.IPv4Dst)},
		flow.SetAddr(flow.IPv4Src, addr),
		flow.Set(flow.NWTTL, 64),
		flow.Set(flow.ICMPType, echoReply),
		flow.Output{Port: flow.PortInPort},
	}
}

// intPort wires a port.
func (b *builder) intPort(n *network, p port) {
	if p.leg != nil {
		b.localLeg(n, p)
		return
	}
	c := Cookie(model.KindPort, p.view.ID.UUID)
	from := flow.Match{}.InPort(p.ofport)

	// An access port: a tag, even of VLAN 0, is no business of the guest's.
	b.brInt(c, IntClassify, prioTagged, from.Masked(flow.VlanTCI, 0x1000, 0x1000))
	b.portDHCP(n, p, c)
	b.portIPv6(n, p, c)
	b.portServices(n, p, c)
	if p.view.PortSecurity {
		b.antiSpoof(n, p, c)
	} else {
		b.brInt(c, IntClassify, prioPort, from, n.setReg(), learnPort(p), flow.GotoTable{Table: IntLocalEgress})
	}
	b.brInt(c, IntDeliver, prioLocal, n.on(flow.Match{}).EthDst(hw(p.view.MAC)), deliver(p)...)
}

// portDHCP takes the port's own DHCPv4 requests to the agent, broadcast ones
// and those to the DHCP port's addresses, and lets them go nowhere else.
func (b *builder) portDHCP(n *network, p port, cookie uint64) {
	if !n.answers4 || len(n.dhcp4) == 0 {
		return
	}
	request := udp(flow.EtherTypeIPv4, dhcpClientPort, dhcpServerPort).InPort(p.ofport).EthSrc(hw(p.view.MAC))
	b.brInt(cookie, IntClassify, prioDHCP, request.Addr(flow.IPv4Dst, netip.AddrFrom4([4]byte{255, 255, 255, 255})), b.toAgent(p)...)
	for _, addr := range n.dhcp4 {
		b.brInt(cookie, IntClassify, prioDHCP, request.Addr(flow.IPv4Dst, addr), b.toAgent(p)...)
	}
}

// intPeer tells a network whose ports may use any MAC that this one is elsewhere.
func (b *builder) intPeer(n *network, p *model.PeerView) {
	b.brInt(Cookie(model.KindPeer, p.PortID.UUID), IntDeliver, prioRemote,
		n.on(flow.Match{}).EthDst(hw(p.MAC)), flow.GotoTable{Table: IntUplink})
}
