package neutron

import (
	"iter"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// addressScopeResource declares address scopes: the extension address-scope. They are shown without
// description, times, revision and tags.
func addressScopeResource(rules *network.Rules) *resource[model.AddressScope, network.AddressScopeSpec] {
	type (
		M    = model.AddressScope
		S    = network.AddressScopeSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	r := &resource[M, S]{
		name: "address_scope", collection: "address_scopes", path: "address-scopes",
		id:      func(s *M) model.UUID { return s.ID.UUID },
		target:  func(_ *view, s *M) policy.Target { return policy.AddressScopeTarget(s) },
		missing: notFound("AddressScopeNotFound", "Address scope %s could not be found."),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },

		row:  func(v *view, id model.UUID) *store.Row[M] { return v.AddressScopeRow(model.AddressScopeID{UUID: id}) },
		rows: func(v *view) iter.Seq[*store.Row[M]] { return v.AddressScopeRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] {
			return chain(v.AddressScopeRowsByProject(project), v.SharedAddressScopeRows())
		},

		create: rules.CreateAddressScope,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateAddressScope(tx, env, who, model.AddressScopeID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteAddressScope(tx, env, who, model.AddressScopeID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.AddressScopeRowsByProject(project) }
	project := func(s *M) string { return s.ProjectID }
	r.attributes = []attr{
		d.id("id", func(s *M) model.UUID { return s.ID.UUID }).by(byID(r.row)),
		d.str("name", func(s *M) string { return s.Name }, text(255), func(s *S) *network.Opt[string] { return &s.Name }).
			by(func(v *view, name string) iter.Seq[*store.Row[M]] { return v.AddressScopeRowsByName(name) }),
		d.num("ip_version", func(s *M) int64 { return int64(s.IPVersion) }, integerOf(4, 6),
			func(s *S) *network.Opt[int] { return &s.IPVersion }).must().postOnly(),
		d.flag("shared", func(s *M) bool { return s.Shared }, func(s *S) *network.Opt[bool] { return &s.Shared }),
		d.str("project_id", project, nil, nil).by(byProject),
		d.str("tenant_id", project, nil, nil).by(byProject),
	}
	return r
}
