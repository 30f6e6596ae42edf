package firewall

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"

	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// setNameLen leaves room in ipset's 31 characters for the suffix of the set
// that a set is swapped with; Neutron cuts at the same place.
const setNameLen = 29

// SetName is the ipset of a remote group in one family: Neutron's name, the id
// cut to what fits.
func SetName(group model.UUID, f table.Family) string {
	prefix := "NIPv4"
	if f == table.IPv6 {
		prefix = "NIPv6"
	}
	return (prefix + group.String())[:setNameLen]
}

type setKey struct {
	group  model.UUID
	family table.Family
}

// setMembers holds the sets that rules refer to, and follows the changes of their members at the cost of what
// changed. The zero value is ready.
type setMembers struct {
	keys     []setKey // in order
	lists    map[setKey][]netip.Prefix
	sets     []table.Set // of keys
	members  seenMembers
	problems map[model.MemberKey]error
}

// setChange is what members bring into a set and take out of it.
type setChange struct{ add, del []netip.Prefix }

// take makes the sets in use, and no others. A set that has no member is made all the same: its rule then matches nothing.
func (s *setMembers) take(used map[setKey]bool, members map[model.MemberKey]*model.MemberView) ([]table.Set, map[model.MemberKey]error) {
	if keys := slices.SortedFunc(maps.Keys(used), compareSetKey); s.lists == nil || !slices.Equal(keys, s.keys) {
		*s = setMembers{keys: keys, lists: map[setKey][]netip.Prefix{}, members: seenMembers{}, problems: map[model.MemberKey]error{}}
		s.sets = make([]table.Set, 0, len(keys))
		for _, k := range keys {
			s.sets = append(s.sets, table.Set{Name: SetName(k.group, k.family), Family: k.family, MaxElem: maxElem(0)})
		}
	}
	groups := make(map[model.UUID]bool, len(s.keys))
	changes := make(map[setKey]*setChange, len(s.keys))
	for _, k := range s.keys {
		groups[k.group], changes[k] = true, &setChange{}
	}
	s.members.follow(members, func(set model.UUID) bool { return groups[set] }, func(key model.MemberKey, old, now *model.MemberView) {
		delete(s.problems, key)
		for _, p := range prefixesOf(old) {
			if c := changes[setKey{key.Set, familyOf(p.Addr())}]; c != nil && usable(p) {
				c.del = table.AppendMember(c.del, p)
			}
		}
		for _, p := range prefixesOf(now) {
			if !usable(p) {
				s.problems[key] = errors.Join(s.problems[key], fmt.Errorf("member %s: %w", p, errMember))
			} else if c := changes[setKey{key.Set, familyOf(p.Addr())}]; c != nil {
				c.add = table.AppendMember(c.add, p)
			}
		}
	})
	s.sets = slices.Clone(s.sets) // the last ones belong to whoever has them
	for i, k := range s.keys {
		if c := changes[k]; len(c.add)+len(c.del) > 0 {
			s.lists[k] = c.of(s.lists[k])
			s.sets[i].Members = slices.Compact(slices.Clone(s.lists[k]))
			s.sets[i].MaxElem = maxElem(len(s.sets[i].Members))
		}
	}
	if len(s.problems) == 0 {
		return s.sets, nil
	}
	return s.sets, maps.Clone(s.problems)
}

// of changes a sorted list, in which what several members bring is several times.
func (c *setChange) of(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(c.add, table.ComparePrefix)
	slices.SortFunc(c.del, table.ComparePrefix)
	if len(list)+len(c.add) == len(c.del) {
		return nil
	}
	out := make([]netip.Prefix, 0, len(list)+len(c.add)-len(c.del))
	add, del := c.add, c.del
	for _, p := range list {
		if len(del) > 0 && del[0] == p {
			del = del[1:]
			continue
		}
		for len(add) > 0 && table.ComparePrefix(add[0], p) < 0 {
			out, add = append(out, add[0]), add[1:]
		}
		out = append(out, p)
	}
	return append(out, add...)
}

// seenMembers are the members that were there before.
type seenMembers map[model.MemberKey]*model.MemberView

// follow takes over members of the sets that are used, and calls change for each that is another than before. Old is nil
// for one that has come, now for one that has gone.
func (s seenMembers) follow(members map[model.MemberKey]*model.MemberView, used func(set model.UUID) bool, change func(key model.MemberKey, old, now *model.MemberView)) {
	kept := 0
	for key, v := range members {
		if !used(key.Set) {
			continue
		}
		old := s[key]
		if kept++; old == v {
			continue
		}
		s[key] = v
		change(key, old, v)
	}
	if kept == len(s) {
		return
	}
	for key, old := range s {
		if members[key] == nil {
			delete(s, key)
			change(key, old, nil)
		}
	}
}

func prefixesOf(m *model.MemberView) []netip.Prefix {
	if m == nil {
		return nil
	}
	return m.Prefixes
}

func compareSetKey(a, b setKey) int {
	if a.family != b.family {
		return int(a.family) - int(b.family)
	}
	return a.group.Compare(b.group)
}

// maxElem is ipset's default limit, or the next power of two for a set that
// outgrows it.
func maxElem(n int) int {
	if n <= table.DefaultMaxElem {
		return table.DefaultMaxElem
	}
	return 1 << bits.Len(uint(n))
}
