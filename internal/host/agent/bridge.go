package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"weft/internal/host/firewall"
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
	written uint64
	repairs uint64
}

// want is what a bridge shall hold: two lists of flows, which are the same slices as before if
// nothing of them has changed, and flows that change step by step.
type want struct {
	flows, filters []flow.Flow
	members        firewall.MemberStep
	all            func() []flow.Flow // of members, after the step
}

// whole is all of it in one list.
func (w *want) whole() []flow.Flow {
	out := slices.Concat(w.flows, w.filters)
	if w.all != nil {
		out = append(out, w.all()...)
	}
	return out
}

// after returns what leads from one state to the next, if the steps follow on one another.
func (w *want) after(had *want) (add, del []flow.Flow, follows bool) {
	if had.members.To != w.members.From {
		return nil, nil, false
	}
	for _, l := range []struct{ now, then []flow.Flow }{{w.flows, had.flows}, {w.filters, had.filters}} {
		if !same(l.now, l.then) {
			a, d := flow.Diff(l.now, l.then, nil)
			add, del = append(add, a...), append(del, d...)
		}
	}
	return append(add, w.members.Add...), append(del, w.members.Del...), true
}

func newBridge(name, socket string, wake func(), packet func(openflow.PacketIn), log *slog.Logger) *bridge {
	b := &bridge{name: name, log: log}
	b.client = openflow.New(socket, openflow.Events{
		Connected:    func(epoch uint64) { b.epoch.Store(epoch); wake() },
		Disconnected: func(error) { b.epoch.Store(0); wake() },
		PacketIn:     packet,
		PortStatus:   func(openflow.PortStatus) { wake() },
	}, log)
	return b
}

// doubt makes the next sync read the flows from the switch.
func (b *bridge) doubt() { b.read = 0 }

// sync makes the bridge's flows the wanted ones, in one bundle that adds before it deletes. Without prune
// nothing is deleted. It returns openflow.ErrDisconnected while the bridge cannot be reached.
func (b *bridge) sync(ctx context.Context, w want, prune bool) error {
	epoch := b.epoch.Load()
	if epoch == 0 {
		b.settled = false
		return openflow.ErrDisconnected
	}
	known := b.read == epoch
	var add, del []flow.Flow
	if known && b.settled {
		add, del, known = w.after(&b.has)
	}
	if !known || !b.settled {
		have, err := b.dump(ctx)
		if err != nil {
			return err
		}
		add, del = flow.Diff(w.whole(), have, nil)
		b.read = epoch
	}
	if !prune {
		del = nil
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
	if !prune {
		b.read = 0 // what was there and is not wanted stays: known only by reading it
		b.settled = len(add) == 0
	}
	return nil
}

// dump reads the bridge's flows that are ours.
func (b *bridge) dump(ctx context.Context) ([]flow.Flow, error) {
	stats, err := b.client.Dump(ctx, allTables)
	if err != nil {
		return nil, err
	}
	var have []flow.Flow
	for _, s := range stats {
		if pipeline.Mine(s.Flow) {
			have = append(have, s.Flow)
		}
	}
	return have, nil
}

// same reports whether both are one and the same list.
func same(a, b []flow.Flow) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func first(add, del []flow.Flow) string {
	for _, fs := range [][]flow.Flow{add, del} {
		if len(fs) > 0 {
			return fs[0].String()
		}
	}
	return ""
}
