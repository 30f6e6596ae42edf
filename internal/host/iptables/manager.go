package iptables

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"weft/internal/host/iptables/table"
)

// Config says what a Manager owns.
type Config struct {
	// Namespace is the path of a network namespace; empty is the one that the
	// process is in.
	Namespace string
	Layout    Layout // the zero one: HostLayout
	Backend   Backend
	Log       *slog.Logger
}

// Manager owns the rules, sets and tracked connections of one network
// namespace. It is not safe for concurrent use: one goroutine owns it.
type Manager struct {
	ns     namespace
	layout Layout
	log    *slog.Logger
	tools  tools
	names  table.Protocols
	nl     *netlink.Handle

	backend  Backend
	noFrames bool   // the kernel cannot filter frames by their type
	have     *State // nil: must be read
	want     *State // nil: nothing has been wanted yet
	refused  map[refusal]error
	stats    counters

	seed maphash.Seed
	seen atomic.Pointer[seen]
}

// refusal names a chain's content that the kernel did not take.
type refusal struct {
	family table.Family
	table  string
	chain  string
	rules  *table.Rule // the first rule: contents are known by where they are
	n      int
}

// Stats counts what a Manager has done since it was made.
type Stats struct {
	Reads   uint64 // of the kernel's whole state
	Writes  uint64 // commands and messages that change the kernel's state
	Lines   uint64 // lines given to iptables-restore
	Members uint64 // members added to and removed from sets
	Repairs uint64 // times that Verify found something not as it was left
}

type counters struct{ reads, writes, lines, members, repairs atomic.Uint64 }

// Result is what an Apply did.
type Result struct {
	Changed bool
	// Refused are chains whose rules the kernel did not take. Their fallback is in
	// force.
	Refused map[string]error
	// BadSets are sets that could not be made or filled.
	BadSets map[string]error
}

// New makes a Manager. It does nothing before Open.
func New(cfg Config) *Manager {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Layout.Prefix == "" {
		cfg.Layout = HostLayout()
	}
	return &Manager{ns: namespace{cfg.Namespace}, layout: cfg.Layout, backend: cfg.Backend, log: log, refused: map[refusal]error{}, seed: maphash.MakeSeed()}
}

// Open finds the backend and, where the layout says so, switches bridge filtering on.
func (m *Manager) Open(ctx context.Context) error {
	if m.backend == Auto {
		b, err := m.ns.detect(ctx, m.layout.Prefix)
		if err != nil {
			return fmt.Errorf("finding the iptables backend: %w", err)
		}
		m.backend = b
	}
	m.tools, m.names = toolsOf(m.backend), protocolNames()
	if m.backend == NFT && m.ns.legacyInUse() {
		m.log.Warn("iptables-legacy has tables too: both filter")
	}
	if !m.layout.Bridges {
		return nil
	}
	changed, err := m.ns.filterBridges(ctx)
	m.stats.writes.Add(uint64(changed))
	if err != nil {
		return err
	}
	h := netns.None()
	if m.ns.path != "" {
		if h, err = netns.GetFromPath(m.ns.path); err != nil {
			return fmt.Errorf("opening network namespace %s: %w", m.ns.path, err)
		}
		defer h.Close()
	}
	if err := m.canFilterFrames(ctx); err != nil {
		m.noFrames = true
		m.log.Warn("IP behind an LLC header passes by the filters of ports on bridges: this host's nft cannot drop it", "err", err)
	}
	if m.nl, err = netlink.NewHandleAt(h, unix.NETLINK_NETFILTER); err != nil {
		return fmt.Errorf("opening a netfilter socket: %w", err)
	}
	return nil
}

// Close releases the netlink socket; rules and sets stay.
func (m *Manager) Close() {
	if m.nl != nil {
		m.nl.Close()
	}
}

// Backend is the backend in use, known after Open.
func (m *Manager) Backend() Backend { return m.backend }

// Stats returns the counters. It may be called from any goroutine.
func (m *Manager) Stats() Stats {
	return Stats{m.stats.reads.Load(), m.stats.writes.Load(), m.stats.lines.Load(), m.stats.members.Load(), m.stats.repairs.Load()}
}

// Read returns what the kernel has: the tables that we write to, and all sets
// of type hash:net.
func (m *Manager) Read(ctx context.Context) (State, error) {
	have, _, err := m.read(ctx, State{})
	return have, err
}

// read returns what the kernel has, and its sum. Rules that are expected are not made once more.
func (m *Manager) read(ctx context.Context, expected State) (s State, sum uint64, err error) {
	v4, v6 := m.names.Parser(textsOf(expected.V4)), m.names.Parser(textsOf(expected.V6))
	var sets, frames strings.Builder
	sums := newSummers(m.seed)
	err = m.saveTo(ctx, outputs{
		v4: io.MultiWriter(&sums[0], v4), v6: io.MultiWriter(&sums[1], v6),
		sets: io.MultiWriter(&sums[2], &sets), frames: io.MultiWriter(&sums[3], &frames),
	})
	if err != nil {
		return s, 0, err
	}
	rules := func(p *table.Parser, command string) table.Ruleset {
		all, failed := p.Ruleset()
		if failed != nil {
			err = fmt.Errorf("reading the output of %s: %w", command, failed)
		}
		return slices.DeleteFunc(all, func(t table.Table) bool { return !slices.Contains(m.layout.Tables, t.Name) })
	}
	s.V4, s.V6 = rules(v4, m.tools.save4), rules(v6, m.tools.save6)
	if err != nil {
		return s, 0, err
	}
	if s.Sets, err = table.ParseSets(sets.String()); err != nil {
		return s, 0, fmt.Errorf("reading the output of ipset save: %w", err)
	}
	if s.frames, err = parseFrames(frames.String()); err != nil {
		return s, 0, err
	}
	return s, sums.sum(), nil
}

// textsOf returns a ruleset's rules by their texts.
func textsOf(r table.Ruleset) map[string]table.Rule {
	out := map[string]table.Rule{}
	for i := range r {
		for j := range r[i].Chains {
			for _, rule := range r[i].Chains[j].Rules {
				out[string(rule)] = rule
			}
		}
	}
	return out
}

// outputs are what takes the kernel's state, as the commands print it.
type outputs struct{ v4, v6, sets, frames io.Writer }

// saveTo has the commands print the kernel's state.
func (m *Manager) saveTo(ctx context.Context, to outputs) error {
	m.stats.reads.Add(1)
	g, ctx := errgroup.WithContext(ctx)
	read := func(into io.Writer, name string, args ...string) {
		g.Go(func() error { return m.ns.runTo(ctx, into, "", name, args...) })
	}
	read(to.v4, m.tools.save4)
	if m.layout.Bridges || m.ns.hasIPv6Tables(m.backend) {
		read(to.v6, m.tools.save6)
	}
	if m.layout.Bridges {
		read(to.sets, "ipset", "save")
		if !m.noFrames {
			g.Go(func() error { return m.readFrames(ctx, to.frames) })
		}
	}
	return g.Wait()
}

// Apply makes the kernel's state what is wanted. It compares with what it
// left there the last time; Verify compares with what is there. An error means
// that the state is unknown: the next Apply reads it first.
//
// Sets are made and filled before the rules change, emptied and removed after. Frames are filtered beside that.
// The rules of a table change in one step.
func (m *Manager) Apply(ctx context.Context, want State) (Result, error) {
	if m.noFrames {
		want.Taps = nil
	}
	asked := want
	m.want = &asked
	res := Result{Refused: map[string]error{}, BadSets: map[string]error{}}
	read, sum := m.have == nil, uint64(0)
	if read {
		have, was, err := m.read(ctx, want)
		if err != nil {
			return res, err
		}
		m.have, sum = &have, was
	}
	m.forgetRefusals(want)
	want.V4, want.V6 = m.withFallbacks(table.IPv4, want.V4, &res), m.withFallbacks(table.IPv6, want.V6, &res)
	change := m.layout.Plan(*m.have, want)
	have := *m.have
	if change.Empty() {
		if read { // hold what is wanted, not a second copy of the same text
			m.have = m.after(have, want)
			m.seen.Store(&seen{sum, m.stats.writes.Load()})
		}
		return res, nil
	}
	res.Changed = true
	m.have = nil
	var beside errgroup.Group
	beside.Go(func() error { return m.writeFrames(ctx, change.frames) })
	err := m.prepareSets(ctx, &change.sets, &res)
	if err == nil {
		err = m.restoreBoth(ctx, &have, &want, change, &res)
	}
	if err := errors.Join(err, beside.Wait()); err != nil {
		return res, err
	}
	if err := m.finishSets(ctx, &change.sets, &res); err != nil {
		return res, err
	}
	if len(res.BadSets) == 0 {
		m.have = m.after(have, want)
	}
	return res, nil
}

// after is what the kernel has once want has been applied to have.
func (m *Manager) after(have, want State) *State {
	return &State{
		V4: m.layout.after(have.V4, want.V4), V6: m.layout.after(have.V6, want.V6), Sets: afterSets(have.Sets, want.Sets),
		frames: frames{taps: want.Taps, whole: len(want.Taps) > 0, absent: len(want.Taps) == 0},
	}
}

// Compare is Apply, but compares with what the kernel has, not with what the last Apply left.
func (m *Manager) Compare(ctx context.Context, want State) (Result, error) {
	m.have = nil
	return m.Apply(ctx, want)
}

// Look returns a function that reads the kernel's state and reports whether it is as the last Apply wanted it. Unlike all
// else, that function may run in another goroutine, one at a time, and while the Manager writes; then it may see
// half of what is written, and its false means nothing unless Stats counts as many writes as before.
func (m *Manager) Look() func(context.Context) (asLeft bool, err error) {
	known := m.want != nil && m.have != nil && len(m.refused) == 0
	if !known { // Verify is to read, and to try again
		return func(context.Context) (bool, error) { return false, nil }
	}
	want, writes := *m.want, m.stats.writes.Load()
	return func(ctx context.Context) (bool, error) {
		if last := m.seen.Load(); last != nil && last.writes == writes { // a host at rest is not parsed again and again
			sums := newSummers(m.seed)
			if err := m.saveTo(ctx, outputs{&sums[0], &sums[1], &sums[2], &sums[3]}); err != nil {
				return false, err
			}
			if last.sum == sums.sum() {
				return true, nil
			}
		}
		have, sum, err := m.read(ctx, want)
		if err != nil {
			return false, err
		}
		change := m.layout.Plan(have, want)
		if change.Empty() {
			m.seen.Store(&seen{sum, writes})
		}
		return change.Empty(), nil
	}
}

// seen is a state of the kernel that was found to be as it was left after so many writes.
type seen struct{ sum, writes uint64 }

// Verify reads the kernel's state and repairs what is not as the last Apply
// wanted it. What the kernel refused is tried again. Before the first Apply it does nothing.
func (m *Manager) Verify(ctx context.Context) (Result, error) {
	if m.want == nil {
		return Result{}, nil
	}
	m.have = nil
	clear(m.refused)
	res, err := m.Apply(ctx, *m.want)
	if res.Changed {
		m.stats.repairs.Add(1)
		m.log.Warn("rules or sets were not as left, repaired", "refused", len(res.Refused))
	}
	return res, err
}

// Remove takes everything that is ours out of the kernel.
func (m *Manager) Remove(ctx context.Context) error {
	m.have = nil
	_, err := m.Apply(ctx, State{})
	m.have = nil // a jump that is shared with another agent may be left
	return err
}

func afterSets(have, want []table.Set) []table.Set {
	out := slices.Clone(want)
	names := map[string]bool{}
	for _, s := range want {
		names[s.Name] = true
	}
	for _, s := range have {
		if !names[s.Name] && !isOwnSet(s.Name) {
			out = append(out, s)
		}
	}
	return out
}

// withFallbacks replaces chains that the kernel refused before by their fallback.
func (m *Manager) withFallbacks(f table.Family, want table.Ruleset, res *Result) table.Ruleset {
	if len(m.refused) == 0 {
		return want
	}
	out := slices.Clone(want)
	for i := range out {
		out[i].Chains = slices.Clone(out[i].Chains)
		for j := range out[i].Chains {
			c := &out[i].Chains[j]
			if err, bad := m.refused[refusalOf(f, out[i].Name, c)]; bad {
				res.Refused[c.Name] = err
				c.Rules = c.Fallback
			}
		}
	}
	return out
}

func refusalOf(f table.Family, name string, c *table.Chain) refusal {
	r := refusal{family: f, table: name, chain: c.Name, n: len(c.Rules)}
	if r.n > 0 {
		r.rules = &c.Rules[0]
	}
	return r
}

// forgetRefusals drops refusals of contents that are no longer wanted.
func (m *Manager) forgetRefusals(want State) {
	if len(m.refused) == 0 {
		return
	}
	now := map[refusal]bool{}
	for f, rules := range map[table.Family]table.Ruleset{table.IPv4: want.V4, table.IPv6: want.V6} {
		for i := range rules {
			for j := range rules[i].Chains {
				now[refusalOf(f, rules[i].Name, &rules[i].Chains[j])] = true
			}
		}
	}
	maps.DeleteFunc(m.refused, func(r refusal, _ error) bool { return !now[r] })
}

// restoreBoth applies the rules of both families side by side. When a command
// fails, the kernel may not be as thought: the state is read again and the
// difference applied anew; when that fails too, a rule is bad.
func (m *Manager) restoreBoth(ctx context.Context, have, want *State, c Change, res *Result) error {
	if m.restore4and6(ctx, c) == nil {
		return nil
	}
	now, err := m.Read(ctx)
	if err != nil {
		return err
	}
	*have = now
	c.v4, c.v6 = m.layout.planFamily(now.V4, want.V4), m.layout.planFamily(now.V6, want.V6)
	if err = m.restore4and6(ctx, c); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	m.log.Warn("iptables-restore refused the rules, looking for the chain", "error", err)
	if now, err = m.Read(ctx); err != nil {
		return err
	}
	*have = now
	if err := m.restoreSingly(ctx, table.IPv4, m.tools.restore4, now.V4, &want.V4, res); err != nil {
		return err
	}
	return m.restoreSingly(ctx, table.IPv6, m.tools.restore6, now.V6, &want.V6, res)
}

func (m *Manager) restore4and6(ctx context.Context, c Change) error {
	var g errgroup.Group
	g.Go(func() error { return m.restore(ctx, m.tools.restore4, c.v4) })
	g.Go(func() error { return m.restore(ctx, m.tools.restore6, c.v6) })
	return g.Wait()
}

func (m *Manager) restore(ctx context.Context, tool string, tables []tableEdits) error {
	if len(tables) == 0 {
		return nil
	}
	m.stats.writes.Add(1)
	for _, t := range tables {
		for i := range t.edits {
			m.stats.lines.Add(uint64(len(t.edits[i].lines) + 1))
		}
	}
	_, err := m.ns.run(ctx, restoreText(tables), tool, "--noflush", "-w")
	return err
}

// restoreSingly applies one family chain by chain: first those that have a
// fallback, each alone, then the chains that lead to them. A chain counts as
// refused when its rules fail and its fallback does not; any other failure is
// not a rule's.
func (m *Manager) restoreSingly(ctx context.Context, f table.Family, tool string, have table.Ruleset, want *table.Ruleset, res *Result) error {
	out := slices.Clone(*want)
	for i := range out {
		t := &out[i]
		t.Chains = slices.Clone(t.Chains)
		h := have.Table(t.Name)
		if h == nil {
			h = &table.Table{Name: t.Name}
		}
		edits := m.layout.planTable(h, t)
		var made, rest []edit
		for _, e := range edits {
			if e.made {
				made = append(made, edit{chain: e.chain, declare: true})
			}
		}
		if err := m.restore(ctx, tool, nonEmpty(t.Name, made)); err != nil {
			return err
		}
		for _, e := range edits {
			if e.made {
				e.declare = !m.layout.isTop(e.chain)
			}
			if len(e.refill) == 0 {
				rest = append(rest, e)
				continue
			}
			if err := m.restore(ctx, tool, nonEmpty(t.Name, []edit{e})); err != nil {
				c := t.Chain(e.chain)
				if err := m.refuse(ctx, tool, f, t.Name, c, err); err != nil {
					return err
				}
				res.Refused[e.chain] = err
				c.Rules = c.Fallback
			}
		}
		if err := m.restore(ctx, tool, nonEmpty(t.Name, rest)); err != nil {
			return err
		}
	}
	*want = out
	return nil
}

// refuse puts a chain's fallback in force and remembers why.
func (m *Manager) refuse(ctx context.Context, tool string, f table.Family, name string, c *table.Chain, why error) error {
	closed := edit{chain: c.Name, declare: true, lines: appendLines(nil, c.Name, c.Fallback)}
	if err := m.restore(ctx, tool, nonEmpty(name, []edit{closed})); err != nil {
		return errors.Join(why, err)
	}
	m.refused[refusalOf(f, name, c)] = why
	m.log.Error("chain refused, its fallback is in force", "chain", c.Name, "table", name, "error", why)
	return nil
}

func nonEmpty(name string, edits []edit) []tableEdits {
	if len(edits) == 0 {
		return nil
	}
	return []tableEdits{{name, edits}}
}
