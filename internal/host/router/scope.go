package router

import (
	"fmt"
	"slices"

	"weft/internal/host/hoststate"
	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// Address scopes (Neutron networking guide, "Address scopes"): a router forwards between legs of one scope only; those
// without a scope are together in one. What is translated crosses scopes: to the external network by
// source NAT, and to whatever a floating IP stands for. The answers to what was let through are.

// firstScopeMark marks packets that came by a leg without a scope; the scopes follow, each a mark of its own. The numbers
// are where Neutron's layer 3 agent has them, in the upper half of the mark.
const firstScopeMark = 0x400

// scopes are the address scopes of a router's legs in one family.
type scopes struct {
	legs  []scopedLeg // the external one last
	order []model.AddressScopeID
}

type scopedLeg struct {
	name     string
	scope    model.AddressScopeID // zero: none
	external bool
}

// scopesOf finds the scopes of a router's legs.
func scopesOf(r *model.RouterView, of func(*model.LegView) model.AddressScopeID) scopes {
	var s scopes
	add := func(l *model.LegView, external bool) {
		s.legs = append(s.legs, scopedLeg{hoststate.LegName(l.PortID, external), of(l), external})
		s.order = append(s.order, of(l))
	}
	for i := range r.Legs {
		add(&r.Legs[i], false)
	}
	if r.External != nil {
		add(&r.External.LegView, true)
	}
	s.order = model.SortScopes(s.order)
	return s
}

func scope4(l *model.LegView) model.AddressScopeID { return l.Scope }
func scope6(l *model.LegView) model.AddressScopeID { return l.Scope6 }

// several reports whether the legs are of several scopes.
func (s *scopes) several() bool { return len(s.order) > 1 }

// used reports whether any leg has a scope.
func (s *scopes) used() bool { return s.several() || len(s.order) == 1 && !s.order[0].IsZero() }

// mark is that of packets that came by a leg of a scope.
func (s *scopes) mark(scope model.AddressScopeID) string {
	n := 0
	if !scope.IsZero() {
		n = 1 + slices.Index(slices.DeleteFunc(slices.Clone(s.order), model.AddressScopeID.IsZero), scope)
	}
	return fmt.Sprintf("%#x/0xffff0000", (firstScopeMark+n)<<16)
}

// marks are the rules that mark packets by the scope of the leg that they came by.
func (s *scopes) marks() (out []table.Rule) {
	for _, l := range s.legs {
		out = append(out, rulef("-i %s -j MARK --set-xmark %s", l.name, s.mark(l.scope)))
	}
	return out
}

// filters are the rules that hold scopes apart. Nothing of a connection passes whose first packet does not: only
// what has passed once has answers. open are rules that let more through. outward: to the external network
// everything may pass, since it is translated.
func (s *scopes) filters(open []table.Rule, outward bool) []table.Rule {
	out := append([]table.Rule{"-m conntrack --ctdir REPLY -j RETURN"}, open...)
	for _, l := range s.legs {
		if !l.external || !outward {
			out = append(out, rulef("-o %s -m mark ! --mark %s -j DROP", l.name, s.mark(l.scope)))
		}
	}
	return out
}
