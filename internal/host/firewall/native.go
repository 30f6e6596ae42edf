package firewall

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// Priorities in the tables of the native firewall; Neutron's where the flow has
// its counterpart there.
const (
	prioAlways  = 100 // neighbour discovery, and what comes from the network's own servers
	prioARP     = 95
	prioReply   = 90 // packets against the direction of their connection
	prioNoReply = 85
	prioClient  = 80 // DHCP clients
	prioRule    = 70
	prioSource  = 65 // the port's own addresses
	prioMiss    = 0
)

// NativeOutput is the flows that filter a host's ports in the switch. They belong
// on br-int, beside the pipeline's.
type NativeOutput struct {
	// Flows is all but the members of remote groups. It is the same slice as
	// before if nothing of it has changed.
	Flows []flow.Flow
	// Members is what has changed of the flows that list the members.
	Members flow.Step
	// Problems tells what is wrong with a port; what is right of it is in force. A
	// port that has a *PortError passes nothing.
	Problems map[model.PortID]error
	// MemberProblems are members of which not every prefix could be used.
	MemberProblems map[model.MemberKey]error
}

// FlowCache keeps the flows that were made of each port and each member, so that
// a change is not paid for by all. The zero FlowCache is ready; it is not safe for
// concurrent use. With or without it the flows are the same.
type FlowCache struct {
	ports    map[model.PortID]cachedFlows
	lists    groupLists
	flows    []flow.Flow
	problems map[model.PortID]error
	members  memberFlows
}

type cachedFlows struct {
	in     PortInput
	groups *groupRules
	flows  *portFlows
}

// Native makes the flows for the ports of a host that the switch filters. Each
// must have its OpenFlow number; its zone is the local VLAN id of its network.
func (c *FlowCache) Native(in Input) NativeOutput {
	if c.refresh(in) {
		c.assemble()
	}
	return NativeOutput{Flows: c.flows, Members: c.members.step(in.Members), Problems: c.problems, MemberProblems: maps.Clone(c.members.problems)}
}

// AllMembers lists the flows of all members, as they are after the last Native.
func (c *FlowCache) AllMembers() []flow.Flow { return c.members.all() }

// refresh renders the ports that have changed, forgets those that are gone, and
// reports whether there were any.
func (c *FlowCache) refresh(in Input) (changed bool) {
	c.lists.renew()
	next := make(map[model.PortID]cachedFlows, len(in.Ports))
	for i := range in.Ports {
		p := &in.Ports[i]
		groups := c.lists.of(p.View.SecurityGroups, in.Groups)
		e, ok := c.ports[p.View.ID]
		if !ok || e.groups != groups || !e.in.same(p) {
			changed = true
			rules := checkPort(p, groups)
			e = cachedFlows{in: p.kept(), groups: groups, flows: rules.flows()}
		}
		next[p.View.ID] = e
	}
	changed = changed || len(next) != len(c.ports)
	c.ports = next
	return changed
}

// assemble puts the flows of all ports together and numbers the conjunctions.
func (c *FlowCache) assemble() {
	ports := slices.SortedFunc(maps.Values(c.ports), func(a, b cachedFlows) int { return a.flows.id.Compare(b.flows.id.UUID) })
	c.problems = map[model.PortID]error{}
	uses := map[model.UUID]setUse{}
	n := 0
	for _, p := range ports {
		if p.flows.problem != nil {
			c.problems[p.flows.id] = p.flows.problem
		}
		n += len(p.flows.fixed) + len(p.flows.rules)
		for i := range p.flows.rules {
			for _, s := range p.flows.rules[i].sets {
				uses[s] |= p.flows.rules[i].kind
			}
		}
	}
	ids := conjunctionIDs(uses)
	c.flows = nil
	if n > 0 {
		c.flows = append(make([]flow.Flow, 0, n+40), fixedFlows()...)
	}
	for _, p := range ports {
		c.flows = append(c.flows, p.flows.fixed...)
		for i := range p.flows.rules {
			c.flows = append(c.flows, p.flows.rules[i].flow(ids))
		}
	}
	for _, set := range slices.SortedFunc(maps.Keys(uses), model.UUID.Compare) {
		for _, t := range uses[set].tables() {
			c.flows = append(c.flows, flow.Flow{
				Table: t, Priority: prioRule, Cookie: pipeline.Cookie(model.KindMember, set),
				Match: flow.Match{}.Uint(flow.ConjID, uint64(ids[set])), Actions: accept(t),
			})
		}
	}
	slices.SortStableFunc(c.flows, func(x, y flow.Flow) int {
		return cmp.Or(cmp.Compare(x.Table, y.Table), cmp.Compare(y.Priority, x.Priority))
	})
	c.members.use(uses, ids)
}

// accept is where a packet goes whose connection a rule allows.
func accept(table uint8) []flow.Action {
	if table == pipeline.IntEgressRules {
		return goTo(pipeline.IntEgressAccepted)
	}
	return goTo(pipeline.IntAcceptedIn)
}

func goTo(table uint8) []flow.Action { return []flow.Action{flow.GotoTable{Table: table}} }

// zone is the conntrack zone of every network: its local VLAN id.
var zone = flow.Range(pipeline.RegNetwork, 0, 15)

// track sends a packet through the connection tracker to a table.
func track(table uint8) []flow.Action { return []flow.Action{flow.CT{Table: table, ZoneSrc: zone}} }

// side matches packets on one side of the port whose rules decide.
func side(m flow.Match, s uint64) flow.Match { return m.Uint(pipeline.RegSide, s) }

// fixedFlows are the flows that all filtered ports share.
func fixedFlows() []flow.Flow {
	var out []flow.Flow
	add := func(table uint8, prio uint16, m flow.Match, actions ...flow.Action) {
		out = append(out, flow.Flow{Table: table, Priority: prio, Cookie: pipeline.Cookie(model.KindHost, model.UUID{}), Match: m, Actions: actions})
	}
	families := []flow.Match{flow.MatchIPv4(), flow.MatchIPv6()}

	add(pipeline.IntEgressBase, prioARP, flow.MatchARP(), goTo(pipeline.IntForward)...)
	add(pipeline.IntEgressBase, prioMiss, flow.Match{}, goTo(pipeline.IntDropped)...)

	for _, typ := range neighbourTypes {
		add(pipeline.IntEgressRules, prioAlways, side(flow.MatchICMPv6(), pipeline.SideFrom).Uint(flow.ICMPv6Type, typ), goTo(pipeline.IntForward)...)
	}
	for _, m := range []flow.Match{dhcpPacket(flow.EtherTypeIPv4, 68, 67), dhcpPacket(flow.EtherTypeIPv6, 546, 547)} {
		add(pipeline.IntEgressRules, prioClient, m.CTState(0, flow.CTTrk), goTo(pipeline.IntEgressAccepted)...)
	}
	for _, m := range []flow.Match{dhcpConnection(flow.MatchIPv4(), 68, 67), dhcpConnection(flow.MatchIPv6(), 546, 547)} {
		add(pipeline.IntEgressRules, prioClient, m, goTo(pipeline.IntEgressAccepted)...)
	}
	// A reply that the port sends: the connection was opened to it.
	replies := flow.Match{}.CTState(flow.CTRpl|flow.CTTrk, 0)
	add(pipeline.IntEgressRules, prioReply, side(replies, pipeline.SideFrom), goTo(pipeline.IntIngressRules)...)
	add(pipeline.IntEgressRules, prioMiss, flow.Match{}, goTo(pipeline.IntDropped)...)

	fresh := func(m flow.Match) flow.Match { return m.CTState(flow.CTNew|flow.CTTrk, flow.CTEst) }
	commit := flow.CT{Commit: true, ZoneSrc: zone}
	add(pipeline.IntEgressAccepted, 110, side(flow.Match{}, pipeline.SideTo), goTo(pipeline.IntAcceptedIn)...)
	for _, m := range families {
		add(pipeline.IntEgressAccepted, prioReply, fresh(m), commit, flow.GotoTable{Table: pipeline.IntAcceptedOut})
	}
	add(pipeline.IntEgressAccepted, prioMiss, flow.Match{}, goTo(pipeline.IntAcceptedOut)...)

	add(pipeline.IntIngressBase, prioAlways, flow.MatchARP(), goTo(pipeline.IntAcceptedIn)...)
	for _, typ := range []uint64{130, 135, 136} {
		add(pipeline.IntIngressBase, prioAlways, flow.MatchICMPv6().Uint(flow.ICMPv6Type, typ), goTo(pipeline.IntAcceptedIn)...)
	}
	for _, m := range families {
		add(pipeline.IntIngressBase, prioClient, m.CTState(0, flow.CTTrk), track(pipeline.IntIngressRules)...)
		// A port of this host has sent it, which has tracked it in the same zone.
		add(pipeline.IntIngressBase, prioClient, m.CTState(flow.CTTrk, 0), goTo(pipeline.IntIngressRules)...)
	}
	add(pipeline.IntIngressBase, prioMiss, flow.Match{}, goTo(pipeline.IntDropped)...)

	// A reply to the port that is not for an address of it (see replies).
	add(pipeline.IntIngressRules, prioNoReply, side(replies, pipeline.SideTo), goTo(pipeline.IntDropped)...)
	add(pipeline.IntIngressRules, prioMiss, flow.Match{}, goTo(pipeline.IntDropped)...)

	deliver := flow.OutputReg{Src: flow.Whole(pipeline.RegPort)}
	add(pipeline.IntAcceptedIn, 110, side(flow.Match{}, pipeline.SideFrom), goTo(pipeline.IntForward)...)
	for _, m := range families {
		add(pipeline.IntAcceptedIn, prioReply, fresh(m), commit, deliver)
	}
	add(pipeline.IntAcceptedIn, prioMiss, flow.Match{}, deliver)

	add(pipeline.IntAcceptedOut, prioMiss, flow.Match{}, goTo(pipeline.IntForward)...)
	add(pipeline.IntDropped, prioMiss, flow.Match{})
	add(pipeline.IntForward, prioMiss, flow.Match{}, flow.Resubmit{Table: pipeline.IntLocalEgress})
	return out
}

// neighbourTypes are the ICMPv6 messages that leave a port without a rule:
// multicast listener and neighbour discovery (RFC 4890, 4.4).
var neighbourTypes = []uint64{131, 132, 133, 135, 136, 143}

func dhcpPacket(etherType uint16, src, dst uint64) flow.Match {
	return flow.MatchUDP(etherType).Uint(flow.UDPSrc, src).Uint(flow.UDPDst, dst)
}

func dhcpConnection(m flow.Match, src, dst uint64) flow.Match {
	return tracked(m).Uint(flow.CTNWProto, protoUDP).Uint(flow.CTTPSrc, src).Uint(flow.CTTPDst, dst)
}

// tracked matches packets of which the fields of the connection's first packet are
// known: ct_nw_src and its kin (ovs-fields(7), "Connection Tracking Fields").
func tracked(m flow.Match) flow.Match { return m.CTState(flow.CTTrk, flow.CTInv) }

// errNoPorts is said of a rule that Open vSwitch has no match for.
var errNoPorts = errors.New("Open vSwitch cannot match the ports of this protocol")
