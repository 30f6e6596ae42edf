package flow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Value is the value or the mask of a field as on the wire: big-endian, in the
// first bytes, the rest zero.
type Value [16]byte

// FieldMatch asks that Field & Mask == Value. It is comparable.
type FieldMatch struct {
	Field Field
	Value Value
	Mask  Value
}

// Exact reports whether every bit of the field is compared.
func (fm FieldMatch) Exact() bool { return fm.Mask == ones(fm.Field) }

// Uint returns the value as a number; of fields wider than 64 bits the low 64.
func (fm FieldMatch) Uint() uint64 { return getUint(fm.Value, fm.Field.size()) }

// Match is a conjunction of field matches, sorted by Field, each field at most
// once, never with an empty mask. Build it with its methods, which return a
// new Match and leave the receiver alone: the zero value matches every packet.
//
// Prerequisites are not added: Match{}.EthType(EtherTypeIPv4) (or MatchIPv4)
// must be said before an IPv4Src, as the switch demands.
//
// Some fields are kept in one normal form, so that what a switch returns
// equals what it was sent: VlanVID and VlanPCP become bits of VlanTCI, XReg and
// XXReg become registers. The methods panic if a value does not fit the field
// (an IPv6 address for IPv4Src): that is a programming error.
type Match []FieldMatch

// MatchARP matches ARP.
func MatchARP() Match { return Match{}.EthType(EtherTypeARP) }

// MatchIPv4 matches IPv4.
func MatchIPv4() Match { return Match{}.EthType(EtherTypeIPv4) }

// MatchIPv6 matches IPv6.
func MatchIPv6() Match { return Match{}.EthType(EtherTypeIPv6) }

// MatchIP matches an IP protocol in IPv4 (EtherTypeIPv4) or IPv6.
func MatchIP(etherType uint16, proto uint8) Match {
	return Match{}.EthType(etherType).IPProto(proto)
}

// MatchTCP matches TCP in IPv4 (EtherTypeIPv4) or IPv6.
func MatchTCP(etherType uint16) Match { return MatchIP(etherType, ProtoTCP) }

// MatchUDP matches UDP in IPv4 (EtherTypeIPv4) or IPv6.
func MatchUDP(etherType uint16) Match { return MatchIP(etherType, ProtoUDP) }

// MatchSCTP matches SCTP in IPv4 (EtherTypeIPv4) or IPv6.
func MatchSCTP(etherType uint16) Match { return MatchIP(etherType, ProtoSCTP) }

// MatchICMP matches ICMP in IPv4.
func MatchICMP() Match { return MatchIP(EtherTypeIPv4, ProtoICMP) }

// MatchICMPv6 matches ICMPv6.
func MatchICMPv6() Match { return MatchIP(EtherTypeIPv6, ProtoICMPv6) }

// InPort matches the OpenFlow number of the port of entry.
func (m Match) InPort(port uint32) Match { return m.Uint(InPort, uint64(port)) }

// EthType matches the Ethernet type.
func (m Match) EthType(t uint16) Match { return m.Uint(EthType, uint64(t)) }

// IPProto matches the IP protocol; EthType must be matched too.
func (m Match) IPProto(p uint8) Match { return m.Uint(IPProto, uint64(p)) }

// EthSrc matches the whole source MAC.
func (m Match) EthSrc(mac net.HardwareAddr) Match { return m.MAC(EthSrc, mac) }

// EthDst matches the whole destination MAC.
func (m Match) EthDst(mac net.HardwareAddr) Match { return m.MAC(EthDst, mac) }

// Vlan matches packets with an 802.1Q tag of this VLAN id (text: dl_vlan).
func (m Match) Vlan(vid uint16) Match {
	return m.Uint(VlanVID, uint64(vid&0xfff)|vlanPresent)
}

// Untagged matches packets without an 802.1Q tag (text: vlan_tci=0x0000/0x1fff).
func (m Match) Untagged() Match { return m.Uint(VlanVID, 0) }

// Reg matches a whole register, 0 to 15.
func (m Match) Reg(n int, v uint32) Match { return m.Uint(Reg(n), uint64(v)) }

// TunID matches the tunnel key.
func (m Match) TunID(v uint64) Match { return m.Uint(TunID, v) }

// CTState asks that the bits of set are set and those of clear are not:
// CTState(CTNew|CTTrk, CTEst) is the text ct_state=+new-est+trk.
func (m Match) CTState(set, clear uint32) Match {
	return m.Masked(CTState, uint64(set), uint64(set|clear))
}

// Uint matches all of a field of at most 64 bits.
func (m Match) Uint(f Field, v uint64) Match {
	return m.Bytes(f, uintValue(f, v), ones(f))
}

// Masked matches the bits of mask of a field of at most 64 bits.
func (m Match) Masked(f Field, v, mask uint64) Match {
	return m.Bytes(f, uintValue(f, v&mask), uintValue(f, mask))
}

// MAC matches all of a MAC field.
func (m Match) MAC(f Field, mac net.HardwareAddr) Match {
	return m.Bytes(f, macValue(f, mac), ones(f))
}

// MACMasked matches the bits of mask of a MAC field.
func (m Match) MACMasked(f Field, mac, mask net.HardwareAddr) Match {
	return m.Bytes(f, macValue(f, mac), macValue(f, mask))
}

// Addr matches all of an address field.
func (m Match) Addr(f Field, a netip.Addr) Match {
	return m.Bytes(f, addrValue(f, a), ones(f))
}

// Prefix matches the leading bits of an address field. A prefix of length zero
// matches everything and adds nothing.
func (m Match) Prefix(f Field, p netip.Prefix) Match {
	if !p.IsValid() {
		panic(fmt.Sprintf("flow: %s: invalid prefix", f))
	}
	mask := prefixMask(p.Bits())
	return m.Bytes(f, addrValue(f, p.Addr()), mask)
}

// Bytes matches the bits of mask of any field. A field that is there already is
// replaced; an empty mask removes it.
func (m Match) Bytes(f Field, value, mask Value) Match {
	full := ones(f)
	for i := range mask {
		mask[i] &= full[i]
		value[i] &= mask[i]
	}
	switch {
	case f == VlanVID || f == VlanPCP:
		return m.vlan(f, value, mask)
	case f >= XReg0 && f <= XReg7:
		return m.registers(Reg0+2*(f-XReg0), 2, value, mask)
	case f >= XXReg0 && f <= XXReg3:
		return m.registers(Reg0+4*(f-XXReg0), 4, value, mask)
	case f == InPort16:
		p := widePort(uint16(getUint(value, 2)))
		return m.set(FieldMatch{InPort, uintValue(InPort, uint64(p)), ones(InPort)})
	case f == VlanTCI:
		value, mask = normalTCI(value, mask)
	}
	return m.set(FieldMatch{f, value, mask})
}

// widePort turns a 16-bit port number into the 32-bit one: only the reserved
// ports differ.
func widePort(p uint16) uint32 {
	if p >= 0xff00 {
		return 0xffff0000 | uint32(p)
	}
	return uint32(p)
}

// normalTCI drops the priority bits of "no tag": such a packet has none, and
// the switch does not return them.
func normalTCI(value, mask Value) (Value, Value) {
	if mask[0]&(vlanPresent>>8) != 0 && value[0]&(vlanPresent>>8) == 0 {
		return Value{}, Value{0x1f, 0xff}
	}
	return value, mask
}

func (m Match) vlan(f Field, value, mask Value) Match {
	old, _ := m.Get(VlanTCI)
	v, k := binary.BigEndian.Uint16(old.Value[:]), binary.BigEndian.Uint16(old.Mask[:])
	if f == VlanVID {
		fv, fk := binary.BigEndian.Uint16(value[:]), binary.BigEndian.Uint16(mask[:])
		v, k = v&^0x1fff|fv, k&^0x1fff|fk
	} else {
		v, k = v&^0xe000|uint16(value[0])<<13, k&^0xe000|uint16(mask[0])<<13
	}
	return m.Bytes(VlanTCI, uintValue(VlanTCI, uint64(v)), uintValue(VlanTCI, uint64(k)))
}

func (m Match) registers(first Field, n int, value, mask Value) Match {
	for i := range n {
		var v, k Value
		copy(v[:4], value[4*i:])
		copy(k[:4], mask[4*i:])
		m = m.set(FieldMatch{first + Field(i), v, k})
	}
	return m
}

func (m Match) set(fm FieldMatch) Match {
	i, found := slices.BinarySearchFunc(m, fm.Field, func(a FieldMatch, f Field) int { return int(a.Field) - int(f) })
	rest := m[i:]
	if found {
		rest = m[i+1:]
	}
	out := make(Match, 0, len(m)+1)
	out = append(out, m[:i]...)
	if fm.Mask != (Value{}) {
		out = append(out, fm)
	}
	return append(out, rest...)
}

// Get returns what is asked of a field; VlanVID and VlanPCP are in VlanTCI.
func (m Match) Get(f Field) (FieldMatch, bool) {
	i, found := slices.BinarySearchFunc(m, f, func(a FieldMatch, f Field) int { return int(a.Field) - int(f) })
	if !found {
		return FieldMatch{Field: f}, false
	}
	return m[i], true
}

// Equal reports whether both match the same packets in the same words.
func (m Match) Equal(n Match) bool { return slices.Equal(m, n) }

// PortMask is one masked transport port: port & Mask == Value.
type PortMask struct{ Value, Mask uint16 }

// PortMasks covers the ports lo to hi, inclusive, with the fewest masks; a
// range costs at most 30 of them. None if lo > hi.
func PortMasks(lo, hi uint16) []PortMask {
	var out []PortMask
	for at := uint32(lo); at <= uint32(hi); {
		size := uint32(1)
		for at&(size<<1-1) == 0 && at+size<<1-1 <= uint32(hi) && size < 1<<16 {
			size <<= 1
		}
		out = append(out, PortMask{uint16(at), ^uint16(size - 1)})
		at += size
	}
	return out
}

func ones(f Field) Value {
	n := f.info().bits
	size := f.size()
	var v Value
	for i := size - 1; i >= 0 && n > 0; i-- {
		k := min(n, 8)
		v[i] = byte(1<<k - 1)
		n -= k
	}
	return v
}

func uintValue(f Field, v uint64) Value {
	bits := f.info().bits
	if bits < 64 && v>>bits != 0 {
		panic(fmt.Sprintf("flow: %#x does not fit %s", v, f))
	}
	return putUint(v, f.size())
}

// putUint writes v big-endian into the first size bytes.
func putUint(v uint64, size int) Value {
	var out Value
	for i := size - 1; i >= 0 && v != 0; i-- {
		out[i] = byte(v)
		v >>= 8
	}
	return out
}

func getUint(v Value, size int) uint64 {
	var out uint64
	for _, b := range v[:size] {
		out = out<<8 | uint64(b)
	}
	return out
}

func macValue(f Field, mac net.HardwareAddr) Value {
	if len(mac) != 6 || f.info().format != asMAC {
		panic(fmt.Sprintf("flow: %s does not fit %s", mac, f))
	}
	var v Value
	copy(v[:], mac)
	return v
}

func addrValue(f Field, a netip.Addr) Value {
	var v Value
	switch format := f.info().format; {
	case format == asIPv4 && a.Is4():
		b := a.As4()
		copy(v[:], b[:])
	case format == asIPv6 && a.Is6():
		v = a.As16()
	default:
		panic(fmt.Sprintf("flow: %s does not fit %s", a, f))
	}
	return v
}

// prefixMask returns bits leading ones.
func prefixMask(bits int) Value {
	var v Value
	for i := 0; bits > 0; i++ {
		v[i] = byte(0xff << max(0, 8-bits))
		bits -= 8
	}
	return v
}

// prefixLen returns the number of leading ones if there are no others.
func prefixLen(mask []byte) (int, bool) {
	n := 0
	for n < 8*len(mask) && mask[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	want := prefixMask(n)
	return n, bytes.Equal(mask, want[:len(mask)])
}
