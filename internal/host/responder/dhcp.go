package responder

import (
	"encoding/binary"
	"net/netip"
)

// answerFrame reads a frame and answers it.
func (b *binding) answerFrame(frame []byte) ([]byte, error) {
	r, ok := parseRequest(frame)
	if !ok {
		return nil, ErrMalformed
	}
	m, ok := parseMessage(r.payload)
	if !ok {
		return nil, ErrMalformed
	}
	if m.chaddr != b.mac || r.src != b.mac {
		return nil, ErrForeign
	}
	return b.answer(&m), nil
}

// answer follows RFC 2131, 4.3.
func (b *binding) answer(m *message) []byte {
	switch m.typ {
	case discover:
		return b.reply(m, offer, b.leaseOr(m.requested))
	case ask:
		return b.answerRequest(m)
	case inform:
		return b.reply(m, ack, b.leaseOr(m.client))
	}
	return nil // release, decline: the address stays the port's
}

// answerRequest tells the states of RFC 2131, table 4, apart.
func (b *binding) answerRequest(m *message) []byte {
	wanted := m.requested
	switch {
	case m.server.IsValid():
		if !b.isServer(m.server) || !wanted.IsValid() {
			return nil // chose another server
		}
	case wanted.IsValid(): // INIT-REBOOT
	case !m.client.IsUnspecified(): // RENEWING, REBINDING
		wanted = m.client
	default:
		return nil
	}
	l := b.lease(wanted)
	if l == nil {
		// Silence would keep the client trying until its old lease ends.
		return b.refuse(m)
	}
	return b.reply(m, ack, l)
}

func (b *binding) isServer(a netip.Addr) bool {
	for i := range b.leases {
		if b.leases[i].server == a {
			return true
		}
	}
	return false
}

// lease returns the lease of an address, or nil.
func (b *binding) lease(a netip.Addr) *lease {
	for i := range b.leases {
		if b.leases[i].addr == a {
			return &b.leases[i]
		}
	}
	return nil
}

// leaseOr returns the lease of an address, or the port's first.
func (b *binding) leaseOr(a netip.Addr) *lease {
	if l := b.lease(a); l != nil {
		return l
	}
	return &b.leases[0]
}

// start makes a frame with the fixed part of an answer.
func (b *binding) start(m *message, typ messageType, server netip.Addr) []byte {
	frame := make([]byte, headers+offOptions, headers+minMessage+276)
	d := frame[headers:]
	d[0], d[1], d[2] = opReply, hwEthernet, 6
	copy(d[offXID:offSecs], m.raw[offXID:])
	if m.broadcast {
		binary.BigEndian.PutUint16(d[offFlags:], flagBroadcast)
	}
	copy(d[offCHAddr:], b.mac[:])
	binary.BigEndian.PutUint32(d[offCookie:], magicCookie)
	id := server.As4()
	frame = append(frame, optMessageType, 1, byte(typ), optServerID, 4)
	return append(frame, id[:]...)
}

// finish ends the options, with the client's identifier as RFC 6842 asks for.
func (b *binding) finish(m *message, frame []byte, server netip.Addr, to endpoint) []byte {
	if len(m.clientID) > 0 {
		frame = append(frame, optClientID, byte(len(m.clientID)))
		frame = append(frame, m.clientID...)
	}
	frame = append(frame, optEnd)
	for len(frame) < headers+minMessage {
		frame = append(frame, optPad)
	}
	return sealFrame(frame, endpoint{b.server, server}, to)
}

// refuse makes a DHCPNAK, which is always broadcast.
func (b *binding) refuse(m *message) []byte {
	server := b.leases[0].server
	frame := b.start(m, nak, server)
	return b.finish(m, frame, server, endpoint{broadcastMAC, broadcastAddr})
}

// reply makes a DHCPOFFER or DHCPACK.
func (b *binding) reply(m *message, typ messageType, l *lease) []byte {
	a := &l.plain
	if m.ipxe {
		a = &l.ipxe
	}
	frame := b.start(m, typ, l.server)
	d := frame[headers:]
	client, your, next := m.client.As4(), l.addr.As4(), a.next.As4()
	copy(d[offNext:], next[:])
	if typ == ack {
		copy(d[offClient:], client[:])
	}
	if m.typ != inform {
		copy(d[offYour:], your[:])
	}
	if !m.wants(optBootFile) && len(a.bootFile) < sizeFile {
		copy(d[offFile:], a.bootFile)
	}
	if !m.wants(optTFTPServer) && len(a.tftp) < sizeServer {
		copy(d[offServer:], a.tftp)
	}

	o := optionWriter{frame: frame, limit: b.limit(m)}
	o.sent[optMessageType], o.sent[optServerID], o.sent[optClientID] = true, true, true
	if m.typ == inform { // RFC 2131, 4.3.5: no times
		o.sent[optLeaseTime], o.sent[optRenewal], o.sent[optRebinding] = true, true, true
	}
	for _, code := range [...]byte{optLeaseTime, optRenewal, optRebinding, optNetmask} {
		o.put(code, a.find(code))
	}
	for _, code := range m.wanted { // in the order the client wants them
		o.put(code, a.find(code))
	}
	o.put(optMTU, a.find(optMTU)) // whether asked for or not, as in Neutron
	if len(m.wanted) == 0 {
		for _, opt := range a.options {
			o.put(opt.code, opt.value)
		}
	}
	return b.finish(m, o.frame, l.server, m.destination(l))
}

// destination follows RFC 2131, 4.1.
func (m *message) destination(l *lease) endpoint {
	switch {
	case !m.client.IsUnspecified():
		return endpoint{m.chaddr, m.client}
	case m.broadcast:
		return endpoint{broadcastMAC, broadcastAddr}
	}
	return endpoint{m.chaddr, l.addr}
}

// wants reports whether the client gets an option if there is one.
func (m *message) wants(code byte) bool {
	if len(m.wanted) == 0 {
		return true
	}
	for _, c := range m.wanted {
		if c == code {
			return true
		}
	}
	return false
}

// limit is how long a frame may get with its options: what the client takes,
// at least what all clients take, and what the network carries.
func (b *binding) limit(m *message) int {
	const least = 576 // RFC 2131, section 2
	packet := max(least, m.maxSize)
	if m.maxSize > least {
		packet = max(least, min(packet, b.mtu))
	}
	reserve := 1 // the end mark
	if len(m.clientID) > 0 {
		reserve += 2 + len(m.clientID)
	}
	return ethernetHeader + packet - reserve
}

// optionWriter appends options to a frame, each code once, as long as they fit.
type optionWriter struct {
	frame []byte
	limit int
	sent  [256]bool
}

// put writes an option, one longer than 255 bytes in parts (RFC 3396). One that
// does not fit is left out: a client can do without, but not without a lease.
func (o *optionWriter) put(code byte, value []byte) {
	parts := (len(value) + 254) / 255
	if o.sent[code] || parts == 0 || len(o.frame)+2*parts+len(value) > o.limit {
		return
	}
	o.sent[code] = true
	for len(value) > 0 {
		n := min(len(value), 255)
		o.frame = append(o.frame, code, byte(n))
		o.frame = append(o.frame, value[:n]...)
		value = value[n:]
	}
}
