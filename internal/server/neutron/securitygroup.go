package neutron

import (
	"encoding/json"
	"iter"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/pyrepr"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// securityGroupResource declares security groups: the extension
// security-group with stateful-security-group.
func securityGroupResource(rules *network.Rules) *resource[model.SecurityGroup, network.SecurityGroupSpec] {
	type (
		M    = model.SecurityGroup
		S    = network.SecurityGroupSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	meta := func(g *M) *model.Meta { return &g.Meta }
	inner := securityGroupRuleResource(rules).finish()
	r := &resource[M, S]{
		name: "security_group", collection: "security_groups", path: "security-groups",
		id:      func(g *M) model.UUID { return g.ID.UUID },
		meta:    meta,
		target:  func(_ *view, g *M) policy.Target { return policy.SecurityGroupTarget(g) },
		missing: notFound("SecurityGroupNotFound", "Security group %s does not exist"),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },
		tagKind: network.TagSecurityGroups,
		prepare: ensureDefaultGroup,

		row:  func(v *view, id model.UUID) *store.Row[M] { return v.SecurityGroupRow(model.SecurityGroupID{UUID: id}) },
		rows: func(v *view) iter.Seq[*store.Row[M]] { return v.SecurityGroupRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] {
			return chain(v.SecurityGroupRowsByProject(project),
				rowsOf(v.SharedSecurityGroups(), func(g *M) *store.Row[M] { return v.SecurityGroupRow(g.ID) }))
		},
		depends: func(v *view, g *M) any {
			var f fingerprint
			for rule := range v.SecurityGroupRulesByGroup(g.ID) {
				f.add(rule.ID.UUID, rule.Revision)
			}
			return f
		},

		create: rules.CreateSecurityGroup,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateSecurityGroup(tx, env, who, model.SecurityGroupID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteSecurityGroup(tx, env, who, model.SecurityGroupID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.SecurityGroupRowsByProject(project) }
	r.attributes = append([]attr{
		d.id("id", func(g *M) model.UUID { return g.ID.UUID }).by(byID(r.row)),
		d.str("name", func(g *M) string { return g.Name }, text(255), func(s *S) *network.Opt[string] { return &s.Name }).
			by(func(v *view, name string) iter.Seq[*store.Row[M]] {
				return rowsOf(v.SecurityGroupsByName(name), func(g *M) *store.Row[M] { return v.SecurityGroupRow(g.ID) })
			}),
		d.flag("stateful", func(g *M) bool { return g.Stateful }, func(s *S) *network.Opt[bool] { return &s.Stateful }),
		d.flag("shared", func(g *M) bool { return g.Shared }, nil),
		d.other("security_group_rules", func(b []byte, v *view, g *M) []byte {
			b = append(b, '[')
			sep := false
			for row := range v.SecurityGroupRuleRowsByGroup(g.ID) {
				if sep {
					b = append(b, ',')
				}
				b, sep = inner.appendObject(b, v, row, row.Obj, sight{all: true, none: true}), true
			}
			return append(b, ']')
		}),
		d.tags(meta),
	}, d.standard(meta, func(s *S) *network.Opt[string] { return &s.Description })...)
	r.index("project_id", byProject)
	r.index("tenant_id", byProject)
	return r
}

// securityGroupRuleResource declares the rules of security groups, with the
// extensions security-groups-normalized-cidr and
// security-groups-remote-address-group.
func securityGroupRuleResource(rules *network.Rules) *resource[model.SecurityGroupRule, network.SecurityGroupRuleSpec] {
	type (
		M    = model.SecurityGroupRule
		S    = network.SecurityGroupRuleSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	meta := func(g *M) *model.Meta { return &g.Meta }
	port := func(name string, get func(*M) *int, at func(*S) *network.Opt[int]) attr {
		a := attr{
			name: name,
			show: func(b []byte, _ *view, g *M) []byte {
				if p := get(g); p != nil {
					return appendInt(b, int64(*p))
				}
				return append(b, "null"...)
			},
			match: matchString(func(g *M) string {
				if p := get(g); p != nil {
					return string(appendInt(nil, int64(*p)))
				}
				return ""
			}),
		}
		return field(a, rulePort, at).postOnly().orNull()
	}
	prefixText := func(g *M) string {
		if !g.RemotePrefix.IsValid() {
			return ""
		}
		return g.RemotePrefix.String()
	}
	r := &resource[M, S]{
		name: "security_group_rule", collection: "security_group_rules", path: "security-group-rules",
		id:   func(g *M) model.UUID { return g.ID.UUID },
		meta: meta,
		target: func(v *view, g *M) policy.Target {
			return policy.SecurityGroupRuleTarget(g, v.SecurityGroup(g.GroupID))
		},
		missing: notFound("SecurityGroupRuleNotFound", "Security group rule %s does not exist"),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },
		tagKind: network.TagSecurityGroupRules,
		prepare: ensureDefaultGroup,

		row: func(v *view, id model.UUID) *store.Row[M] {
			return v.SecurityGroupRuleRow(model.SecurityGroupRuleID{UUID: id})
		},
		rows: func(v *view) iter.Seq[*store.Row[M]] { return v.SecurityGroupRuleRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] {
			return chain(v.SecurityGroupRuleRowsByProject(project),
				rulesOf(v, v.SecurityGroupsByProject(project)), rulesOf(v, v.SharedSecurityGroups()))
		},

		create: rules.CreateSecurityGroupRule,
		bulk:   rules.CheckRuleBatch,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateSecurityGroupRule(tx, env, who, model.SecurityGroupRuleID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteSecurityGroupRule(tx, env, who, model.SecurityGroupRuleID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] {
		return v.SecurityGroupRuleRowsByProject(project)
	}
	r.attributes = append([]attr{
		d.id("id", func(g *M) model.UUID { return g.ID.UUID }).by(byID(r.row)),
		field(d.id("security_group_id", func(g *M) model.UUID { return g.GroupID.UUID }), groupID,
			func(s *S) *network.Opt[model.SecurityGroupID] { return &s.GroupID }).must().postOnly().
			by(byKey(func(v *view, id model.UUID) iter.Seq[*store.Row[M]] {
				return v.SecurityGroupRuleRowsByGroup(model.SecurityGroupID{UUID: id})
			})),
		field(d.str("direction", func(g *M) string { return string(g.Direction) }, nil, nil),
			oneOf(model.Ingress, model.Egress), func(s *S) *network.Opt[model.Direction] { return &s.Direction }).must().postOnly(),
		d.str("ethertype", func(g *M) string { return string(g.EtherType) }, plainText(40), func(s *S) *network.Opt[string] { return &s.EtherType }).postOnly().orNull(),
		d.strOrNull("protocol", func(g *M) string { return g.Protocol }, protocol, func(s *S) *network.Opt[string] { return &s.Protocol }).postOnly(),
		port("port_range_min", func(g *M) *int { return g.PortMin }, func(s *S) *network.Opt[int] { return &s.PortMin }),
		port("port_range_max", func(g *M) *int { return g.PortMax }, func(s *S) *network.Opt[int] { return &s.PortMax }),
		d.strOrNull("remote_ip_prefix", prefixText, plainText(64), func(s *S) *network.Opt[string] { return &s.RemotePrefix }).postOnly(),
		d.other("normalized_cidr", func(b []byte, _ *view, g *M) []byte { return appendPrefix(b, g.RemotePrefix.Masked()) }),
		field(d.id("remote_group_id", func(g *M) model.UUID { return g.RemoteGroup.UUID }), groupID,
			func(s *S) *network.Opt[model.SecurityGroupID] { return &s.RemoteGroup }).postOnly().orNull(),
		field(d.id("remote_address_group_id", func(g *M) model.UUID { return g.RemoteAddressGroup.UUID }), addressGroupID,
			func(s *S) *network.Opt[model.AddressGroupID] { return &s.RemoteAddressGroup }).postOnly().orNull(),
		d.tags(meta),
	}, d.standard(meta, func(s *S) *network.Opt[string] { return &s.Description })...)
	r.index("project_id", byProject)
	r.index("tenant_id", byProject)
	return r
}

func rulesOf(v *view, groups iter.Seq[*model.SecurityGroup]) iter.Seq[*store.Row[model.SecurityGroupRule]] {
	return func(yield func(*store.Row[model.SecurityGroupRule]) bool) {
		for g := range groups {
			for row := range v.SecurityGroupRuleRowsByGroup(g.ID) {
				if !yield(row) {
					return
				}
			}
		}
	}
}

// protocol accepts a name, or a number in either form; which there are is for
// the rules. Names are the same in any case (CVE-2012-2654).
func protocol(name string, v any) (string, error) {
	switch v := v.(type) {
	case string:
		return plainTextLower(name, v)
	case json.Number:
		return v.String(), nil
	}
	return "", invalidAttribute(name, "%s is not a valid string.", quoted(v))
}

func plainTextLower(name, s string) (string, error) {
	s, err := plainText(40)(name, s)
	return strings.ToLower(s), err
}

func rulePort(_ string, v any) (int, error) {
	n, err := integer("", v)
	if err != nil {
		return 0, fault.New(fault.Invalid, "SecurityGroupInvalidPortValue", "Invalid value for port %s", pyrepr.Str(v))
	}
	return n, nil
}

// ensureDefaultGroup makes the default group of the caller's own project before
// it looks at security groups: clients list them with name=default first. A
// project that is merely asked about is never touched (CVE-2022-3277), nor is
// anything written for who may only read.
func ensureDefaultGroup(c *call) error {
	project := c.who.ProjectID
	if project == "" || c.who.ReadOnly || c.DefaultSecurityGroup(project) != nil {
		return nil
	}
	return c.write(func(tx *store.Tx, env network.Env) error {
		return c.api.Rules.EnsureDefaultSecurityGroup(tx, env, c.who)
	})
}
