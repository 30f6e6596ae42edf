package filtertest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"

	"weft/internal/model"
)

// Ethernet makes a frame.
func Ethernet(src, dst model.MAC, typ uint16, payload []byte) []byte {
	f := append(append(bytes.Clone(dst[:]), src[:]...), byte(typ>>8), byte(typ))
	return append(f, payload...)
}

// PriorityTagged puts a VLAN tag with id 0 into a frame.
func PriorityTagged(f []byte) []byte {
	return append(append(bytes.Clone(f[:12]), 0x81, 0, 0, 0), f[12:]...)
}

// SNAP puts what a frame holds behind an LLC/SNAP header (IEEE 802.2, RFC 1042).
func SNAP(f []byte) []byte {
	b := binary.BigEndian.AppendUint16(bytes.Clone(f[:12]), uint16(8+len(f)-14))
	return append(append(b, 0xaa, 0xaa, 3, 0, 0, 0), f[12:]...)
}

func sum(b []byte, s uint32) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// ip makes an IP packet with a right header.
func ip(src, dst netip.Addr, proto byte, payload []byte) (ethertype uint16, packet []byte) {
	if src.Is4() {
		h := []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, proto, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
		h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(h[10:], fold(sum(h, 0)))
		return 0x0800, append(h, payload...)
	}
	h := []byte{0x60, 0, 0, 0, 0, 0, proto, 255}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	return 0x86dd, append(h, payload...)
}

// checksummed sets the 16-bit checksum at an offset, with the pseudo header
// where the protocol has one.
func checksummed(src, dst netip.Addr, proto byte, b []byte, at int) []byte {
	var s uint32
	if proto != 1 {
		s = sum(src.AsSlice(), sum(dst.AsSlice(), uint32(proto)+uint32(len(b))))
	}
	binary.BigEndian.PutUint16(b[at:], fold(sum(b, s)))
	return b
}

// Flow makes packets between two addresses, as the guest with a MAC sends them.
type Flow struct {
	SrcMAC, DstMAC model.MAC
	Src, Dst       string
}

// Packet makes an IP packet.
func (f Flow) Packet(proto byte, payload []byte) []byte {
	typ, p := ip(addr(f.Src), addr(f.Dst), proto, payload)
	return Ethernet(f.SrcMAC, f.DstMAC, typ, p)
}

// UDP makes a datagram.
func (f Flow) UDP(sport, dport uint16) []byte {
	b := make([]byte, 8+8)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	return f.Packet(17, checksummed(addr(f.Src), addr(f.Dst), 17, b, 6))
}

// Flags of TCP.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// TCP makes a segment without data.
func (f Flow) TCP(sport, dport uint16, flags byte, seq, ackn uint32) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ackn)
	b[12], b[13], b[14] = 5<<4, flags, 0x40
	return f.Packet(6, checksummed(addr(f.Src), addr(f.Dst), 6, b, 16))
}

// ICMP makes a message of ICMP, or ICMPv6. A neighbour advertisement is about its
// sender's address, a solicitation about 2001:db8::54.
func (f Flow) ICMP(typ, code byte, ident uint16) []byte {
	proto := byte(1)
	if strings.Contains(f.Src, ":") {
		proto = 58
	}
	b := make([]byte, 8+24)
	b[0], b[1] = typ, code
	binary.BigEndian.PutUint16(b[4:], ident)
	if target := (map[byte]string{135: "2001:db8::54", 136: f.Src})[typ]; proto == 58 && target != "" {
		b = append(b[:8], addr(target).AsSlice()...)
	}
	return f.Packet(proto, checksummed(addr(f.Src), addr(f.Dst), proto, b, 2))
}

// Back is the other direction.
func (f Flow) Back() Flow { return Flow{f.DstMAC, f.SrcMAC, f.Dst, f.Src} }

// As changes the sender's MAC.
func (f Flow) As(m model.MAC) Flow { f.SrcMAC = m; return f }

// Numbered puts a number into a UDP packet of a Flow.
func (f Flow) Numbered(sport, dport uint16, n uint64) []byte {
	b := make([]byte, 8+16)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	copy(b[8:], "wf-numb.")
	binary.BigEndian.PutUint64(b[16:], n)
	return f.Packet(17, checksummed(addr(f.Src), addr(f.Dst), 17, b, 6))
}

// untagged is the frame as a receiver reads it: the kernel takes the VLAN tag out.
func untagged(f []byte) []byte {
	if f[12] == 0x81 && f[13] == 0 {
		return append(bytes.Clone(f[:12]), f[16:]...)
	}
	return f
}

// Error makes an ICMP or ICMPv6 message about a packet: its header and the first 8
// bytes behind it (RFC 792).
func (f Flow) Error(typ, code byte, frame []byte) []byte {
	proto, header := byte(1), 20
	if strings.Contains(f.Src, ":") {
		proto, header = 58, 40
	}
	b := append([]byte{typ, code, 0, 0, 0, 0, 0, 0}, frame[14:14+header+8]...)
	return f.Packet(proto, checksummed(addr(f.Src), addr(f.Dst), proto, b, 2))
}

// Fragments cuts an IPv4 packet in two, the first with n bytes (a multiple of 8)
// behind the header.
func Fragments(frame []byte, n int) [][]byte {
	part := func(payload []byte, flagsAndOffset uint16) []byte {
		f := append(bytes.Clone(frame[:34]), payload...)
		h := f[14:34]
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
		binary.BigEndian.PutUint16(h[6:], flagsAndOffset)
		h[10], h[11] = 0, 0
		binary.BigEndian.PutUint16(h[10:], fold(sum(h, 0)))
		return f
	}
	return [][]byte{part(frame[34:34+n], 0x2000), part(frame[34+n:], uint16(n/8))}
}

// Large makes a datagram with n bytes of data.
func (f Flow) Large(sport, dport uint16, n int) []byte {
	b := make([]byte, 8+n)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	return f.Packet(17, checksummed(addr(f.Src), addr(f.Dst), 17, b, 6))
}

// identified gives an IPv4 packet another identification, and the right checksum.
func identified(frame []byte, id byte) []byte {
	h := frame[14:34]
	h[5], h[10], h[11] = id, 0, 0
	binary.BigEndian.PutUint16(h[10:], fold(sum(h, 0)))
	return frame
}
