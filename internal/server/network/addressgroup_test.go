package network

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

func (w *world) addressGroup(who authn.Principal, addresses ...string) *model.AddressGroup {
	w.tb.Helper()
	g, err := try(w, func(tx *store.Tx) (*model.AddressGroup, error) {
		return w.rules.CreateAddressGroup(tx, w.env, who, AddressGroupSpec{Name: Some("a"), Addresses: Some(prefixes(addresses...))})
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return g
}

func TestAddressGroup_addressesComeAndGoAllOrNone(t *testing.T) {
	w := newWorld(t)
	g := w.addressGroup(demo, "192.0.2.0/24", "10.0.0.1/32", "192.0.2.0/24")
	for _, c := range []struct {
		what    string
		add     bool
		change  []string
		fault   string // empty: none
		message string
		left    []string
	}{
		{"each is there once, in order", true, nil, "", "", []string{"10.0.0.1/32", "192.0.2.0/24"}},
		{"both families", true, []string{"2001:db8::/32", "10.0.0.0/8"}, "", "", []string{"10.0.0.0/8", "10.0.0.1/32", "192.0.2.0/24", "2001:db8::/32"}},
		{"one is there", true, []string{"10.9.0.0/16", "10.0.0.1/32"}, "AddressesAlreadyExist", "Addresses ['10.0.0.1/32'] already exist in the address group %s.",
			[]string{"10.0.0.0/8", "10.0.0.1/32", "192.0.2.0/24", "2001:db8::/32"}},
		{"one is not there", false, []string{"10.0.0.1/32", "10.0.0.2/32"}, "AddressesNotFound", "Addresses ['10.0.0.2/32'] not found in the address group %s.",
			[]string{"10.0.0.0/8", "10.0.0.1/32", "192.0.2.0/24", "2001:db8::/32"}},
		{"two go", false, []string{"10.0.0.1/32", "2001:db8::/32"}, "", "", []string{"10.0.0.0/8", "192.0.2.0/24"}},
	} {
		_, err := try(w, func(tx *store.Tx) (*model.AddressGroup, error) {
			if c.add {
				return w.rules.AddAddresses(tx, w.env, demo, g.ID, prefixes(c.change...))
			}
			return w.rules.RemoveAddresses(tx, w.env, demo, g.ID, prefixes(c.change...))
		})
		switch f := fault.As(err); {
		case c.fault == "" && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.fault != "" && (f == nil || f.Type != c.fault || f.Message != fmt.Sprintf(c.message, g.ID)):
			t.Errorf("%s: %v", c.what, err)
		}
		if left := w.store.Snapshot().AddressGroup(g.ID).Addresses; !slices.Equal(left, prefixes(c.left...)) {
			t.Errorf("%s: %v, want %v", c.what, left, c.left)
		}
	}
}

func TestAddressGroup_hasALimit(t *testing.T) {
	w := newWorld(t)
	var many []netip.Prefix
	for i := range maxGroupAddresses + 1 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))
	}
	for n, want := range map[int]bool{maxGroupAddresses: true, maxGroupAddresses + 1: false} {
		_, err := try(w, func(tx *store.Tx) (*model.AddressGroup, error) {
			return w.rules.CreateAddressGroup(tx, w.env, demo, AddressGroupSpec{Addresses: Some(many[:n])})
		})
		if (err == nil) != want {
			t.Errorf("%d addresses: %v", n, err)
		}
	}
}

// A rule keeps its group: what it refers to can neither go nor be another project's.
func TestAddressGroup_rulesReferToWhatThereIs(t *testing.T) {
	w := newWorld(t)
	g, addresses, theirs := w.group(demo, "web"), w.addressGroup(demo, "192.0.2.0/24"), w.addressGroup(other, "192.0.2.0/24")
	spec := SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress), RemoteAddressGroup: Some(theirs.ID)}
	_, err := w.tryRule(demo, spec)
	wantFault(t, err, fault.NotFound, "AddressGroupNotFound", "")
	spec.RemoteAddressGroup = Some(addresses.ID)
	rule, err := w.tryRule(demo, spec)
	if err != nil || rule.RemoteAddressGroup != addresses.ID {
		t.Fatalf("%+v, %v", rule, err)
	}
	_, err = w.tryRule(demo, spec)
	wantFault(t, err, fault.Conflict, "SecurityGroupRuleExists", "")
	spec.RemoteGroup = Some(g.ID)
	_, err = w.tryRule(demo, spec)
	wantFault(t, err, fault.Invalid, "SecurityGroupMultipleRemoteEntites", "")
	remove := func(id model.AddressGroupID) error {
		_, err := try(w, func(tx *store.Tx) (*model.AddressGroup, error) {
			return nil, w.rules.DeleteAddressGroup(tx, w.env, demo, id, nil)
		})
		return err
	}
	wantFault(t, remove(addresses.ID), fault.Conflict, "AddressGroupInUse", "")
	wantFault(t, remove(theirs.ID), fault.NotFound, "AddressGroupNotFound", "")
	if _, err := try(w, func(tx *store.Tx) (*model.SecurityGroupRule, error) {
		return nil, w.rules.DeleteSecurityGroupRule(tx, w.env, demo, rule.ID, nil)
	}); err != nil {
		t.Fatal(err)
	}
	if err := remove(addresses.ID); err != nil {
		t.Fatal(err)
	}
}
