package firewall

import (
	"slices"

	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// groupRules is what the groups of a port say together. Ports that are in the same groups share one, so that a
// rule is checked and written once, whatever the number of its ports.
type groupRules struct {
	views     []*model.GroupView // what it follows from, in the port's order; nil: not in the view
	stateless bool
	rules     []match
	ruleIDs   []model.SecurityGroupRuleID // of rules
	groups    []model.SecurityGroupID     // of rules
	sets      []setKey                    // that rules refer to
	texts     [numSides][]table.Rule      // of rules
	all       [numSides]bool              // a rule lets everything pass
	problems  []error
}

// numSides is the number of families times that of directions.
const numSides = 4

// sideOf numbers a family and a direction.
func sideOf(f table.Family, d model.Direction) int {
	n := 0
	if f == table.IPv6 {
		n += 2
	}
	if d == model.Egress {
		n++
	}
	return n
}

// compileGroups collects the rules of groups, each once. They are stateless when all groups are (the API does
// not mix them). Texts that are the same as before are the same slices.
func compileGroups(ids []model.SecurityGroupID, groups map[model.SecurityGroupID]*model.GroupView, before *groupRules) *groupRules {
	g := &groupRules{views: make([]*model.GroupView, len(ids))}
	seen := map[match]bool{}
	stateful, stateless := false, false
	for i, id := range ids {
		v := groups[id]
		if v == nil {
			stateful = true
			g.problems = append(g.problems, &GroupError{id})
			continue
		}
		g.views[i] = v
		stateful, stateless = stateful || v.Stateful, stateless || !v.Stateful
		for j := range v.Rules {
			m, err := compile(&v.Rules[j])
			if err != nil {
				g.problems = append(g.problems, err)
				continue
			}
			if m.neverSeen() || seen[m] {
				continue
			}
			seen[m] = true
			g.add(m, v.Rules[j].ID, id)
		}
	}
	g.stateless = stateless && !stateful
	for s := range g.texts {
		if before != nil && slices.Equal(g.texts[s], before.texts[s]) {
			g.texts[s] = before.texts[s]
		}
	}
	return g
}

func (g *groupRules) add(m match, rule model.SecurityGroupRuleID, group model.SecurityGroupID) {
	g.rules, g.ruleIDs, g.groups = append(g.rules, m), append(g.ruleIDs, rule), append(g.groups, group)
	s := sideOf(m.family, m.direction)
	g.texts[s] = append(g.texts[s], m.text())
	g.all[s] = g.all[s] || m.protocol == model.ProtocolAny && !m.remote.IsValid() && m.set.IsZero()
	if k := (setKey{m.set, m.family}); !m.set.IsZero() && !slices.Contains(g.sets, k) {
		g.sets = append(g.sets, k)
	}
}

// allowsAll reports that a rule of the groups lets everything of a family pass in a direction, as the
// default group's do for egress: then services need no rules of their own.
func (g *groupRules) allowsAll(f table.Family, d model.Direction) bool { return g.all[sideOf(f, d)] }

// sameChain reports whether a port's chain of a family and a direction is the same with both.
func (g *groupRules) sameChain(h *groupRules, f table.Family, d model.Direction) bool {
	s := sideOf(f, d)
	a, b := g.texts[s], h.texts[s]
	return g.stateless == h.stateless && g.all[s] == h.all[s] && len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// groupLists holds the rules of the combinations of groups that ports are in. The zero value is ready.
type groupLists struct {
	now, before map[string]*groupRules // by the groups' ids
}

// renew begins anew: combinations that are not asked for until the next renew are forgotten.
func (l *groupLists) renew() { l.before, l.now = l.now, make(map[string]*groupRules, len(l.now)) }

// of returns what groups say together: the same pointer as before if the groups have not changed.
func (l *groupLists) of(ids []model.SecurityGroupID, groups map[model.SecurityGroupID]*model.GroupView) *groupRules {
	var room [128]byte
	key := room[:0]
	for _, id := range ids {
		key = append(key, id.UUID[:]...)
	}
	if g := l.now[string(key)]; g != nil {
		return g
	}
	g := l.before[string(key)]
	if g == nil || !g.follows(ids, groups) {
		g = compileGroups(ids, groups, g)
	}
	if l.now == nil {
		l.now = map[string]*groupRules{}
	}
	l.now[string(key)] = g
	return g
}

// follows reports whether the rules follow from groups as they are now.
func (g *groupRules) follows(ids []model.SecurityGroupID, groups map[model.SecurityGroupID]*model.GroupView) bool {
	for i, id := range ids {
		if g.views[i] != groups[id] {
			return false
		}
	}
	return true
}
