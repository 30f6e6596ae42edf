package openflow

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/internal/host/flow"
)

// fake is a switch whose test says what it answers.
type fake struct {
	net.Listener
	*Client
	connected    chan uint64
	disconnected chan error
}

func startFake(t *testing.T, change func(*Client)) *fake {
	t.Helper()
	goleak.VerifyNone(t)
	dir, err := os.MkdirTemp("", "of")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "br0.mgmt")
	f := &fake{connected: make(chan uint64, 100), disconnected: make(chan error, 100)}
	if f.Listener, err = net.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	f.Client = New(path, Events{
		Connected:    func(epoch uint64) { f.connected <- epoch },
		Disconnected: func(err error) { f.disconnected <- err },
	}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	f.minBackoff = time.Millisecond
	if change != nil {
		change(f.Client)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		f.Listener.Close()
		goleak.VerifyNone(t)
	})
	return f
}

// accept takes the client's next connection and shakes hands.
func (f *fake) accept(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := f.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	r := bufio.NewReader(nc)
	send(t, nc, typeHello, 1, nil)
	for {
		m := next(t, r)
		if m.kind == typeEchoRequest {
			send(t, nc, typeEchoReply, m.xid, nil)
			receive(t, f.connected)
			return nc, r
		}
	}
}

func send(t *testing.T, nc net.Conn, kind byte, xid uint32, body []byte) {
	t.Helper()
	if _, err := nc.Write(end(append(begin(nil, kind, xid), body...), 0)); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, r *bufio.Reader) message {
	t.Helper()
	m, err := readMessage(r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWithoutAConnectionEveryRequestFails(t *testing.T) {
	c := New("/nonexistent", Events{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	_, dump := c.Dump(t.Context(), AllTables)
	_, ports := c.Ports(t.Context())
	_, counters := c.Counters(t.Context())
	for _, err := range []error{
		dump, ports, counters, c.Apply(t.Context(), []flow.Flow{{}}, nil), c.PacketOut(1, nil, nil), c.FlushZone(t.Context(), 1),
	} {
		if !errors.Is(err, ErrDisconnected) {
			t.Errorf("error %v", err)
		}
	}
}

func TestALostConnectionEndsTheRequestThatWaits(t *testing.T) {
	f := startFake(t, nil)
	nc, r := f.accept(t)
	result := make(chan error, 1)
	go func() { result <- f.Apply(context.Background(), []flow.Flow{{}}, nil) }()
	for next(t, r).kind != typeBarrierRequest {
	}
	nc.Close()
	if err := receive(t, result); !errors.Is(err, ErrDisconnected) {
		t.Errorf("error %v", err)
	}
	receive(t, f.disconnected)
	f.accept(t) // and the client comes back
}

func TestAContextEndsARequestAndItsBundleIsDiscarded(t *testing.T) {
	f := startFake(t, nil)
	_, r := f.accept(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- f.Apply(ctx, []flow.Flow{{}}, nil) }()
	for next(t, r).kind != typeBarrierRequest {
	}
	cancel()
	if err := receive(t, result); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	m := next(t, r)
	if m.kind != typeBundleControl || be.Uint16(m.body[4:]) != bundleDiscard {
		t.Errorf("message %+v in place of a discard", m)
	}
}

func TestEchoesOfTheSwitchAreAnswered(t *testing.T) {
	f := startFake(t, nil)
	nc, r := f.accept(t)
	send(t, nc, typeEchoRequest, 77, []byte("abc"))
	if m := next(t, r); m.kind != typeEchoReply || m.xid != 77 || string(m.body) != "abc" {
		t.Errorf("answer %+v", m)
	}
}

func TestASilentSwitchIsLeft(t *testing.T) {
	f := startFake(t, func(c *Client) { c.probe = time.Millisecond })
	_, r := f.accept(t)
	if m := next(t, r); m.kind != typeEchoRequest {
		t.Errorf("message %+v in place of an echo", m)
	}
	receive(t, f.disconnected)
}

func TestASwitchThatRefusesTheVersionIsNotConnected(t *testing.T) {
	f := startFake(t, nil)
	for range 3 { // it is tried again
		nc, err := f.Accept()
		if err != nil {
			t.Fatal(err)
		}
		send(t, nc, typeError, 1, []byte{0, 0, 0, 0})
		nc.Close()
	}
	if len(f.connected) != 0 {
		t.Error("connected")
	}
}

func TestGarbageEndsTheConnection(t *testing.T) {
	f := startFake(t, nil)
	nc, _ := f.accept(t)
	if _, err := nc.Write([]byte{version14, typeEchoReply, 0, 3, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	receive(t, f.disconnected)
}
