package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// maxMessage bounds one JSON-RPC message, in bytes. The initial state of a host with 10,000 ports is about 30 MiB.
const maxMessage = 512 << 20

// message is a JSON-RPC 1.0 request, reply or notification.
type message struct {
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
	ID     json.RawMessage `json:"id"`
}

// conn is one JSON-RPC session. Replies and notifications are handled on the
// goroutine that runs read, in the order in which they arrive: what a reply
// answers has been seen, and so have all updates sent before it.
type conn struct {
	nc    net.Conn
	probe time.Duration
	// notify handles a notification; an error ends the session.
	notify func(method string, params json.RawMessage) error

	writing sync.Mutex // one frame at a time

	mu      sync.Mutex // guards what follows
	pending map[uint64]func(result json.RawMessage, err error) error
	lastID  uint64
	closed  bool
}

func newConn(nc net.Conn, probe time.Duration, notify func(string, json.RawMessage) error) *conn {
	return &conn{nc: nc, probe: probe, notify: notify, pending: make(map[uint64]func(json.RawMessage, error) error)}
}

// read handles incoming messages until the connection breaks, then answers all pending calls with ErrConnectionLost.
func (c *conn) read() error {
	stream := &probedReader{conn: c}
	dec := json.NewDecoder(stream)
	var err error
	for err == nil {
		stream.left = maxMessage
		var m message
		if err = dec.Decode(&m); err == nil {
			err = c.handle(m)
		}
	}
	c.nc.Close()
	c.mu.Lock()
	pending := c.pending
	c.pending, c.closed = nil, true
	c.mu.Unlock()
	for _, answer := range pending {
		_ = answer(nil, fmt.Errorf("%w: %w", ErrConnectionLost, err)) // the session is ending anyway
	}
	return err
}

func (c *conn) handle(m message) error {
	switch {
	case m.Method == "echo":
		return c.write(message{Result: orEmpty(m.Params), Error: null, ID: m.ID})
	case m.Method != "":
		return c.notify(m.Method, m.Params)
	}
	id, err := strconv.ParseUint(string(m.ID), 10, 64)
	if err != nil {
		return nil // the answer to a probe
	}
	c.mu.Lock()
	answer := c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	if answer == nil {
		return nil // the caller has given up
	}
	if len(m.Error) > 0 && string(m.Error) != "null" {
		return answer(nil, fmt.Errorf("ovsdb server: %.200s", m.Error))
	}
	return answer(m.Result, nil)
}

var (
	null    = json.RawMessage("null")
	probeID = json.RawMessage(`"probe"`)
)

func orEmpty(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("[]")
	}
	return raw
}

// start sends a request. answer is called once, on the reading goroutine; its error ends the session.
func (c *conn) start(method string, params any, answer func(json.RawMessage, error) error) (uint64, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return 0, fmt.Errorf("encoding %s: %w", method, err)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, ErrNotConnected
	}
	c.lastID++
	id := c.lastID
	c.pending[id] = answer
	c.mu.Unlock()
	if err := c.write(message{Method: method, Params: raw, ID: strconv.AppendUint(nil, id, 10)}); err != nil {
		c.forget(id)
		return 0, fmt.Errorf("%w: sending %s: %w", ErrConnectionLost, method, err)
	}
	return id, nil
}

func (c *conn) forget(id uint64) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
}

// call sends a request and waits for its answer, which is handled by then (may be
// nil) on the reading goroutine. An error of then ends the session before anything
// that follows the answer is read.
func (c *conn) call(ctx context.Context, method string, params any, then func(json.RawMessage) error) (json.RawMessage, error) {
	type outcome struct {
		result json.RawMessage
		err    error
	}
	done := make(chan outcome, 1)
	id, err := c.start(method, params, func(result json.RawMessage, err error) error {
		var unfit error
		if err == nil && then != nil {
			unfit = then(result)
			err = unfit
		}
		done <- outcome{result, err}
		return unfit
	})
	if err != nil {
		return nil, err
	}
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		c.forget(id)
		return nil, ctx.Err()
	}
}

// write sends one message. A peer that takes longer than the probe interval to accept it is as good as gone.
func (c *conn) write(m message) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.probe)); err != nil {
		return err
	}
	if _, err = c.nc.Write(raw); err != nil {
		c.nc.Close() // half a frame may be out: nothing can follow it
	}
	return err
}

// probedReader reads from the connection. After one interval of silence it sends
// an echo request, after a second one it gives the connection up.
type probedReader struct {
	*conn
	left int
}

func (r *probedReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, fmt.Errorf("message of more than %d bytes", maxMessage)
	}
	for probed := false; ; probed = true {
		if err := r.nc.SetReadDeadline(time.Now().Add(r.probe)); err != nil {
			return 0, err
		}
		n, err := r.nc.Read(p[:min(len(p), r.left)])
		r.left -= n
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, noEarlyEOF(err)
		}
		if probed {
			return 0, fmt.Errorf("no traffic for %s: %w", 2*r.probe, err)
		}
		if err := r.write(message{Method: "echo", Params: orEmpty(nil), ID: probeID}); err != nil {
			return 0, err
		}
	}
}

// noEarlyEOF names the end of the stream for what it is to us: the server hung up.
func noEarlyEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}
