package run

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestWait_stopsLastStartedFirst(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	g := New(ctx, quiet())
	order := make(chan string, 3)
	for _, name := range []string{"journal", "store", "api"} {
		g.Go(name, func(ctx context.Context) error {
			<-ctx.Done()
			order <- name
			return ctx.Err()
		})
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatalf("orderly end returned %v", err)
	}
	close(order)
	var got []string
	for s := range order {
		got = append(got, s)
	}
	if want := []string{"api", "store", "journal"}; !slices.Equal(got, want) {
		t.Fatalf("stopped in order %v, want %v", got, want)
	}
}

func TestWait_aFailedPartStopsAllAndIsNamed(t *testing.T) {
	g := New(context.Background(), quiet())
	stopped := make(chan struct{})
	g.Go("bystander", func(ctx context.Context) error {
		<-ctx.Done()
		close(stopped)
		return nil
	})
	boom := errors.New("disk full")
	g.Go("journal", func(context.Context) error { return boom })
	err := g.Wait()
	if !errors.Is(err, boom) || err.Error() != "journal: disk full" {
		t.Fatalf("got %v", err)
	}
	<-stopped
}

func TestGo_aPartThatReturnsNilEarlyIsAFailure(t *testing.T) {
	g := New(context.Background(), quiet())
	g.Go("api", func(context.Context) error { return nil })
	if err := g.Wait(); err == nil {
		t.Fatal("a part that vanished went unnoticed")
	}
}
