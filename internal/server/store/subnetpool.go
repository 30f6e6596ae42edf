package store

import (
	"iter"

	"weft/internal/model"
)

type poolTable struct {
	table[model.SubnetPoolID, model.SubnetPool]
	byProject index[string, model.SubnetPool]
	byName    index[string, model.SubnetPool]
	byScope   index[model.AddressScopeID, model.SubnetPool]
	shared    index[struct{}, model.SubnetPool]
	standard  index[struct{}, model.SubnetPool]
}

func newPoolTable(e *epoch) poolTable {
	meta := func(p *model.SubnetPool) *model.Meta { return &p.Meta }
	return poolTable{
		table:     newTable(e, byUUID[model.SubnetPoolID], uuidKind("subnet_pool", func(p *model.SubnetPool) model.SubnetPoolID { return p.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byName:    newIndex(e, byText, nameOf(meta)),
		byScope: newIndex(e, byUUID[model.AddressScopeID], func(p *model.SubnetPool, to []model.AddressScopeID) []model.AddressScopeID {
			if !p.AddressScopeID.IsZero() {
				to = append(to, p.AddressScopeID)
			}
			return to
		}),
		shared:   newFlag(e, func(p *model.SubnetPool) bool { return p.Shared }),
		standard: newFlag(e, func(p *model.SubnetPool) bool { return p.IsDefault }),
	}
}

func (t *poolTable) indexes() []indexer[model.SubnetPool] {
	return []indexer[model.SubnetPool]{&t.rows, &t.byProject, &t.byName, &t.byScope, &t.shared, &t.standard}
}

// SubnetPool returns a subnet pool, nil when there is none of that id.
func (r Reader) SubnetPool(id model.SubnetPoolID) *model.SubnetPool {
	return object(r.SubnetPoolRow(id))
}

// SubnetPoolRow returns the row of a subnet pool, nil when there is none of that id.
func (r Reader) SubnetPoolRow(id model.SubnetPoolID) *Row[model.SubnetPool] {
	return r.t.pools.get(id)
}

// SubnetPoolRows yields the rows of all subnet pools.
func (r Reader) SubnetPoolRows() iter.Seq[*Row[model.SubnetPool]] { return r.t.pools.rows.every() }

// SubnetPoolRowsByProject yields the rows of the subnet pools that a project owns.
func (r Reader) SubnetPoolRowsByProject(project string) iter.Seq[*Row[model.SubnetPool]] {
	return r.t.pools.byProject.all(project)
}

// SubnetPoolRowsByName yields the rows of the subnet pools of a name, of any project.
func (r Reader) SubnetPoolRowsByName(name string) iter.Seq[*Row[model.SubnetPool]] {
	return r.t.pools.byName.all(name)
}

// SubnetPoolRowsByScope yields the rows of the subnet pools in an address scope.
func (r Reader) SubnetPoolRowsByScope(id model.AddressScopeID) iter.Seq[*Row[model.SubnetPool]] {
	return r.t.pools.byScope.all(id)
}

// SubnetPoolsByScope yields the subnet pools in an address scope.
func (r Reader) SubnetPoolsByScope(id model.AddressScopeID) iter.Seq[*model.SubnetPool] {
	return objects(r.SubnetPoolRowsByScope(id))
}

// SharedSubnetPoolRows yields the rows of the subnet pools that every project may use.
func (r Reader) SharedSubnetPoolRows() iter.Seq[*Row[model.SubnetPool]] {
	return r.t.pools.shared.all(struct{}{})
}

// DefaultSubnetPools yields the default subnet pools, at most one of a family.
func (r Reader) DefaultSubnetPools() iter.Seq[*model.SubnetPool] {
	return objects(r.t.pools.standard.all(struct{}{}))
}

// SubnetPoolCount tells how many subnet pools a project owns.
func (r Reader) SubnetPoolCount(project string) int { return r.t.pools.byProject.count(project) }

// NetworkScope returns the address scope that the subnets of a network of an IP version are in, zero for
// none. It is that of their pools.
func (r Reader) NetworkScope(id model.NetworkID, version int) model.AddressScopeID {
	for s := range r.SubnetsByNetwork(id) {
		if p := r.SubnetPool(s.SubnetPoolID); p != nil && s.IPVersion() == version {
			return p.AddressScopeID
		}
	}
	return model.AddressScopeID{}
}

// PutSubnetPool inserts a subnet pool, or replaces the one of the same id. The transaction owns it
// from now on.
func (tx *Tx) PutSubnetPool(p *model.SubnetPool) { tx.record(put(&tx.t.pools, p)) }

// DeleteSubnetPool deletes a subnet pool; deleting what is absent does nothing.
func (tx *Tx) DeleteSubnetPool(id model.SubnetPoolID) { tx.record(drop(&tx.t.pools, id)) }
