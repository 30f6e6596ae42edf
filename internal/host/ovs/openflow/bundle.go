package openflow

import (
	"context"
	"errors"
	"fmt"

	"weft/internal/host/flow"
)

// FlowError names the flow that made a bundle fail.
type FlowError struct {
	Index  int // in add, or in del if Delete
	Delete bool
	Flow   flow.Flow
	Err    error // *Error, mostly
}

func (e *FlowError) Error() string {
	verb := "adding"
	if e.Delete {
		verb = "deleting"
	}
	return fmt.Sprintf("%s flow %d %q: %v", verb, e.Index, e.Flow.String(), e.Err)
}

func (e *FlowError) Unwrap() error { return e.Err }

// Bundle control types and flags (OpenFlow 1.4, 7.3.9).
const (
	bundleOpen    = 0
	bundleCommit  = 4
	bundleDiscard = 6

	bundleAtomic  = 1 << 0
	bundleOrdered = 1 << 1
)

// chunk is how much of a bundle is encoded before it is written.
const chunk = 256 << 10

// Apply adds flows, replacing those of the same key, then deletes flows, in one
// atomic bundle: packets see all of it or nothing. If the switch refuses a flow
// nothing is changed and the error is a *FlowError. With ErrDisconnected, or if
// ctx ends, it is unknown whether the bundle was applied.
func (c *Client) Apply(ctx context.Context, add, del []flow.Flow) error {
	n := len(add) + len(del)
	if n == 0 {
		return nil
	}
	cn, err := c.current()
	if err != nil {
		return err
	}
	b := bundle{id: c.bundle.Add(1), first: c.xids(n + 3), add: add, del: del}
	if err := b.fill(ctx, cn); err != nil {
		return err
	}
	return b.commit(ctx, cn)
}

// bundle is one Apply. Its transaction ids are in a row from first: open, one
// for each flow, barrier, commit.
type bundle struct {
	id       uint32
	first    uint32
	add, del []flow.Flow
}

func (b *bundle) size() int       { return len(b.add) + len(b.del) }
func (b *bundle) barrier() uint32 { return b.first + uint32(b.size()) + 1 }

// fill opens a bundle and puts the flows in. It returns when the switch has
// taken all of them: Open vSwitch commits a bundle even if it refused some of
// its messages, so the commit must not be sent before that is known.
func (b *bundle) fill(ctx context.Context, cn *conn) error {
	call, refused := b.expect(cn, b.barrier())
	defer cn.forget(call)
	err := b.write(ctx, cn)
	if err == nil {
		err = cn.wait(ctx, call)
	}
	if err == nil && *refused != nil {
		err = b.explain(*refused)
	}
	if err != nil && !errors.Is(err, ErrDisconnected) {
		// If this cannot be written the connection is gone, and the bundle with it.
		cn.write(appendBundleControl(nil, b.first, b.id, bundleDiscard))
	}
	return err
}

// commit makes the flows of a bundle valid. What the switch can only find out
// now it tells under the transaction id of the flow, then fails the commit.
func (b *bundle) commit(ctx context.Context, cn *conn) error {
	xid := b.barrier() + 1
	call, refused := b.expect(cn, xid)
	defer cn.forget(call)
	if err := cn.write(appendBundleControl(nil, xid, b.id, bundleCommit)); err != nil {
		return ErrDisconnected
	}
	if err := cn.wait(ctx, call); err != nil {
		return err
	}
	if *refused != nil {
		return b.explain(*refused)
	}
	return nil
}

// expect begins a call that ends with the answer to last and keeps the first error.
func (b *bundle) expect(cn *conn, last uint32) (*call, **Error) {
	refused := new(*Error)
	return cn.begin(b.first, last, func(m message) bool {
		if m.kind == typeError && *refused == nil {
			*refused = decodeError(m)
		}
		return m.xid == last
	}), refused
}

// write sends open, all flows and a barrier without waiting in between.
func (b *bundle) write(ctx context.Context, cn *conn) error {
	buf := make([]byte, 0, min(512*(b.size()+1), chunk+maxMessage))
	buf = appendBundleControl(buf, b.first, b.id, bundleOpen)
	for i := range b.size() {
		f, command := b.pick(i)
		at := len(buf)
		buf = appendBundleAdd(buf, b.first+1+uint32(i), b.id, command, f)
		if len(buf)-at > maxMessage {
			return b.flowError(i, errors.New("does not fit a message"))
		}
		if len(buf) < chunk {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("writing a bundle: %w", context.Cause(ctx))
		}
		if err := cn.write(buf); err != nil {
			return ErrDisconnected
		}
		buf = buf[:0]
	}
	at := len(buf)
	buf = end(begin(buf, typeBarrierRequest, b.barrier()), at)
	if err := cn.write(buf); err != nil {
		return ErrDisconnected
	}
	return nil
}

// pick returns the flow of message i and what to do with it.
func (b *bundle) pick(i int) (flow.Flow, byte) {
	if i < len(b.add) {
		return b.add[i], flowAdd
	}
	return b.del[i-len(b.add)], flowDeleteStrict
}

// explain finds the flow of an error by its transaction id.
func (b *bundle) explain(e *Error) error {
	i := int(e.xid-b.first) - 1
	if i < 0 || i >= b.size() {
		return fmt.Errorf("bundle of %d flows: %w", b.size(), e)
	}
	return b.flowError(i, e)
}

func (b *bundle) flowError(i int, err error) error {
	f, command := b.pick(i)
	e := &FlowError{Index: i, Flow: f, Err: err}
	if command == flowDeleteStrict {
		e.Index, e.Delete = i-len(b.add), true
	}
	return e
}

func appendBundleControl(b []byte, xid, id uint32, kind uint16) []byte {
	at := len(b)
	b = begin(b, typeBundleControl, xid)
	b = be.AppendUint32(b, id)
	b = be.AppendUint16(b, kind)
	b = be.AppendUint16(b, bundleAtomic|bundleOrdered)
	return end(b, at)
}

func appendBundleAdd(b []byte, xid, id uint32, command byte, f flow.Flow) []byte {
	at := len(b)
	b = begin(b, typeBundleAdd, xid)
	b = be.AppendUint32(b, id)
	b = append(b, 0, 0)
	b = be.AppendUint16(b, bundleAtomic|bundleOrdered)
	b = appendFlowMod(b, xid, command, f, 0)
	return end(b, at)
}
