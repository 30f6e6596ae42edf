// Package pyrepr writes values as Python's repr does. Neutron's messages show what they refuse in that form, and the
// "openstack" command prints lists and dictionaries in it; whoever compares or parses either expects the same from us.
//
// It reads nothing back. Called by server/neutron and cli.
package pyrepr

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Dict is a dictionary whose keys have an order of their own. Those of a map[string]any are sorted.
type Dict interface {
	Pairs() iter.Seq2[string, any]
}

const hexDigits = "0123456789abcdef"

// Of is a value as Python writes it: nil, booleans, numbers, strings, lists ([]any) and dictionaries.
func Of(v any) string {
	var b strings.Builder
	write(&b, v)
	return b.String()
}

// Str is a value as Python's str shows it: a string is itself, anything else is as in Of.
func Str(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return Of(v)
}

func write(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case json.Number: // as it was read
		b.WriteString(v.String())
	case string:
		writeString(b, v)
	case []any:
		writeList(b, v)
	case Dict:
		writeDict(b, v.Pairs())
	case map[string]any:
		writeDict(b, func(yield func(string, any) bool) {
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if !yield(k, v[k]) {
					return
				}
			}
		})
	default: // numbers
		fmt.Fprint(b, v)
	}
}

func writeList(b *strings.Builder, l []any) {
	b.WriteByte('[')
	for i, e := range l {
		if i > 0 {
			b.WriteString(", ")
		}
		write(b, e)
	}
	b.WriteByte(']')
}

func writeDict(b *strings.Builder, pairs iter.Seq2[string, any]) {
	b.WriteByte('{')
	first := true
	for k, v := range pairs {
		if !first {
			b.WriteString(", ")
		}
		first = false
		writeString(b, k)
		b.WriteString(": ")
		write(b, v)
	}
	b.WriteByte('}')
}

// writeString quotes with ' unless only " is free. It leaves all of Unicode as it is but control characters.
func writeString(b *strings.Builder, s string) {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b.WriteByte(quote)
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			b.WriteString(`\x`)
			b.WriteByte(hexDigits[r>>4])
			b.WriteByte(hexDigits[r&15])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte(quote)
}
