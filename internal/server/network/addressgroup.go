package network

import (
	"net/netip"
	"reflect"
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/pyrepr"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// maxGroupAddresses is how many addresses a group may have. Every host with a port that has such a rule holds
// them all.
const maxGroupAddresses = 10_000

// CreateAddressGroup makes an address group.
func (r *Rules) CreateAddressGroup(tx *store.Tx, env Env, who authn.Principal, spec AddressGroupSpec) (*model.AddressGroup, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "create_address_group", policy.ProjectTarget(project)).err(); err != nil {
		return nil, err
	}
	if err := checkTexts(spec.Name, spec.Description); err != nil {
		return nil, err
	}
	g := &model.AddressGroup{Meta: env.meta(project, spec.Name, spec.Description, 0), ID: model.AddressGroupID{UUID: env.uuid()}}
	if err := addAddresses(g, spec.Addresses.Or(nil)); err != nil {
		return nil, err
	}
	tx.PutAddressGroup(g)
	return g, nil
}

// UpdateAddressGroup changes the name or description of an address group. Its addresses are added and removed.
func (r *Rules) UpdateAddressGroup(tx *store.Tx, env Env, who authn.Principal, id model.AddressGroupID, spec AddressGroupSpec, ifMatch *int64) (*model.AddressGroup, error) {
	old, err := r.AddressGroup(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := refuseReadOnly(map[string]bool{"addresses": spec.Addresses.Set}); err != nil {
		return nil, err
	}
	if err := ask(who, "update_address_group", policy.AddressGroupTarget(old)).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkTexts(spec.Name, spec.Description); err != nil {
		return nil, err
	}
	g := old.Clone()
	set(&g.Name, spec.Name)
	set(&g.Description, spec.Description)
	if reflect.DeepEqual(old, g) {
		return old, nil
	}
	env.touch(&g.Meta)
	tx.PutAddressGroup(g)
	return g, nil
}

// AddAddresses adds addresses to an address group, all of them or, when it has one of them, none.
func (r *Rules) AddAddresses(tx *store.Tx, env Env, who authn.Principal, id model.AddressGroupID, addresses []netip.Prefix) (*model.AddressGroup, error) {
	return r.changeGroupAddresses(tx, env, who, "add_addresses", id, func(g *model.AddressGroup) error { return addAddresses(g, addresses) })
}

// RemoveAddresses takes addresses out of an address group, all of them or, when it has not one of them, none.
func (r *Rules) RemoveAddresses(tx *store.Tx, env Env, who authn.Principal, id model.AddressGroupID, addresses []netip.Prefix) (*model.AddressGroup, error) {
	return r.changeGroupAddresses(tx, env, who, "remove_addresses", id, func(g *model.AddressGroup) error { return removeAddresses(g, addresses) })
}

func (r *Rules) changeGroupAddresses(tx *store.Tx, env Env, who authn.Principal, action string, id model.AddressGroupID, change func(*model.AddressGroup) error) (*model.AddressGroup, error) {
	old, err := r.AddressGroup(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := ask(who, action, policy.AddressGroupTarget(old)).err(); err != nil {
		return nil, err
	}
	g := old.Clone()
	if err := change(g); err != nil {
		return nil, err
	}
	if len(g.Addresses) == len(old.Addresses) {
		return old, nil // no address was given
	}
	env.touch(&g.Meta)
	tx.PutAddressGroup(g)
	return g, nil
}

// DeleteAddressGroup removes an address group that no rule refers to: a reference to nothing must not come to
// mean anybody.
func (r *Rules) DeleteAddressGroup(tx *store.Tx, _ Env, who authn.Principal, id model.AddressGroupID, ifMatch *int64) error {
	g, err := r.AddressGroup(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_address_group", policy.AddressGroupTarget(g)).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, g.Revision); err != nil {
		return err
	}
	for range tx.SecurityGroupRulesByAddressGroup(id) {
		return fault.New(fault.Conflict, "AddressGroupInUse", "Address group %s is in use on one or more security group rules.", id)
	}
	tx.DeleteAddressGroup(id)
	return nil
}

func addAddresses(g *model.AddressGroup, addresses []netip.Prefix) error {
	if had, _ := compareAddresses(g, addresses); len(had) > 0 {
		return fault.New(fault.Invalid, "AddressesAlreadyExist", "Addresses %s already exist in the address group %s.", pyrepr.Of(had), g.ID)
	}
	all := slices.Concat(g.Addresses, addresses)
	slices.SortFunc(all, model.ComparePrefix)
	if all = slices.Compact(all); len(all) > maxGroupAddresses {
		return badInput("An address group may have %d addresses, and this one would have %d", maxGroupAddresses, len(all))
	}
	g.Addresses = all
	return nil
}

func removeAddresses(g *model.AddressGroup, addresses []netip.Prefix) error {
	if _, others := compareAddresses(g, addresses); len(others) > 0 {
		return fault.New(fault.NotFound, "AddressesNotFound", "Addresses %s not found in the address group %s.", pyrepr.Of(others), g.ID)
	}
	g.Addresses = slices.DeleteFunc(g.Addresses, func(p netip.Prefix) bool { return slices.Contains(addresses, p) })
	return nil
}

// compareAddresses sorts addresses into those that a group has and others, as messages show them.
func compareAddresses(g *model.AddressGroup, addresses []netip.Prefix) (had, others []any) {
	for _, p := range addresses {
		if _, has := slices.BinarySearchFunc(g.Addresses, p, model.ComparePrefix); has {
			had = append(had, p.String())
		} else {
			others = append(others, p.String())
		}
	}
	return had, others
}
