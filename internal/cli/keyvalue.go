package cli

import (
	"fmt"
	"slices"
	"strings"
)

// A pair is one key=value of a flag such as --allocation-pool start=…,end=….
type pair struct{ key, value string }

// parsePairs takes key=value,key=value apart. Keys must be of those given, each at most once;
// there must be at least one. Values may have = in them, and, with commas, also commas: what
// has no = belongs to the value before it.
func parsePairs(text string, keys []string, commas bool) ([]pair, error) {
	var out []pair
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		switch {
		case !ok && commas && len(out) > 0:
			out[len(out)-1].value += "," + part
		case !ok:
			return nil, fmt.Errorf("%q is not KEY=VALUE", part)
		case !slices.Contains(keys, key):
			return nil, fmt.Errorf("no key %q: there are %s", key, strings.Join(keys, ", "))
		case slices.ContainsFunc(out, func(p pair) bool { return p.key == key }):
			return nil, fmt.Errorf("%s stands twice", key)
		default:
			out = append(out, pair{key, value})
		}
	}
	for _, p := range out {
		if p.value == "" {
			return nil, fmt.Errorf("%s has no value", p.key)
		}
	}
	return out, nil
}
