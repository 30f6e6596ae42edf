package responder

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"slices"

	"weft/internal/model"
)

// Status codes of RFC 8415, 21.13.
const (
	statusSuccess      = 0
	statusNoAddrsAvail = 2
	statusNotOnLink    = 4
)

// mostMessage6 is how long a DHCPv6 message may get so that every link carries it in one packet (RFC 8200, 5).
const mostMessage6 = leastIPv6MTU - ipv6Header - udpHeader

// preferenceMost tells clients to wait for no other server's offer (RFC 8415, 18.2.1).
const preferenceMost = 255

// binding6 is what a port's guest is told by DHCPv6. It never changes.
type binding6 struct {
	server   endpoint // of the network's DHCP port
	duid     []byte   // of the server: the same on every host
	addrs    []netip.Addr
	lifetime uint32 // seconds
	fqdn     []byte // the guest's name, as option 39 has it
	// plain and ipxe are for clients in general and for the iPXE loader, in order of their codes.
	plain, ipxe []option6
}

// errNoDHCPv6 is why a port has no binding6: not an error of the port.
var errNoDHCPv6 = errors.New("the port has no address on a subnet with DHCPv6")

// ownDNS6 is the DHCP port's IPv6 address on a subnet of the port, nil if it has none.
func ownDNS6(p *model.PortView, n *model.NetworkView) []byte {
	for _, f := range p.FixedIPs {
		s := subnet6Of(f, n)
		for _, a := range n.DHCPAddrs {
			if s != nil && s.CIDR.Contains(a) {
				return a.AsSlice()
			}
		}
	}
	return nil
}

// bind6 works out what a port's guest is told by DHCPv6. A binding comes with an error if some of the port's extra
// options are not valid: those are left out.
func bind6(p *model.PortView, n *model.NetworkView, set Settings) (*binding6, error) {
	b := &binding6{
		server:   endpoint{n.DHCPMAC, linkLocal(n.DHCPMAC)},
		duid:     append([]byte{0, 3, 0, hwEthernet}, n.DHCPMAC[:]...), // DUID-LL (RFC 8415, 11.4)
		lifetime: set.seconds(),
	}
	var dns []byte
	var name netip.Addr
	served := false
	for _, f := range p.FixedIPs {
		s := subnet6Of(f, n)
		if s == nil {
			continue
		}
		served = true
		if !name.IsValid() {
			name = f.Addr
		}
		if stateful(s) {
			b.addrs = append(b.addrs, f.Addr)
		}
		for _, d := range s.DNS {
			if v := d.AsSlice(); d.Is6() && !d.Is4In6() && !containsAddr(dns, v) {
				dns = append(dns, v...)
			}
		}
	}
	if !served || n.DHCPMAC.IsZero() {
		return nil, errNoDHCPv6
	}
	if dns == nil {
		dns = ownDNS6(p, n) // the host's own, see package dns
	}
	search, err := encodeNames([]string{set.Domain})
	if err != nil {
		search = nil // a domain that cannot be said
	}
	if full, err := encodeNames([]string{hostname(p, name) + "." + set.Domain}); err == nil {
		const noUpdate = 1 << 2 // RFC 4704, 4.1: N
		b.fqdn = append([]byte{noUpdate}, full...)
	}
	extras, err := parseExtras6(p.DHCPOptions)
	told := func(client condition) []option6 {
		options := []option6{{opt6DNS, dns}, {opt6Search, search}, {opt6Refresh, binary.BigEndian.AppendUint32(nil, b.lifetime)}}
		for _, e := range extras {
			if e.when == always || e.when == client {
				options = slices.DeleteFunc(options, func(o option6) bool { return o.code == e.code })
				options = append(options, e.option6)
			}
		}
		options = slices.DeleteFunc(options, func(o option6) bool { return len(o.value) == 0 })
		slices.SortFunc(options, func(x, y option6) int { return int(x.code) - int(y.code) })
		return options
	}
	b.plain, b.ipxe = told(notIPXE), told(ifIPXE)
	return b, err
}

func parseExtras6(given []model.DHCPOption) ([]extra6, error) {
	var extras []extra6
	var errs []error
	for _, o := range given {
		if o.IPVersion != 6 {
			continue
		}
		e, err := parseExtra6(o.Name, o.Value)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		extras = append(extras, e)
	}
	return extras, errors.Join(errs...)
}

// containsAddr reports whether an address of 16 bytes is in a list of such.
func containsAddr(list, a []byte) bool {
	for ; len(list) >= len(a) && len(a) > 0; list = list[len(a):] {
		if string(list[:len(a)]) == string(a) {
			return true
		}
	}
	return false
}

// subnet6Of finds the subnet of an IPv6 address, if it has DHCPv6.
func subnet6Of(f model.FixedIP, n *model.NetworkView) *model.SubnetView {
	for i := range n.Subnets {
		s := &n.Subnets[i]
		if s.ID == f.SubnetID && s.EnableDHCP && s.CIDR.Addr().Is6() && s.CIDR.Contains(f.Addr) && (stateful(s) || s.AddressMode == model.IPv6Stateless) {
			return s
		}
	}
	return nil
}

// stateful reports whether addresses of a subnet are had by DHCPv6: its mode says so or, as in Neutron, it has no mode at all.
func stateful(s *model.SubnetView) bool {
	return s.AddressMode == model.IPv6Stateful || s.AddressMode == "" && s.RAMode == ""
}

// answer follows RFC 8415, 18.3. Leases are not kept: an address is the port's as long as the port has it, so that releasing
// or declining one changes nothing.
func (b *binding6) answer(m *message6, to endpoint) []byte {
	if m.serverID != nil && string(m.serverID) != string(b.duid) {
		return nil // chose another server
	}
	typ := reply6
	if m.typ == solicit6 && !m.rapid {
		typ = advertise6
	}
	w := writer6{frame: make([]byte, headers6+udpHeader, headers6+udpHeader+mostMessage6/4)}
	w.frame = append(append(w.frame, byte(typ)), m.xid[:]...)
	if m.clientID != nil {
		w.put(opt6ClientID, m.clientID)
	}
	w.put(opt6ServerID, b.duid)
	switch m.typ {
	case solicit6:
		if m.rapid {
			w.put(opt6RapidCommit, nil)
		}
		w.put(opt6Preference, []byte{preferenceMost})
		b.assign(&w, m)
	case request6, renew6, rebind6:
		b.assign(&w, m)
	case confirm6:
		if !b.confirm(&w, m) {
			return nil
		}
	case release6, decline6:
		w.put(opt6Status, status6(statusSuccess, ""))
	}
	if m.typ != release6 && m.typ != decline6 && m.typ != confirm6 {
		b.tell(&w, m)
	}
	return sealFrame6(w.frame, b.server, to, protoUDP)
}

// assign writes the port's addresses to the client's first association; a card has one. What else the client believes to
// have ends: lifetimes of zero (RFC 8415, 18.3.4).
func (b *binding6) assign(w *writer6, m *message6) {
	for i := range m.ias {
		a := &m.ias[i]
		v := append(make([]byte, 0, sizeIANA+(headOption6+sizeIAAddr)*(len(b.addrs)+len(a.addrs))), a.id[:]...)
		t1, t2 := b.times()
		v = binary.BigEndian.AppendUint32(v, t1)
		v = binary.BigEndian.AppendUint32(v, t2)
		if i == 0 {
			for _, addr := range b.addrs {
				v = appendIAAddr(v, addr, b.lifetime)
			}
		}
		if m.typ == renew6 || m.typ == rebind6 {
			for at, addr := range a.addrs {
				ours := i == 0 && slices.Contains(b.addrs, addr)
				if !ours && !slices.Contains(a.addrs[:at], addr) {
					v = appendIAAddr(v, addr, 0)
				}
			}
		}
		if len(v) == sizeIANA {
			v = appendOption6(v, opt6Status, status6(statusNoAddrsAvail, "no address"))
		}
		w.put(opt6IANA, v)
	}
}

// times are T1 and T2 (RFC 8415, 21.4): half and four fifths of the lifetime.
func (b *binding6) times() (t1, t2 uint32) {
	if b.lifetime == math.MaxUint32 {
		return b.lifetime, b.lifetime
	}
	return b.lifetime / 2, uint32(uint64(b.lifetime) * 4 / 5)
}

// confirm says whether the client's addresses are right. Being on the link is not enough here: a guest passes nothing with
// an address that is not its port's, and is better off asking anew.
func (b *binding6) confirm(w *writer6, m *message6) bool {
	some, right := false, true
	for i := range m.ias {
		for _, a := range m.ias[i].addrs {
			some = true
			right = right && slices.Contains(b.addrs, a)
		}
	}
	if right {
		w.put(opt6Status, status6(statusSuccess, ""))
	} else {
		w.put(opt6Status, status6(statusNotOnLink, "not an address of this port"))
	}
	return some
}

// tell writes the options that the client wants.
func (b *binding6) tell(w *writer6, m *message6) {
	options := b.plain
	if m.ipxe {
		options = b.ipxe
	}
	for _, o := range options {
		// How long the rest holds is for those only who have no lease that says it (RFC 8415, 21.23).
		if m.wants(o.code) && (o.code != opt6Refresh || m.typ == information6) {
			w.put(o.code, o.value)
		}
	}
	if m.fqdn && b.fqdn != nil {
		w.put(opt6FQDN, b.fqdn)
	}
}

func appendIAAddr(b []byte, a netip.Addr, lifetime uint32) []byte {
	v := append(make([]byte, 0, sizeIAAddr), a.AsSlice()...)
	v = binary.BigEndian.AppendUint32(v, lifetime) // preferred
	v = binary.BigEndian.AppendUint32(v, lifetime) // valid
	return appendOption6(b, opt6IAAddr, v)
}

func status6(code uint16, text string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, code), text...)
}

// writer6 appends options to a frame as long as they fit.
type writer6 struct{ frame []byte }

// put writes an option. One that does not fit is left out: identifiers and addresses come first.
func (w *writer6) put(code uint16, value []byte) {
	if len(w.frame)-headers6-udpHeader+headOption6+len(value) <= mostMessage6 {
		w.frame = appendOption6(w.frame, code, value)
	}
}

// answerPacket reads a packet of the port's own and answers it.
func (b *binding6) answerPacket(p *packet6) ([]byte, error) {
	payload, ok := p.udp()
	if !ok {
		return nil, ErrMalformed
	}
	m, ok := parseMessage6(payload)
	if !ok {
		return nil, ErrMalformed
	}
	return b.answer(&m, endpoint{p.mac, p.src}), nil
}
