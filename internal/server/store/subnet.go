package store

import (
	"iter"

	"weft/internal/model"
)

type subnetTable struct {
	table[model.SubnetID, model.Subnet]
	byProject  index[string, model.Subnet]
	byName     index[string, model.Subnet]
	byNetwork  index[model.NetworkID, model.Subnet]
	perProject counter[string, model.Subnet]
}

func newSubnetTable() subnetTable {
	meta := func(s *model.Subnet) *model.Meta { return &s.Meta }
	return subnetTable{
		table: newTable(byUUID[model.SubnetID], uuidKind("subnet",
			func(s *model.Subnet) model.SubnetID { return s.ID })),
		byProject: newIndex(byText, projectOf(meta)),
		byName:    newIndex(byText, nameOf(meta)),
		byNetwork: newIndex(byUUID[model.NetworkID], func(s *model.Subnet, to []model.NetworkID) []model.NetworkID {
			return append(to, s.NetworkID)
		}),
		perProject: newCounter(byText, projectOf(meta)),
	}
}

func (t *subnetTable) indexes() []indexer[model.Subnet] {
	return []indexer[model.Subnet]{&t.rows, &t.byProject, &t.byName, &t.byNetwork, &t.perProject}
}

// Subnet returns a subnet, nil when there is none of that id.
func (r Reader) Subnet(id model.SubnetID) *model.Subnet { return object(r.SubnetRow(id)) }

// SubnetRow returns the row of a subnet, nil when there is none of that id.
func (r Reader) SubnetRow(id model.SubnetID) *Row[model.Subnet] { return r.t.subnets.get(id) }

// Subnets yields all subnets.
func (r Reader) Subnets() iter.Seq[*model.Subnet] { return objects(r.SubnetRows()) }

// SubnetRows yields the rows of all subnets.
func (r Reader) SubnetRows() iter.Seq[*Row[model.Subnet]] { return r.t.subnets.rows.every() }

// SubnetsByProject yields the subnets that a project owns.
func (r Reader) SubnetsByProject(project string) iter.Seq[*model.Subnet] {
	return objects(r.SubnetRowsByProject(project))
}

// SubnetRowsByProject yields the rows of the subnets that a project owns.
func (r Reader) SubnetRowsByProject(project string) iter.Seq[*Row[model.Subnet]] {
	return r.t.subnets.byProject.all(project)
}

// SubnetsByNetwork yields the subnets of a network.
func (r Reader) SubnetsByNetwork(id model.NetworkID) iter.Seq[*model.Subnet] {
	return objects(r.t.subnets.byNetwork.all(id))
}

// SubnetsByName yields the subnets of a name, of any project.
func (r Reader) SubnetsByName(name string) iter.Seq[*model.Subnet] {
	return objects(r.t.subnets.byName.all(name))
}

// SubnetCount tells how many subnets a project owns.
func (r Reader) SubnetCount(project string) int { return r.t.subnets.perProject.of(project) }

// PutSubnet inserts a subnet, or replaces the one of the same id. The
// transaction owns it from now on.
func (tx *Tx) PutSubnet(s *model.Subnet) { tx.record(put(&tx.t.subnets, s)) }

// DeleteSubnet deletes a subnet; deleting what is absent does nothing.
func (tx *Tx) DeleteSubnet(id model.SubnetID) { tx.record(drop(&tx.t.subnets, id)) }
