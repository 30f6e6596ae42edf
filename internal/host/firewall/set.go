package firewall

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
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

// buildSets makes the sets that rules refer to, and no others. A set that has
// no member is made all the same: its rule then matches nothing.
func buildSets(used map[setKey]bool, members map[model.MemberKey]*model.MemberView) ([]table.Set, map[model.MemberKey]error) {
	at := make(map[setKey]int, len(used))
	groups := make(map[model.UUID]bool, len(used))
	sets := make([]table.Set, 0, len(used))
	for _, k := range slices.SortedFunc(maps.Keys(used), compareSetKey) {
		at[k] = len(sets)
		groups[k.group] = true
		sets = append(sets, table.Set{Name: SetName(k.group, k.family), Family: k.family})
	}
	var problems map[model.MemberKey]error
	for key, m := range members {
		if !groups[key.Set] {
			continue
		}
		for _, p := range m.Prefixes {
			if !usable(p) {
				if problems == nil {
					problems = map[model.MemberKey]error{}
				}
				problems[key] = errors.Join(problems[key], fmt.Errorf("member %s: %w", p, errMember))
				continue
			}
			if i, ok := at[setKey{key.Set, familyOf(p.Addr())}]; ok {
				sets[i].Members = table.AppendMember(sets[i].Members, p)
			}
		}
	}
	for i := range sets {
		sets[i].Members = table.SortMembers(sets[i].Members)
		sets[i].MaxElem = maxElem(len(sets[i].Members))
	}
	return sets, problems
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
