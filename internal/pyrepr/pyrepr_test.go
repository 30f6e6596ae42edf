package pyrepr

import (
	"encoding/json"
	"iter"
	"testing"
)

type pairs [][2]string

func (p pairs) Pairs() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, kv := range p {
			if !yield(kv[0], kv[1]) {
				return
			}
		}
	}
}

func TestOf_writesWhatPythonWrites(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{nil, "None"},
		{true, "True"},
		{false, "False"},
		{7, "7"},
		{1.5, "1.5"},
		{json.Number("1e3"), "1e3"},
		{"", "''"},
		{"a b", "'a b'"},
		{"it's", `"it's"`},
		{`say "x"`, `'say "x"'`},
		{`it's "x"`, `'it\'s "x"'`},
		{"back\\slash", `'back\\slash'`},
		{"a\n\r\t\x00\x1b\x7f", `'a\n\r\t\x00\x1b\x7f'`},
		{"grün", "'grün'"},
		{[]any{}, "[]"},
		{[]any{"a", 1, nil}, "['a', 1, None]"},
		{map[string]any{}, "{}"},
		{map[string]any{"b": 1, "a": []any{map[string]any{"k'": true}}}, `{'a': [{"k'": True}], 'b': 1}`},
		{pairs{{"z", "1"}, {"a", "2"}}, "{'z': '1', 'a': '2'}"},
	} {
		if got := Of(c.v); got != c.want {
			t.Errorf("%#v is %s, want %s", c.v, got, c.want)
		}
	}
}

func TestStr_showsAStringWithoutQuotes(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{{"it's", "it's"}, {nil, "None"}, {[]any{"a"}, "['a']"}} {
		if got := Str(c.v); got != c.want {
			t.Errorf("%#v is %s, want %s", c.v, got, c.want)
		}
	}
}
