package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync/atomic"

	"weft/internal/host/flow"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/pipeline"
)

// allTables asks a switch for the flows of all its tables (OFPTT_ALL).
const allTables = 0xff

// bridge is a bridge whose flows are ours, and what we know of them.
type bridge struct {
	name   string
	client *openflow.Client
	log    *slog.Logger
	epoch  atomic.Uint64 // of the connection, 0 while there is none; written by the client's goroutine

	// Owned by the loop.
	read    uint64 // the epoch in which has was read or written, 0: it must be read
	settled bool   // in this epoch, the flows have been once as they should be
	has     want   // what is installed, if read
	meters  []openflow.Meter
	greeted uint64 // the epoch in which limit was asked for
	limit   uint32 // the highest id of a meter, 0: there are none
	written uint64
	repairs uint64

	seed maphash.Seed
	seen atomic.Pointer[seenFlows]
}

// seenFlows are flows that were found to be as they had been left after so many writes.
type seenFlows struct{ sum, epoch, written uint64 }

// want is what a bridge shall hold: two lists of flows, which are the same slices as before if
// nothing of them has changed, flows that change step by step, and the meters that
// they use.
type want struct {
	flows, filters []flow.Flow
	members, peers stepped
	meters         []openflow.Meter
}

// stepped is flows that are many and change little.
type stepped struct {
	flow.Step
	all func() []flow.Flow // after the step
}

func (w *want) total() int { return len(w.flows) + len(w.filters) + w.members.Total + w.peers.Total }

// whole is all of it in one list.
func (w *want) whole() []flow.Flow {
	out := slices.Concat(w.flows, w.filters)
	for _, s := range []*stepped{&w.members, &w.peers} {
		if s.all != nil {
			out = append(out, s.all()...)
		}
	}
	return out
}

// after returns what leads from one state to the next, if the steps follow on one another.
func (w *want) after(had *want) (add, del []flow.Flow, follows bool) {
	for _, s := range []struct{ now, then *stepped }{{&w.members, &had.members}, {&w.peers, &had.peers}} {
		switch s.then.To {
		case s.now.To:
		case s.now.From:
			add, del = append(add, s.now.Add...), append(del, s.now.Del...)
		default:
			return nil, nil, false
		}
	}
	for _, l := range []struct{ now, then []flow.Flow }{{w.flows, had.flows}, {w.filters, had.filters}} {
		if !same(l.now, l.then) {
			a, d := flow.Diff(l.now, l.then, nil)
			add, del = append(add, a...), append(del, d...)
		}
	}
	return add, without(del, add), true
}

// without takes those flows out of a list that others have replaced: what one part of the whole gives up, another may want.
func without(del, add []flow.Flow) []flow.Flow {
	if len(del) == 0 || len(add) == 0 {
		return del
	}
	replaced := make(map[string]bool, len(add))
	for i := range add {
		replaced[add[i].Key()] = true
	}
	return slices.DeleteFunc(del, func(f flow.Flow) bool { return replaced[f.Key()] })
}

func newBridge(name, socket string, wake func(), packet func(openflow.PacketIn), log *slog.Logger) *bridge {
	b := &bridge{name: name, log: log, seed: maphash.MakeSeed()}
	b.client = openflow.New(socket, openflow.Events{
		Connected:    func(epoch uint64) { b.epoch.Store(epoch); wake() },
		Disconnected: func(error) { b.epoch.Store(0); wake() },
		PacketIn:     packet,
		PortStatus:   func(openflow.PortStatus) { wake() },
	}, log)
	return b
}

func (b *bridge) version() uint64 { return b.written }

// look compares the flows and meters that the switch has with those that the last sync left. What the next sync
// reads anyway is not looked at.
func (b *bridge) look() func(context.Context) (asLeft bool, err error) {
	if epoch := b.epoch.Load(); epoch == 0 || b.read != epoch || !b.settled {
		return func(context.Context) (bool, error) { return true, nil }
	}
	now, meters := seenFlows{epoch: b.read, written: b.written}, slices.Clone(b.meters)
	if last := b.seen.Load(); last != nil && last.epoch == now.epoch && last.written == now.written { // a host at rest is not decoded again and again
		return func(ctx context.Context) (bool, error) {
			haveMeters, err := b.each(ctx, func(f openflow.RawFlow) { now.sum += f.Sum(b.seed) })
			return b.looked(now == *last && sameMeters(meters, haveMeters), err)
		}
	}
	flows := b.has.whole()
	return func(ctx context.Context) (bool, error) {
		have, sum, haveMeters, err := b.dump(ctx)
		add, del := flow.Diff(flows, have, nil)
		asLeft := len(add)+len(del) == 0 && sameMeters(meters, haveMeters)
		if err == nil && asLeft {
			now.sum = sum
			b.seen.Store(&now)
		}
		return b.looked(asLeft, err)
	}
}

// looked is the result of a look.
func (b *bridge) looked(asLeft bool, err error) (bool, error) {
	switch {
	case errors.Is(err, openflow.ErrDisconnected):
		return true, nil // the next connection begins with a dump
	case err != nil:
		return false, fmt.Errorf("reading flows of %s: %w", b.name, err)
	}
	return asLeft, nil
}

// repair makes the next sync read the flows from the switch.
func (b *bridge) repair(context.Context) error {
	b.read = 0
	return nil
}

// greet asks a new connection what the switch can do, on which the flows depend.
func (b *bridge) greet(ctx context.Context) error {
	epoch := b.epoch.Load()
	if epoch == 0 || epoch == b.greeted {
		return nil
	}
	limit, err := b.client.MeterLimit(ctx)
	refused := (*openflow.Error)(nil)
	switch {
	case errors.Is(err, openflow.ErrDisconnected):
		return nil // there will be a new connection
	case err != nil && !errors.As(err, &refused):
		return fmt.Errorf("bridge %s: %w", b.name, err)
	}
	b.limit, b.greeted = limit, epoch // 0 if the switch does not know what a meter is
	return nil
}

// sync makes the bridge's flows the wanted ones, in one bundle that adds before it deletes, and the meters that they
// use. Without prune nothing is deleted. It returns openflow.ErrDisconnected while the bridge cannot be reached.
func (b *bridge) sync(ctx context.Context, w want, prune bool) error {
	epoch := b.epoch.Load()
	if epoch == 0 || epoch != b.greeted { // or the flows are for what there was before
		b.settled = false
		return openflow.ErrDisconnected
	}
	known := b.read == epoch && b.settled
	var add, del []flow.Flow
	if known {
		add, del, known = w.after(&b.has)
	}
	if !known {
		have, sum, meters, err := b.dump(ctx)
		if err != nil {
			return err
		}
		b.meters = meters
		add, del = flow.Diff(w.whole(), have, nil)
		b.read = epoch
		if len(add)+len(del) == 0 {
			b.seen.Store(&seenFlows{sum, epoch, b.written})
		}
	}
	if !prune {
		del = nil
	}
	if err := b.addMeters(ctx, w.meters); err != nil {
		b.read = 0
		return err
	}
	if len(add)+len(del) > 0 {
		if err := b.client.Apply(ctx, add, del); err != nil {
			b.read = 0
			return err
		}
		b.written += uint64(len(add) + len(del))
		if !known && b.settled {
			b.repairs++
			b.log.Warn("flows were not as left, repaired", "bridge", b.name, "put_back", len(add), "removed", len(del), "first", first(add, del))
		}
	}
	b.has, b.settled = w, true
	b.has.members.Add, b.has.members.Del, b.has.peers.Add, b.has.peers.Del = nil, nil, nil, nil // done
	if !prune {
		b.read = 0 // what was there and is not wanted stays: known only by reading it
		b.settled = len(add) == 0
		return nil
	}
	return b.deleteMeters(ctx, w.meters)
}

// dump reads the bridge's flows that are ours, their sum, and its meters.
func (b *bridge) dump(ctx context.Context) (have []flow.Flow, sum uint64, meters []openflow.Meter, err error) {
	meters, err = b.each(ctx, func(f openflow.RawFlow) {
		sum += f.Sum(b.seed)
		have = append(have, f.Decode().Flow)
	})
	return have, sum, meters, err
}

// each calls take for each of the bridge's flows that is ours, and returns its meters. Any goroutine may call it.
func (b *bridge) each(ctx context.Context, take func(openflow.RawFlow)) ([]openflow.Meter, error) {
	err := b.client.EachFlow(ctx, allTables, func(f openflow.RawFlow) {
		if pipeline.MineCookie(f.Cookie()) {
			take(f)
		}
	})
	if err != nil {
		return nil, err
	}
	return b.client.Meters(ctx)
}

// addMeters makes the meters that are not there, before the flows that use them.
func (b *bridge) addMeters(ctx context.Context, want []openflow.Meter) error {
	for _, m := range want {
		at := slices.IndexFunc(b.meters, func(h openflow.Meter) bool { return h.ID == m.ID })
		switch {
		case at < 0:
			if err := b.client.AddMeter(ctx, m); err != nil {
				return err
			}
			b.meters = append(b.meters, m)
		case b.meters[at] != m:
			if err := b.client.ModifyMeter(ctx, m); err != nil {
				return err
			}
			b.meters[at] = m
		default:
			continue
		}
		b.written++
	}
	return nil
}

// deleteMeters deletes the meters that no flow uses any more: those that look like ours.
func (b *bridge) deleteMeters(ctx context.Context, want []openflow.Meter) error {
	kept := b.meters[:0]
	for i, m := range b.meters {
		if slices.Contains(want, m) || m != portMeter(m.ID) {
			kept = append(kept, m)
			continue
		}
		if err := b.client.DeleteMeter(ctx, m.ID); err != nil {
			b.meters = append(kept, b.meters[i:]...)
			return err
		}
		b.written++
	}
	b.meters = kept
	return nil
}

// same reports whether both are one and the same list.
func same(a, b []flow.Flow) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// sameMeters compares lists in which each meter is once.
func sameMeters(a, b []openflow.Meter) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(m openflow.Meter) bool { return !slices.Contains(b, m) })
}

func first(add, del []flow.Flow) string {
	for _, fs := range [][]flow.Flow{add, del} {
		if len(fs) > 0 {
			return fs[0].String()
		}
	}
	return ""
}
