package store

import (
	"fmt"
	"runtime/debug"

	"weft/internal/server/journal"
)

// Tx is a transaction: it reads what all transactions before it wrote, and its
// own writes. It is valid until the function that it was given to returns, and
// only in the goroutine that called it.
type Tx struct {
	Reader
	edits []edit
}

func (tx *Tx) record(e edit) {
	if e != nil {
		tx.edits = append(tx.edits, e)
	}
}

// run calls fn with a transaction on live tables. When fn fails or panics,
// all that it did is undone. Otherwise the edits are returned, encoded.
func run(live *tables, fn func(tx *Tx) error) (done []encoded, err error) {
	tx := &Tx{Reader: Reader{live}}
	returned := false
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("transaction panicked: %v\n%s", p, debug.Stack())
		} else if !returned {
			// Goexit cannot be stopped, and nobody would ever be answered again.
			panic("store: a transaction ended its goroutine; a test must not call Fatal in one")
		}
		tx.t = nil // a transaction that outlives its function fails loudly
		if err != nil {
			done = nil
			for i := len(tx.edits) - 1; i >= 0; i-- {
				tx.edits[i].undo()
			}
		}
	}()
	err = fn(tx)
	returned = true
	if err != nil {
		return nil, err
	}
	size := 0
	for _, e := range tx.edits {
		value, err := e.encode()
		if err != nil {
			return nil, err
		}
		op := journal.Op{Key: e.journalKey(), Value: value}
		size += len(op.Key) + len(op.Value)
		done = append(done, encoded{op, e.change()})
	}
	if len(done) > maxTxOps || size > maxTxBytes {
		return nil, errTooLarge(len(done), size)
	}
	return done, nil
}

// encoded is an edit as the journal and as subscribers get it.
type encoded struct {
	op     journal.Op
	change Change
}
