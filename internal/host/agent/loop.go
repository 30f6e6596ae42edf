package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"weft/internal/host/firewall"
	"weft/internal/host/hoststate"
	"weft/internal/host/iptables"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/ovs/vsw"
	"weft/internal/host/pipeline"
	"weft/internal/host/standin"
	"weft/internal/model"
)

// Timing of the loop.
const (
	saveDelay  = 500 * time.Millisecond // of changes that the last view may miss
	cutDelay   = 100 * time.Millisecond // established connections are judged again after a burst of changes
	minRetry   = 100 * time.Millisecond // after a write that failed
	maxRetry   = 10 * time.Second
	applyLimit = 20 * time.Second // one write; something that hangs must not stop the host
)

// loop keeps the host as the view says until ctx ends.
func (a *Agent) loop(ctx context.Context) error {
	verify := time.NewTicker(a.cfg.Verify)
	defer verify.Stop()
	later := time.NewTimer(time.Hour) // for what is put off: saving, cutting, trying again
	defer later.Stop()
	defer a.verifier.wait()
	retry := minRetry
	for {
		changed := a.sw.Changed()
		err := a.pass(ctx)
		if ctx.Err() != nil {
			a.unsaved = a.unsaved || a.moved
			a.save()
			a.kept()
			return ctx.Err()
		}
		switch {
		case errors.Is(err, vsw.ErrStale):
			continue // the switch has changed since it was looked at: look again
		case err != nil:
			a.metrics.failures.Inc()
			a.log.Warn("host not yet as it should be, trying again", "err", err, "in", retry)
			later.Reset(retry)
			retry = min(2*retry, maxRetry)
		default:
			retry = minRetry
			a.putOff(later)
		}
		a.wait(ctx, changed, verify.C, later, err != nil)
	}
}

// putOff sets the timer for what need not be done at once.
func (a *Agent) putOff(later *time.Timer) {
	switch {
	case a.cut:
		later.Reset(cutDelay)
	case a.unsaved:
		later.Reset(saveDelay)
	}
}

// wait returns when the host is to be looked at again. What was put off is done meanwhile; that alone is no
// reason to look, unless the last look failed.
func (a *Agent) wait(ctx context.Context, changed <-chan struct{}, verify <-chan time.Time, later *time.Timer, failed bool) {
	for {
		select {
		case <-ctx.Done():
		case <-changed:
		case <-a.kick:
		case e := <-a.events:
			look := a.take(e)
			if !a.takeWaiting() && !look {
				a.acknowledge()
				continue
			}
		case <-verify:
			a.verify(ctx)
		case f := <-a.verifier.found:
			if !a.verifier.judge(ctx, f) {
				continue
			}
		case <-a.adverts.timer.C:
			if !a.adverts.sendDue(time.Now()) {
				continue
			}
		case err := <-a.saving:
			a.saved(err)
			if !failed {
				a.putOff(later)
			}
			continue
		case <-later.C:
			a.cutConnections(ctx)
			a.save()
			if !failed {
				a.putOff(later) // what could not be done
				continue
			}
		}
		return
	}
}

// takeWaiting takes the views that came meanwhile, so that a burst costs one pass.
func (a *Agent) takeWaiting() (look bool) {
	for range 500 {
		select {
		case e := <-a.events:
			look = a.take(e) || look
		default:
			return look
		}
	}
	return look
}

// acknowledge tells the server how far the host is, when it is as the view says.
func (a *Agent) acknowledge() {
	if a.inForce {
		a.reporter.applied(ack{a.view.Revision, a.failed})
	}
}

// take moves the view on, and reports whether that is a reason to look at the host.
func (a *Agent) take(e event) (look bool) {
	for _, p := range e.problems {
		a.log.Error("object from the server is malformed and left out", "err", p)
	}
	switch {
	case e.view != nil:
		a.view, a.settings, a.complete = e.view, e.settings, true
		a.log.Info("view received", "revision", e.view.Revision, "networks", len(e.view.Networks), "ports", len(e.view.Ports), "peers", len(e.view.Peers))
		a.unsaved, a.need = true, needFilters
	case e.delta != nil:
		a.view.Apply(e.delta)
		if len(e.problems) > 0 {
			a.view.History = model.UUID{}
		}
		if e.resumed {
			a.complete = true
			a.metrics.resumes.Inc()
			a.log.Info("session resumed", "revision", a.view.Revision, "changed", e.delta.Len())
		}
		a.unsaved, a.need = true, max(a.need, needOf(e.delta))
	default:
		a.view.Revision = e.bookmark
		a.moved = true
	}
	a.inForce = a.inForce && e.bookmark != 0
	a.metrics.revision.Set(float64(a.view.Revision))
	return e.bookmark == 0
}

// pass joins the view with what is there and writes the difference.
func (a *Agent) pass(ctx context.Context) error {
	a.inForce = false
	if a.need > needSoon {
		a.save()
	}
	state := a.sw.State()
	if a.view == nil || !state.Connected {
		return nil
	}
	began := time.Now()
	defer func() {
		a.metrics.passes.Inc()
		a.metrics.passSeconds.Observe(time.Since(began).Seconds())
	}()
	ctx, cancel := context.WithTimeout(ctx, applyLimit)
	defer cancel()

	a.follow(a.host.Reach.Update(state, began))
	joined := hoststate.Join(a.host, a.settings.GetL2Population(), a.view, state, a.vlans)
	a.hush(joined, began)
	for _, b := range a.bridges {
		if err := b.greet(ctx); err != nil {
			return err
		}
	}
	joined.Pipeline.Local.MeterLimit = a.bridges[hoststate.BrInt].limit
	a.adverts.plan(joined, began)
	r := newResults(joined.Ports)
	fwErr := errors.Join(a.applyFirewall(ctx, joined, r), a.applyRouters(ctx, joined, r))
	a.stale = append(a.stale, joined.Released...)
	a.forgetLearned(ctx)
	if err := a.applySwitch(ctx, state, joined); err != nil {
		return errors.Join(fwErr, err)
	}
	flowErr := a.applyFlows(ctx, joined, r)
	if flowErr == nil {
		a.forgetPorts(ctx, joined)
		a.announceRouters(joined, r, began)
	}
	a.tellGuests(joined, a.computed, r)
	if a.need > needSoon {
		a.kept()
		a.need = needSoon
	}
	a.reporter.say(r.reports(joined))
	r.count(a.metrics)
	err := errors.Join(fwErr, flowErr)
	a.inForce, a.failed = err == nil, len(r.failed)
	a.acknowledge()
	return err
}

// hybridInput is what iptables filters.
func (a *Agent) hybridInput(ports []hoststate.State) firewall.Input {
	in := firewall.Input{Groups: a.view.Groups, Members: a.view.Members}
	for i := range ports {
		if st := &ports[i]; st.Problem == "" && st.ByIptables() {
			in.Ports = append(in.Ports, a.portInput(st, st.Zone()))
		}
	}
	return in
}

// nativeInput is what the switch filters.
func (a *Agent) nativeInput(j *hoststate.Joined) firewall.Input {
	in := firewall.Input{Groups: a.view.Groups, Members: a.view.Members}
	for i := range j.Ports {
		st := &j.Ports[i]
		if st.Problem == "" && st.BySwitch() && st.Port.PortSecurity && st.OFPort() > 0 && j.Pipeline.Ports[st.Port.ID] != nil {
			p := a.portInput(st, st.VLAN)
			p.OFPort = st.OFPort()
			in.Ports = append(in.Ports, p)
		}
	}
	return in
}

func (a *Agent) portInput(st *hoststate.State, zone uint16) firewall.PortInput {
	return firewall.PortInput{View: st.Port, Network: st.Network, Zone: zone, Routers: a.adverts.of(st.Network.ID).routers()}
}

// applyFirewall brings the rules in force. A port whose rules are not in force is taken out of the
// pipeline's input: it is not wired, or unwired.
func (a *Agent) applyFirewall(ctx context.Context, j *hoststate.Joined, r *results) error {
	in := a.hybridInput(j.Ports)
	out := a.cache.Hybrid(in)
	if a.need == needFilters {
		a.kept()
	}
	res, err := a.fw.Apply(ctx, iptables.State{V4: out.V4, V6: out.V6, Sets: out.Sets, Taps: out.Taps})
	if err != nil {
		// The kernel's state is unknown. Ports that were filtered before keep what they have;
		// others wait.
		for i := range j.Ports {
			id := j.Ports[i].Port.ID
			if _, ok := a.guarded[id]; !ok && j.Ports[i].ByIptables() {
				delete(j.Pipeline.Ports, id)
				r.fail(id, "its filters could not be installed: "+err.Error())
			}
		}
		return fmt.Errorf("installing filters: %w", err)
	}
	r.firewall(out.Problems)
	for chain, problem := range res.Refused {
		if id, ok := out.Chains[chain]; ok {
			r.fail(id, "the kernel refused its filters, it passes nothing: "+problem.Error())
		}
	}
	for set, problem := range res.BadSets {
		a.log.Warn("set of a remote group not complete", "set", set, "err", problem)
	}
	a.forgetGone(ctx, j, sync.OnceValue(func() *firewall.Policy { return firewall.NewPolicy(in) }))
	if res.Changed {
		a.cut = true
	}
	return nil
}

// cutConnections ends what the rules in force no longer allow.
func (a *Agent) cutConnections(ctx context.Context) {
	if !a.cut || a.view == nil {
		return
	}
	a.cut = false
	var ports []hoststate.State
	zones := map[uint16]bool{}
	for _, st := range a.guarded {
		ports = append(ports, st)
		zones[st.Zone()] = true
	}
	policy := firewall.NewPolicy(a.hybridInput(ports))
	for zone := range zones {
		cut, err := a.fw.CutConnections(ctx, zone, func(c firewall.Conn) bool { return policy.Allows(zone, c) })
		if err != nil {
			a.log.Warn("established connections not judged again", "zone", zone, "err", err)
			a.cut = true
			continue
		}
		a.metrics.cuts.Add(float64(cut.Killed))
	}
}

// applySwitch brings bridges, patch ports, tunnels and tags into the switch's database.
func (a *Agent) applySwitch(ctx context.Context, state *vsw.State, j *hoststate.Joined) error {
	ours := map[string]bool{}
	leg := map[string]bool{}
	for _, p := range j.Desired.Ports {
		leg[p.Name] = hoststate.IsLeg(p.Name)
		if p.Type != "" {
			ours[p.Name] = true
		}
	}
	owned := func(bridge, port string) bool {
		if bridge == hoststate.BrInt && ownLeg(state, port) {
			return a.complete || leg[port]
		}
		return ours[port] || port == standin.Device || a.complete && bridge == hoststate.BrTun && hoststate.IsTunnel(port)
	}
	unplugged := a.services != nil && a.services.unplug(state, &j.Desired)
	ops := vsw.Plan(state, j.Desired, owned)
	if len(ops) == 0 {
		return nil
	}
	if err := a.sw.Apply(ctx, ops); err != nil {
		return err
	}
	for _, op := range ops {
		a.log.Info("switch changed", "operation", op.String())
	}
	if unplugged {
		a.services.unplugged(a.sw.State().Root.NextCfg)
	}
	return nil
}

// applyFlows brings the flows of all bridges in force.
func (a *Agent) applyFlows(ctx context.Context, j *hoststate.Joined, r *results) error {
	out := a.flows.Compute(j.Pipeline)
	a.computed = out
	if a.services != nil {
		a.services.take(a.flows.Input(), out, a.settings.GetDnsDomain())
	}
	filters := a.flowCache.Native(a.nativeInput(j))
	r.firewall(filters.Problems)
	for _, p := range out.Problems {
		if id := (model.PortID{UUID: p.Object.ID}); p.Object.Kind == model.KindPort {
			if p.Waiting {
				continue
			}
			r.fail(id, p.Reason)
		} else if !p.Waiting {
			a.log.Debug("object not in the flows", "kind", p.Object.Kind, "id", p.Object.ID, "reason", p.Reason)
		}
	}
	var errs []error
	reached := true
	for _, name := range a.bridgeNames() {
		b := a.bridges[name]
		before, repairs := b.written, b.repairs
		want := a.wanted(name, out)
		if name == hoststate.BrInt {
			want.filters, want.members = filters.Flows, stepped{filters.Members, a.flowCache.AllMembers}
		}
		err := b.sync(ctx, want, a.complete)
		a.metrics.flows.WithLabelValues(name).Set(float64(want.total()))
		a.metrics.flowMods.WithLabelValues(name).Add(float64(b.written - before))
		a.metrics.repairs.WithLabelValues("flows").Add(float64(b.repairs - repairs))
		switch {
		case errors.Is(err, openflow.ErrDisconnected):
			reached = false // its Connected event wakes the loop
		case err != nil:
			reached = false
			errs = append(errs, fmt.Errorf("flows of %s: %w", name, err))
		}
	}
	if reached {
		for _, id := range slices.Concat(out.Wired, out.External) {
			r.wired(id)
		}
	}
	return errors.Join(errs...)
}

// wanted is what the pipeline wants of a bridge.
func (a *Agent) wanted(bridge string, out *pipeline.Output) want {
	switch bridge {
	case hoststate.BrInt:
		return want{flows: out.BrInt, peers: stepped{out.IntPeers, a.flows.IntPeers}, meters: portMeters(out.Meters)}
	case hoststate.BrTun:
		return want{flows: out.BrTun, peers: stepped{out.TunPeers, a.flows.TunPeers}}
	}
	return want{flows: out.Physical[bridge]}
}

// verify begins to compare the host with what was left there.
func (a *Agent) verify(ctx context.Context) {
	if a.view == nil {
		return
	}
	for _, b := range a.bridges {
		a.verifier.begin(ctx, b, 0)
	}
	a.verifier.begin(ctx, a.filters, 0)
	a.routers.host.Doubt()
	if a.services != nil {
		limited, cancel := context.WithTimeout(ctx, applyLimit)
		defer cancel()
		a.services.ensure(limited)
	}
}
