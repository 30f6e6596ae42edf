package store

import (
	"context"
	"sync"
	"time"
)

// confirmer asks whether a term lasts, one question at a time for all who want to know. A reader that
// finds nobody waiting asks itself, without another goroutine; those who come while a question is under way
// share the next one, as the answer to that under way may be about a moment before they came.
type confirmer struct {
	ask   func(context.Context) error
	limit time.Duration // of one question

	mu   sync.Mutex
	next *question // not asked yet

	turn  chan struct{} // one slot: full while a question is under way
	ended bool          // changed in turn
}

func newConfirmer(ask func(context.Context) error, limit time.Duration) *confirmer {
	return &confirmer{ask: ask, limit: limit, turn: make(chan struct{}, 1)}
}

// question is asked by the reader that made it, and waited for by the others.
type question struct {
	done chan struct{}
	err  error
}

// confirm returns nil when the term was not over at some moment of the call.
func (c *confirmer) confirm(ctx context.Context) error {
	c.mu.Lock()
	q, mine := c.next, false
	if q == nil {
		q, mine = &question{done: make(chan struct{})}, true
		c.next = q
	}
	c.mu.Unlock()
	if mine {
		q.err = c.put(ctx)
		close(q.done)
		return q.err
	}
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// put asks when it is its turn. Others wait for the answer, so that it does not end with the request of who asks.
func (c *confirmer) put(ctx context.Context) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.mu.Lock()
	c.next = nil // who comes from now on has the next
	c.mu.Unlock()
	if c.ended {
		return errNotLeading
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.limit)
	defer cancel()
	return c.ask(ctx)
}

// stop returns when no question is under way, and lets no other begin: the next term may be another's for
// a while before it is ours again, and an answer about ours would speak for memory from before.
func (c *confirmer) stop() {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.ended = true
}
