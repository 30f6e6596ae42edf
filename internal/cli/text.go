package cli

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"weft/internal/pyrepr"
)

// A textFunc writes an attribute's value for people. Formats for programs get the value itself.
type textFunc func(v any) string

// choose writes a boolean as one of two words.
func choose(yes, no string) textFunc {
	return func(v any) string {
		if v == true {
			return yes
		}
		return no
	}
}

// upDown writes admin_state_up.
func upDown(v any) string { return choose("UP", "DOWN")(v) }

// inOrder writes a list whose order means something, sorted one whose order does not.
func inOrder(v any) string { return strings.Join(texts(v), ", ") }

func sorted(v any) string {
	l := texts(v)
	slices.Sort(l)
	return strings.Join(l, ", ")
}

func texts(v any) []string {
	l, _ := v.([]any)
	out := make([]string, len(l))
	for i, e := range l {
		out[i] = pyrepr.Str(e)
	}
	return out
}

// dict writes key='value', …; nested ones as outer.inner='value'.
func dict(v any) string {
	m, _ := v.(map[string]any)
	return strings.Join(dictParts(m, ""), ", ")
}

func dictParts(m map[string]any, prefix string) []string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		switch e := m[k].(type) {
		case map[string]any:
			parts = append(parts, dictParts(e, prefix+k+".")...)
		case nil:
			parts = append(parts, prefix+k+"=")
		default:
			parts = append(parts, prefix+k+"='"+pyrepr.Str(e)+"'")
		}
	}
	return parts
}

// dicts writes one dict a line.
func dicts(v any) string {
	l, _ := v.([]any)
	out := make([]string, len(l))
	for i, e := range l {
		out[i] = dict(e)
	}
	return strings.Join(out, "\n")
}

// isNumber reports whether a value is a number, as the client and this package's own values have it.
func isNumber(v any) bool {
	switch v.(type) {
	case json.Number, int, int64, float64:
		return true
	}
	return false
}
