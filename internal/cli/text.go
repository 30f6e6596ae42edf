package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A textFunc writes an attribute's value for people. Formats for programs get the value itself.
type textFunc func(v any) string

// plain writes a value as Python's str does, which the openstack command prints: scripts
// compare with "True" and "None".
func plain(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return literal(v)
}

// literal writes a value as Python's repr does.
func literal(v any) string {
	var b strings.Builder
	writeLiteral(&b, v)
	return b.String()
}

func writeLiteral(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case string:
		quote := "'"
		if strings.Contains(v, "'") && !strings.Contains(v, `"`) {
			quote = `"`
		}
		b.WriteString(quote + strings.NewReplacer(`\`, `\\`, quote, `\`+quote, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(v) + quote)
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeLiteral(b, e)
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteString(", ")
			}
			writeLiteral(b, k)
			b.WriteString(": ")
			writeLiteral(b, v[k])
		}
		b.WriteByte('}')
	default: // numbers
		fmt.Fprint(b, v)
	}
}

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
		out[i] = plain(e)
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
			parts = append(parts, prefix+k+"='"+plain(e)+"'")
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
