// Package ipam computes with addresses: what the pools of a subnet are, and
// which address of them a port gets.
//
// It is pure: who has which address it is told by the caller, and so is
// randomness. Whether a port may have an address at all is for package network to decide,
// which calls it.
package ipam

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"net/netip"

	"weft/internal/model"
)

// probes is how many random addresses Pick tries before it looks for a gap. In a
// pool that is nine tenths full, all of them fail in one case of five.
const probes = 16

// Used is what Pick asks about a subnet's addresses.
type Used interface {
	// Has reports whether an address is taken.
	Has(addr netip.Addr) bool
	// From yields the taken addresses in ascending order, beginning with the first
	// that is not below the given one.
	From(addr netip.Addr) iter.Seq[netip.Addr]
}

// Pick returns an address of the pools that is not used, false when all are.
// Pools are sorted and disjoint, as ValidPools has it. It tries random addresses
// first, which costs nothing while the pools are sparse; when they are crowded it scans the used
// ones in order, from a random place on and then from the start, for the first gap.
// So an address that was given back is seldom given out again at once.
func Pick(pools []model.Range, used Used, random func() uint64) (netip.Addr, bool) {
	for range probes {
		addr, ok := randomAddr(pools, random)
		if !ok {
			return netip.Addr{}, false
		}
		if !used.Has(addr) {
			return addr, true
		}
	}
	start, _ := randomAddr(pools, random)
	for _, pool := range pools {
		if pool.Last.Less(start) {
			continue
		}
		if pool.First.Less(start) {
			pool.First = start
		}
		if addr, ok := firstGap(pool, used); ok {
			return addr, true
		}
	}
	for _, pool := range pools {
		if !pool.First.Less(start) {
			break
		}
		if !pool.Last.Less(start) {
			pool.Last = start.Prev()
		}
		if addr, ok := firstGap(pool, used); ok {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// firstGap returns the lowest address of a pool that is not used.
func firstGap(pool model.Range, used Used) (netip.Addr, bool) {
	next := pool.First
	for taken := range used.From(pool.First) {
		if next.Less(taken) || !next.IsValid() {
			break
		}
		if taken == next {
			next = next.Next() // invalid behind the last address there is
		}
	}
	return next, next.IsValid() && pool.Contains(next)
}

// randomAddr returns an address of the pools, each as likely as another; false
// when there is none.
func randomAddr(pools []model.Range, random func() uint64) (netip.Addr, bool) {
	var total uint128 // minus one, so that ::/0 fits
	for i, p := range pools {
		d := toUint(p.Last).sub(toUint(p.First))
		if i > 0 {
			d = d.add(uint128{0, 1})
		}
		total = total.add(d)
	}
	if len(pools) == 0 {
		return netip.Addr{}, false
	}
	n := uint128{random(), random()}
	if size := total.add(uint128{0, 1}); size != (uint128{}) {
		n = n.mod(size)
	}
	for _, p := range pools {
		d := toUint(p.Last).sub(toUint(p.First))
		if !d.less(n) {
			return toAddr(toUint(p.First).add(n), p.First.Is4()), true
		}
		n = n.sub(d).sub(uint128{0, 1})
	}
	return netip.Addr{}, false // not reached
}

// Size tells how many addresses the pools hold; math.MaxUint64 when there are
// more than that.
func Size(pools []model.Range) uint64 {
	var sum uint128
	for _, p := range pools {
		sum = sum.add(toUint(p.Last).sub(toUint(p.First))).add(uint128{0, 1})
	}
	if sum.hi != 0 {
		return 1<<64 - 1
	}
	return sum.lo
}

// EUI64 returns the address that a guest with this MAC forms on a prefix of at
// most 64 bits (RFC 4862 section 5.5.3, RFC 4291 appendix A).
func EUI64(prefix netip.Prefix, mac model.MAC) (netip.Addr, error) {
	if !prefix.Addr().Is6() || prefix.Addr().Is4In6() || prefix.Bits() > 64 {
		return netip.Addr{}, fmt.Errorf("%s is not an IPv6 prefix of at most 64 bits", prefix)
	}
	a := prefix.Masked().Addr().As16()
	id := mac.EUI64()
	copy(a[8:], id[:])
	return netip.AddrFrom16(a), nil
}

// uint128 is an address as a number.
type uint128 struct{ hi, lo uint64 }

func toUint(a netip.Addr) uint128 {
	if a.Is4() {
		b := a.As4()
		return uint128{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func toAddr(n uint128, is4 bool) netip.Addr {
	if is4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b)
}

func (a uint128) add(b uint128) uint128 {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return uint128{hi, lo}
}

func (a uint128) sub(b uint128) uint128 {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return uint128{hi, lo}
}

func (a uint128) less(b uint128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// mod returns a modulo b, which is not zero.
func (a uint128) mod(b uint128) uint128 {
	if b.hi == 0 {
		_, rem := bits.Div64(a.hi%b.lo, a.lo, b.lo)
		return uint128{0, rem}
	}
	// b has more than 64 bits, so the quotient has less than 64: long division.
	for shift := bits.LeadingZeros64(b.hi) - bits.LeadingZeros64(a.hi); shift >= 0; shift-- {
		if s := b.shiftLeft(uint(shift)); !a.less(s) {
			a = a.sub(s)
		}
	}
	return a
}

func (a uint128) shiftLeft(n uint) uint128 {
	return uint128{a.hi<<n | a.lo>>(64-n), a.lo << n} // n < 64
}
