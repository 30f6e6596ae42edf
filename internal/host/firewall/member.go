package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/host/iptables/table"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// The members of a remote group are the first half of a conjunction, each address
// once, whatever the number of rules and ports that name the group:
//
//	address is in the group  -> conjunction(id, 1/2)
//	a rule of a port         -> conjunction(id, 2/2)
//	conj_id=id               -> accept
//
// An address in several groups has one flow with a conjunction for each.

// setUse says how rules use a set, one bit each: direction, family, stateful or
// stateless.
type setUse uint8

const (
	useEgress    = 1 << iota // in bit number: table IntEgressRules, else IntIngressRules
	useIPv6                  // in bit number
	useStateless             // in bit number
)

// useBit numbers a way of using a set.
func useBit(t uint8, f table.Family, stateless bool) setUse {
	n := 0
	if t == pipeline.IntEgressRules {
		n |= useEgress
	}
	if f == table.IPv6 {
		n |= useIPv6
	}
	if stateless {
		n |= useStateless
	}
	return 1 << n
}

// use is how the rule uses its set.
func (m *match) use(stateless bool) setUse { return useBit(m.table(), m.family, stateless) }

// tables are those in which a set is used.
func (u setUse) tables() (out []uint8) {
	for _, t := range []uint8{pipeline.IntEgressRules, pipeline.IntIngressRules} {
		for _, f := range []table.Family{table.IPv4, table.IPv6} {
			if u&(useBit(t, f, false)|useBit(t, f, true)) != 0 {
				out = append(out, t)
				break
			}
		}
	}
	return out
}

// conjunctionIDs numbers the sets in use: a set's number is the beginning of its id,
// so that it is the same after a restart and on every host. Where two sets begin
// alike, the later one takes the next free number.
func conjunctionIDs(uses map[model.UUID]setUse) map[model.UUID]uint32 {
	ids := make(map[model.UUID]uint32, len(uses))
	taken := map[uint32]bool{0: true}
	for _, set := range slices.SortedFunc(maps.Keys(uses), model.UUID.Compare) {
		n := binary.BigEndian.Uint32(set[:])
		for taken[n] {
			n++
		}
		taken[n], ids[set] = true, n
	}
	return ids
}

// memberFlows holds the flows of the members of sets in use, and follows their
// changes at the cost of what changed.
type memberFlows struct {
	state    uint64
	uses     map[model.UUID]setUse
	ids      map[model.UUID]uint32
	renamed  bool // uses or ids have changed since the last step
	seen     seenMembers
	at       map[netip.Prefix][]membership
	problems map[model.MemberKey]error
	old      []flow.Flow // before a change of uses or ids
	total    int         // flows
}

// membership counts the members that bring an address into a set.
type membership struct {
	set model.UUID
	n   int
}

// use changes the sets that rules refer to.
func (m *memberFlows) use(uses map[model.UUID]setUse, ids map[model.UUID]uint32) {
	if maps.Equal(uses, m.uses) && maps.Equal(ids, m.ids) {
		return
	}
	if !m.renamed {
		m.old, m.renamed = m.all(), true
	}
	m.uses, m.ids = uses, ids
}

// step takes over the members of a view, and returns what that changes.
func (m *memberFlows) step(members map[model.MemberKey]*model.MemberView) flow.Step {
	s := flow.Step{From: m.state}
	if m.renamed {
		m.seen, m.at, m.problems = seenMembers{}, map[netip.Prefix][]membership{}, map[model.MemberKey]error{}
		m.seen.follow(members, m.used, func(key model.MemberKey, _, now *model.MemberView) { m.change(key, nil, now, nil) })
		all := m.all()
		s.Add, s.Del = flow.Diff(all, m.old, nil)
		m.old, m.renamed, m.total = nil, false, len(all)
	} else {
		s.Add, s.Del = m.follow(members)
	}
	if len(s.Add)+len(s.Del) > 0 {
		m.state++
	}
	s.To, s.Total = m.state, m.total
	return s
}

// follow takes over the members that differ from those seen before.
func (m *memberFlows) follow(members map[model.MemberKey]*model.MemberView) (add, del []flow.Flow) {
	before := map[netip.Prefix][]membership{} // of the addresses touched
	m.seen.follow(members, m.used, func(key model.MemberKey, old, now *model.MemberView) { m.change(key, old, now, before) })
	for _, p := range slices.SortedFunc(maps.Keys(before), table.ComparePrefix) {
		now, then := m.flows(p, m.at[p]), m.flows(p, before[p])
		m.total += len(now) - len(then)
		a, d := flow.Diff(now, then, nil)
		add, del = append(add, a...), append(del, d...)
	}
	return add, del
}

func (m *memberFlows) used(set model.UUID) bool { return m.uses[set] != 0 }

// change puts a member of a set in use in the place of what it was.
func (m *memberFlows) change(key model.MemberKey, old, now *model.MemberView, before map[netip.Prefix][]membership) {
	delete(m.problems, key)
	for _, p := range prefixesOf(old) {
		if usable(p) {
			m.count(p.Masked(), key.Set, -1, before)
		}
	}
	for _, p := range prefixesOf(now) {
		if !usable(p) {
			m.problems[key] = errors.Join(m.problems[key], fmt.Errorf("member %s: %w", p, errMember))
			continue
		}
		m.count(p.Masked(), key.Set, 1, before)
	}
}

// count changes how many members bring an address into a set, and notes in before
// what it was.
func (m *memberFlows) count(p netip.Prefix, set model.UUID, by int, before map[netip.Prefix][]membership) {
	sets := m.at[p]
	if before != nil {
		if _, noted := before[p]; !noted {
			before[p] = sets
		}
		sets = slices.Clone(sets)
	}
	i, found := slices.BinarySearchFunc(sets, set, func(s membership, u model.UUID) int { return s.set.Compare(u) })
	if !found {
		sets = slices.Insert(sets, i, membership{set: set})
	}
	sets[i].n += by
	if sets[i].n == 0 {
		sets = slices.Delete(sets, i, i+1)
	}
	if len(sets) == 0 {
		delete(m.at, p)
		return
	}
	m.at[p] = sets
}

// flows makes the flows of one address: one for each way in which its sets are used.
func (m *memberFlows) flows(p netip.Prefix, sets []membership) []flow.Flow {
	var out []flow.Flow
	f := familyOf(p.Addr())
	for _, t := range []uint8{pipeline.IntEgressRules, pipeline.IntIngressRules} {
		for _, stateless := range []bool{false, true} {
			kind := useBit(t, f, stateless)
			var actions []flow.Action
			var first model.UUID
			for _, s := range sets {
				if m.uses[s.set]&kind == 0 {
					continue
				}
				if actions == nil {
					first = s.set
				}
				actions = append(actions, flow.Conjunction{ID: m.ids[s.set], Clause: 1, N: 2})
			}
			if actions == nil {
				continue
			}
			out = append(out, flow.Flow{
				Table: t, Priority: prioRule, Cookie: pipeline.Cookie(model.KindMember, first),
				Match: memberMatch(p, t, stateless), Actions: actions,
			})
		}
	}
	return out
}

// memberMatch matches packets whose far end is in a prefix.
func memberMatch(p netip.Prefix, t uint8, stateless bool) flow.Match {
	f, d := familyOf(p.Addr()), model.Ingress
	if t == pipeline.IntEgressRules {
		d = model.Egress
	}
	if stateless {
		return ofFamily(f).CTState(0, flow.CTTrk).Prefix(packetFields[f].far(d), p)
	}
	return tracked(ofFamily(f)).Prefix(connFields[f].far(d), p)
}

// all lists the flows of all members, in order of their addresses.
func (m *memberFlows) all() []flow.Flow {
	var out []flow.Flow
	for _, p := range slices.SortedFunc(maps.Keys(m.at), table.ComparePrefix) {
		out = append(out, m.flows(p, m.at[p])...)
	}
	return out
}
