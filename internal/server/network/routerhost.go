package network

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// place keeps the gateway hosts of a router right: those that may not serve it any more, or do not
// reach its networks, go, and others take their places. Those that stay keep their order, so that nothing
// moves without need; whether a host is alive is not looked at. joining are networks that the router is about to
// have a port on. A router that an operator gave fewer hosts than it could have is left with them.
//
// Chosen are those that serve the fewest routers; of them, the one that is preferred for the fewest is
// preferred; names decide ties. When no host reaches all networks, any may serve those that it reaches.
//
// The caller stores the router; its ports follow the preferred host here.
func (r *Rules) place(tx *store.Tx, env Env, rt *model.Router, joining ...model.NetworkID) {
	pool := candidates(tx, rt, joining)
	kept := slices.DeleteFunc(slices.Clone(rt.Hosts), func(h string) bool { return !slices.Contains(pool, h) })
	if len(kept) == 0 || len(kept) < len(rt.Hosts) {
		kept = r.fill(tx, rt, pool, kept)
	}
	r.setHosts(tx, env, rt, kept)
}

// fill adds hosts of the pool to those that serve a router, up to the number that it shall have.
func (r *Rules) fill(tx *store.Tx, rt *model.Router, pool, kept []string) []string {
	free := slices.DeleteFunc(slices.Clone(pool), func(h string) bool { return slices.Contains(kept, h) })
	byPreferred := func(a, b string) int {
		return cmp.Or(cmp.Compare(tx.RouterCountByPreferredHost(a), tx.RouterCountByPreferredHost(b)), cmp.Compare(a, b))
	}
	slices.SortFunc(free, func(a, b string) int {
		return cmp.Or(cmp.Compare(tx.RouterCountByHost(a), tx.RouterCountByHost(b)), byPreferred(a, b))
	})
	free = free[:max(0, min(len(free), r.gatewaysFor(rt)-len(kept)))]
	slices.SortFunc(free, byPreferred)
	return append(kept, free...)
}

// gatewaysFor is how many hosts shall serve a router.
func (r *Rules) gatewaysFor(rt *model.Router) int {
	if rt.HA {
		return r.MaxGateways
	}
	return 1
}

// candidates are the names of the hosts that may serve a router.
func candidates(tx *store.Tx, rt *model.Router, joining []model.NetworkID) []string {
	var networks []*model.Network
	for p := range routerPorts(tx, rt.ID) {
		networks = append(networks, tx.Network(p.NetworkID))
	}
	for _, id := range joining {
		networks = append(networks, tx.Network(id))
	}
	var all, reaching []string
	for h := range tx.Hosts() {
		if !h.IsGateway() || !h.AdminStateUp || len(rt.ZoneHints) > 0 && !slices.Contains(rt.ZoneHints, h.AvailabilityZone()) {
			continue
		}
		all = append(all, h.Name)
		if !slices.ContainsFunc(networks, func(n *model.Network) bool {
			return !slices.ContainsFunc(n.Segments, func(s model.Segment) bool { return reaches(h, s) })
		}) {
			reaching = append(reaching, h.Name)
		}
	}
	if len(reaching) > 0 {
		return reaching
	}
	return all
}

// setHosts gives a router its hosts, and binds its ports to the preferred one. When that is another than before, the one before
// hands the router over. What hosts say that have nothing to do with it any more counts no more.
func (r *Rules) setHosts(tx *store.Tx, env Env, rt *model.Router, hosts []string) {
	if len(hosts) == 0 {
		hosts = nil
	}
	before, at := rt.Gateways(), ""
	if len(before) > 0 {
		at = before[0]
	}
	rt.Hosts = hosts
	rt.HandOver = handOver(tx, rt, at)
	now := rt.Gateways()
	gone := slices.DeleteFunc(slices.Clone(before), func(h string) bool { return slices.Contains(now, h) })
	for p := range routerPorts(tx, rt.ID) {
		for _, h := range gone {
			withdrawReport(tx, p.ID, h)
		}
		if p.Binding.HostID == preferred(rt) {
			continue
		}
		p = p.Clone()
		p.Binding.HostID = preferred(rt)
		bind(tx, p, tx.Network(p.NetworkID))
		env.touch(&p.Meta)
		putPort(tx, p)
	}
}

// withdrawReport takes out what a host says about a port.
func withdrawReport(tx *store.Tx, id model.PortID, host string) {
	old := tx.PortReport(id)
	if old == nil {
		return
	}
	switch left := old.Without(host); left {
	case nil:
		tx.DeletePortReport(id)
	case old:
	default:
		tx.PutPortReport(left)
	}
}

// handOver returns what moves a router from the host that it is at to its preferred one without a loss: nil when it is
// there, or when there is nothing to go on with.
func handOver(tx *store.Tx, rt *model.Router, at string) *model.HandOver {
	h := rt.HandOver
	if at != "" && at != preferred(rt) {
		h = &model.HandOver{From: at}
	} else if h != nil && (h.Ready.IsZero() || slices.Contains(rt.Hosts, h.From)) {
		return nil
	}
	if h == nil || len(rt.Hosts) == 0 || !rt.AdminStateUp || !hasPorts(tx, rt) {
		return nil
	}
	if from := tx.Host(h.From); from == nil || !from.IsGateway() {
		return nil
	}
	return h
}

// handsOver is how long a host that has handed a router over goes on with what reaches it: hosts and switches
// learn of the move one after the other.
const handsOver = 5 * time.Second

// LegReported lets a router's move go on after a host has said what became of one of its ports: when the host that the
// router goes to has all of them, it takes over. The dispatcher calls it in the transaction that writes the report.
func (r *Rules) LegReported(tx *store.Tx, env Env, port model.PortID) {
	p := tx.Port(port)
	if p == nil {
		return
	}
	id, ok := p.RouterOf()
	rt := tx.Router(id)
	if !ok || rt == nil || rt.HandOver == nil || !rt.HandOver.Ready.IsZero() {
		return
	}
	for p := range routerPorts(tx, id) {
		if p.AdminStateUp && !tx.PortReport(p.ID).Applied(preferred(rt), p.Binding.Since) {
			return
		}
	}
	rt = rt.Clone()
	rt.HandOver.Ready = env.Now
	tx.PutRouter(rt)
}

// dropHandOvers ends the moves of routers from a host that is gone and has nothing to hand over, at most as many as the limit. It
// reports whether there are more.
func dropHandOvers(tx *store.Tx, host string, limit int) (more bool) {
	for rt := range tx.RoutersHandedOverBy(host) {
		if limit == 0 {
			return true
		}
		limit--
		rt = rt.Clone()
		rt.HandOver = nil
		tx.PutRouter(rt)
	}
	return false
}

// EndHandOvers ends the moves of routers whose time is up, or that nothing is left of to be moved: as many as one transaction may.
func (r *Rules) EndHandOvers(tx *store.Tx, env Env) {
	var over []*model.Router
	for rt := range tx.RoutersHandedOver() {
		h := rt.HandOver
		if h.Ready.IsZero() && !hasPorts(tx, rt) || !h.Ready.IsZero() && env.Now.Sub(h.Ready) >= handsOver {
			over = append(over, rt)
		}
		if len(over) == rebound {
			break
		}
	}
	for _, rt := range over {
		if from := rt.HandOver.From; !slices.Contains(rt.Hosts, from) {
			for p := range routerPorts(tx, rt.ID) {
				withdrawReport(tx, p.ID, from)
			}
		}
		rt = rt.Clone()
		rt.HandOver = nil
		tx.PutRouter(rt)
	}
}

func hasPorts(tx *store.Tx, rt *model.Router) bool {
	for range routerPorts(tx, rt.ID) {
		return true
	}
	return false
}

// preferred is the host that shall have a router's traffic, empty when none serves it.
func preferred(rt *model.Router) string {
	if len(rt.Hosts) == 0 {
		return ""
	}
	return rt.Hosts[0]
}

// placeRouters makes routers follow a host that is new, gone, or has changed from before (nil: it was not there)
// in what lets it serve them. The routers that it cannot serve any more go to other hosts; those that have
// fewer hosts than they could get it. A host that merely comes back changes nothing.
//
// When it has changed as many rows as the limit says it stops, and reports that there is more. A router that
// is in its place is not touched, so that a further call goes on where this one ended.
func (r *Rules) placeRouters(tx *store.Tx, env Env, name string, limit int) (more bool) {
	rows := 0
	move := func(old *model.Router, hosts func(rt *model.Router)) {
		rt := old.Clone()
		hosts(rt)
		if !slices.Equal(rt.Hosts, old.Hosts) || !slices.Equal(rt.Gateways(), old.Gateways()) {
			env.touch(&rt.Meta)
			tx.PutRouter(rt)
			rows++
			for range routerPorts(tx, rt.ID) {
				rows += 2 // with its report
			}
		}
	}
	for rt := range tx.RoutersByHost(name) {
		if rows >= limit {
			return true
		}
		move(rt, func(rt *model.Router) { r.place(tx, env, rt) })
	}
	if h := tx.Host(name); h == nil || !h.IsGateway() || !h.AdminStateUp {
		return false
	}
	for rt := range tx.Routers() {
		if len(rt.Hosts) >= r.gatewaysFor(rt) || slices.Contains(rt.Hosts, name) || !slices.Contains(candidates(tx, rt, nil), name) {
			continue
		}
		if rows >= limit {
			return true
		}
		move(rt, func(rt *model.Router) { r.setHosts(tx, env, rt, append(rt.Hosts, name)) })
	}
	return false
}

// followHost is placeRouters for a host that may have changed, a part of the routers in each transaction. The host's row says
// that there is more, so that it is not forgotten when the server ends in between.
func (r *Rules) followHost(tx *store.Tx, env Env, before *model.Host, name string) (more bool) {
	due := before != nil && before.RoutersDue
	if !due && sameGateway(before, tx.Host(name)) {
		return false
	}
	more = r.placeRouters(tx, env, name, rebound)
	if h := tx.Host(name); h != nil && h.RoutersDue != more {
		h = h.Clone()
		h.RoutersDue = more
		tx.PutHost(h)
	}
	return more
}

// sameGateway reports whether a host can serve the same routers before and after a change.
func sameGateway(a, b *model.Host) bool {
	if a == nil || b == nil || a.IsGateway() != b.IsGateway() {
		return (a == nil || !a.IsGateway()) && (b == nil || !b.IsGateway())
	}
	return !a.IsGateway() || a.AdminStateUp == b.AdminStateUp && a.Zone == b.Zone && a.TunnelAddr.IsValid() == b.TunnelAddr.IsValid() &&
		slices.Equal(a.TunnelTypes, b.TunnelTypes) && maps.Equal(a.Mappings, b.Mappings)
}

// AddRouterToAgent makes a gateway host serve a router, after those that do already. A router that is
// not redundant has one host: to move it, it is removed first.
func (r *Rules) AddRouterToAgent(tx *store.Tx, env Env, who authn.Principal, agent model.AgentID, id model.RouterID) error {
	if err := ask(who, "create_l3-router", policy.Target{}).err(); err != nil {
		return err
	}
	h := tx.HostByAgent(agent)
	if h == nil || !h.IsGateway() || !h.AdminStateUp {
		return fault.New(fault.NotFound, "InvalidL3Agent", "Agent %s is not a L3 Agent or has been disabled", agent)
	}
	old, err := r.Router(tx, who, id)
	if err != nil {
		return err
	}
	if slices.Contains(old.Hosts, h.Name) || !old.HA && len(old.Hosts) > 0 {
		return fault.New(fault.Conflict, "RouterHostedByL3Agent",
			"The router %s has been already hosted by the L3 Agent %s.", id, agent)
	}
	if !slices.Contains(candidates(tx, old, nil), h.Name) {
		return fault.New(fault.Conflict, "RouterL3AgentMismatch", "Agent %s does not reach the networks of router %s, or is in another zone.", agent, id)
	}
	rt := old.Clone()
	r.setHosts(tx, env, rt, append(rt.Hosts, h.Name))
	env.touch(&rt.Meta)
	tx.PutRouter(rt)
	return nil
}

// RemoveRouterFromAgent makes a gateway host stop serving a router: the next in line takes over. The host
// does not come back by itself.
func (r *Rules) RemoveRouterFromAgent(tx *store.Tx, env Env, who authn.Principal, agent model.AgentID, id model.RouterID) error {
	if err := ask(who, "delete_l3-router", policy.Target{}).err(); err != nil {
		return err
	}
	h := tx.HostByAgent(agent)
	if h == nil {
		return agentNotFound(agent)
	}
	old, err := r.Router(tx, who, id)
	if err != nil {
		return err
	}
	if !slices.Contains(old.Hosts, h.Name) {
		return fault.New(fault.Conflict, "RouterNotHostedByL3Agent", "The router %s is not hosted by L3 agent %s.", id, agent)
	}
	rt := old.Clone()
	r.setHosts(tx, env, rt, slices.DeleteFunc(slices.Clone(rt.Hosts), func(name string) bool { return name == h.Name }))
	env.touch(&rt.Meta)
	tx.PutRouter(rt)
	return nil
}
