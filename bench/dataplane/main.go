// Command dataplane measures what guests get from their network, beside what a plain Open vSwitch gives them: throughput,
// packets a second and round trips, for each way in which a packet may go. It writes the tables of docs/performance.md.
//
//	go run ./bench/dataplane -o docs/performance.md
//	go run ./bench/dataplane -quick -only same
//
// All is measured in one run on one lab, in short rounds in random order, and every row as the ratio to a plain switch in
// the same round. Only the two ends of one row are plugged in at a time. It needs root and what `make deps` installs.
// Nothing fails by the clock: it exits with another status than 0 only when something does not work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/bench/benchlab"
)

// options of a run.
type options struct {
	only   string
	out    string
	weft   string
	rounds int
	seed   uint64
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "measure the tables alone whose title has this text")
	flag.StringVar(&o.out, "o", "", "put the tables into this file as well, between its marks")
	flag.StringVar(&o.weft, "weft", "", "the weft program to measure; empty: build it")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each row is measured")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of the order of the rows")
	quick := flag.Bool("quick", false, "one round: shows that all works, its figures say little")
	flag.Parse()
	if *quick {
		o.rounds = 1
	}
	if flag.NArg() > 0 || o.rounds < 1 {
		fmt.Fprintln(os.Stderr, "dataplane: want flags alone, and at least one round")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "dataplane:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	began  time.Time
	load   string  // of the machine, before anything was measured
	others float64 // share of the machine's CPU time that others had while it was measured
}

// step tells what is being done.
func (b *bench) step(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("hosts are made of namespaces and devices: run it as root")
	}
	b := &bench{options: o, began: time.Now(), load: benchlab.Load()}
	if b.weft == "" {
		dir, err := os.MkdirTemp("", "weft-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.step("building weft")
		if b.weft, err = benchlab.Build(ctx, dir); err != nil {
			return err
		}
	}
	w, err := b.open(ctx)
	if err != nil {
		return err
	}
	tables, err := w.tables(ctx)
	if err == nil {
		err = w.disturbed(func() error { return w.measureAll(ctx, tables) })
	}
	if err := errors.Join(err, w.close()); err != nil {
		return err
	}
	var text strings.Builder
	b.heading(&text)
	for _, t := range tables {
		t.markdown(&text)
	}
	fmt.Print("\n", text.String())
	if b.out == "" {
		return nil
	}
	return replaceMarked(b.out, text.String())
}

// disturbed notes how much other work the machine did while do ran.
func (w *world) disturbed(do func() error) error {
	began := time.Now()
	before, err := benchlab.Busy()
	if err != nil {
		return err
	}
	own, err := w.cpuTime(do)
	if err != nil {
		return err
	}
	after, err := benchlab.Busy()
	w.others = max(0, float64(after-before-own)/float64(time.Since(began))/float64(runtime.NumCPU()))
	return err
}

// measureAll measures all rows, round by round. A table is measured in one go, so that its rows and its limit meet the
// same machine; the order of tables and rows is another in each round.
func (w *world) measureAll(ctx context.Context, tables []*table) error {
	order := rand.New(rand.NewPCG(w.seed, 0))
	for round := range w.rounds {
		for _, i := range order.Perm(len(tables)) {
			t := tables[i]
			for _, j := range order.Perm(len(t.rows)) {
				r := t.rows[j]
				if r.absent != "" {
					continue
				}
				w.step("round %d of %d: %s: %s", round+1, w.rounds, t.title, r.name)
				if err := w.measureRow(ctx, r); err != nil {
					return fmt.Errorf("%s, %s: %w", t.title, r.name, err)
				}
			}
		}
	}
	return nil
}

// The marks around the tables in a document whose other text is written by hand.
const (
	beginMark = "<!-- measured: begin -->\n"
	endMark   = "<!-- measured: end -->\n"
)

// replaceMarked puts text between the marks of a file.
func replaceMarked(name, text string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(b), beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", name, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	return os.WriteFile(name, []byte(head+beginMark+text+endMark+tail), 0o644)
}
