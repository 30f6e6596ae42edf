// Package storetest gives tests a running store.
//
// It is for tests of the packages above the store; what the store itself
// promises is tested in its own package.
package storetest

import (
	"context"
	"log/slog"
	"testing"

	"weft/internal/server/journal"
	"weft/internal/server/store"
)

// Open returns an empty store on a journal in memory, loaded and leading. It
// ends with the test.
func Open(t testing.TB) *store.Store {
	t.Helper()
	return OpenOn(t, journal.NewMemory())
}

// OpenOn is Open on a journal of the test's choice, for example one that was
// filled before, or is made to fail.
func OpenOn(t testing.TB, j store.Journal) *store.Store {
	t.Helper()
	s := store.New(j, store.Options{Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("running the store: %v", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- nil // for the clean-up
		t.Fatalf("starting the store: %v", err)
	}
	return s
}

// Update runs fn in a transaction that must succeed.
func Update(t testing.TB, s *store.Store, fn func(tx *store.Tx)) {
	t.Helper()
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("updating the store: %v", err)
	}
}
