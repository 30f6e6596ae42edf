package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"

	"weft/internal/server/journal"
	"weft/internal/server/store"
)

var _ store.Journal = (*Journal)(nil)

// lines collects what is logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func start(t testing.TB, dir string) *Journal {
	t.Helper()
	j, err := Start(t.Context(), Embedded{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// another returns a second server on the same etcd.
func another(j *Journal, identity string) *Journal {
	return &Journal{client: j.client, stop: func() {}, log: j.log, identity: identity}
}

func campaign(t testing.TB, j *Journal) <-chan struct{} {
	t.Helper()
	lost, err := j.Campaign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return lost
}

func load(t testing.TB, j *Journal) (rows map[string]string, revision uint64) {
	t.Helper()
	rows = map[string]string{}
	last := ""
	revision, err := j.Load(t.Context(), func(page []journal.Entry) error {
		for _, e := range page {
			if e.Key <= last {
				t.Errorf("%s follows %s", e.Key, last)
			}
			last = e.Key
			rows[e.Key] = string(e.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows, revision
}

func put(id, value string) journal.Op {
	return journal.Op{Key: journal.Prefix + "t/" + id, Value: []byte(value)}
}

func TestAppendIsThereAfterRestart(t *testing.T) {
	dir := t.TempDir()
	j := start(t, dir)
	campaign(t, j)
	if _, err := j.Append(t.Context(), []journal.Op{put("a", "1"), put("b", "1")}); err != nil {
		t.Fatal(err)
	}
	revision, err := j.Append(t.Context(), []journal.Op{put("a", "2"), {Key: journal.Prefix + "t/b"}, {Key: journal.Prefix + "t/never"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = start(t, dir)
	defer j.Close()
	rows, loaded := load(t, j)
	if want := map[string]string{journal.Prefix + "t/a": "2"}; fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("loaded %v, want %v", rows, want)
	}
	if loaded < revision {
		t.Errorf("loaded revision %d is before the last append's, %d", loaded, revision)
	}
	if _, err := j.Append(t.Context(), []journal.Op{put("c", "1")}); !errors.Is(err, journal.ErrDeposed) {
		t.Errorf("append without a term: %v, want ErrDeposed", err)
	}
}

func TestLoadPagesAtOneRevision(t *testing.T) {
	j := start(t, t.TempDir())
	defer j.Close()
	campaign(t, j)
	for chunk := range 3 {
		var ops []journal.Op
		for i := range pageRows / 2 {
			ops = append(ops, put(fmt.Sprintf("%d-%05d", chunk, i), "x"))
		}
		if _, err := j.Append(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	_, err := j.Load(t.Context(), func(page []journal.Entry) error {
		if n == 0 { // written between two pages: not to be seen
			if _, err := j.Append(t.Context(), []journal.Op{put("9", "late")}); err != nil {
				t.Error(err)
			}
		}
		n += len(page)
		return nil
	})
	if err != nil || n != 3*pageRows/2 {
		t.Errorf("loaded %d rows (%v), want %d", n, err, 3*pageRows/2)
	}
}

func TestAppendOfAnEarlierTermFails(t *testing.T) {
	j := start(t, t.TempDir())
	defer j.Close()
	for _, c := range []struct {
		name string
		next func(t *testing.T)
	}{
		{"the same server campaigns again elsewhere", func(t *testing.T) { campaign(t, another(j, j.identity)) }},
		{"its lease ended", func(t *testing.T) {
			if _, err := j.client.Revoke(t.Context(), j.term.lease); err != nil {
				t.Fatal(err)
			}
		}},
		{"another server leads", func(t *testing.T) {
			if _, err := j.client.Revoke(t.Context(), j.term.lease); err != nil {
				t.Fatal(err)
			}
			b := another(j, "b")
			campaign(t, b)
			t.Cleanup(func() { b.client.Revoke(context.Background(), b.term.lease) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lost := campaign(t, j)
			if err := j.Confirm(t.Context()); err != nil {
				t.Errorf("confirming: %v", err)
			}
			c.next(t)
			if _, err := j.Append(t.Context(), []journal.Op{put("zombie", "1")}); !errors.Is(err, journal.ErrDeposed) {
				t.Errorf("append: %v, want ErrDeposed", err)
			}
			if err := j.Confirm(t.Context()); !errors.Is(err, journal.ErrDeposed) {
				t.Errorf("confirm: %v, want ErrDeposed", err)
			}
			if rows, _ := load(t, j); len(rows) != 0 {
				t.Errorf("written all the same: %v", rows)
			}
			if c.name != "the same server campaigns again elsewhere" {
				<-lost
			}
		})
	}
}

// The case for which campaigning moves the revision: an append that is under
// way when its outcome is given up must not be written after memory was read again.
func TestAppendUnderWayFailsInTheNextTerm(t *testing.T) {
	j := start(t, t.TempDir())
	defer j.Close()
	campaign(t, j)
	old := *j.term
	campaign(t, j)
	got, err := j.client.Txn(t.Context()).If(old.leads()).Commit()
	if err != nil || got.Succeeded {
		t.Errorf("the old term's comparison: %v, %v; want it not to hold", got.Succeeded, err)
	}
}

func TestSecondServerWaitsForTheLead(t *testing.T) {
	j := start(t, t.TempDir())
	defer j.Close()
	a, b := another(j, "a"), another(j, "b")
	campaign(t, a)
	led := make(chan error, 1)
	go func() {
		_, err := b.Campaign(t.Context())
		led <- err
	}()
	select {
	case err := <-led:
		t.Fatalf("it led beside another: %v", err)
	default:
	}
	if _, err := a.Append(t.Context(), []journal.Op{put("a", "1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.client.Revoke(t.Context(), a.term.lease); err != nil {
		t.Fatal(err)
	}
	if err := <-led; err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(t.Context(), []journal.Op{put("b", "1")}); err != nil {
		t.Errorf("append of the new leader: %v", err)
	}
}

func TestRefusedAndUnknownAreTwoThings(t *testing.T) {
	j := start(t, t.TempDir())
	defer j.Close()
	campaign(t, j)
	_, err := j.Append(t.Context(), []journal.Op{put("a", "1"), put("a", "2")})
	if !errors.Is(err, journal.ErrRefused) {
		t.Errorf("one key twice: %v, want ErrRefused", err)
	}
	many := make([]journal.Op, journal.MaxOps+1)
	for i := range many {
		many[i] = put(fmt.Sprint(i), "x")
	}
	if _, err := j.Append(t.Context(), many); !errors.Is(err, journal.ErrRefused) {
		t.Errorf("too many: %v, want ErrRefused", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Append(gone, []journal.Op{put("b", "1")}); !errors.Is(err, journal.ErrUnknown) {
		t.Errorf("nobody waits: %v, want ErrUnknown", err)
	}
	if _, err := j.Append(t.Context(), many[1:]); err != nil {
		t.Errorf("as many as allowed: %v", err)
	}
	big := put("big", strings.Repeat("x", journal.MaxBytes-1024))
	if _, err := j.Append(t.Context(), []journal.Op{big}); err != nil {
		t.Errorf("as large as allowed: %v", err)
	}
}

func TestWatchGetsEveryAppendWhole(t *testing.T) {
	j := start(t, t.TempDir())
	defer j.Close()
	campaign(t, j)
	_, from := load(t, j)
	var want []uint64
	for i := range 50 {
		var ops []journal.Op
		for k := range i + 1 {
			ops = append(ops, put(fmt.Sprint(k), strings.Repeat("x", 1000)))
		}
		r, err := j.Append(t.Context(), ops)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, r)
	}
	enough := errors.New("enough")
	n := 0
	err := j.Watch(t.Context(), from, func(e journal.Event) error {
		if e.Revision != want[n] || len(e.Ops) != n+1 {
			t.Errorf("event %d has revision %d and %d rows, want %d and %d", n, e.Revision, len(e.Ops), want[n], n+1)
		}
		if n++; n == len(want) {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("watching: %v", err)
	}
	if _, err := j.client.Compact(t.Context(), int64(want[40])); err != nil {
		t.Fatal(err)
	}
	if err := j.Watch(t.Context(), from, nil); !errors.Is(err, journal.ErrCompacted) {
		t.Errorf("watching from what is compacted: %v, want ErrCompacted", err)
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	j := start(t, dir)
	_, err := Start(t.Context(), Embedded{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second start: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, dir).Close()
}

func TestStartAndCloseAreQuiet(t *testing.T) {
	var out lines
	j, err := Start(t.Context(), Embedded{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	campaign(t, j)
	if _, err := j.Append(t.Context(), []journal.Op{put("a", "1")}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if out.String() != "" {
		t.Errorf("logged:\n%s", out.String())
	}
}

// foreign runs an etcd of the operator's, with a changed configuration.
func foreign(t *testing.T, change func(*embed.Config)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config, err := Embedded{Dir: dir}.config(newLogCore(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	config.Dir = filepath.Join(dir, "foreign")
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = []url.URL{*client}
	change(config)
	server, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	<-server.Server.ReadyNotify()
	return address
}

func TestRemoteIsCheckedAtStart(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*embed.Config)
	}{
		{"limits are right", "", func(*embed.Config) {}},
		{"few operations", "--max-txn-ops=10000", func(e *embed.Config) { e.MaxTxnOps = embed.DefaultMaxTxnOps }},
		{"small requests", "--max-request-bytes=", func(e *embed.Config) { e.MaxRequestBytes = embed.DefaultMaxRequestBytes }},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := foreign(t, c.change)
			j, err := Connect(t.Context(), Remote{Endpoints: []string{address}, Log: slog.New(slog.DiscardHandler)})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("connecting: %v, want a hint to %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			campaign(t, j)
			big := put("big", strings.Repeat("x", journal.MaxBytes-1024))
			if _, err := j.Append(t.Context(), []journal.Op{big}); err != nil {
				t.Error(err)
			}
			if rows, _ := load(t, j); len(rows) != 1 {
				t.Errorf("loaded %d rows, want 1", len(rows))
			}
		})
	}
}

func TestNobodyAtTheEndpoint(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Connect(ctx, Remote{Endpoints: []string{"http://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("connecting: %v, want an error that names the endpoint", err)
	}
}

// The same server coming back from a crash finds its own key: it leads at once,
// though its old lease has not ended.
func TestServerThatCrashedDoesNotWaitForItsOldLease(t *testing.T) {
	dir := t.TempDir()
	j := start(t, dir)
	campaign(t, j)
	old := j.term.lease
	j.term.stop()
	j.stop() // nothing is revoked

	j = start(t, dir)
	defer j.Close()
	campaign(t, j)
	if left, err := j.client.TimeToLive(t.Context(), old); err != nil || left.TTL <= 0 {
		t.Errorf("the old lease has %v s left (%v): it was waited for", left.TTL, err)
	}
	if _, err := j.Append(t.Context(), []journal.Op{put("a", "1")}); err != nil {
		t.Error(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			j := start(b, b.TempDir())
			defer j.Close()
			campaign(b, j)
			ops := make([]journal.Op, n)
			at := 0
			for b.Loop() {
				for i := range ops {
					ops[i] = put(fmt.Sprintf("%08d", at), strings.Repeat("x", 800))
					at++
				}
				if _, err := j.Append(b.Context(), ops); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// TestAFullDatabaseIsRelievedByTheNextTerm: history fills the quota, not rows. The write that finds it full
// ends the term, and the next one has room again.
func TestAFullDatabaseIsRelievedByTheNextTerm(t *testing.T) {
	j, err := Start(t.Context(), Embedded{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), quota: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	campaign(t, j)
	row := journal.Op{Key: journal.Prefix + "port/1", Value: bytes.Repeat([]byte("x"), 100<<10)}
	for err = nil; err == nil; {
		_, err = j.Append(t.Context(), []journal.Op{row})
	}
	if !errors.Is(err, journal.ErrUnknown) {
		t.Fatalf("a full database answered %v", err)
	}
	campaign(t, j)
	for range 10 {
		if _, err := j.Append(t.Context(), []journal.Op{row}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	if _, err := j.Load(t.Context(), func(page []journal.Entry) error { n += len(page); return nil }); err != nil || n != 1 {
		t.Fatalf("%d rows, %v; want the one", n, err)
	}
}
