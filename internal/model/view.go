package model

import (
	"crypto/sha256"
	"net/netip"
	"slices"
)

// HostView is everything that one host needs to know, and nothing else: the
// ports bound to it, the networks these are on, the peers on those networks,
// the security groups in use and the members of the groups they refer to.
//
// It is what a COMPLETE message carries. A DELTA carries upserts and deletes
// of the same objects, named by ObjectKey.
type HostView struct {
	Host     string
	Revision uint64 // of the store: what the view was computed from
	History  UUID   // names the server's run that Revision is of; zero: not to be resumed from

	Networks map[NetworkID]*NetworkView
	Ports    map[PortID]*PortView
	Peers    map[PortID]*PeerView
	Groups   map[SecurityGroupID]*GroupView
	Members  map[MemberKey]*MemberView
	Routers  map[RouterID]*RouterView
	Floating map[FloatingIPID]*FloatingView
}

// NewHostView returns an empty view.
func NewHostView(host string) *HostView {
	return &HostView{
		Host:     host,
		Networks: map[NetworkID]*NetworkView{},
		Ports:    map[PortID]*PortView{},
		Peers:    map[PortID]*PeerView{},
		Groups:   map[SecurityGroupID]*GroupView{},
		Members:  map[MemberKey]*MemberView{},
		Routers:  map[RouterID]*RouterView{},
		Floating: map[FloatingIPID]*FloatingView{},
	}
}

// NetworkView is a network that has a port on the host.
type NetworkView struct {
	ID           NetworkID
	Revision     int64
	AdminStateUp bool
	MTU          int
	Segment      Segment // the one that this host uses
	Subnets      []SubnetView
	// DHCPMAC and DHCPAddrs are of the network's DHCP port, which every host
	// answers for; zero when no subnet has DHCP.
	DHCPMAC   MAC
	DHCPAddrs []netip.Addr
	DNSDomain string // of the network's host names, with a final dot; empty: the cloud's
}

// SubnetView is what the responders of a host tell guests.
type SubnetView struct {
	ID          SubnetID
	CIDR        netip.Prefix
	Gateway     netip.Addr // may be invalid: none
	EnableDHCP  bool
	DNS         []netip.Addr
	Routes      []Route
	RAMode      IPv6Mode
	AddressMode IPv6Mode
}

// PortView is a port bound to the host.
type PortView struct {
	ID             PortID
	NetworkID      NetworkID
	Revision       int64
	MAC            MAC
	FixedIPs       []FixedIP
	AdminStateUp   bool
	DeviceOwner    string
	DeviceID       string
	PortSecurity   bool
	SecurityGroups []SecurityGroupID
	AddressPairs   []AddressPair
	DHCPOptions    []DHCPOption
	DNSName        string
	Firewall       string // FirewallHybrid or FirewallNative
	ProjectID      string
	DNSDomain      string // like NetworkView's, and before it
	Instance       Instance
}

// IsRouterPort reports whether the port is a leg of a router, whose device the host makes itself.
func (p *PortView) IsRouterPort() bool { return isRouterOwner(p.DeviceOwner) }

// RouterOf returns the router that the port is a leg of, false when it is no leg.
func (p *PortView) RouterOf() (RouterID, bool) { return routerOf(p.DeviceOwner, p.DeviceID) }

// PeerView is a port elsewhere, on a network that has a port on the host.
type PeerView struct {
	PortID    PortID
	NetworkID NetworkID
	MAC       MAC
	Addrs     []netip.Addr
	Tunnel    netip.Addr // of the peer's host; invalid for networks that are not tunnelled
	DNSName   string
	DNSDomain string
}

// GroupView is a security group that a port of the host is in.
type GroupView struct {
	ID       SecurityGroupID
	Revision int64
	Stateful bool
	Rules    []RuleView // in order of their id
}

// RuleView is one rule of a group in use.
type RuleView struct {
	ID           SecurityGroupRuleID
	Direction    Direction
	EtherType    EtherType
	Protocol     int // IANA number, ProtocolAny for any
	PortMin      int // -1: any; type for ICMP
	PortMax      int // -1: any; code for ICMP
	RemotePrefix netip.Prefix
	RemoteGroup  SecurityGroupID // zero: none
	// RemoteAddressGroup, like RemoteGroup, matches the addresses of the member
	// set of that id. A set without members matches nothing.
	RemoteAddressGroup AddressGroupID
}

// MemberKey names one member of a remote group: the port, for a security
// group; for an address group the address (AddressMember). Set is the group's id, whichever kind of group it is.
type MemberKey struct {
	Set  UUID
	Port UUID
}

// MemberView is the addresses that one member brings into a set.
type MemberView struct {
	Key      MemberKey
	Prefixes []netip.Prefix // of fixed addresses and address pairs, both families
}

// RouterView is a router that concerns the host: it serves the router (the host is one of
// Gateways), or has ports on a network that the router has a leg on.
type RouterView struct {
	ID           RouterID
	Revision     int64
	AdminStateUp bool
	Distributed  bool
	Gateways     []GatewayView // the hosts that have it, the one that is to answer for it first
	Legs         []LegView     // on tenant networks, in order of their ports' ids
	External     *ExternalView // nil: no external gateway
	Routes       []Route
}

// Networks lists the networks that the router has a leg on, its external one last.
func (r *RouterView) Networks() []NetworkID {
	var out []NetworkID
	for i := range r.Legs {
		out = append(out, r.Legs[i].NetworkID)
	}
	if r.External != nil {
		out = append(out, r.External.NetworkID)
	}
	return out
}

// ServedBy reports whether a host is one of the router's gateways, and the router is in use.
func (r *RouterView) ServedBy(host string) bool {
	return r.AdminStateUp && slices.ContainsFunc(r.Gateways, func(g GatewayView) bool { return g.Host == host })
}

// MACAt is the MAC address with which a host that is none of the router's gateways speaks on the external network. It
// depends on nothing but the router and the host, so that a restart changes nothing for the neighbours.
func (r *RouterView) MACAt(host string) MAC {
	sum := sha256.Sum256(append(r.ID.UUID[:], host...))
	return MAC{0xfa, 0x16, 0x3e, sum[0], sum[1], sum[2]}
}

// GatewayView is a host that serves a router.
type GatewayView struct {
	Host   string
	Tunnel netip.Addr // invalid: it has no tunnels
}

// LegView is a router's leg on a network.
type LegView struct {
	PortID    PortID
	NetworkID NetworkID
	MAC       MAC
	Addrs     []netip.Prefix // each address with the length of its subnet
	MTU       int            // of the network, bytes
	Scope     AddressScopeID // of the network's IPv4 subnets; zero: none
	Scope6    AddressScopeID // of its IPv6 subnets
}

// SortScopes returns the different address scopes of a list in order, "none" first.
func SortScopes(list []AddressScopeID) []AddressScopeID {
	return slices.Compact(slices.SortedFunc(slices.Values(list), func(a, b AddressScopeID) int { return a.Compare(b.UUID) }))
}

// Reaches reports whether an address is on one of the leg's subnets, and not the leg's own.
func (l *LegView) Reaches(a netip.Addr) bool {
	return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Contains(a) && p.Addr() != a })
}

// ExternalView is a router's leg on its external network.
type ExternalView struct {
	LegView
	NextHops []netip.Addr // gateways of the external network's subnets, at most one a family
	SNAT     bool         // IPv4 from legs that are not of its scope leaves with the first IPv4 address of Addrs
}

// FloatingView is a floating IP of a router that the host serves or, when the router is
// distributed, of a port on this host.
type FloatingView struct {
	ID         FloatingIPID
	Revision   int64
	RouterID   RouterID
	Addr       netip.Addr
	Fixed      netip.Addr // invalid: not associated, Forwardings only
	PortID     PortID     // of Fixed; zero when that is invalid
	PortHost   string     // where that port is bound, empty for nowhere
	AtPort     bool       // PortHost serves it, not the router's gateways
	Forwarding []ForwardingView
}

// ForwardingView is one port forwarding of a floating IP. Ports of zero mean all.
type ForwardingView struct {
	ID                       PortForwardingID
	Protocol                 int // IANA number
	Internal                 netip.Addr
	ExternalMin, ExternalMax int
	InternalMin, InternalMax int
}

// ObjectKind names the kinds of objects in a view. The numbers are on the
// wire and in flow cookies: append only.
type ObjectKind uint8

// The kinds.
const (
	KindNone    ObjectKind = 0
	KindNetwork ObjectKind = 1
	KindPort    ObjectKind = 2
	KindPeer    ObjectKind = 3
	KindGroup   ObjectKind = 4
	KindMember  ObjectKind = 5
	KindTunnel  ObjectKind = 6
	KindHost    ObjectKind = 7 // the pipeline's own fixed flows
	KindLearned ObjectKind = 8
	KindRouter  ObjectKind = 9
	// KindFloating is a floating IP.
	KindFloating ObjectKind = 10
)

// ObjectKey names an object of a view. Sub is only used by members: the port.
type ObjectKey struct {
	Kind ObjectKind
	ID   UUID
	Sub  UUID
}

// ViewDelta leads from one revision of a view to the next, atomically.
type ViewDelta struct {
	From, To uint64
	Networks []*NetworkView
	Ports    []*PortView
	Peers    []*PeerView
	Groups   []*GroupView
	Members  []*MemberView
	Routers  []*RouterView
	Floating []*FloatingView
	Deletes  []ObjectKey
}

// Len is how many objects the delta upserts and deletes.
func (d *ViewDelta) Len() int {
	return len(d.Networks) + len(d.Ports) + len(d.Peers) + len(d.Groups) + len(d.Members) + len(d.Routers) + len(d.Floating) + len(d.Deletes)
}

// Apply changes the view in place by a delta. It does not look at revisions:
// the session's owner has done so.
func (v *HostView) Apply(d *ViewDelta) {
	for _, k := range d.Deletes {
		switch k.Kind {
		case KindNetwork:
			delete(v.Networks, NetworkID{k.ID})
		case KindPort:
			delete(v.Ports, PortID{k.ID})
		case KindPeer:
			delete(v.Peers, PortID{k.ID})
		case KindGroup:
			delete(v.Groups, SecurityGroupID{k.ID})
		case KindMember:
			delete(v.Members, MemberKey{Set: k.ID, Port: k.Sub})
		case KindRouter:
			delete(v.Routers, RouterID{k.ID})
		case KindFloating:
			delete(v.Floating, FloatingIPID{k.ID})
		}
	}
	for _, n := range d.Networks {
		v.Networks[n.ID] = n
	}
	for _, p := range d.Ports {
		v.Ports[p.ID] = p
	}
	for _, p := range d.Peers {
		v.Peers[p.PortID] = p
	}
	for _, g := range d.Groups {
		v.Groups[g.ID] = g
	}
	for _, m := range d.Members {
		v.Members[m.Key] = m
	}
	for _, r := range d.Routers {
		v.Routers[r.ID] = r
	}
	for _, f := range d.Floating {
		v.Floating[f.ID] = f
	}
	v.Revision = d.To
}

// Report is what an agent says of one port.
type Report struct {
	PortID   PortID
	Revision int64
	State    ReportState
	Error    string
}
