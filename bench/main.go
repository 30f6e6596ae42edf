// Command bench measures what Weft promises, beside what a Neutron was recorded to do: the API alone, then a lab
// of three hosts with real ports, rules and packets.
//
//	go run ./bench -o docs/figures.md
//	go run ./bench -only plug,rule
//
// It needs root and what `make deps` installs. Nothing fails by the clock: it exits with another status than 0 only when
// something does not work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/bench/benchlab"
)

// sections in the order in which they appear in help.
var sections = []string{"api", "plug", "rule", "restart", "memory", "flows", "stream", "dataplane"}

// idlePorts is how many ports a full host has.
const idlePorts = 200

func main() {
	if len(os.Args) == 3 && os.Args[1] == bareCommand {
		if err := serveBare(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	only := flag.String("only", "", "measure these alone, comma separated: "+strings.Join(sections, ","))
	out := flag.String("o", "", "write the table as markdown to this file as well")
	weft := flag.String("weft", "", "the weft program to measure; empty: build it")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	chosen, err := choose(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := measure(ctx, chosen, *weft, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// choose reads -only.
func choose(only string) (map[string]bool, error) {
	chosen := map[string]bool{}
	if only == "" {
		for _, s := range sections {
			chosen[s] = true
		}
		return chosen, nil
	}
	for _, s := range strings.Split(only, ",") {
		if !slices.Contains(sections, s) {
			return nil, fmt.Errorf("-only %s: want some of %s", s, strings.Join(sections, ","))
		}
		chosen[s] = true
	}
	return chosen, nil
}

// bench is one run.
type bench struct {
	table
	weft  string // the program
	dir   string // scratch
	load  string // of the machine, before anything was measured
	began time.Time
}

// step tells what is being done.
func (b *bench) step(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func measure(ctx context.Context, chosen map[string]bool, weft, out string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("hosts are made of namespaces and devices: run it as root")
	}
	dir, err := os.MkdirTemp("", "weft-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{weft: weft, dir: dir, began: time.Now(), load: benchlab.Load()}
	b.step("load of the machine: %s", b.load)
	b.said = func(f figure) { fmt.Printf("%10s    %-58s %s\n", "", f.name, f.measured) }
	if b.weft == "" {
		b.step("building weft")
		if b.weft, err = benchlab.Build(ctx, dir); err != nil {
			return err
		}
	}
	err = b.sections(ctx, chosen)
	fmt.Println()
	b.text(os.Stdout)
	if err != nil || out == "" {
		return err
	}
	return b.write(out)
}

// sections measures what was chosen: first what needs a server alone, then the lab, with few ports and with many.
func (b *bench) sections(ctx context.Context, chosen map[string]bool) (err error) {
	if chosen["api"] || chosen["memory"] {
		if err := b.api(ctx, chosen["api"], chosen["memory"]); err != nil {
			return fmt.Errorf("api: %w", err)
		}
	}
	var w *world
	defer func() {
		if w != nil {
			err = errors.Join(err, w.close())
		}
	}()
	for _, s := range []struct {
		section string
		do      func(*world, context.Context) error
	}{
		{"dataplane", (*world).dataplaneFew},
		{"rule", (*world).ruleFew},
		{"plug", (*world).plug},
		{"rule", (*world).ruleMany},
		{"restart", (*world).restart},
		{"memory", (*world).agentMemory},
		{"dataplane", (*world).dataplaneMany},
		{"stream", (*world).stream},
		{"flows", (*world).flows},
	} {
		if !chosen[s.section] {
			continue
		}
		if w == nil {
			if w, err = b.lab(ctx); err != nil {
				return err
			}
		}
		if err := s.do(w, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.section, err)
		}
	}
	return nil
}

// write puts the table into a file.
func (b *bench) write(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	b.markdown(f, fmt.Sprintf("%s, load %s when it began", benchlab.Machine(), b.load))
	return f.Close()
}
