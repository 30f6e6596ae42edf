package view

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// routerChains begins the names of the chains in a router's namespace (see package router).
const routerChains = "neutron-l3-agent-"

// Translation is what address translation does with one address, or with ports of it.
type Translation struct {
	Outside string `json:"outside"`          // an address, for ports followed by protocol and ports
	Inside  string `json:"inside,omitempty"` // empty: whatever has no address of its own outside
	// In and Out are connections since the rule was made: to the inside, and from it.
	In  uint64 `json:"in"`
	Out uint64 `json:"out"`
}

// natRule is a rule of a router's nat table.
type natRule struct {
	chain string
	words map[string]string // by option; "!" is dropped
	Count
}

// parseNAT reads what "iptables-save -c -t nat" prints.
func parseNAT(text string) ([]natRule, error) {
	var out []natRule
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "[") {
			continue // comments, tables, policies
		}
		count, rest, err := cutCount(line)
		if err != nil {
			return nil, err
		}
		r := natRule{words: map[string]string{}, Count: count}
		fields := strings.Fields(rest)
		for i := 0; i+1 < len(fields); i++ {
			if strings.HasPrefix(fields[i], "-") && !strings.HasPrefix(fields[i+1], "-") {
				r.words[fields[i]] = fields[i+1]
			}
		}
		r.chain = r.words["-A"]
		out = append(out, r)
	}
	return out, nil
}

// translations reads what a router's rules translate. A connection's first packet alone passes the nat table, so that
// a rule's packets are connections.
func translations(rules []natRule) (sources, floating, forwards []Translation) {
	at := map[string]int{}
	oneToOne := func(outside, inside string) *Translation {
		key := outside + " " + inside
		i, known := at[key]
		if !known {
			i = len(floating)
			at[key] = i
			floating = append(floating, Translation{Outside: outside, Inside: inside})
		}
		return &floating[i]
	}
	for _, r := range rules {
		to, dst := r.words["--to-destination"], host(r.words["-d"])
		from, src := r.words["--to-source"], host(r.words["-s"])
		switch {
		case to != "" && r.words["-p"] != "":
			if strings.HasSuffix(r.chain, "-OUTPUT") {
				continue
			}
			ports := r.words["--dport"]
			if ports == "" {
				ports = "all"
			}
			to, _, _ = strings.Cut(to, "/") // what follows is the first port outside, once more
			forwards = append(forwards, Translation{Outside: dst + " " + r.words["-p"] + " " + ports, Inside: to, In: r.Packets})
		case to != "":
			oneToOne(dst, to).In += r.Packets
		case from != "" && src != "":
			oneToOne(from, src).Out += r.Packets
		case from != "":
			i := slices.IndexFunc(sources, func(t Translation) bool { return t.Outside == from })
			if i < 0 {
				i = len(sources)
				sources = append(sources, Translation{Outside: from})
			}
			sources[i].Out += r.Packets
		}
	}
	byAddress := func(a, b Translation) int {
		x, _ := netip.ParseAddr(strings.Fields(a.Outside + " ")[0])
		y, _ := netip.ParseAddr(strings.Fields(b.Outside + " ")[0])
		return cmp.Or(x.Compare(y), compareWords(a.Outside, b.Outside))
	}
	slices.SortStableFunc(floating, byAddress)
	slices.SortStableFunc(forwards, byAddress)
	return sources, floating, forwards
}

// host is an address without the length of a single one.
func host(prefix string) string { return strings.TrimSuffix(prefix, "/32") }

// compareWords compares texts, numbers in them by their value.
func compareWords(a, b string) int {
	x, y := strings.Fields(a), strings.Fields(b)
	for i := range min(len(x), len(y)) {
		m, errM := strconv.Atoi(x[i])
		n, errN := strconv.Atoi(y[i])
		c := strings.Compare(x[i], y[i])
		if errM == nil && errN == nil {
			c = cmp.Compare(m, n)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}
