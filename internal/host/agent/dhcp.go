package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"weft/internal/host/flow"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/responder"
	"weft/internal/model"
)

// Limits of DHCP: what one port may ask, and what may wait for an answer.
const (
	dhcpPerSecond = 5
	dhcpBurst     = 20
	dhcpQueue     = 1024
)

// dhcpServer answers the DHCP packets that the switch hands up.
type dhcpServer struct {
	answers *responder.DHCP
	log     *slog.Logger
	metrics *metrics
	queue   chan openflow.PacketIn

	mu       sync.Mutex
	limiters map[model.PortID]*responder.Limiter
}

func newDHCPServer(d *responder.DHCP, log *slog.Logger, m *metrics) *dhcpServer {
	return &dhcpServer{answers: d, log: log, metrics: m, queue: make(chan openflow.PacketIn, dhcpQueue), limiters: map[model.PortID]*responder.Limiter{}}
}

// packet takes a packet from the switch's reader; it never blocks. When too many wait, it is
// dropped, as a network would: clients ask again.
func (d *dhcpServer) packet(p openflow.PacketIn) {
	select {
	case d.queue <- p:
	default:
		d.metrics.dhcpDropped.Inc()
	}
}

// set takes over a port's view; the error tells which of its options are left out.
func (d *dhcpServer) set(p *model.PortView, n *model.NetworkView) error {
	d.mu.Lock()
	if d.limiters[p.ID] == nil {
		l := responder.NewLimiter(dhcpPerSecond, dhcpBurst)
		d.limiters[p.ID] = &l
	}
	d.mu.Unlock()
	return d.answers.Set(p, n)
}

// keep forgets the ports that have left the host.
func (d *dhcpServer) keep(here func(model.PortID) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.limiters {
		if !here(id) {
			delete(d.limiters, id)
			d.answers.Delete(id)
		}
	}
}

func (d *dhcpServer) allow(id model.PortID, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.limiters[id]
	return l != nil && l.Allow(now)
}

// run answers until ctx ends. The port that asks is named by the flow that caught the
// packet, never by what the packet says.
func (d *dhcpServer) run(ctx context.Context, out *openflow.Client) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-d.queue:
			d.answer(p, out)
		}
	}
}

func (d *dhcpServer) answer(p openflow.PacketIn, out *openflow.Client) {
	var id model.PortID
	if len(p.Userdata) != len(id.UUID) {
		return
	}
	copy(id.UUID[:], p.Userdata)
	if !d.allow(id, time.Now()) {
		d.metrics.dhcpDropped.Inc()
		return
	}
	reply, err := d.answers.Answer(id, p.Data)
	switch {
	case errors.Is(err, responder.ErrForeign), errors.Is(err, responder.ErrMalformed):
		d.metrics.dhcpDropped.Inc()
		d.log.Debug("dhcp request not answered", "port", id, "err", err)
		return
	case err != nil || reply == nil:
		return
	}
	if err := out.PacketOut(flow.PortController, []flow.Action{flow.Output{Port: p.InPort()}}, reply); err != nil {
		d.log.Warn("dhcp reply not sent", "port", id, "err", err)
		return
	}
	d.metrics.dhcpReplies.Inc()
}
