package agent

import (
	"context"
	"log/slog"
	"sync"

	"weft/internal/host/iptables"
)

// maxLooks is how often a part is looked at again because it was written to meanwhile, before it is taken for damaged: on a
// host that never rests, no look is ever sure.
const maxLooks = 3

// part is a part of the host that others may damage. All but what look returns is called by the loop.
type part interface {
	// version counts the writes to the part.
	version() uint64
	// look returns a comparison with what was left there, which any goroutine may run while the part is written to.
	look() func(context.Context) (asLeft bool, err error)
	// repair compares once more and makes the part as it should be, or has the next pass do both.
	repair(context.Context) error
}

// finding is how a part looked.
type finding struct {
	part    part
	version uint64 // when the look began
	looks   int    // that were not sure, before this one
	asLeft  bool
	err     error
}

// verification looks at parts beside the loop, which goes on meanwhile: reading what a host with many ports has takes
// longer than a change of it may wait. It only finds out whether something is wrong; the loop alone writes.
// The loop owns it.
type verification struct {
	log   *slog.Logger
	found chan finding
	under map[part]bool // being looked at
	looks sync.WaitGroup
}

func newVerification(log *slog.Logger) *verification {
	return &verification{log: log, found: make(chan finding), under: map[part]bool{}}
}

// begin looks at a part, unless that is under way. The loop must take what is found until ctx ends.
func (v *verification) begin(ctx context.Context, p part, looks int) {
	if v.under[p] {
		return
	}
	v.under[p] = true
	f := finding{part: p, version: p.version(), looks: looks}
	look := p.look()
	v.looks.Go(func() {
		limited, cancel := context.WithTimeout(ctx, applyLimit)
		f.asLeft, f.err = look(limited)
		cancel()
		select {
		case v.found <- f:
		case <-ctx.Done():
		}
	})
}

// judge acts on what was found, and reports whether the host has been, or is to be, repaired. A part that has changed since the look began
// need not be damaged: it is looked at again.
func (v *verification) judge(ctx context.Context, f finding) (repaired bool) {
	delete(v.under, f.part)
	switch {
	case f.err != nil:
		v.log.Warn("host not verified", "err", f.err)
		return false
	case f.asLeft:
		return false
	case f.part.version() != f.version && f.looks < maxLooks:
		v.begin(ctx, f.part, f.looks+1)
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, applyLimit)
	defer cancel()
	if err := f.part.repair(ctx); err != nil {
		v.log.Warn("host not repaired", "err", err)
	}
	return true
}

// wait returns when nothing is looked at any more, after the end of the context of begin.
func (v *verification) wait() { v.looks.Wait() }

// filters are the kernel's rules and sets as a part to verify.
type filters struct {
	*iptables.Manager
	metrics *metrics
}

func (f *filters) version() uint64                           { return f.Stats().Writes }
func (f *filters) look() func(context.Context) (bool, error) { return f.Look() }

func (f *filters) repair(ctx context.Context) error {
	before := f.Stats().Repairs
	_, err := f.Verify(ctx)
	f.metrics.repairs.WithLabelValues("filters").Add(float64(f.Stats().Repairs - before))
	return err
}
