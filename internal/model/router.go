package model

import (
	"net/netip"
	"slices"
	"time"
)

// Device owners of the ports that routers and floating IPs have, as Neutron names them.
const (
	OwnerRouterInterface            = "network:router_interface"               // a leg of a centralised router
	OwnerRouterInterfaceDistributed = "network:router_interface_distributed"   // a leg of a distributed router
	OwnerRouterInterfaceHA          = "network:ha_router_replicated_interface" // a leg of a router with several gateways
	OwnerRouterGateway              = "network:router_gateway"                 // a router's leg on an external network
	OwnerFloatingIP                 = "network:floatingip"                     // holds a floating address; no device has it
)

// IsRouterLeg reports whether the port is a leg of a router on a tenant network.
func (p *Port) IsRouterLeg() bool { return isLegOwner(p.DeviceOwner) }

func isLegOwner(owner string) bool {
	switch owner {
	case OwnerRouterInterface, OwnerRouterInterfaceDistributed, OwnerRouterInterfaceHA:
		return true
	}
	return false
}

// IsRouterPort reports whether the port is a leg of a router, on a tenant or on an external
// network. Its device is made by the gateway hosts that serve the router, and only the rules
// give a port such an owner.
func (p *Port) IsRouterPort() bool { return isRouterOwner(p.DeviceOwner) }

func isRouterOwner(owner string) bool { return isLegOwner(owner) || owner == OwnerRouterGateway }

// RouterOf returns the router that the port is a leg of, false when it is no leg.
func (p *Port) RouterOf() (RouterID, bool) { return routerOf(p.DeviceOwner, p.DeviceID) }

func routerOf(owner, device string) (RouterID, bool) {
	if !isRouterOwner(owner) {
		return RouterID{}, false
	}
	id, err := ParseUUID(device)
	return RouterID{UUID: id}, err == nil
}

// Router connects subnets of tenant networks with each other and with an external network
// (Neutron API reference, "Routers"). Its legs are ports: DeviceID is the router's id, the owner
// one of the constants above.
type Router struct {
	Meta
	ID             RouterID         `json:"id"`
	AdminStateUp   bool             `json:"admin_state_up"`
	Distributed    bool             `json:"distributed,omitempty"`
	HA             bool             `json:"ha,omitempty"`
	External       *ExternalGateway `json:"external_gateway,omitempty"` // nil: none
	Routes         []Route          `json:"routes,omitempty"`           // in order of destination, then next hop
	EnableNDPProxy bool             `json:"enable_ndp_proxy,omitempty"`
	FlavorID       string           `json:"flavor_id,omitempty"`
	ZoneHints      []string         `json:"availability_zone_hints,omitempty"`
	// Hosts are the gateway hosts that shall serve the router, the preferred one first. The others are
	// ready to take over.
	Hosts []string `json:"hosts,omitempty"`
	// HandOver is a planned move to the first of Hosts that is not over yet, nil for none.
	HandOver *HandOver `json:"hand_over,omitempty"`
}

// HandOver is how a router goes from one host to another and loses nothing: the one that had it goes on until
// the other has said that it is ready, and after that still forwards what reaches it.
type HandOver struct {
	From  string    `json:"from"`           // the host that had it
	Ready time.Time `json:"ready,omitzero"` // when the other one was ready; zero: it is not yet
}

// Gateways lists the hosts that have the router now, the one that is to answer for it first: Hosts, and the one that
// hands it over.
func (r *Router) Gateways() []string {
	if r.HandOver == nil {
		return r.Hosts
	}
	from := r.HandOver.From
	others := slices.DeleteFunc(slices.Clone(r.Hosts), func(h string) bool { return h == from })
	if r.HandOver.Ready.IsZero() {
		return append([]string{from}, others...)
	}
	return append(others, from)
}

// ExternalGateway is a router's way to an external network. Its addresses are those of its port.
type ExternalGateway struct {
	NetworkID  NetworkID `json:"network_id"`
	PortID     PortID    `json:"port_id"`
	EnableSNAT bool      `json:"enable_snat"`
}

// Clone returns a deep copy to change.
func (r *Router) Clone() *Router {
	c := *r
	c.Tags = slices.Clone(r.Tags)
	c.Routes = slices.Clone(r.Routes)
	c.ZoneHints = slices.Clone(r.ZoneHints)
	c.Hosts = slices.Clone(r.Hosts)
	if r.HandOver != nil {
		h := *r.HandOver
		c.HandOver = &h
	}
	if r.External != nil {
		e := *r.External
		c.External = &e
	}
	return &c
}

// FloatingIP is an address of an external network that stands for a port's fixed address, or
// whose ports are forwarded (Neutron API reference, "Floating IPs").
type FloatingIP struct {
	Meta
	ID             FloatingIPID `json:"id"`
	NetworkID      NetworkID    `json:"floating_network_id"`
	ReservedPortID PortID       `json:"reserved_port_id"` // of owner OwnerFloatingIP: holds the address
	Addr           netip.Addr   `json:"floating_ip_address"`
	RouterID       RouterID     `json:"router_id,omitzero"`        // zero: not associated, nothing forwarded
	PortID         PortID       `json:"port_id,omitzero"`          // zero: not associated
	FixedAddr      netip.Addr   `json:"fixed_ip_address,omitzero"` // of PortID
	DNSName        string       `json:"dns_name,omitempty"`
	DNSDomain      string       `json:"dns_domain,omitempty"`
	QoSPolicyID    string       `json:"qos_policy_id,omitempty"`
}

// Clone returns a deep copy to change.
func (f *FloatingIP) Clone() *FloatingIP {
	c := *f
	c.Tags = slices.Clone(f.Tags)
	return &c
}

// Status is what the API shows: ACTIVE when the floating IP leads somewhere and a host that serves its router
// has reported the router's gateway port; the arguments may be nil.
func (f *FloatingIP) Status(r *Router, gateway *Port, report *PortReport) string {
	if f.RouterID.IsZero() || r == nil || !r.AdminStateUp || gateway == nil {
		return "DOWN"
	}
	return gateway.Status(report)
}

// PortForwarding sends what comes for ports of a floating IP to ports of a fixed address
// (Neutron API reference, "Floating IPs port forwarding").
type PortForwarding struct {
	Meta
	ID           PortForwardingID `json:"id"`
	FloatingIPID FloatingIPID     `json:"floatingip_id"`
	PortID       PortID           `json:"internal_port_id"`
	InternalAddr netip.Addr       `json:"internal_ip_address"`
	Protocol     string           `json:"protocol"` // as the API shows it: tcp, udp …
	IPProtocol   int              `json:"ip_protocol"`
	// The ranges are of equal length, or the internal one is a single port. Zero: all ports.
	ExternalMin int `json:"external_port_min,omitempty"`
	ExternalMax int `json:"external_port_max,omitempty"`
	InternalMin int `json:"internal_port_min,omitempty"`
	InternalMax int `json:"internal_port_max,omitempty"`
}

// Clone returns a deep copy to change.
func (f *PortForwarding) Clone() *PortForwarding {
	c := *f
	c.Tags = slices.Clone(f.Tags)
	return &c
}
