package ipam

import (
	"net/netip"

	"go4.org/netipx"
)

// Merge returns the addresses of prefixes as few prefixes as can be, masked and in order.
func Merge(prefixes ...netip.Prefix) []netip.Prefix { return setOf(prefixes).Prefixes() }

// Subtract returns the addresses of some prefixes that others have not, as Merge does.
func Subtract(prefixes, less []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	b.AddSet(setOf(prefixes))
	b.RemoveSet(setOf(less))
	return built(&b).Prefixes()
}

// Intersect returns the addresses that two lists of prefixes have in common, as Merge does.
func Intersect(a, b []netip.Prefix) []netip.Prefix {
	var both netipx.IPSetBuilder
	both.AddSet(setOf(a))
	both.Intersect(setOf(b))
	return built(&both).Prefixes()
}

func setOf(prefixes []netip.Prefix) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		b.AddPrefix(p.Masked())
	}
	return built(&b)
}

// built finishes a set. The one error is that of a prefix that is not valid: it has no addresses.
func built(b *netipx.IPSetBuilder) *netipx.IPSet {
	s, err := b.IPSet()
	if s == nil || err != nil {
		return &netipx.IPSet{}
	}
	return s
}
