package store

import (
	"fmt"
	"strings"

	"weft/internal/model"
	"weft/internal/server/journal"
)

// table is what is the same in all tables: rows by primary key, and how they
// are named in the journal. A table embeds it and adds its indexes.
type table[K comparable, T any] struct {
	kind *kind[K, T]
	rows index[K, T]
}

// kind is what is known of a table beside its rows. It never changes.
type kind[K comparable, T any] struct {
	name   string // part of the keys in the journal: never rename
	schema int    // of its rows: grows when a field's meaning changes
	key    func(obj *T) K
	uuid   func(key K) model.UUID // zero for keys that are names
	text   func(key K) string     // last part of the key in the journal
}

func newTable[K comparable, T any](e *epoch, text func(K) string, k kind[K, T]) table[K, T] {
	return table[K, T]{
		kind: &k,
		rows: newIndex(e, text, func(obj *T, to []K) []K { return append(to, k.key(obj)) }),
	}
}

// uuidKind is the kind of a table that is keyed by a typed id.
func uuidKind[K ~struct{ model.UUID }, T any](name string, key func(obj *T) K) kind[K, T] {
	return kind[K, T]{
		name: name, schema: 1, key: key,
		uuid: func(k K) model.UUID { return struct{ model.UUID }(k).UUID },
		text: func(k K) string { return struct{ model.UUID }(k).UUID.String() },
	}
}

// nameKind is the kind of a table that is keyed by a name.
func nameKind[T any](name string, key func(obj *T) string) kind[string, T] {
	return kind[string, T]{
		name: name, schema: 1, key: key,
		uuid: func(string) model.UUID { return model.UUID{} },
		text: func(k string) string { return k },
	}
}

func (k *kind[K, T]) row(obj *T) *Row[T] { return &Row[T]{id: k.uuid(k.key(obj)), Obj: obj} }

func (k *kind[K, T]) journalKey(key K) string { return journal.Prefix + k.name + "/" + k.text(key) }

// get returns the row of a primary key, nil when there is none.
func (t *table[K, T]) get(key K) *Row[T] { return t.rows.first(key) }

func (t *table[K, T]) base() *table[K, T] { return t }

// typed is a table as a transaction sees it.
type typed[K comparable, T any] interface {
	base() *table[K, T]
	indexes() []indexer[T] // all of them, the primary one too
}

// edit is one change of a transaction, of a table of any type.
type edit interface {
	journalKey() string
	encode() ([]byte, error) // nil for a delete
	change() Change
	undo()
}

type rowEdit[K comparable, T any] struct {
	table         typed[K, T]
	key           K
	before, after *Row[T] // nil when absent
}

// put inserts or replaces an object and returns the edit that did.
func put[K comparable, T any](t typed[K, T], obj *T) edit {
	b := t.base()
	e := &rowEdit[K, T]{table: t, key: b.kind.key(obj), after: b.kind.row(obj)}
	e.before = b.get(e.key)
	e.apply(e.before, e.after)
	return e
}

// drop deletes an object and returns the edit that did, nil when there is none.
func drop[K comparable, T any](t typed[K, T], key K) edit {
	e := &rowEdit[K, T]{table: t, key: key, before: t.base().get(key)}
	if e.before == nil {
		return nil
	}
	e.apply(e.before, nil)
	return e
}

func (e *rowEdit[K, T]) apply(before, after *Row[T]) {
	indexes := e.table.indexes()
	if after != nil {
		n := 0
		for _, x := range indexes {
			n += x.entries(after.Obj)
		}
		after.reserve(n)
	}
	for _, x := range indexes {
		x.replace(before, after)
	}
}

func (e *rowEdit[K, T]) undo() { e.apply(e.after, e.before) }

func (e *rowEdit[K, T]) journalKey() string { return e.table.base().kind.journalKey(e.key) }

func (e *rowEdit[K, T]) encode() ([]byte, error) {
	if e.after == nil {
		return nil, nil
	}
	return encodeRow(e.table.base().kind.schema, e.after.Obj)
}

func (e *rowEdit[K, T]) change() Change {
	var c Change
	if e.before != nil {
		c.Before = e.before.Obj
	}
	if e.after != nil {
		c.After = e.after.Obj
	}
	return c
}

// loader takes the rows of one table from the journal.
type loader interface {
	// decode turns entries into rows; it may run beside other calls of itself.
	// The result is for fill.
	decode(entries []journal.Entry) (any, error)
	// fill puts decoded rows into the empty indexes, each index in a call of spawn.
	fill(decoded []any, spawn func(func()))
}

type tableLoader[K comparable, T any] struct{ table typed[K, T] }

func (l tableLoader[K, T]) decode(entries []journal.Entry) (any, error) {
	k := l.table.base().kind
	rows := make([]*Row[T], 0, len(entries))
	for _, e := range entries {
		obj := new(T)
		if err := decodeRow(k.schema, e.Value, obj); err != nil {
			return nil, fmt.Errorf("decoding row %s: %w", e.Key, err)
		}
		if want := k.journalKey(k.key(obj)); want != e.Key {
			return nil, fmt.Errorf("decoding row %s: its value is that of %s", e.Key, strings.TrimPrefix(want, journal.Prefix))
		}
		rows = append(rows, k.row(obj))
	}
	return rows, nil
}

func (l tableLoader[K, T]) fill(decoded []any, spawn func(func())) {
	var rows []*Row[T]
	for _, part := range decoded {
		rows = append(rows, part.([]*Row[T])...)
	}
	for _, x := range l.table.indexes() {
		spawn(func() { x.fill(rows) })
	}
}
