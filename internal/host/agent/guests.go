package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"weft/internal/host/flow"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/responder"
	"weft/internal/model"
)

// Limits of what is answered: what one port may ask, and what may wait for an answer. A port that boots asks about ten
// questions: DHCPv4, router and neighbour solicitations, DHCPv6.
const (
	askPerSecond = 10
	askBurst     = 30
	askQueue     = 4096
)

// portMeter is the meter of the port with an OpenFlow number: the switch drops what the agent would drop.
func portMeter(ofport uint32) openflow.Meter {
	return openflow.Meter{ID: ofport, Packets: true, Rate: askPerSecond, Burst: askBurst}
}

func portMeters(ofports []uint32) []openflow.Meter {
	out := make([]openflow.Meter, len(ofports))
	for i, p := range ofports {
		out[i] = portMeter(p)
	}
	return out
}

// guestServer answers the packets of guests that the switch hands up.
type guestServer struct {
	answers *responder.Guests
	log     *slog.Logger
	metrics *metrics
	queue   chan *question

	domain string // told to guests; owned by the loop

	mu    sync.Mutex
	ports map[model.PortID]*askingPort
}

// question is a packet of a port.
type question struct {
	port   model.PortID
	packet openflow.PacketIn
}

// askingPort is a port that is answered, and what its answers follow from: views do not change.
type askingPort struct {
	limiter responder.Limiter
	view    *model.PortView
	network *model.NetworkView
	adverts *announced
	err     error // of its options
}

func newGuestServer(d *responder.Guests, log *slog.Logger, m *metrics) *guestServer {
	return &guestServer{answers: d, log: log, metrics: m, queue: make(chan *question, askQueue), ports: map[model.PortID]*askingPort{}}
}

// packet takes a packet from the switch's reader; it never blocks. The port that asks is named by the flow that caught the
// packet, never by what the packet says. What is too much is dropped before it waits, so that a port that floods takes
// no other's place: its share of the queue is what its limit lets through.
func (s *guestServer) packet(p openflow.PacketIn) {
	var q question
	if len(p.Userdata) != len(q.port.UUID) {
		return
	}
	copy(q.port.UUID[:], p.Userdata)
	q.packet = p
	if !s.allow(q.port, time.Now()) {
		s.metrics.dhcpDropped.Inc()
		return
	}
	select {
	case s.queue <- &q:
	default:
		s.metrics.dhcpDropped.Inc()
	}
}

// setDomain has all ports be told another domain of names.
func (s *guestServer) setDomain(domain string) {
	if domain == "" || s.domain == domain {
		return
	}
	s.domain = domain
	s.answers.SetDomain(strings.TrimSuffix(domain, "."))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		p.view = nil // set anew
	}
}

// set takes over a port's view; the error tells which of its options are left out.
func (s *guestServer) set(p *model.PortView, n *model.NetworkView, a *announced) error {
	s.mu.Lock()
	port := s.ports[p.ID]
	if port == nil {
		port = &askingPort{limiter: responder.NewLimiter(askPerSecond, askBurst)}
		s.ports[p.ID] = port
	}
	s.mu.Unlock()
	// All but the limiter is the loop's alone.
	if port.view != p || port.network != n || port.adverts != a {
		port.view, port.network, port.adverts = p, n, a
		port.err = s.answers.Set(p, n, a.frames)
	}
	return port.err
}

// keep forgets the ports that have left the host.
func (s *guestServer) keep(here func(model.PortID) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.ports {
		if !here(id) {
			delete(s.ports, id)
			s.answers.Delete(id)
		}
	}
}

func (s *guestServer) allow(id model.PortID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ports[id]
	return p != nil && p.limiter.Allow(now)
}

// run answers until ctx ends.
func (s *guestServer) run(ctx context.Context, out *openflow.Client) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case q := <-s.queue:
			s.answer(q, out)
		}
	}
}

func (s *guestServer) answer(q *question, out *openflow.Client) {
	frames, err := s.answers.Answer(q.port, q.packet.Data)
	switch {
	case errors.Is(err, responder.ErrForeign), errors.Is(err, responder.ErrMalformed):
		s.metrics.dhcpDropped.Inc()
		s.log.Debug("a guest's question is not answered", "port", q.port, "err", err)
		return
	case err != nil:
		return
	}
	for _, f := range frames {
		if err := out.PacketOut(flow.PortController, []flow.Action{flow.Output{Port: q.packet.InPort()}}, f); err != nil {
			s.log.Warn("answer to a guest not sent", "port", q.port, "err", err)
			return
		}
		s.metrics.dhcpReplies.Inc()
	}
}
