package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/lab"
)

// lines counts the lines that are written to it, and keeps the text.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	n    int
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += strings.Count(string(p), "\n")
	return l.text.Write(p)
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// pinger is a ping every 10 ms.
type pinger struct {
	w    *world
	name string // for people
	out  lines
	end  func() // waits until it has ended
}

// startPing starts a pinger from a guest, or from the world outside.
func (w *world) startPing(t testing.TB, from, to string) *pinger {
	t.Helper()
	p := &pinger{w: w, name: from + " to " + to}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if from == lab.Outside {
			w.lab.Exec(ctx, from, lab.Streams{Out: &p.out}, "ping", "-i", "0.01", to)
		} else {
			w.lab.VMExec(ctx, from, lab.Streams{Out: &p.out}, "ping", "-i", "0.01", to)
		}
	}()
	p.end = func() { cancel(); <-done }
	t.Cleanup(p.end)
	answered(t, 10, p)
	return p
}

// answered waits for n answers more of each.
func answered(t testing.TB, n int, pingers ...*pinger) {
	t.Helper()
	before := map[*pinger]int{}
	for _, p := range pingers {
		before[p] = p.out.count()
	}
	for _, p := range pingers {
		p.w.eventually(t, "pings are answered: "+p.name, func() bool { return p.out.count() >= before[p]+n })
	}
}

var (
	sequence  = regexp.MustCompile(`bytes from .* icmp_seq=(\d+) `)
	duplicate = regexp.MustCompile(`\(DUP!\)`)
)

// tally tells of how many pings the answer is known to be lost: of those before the last that was answered. How
// many were sent, is up to that one.
func (p *pinger) tally() (sent, lost int) {
	text := p.out.String()
	answered := map[string]bool{}
	for _, m := range sequence.FindAllStringSubmatch(text, -1) {
		answered[m[1]] = true
		n, _ := strconv.Atoi(m[1])
		sent = max(sent, n)
	}
	return sent, sent - len(answered)
}

// stop ends it, returns sent and lost, and tells which are lost.
func (p *pinger) stop(t testing.TB) (sent, lost int) {
	t.Helper()
	p.end()
	if n := len(duplicate.FindAllString(p.out.String(), -1)); n > 0 {
		t.Errorf("%s: %d pings answered twice", p.name, n)
	}
	sent, lost = p.tally()
	if lost > 0 {
		t.Logf("%s: answered of %d: %s", p.name, sent, ranges(p.out.String()))
	}
	return sent, lost
}

// ranges are the sequence numbers of a ping's answers in the order in which they came: "1-4 6-9".
func ranges(text string) string {
	var out []string
	first, last := 0, 0
	add := func() {
		if last > 0 {
			out = append(out, fmt.Sprintf("%d-%d", first, last))
		}
	}
	for _, m := range sequence.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		if n != last+1 || last == 0 {
			add()
			first = n
		}
		last = n
	}
	add()
	return strings.Join(out, " ")
}

// pinging runs a ping every 10 ms until stop is called, which waits for at least a hundred answers more and returns sent and lost.
func (w *world) pinging(t testing.TB, from, to string) (stop func() (sent, lost int)) {
	t.Helper()
	p := w.startPing(t, from, to)
	return func() (int, int) {
		t.Helper()
		answered(t, 100, p)
		return p.stop(t)
	}
}

// bothWays is traffic of a router in both directions: a guest pings the world outside by source translation, which pings
// another guest by a floating IP.
type bothWays []*pinger

func (w *world) bothWays(t testing.TB, vm, floating string) bothWays {
	t.Helper()
	return bothWays{w.startPing(t, vm, farAway), w.startPing(t, lab.Outside, floating)}
}

// lost tells of each direction how many pings are lost so far.
func (b bothWays) lost() (out []int) {
	for _, p := range b {
		_, n := p.tally()
		out = append(out, n)
	}
	return out
}

// stop ends the traffic after a hundred answers more. No direction may have been without an answer for longer than the limit.
func (b bothWays) stop(t testing.TB, what string, limit time.Duration) (lost []int) {
	t.Helper()
	answered(t, 100, b...)
	for _, p := range b {
		sent, n := p.stop(t)
		lost = append(lost, n)
		t.Logf("%s: %s: %d of %d pings lost", what, p.name, n, sent)
		if gap := time.Duration(n) * 10 * time.Millisecond; gap > limit {
			t.Errorf("%s: %s: no answer for %s", what, p.name, gap)
		}
	}
	return lost
}
