package table

import (
	"bytes"
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
	r := p.Parser(nil)
	io.WriteString(r, text)
	return r.Ruleset()
}

// Parser reads what iptables-save prints as it comes. It is written to, and never
// refuses: Ruleset tells what was wrong.
type Parser struct {
	names Protocols
	known map[string]Rule
	out   Ruleset
	cur   *Table
	index map[string]int // of the chains of cur
	lines int
	part  []byte // of a line whose end is still to come
	err   error
}

// Parser returns a reader. Known are rules in normal form by their texts: where they are found, they need not be made once more.
func (p Protocols) Parser(known map[string]Rule) *Parser {
	return &Parser{names: p, known: known, index: map[string]int{}}
}

// Write takes text.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		if !ended {
			p.part = append(p.part, b...)
			return n, nil
		}
		if b = rest; len(p.part) > 0 {
			line = append(p.part, line...)
			p.part = line[:0]
		}
		p.take(line)
	}
}

// Ruleset returns what has been written.
func (p *Parser) Ruleset() (Ruleset, error) {
	if len(p.part) > 0 {
		p.take(p.part)
		p.part = nil
	}
	if p.err == nil && p.cur != nil {
		p.err = fmt.Errorf("table %s: %w", p.cur.Name, io.ErrUnexpectedEOF)
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.out, nil
}

func (p *Parser) take(line []byte) {
	p.lines++
	line = bytes.Trim(line, " \t\r")
	if p.err != nil || len(line) == 0 || line[0] == '#' {
		return
	}
	why := ""
	switch {
	case line[0] == '*':
		why = p.table(string(line[1:]))
	case p.cur == nil:
		why = "outside a table"
	case string(line) == "COMMIT":
		p.cur = nil
	case line[0] == ':':
		why = p.chain(string(line[1:]))
	default:
		why = p.rule(line)
	}
	if why != "" {
		p.err = &ParseError{Line: p.lines, Text: string(line), Why: why}
	}
}

func (p *Parser) table(name string) (why string) {
	switch {
	case p.cur != nil:
		return "the table before it has no COMMIT"
	case !isName(name) || p.out.Table(name) != nil:
		return "not the name of a new table"
	}
	p.out = append(p.out, Table{Name: name})
	p.cur = &p.out[len(p.out)-1]
	clear(p.index)
	return ""
}

func (p *Parser) chain(line string) (why string) {
	f := strings.Fields(line)
	if len(f) < 2 || len(f) > 3 || !isName(f[0]) || !isName(f[1]) {
		return "not a chain"
	}
	if _, dup := p.index[f[0]]; dup {
		return "this chain was there before"
	}
	p.index[f[0]] = len(p.cur.Chains)
	p.cur.Chains = append(p.cur.Chains, Chain{Name: strings.Clone(f[0]), Policy: strings.Clone(f[1])})
	return ""
}

func (p *Parser) rule(line []byte) (why string) {
	if line[0] == '[' {
		_, after, ok := bytes.Cut(line, []byte("] "))
		if !ok {
			return "counters without a rule"
		}
		line = after
	}
	rest, ok := bytes.CutPrefix(line, []byte("-A "))
	if !ok {
		return "neither a chain nor a rule"
	}
	name, spec, _ := bytes.Cut(rest, []byte{' '})
	at, known := p.index[string(name)]
	if !known {
		return "this rule's chain is not declared"
	}
	r, known := p.known[string(spec)]
	if !known {
		var err error
		if r, err = p.names.Normalize(string(spec)); err != nil {
			return err.Error()
		}
	}
	p.cur.Chains[at].Rules = append(p.cur.Chains[at].Rules, r)
	return ""
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
