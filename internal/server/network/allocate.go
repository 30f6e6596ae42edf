package network

import (
	"math"
	"net/netip"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// poolFor is the pool that a new subnet takes its addresses from: one that is named, the default one of its
// family when that is asked for, or nil for none.
func (r *Rules) poolFor(tx *store.Tx, who authn.Principal, spec *SubnetSpec) (*model.SubnetPool, error) {
	_, hasCIDR := spec.CIDR.Get()
	if _, has := spec.PrefixLen.Get(); has && hasCIDR {
		return nil, badRequest("subnets", "cidr and prefixlen must not be supplied together.")
	}
	id, named := spec.SubnetPoolID.Get()
	asked := spec.UseDefaultPool.Or(false)
	if named && asked {
		return nil, badRequest("subnets", "subnetpool_id and use_default_subnetpool cannot both be specified.")
	}
	if !named && !asked {
		return nil, nil
	}
	if _, has := spec.Pools.Get(); has && !hasCIDR {
		return nil, badRequest("subnets", "allocation_pools allowed only for specific subnet requests.")
	}
	var p *model.SubnetPool
	if named {
		var err error
		if p, err = r.SubnetPool(tx, who, id); err != nil {
			return nil, err
		}
	} else {
		version := spec.IPVersion.Or(4)
		if p = defaultPool(tx, who, version); p == nil {
			return nil, badRequest("subnets", "No default subnetpool found for IPv%d.", version)
		}
	}
	if v, ok := spec.IPVersion.Get(); ok && v != p.IPVersion() {
		return nil, badRequest("subnets", "Cannot allocate IPv%d subnet from IPv%d subnet pool.", v, p.IPVersion())
	}
	return p, nil
}

// defaultPool is the default pool of an IP version, nil when there is none that the principal may see.
func defaultPool(tx *store.Tx, who authn.Principal, version int) *model.SubnetPool {
	for p := range tx.DefaultSubnetPools() {
		if p.IPVersion() == version && policy.Allowed(who, "get_subnetpool", policy.SubnetPoolTarget(p)) {
			return p
		}
	}
	return nil
}

// allocate finds the block of a new subnet of a pool: the one that is asked for, the one that the gateway is in,
// or the first that is free. A pool has no two subnets with an address in common.
func allocate(tx *store.Tx, p *model.SubnetPool, project string, spec *SubnetSpec) (netip.Prefix, error) {
	bits := spec.PrefixLen.Or(p.DefaultPrefixLen)
	var block netip.Prefix // invalid: any
	if _, ok := spec.CIDR.Get(); ok {
		var err error
		if block, err = subnetPrefix(spec); err != nil {
			return block, err
		}
		if (block.Addr().Is4()) != (p.IPVersion() == 4) {
			return block, noBlock("Cannot allocate requested subnet from the available set of prefixes")
		}
		bits = block.Bits()
	}
	if bits > p.MaxPrefixLen {
		return block, fault.New(fault.Invalid, "MaxPrefixSubnetAllocationError",
			"Unable to allocate subnet with prefix length %d, maximum allowed prefix is %d.", bits, p.MaxPrefixLen)
	}
	if bits < max(p.MinPrefixLen, 1) {
		return block, fault.New(fault.Invalid, "MinPrefixSubnetAllocationError",
			"Unable to allocate subnet with prefix length %d, minimum allowed prefix is %d.", bits, max(p.MinPrefixLen, 1))
	}
	if gw, ok := spec.Gateway.Get(); ok && !block.IsValid() && gw.Is4() == (p.IPVersion() == 4) {
		block = netip.PrefixFrom(gw, bits).Masked()
	}
	if err := checkShare(tx, p, project, bits); err != nil {
		return block, err
	}
	if !block.IsValid() {
		found, ok := tx.FreeBlock(p.ID, p.Prefixes, bits)
		if !ok {
			return found, noBlock("Insufficient prefix space to allocate subnet size /%d", bits)
		}
		return found, nil
	}
	if !within(p.Prefixes, block) || !tx.BlockIsFree(p.ID, block) {
		return block, noBlock("Cannot allocate requested subnet from the available set of prefixes")
	}
	return block, nil
}

// within reports whether one of the prefixes, which are as few as can be, holds a block.
func within(prefixes []netip.Prefix, block netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Bits() <= block.Bits() && p.Contains(block.Addr()) {
			return true
		}
	}
	return false
}

// checkShare refuses a block that is more of a pool than a project may have.
func checkShare(tx *store.Tx, p *model.SubnetPool, project string, bits int) error {
	if p.DefaultQuota == 0 {
		return nil
	}
	unit, longest := 32, 32 // an IPv4 address, or an IPv6 prefix of 64 bits
	if p.IPVersion() == 6 {
		unit, longest = 64, 128
	}
	units := math.Ldexp(1, unit-bits)
	for b := range longest + 1 {
		units += math.Ldexp(float64(tx.SubnetCountByPool(p.ID, project, b)), unit-b)
	}
	if units > float64(p.DefaultQuota) {
		return fault.New(fault.QuotaExceeded, "SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded.")
	}
	return nil
}

// checkAffinity requires all subnets of a family on a network to be of one address scope or, where there is none,
// of one pool or of none.
func checkAffinity(tx *store.Tx, s *model.Subnet, pool *model.SubnetPool) error {
	scope := tx.NetworkScope(s.NetworkID, s.IPVersion())
	if !scope.IsZero() && pool != nil && pool.AddressScopeID != scope {
		return otherScope()
	}
	for o := range tx.SubnetsByNetwork(s.NetworkID) {
		if o.IPVersion() != s.IPVersion() || o.SubnetPoolID == s.SubnetPoolID || pool != nil && !scope.IsZero() {
			continue
		}
		return fault.New(fault.Invalid, "NetworkSubnetPoolAffinityError", "Subnets hosted on the same network must be allocated from the same subnet pool.")
	}
	return nil
}

// noBlock is the refusal of a pool that cannot give what is asked for.
func noBlock(format string, args ...any) *fault.Error {
	return fault.New(fault.Conflict, "SubnetAllocationError", "Failed to allocate subnet: "+format+".", args...)
}
