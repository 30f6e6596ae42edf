package network

import (
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// tagView reads the objects that can have tags.
type tagView interface {
	subnetReader
	portReader
	ruleReader
	routerReader
	floatingReader
	poolReader
}

// tagged is an object as far as tags go.
type tagged struct {
	meta   *model.Meta
	target policy.Target
	put    func(tx *store.Tx, change func(*model.Meta)) // clones, changes, puts
}

// findTagged returns an object that the principal may see, else TagResourceNotFound.
func findTagged(rd tagView, who authn.Principal, kind TagKind, id model.UUID) (*tagged, error) {
	var t *tagged
	switch kind {
	case TagNetworks:
		if n := rd.Network(model.NetworkID{UUID: id}); n != nil {
			t = &tagged{&n.Meta, policy.NetworkTarget(n), func(tx *store.Tx, change func(*model.Meta)) {
				c := n.Clone()
				change(&c.Meta)
				tx.PutNetwork(c)
			}}
		}
	case TagSubnets:
		if s := rd.Subnet(model.SubnetID{UUID: id}); s != nil {
			t = &tagged{&s.Meta, policy.SubnetTarget(s, rd.Network(s.NetworkID)), func(tx *store.Tx, change func(*model.Meta)) {
				c := s.Clone()
				change(&c.Meta)
				tx.PutSubnet(c)
			}}
		}
	case TagPorts:
		if p := rd.Port(model.PortID{UUID: id}); p != nil {
			t = &tagged{&p.Meta, policy.PortTarget(p, rd.Network(p.NetworkID)), func(tx *store.Tx, change func(*model.Meta)) {
				c := p.Clone()
				change(&c.Meta)
				putPort(tx, c)
			}}
		}
	case TagSecurityGroups:
		if g := rd.SecurityGroup(model.SecurityGroupID{UUID: id}); g != nil {
			t = &tagged{&g.Meta, policy.SecurityGroupTarget(g), func(tx *store.Tx, change func(*model.Meta)) {
				c := g.Clone()
				change(&c.Meta)
				tx.PutSecurityGroup(c)
			}}
		}
	case TagSecurityGroupRules:
		if r := rd.SecurityGroupRule(model.SecurityGroupRuleID{UUID: id}); r != nil {
			g := rd.SecurityGroup(r.GroupID)
			t = &tagged{&r.Meta, policy.SecurityGroupRuleTarget(r, g), func(tx *store.Tx, change func(*model.Meta)) {
				c := r.Clone()
				change(&c.Meta)
				tx.PutSecurityGroupRule(c)
			}}
		}
	case TagRouters:
		if rt := rd.Router(model.RouterID{UUID: id}); rt != nil {
			t = &tagged{&rt.Meta, policy.RouterTarget(rt), func(tx *store.Tx, change func(*model.Meta)) {
				c := rt.Clone()
				change(&c.Meta)
				tx.PutRouter(c)
			}}
		}
	case TagFloatingIPs:
		if f := rd.FloatingIP(model.FloatingIPID{UUID: id}); f != nil {
			t = &tagged{&f.Meta, policy.FloatingIPTarget(f), func(tx *store.Tx, change func(*model.Meta)) {
				c := f.Clone()
				change(&c.Meta)
				tx.PutFloatingIP(c)
			}}
		}
	case TagSubnetPools:
		if p := rd.SubnetPool(model.SubnetPoolID{UUID: id}); p != nil {
			t = &tagged{&p.Meta, policy.SubnetPoolTarget(p), func(tx *store.Tx, change func(*model.Meta)) {
				c := p.Clone()
				change(&c.Meta)
				tx.PutSubnetPool(c)
			}}
		}
	}
	if t == nil || !policy.Allowed(who, "get_"+string(kind)+"_tags", t.target) {
		return nil, fault.New(fault.NotFound, "TagResourceNotFound", "Resource %s %s could not be found.", kind, id)
	}
	return t, nil
}

// Tags returns the tags of an object, sorted. The slice is the object's: not
// to be changed.
func (r *Rules) Tags(rd tagView, who authn.Principal, kind TagKind, id model.UUID) ([]string, error) {
	t, err := findTagged(rd, who, kind, id)
	if err != nil {
		return nil, err
	}
	return t.meta.Tags, nil
}

// HasTag returns nil when the object has the tag, else TagNotFound.
func (r *Rules) HasTag(rd tagView, who authn.Principal, kind TagKind, id model.UUID, tag string) error {
	tags, err := r.Tags(rd, who, kind, id)
	if err == nil && !slices.Contains(tags, tag) {
		err = tagNotFound(tag)
	}
	return err
}

// AddTag puts a tag on an object; one that it has is no error.
func (r *Rules) AddTag(tx *store.Tx, env Env, who authn.Principal, kind TagKind, id model.UUID, tag string, ifMatch *int64) error {
	return r.changeTags(tx, env, who, "update", kind, id, ifMatch, func(tags []string) ([]string, error) {
		return append(tags, tag), nil
	})
}

// SetTags replaces all tags of an object.
func (r *Rules) SetTags(tx *store.Tx, env Env, who authn.Principal, kind TagKind, id model.UUID, tags []string, ifMatch *int64) error {
	return r.changeTags(tx, env, who, "update", kind, id, ifMatch, func([]string) ([]string, error) { return tags, nil })
}

// RemoveTag takes a tag off an object, TagNotFound when it is not there.
func (r *Rules) RemoveTag(tx *store.Tx, env Env, who authn.Principal, kind TagKind, id model.UUID, tag string, ifMatch *int64) error {
	return r.changeTags(tx, env, who, "delete", kind, id, ifMatch, func(tags []string) ([]string, error) {
		i := slices.Index(tags, tag)
		if i < 0 {
			return nil, tagNotFound(tag)
		}
		return slices.Delete(tags, i, i+1), nil
	})
}

// ClearTags takes all tags off an object.
func (r *Rules) ClearTags(tx *store.Tx, env Env, who authn.Principal, kind TagKind, id model.UUID, ifMatch *int64) error {
	return r.changeTags(tx, env, who, "delete", kind, id, ifMatch, func([]string) ([]string, error) { return nil, nil })
}

func (r *Rules) changeTags(tx *store.Tx, env Env, who authn.Principal, verb string, kind TagKind, id model.UUID, ifMatch *int64,
	change func([]string) ([]string, error)) error {
	t, err := findTagged(tx, who, kind, id)
	if err != nil {
		return err
	}
	if err := ask(who, verb+"_"+string(kind)+"_tags", t.target).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, t.meta.Revision); err != nil {
		return err
	}
	tags, err := change(slices.Clone(t.meta.Tags))
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if tag == "" || len(tag) > maxText || hasControl(tag) {
			return badInput("'%s' is not a tag of 1 to %d characters", tag, maxText)
		}
	}
	tags = sortedUnique(tags)
	if slices.Equal(tags, t.meta.Tags) {
		return nil
	}
	if len(tags) > r.MaxTags {
		return badRequest(string(kind), "The number of tags exceed the per-resource limit of %d", r.MaxTags)
	}
	t.put(tx, func(m *model.Meta) {
		m.Tags = tags
		env.touch(m)
	})
	if kind == TagSecurityGroupRules {
		if rule := tx.SecurityGroupRule(model.SecurityGroupRuleID{UUID: id}); rule != nil {
			touchGroup(tx, env, rule.GroupID)
		}
	}
	return nil
}

func tagNotFound(tag string) *fault.Error {
	return fault.New(fault.NotFound, "TagNotFound", "Tag %s could not be found.", tag)
}
