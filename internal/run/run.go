// Package run owns the long-lived goroutines of a process: each has a name, the first that
// fails stops the others, and they end in the reverse order of their start.
//
// It is not a scheduler and knows no retries: a part that wants to try again
// does so itself. Called by the main package and by packages with several loops.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Group runs named parts. The zero value is not usable; see New.
type Group struct {
	log   *slog.Logger
	ctx   context.Context
	fail  context.CancelCauseFunc
	mu    sync.Mutex
	parts []*part // in the order of their start
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

// New returns a group whose parts end when ctx does.
func New(ctx context.Context, log *slog.Logger) *Group {
	g := &Group{log: log}
	g.ctx, g.fail = context.WithCancelCause(ctx)
	return g
}

// Go starts a part. When f returns an error before it was asked to stop, the whole group stops.
// Each part has a context of its own, which ends after those of all parts
// that were started later have returned.
func (g *Group) Go(name string, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(g.ctx))
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	g.mu.Lock()
	g.parts = append(g.parts, p)
	g.mu.Unlock()
	go func() {
		defer close(p.done)
		err := f(ctx)
		if ctx.Err() != nil || errors.Is(err, context.Canceled) && g.ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended unexpectedly")
		}
		g.fail(fmt.Errorf("%s: %w", name, err))
	}()
}

// Wait blocks until the group's context ends or a part fails, stops all parts, last started first,
// and returns the failure, or nil for an orderly end.
func (g *Group) Wait() error {
	<-g.ctx.Done()
	g.mu.Lock()
	parts := g.parts
	g.mu.Unlock()
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		p.cancel()
		select {
		case <-p.done:
		case <-time.After(stopPatience):
			g.log.Warn("part does not stop", "part", p.name)
		}
	}
	if err := context.Cause(g.ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stopPatience is how long Wait gives one part before it goes on with the next.
const stopPatience = 5 * time.Second
