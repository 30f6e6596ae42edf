package openflow

import (
	"fmt"

	"weft/internal/host/flow"
)

// PacketIn is a packet that a flow sent to the controller.
type PacketIn struct {
	Table    uint8
	Reason   uint8 // OFPR_*; 1 means by an action
	Cookie   uint64
	Match    flow.Match // metadata of the packet: in_port, registers, tunnel
	Userdata []byte     // of the action flow.Controller
	TotalLen int        // of the packet; Data may be shorter
	Data     []byte
}

// InPort is the port of entry, 0 if unknown.
func (p PacketIn) InPort() uint32 {
	fm, _ := p.Match.Get(flow.InPort)
	return uint32(fm.Uint())
}

func (c *Client) packetIn(p PacketIn, err error) {
	if err != nil {
		c.log.Warn("openflow packet-in is malformed", "err", err)
		return
	}
	if c.events.PacketIn != nil {
		c.events.PacketIn(p)
	}
}

// decodePacketIn reads OFPT_PACKET_IN of OpenFlow 1.4.
func decodePacketIn(b []byte) (PacketIn, error) {
	if len(b) < 16 {
		return PacketIn{}, errShort
	}
	p := PacketIn{TotalLen: int(be.Uint16(b[4:])), Reason: b[6], Table: b[7], Cookie: be.Uint64(b[8:])}
	m, rest, err := flow.DecodeMatch(b[16:])
	if rest == nil && err != nil || len(rest) < 2 {
		return p, errShort
	}
	p.Match, p.Data = m, rest[2:]
	return p, nil
}

// Properties of NXT_PACKET_IN2.
const (
	pinPacket   = 0
	pinFullLen  = 1
	pinTable    = 3
	pinCookie   = 4
	pinReason   = 5
	pinMetadata = 6
	pinUserdata = 7
)

// decodePacketIn2 reads the properties of NXT_PACKET_IN2. Unknown ones are
// skipped, and so are fields of the metadata that package flow does not know.
func decodePacketIn2(b []byte) (PacketIn, error) {
	var p PacketIn
	for len(b) > 0 {
		if len(b) < 4 {
			return p, errShort
		}
		kind, n := be.Uint16(b), int(be.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			return p, errShort
		}
		body := b[4:n]
		switch {
		case kind == pinPacket:
			p.Data = body
		case kind == pinFullLen && len(body) == 4:
			p.TotalLen = int(be.Uint32(body))
		case kind == pinTable && len(body) >= 1:
			p.Table = body[0]
		case kind == pinCookie && len(body) == 12: // padded to 8 first
			p.Cookie = be.Uint64(body[4:])
		case kind == pinReason && len(body) >= 1:
			p.Reason = body[0]
		case kind == pinMetadata:
			p.Match = flow.DecodeKnownFields(body)
		case kind == pinUserdata:
			p.Userdata = body
		}
		b = b[min((n+7)/8*8, len(b)):]
	}
	if p.TotalLen == 0 {
		p.TotalLen = len(p.Data)
	}
	return p, nil
}

// PacketOut runs actions on a packet as if it came in by a port; inPort 0 means
// by the controller. It does not wait for the switch: an error of it is logged.
func (c *Client) PacketOut(inPort uint32, actions []flow.Action, data []byte) error {
	cn, err := c.current()
	if err != nil {
		return err
	}
	if inPort == 0 {
		inPort = flow.PortController
	}
	b := begin(make([]byte, 0, 128+len(data)), typePacketOut, c.xids(1))
	b = be.AppendUint32(b, noBuffer)
	b = be.AppendUint32(b, inPort)
	b = append(b, make([]byte, 8)...)
	at := len(b)
	b = flow.AppendActions(b, actions)
	be.PutUint16(b[at-8:], uint16(len(b)-at))
	b = append(b, data...)
	if len(b) > maxMessage {
		return fmt.Errorf("packet-out of %d bytes does not fit a message", len(b))
	}
	if err := cn.write(end(b, 0)); err != nil {
		return ErrDisconnected
	}
	return nil
}
