package dispatch

import (
	"context"
	"slices"
	"time"

	"weft/internal/model"
	"weft/internal/server/store"
)

// hostReports is what one host said at once.
type hostReports struct {
	host    string
	reports []model.Report
}

// takeReports writes reports in batches: all that have come while the last
// batch was written, the latest of each port.
//
// A report is lost when the lead is lost while it is written. That is repaired by the next
// session, in which the host reports every port anew.
func (s *Server) takeReports(ctx context.Context) error {
	for {
		var first hostReports
		select {
		case <-ctx.Done():
			return ctx.Err()
		case first = <-s.reports:
		}
		batch := []hostReports{first}
	more:
		for len(batch) < cap(s.reports) {
			select {
			case r := <-s.reports:
				batch = append(batch, r)
			default:
				break more
			}
		}
		s.writeReports(ctx, batch)
	}
}

func (s *Server) writeReports(ctx context.Context, batch []hostReports) {
	now := s.cfg.Now().UTC().Truncate(time.Second)
	_, err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		for _, b := range batch {
			for _, r := range b.reports {
				s.applyReport(tx, b.host, r, now)
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("reports not written", "err", err)
		return
	}
	for _, b := range batch {
		s.metrics.reports.Add(float64(len(b.reports)))
	}
}

// applyReport notes what a host says of a port that is bound to it, or is a leg of a router that it serves. A host can say
// nothing of others' ports, nor go back behind what it said before of a later revision.
func (s *Server) applyReport(tx *store.Tx, host string, r model.Report, now time.Time) {
	p := tx.Port(r.PortID)
	if p == nil || !speaksFor(tx, host, p) {
		return
	}
	old := tx.PortReport(r.PortID)
	said := old
	if said != nil && said.Host != host && !p.IsRouterPort() {
		said = nil // by the host that the port was bound to before
	}
	word := model.HostReport{Host: host, Revision: r.Revision, State: r.State, Error: r.Error, At: now}
	next := said.With(r.PortID, word)
	if next == old {
		return
	}
	tx.PutPortReport(next)
	if s.cfg.Reported != nil {
		s.cfg.Reported(tx, r.PortID)
	}
}

// speaksFor reports whether a host wires a port: it is bound to it, or it is the leg of a router that it is a gateway of.
func speaksFor(tx *store.Tx, host string, p *model.Port) bool {
	id, leg := p.RouterOf()
	if !leg {
		return p.Binding.HostID == host
	}
	rt := tx.Router(id)
	return rt != nil && slices.Contains(rt.Gateways(), host)
}
