package network

import (
	"reflect"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// CreateAddressScope makes an address scope.
func (r *Rules) CreateAddressScope(tx *store.Tx, env Env, who authn.Principal, spec AddressScopeSpec) (*model.AddressScope, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "create_address_scope", policy.ProjectTarget(project)).attr("shared", spec.Shared.Set).err(); err != nil {
		return nil, err
	}
	if err := checkText("name", spec.Name); err != nil {
		return nil, err
	}
	s := &model.AddressScope{
		Meta:      env.meta(project, spec.Name, Opt[string]{}, 0),
		ID:        model.AddressScopeID{UUID: env.uuid()},
		IPVersion: spec.IPVersion.Or(0),
		Shared:    spec.Shared.Or(false),
	}
	if s.IPVersion != 4 && s.IPVersion != 6 {
		return nil, badAttr("ip_version", "%d is not in valid_values.", s.IPVersion)
	}
	tx.PutAddressScope(s)
	return s, nil
}

// UpdateAddressScope changes an address scope. One that is shared stays so: others may have pools in it.
func (r *Rules) UpdateAddressScope(tx *store.Tx, env Env, who authn.Principal, id model.AddressScopeID, spec AddressScopeSpec, ifMatch *int64) (*model.AddressScope, error) {
	old, err := r.AddressScope(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := refuseReadOnly(map[string]bool{"ip_version": spec.IPVersion.Set}); err != nil {
		return nil, err
	}
	if err := ask(who, "update_address_scope", policy.AddressScopeTarget(old)).attr("shared", spec.Shared.Set).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkText("name", spec.Name); err != nil {
		return nil, err
	}
	s := old.Clone()
	set(&s.Name, spec.Name)
	set(&s.Shared, spec.Shared)
	if old.Shared && !s.Shared {
		return nil, fault.New(fault.Invalid, "AddressScopeUpdateError", "Unable to update address scope %s : Shared address scope can't be unshared.", id)
	}
	if reflect.DeepEqual(old, s) {
		return old, nil
	}
	env.touch(&s.Meta)
	tx.PutAddressScope(s)
	return s, nil
}

// DeleteAddressScope removes an address scope that no subnet pool is in.
func (r *Rules) DeleteAddressScope(tx *store.Tx, _ Env, who authn.Principal, id model.AddressScopeID, ifMatch *int64) error {
	s, err := r.AddressScope(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_address_scope", policy.AddressScopeTarget(s)).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, s.Revision); err != nil {
		return err
	}
	for range tx.SubnetPoolsByScope(id) {
		return fault.New(fault.Conflict, "AddressScopeInUse", "Unable to complete operation on address scope %s. "+
			"There are one or more subnet pools in use on the address scope.", id)
	}
	tx.DeleteAddressScope(id)
	return nil
}
