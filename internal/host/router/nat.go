package router

import (
	"fmt"
	"net/netip"
	"slices"

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
	chainFilter      = "neutron-l3-agent-FORWARD"
	chainMark        = "neutron-l3-agent-mark"
	chainScope       = "neutron-l3-agent-scope"
	chainFloatSNAT   = "neutron-l3-agent-float-snat"
	chainSNAT        = "neutron-l3-agent-snat"
	chainForwards    = "neutron-l3-agent-fip-pf"
	chainForward     = "neutron-l3-agent-pf-" // and the first 8 digits of the floating IP's id
	chainBottom      = "neutron-postrouting-bottom"
)

// fromOutside marks packets that came by the external leg. The upper half of the mark is for address scopes.
const fromOutside = "0x2/0xffff"

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

// rulesOf makes the rules of a router: address translation, and what holds address scopes apart. They are
// those of Neutron's layer 3 agent, but that source ports are kept where they can be (no --random-fully): the host
// that takes over then translates a running connection as this one did. elsewhere are the router's floating IPs that
// other hosts serve, at their ports.
func rulesOf(r *model.RouterView, floating []*model.FloatingView, elsewhere []netip.Addr) (v4, v6 table.Ruleset, translated []Translation) {
	in4, in6 := scopesOf(r, scope4), scopesOf(r, scope6)
	nat, translated := translation(r, floating, elsewhere, &in4)
	outward := r.External != nil && r.External.SNAT
	return ruleset(r, nat, &in4, translatedAnyway(r, floating, elsewhere), outward), ruleset(nil, nil, &in6, nil, false), translated
}

// ruleset makes the rules of one family; r is nil where nothing is translated.
func ruleset(r *model.RouterView, nat []table.Chain, s *scopes, open []table.Rule, outward bool) (out table.Ruleset) {
	var marks, filter []table.Chain
	var jumps []table.Rule
	if r != nil && r.External != nil {
		qg := hoststate.LegName(r.External.PortID, true)
		jumps = append(jumps, "-j "+chainMark)
		marks = append(marks, chain(chainMark, rulef("-i %s -j MARK --set-xmark %s", qg, fromOutside)))
		// A segment of a connection that this host does not know, which another host may still serve: an answer of the kernel
		// would reset it. A datagram could be of one, too: taken for the beginning of another it would be in its way.
		filter = append(filter, builtin("INPUT", chainInput), chain(chainInput,
			rulef("-i %s -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", qg),
			rulef("-i %s -p udp -j DROP", qg)))
	}
	if s.used() {
		jumps = append(jumps, "-j "+chainScope)
		marks = append(marks, chain(chainScope, s.marks()...))
	}
	if s.several() {
		filter = append(filter, builtin("FORWARD", chainFilter), chain(chainFilter, "-j "+chainScope), chain(chainScope, s.filters(open, outward)...))
	}
	if jumps != nil {
		out = append(out, table.Table{Name: "mangle", Chains: append([]table.Chain{builtin("PREROUTING", chainPrerouting), chain(chainPrerouting, jumps...)}, marks...)})
	}
	if nat != nil {
		out = append(out, table.Table{Name: "nat", Chains: nat})
	}
	if filter != nil {
		out = append(out, table.Table{Name: "filter", Chains: filter})
	}
	return out
}

// translatedAnyway are the packets that cross address scopes whatever they are: those to a floating IP and, where not
// everything that leaves is translated, those from an address that one stands for.
func translatedAnyway(r *model.RouterView, floating []*model.FloatingView, elsewhere []netip.Addr) []table.Rule {
	if r.External == nil {
		return nil
	}
	out := []table.Rule{"-m conntrack --ctstate DNAT -j RETURN"}
	if r.External.SNAT {
		return out
	}
	qg := hoststate.LegName(r.External.PortID, true)
	for _, f := range floating {
		if standsFor(f) {
			out = append(out, rulef("-s %s/32 -o %s -j RETURN", f.Fixed, qg))
		}
	}
	for _, a := range elsewhere {
		out = append(out, rulef("-d %s/32 -o %s -j RETURN", a, qg))
	}
	return out
}

// standsFor reports whether a floating IP stands for an address as a whole.
func standsFor(f *model.FloatingView) bool { return f.Fixed.IsValid() && f.Addr.Is4() && f.Fixed.Is4() }

// translation makes the address translation of a router with an external leg.
func translation(r *model.RouterView, floating []*model.FloatingView, elsewhere []netip.Addr, s *scopes) (nat []table.Chain, out []Translation) {
	if r.External == nil {
		return nil, nil
	}
	qg := hoststate.LegName(r.External.PortID, true)
	var dnat, forwards, snat []table.Rule
	var chains []table.Chain
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
		if standsFor(f) {
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
	own, shared := firstIPv4(r.External.Addrs), r.External.Scope
	asIs := !shared.IsZero() && slices.ContainsFunc(r.Legs, func(l model.LegView) bool { return l.Scope == shared })
	if own.IsValid() && (asIs || !r.External.SNAT) {
		for _, a := range elsewhere { // the answer must come back here: the port's host routes to the legs by itself
			source = append(source, rulef("-d %s/32 -o %s -j SNAT --to-source %s", a, qg, own))
		}
	}
	if own.IsValid() && r.External.SNAT {
		if asIs { // within an address scope
			source = append(source, rulef("-o %s -m mark --mark %s -j ACCEPT", qg, s.mark(shared)))
		}
		source = append(source,
			rulef("-o %s -j SNAT --to-source %s", qg, own),
			// From one leg to a floating IP of another: the answer must come back here.
			rulef("-m mark ! --mark %s -m conntrack --ctstate DNAT -j SNAT --to-source %s", fromOutside, own))
		out = append(out, Translation{Outside: own})
	}
	nat = append([]table.Chain{
		builtin("PREROUTING", chainPrerouting), builtin("OUTPUT", chainOutput), builtin("POSTROUTING", chainPostrouting, chainBottom),
		chain(chainPrerouting, pre...), chain(chainOutput, pre...),
		chain(chainPostrouting, rulef("! -o %s -m conntrack ! --ctstate DNAT -j ACCEPT", qg)),
		chain(chainFloatSNAT, snat...), chain(chainSNAT, source...),
		chain(chainBottom, table.Rule(`-m comment --comment "Perform source NAT on outgoing traffic." -j `+chainSNAT)),
	}, chains...)
	return nat, out
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
