package store

import (
	"sync/atomic"

	"weft/internal/model"
)

// Row is an object in a table, with room for one encoding of it. A changed
// object is a new row.
type Row[T any] struct {
	id   model.UUID // zero in tables keyed by a name
	Obj  *T         // immutable
	memo atomic.Pointer[memo]

	// Room for the row's entries, the writer's alone: what is in a tree already is never given out again. The first
	// is that of the primary key, which is read most, and with it the row.
	first entry
	room  []entry
}

// reserve makes room for a number of entries, of which the row has the first.
func (r *Row[T]) reserve(n int) { r.room = make([]entry, 0, max(n-1, 0)) }

// entry returns a new entry of the row.
func (r *Row[T]) entry(key string) *entry {
	e := &r.first
	switch {
	case e.row == nil:
	case len(r.room) < cap(r.room):
		r.room = r.room[:len(r.room)+1]
		e = &r.room[len(r.room)-1]
	default:
		e = new(entry)
	}
	*e = entry{key, r.id, r}
	return e
}

type memo struct {
	dep  any
	body []byte
}

// Memo returns the bytes that build made when it was last called with this
// dep, and calls it when there are none. dep is what the bytes depend on beside
// the object, compared by ==: it must be comparable, and immutable if it is a pointer.
// The bytes are shared: the caller must not change them. Callers at the same
// time may each build; all of them get right bytes.
func (r *Row[T]) Memo(dep any, build func() []byte) []byte {
	if m := r.memo.Load(); m != nil && m.dep == dep {
		return m.body
	}
	m := &memo{dep: dep, body: build()}
	r.memo.Store(m)
	return m.body
}
