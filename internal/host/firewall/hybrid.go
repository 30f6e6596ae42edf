package firewall

import (
	"errors"
	"slices"
	"strings"

	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// Hybrid makes the iptables rules and ipsets of a host's ports.
func Hybrid(in Input) Output { return new(Cache).Hybrid(in) }

// Cache keeps what was made of each port, so that a change of one port or
// group is not paid for by all. The zero Cache is ready; it is not safe for
// concurrent use. With or without it the output is the same.
type Cache struct {
	ports map[model.PortID]cached
	lists groupLists
	sets  setMembers
}

type cached struct {
	in     PortInput
	groups *groupRules
	rules  portRules
	block  *block
}

// Hybrid is the function Hybrid with the cache's help. Rules of ports that did
// not change are the same slices as in the output before.
func (c *Cache) Hybrid(in Input) Output {
	blocks := c.blocks(in)
	out := Output{Problems: map[model.PortID]error{}, Chains: make(map[string]model.PortID, 3*len(blocks))}
	n := len(blocks)
	pre, forward := make([]table.Rule, 0, 3*n), make([]table.Rule, 0, 2*n)
	input, sg := make([]table.Rule, 0, n), make([]table.Rule, 0, 2*n+2)
	v4, v6 := make([]table.Chain, 0, 3*n), make([]table.Chain, 0, 3*n)
	used := map[setKey]bool{}
	for _, b := range blocks {
		if b.problem != nil {
			out.Problems[b.id] = b.problem
		}
		if first, taken := out.owner(b); taken {
			// The ids of two ports may begin with the same ten characters: the later
			// one is shut, since the chains are the first one's.
			out.Problems[b.id] = errors.Join(b.problem, &PortError{"its chains belong to port " + first.String()})
			b = b.shut()
		}
		pre, forward = append(pre, b.pre...), append(forward, b.forward...)
		input, sg = append(input, b.input...), append(sg, b.sg...)
		for i := range b.v4 {
			out.Chains[b.v4[i].Name] = b.id
		}
		for i := range b.v6 {
			out.Chains[b.v6[i].Name] = b.id
		}
		v4, v6 = append(v4, b.v4...), append(v6, b.v6...)
		for _, k := range b.sets {
			used[k] = true
		}
		if b.tap != "" {
			out.Taps = append(out.Taps, b.tap)
		}
	}
	slices.Sort(out.Taps)
	out.Taps = slices.Compact(out.Taps)
	out.V4, out.V6 = fixedTables(pre, forward, input, sg), fixedTables(pre, forward, input, sg)
	out.V4[1].Chains = append(out.V4[1].Chains, v4...)
	out.V6[1].Chains = append(out.V6[1].Chains, v6...)
	out.Sets, out.MemberProblems = c.sets.take(used, in.Members)
	return out
}

// owner returns the port that already has the chains that a block wants.
func (o *Output) owner(b *block) (model.PortID, bool) {
	if len(b.v4) == 0 {
		return model.PortID{}, false
	}
	id, taken := o.Chains[b.v4[0].Name]
	return id, taken
}

// shut returns the block without chains of its own: its jumps lead to the
// fallback chain.
func (b *block) shut() *block {
	closed := func(rules []table.Rule) []table.Rule {
		out := make([]table.Rule, len(rules))
		for i, r := range rules {
			out[i] = r[:strings.LastIndex(string(r), "-j ")] + "-j " + chainFallback
		}
		return out
	}
	return &block{id: b.id, pre: b.pre, forward: closed(b.forward), input: closed(b.input), tap: b.tap}
}

// blocks returns every port's share, sorted by the ports' ids, and forgets
// ports that are gone.
func (c *Cache) blocks(in Input) []*block {
	c.lists.renew()
	next := make(map[model.PortID]cached, len(in.Ports))
	for i := range in.Ports {
		p := &in.Ports[i]
		groups := c.lists.of(p.View.SecurityGroups, in.Groups)
		e, ok := c.ports[p.View.ID]
		switch {
		case !ok || !e.in.same(p):
			e = cached{in: p.kept(), groups: groups, rules: checkPort(p, groups)}
			e.block = e.rules.render(nil)
		case e.groups != groups:
			e.regroup(groups)
		}
		next[p.View.ID] = e
	}
	c.ports = next
	blocks := make([]*block, 0, len(next))
	for _, e := range next {
		blocks = append(blocks, e.block)
	}
	slices.SortFunc(blocks, func(a, b *block) int { return a.id.Compare(b.id.UUID) })
	return blocks
}

// regroup puts the port under other rules of its groups.
func (e *cached) regroup(groups *groupRules) {
	e.groups = groups
	if e.rules.mode == filtered {
		e.rules.setGroups(groups)
		e.block = e.rules.render(e.block)
	}
}

// same reports whether what was made of a port follows from q too, if its groups' rules are the same.
func (p *PortInput) same(q *PortInput) bool {
	return p.View == q.View && p.Network == q.Network && p.Zone == q.Zone && p.Tap == q.Tap && p.QVB == q.QVB && p.OFPort == q.OFPort &&
		slices.Equal(p.Routers, q.Routers)
}

// kept returns a copy to remember.
func (p *PortInput) kept() PortInput {
	k := *p
	k.Routers = slices.Clone(p.Routers)
	return k
}
