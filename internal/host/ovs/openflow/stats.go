package openflow

import (
	"context"
	"fmt"
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
	multipartFlow     = 1
	multipartPortDesc = 13

	multipartMore = 1 << 0
)

// Dump returns the flows of a table, or of AllTables.
func (c *Client) Dump(ctx context.Context, table uint8) ([]FlowStats, error) {
	b := []byte{table, 0, 0, 0}
	b = be.AppendUint32(b, flow.PortAny)
	b = be.AppendUint32(b, flow.PortAny) // any group
	b = append(b, make([]byte, 4+8+8)...)
	b = flow.AppendMatch(b, nil)
	replies, err := c.multipart(ctx, multipartFlow, b)
	if err != nil {
		return nil, fmt.Errorf("reading flows: %w", err)
	}
	var out []FlowStats
	for _, r := range replies {
		if out, err = appendFlowStats(out, r); err != nil {
			return nil, fmt.Errorf("reading flows: %w", err)
		}
	}
	return out, nil
}

// appendFlowStats reads the body of one reply.
func appendFlowStats(out []FlowStats, b []byte) ([]FlowStats, error) {
	const fixed = 48
	for len(b) > 0 {
		if len(b) < fixed {
			return nil, errShort
		}
		n := int(be.Uint16(b))
		if n < fixed || n > len(b) {
			return nil, errShort
		}
		s := FlowStats{
			Flow: flow.Flow{
				Table: b[2], Priority: be.Uint16(b[12:]), IdleTimeout: be.Uint16(b[14:]),
				HardTimeout: be.Uint16(b[16:]), Cookie: be.Uint64(b[24:]),
			},
			Packets:  be.Uint64(b[32:]),
			Bytes:    be.Uint64(b[40:]),
			Duration: time.Duration(be.Uint32(b[4:]))*time.Second + time.Duration(be.Uint32(b[8:])),
		}
		m, rest, err := flow.DecodeMatch(b[fixed:n])
		s.Flow.Match = m
		if err == nil {
			s.Flow.Actions, err = flow.DecodeInstructions(rest)
		}
		s.Err = err
		out = append(out, s)
		b = b[n:]
	}
	return out, nil
}

// Ports returns the ports of the bridge, its own device (flow.PortLocal) included.
func (c *Client) Ports(ctx context.Context) ([]Port, error) {
	replies, err := c.multipart(ctx, multipartPortDesc, nil)
	if err != nil {
		return nil, fmt.Errorf("reading ports: %w", err)
	}
	var out []Port
	for _, b := range replies {
		for len(b) > 0 {
			p, rest, err := decodePort(b)
			if err != nil {
				return nil, fmt.Errorf("reading ports: %w", err)
			}
			out = append(out, p)
			b = rest
		}
	}
	return out, nil
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
