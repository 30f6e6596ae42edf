package store

import (
	"slices"

	"weft/internal/fault"
	"weft/internal/server/journal"
)

// Limits. A batch is closed when it has reached batchOps or batchBytes, and the
// transaction that made it so may bring maxTx… more: together they are what a
// journal takes.
const (
	batchOps   = 1024
	batchBytes = 1 << 20
	maxTxOps   = journal.MaxOps - batchOps
	maxTxBytes = journal.MaxBytes - batchBytes
)

func errTooLarge(ops, bytes int) error {
	return fault.New(fault.Invalid, "RequestTooLarge",
		"The request changes %d objects in %d bytes; one request may change %d objects in %d bytes.", ops, bytes, maxTxOps, maxTxBytes)
}

// batch is what goes to the journal at once: the changes of one or more
// transactions, one operation a key.
type batch struct {
	ops     []journal.Op
	changes []Change       // of the op with the same index
	at      map[string]int // where the op of a key is; nil while there are few
	bytes   int
	waiting []*request // answered when the batch is durable
	tables  *tables    // frozen after its last transaction
}

// fewOps are found as fast by looking through them.
const fewOps = 16

// find returns the index of the op of a key.
func (b *batch) find(key string) (i int, ok bool) {
	if b.at != nil {
		i, ok = b.at[key]
		return i, ok
	}
	i = slices.IndexFunc(b.ops, func(o journal.Op) bool { return o.Key == key })
	return i, i >= 0
}

// append adds an edit of a key that the batch has none of.
func (b *batch) append(e encoded) {
	b.ops = append(b.ops, e.op)
	b.changes = append(b.changes, e.change)
	switch {
	case b.at != nil:
		b.at[e.op.Key] = len(b.ops) - 1
	case len(b.ops) > fewOps:
		b.at = make(map[string]int, 4*fewOps)
		for i, o := range b.ops {
			b.at[o.Key] = i
		}
	}
}

// add merges a transaction's edits: of several changes of one key the journal
// gets the last one, and subscribers the way from before the first to after the last.
func (b *batch) add(edits []encoded) {
	for _, e := range edits {
		b.bytes += len(e.op.Key) + len(e.op.Value)
		i, ok := b.find(e.op.Key)
		if !ok {
			b.append(e)
			continue
		}
		b.bytes -= len(b.ops[i].Key) + len(b.ops[i].Value)
		b.ops[i] = e.op
		b.changes[i].After = e.change.After
	}
}

func (b *batch) full() bool {
	return len(b.ops) >= batchOps || b.bytes >= batchBytes || len(b.waiting) >= batchOps
}

// netChanges are the changes of the batch without what came and went within.
func (b *batch) netChanges() []Change {
	return slices.DeleteFunc(b.changes, func(c Change) bool { return c.Before == nil && c.After == nil })
}

// answer gives every request of the batch its own error or, when it has none,
// the outcome of the batch.
func (b *batch) answer(revision uint64, err error) {
	for _, r := range b.waiting {
		if err != nil {
			r.reply <- outcome{err: err}
		} else {
			r.reply <- outcome{revision, r.err}
		}
	}
	b.waiting = nil
}
