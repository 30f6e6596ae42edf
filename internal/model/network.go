package model

import (
	"net/netip"
	"slices"
)

// NetworkType is how a network's frames travel between hosts
// (Neutron API reference, "provider:network_type").
type NetworkType string

// The network types.
const (
	TypeLocal  NetworkType = "local"
	TypeFlat   NetworkType = "flat"
	TypeVLAN   NetworkType = "vlan"
	TypeGRE    NetworkType = "gre"
	TypeVXLAN  NetworkType = "vxlan"
	TypeGeneve NetworkType = "geneve"
)

// IsTunnel reports whether frames are carried in a tunnel between hosts.
func (t NetworkType) IsTunnel() bool {
	return t == TypeGRE || t == TypeVXLAN || t == TypeGeneve
}

// Segment is one layer-2 realisation of a network.
type Segment struct {
	ID       SegmentID   `json:"id"`
	Type     NetworkType `json:"type"`
	Physical string      `json:"physical,omitempty"` // name of the physical network: flat and vlan
	Tag      uint32      `json:"tag,omitempty"`      // VLAN id, GRE key or VNI; 0 for flat and local
}

// Network is a tenant's or provider's layer-2 network.
type Network struct {
	Meta
	ID              NetworkID `json:"id"`
	AdminStateUp    bool      `json:"admin_state_up"`
	Shared          bool      `json:"shared,omitempty"`
	External        bool      `json:"external,omitempty"`
	IsDefault       bool      `json:"is_default,omitempty"`
	MTU             int       `json:"mtu"` // bytes of an IP packet
	PortSecurity    bool      `json:"port_security"`
	Segments        []Segment `json:"segments"`
	VLANTransparent *bool     `json:"vlan_transparent,omitempty"`
	QoSPolicyID     string    `json:"qos_policy_id,omitempty"`
	DNSDomain       string    `json:"dns_domain,omitempty"`
	ZoneHints       []string  `json:"availability_zone_hints,omitempty"`
}

// Clone returns a deep copy to change.
func (n *Network) Clone() *Network {
	c := *n
	c.Tags = slices.Clone(n.Tags)
	c.Segments = slices.Clone(n.Segments)
	c.ZoneHints = slices.Clone(n.ZoneHints)
	return &c
}

// Range is an inclusive range of addresses of one family.
type Range struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
}

// Contains reports whether the address lies in the range.
func (r Range) Contains(a netip.Addr) bool { return !a.Less(r.First) && !r.Last.Less(a) }

// Route is a static route that DHCP tells to guests.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	NextHop     netip.Addr   `json:"nexthop"`
}

// IPv6Mode is how guests learn addresses (Neutron API reference, "ipv6_ra_mode").
type IPv6Mode string

// The IPv6 modes; the empty mode is "not set".
const (
	IPv6SLAAC     IPv6Mode = "slaac"
	IPv6Stateful  IPv6Mode = "dhcpv6-stateful"
	IPv6Stateless IPv6Mode = "dhcpv6-stateless"
)

// Subnet is a block of addresses on a network.
type Subnet struct {
	Meta
	ID              SubnetID     `json:"id"`
	NetworkID       NetworkID    `json:"network_id"`
	CIDR            netip.Prefix `json:"cidr"` // masked
	Gateway         netip.Addr   `json:"gateway,omitzero"`
	EnableDHCP      bool         `json:"enable_dhcp"`
	Pools           []Range      `json:"pools"` // sorted, disjoint
	DNS             []netip.Addr `json:"dns,omitempty"`
	Routes          []Route      `json:"routes,omitempty"`
	RAMode          IPv6Mode     `json:"ipv6_ra_mode,omitempty"`
	AddressMode     IPv6Mode     `json:"ipv6_address_mode,omitempty"`
	ServiceTypes    []string     `json:"service_types,omitempty"`
	SubnetPoolID    SubnetPoolID `json:"subnetpool_id,omitzero"`
	SegmentID       string       `json:"segment_id,omitempty"`
	DNSPublishFixed bool         `json:"dns_publish_fixed_ip,omitempty"`
}

// IPVersion is 4 or 6.
func (s *Subnet) IPVersion() int { return versionOf(s.CIDR) }

// AutoAddress reports whether guests form their own addresses from the prefix
// (SLAAC or stateless DHCPv6), so that a port's address is fixed by its MAC.
func (s *Subnet) AutoAddress() bool {
	return s.AddressMode == IPv6SLAAC || s.AddressMode == IPv6Stateless
}

// Clone returns a deep copy to change.
func (s *Subnet) Clone() *Subnet {
	c := *s
	c.Tags = slices.Clone(s.Tags)
	c.Pools = slices.Clone(s.Pools)
	c.DNS = slices.Clone(s.DNS)
	c.Routes = slices.Clone(s.Routes)
	c.ServiceTypes = slices.Clone(s.ServiceTypes)
	return &c
}
