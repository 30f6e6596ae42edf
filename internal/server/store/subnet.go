package store

import (
	"iter"

	"weft/internal/model"
)

type subnetTable struct {
	table[model.SubnetID, model.Subnet]
	byProject index[string, model.Subnet]
	byName    index[string, model.Subnet]
	byNetwork index[model.NetworkID, model.Subnet]
	byPool    index[model.SubnetPoolID, model.Subnet]
	byShare   index[poolShare, model.Subnet]
	free      freeBlocks
}

// poolShare is the blocks of a size that a project has of a pool.
type poolShare struct {
	pool    model.SubnetPoolID
	project string
	bits    int
}

func (k poolShare) text() string { return byUUID(k.pool) + string(rune(k.bits)) + k.project }

func newSubnetTable(e *epoch) subnetTable {
	meta := func(s *model.Subnet) *model.Meta { return &s.Meta }
	return subnetTable{
		table: newTable(e, byUUID[model.SubnetID], uuidKind("subnet",
			func(s *model.Subnet) model.SubnetID { return s.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byName:    newIndex(e, byText, nameOf(meta)),
		byNetwork: newIndex(e, byUUID[model.NetworkID], func(s *model.Subnet, to []model.NetworkID) []model.NetworkID {
			return append(to, s.NetworkID)
		}),
		byPool: newIndex(e, byUUID[model.SubnetPoolID], func(s *model.Subnet, to []model.SubnetPoolID) []model.SubnetPoolID {
			if !s.SubnetPoolID.IsZero() {
				to = append(to, s.SubnetPoolID)
			}
			return to
		}),
		free: newFreeBlocks(e),
		byShare: newIndex(e, poolShare.text, func(s *model.Subnet, to []poolShare) []poolShare {
			if !s.SubnetPoolID.IsZero() {
				to = append(to, poolShare{s.SubnetPoolID, s.ProjectID, s.CIDR.Bits()})
			}
			return to
		}),
	}
}

func (t *subnetTable) indexes() []indexer[model.Subnet] {
	return []indexer[model.Subnet]{&t.rows, &t.byProject, &t.byName, &t.byNetwork, &t.byPool, &t.free, &t.byShare}
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

// SubnetsByPool yields the subnets of a subnet pool.
func (r Reader) SubnetsByPool(id model.SubnetPoolID) iter.Seq[*model.Subnet] {
	return objects(r.SubnetRowsByPool(id))
}

// SubnetRowsByPool yields the rows of the subnets of a subnet pool.
func (r Reader) SubnetRowsByPool(id model.SubnetPoolID) iter.Seq[*Row[model.Subnet]] {
	return r.t.subnets.byPool.all(id)
}

// SubnetCountByPool tells how many subnets of a prefix length a project has of a pool.
func (r Reader) SubnetCountByPool(id model.SubnetPoolID, project string, bits int) int {
	return r.t.subnets.byShare.count(poolShare{id, project, bits})
}

// SubnetsByName yields the subnets of a name, of any project.
func (r Reader) SubnetsByName(name string) iter.Seq[*model.Subnet] {
	return objects(r.t.subnets.byName.all(name))
}

// SubnetCount tells how many subnets a project owns.
func (r Reader) SubnetCount(project string) int { return r.t.subnets.byProject.count(project) }

// PutSubnet inserts a subnet, or replaces the one of the same id. The
// transaction owns it from now on.
func (tx *Tx) PutSubnet(s *model.Subnet) { tx.record(put(&tx.t.subnets, s)) }

// DeleteSubnet deletes a subnet; deleting what is absent does nothing.
func (tx *Tx) DeleteSubnet(id model.SubnetID) { tx.record(drop(&tx.t.subnets, id)) }
