package store

import (
	"bytes"
	"iter"
	"slices"

	"github.com/tidwall/btree"

	"weft/internal/model"
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
type index[K comparable, T any] struct {
	tree *btree.BTreeG[entry[K, T]]
	keys func(obj *T, to []K) []K // appends the keys of an object
	mods uint64                   // grows with every change, so that a running scan notices
}

type entry[K comparable, T any] struct {
	key K
	row *Row[T] // nil in a pivot: before all rows of the key
}

func newIndex[K comparable, T any](compare func(a, b K) int, keys func(obj *T, to []K) []K) index[K, T] {
	less := func(a, b entry[K, T]) bool {
		if c := compare(a.key, b.key); c != 0 {
			return c < 0
		}
		switch {
		case a.row == b.row || b.row == nil:
			return false
		case a.row == nil:
			return true
		}
		return bytes.Compare(a.row.id[:], b.row.id[:]) < 0
	}
	return index[K, T]{
		tree: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: degree}),
		keys: keys,
	}
}

func (x *index[K, T]) replace(before, after *Row[T]) {
	var oldBuf, newBuf [4]K
	old, now := oldBuf[:0], newBuf[:0]
	if after != nil {
		now = x.keys(after.Obj, now)
	}
	if before != nil {
		old = x.keys(before.Obj, old)
	}
	for _, k := range old {
		if !slices.Contains(now, k) {
			x.tree.Delete(entry[K, T]{k, before})
		}
	}
	for _, k := range now {
		x.tree.Set(entry[K, T]{k, after})
	}
	x.mods++
}

func (x *index[K, T]) fill(rows []*Row[T]) {
	entries := make([]entry[K, T], 0, len(rows))
	var buf [4]K
	for _, row := range rows {
		for _, k := range x.keys(row.Obj, buf[:0]) {
			entries = append(entries, entry[K, T]{k, row})
		}
	}
	slices.SortFunc(entries, func(a, b entry[K, T]) int {
		switch {
		case x.tree.Less(a, b):
			return -1
		case x.tree.Less(b, a):
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
	var found *Row[T]
	x.tree.Ascend(entry[K, T]{key: key}, func(e entry[K, T]) bool {
		if e.key == key {
			found = e.row
		}
		return false
	})
	return found
}

// all yields the rows of a key in order of their ids.
func (x *index[K, T]) all(key K) iter.Seq[*Row[T]] {
	return func(yield func(*Row[T]) bool) {
		for k, row := range x.from(key) {
			if k != key || !yield(row) {
				return
			}
		}
	}
}

// every yields all rows in the order of the keys.
func (x *index[K, T]) every() iter.Seq[*Row[T]] {
	return func(yield func(*Row[T]) bool) {
		if first, ok := x.tree.Min(); ok {
			for _, row := range x.from(first.key) {
				if !yield(row) {
					return
				}
			}
		}
	}
}

// from yields keys and rows in order, beginning with the first that is not
// before key. In a transaction the body of the loop may change the table: the
// scan then goes on behind the row it is at, in the changed index.
func (x *index[K, T]) from(key K) iter.Seq2[K, *Row[T]] {
	return func(yield func(K, *Row[T]) bool) {
		at, again := entry[K, T]{key: key}, true
		for again {
			again = false
			pivot, mods := at, x.mods
			x.tree.Ascend(pivot, func(e entry[K, T]) bool {
				if pivot.row != nil && !x.tree.Less(pivot, e) {
					return true // where the last pass ended
				}
				if !yield(e.key, e.row) {
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
	tree *btree.BTreeG[count[K]]
	keys func(obj *T, to []K) []K
}

type count[K comparable] struct {
	key K
	n   int
}

func newCounter[K comparable, T any](compare func(a, b K) int, keys func(obj *T, to []K) []K) counter[K, T] {
	return counter[K, T]{
		tree: btree.NewBTreeGOptions(func(a, b count[K]) bool { return compare(a.key, b.key) < 0 },
			btree.Options{NoLocks: true, Degree: degree}),
		keys: keys,
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
	n := c.of(key) + d
	if n == 0 {
		c.tree.Delete(count[K]{key: key})
		return
	}
	c.tree.Set(count[K]{key, n})
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
		c.tree.Set(count[K]{k, n})
	}
}

func (c *counter[K, T]) fork() { c.tree = c.tree.Copy() }

func (c *counter[K, T]) of(key K) int {
	e, _ := c.tree.Get(count[K]{key: key})
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

// byUUID orders typed ids by their bytes.
func byUUID[K ~struct{ model.UUID }](a, b K) int {
	x, y := struct{ model.UUID }(a).UUID, struct{ model.UUID }(b).UUID
	return bytes.Compare(x[:], y[:])
}
