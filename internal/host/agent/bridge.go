package agent

import (
	"context"
	"errors"
	"fmt"
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
	read      uint64 // the epoch in which installed was read, 0: it must be read
	settled   bool   // in this epoch, the flows have been once as they should be
	installed []flow.Flow
	meters    []openflow.Meter
	greeted   uint64 // the epoch in which limit was asked for
	limit     uint32 // the highest id of a meter, 0: there are none
	written   uint64
	repairs   uint64
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
func (b *bridge) sync(ctx context.Context, want []flow.Flow, meters []openflow.Meter, prune bool) error {
	epoch := b.epoch.Load()
	if epoch == 0 || epoch != b.greeted { // or the flows are for what there was before
		b.settled = false
		return openflow.ErrDisconnected
	}
	fresh := b.read != epoch
	if !fresh && b.settled && same(b.installed, want) {
		return nil
	}
	if fresh {
		stats, err := b.client.Dump(ctx, allTables)
		if err != nil {
			return err
		}
		b.installed = nil // not the list's memory, which may be somebody's wanted flows
		for _, s := range stats {
			if pipeline.Mine(s.Flow) {
				b.installed = append(b.installed, s.Flow)
			}
		}
		if b.meters, err = b.client.Meters(ctx); err != nil {
			return err
		}
		b.read = epoch
	}
	if err := b.addMeters(ctx, meters); err != nil {
		b.read = 0
		return err
	}
	add, del := flow.Diff(want, b.installed, nil)
	if !prune {
		del = nil
	}
	if len(add)+len(del) == 0 {
		b.settled = true
		if prune {
			b.installed = want
			return b.deleteMeters(ctx, meters)
		}
		return nil
	}
	if err := b.client.Apply(ctx, add, del); err != nil {
		b.read = 0
		return err
	}
	b.written += uint64(len(add) + len(del))
	if fresh && b.settled {
		b.repairs++
		b.log.Warn("flows were not as left, repaired", "bridge", b.name, "put_back", len(add), "removed", len(del), "first", first(add, del))
	}
	b.settled = true
	if !prune {
		b.read = 0 // what was there and is not wanted stays: known only by reading it
		b.settled = false
		return nil
	}
	b.installed = want
	return b.deleteMeters(ctx, meters)
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

func first(add, del []flow.Flow) string {
	for _, fs := range [][]flow.Flow{add, del} {
		if len(fs) > 0 {
			return fs[0].String()
		}
	}
	return ""
}
