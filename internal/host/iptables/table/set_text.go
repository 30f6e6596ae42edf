package table

import (
	"net/netip"
	"strconv"
	"strings"
)

// ParseSets reads what "ipset save" prints and returns the sets of type
// hash:net, sorted by nothing but the dump; sets of other types are left out.
// A member with an option ("nomatch", "timeout") is an error: we write none, so
// a set that has one is not what it seems.
func ParseSets(text string) ([]Set, error) {
	var out []Set
	index := map[string]int{}
	other := map[string]bool{}
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		fail := func(why string) ([]Set, error) { return nil, &ParseError{Line: n, Text: line, Why: why} }
		switch {
		case f[0] == "create" && len(f) >= 3:
			if _, dup := index[f[1]]; dup || other[f[1]] {
				return fail("this set was there before")
			}
			if f[2] != "hash:net" {
				other[f[1]] = true
				continue
			}
			s := Set{Name: f[1], Family: IPv4, MaxElem: DefaultMaxElem}
			for i := 3; i+1 < len(f); i++ {
				switch f[i] {
				case "family":
					switch f[i+1] {
					case "inet":
					case "inet6":
						s.Family = IPv6
					default:
						return fail("no such family")
					}
				case "maxelem":
					m, err := strconv.Atoi(f[i+1])
					if err != nil || m < 1 {
						return fail("maxelem is not a positive number")
					}
					s.MaxElem = m
				}
			}
			index[s.Name] = len(out)
			out = append(out, s)
		case f[0] == "add" && len(f) >= 3:
			if other[f[1]] {
				continue
			}
			at, known := index[f[1]]
			if !known {
				return fail("this member's set is not declared")
			}
			if len(f) > 3 {
				return fail("a member with options")
			}
			p, ok := ParsePrefix(f[2])
			if !ok || p.Bits() == 0 || p.Addr().BitLen() != out[at].Family.Bits() {
				return fail("not a member of this family")
			}
			out[at].Members = append(out[at].Members, p)
		default:
			return fail("neither create nor add")
		}
	}
	for i := range out {
		out[i].Members = SortMembers(out[i].Members)
	}
	return out, nil
}

// MemberText returns a member as ipset prints it: a single address without its length.
func MemberText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// CreateText returns the line that makes the set, without its members.
func (s *Set) CreateText(name string) string {
	return "create " + name + " hash:net family " + s.Family.String() + " maxelem " + strconv.Itoa(max(s.MaxElem, 1))
}

// SetsText returns the sets as "ipset restore" reads them.
func SetsText(sets []Set) string {
	var b strings.Builder
	for i := range sets {
		b.WriteString(sets[i].CreateText(sets[i].Name))
		b.WriteByte('\n')
		for _, m := range sets[i].Members {
			b.WriteString("add " + sets[i].Name + " " + MemberText(m) + "\n")
		}
	}
	return b.String()
}
