package cli

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"
)

func TestTable(t *testing.T) {
	got := table([]string{"ID", "Größe"}, [][]string{{"a\nb", "7"}, {"日本", "1234567"}, {"e\u0301", ""}}, []bool{false, true}, 0)
	want := `+------+---------+
| ID   |   Größe |
+------+---------+
| a    |       7 |
| b    |         |
| 日本 | 1234567 |
| e` + "\u0301" + `    |         |
+------+---------+
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		line string
		w    int
		want []string
	}{
		{"", 8, []string{""}},
		{"one two three", 8, []string{"one two", "three"}},
		{"one two three", 7, []string{"one two", "three"}},
		{"abcdefghij", 4, []string{"abcd", "efgh", "ij"}},
		{"ab cdefghij", 4, []string{"ab", "cdef", "ghij"}},
		{"日本語", 4, []string{"日本", "語"}},
		{" leading", 4, []string{" lea", "ding"}},
	} {
		if got := wrap(c.line, c.w); !slices.Equal(got, c.want) {
			t.Errorf("%q in %d: %q, want %q", c.line, c.w, got, c.want)
		}
	}
}

// TestTableProperties: all lines are of one width, a table that can fit does, and no letter
// of a cell is lost.
func TestTableProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 6).Draw(t, "columns")
		cell := rapid.StringMatching(`[a-zü日 \x1b\n]{0,40}`)
		head := rapid.SliceOfN(rapid.StringMatching(`[A-Z]{1,12}`), columns, columns).Draw(t, "head")
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, columns, columns), 0, 5).Draw(t, "rows")
		right := rapid.SliceOfN(rapid.Bool(), columns, columns).Draw(t, "right")
		fit := rapid.IntRange(0, 120).Draw(t, "fit")
		text := table(head, rows, right, fit)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for _, l := range lines {
			if width(l) != width(lines[0]) {
				t.Fatalf("lines differ in width:\n%s", text)
			}
		}
		if fit >= 1+columns*(minColumn+3) && width(lines[0]) > fit {
			t.Fatalf("%d wide, must fit %d:\n%s", width(lines[0]), fit, text)
		}
		letters := func(s string) map[rune]int {
			n := map[rune]int{}
			for _, r := range s {
				if !strings.ContainsRune(" \n+-|", r) {
					n[r]++
				}
			}
			return n
		}
		var all strings.Builder
		for _, row := range append([][]string{head}, rows...) {
			for _, c := range row {
				for l := range strings.SplitSeq(c, "\n") {
					all.WriteString(printable(l))
				}
			}
		}
		want, got := letters(all.String()), letters(text)
		for r, n := range want {
			if got[r] != n {
				t.Fatalf("%q stands %d times, want %d:\n%s", r, got[r], n, text)
			}
		}
	})
}

func TestTexts(t *testing.T) {
	value := map[string]any{"b": json.Number("1"), "a": map[string]any{"x": "y"}, "c": nil, "l": []any{"z", true, nil}}
	for _, c := range []struct{ name, got, want string }{
		{"dict", dict(value), `a.x='y', b='1', c=, l='['z', True, None]'`},
		{"dicts", dicts([]any{map[string]any{"k": "1"}, map[string]any{"k": "2"}}), "k='1'\nk='2'"},
		{"sorted", sorted([]any{"b", "a"}), "a, b"},
		{"in order", inOrder([]any{"b", "a"}), "b, a"},
		{"nothing", sorted(nil) + inOrder(nil) + dict(nil) + dicts(nil) + pools(nil) + routes(nil) + rulesText(nil), ""},
		{"up", upDown(true) + upDown(false) + upDown(nil), "UPDOWNDOWN"},
		{"rules", rulesText([]any{map[string]any{"id": "x", "description": "", "protocol": nil, "port_range_min": json.Number("0"),
			"revision_number": json.Number("0"), "tags": []any{}, "project_id": "p"}}), "id='x', port_range_min='0'"},
		{"shell", shellQuote("a\"$x`y`\\"), "\"a\\\"\\$x\\`y\\`\\\\\""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.name, c.got, c.want)
		}
	}
}

// TestYAMLIsReadAsItWasMeant: what is written is read back as the same values.
func TestYAMLIsReadAsItWasMeant(t *testing.T) {
	for _, text := range []string{"", "true", "null", "~", "1", "1.5", "0x10", "2027-01-15T08:00:00Z", "a: b", "- a", "#x", "é\n\x1b", " x ", "'\"", "fa:16:3e:00:00:01", "yes"} {
		value := map[string]any{"s": text, "l": []any{text, nil, true, json.Number("7")}, "e": []any{}, "m": map[string]any{}}
		var b strings.Builder
		if err := printYAML(&b, yamlNode(value)); err != nil {
			t.Fatal(err)
		}
		var back map[string]any
		if err := yaml.Unmarshal([]byte(b.String()), &back); err != nil {
			t.Fatalf("%q: %v in\n%s", text, err, b.String())
		}
		want := map[string]any{"s": text, "l": []any{text, nil, true, 7}, "e": []any{}, "m": map[string]any{}}
		if !reflect.DeepEqual(back, want) {
			t.Errorf("%q is read as %v from\n%s", text, back, b.String())
		}
	}
}

func TestCompare(t *testing.T) {
	order := []any{nil, json.Number("9"), json.Number("10"), "a", "b"}
	for i, a := range order {
		for j, b := range order {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := compare(a, b); got != want {
				t.Errorf("%v and %v: %d, want %d", a, b, got, want)
			}
		}
	}
}
