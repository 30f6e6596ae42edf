package store

import (
	"iter"
	"slices"
)

// indexer is what a table does to its indexes, whatever they are keyed by.
type indexer[T any] interface {
	// replace makes the index follow a change; before or after may be nil.
	replace(before, after *Row[T])
	// entries tells how many entries of its row an object needs.
	entries(obj *T) int
	// fill loads rows into an empty index.
	fill(rows []*Row[T])
}

// index orders rows by the keys that each of them has: none, one, or several.
// Rows of equal key are in the order of their ids.
//
// Keys are typed outside and text within (keys.go), so that all trees are of one type: a tree of its own
// for each pair of key and object would be compiled anew in each package that reads the store.
type index[K comparable, T any] struct {
	tree tree
	spec *spec[K, T]
	mods uint64 // grows with every change, so that a running scan notices
}

// spec is what is the same in an index and its copies.
type spec[K comparable, T any] struct {
	text func(K) string
	keys func(obj *T, to []K) []K // appends the keys of an object

	typed    []K      // room for those of one object
	old, now []string // the same, for replace alone
}

// newIndex returns an empty index; text makes keys comparable, see keys.go.
func newIndex[K comparable, T any](e *epoch, text func(K) string, keys func(obj *T, to []K) []K) index[K, T] {
	return index[K, T]{tree: tree{epoch: e}, spec: &spec[K, T]{text: text, keys: keys}}
}

// texts appends the keys of an object, as they are in the tree.
func (s *spec[K, T]) texts(obj *T, to []string) []string {
	s.typed = s.keys(obj, s.typed[:0])
	for _, k := range s.typed {
		to = append(to, s.text(k))
	}
	return to
}

func (x *index[K, T]) replace(before, after *Row[T]) {
	old, now := x.spec.old[:0], x.spec.now[:0]
	if after != nil {
		now = x.spec.texts(after.Obj, now)
	}
	if before != nil {
		old = x.spec.texts(before.Obj, old)
	}
	for _, k := range old {
		if !slices.Contains(now, k) {
			x.tree.delete(&entry{key: k, id: before.id})
		}
	}
	for _, k := range now {
		x.tree.set(after.entry(k))
	}
	x.spec.old, x.spec.now = old, now
	x.mods++
}

func (x *index[K, T]) entries(obj *T) int {
	x.spec.typed = x.spec.keys(obj, x.spec.typed[:0])
	return len(x.spec.typed)
}

func (x *index[K, T]) fill(rows []*Row[T]) {
	entries := make([]*entry, 0, len(rows))
	var buf [4]string
	for _, row := range rows {
		for _, k := range x.spec.texts(row.Obj, buf[:0]) {
			entries = append(entries, &entry{k, row.id, row})
		}
	}
	slices.SortFunc(entries, (*entry).compare)
	for i := 1; i < len(entries); i++ {
		if entries[i].key == entries[i-1].key {
			entries[i].key = entries[i-1].key // see shareKey
		}
	}
	x.tree.build(slices.CompactFunc(entries, func(a, b *entry) bool { return a.compare(b) == 0 }))
	x.mods++
}

// first returns the first row of a key, nil when there is none.
func (x *index[K, T]) first(key K) *Row[T] {
	text := x.spec.text(key)
	if e := x.tree.first(&entry{key: text}); e != nil && e.key == text {
		return e.row.(*Row[T])
	}
	return nil
}

// count tells how many rows have a key, without counting them.
func (x *index[K, T]) count(key K) int {
	text := x.spec.text(key)
	return x.between(text, text+"\x00")
}

// between counts the entries from one key, as it is in the tree, to before another.
func (x *index[K, T]) between(from, to string) int {
	return x.tree.before(&entry{key: to}) - x.tree.before(&entry{key: from})
}

// all yields the rows of a key in order of their ids.
func (x *index[K, T]) all(key K) iter.Seq[*Row[T]] {
	return func(yield func(*Row[T]) bool) {
		text := x.spec.text(key)
		for k, row := range x.from(text) {
			if k != text || !yield(row) {
				return
			}
		}
	}
}

// every yields all rows in the order of the keys.
func (x *index[K, T]) every() iter.Seq[*Row[T]] {
	return func(yield func(*Row[T]) bool) {
		for _, row := range x.from("") {
			if !yield(row) {
				return
			}
		}
	}
}

// from yields keys, as they are in the tree, and rows in order, beginning with the first that is not
// before key. In a transaction the body of the loop may change the table: the
// scan then goes on behind the row it is at, in the changed index.
func (x *index[K, T]) from(key string) iter.Seq2[string, *Row[T]] {
	return func(yield func(string, *Row[T]) bool) {
		at, again := &entry{key: key}, true
		for again {
			again = false
			pivot, mods := at, x.mods
			x.tree.ascend(pivot, func(e *entry) bool {
				if pivot.row != nil && pivot.compare(e) >= 0 {
					return true // where the last pass ended
				}
				if !yield(e.key, e.row.(*Row[T])) {
					return false
				}
				if x.mods != mods {
					at, again = e, true
				}
				return !again
			})
		}
	}
}

// objects turns rows into what they hold.
func objects[T any](rows iter.Seq[*Row[T]]) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for row := range rows {
			if !yield(row.Obj) {
				return
			}
		}
	}
}

// object is what a row holds, nil for no row.
func object[T any](row *Row[T]) *T {
	if row == nil {
		return nil
	}
	return row.Obj
}
