package pipeline

import (
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// identity is one address that a port may speak for, and the MAC it does so with.
type identity struct {
	prefix netip.Prefix
	mac    model.MAC
}

// identities lists what a port may speak for: its fixed addresses, its address
// pairs, and the link-local address of each of its MACs (RFC 4291, 2.5.6).
func identities(v *model.PortView) []identity {
	var ids []identity
	add := func(p netip.Prefix, mac model.MAC) {
		if id := (identity{p, mac}); p.IsValid() && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, f := range v.FixedIPs {
		if a := f.Addr.Unmap(); a.IsValid() {
			add(netip.PrefixFrom(a, a.BitLen()), v.MAC)
		}
	}
	for _, mac := range macsOf(v) {
		add(linkLocal(mac), mac)
	}
	for _, pair := range v.AddressPairs {
		if isUnicast(pair.MAC) {
			add(pair.Prefix.Masked(), pair.MAC)
		}
	}
	return ids
}

func linkLocal(mac model.MAC) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80}
	eui := mac.EUI64()
	copy(a[8:], eui[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 128)
}

// macsOf lists the MACs that a port may send from, its own first.
func macsOf(v *model.PortView) []model.MAC {
	macs := []model.MAC{v.MAC}
	for _, pair := range v.AddressPairs {
		if isUnicast(pair.MAC) && !slices.Contains(macs, pair.MAC) {
			macs = append(macs, pair.MAC)
		}
	}
	return macs
}

// antiSpoof lets a port with port security send IPv4, IPv6 and ARP only, from
// its own MACs and addresses, and claim no other in ARP and neighbour
// discovery. The IP source of a filtered port is checked in table IntEgressBase. That of others
// is checked by iptables too, but not of all packets: what is behind an LLC/SNAP header
// (RFC 1042) is IP for the switch and for some guests, and nothing for iptables (CVE-2021-27853).
func (b *builder) antiSpoof(n *network, p port, cookie uint64) {
	from := func(m flow.Match) flow.Match { return m.InPort(p.ofport) }
	classify := func(prio uint16, m flow.Match, next uint8) {
		b.brInt(cookie, IntClassify, prio, from(m), n.setReg(), flow.GotoTable{Table: next})
	}
	classify(prioARP, flow.MatchARP(), IntNeighbours)
	classify(prioARP, flow.MatchICMPv6().Uint(flow.ICMPv6Type, neighborSolicit), IntNeighbours)
	classify(prioARP, flow.MatchICMPv6().Uint(flow.ICMPv6Type, neighborAdvert), IntNeighbours)
	classify(prioPort, flow.MatchIPv4(), IntSource)
	classify(prioPort, flow.MatchIPv6(), IntSource)

	own := func(m flow.Match) {
		b.brInt(cookie, IntNeighbours, prioOwn, from(m), flow.GotoTable{Table: IntSource})
	}
	var targets []netip.Prefix
	for _, id := range identities(p.view) {
		if id.prefix.Addr().Is4() {
			own(flow.MatchARP().Prefix(flow.ARPSPA, id.prefix).MAC(flow.ARPSHA, hw(id.mac)))
			continue
		}
		advert := icmpv6(neighborAdvert).Prefix(flow.NDTarget, id.prefix)
		own(advert.MAC(flow.NDTLL, hw(id.mac)))
		if !slices.Contains(targets, id.prefix) { // another of the port's MACs may have the same address
			targets = append(targets, id.prefix)
			own(advert.MAC(flow.NDTLL, hw(model.MAC{})))
		}
	}
	macs := macsOf(p.view)
	for _, mac := range macs {
		// An ARP probe claims nothing (RFC 5227, 2.1.1).
		own(flow.MatchARP().Uint(flow.ARPOp, 1).Addr(flow.ARPSPA, netip.IPv4Unspecified()).MAC(flow.ARPSHA, hw(mac)))
		own(icmpv6(neighborSolicit).MAC(flow.NDSLL, hw(mac)))
	}
	own(icmpv6(neighborSolicit).MAC(flow.NDSLL, hw(model.MAC{})))

	for _, mac := range macs {
		var actions []flow.Action
		if mac != p.view.MAC {
			actions = append(actions, learnPort(p))
		}
		source := func(m flow.Match) { b.brInt(cookie, IntSource, prioOwn, from(m).EthSrc(hw(mac)), actions...) }
		if p.filtered {
			actions = append(actions, flow.Set(RegPort, uint64(p.ofport)), flow.GotoTable{Table: IntEgressBase})
			source(flow.Match{})
			continue
		}
		actions = append(actions, flow.GotoTable{Table: IntLocalEgress})
		source(flow.MatchARP())
		for _, id := range identities(p.view) {
			switch {
			case id.mac != mac:
			case id.prefix.Addr().Is4():
				source(flow.MatchIPv4().Prefix(flow.IPv4Src, id.prefix))
			default:
				source(flow.MatchIPv6().Prefix(flow.IPv6Src, id.prefix))
			}
		}
		// Who has no address yet: DHCP, and neighbour and listener discovery (RFC 4862, RFC 3810).
		source(udp(flow.EtherTypeIPv4, dhcpClientPort, dhcpServerPort).Addr(flow.IPv4Src, netip.IPv4Unspecified()))
		for _, typ := range []uint64{listenerReport, neighborSolicit, listenerReport2} {
			source(icmpv6(typ).Addr(flow.IPv6Src, netip.IPv6Unspecified()))
		}
	}
}
