package store

import (
	"bytes"
	"slices"
	"strings"

	"weft/internal/model"
)

// A node holds at most maxItems entries, and at least half of that unless it is the root. Small nodes make a
// write copy less (a batch copies the path to each changed entry), large ones make reads touch fewer; measured in
// ADR 1. A node of either kind is one allocation.
const (
	maxItems = 16
	minItems = maxItems / 2
)

// entry is what a tree holds: a key and the row that has it. It is immutable once it is in a tree.
type entry struct {
	key string
	id  model.UUID // orders rows of equal key; zero in tables that are keyed by a name
	row any        // *Row of any type; nil in what is only looked for
}

// compare orders entries by their keys, rows of equal key by their ids.
func (e *entry) compare(o *entry) int {
	if c := strings.Compare(e.key, o.key); c != 0 {
		return c
	}
	return bytes.Compare(e.id[:], o.id[:])
}

// tree is an ordered set of entries: a B-tree that is copied on write. Copying the struct gives a second tree that
// shares all nodes, in no time; after that only one of the two may be written to, once their epoch has moved on.
type tree struct {
	root  *node // nil when empty
	epoch *epoch
}

// epoch tells a tree which nodes are its own alone: those made since the last time that it was frozen. All trees
// that are frozen together share one. Only the goroutine that writes to the trees looks at it.
type epoch struct{ now uint64 }

// node is immutable once the epoch that it was made in is over.
type node struct {
	epoch uint64
	size  int      // entries in it and below
	items []*entry // the arrays are part of the node's own allocation, with room for one more than there may be
	kids  []*node  // one more than items; nil in a leaf
}

func newNode(epoch uint64, leaf bool) *node {
	if leaf {
		n := new(struct {
			node
			items [maxItems + 1]*entry
		})
		n.node = node{epoch: epoch, items: n.items[:0]}
		return &n.node
	}
	n := new(struct {
		node
		items [maxItems + 1]*entry
		kids  [maxItems + 2]*node
	})
	n.node = node{epoch: epoch, items: n.items[:0], kids: n.kids[:0]}
	return &n.node
}

func (n *node) leaf() bool { return n.kids == nil }

// own returns the node at p in a form that may be changed, which is a copy when others have the node too.
func (t *tree) own(p **node) *node {
	n := *p
	if n.epoch == t.epoch.now {
		return n
	}
	c := newNode(t.epoch.now, n.leaf())
	c.size, c.items = n.size, append(c.items, n.items...)
	if !n.leaf() {
		c.kids = append(c.kids, n.kids...)
	}
	*p = c
	return c
}

// find returns the index of the first item that is not before e, and whether it is e.
func (n *node) find(e *entry) (i int, found bool) {
	low, high := 0, len(n.items)
	for low < high {
		mid := (low + high) / 2
		switch c := n.items[mid].compare(e); {
		case c == 0:
			return mid, true
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, false
}

func (t *tree) len() int { return t.root.len() }

func (n *node) len() int {
	if n == nil {
		return 0
	}
	return n.size
}

// set inserts an entry, or replaces the one that is equal in order.
func (t *tree) set(e *entry) {
	if t.root == nil {
		t.root = newNode(t.epoch.now, true)
	}
	t.insert(&t.root, e)
	if len(t.root.items) > maxItems {
		left := t.root
		t.root = newNode(t.epoch.now, false)
		t.root.size = left.size
		t.root.kids = append(t.root.kids, left)
		t.split(t.root, 0)
	}
}

// insert leaves one item more than there may be in the node at p, at most.
func (t *tree) insert(p **node, e *entry) (added bool) {
	n := t.own(p)
	i, found := n.find(e)
	switch {
	case found:
		e.key = n.items[i].key
		n.items[i] = e
		return false
	case n.leaf():
		n.shareKey(e, i)
		n.items = slices.Insert(n.items, i, e)
		added = true
	default:
		if added = t.insert(&n.kids[i], e); len(n.kids[i].items) > maxItems {
			t.split(n, i)
		}
	}
	if added {
		n.size++
	}
	return added
}

// shareKey gives an entry that comes to index i the same text in memory that its neighbour of equal key has: many rows have
// few keys in most indexes, and what is the same is compared fast.
func (n *node) shareKey(e *entry, i int) {
	for _, o := range n.items[max(i-1, 0):min(i+1, len(n.items))] {
		if o.key == e.key {
			e.key = o.key
			return
		}
	}
}

// split makes two of a node's kid, which is its own.
func (t *tree) split(n *node, i int) {
	left := n.kids[i]
	right := newNode(t.epoch.now, left.leaf())
	middle := left.items[minItems]
	right.items = append(right.items, left.items[minItems+1:]...)
	left.items = shorten(left.items, minItems)
	if !left.leaf() {
		right.kids = append(right.kids, left.kids[minItems+1:]...)
		left.kids = shorten(left.kids, minItems+1)
	}
	right.measure()
	left.size -= right.size + 1
	n.items = slices.Insert(n.items, i, middle)
	n.kids = slices.Insert(n.kids, i+1, right)
}

// shorten cuts a slice and forgets what was behind, so that it is not kept in memory.
func shorten[T any](s []T, n int) []T {
	clear(s[n:])
	return s[:n]
}

// measure counts the entries in a node and below, from its kids' sizes.
func (n *node) measure() {
	n.size = len(n.items)
	for _, k := range n.kids {
		n.size += k.size
	}
}

// delete removes an entry and reports whether it was there.
func (t *tree) delete(e *entry) bool {
	if t.root == nil || !t.remove(&t.root, e) {
		return false
	}
	if len(t.root.items) == 0 {
		if t.root.leaf() {
			t.root = nil
		} else {
			t.root = t.root.kids[0]
		}
	}
	return true
}

// remove leaves one item less than there should be in the node at p, at most.
func (t *tree) remove(p **node, e *entry) bool {
	n := t.own(p)
	i, found := n.find(e)
	switch {
	case n.leaf() && !found:
		return false
	case n.leaf():
		n.items = slices.Delete(n.items, i, i+1)
	case found:
		n.items[i] = t.removeLast(&n.kids[i])
		t.fill(n, i)
	default:
		if !t.remove(&n.kids[i], e) {
			return false
		}
		t.fill(n, i)
	}
	n.size--
	return true
}

// removeLast is remove for the last *entry below p, which it returns.
func (t *tree) removeLast(p **node) (last *entry) {
	n := t.own(p)
	if n.leaf() {
		i := len(n.items) - 1
		last = n.items[i]
		n.items = shorten(n.items, i)
	} else {
		i := len(n.kids) - 1
		last = t.removeLast(&n.kids[i])
		t.fill(n, i)
	}
	n.size--
	return last
}

// fill gives a node's kid an item of a neighbour when it has one too few, or joins it with the neighbour.
func (t *tree) fill(n *node, i int) {
	if len(n.kids[i].items) >= minItems {
		return
	}
	switch {
	case i > 0 && len(n.kids[i-1].items) > minItems:
		t.fromLeft(n, i)
	case i < len(n.items) && len(n.kids[i+1].items) > minItems:
		t.fromRight(n, i)
	case i > 0:
		t.join(n, i-1)
	default:
		t.join(n, i)
	}
}

// fromLeft moves the last item of the kid before i, by way of the one between them, into kid i.
func (t *tree) fromLeft(n *node, i int) {
	left, kid := t.own(&n.kids[i-1]), t.own(&n.kids[i])
	last, moved := len(left.items)-1, 1
	kid.items = slices.Insert(kid.items, 0, n.items[i-1])
	n.items[i-1] = left.items[last]
	left.items = shorten(left.items, last)
	if !left.leaf() {
		moved += left.kids[last+1].size
		kid.kids = slices.Insert(kid.kids, 0, left.kids[last+1])
		left.kids = shorten(left.kids, last+1)
	}
	left.size, kid.size = left.size-moved, kid.size+moved
}

// fromRight is the mirror image of fromLeft.
func (t *tree) fromRight(n *node, i int) {
	kid, right := t.own(&n.kids[i]), t.own(&n.kids[i+1])
	moved := 1
	kid.items = append(kid.items, n.items[i])
	n.items[i] = right.items[0]
	right.items = slices.Delete(right.items, 0, 1)
	if !right.leaf() {
		moved += right.kids[0].size
		kid.kids = append(kid.kids, right.kids[0])
		right.kids = slices.Delete(right.kids, 0, 1)
	}
	kid.size, right.size = kid.size+moved, right.size-moved
}

// join makes one node of kid i, the item behind it, and the next kid.
func (t *tree) join(n *node, i int) {
	left, right := t.own(&n.kids[i]), n.kids[i+1]
	left.items = append(append(left.items, n.items[i]), right.items...)
	if !left.leaf() {
		left.kids = append(left.kids, right.kids...)
	}
	left.size += right.size + 1
	n.items = slices.Delete(n.items, i, i+1)
	n.kids = slices.Delete(n.kids, i+1, i+2)
}

// build fills an empty tree with sorted entries, in as few nodes as will do.
func (t *tree) build(sorted []*entry) {
	if len(sorted) == 0 {
		return
	}
	most := maxItems // in a tree of that height
	for most < len(sorted) {
		most = most*(maxItems+1) + maxItems
	}
	t.root = buildNode(t.epoch.now, sorted, most)
}

// buildNode makes a node of entries, and what is below, which may have as many as most.
func buildNode(epoch uint64, sorted []*entry, most int) *node {
	n := newNode(epoch, most == maxItems)
	n.size = len(sorted)
	if n.leaf() {
		n.items = append(n.items, sorted...)
		return n
	}
	most = (most - maxItems) / (maxItems + 1) // in a kid and below
	for kids := (len(sorted) + most + 1) / (most + 1); kids > 0; kids-- {
		mine := (len(sorted) - (kids - 1)) / kids // of the rest, evenly
		n.kids = append(n.kids, buildNode(epoch, sorted[:mine], most))
		if kids > 1 {
			n.items = append(n.items, sorted[mine])
			sorted = sorted[mine+1:]
		}
	}
	return n
}

// ascend calls yield with the entries that are not before a pivot, in order, until it returns false.
func (t *tree) ascend(from *entry, yield func(*entry) bool) {
	if t.root != nil {
		t.root.ascend(from, yield)
	}
}

func (n *node) ascend(from *entry, yield func(*entry) bool) bool {
	i, found := n.find(from)
	if !n.leaf() && !found && !n.kids[i].ascend(from, yield) {
		return false
	}
	for ; i < len(n.items); i++ {
		if !yield(n.items[i]) || !n.leaf() && !n.kids[i+1].all(yield) {
			return false
		}
	}
	return true
}

func (n *node) all(yield func(*entry) bool) bool {
	for i, e := range n.items {
		if !n.leaf() && !n.kids[i].all(yield) || !yield(e) {
			return false
		}
	}
	return n.leaf() || n.kids[len(n.items)].all(yield)
}

// first returns the first entry that is not before a pivot, nil when there is none.
func (t *tree) first(from *entry) (e *entry) {
	for n := t.root; n != nil; {
		i, found := n.find(from)
		if i < len(n.items) {
			e = n.items[i]
		}
		if found || n.leaf() {
			break
		}
		n = n.kids[i]
	}
	return e
}

// before counts the entries before a pivot.
func (t *tree) before(pivot *entry) (count int) {
	for n := t.root; n != nil; {
		i, found := n.find(pivot)
		count += i
		if n.leaf() {
			break
		}
		for _, k := range n.kids[:i] {
			count += k.size
		}
		if found {
			count += n.kids[i].size
			break
		}
		n = n.kids[i]
	}
	return count
}
