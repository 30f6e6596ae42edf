// Package standin gives every address of every guest of a host an address that stands for it in the
// host's services namespace, and back.
//
// Tenants' addresses overlap: 10.0.0.5 may be two guests. Table IntServices of br-int therefore writes
// into a packet for a service, in place of the guest's address, one that is made of the OpenFlow number of
// the port that the packet came from and of the index of the address among those of the port. What a
// service sees as the other end of a connection is so who it is, whatever the guest wrote into the packet
// or says in it. Such addresses mean nothing outside of the namespace, and never leave it.
//
// The package is pure. Package pipeline makes flows of it; the services look guests up by it.
package standin

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"weft/internal/model"
)

// Addresses of the services.
var (
	// Metadata4 and Metadata6 are where guests look for metadata (EC2; Neutron for IPv6).
	Metadata4 = netip.AddrFrom4([4]byte{169, 254, 169, 254})
	Metadata6 = netip.AddrFrom16([16]byte{0xfe, 0x80, 14: 0xa9, 15: 0xfe, 12: 0xa9, 13: 0xfe})
	// Service4 and Service6 are what the services have in their namespace.
	Service4 = Metadata4
	Service6 = netip.AddrFrom16([16]byte{0xfd, 0x57, 0xe7, 12: 0xa9, 13: 0xfe, 14: 0xa9, 15: 0xfe})
	// Prefix4 (shared address space, RFC 6598) and Prefix6 (unique local, RFC 4193) hold the addresses
	// that stand for guests.
	Prefix4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)
	Prefix6 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x57, 0xe7, 7: 1}), 64)
)

// MAC is the services' own: of their end of the pair, and of 169.254.169.254 to guests.
var MAC = model.MAC{0x02, 0x00, 0xa9, 0xfe, 0xa9, 0xfe}

// Device is the services' port on br-int.
const Device = "weft-svc"

// Ports of the services.
const (
	MetadataPort = 80
	DNSPort      = 53
)

const (
	indexBits = 6
	// MaxAddresses is how many fixed addresses of a port can have the services.
	MaxAddresses = 1<<indexBits - 1
	// linkLocal is the index of the port's link-local address.
	linkLocal = MaxAddresses
	// MaxPort is the highest OpenFlow port number whose guest can have the services; Open vSwitch gives
	// out none above 0xfeff.
	MaxPort = 1<<16 - 1
)

// Key is an address of a guest: the port's OpenFlow number, and the index of the address.
type Key struct {
	OFPort uint16
	Index  uint8
}

func (k Key) bits() uint32 { return uint32(k.OFPort)<<indexBits | uint32(k.Index) }

// V4 is the address that stands for an IPv4 address.
func (k Key) V4() netip.Addr {
	base := Prefix4.Addr().As4()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(base[:])|k.bits())
	return netip.AddrFrom4(a)
}

// V6 is the address that stands for an IPv6 address.
func (k Key) V6() netip.Addr {
	a := Prefix6.Addr().As16()
	binary.BigEndian.PutUint32(a[12:], k.bits())
	return netip.AddrFrom16(a)
}

// Parse returns what an address stands for.
func Parse(a netip.Addr) (k Key, v6, ok bool) {
	a = a.Unmap()
	var bits uint32
	switch {
	case Prefix4.Contains(a):
		b := a.As4()
		bits = binary.BigEndian.Uint32(b[:]) & (1<<(16+indexBits) - 1)
	case Prefix6.Contains(a):
		b := a.As16()
		if binary.BigEndian.Uint32(b[8:]) != 0 || binary.BigEndian.Uint32(b[12:])>>(16+indexBits) != 0 {
			return Key{}, false, false
		}
		bits, v6 = binary.BigEndian.Uint32(b[12:]), true
	default:
		return Key{}, false, false
	}
	return Key{OFPort: uint16(bits >> indexBits), Index: uint8(bits & MaxAddresses)}, v6, bits>>indexBits != 0
}

// Address is an address that a guest may reach the services from.
type Address struct {
	Key     Key
	Addr    netip.Addr
	StandIn netip.Addr
	// DNS is where a guest with this address asks names: the address that the DHCP port has on the same
	// subnet, else its first of the family. Invalid: the guest has none.
	DNS netip.Addr
}

// Addresses lists the addresses of a port that may reach the services: its fixed ones, and the link-local
// one of its MAC (RFC 4291, appendix A), which is what asks Metadata6.
func Addresses(p *model.PortView, n *model.NetworkView, ofport uint32) []Address {
	if ofport == 0 || ofport > MaxPort {
		return nil
	}
	var out []Address
	add := func(index int, a netip.Addr, dns netip.Addr) {
		if slices.ContainsFunc(out, func(b Address) bool { return b.Addr == a }) {
			return
		}
		k := Key{OFPort: uint16(ofport), Index: uint8(index)}
		s := k.V4()
		if a.Is6() {
			s = k.V6()
		}
		out = append(out, Address{Key: k, Addr: a, StandIn: s, DNS: dns})
	}
	for i, f := range p.FixedIPs {
		if a := f.Addr.Unmap(); a.IsValid() && i < MaxAddresses {
			add(i, a, serverOf(n, f.SubnetID, a))
		}
	}
	ll := [16]byte{0: 0xfe, 1: 0x80}
	eui := p.MAC.EUI64()
	copy(ll[8:], eui[:])
	add(linkLocal, netip.AddrFrom16(ll), netip.Addr{})
	return out
}

// serverOf is the DHCP port's address for a fixed address.
func serverOf(n *model.NetworkView, id model.SubnetID, a netip.Addr) netip.Addr {
	if n == nil || n.DHCPMAC.IsZero() {
		return netip.Addr{}
	}
	var cidr netip.Prefix
	for i := range n.Subnets {
		if s := &n.Subnets[i]; s.ID == id && s.CIDR.Contains(a) {
			cidr = s.CIDR
		}
	}
	var other netip.Addr
	for _, d := range n.DHCPAddrs {
		d = d.Unmap()
		if d.Is4() != a.Is4() {
			continue
		}
		if cidr.IsValid() && cidr.Contains(d) {
			return d
		}
		if !other.IsValid() {
			other = d
		}
	}
	return other
}
