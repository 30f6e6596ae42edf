package vsw

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"weft/internal/host/ovs/ovsdb"
)

// ErrStale means that the switch was changed between Plan and Apply, in something
// the plan was to change. Nothing was written: plan again.
var ErrStale = errors.New("the switch has changed since it was planned")

// Client is the agent's connection to the Open_vSwitch database. Run must be
// running; all other methods may be called from any goroutine.
type Client struct {
	db     *ovsdb.Client
	log    *slog.Logger
	writes atomic.Uint64

	mu    sync.Mutex // guards the cache of State
	snap  *ovsdb.Snapshot
	state *State
	rows  typedRows
}

// New returns a client for the database at addr: unix:PATH or tcp:HOST:PORT, as
// ovs-vsctl --db takes it. It does not connect: Run does.
func New(addr string, log *slog.Logger) *Client {
	cfg := ovsdb.Config{Addr: addr, Database: "Open_vSwitch", Monitors: monitors, Log: log}
	return &Client{db: ovsdb.New(cfg), log: log}
}

// Run keeps the connection and the state until ctx ends; it then returns nil.
func (c *Client) Run(ctx context.Context) error { return c.db.Run(ctx) }

// State returns the present state, never nil. It does not wait.
func (c *Client) State() *State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if snap := c.db.Snapshot(); snap != c.snap || c.state == nil {
		c.state, c.rows = c.rows.next(snap)
		c.snap = snap
	}
	return c.state
}

// Changed returns a channel that is closed at the next change of the state, except
// of statistics alone. To miss nothing, get the channel first and the state after it.
func (c *Client) Changed() <-chan struct{} { return c.db.Changed() }

// Writes returns the number of transactions that this client has sent to change
// something. On a converged switch it stands still.
func (c *Client) Writes() uint64 { return c.writes.Load() }

// Wait returns the first state from now on that satisfies ok, or ctx's error.
func (c *Client) Wait(ctx context.Context, ok func(*State) bool) (*State, error) {
	for {
		changed := c.Changed()
		if s := c.State(); ok(s) {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// WaitConnected returns the state once there is a connection.
func (c *Client) WaitConnected(ctx context.Context) (*State, error) {
	s, err := c.Wait(ctx, func(s *State) bool { return s.Connected })
	if err != nil {
		return nil, fmt.Errorf("waiting for the switch's database: %w", err)
	}
	return s, nil
}

// WaitOFPort returns the OpenFlow number of the interface called name once
// ovs-vswitchd has given it one, and an error if it could not make the interface.
// For an interface that was there before and has been changed, WaitConfigured must
// come first: until then its old number stands.
func (c *Client) WaitOFPort(ctx context.Context, name string) (int, error) {
	s, err := c.Wait(ctx, func(s *State) bool { i := s.Interface(name); return i != nil && i.OFPort != 0 })
	if err != nil {
		return 0, fmt.Errorf("waiting for the OpenFlow number of %s: %w", name, err)
	}
	i := s.Interface(name)
	if i.OFPort < 0 {
		return 0, fmt.Errorf("the switch could not make interface %s: %s", name, i.Error)
	}
	return i.OFPort, nil
}

// WaitConfigured returns the state once ovs-vswitchd has carried out every change
// that was applied before the call, by whomever.
func (c *Client) WaitConfigured(ctx context.Context) (*State, error) {
	want := c.State().Root.NextCfg
	s, err := c.Wait(ctx, func(s *State) bool { return s.Root.CurCfg >= want })
	if err != nil {
		return nil, fmt.Errorf("waiting for ovs-vswitchd to reach configuration %d: %w", want, err)
	}
	return s, nil
}

// Apply carries out a plan as one transaction: all of it or nothing. No operations
// are no transaction. When it returns nil, State has the outcome; the switch itself
// follows (WaitOFPort, WaitConfigured). It returns ErrStale if the plan's state is no
// longer the switch's, and ovsdb.ErrConnectionLost if it is not known what happened.
func (c *Client) Apply(ctx context.Context, ops []Operation) error {
	if len(ops) == 0 {
		return nil
	}
	var guards, edits []ovsdb.Operation
	for _, op := range ops {
		guards, edits = append(guards, op.guards...), append(edits, op.edits...)
	}
	// ovs-vswitchd answers a raised next_cfg with cur_cfg when it is done, as it does to ovs-vsctl.
	edits = append(edits, ovsdb.Mutate("Open_vSwitch", []ovsdb.Mutation{{Column: "next_cfg", Mutator: "+=", Value: ovsdb.Int(1)}}),
		ovsdb.Comment(fmt.Sprintf("weft: %s, %d operations", ops[0], len(ops))))
	// The guards come first: they speak of the switch before this transaction.
	_, err := c.db.Transact(ctx, append(guards, edits...)...)
	if !errors.Is(err, ovsdb.ErrNotConnected) {
		c.writes.Add(1)
	}
	var refused *ovsdb.OpError
	if errors.As(err, &refused) && refused.Index < len(guards) {
		return fmt.Errorf("%w: %s", ErrStale, guards[refused.Index])
	}
	if err != nil {
		return fmt.Errorf("applying %d operations to the switch: %w", len(ops), err)
	}
	return nil
}

// convergeAttempts bounds Converge: that many plans in a row going stale is a fight, not a race.
const convergeAttempts = 10

// Converge waits for a connection, then plans and applies; a stale plan is made
// anew. It returns the operations that were carried out: none if the switch was as
// desired already.
func (c *Client) Converge(ctx context.Context, desired Desired, owned func(bridge, port string) bool) ([]Operation, error) {
	var err error
	for range convergeAttempts {
		state, waitErr := c.WaitConnected(ctx)
		if waitErr != nil {
			return nil, waitErr
		}
		ops := Plan(state, desired, owned)
		if err = c.Apply(ctx, ops); err == nil {
			return ops, nil
		}
		if !errors.Is(err, ErrStale) {
			return nil, err
		}
		c.log.Debug("plan went stale", "error", err)
	}
	return nil, err
}
