package openflow

import (
	"context"
	"fmt"
	"net/netip"

	"weft/internal/host/flow"
)

// FlushZone forgets all connections of a connection tracking zone.
func (c *Client) FlushZone(ctx context.Context, zone uint16) error {
	err := c.confirmed(ctx, func(xid uint32) []byte {
		b := append(appendNX(nil, xid, nxtCTFlushZone), 0, 0, 0, 0, 0, 0)
		return end(be.AppendUint16(b, zone), 0)
	})
	if err != nil {
		return fmt.Errorf("flushing connection tracking zone %d: %w", zone, err)
	}
	return nil
}

// Properties of a connection tracking flush (nicira-ext.h, NXT_CT_FLUSH, since Open vSwitch 3.1).
const (
	ctOrigTuple = 0
	ctZoneID    = 2
	ctTupleSrc  = 0
	ctTupleDst  = 1
)

// FlushAddress forgets the connections of a zone that an address has opened, and
// those that were opened to it.
func (c *Client) FlushAddress(ctx context.Context, zone uint16, a netip.Addr) error {
	ip := a.As16() // IPv4 as ::ffff:0:0/96
	for _, end := range []uint16{ctTupleSrc, ctTupleDst} {
		if err := c.confirmed(ctx, func(xid uint32) []byte { return appendCTFlush(xid, zone, end, ip) }); err != nil {
			return fmt.Errorf("flushing the connections of %s in zone %d: %w", a, zone, err)
		}
	}
	return nil
}

func appendCTFlush(xid uint32, zone, tupleEnd uint16, ip [16]byte) []byte {
	b := append(appendNX(nil, xid, nxtCTFlush), 0, 0, 0, 0, 0, 0, 0, 0) // any protocol
	b = be.AppendUint16(b, ctOrigTuple)                                 // type, length with padding of what is inside
	b = be.AppendUint16(b, 8+24)
	b = append(b, 0, 0, 0, 0)
	b = be.AppendUint16(b, tupleEnd)
	b = be.AppendUint16(b, 4+16)
	b = append(append(b, ip[:]...), 0, 0, 0, 0)
	b = be.AppendUint16(b, ctZoneID)
	b = be.AppendUint16(b, 4+4)
	b = append(be.AppendUint16(b, zone), 0, 0)
	return end(b, 0)
}

// DeleteCovered deletes all flows of f's table that its match covers, of those whose cookie equals f's in the bits of cookieMask.
// Priority, timeouts and actions of f do not count.
func (c *Client) DeleteCovered(ctx context.Context, f flow.Flow, cookieMask uint64) error {
	err := c.confirmed(ctx, func(xid uint32) []byte { return appendFlowMod(nil, xid, flowDelete, f, cookieMask) })
	if err != nil {
		return fmt.Errorf("deleting flows covered by %s: %w", f, err)
	}
	return nil
}

// Barrier returns when the switch has done all that was sent before.
func (c *Client) Barrier(ctx context.Context) error {
	return c.confirmed(ctx, func(xid uint32) []byte { return end(begin(nil, typeEchoRequest, xid), 0) })
}

// GroupKind says which buckets of a group run.
type GroupKind uint8

// Kinds of groups.
const (
	GroupAll      GroupKind = 0 // every bucket gets a copy
	GroupSelect   GroupKind = 1 // one by a hash and the weights
	GroupIndirect GroupKind = 2 // the only one
	GroupFailover GroupKind = 3 // the first whose WatchPort is up
)

// Bucket is one list of actions of a group.
type Bucket struct {
	Weight    uint16 // of GroupSelect
	WatchPort uint32 // of GroupFailover; 0 means none
	Actions   []flow.Action
}

// AddGroup makes a group; one of the same id must not exist.
func (c *Client) AddGroup(ctx context.Context, id uint32, kind GroupKind, buckets []Bucket) error {
	return c.groupMod(ctx, modAdd, id, kind, buckets)
}

// ModifyGroup replaces the buckets of a group that exists.
func (c *Client) ModifyGroup(ctx context.Context, id uint32, kind GroupKind, buckets []Bucket) error {
	return c.groupMod(ctx, modModify, id, kind, buckets)
}

// DeleteGroup deletes a group and the flows that use it.
func (c *Client) DeleteGroup(ctx context.Context, id uint32) error {
	return c.groupMod(ctx, modDelete, id, GroupAll, nil)
}

func (c *Client) groupMod(ctx context.Context, command uint16, id uint32, kind GroupKind, buckets []Bucket) error {
	b := begin(nil, typeGroupMod, 0)
	b = be.AppendUint16(b, command)
	b = append(b, byte(kind), 0)
	b = be.AppendUint32(b, id)
	for _, k := range buckets {
		at := len(b)
		b = append(b, 0, 0)
		b = be.AppendUint16(b, k.Weight)
		watch := k.WatchPort
		if watch == 0 {
			watch = flow.PortAny
		}
		b = be.AppendUint32(b, watch)
		b = be.AppendUint32(b, flow.PortAny) // no group to watch
		b = append(b, 0, 0, 0, 0)
		b = flow.AppendActions(b, k.Actions)
		be.PutUint16(b[at:], uint16(len(b)-at))
	}
	if len(b) > maxMessage {
		return fmt.Errorf("group %d: %d buckets do not fit a message", id, len(buckets))
	}
	err := c.confirmed(ctx, func(xid uint32) []byte {
		be.PutUint32(b[4:], xid)
		return end(b, 0)
	})
	if err != nil {
		return fmt.Errorf("group %d: %w", id, err)
	}
	return nil
}
