package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"

	"weft/internal/client"
	"weft/internal/pyrepr"
)

// A column is one column of a list, or one field of a single object.
type column struct {
	head  string                    // what it is called, in every format
	key   string                    // the attribute
	text  textFunc                  // for people; nil: as programs get it
	value func(o client.Object) any // nil: the attribute's value
	needs []string                  // attributes that value reads; nil: key
	long  bool                      // only with --long
	when  func(args []string) bool  // nil: always; args are the command's
}

// attributes are columns that are called as their attributes are.
func attributes(keys ...string) []column {
	out := make([]column, len(keys))
	for i, k := range keys {
		out[i] = column{head: k, key: k}
	}
	return out
}

// written gives columns, by name, a text for people.
func written(columns []column, how map[string]textFunc) []column {
	for i, c := range columns {
		if t := how[c.head]; t != nil {
			columns[i].text = t
		}
	}
	return columns
}

// reads returns the attributes that the column needs.
func (c column) reads() []string {
	if c.needs != nil {
		return c.needs
	}
	return []string{c.key}
}

func (c column) of(o client.Object) any {
	if c.value != nil {
		return c.value(o)
	}
	return o[c.key]
}

// human is a value of the column as people read it.
func (c column) human(v any) string {
	if c.text != nil {
		return c.text(v)
	}
	return pyrepr.Str(v)
}

// output is the flags that say how to print.
type output struct {
	format     string
	columns    []string
	sort       []string
	descending bool
	noIndent   bool
	maxWidth   int
	fitWidth   bool
	quote      string
	prefix     string
}

// The formats, first the default. csv needs rows; shell needs one object.
func formats(list bool) []string {
	if list {
		return []string{"table", "json", "yaml", "value", "csv"}
	}
	return []string{"table", "json", "yaml", "value", "shell"}
}

// outputFlags declares how to print an object, or a list.
func outputFlags(f *flags, list bool) *output {
	o := &output{}
	f.group = groupOutput
	choices := formats(list)
	format := f.text("format,f", "FORMAT", "one of "+strings.Join(choices, ", ")+" (default table)", oneOf(choices...))
	columns := f.texts("column,c", "COLUMN", "print only this column (repeat for several)", kind{})
	noIndent := f.yes("noindent", "json in one line")
	width := f.text("max-width", "CHARACTERS", "wrap cells so that the table is at most this wide; 0: as wide as it gets (default 0)", number(0, 1<<16))
	fit := f.yes("fit-width", "wrap cells so that the table fits the terminal")
	var sort *texted
	var descending *bool
	quote, prefix := &texted{}, &texted{}
	if list {
		sort = f.texts("sort-column", "COLUMN", "sort by this column (repeat for several)", kind{})
		f.yes("sort-ascending", "sort columns upwards (default)")
		descending = f.yes("sort-descending", "sort columns downwards")
		f.exclusive("sort-ascending", "sort-descending")
		quote = f.text("quote", "WHICH", "cells to quote in csv: all, minimal, none, nonnumeric (default nonnumeric)", oneOf("all", "minimal", "none", "nonnumeric"))
	} else {
		prefix = f.text("prefix", "TEXT", "put before the names of shell variables", kind{})
	}
	f.check(func() error {
		o.format, o.columns, o.noIndent, o.fitWidth = cmp.Or(format.last(), "table"), columns.given, *noIndent, *fit
		o.maxWidth, _ = strconv.Atoi(cmp.Or(width.last(), "0")) // checked by its kind
		o.quote, o.prefix = cmp.Or(quote.last(), "nonnumeric"), prefix.last()
		if list {
			o.sort, o.descending = sort.given, *descending
		}
		return nil
	})
	return o
}

// pick returns the columns that were asked for, in the order in which they are declared.
func (o *output) pick(columns []column) ([]column, error) {
	if len(o.columns) == 0 {
		return columns, nil
	}
	for _, name := range o.columns {
		if _, err := index(columns, name); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(columns), func(c column) bool {
		return !slices.ContainsFunc(o.columns, func(name string) bool { return strings.EqualFold(name, c.head) })
	}), nil
}

func index(columns []column, name string) (int, error) {
	i := slices.IndexFunc(columns, func(c column) bool { return strings.EqualFold(c.head, name) })
	if i < 0 {
		var known []string
		for _, c := range columns {
			known = append(known, c.head)
		}
		return 0, usage("no column %q: there are %s", name, strings.Join(known, ", "))
	}
	return i, nil
}

// rows prints a list of objects.
func (o *output) rows(w io.Writer, columns []column, objects []client.Object) error {
	shown, err := o.pick(columns)
	if err != nil {
		return err
	}
	if err := o.order(columns, objects); err != nil {
		return err
	}
	values := make([][]any, len(objects))
	for i, obj := range objects {
		for _, c := range shown {
			values[i] = append(values[i], c.of(obj))
		}
	}
	switch o.format {
	case "json":
		list := make([]pairs, len(values))
		for i, row := range values {
			list[i] = pairsOf(shown, row)
		}
		return o.json(w, list)
	case "yaml":
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, row := range values {
			list.Content = append(list.Content, pairsOf(shown, row).yaml())
		}
		return printYAML(w, list)
	case "value":
		for _, row := range values {
			cells := make([]string, len(row))
			for i, v := range row {
				cells[i] = pyrepr.Str(v)
			}
			if _, err := fmt.Fprintln(w, strings.Join(cells, " ")); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		return o.csv(w, shown, values)
	}
	if len(values) == 0 {
		_, err := fmt.Fprintln(w)
		return err
	}
	head, right := make([]string, len(shown)), make([]bool, len(shown))
	for i, c := range shown {
		head[i], right[i] = c.head, c.text == nil && isNumber(values[0][i])
	}
	text := make([][]string, len(values))
	for n, row := range values {
		for i, v := range row {
			text[n] = append(text[n], shown[i].human(v))
		}
	}
	_, err = io.WriteString(w, table(head, text, right, o.fit(w)))
	return err
}

// object prints one object.
func (o *output) object(w io.Writer, fields []column, obj client.Object) error {
	shown, err := o.pick(fields)
	if err != nil {
		return err
	}
	values := make([]any, len(shown))
	for i, c := range shown {
		values[i] = c.of(obj)
	}
	switch o.format {
	case "json":
		return o.json(w, pairsOf(shown, values))
	case "yaml":
		return printYAML(w, pairsOf(shown, values).yaml())
	case "value", "shell":
		for i, v := range values {
			line := pyrepr.Str(v)
			if o.format == "shell" {
				line = o.prefix + strings.NewReplacer(":", "_", "-", "_", " ", "_").Replace(shown[i].head) + "=" + shellQuote(line)
			}
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, len(shown))
	for i, c := range shown {
		rows[i] = []string{c.head, c.human(values[i])}
	}
	_, err = io.WriteString(w, table([]string{"Field", "Value"}, rows, nil, o.fit(w)))
	return err
}

// shellQuote quotes for POSIX shells. Double quotes are what scripts expect; inside them
// nothing may be left that the shell would run.
func shellQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s) + `"`
}

// order sorts objects by the --sort-column columns.
func (o *output) order(columns []column, objects []client.Object) error {
	by := make([]column, len(o.sort))
	for i, name := range o.sort {
		at, err := index(columns, name)
		if err != nil {
			return err
		}
		by[i] = columns[at]
	}
	slices.SortStableFunc(objects, func(a, b client.Object) int {
		for _, c := range by {
			if d := compare(c.of(a), c.of(b)); d != 0 {
				if o.descending {
					return -d
				}
				return d
			}
		}
		return 0
	})
	return nil
}

// compare orders numbers as numbers, all else as text; what is absent comes first.
func compare(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	if isNumber(a) && isNumber(b) {
		x, _ := strconv.ParseFloat(fmt.Sprint(a), 64)
		y, _ := strconv.ParseFloat(fmt.Sprint(b), 64)
		return cmp.Compare(x, y)
	}
	return strings.Compare(pyrepr.Str(a), pyrepr.Str(b))
}

// fit is the width that a table must have, 0 for any.
func (o *output) fit(w io.Writer) int {
	if o.maxWidth > 0 || !o.fitWidth {
		return o.maxWidth
	}
	return terminalWidth(w)
}

// terminalWidth is the width of the terminal that w is, 0 when it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

func (o *output) csv(w io.Writer, columns []column, values [][]any) error {
	var b strings.Builder
	row := func(cells []any) {
		for i, v := range cells {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(o.csvCell(v))
		}
		b.WriteByte('\n')
	}
	head := make([]any, len(columns))
	for i, c := range columns {
		head[i] = c.head
	}
	row(head)
	for _, v := range values {
		row(v)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (o *output) csvCell(v any) string {
	text := pyrepr.Str(v)
	if v == nil {
		text = ""
	}
	_, boolean := v.(bool)
	quote := strings.ContainsAny(text, "\",\r\n") // RFC 4180 section 2.6
	switch o.quote {
	case "all":
		quote = true
	case "none":
		quote = false
	case "nonnumeric":
		quote = quote || !isNumber(v) && !boolean
	}
	if !quote {
		return text
	}
	return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
}

// pairs is an object whose keys keep their order.
type pairs []struct {
	key   string
	value any
}

func pairsOf(columns []column, values []any) pairs {
	p := make(pairs, len(columns))
	for i, c := range columns {
		p[i].key, p[i].value = c.head, values[i]
	}
	return p
}

// MarshalJSON writes the keys in their order.
func (p pairs) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encode := json.NewEncoder(&b)
	encode.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, e := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encode.Encode(e.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encode.Encode(e.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (o *output) json(w io.Writer, v any) error {
	encode := json.NewEncoder(w)
	encode.SetEscapeHTML(false)
	if !o.noIndent {
		encode.SetIndent("", "  ")
	}
	return encode.Encode(v)
}

func (p pairs) yaml() *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range p {
		n.Content = append(n.Content, yamlNode(e.key), yamlNode(e.value))
	}
	return n
}

// yamlNode is a value as YAML. The encoder quotes a string that would be read as something else.
func yamlNode(v any) *yaml.Node {
	scalar := func(tag string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: fmt.Sprint(v)}
	}
	switch v := v.(type) {
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	case bool:
		return scalar("!!bool")
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalar("!!float")
		}
		return scalar("!!int")
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, e := range v {
			n.Content = append(n.Content, yamlNode(e))
		}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		return n
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, yamlNode(k), yamlNode(v[k]))
		}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		return n
	}
	return scalar("!!str")
}

func printYAML(w io.Writer, n *yaml.Node) error {
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return err
	}
	return e.Close()
}
