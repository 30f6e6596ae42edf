package agent

import (
	"context"
	"log/slog"
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

// sync makes the bridge's flows the wanted ones, in one bundle that adds before it deletes. Without prune
// nothing is deleted. It returns openflow.ErrDisconnected while the bridge cannot be reached.
func (b *bridge) sync(ctx context.Context, want []flow.Flow, prune bool) error {
	epoch := b.epoch.Load()
	if epoch == 0 {
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
		b.read = epoch
	}
	add, del := flow.Diff(want, b.installed, nil)
	if !prune {
		del = nil
	}
	if len(add)+len(del) == 0 {
		b.settled = true
		if prune {
			b.installed = want
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
	if prune {
		b.installed = want
	} else {
		b.read = 0 // what was there and is not wanted stays: known only by reading it
		b.settled = false
	}
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
