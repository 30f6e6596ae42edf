package pipeline

import (
	"fmt"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// Tables of br-int. The numbers are those an operator of Neutron's Open vSwitch
// agent knows. Package firewall fills those from IntEgressBase to IntForward:
// they filter the ports whose TAP is on br-int itself.
const (
	IntClassify    uint8 = 0  // who sent it: wired port, tunnels, physical network, nobody
	IntCanary      uint8 = 23 // never reached: its one flow tells that our flows are still there
	IntNeighbours  uint8 = 24 // ARP and neighbour discovery speak for the port's own addresses only
	IntSource      uint8 = 25 // the source MAC is the port's, and it plays neither router nor DHCP server
	IntServices    uint8 = 28 // to the host's services and back, with addresses that stand for the guests'
	IntLocalEgress uint8 = 30 // from a local port and honest: what the host answers itself
	IntLocalIP     uint8 = 31 // reserved for local IPs
	IntRoute       uint8 = 32 // to a leg of distributed router RegRouter: to which subnet?
	IntRouted      uint8 = 33 // to a known port on that subnet: rewritten as the router would
	IntRateLimit   uint8 = 59 // reserved for limits on what enters the switch
	IntDeliver     uint8 = 60 // by destination MAC within the network
	IntLearned     uint8 = 61 // MACs behind ports that may use others than their own; looked up by resubmit
	IntUplink      uint8 = 62 // the rest of the network: with its local VLAN id to br-tun or a physical bridge

	IntEgressBase     uint8 = 71 // from a filtered port: the IP source is its own
	IntEgressRules    uint8 = 72 // may port RegPort have opened this connection?
	IntEgressAccepted uint8 = 73 // it may: commit the connection
	IntIngressBase    uint8 = 81 // to a filtered port: what needs no rule
	IntIngressRules   uint8 = 82 // may this connection have been opened to port RegPort?
	IntAcceptedOut    uint8 = 91 // accepted from a port
	IntAcceptedIn     uint8 = 92 // accepted to a port: deliver
	IntDropped        uint8 = 93 // refused by a port's rules
	IntForward        uint8 = 94 // back to IntLocalEgress
)

// Tables of br-tun.
const (
	TunClassify uint8 = 0  // from br-int or from a tunnel
	TunKind     uint8 = 2  // unicast, ARP question, or other group address
	TunGRE      uint8 = 3  // tunnel key to local VLAN id
	TunVXLAN    uint8 = 4  // the same for VXLAN
	TunGeneve   uint8 = 6  // the same for Geneve
	TunLearn    uint8 = 10 // learn where the sender lives, deliver to br-int
	TunUnicast  uint8 = 20 // by destination MAC to one tunnel
	TunARP      uint8 = 21 // answers ARP for addresses on other hosts
	TunFlood    uint8 = 22 // to every host that has a port on the network
)

// PhyClassify is the one table we use on the bridge of a physical network.
const PhyClassify uint8 = 0

// RegNetwork holds the local VLAN id of the network a packet is on, from table
// IntClassify on. Within br-int packets are untagged: the register, not a tag,
// says which network they are on.
const RegNetwork = flow.Reg6

// RegRouter holds the first 32 bits of the id of the distributed router that a packet is routed by, in
// tables IntRoute and IntRouted.
const RegRouter = flow.Reg3

// RegScope tells apart the address scopes of that router, where its legs on the host's networks are of several: packets are
// routed within one. The numbers mean nothing outside of the router and the host.
const RegScope = flow.Reg1

// RegTooBig has bit 0 set when a packet does not fit the network that it is routed to.
const RegTooBig = flow.Reg2

// RegPort holds the OpenFlow number of the filtered port whose rules decide about
// a packet, from IntSource or IntDeliver on.
const RegPort = flow.Reg5

// RegSide says which side of port RegPort a packet is on.
const RegSide = flow.Reg7

// Values of RegSide.
const (
	SideFrom = 0 // the port has sent it
	SideTo   = 1 // it is to be delivered to the port
)

// RegLookup holds the outcome of looking up a MAC in IntLearned.
const RegLookup = flow.Reg4

// Values of RegLookup. Zero: nothing was looked up.
const (
	LookupDelivered = 1 // the learned flow has sent the packet out of its port
	LookupUplink    = 2 // learned from the uplink
	LookupUnknown   = 3 // nobody has sent from that MAC lately
	LookupFiltered  = 4 // learned behind port RegPort, whose rules decide
)

// Priorities, the higher first.
const (
	prioDeadVLAN  = 65535 // as Neutron has it
	prioTracked   = 1000  // IntClassify: tracked before it came here
	prioTagged    = 300   // IntClassify: a tag from an access port
	prioDHCP      = 200   // IntClassify: DHCP and router solicitations to the agent
	prioSpoofed   = 160   // IntClassify: in the name of a service
	prioService   = 150   // IntClassify, IntServices: to a service of the host and back
	prioQuestion  = 11    // IntClassify: a standby gateway looks for a neighbour
	prioFloating  = 11    // IntClassify: what a gateway's kernel has not translated
	prioARP       = 10    // IntClassify: ARP and ND to IntNeighbours
	prioPort      = 9     // IntClassify: what else a port sends
	prioSegment   = 3     // IntClassify: a known network from an uplink
	prioToRouter  = 3     // PhyClassify: to a router that this host answers for
	prioUplink    = 2     // IntClassify, PhyClassify: what else comes from an uplink
	prioForged    = 3     // IntNeighbours: never valid
	prioOwn       = 2     // IntNeighbours, IntSource: the port's own addresses
	prioServer    = 10    // IntSource: routers' and DHCP servers' messages
	prioAnswer    = 10    // IntLocalEgress: answered by the host
	prioToLeg     = 5     // IntLocalEgress: to a leg of a distributed router
	prioRefused   = 100   // IntRoute, IntRouted: the gateway answers with an error
	prioSubnet    = 10    // IntRoute: a leg's subnet
	prioKept      = 6     // IntRoute: a subnet or a user's route that the gateway takes
	prioOutward   = 5     // IntRoute: the rest of a port whose floating IP is served here
	prioHop       = 10    // IntRouted: a port on it
	prioLocal     = 100   // IntDeliver: MAC of a port of this host
	prioStandby   = 101   // IntDeliver: leg of a router that another host answers for, from the uplink
	prioRemote    = 90    // IntDeliver: MAC known elsewhere
	prioGroup     = 4     // IntDeliver: broadcast and multicast
	prioUnknown   = 1     // IntDeliver: unicast to a MAC that nobody told us of
	prioLookup    = 3     // IntUplink: outcome of a lookup
	prioNetwork   = 1     // IntUplink, TunFlood, TunGRE …: a network
	prioLearned   = 1     // IntLearned, TunUnicast: made by learn()
	prioPeer      = 2     // TunUnicast: told by the server
	prioTranslate = 4     // PhyClassify: local VLAN id to segment
	prioIn        = 1     // TunClassify, TunARP
	prioMiss      = 0
)

// learnedTimeout is how long a learned MAC lives, in seconds, whether used or not.
const learnedTimeout = 300

// magic marks the cookies of our flows, in the highest 16 bits.
const magic = 0x57e7

// Cookie is the mark of all flows that an object causes: magic (16 bits), kind
// (8), and the first 40 bits of the object's id, which are the 10 digits that
// the names of its devices on the host end with. The pipeline's own flows have
// model.KindHost and id zero.
func Cookie(kind model.ObjectKind, id model.UUID) uint64 {
	c := uint64(magic)<<48 | uint64(kind)<<40
	for i, b := range id[:5] {
		c |= uint64(b) << (32 - 8*i)
	}
	return c
}

// CookieKindMask covers magic and kind of a cookie: with it, a flow deletion
// takes all flows of a kind.
const CookieKindMask uint64 = 0xffffff << 40

// Mine reports whether the pipeline has made the flow, so that it may be
// changed or deleted. Flows that the switch has learned are not: they come and
// go without us.
func Mine(f flow.Flow) bool { return MineCookie(f.Cookie) }

// MineCookie is Mine for a flow with a cookie.
func MineCookie(cookie uint64) bool {
	return cookie>>48 == magic && model.ObjectKind(cookie>>40) != model.KindLearned
}

// Object tells what a cookie stands for: the kind, and the beginning of the
// object's id as it stands in device names ("051a94d5-1b"), empty if the flow
// is for no object in particular. A cookie that is not ours is KindNone.
//
// Flows learned from a local port lead to that port, those learned from an
// uplink in table IntLearned to the network.
func Object(cookie uint64) (kind model.ObjectKind, idPrefix string) {
	if cookie>>48 != magic {
		return model.KindNone, ""
	}
	kind = model.ObjectKind(cookie >> 40)
	if id := cookie & (1<<40 - 1); id != 0 {
		idPrefix = fmt.Sprintf("%08x-%02x", id>>8, id&0xff)
	}
	return kind, idPrefix
}

// BridgeKind says which pipeline a bridge runs.
type BridgeKind string

// The kinds of bridges.
const (
	BridgeInt      BridgeKind = "br-int"
	BridgeTun      BridgeKind = "br-tun"
	BridgePhysical BridgeKind = "physical"
)

// Table describes a table to people.
type Table struct {
	Bridge BridgeKind
	Number uint8
	Name   string
	Miss   string // what happens to a packet that no flow of an object matches
}

// Tables lists every table the pipeline uses, in the order packets see them.
func Tables() []Table {
	return []Table{
		{BridgeInt, IntClassify, "classify", "drop"},
		{BridgeInt, IntCanary, "canary", "drop"},
		{BridgeInt, IntNeighbours, "neighbours", "drop"},
		{BridgeInt, IntSource, "source", "drop"},
		{BridgeInt, IntServices, "services", "drop"},
		{BridgeInt, IntLocalEgress, "local-egress", "table 59"},
		{BridgeInt, IntLocalIP, "local-ip", "table 59"},
		{BridgeInt, IntRoute, "route", "table 59"},
		{BridgeInt, IntRouted, "routed", "table 59"},
		{BridgeInt, IntRateLimit, "rate-limit", "table 60"},
		{BridgeInt, IntDeliver, "deliver", "drop"},
		{BridgeInt, IntLearned, "learned", "back to the caller"},
		{BridgeInt, IntUplink, "uplink", "drop"},
		{BridgeInt, IntEgressBase, "egress-base", "table 93"},
		{BridgeInt, IntEgressRules, "egress-rules", "table 93"},
		{BridgeInt, IntEgressAccepted, "egress-accepted", "table 91"},
		{BridgeInt, IntIngressBase, "ingress-base", "table 93"},
		{BridgeInt, IntIngressRules, "ingress-rules", "table 93"},
		{BridgeInt, IntAcceptedOut, "accepted-out", "table 94"},
		{BridgeInt, IntAcceptedIn, "accepted-in", "the port"},
		{BridgeInt, IntDropped, "dropped", "drop"},
		{BridgeInt, IntForward, "forward", "table 30"},
		{BridgeTun, TunClassify, "classify", "drop"},
		{BridgeTun, TunKind, "kind", "table 20 or 22"},
		{BridgeTun, TunGRE, "gre", "drop"},
		{BridgeTun, TunVXLAN, "vxlan", "drop"},
		{BridgeTun, TunGeneve, "geneve", "drop"},
		{BridgeTun, TunLearn, "learn", "learns all"},
		{BridgeTun, TunUnicast, "unicast", "table 22"},
		{BridgeTun, TunARP, "arp", "table 22"},
		{BridgeTun, TunFlood, "flood", "drop"},
		{BridgePhysical, PhyClassify, "classify", "NORMAL"},
	}
}
