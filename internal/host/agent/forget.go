package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/host/firewall"
	"weft/internal/host/hoststate"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// What goes with a port, an address or a network is forgotten before another gets its place.

// goneAddr is an address that no port of a network of this host has any more.
type goneAddr struct {
	zone uint16 // of the switch
	addr netip.Addr
}

// forgetGone deletes the tracked connections of addresses that ports no longer have, because
// they have left the host or lost a pair, before another port gets them.
func (a *Agent) forgetGone(ctx context.Context, j *hoststate.Joined, policy func() *firewall.Policy) {
	now := make(map[model.PortID]hoststate.State, len(j.Ports))
	for i := range j.Ports {
		if st := j.Ports[i]; st.Problem == "" {
			now[st.Port.ID] = st
		}
	}
	for id, old := range a.guarded {
		var still *model.PortView
		if st, ok := now[id]; ok && st.VLAN == old.VLAN {
			if still = st.Port; still == old.Port {
				continue
			}
		}
		gone := firewall.Released(old.Port, still)
		if len(gone) == 0 {
			continue
		}
		if old.BySwitch() {
			a.forgetInSwitch(&old, gone, now)
		}
		in := func(a netip.Addr) bool {
			return slices.ContainsFunc(gone, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		forget := func(c firewall.Conn) bool { return (in(c.Src) || in(c.Dst)) && !policy().Knows(old.Zone(), c) }
		if _, err := a.fw.ForgetConnections(ctx, old.Zone(), forget); err != nil {
			a.log.Warn("connections of a removed address not forgotten", "port", id, "err", err)
		}
	}
	a.guarded = now
}

// forgetInSwitch notes which of a port's addresses the switch is to forget once its flows are gone. Of a prefix
// that is more than an address, flows alone see to it that nothing passes.
func (a *Agent) forgetInSwitch(old *hoststate.State, gone []netip.Prefix, now map[model.PortID]hoststate.State) {
	for _, p := range gone {
		owned := func(st hoststate.State) bool { return st.VLAN == old.VLAN && firewall.Owns(st.Port, p.Addr()) }
		if p.IsSingleIP() && !slices.ContainsFunc(slices.Collect(maps.Values(now)), owned) {
			a.goneAddrs = append(a.goneAddrs, goneAddr{old.VLAN, p.Addr()})
		}
	}
}

// forgetPorts has the switch forget, after its flows have changed, what it has tracked of addresses that are gone
// and what it has learned of ports that may no longer use any MAC. What cannot be done now is tried again in the next pass.
func (a *Agent) forgetPorts(ctx context.Context, j *hoststate.Joined) {
	client := a.bridges[hoststate.BrInt].client
	a.goneAddrs = slices.DeleteFunc(a.goneAddrs, func(g goneAddr) bool {
		err := client.FlushAddress(ctx, g.zone, g.addr)
		if err != nil {
			a.log.Warn("connections of a removed address not forgotten", "err", err)
		}
		return err == nil
	})
	now := map[model.PortID]bool{} // to: the switch filters it
	for id, v := range j.Pipeline.Ports {
		if pipeline.Learns(v) && v.AdminStateUp {
			now[id] = v.PortSecurity && j.Pipeline.Local.Filtered[id]
		}
	}
	for id, filtered := range a.learning {
		if still, ok := now[id]; ok && still == filtered {
			continue
		}
		if err := client.DeleteCovered(ctx, pipeline.ForgetPort(id), ^uint64(0)); err != nil {
			a.log.Warn("what was learned of a port is not forgotten", "port", id, "err", err)
			now[id] = filtered // as if it were there still
		}
	}
	a.learning = now
}

// forgetLearned deletes what the switch has learned and tracked with VLAN ids that were released, before another
// network's packets meet it. What cannot be deleted now is tried again in the next pass; a bridge that has
// no connection is about to lose its flows, or keeps them until it has one.
func (a *Agent) forgetLearned(ctx context.Context) {
	var left []uint16
	for _, vlan := range a.stale {
		inInt, inTun := pipeline.Forget(vlan)
		client := a.bridges[hoststate.BrInt].client
		err := errors.Join(client.DeleteCovered(ctx, inInt, pipeline.CookieKindMask), client.FlushZone(ctx, vlan))
		if tun := a.bridges[hoststate.BrTun]; tun != nil {
			err = errors.Join(err, tun.client.DeleteCovered(ctx, inTun, pipeline.CookieKindMask))
		}
		if err != nil {
			left = append(left, vlan)
		}
	}
	a.stale = left
}
