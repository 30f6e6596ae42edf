package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"weft/bench/benchlab"
)

// row is one way of a packet, with a sample for each round.
type row struct {
	name    string
	open    opener
	local   bool   // nothing of it passes a gateway host, or it is not what it says
	absent  string // why it is not measured
	samples []sample
}

// opener plugs in what a row needs. What it returns is to be closed, also when it fails.
type opener func(context.Context) (path, error)

// missing is what a lab must have for a row, and has not.
type missing string

func (m missing) Error() string { return string(m) }

// table is rows that are compared with the first one, the limit.
type table struct {
	title string
	rows  []*row
}

// add adds a row, or why there is none.
func (t *table) add(name string, open opener, err error) error {
	r := &row{name: name, open: open}
	if why := missing(""); errors.As(err, &why) {
		r.absent = string(why)
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t.rows = append(t.rows, r)
	return nil
}

// spread is the median of several rounds, and the least and most of them.
type spread struct{ median, least, most float64 }

func spreadOf(all []float64) spread {
	s := slices.Sorted(slices.Values(all))
	return spread{(s[(len(s)-1)/2] + s[len(s)/2]) / 2, s[0], s[len(s)-1]}
}

// of is a figure of a row over all rounds.
func (r *row) of(figure int) spread {
	var all []float64
	for _, s := range r.samples {
		all = append(all, s[figure])
	}
	return spreadOf(all)
}

// ratio is a figure of a row divided by that of the limit in the same round.
func (t *table) ratio(r *row, figure int) spread {
	var all []float64
	for i, s := range r.samples {
		all = append(all, s[figure]/t.rows[0].samples[i][figure])
	}
	return spreadOf(all)
}

func (s spread) text(format string) string {
	one := func(f float64) string { return fmt.Sprintf(format, f) }
	if format == "" {
		one = benchlab.Number
	}
	return fmt.Sprintf("%s (%s–%s)", one(s.median), one(s.least), one(s.most))
}

func (b *bench) heading(w io.Writer) {
	fmt.Fprintf(w, `
%s; load %s when it began, other work took %.0f %% of the CPU time meanwhile; %d rounds in random order, seed %d.
A figure is the median of the rounds, and in brackets the least and the most of them. "Of the limit" and "× the limit" are
ratios to the first row of the table, round by round.
`, benchlab.Machine(), b.load, 100*b.others, b.rounds, b.seed)
}

// markdown writes the table: what passes, then how long it takes.
func (t *table) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n", t.title)
	line(w, "path", "TCP stream, Mbit/s", "of the limit", "CPU a MB, ms", "× the limit", "packets a second", "of the limit", "CPU a packet, µs", "× the limit")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, r := range t.measured() {
		cells := []string{r.name}
		for _, f := range []int{stream, streamWork, packets, packetWork} {
			cells = append(cells, r.of(f).text(""), t.ratio(r, f).text("%.2f"))
		}
		line(w, cells...)
	}
	fmt.Fprint(w, "\nRound trips and opening a TCP connection, µs:\n\n")
	line(w, "path", "UDP p50", "× the limit", "p99", "TCP p50", "p99", "ICMP p50", "p99", "open p50", "× the limit", "p99")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, r := range t.measured() {
		p99 := func(f int) string { return benchlab.Number(r.of(f).median) }
		line(w, r.name, r.of(udp50).text(""), t.ratio(r, udp50).text("%.2f"), p99(udp99), r.of(tcp50).text(""), p99(tcp99),
			r.of(icmp50).text(""), p99(icmp99), r.of(opened50).text(""), t.ratio(r, opened50).text("%.2f"), p99(opened99))
	}
	for _, r := range t.rows {
		if r.absent != "" {
			fmt.Fprintf(w, "\nNot measured: %s (%s).\n", r.name, r.absent)
		}
	}
}

// measured are the rows that have samples.
func (t *table) measured() (rows []*row) {
	for _, r := range t.rows {
		if len(r.samples) > 0 {
			rows = append(rows, r)
		}
	}
	return rows
}

func line(w io.Writer, cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
