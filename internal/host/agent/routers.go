package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/internal/host/hoststate"
	"weft/internal/host/iptables"
	"weft/internal/host/ovs/vsw"
	"weft/internal/host/router"
	"weft/internal/model"
)

// routers keeps the plans of the routers that this host serves, so that only those whose view has
// changed are planned anew. The loop owns it.
type routers struct {
	host  *router.Host
	plans map[model.RouterID]*planned
}

// planned is a plan and what it was made from: objects of the view, which do not change.
type planned struct {
	view     *model.RouterView
	floating []*model.FloatingView
	plan     *router.Plan
	atPorts  bool // this host is none of its gateways, and serves floating IPs of its own ports
	answers  bool // this host does so for the router
	since    time.Time
	retold   int       // how many of retell have passed since
	quiet    time.Time // until then another host has its external addresses
	late     time.Time // until then some may still send to it, though it does not answer any more
	made     bool      // it has been in force: its legs may stay wired when a change of it fails
}

func (a *Agent) openRouters(backend iptables.Backend, userspace bool) error {
	host, err := router.New(router.Config{Backend: backend, Userspace: userspace, Log: a.log})
	if err != nil {
		return err
	}
	a.routers = &routers{host: host, plans: map[model.RouterID]*planned{}}
	return nil
}

// update plans the routers of a view that the host serves, whole or for the floating IPs of its own ports, and returns the plans.
func (r *routers) update(view *model.HostView) []*router.Plan {
	floating := map[model.RouterID][]*model.FloatingView{}
	for id, v := range view.Routers {
		if v.ServedBy(view.Host) {
			floating[id] = nil
		}
	}
	for _, f := range view.Floating {
		if _, ok := floating[f.RouterID]; ok {
			floating[f.RouterID] = append(floating[f.RouterID], f)
		}
	}
	atPorts := map[model.RouterID]bool{}
	for v, f := range hoststate.AtPorts(view) {
		floating[v.ID], atPorts[v.ID] = append(floating[v.ID], f), true
	}
	var out []*router.Plan
	for id, mine := range floating {
		v := view.Routers[id]
		slices.SortFunc(mine, func(x, y *model.FloatingView) int { return x.ID.Compare(y.ID.UUID) })
		p := r.plans[id]
		if p == nil {
			p = &planned{}
			r.plans[id] = p
		}
		if p.view != v || !slices.Equal(p.floating, mine) {
			p.view, p.floating = v, mine
			if p.atPorts = atPorts[id]; p.atPorts {
				p.plan = router.ComputeAtPorts(v, view.Host, mine)
			} else {
				p.plan = router.Compute(v, mine)
			}
		}
		out = append(out, p.plan)
	}
	for id := range r.plans {
		if _, ok := floating[id]; !ok {
			delete(r.plans, id)
		}
	}
	return out
}

// applyRouters makes the routers that this host serves, before their legs are wired: what they forward is
// translated from the first packet on. A router that could not be made is not wired.
func (a *Agent) applyRouters(ctx context.Context, j *hoststate.Joined, r *results) error {
	before := a.routers.host.Writes()
	plans := a.routers.update(a.view)
	problems := a.routers.host.Apply(ctx, plans, a.complete)
	a.metrics.routerWrites.Add(float64(a.routers.host.Writes() - before))
	a.metrics.routers.Set(float64(len(plans)))
	var errs []error
	for _, p := range plans {
		err := problems[p.ID]
		known := a.routers.plans[p.ID]
		if err == nil {
			known.made = true
			continue
		}
		errs = append(errs, fmt.Errorf("router %s: %w", p.ID, err))
		for i := range p.Legs {
			r.fail(p.Legs[i].Port, "its router could not be made: "+err.Error())
			if !known.made {
				unwire(j, &p.Legs[i])
			}
		}
	}
	return errors.Join(errs...)
}

// settling is how long a host that takes a router over from one that is alive has it quiet on its external network. Meanwhile the guests'
// hosts change over, one after the other, and what their connections need to be translated as before
// comes by; what comes from outside the host before still knows. A host that was cut off is quiet for as long as some have not noticed that it is back.
const settling = 500 * time.Millisecond

// lateness is how long a host that has answered for a router counts with what hosts and switches send to it that have not learned
// of its successor.
const lateness = 5 * time.Second

// hush keeps routers quiet that have just been taken over, and those open to what comes late that have just been given away.
func (a *Agent) hush(j *hoststate.Joined, now time.Time) {
	for id, p := range a.routers.plans {
		r, ok := j.Pipeline.Routers[id]
		if !ok {
			continue
		}
		switch {
		case !r.Active && p.answers:
			p.late = now.Add(lateness)
			a.follow(lateness)
			fallthrough
		case !r.Active:
			p.quiet = time.Time{}
		case p.made && !p.answers && a.host.Reach.Relieves(r.View, a.view.Host), a.host.Reach.Returning && (!p.answers || now.Before(p.quiet)):
			p.quiet = now.Add(settling)
			a.follow(settling)
		}
		r.Quiet, r.Lately = now.Before(p.quiet), !r.Active && now.Before(p.late)
		j.Pipeline.Routers[id] = r
	}
}

// follow wakes the loop when a tunnel's time to come up has passed.
func (a *Agent) follow(wait time.Duration) {
	if wait > 0 {
		time.AfterFunc(wait+time.Millisecond, a.wake)
	}
}

// retell is when a host that has begun to answer for a router announces its addresses again. The one before may have
// sent a little longer than this one's first announcement: a switch on the way believes whoever spoke
// last, and nothing that goes astray would set it right.
var retell = [...]time.Duration{
	200 * time.Millisecond, 500 * time.Millisecond, 800 * time.Millisecond, 1200 * time.Millisecond, 2 * time.Second, 4 * time.Second,
}

// announceRouters tells the wires of the addresses of legs that this host answers for and did not before.
// It is called when the flows that bring the answers are in force.
func (a *Agent) announceRouters(j *hoststate.Joined, r *results, now time.Time) {
	for id, p := range a.routers.plans {
		if !p.made {
			continue
		}
		answers := j.Pipeline.Routers[id].Active || p.atPorts
		if answers != p.answers {
			p.answers, p.since, p.retold = answers, now, 0
			a.log.Info("router changes hands", "router", id, "answers", answers)
			for _, after := range retell {
				a.follow(after)
			}
		}
		for ; answers && p.retold < len(retell) && now.Sub(p.since) >= retell[p.retold]; p.retold++ {
			a.routers.host.Retell(id)
		}
		err := a.routers.host.Announce(id, func(l *router.Leg) bool {
			return answers && r.active[l.Port] && !(l.External && j.Pipeline.Routers[id].Quiet)
		})
		if err != nil {
			a.log.Warn("addresses of a router not announced", "router", id, "err", err)
		}
	}
}

// unwire takes a leg out of what is wanted of the switch.
func unwire(j *hoststate.Joined, l *router.Leg) {
	delete(j.Pipeline.Ports, l.Port)
	delete(j.Pipeline.Local.Ports, l.Port)
	j.Desired.Ports = slices.DeleteFunc(j.Desired.Ports, func(p vsw.DesiredPort) bool { return p.Name == l.Name })
}

// ownLeg reports whether a port of br-int is a leg as we make them: Neutron's own are internal ports.
func ownLeg(state *vsw.State, name string) bool {
	i := state.Interface(name)
	return hoststate.IsLeg(name) && (i == nil || i.Type == "" || i.Type == "system")
}
