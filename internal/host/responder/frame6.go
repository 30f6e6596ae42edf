package responder

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/model"
)

const (
	ipv6Header = 40
	headers6   = ethernetHeader + ipv6Header

	etherTypeIPv6 = 0x86dd
	protoICMPv6   = 58

	serverPort6 = 547
	clientPort6 = 546

	// hopsND is the hop limit of neighbour discovery: no router has let the packet through (RFC 4861, 3).
	hopsND = 255
	hops   = 64
)

// allNodes is the group of all nodes on the link, and the MAC that it has on Ethernet (RFC 2464, 7).
var allNodes = endpoint{model.MAC{0x33, 0x33, 0, 0, 0, 1}, netip.IPv6LinkLocalAllNodes()}

// packet6 is an IPv6 packet without extension headers. The payload is a part of the frame.
type packet6 struct {
	mac      model.MAC // that sent it
	src, dst netip.Addr
	next     byte // protocol of the payload
	hops     byte
	payload  []byte
}

// parsePacket6 takes an IPv6 packet out of an untagged Ethernet frame. Checksums are not looked at, for the
// reason of parseRequest.
func parsePacket6(frame []byte) (packet6, bool) {
	var p packet6
	if len(frame) < headers6 || binary.BigEndian.Uint16(frame[12:]) != etherTypeIPv6 {
		return p, false
	}
	copy(p.mac[:], frame[6:12])
	ip := frame[ethernetHeader:]
	size := int(binary.BigEndian.Uint16(ip[4:]))
	if ip[0]>>4 != 6 || size > len(ip)-ipv6Header {
		return p, false
	}
	p.next, p.hops = ip[6], ip[7]
	p.src, p.dst = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
	p.payload = ip[ipv6Header : ipv6Header+size]
	return p, true
}

// udp returns what UDP carries from a DHCPv6 client to a server.
func (p *packet6) udp() ([]byte, bool) {
	b := p.payload
	if p.next != protoUDP || len(b) < udpHeader || binary.BigEndian.Uint16(b) != clientPort6 || binary.BigEndian.Uint16(b[2:]) != serverPort6 {
		return nil, false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size < udpHeader || size > len(b) {
		return nil, false
	}
	return b[udpHeader:size], true
}

// sealFrame6 fills in Ethernet and IPv6 headers of a frame whose first bytes are left for them, and the checksum
// of its UDP datagram or ICMPv6 message.
func sealFrame6(frame []byte, from, to endpoint, next byte) []byte {
	copy(frame[0:], to.mac[:])
	copy(frame[6:], from.mac[:])
	binary.BigEndian.PutUint16(frame[12:], etherTypeIPv6)

	ip, payload := frame[ethernetHeader:headers6], frame[headers6:]
	src, dst := from.addr.As16(), to.addr.As16()
	ip[0], ip[6], ip[7] = 6<<4, next, hops
	binary.BigEndian.PutUint16(ip[4:], uint16(len(payload)))
	copy(ip[8:], src[:])
	copy(ip[24:], dst[:])

	at := 2
	if next == protoUDP {
		at = 6
		binary.BigEndian.PutUint16(payload, serverPort6)
		binary.BigEndian.PutUint16(payload[2:], clientPort6)
		binary.BigEndian.PutUint16(payload[4:], uint16(len(payload)))
	} else {
		ip[7] = hopsND
	}
	binary.BigEndian.PutUint16(payload[at:], 0)
	check := ^fold(sum(sum(uint32(next)+uint32(len(payload)), ip[8:]), payload))
	if check == 0 && next == protoUDP {
		check = 0xffff // zero is not allowed (RFC 8200, 8.1)
	}
	binary.BigEndian.PutUint16(payload[at:], check)
	return frame
}

// linkLocal is the address that a node forms from its MAC (RFC 4291, 2.5.6 and appendix A).
func linkLocal(m model.MAC) netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80}
	eui := m.EUI64()
	copy(a[8:], eui[:])
	return netip.AddrFrom16(a)
}
