package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"weft/internal/server/journal"
)

// corruptError is a row that cannot be understood. To go on would be to lose
// it, so the server does not start.
type corruptError struct{ cause error }

func (e *corruptError) Error() string { return e.cause.Error() }
func (e *corruptError) Unwrap() error { return e.cause }

// load reads all tables from the journal. Rows are decoded beside the reading,
// and indexes are built beside each other.
func load(ctx context.Context, j Journal) (*tables, error) {
	t := newTables()
	loaders := t.loaders()
	var mu sync.Mutex
	decoded := map[string][]any{}
	var decoding errgroup.Group
	decoding.SetLimit(runtime.GOMAXPROCS(0) + 1)

	stop := errors.New("decoding ended early")
	var failed error // the first corrupt row, under mu
	revision, err := j.Load(ctx, func(page []journal.Entry) error {
		mu.Lock()
		bad := failed != nil
		mu.Unlock()
		if bad {
			return stop
		}
		for len(page) > 0 {
			name, n, err := sameTable(page)
			if err != nil {
				return &corruptError{err}
			}
			l, ok := loaders[name]
			if !ok {
				return &corruptError{fmt.Errorf("loading row %s: there is no table %q in this release", page[0].Key, name)}
			}
			part := page[:n:n]
			page = page[n:]
			decoding.Go(func() error {
				rows, err := l.decode(part)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = &corruptError{err}
					return failed
				}
				decoded[name] = append(decoded[name], rows)
				return nil
			})
		}
		return nil
	})
	if decodeErr := decoding.Wait(); decodeErr != nil {
		return nil, decodeErr
	}
	if err != nil {
		return nil, fmt.Errorf("loading the journal: %w", err)
	}

	var filling errgroup.Group
	filling.SetLimit(runtime.GOMAXPROCS(0))
	for name, l := range loaders {
		if parts := decoded[name]; len(parts) > 0 {
			l.fill(parts, func(fn func()) { filling.Go(func() error { fn(); return nil }) })
		}
	}
	_ = filling.Wait() // none of them fails
	t.revision = revision
	return t, nil
}

// sameTable returns the table of the first entry, and how many entries from
// there on are of the same.
func sameTable(page []journal.Entry) (name string, n int, err error) {
	rest, ok := strings.CutPrefix(page[0].Key, journal.Prefix)
	name, id, slash := strings.Cut(rest, "/")
	if !ok || !slash || id == "" {
		return "", 0, fmt.Errorf("loading row %q: it is not %s<table>/<id>", page[0].Key, journal.Prefix)
	}
	prefix := journal.Prefix + name + "/"
	for n < len(page) && len(page[n].Key) > len(prefix) && strings.HasPrefix(page[n].Key, prefix) {
		n++
	}
	return name, n, nil
}
