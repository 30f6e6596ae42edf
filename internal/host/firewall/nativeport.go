package firewall

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/host/iptables/table"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// portFlows is a port's share of the flows.
type portFlows struct {
	id      model.PortID
	fixed   []flow.Flow
	rules   []ruleFlow
	problem error
}

// ruleFlow is a flow of a rule. Without sets it accepts what it matches; with
// them it is the second half of a conjunction with each.
type ruleFlow struct {
	table  uint8
	cookie uint64
	match  flow.Match
	sets   []model.UUID // in order
	kind   setUse       // of the sets
}

func (r *ruleFlow) flow(ids map[model.UUID]uint32) flow.Flow {
	f := flow.Flow{Table: r.table, Priority: prioRule, Cookie: r.cookie, Match: r.match}
	if r.sets == nil {
		f.Actions = accept(r.table)
	}
	for _, s := range r.sets {
		f.Actions = append(f.Actions, flow.Conjunction{ID: ids[s], Clause: 2, N: 2})
	}
	return f
}

// flows makes the port's share.
func (p *portRules) flows() *portFlows {
	out := &portFlows{id: p.id, problem: p.problem}
	if p.mode == shut || p.mode == open {
		return out
	}
	cookie := pipeline.Cookie(model.KindPort, p.id.UUID)
	add := func(table uint8, prio uint16, m flow.Match, actions ...flow.Action) {
		out.fixed = append(out.fixed, flow.Flow{Table: table, Priority: prio, Cookie: cookie, Match: m, Actions: actions})
	}
	p.fromPort(add)
	p.toPort(add)
	for _, s := range []uint64{pipeline.SideFrom, pipeline.SideTo} {
		add(pipeline.IntDropped, prioRule, side(p.own(flow.Match{}), s)) // they count
	}
	problems := []error{p.problem}
	out.rules, problems = p.ruleFlows(problems)
	out.problem = errors.Join(problems...)
	return out
}

// own matches packets about which the port's rules decide.
func (p *portRules) own(m flow.Match) flow.Match {
	return m.Uint(pipeline.RegPort, uint64(p.ofport))
}

type addFlow func(table uint8, prio uint16, m flow.Match, actions ...flow.Action)

// fromPort lets out what comes from the port's own addresses, to the rules.
func (p *portRules) fromPort(add addFlow) {
	next := track(pipeline.IntEgressRules)
	if p.stateless {
		next = goTo(pipeline.IntEgressRules)
	}
	for _, q := range p.pairs {
		m := p.own(ofFamily(familyOf(q.prefix.Addr()))).EthSrc(hw(q.mac)).Prefix(packetFields[familyOf(q.prefix.Addr())].src, q.prefix)
		add(pipeline.IntEgressBase, prioSource, m, next...)
	}
	for _, mac := range macsOf(p.mac, p.pairs) {
		// Who has no address yet.
		discover := p.own(dhcpPacket(flow.EtherTypeIPv4, 68, 67)).EthSrc(hw(mac)).
			Addr(flow.IPv4Src, netip.IPv4Unspecified()).Addr(flow.IPv4Dst, netip.AddrFrom4([4]byte{255, 255, 255, 255}))
		add(pipeline.IntEgressBase, prioClient, discover, goTo(pipeline.IntForward)...)
		for _, typ := range []uint64{131, 135, 143} {
			m := p.own(flow.MatchICMPv6()).EthSrc(hw(mac)).Uint(flow.ICMPv6Type, typ).
				Addr(flow.IPv6Src, netip.IPv6Unspecified()).Prefix(flow.IPv6Dst, netip.MustParsePrefix("ff02::/16"))
			add(pipeline.IntEgressBase, prioClient, m, goTo(pipeline.IntForward)...)
		}
	}
	if !p.stateless {
		// The receiver's rules have the last word on the connection.
		add(pipeline.IntEgressAccepted, prioAlways,
			flow.Match{}.Uint(pipeline.RegNetwork, uint64(p.zone)).EthDst(hw(p.mac)), goTo(pipeline.IntForward)...)
	}
}

// toPort lets the network's own servers in, and replies to connections that the
// port may have opened.
func (p *portRules) toPort(add addFlow) {
	for _, a := range p.dhcp {
		m := dhcpPacket(flow.EtherTypeIPv4, 67, 68)
		if a.Is6() {
			m = dhcpPacket(flow.EtherTypeIPv6, 547, 546)
		}
		add(pipeline.IntIngressBase, prioARP, p.own(m).Addr(packetFields[familyOf(a)].src, a), goTo(pipeline.IntAcceptedIn)...)
	}
	for _, a := range p.routers {
		add(pipeline.IntIngressBase, prioARP, p.own(flow.MatchICMPv6()).Uint(flow.ICMPv6Type, 134).Addr(flow.IPv6Src, a), goTo(pipeline.IntAcceptedIn)...)
	}
	if p.stateless {
		add(pipeline.IntIngressBase, prioReply, p.own(flow.Match{}), flow.CTClear{}, flow.GotoTable{Table: pipeline.IntIngressRules})
		return
	}
	var seen []netip.Prefix
	for _, q := range p.pairs {
		if slices.Contains(seen, q.prefix) {
			continue
		}
		seen = append(seen, q.prefix)
		f := familyOf(q.prefix.Addr())
		m := side(p.own(ofFamily(f)), pipeline.SideTo).CTState(flow.CTRpl|flow.CTTrk, flow.CTInv).Prefix(connFields[f].src, q.prefix)
		add(pipeline.IntIngressRules, prioReply, m, flow.Resubmit{Table: pipeline.IntEgressRules})
	}
}

// ruleFlows makes the flows of the port's rules, each match once: where two
// groups say the same, the flow is the first one's.
func (p *portRules) ruleFlows(problems []error) ([]ruleFlow, []error) {
	var out []ruleFlow
	at := map[string]int{}
	add := func(r ruleFlow, set model.UUID) {
		key := flow.Flow{Table: r.table, Match: r.match}.Key()
		i, found := at[key]
		switch {
		case !found:
			at[key] = len(out)
			out = append(out, r)
			i = len(out) - 1
			if !set.IsZero() {
				out[i].sets = []model.UUID{set}
			}
		case out[i].sets == nil: // from everywhere already
		case set.IsZero():
			out[i].sets = nil
		default:
			if j, has := slices.BinarySearchFunc(out[i].sets, set, model.UUID.Compare); !has {
				out[i].sets = slices.Insert(out[i].sets, j, set)
			}
		}
	}
	for i := range p.rules {
		m := &p.rules[i]
		matches, err := m.flows(p.stateless)
		if err != nil {
			problems = append(problems, &RuleError{Rule: p.ruleIDs[i], Why: err.Error()})
			continue
		}
		r := ruleFlow{table: m.table(), cookie: pipeline.Cookie(model.KindGroup, p.groups[i].UUID), kind: m.use(p.stateless)}
		for _, match := range matches {
			r.match = p.own(match)
			add(r, m.set)
		}
	}
	return out, problems
}

// fields are what an end of a connection is matched by.
type fields struct{ src, dst flow.Field }

// packetFields are those of a packet, connFields those of the first packet of its
// connection, by family.
var (
	packetFields = map[table.Family]fields{table.IPv4: {flow.IPv4Src, flow.IPv4Dst}, table.IPv6: {flow.IPv6Src, flow.IPv6Dst}}
	connFields   = map[table.Family]fields{table.IPv4: {flow.CTNWSrc, flow.CTNWDst}, table.IPv6: {flow.CTIPv6Src, flow.CTIPv6Dst}}
)

func ofFamily(f table.Family) flow.Match {
	if f == table.IPv4 {
		return flow.MatchIPv4()
	}
	return flow.MatchIPv6()
}

// far is the field of the other end, for a rule of a direction.
func (f fields) far(d model.Direction) flow.Field {
	if d == model.Egress {
		return f.dst
	}
	return f.src
}

func hw(m model.MAC) net.HardwareAddr { return m[:] }

// table is where the rule is looked up.
func (m *match) table() uint8 {
	if m.direction == model.Egress {
		return pipeline.IntEgressRules
	}
	return pipeline.IntIngressRules
}

// flows writes the rule as matches, any of which may hold. A rule of a stateful
// group is about the connection's first packet, whichever packet of it is there.
// The error says why it cannot be written.
func (m *match) flows(stateless bool) ([]flow.Match, error) {
	if stateless {
		return m.packet(ofFamily(m.family).CTState(0, flow.CTTrk))
	}
	var out []flow.Match
	base := tracked(ofFamily(m.family)).Prefix(connFields[m.family].far(m.direction), m.prefix())
	if m.protocol != model.ProtocolAny {
		base = base.Uint(flow.CTNWProto, uint64(m.protocol))
	}
	switch {
	case m.isICMP():
		if m.min >= 0 {
			out = append(out, later(base))
			base = base.Uint(flow.CTTPSrc, uint64(m.min))
		}
		if m.max >= 0 {
			base = base.Uint(flow.CTTPDst, uint64(m.max))
		}
	case m.min >= 0:
		if _, ok := portFields[m.protocol]; !ok {
			return nil, errNoPorts
		}
		return masked(base, flow.CTTPDst, m.min, m.max), nil
	}
	out = append(out, base)
	// Of ICMP, the tracker knows questions and their answers, and errors about
	// connections it knows. The rest is judged by itself.
	if icmp := m.icmpOnly(); icmp != nil && m.set.IsZero() {
		rest, err := icmp.packet(ofFamily(m.family).CTState(flow.CTInv|flow.CTTrk, 0))
		if err != nil {
			return nil, err
		}
		out = append(out, rest...)
	}
	return out, nil
}

// icmpOnly is the rule's part that is about ICMP, nil if it has none.
func (m *match) icmpOnly() *match {
	part := *m
	if m.protocol == model.ProtocolAny {
		part.protocol = protoICMP
		if m.family == table.IPv6 {
			part.protocol = protoICMPv6
		}
	}
	if !part.isICMP() {
		return nil
	}
	return &part
}

// packet writes the rule as matches on a packet by itself.
func (m *match) packet(base flow.Match) ([]flow.Match, error) {
	base = base.Prefix(packetFields[m.family].far(m.direction), m.prefix())
	if m.protocol != model.ProtocolAny {
		base = base.IPProto(uint8(m.protocol))
	}
	switch {
	case m.isICMP():
		typ, code := flow.ICMPType, flow.ICMPCode
		if m.family == table.IPv6 {
			typ, code = flow.ICMPv6Type, flow.ICMPv6Code
		}
		if m.min >= 0 {
			base = base.Uint(typ, uint64(m.min))
		}
		if m.max >= 0 {
			base = base.Uint(code, uint64(m.max))
		}
	case m.min >= 0:
		field, ok := portFields[m.protocol]
		if !ok {
			return nil, errNoPorts
		}
		return masked(base, field, m.min, m.max), nil
	}
	return []flow.Match{base}, nil
}

func later(m flow.Match) flow.Match {
	return m.Masked(flow.IPFrag, flow.FragAny|flow.FragLater, flow.FragAny|flow.FragLater)
}

// portFields are the destination ports that Open vSwitch knows.
var portFields = map[int]flow.Field{protoTCP: flow.TCPDst, protoUDP: flow.UDPDst, protoSCTP: flow.SCTPDst}

// masked covers a range of ports. Later fragments have no ports; they pass, and are
// of no use to the receiver without the first (RFC 1858). The kernel's datapath shows
// whole packets instead.
func masked(base flow.Match, field flow.Field, lo, hi int) []flow.Match {
	out := []flow.Match{later(base)}
	for _, k := range flow.PortMasks(uint16(lo), uint16(hi)) {
		out = append(out, base.Masked(field, uint64(k.Value), uint64(k.Mask)))
	}
	return out
}

// prefix is the rule's remote, everything if it has none.
func (m *match) prefix() netip.Prefix {
	switch {
	case m.remote.IsValid():
		return m.remote
	case m.family == table.IPv4:
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
