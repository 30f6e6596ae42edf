package table

import (
	"fmt"
	"io"
	"strings"
)

// ParseError tells which line of a dump cannot be read.
type ParseError struct {
	Line int // from 1
	Text string
	Why  string
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("line %d %q: %s", e.Line, e.Text, e.Why)
}

// Parse reads what iptables-save prints. Rules come back in normal form,
// counters and comments are left out.
func (p Protocols) Parse(text string) (Ruleset, error) {
	var out Ruleset
	var cur *Table
	index := map[string]int{}
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.Trim(line, " \t\r")
		fail := func(why string) (Ruleset, error) { return nil, &ParseError{Line: n, Text: line, Why: why} }
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '*' {
			if cur != nil {
				return fail("the table before it has no COMMIT")
			}
			if name := line[1:]; !isName(name) || out.Table(name) != nil {
				return fail("not the name of a new table")
			}
			out = append(out, Table{Name: line[1:]})
			cur = &out[len(out)-1]
			clear(index)
			continue
		}
		if cur == nil {
			return fail("outside a table")
		}
		if line == "COMMIT" {
			cur = nil
			continue
		}
		if line[0] == ':' {
			f := strings.Fields(line[1:])
			if len(f) < 2 || len(f) > 3 || !isName(f[0]) || !isName(f[1]) {
				return fail("not a chain")
			}
			if _, dup := index[f[0]]; dup {
				return fail("this chain was there before")
			}
			index[f[0]] = len(cur.Chains)
			cur.Chains = append(cur.Chains, Chain{Name: f[0], Policy: f[1]})
			continue
		}
		if line[0] == '[' {
			_, after, ok := strings.Cut(line, "] ")
			if !ok {
				return fail("counters without a rule")
			}
			line = after
		}
		rest, ok := strings.CutPrefix(line, "-A ")
		if !ok {
			return fail("neither a chain nor a rule")
		}
		name, spec, _ := strings.Cut(rest, " ")
		at, known := index[name]
		if !known {
			return fail("this rule's chain is not declared")
		}
		r, err := p.Normalize(spec)
		if err != nil {
			return fail(err.Error())
		}
		cur.Chains[at].Rules = append(cur.Chains[at].Rules, r)
	}
	if cur != nil {
		return nil, fmt.Errorf("table %s: %w", cur.Name, io.ErrUnexpectedEOF)
	}
	return out, nil
}

func isName(s string) bool { return s != "" && !strings.ContainsAny(s, " \t\r\n\"\\*:[]#") }

// Text returns the ruleset as iptables-restore reads it and iptables-save
// prints it, with zero counters.
func (r Ruleset) Text() string {
	var b strings.Builder
	for i := range r {
		t := &r[i]
		b.WriteString("*" + t.Name + "\n")
		for j := range t.Chains {
			policy := t.Chains[j].Policy
			if policy == "" {
				policy = "-"
			}
			b.WriteString(":" + t.Chains[j].Name + " " + policy + " [0:0]\n")
		}
		for j := range t.Chains {
			for _, rule := range t.Chains[j].Rules {
				b.WriteString("-A " + t.Chains[j].Name)
				if rule != "" {
					b.WriteByte(' ')
					b.WriteString(string(rule))
				}
				b.WriteByte('\n')
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}
