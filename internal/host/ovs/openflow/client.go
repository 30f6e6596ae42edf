// Package openflow speaks OpenFlow 1.4 with one bridge of Open vSwitch, over
// the socket <rundir>/<bridge>.mgmt: it installs flows in atomic bundles, reads
// them back, and passes packets and port changes on.
//
// What a flow is and how it looks on the wire is package flow's. Which flows
// there should be is package pipeline's; the agent compares and calls Apply.
// Ports and bridges are made by OVSDB, not here.
package openflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrDisconnected is the result of a request that had no connection or lost
// it. Whether the switch acted on a lost one is unknown: read the state again.
var ErrDisconnected = errors.New("openflow: not connected")

// Events are told by the goroutine that reads from the switch. They must
// return at once and must not call the Client's requests; hand over instead.
// Any may be nil.
type Events struct {
	// Connected is told the number of each new connection, from 1. The switch
	// may have lost all flows before it.
	Connected func(epoch uint64)
	// Disconnected is told why a connection ended.
	Disconnected func(err error)
	PacketIn     func(PacketIn)
	PortStatus   func(PortStatus)
}

// Client is a connection to a bridge that comes back by itself. Its methods may
// be called by several goroutines.
type Client struct {
	path   string
	events Events
	log    *slog.Logger

	probe      time.Duration // silence after which the switch is asked for an echo
	minBackoff time.Duration
	maxBackoff time.Duration

	xid    atomic.Uint32
	bundle atomic.Uint32

	mu   sync.Mutex
	conn *conn // nil while there is none
}

// New returns a client for the socket at path. Run connects it.
func New(path string, events Events, log *slog.Logger) *Client {
	return &Client{
		path: path, events: events, log: log.With("bridge_socket", path),
		probe: 10 * time.Second, minBackoff: 20 * time.Millisecond, maxBackoff: 200 * time.Millisecond,
	}
}

// Run keeps the client connected until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	backoff := c.minBackoff
	for epoch := uint64(1); ; {
		connected, err := c.session(ctx, epoch)
		if ctx.Err() != nil {
			return nil
		}
		if connected {
			epoch++
			backoff = c.minBackoff
		}
		level := slog.LevelDebug // the switch may be away for long: said once, not at each attempt
		if connected {
			level = slog.LevelInfo
		}
		c.log.Log(ctx, level, "openflow connection is down", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, c.maxBackoff)
	}
}

// session makes one connection and serves it to its end.
func (c *Client) session(ctx context.Context, epoch uint64) (connected bool, err error) {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", c.path)
	if err != nil {
		return false, fmt.Errorf("connecting: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	defer nc.Close()
	cn := &conn{nc: nc, r: bufio.NewReaderSize(nc, 32<<10), lost: make(chan struct{})}
	if err := cn.handshake(c); err != nil {
		return false, fmt.Errorf("handshake: %w", err)
	}
	c.mu.Lock()
	c.conn = cn
	c.mu.Unlock()
	var probing sync.WaitGroup
	probing.Go(func() { cn.probe(c) })
	c.log.Info("openflow connection is up", "epoch", epoch)
	if c.events.Connected != nil {
		c.events.Connected(epoch)
	}
	err = c.read(cn)
	c.mu.Lock()
	c.conn = nil
	c.mu.Unlock()
	cn.fail()
	probing.Wait()
	if c.events.Disconnected != nil {
		c.events.Disconnected(err)
	}
	return true, err
}

// read handles messages until the connection ends.
func (c *Client) read(cn *conn) error {
	for {
		m, err := readMessage(cn.r)
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		cn.heard.Store(true)
		switch {
		case m.kind == typeEchoRequest:
			reply := append(begin(nil, typeEchoReply, m.xid), m.body...)
			if err := cn.write(end(reply, 0)); err != nil {
				return fmt.Errorf("answering an echo: %w", err)
			}
		case m.kind == typeEchoReply:
		case m.kind == typePortStatus:
			c.portStatus(m.body)
		case m.kind == typePacketIn:
			c.packetIn(decodePacketIn(m.body))
		case isNX(m, nxtPacketIn2):
			c.packetIn(decodePacketIn2(m.body[8:]))
		case cn.deliver(m):
		case m.kind == typeError:
			c.log.Warn("openflow error without a request", "err", decodeError(m), "xid", m.xid)
		}
	}
}

func isNX(m message, subtype uint32) bool {
	return m.kind == typeExperimenter && len(m.body) >= 8 && be.Uint32(m.body) == nxVendor && be.Uint32(m.body[4:]) == subtype
}

// current returns the connection.
func (c *Client) current() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil, ErrDisconnected
	}
	return c.conn, nil
}

// xids reserves n transaction ids in a row and returns the first.
func (c *Client) xids(n int) uint32 {
	for {
		first := c.xid.Add(uint32(n)) - uint32(n) + 1
		if first != 0 && first+uint32(n) > first { // not across the turn of 32 bits
			return first
		}
	}
}

// confirmed sends one message, made by build, and a barrier behind it: it
// returns when the switch has done it, with the switch's error if it refused.
func (c *Client) confirmed(ctx context.Context, build func(xid uint32) []byte) error {
	cn, err := c.current()
	if err != nil {
		return err
	}
	xid := c.xids(2)
	var refused *Error
	call := cn.begin(xid, xid+1, func(m message) bool {
		if m.kind == typeError && refused == nil {
			refused = decodeError(m)
		}
		return m.xid == xid+1
	})
	defer cn.forget(call)
	b := build(xid)
	at := len(b)
	b = end(begin(b, typeBarrierRequest, xid+1), at)
	if err := cn.write(b); err != nil {
		return ErrDisconnected
	}
	if err := cn.wait(ctx, call); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	return nil
}
