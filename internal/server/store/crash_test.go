package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/journal/etcd"
)

// The test binary is also the server that is killed: see crashingServer.
const (
	crashDir   = "WEFT_TEST_CRASH_DIR"
	crashPoint = "WEFT_TEST_CRASH_POINT" // "point:n": dies when the point is reached for the nth time
	crashFirst = "WEFT_TEST_CRASH_FIRST" // number of its first write
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := crashingServer(dir); err != nil {
			fmt.Println("failed", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const crashWrites = 500

// crashingServer makes writes from 8 goroutines and tells on its output how
// each ended, until it dies. Each write is of two rows; each fifth is refused.
func crashingServer(dir string) error {
	ctx := context.Background()
	j, err := etcd.Start(ctx, etcd.Embedded{Dir: dir})
	if err != nil {
		return err
	}
	s := New(j, Options{})
	if at, n, ok := strings.Cut(os.Getenv(crashPoint), ":"); ok {
		left, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		var hits atomic.Int64
		s.hook = func(p point) {
			if string(p) == at && hits.Add(1) == int64(left) {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it arrives
			}
		}
	}
	go s.Run(ctx)
	<-s.Ready()
	first, err := strconv.Atoi(os.Getenv(crashFirst))
	if err != nil {
		return err
	}
	refused := errors.New("refused")
	var next atomic.Int64
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for n := int(next.Add(1)); n <= crashWrites; n = int(next.Add(1)) {
				id := crashID(first + n)
				_, err := s.Update(ctx, func(tx *Tx) error {
					tx.PutPort(&model.Port{ID: id, Meta: model.Meta{ProjectID: "p"}})
					tx.PutPortReport(&model.PortReport{PortID: id})
					if n%5 == 0 {
						return refused
					}
					return nil
				})
				switch {
				case err == nil:
					fmt.Println("done", first+n)
				case errors.Is(err, refused):
					fmt.Println("refused", first+n)
				default:
					fmt.Println("failed", first+n, err)
				}
			}
		})
	}
	writers.Wait()
	return nil
}

func crashID(n int) model.PortID {
	return model.PortID{UUID: model.UUID{13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}}
}

// A server is killed again and again on one directory, at each point in the
// life of a batch and after any number of answers. What it answered holds.
func TestKilledServerLosesNothingThatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(uint64(os.Getpid()), 7))
	type round struct {
		name, point string
		after       int // answers, then the parent kills it
	}
	var rounds []round
	for _, p := range []point{pointRun, pointSeal, pointDurable, pointPublished} {
		for range 2 {
			n := 1 + random.IntN(40)
			rounds = append(rounds, round{name: fmt.Sprintf("at %s %d", p, n), point: fmt.Sprintf("%s:%d", p, n)})
		}
	}
	for range 3 {
		n := 1 + random.IntN(crashWrites-50)
		rounds = append(rounds, round{name: fmt.Sprintf("after %d answers", n), after: n})
	}
	done, refused := map[int]bool{}, map[int]bool{}
	for i, r := range rounds {
		t.Run(r.name, func(t *testing.T) {
			before := len(done)
			killServer(t, dir, i*1000, r.point, r.after, done, refused)
			start := time.Now()
			snap := recovered(t, dir)
			ready := time.Since(start)
			kept := 0
			for n := range (i + 1) * 1000 {
				id := crashID(n)
				port, report := snap.Port(id), snap.PortReport(id)
				switch {
				case done[n] && port == nil:
					t.Errorf("write %d was acknowledged and is lost", n)
				case refused[n] && port != nil:
					t.Errorf("write %d was refused and is there", n)
				case (port == nil) != (report == nil):
					t.Errorf("write %d is there by half: port %v, report %v", n, port, report)
				case port != nil && !done[n]:
					kept++
				}
			}
			t.Logf("%d acknowledged in this round; %d kept in all whose answer was cut off; ready %v after the kill", len(done)-before, kept, ready)
		})
	}
}

// killServer runs a server until it dies and notes what it answered.
func killServer(t *testing.T, dir string, first int, at string, after int, done, refused map[int]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashPoint+"="+at, crashFirst+"="+strconv.Itoa(first))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(rest)
		if err != nil {
			t.Errorf("the server says: %s", lines.Text())
			continue
		}
		switch word {
		case "done":
			done[n] = true
		case "refused":
			refused[n] = true
		}
		if answers++; answers == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the server was not killed: %v", err)
	}
}

// recovered starts a server on the directory and returns what it has.
func recovered(t *testing.T, dir string) *Snapshot {
	t.Helper()
	j, err := etcd.Start(t.Context(), etcd.Embedded{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s, stop := started(t, j, Options{})
	snap := s.Snapshot()
	stop()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	return snap
}

// Two servers on one etcd take turns at leading: whoever does sees what the
// other wrote, and nothing that was acknowledged is lost on the way.
func TestServersThatTakeTurnsSeeEachOthersWrites(t *testing.T) {
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	a, err := etcd.Start(t.Context(), etcd.Embedded{Dir: dir, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := etcd.Connect(t.Context(), etcd.Remote{Endpoints: []string{"unix://" + dir + "/client.sock"}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()

	ctx, cancel := context.WithCancel(context.Background())
	journals := []*etcd.Journal{a, b}
	var stores []*Store
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, j := range journals {
		s := New(j, Options{Log: quiet, Retry: time.Millisecond, Hold: 100 * time.Millisecond})
		stores = append(stores, s)
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Errorf("running: %v", err)
			}
		})
	}
	for n := range 10 {
		turn := n % 2
		for {
			_, err := stores[turn].Update(ctx, func(tx *Tx) error {
				if got := number(tx.Quotas()); got != n {
					return fmt.Errorf("round %d: %d rows are seen", n, got)
				}
				tx.PutQuota(quota(n))
				return nil
			})
			if err == nil {
				break
			}
			if fault.Of(err) != fault.Unavailable {
				t.Fatal(err)
			}
			if err := journals[1-turn].Resign(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := stores[turn].Read(ctx); err != nil {
			t.Errorf("round %d: read: %v", n, err)
		}
	}
}
