package store

import (
	"bytes"
	"iter"
	"slices"

	"github.com/tidwall/btree"
)

// degree of all trees. Small nodes make a write copy less (a batch copies the
// path to each changed entry), large ones make reads touch fewer; measured in ADR 1.
const degree = 16

// indexer is what a table does to its indexes, whatever they are keyed by.
type indexer[T any] interface {
	// replace makes the index follow a change; before or after may be nil.
	replace(before, after *Row[T])
	// fill loads rows into an empty index.
	fill(rows []*Row[T])
	// fork makes a copied index independent of the one that it was copied from.
	fork()
}

// index orders rows by the keys that each of them has: none, one, or several.
// Rows of equal key are in the order of their ids.
//
// Copying the struct and forking the copy gives a snapshot: the trees share
// nodes and copy them on write.
//
// Keys are typed outside and text within (keys.go), so that all indexes are trees of one
// type: a tree of its own for each pair of key and object would be compiled anew in each
// package that reads the store.
type index[K comparable, T any] struct {
	tree *btree.BTreeG[entry]
	text func(K) string
	keys func(obj *T, to []K) []K // appends the keys of an object
	mods uint64                   // grows with every change, so that a running scan notices
}

type entry struct {
	key string
	row *head // nil in a pivot: before all rows of the key
}

func less(a, b entry) bool {
	if a.key != b.key {
		return a.key < b.key
	}
	switch {
	case a.row == b.row || b.row == nil:
		return false
	case a.row == nil:
		return true
	}
	return bytes.Compare(a.row.id[:], b.row.id[:]) < 0
}

// newIndex returns an empty index; text makes keys comparable, see keys.go.
func newIndex[K comparable, T any](text func(K) string, keys func(obj *T, to []K) []K) index[K, T] {
	return index[K, T]{tree: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: degree}), text: text, keys: keys}
}

// texts appends the keys of an object, as they are in the tree.
func (x *index[K, T]) texts(obj *T, to []string) []string {
	var buf [4]K
	for _, k := range x.keys(obj, buf[:0]) {
		to = append(to, x.text(k))
	}
	return to
}

func (x *index[K, T]) replace(before, after *Row[T]) {
	var oldBuf, newBuf [4]string
	old, now := oldBuf[:0], newBuf[:0]
	if after != nil {
		now = x.texts(after.Obj, now)
	}
	if before != nil {
		old = x.texts(before.Obj, old)
	}
	for _, k := range old {
		if !slices.Contains(now, k) {
			x.tree.Delete(entry{k, &before.head})
		}
	}
	for _, k := range now {
		x.tree.Set(entry{k, &after.head})
	}
	x.mods++
}

func (x *index[K, T]) fill(rows []*Row[T]) {
	entries := make([]entry, 0, len(rows))
	var buf [4]string
	for _, row := range rows {
		for _, k := range x.texts(row.Obj, buf[:0]) {
			entries = append(entries, entry{k, &row.head})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		switch {
		case less(a, b):
			return -1
		case less(b, a):
			return 1
		}
		return 0
	})
	for _, e := range entries {
		x.tree.Load(e) // appends in order without searching
	}
	x.mods++
}

func (x *index[K, T]) fork() { x.tree = x.tree.Copy() }

// first returns the first row of a key, nil when there is none.
func (x *index[K, T]) first(key K) *Row[T] {
	var found *head
	text := x.text(key)
	x.tree.Ascend(entry{key: text}, func(e entry) bool {
		if e.key == text {
			found = e.row
		}
		return false
	})
	return rowOf[T](found)
}

// all yields the rows of a key in order of their ids.
func (x *index[K, T]) all(key K) iter.Seq[*Row[T]] {
	return func(yield func(*Row[T]) bool) {
		text := x.text(key)
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
		at, again := entry{key: key}, true
		for again {
			again = false
			pivot, mods := at, x.mods
			x.tree.Ascend(pivot, func(e entry) bool {
				if pivot.row != nil && !less(pivot, e) {
					return true // where the last pass ended
				}
				if !yield(e.key, rowOf[T](e.row)) {
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

// counter tells how many keys of a value there are, without counting.
type counter[K comparable, T any] struct {
	tree *btree.BTreeG[count]
	text func(K) string
	keys func(obj *T, to []K) []K
}

type count struct {
	key string
	n   int
}

func newCounter[K comparable, T any](text func(K) string, keys func(obj *T, to []K) []K) counter[K, T] {
	return counter[K, T]{
		tree: btree.NewBTreeGOptions(func(a, b count) bool { return a.key < b.key }, btree.Options{NoLocks: true, Degree: degree}),
		text: text, keys: keys,
	}
}

func (c *counter[K, T]) replace(before, after *Row[T]) {
	var oldBuf, newBuf [4]K
	old, now := oldBuf[:0], newBuf[:0]
	if before != nil {
		old = c.keys(before.Obj, old)
	}
	if after != nil {
		now = c.keys(after.Obj, now)
	}
	if slices.Equal(old, now) {
		return
	}
	for _, k := range old {
		c.add(k, -1)
	}
	for _, k := range now {
		c.add(k, 1)
	}
}

func (c *counter[K, T]) add(key K, d int) {
	k := c.text(key)
	e, _ := c.tree.Get(count{key: k})
	if e.n+d == 0 {
		c.tree.Delete(count{key: k})
		return
	}
	c.tree.Set(count{k, e.n + d})
}

func (c *counter[K, T]) fill(rows []*Row[T]) {
	sums := map[K]int{}
	var buf [4]K
	for _, row := range rows {
		for _, k := range c.keys(row.Obj, buf[:0]) {
			sums[k]++
		}
	}
	for k, n := range sums {
		c.tree.Set(count{c.text(k), n})
	}
}

func (c *counter[K, T]) fork() { c.tree = c.tree.Copy() }

func (c *counter[K, T]) of(key K) int {
	e, _ := c.tree.Get(count{key: c.text(key)})
	return e.n
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
