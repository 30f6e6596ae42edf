package router

import (
	"fmt"
	"net/netip"

	"weft/internal/host/hoststate"
	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// Chains of Neutron's layer 3 agent.
const (
	chainPrerouting  = "neutron-l3-agent-PREROUTING"
	chainPostrouting = "neutron-l3-agent-POSTROUTING"
	chainOutput      = "neutron-l3-agent-OUTPUT"
	chainInput       = "neutron-l3-agent-INPUT"
	chainMark        = "neutron-l3-agent-mark"
	chainFloatSNAT   = "neutron-l3-agent-float-snat"
	chainSNAT        = "neutron-l3-agent-snat"
	chainForwards    = "neutron-l3-agent-fip-pf"
	chainForward     = "neutron-l3-agent-pf-" // and the first 8 digits of the floating IP's id
	chainBottom      = "neutron-postrouting-bottom"
)

// Marks of packets, by the leg that they came by: fromOutside the external one, sameScope one whose network is in the
// external network's address scope. Neutron keeps the upper half for scopes, too.
const (
	fromOutside = "0x2/0xffff"
	sameScope   = "0x4000000/0xffff0000"
)

// Translation is one address, or ports of it, that stands for a fixed address. It is comparable.
type Translation struct {
	Outside, Inside netip.Addr
	Protocol        int // 0: the whole address, both ways
	PortMin         int // outside; 0: all
	PortMax         int
	InsidePort      int // the first; 0: as outside
}

// chain makes a chain of our own.
func chain(name string, rules ...table.Rule) table.Chain {
	return table.Chain{Name: name, Rules: rules}
}

// builtin makes our jumps at the head of a built-in chain.
func builtin(name string, targets ...string) table.Chain {
	c := table.Chain{Name: name, Shared: true}
	for _, t := range targets {
		c.Rules = append(c.Rules, table.Rule("-j "+t))
	}
	return c
}

func rulef(format string, args ...any) table.Rule { return table.Rule(fmt.Sprintf(format, args...)) }

// translation makes the address translation of a router with an external leg. The rules are those of
// Neutron's layer 3 agent, but that source ports are kept where they can be (no --random-fully): the host
// that takes over then translates a running connection as this one did.
func translation(r *model.RouterView, floating []*model.FloatingView) (table.Ruleset, []Translation) {
	if r.External == nil {
		return nil, nil
	}
	qg := hoststate.LegName(r.External.PortID, true)
	var dnat, forwards, snat []table.Rule
	var chains []table.Chain
	var out []Translation
	for _, f := range floating {
		if len(f.Forwarding) > 0 && f.Addr.Is4() {
			name := chainForward + f.ID.String()[:8]
			c := table.Chain{Name: name}
			for i := range f.Forwarding {
				c.Rules = append(c.Rules, forwardRule(f.Addr, &f.Forwarding[i]))
				out = append(out, forwardTranslation(f.Addr, &f.Forwarding[i]))
			}
			chains = append(chains, c)
			forwards = append(forwards, table.Rule("-j "+name))
		}
		if f.Fixed.IsValid() && f.Addr.Is4() && f.Fixed.Is4() {
			dnat = append(dnat, rulef("-d %s/32 -j DNAT --to-destination %s", f.Addr, f.Fixed))
			snat = append(snat, rulef("-s %s/32 -j SNAT --to-source %s", f.Fixed, f.Addr))
			out = append(out, Translation{Outside: f.Addr, Inside: f.Fixed})
		}
	}
	pre := dnat
	if len(forwards) > 0 {
		pre = append([]table.Rule{"-j " + chainForwards}, dnat...)
		chains = append(chains, chain(chainForwards, forwards...))
	}
	source := []table.Rule{"-j " + chainFloatSNAT}
	marks := []table.Rule{rulef("-i %s -j MARK --set-xmark %s", qg, fromOutside)}
	if own := firstIPv4(r.External.Addrs); own.IsValid() && r.External.SNAT {
		// Within an address scope addresses are routed as they are.
		if scoped := marksOfScope(r); scoped != nil {
			marks = append(marks, scoped...)
			source = append(source, rulef("-o %s -m mark --mark %s -j ACCEPT", qg, sameScope))
		}
		source = append(source,
			rulef("-o %s -j SNAT --to-source %s", qg, own),
			// From one leg to a floating IP of another: the answer must come back here.
			rulef("-m mark ! --mark %s -m conntrack --ctstate DNAT -j SNAT --to-source %s", fromOutside, own))
		out = append(out, Translation{Outside: own})
	}
	nat := append([]table.Chain{
		builtin("PREROUTING", chainPrerouting), builtin("OUTPUT", chainOutput), builtin("POSTROUTING", chainPostrouting, chainBottom),
		chain(chainPrerouting, pre...), chain(chainOutput, pre...),
		chain(chainPostrouting, rulef("! -o %s -m conntrack ! --ctstate DNAT -j ACCEPT", qg)),
		chain(chainFloatSNAT, snat...), chain(chainSNAT, source...),
		chain(chainBottom, table.Rule(`-m comment --comment "Perform source NAT on outgoing traffic." -j `+chainSNAT)),
	}, chains...)
	mangle := []table.Chain{
		builtin("PREROUTING", chainPrerouting),
		chain(chainPrerouting, "-j "+chainMark),
		chain(chainMark, marks...),
	}
	// A segment of a connection that this host does not know, which another host may still serve: an answer of the kernel would
	// reset it. A datagram could be of one, too: taken for the beginning of another it would be in its way.
	filter := []table.Chain{
		builtin("INPUT", chainInput),
		chain(chainInput,
			rulef("-i %s -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", qg),
			rulef("-i %s -p udp -j DROP", qg)),
	}
	return table.Ruleset{{Name: "mangle", Chains: mangle}, {Name: "nat", Chains: nat}, {Name: "filter", Chains: filter}}, out
}

// marksOfScope marks what comes by legs of the external network's address scope, nil when there are none.
func marksOfScope(r *model.RouterView) []table.Rule {
	var out []table.Rule
	for i := range r.Legs {
		if l := &r.Legs[i]; !l.Scope.IsZero() && l.Scope == r.External.Scope {
			out = append(out, rulef("-i %s -j MARK --set-xmark %s", hoststate.LegName(l.PortID, false), sameScope))
		}
	}
	return out
}

func firstIPv4(addrs []netip.Prefix) netip.Addr {
	for _, a := range addrs {
		if a.Addr().Is4() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// forwardRule sends ports of a floating IP to ports of a fixed address. A range goes to a range of
// the same length, port by port, or to one port.
func forwardRule(addr netip.Addr, w *model.ForwardingView) table.Rule {
	name := table.ProtocolName(uint8(w.Protocol))
	match := fmt.Sprintf("-d %s/32 -p %s", addr, name)
	to := w.Internal.String()
	if w.ExternalMin > 0 {
		match += fmt.Sprintf(" -m %s --dport %d", name, w.ExternalMin)
		if w.ExternalMax > w.ExternalMin {
			match += fmt.Sprintf(":%d", w.ExternalMax)
		}
	}
	switch {
	case w.InternalMin == 0:
	case w.InternalMax <= w.InternalMin:
		to += fmt.Sprintf(":%d", w.InternalMin)
	case w.InternalMin == w.ExternalMin:
		to += fmt.Sprintf(":%d-%d", w.InternalMin, w.InternalMax)
	default:
		to += fmt.Sprintf(":%d-%d/%d", w.InternalMin, w.InternalMax, w.ExternalMin)
	}
	return table.Rule(match + " -j DNAT --to-destination " + to)
}

func forwardTranslation(addr netip.Addr, w *model.ForwardingView) Translation {
	return Translation{
		Outside: addr, Inside: w.Internal, Protocol: w.Protocol, PortMin: w.ExternalMin, PortMax: max(w.ExternalMin, w.ExternalMax), InsidePort: w.InternalMin,
	}
}
