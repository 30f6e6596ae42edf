package store

import (
	"context"
	"errors"
	"sync"
)

// Commit is one durable batch of transactions.
type Commit struct {
	Revision uint64
	Snapshot *Snapshot // the state after it
	Changes  []Change  // at most one an object, in no particular order
}

// Change is what a commit did to one object. Before and After are pointers of
// one type, *model.Port for example; the untyped nil when absent.
type Change struct{ Before, After any }

// ErrLagged tells a subscriber that commits were dropped before it read them, or
// that memory was read anew from the journal: it shall take a new Snapshot,
// work from that, and subscribe again.
var ErrLagged = errors.New("the subscription lags behind")

// ring keeps the last commits for subscribers. Commits are numbered without
// gaps; a reload skips a number, so that all who have not read up to there lag.
//
// A commit holds on to the tree nodes that it replaced, and more so the more it changed: large ones are
// dropped before the ring is full, down to a quarter of it.
type ring struct {
	mu      sync.Mutex
	commits []*Commit // commit of number n is at n % len
	changes int       // of all that are kept
	oldest  uint64    // number of the oldest commit kept
	next    uint64    // number of the commit to come
	grown   chan struct{}
}

// ringChanges is how many changes the ring keeps when it has many commits.
const ringChanges = 1024

func newRing(size int) *ring {
	return &ring{commits: make([]*Commit, size), oldest: 1, next: 1, grown: make(chan struct{})}
}

// push adds a commit. Its snapshot must have the number that is next.
func (r *ring) push(c *Commit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := uint64(len(r.commits))
	if r.next-r.oldest == size {
		r.drop()
	}
	r.commits[r.next%size] = c
	r.changes += len(c.Changes)
	r.next++
	for r.changes > ringChanges && r.next-r.oldest > max(size/4, 1) {
		r.drop()
	}
	close(r.grown)
	r.grown = make(chan struct{})
}

// drop forgets the oldest commit.
func (r *ring) drop() {
	slot := &r.commits[r.oldest%uint64(len(r.commits))]
	r.changes -= len((*slot).Changes)
	*slot = nil
	r.oldest++
}

// reset drops all commits and returns the number that the reloaded state has.
func (r *ring) reset() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.commits)
	r.changes = 0
	seq := r.next
	r.next++
	r.oldest = r.next
	close(r.grown)
	r.grown = make(chan struct{})
	return seq
}

// Subscription reads commits in order. It costs nothing while nobody calls
// Next, and needs no closing. One goroutine may use it at a time.
type Subscription struct {
	ring *ring
	next uint64
}

// Subscribe returns a subscription to every commit after a snapshot.
func (s *Store) Subscribe(from *Snapshot) *Subscription {
	return &Subscription{ring: s.ring, next: from.t.seq + 1}
}

// Next returns the next commit, waiting for it until ctx ends. It returns
// ErrLagged when that commit is gone, and ctx's error.
func (s *Subscription) Next(ctx context.Context) (*Commit, error) {
	for {
		s.ring.mu.Lock()
		oldest, next, grown := s.ring.oldest, s.ring.next, s.ring.grown
		if s.next >= oldest && s.next < next {
			c := s.ring.commits[s.next%uint64(len(s.ring.commits))]
			s.ring.mu.Unlock()
			s.next++
			return c, nil
		}
		s.ring.mu.Unlock()
		if s.next < oldest {
			return nil, ErrLagged
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
