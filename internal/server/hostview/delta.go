package hostview

import (
	"maps"
	"reflect"

	"weft/internal/model"
	"weft/internal/server/store"
)

// builder makes the objects of one host's view at one snapshot.
type builder struct {
	snap  *store.Snapshot
	host  string
	scope *Scope
}

func (b builder) port(id model.PortID) *model.PortView {
	if p := b.snap.Port(id); local(b.snap, p, b.host) {
		return portView(p)
	}
	return nil
}

func (b builder) network(id model.NetworkID) *model.NetworkView {
	if _, ok := b.scope.Networks[id]; !ok {
		return nil
	}
	return networkView(b.snap, id, b.host)
}

func (b builder) peer(id model.PortID) *model.PeerView {
	p := b.snap.Port(id)
	if p == nil {
		return nil
	}
	if _, ok := b.scope.Networks[p.NetworkID]; !ok {
		return nil
	}
	return peerView(b.snap, id, b.host)
}

func (b builder) group(id model.SecurityGroupID) *model.GroupView {
	if _, ok := b.scope.Groups[id]; !ok {
		return nil
	}
	return groupView(b.snap, id)
}

func (b builder) member(key model.MemberKey) *model.MemberView {
	if _, ok := b.scope.Sets[key.Set]; !ok {
		return nil
	}
	return memberView(b.snap, key)
}

// Delta computes what leads a host from its view at before to that at after. Changes are
// all that were committed in between, in order; scope is the host's at before.
// It returns the scope at after, which is the same value when nothing of it moved.
//
// The cost is that of the changes, not of the view, but for a network, group or set that
// enters or leaves the scope: that one is read whole.
func Delta(before, after *store.Snapshot, changes []store.Change, scope *Scope, host string) (*model.ViewDelta, *Scope) {
	next := scope
	if movesScope(before, after, changes, scope, host) {
		next = ScopeOf(after, host)
	}
	d := &differ{
		delta: &model.ViewDelta{From: before.Revision(), To: after.Revision()},
		old:   builder{before, host, scope}, new: builder{after, host, next},
		seen: map[model.ObjectKey]struct{}{},
	}
	for _, c := range changes {
		d.change(c)
	}
	if next != scope {
		d.scopes()
	}
	return d.delta, next
}

// movesScope reports whether the changes touch what the scope is computed from.
func movesScope(before, after *store.Snapshot, changes []store.Change, scope *Scope, host string) bool {
	for _, c := range changes {
		for i, v := range []any{c.Before, c.After} {
			switch v := v.(type) {
			case *model.Port:
				if local([]*store.Snapshot{before, after}[i], v, host) || scope.hasLeg(v) {
					return true
				}
			case *model.Router:
				if _, ok := scope.Routers[v.ID]; ok || serves(v, host) {
					return true
				}
			case *model.Network:
				// Tunnelled or not: whether routers with a gateway there are of interest.
				if _, ok := scope.Networks[v.ID]; ok && segmentsMoved(c) {
					return true
				}
			case *model.FloatingIP:
				s := []*store.Snapshot{before, after}[i]
				if local(s, s.Port(v.PortID), host) {
					return true
				}
			case *model.SecurityGroupRule:
				if _, ok := scope.Groups[v.GroupID]; ok && (!v.RemoteGroup.IsZero() || !v.RemoteAddressGroup.IsZero()) {
					return true
				}
			}
		}
	}
	return false
}

// segmentsMoved reports whether a change of a network is one of its segments.
func segmentsMoved(c store.Change) bool {
	b, _ := c.Before.(*model.Network)
	a, _ := c.After.(*model.Network)
	return a == nil || b == nil || !reflect.DeepEqual(a.Segments, b.Segments)
}

// either returns the object of a change: as it is now, or as it was.
func either(c store.Change) any {
	if c.After != nil {
		return c.After
	}
	return c.Before
}

// differ compares single objects before and after, each once.
type differ struct {
	delta    *model.ViewDelta
	old, new builder
	seen     map[model.ObjectKey]struct{}
}

// change looks at all objects of the view that a row takes part in.
func (d *differ) change(c store.Change) {
	switch v := either(c).(type) {
	case *model.Port:
		b, _ := c.Before.(*model.Port)
		a, _ := c.After.(*model.Port)
		d.port(v.ID)
		d.peer(v.ID)
		for _, p := range []*model.Port{b, a} {
			if p == nil {
				continue
			}
			for _, g := range p.SecurityGroups {
				d.member(model.MemberKey{Set: g.UUID, Port: p.ID.UUID})
			}
			if p.IsDHCPService() {
				d.network(p.NetworkID)
			}
			d.portRouting(p)
		}
	case *model.Network:
		d.network(v.ID)
		d.networkRouters(v.ID)
		if segmentsMoved(c) {
			d.networkPeers(v.ID)
			d.networkFloating(v.ID)
		}
	case *model.Subnet:
		d.network(v.NetworkID)
		d.networkRouters(v.NetworkID)
	case *model.SubnetPool:
		d.poolMoved(c, v.ID)
	case *model.Router:
		d.routerChange(c, v.ID)
	case *model.FloatingIP:
		d.floating(v.ID)
	case *model.PortForwarding:
		for _, w := range []any{c.Before, c.After} {
			if w, ok := w.(*model.PortForwarding); ok {
				d.floating(w.FloatingIPID)
			}
		}
	case *model.SecurityGroup:
		d.group(v.ID)
	case *model.SecurityGroupRule:
		if b, _ := c.Before.(*model.SecurityGroupRule); b != nil {
			d.group(b.GroupID)
		}
		d.group(v.GroupID)
	case *model.AddressGroup:
		d.addressGroup(v.ID.UUID)
	case *model.Host:
		d.hostMoved(c, v.Name)
	}
}

// hostMoved looks at the floating IPs on a host whose bridges changed, the peers on one whose tunnel address did, and
// at all networks when it is the view's own host.
func (d *differ) hostMoved(c store.Change, name string) {
	b, _ := c.Before.(*model.Host)
	a, _ := c.After.(*model.Host)
	if a == nil || b == nil || !maps.Equal(a.Mappings, b.Mappings) {
		d.hostFloating(name)
	}
	if name == d.new.host {
		for id := range d.new.scope.Networks {
			d.network(id)
			d.networkPeers(id)
		}
		d.gatewayMoved(name)
		return
	}
	if a != nil && b != nil && a.TunnelAddr == b.TunnelAddr {
		return
	}
	d.gatewayMoved(name)
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for p := range s.PortsByHost(name) {
			d.peer(p.ID)
		}
	}
}

// scopes looks at all objects of what entered or left the scope.
func (d *differ) scopes() {
	eachMoved(d.old.scope.Networks, d.new.scope.Networks, func(id model.NetworkID) {
		d.network(id)
		d.networkPeers(id)
	})
	eachMoved(d.old.scope.Routers, d.new.scope.Routers, func(id model.RouterID) {
		d.router(id)
		d.routerPorts(id)
		d.routerFloating(id)
	})
	eachMoved(d.old.scope.Groups, d.new.scope.Groups, d.group)
	eachMoved(d.old.scope.Sets, d.new.scope.Sets, func(set model.UUID) {
		for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
			for p := range s.PortsBySecurityGroup(model.SecurityGroupID{UUID: set}) {
				d.member(model.MemberKey{Set: set, Port: p.ID.UUID})
			}
		}
		d.addressGroup(set)
	})
}

func (d *differ) networkPeers(id model.NetworkID) {
	for _, s := range []*store.Snapshot{d.old.snap, d.new.snap} {
		for p := range s.PortsByNetwork(id) {
			d.peer(p.ID)
		}
	}
}

// eachMoved calls f for the keys that only one of the maps has.
func eachMoved[K comparable](old, new map[K]struct{}, f func(K)) {
	for k := range old {
		if _, ok := new[k]; !ok {
			f(k)
		}
	}
	for k := range new {
		if _, ok := old[k]; !ok {
			f(k)
		}
	}
}

// first reports whether an object is looked at for the first time.
func (d *differ) first(k model.ObjectKey) bool {
	if _, ok := d.seen[k]; ok {
		return false
	}
	d.seen[k] = struct{}{}
	return true
}

// settle files one object: unchanged, upserted or deleted.
func settle[T any](d *differ, key model.ObjectKey, old, new *T, upserts *[]*T) {
	switch {
	case new == nil && old == nil:
	case new == nil:
		d.delta.Deletes = append(d.delta.Deletes, key)
	case old == nil || !reflect.DeepEqual(old, new):
		*upserts = append(*upserts, new)
	}
}

func (d *differ) port(id model.PortID) {
	if k := (model.ObjectKey{Kind: model.KindPort, ID: id.UUID}); d.first(k) {
		settle(d, k, d.old.port(id), d.new.port(id), &d.delta.Ports)
	}
}

func (d *differ) network(id model.NetworkID) {
	if k := (model.ObjectKey{Kind: model.KindNetwork, ID: id.UUID}); d.first(k) {
		settle(d, k, d.old.network(id), d.new.network(id), &d.delta.Networks)
	}
}

func (d *differ) peer(id model.PortID) {
	if k := (model.ObjectKey{Kind: model.KindPeer, ID: id.UUID}); d.first(k) {
		settle(d, k, d.old.peer(id), d.new.peer(id), &d.delta.Peers)
	}
}

func (d *differ) group(id model.SecurityGroupID) {
	if k := (model.ObjectKey{Kind: model.KindGroup, ID: id.UUID}); d.first(k) {
		settle(d, k, d.old.group(id), d.new.group(id), &d.delta.Groups)
	}
}

func (d *differ) member(key model.MemberKey) {
	if k := (model.ObjectKey{Kind: model.KindMember, ID: key.Set, Sub: key.Port}); d.first(k) {
		settle(d, k, d.old.member(key), d.new.member(key), &d.delta.Members)
	}
}
