package responder

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/model"
)

// Sizes of headers, and of the shortest Ethernet frame without its checksum.
const (
	ethernetHeader = 14
	ipv4Header     = 20 // without options
	udpHeader      = 8
	headers        = ethernetHeader + ipv4Header + udpHeader
	minFrame       = 60
)

const (
	etherTypeIPv4 = 0x0800
	protoUDP      = 17
	serverPort    = 67
	clientPort    = 68
)

var (
	broadcastMAC  = model.MAC{255, 255, 255, 255, 255, 255}
	broadcastAddr = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// request is what headers say of a DHCP request.
type request struct {
	src     model.MAC
	payload []byte // of UDP
}

// parseRequest takes a DHCP request out of an untagged Ethernet frame. The UDP
// checksum is not looked at: a virtual NIC may leave it to hardware that is
// not there, and the frame has crossed no wire.
func parseRequest(frame []byte) (request, bool) {
	var r request
	if len(frame) < headers || binary.BigEndian.Uint16(frame[12:]) != etherTypeIPv4 {
		return r, false
	}
	copy(r.src[:], frame[6:12])
	ip := frame[ethernetHeader:]
	size := int(ip[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	const fragment = 0x3fff // more fragments, offset
	if ip[0]>>4 != 4 || size < ipv4Header || total < size+udpHeader || total > len(ip) ||
		binary.BigEndian.Uint16(ip[6:])&fragment != 0 || ip[9] != protoUDP {
		return r, false
	}
	udp := ip[size:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp) != clientPort || binary.BigEndian.Uint16(udp[2:]) != serverPort ||
		length < udpHeader || length > len(udp) {
		return r, false
	}
	r.payload = udp[udpHeader:length]
	return r, true
}

// endpoint is one end of a frame.
type endpoint struct {
	mac  model.MAC
	addr netip.Addr // IPv4
}

// sealFrame fills in the headers of a frame whose first bytes are left for
// them, from the DHCP server's port to the client's, and pads it to the
// shortest frame.
func sealFrame(frame []byte, from, to endpoint) []byte {
	copy(frame[0:], to.mac[:])
	copy(frame[6:], from.mac[:])
	binary.BigEndian.PutUint16(frame[12:], etherTypeIPv4)

	ip := frame[ethernetHeader:]
	src, dst := from.addr.As4(), to.addr.As4()
	ip[0] = 4<<4 | ipv4Header/4
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[8], ip[9] = 64, protoUDP
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip[:ipv4Header])))

	udp := ip[ipv4Header:]
	binary.BigEndian.PutUint16(udp, serverPort)
	binary.BigEndian.PutUint16(udp[2:], clientPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	check := ^fold(sum(sum(protoUDP+uint32(len(udp)), ip[12:20]), udp))
	if check == 0 {
		check = 0xffff // zero would mean "none" (RFC 768)
	}
	binary.BigEndian.PutUint16(udp[6:], check)
	for len(frame) < minFrame {
		frame = append(frame, 0)
	}
	return frame
}

// sum adds b to a one's complement sum of 16-bit words (RFC 1071). It holds for
// less than 64 KiB.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
