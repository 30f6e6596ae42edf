package pipeline

import (
	"maps"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// Cache computes the flows of one host time and again, at the cost of what has changed where peers have: they are
// many, and come and go. The zero Cache is ready; it is not safe for concurrent use.
//
// Its Output has the flows of peers as steps. What follows them has the same flows as Compute.
type Cache struct {
	in    Input // with its own map of peers
	b     *builder
	out   *Output
	state uint64 // of the flows of peers
}

// Compute returns the flows for a state: the same pointer as before if they are the same. Objects of the input do
// not change; its maps may, after the call.
func (c *Cache) Compute(in Input) *Output {
	same := c.out != nil && sameBesidePeers(c.in, in)
	changed := changedPeers(c.in.Peers, in.Peers)
	if same && len(changed) == 0 {
		return c.out
	}
	before := c.in.Peers
	in.Peers = maps.Clone(in.Peers)
	c.in = in
	if same && !c.b.clash && c.follow(before, changed) {
		return c.out
	}
	c.anew()
	return c.out
}

// Input is what the last Output follows from. It does not change.
func (c *Cache) Input() Input { return c.in }

// IntPeers and TunPeers list the flows of peers as they are after the last Compute.
func (c *Cache) IntPeers() []flow.Flow { return c.all(func(s *share) []flow.Flow { return s.brInt }) }

// TunPeers is IntPeers for br-tun.
func (c *Cache) TunPeers() []flow.Flow { return c.all(func(s *share) []flow.Flow { return s.brTun }) }

func (c *Cache) all(of func(*share) []flow.Flow) (out []flow.Flow) {
	for _, s := range c.b.shares {
		out = append(out, of(s)...)
	}
	return out
}

// changedPeers lists the peers that are not the same object in both, in order.
func changedPeers(before, now map[model.PortID]*model.PeerView) (out []model.PortID) {
	kept := 0
	for id, v := range now {
		old, had := before[id]
		if had {
			kept++
		}
		if !had || old != v {
			out = append(out, id)
		}
	}
	if kept != len(before) {
		for id := range before {
			if _, still := now[id]; !still {
				out = append(out, id)
			}
		}
	}
	slices.SortFunc(out, comparePorts)
	return out
}

// follow changes what has been built by the peers that have changed. It returns false when that is not enough.
func (c *Cache) follow(before map[model.PortID]*model.PeerView, changed []model.PortID) bool {
	then := make(map[model.PortID]*share, len(changed))
	for _, id := range changed {
		then[id] = c.b.shares[id]
	}
	if c.leaveAndCome(before, changed) {
		next := *c.out
		c.step(&next, changed, then)
		return true
	}
	for id, s := range then { // as they were, to compare with
		if delete(c.b.shares, id); s != nil {
			c.b.shares[id] = s
		}
	}
	return false
}

func (c *Cache) leaveAndCome(before map[model.PortID]*model.PeerView, changed []model.PortID) bool {
	for _, id := range changed {
		if old := before[id]; old != nil && !c.b.leave(old) {
			return false
		}
	}
	for _, id := range changed {
		if v := c.in.Peers[id]; v != nil && !c.b.come(v) {
			return false
		}
	}
	return true
}

// anew builds everything.
func (c *Cache) anew() {
	before := map[model.PortID]*share{}
	if c.b != nil {
		before = c.b.shares
	}
	c.b = newBuilder(c.in)
	c.b.shares = make(map[model.PortID]*share, len(c.in.Peers))
	c.b.build()
	for _, n := range c.b.networks {
		n.peers = nil // they are in the shares
	}
	c.b.in.Peers = nil
	next := c.b.output()
	changed := slices.Collect(maps.Keys(c.b.shares))
	for id := range before {
		if c.b.shares[id] == nil {
			changed = append(changed, id)
		}
	}
	slices.SortFunc(changed, comparePorts)
	c.step(&next, changed, before)
}

// step works out what leads from the former shares of some peers to the present ones.
func (c *Cache) step(next *Output, changed []model.PortID, then map[model.PortID]*share) {
	next.IntPeers, next.TunPeers = flow.Step{From: c.state}, flow.Step{From: c.state}
	if c.out != nil {
		next.IntPeers.Total, next.TunPeers.Total = c.out.IntPeers.Total, c.out.TunPeers.Total
	}
	c.state++
	none := &share{}
	or := func(s *share) *share {
		if s == nil {
			return none
		}
		return s
	}
	for _, id := range changed {
		now, was := or(c.b.shares[id]), or(then[id])
		between(&next.IntPeers, now.brInt, was.brInt)
		between(&next.TunPeers, now.brTun, was.brTun)
	}
	next.IntPeers.To, next.TunPeers.To = c.state, c.state
	c.out = next
}

// between adds to a step what leads from one peer's flows to others.
func between(s *flow.Step, now, was []flow.Flow) {
	s.Total += len(now) - len(was)
	if slices.EqualFunc(now, was, flow.Flow.Equal) {
		return
	}
	add, del := flow.Diff(now, was, nil)
	s.Add, s.Del = append(s.Add, add...), append(s.Del, del...)
}

// sameBesidePeers compares inputs by their objects, which do not change.
func sameBesidePeers(a, b Input) bool {
	return a.L2Population == b.L2Population && a.Host == b.Host && maps.Equal(a.Networks, b.Networks) && maps.Equal(a.Ports, b.Ports) &&
		maps.Equal(a.Routers, b.Routers) && maps.Equal(a.Floating, b.Floating) && maps.Equal(a.Served, b.Served) && a.Local.same(&b.Local)
}

func (l *Local) same(m *Local) bool {
	return l.TunnelAddr == m.TunnelAddr && l.PatchTun == m.PatchTun && l.PatchInt == m.PatchInt && l.Services == m.Services && l.MeterLimit == m.MeterLimit &&
		maps.Equal(l.Ports, m.Ports) && maps.Equal(l.Filtered, m.Filtered) && maps.Equal(l.Tunnels, m.Tunnels) &&
		maps.Equal(l.Physical, m.Physical) && maps.Equal(l.Watched, m.Watched)
}
