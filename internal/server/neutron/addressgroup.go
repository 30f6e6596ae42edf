package neutron

import (
	"iter"
	"net/netip"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// addressGroupResource declares address groups: the extension address-group. They are shown without
// times, revision and tags.
func addressGroupResource(rules *network.Rules) *resource[model.AddressGroup, network.AddressGroupSpec] {
	type (
		M    = model.AddressGroup
		S    = network.AddressGroupSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	r := &resource[M, S]{
		name: "address_group", collection: "address_groups", path: "address-groups",
		id:      func(g *M) model.UUID { return g.ID.UUID },
		target:  func(_ *view, g *M) policy.Target { return policy.AddressGroupTarget(g) },
		missing: notFound("AddressGroupNotFound", "Address group %s could not be found."),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },

		row:   func(v *view, id model.UUID) *store.Row[M] { return v.AddressGroupRow(model.AddressGroupID{UUID: id}) },
		rows:  func(v *view) iter.Seq[*store.Row[M]] { return v.AddressGroupRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] { return v.AddressGroupRowsByProject(project) },

		create: rules.CreateAddressGroup,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateAddressGroup(tx, env, who, model.AddressGroupID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteAddressGroup(tx, env, who, model.AddressGroupID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.AddressGroupRowsByProject(project) }
	project := func(g *M) string { return g.ProjectID }
	r.attributes = []attr{
		d.id("id", func(g *M) model.UUID { return g.ID.UUID }).by(byID(r.row)),
		d.str("name", func(g *M) string { return g.Name }, text(255), func(s *S) *network.Opt[string] { return &s.Name }).
			by(func(v *view, name string) iter.Seq[*store.Row[M]] { return v.AddressGroupRowsByName(name) }),
		d.str("description", func(g *M) string { return g.Description }, text(255), func(s *S) *network.Opt[string] { return &s.Description }),
		field(d.other("addresses", func(b []byte, _ *view, g *M) []byte { return appendList(b, g.Addresses, appendPrefix) }),
			list(addressOrSubnet), func(s *S) *network.Opt[[]netip.Prefix] { return &s.Addresses }).postOnly().orNull(),
		d.str("project_id", project, nil, nil).by(byProject),
		d.str("tenant_id", project, nil, nil).by(byProject),
	}
	show := func(c *call, g *M) {
		c.begin(r.name)
		r.appendWritten(c, g)
	}
	r.actions = map[string]func(c *call, id string) error{
		"add_addresses":    changePrefixes(r, "addresses", addressOrSubnet, rules.AddAddresses, show),
		"remove_addresses": changePrefixes(r, "addresses", addressOrSubnet, rules.RemoveAddresses, show),
	}
	return r
}
