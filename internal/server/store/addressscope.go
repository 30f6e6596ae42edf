package store

import (
	"iter"

	"weft/internal/model"
)

type scopeTable struct {
	table[model.AddressScopeID, model.AddressScope]
	byProject index[string, model.AddressScope]
	byName    index[string, model.AddressScope]
	shared    index[struct{}, model.AddressScope]
}

func newScopeTable(e *epoch) scopeTable {
	meta := func(s *model.AddressScope) *model.Meta { return &s.Meta }
	return scopeTable{
		table:     newTable(e, byUUID[model.AddressScopeID], uuidKind("address_scope", func(s *model.AddressScope) model.AddressScopeID { return s.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byName:    newIndex(e, byText, nameOf(meta)),
		shared:    newFlag(e, func(s *model.AddressScope) bool { return s.Shared }),
	}
}

func (t *scopeTable) indexes() []indexer[model.AddressScope] {
	return []indexer[model.AddressScope]{&t.rows, &t.byProject, &t.byName, &t.shared}
}

// AddressScope returns an address scope, nil when there is none of that id.
func (r Reader) AddressScope(id model.AddressScopeID) *model.AddressScope {
	return object(r.AddressScopeRow(id))
}

// AddressScopeRow returns the row of an address scope, nil when there is none of that id.
func (r Reader) AddressScopeRow(id model.AddressScopeID) *Row[model.AddressScope] {
	return r.t.scopes.get(id)
}

// AddressScopeRows yields the rows of all address scopes.
func (r Reader) AddressScopeRows() iter.Seq[*Row[model.AddressScope]] { return r.t.scopes.rows.every() }

// AddressScopeRowsByProject yields the rows of the address scopes that a project owns.
func (r Reader) AddressScopeRowsByProject(project string) iter.Seq[*Row[model.AddressScope]] {
	return r.t.scopes.byProject.all(project)
}

// AddressScopeRowsByName yields the rows of the address scopes of a name, of any project.
func (r Reader) AddressScopeRowsByName(name string) iter.Seq[*Row[model.AddressScope]] {
	return r.t.scopes.byName.all(name)
}

// SharedAddressScopeRows yields the rows of the address scopes that every project may use.
func (r Reader) SharedAddressScopeRows() iter.Seq[*Row[model.AddressScope]] {
	return r.t.scopes.shared.all(struct{}{})
}

// PutAddressScope inserts an address scope, or replaces the one of the same id. The transaction
// owns it from now on.
func (tx *Tx) PutAddressScope(s *model.AddressScope) { tx.record(put(&tx.t.scopes, s)) }

// DeleteAddressScope deletes an address scope; deleting what is absent does nothing.
func (tx *Tx) DeleteAddressScope(id model.AddressScopeID) { tx.record(drop(&tx.t.scopes, id)) }
