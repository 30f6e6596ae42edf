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
