package responder

import (
	"encoding/binary"
	"net/netip"
)

// messageType6 is the first byte of a DHCPv6 message (RFC 8415, 7.3).
type messageType6 uint8

const (
	solicit6     messageType6 = 1
	advertise6   messageType6 = 2
	request6     messageType6 = 3
	confirm6     messageType6 = 4
	renew6       messageType6 = 5
	rebind6      messageType6 = 6
	reply6       messageType6 = 7
	release6     messageType6 = 8
	decline6     messageType6 = 9
	information6 messageType6 = 11
)

// Sizes of RFC 8415: of a message before its options (8), of an option's head (21.1), of DUIDs (11.1), of an IA_NA before its
// options (21.4), of an address (21.6).
const (
	headMessage6 = 4
	headOption6  = 4
	leastDUID    = 3
	mostDUID     = 130
	sizeIANA     = 12
	sizeIAAddr   = 24
)

// mostIAs is how many identity associations a message may have: a card has one.
const mostIAs = 8

// message6 is a client's DHCPv6 message, as far as an answer depends on it. The slices are parts of the frame.
type message6 struct {
	typ      messageType6
	xid      [3]byte
	clientID []byte // nil if missing
	serverID []byte // nil if missing
	ias      []ia
	wanted   []byte // option request: codes of two bytes each, nil if missing
	rapid    bool   // rapid commit
	fqdn     bool   // the client says its name, or asks for it
	ipxe     bool   // of user class iPXE
	other    bool   // there is an IA_TA or an IA_PD
}

// ia is an identity association for non-temporary addresses.
type ia struct {
	id    [4]byte
	addrs []netip.Addr
}

// eachOption6 calls f with each option until f says no. It reports whether the options lead exactly to the end of b and f has
// taken all of them.
func eachOption6(b []byte, f func(code uint16, value []byte) bool) bool {
	for len(b) > 0 {
		if len(b) < headOption6 {
			return false
		}
		code, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b)-headOption6 || !f(code, b[headOption6:headOption6+size]) {
			return false
		}
		b = b[headOption6+size:]
	}
	return true
}

// parseMessage6 reads a client's message. One that has an option twice that may be there once is refused, as is one whose
// options do not have the sizes they say they have: what comes back to the client is only what was measured here.
func parseMessage6(b []byte) (message6, bool) {
	var m message6
	if len(b) < headMessage6 {
		return m, false
	}
	m.typ = messageType6(b[0])
	copy(m.xid[:], b[1:])
	return m, eachOption6(b[headMessage6:], m.option) && m.complete()
}

func (m *message6) option(code uint16, value []byte) bool {
	switch code {
	case opt6ClientID:
		valid := m.clientID == nil && len(value) >= leastDUID && len(value) <= mostDUID
		m.clientID = value
		return valid
	case opt6ServerID:
		valid := m.serverID == nil && len(value) >= leastDUID && len(value) <= mostDUID
		m.serverID = value
		return valid
	case opt6IANA:
		return m.association(value)
	case opt6IATA, opt6IAPD:
		m.other = true
	case opt6Wanted:
		if m.wanted != nil || len(value)%2 != 0 {
			return false
		}
		m.wanted = value
		m.fqdn = m.fqdn || m.asks(opt6FQDN)
	case opt6RapidCommit:
		m.rapid = true
		return len(value) == 0
	case opt6FQDN:
		m.fqdn = true
	case opt6UserClass:
		m.ipxe = userClass(value, "iPXE")
	}
	return true
}

// association reads an IA_NA (RFC 8415, 21.4).
func (m *message6) association(b []byte) bool {
	if len(b) < sizeIANA || len(m.ias) == mostIAs {
		return false
	}
	a := ia{id: [4]byte(b)}
	ok := eachOption6(b[sizeIANA:], func(code uint16, value []byte) bool {
		if code != opt6IAAddr {
			return true
		}
		if len(value) < sizeIAAddr {
			return false
		}
		a.addrs = append(a.addrs, netip.AddrFrom16([16]byte(value)))
		return true
	})
	m.ias = append(m.ias, a)
	return ok
}

// userClass reports whether a class is among those of an option (RFC 8415, 21.15).
func userClass(b []byte, class string) bool {
	for len(b) >= 2 {
		n := int(binary.BigEndian.Uint16(b))
		if n > len(b)-2 {
			return false
		}
		if string(b[2:2+n]) == class {
			return true
		}
		b = b[2+n:]
	}
	return false
}

// complete reports whether the message has the identifiers that its type must have, and none that it must not (RFC 8415, 16).
func (m *message6) complete() bool {
	switch m.typ {
	case solicit6, confirm6, rebind6:
		return m.clientID != nil && m.serverID == nil
	case request6, renew6, release6, decline6:
		return m.clientID != nil && m.serverID != nil
	case information6:
		return len(m.ias) == 0 && !m.other
	}
	return false
}

// asks reports whether an option is in the client's request.
func (m *message6) asks(code uint16) bool {
	for b := m.wanted; len(b) >= 2; b = b[2:] {
		if binary.BigEndian.Uint16(b) == code {
			return true
		}
	}
	return false
}

// wants reports whether the client gets an option if there is one.
func (m *message6) wants(code uint16) bool { return m.wanted == nil || m.asks(code) }
