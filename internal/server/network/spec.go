package network

import (
	"encoding/json"
	"net/netip"
	"time"

	"weft/internal/model"
)

// Opt is an attribute of a request: absent (Set is false), null (Set and
// Null), or a value. Policy is applied to what is present, whatever its value
// (OSSA-2014-031), so the three must not be confused.
type Opt[T any] struct {
	Set   bool
	Null  bool
	Value T
}

// Some returns an attribute that is present with a value.
func Some[T any](v T) Opt[T] { return Opt[T]{Set: true, Value: v} }

// NullOf returns an attribute that is present and null.
func NullOf[T any]() Opt[T] { return Opt[T]{Set: true, Null: true} }

// Get returns the value and true when there is one: present and not null.
func (o Opt[T]) Get() (T, bool) { return o.Value, o.Set && !o.Null }

// Or returns the value, or def when the attribute is absent or null.
func (o Opt[T]) Or(def T) T {
	if v, ok := o.Get(); ok {
		return v
	}
	return def
}

// Env is the world that a rule may look at: rules have no clock and no
// randomness of their own, so that a transaction can be repeated exactly.
type Env struct {
	Now    time.Time       // UTC; rules cut it to whole seconds
	Random func() [16]byte // 16 fresh random bytes a call
}

// NetworkSpec is what a request says of a network.
type NetworkSpec struct {
	ProjectID       Opt[string]
	Name            Opt[string]
	Description     Opt[string]
	AdminStateUp    Opt[bool]
	Shared          Opt[bool]
	External        Opt[bool] // router:external
	IsDefault       Opt[bool]
	MTU             Opt[int] // bytes of an IP packet; 0 or null: computed
	PortSecurity    Opt[bool]
	NetworkType     Opt[string] // provider:network_type
	PhysicalNetwork Opt[string] // provider:physical_network
	SegmentationID  Opt[int]    // provider:segmentation_id
	Segments        Opt[[]SegmentSpec]
	VLANTransparent Opt[bool]
	QoSPolicyID     Opt[string]
	DNSDomain       Opt[string]
	ZoneHints       Opt[[]string] // availability_zone_hints
}

// SegmentSpec is one element of a network's "segments" (multi-provider).
type SegmentSpec struct {
	NetworkType     Opt[string]
	PhysicalNetwork Opt[string]
	SegmentationID  Opt[int]
}

// SubnetSpec is what a request says of a subnet.
type SubnetSpec struct {
	ProjectID       Opt[string]
	Name            Opt[string]
	Description     Opt[string]
	NetworkID       Opt[model.NetworkID]
	IPVersion       Opt[int]        // 4 or 6, create only
	CIDR            Opt[string]     // as given; host bits are cut
	Gateway         Opt[netip.Addr] // null: no gateway; absent: the first address
	EnableDHCP      Opt[bool]
	Pools           Opt[[]model.Range] // as given, not checked
	DNS             Opt[[]netip.Addr]
	Routes          Opt[[]model.Route]
	RAMode          Opt[model.IPv6Mode] // ipv6_ra_mode, create only
	AddressMode     Opt[model.IPv6Mode] // ipv6_address_mode, create only
	ServiceTypes    Opt[[]string]
	SubnetPoolID    Opt[model.SubnetPoolID]
	UseDefaultPool  Opt[bool] // use_default_subnetpool, create only
	PrefixLen       Opt[int]  // of a block from a pool, create only
	SegmentID       Opt[string]
	DNSPublishFixed Opt[bool]
}

// PortSpec is what a request says of a port.
type PortSpec struct {
	ProjectID       Opt[string]
	Name            Opt[string]
	Description     Opt[string]
	NetworkID       Opt[model.NetworkID]
	MAC             Opt[model.MAC]
	FixedIPs        Opt[[]FixedIPSpec]
	AdminStateUp    Opt[bool]
	DeviceID        Opt[string]
	DeviceOwner     Opt[string]
	PortSecurity    Opt[bool]
	SecurityGroups  Opt[[]model.SecurityGroupID]
	AddressPairs    Opt[[]AddressPairSpec]
	DHCPOptions     Opt[[]DHCPOptionSpec]
	HostID          Opt[string]          // binding:host_id
	VNICType        Opt[string]          // binding:vnic_type
	Profile         Opt[json.RawMessage] // binding:profile, a JSON object
	DNSName         Opt[string]
	DNSDomain       Opt[string]
	QoSPolicyID     Opt[string]
	DataPlaneStatus Opt[string]
	UplinkStatus    Opt[bool] // propagate_uplink_status
	NUMAPolicy      Opt[string]
	DeviceProfile   Opt[string]
}

// FixedIPSpec asks for an address: of a subnet, an exact one, or both.
type FixedIPSpec struct {
	SubnetID model.SubnetID // zero: not given
	Addr     netip.Addr     // invalid: not given
}

// AddressPairSpec is one element of "allowed_address_pairs", as given.
type AddressPairSpec struct {
	IP  Opt[string] // an address or a prefix
	MAC Opt[string] // absent: the port's own
}

// DHCPOptionSpec is one element of "extra_dhcp_opts". On update, a null value
// removes the option.
type DHCPOptionSpec struct {
	Name      string
	Value     Opt[string]
	IPVersion int // 4 or 6; 0 is 4
}

// SecurityGroupSpec is what a request says of a security group.
type SecurityGroupSpec struct {
	ProjectID   Opt[string]
	Name        Opt[string]
	Description Opt[string]
	Stateful    Opt[bool]
}

// SecurityGroupRuleSpec is what a request says of a rule. What is text here is
// parsed by the rules, since its errors have names of their own.
type SecurityGroupRuleSpec struct {
	ProjectID          Opt[string]
	Description        Opt[string]
	GroupID            Opt[model.SecurityGroupID]
	Direction          Opt[model.Direction]
	EtherType          Opt[string]
	Protocol           Opt[string] // a name, or a number as text
	PortMin            Opt[int]
	PortMax            Opt[int]
	RemotePrefix       Opt[string]
	RemoteGroup        Opt[model.SecurityGroupID]
	RemoteAddressGroup Opt[model.AddressGroupID]
}

// RouterSpec is what a request says of a router.
type RouterSpec struct {
	ProjectID    Opt[string]
	Name         Opt[string]
	Description  Opt[string]
	AdminStateUp Opt[bool]
	Distributed  Opt[bool]
	HA           Opt[bool]
	External     Opt[GatewaySpec] // external_gateway_info; null: no gateway
	Routes       Opt[[]model.Route]
	ZoneHints    Opt[[]string] // availability_zone_hints
}

// GatewaySpec is what a request says of a router's external gateway.
type GatewaySpec struct {
	NetworkID  Opt[model.NetworkID]
	EnableSNAT Opt[bool]
	FixedIPs   Opt[[]FixedIPSpec] // external_fixed_ips
}

// LegSpec names a leg of a router: by a port, by a subnet, or, to remove one, by both.
type LegSpec struct {
	PortID   Opt[model.PortID]
	SubnetID Opt[model.SubnetID]
}

// Leg is a leg of a router that was added or removed, and the subnets that this is about.
type Leg struct {
	Port    *model.Port
	Subnets []model.SubnetID
}

// FloatingIPSpec is what a request says of a floating IP.
type FloatingIPSpec struct {
	ProjectID   Opt[string]
	Description Opt[string]
	NetworkID   Opt[model.NetworkID] // floating_network_id, create only
	SubnetID    Opt[model.SubnetID]  // of the floating address, create only
	Addr        Opt[netip.Addr]      // floating_ip_address, create only
	PortID      Opt[model.PortID]    // null: not associated
	FixedAddr   Opt[netip.Addr]      // fixed_ip_address
	DNSName     Opt[string]          // create only
	DNSDomain   Opt[string]          // create only
	QoSPolicyID Opt[string]
}

// PortForwardingSpec is what a request says of a port forwarding.
type PortForwardingSpec struct {
	FloatingIPID  model.FloatingIPID // from the path, create only
	Description   Opt[string]
	PortID        Opt[model.PortID] // internal_port_id
	InternalAddr  Opt[netip.Addr]   // internal_ip_address
	Protocol      Opt[string]
	ExternalPort  Opt[int]
	InternalPort  Opt[int]
	ExternalRange Opt[string] // external_port_range, FIRST:LAST
	InternalRange Opt[string]
}

// AddressScopeSpec is what a request says of an address scope.
type AddressScopeSpec struct {
	ProjectID Opt[string]
	Name      Opt[string]
	IPVersion Opt[int] // 4 or 6, create only
	Shared    Opt[bool]
}

// AddressGroupSpec is what a request says of an address group.
type AddressGroupSpec struct {
	ProjectID   Opt[string]
	Name        Opt[string]
	Description Opt[string]
	Addresses   Opt[[]netip.Prefix] // masked, create only
}

// SubnetPoolSpec is what a request says of a subnet pool.
type SubnetPoolSpec struct {
	ProjectID        Opt[string]
	Name             Opt[string]
	Description      Opt[string]
	Prefixes         Opt[[]netip.Prefix] // in any form that says which addresses
	MinPrefixLen     Opt[int]
	MaxPrefixLen     Opt[int]
	DefaultPrefixLen Opt[int]
	DefaultQuota     Opt[int] // 0 or null: no limit
	IsDefault        Opt[bool]
	Shared           Opt[bool] // create only
	AddressScopeID   Opt[model.AddressScopeID]
}

// QuotaSpec is what a request says of a project's limits.
type QuotaSpec struct {
	Limits     map[string]int64 // by resource, "port"; -1 is unlimited
	CheckLimit bool             // refuse limits below what is used
}

// AgentSpec is what a request says of an agent.
type AgentSpec struct {
	AdminStateUp Opt[bool]
	Description  Opt[string]
}

// TagKind is the kind of object that a tag is put on, by its collection in
// the API.
type TagKind string

// The kinds of objects that can have tags.
const (
	TagNetworks           TagKind = "networks"
	TagSubnets            TagKind = "subnets"
	TagPorts              TagKind = "ports"
	TagSecurityGroups     TagKind = "security-groups"
	TagSecurityGroupRules TagKind = "security-group-rules"
	TagRouters            TagKind = "routers"
	TagFloatingIPs        TagKind = "floatingips"
	TagSubnetPools        TagKind = "subnetpools"
)
