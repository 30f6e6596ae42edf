package responder

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weft/internal/model"
)

// What Answer may say of a frame that it does not answer although it was for it.
var (
	// ErrUnknownPort: nothing is to be told on that port.
	ErrUnknownPort = errors.New("such a question is not answered on this port")
	// ErrMalformed: not a question that an Ethernet node may send.
	ErrMalformed = errors.New("malformed request")
	// ErrForeign: the question is in the name of another MAC or address than the port's.
	ErrForeign = errors.New("request in the name of another")
)

// Settings are the same for all ports of the host.
type Settings struct {
	Domain string        // told to guests; "openstacklocal" if empty
	Lease  time.Duration // whole seconds; one day if zero, for ever if negative
}

// Forever is Settings.Lease of leases that do not end.
const Forever time.Duration = -1

func (s Settings) seconds() uint32 {
	if s.Lease < 0 {
		return math.MaxUint32
	}
	return uint32(min(int64(s.Lease/time.Second), math.MaxUint32-1))
}

// Guests answers the guests of a host: DHCPv4, DHCPv6, router and neighbour solicitations. Leases are not kept: an address
// is the port's as long as the port has it. It is safe for concurrent use.
type Guests struct {
	settings Settings

	mu    sync.RWMutex
	ports map[model.PortID]*guest // guests do not change
}

// guest is what is answered on one port. What is nil is not answered.
type guest struct {
	mac       model.MAC
	link      []netip.Prefix // link-local addresses that it may have
	dhcp4     *binding
	dhcp6     *binding6
	neighbour *neighbour
	adverts   [][]byte
}

// NewGuests returns a Guests that answers nobody yet.
func NewGuests(s Settings) *Guests {
	s.Domain = cmp.Or(s.Domain, "openstacklocal")
	s.Lease = cmp.Or(s.Lease, 24*time.Hour)
	return &Guests{settings: s, ports: map[model.PortID]*guest{}}
}

// Set takes over what is to be told on a port; adverts are the frames that answer router solicitations. The error names the port's
// extra options that are not valid; they are left out, all else is told.
func (g *Guests) Set(p *model.PortView, n *model.NetworkView, adverts [][]byte) error {
	g.mu.RLock()
	settings := g.settings
	g.mu.RUnlock()
	gu := &guest{mac: p.MAC, link: linkLocals(p), neighbour: neighbourOf(n), adverts: adverts}
	var err4, err6 error
	if gu.dhcp4, err4 = bind(p, n, settings); gu.dhcp4 == nil {
		err4 = nil // no address here has DHCPv4
	}
	if gu.dhcp6, err6 = bind6(p, n, settings); gu.dhcp6 == nil {
		err6 = nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ports[p.ID] = gu
	return errors.Join(err4, err6)
}

// SetDomain changes the domain that ports are told, from their next Set on.
func (g *Guests) SetDomain(domain string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settings.Domain = domain
}

// Delete forgets a port.
func (g *Guests) Delete(id model.PortID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.ports, id)
}

// Answer returns the Ethernet frames to send back out of the port a frame came from, none if there is nothing to say (a
// release, or a request that chose another server). Errors are ErrUnknownPort, ErrMalformed and ErrForeign.
func (g *Guests) Answer(id model.PortID, frame []byte) ([][]byte, error) {
	g.mu.RLock()
	gu := g.ports[id]
	g.mu.RUnlock()
	if gu == nil {
		return nil, fmt.Errorf("port %s: %w", id, ErrUnknownPort)
	}
	if len(frame) < ethernetHeader || binary.BigEndian.Uint16(frame[12:]) != etherTypeIPv6 {
		if gu.dhcp4 == nil {
			return nil, ErrUnknownPort
		}
		return one(gu.dhcp4.answerFrame(frame))
	}
	p, ok := parsePacket6(frame)
	switch {
	case !ok:
	case p.next == protoUDP && gu.dhcp6 != nil:
		if !gu.is(&p) {
			return nil, ErrForeign
		}
		return one(gu.dhcp6.answerPacket(&p))
	case p.next == protoICMPv6 && len(p.payload) > 0 && p.payload[0] == neighbourSolicit && gu.neighbour != nil:
		return one(gu.neighbour.answer(&p))
	case p.next == protoICMPv6 && len(p.payload) > 0 && p.payload[0] == routerSolicit && len(gu.adverts) > 0:
		return gu.answerRouterSolicit(&p)
	case p.next == protoUDP, p.next == protoICMPv6:
		return nil, ErrUnknownPort
	}
	return nil, ErrMalformed
}

func one(frame []byte, err error) ([][]byte, error) {
	if frame == nil || err != nil {
		return nil, err
	}
	return [][]byte{frame}, nil
}

// answerRouterSolicit lets every router of the network answer (RFC 4861, 6.2.6). Who asks has no address yet, or its own
// link-local one.
func (g *guest) answerRouterSolicit(p *packet6) ([][]byte, error) {
	if _, valid := validND(p, sizeRS); !valid {
		return nil, ErrMalformed
	}
	if p.mac != g.mac || !p.src.IsUnspecified() && !g.is(p) {
		return nil, ErrForeign
	}
	return g.adverts, nil
}

// is reports whether the guest has sent a packet, from a link-local address that it may have.
func (g *guest) is(p *packet6) bool {
	return p.mac == g.mac && slices.ContainsFunc(g.link, func(own netip.Prefix) bool { return own.Contains(p.src) })
}

// linkLocals are the link-local addresses that a port may have: the one of its MAC and those of its address pairs. Without port
// security any will do.
func linkLocals(p *model.PortView) []netip.Prefix {
	if !p.PortSecurity {
		return []netip.Prefix{netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10)}
	}
	own := []netip.Prefix{netip.PrefixFrom(linkLocal(p.MAC), 128)}
	for _, pair := range p.AddressPairs {
		if pair.MAC == p.MAC && pair.Prefix.Addr().IsLinkLocalUnicast() && pair.Prefix.Addr().Is6() && pair.Prefix.Bits() >= 10 {
			own = append(own, pair.Prefix)
		}
	}
	return own
}
