package agent

import (
	"maps"
	"sync"

	"weft/internal/model"
)

// reporter holds the state of each port until the server has been told. The
// last word on a port wins; what could not be sent is put back unless there is a newer word.
type reporter struct {
	mu      sync.Mutex
	pending map[model.PortID]model.Report
	told    map[model.PortID]model.Report // since the session began
	ack     *ack                          // to be told, nil for none
	acked   ack                           // told since the session began
	wake    chan struct{}                 // one slot: there is something to tell
}

// ack is how far the host is programmed.
type ack struct {
	revision uint64
	failed   int // ports that could not be applied
}

func newReporter() *reporter {
	return &reporter{pending: map[model.PortID]model.Report{}, told: map[model.PortID]model.Report{}, wake: make(chan struct{}, 1)}
}

// say files the present state of all ports; what the server knows already is not said again.
func (r *reporter) say(all map[model.PortID]model.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, rep := range all {
		if r.told[id] != rep {
			r.pending[id] = rep
		} else {
			delete(r.pending, id)
		}
	}
	gone := func(id model.PortID, _ model.Report) bool { _, here := all[id]; return !here }
	maps.DeleteFunc(r.told, gone)
	maps.DeleteFunc(r.pending, gone)
	r.signalLocked()
}

// applied files how far the host is programmed.
func (r *reporter) applied(a ack) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ack = nil
	if a != r.acked {
		r.ack = &a
	}
	r.signalLocked()
}

// takeAck returns what is to be acknowledged, nil for nothing. What it is about has been said
// before: take the reports after it, and send them first.
func (r *reporter) takeAck() *ack {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.ack
	if a != nil {
		r.ack, r.acked = nil, *a
	}
	return a
}

// forget makes the next say report every port anew: a new session has begun.
func (r *reporter) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, rep := range r.told {
		if _, newer := r.pending[id]; !newer {
			r.pending[id] = rep
		}
	}
	clear(r.told)
	r.ack, r.acked = nil, ack{} // of the former session: the view that begins this one is applied next
	r.signalLocked()
}

func (r *reporter) take() []model.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []model.Report
	for id, rep := range r.pending {
		out = append(out, rep)
		r.told[id] = rep
	}
	clear(r.pending)
	return out
}

func (r *reporter) putBack(reports []model.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rep := range reports {
		delete(r.told, rep.PortID)
		if _, newer := r.pending[rep.PortID]; !newer {
			r.pending[rep.PortID] = rep
		}
	}
	r.signalLocked()
}

func (r *reporter) signalLocked() {
	if len(r.pending) == 0 && r.ack == nil {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
