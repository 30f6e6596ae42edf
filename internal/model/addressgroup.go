package model

import (
	"crypto/sha256"
	"net/netip"
	"slices"
)

// AddressGroup is a set of addresses that security group rules refer to (Neutron API reference, "Address groups").
type AddressGroup struct {
	Meta
	ID        AddressGroupID `json:"id"`
	Addresses []netip.Prefix `json:"addresses,omitempty"` // masked, in order (ComparePrefix), each once; both families
}

// Clone returns a deep copy to change.
func (g *AddressGroup) Clone() *AddressGroup {
	c := *g
	c.Tags = slices.Clone(g.Tags)
	c.Addresses = slices.Clone(g.Addresses)
	return &c
}

// ComparePrefix orders prefixes: IPv4 before IPv6, then by address, the wider before the narrower.
func ComparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// AddressMember names an address of an address group, as a port's id names a member of a security group:
// MemberKey.Port of that member. It is a digest, since a prefix of IPv6 and its length do not fit into an id.
func AddressMember(p netip.Prefix) UUID {
	text, _ := p.MarshalBinary() // never fails
	sum := sha256.Sum256(text)
	return UUID(sum[:16])
}
