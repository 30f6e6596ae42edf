package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	// ErrNotConnected means that there is no session with the server; nothing was sent.
	ErrNotConnected = errors.New("not connected to the ovsdb server")
	// ErrConnectionLost means that the session ended before the answer came: a transaction may or may not have been carried out.
	ErrConnectionLost = errors.New("connection to the ovsdb server lost")
)

// Monitor names what to replicate of one table.
type Monitor struct {
	Table   string
	Columns []string
	// Quiet columns are replicated too, but a change in nothing else wakes nobody:
	// for counters that the switch rewrites every few seconds.
	Quiet []string
}

// Config says where the database is and what to replicate. Addr and Database are required, zero values elsewhere mean the defaults.
type Config struct {
	Addr       string // unix:PATH or tcp:HOST:PORT, as ovs-vsctl --db takes it
	Database   string
	Monitors   []Monitor
	Probe      time.Duration // silence after which the server is asked for a sign of life; default 5 s
	MinBackoff time.Duration // before the second attempt to connect; default 100 ms
	MaxBackoff time.Duration // default 8 s
	// Dial replaces the way to reach Addr, in tests.
	Dial func(ctx context.Context) (net.Conn, error)
	Log  *slog.Logger
}

// Client keeps a replica of the monitored tables and carries out transactions.
// Run must be running for anything to happen; all other methods may be called from any goroutine, at any time.
type Client struct {
	cfg Config

	mu        sync.Mutex // guards what follows; written by the goroutines of Run only
	conn      *conn      // nil while there is no session with a current replica
	schema    *Schema    // of the current or last session
	replica   *replica   // nil before the first session
	lastTxn   UUID       // of the replica, for resuming
	epoch     uint64
	resumes   uint64    // sessions of which the server sent only what happened since the last one
	snapshot  *Snapshot // of the replica, nil if it has changed since
	changed   chan struct{}
	connected bool
}

// New returns a client for cfg. It does not connect: Run does.
func New(cfg Config) *Client {
	if cfg.Probe == 0 {
		cfg.Probe = 5 * time.Second
	}
	if cfg.MinBackoff == 0 {
		cfg.MinBackoff = 100 * time.Millisecond
	}
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = 8 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context) (net.Conn, error) { return dial(ctx, cfg.Addr) }
	}
	return &Client{cfg: cfg, changed: make(chan struct{}), lastTxn: zeroUUID}
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	network, where, ok := strings.Cut(addr, ":")
	if !ok || (network != "unix" && network != "tcp") {
		return nil, fmt.Errorf("address %q is neither unix:PATH nor tcp:HOST:PORT", addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, where)
}

// Snapshot returns the current state. It never waits; before the first session the state is empty, with Epoch 0.
func (c *Client) Snapshot() *Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snapshot == nil {
		c.snapshot = &Snapshot{Epoch: c.epoch, Connected: c.connected}
		if c.replica != nil {
			c.snapshot.tables = c.replica.share()
		}
	}
	return c.snapshot
}

// Changed returns a channel that is closed at the next change of the replica (of
// quiet columns alone: not) or of the connection. To miss nothing, get the channel
// first and the snapshot after it. Changes that come in a burst close one channel.
func (c *Client) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// wakeLocked tells the waiters.
func (c *Client) wakeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Run connects, keeps the replica current, and reconnects when the session
// breaks, until ctx ends; it then returns nil.
func (c *Client) Run(ctx context.Context) error {
	backoff := time.Duration(0)
	for {
		began := time.Now()
		reached, err := c.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		level := slog.LevelDebug // one warning per outage is enough
		if backoff == 0 || reached {
			level = slog.LevelWarn
		}
		c.cfg.Log.Log(ctx, level, "ovsdb session ended", "addr", c.cfg.Addr, "lasted", time.Since(began), "error", err)
		if reached {
			backoff = 0
		}
		backoff = min(max(2*backoff, c.cfg.MinBackoff), c.cfg.MaxBackoff)
		// Half of the delay is random: hosts that lost a common server do not come back at once.
		delay := time.NewTimer(backoff/2 + rand.N(backoff/2+1))
		select {
		case <-ctx.Done():
			delay.Stop()
			return nil
		case <-delay.C:
		}
	}
}

// session runs one connection to its end. reached tells whether the replica became current.
func (c *Client) session(ctx context.Context) (reached bool, err error) {
	nc, err := c.cfg.Dial(ctx)
	if err != nil {
		return false, fmt.Errorf("connecting to %s: %w", c.cfg.Addr, err)
	}
	conn := newConn(nc, c.cfg.Probe, c.notified)
	ended := make(chan error, 1)
	go func() { ended <- conn.read() }()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()

	if err := c.synchronise(ctx, conn); err != nil {
		nc.Close()
		<-ended
		c.disconnected(err)
		return false, err
	}
	c.cfg.Log.Info("ovsdb connected", "addr", c.cfg.Addr, "database", c.cfg.Database)
	err = <-ended
	c.disconnected(err)
	return true, err
}

// synchronise fetches the schema and starts the monitor; the replica is current when it returns.
func (c *Client) synchronise(ctx context.Context, conn *conn) error {
	raw, err := conn.call(ctx, "get_schema", []any{c.cfg.Database}, nil)
	if err != nil {
		return fmt.Errorf("fetching the schema of %s: %w", c.cfg.Database, err)
	}
	schema, err := parseSchema(raw)
	if err != nil {
		return err
	}
	cols := c.monitored(schema)
	requests := make(map[string]any, len(cols))
	for table, tc := range cols {
		requests[table] = []any{map[string]any{"columns": tc.names}}
	}
	since := c.prepare(schema, cols)
	_, err = conn.call(ctx, "monitor_cond_since", []any{c.cfg.Database, monitorID, requests, since},
		func(raw json.RawMessage) error { return c.monitorStarted(conn, raw) })
	if err != nil {
		return fmt.Errorf("starting the monitor: %w", err)
	}
	return nil
}

// monitorID names our one monitor on its connection.
const monitorID = "replica"

// monitored returns the columns to ask for: those configured that the server has.
// An older Open vSwitch without a newer column must not stop the agent.
func (c *Client) monitored(schema *Schema) map[string]*columns {
	out := make(map[string]*columns, len(c.cfg.Monitors))
	for _, m := range c.cfg.Monitors {
		table, ok := schema.Tables[m.Table]
		if !ok {
			c.cfg.Log.Warn("ovsdb schema lacks a table", "table", m.Table, "version", schema.Version)
			continue
		}
		tc := &columns{index: make(map[string]int)}
		for i, name := range slices.Concat(m.Columns, m.Quiet) {
			typ, ok := table[name]
			if !ok {
				c.cfg.Log.Warn("ovsdb schema lacks a column", "table", m.Table, "column", name, "version", schema.Version)
				continue
			}
			tc.index[name] = len(tc.names)
			tc.names = append(tc.names, name)
			tc.types = append(tc.types, typ)
			tc.quiet = append(tc.quiet, i >= len(m.Columns))
		}
		out[m.Table] = tc
	}
	return out
}

// prepare takes over the schema and returns the transaction to resume after. A
// replica of other columns is of no use and is dropped.
func (c *Client) prepare(schema *Schema, cols map[string]*columns) UUID {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schema = schema
	if c.replica == nil || !maps.EqualFunc(c.replica.cols, cols, sameColumns) {
		c.replica, c.lastTxn, c.snapshot = newReplica(cols), zeroUUID, nil
	}
	return c.lastTxn
}

func sameColumns(a, b *columns) bool {
	return slices.Equal(a.names, b.names) && slices.Equal(a.types, b.types)
}

// monitorStarted takes the answer to monitor_cond_since: [found, last-txn-id,
// table-updates2]. If the transaction we asked to resume after was found, the
// updates are what happened since; if not, they are the whole state.
func (c *Client) monitorStarted(conn *conn, raw json.RawMessage) error {
	var found bool
	if err := c.applyMessage(raw, &found, func() bool { return !found }); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.connected, c.snapshot = conn, true, nil
	c.epoch++
	if found {
		c.resumes++
	}
	c.wakeLocked()
	return nil
}

// notified handles a notification: update3 is [monitor-id, last-txn-id, table-updates2].
func (c *Client) notified(method string, params json.RawMessage) error {
	if method != "update3" {
		// Only "monitor_canceled" and locks exist besides; the first ends what we live on, the second we never ask for.
		return fmt.Errorf("unexpected notification %q", method)
	}
	c.mu.Lock()
	started := c.connected
	c.mu.Unlock()
	if !started {
		return errors.New("update before the monitor was started")
	}
	var id string
	return c.applyMessage(params, &id, func() bool { return false })
}

// applyMessage reads [first, last-txn-id, table-updates2] and applies the
// updates, as the whole state if whole says so once first is read. After an error
// the replica is still what it was, but no longer what the server thinks we have:
// the next session asks for everything.
func (c *Client) applyMessage(raw json.RawMessage, first any, whole func() bool) (err error) {
	defer func() {
		if err != nil {
			c.mu.Lock()
			c.lastTxn = zeroUUID
			c.mu.Unlock()
		}
	}()
	var txn UUID
	var body json.RawMessage
	parts := []any{first, &txn, &body}
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts) != 3 {
		return fmt.Errorf("parsing an update of %d parts: %w", len(parts), err)
	}
	updates, err := decodeUpdates(body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	loud, err := c.replica.apply(updates, whole())
	if err != nil {
		return err
	}
	c.lastTxn, c.snapshot = txn, nil
	if loud {
		c.wakeLocked()
	}
	return nil
}

func (c *Client) disconnected(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		return
	}
	c.conn, c.connected, c.snapshot = nil, false, nil
	c.wakeLocked()
}

// Transact carries out ops as one transaction: all of them or, with an *OpError,
// none. When it returns without an error the replica has the outcome. With
// ErrConnectionLost, or when ctx ends first, it is not known what happened.
func (c *Client) Transact(ctx context.Context, ops ...Operation) ([]Result, error) {
	c.mu.Lock()
	conn, schema := c.conn, c.schema
	c.mu.Unlock()
	if conn == nil {
		return nil, ErrNotConnected
	}
	params := make([]any, 0, len(ops)+1)
	params = append(params, c.cfg.Database)
	for _, op := range ops {
		params = append(params, op.wire)
	}
	raw, err := conn.call(ctx, "transact", params, nil)
	if err != nil {
		return nil, err
	}
	return decodeResults(raw, ops, schema)
}
