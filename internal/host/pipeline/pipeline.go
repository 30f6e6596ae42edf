package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// Input is the state that flows are computed from.
type Input struct {
	Local Local
	// L2Population: MACs and addresses of peers come from the server. Without
	// it, MACs are learned from tunnels and ARP questions travel.
	L2Population bool

	Networks map[model.NetworkID]Network
	Ports    map[model.PortID]*model.PortView
	Peers    map[model.PortID]*model.PeerView

	Host    string // this host, as RouterView.Gateways names it
	Routers map[model.RouterID]Router
	// Floating are the floating IPs that this host serves for its own ports. The legs that their routers have here for it are
	// in Local.Ports.
	Floating map[model.FloatingIPID]*model.FloatingView
	// Served are the floating IPs, with fixed addresses, of routers whose gateway this host is.
	Served map[model.FloatingIPID]*model.FloatingView
}

// Router is a router that the host serves, or that has a leg on one of its networks.
type Router struct {
	View *model.RouterView
	// Active: this host, which serves it, is the one that answers for it.
	Active bool
	// Quiet: it has begun to, and the router's external network is still another host's.
	Quiet bool
	// Lately: it is not, but has been until a moment ago: some still send to it.
	Lately bool
}

// Network is a network with a port on the host, and the local VLAN id (1 to
// 4094) that the agent has given it here.
type Network struct {
	View *model.NetworkView
	VLAN uint16
}

// Local is what the host has: its address and the OpenFlow port numbers of its
// devices. A number that is 0 or missing means that the device is not there yet.
type Local struct {
	TunnelAddr netip.Addr // source of this host's tunnels; invalid: it has none

	PatchTun uint32                  // on br-int, to br-tun
	PatchInt uint32                  // on br-tun, to br-int
	Services uint32                  // on br-int, to the host's services; 0: it has none
	Ports    map[model.PortID]uint32 // on br-int: qvo… of hybrid ports, tap… of others
	// Filtered are the ports that tables IntEgressBase to IntForward filter, if
	// they have port security. Of others, iptables is in charge.
	Filtered map[model.PortID]bool
	Tunnels  map[Tunnel]uint32   // on br-tun
	Physical map[string]Physical // by the name of the physical network
	Watched  map[Tunnel]bool     // of which the switch knows whether they are alive
	// MeterLimit is the highest id of a meter on br-int, 0 if the switch has none.
	MeterLimit uint32
}

// Tunnel names the way to another host.
type Tunnel struct {
	Type   model.NetworkType
	Remote netip.Addr
}

// Physical is the way to a physical network.
type Physical struct {
	Bridge string
	Int    uint32 // int-<bridge> on br-int
	Phy    uint32 // phy-<bridge> on the bridge
}

// Output is what the bridges shall hold. Flows are sorted by table, then
// falling priority, then by the object that caused them.
type Output struct {
	BrInt    []flow.Flow
	BrTun    []flow.Flow
	Physical map[string][]flow.Flow // by bridge

	// IntPeers and TunPeers lead to the flows of peers from those of the Output before, when a Cache has made this one:
	// then they are not in BrInt and BrTun.
	IntPeers, TunPeers flow.Step

	// Meters of br-int shall exist before its flows do: one for each port that asks the agent, with its OpenFlow number.
	Meters []uint32
	// Tunnels shall exist: one for each type and host that shares a network.
	Tunnels []Tunnel
	// Wired are the ports whose flows are all in BrInt, in order of their ids.
	Wired []model.PortID
	// External are the external legs, none of Input.Ports, by which floating IPs are served at their ports.
	External []model.PortID
	// Problems are objects that could not be honoured in full. All others are.
	Problems []Problem
}

// Problem is why an object of the input is not, or not wholly, in the flows.
type Problem struct {
	Object  model.ObjectKey
	Waiting bool // a device is not there yet: the object is as it should be
	Reason  string
}

// Compute returns the flows for a state. It never fails: an object that cannot
// be honoured is left out, told in Problems, and harms no other.
func Compute(in Input) Output {
	b := newBuilder(in)
	b.build()
	return b.output()
}

// build makes all flows.
func (b *builder) build() {
	b.intFixed()
	b.tunFixed()
	b.phyFixed()
	for _, n := range b.networks {
		b.intNetwork(n)
		if n.tunnelled() {
			b.tunNetwork(n)
		} else if n.phy != nil {
			b.phyNetwork(n)
		}
		for _, p := range n.ports {
			b.intPort(n, p)
		}
		for _, p := range n.peers {
			b.peer(n, p)
		}
		for i := range n.legs {
			b.remoteLeg(n, &n.legs[i])
		}
	}
	routers := b.distributedRouters()
	if len(routers) > 0 || b.servesAtPorts() {
		b.routeFixed()
	}
	for _, d := range routers {
		b.route(d)
	}
	b.serveAtPorts(routers)
}

// network is a network of the input with all that belongs to it, checked.
type network struct {
	view *model.NetworkView
	vlan uint16
	// uplink is the port of br-int towards other hosts, 0 if there is none.
	uplink uint32
	phy    *Physical // of flat and VLAN networks
	// open: a local port may use MACs that nobody told us of.
	open     bool
	dhcp4    []netip.Addr // IPv4 addresses of the DHCP port
	answers4 bool         // a subnet has DHCPv4
	dhcp6    []netip.Addr // IPv6 addresses of the DHCP port, its link-local one included
	answers6 bool         // a subnet has DHCPv6
	// advertised: routers of a subnet are told of by its hosts, and by nobody else.
	advertised bool
	ports      []port // wired, in order of their ids
	peers      []*model.PeerView
	legs       []leg // of routers, here or elsewhere
	routed     []routedTo
	remotes    []uint32 // tunnel ports of hosts with a port on the network, in order
	atPorts    []atPort
	claimed    map[netip.Addr]bool // answered by TunARP
}

func (n *network) tunnelled() bool { return n.view.Segment.Type.IsTunnel() }

// claim reports whether an address has no answer yet, and gives it to the caller.
func (n *network) claim(a netip.Addr) bool {
	if n.claimed[a] {
		return false
	}
	if n.claimed == nil {
		n.claimed = map[netip.Addr]bool{}
	}
	n.claimed[a] = true
	return true
}

// port is a wired port.
type port struct {
	view   *model.PortView
	ofport uint32
	// open: it may use MACs that nobody told us of, because it has no port
	// security or address pairs with other MACs.
	open bool
	// filtered: what it sends and receives passes the firewall's tables.
	filtered bool
	leg      *leg // of a router, nil for others
}

type builder struct {
	in       Input
	networks []*network // in order of their local VLAN ids
	byID     map[model.NetworkID]*network
	legMACs  map[onNetwork]bool
	used     map[uint32]model.PortID                  // numbers of br-int, and whose they are
	served   map[model.RouterID][]*model.FloatingView // in.Served, in order
	peerMACs map[onNetwork]bool                       // legMACs included
	behind   map[behind]int
	// clash: an object goes without something because another has it. When that one goes, the first would get it.
	clash  bool
	shares map[model.PortID]*share // of peers; nil: their flows go where all others go
	sink   *share                  // whose flows are being made
	out    Output
}

func newBuilder(in Input) *builder {
	b := &builder{in: in, legMACs: map[onNetwork]bool{}, used: map[uint32]model.PortID{}, behind: map[behind]int{}, out: Output{Physical: map[string][]flow.Flow{}}}
	b.served = make(map[model.RouterID][]*model.FloatingView, len(in.Routers))
	for _, id := range sortedKeys(in.Served, func(x, y model.FloatingIPID) int { return x.Compare(y.UUID) }) {
		f := in.Served[id]
		b.served[f.RouterID] = append(b.served[f.RouterID], f)
	}
	b.byID = b.checkNetworks()
	b.checkLegs(b.byID)
	b.checkPorts(b.byID)
	b.checkAtPorts(b.byID)
	b.checkPeers()
	return b
}

func (b *builder) output() Output {
	sortFlows(b.out.BrInt)
	sortFlows(b.out.BrTun)
	for _, flows := range b.out.Physical {
		sortFlows(flows)
	}
	slices.Sort(b.out.Meters)
	b.out.Meters = slices.Compact(b.out.Meters)
	slices.SortFunc(b.out.Wired, func(x, y model.PortID) int { return x.Compare(y.UUID) })
	slices.SortStableFunc(b.out.Problems, func(x, y Problem) int {
		return cmp.Or(cmp.Compare(x.Object.Kind, y.Object.Kind), x.Object.ID.Compare(y.Object.ID))
	})
	return b.out
}

// sortFlows relies on flows of one table and priority having been made in the
// order of their networks and objects.
func sortFlows(flows []flow.Flow) {
	slices.SortStableFunc(flows, func(x, y flow.Flow) int {
		return cmp.Or(cmp.Compare(x.Table, y.Table), cmp.Compare(y.Priority, x.Priority))
	})
}

func (b *builder) problem(kind model.ObjectKind, id model.UUID, format string, args ...any) {
	b.out.Problems = append(b.out.Problems, Problem{
		Object: model.ObjectKey{Kind: kind, ID: id}, Reason: fmt.Sprintf(format, args...),
	})
}

func (b *builder) waiting(kind model.ObjectKind, id model.UUID, reason string) {
	b.out.Problems = append(b.out.Problems, Problem{
		Object: model.ObjectKey{Kind: kind, ID: id}, Waiting: true, Reason: reason,
	})
}

func (b *builder) brInt(cookie uint64, table uint8, priority uint16, m flow.Match, actions ...flow.Action) {
	into := &b.out.BrInt
	if b.sink != nil {
		into = &b.sink.brInt
	}
	*into = append(*into, flow.Flow{Table: table, Priority: priority, Cookie: cookie, Match: m, Actions: actions})
}

func (b *builder) brTun(cookie uint64, table uint8, priority uint16, m flow.Match, actions ...flow.Action) {
	into := &b.out.BrTun
	if b.sink != nil {
		into = &b.sink.brTun
	}
	*into = append(*into, flow.Flow{Table: table, Priority: priority, Cookie: cookie, Match: m, Actions: actions})
}

func (b *builder) brPhy(bridge string, cookie uint64, priority uint16, m flow.Match, actions ...flow.Action) {
	b.out.Physical[bridge] = append(b.out.Physical[bridge],
		flow.Flow{Table: PhyClassify, Priority: priority, Cookie: cookie, Match: m, Actions: actions})
}

// sortedKeys returns the keys of a map of objects in the order of their ids.
func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}
