package network

import (
	"reflect"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// defaultGroup is the name of the group that every project has.
const defaultGroup = "default"

// CreateSecurityGroup makes a group with two rules that let everything out.
func (r *Rules) CreateSecurityGroup(tx *store.Tx, env Env, who authn.Principal, spec SecurityGroupSpec) (*model.SecurityGroup, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "create_security_group", policy.Target{ProjectID: project}).err(); err != nil {
		return nil, err
	}
	if err := checkTexts(spec.Name, spec.Description); err != nil {
		return nil, err
	}
	ensureDefaultGroup(tx, env, project)
	if spec.Name.Or("") == defaultGroup {
		return nil, defaultGroupExists()
	}
	if err := r.checkQuota(tx, project, QuotaSecurityGroup); err != nil {
		return nil, err
	}
	g := &model.SecurityGroup{
		Meta:     env.meta(project, spec.Name, spec.Description, 1),
		ID:       model.SecurityGroupID{UUID: env.uuid()},
		Stateful: spec.Stateful.Or(true),
	}
	tx.PutSecurityGroup(g)
	allowAll(tx, env, g, model.Egress, model.SecurityGroupID{})
	return g, nil
}

// EnsureDefaultSecurityGroup makes the default group of the asker's own
// project when it has none. For a principal that may only read it does nothing.
func (r *Rules) EnsureDefaultSecurityGroup(tx *store.Tx, env Env, who authn.Principal) error {
	if !who.ReadOnly && who.ProjectID != "" {
		ensureDefaultGroup(tx, env, who.ProjectID)
	}
	return nil
}

// ensureDefaultGroup returns the default group of a project, and makes it when
// the project has none: with the first write of the project. A read never does
// (CVE-2022-3277). It counts for the quota but is not refused by it.
func ensureDefaultGroup(tx *store.Tx, env Env, project string) *model.SecurityGroup {
	if g := tx.DefaultSecurityGroup(project); g != nil {
		return g
	}
	g := &model.SecurityGroup{
		Meta:      env.meta(project, Some(defaultGroup), Some("Default security group"), 1),
		ID:        model.SecurityGroupID{UUID: env.uuid()},
		Stateful:  true,
		IsDefault: true,
	}
	tx.PutSecurityGroup(g)
	allowAll(tx, env, g, model.Ingress, g.ID)
	allowAll(tx, env, g, model.Egress, model.SecurityGroupID{})
	return g
}

// allowAll puts one rule of each family into a group: everything, from or to a group or
// anybody.
func allowAll(tx *store.Tx, env Env, g *model.SecurityGroup, d model.Direction, remote model.SecurityGroupID) {
	for _, family := range []model.EtherType{model.IPv4, model.IPv6} {
		tx.PutSecurityGroupRule(&model.SecurityGroupRule{
			Meta:        env.meta(g.ProjectID, Opt[string]{}, Opt[string]{}, 0),
			ID:          model.SecurityGroupRuleID{UUID: env.uuid()},
			GroupID:     g.ID,
			Direction:   d,
			EtherType:   family,
			IPProtocol:  model.ProtocolAny,
			RemoteGroup: remote,
		})
	}
}

// UpdateSecurityGroup changes a group. The default group keeps its name, and a
// group in use keeps its statefulness.
func (r *Rules) UpdateSecurityGroup(tx *store.Tx, env Env, who authn.Principal, id model.SecurityGroupID, spec SecurityGroupSpec, ifMatch *int64) (*model.SecurityGroup, error) {
	old, err := r.SecurityGroup(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := ask(who, "update_security_group", policy.SecurityGroupTarget(old)).err(); err != nil {
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
	if v, ok := spec.Stateful.Get(); ok {
		g.Stateful = v
	}
	if g.Name != old.Name {
		if old.IsDefault {
			return nil, fault.New(fault.Conflict, "SecurityGroupCannotUpdateDefault",
				"Updating default security group not allowed.")
		}
		if g.Name == defaultGroup {
			return nil, defaultGroupExists()
		}
	}
	if g.Stateful != old.Stateful && groupHasPorts(tx, id) {
		return nil, groupInUse(id)
	}
	if reflect.DeepEqual(old, g) {
		return old, nil
	}
	env.touch(&g.Meta)
	tx.PutSecurityGroup(g)
	return g, nil
}

// DeleteSecurityGroup removes a group that no port is in, its rules, and those
// rules of other groups that refer to it: a reference to nothing must not
// come to mean anybody. Only an admin may remove a default group; it is made anew on the
// project's next write.
func (r *Rules) DeleteSecurityGroup(tx *store.Tx, env Env, who authn.Principal, id model.SecurityGroupID, ifMatch *int64) error {
	g, err := r.SecurityGroup(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_security_group", policy.SecurityGroupTarget(g)).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, g.Revision); err != nil {
		return err
	}
	if groupHasPorts(tx, id) {
		return groupInUse(id)
	}
	if g.IsDefault && !who.Admin {
		return fault.New(fault.Conflict, "SecurityGroupCannotRemoveDefault",
			"Insufficient rights for removing default security group.")
	}
	for rule := range tx.SecurityGroupRulesByGroup(id) {
		tx.DeleteSecurityGroupRule(rule.ID)
	}
	for rule := range tx.SecurityGroupRulesByRemoteGroup(id) {
		tx.DeleteSecurityGroupRule(rule.ID)
		touchGroup(tx, env, rule.GroupID)
	}
	tx.DeleteSecurityGroup(id)
	return nil
}

// touchGroup bumps a group's revision, since what it is shown with has
// changed: its rules.
func touchGroup(tx *store.Tx, env Env, id model.SecurityGroupID) {
	if g := tx.SecurityGroup(id); g != nil {
		g = g.Clone()
		env.touch(&g.Meta)
		tx.PutSecurityGroup(g)
	}
}

func groupHasPorts(tx *store.Tx, id model.SecurityGroupID) bool {
	for range tx.PortsBySecurityGroup(id) {
		return true
	}
	return false
}

func groupInUse(id model.SecurityGroupID) *fault.Error {
	return fault.New(fault.Conflict, "SecurityGroupInUse", "Security Group %s in use.", id)
}

func defaultGroupExists() *fault.Error {
	return fault.New(fault.Conflict, "SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
}
