package neutron

import (
	"iter"
	"net/http"
	"net/netip"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// subnetPoolResource declares subnet pools: the extensions subnet_allocation, default-subnetpools,
// address-scope and subnetpool-prefix-ops.
func subnetPoolResource(rules *network.Rules) *resource[model.SubnetPool, network.SubnetPoolSpec] {
	type (
		M    = model.SubnetPool
		S    = network.SubnetPoolSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	meta := func(p *M) *model.Meta { return &p.Meta }
	// Lengths are shown as text, as the peer has them.
	length := func(name string, get func(*M) int, at func(*S) *network.Opt[int]) attr {
		return d.num(name, func(p *M) int64 { return int64(get(p)) }, atLeast(0), at).
			as(func(b []byte, _ *view, p *M) []byte { return append(appendInt(append(b, '"'), int64(get(p))), '"') })
	}
	r := &resource[M, S]{
		name: "subnetpool", collection: "subnetpools", path: "subnetpools",
		id:      func(p *M) model.UUID { return p.ID.UUID },
		meta:    meta,
		target:  func(_ *view, p *M) policy.Target { return policy.SubnetPoolTarget(p) },
		missing: notFound("SubnetPoolNotFound", "Subnet pool %s could not be found."),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },
		tagKind: network.TagSubnetPools,

		row:  func(v *view, id model.UUID) *store.Row[M] { return v.SubnetPoolRow(model.SubnetPoolID{UUID: id}) },
		rows: func(v *view) iter.Seq[*store.Row[M]] { return v.SubnetPoolRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] {
			return chain(v.SubnetPoolRowsByProject(project), v.SharedSubnetPoolRows())
		},

		create: rules.CreateSubnetPool,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateSubnetPool(tx, env, who, model.SubnetPoolID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteSubnetPool(tx, env, who, model.SubnetPoolID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.SubnetPoolRowsByProject(project) }
	r.attributes = append([]attr{
		d.id("id", func(p *M) model.UUID { return p.ID.UUID }).by(byID(r.row)),
		d.str("name", func(p *M) string { return p.Name }, text(255), func(s *S) *network.Opt[string] { return &s.Name }).must().
			by(func(v *view, name string) iter.Seq[*store.Row[M]] { return v.SubnetPoolRowsByName(name) }),
		field(d.other("prefixes", func(b []byte, _ *view, p *M) []byte { return appendList(b, p.Prefixes, appendPrefix) }),
			list(prefix), func(s *S) *network.Opt[[]netip.Prefix] { return &s.Prefixes }).must(),
		d.num("ip_version", func(p *M) int64 { return int64(p.IPVersion()) }, nil, nil),
		length("min_prefixlen", func(p *M) int { return p.MinPrefixLen }, func(s *S) *network.Opt[int] { return &s.MinPrefixLen }),
		length("max_prefixlen", func(p *M) int { return p.MaxPrefixLen }, func(s *S) *network.Opt[int] { return &s.MaxPrefixLen }),
		length("default_prefixlen", func(p *M) int { return p.DefaultPrefixLen }, func(s *S) *network.Opt[int] { return &s.DefaultPrefixLen }),
		d.num("default_quota", func(p *M) int64 { return int64(p.DefaultQuota) }, atLeast(0), func(s *S) *network.Opt[int] { return &s.DefaultQuota }).
			orNull().as(func(b []byte, _ *view, p *M) []byte {
			if p.DefaultQuota == 0 {
				return append(b, "null"...)
			}
			return appendInt(b, int64(p.DefaultQuota))
		}),
		d.flag("is_default", func(p *M) bool { return p.IsDefault }, func(s *S) *network.Opt[bool] { return &s.IsDefault }),
		d.flag("shared", func(p *M) bool { return p.Shared }, func(s *S) *network.Opt[bool] { return &s.Shared }).postOnly(),
		field(d.id("address_scope_id", func(p *M) model.UUID { return p.AddressScopeID.UUID }), scopeID,
			func(s *S) *network.Opt[model.AddressScopeID] { return &s.AddressScopeID }).orNull().by(bySet(
			func(v *view, id model.UUID) iter.Seq[*store.Row[M]] {
				return v.SubnetPoolRowsByScope(model.AddressScopeID{UUID: id})
			})),
		d.tags(meta),
	}, d.standard(meta, func(s *S) *network.Opt[string] { return &s.Description })...)
	r.index("project_id", byProject)
	r.index("tenant_id", byProject)
	show := func(c *call, p *M) {
		c.begin("prefixes")
		c.body = appendList(c.body, p.Prefixes, appendPrefix)
	}
	r.actions = map[string]func(c *call, id string) error{
		"add_prefixes":    changePrefixes(r, "prefixes", prefix, rules.AddPrefixes, show),
		"remove_prefixes": changePrefixes(r, "prefixes", prefix, rules.RemovePrefixes, show),
	}
	return r
}

// changePrefixes serves a call that adds prefixes to an object or takes some from it. Its body has them below a name,
// and nothing around that.
func changePrefixes[K ~struct{ model.UUID }, M, S any](r *resource[M, S], name string, each converter[netip.Prefix],
	change func(*store.Tx, network.Env, authn.Principal, K, []netip.Prefix) (*M, error), show func(*call, *M)) func(*call, string) error {
	return func(c *call, id string) error {
		body, err := c.decode()
		if err != nil {
			return err
		}
		given, _ := body.get(name)
		if l, ok := given.([]any); !ok || len(l) == 0 {
			return badRequest("Request body contains invalid data")
		}
		prefixes, err := list(each)(name, given)
		if err != nil {
			return err
		}
		u, err := model.ParseUUID(id)
		if err != nil {
			return r.missing(id)
		}
		var changed *M
		if err := c.write(func(tx *store.Tx, env network.Env) error {
			changed, err = change(tx, env, c.who, K{UUID: u}, prefixes)
			return err
		}); err != nil {
			return err
		}
		show(c, changed)
		c.end(http.StatusOK)
		return nil
	}
}
