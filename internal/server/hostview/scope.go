package hostview

import (
	"weft/internal/model"
	"weft/internal/server/store"
)

// Scope is what a host's view is about. It follows from the ports bound to the host, and
// changes only when one of them does, or the rules of one of their groups.
type Scope struct {
	Networks map[model.NetworkID]struct{}
	Groups   map[model.SecurityGroupID]struct{}
	Sets     map[model.UUID]struct{} // remote groups that rules of Groups refer to
}

// ScopeOf computes the scope of a host.
func ScopeOf(s *store.Snapshot, host string) *Scope {
	sc := &Scope{Networks: map[model.NetworkID]struct{}{}, Groups: map[model.SecurityGroupID]struct{}{}, Sets: map[model.UUID]struct{}{}}
	for p := range s.PortsByHost(host) {
		if !local(p, host) {
			continue
		}
		sc.Networks[p.NetworkID] = struct{}{}
		if !p.PortSecurity {
			continue
		}
		for _, g := range p.SecurityGroups {
			sc.Groups[g] = struct{}{}
		}
	}
	for g := range sc.Groups {
		for r := range s.SecurityGroupRulesByGroup(g) {
			if !r.RemoteGroup.IsZero() {
				sc.Sets[r.RemoteGroup.UUID] = struct{}{}
			}
		}
	}
	return sc
}

// View computes everything that a host needs, from scratch.
func View(s *store.Snapshot, host string) *model.HostView {
	v := model.NewHostView(host)
	v.Revision = s.Revision()
	sc := ScopeOf(s, host)
	b := builder{snap: s, host: host, scope: sc}
	for p := range s.PortsByHost(host) {
		if local(p, host) {
			v.Ports[p.ID] = portView(p)
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
	}
	return v
}
