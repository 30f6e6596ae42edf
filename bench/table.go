package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"weft/bench/benchlab"
)

// figure is a line of the table, in text as people read it.
type figure struct {
	name, measured, aim, peer, ratio string
}

// table collects figures in the order in which they were measured.
type table struct {
	figures []figure
	said    func(figure)
}

func (t *table) add(f figure) {
	t.figures = append(t.figures, f)
	t.said(f)
}

// time adds a duration. Peer 0: Neutron was not measured.
func (t *table) time(name string, d time.Duration, aim string, peer time.Duration) {
	f := figure{name: name, measured: round(d), aim: aim}
	if peer > 0 {
		f.peer, f.ratio = round(peer), ratio(peer.Seconds(), d.Seconds())
	}
	t.add(f)
}

// rate adds something a second. Peer 0: Neutron was not measured.
func (t *table) rate(name string, perSecond float64, aim string, peer float64) {
	f := figure{name: name, measured: benchlab.Number(perSecond) + "/s", aim: aim}
	if peer > 0 {
		f.peer, f.ratio = benchlab.Number(peer)+"/s", ratio(perSecond, peer)
	}
	t.add(f)
}

// ratio is how many times better than the peer.
func ratio(a, b float64) string {
	if b == 0 {
		return ""
	}
	r := a / b
	if r < 10 {
		return fmt.Sprintf("%.1f×", r)
	}
	return benchlab.Number(r) + "×"
}

func round(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return benchlab.Number(float64(d.Nanoseconds())/1e6) + " ms"
}

var header = figure{"figure", "measured", "aim", "peer Neutron", "ratio"}

func (f figure) cells() []string { return []string{f.name, f.measured, f.aim, f.peer, f.ratio} }

// text writes the table for a terminal.
func (t *table) text(w io.Writer) {
	width := make([]int, 5)
	rows := append([]figure{header}, t.figures...)
	for _, f := range rows {
		for i, c := range f.cells() {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, f := range rows {
		var b strings.Builder
		for i, c := range f.cells() {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i == 0 {
				b.WriteString(c + pad)
			} else {
				b.WriteString("  " + pad + c)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// markdown writes the table for a document.
func (t *table) markdown(w io.Writer, machine string) {
	fmt.Fprintf(w, `# Figures

Made by `+"`make bench`"+` on %s.
The peer is Neutron 21.0.0 (two API workers, MariaDB, RabbitMQ; iptables_hybrid, GRE, l2 population) as it was recorded
on a machine like this one. The ratio is how many times better Weft is. Such machines are shared: a figure moves from
run to run, and nothing here passes or fails by the clock.

`, machine)
	for i, f := range append([]figure{header}, t.figures...) {
		fmt.Fprintf(w, "| %s |\n", strings.Join(f.cells(), " | "))
		if i == 0 {
			fmt.Fprintln(w, "|---|--:|--:|--:|--:|")
		}
	}
}
