package store

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
)

// entries are all that a tree holds, in order.
func (t *tree) entries() (all []entry) {
	t.ascend(&entry{}, func(e *entry) bool {
		all = append(all, *e)
		return true
	})
	return all
}

// checkTree reports what is wrong with the shape of a tree.
func checkTree(t *rapid.T, tr *tree) {
	depth := -1
	var check func(n *node, level int) int
	check = func(n *node, level int) (size int) {
		if len(n.items) > maxItems || len(n.items) < minItems && n != tr.root {
			t.Fatalf("a node has %d items", len(n.items))
		}
		if size = len(n.items); n.leaf() {
			if depth >= 0 && level != depth {
				t.Fatalf("leaves at levels %d and %d", depth, level)
			}
			depth = level
		} else if len(n.kids) != len(n.items)+1 {
			t.Fatalf("a node has %d items and %d kids", len(n.items), len(n.kids))
		}
		for _, k := range n.kids {
			size += check(k, level+1)
		}
		if size != n.size {
			t.Fatalf("a node counts %d entries and has %d", n.size, size)
		}
		return size
	}
	if tr.root != nil {
		check(tr.root, 0)
		if len(tr.root.items) == 0 {
			t.Fatalf("the root is empty")
		}
	}
}

// Random writes to a tree, a sorted slice as the oracle; frozen copies stay as they were, and are written to again
// at times in place of the tree.
func TestTreeIsASortedSetAndItsCopiesStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(key, id int) entry { return entry{tagText(uint32(key))[2:], model.UUID{15: byte(id)}, nil} }
		draw := func() *entry {
			e := at(rapid.IntRange(0, 400).Draw(t, "key"), rapid.IntRange(0, 3).Draw(t, "id"))
			return &e
		}
		live, want := tree{epoch: &epoch{}}, []entry(nil)
		for i := range rapid.IntRange(0, 1500).Draw(t, "built") {
			want = append(want, at(i/2, i%2))
		}
		live.build(pointers(want))
		type copied struct {
			tree tree
			want []entry
		}
		var copies []copied
		for range rapid.IntRange(1, 30).Draw(t, "rounds") {
			grow := rapid.IntRange(1, 9).Draw(t, "grow")
			for range rapid.IntRange(0, 200).Draw(t, "writes") {
				e := draw()
				i, found := search(want, e)
				if rapid.IntRange(0, 9).Draw(t, "set") < grow {
					live.set(e)
					if !found {
						want = slices.Insert(want, i, *e)
					}
					continue
				}
				if live.delete(e) != found {
					t.Fatalf("deleting %v: it was there: %v", e, found)
				}
				if found {
					want = slices.Delete(want, i, i+1)
				}
			}
			checkTree(t, &live)
			if got := live.entries(); !slices.Equal(got, want) || live.len() != len(want) {
				t.Fatalf("got %d entries, %v; want %d, %v", live.len(), got, len(want), want)
			}
			pivot := draw()
			i, _ := search(want, pivot)
			if got := live.before(pivot); got != i {
				t.Fatalf("%d entries before %v, want %d", got, pivot, i)
			}
			if e := live.first(pivot); (e != nil) != (i < len(want)) || e != nil && *e != want[i] {
				t.Fatalf("first from %v: %v", pivot, e)
			}
			var rest []entry
			live.ascend(pivot, func(e *entry) bool { rest = append(rest, *e); return len(rest) < 20 })
			if !slices.Equal(rest, want[i:min(i+20, len(want))]) {
				t.Fatalf("from %v: %v", pivot, rest)
			}
			copies = append(copies, copied{live, slices.Clone(want)})
			live.epoch.now++
			if rapid.IntRange(0, 4).Draw(t, "back") == 0 {
				c := rapid.SampledFrom(copies).Draw(t, "copy")
				live, want = c.tree, slices.Clone(c.want)
			}
		}
		for i := range copies {
			checkTree(t, &copies[i].tree)
			if got := copies[i].tree.entries(); !slices.Equal(got, copies[i].want) {
				t.Fatalf("copy %d changed from\n%v\nto\n%v", i, copies[i].want, got)
			}
		}
	})
}

func search(all []entry, e *entry) (i int, found bool) {
	return slices.BinarySearchFunc(all, e, func(a entry, e *entry) int { return a.compare(e) })
}

func pointers(all []entry) []*entry {
	out := make([]*entry, len(all))
	for i, e := range all {
		out[i] = &e
	}
	return out
}
