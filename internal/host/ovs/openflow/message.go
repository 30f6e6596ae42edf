package openflow

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"weft/internal/host/flow"
)

var be = binary.BigEndian

const (
	version14  = 0x05
	headerSize = 8
	nxVendor   = 0x00002320
	noBuffer   = 0xffffffff
)

// Message types of OpenFlow 1.4, 7.1.1.
const (
	typeHello            = 0
	typeError            = 1
	typeEchoRequest      = 2
	typeEchoReply        = 3
	typeExperimenter     = 4
	typeSetConfig        = 9
	typePacketIn         = 10
	typePortStatus       = 12
	typePacketOut        = 13
	typeFlowMod          = 14
	typeGroupMod         = 15
	typeMultipartRequest = 18
	typeMultipartReply   = 19
	typeBarrierRequest   = 20
	typeBarrierReply     = 21
	typeMeterMod         = 29
	typeBundleControl    = 33
	typeBundleAdd        = 34
)

// Subtypes of Nicira messages (openvswitch, nicira-ext.h).
const (
	nxtSetPacketInFormat = 16
	nxtCTFlushZone       = 29
	nxtCTFlush           = 32
	nxtPacketIn2         = 30

	packetIn2Format = 2 // NXPIF_NXT_PACKET_IN2
)

// message is one message as read: body is behind the header.
type message struct {
	kind byte
	xid  uint32
	body []byte
}

func readMessage(r *bufio.Reader) (message, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return message{}, err
	}
	n := int(be.Uint16(h[2:]))
	if n < headerSize {
		return message{}, fmt.Errorf("openflow: message of %d bytes", n)
	}
	if h[0] != version14 && h[1] != typeHello && h[1] != typeError {
		return message{}, fmt.Errorf("openflow: message of version %#x", h[0])
	}
	m := message{kind: h[1], xid: be.Uint32(h[4:]), body: make([]byte, n-headerSize)}
	_, err := io.ReadFull(r, m.body)
	return m, err
}

// begin appends a header; end sets its length.
func begin(b []byte, kind byte, xid uint32) []byte {
	return be.AppendUint32(append(b, version14, kind, 0, 0), xid)
}

func end(b []byte, at int) []byte {
	be.PutUint16(b[at+2:], uint16(len(b)-at))
	return b
}

// maxMessage is what the 16 bits of a length can say.
const maxMessage = 0xffff

// appendNX begins a Nicira message.
func appendNX(b []byte, xid, subtype uint32) []byte {
	b = begin(b, typeExperimenter, xid)
	b = be.AppendUint32(b, nxVendor)
	return be.AppendUint32(b, subtype)
}

// Commands of a flow mod.
const (
	flowAdd          = 0
	flowDelete       = 3
	flowDeleteStrict = 4
)

// appendFlowMod appends OFPT_FLOW_MOD. Only a delete that is not strict looks at cookieMask.
func appendFlowMod(b []byte, xid uint32, command byte, f flow.Flow, cookieMask uint64) []byte {
	at := len(b)
	b = begin(b, typeFlowMod, xid)
	b = be.AppendUint64(b, f.Cookie)
	b = be.AppendUint64(b, cookieMask)
	b = append(b, f.Table, command)
	b = be.AppendUint16(b, f.IdleTimeout)
	b = be.AppendUint16(b, f.HardTimeout)
	b = be.AppendUint16(b, f.Priority)
	b = be.AppendUint32(b, noBuffer)
	b = be.AppendUint32(b, flow.PortAny)
	b = be.AppendUint32(b, flow.PortAny) // any group
	b = append(b, 0, 0, 0, 0)            // flags, importance
	b = flow.AppendMatch(b, f.Match)
	if command == flowAdd {
		b = flow.AppendInstructions(b, f.Actions)
	}
	return end(b, at)
}

// decodeError reads the body of OFPT_ERROR.
func decodeError(m message) *Error {
	e := &Error{xid: m.xid}
	if len(m.body) >= 4 {
		e.Type, e.Code = be.Uint16(m.body), be.Uint16(m.body[2:])
	}
	if e.Type == 0xffff && len(m.body) >= 8 {
		e.Vendor = be.Uint32(m.body[4:])
	}
	return e
}
