package pipeline

import (
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/host/standin"
	"weft/internal/model"
)

// servicesFixed makes what the host's services need whoever is on the host.
func (b *builder) servicesFixed() {
	c := Cookie(model.KindHost, model.UUID{})
	b.brInt(c, IntServices, prioMiss, flow.Match{})
	if s := b.in.Local.Services; s != 0 {
		b.brInt(c, IntClassify, prioService, flow.Match{}.InPort(s), flow.GotoTable{Table: IntServices})
	}
}

// networkServices answers ARP for the metadata service, which every network has at the same address, and
// lets nothing else for it leave.
func (b *builder) networkServices(n *network, cookie uint64) {
	if b.in.Local.Services == 0 {
		return
	}
	if !slices.Contains(n.dhcp4, standin.Metadata4) { // else answered already
		ask := n.on(flow.MatchARP()).Uint(flow.ARPOp, 1).Addr(flow.ARPTPA, standin.Metadata4)
		b.brInt(cookie, IntLocalEgress, prioAnswer, ask, answerARP(standin.MAC, standin.Metadata4)...)
	}
	taken := slices.ContainsFunc(n.ports, func(p port) bool { return p.view.MAC == standin.MAC })
	if !taken && n.view.DHCPMAC != standin.MAC {
		b.brInt(cookie, IntDeliver, prioLocal, n.on(flow.Match{}).EthDst(hw(standin.MAC)))
	}
}

// portServices leads what a port sends to a service to the services' namespace, with an address in place of
// the guest's that stands for this port and that address of it, and the answers back. It needs no
// connection tracking: each packet says all. Both ways pass by the tables of firewalls and of delivery.
//
// No flow asks for the destination MAC: it may be the router's, the DHCP port's or the services' own.
func (b *builder) portServices(n *network, p port, cookie uint64) {
	if b.in.Local.Services == 0 {
		return
	}
	from := func(m flow.Match) flow.Match { return m.InPort(p.ofport).EthSrc(hw(p.view.MAC)) }
	called := map[service]bool{}
	for _, a := range standin.Addresses(p.view, n.view, p.ofport) {
		for _, s := range servicesOf(a, n) {
			if !called[s] {
				called[s] = true
				b.brInt(cookie, IntClassify, prioService, from(s.match()), flow.GotoTable{Table: IntServices})
			}
			b.service(p, a, s, cookie)
		}
	}
	if !slices.Contains(n.dhcp6, standin.Metadata6) {
		b.brInt(cookie, IntLocalEgress, prioAnswer, n.on(icmpv6(neighborSolicit)).InPort(p.ofport).Addr(flow.NDTarget, standin.Metadata6), b.toAgent(p)...)
	}
	// Who may use addresses that are not its own must not use those of the services.
	if p.open || len(p.view.AddressPairs) > 0 {
		all := slices.Concat([]netip.Addr{standin.Metadata4, standin.Metadata6}, n.dhcp4, n.dhcp6)
		slices.SortFunc(all, netip.Addr.Compare)
		for _, a := range slices.Compact(all) {
			m, _, src, _ := family(a)
			b.brInt(cookie, IntClassify, prioSpoofed, m.InPort(p.ofport).Addr(src, a))
		}
	}
}

// service is where a guest calls one.
type service struct {
	addr  netip.Addr
	proto uint8
	port  uint64
	mac   model.MAC // answers come from it
}

func servicesOf(a standin.Address, n *network) []service {
	metadata := standin.Metadata4
	if a.Addr.Is6() {
		metadata = standin.Metadata6
	}
	out := []service{{metadata, flow.ProtoTCP, standin.MetadataPort, standin.MAC}}
	if a.DNS.IsValid() && isUnicast(n.view.DHCPMAC) {
		out = append(out, service{a.DNS, flow.ProtoUDP, standin.DNSPort, n.view.DHCPMAC}, service{a.DNS, flow.ProtoTCP, standin.DNSPort, n.view.DHCPMAC})
	}
	return out
}

// family returns the match of packets of an address's family, its Ethernet type, and the fields of source and destination.
func family(a netip.Addr) (m flow.Match, etherType uint16, src, dst flow.Field) {
	if a.Is4() {
		return flow.MatchIPv4(), flow.EtherTypeIPv4, flow.IPv4Src, flow.IPv4Dst
	}
	return flow.MatchIPv6(), flow.EtherTypeIPv6, flow.IPv6Src, flow.IPv6Dst
}

// match is packets to the service.
func (s service) match() flow.Match {
	_, etherType, _, dst := family(s.addr)
	port := flow.TCPDst
	if s.proto == flow.ProtoUDP {
		port = flow.UDPDst
	}
	return flow.MatchIP(etherType, s.proto).Addr(dst, s.addr).Uint(port, s.port)
}

// service makes the way to one service from one address, and back.
func (b *builder) service(p port, a standin.Address, s service, cookie uint64) {
	_, etherType, src, dst := family(a.Addr)
	own := standin.Service4
	if a.Addr.Is6() {
		own = standin.Service6
	}
	b.brInt(cookie, IntServices, prioService, s.match().InPort(p.ofport).EthSrc(hw(p.view.MAC)).Addr(src, a.Addr),
		flow.SetMAC(flow.EthDst, hw(standin.MAC)), flow.SetAddr(src, a.StandIn), flow.SetAddr(dst, own), flow.Output{Port: b.in.Local.Services})
	port := flow.TCPSrc
	if s.proto == flow.ProtoUDP {
		port = flow.UDPSrc
	}
	back := flow.MatchIP(etherType, s.proto).InPort(b.in.Local.Services).Addr(src, own).Addr(dst, a.StandIn).Uint(port, s.port)
	b.brInt(cookie, IntServices, prioService, back,
		flow.SetMAC(flow.EthSrc, hw(s.mac)), flow.SetMAC(flow.EthDst, hw(p.view.MAC)), flow.SetAddr(src, s.addr), flow.SetAddr(dst, a.Addr), flow.Output{Port: p.ofport})
}
