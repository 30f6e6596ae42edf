package pipeline

import (
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// dhcpv6Servers is the group that DHCPv6 clients ask (RFC 8415, 7.1).
var dhcpv6Servers = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 13: 1, 15: 2})

// checkIPv6 finds out what of IPv6 the host answers on a network.
func checkIPv6(n *network) {
	for i := range n.view.Subnets {
		s := &n.view.Subnets[i]
		if !s.CIDR.Addr().Is6() {
			continue
		}
		n.advertised = n.advertised || s.RAMode != ""
		// As in Neutron, a subnet without modes has addresses to lease.
		n.answers6 = n.answers6 || s.EnableDHCP && (s.AddressMode == model.IPv6Stateful || s.AddressMode == model.IPv6Stateless ||
			s.AddressMode == "" && s.RAMode == "")
	}
	if !isUnicast(n.view.DHCPMAC) {
		n.answers6 = false
		return
	}
	for _, a := range n.view.DHCPAddrs {
		if a.Is6() && !a.Is4In6() && !slices.Contains(n.dhcp6, a) {
			n.dhcp6 = append(n.dhcp6, a)
		}
	}
	if len(n.dhcp6) > 0 {
		n.dhcp6 = append(n.dhcp6, linkLocal(n.view.DHCPMAC).Addr())
		slices.SortFunc(n.dhcp6, netip.Addr.Compare)
		n.dhcp6 = slices.Compact(n.dhcp6)
	}
}

// toAgent sends a port's packet to the agent and nowhere else, by the port's meter if there can be one: what a guest sends
// beyond its rate costs the agent nothing.
func (b *builder) toAgent(p port) []flow.Action {
	up := flow.Controller{Userdata: slices.Clone(p.view.ID.UUID[:])}
	if p.ofport > b.in.Local.MeterLimit {
		return []flow.Action{up}
	}
	b.out.Meters = append(b.out.Meters, p.ofport)
	return []flow.Action{flow.Meter{ID: p.ofport}, up}
}

// portIPv6 takes to the agent what a port asks its network over IPv6: DHCPv6, who the routers are, and where the DHCP port
// is. Routers and DHCPv6 servers of others do not hear it.
func (b *builder) portIPv6(n *network, p port, cookie uint64) {
	own := func(m flow.Match) flow.Match { return m.InPort(p.ofport).EthSrc(hw(p.view.MAC)) }
	if n.answers6 {
		request := own(udp(flow.EtherTypeIPv6, dhcpv6ClientPort, dhcpv6ServerPort)).Addr(flow.IPv6Dst, dhcpv6Servers)
		b.brInt(cookie, IntClassify, prioDHCP, request, b.toAgent(p)...)
	}
	if n.advertised {
		b.brInt(cookie, IntClassify, prioDHCP, own(icmpv6(routerSolicit)), b.toAgent(p)...)
	}
	for _, addr := range n.dhcp6 {
		// Behind the tables that look whether the sender is who it says.
		b.brInt(cookie, IntLocalEgress, prioAnswer, n.on(icmpv6(neighborSolicit)).InPort(p.ofport).Addr(flow.NDTarget, addr), b.toAgent(p)...)
	}
}

// answerPing6 turns an echo request into its reply and sends it back (RFC 4443, 4.2).
func answerPing6(mac model.MAC, addr netip.Addr) []flow.Action {
	return []flow.Action{
		flow.Move{Src: flow.Whole(flow.EthSrc), Dst: flow.Whole(flow.EthDst)},
		flow.SetMAC(flow.EthSrc, hw(mac)),
		flow.Move{Src: flow.Whole(flow.IPv6Src), Dst: flow.Whole(flow.IPv6Dst)},
		flow.SetAddr(flow.IPv6Src, addr),
		flow.Set(flow.NWTTL, 64),
		flow.Set(flow.ICMPv6Type, echoReply6),
		flow.Output{Port: flow.PortInPort},
	}
}
