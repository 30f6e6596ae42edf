// Package view draws a host: every device, bridge, router, tunnel and filter between a VM and the wire, as the host has
// them at this moment, with what each is for and what has passed it.
//
// Collect reads the host and changes nothing on it: the switch's database and flows, links, iptables, ipsets, routers'
// namespaces, and the last view of the agent for names and addresses. Text and SVG draw a Host that was collected; they are pure, so
// that a host can be collected in one place and drawn in another.
//
// It does not decide what should be there (hoststate, pipeline, firewall do). Called by the commands "weft host".
package view

import (
	"net/netip"
	"strings"
	"time"
)

// State is how far a port has come.
type State string

// The states of a port.
const (
	Active  State = "active"  // wired and filtered
	Waiting State = "waiting" // something that others do has not happened yet
	Failed  State = "failed"  // cannot work as it is
)

// Count is what has passed a place since it was made.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// plus returns the sum of two counts.
func (c Count) plus(d Count) Count { return Count{c.Packets + d.Packets, c.Bytes + d.Bytes} }

// Host is all that is drawn of a host.
type Host struct {
	Name        string     `json:"name"`
	CollectedAt time.Time  `json:"collected_at"`
	TunnelAddr  netip.Addr `json:"tunnel_addr,omitzero"`
	OVSVersion  string     `json:"ovs_version,omitempty"`
	// Revision is that of the agent's last view; 0: there is none, and names and addresses are not known.
	Revision uint64 `json:"revision"`

	Ports   []Port   `json:"ports"`   // in order of their ids
	Routers []Router `json:"routers"` // in order of their ids
	// Distributed are the distributed routers that the host routes for by flows, in order of their ids.
	Distributed []Distributed `json:"distributed,omitempty"`
	Networks    []Network     `json:"networks"` // in order of their VLAN ids
	Int         Bridge        `json:"br_int"`
	Tun         Bridge        `json:"br_tun"`
	// PatchTun is on br-int, PatchInt on br-tun: the two ends of the way between them.
	PatchTun  Device     `json:"patch_tun"`
	PatchInt  Device     `json:"patch_int"`
	Physicals []Physical `json:"physicals"`          // in order of their names
	Tunnels   []Tunnel   `json:"tunnels"`            // in order of their remote ends
	Sets      []Set      `json:"sets"`               // in order of their names
	Services  *Services  `json:"services,omitempty"` // nil: the host has none
	// Cut is what was dropped of connections that a removed rule had allowed.
	Cut Count `json:"cut"`
	// Others are ports of br-int that nobody plugged in for a port of the API.
	Others []Device `json:"others,omitempty"`
	// Problems are what could not be read: the rest is as it is.
	Problems []string `json:"problems,omitempty"`
}

// Mode is how a port's card reaches br-int.
type Mode string

// The modes.
const (
	Hybrid Mode = "hybrid" // TAP, Linux bridge, veth pair
	Direct Mode = "direct" // the TAP itself, or a device of the switch
)

// Port is a port of the API that is plugged in on the host, or bound to it.
type Port struct {
	ID     string `json:"id"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is not active, or a remark

	VMName string       `json:"vm_name,omitempty"` // of a guest in a namespace, or the port's DNS name
	VMUUID string       `json:"vm_uuid,omitempty"`
	MAC    string       `json:"mac,omitempty"`
	Addrs  []netip.Addr `json:"addrs,omitempty"`
	Owner  string       `json:"device_owner,omitempty"`

	NetworkID string `json:"network_id,omitempty"`
	VLAN      int    `json:"vlan,omitempty"` // the tag on br-int; 0: none
	Mode      Mode   `json:"mode"`
	// Devices are the way from the VM to br-int, the one on br-int last.
	Devices []Device `json:"devices"`

	Filtered bool     `json:"filtered"` // it has port security
	Chains   []Chain  `json:"chains,omitempty"`
	SetNames []string `json:"sets,omitempty"` // ipsets that its chains look into

	Flows int   `json:"flows"` // of br-int that the port causes
	DHCP  Count `json:"dhcp"`  // requests that this host has answered itself
}

// Role is what a device is in the picture.
type Role string

// The roles.
const (
	RoleTAP      Role = "tap"
	RoleBridge   Role = "qbr"
	RoleVethIn   Role = "qvb" // the end in the Linux bridge
	RoleVethOut  Role = "qvo" // the end on br-int
	RoleInternal Role = "internal"
	RolePatch    Role = "patch"
	RoleTunnel   Role = "tunnel"
	RoleLeg      Role = "leg"    // of a router
	RoleUplink   Role = "uplink" // of a physical network's bridge, not to br-int
	RoleServices Role = "services"
	RoleOther    Role = "other"
)

// Device is a network device or a port of the switch.
type Device struct {
	Name    string `json:"name"`
	Role    Role   `json:"role"`
	Present bool   `json:"present"`
	Up      bool   `json:"up"`
	OFPort  int    `json:"ofport,omitempty"` // on its bridge; 0: none, -1: the switch cannot use it
	MTU     int    `json:"mtu,omitempty"`    // bytes
	Error   string `json:"error,omitempty"`  // the switch's
	// Rx and Tx are as the device sees it: a TAP receives what its VM sends.
	Rx Count `json:"rx"`
	Tx Count `json:"tx"`
	// Dropped are packets that the device itself did not pass, both ways.
	Dropped uint64 `json:"dropped,omitempty"`
}

// FromVM is what has passed on its way from the VMs to the wire.
func (d *Device) FromVM() Count {
	if d.sendsToWire() {
		return d.Tx
	}
	return d.Rx
}

// ToVM is what has passed on its way from the wire to the VMs.
func (d *Device) ToVM() Count {
	if d.sendsToWire() {
		return d.Rx
	}
	return d.Tx
}

// sendsToWire reports whether what the device transmits goes away from the VMs.
func (d *Device) sendsToWire() bool {
	switch d.Role {
	case RoleVethIn, RoleTunnel, RoleUplink, RoleServices:
		return true
	case RolePatch: // the ends on br-int send, their peers receive
		return d.Name == "patch-tun" || strings.HasPrefix(d.Name, "int-")
	}
	return false
}

// Chain is an iptables chain of a port, of both families, or the port's flows in a table of br-int that filters it.
type Chain struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // ingress, egress, spoofing
	Rules   []Rule `json:"rules"`
	Entered Count  `json:"entered"` // what was judged here
	Drops   []Drop `json:"drops,omitempty"`
}

// The kinds of chains.
const (
	Ingress  = "ingress"
	Egress   = "egress"
	Spoofing = "spoofing"
)

// Dropped is all that the chain has dropped.
func (c *Chain) Dropped() Count {
	var n Count
	for _, d := range c.Drops {
		n = n.plus(d.Count)
	}
	return n
}

// Rule is a rule of a chain as iptables-save prints it.
type Rule struct {
	Family string `json:"family"` // IPv4, IPv6
	Text   string `json:"text"`
	Count
}

// Drop is why packets were dropped in a chain.
type Drop struct {
	Reason string `json:"reason"`
	Count
}

// Set is an ipset: the addresses of a remote group.
type Set struct {
	Name    string `json:"name"`
	Family  string `json:"family"` // IPv4, IPv6
	Group   string `json:"group,omitempty"`
	Members int    `json:"members"`
}

// Network is a network that has a VLAN id on the host.
type Network struct {
	ID           string         `json:"id"`
	Name         string         `json:"name,omitempty"` // the host does not know it; a caller may
	VLAN         int            `json:"vlan"`
	Type         string         `json:"type,omitempty"`            // gre, vxlan, geneve, vlan, flat, local
	Segmentation uint32         `json:"segmentation_id,omitempty"` // GRE key, VNI or VLAN id on the wire
	Physical     string         `json:"physical_network,omitempty"`
	MTU          int            `json:"mtu,omitempty"`
	Subnets      []netip.Prefix `json:"subnets,omitempty"`
	Ports        int            `json:"ports"` // plugged in on this host
	Legs         int            `json:"legs"`  // of routers on this host
	Peers        int            `json:"peers"` // on other hosts

	// From br-tun's flow counters.
	FromTunnels Count `json:"from_tunnels"`
	Unicast     Count `json:"unicast"`      // to one tunnel
	Flooded     Count `json:"flooded"`      // to all tunnels of the network
	ARPAnswered Count `json:"arp_answered"` // in place of remote ports
}

// Bridge is a bridge of the switch.
type Bridge struct {
	Name     string     `json:"name"`
	Present  bool       `json:"present"`
	FailMode string     `json:"fail_mode,omitempty"`
	Datapath string     `json:"datapath,omitempty"` // system, netdev
	Flows    int        `json:"flows"`
	Drops    []FlowDrop `json:"drops,omitempty"` // only flows that have dropped something
}

// FlowDrop is a flow without actions that has met packets.
type FlowDrop struct {
	Table  uint8  `json:"table"`
	Name   string `json:"name,omitempty"`   // of the table
	Match  string `json:"match"`            // empty: whatever no other flow of the table matches
	Object string `json:"object,omitempty"` // the beginning of the id of the object that caused it
	Count
}

// Tunnel is the way to another host.
type Tunnel struct {
	Device
	Type       string     `json:"type"`
	Local      netip.Addr `json:"local,omitzero"`
	Remote     netip.Addr `json:"remote,omitzero"`
	RemoteName string     `json:"remote_name,omitempty"` // the host does not know it; a caller may
	Peers      int        `json:"peers"`                 // ports behind it
	Routers    int        `json:"routers"`               // that the host behind it serves, and networks here have legs of
	BFD        *BFD       `json:"bfd,omitempty"`         // nil: the switch does not watch it
}

// BFD is what the switch's own watch of a tunnel says (RFC 5880; ovs-vswitchd.conf.db(5), bfd_status).
type BFD struct {
	State      string `json:"state"` // up, down, init, admin_down
	Forwarding bool   `json:"forwarding"`
	Diagnostic string `json:"diagnostic,omitempty"`
	Flaps      string `json:"flaps,omitempty"` // how often it went up or down
}

// Physical is the way to a physical network.
type Physical struct {
	Bridge string `json:"bridge"`
	Int    Device `json:"int"` // on br-int
	Phy    Device `json:"phy"` // on the bridge
	// Others are the bridge's other ports: those that lead into the physical network.
	Others []Device `json:"others,omitempty"`
}

// network returns the network of an id, or nil.
func (h *Host) network(id string) *Network {
	for i := range h.Networks {
		if h.Networks[i].ID == id && id != "" {
			return &h.Networks[i]
		}
	}
	return nil
}
