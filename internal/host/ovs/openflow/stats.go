package openflow

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"net"
	"time"

	"weft/internal/host/flow"
)

// AllTables is the table number that means all.
const AllTables = 0xff

// FlowStats is a flow as the switch has it.
type FlowStats struct {
	Flow     flow.Flow
	Packets  uint64
	Bytes    uint64
	Duration time.Duration
	// Err is set if the match or the instructions hold something that package
	// flow does not know: Flow is not complete then and must not be sent.
	Err error
}

// Port is a port of the bridge.
type Port struct {
	Number uint32
	Name   string // at most 15 bytes
	MAC    net.HardwareAddr
	Down   bool // put down by configuration
	NoLink bool
}

// PortStatus tells that a port came, went or changed.
type PortStatus struct {
	Reason PortReason
	Port   Port
}

// PortReason is what happened to a port.
type PortReason uint8

// What happens to ports.
const (
	PortAdded    PortReason = 0
	PortDeleted  PortReason = 1
	PortModified PortReason = 2
)

// Multipart types.
const (
	multipartFlow      = 1
	multipartPortStats = 4
	multipartPortDesc  = 13

	multipartMore = 1 << 0
)

// Dump returns the flows of a table, or of AllTables.
func (c *Client) Dump(ctx context.Context, table uint8) ([]FlowStats, error) {
	var out []FlowStats
	err := c.EachFlow(ctx, table, func(f RawFlow) { out = append(out, f.Decode()) })
	return out, err
}

// EachFlow calls take for each flow of a table, or of AllTables.
func (c *Client) EachFlow(ctx context.Context, table uint8, take func(RawFlow)) error {
	b := []byte{table, 0, 0, 0}
	b = be.AppendUint32(b, flow.PortAny)
	b = be.AppendUint32(b, flow.PortAny) // any group
	b = append(b, make([]byte, 4+8+8)...)
	b = flow.AppendMatch(b, nil)
	replies, err := c.multipart(ctx, multipartFlow, b)
	for i := 0; err == nil && i < len(replies); i++ {
		err = eachFlow(replies[i], take)
		replies[i] = nil
	}
	if err != nil {
		return fmt.Errorf("reading flows: %w", err)
	}
	return nil
}

// RawFlow is a flow with its counters as a switch sends it (ofp_flow_stats of OpenFlow 1.4).
type RawFlow []byte

// rawFixed is the length of what comes before the match.
const rawFixed = 48

// eachFlow reads the body of one reply.
func eachFlow(b []byte, take func(RawFlow)) error {
	for len(b) > 0 {
		if len(b) < rawFixed {
			return errShort
		}
		n := int(be.Uint16(b))
		if n < rawFixed || n > len(b) {
			return errShort
		}
		take(RawFlow(b[:n]))
		b = b[n:]
	}
	return nil
}

// Cookie is the flow's cookie.
func (b RawFlow) Cookie() uint64 { return be.Uint64(b[24:]) }

// Sum is the same for the same flow, whatever it has counted, and to one seed only.
func (b RawFlow) Sum(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteByte(b[2])     // table
	h.Write(b[12:20])     // priority, timeouts, flags
	h.Write(b[24:32])     // cookie
	h.Write(b[rawFixed:]) // match, instructions
	return h.Sum64()
}

// Decode reads the flow.
func (b RawFlow) Decode() FlowStats {
	s := FlowStats{
		Flow: flow.Flow{
			Table: b[2], Priority: be.Uint16(b[12:]), IdleTimeout: be.Uint16(b[14:]),
			HardTimeout: be.Uint16(b[16:]), Cookie: b.Cookie(),
		},
		Packets:  be.Uint64(b[32:]),
		Bytes:    be.Uint64(b[40:]),
		Duration: time.Duration(be.Uint32(b[4:]))*time.Second + time.Duration(be.Uint32(b[8:])),
	}
	m, rest, err := flow.DecodeMatch(b[rawFixed:])
	s.Flow.Match = m
	if err == nil {
		s.Flow.Actions, err = flow.DecodeInstructions(rest)
	}
	s.Err = err
	return s
}

// Ports returns the ports of the bridge, its own device (flow.PortLocal) included.
func (c *Client) Ports(ctx context.Context) ([]Port, error) {
	replies, err := c.multipart(ctx, multipartPortDesc, nil)
	out, err := decodeAll(replies, err, decodePort)
	if err != nil {
		return nil, fmt.Errorf("reading ports: %w", err)
	}
	return out, nil
}

// decodeAll reads the elements that fill the bodies of a multipart's replies, unless getting them failed with err.
func decodeAll[T any](replies [][]byte, err error, decode func([]byte) (T, []byte, error)) ([]T, error) {
	var out []T
	for _, b := range replies {
		for len(b) > 0 && err == nil {
			var one T
			one, b, err = decode(b)
			out = append(out, one)
		}
	}
	return out, err
}

// decodePort reads an ofp_port of OpenFlow 1.4.
func decodePort(b []byte) (p Port, rest []byte, err error) {
	const fixed = 40
	if len(b) < fixed {
		return p, nil, errShort
	}
	n := int(be.Uint16(b[4:]))
	if n < fixed || n > len(b) {
		return p, nil, errShort
	}
	name := b[16:32]
	for i, c := range name {
		if c == 0 {
			name = name[:i]
			break
		}
	}
	return Port{
		Number: be.Uint32(b),
		MAC:    net.HardwareAddr(append([]byte(nil), b[8:14]...)),
		Name:   string(name),
		Down:   be.Uint32(b[32:])&1 != 0,
		NoLink: be.Uint32(b[36:])&1 != 0,
	}, b[n:], nil
}

// PortCounters is what a port of the bridge has counted up to now. What a port cannot count is 0.
type PortCounters struct {
	Number                                 uint32
	RxPackets, TxPackets, RxBytes, TxBytes uint64
	RxDropped, TxDropped                   uint64
}

// Counters returns the counters of the bridge's ports (OpenFlow 1.4, section 7.3.5.6). They are as fresh as those of
// flows; the statistics in the switch's database are seconds old (stats-update-interval in ovs-vswitchd.conf.db(5)).
func (c *Client) Counters(ctx context.Context) ([]PortCounters, error) {
	replies, err := c.multipart(ctx, multipartPortStats, append(be.AppendUint32(nil, flow.PortAny), 0, 0, 0, 0))
	out, err := decodeAll(replies, err, decodePortCounters)
	if err != nil {
		return nil, fmt.Errorf("reading counters of ports: %w", err)
	}
	return out, nil
}

// decodePortCounters reads an ofp_port_stats of OpenFlow 1.4.
func decodePortCounters(b []byte) (p PortCounters, rest []byte, err error) {
	const fixed = 80
	if len(b) < fixed {
		return p, nil, errShort
	}
	n := int(be.Uint16(b))
	if n < fixed || n > len(b) {
		return p, nil, errShort
	}
	count := func(at int) uint64 {
		if v := be.Uint64(b[at:]); v != math.MaxUint64 { // which means that the port does not count it
			return v
		}
		return 0
	}
	return PortCounters{
		Number:    be.Uint32(b[4:]),
		RxPackets: count(16), TxPackets: count(24), RxBytes: count(32), TxBytes: count(40),
		RxDropped: count(48), TxDropped: count(56),
	}, b[n:], nil
}

func (c *Client) portStatus(b []byte) {
	if len(b) < 8 || c.events.PortStatus == nil {
		return
	}
	p, _, err := decodePort(b[8:])
	if err != nil {
		c.log.Warn("openflow port status is malformed", "err", err)
		return
	}
	c.events.PortStatus(PortStatus{Reason: PortReason(b[0]), Port: p})
}

// multipart sends a request and returns the bodies of all its replies.
func (c *Client) multipart(ctx context.Context, kind uint16, body []byte) ([][]byte, error) {
	cn, err := c.current()
	if err != nil {
		return nil, err
	}
	xid := c.xids(1)
	var (
		replies [][]byte
		refused error
	)
	call := cn.begin(xid, xid, func(m message) bool {
		switch {
		case m.kind == typeError:
			refused = decodeError(m)
			return true
		case m.kind != typeMultipartReply || len(m.body) < 8:
			refused = errShort
			return true
		}
		replies = append(replies, m.body[8:])
		return be.Uint16(m.body[2:])&multipartMore == 0
	})
	defer cn.forget(call)
	b := begin(nil, typeMultipartRequest, xid)
	b = be.AppendUint16(b, kind)
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = end(append(b, body...), 0)
	if err := cn.write(b); err != nil {
		return nil, ErrDisconnected
	}
	if err := cn.wait(ctx, call); err != nil {
		return nil, err
	}
	return replies, refused
}
