package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/host/iptables/table"
)

// State is rules and sets: those of the kernel, or those wanted.
type State struct {
	V4, V6 table.Ruleset
	Sets   []table.Set
	// Taps are the devices, in order, from and to which no frame with a length in place of a type crosses a bridge.
	Taps []string

	frames frames // as read; of what is wanted it says nothing
}

// Layout says which rules of a namespace are ours, and where they stand.
type Layout struct {
	Prefix string   // of our chains
	Own    []string // further chains that are ours alone
	Tables []string // that hold our rules, in the order in which they change
	// Top is a chain that other agents put jumps into as well; empty: none.
	Top string
	// Bridges: frames that cross a Linux bridge pass the rules, and remote groups are sets.
	Bridges bool
}

// HostLayout is that of a host's own namespace: the filters of its ports.
func HostLayout() Layout {
	return Layout{Prefix: "neutron-openvswi-", Tables: []string{"raw", "filter"}, Top: "neutron-filter-top", Bridges: true}
}

// RouterLayout is that of a router's namespace, which no other agent writes to: address translation, and what holds address scopes apart.
func RouterLayout() Layout {
	return Layout{
		Prefix: "neutron-l3-agent-", Own: []string{"neutron-postrouting-bottom"},
		Tables: []string{"mangle", "nat", "filter"},
	}
}

// isOwn reports whether a chain is ours alone.
func (l *Layout) isOwn(chain string) bool {
	return strings.HasPrefix(chain, l.Prefix) || slices.Contains(l.Own, chain)
}

func (l *Layout) isTop(chain string) bool { return l.Top != "" && chain == l.Top }

// isOwnJump reports whether a rule of a shared chain is ours: a jump to one of
// our chains without any condition. A jump with a condition is someone else's.
func (l *Layout) isOwnJump(r table.Rule) bool {
	target, ok := strings.CutPrefix(string(r), "-j ")
	return ok && !strings.Contains(target, " ") && (l.isOwn(target) || l.isTop(target))
}

// edit is what changes in one chain: lines of iptables-restore.
type edit struct {
	chain   string
	declare bool // ":chain - [0:0]" first: makes the chain, or empties it
	made    bool // the chain is not there yet
	lines   []string
	drop    bool // "-X chain" at the end
	refill  []table.Rule
}

// tableEdits is what changes in one table.
type tableEdits struct {
	name  string
	edits []edit
}

// Change leads from one state to another.
type Change struct {
	v4, v6 []tableEdits
	sets   setChange
	frames string // for nft
}

// Empty reports whether there is nothing to do.
func (c *Change) Empty() bool {
	return len(c.v4) == 0 && len(c.v6) == 0 && c.sets.empty() && c.frames == ""
}

// Describe lists the changes, one line each, for logs and tests.
func (c *Change) Describe() []string {
	var out []string
	for _, f := range []struct {
		name   string
		tables []tableEdits
	}{{"iptables", c.v4}, {"ip6tables", c.v6}} {
		for _, t := range f.tables {
			for _, line := range strings.Split(strings.TrimSpace(restoreText([]tableEdits{t})), "\n") {
				out = append(out, f.name+" "+t.name+": "+line)
			}
		}
	}
	if c.frames != "" {
		out = append(out, "nft: "+c.frames)
	}
	return append(out, c.sets.describe()...)
}

// Plan computes what must change so that have becomes want. Only what is
// provably ours appears in it.
func (l Layout) Plan(have, want State) Change {
	return Change{v4: l.planFamily(have.V4, want.V4), v6: l.planFamily(have.V6, want.V6), sets: planSets(have.Sets, want.Sets), frames: planFrames(have.frames, want.Taps)}
}

func (l *Layout) planFamily(have, want table.Ruleset) []tableEdits {
	var out []tableEdits
	for _, name := range l.Tables {
		h, w := have.Table(name), want.Table(name)
		if h == nil {
			h = &table.Table{Name: name}
		}
		if w == nil {
			w = &table.Table{Name: name}
		}
		if edits := l.planTable(h, w); len(edits) > 0 {
			out = append(out, tableEdits{name, edits})
		}
	}
	return out
}

func (l *Layout) planTable(have, want *table.Table) []edit {
	there := make(map[string]*table.Chain, len(have.Chains))
	for i := range have.Chains {
		there[have.Chains[i].Name] = &have.Chains[i]
	}
	wanted := make(map[string]bool, len(want.Chains))
	var edits []edit
	for i := range want.Chains {
		w := &want.Chains[i]
		wanted[w.Name] = true
		plan := planChain
		if w.Shared {
			plan = l.planShared
		}
		if e, changed := plan(there[w.Name], w); changed {
			edits = append(edits, e)
		}
	}
	top := there[l.Top]
	keepTop := l.Top != "" && top != nil && !wanted[l.Top] && len(l.foreign(top.Rules)) > 0
	jumpToTop := table.Rule("-j " + l.Top)
	for i := range have.Chains {
		h := &have.Chains[i]
		switch {
		case wanted[h.Name]:
		case l.isOwn(h.Name):
			edits = append(edits, edit{chain: h.Name, declare: true, drop: true})
		default:
			w := &table.Chain{Name: h.Name}
			if keepTop && slices.Contains(h.Rules, jumpToTop) {
				w.Rules = []table.Rule{jumpToTop} // another agent has rules there
			}
			if e, changed := l.planShared(h, w); changed {
				edits = append(edits, e)
			}
		}
	}
	return edits
}

// planChain compares a chain that is ours. Few differences become single
// rules taken out and put in, which keeps the counters of the others.
func planChain(have, want *table.Chain) (edit, bool) {
	e := edit{chain: want.Name, refill: want.Fallback}
	if have == nil {
		e.declare, e.made, e.lines = true, true, appendLines(nil, want.Name, want.Rules)
		return e, true
	}
	if same(have.Rules, want.Rules) {
		return edit{}, false
	}
	head := 0
	for head < min(len(have.Rules), len(want.Rules)) && have.Rules[head] == want.Rules[head] {
		head++
	}
	tail := 0
	for tail < min(len(have.Rules), len(want.Rules))-head &&
		have.Rules[len(have.Rules)-1-tail] == want.Rules[len(want.Rules)-1-tail] {
		tail++
	}
	out, in := have.Rules[head:len(have.Rules)-tail], want.Rules[head:len(want.Rules)-tail]
	if len(out)+len(in) > len(want.Rules)/2 || !distinct(have.Rules) {
		e.declare, e.lines = true, appendLines(nil, want.Name, want.Rules)
		return e, true
	}
	for _, r := range out {
		e.lines = append(e.lines, ruleLine("-D "+want.Name, r))
	}
	for i, r := range in {
		e.lines = append(e.lines, ruleLine("-I "+want.Name+" "+strconv.Itoa(head+i+1), r))
	}
	return e, true
}

// planShared compares our rules at the head of a chain that others write to.
func (l *Layout) planShared(have, want *table.Chain) (edit, bool) {
	e := edit{chain: want.Name}
	var rules []table.Rule
	if have != nil {
		rules = have.Rules
	} else if l.isTop(want.Name) {
		e.declare, e.made = true, true
	}
	ours := 0
	for _, r := range rules {
		if l.isOwnJump(r) {
			ours++
		}
	}
	if have != nil && ours == len(want.Rules) && len(rules) >= ours && slices.Equal(rules[:ours], want.Rules) {
		return edit{}, false
	}
	for _, r := range rules {
		if l.isOwnJump(r) {
			e.lines = append(e.lines, ruleLine("-D "+want.Name, r))
		}
	}
	for i, r := range want.Rules {
		e.lines = append(e.lines, ruleLine("-I "+want.Name+" "+strconv.Itoa(i+1), r))
	}
	// neutron-filter-top may be another agent's as well: it goes only with its
	// last rule, which is ours.
	e.drop = l.isTop(want.Name) && len(want.Rules) == 0 && ours == len(rules)
	return e, e.made || e.drop || len(e.lines) > 0
}

func same(a, b []table.Rule) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) == 0 || &a[0] == &b[0] {
		return true
	}
	return slices.Equal(a, b)
}

func distinct(rules []table.Rule) bool {
	seen := make(map[table.Rule]struct{}, len(rules))
	for _, r := range rules {
		seen[r] = struct{}{}
	}
	return len(seen) == len(rules)
}

func ruleLine(command string, r table.Rule) string {
	if r == "" {
		return command
	}
	return command + " " + string(r)
}

func appendLines(lines []string, chain string, rules []table.Rule) []string {
	for _, r := range rules {
		lines = append(lines, ruleLine("-A "+chain, r))
	}
	return lines
}

// restoreText writes edits as one input of iptables-restore --noflush. Each
// table is one transaction: no packet sees a half.
func restoreText(tables []tableEdits) string {
	var b strings.Builder
	for _, t := range tables {
		b.WriteString("*" + t.name + "\n")
		for i := range t.edits {
			if t.edits[i].declare {
				b.WriteString(":" + t.edits[i].chain + " - [0:0]\n")
			}
		}
		for i := range t.edits {
			for _, l := range t.edits[i].lines {
				b.WriteString(l)
				b.WriteByte('\n')
			}
		}
		for i := range t.edits {
			if t.edits[i].drop {
				b.WriteString("-X " + t.edits[i].chain + "\n")
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// after returns what a family's rules are once want has been applied to have.
func (l *Layout) after(have, want table.Ruleset) table.Ruleset {
	out := make(table.Ruleset, 0, len(l.Tables))
	for _, name := range l.Tables {
		t := table.Table{Name: name}
		h, w := have.Table(name), want.Table(name)
		if w != nil {
			for _, c := range w.Chains {
				if c.Shared {
					c.Rules = slices.Clone(c.Rules)
					if h != nil {
						if old := h.Chain(c.Name); old != nil {
							c.Rules = append(c.Rules, l.foreign(old.Rules)...)
						}
					}
				}
				t.Chains = append(t.Chains, c)
			}
		}
		if h != nil {
			for _, c := range h.Chains {
				if l.isOwn(c.Name) || w != nil && w.Chain(c.Name) != nil {
					continue
				}
				c.Rules = l.foreign(c.Rules)
				t.Chains = append(t.Chains, c)
			}
		}
		out = append(out, t)
	}
	return out
}

func (l *Layout) foreign(rules []table.Rule) []table.Rule {
	return slices.DeleteFunc(slices.Clone(rules), l.isOwnJump)
}

// setChange is what changes in the sets, in the order in which it is done:
// made, resized and filled before rules refer to the sets, emptied and removed
// after they no longer do.
type setChange struct {
	make   []table.Set // with all members
	resize []table.Set // exists, too small: made anew under another name and swapped
	add    []memberChange
	remove []memberChange
	drop   []string
}

type memberChange struct {
	set     string
	members []netip.Prefix
}

func (c *setChange) empty() bool {
	return len(c.make)+len(c.resize)+len(c.add)+len(c.remove)+len(c.drop) == 0
}

func (c *setChange) describe() []string {
	var out []string
	for _, s := range c.make {
		out = append(out, fmt.Sprintf("ipset: create %s with %d members", s.Name, len(s.Members)))
	}
	for _, s := range c.resize {
		out = append(out, fmt.Sprintf("ipset: resize %s to %d", s.Name, s.MaxElem))
	}
	for _, m := range c.add {
		out = append(out, fmt.Sprintf("ipset: add %v to %s", m.members, m.set))
	}
	for _, m := range c.remove {
		out = append(out, fmt.Sprintf("ipset: remove %v from %s", m.members, m.set))
	}
	for _, s := range c.drop {
		out = append(out, "ipset: destroy "+s)
	}
	return out
}

// swapSuffix names the set that takes a set's place while it is resized.
const swapSuffix = "-n"

// isOwnSet reports whether a set is a remote group's: Neutron's prefix, the
// family, and the head of a UUID.
func isOwnSet(name string) bool {
	name = strings.TrimSuffix(name, swapSuffix)
	id, v4 := strings.CutPrefix(name, "NIPv4")
	if !v4 {
		var v6 bool
		if id, v6 = strings.CutPrefix(name, "NIPv6"); !v6 {
			return false
		}
	}
	if len(id) != 24 {
		return false
	}
	for i := 0; i < len(id); i++ {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := '0' <= id[i] && id[i] <= '9' || 'a' <= id[i] && id[i] <= 'f'
		if dash != (id[i] == '-') || !dash && !hex {
			return false
		}
	}
	return true
}

func planSets(have, want []table.Set) setChange {
	var c setChange
	there := make(map[string]*table.Set, len(have))
	for i := range have {
		there[have[i].Name] = &have[i]
	}
	wanted := make(map[string]bool, len(want))
	for i := range want {
		w := &want[i]
		wanted[w.Name] = true
		h := there[w.Name]
		if h == nil {
			c.make = append(c.make, *w)
			continue
		}
		if h.MaxElem < w.MaxElem {
			c.resize = append(c.resize, *w)
			continue
		}
		add, remove := compareMembers(h.Members, w.Members)
		if len(add) > 0 {
			c.add = append(c.add, memberChange{w.Name, add})
		}
		if len(remove) > 0 {
			c.remove = append(c.remove, memberChange{w.Name, remove})
		}
	}
	for i := range have {
		if name := have[i].Name; !wanted[name] && isOwnSet(name) {
			c.drop = append(c.drop, name)
		}
	}
	return c
}

// compareMembers walks two sorted lists.
func compareMembers(have, want []netip.Prefix) (add, remove []netip.Prefix) {
	for len(have) > 0 || len(want) > 0 {
		order := 0
		switch {
		case len(have) == 0:
			order = 1
		case len(want) == 0:
			order = -1
		default:
			order = table.ComparePrefix(have[0], want[0])
		}
		switch {
		case order < 0:
			remove, have = append(remove, have[0]), have[1:]
		case order > 0:
			add, want = append(add, want[0]), want[1:]
		default:
			have, want = have[1:], want[1:]
		}
	}
	return add, remove
}
