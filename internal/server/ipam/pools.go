package ipam

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/model"
)

// Bounds returns the first and the last address that a guest may have on a
// subnet. IPv4 keeps the network and the broadcast address for itself, except in /31
// and /32 (RFC 3021); IPv6 keeps the subnet-router anycast address (RFC 4291 section
// 2.6.1), except in /127 (RFC 6164) and /128.
func Bounds(cidr netip.Prefix) model.Range {
	cidr = cidr.Masked()
	r := model.Range{First: cidr.Addr(), Last: last(cidr)}
	if cidr.Addr().BitLen()-cidr.Bits() <= 1 {
		return r
	}
	r.First = r.First.Next()
	if cidr.Addr().Is4() {
		r.Last = r.Last.Prev()
	}
	return r
}

// last returns the highest address of a masked prefix.
func last(cidr netip.Prefix) netip.Addr {
	b := cidr.Addr().AsSlice()
	for i := cidr.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// DefaultPools returns the pools of a subnet that was given none: all of its
// Bounds without the gateway, which may be the zero Addr. There may be none left.
func DefaultPools(cidr netip.Prefix, gateway netip.Addr) []model.Range {
	return Exclude([]model.Range{Bounds(cidr)}, gateway)
}

// Exclude returns the pools without one address.
func Exclude(pools []model.Range, addr netip.Addr) []model.Range {
	out := make([]model.Range, 0, len(pools)+1)
	for _, p := range pools {
		if !addr.IsValid() || !p.Contains(addr) {
			out = append(out, p)
			continue
		}
		if p.First.Less(addr) {
			out = append(out, model.Range{First: p.First, Last: addr.Prev()})
		}
		if addr.Less(p.Last) {
			out = append(out, model.Range{First: addr.Next(), Last: p.Last})
		}
	}
	return out
}

// PoolError tells what is wrong with the pools that a user gave, so that the
// caller can name it as clients know it.
type PoolError struct {
	Kind  PoolErrorKind
	Pool  model.Range
	Other model.Range // of PoolsOverlap
	CIDR  netip.Prefix
}

// PoolErrorKind is what is wrong with pools.
type PoolErrorKind uint8

// The kinds of wrong pools.
const (
	PoolInvalid  PoolErrorKind = iota + 1 // ends of two families, or the last below the first
	PoolOutside                           // not within the Bounds of the subnet
	PoolsOverlap                          // with Other
)

func (e *PoolError) Error() string {
	switch e.Kind {
	case PoolOutside:
		return fmt.Sprintf("pool %s-%s is not within %s", e.Pool.First, e.Pool.Last, e.CIDR)
	case PoolsOverlap:
		return fmt.Sprintf("pools %s-%s and %s-%s overlap", e.Pool.First, e.Pool.Last, e.Other.First, e.Other.Last)
	}
	return fmt.Sprintf("pool %s-%s is not a range", e.Pool.First, e.Pool.Last)
}

// ValidPools returns the pools that a user gave for a subnet sorted, or a
// *PoolError: each must be a range within the subnet's Bounds, and no two may overlap.
func ValidPools(cidr netip.Prefix, pools []model.Range) ([]model.Range, error) {
	bounds := Bounds(cidr)
	for _, p := range pools {
		if !p.First.IsValid() || p.First.BitLen() != p.Last.BitLen() || p.Last.Less(p.First) || p.First.Zone() != "" || p.Last.Zone() != "" {
			return nil, &PoolError{Kind: PoolInvalid, Pool: p, CIDR: cidr}
		}
		if p.First.BitLen() != cidr.Addr().BitLen() || !bounds.Contains(p.First) || !bounds.Contains(p.Last) {
			return nil, &PoolError{Kind: PoolOutside, Pool: p, CIDR: cidr}
		}
	}
	sorted := slices.Clone(pools)
	slices.SortFunc(sorted, func(a, b model.Range) int { return a.First.Compare(b.First) })
	for i := 1; i < len(sorted); i++ {
		if !sorted[i-1].Last.Less(sorted[i].First) {
			return nil, &PoolError{Kind: PoolsOverlap, Pool: sorted[i-1], Other: sorted[i], CIDR: cidr}
		}
	}
	return sorted, nil
}

// InPools reports whether an address lies in one of the pools.
func InPools(pools []model.Range, addr netip.Addr) bool {
	return slices.ContainsFunc(pools, func(p model.Range) bool { return p.Contains(addr) })
}
