// Package fair keeps one guest from taking what another one needs of a service that all guests of a host
// share: how often a port may ask, and how much of what it asks may be under way at once.
//
// Ports are told apart by their ids, which come from where a packet entered the switch. Whatever one port
// does, the cost of refusing it is small and the shares of others stay theirs.
package fair

import (
	"sync"
	"time"

	"weft/internal/host/responder"
	"weft/internal/model"
)

// Limits are those of each port, and of all.
type Limits struct {
	PerSecond float64 // on average
	Burst     int
	AtOnce    int // of one port
	All       int // at once of all ports
}

// Gate lets in what is within the limits. It is safe for concurrent use.
type Gate struct {
	limits Limits

	mu    sync.Mutex
	ports map[model.PortID]*share
	all   int
}

type share struct {
	bucket responder.Limiter
	inside int
}

// New returns a Gate with nobody inside.
func New(l Limits) *Gate { return &Gate{limits: l, ports: map[model.PortID]*share{}} }

// Allow takes one of the port's tokens, and reports whether there was one.
func (g *Gate) Allow(id model.PortID, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.share(id).bucket.Allow(now)
}

// Enter reports whether there is room for one more of the port's. If so, leave must be called once.
func (g *Gate) Enter(id model.PortID) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.share(id)
	if s.inside >= g.limits.AtOnce || g.all >= g.limits.All {
		return nil, false
	}
	s.inside++
	g.all++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		s.inside--
		g.all--
	}, true
}

func (g *Gate) share(id model.PortID) *share {
	s := g.ports[id]
	if s == nil {
		s = &share{bucket: responder.NewLimiter(g.limits.PerSecond, g.limits.Burst)}
		g.ports[id] = s
	}
	return s
}

// Keep forgets the ports that have left the host.
func (g *Gate) Keep(here func(model.PortID) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id := range g.ports {
		if !here(id) {
			delete(g.ports, id)
		}
	}
}
