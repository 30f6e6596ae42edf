// Package journal holds the words in which the store speaks to its durable
// log: entries, operations, and the three ways in which writing can fail.
// Memory is a journal without durability, for tests.
//
// The real one is in journal/etcd, which alone imports etcd, so that rules and
// their tests link without it. The package knows nothing of tables or objects:
// keys and values are bytes to it. Store calls it.
package journal

import (
	"errors"
)

// Prefix is what all keys of the store begin with. A key is
// Prefix + table + "/" + id.
const Prefix = "/weft/v1/"

// Op is one change: a put, or a delete when Value is nil. Deleting what is
// absent does nothing.
type Op struct {
	Key   string
	Value []byte
}

// Entry is a key with its value, as loaded.
type Entry struct {
	Key   string
	Value []byte
}

// Event is what one append changed, in the order of revisions.
type Event struct {
	Revision uint64
	Ops      []Op
}

// The ways in which Append can fail. Everything else that it returns is to be
// taken as ErrUnknown.
var (
	// ErrDeposed: nothing was written, because another term has begun.
	ErrDeposed = errors.New("the lead is lost")
	// ErrRefused: nothing was written, and the lead still holds: too busy, or more
	// at once than the journal takes.
	ErrRefused = errors.New("the journal refused the write")
	// ErrUnknown: it may be written now, later, or never. Only a new term ends the
	// doubt: an append of the old one cannot succeed after the new has begun.
	ErrUnknown = errors.New("the outcome of the write is unknown")
	// ErrCompacted: what a watch was to start from is gone; load anew.
	ErrCompacted = errors.New("the revision is compacted")
)

// What every journal takes in one append. A remote etcd is asked at start
// whether it does.
const (
	MaxOps   = 10_000
	MaxBytes = 8 << 20 // keys and values together
)
