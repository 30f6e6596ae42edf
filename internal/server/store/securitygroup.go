package store

import (
	"iter"

	"weft/internal/model"
)

type groupTable struct {
	table[model.SecurityGroupID, model.SecurityGroup]
	byProject index[string, model.SecurityGroup]
	byName    index[string, model.SecurityGroup]
	defaults  index[string, model.SecurityGroup] // by project
	shared    index[struct{}, model.SecurityGroup]
}

func newGroupTable(e *epoch) groupTable {
	meta := func(g *model.SecurityGroup) *model.Meta { return &g.Meta }
	return groupTable{
		table: newTable(e, byUUID[model.SecurityGroupID], uuidKind("security_group",
			func(g *model.SecurityGroup) model.SecurityGroupID { return g.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byName:    newIndex(e, byText, nameOf(meta)),
		defaults: newIndex(e, byText, func(g *model.SecurityGroup, to []string) []string {
			if g.IsDefault {
				to = append(to, g.ProjectID)
			}
			return to
		}),
		shared: newFlag(e, func(g *model.SecurityGroup) bool { return g.Shared }),
	}
}

func (t *groupTable) indexes() []indexer[model.SecurityGroup] {
	return []indexer[model.SecurityGroup]{&t.rows, &t.byProject, &t.byName, &t.defaults, &t.shared}
}

// SecurityGroup returns a security group, nil when there is none of that id.
func (r Reader) SecurityGroup(id model.SecurityGroupID) *model.SecurityGroup {
	return object(r.SecurityGroupRow(id))
}

// SecurityGroupRow returns the row of a security group, nil when there is none
// of that id.
func (r Reader) SecurityGroupRow(id model.SecurityGroupID) *Row[model.SecurityGroup] {
	return r.t.groups.get(id)
}

// SecurityGroups yields all security groups.
func (r Reader) SecurityGroups() iter.Seq[*model.SecurityGroup] {
	return objects(r.SecurityGroupRows())
}

// SecurityGroupRows yields the rows of all security groups.
func (r Reader) SecurityGroupRows() iter.Seq[*Row[model.SecurityGroup]] {
	return r.t.groups.rows.every()
}

// SecurityGroupsByProject yields the security groups that a project owns.
func (r Reader) SecurityGroupsByProject(project string) iter.Seq[*model.SecurityGroup] {
	return objects(r.SecurityGroupRowsByProject(project))
}

// SecurityGroupRowsByProject yields the rows of the security groups that a
// project owns.
func (r Reader) SecurityGroupRowsByProject(project string) iter.Seq[*Row[model.SecurityGroup]] {
	return r.t.groups.byProject.all(project)
}

// SecurityGroupsByName yields the security groups of a name, of any project.
func (r Reader) SecurityGroupsByName(name string) iter.Seq[*model.SecurityGroup] {
	return objects(r.t.groups.byName.all(name))
}

// SharedSecurityGroups yields the security groups that every project may use.
func (r Reader) SharedSecurityGroups() iter.Seq[*model.SecurityGroup] {
	return objects(r.t.groups.shared.all(struct{}{}))
}

// DefaultSecurityGroup returns the default group of a project, nil when it has
// not got one yet.
func (r Reader) DefaultSecurityGroup(project string) *model.SecurityGroup {
	return object(r.t.groups.defaults.first(project))
}

// SecurityGroupCount tells how many security groups a project owns.
func (r Reader) SecurityGroupCount(project string) int { return r.t.groups.byProject.count(project) }

// PutSecurityGroup inserts a security group, or replaces the one of the same
// id. The transaction owns it from now on.
func (tx *Tx) PutSecurityGroup(g *model.SecurityGroup) { tx.record(put(&tx.t.groups, g)) }

// DeleteSecurityGroup deletes a security group; deleting what is absent does
// nothing. Its rules are rows of their own.
func (tx *Tx) DeleteSecurityGroup(id model.SecurityGroupID) { tx.record(drop(&tx.t.groups, id)) }

type ruleTable struct {
	table[model.SecurityGroupRuleID, model.SecurityGroupRule]
	byProject     index[string, model.SecurityGroupRule]
	byGroup       index[model.SecurityGroupID, model.SecurityGroupRule]
	byRemoteGroup index[model.SecurityGroupID, model.SecurityGroupRule]
	byAddresses   index[model.AddressGroupID, model.SecurityGroupRule]
}

func newRuleTable(e *epoch) ruleTable {
	meta := func(g *model.SecurityGroupRule) *model.Meta { return &g.Meta }
	return ruleTable{
		table: newTable(e, byUUID[model.SecurityGroupRuleID], uuidKind("security_group_rule",
			func(g *model.SecurityGroupRule) model.SecurityGroupRuleID { return g.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byGroup: newIndex(e, byUUID[model.SecurityGroupID], func(g *model.SecurityGroupRule, to []model.SecurityGroupID) []model.SecurityGroupID {
			return append(to, g.GroupID)
		}),
		byRemoteGroup: newIndex(e, byUUID[model.SecurityGroupID], func(g *model.SecurityGroupRule, to []model.SecurityGroupID) []model.SecurityGroupID {
			if !g.RemoteGroup.IsZero() {
				to = append(to, g.RemoteGroup)
			}
			return to
		}),
		byAddresses: newIndex(e, byUUID[model.AddressGroupID], func(g *model.SecurityGroupRule, to []model.AddressGroupID) []model.AddressGroupID {
			if !g.RemoteAddressGroup.IsZero() {
				to = append(to, g.RemoteAddressGroup)
			}
			return to
		}),
	}
}

func (t *ruleTable) indexes() []indexer[model.SecurityGroupRule] {
	return []indexer[model.SecurityGroupRule]{&t.rows, &t.byProject, &t.byGroup, &t.byRemoteGroup, &t.byAddresses}
}

// SecurityGroupRule returns a rule, nil when there is none of that id.
func (r Reader) SecurityGroupRule(id model.SecurityGroupRuleID) *model.SecurityGroupRule {
	return object(r.SecurityGroupRuleRow(id))
}

// SecurityGroupRuleRow returns the row of a rule, nil when there is none of
// that id.
func (r Reader) SecurityGroupRuleRow(id model.SecurityGroupRuleID) *Row[model.SecurityGroupRule] {
	return r.t.rules.get(id)
}

// SecurityGroupRules yields all rules.
func (r Reader) SecurityGroupRules() iter.Seq[*model.SecurityGroupRule] {
	return objects(r.SecurityGroupRuleRows())
}

// SecurityGroupRuleRows yields the rows of all rules.
func (r Reader) SecurityGroupRuleRows() iter.Seq[*Row[model.SecurityGroupRule]] {
	return r.t.rules.rows.every()
}

// SecurityGroupRulesByProject yields the rules that a project owns.
func (r Reader) SecurityGroupRulesByProject(project string) iter.Seq[*model.SecurityGroupRule] {
	return objects(r.SecurityGroupRuleRowsByProject(project))
}

// SecurityGroupRuleRowsByProject yields the rows of the rules that a project
// owns.
func (r Reader) SecurityGroupRuleRowsByProject(project string) iter.Seq[*Row[model.SecurityGroupRule]] {
	return r.t.rules.byProject.all(project)
}

// SecurityGroupRulesByGroup yields the rules of a security group.
func (r Reader) SecurityGroupRulesByGroup(id model.SecurityGroupID) iter.Seq[*model.SecurityGroupRule] {
	return objects(r.SecurityGroupRuleRowsByGroup(id))
}

// SecurityGroupRuleRowsByGroup yields the rows of the rules of a security
// group.
func (r Reader) SecurityGroupRuleRowsByGroup(id model.SecurityGroupID) iter.Seq[*Row[model.SecurityGroupRule]] {
	return r.t.rules.byGroup.all(id)
}

// SecurityGroupRulesByRemoteGroup yields the rules whose peers are the members
// of a security group.
func (r Reader) SecurityGroupRulesByRemoteGroup(id model.SecurityGroupID) iter.Seq[*model.SecurityGroupRule] {
	return objects(r.t.rules.byRemoteGroup.all(id))
}

// SecurityGroupRulesByAddressGroup yields the rules whose peers are the addresses of an address group.
func (r Reader) SecurityGroupRulesByAddressGroup(id model.AddressGroupID) iter.Seq[*model.SecurityGroupRule] {
	return objects(r.t.rules.byAddresses.all(id))
}

// SecurityGroupRuleCount tells how many rules a project owns.
func (r Reader) SecurityGroupRuleCount(project string) int { return r.t.rules.byProject.count(project) }

// PutSecurityGroupRule inserts a rule, or replaces the one of the same id. The
// transaction owns it from now on.
func (tx *Tx) PutSecurityGroupRule(g *model.SecurityGroupRule) { tx.record(put(&tx.t.rules, g)) }

// DeleteSecurityGroupRule deletes a rule; deleting what is absent does nothing.
func (tx *Tx) DeleteSecurityGroupRule(id model.SecurityGroupRuleID) {
	tx.record(drop(&tx.t.rules, id))
}
