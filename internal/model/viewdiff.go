package model

import "reflect"

// Diff returns what leads from one view of a host to another: old.Apply(old.Diff(v)) makes
// old hold the objects of v.
func (v *HostView) Diff(to *HostView) *ViewDelta {
	d := &ViewDelta{From: v.Revision, To: to.Revision}
	d.Networks = diff(d, v.Networks, to.Networks, func(id NetworkID) ObjectKey { return ObjectKey{Kind: KindNetwork, ID: id.UUID} })
	d.Ports = diff(d, v.Ports, to.Ports, func(id PortID) ObjectKey { return ObjectKey{Kind: KindPort, ID: id.UUID} })
	d.Peers = diff(d, v.Peers, to.Peers, func(id PortID) ObjectKey { return ObjectKey{Kind: KindPeer, ID: id.UUID} })
	d.Groups = diff(d, v.Groups, to.Groups, func(id SecurityGroupID) ObjectKey { return ObjectKey{Kind: KindGroup, ID: id.UUID} })
	d.Members = diff(d, v.Members, to.Members, func(k MemberKey) ObjectKey { return ObjectKey{Kind: KindMember, ID: k.Set, Sub: k.Port} })
	d.Routers = diff(d, v.Routers, to.Routers, func(id RouterID) ObjectKey { return ObjectKey{Kind: KindRouter, ID: id.UUID} })
	d.Floating = diff(d, v.Floating, to.Floating, func(id FloatingIPID) ObjectKey { return ObjectKey{Kind: KindFloating, ID: id.UUID} })
	return d
}

// diff files what went under the delta's deletes, and returns what came or changed.
func diff[K comparable, V any](d *ViewDelta, old, new map[K]*V, key func(K) ObjectKey) []*V {
	var upserts []*V
	for k := range old {
		if _, ok := new[k]; !ok {
			d.Deletes = append(d.Deletes, key(k))
		}
	}
	for k, v := range new {
		if was, ok := old[k]; !ok || !reflect.DeepEqual(was, v) {
			upserts = append(upserts, v)
		}
	}
	return upserts
}
