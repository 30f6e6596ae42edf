package hostview

import (
	"net/netip"

	"weft/internal/model"
	"weft/internal/server/store"
)

// addressesOf are the addresses of an address group that a host's rules refer to, in order; none of any other id.
func (b builder) addressesOf(set model.UUID) []netip.Prefix {
	if _, ok := b.scope.Sets[set]; !ok {
		return nil
	}
	return groupAddresses(b.snap, set)
}

func groupAddresses(s *store.Snapshot, set model.UUID) []netip.Prefix {
	if g := s.AddressGroup(model.AddressGroupID{UUID: set}); g != nil {
		return g.Addresses
	}
	return nil
}

// addressMember is an address of an address group as the host sees it: a member of the set of that id.
func addressMember(set model.UUID, p netip.Prefix) *model.MemberView {
	return &model.MemberView{Key: model.MemberKey{Set: set, Port: model.AddressMember(p)}, Prefixes: []netip.Prefix{p}}
}

// addressGroup files the addresses that came to an address group or went from it. Those that stayed cost a comparison.
func (d *differ) addressGroup(set model.UUID) {
	if !d.first(model.ObjectKey{Kind: model.KindMember, ID: set}) { // of no port: the set itself
		return
	}
	old, new := d.old.addressesOf(set), d.new.addressesOf(set)
	for len(old) > 0 || len(new) > 0 {
		switch {
		case len(old) > 0 && len(new) > 0 && old[0] == new[0]:
			old, new = old[1:], new[1:]
		case len(new) == 0 || len(old) > 0 && model.ComparePrefix(old[0], new[0]) < 0:
			d.delta.Deletes = append(d.delta.Deletes, model.ObjectKey{Kind: model.KindMember, ID: set, Sub: model.AddressMember(old[0])})
			old = old[1:]
		default:
			d.delta.Members = append(d.delta.Members, addressMember(set, new[0]))
			new = new[1:]
		}
	}
}
