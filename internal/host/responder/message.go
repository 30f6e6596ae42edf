package responder

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/model"
)

// Offsets in a DHCP message (RFC 2131, section 2).
const (
	offXID     = 4
	offSecs    = 8
	offFlags   = 10
	offClient  = 12 // ciaddr
	offYour    = 16 // yiaddr
	offNext    = 20 // siaddr
	offRelay   = 24 // giaddr
	offCHAddr  = 28
	offServer  = 44 // sname, 64 bytes
	offFile    = 108
	offCookie  = 236
	offOptions = 240
	sizeServer = offFile - offServer
	sizeFile   = offCookie - offFile
	minMessage = 300 // BOOTP (RFC 951): what clients may rely on
)

const (
	opRequest     = 1
	opReply       = 2
	hwEthernet    = 1
	magicCookie   = 0x63825363
	flagBroadcast = 0x8000
)

// messageType is option 53.
type messageType uint8

const (
	discover messageType = 1
	offer    messageType = 2
	ask      messageType = 3 // DHCPREQUEST
	decline  messageType = 4
	ack      messageType = 5
	nak      messageType = 6
	release  messageType = 7
	inform   messageType = 8
)

// message is a client's DHCP message, as far as an answer depends on it. The
// slices are parts of the frame.
type message struct {
	raw       []byte // up to and including the magic cookie
	typ       messageType
	broadcast bool
	client    netip.Addr // ciaddr
	chaddr    model.MAC
	requested netip.Addr // option 50, invalid if missing
	server    netip.Addr // option 54, invalid if missing
	wanted    []byte     // option 55: the parameter request list
	clientID  []byte     // option 61
	maxSize   int        // option 57, 0 if missing
	ipxe      bool       // option 175: an iPXE loader asks
}

// parseMessage reads a request of an Ethernet client that came without a relay.
func parseMessage(b []byte) (message, bool) {
	var m message
	if len(b) < offOptions || b[0] != opRequest || b[1] != hwEthernet || b[2] != 6 ||
		binary.BigEndian.Uint32(b[offCookie:]) != magicCookie ||
		binary.BigEndian.Uint32(b[offRelay:]) != 0 {
		return m, false
	}
	m.raw = b[:offOptions]
	m.broadcast = binary.BigEndian.Uint16(b[offFlags:])&flagBroadcast != 0
	m.client = netip.AddrFrom4([4]byte(b[offClient:]))
	copy(m.chaddr[:], b[offCHAddr:])
	if !m.parseOptions(b[offOptions:]) {
		return m, false
	}
	return m, m.typ != 0
}

// parseOptions reads options until their end mark or the end of the message.
// Of an option that comes twice the first counts; options in the sname and
// file fields (option 52) are not read: no client puts there what we need.
func (m *message) parseOptions(b []byte) bool {
	var seen [256]bool
	for len(b) > 0 {
		code := b[0]
		if code == optEnd {
			return true
		}
		if code == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return false
		}
		value := b[2 : 2+int(b[1])]
		b = b[2+len(value):]
		if seen[code] {
			continue
		}
		seen[code] = true
		if !m.option(code, value) {
			return false
		}
	}
	return true
}

func (m *message) option(code byte, value []byte) bool {
	switch code {
	case optMessageType:
		if len(value) != 1 {
			return false
		}
		m.typ = messageType(value[0])
	case optRequestedAddr, optServerID:
		if len(value) != 4 {
			return false
		}
		if a := netip.AddrFrom4([4]byte(value)); code == optServerID {
			m.server = a
		} else {
			m.requested = a
		}
	case optParameterList:
		m.wanted = value
	case optClientID:
		m.clientID = value
	case optMaxSize:
		if len(value) != 2 {
			return false
		}
		m.maxSize = int(binary.BigEndian.Uint16(value))
	case optIPXE:
		m.ipxe = true
	}
	return true
}
