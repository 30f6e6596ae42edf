package store

import (
	"iter"

	"weft/internal/model"
)

type addressGroupTable struct {
	table[model.AddressGroupID, model.AddressGroup]
	byProject index[string, model.AddressGroup]
	byName    index[string, model.AddressGroup]
}

func newAddressGroupTable(e *epoch) addressGroupTable {
	meta := func(g *model.AddressGroup) *model.Meta { return &g.Meta }
	return addressGroupTable{
		table:     newTable(e, byUUID[model.AddressGroupID], uuidKind("address_group", func(g *model.AddressGroup) model.AddressGroupID { return g.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byName:    newIndex(e, byText, nameOf(meta)),
	}
}

func (t *addressGroupTable) indexes() []indexer[model.AddressGroup] {
	return []indexer[model.AddressGroup]{&t.rows, &t.byProject, &t.byName}
}

// AddressGroup returns an address group, nil when there is none of that id.
func (r Reader) AddressGroup(id model.AddressGroupID) *model.AddressGroup {
	return object(r.AddressGroupRow(id))
}

// AddressGroupRow returns the row of an address group, nil when there is none of that id.
func (r Reader) AddressGroupRow(id model.AddressGroupID) *Row[model.AddressGroup] {
	return r.t.addressGroups.get(id)
}

// AddressGroupRows yields the rows of all address groups.
func (r Reader) AddressGroupRows() iter.Seq[*Row[model.AddressGroup]] {
	return r.t.addressGroups.rows.every()
}

// AddressGroupRowsByProject yields the rows of the address groups that a project owns.
func (r Reader) AddressGroupRowsByProject(project string) iter.Seq[*Row[model.AddressGroup]] {
	return r.t.addressGroups.byProject.all(project)
}

// AddressGroupRowsByName yields the rows of the address groups of a name, of any project.
func (r Reader) AddressGroupRowsByName(name string) iter.Seq[*Row[model.AddressGroup]] {
	return r.t.addressGroups.byName.all(name)
}

// PutAddressGroup inserts an address group, or replaces the one of the same id. The transaction
// owns it from now on.
func (tx *Tx) PutAddressGroup(g *model.AddressGroup) { tx.record(put(&tx.t.addressGroups, g)) }

// DeleteAddressGroup deletes an address group; deleting what is absent does nothing.
func (tx *Tx) DeleteAddressGroup(id model.AddressGroupID) { tx.record(drop(&tx.t.addressGroups, id)) }
