package store

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/fault"
	"weft/internal/server/journal"
)

// Journal is what the store needs of the durable log. *etcd.Journal and
// *journal.Memory are such.
type Journal interface {
	// Campaign waits until this server leads, then begins a term: from then on no
	// append of a former term succeeds, neither this server's nor another's. The
	// channel is closed when the term is known to be over.
	Campaign(ctx context.Context) (lost <-chan struct{}, err error)
	// Load hands out all rows under journal.Prefix as of one revision, which is
	// not older than the call, in order of their keys. The page's memory is the callee's.
	Load(ctx context.Context, page func([]journal.Entry) error) (revision uint64, err error)
	// Append writes all of ops, of which no two have the same key, or nothing.
	// Its errors are those of package journal.
	Append(ctx context.Context, ops []journal.Op) (revision uint64, err error)
	// Confirm returns nil when the term was not over at some moment of the call.
	Confirm(ctx context.Context) error
}

// Options of a store. The zero value is right for a server.
type Options struct {
	Log *slog.Logger // slog.Default when nil
	// Queue is how many transactions wait at most for their turn; further calls of
	// Update wait for a place. 1024 when zero.
	Queue int
	// Ring is how many commits are kept for subscribers. 1024 when zero.
	Ring int
	// Hold is how long Update waits for the lead or for a place in the queue
	// before it gives up. 5 s when zero.
	Hold time.Duration
	// AppendTimeout is how long the journal may take for one batch before its
	// outcome counts as unknown. 10 s when zero.
	AppendTimeout time.Duration
	// Retry is the pause before the lead is sought again after the journal failed.
	// 200 ms when zero.
	Retry time.Duration
}

// Store is all state of a server. See New.
type Store struct {
	journal Journal
	opts    Options
	log     *slog.Logger
	ring    *ring
	latest  atomic.Pointer[Snapshot]
	ready   chan struct{} // closed when loaded and leading for the first time
	hook    func(point)   // tests fail here; nil otherwise

	mu      sync.Mutex
	term    *term         // nil when not leading
	changed chan struct{} // closed when term changes
}

// point is a moment in the life of a batch.
type point string

const (
	pointRun       point = "run"       // a transaction ran, in memory only
	pointSeal      point = "seal"      // the batch is about to be sent
	pointDurable   point = "durable"   // the journal has it, memory has not
	pointPublished point = "published" // readers see it, callers have no answer yet
)

// New returns a store on a journal. It does nothing before Run; until then it
// is empty.
func New(j Journal, opts Options) *Store {
	setDefault(&opts.Log, slog.Default())
	setDefault(&opts.Queue, 1024)
	setDefault(&opts.Ring, 1024)
	setDefault(&opts.Hold, 5*time.Second)
	setDefault(&opts.AppendTimeout, 10*time.Second)
	setDefault(&opts.Retry, 200*time.Millisecond)
	s := &Store{
		journal: j,
		opts:    opts,
		log:     opts.Log,
		ring:    newRing(opts.Ring),
		ready:   make(chan struct{}),
		changed: make(chan struct{}),
	}
	s.latest.Store(&Snapshot{Reader{newTables()}})
	return s
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Run seeks the lead, loads the journal and runs transactions until ctx ends;
// what was begun is then finished. It returns nil then, and an error only when
// the journal holds what this release cannot read. Call it once.
func (s *Store) Run(ctx context.Context) error {
	for {
		err := s.lead(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var corrupt *corruptError
		if errors.As(err, &corrupt) {
			return err
		}
		s.log.Warn("lead lost", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.opts.Retry):
		}
	}
}

// lead lives through one term, from the campaign to its end.
func (s *Store) lead(ctx context.Context) error {
	lost, err := s.journal.Campaign(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	live, err := load(ctx, s.journal)
	if err != nil {
		return err
	}
	live.seq = s.ring.reset()
	s.latest.Store(&Snapshot{Reader{live.freeze()}})
	s.log.Info("leading", "revision", live.revision, "ports", live.ports.rows.tree.len(), "load_seconds", time.Since(start).Seconds())

	t := newTerm(s, live)
	s.setTerm(t)
	err = t.run(ctx, lost)
	s.setTerm(nil)
	close(t.over)
	return err
}

func (s *Store) setTerm(t *term) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.term = t
	close(s.changed)
	s.changed = make(chan struct{})
	if t != nil {
		select {
		case <-s.ready:
		default:
			close(s.ready)
		}
	}
}

func (s *Store) currentTerm() (*term, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term, s.changed
}

// Ready is closed once the store is loaded and leads for the first time.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Leading reports whether Update works here at this moment.
func (s *Store) Leading() bool {
	t, _ := s.currentTerm()
	return t != nil
}

// Snapshot returns the latest durable state, without waiting for anything. It
// is empty before Ready.
func (s *Store) Snapshot() *Snapshot { return s.latest.Load() }

// Read returns a state that holds every write that was answered before the
// call, whichever server answered it. It returns a fault of kind Unavailable when this
// server does not lead.
func (s *Store) Read(ctx context.Context) (*Snapshot, error) {
	t, _ := s.currentTerm()
	if t == nil {
		return nil, unavailable(errNotLeading)
	}
	// While this server leads, memory holds all that was answered: an answer is
	// given after memory has advanced. So all there is to learn is whether it leads.
	if err := t.reads.confirm(ctx); err != nil {
		return nil, unavailable(err)
	}
	return s.Snapshot(), nil
}

// Update runs fn in a transaction, after all earlier ones and before all later
// ones. When fn returns nil, Update returns the revision at which its writes are
// durable; they are then in Snapshot. When fn returns an error, nothing is changed, and
// Update returns that error, once all that fn may have seen is durable.
//
// Without the lead for Options.Hold, or when the journal fails, the error is a
// fault of kind Unavailable; nothing is changed then, unless the journal's answer was lost:
// the next term shows. The same holds when ctx ends while Update waits.
//
// fn is called at most once, in another goroutine. It must not wait for
// anything, and has no effects but on tx. A panic of it is returned as an error.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) (revision uint64, err error) {
	req := &request{ctx: ctx, fn: fn, reply: make(chan outcome, 1)}
	if t, _ := s.currentTerm(); t != nil {
		select {
		case t.queue <- req: // as a rule there is a place
			if o, ok := t.wait(ctx, req); ok {
				return o.revision, o.err
			}
		default:
		}
	}
	hold := time.NewTimer(s.opts.Hold)
	defer hold.Stop()
	for {
		t, changed := s.currentTerm()
		var queue chan<- *request // nil, and never ready, without a term
		if t != nil {
			queue = t.queue
		}
		select {
		case queue <- req:
			if o, ok := t.wait(ctx, req); ok {
				return o.revision, o.err
			}
		case <-changed:
		case <-hold.C:
			return 0, unavailable(errNotLeading)
		case <-ctx.Done():
			return 0, unavailable(ctx.Err())
		}
	}
}

var errNotLeading = errors.New("this server does not lead, or is too busy")

func unavailable(cause error) error {
	return fault.New(fault.Unavailable, "ServiceUnavailable",
		"The service cannot take the request now. Please try again.").Because(cause)
}
