package hoststate

import (
	"net/netip"
	"slices"
	"time"

	"weft/internal/host/ovs/vsw"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// bfd is how tunnels between routers' gateways and their guests' hosts are watched: a hundred
// milliseconds between packets, three of which may be lost (ovs-vswitchd.conf.db(5), bfd).
func bfd() map[string]string {
	return map[string]string{"enable": "true", "min_tx": "100", "min_rx": "100"}
}

// firstUp is how long a tunnel that has just begun to be watched may take to come up. After that its
// other end counts as dead, too: it may have been so before this host started.
const firstUp = 3 * time.Second

// Reach is what this host sees of other hosts by the switch's own watch of its tunnels (BFD, RFC 5880).
// The zero value has seen nothing.
type Reach struct {
	// Lost are the hosts, by tunnel address, that no watched tunnel reaches. One that is not
	// watched, or is only about to be, counts as alive.
	Lost map[netip.Addr]bool
	// CutOff: no watched tunnel reaches anybody, and there are at least two: it is this host that is lost.
	CutOff bool
	// Returning: it was, and some tunnels have not come up again yet. Others may not know that this host is back.
	Returning bool
	// Watched are tunnels of which the switch knows whether they are alive.
	Watched map[pipeline.Tunnel]bool

	since    map[pipeline.Tunnel]time.Time // when a tunnel that was never up was seen first
	returned time.Time                     // when the host was last no longer cut off
}

// Update follows the switch's state. It returns how long from now the time ends that tunnels are given to come up, 0 when none waits.
func (r *Reach) Update(s *vsw.State, now time.Time) (wait time.Duration) {
	since := map[pipeline.Tunnel]time.Time{}
	wasCutOff, down := r.CutOff, false
	alive := map[netip.Addr]bool{}
	r.Lost, r.Watched, r.CutOff = map[netip.Addr]bool{}, map[pipeline.Tunnel]bool{}, false
	for _, name := range s.Interfaces() {
		i := s.Interface(name)
		remote, err := netip.ParseAddr(i.Options["remote_ip"])
		if err != nil || !IsTunnel(name) || len(i.BFDStatus) == 0 {
			continue
		}
		t := pipeline.Tunnel{Type: model.NetworkType(i.Type), Remote: remote}
		flaps := i.BFDStatus["flap_count"]
		down = down || i.BFDStatus["forwarding"] != "true"
		switch {
		case i.BFDStatus["forwarding"] == "true":
			r.Watched[t], alive[remote] = true, true
			continue
		case flaps != "" && flaps != "0":
		default:
			first, seen := r.since[t]
			if !seen {
				first = now
			}
			since[t] = first
			if left := firstUp - now.Sub(first); left > 0 {
				alive[remote] = true
				if wait == 0 || left < wait {
					wait = left
				}
				continue
			}
		}
		r.Watched[t], r.Lost[remote] = true, true
	}
	r.since = since
	for remote := range alive {
		delete(r.Lost, remote)
	}
	r.CutOff = len(alive) == 0 && len(r.Lost) >= 2
	if wasCutOff && !r.CutOff {
		r.returned = now
	}
	left := firstUp - now.Sub(r.returned)
	if r.Returning = down && !r.CutOff && left > 0; r.Returning && (wait == 0 || left < wait) {
		wait = left
	}
	return wait
}

// answers reports whether this host is the one that answers for a router: every gateway before it is lost.
func (r *Reach) answers(v *model.RouterView, host string) bool {
	if r.CutOff && len(v.Gateways) > 1 {
		return false
	}
	for _, g := range v.Gateways {
		switch {
		case g.Host == host:
			return true
		case !r.Lost[g.Tunnel]:
			return false
		}
	}
	return false
}

// Relieves reports whether this host is a router's preferred gateway beside another that is alive: when it begins to answer, that
// one has done so before and knows the router's connections.
func (r *Reach) Relieves(v *model.RouterView, host string) bool {
	return len(v.Gateways) > 0 && v.Gateways[0].Host == host &&
		slices.ContainsFunc(v.Gateways[1:], func(g model.GatewayView) bool { return !r.Lost[g.Tunnel] })
}

// watchTunnels yields the tunnels that are to be watched: between the gateways of a router that has several, and from
// each of them to the hosts with a port on a network that the router has a leg on. Both ends
// come to the same result.
func (j *Joined) watchTunnels(view *model.HostView, yield func(pipeline.Tunnel)) {
	local := map[model.NetworkID]bool{} // with a port of a guest here
	for _, p := range view.Ports {
		local[p.NetworkID] = local[p.NetworkID] || !p.IsRouterPort()
	}
	served := map[model.NetworkID]bool{} // with a leg of a redundant router here
	for _, r := range view.Routers {
		if len(r.Gateways) < 2 || !r.AdminStateUp {
			continue
		}
		here := r.ServedBy(view.Host)
		types := map[model.NetworkType]bool{}
		for _, network := range r.Networks() {
			n, ok := j.Pipeline.Networks[network]
			if ok && n.View.Segment.Type.IsTunnel() && (here || local[network]) {
				types[n.View.Segment.Type] = true
				served[network] = served[network] || here
			}
		}
		if here && len(types) == 0 {
			types[model.TypeGRE] = true // nothing needs a tunnel, but gateways have to see each other
		}
		for t := range types {
			for _, g := range r.Gateways {
				if g.Host != view.Host && g.Tunnel.IsValid() {
					yield(pipeline.Tunnel{Type: t, Remote: g.Tunnel})
				}
			}
		}
	}
	for _, p := range view.Peers {
		if served[p.NetworkID] && p.Tunnel.IsValid() {
			yield(pipeline.Tunnel{Type: j.Pipeline.Networks[p.NetworkID].View.Segment.Type, Remote: p.Tunnel})
		}
	}
}
