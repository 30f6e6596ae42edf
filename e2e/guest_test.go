package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
)

// metrics reads the figures of a host's agent.
func (w *world) metrics(t testing.TB, host string) map[string]float64 {
	t.Helper()
	var text string
	w.eventually(t, "metrics of "+host, func() bool {
		var err error
		text, err = w.lab.Output(t.Context(), host, "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:9698/metrics")
		return err == nil
	})
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if f, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(line, "#") {
			out[name] = f
		}
	}
	return out
}

// writes is all that an agent has changed on its host since it started.
func (w *world) writes(t testing.TB, host string) float64 {
	t.Helper()
	m := w.metrics(t, host)
	return m["weft_agent_ovsdb_writes_total"] + m["weft_agent_firewall_writes_total"] +
		m[`weft_agent_flow_mods_total{bridge="br-int"}`] + m[`weft_agent_flow_mods_total{bridge="br-tun"}`]
}

// host runs a command on a host.
func (w *world) host(t testing.TB, name string, argv ...string) string {
	t.Helper()
	out, err := w.lab.Output(t.Context(), name, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// listen has a guest answer TCP connections on a port until the test ends.
func (w *world) listen(t testing.TB, vm string, port int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		// busybox's nc serves one connection after the other; cat echoes what comes.
		w.lab.VMExec(ctx, vm, lab.Streams{}, "busybox", "nc", "-ll", "-p", strconv.Itoa(port), "-e", "cat")
	}()
	t.Cleanup(func() { cancel(); <-done })
	w.eventually(t, "listening", func() bool {
		out, err := w.lab.VMOutput(t.Context(), vm, "ss", "-tln")
		return err == nil && strings.Contains(out, fmt.Sprintf(":%d ", port))
	})
}

// connects reports whether a TCP connection is made within 300 ms.
func (w *world) connects(t testing.TB, vm, to string, port int) bool {
	t.Helper()
	_, err := w.lab.VMOutput(t.Context(), vm, "timeout", "0.3", "nc", "-z", to, strconv.Itoa(port))
	return err == nil
}

// flow is an open TCP connection that echoes.
type flow struct {
	in     io.WriteCloser
	out    *bufio.Reader
	cancel context.CancelFunc
}

func (w *world) dial(t testing.TB, vm, to string, port int) *flow {
	t.Helper()
	return w.open(t, func(ctx context.Context, s lab.Streams) error {
		return w.lab.VMExec(ctx, vm, s, "nc", to, strconv.Itoa(port))
	})
}

// open starts a program that holds a connection, and waits for the echo of its other end.
func (w *world) open(t testing.TB, run func(context.Context, lab.Streams) error) *flow {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	go func() {
		err := run(ctx, lab.Streams{In: inR, Out: outW})
		outW.CloseWithError(errors.Join(io.EOF, err))
	}()
	f := &flow{in: inW, out: bufio.NewReader(outR), cancel: cancel}
	t.Cleanup(func() { inW.Close(); cancel() })
	if !f.echoes(5 * time.Second) {
		t.Fatal("no echo")
	}
	return f
}

// echoes sends a line and reports whether it comes back in time.
func (f *flow) echoes(within time.Duration) bool {
	got := make(chan error, 1)
	go func() {
		if _, err := io.WriteString(f.in, "hello\n"); err != nil {
			got <- err
			return
		}
		_, err := f.out.ReadString('\n')
		got <- err
	}()
	select {
	case err := <-got:
		return err == nil
	case <-time.After(within):
		return false
	}
}

// dialFrom opens a connection from one of a guest's addresses.
func (w *world) dialFrom(t testing.TB, vm, from, to string, port int) *flow {
	t.Helper()
	return w.open(t, func(ctx context.Context, s lab.Streams) error {
		return w.lab.VMExec(ctx, vm, s, "nc", "-s", from, to, strconv.Itoa(port))
	})
}

// isCut proves that a connection ends within a second of now, the answer of the API that ended it, and no other: those
// that go on lose nothing, not a packet of a ping, nor a segment that would have to be sent again.
func (w *world) isCut(t testing.TB, what string, f *flow, pings *pinger, others ...*flow) {
	t.Helper()
	began := time.Now()
	for at := time.Duration(0); f.echoes(400 * time.Millisecond); at = time.Since(began) { // TCP sends again after 200 ms
		if at > time.Second {
			t.Fatalf("%s: the connection lives on", what)
		}
	}
	t.Logf("%s: cut after at most %s", what, time.Since(began)-400*time.Millisecond)
	for i, o := range others {
		if !o.echoes(200 * time.Millisecond) {
			t.Errorf("%s: connection %d was cut as well", what, i)
		}
	}
	answered(t, 20, pings)
	if sent, lost := pings.stop(t); lost > 0 {
		t.Errorf("%s: %d of %d pings lost that have nothing to do with it", what, lost, sent)
	}
}
