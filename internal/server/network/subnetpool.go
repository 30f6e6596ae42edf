package network

import (
	"net/netip"
	"reflect"
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/ipam"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// maxPrefixes bounds one pool's prefixes: each is looked at for each new subnet.
const maxPrefixes = 1024

// CreateSubnetPool makes a subnet pool. Its prefixes are kept as few as can be.
func (r *Rules) CreateSubnetPool(tx *store.Tx, env Env, who authn.Principal, spec SubnetPoolSpec) (*model.SubnetPool, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "create_subnetpool", policy.ProjectTarget(project)).
		attr("shared", spec.Shared.Set).attr("is_default", spec.IsDefault.Set).err(); err != nil {
		return nil, err
	}
	if err := checkTexts(spec.Name, spec.Description); err != nil {
		return nil, err
	}
	if err := r.checkQuota(tx, project, QuotaSubnetPool); err != nil {
		return nil, err
	}
	p := &model.SubnetPool{
		Meta:           env.meta(project, spec.Name, spec.Description, 0),
		ID:             model.SubnetPoolID{UUID: env.uuid()},
		DefaultQuota:   spec.DefaultQuota.Or(0),
		IsDefault:      spec.IsDefault.Or(false),
		Shared:         spec.Shared.Or(false),
		AddressScopeID: spec.AddressScopeID.Or(model.AddressScopeID{}),
	}
	if p.Prefixes, err = poolPrefixes(spec.Prefixes.Or(nil)); err != nil {
		return nil, err
	}
	smallest, largest := 8, 32
	if p.IPVersion() == 6 {
		smallest, largest = 64, 128
	}
	p.MinPrefixLen, p.MaxPrefixLen = spec.MinPrefixLen.Or(smallest), spec.MaxPrefixLen.Or(largest)
	p.DefaultPrefixLen = spec.DefaultPrefixLen.Or(p.MinPrefixLen)
	if err := r.checkPool(tx, who, p, nil); err != nil {
		return nil, err
	}
	tx.PutSubnetPool(p)
	return p, nil
}

// UpdateSubnetPool changes a subnet pool. Prefixes can be added only; RemovePrefixes takes some away.
func (r *Rules) UpdateSubnetPool(tx *store.Tx, env Env, who authn.Principal, id model.SubnetPoolID, spec SubnetPoolSpec, ifMatch *int64) (*model.SubnetPool, error) {
	old, err := r.SubnetPool(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := refuseReadOnly(map[string]bool{"shared": spec.Shared.Set}); err != nil {
		return nil, err
	}
	if err := ask(who, "update_subnetpool", policy.SubnetPoolTarget(old)).attr("is_default", spec.IsDefault.Set).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkTexts(spec.Name, spec.Description); err != nil {
		return nil, err
	}
	p := old.Clone()
	set(&p.Name, spec.Name)
	set(&p.Description, spec.Description)
	set(&p.MinPrefixLen, spec.MinPrefixLen)
	set(&p.MaxPrefixLen, spec.MaxPrefixLen)
	set(&p.DefaultPrefixLen, spec.DefaultPrefixLen)
	set(&p.DefaultQuota, spec.DefaultQuota)
	set(&p.IsDefault, spec.IsDefault)
	set(&p.AddressScopeID, spec.AddressScopeID)
	if spec.Prefixes.Set {
		if p.Prefixes, err = poolPrefixes(spec.Prefixes.Or(nil)); err != nil {
			return nil, err
		}
		if len(ipam.Subtract(old.Prefixes, p.Prefixes)) > 0 {
			return nil, illegalPrefixes("Existing prefixes must be a subset of the new prefixes")
		}
	}
	return r.changePool(tx, env, who, old, p)
}

// AddPrefixes adds prefixes to a subnet pool.
func (r *Rules) AddPrefixes(tx *store.Tx, env Env, who authn.Principal, id model.SubnetPoolID, prefixes []netip.Prefix) (*model.SubnetPool, error) {
	old, err := r.SubnetPool(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "add_prefixes", policy.SubnetPoolTarget(old)).err(); err != nil {
		return nil, err
	}
	p := old.Clone()
	if p.Prefixes, err = poolPrefixes(slices.Concat(old.Prefixes, prefixes)); err != nil {
		return nil, err
	}
	return r.changePool(tx, env, who, old, p)
}

// RemovePrefixes takes prefixes from a subnet pool that no subnet has addresses of. What the pool has not is
// ignored.
func (r *Rules) RemovePrefixes(tx *store.Tx, env Env, who authn.Principal, id model.SubnetPoolID, prefixes []netip.Prefix) (*model.SubnetPool, error) {
	old, err := r.SubnetPool(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "remove_prefixes", policy.SubnetPoolTarget(old)).err(); err != nil {
		return nil, err
	}
	p := old.Clone()
	for _, gone := range ipam.Intersect(old.Prefixes, prefixes) {
		if !tx.BlockIsFree(id, gone) {
			return nil, illegalPrefixes("One or more the prefixes to be removed is in use by a subnet")
		}
	}
	if p.Prefixes = ipam.Subtract(old.Prefixes, prefixes); len(p.Prefixes) == 0 {
		return nil, emptyPrefixes()
	}
	return r.changePool(tx, env, who, old, p)
}

// changePool checks and keeps a changed pool.
func (r *Rules) changePool(tx *store.Tx, env Env, who authn.Principal, old, p *model.SubnetPool) (*model.SubnetPool, error) {
	if reflect.DeepEqual(old, p) {
		return old, nil
	}
	if err := r.checkPool(tx, who, p, old); err != nil {
		return nil, err
	}
	env.touch(&p.Meta)
	tx.PutSubnetPool(p)
	return p, nil
}

// DeleteSubnetPool removes a subnet pool without subnets.
func (r *Rules) DeleteSubnetPool(tx *store.Tx, _ Env, who authn.Principal, id model.SubnetPoolID, ifMatch *int64) error {
	p, err := r.SubnetPool(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_subnetpool", policy.SubnetPoolTarget(p)).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, p.Revision); err != nil {
		return err
	}
	for range tx.SubnetsByPool(id) {
		return fault.New(fault.Invalid, "SubnetPoolDeleteError", "Unable to delete subnet pool: Subnet pool has existing allocations.")
	}
	tx.DeleteSubnetPool(id)
	return nil
}

// poolPrefixes checks a pool's prefixes and returns them as they are kept.
func poolPrefixes(given []netip.Prefix) ([]netip.Prefix, error) {
	for _, p := range given {
		switch {
		case !p.IsValid() || p.Addr().Is4In6():
			return nil, badAttr("prefixes", "'%s' is not a valid IP subnet.", p)
		case p.Addr().Is4() != given[0].Addr().Is4():
			return nil, fault.New(fault.Invalid, "PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
		}
	}
	merged := ipam.Merge(given...)
	switch {
	case len(merged) == 0:
		return nil, emptyPrefixes()
	case len(merged) > maxPrefixes:
		return nil, badInput("a subnet pool cannot have more than %d prefixes", maxPrefixes)
	}
	return merged, nil
}

// checkPool checks what a pool is to be; old is what it was, nil when it is new.
func (r *Rules) checkPool(tx *store.Tx, who authn.Principal, p, old *model.SubnetPool) error {
	if len(p.Prefixes) == 0 {
		return emptyPrefixes()
	}
	if old != nil && p.IPVersion() != old.IPVersion() {
		return fault.New(fault.Invalid, "PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
	}
	if err := checkPrefixLengths(p); err != nil {
		return err
	}
	if p.DefaultQuota < 0 {
		return badAttr("default_quota", "'%d' must be a non-negative integer.", p.DefaultQuota)
	}
	if p.IsDefault {
		for o := range tx.DefaultSubnetPools() {
			if o.ID != p.ID && o.IPVersion() == p.IPVersion() {
				return badInput("A default subnetpool for this IP family has already been set. Only one default may exist per IP family")
			}
		}
	}
	return r.checkScope(tx, who, p, old)
}

// checkPrefixLengths requires the bounds of a pool's blocks to be in order.
func checkPrefixLengths(p *model.SubnetPool) error {
	bits := p.Prefixes[0].Addr().BitLen()
	if p.MinPrefixLen < 0 {
		return fault.New(fault.Invalid, "UnsupportedMinSubnetPoolPrefix", "Prefix '%d' not supported in IPv%d pool.", p.MinPrefixLen, p.IPVersion())
	}
	illegal := func(name string, value int, base string, against int) error {
		return fault.New(fault.Invalid, "IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: %s=%d, %s=%d.", name, value, base, against)
	}
	switch {
	case p.MinPrefixLen > p.MaxPrefixLen:
		return illegal("min_prefixlen", p.MinPrefixLen, "max_prefixlen", p.MaxPrefixLen)
	case p.MaxPrefixLen > bits:
		return illegal("max_prefixlen", p.MaxPrefixLen, "ip_version_max", bits)
	case p.DefaultPrefixLen < p.MinPrefixLen:
		return illegal("default_prefixlen", p.DefaultPrefixLen, "min_prefixlen", p.MinPrefixLen)
	case p.DefaultPrefixLen > p.MaxPrefixLen:
		return illegal("default_prefixlen", p.DefaultPrefixLen, "max_prefixlen", p.MaxPrefixLen)
	}
	return nil
}

// checkScope checks a pool against its address scope: of one family, without addresses of other pools there, and
// with all that is on its subnets' networks.
func (r *Rules) checkScope(tx *store.Tx, who authn.Principal, p, old *model.SubnetPool) error {
	moved := old != nil && old.AddressScopeID != p.AddressScopeID
	if old != nil && !old.AddressScopeID.IsZero() {
		if s := tx.AddressScope(old.AddressScopeID); s != nil && !policy.Allowed(who, "update_address_scope", policy.AddressScopeTarget(s)) {
			return fault.New(fault.Invalid, "IllegalSubnetPoolUpdate", "Illegal subnetpool update : subnetpool %s cannot be updated "+
				"when associated with shared address scope %s.", p.ID, s.ID)
		}
	}
	if moved {
		if err := checkScopeOfNetworks(tx, p); err != nil {
			return err
		}
	}
	if p.AddressScopeID.IsZero() {
		return nil
	}
	s, err := r.AddressScope(tx, who, p.AddressScopeID)
	if err != nil {
		return err
	}
	if s.IPVersion != p.IPVersion() {
		return fault.New(fault.Invalid, "IllegalSubnetPoolIpVersionAssociationToAddressScope", "Illegal subnetpool association: "+
			"subnetpool %s cannot associate with address scope %s because subnetpool ip_version is not %d.", p.ID, s.ID, s.IPVersion)
	}
	for o := range tx.SubnetPoolsByScope(s.ID) {
		if o.ID != p.ID && len(ipam.Intersect(o.Prefixes, p.Prefixes)) > 0 {
			return fault.New(fault.Conflict, "AddressScopePrefixConflict",
				"Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
		}
	}
	return nil
}

// checkScopeOfNetworks refuses to give a pool another address scope while its subnets are on networks with
// subnets of other pools: all of a family on a network are in one scope.
func checkScopeOfNetworks(tx *store.Tx, p *model.SubnetPool) error {
	for s := range tx.SubnetsByPool(p.ID) {
		for o := range tx.SubnetsByNetwork(s.NetworkID) {
			if o.SubnetPoolID != p.ID && o.IPVersion() == s.IPVersion() {
				return otherScope()
			}
		}
	}
	return nil
}

func illegalPrefixes(why string) *fault.Error {
	return fault.New(fault.Invalid, "IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: %s.", why)
}

func emptyPrefixes() *fault.Error {
	return fault.New(fault.Invalid, "EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.")
}

func otherScope() *fault.Error {
	return fault.New(fault.Invalid, "NetworkAddressScopeAffinityError",
		"Subnets of the same address family hosted on the same network must all participate in the same address scope.")
}
