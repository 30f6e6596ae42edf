package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestConfirmer_latecomersShareTheNextQuestion: the answer to a question under way may be about a moment
// before they came.
func TestConfirmer_latecomersShareTheNextQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer := 0, make(chan error)
		c := newConfirmer(func(context.Context) error { asked++; return <-answer }, time.Minute)
		var mu sync.Mutex
		var first, late []error
		reader := func(to *[]error) {
			err := c.confirm(t.Context())
			mu.Lock()
			defer mu.Unlock()
			*to = append(*to, err)
		}
		go reader(&first)
		synctest.Wait()
		for range 3 {
			go reader(&late)
		}
		synctest.Wait()
		if asked != 1 {
			t.Fatalf("%d questions at once", asked)
		}
		answer <- nil
		synctest.Wait()
		if len(first) != 1 || first[0] != nil || len(late) != 0 || asked != 2 {
			t.Fatalf("after the first answer: %v, %v, %d questions", first, late, asked)
		}
		lost := errors.New("lost")
		answer <- lost
		synctest.Wait()
		if len(late) != 3 || late[0] != lost || late[2] != lost || asked != 2 {
			t.Fatalf("after the second answer: %v, %d questions", late, asked)
		}
	})
}

func TestConfirmer_stopLetsNoQuestionBegin(t *testing.T) {
	c := newConfirmer(func(context.Context) error { return nil }, time.Minute)
	if err := c.confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.stop()
	if err := c.confirm(t.Context()); !errors.Is(err, errNotLeading) {
		t.Fatalf("got %v", err)
	}
}

// TestConfirmer_aReaderThatGoesDoesNotEndTheQuestion: others wait for the answer.
func TestConfirmer_aReaderThatGoesDoesNotEndTheQuestion(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newConfirmer(func(ctx context.Context) error { return ctx.Err() }, time.Minute)
	if err := c.confirm(ctx); err != nil {
		t.Fatal(err)
	}
}
