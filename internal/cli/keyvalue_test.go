package cli

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePairs(t *testing.T) {
	keys := []string{"a", "b"}
	for _, c := range []struct {
		text   string
		commas bool
		want   []pair
		err    string
	}{
		{text: "a=1", want: []pair{{"a", "1"}}},
		{text: "b=2,a=1", want: []pair{{"b", "2"}, {"a", "1"}}},
		{text: "a=x=y", want: []pair{{"a", "x=y"}}},
		{text: "a=1,2,b=3,4", commas: true, want: []pair{{"a", "1,2"}, {"b", "3,4"}}},
		{text: "a=1,2", err: `"2" is not KEY=VALUE`},
		{text: "1,a=2", commas: true, err: `"1" is not KEY=VALUE`},
		{text: "", err: `"" is not KEY=VALUE`},
		{text: "a=1,", err: `"" is not KEY=VALUE`},
		{text: "a=", err: "a has no value"},
		{text: "=1", err: `no key "": there are a, b`},
		{text: "c=1", err: `no key "c": there are a, b`},
		{text: "a=1,a=2", err: "a stands twice"},
	} {
		got, err := parsePairs(c.text, keys, c.commas)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%q: %v, want %s", c.text, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}

// FuzzParsePairs: what is taken has known keys, each once, and says the same as the text.
func FuzzParsePairs(f *testing.F) {
	for _, s := range []string{"a=1,b=2", "a=1,2", "a=,b", "=", ",", "a=a=a", "a=1,,b=2"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	keys := []string{"a", "b"}
	f.Fuzz(func(t *testing.T, text string, commas bool) {
		got, err := parsePairs(text, keys, commas)
		if err != nil {
			return
		}
		var parts, seen []string
		for _, p := range got {
			if !slices.Contains(keys, p.key) || slices.Contains(seen, p.key) || p.value == "" || !commas && strings.Contains(p.value, ",") {
				t.Errorf("%q gives %v", text, got)
			}
			seen = append(seen, p.key)
			parts = append(parts, p.key+"="+p.value)
		}
		if strings.Join(parts, ",") != text {
			t.Errorf("%q gives %v", text, got)
		}
	})
}

func FuzzParseBag(f *testing.F) {
	for _, s := range []string{"a=b", `{"a":{"b":1}}`, "{", " {}", "=", "null", "{}{}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := parseBag(text); err == nil && m == nil {
			t.Errorf("%q gives nothing", text)
		}
	})
}

func FuzzPortRange(f *testing.F) {
	for _, s := range []string{"22", "1:2", "2:1", ":", "0:65535", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if first, last, err := portRange(text); err == nil && (first > last || first < 0 || last > 65535) {
			t.Errorf("%q gives %d:%d", text, first, last)
		}
	})
}
