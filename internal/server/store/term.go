package store

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"weft/internal/server/journal"
)

// term is the time for which this server leads. Its writer goroutine owns the
// live tables and the batch that is being collected; its committer goroutine
// owns the batch that is on its way to the journal. Readers ask the journal
// themselves whether the term still lasts (confirm.go).
type term struct {
	store  *Store
	live   *tables
	queue  chan *request
	reads  *confirmer
	over   chan struct{} // closed after the term, when all replies are given
	commit chan *batch
	done   chan outcome // of the batch sent to commit
}

type request struct {
	ctx   context.Context
	fn    func(tx *Tx) error
	err   error        // what fn returned
	reply chan outcome // takes one without waiting
}

type outcome struct {
	revision uint64
	err      error
}

func newTerm(s *Store, live *tables) *term {
	return &term{
		store:  s,
		live:   live,
		queue:  make(chan *request, s.opts.Queue),
		reads:  newConfirmer(s.journal.Confirm, s.opts.AppendTimeout),
		over:   make(chan struct{}),
		commit: make(chan *batch, 1),
		done:   make(chan outcome, 1),
	}
}

// run ends with the term, or gracefully with ctx. Every request that was taken
// has its answer by then.
func (t *term) run(ctx context.Context, lost <-chan struct{}) error {
	var helpers sync.WaitGroup
	helpers.Go(func() { t.committer(context.WithoutCancel(ctx)) })
	err := t.writer(ctx, lost)
	close(t.commit)
	t.reads.stop()
	helpers.Wait()
	return err
}

// writer runs the transactions, one after the other.
func (t *term) writer(ctx context.Context, lost <-chan struct{}) error {
	current, sent := &batch{}, false
	stop := ctx.Done()
	var end error // why the term ends, once it does
	for {
		queue := t.queue
		if current.full() || end != nil {
			queue = nil // until the batch before it is durable; forever
		}
		select {
		case req := <-queue:
			t.execute(current, req)
			t.drain(current, queue)
		case o := <-t.done:
			sent = false
			switch {
			case o.err == nil:
				t.live.revision = o.revision
				// Those who have just been answered may ask again at once: let them on to
				// this batch rather than have them wait for the one after.
				runtime.Gosched()
				t.drain(current, queue)
			case errors.Is(o.err, journal.ErrRefused):
				// The journal stands where readers do: go back to there.
				current.answer(0, unavailable(o.err))
				current = &batch{}
				t.live = t.store.Snapshot().t.freeze()
				t.store.log.Error("journal refused a batch", "error", o.err)
			default:
				current.answer(0, unavailable(o.err))
				return o.err
			}
		case <-lost:
			lost = nil
			end = journal.ErrDeposed
			current.answer(0, unavailable(end))
			current = &batch{}
		case <-stop:
			stop = nil
			end = context.Cause(ctx)
		}
		if sent {
			continue
		}
		if len(current.ops) == 0 {
			// All that these saw is durable, and there is nothing to add.
			current.answer(t.live.revision, nil)
			if end != nil {
				return end
			}
			continue
		}
		t.at(pointSeal)
		t.live.seq++
		current.tables = t.live.freeze()
		t.commit <- current
		current, sent = &batch{}, true
	}
}

// drain runs what is in the queue without waiting for more.
func (t *term) drain(b *batch, queue <-chan *request) {
	for !b.full() {
		select {
		case req := <-queue: // never from nil
			t.execute(b, req)
		default:
			return
		}
	}
}

// execute runs one transaction and adds it to a batch.
func (t *term) execute(b *batch, req *request) {
	if err := req.ctx.Err(); err != nil {
		req.reply <- outcome{err: unavailable(err)} // nobody waits for it
		return
	}
	edits, err := run(t.live, req.fn)
	t.at(pointRun)
	b.add(edits)
	req.err = err
	b.waiting = append(b.waiting, req)
}

// committer writes batches to the journal and shows them to readers.
func (t *term) committer(ctx context.Context) {
	for b := range t.commit {
		revision, err := t.append(ctx, b)
		if err != nil {
			b.answer(0, unavailable(err))
			t.done <- outcome{err: err}
			continue
		}
		t.at(pointDurable)
		b.tables.revision = revision
		snapshot := &Snapshot{Reader{b.tables}}
		t.store.latest.Store(snapshot)
		t.store.ring.push(&Commit{Revision: revision, Snapshot: snapshot, Changes: b.netChanges()})
		t.at(pointPublished)
		b.answer(revision, nil)
		t.done <- outcome{revision: revision}
	}
}

func (t *term) append(ctx context.Context, b *batch) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, t.store.opts.AppendTimeout)
	defer cancel()
	return t.store.journal.Append(ctx, b.ops)
}

// wait returns the answer to a request that is in the queue; ok is false when
// the term ended before it was run.
func (t *term) wait(ctx context.Context, req *request) (o outcome, ok bool) {
	select {
	case o := <-req.reply:
		return o, true
	case <-t.over:
	case <-ctx.Done():
		return outcome{err: unavailable(ctx.Err())}, true
	}
	select {
	case o := <-req.reply: // given before the term was over
		return o, true
	default:
		return outcome{}, false
	}
}

func (t *term) at(p point) {
	if t.store.hook != nil {
		t.store.hook(p)
	}
}
