package network

import (
	"fmt"
	"maps"
	"slices"

	"weft/internal/model"
)

// IDRange is an inclusive range of segment ids (VLAN ids, GRE keys, VNIs).
type IDRange struct{ First, Last uint32 }

// Config is what an operator decides about the rules. Values are read only
// once they are in Rules.
type Config struct {
	// TenantTypes are the types tried, in order, for a network whose creator
	// did not ask for one.
	TenantTypes []model.NetworkType
	// TunnelRanges are the segment ids that are given out per tunnel type. A type without
	// a range cannot be used.
	TunnelRanges map[model.NetworkType][]IDRange
	// VLANRanges are the VLAN ids given out, by physical network. One that is
	// listed with no range can only be used with an explicit id.
	VLANRanges map[string][]IDRange
	// FlatNetworks are the physical networks that may carry a flat network;
	// "*" allows every name.
	FlatNetworks []string

	// GlobalMTU is that of the physical network below, in bytes; PathMTU, when
	// not 0, is the smallest on the way between hosts' tunnel addresses.
	GlobalMTU, PathMTU int
	// PhysicalMTU is that of single physical networks, where it differs.
	PhysicalMTU map[string]int
	// UnderlayIPv6 tells that hosts tunnel over IPv6: 20 bytes more overhead.
	UnderlayIPv6 bool

	// Quotas are the limits of a project that has none of its own; -1 is
	// unlimited. Resources that are not listed are unlimited.
	Quotas map[string]int64

	MACBase         [3]byte // first octets of generated MAC addresses
	MaxAddressPairs int     // per port
	MaxFixedIPs     int     // per port
	MaxDNSServers   int     // per subnet
	MaxHostRoutes   int     // per subnet
	MaxDHCPOptions  int     // per port
	MaxTags         int     // per object
	DNSDomain       string  // of host names, with a final dot

	RouterHA          bool // a router is redundant unless an admin says otherwise
	RouterDistributed bool // … and distributed
	MaxGateways       int  // hosts that serve one redundant router: max_l3_agents_per_router
	MaxRoutes         int  // extra routes per router
}

// The resources that have a quota.
const (
	QuotaNetwork           = "network"
	QuotaSubnet            = "subnet"
	QuotaPort              = "port"
	QuotaSecurityGroup     = "security_group"
	QuotaSecurityGroupRule = "security_group_rule"
	QuotaRouter            = "router"
	QuotaFloatingIP        = "floatingip"
	QuotaSubnetPool        = "subnetpool"
)

// DefaultConfig returns Neutron's defaults for a GRE cloud.
func DefaultConfig() Config {
	return Config{
		TenantTypes: []model.NetworkType{model.TypeGRE},
		TunnelRanges: map[model.NetworkType][]IDRange{
			model.TypeGRE:    {{1, 60000}},
			model.TypeVXLAN:  {{1, 60000}},
			model.TypeGeneve: {{1, 60000}},
		},
		VLANRanges:   map[string][]IDRange{},
		FlatNetworks: []string{"*"},
		GlobalMTU:    1500,
		Quotas: map[string]int64{
			QuotaNetwork: 100, QuotaSubnet: 100, QuotaPort: 500,
			QuotaSecurityGroup: 10, QuotaSecurityGroupRule: 100,
			QuotaFloatingIP: 50, QuotaRouter: 10, "rbac_policy": 10, QuotaSubnetPool: -1, "trunk": -1,
		},
		MACBase:         [3]byte{0xfa, 0x16, 0x3e},
		MaxAddressPairs: 10,
		MaxFixedIPs:     5,
		MaxDNSServers:   5,
		MaxHostRoutes:   20,
		MaxDHCPOptions:  20,
		MaxTags:         50,
		DNSDomain:       "openstacklocal.",
		RouterHA:        true,
		MaxGateways:     3,
		MaxRoutes:       30,
	}
}

// Validate reports the first thing that is wrong with the configuration, in
// the words of the config file.
func (c *Config) Validate() error {
	if len(c.TenantTypes) == 0 {
		return fmt.Errorf("tenant_network_types: needs at least one type")
	}
	for _, t := range c.TenantTypes {
		switch t {
		case model.TypeGRE, model.TypeVXLAN, model.TypeGeneve:
			if len(c.TunnelRanges[t]) == 0 {
				return fmt.Errorf("tenant_network_types: %s has no tunnel id range", t)
			}
		case model.TypeVLAN, model.TypeLocal:
		default:
			return fmt.Errorf("tenant_network_types: %q cannot be used for tenant networks", t)
		}
	}
	for _, t := range slices.Sorted(maps.Keys(c.TunnelRanges)) {
		if !t.IsTunnel() {
			return fmt.Errorf("tunnel ranges: %q is not a tunnel type", t)
		}
		if err := checkRanges(c.TunnelRanges[t], 1, maxTag(t)); err != nil {
			return fmt.Errorf("tunnel ranges of %s: %w", t, err)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(c.VLANRanges)) {
		if p == "" {
			return fmt.Errorf("vlan ranges: a physical network has no name")
		}
		if err := checkRanges(c.VLANRanges[p], 1, maxTag(model.TypeVLAN)); err != nil {
			return fmt.Errorf("vlan ranges of %s: %w", p, err)
		}
	}
	if c.GlobalMTU < 0 || c.GlobalMTU > 65535 || c.PathMTU < 0 || c.PathMTU > 65535 {
		return fmt.Errorf("mtu: must be between 0 and 65535")
	}
	if c.MACBase == [3]byte{} || c.MACBase[0]&1 == 1 {
		return fmt.Errorf("base_mac: must be a unicast address")
	}
	if c.MaxGateways < 1 {
		return fmt.Errorf("max_l3_agents_per_router: must be at least 1")
	}
	for _, k := range slices.Sorted(maps.Keys(c.Quotas)) {
		if c.Quotas[k] < -1 {
			return fmt.Errorf("quota of %s: must be at least -1", k)
		}
	}
	return nil
}

// checkRanges requires ranges to be within lo to hi, and disjoint.
func checkRanges(rs []IDRange, lo, hi uint32) error {
	sorted := slices.Clone(rs)
	slices.SortFunc(sorted, func(a, b IDRange) int { return int(a.First) - int(b.First) })
	for i, r := range sorted {
		if r.First < lo || r.Last > hi || r.First > r.Last {
			return fmt.Errorf("%d:%d is not a range within %d and %d", r.First, r.Last, lo, hi)
		}
		if i > 0 && r.First <= sorted[i-1].Last {
			return fmt.Errorf("%d:%d and %d:%d overlap", sorted[i-1].First, sorted[i-1].Last, r.First, r.Last)
		}
	}
	return nil
}

// maxTag is the largest segment id that a type can carry: 12 bits of VLAN less the
// reserved 4095 (IEEE 802.1Q), 32 bits of GRE key (RFC 2890), 24 bits of VNI
// (RFC 7348, RFC 8926).
func maxTag(t model.NetworkType) uint32 {
	switch t {
	case model.TypeVLAN:
		return 4094
	case model.TypeGRE:
		return 1<<32 - 1
	case model.TypeVXLAN, model.TypeGeneve:
		return 1<<24 - 1
	}
	return 0
}
