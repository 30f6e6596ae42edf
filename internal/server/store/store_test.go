package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/journal"
)

// failer is what tests and properties have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// started returns a store that leads, and what ends it.
func started(t failer, j Journal, opts Options) (s *Store, stop func()) {
	t.Helper()
	opts.Log = slog.New(slog.DiscardHandler)
	s = New(j, opts)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatalf("starting: %v", err)
	}
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ending: %v", err)
		}
	}
}

func update(t failer, s *Store, fn func(tx *Tx)) uint64 {
	t.Helper()
	revision, err := s.Update(context.Background(), func(tx *Tx) error { fn(tx); return nil })
	if err != nil {
		t.Fatalf("updating: %v", err)
	}
	return revision
}

func quota(n int) *model.Quota { return &model.Quota{ProjectID: fmt.Sprint("p", n)} }

// gate is a journal whose appends wait to be let through, each with an error
// or nil.
type gate struct {
	*journal.Memory
	arrived chan []journal.Op
	answer  chan error
}

func newGate() *gate {
	g := &gate{journal.NewMemory(), make(chan []journal.Op), make(chan error)}
	g.OnAppend(func(ops []journal.Op, write func()) error {
		g.arrived <- ops
		err := <-g.answer
		if err == nil || errors.Is(err, errWritten) {
			write()
		}
		return err
	})
	return g
}

// errWritten is an unknown outcome that was a write.
var errWritten = fmt.Errorf("%w: but it is written", journal.ErrUnknown)

func (g *gate) open() { g.OnAppend(nil) }

func TestNobodySeesWhatIsNotDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		s, stop := started(t, g, Options{})
		defer stop()
		refused := errors.New("there is one already")
		answers := make(chan string, 10)
		go func() {
			_, err := s.Update(t.Context(), func(tx *Tx) error { tx.PutQuota(quota(1)); return nil })
			answers <- fmt.Sprint("write: ", err)
		}()
		<-g.arrived
		// Two that run ahead of the first one's durability: one fails because of what
		// it sees, one only reads it.
		go func() {
			_, err := s.Update(t.Context(), func(tx *Tx) error {
				if tx.Quota("p1") == nil {
					return errors.New("it does not see the write before it")
				}
				tx.PutQuota(quota(2))
				return refused
			})
			answers <- fmt.Sprint("refused: ", err)
		}()
		synctest.Wait()
		if n := len(answers); n != 0 {
			t.Errorf("%d answers before the journal's: %s", n, <-answers)
		}
		if s.Snapshot().Quota("p1") != nil {
			t.Error("a reader sees what is not durable")
		}
		g.answer <- nil
		synctest.Wait()
		if got := <-answers + ", " + <-answers; got != "write: <nil>, refused: there is one already" && got != "refused: there is one already, write: <nil>" {
			t.Error(got)
		}
		if s.Snapshot().Quota("p1") == nil || s.Snapshot().Quota("p2") != nil {
			t.Error("the write is not there, or the refused one is")
		}
		g.open()
	})
}

func TestBatchesGatherWhileOneIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		s, stop := started(t, g, Options{})
		defer stop()
		sub := s.Subscribe(s.Snapshot())
		write := func(fn func(tx *Tx)) {
			go func() { update(t, s, fn) }()
			synctest.Wait()
		}
		write(func(tx *Tx) { tx.PutQuota(quota(0)) })
		if ops := <-g.arrived; len(ops) != 1 {
			t.Errorf("first batch has %d operations, want 1", len(ops))
		}
		before := quota(1)
		after := quota(1)
		write(func(tx *Tx) { tx.PutQuota(before) })
		write(func(tx *Tx) { tx.PutQuota(after) })    // the same row
		write(func(tx *Tx) { tx.PutQuota(quota(2)) }) // comes
		write(func(tx *Tx) { tx.DeleteQuota("p2") })  // and goes
		write(func(tx *Tx) { tx.DeleteQuota("p0") })
		g.answer <- nil
		ops := <-g.arrived
		if len(ops) != 3 {
			t.Errorf("second batch has %d operations, want one each for p0, p1, p2", len(ops))
		}
		g.answer <- nil
		synctest.Wait()
		first, err := sub.Next(t.Context())
		if err != nil || len(first.Changes) != 1 || first.Snapshot.Quota("p0") == nil || first.Snapshot.Revision() != first.Revision {
			t.Errorf("first commit %+v, %v", first, err)
		}
		second, err := sub.Next(t.Context())
		if err != nil || len(second.Changes) != 2 || second.Revision <= first.Revision {
			t.Fatalf("second commit %+v, %v; want 2 changes", second, err)
		}
		for _, c := range second.Changes {
			if c.After == nil {
				if c.Before.(*model.Quota).ProjectID != "p0" {
					t.Errorf("deleted %v, want p0", c.Before)
				}
			} else if c.Before != nil || c.After.(*model.Quota) != after {
				t.Errorf("changed %v to %v, want nothing to the last p1", c.Before, c.After)
			}
		}
		g.open()
	})
}

func TestFailedBatchEndsTheTerm(t *testing.T) {
	for _, c := range []struct {
		name    string
		err     error
		written bool
		reloads bool
	}{
		{"unknown, and written", errWritten, true, true},
		{"unknown, and not written", journal.ErrUnknown, false, true},
		{"deposed", journal.ErrDeposed, false, true},
		{"an error that is none of the journal's", errors.New("?"), false, true},
		{"refused", journal.ErrRefused, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate()
				s, stop := started(t, g, Options{})
				defer stop()
				sub := s.Subscribe(s.Snapshot())
				errs := make(chan error, 2)
				write := func(n int) {
					go func() {
						_, err := s.Update(t.Context(), func(tx *Tx) error { tx.PutQuota(quota(n)); return nil })
						errs <- err
					}()
				}
				write(1)
				<-g.arrived
				write(2) // runs ahead
				synctest.Wait()
				g.answer <- c.err
				for range 2 {
					if err := <-errs; fault.Of(err) != fault.Unavailable {
						t.Errorf("update: %v, want Unavailable", err)
					}
				}
				g.open()
				update(t, s, func(tx *Tx) {
					if (tx.Quota("p1") != nil) != c.written || tx.Quota("p2") != nil {
						t.Errorf("memory has p1 %v, p2 %v; the journal has p1: %v", tx.Quota("p1"), tx.Quota("p2"), c.written)
					}
					tx.PutQuota(quota(3))
				})
				commit, err := sub.Next(t.Context())
				if c.reloads && !errors.Is(err, ErrLagged) {
					t.Errorf("subscription: %v, want ErrLagged", err)
				}
				if !c.reloads && (err != nil || len(commit.Changes) != 1 || commit.Snapshot.Quota("p3") == nil) {
					t.Errorf("subscription: %+v, %v, want the next commit", commit, err)
				}
			})
		})
	}
}

func TestDeposedLeaderReadsMemoryAnew(t *testing.T) {
	j := journal.NewMemory()
	s, stop := started(t, j, Options{Retry: time.Millisecond})
	defer stop()
	update(t, s, func(tx *Tx) { tx.PutQuota(quota(1)) })
	j.Usurp(
		journal.Op{Key: journal.Prefix + "quota/p1"},
		journal.Op{Key: journal.Prefix + "quota/p2", Value: []byte(`{"schema":1,"project_id":"p2","limits":{"port":7}}`)},
	)
	// Whether this one meets the old term's end or the new term, it sees the
	// usurper's writes or is not done.
	var seen *model.Quota
	for {
		_, err := s.Update(t.Context(), func(tx *Tx) error { seen = tx.Quota("p2"); tx.PutQuota(quota(3)); return nil })
		if err == nil {
			break
		}
		if fault.Of(err) != fault.Unavailable {
			t.Fatal(err)
		}
	}
	if snap := s.Snapshot(); seen == nil || seen.Limits["port"] != 7 || snap.Quota("p1") != nil || snap.Quota("p3") == nil {
		t.Errorf("after the usurper: p1 %v, p2 %v, p3 %v", snap.Quota("p1"), seen, snap.Quota("p3"))
	}
	if _, err := s.Read(t.Context()); err != nil {
		t.Errorf("read: %v", err)
	}
}

// campaigns is a journal that another server holds until led is closed.
type campaigns struct {
	*journal.Memory
	led chan struct{}
}

func (c *campaigns) Campaign(ctx context.Context) (<-chan struct{}, error) {
	select {
	case <-c.led:
		return c.Memory.Campaign(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestUpdateWaitsForTheLeadAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &campaigns{journal.NewMemory(), make(chan struct{})}
		s := New(j, Options{Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		start := time.Now()
		_, err := s.Update(t.Context(), func(*Tx) error { return nil })
		if fault.Of(err) != fault.Unavailable || time.Since(start) != 5*time.Second {
			t.Errorf("after %v: %v, want Unavailable after 5 s", time.Since(start), err)
		}
		if _, err := s.Read(t.Context()); fault.Of(err) != fault.Unavailable || s.Leading() {
			t.Errorf("read: %v, want Unavailable", err)
		}
		result := make(chan error)
		go func() {
			_, err := s.Update(t.Context(), func(*Tx) error { return nil })
			result <- err
		}()
		time.Sleep(time.Second) // of the bubble's time
		close(j.led)
		if err := <-result; err != nil {
			t.Errorf("update of one that waited: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestEndFinishesWhatWasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		s, stop := started(t, g, Options{})
		errs := make(chan error, 2)
		write := func(n int) {
			go func() {
				_, err := s.Update(t.Context(), func(tx *Tx) error { tx.PutQuota(quota(n)); return nil })
				errs <- err
			}()
		}
		write(1)
		<-g.arrived
		write(2)
		synctest.Wait()
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		g.answer <- nil
		<-g.arrived
		g.answer <- nil
		<-stopped
		for range 2 {
			if err := <-errs; err != nil {
				t.Errorf("update: %v", err)
			}
		}
		if n := len(g.Rows()); n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
	})
	goleak.VerifyNone(t)
}

func TestUpdateThatNobodyWaitsForIsNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := started(t, journal.NewMemory(), Options{})
		defer stop()
		in, out := make(chan struct{}), make(chan struct{})
		go update(t, s, func(*Tx) { close(in); <-out }) // holds the writer
		<-in
		ctx, cancel := context.WithCancel(t.Context())
		ran := false
		result := make(chan error, 1)
		go func() {
			_, err := s.Update(ctx, func(*Tx) error { ran = true; return nil })
			result <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-result; fault.Of(err) != fault.Unavailable || !errors.Is(err, context.Canceled) {
			t.Errorf("update: %v, want Unavailable because of the context", err)
		}
		close(out)
		update(t, s, func(*Tx) {})
		if ran {
			t.Error("it ran all the same")
		}
	})
}

func TestTransactionsThatGoWrongAreUndone(t *testing.T) {
	j := journal.NewMemory()
	s, stop := started(t, j, Options{})
	defer stop()
	var leaked *Tx
	for _, c := range []struct {
		name string
		fn   func(tx *Tx) error
		kind fault.Kind
	}{
		{"panic", func(tx *Tx) error { tx.PutQuota(quota(1)); panic("bug") }, fault.Internal},
		{"fault", func(tx *Tx) error { tx.PutQuota(quota(1)); return fault.New(fault.Conflict, "X", "no") }, fault.Conflict},
		{"row that cannot be encoded", func(tx *Tx) error {
			leaked = tx
			tx.PutPort(&model.Port{Binding: model.Binding{Profile: []byte("{")}})
			return nil
		}, fault.Internal},
		{"too many rows", func(tx *Tx) error {
			for i := range maxTxOps + 1 {
				tx.PutQuota(quota(i))
			}
			return nil
		}, fault.Invalid},
		{"too many bytes", func(tx *Tx) error {
			tx.PutPort(&model.Port{Meta: model.Meta{Name: strings.Repeat("x", maxTxBytes)}})
			return nil
		}, fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Update(t.Context(), c.fn)
			if err == nil || fault.Of(err) != c.kind {
				t.Errorf("update: %v, want kind %d", err, c.kind)
			}
			update(t, s, func(tx *Tx) {
				if number(tx.Quotas())+number(tx.Ports()) != 0 {
					t.Error("rows are left")
				}
			})
		})
	}
	if len(j.Rows()) != 0 {
		t.Errorf("%d rows in the journal", len(j.Rows()))
	}
	defer func() {
		if recover() == nil {
			t.Error("a transaction can be used after its end")
		}
	}()
	leaked.PutQuota(quota(1))
}

func TestOneTransactionMayBeAsLargeAsTheJournalTakes(t *testing.T) {
	s, stop := started(t, journal.NewMemory(), Options{})
	defer stop()
	update(t, s, func(tx *Tx) {
		for i := range maxTxOps {
			tx.PutQuota(quota(i))
		}
	})
	if n := number(s.Snapshot().Quotas()); n != maxTxOps {
		t.Errorf("%d rows, want %d", n, maxTxOps)
	}
}

func TestSubscriptionIsCompleteAndInOrder(t *testing.T) {
	s, stop := started(t, journal.NewMemory(), Options{})
	defer stop()
	from := s.Snapshot()
	sub := s.Subscribe(from)
	done := make(chan struct{})
	go func() {
		seen, last := map[string]bool{}, from.Revision()
		for len(seen) < 300 {
			c, err := sub.Next(context.Background())
			if err != nil {
				t.Errorf("next: %v", err)
				break
			}
			if c.Revision <= last {
				t.Errorf("revision %d follows %d", c.Revision, last)
			}
			last = c.Revision
			for _, ch := range c.Changes {
				q := ch.After.(*model.Quota)
				if seen[q.ProjectID] || c.Snapshot.Quota(q.ProjectID) != q {
					t.Errorf("%s came twice, or is not in its snapshot", q.ProjectID)
				}
				seen[q.ProjectID] = true
			}
		}
		close(done)
	}()
	for i := range 300 {
		update(t, s, func(tx *Tx) { tx.PutQuota(quota(i)) })
	}
	<-done
}

func TestSubscriberThatLagsIsTold(t *testing.T) {
	s, stop := started(t, journal.NewMemory(), Options{Ring: 4})
	defer stop()
	from := s.Snapshot()
	for i := range 4 {
		update(t, s, func(tx *Tx) { tx.PutQuota(quota(i)) })
	}
	sub := s.Subscribe(from)
	if c, err := sub.Next(t.Context()); err != nil || c.Changes[0].After.(*model.Quota).ProjectID != "p0" {
		t.Errorf("oldest that is kept: %+v, %v", c, err)
	}
	update(t, s, func(tx *Tx) { tx.PutQuota(quota(4)) })
	if _, err := s.Subscribe(from).Next(t.Context()); !errors.Is(err, ErrLagged) {
		t.Errorf("one too old: %v, want ErrLagged", err)
	}
	if _, err := sub.Next(t.Context()); err != nil {
		t.Errorf("one that has read the oldest: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Subscribe(s.Snapshot()).Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nothing to come: %v, want the context's error", err)
	}
}

func TestStoreRefusesToStartOnRowsThatItCannotRead(t *testing.T) {
	for _, c := range []struct{ name, key, value, want string }{
		{"unknown table", "nosuch/1", `{"schema":1,"id":"x"}`, `no table "nosuch"`},
		{"no id", "port/", `{"schema":1}`, "it is not"},
		{"no table", "port", `{"schema":1}`, "it is not"},
		{"no schema", "quota/p", `{"project_id":"p"}`, "does not begin with a schema version"},
		{"newer schema", "quota/p", `{"schema":2,"project_id":"p"}`, "newer than 1"},
		{"schema is no number", "quota/p", `{"schema":"a","project_id":"p"}`, "not a number"},
		{"schema alone", "quota/p", `{"schema":1}`, "ends after"},
		{"field of a newer release", "quota/p", `{"schema":1,"project_id":"p","colour":"red"}`, `"colour"`},
		{"not JSON", "quota/p", `{"schema":1,"project_id":`, "EOF"},
		{"two objects", "quota/p", `{"schema":1,"project_id":"p","limits":null}{}`, "something follows"},
		{"wrong type", "port/00000000-0000-0000-0000-000000000001", `{"schema":1,"id":7}`, "id"},
		{"row of another key", "quota/q", `{"schema":1,"project_id":"p","limits":null}`, "its value is that of quota/p"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := journal.NewMemory()
			good := journal.Op{Key: journal.Prefix + "quota/a", Value: []byte(`{"schema":1,"project_id":"a","limits":null}`)}
			j.Usurp(good, journal.Op{Key: journal.Prefix + c.key, Value: []byte(c.value)})
			err := New(j, Options{Log: slog.New(slog.DiscardHandler)}).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), journal.Prefix+c.key) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("running: %v\nwant an error with %q and %q", err, journal.Prefix+c.key, c.want)
			}
			if n := len(j.Rows()); n != 2 {
				t.Errorf("%d rows are left of 2", n)
			}
		})
	}
}

func TestLoadIsTriedAgainWhenTheJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := journal.NewMemory()
		tries := 0
		j.OnLoad(func() error {
			if tries++; tries < 4 {
				return errors.New("no majority")
			}
			return nil
		})
		_, stop := started(t, j, Options{})
		stop()
		if tries != 4 {
			t.Errorf("%d tries, want 4", tries)
		}
	})
}

func FuzzDecodeRow(f *testing.F) {
	f.Add([]byte(`{"schema":1,"project_id":"p","limits":{"port":1}}`))
	f.Add([]byte(`{"schema":1,"project_id":"p","limits":null}{}`))
	f.Add([]byte(`{"schema":99999999999999999999,`))
	f.Fuzz(func(t *testing.T, value []byte) {
		var q, again model.Quota
		if decodeRow(1, value, &q) != nil {
			return
		}
		b, err := encodeRow(1, &q)
		if err != nil {
			t.Fatalf("encoding what was decoded: %v", err)
		}
		if err := decodeRow(1, b, &again); err != nil || !reflect.DeepEqual(q, again) {
			t.Fatalf("decoded %+v, and again %+v, %v", q, again, err)
		}
	})
}

// TestRing_largeCommitsAreDroppedEarlier, but never so many that a subscriber which reads along would lag.
func TestRing_largeCommitsAreDroppedEarlier(t *testing.T) {
	for _, c := range []struct{ changes, kept int }{{1, 64}, {16, 64}, {20, 51}, {100, 16}, {9000, 16}} {
		r := newRing(64)
		first := r.next
		for range 200 {
			r.push(&Commit{Changes: make([]Change, c.changes)})
		}
		kept := 0
		for _, commit := range r.commits {
			if commit != nil {
				kept++
			}
		}
		if r.next != first+200 || int(r.next-r.oldest) != c.kept || kept != c.kept {
			t.Errorf("commits of %d changes: %d kept, from %d to %d; want %d", c.changes, kept, r.oldest, r.next, c.kept)
		}
		r.reset()
		if r.changes != 0 || r.oldest != r.next {
			t.Errorf("after a reset: %d changes, from %d to %d", r.changes, r.oldest, r.next)
		}
	}
}
