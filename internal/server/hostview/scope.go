package hostview

import (
	"iter"

	"weft/internal/model"
	"weft/internal/server/store"
)

// Scope is what a host's view is about. It follows from the ports bound to the host, the routers
// that it serves and those with a leg on the networks of its ports, and the floating IPs of its ports. It changes only
// when one of them does, or the rules of a group of one of its ports.
type Scope struct {
	Networks map[model.NetworkID]struct{}
	Groups   map[model.SecurityGroupID]struct{}
	Sets     map[model.UUID]struct{}     // remote groups and address groups that rules of Groups refer to
	Routers  map[model.RouterID]struct{} // whether there is such a row or not
}

// hasLeg reports whether a port is the leg of a router that the scope follows from, or would follow from.
func (sc *Scope) hasLeg(p *model.Port) bool {
	r, ok := p.RouterOf()
	if !ok {
		return false
	}
	_, known := sc.Routers[r]
	_, near := sc.Networks[p.NetworkID]
	return known || near
}

// ScopeOf computes the scope of a host.
func ScopeOf(s *store.Snapshot, host string) *Scope {
	sc := &Scope{
		Networks: map[model.NetworkID]struct{}{}, Groups: map[model.SecurityGroupID]struct{}{},
		Sets: map[model.UUID]struct{}{}, Routers: map[model.RouterID]struct{}{},
	}
	for p := range localPorts(s, host) {
		sc.Networks[p.NetworkID] = struct{}{}
		if !p.PortSecurity || p.IsRouterPort() {
			continue
		}
		for _, g := range p.SecurityGroups {
			sc.Groups[g] = struct{}{}
		}
	}
	sc.addRouters(s, host)
	for g := range sc.Groups {
		for r := range s.SecurityGroupRulesByGroup(g) {
			if !r.RemoteGroup.IsZero() {
				sc.Sets[r.RemoteGroup.UUID] = struct{}{}
			}
			if !r.RemoteAddressGroup.IsZero() {
				sc.Sets[r.RemoteAddressGroup.UUID] = struct{}{}
			}
		}
	}
	return sc
}

// addRouters adds the routers that the host serves and those with a leg on a network of one of its
// ports, with the other networks of those that are distributed: their packets are routed here.
func (sc *Scope) addRouters(s *store.Snapshot, host string) {
	for r := range s.RoutersByHost(host) {
		sc.Routers[r.ID] = struct{}{}
	}
	for id := range sc.Networks {
		routersOn(s, id, func(r model.RouterID) { sc.Routers[r] = struct{}{} })
	}
	for id := range sc.Routers {
		if r := s.Router(id); r == nil || !r.Distributed {
			continue
		}
		for p := range s.PortsByDevice(id.String()) {
			if p.IsRouterLeg() {
				sc.Networks[p.NetworkID] = struct{}{}
			}
		}
	}
	sc.addFloating(s, host)
}

// addFloating adds the external networks of floating IPs of distributed routers that ports of the host have.
func (sc *Scope) addFloating(s *store.Snapshot, host string) {
	for p := range s.PortsByHost(host) {
		if !local(s, p, host) {
			continue
		}
		for f := range s.FloatingIPsByPort(p.ID) {
			_, near := sc.Routers[f.RouterID]
			if r := s.Router(f.RouterID); near && r != nil && r.Distributed {
				sc.Networks[f.NetworkID] = struct{}{}
			}
		}
	}
}

// localPorts yields the ports that a host is to wire.
func localPorts(s *store.Snapshot, host string) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for p := range s.PortsByHost(host) {
			if !p.IsRouterPort() && local(s, p, host) && !yield(p) {
				return
			}
		}
		for r := range s.RoutersByHost(host) {
			for p := range s.PortsByDevice(r.ID.String()) {
				if p.IsRouterPort() && !yield(p) {
					return
				}
			}
		}
	}
}

// View computes everything that a host needs, from scratch.
func View(s *store.Snapshot, host string) *model.HostView {
	v := model.NewHostView(host)
	v.Revision = s.Revision()
	sc := ScopeOf(s, host)
	b := builder{snap: s, host: host, scope: sc}
	for p := range localPorts(s, host) {
		v.Ports[p.ID] = portView(p)
	}
	for id := range sc.Routers {
		if r := b.router(id); r != nil {
			v.Routers[id] = r
		}
		for f := range s.FloatingIPsByRouter(id) {
			if w := b.floating(f.ID); w != nil {
				v.Floating[f.ID] = w
			}
		}
	}
	for id := range sc.Networks {
		if n := networkView(s, id, host); n != nil {
			v.Networks[id] = n
		}
		for p := range s.PortsByNetwork(id) {
			if peer := b.peer(p.ID); peer != nil {
				v.Peers[p.ID] = peer
			}
		}
	}
	for id := range sc.Groups {
		if g := groupView(s, id); g != nil {
			v.Groups[id] = g
		}
	}
	for set := range sc.Sets {
		for p := range s.PortsBySecurityGroup(model.SecurityGroupID{UUID: set}) {
			key := model.MemberKey{Set: set, Port: p.ID.UUID}
			if m := b.member(key); m != nil {
				v.Members[key] = m
			}
		}
		for _, p := range groupAddresses(s, set) {
			m := addressMember(set, p)
			v.Members[m.Key] = m
		}
	}
	return v
}
