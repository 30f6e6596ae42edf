package responder

import (
	"net/netip"

	"weft/internal/host/standin"
	"weft/internal/model"
)

// ICMPv6 types and options of neighbour discovery (RFC 4861, RFC 8106).
const (
	routerSolicit    = 133
	routerAdvert     = 134
	neighbourSolicit = 135
	neighbourAdvert  = 136

	ndSourceMAC = 1
	ndTargetMAC = 2
	ndPrefix    = 3
	ndMTU       = 5
	ndRDNSS     = 25
)

// Sizes of ICMPv6 messages before their options.
const (
	sizeRS = 8
	sizeRA = 16
	sizeNS = 24
)

// Flags of a neighbour advertisement.
const (
	naSolicited = 0x40
	naOverride  = 0x20
)

// validND reports whether a message of neighbour discovery may be looked at (RFC 4861, 6.1.1 and 7.1.1): it has not come
// through a router, and its options lead exactly to its end. source tells whether it names the sender's MAC.
func validND(p *packet6, size int) (source, valid bool) {
	if p.hops != hopsND || len(p.payload) < size || p.payload[1] != 0 {
		return false, false
	}
	for b := p.payload[size:]; len(b) > 0; {
		if len(b) < 8 || b[1] == 0 || len(b) < int(b[1])*8 {
			return false, false
		}
		source = source || b[0] == ndSourceMAC
		b = b[int(b[1])*8:]
	}
	// Who has no address yet cannot be answered by its MAC.
	return source, !p.src.IsUnspecified() || !source
}

// neighbour is who of a network's hosts answers for: the MAC behind each of the IPv6 addresses. They are those of the
// DHCP port, and of the metadata service, which every network has.
type neighbour struct {
	macs map[netip.Addr]model.MAC
}

func neighbourOf(n *model.NetworkView) *neighbour {
	nb := &neighbour{macs: map[netip.Addr]model.MAC{standin.Metadata6: standin.MAC}}
	if n.DHCPMAC.IsZero() {
		return nb
	}
	for _, a := range n.DHCPAddrs {
		if a.Is6() && !a.Is4In6() {
			nb.macs[a], nb.macs[linkLocal(n.DHCPMAC)] = n.DHCPMAC, n.DHCPMAC
		}
	}
	return nb
}

// answer makes the advertisement that a solicitation asks for (RFC 4861, 7.2.4), nil if it asks for another's. A
// guest that looks whether one of the addresses is free hears, as all do, that it is not.
func (n *neighbour) answer(p *packet6) ([]byte, error) {
	if _, valid := validND(p, sizeNS); !valid {
		return nil, ErrMalformed
	}
	target := netip.AddrFrom16([16]byte(p.payload[8:]))
	mac, ours := n.macs[target]
	if !ours {
		return nil, nil
	}
	to, flags := endpoint{p.mac, p.src}, byte(naSolicited|naOverride)
	if p.src.IsUnspecified() {
		to, flags = allNodes, naOverride
	}
	frame := make([]byte, headers6+sizeNS, headers6+sizeNS+8)
	m := frame[headers6:]
	m[0], m[4] = neighbourAdvert, flags
	copy(m[8:], target.AsSlice())
	frame = append(append(frame, ndTargetMAC, 1), mac[:]...)
	return sealFrame6(frame, endpoint{mac, target}, to, protoICMPv6), nil
}
