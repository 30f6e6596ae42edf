package model

import (
	"net/netip"
	"slices"
)

// AddressScope is a space in which addresses do not overlap, so that routers need not translate
// between its subnets (Neutron API reference, "Address scopes").
type AddressScope struct {
	Meta
	ID        AddressScopeID `json:"id"`
	IPVersion int            `json:"ip_version"`
	Shared    bool           `json:"shared,omitempty"`
}

// Clone returns a deep copy to change.
func (s *AddressScope) Clone() *AddressScope {
	c := *s
	c.Tags = slices.Clone(s.Tags)
	return &c
}

// SubnetPool is addresses from which blocks are given to subnets (Neutron API reference, "Subnet pools").
// The subnets of a pool do not overlap, whatever their networks.
type SubnetPool struct {
	Meta
	ID               SubnetPoolID   `json:"id"`
	Prefixes         []netip.Prefix `json:"prefixes"` // of one family, masked, in order, as few as can be; never empty
	MinPrefixLen     int            `json:"min_prefixlen"`
	MaxPrefixLen     int            `json:"max_prefixlen"`
	DefaultPrefixLen int            `json:"default_prefixlen"`       // of subnets that do not ask for one
	DefaultQuota     int            `json:"default_quota,omitempty"` // of each project: IPv4 addresses, or IPv6 prefixes of 64 bits; 0: no limit
	IsDefault        bool           `json:"is_default,omitempty"`    // for subnets that ask for the default; one a family
	Shared           bool           `json:"shared,omitempty"`
	AddressScopeID   AddressScopeID `json:"address_scope_id,omitzero"`
}

// IPVersion is 4 or 6.
func (p *SubnetPool) IPVersion() int { return versionOf(p.Prefixes[0]) }

// Clone returns a deep copy to change.
func (p *SubnetPool) Clone() *SubnetPool {
	c := *p
	c.Tags = slices.Clone(p.Tags)
	c.Prefixes = slices.Clone(p.Prefixes)
	return &c
}

func versionOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 4
	}
	return 6
}
