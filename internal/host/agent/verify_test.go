package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
)

// slowKernel is a part that is read in two halves; what is written between them is seen by half.
type slowKernel struct {
	mu        sync.Mutex // of has
	has, want [2]int
	writes    uint64
	repairs   int
	between   chan struct{} // taken from between the halves
	fails     error
}

func (k *slowKernel) version() uint64 { return k.writes }

func (k *slowKernel) write(v int) {
	k.set(0, v)
	k.set(1, v)
	k.want = [2]int{v, v}
	k.writes++
}

func (k *slowKernel) set(half, v int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.has[half] = v
}

func (k *slowKernel) get(half int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.has[half]
}

func (k *slowKernel) look() func(context.Context) (bool, error) {
	want := k.want
	return func(context.Context) (bool, error) {
		<-k.between
		first := k.get(0)
		<-k.between
		return [2]int{first, k.get(1)} == want, k.fails
	}
}

func (k *slowKernel) repair(context.Context) error {
	if k.has != k.want {
		k.has = k.want
		k.repairs++
	}
	return nil
}

// step lets a look go on by one half: it is there when the look has come to that point.
func (k *slowKernel) step() { k.between <- struct{}{} }

func TestVerification(t *testing.T) {
	ctx := context.Background()
	begin := func() (*verification, *slowKernel) {
		v, k := newVerification(slog.New(slog.DiscardHandler)), &slowKernel{between: make(chan struct{})}
		k.write(1)
		v.begin(ctx, k, 0)
		return v, k
	}
	look := func(v *verification, k *slowKernel) bool {
		k.step()
		k.step()
		return v.judge(ctx, <-v.found)
	}
	check := func(t *testing.T, v *verification, k *slowKernel, value, repairs int) {
		t.Helper()
		if k.has != [2]int{value, value} || k.repairs != repairs {
			t.Errorf("the kernel has %v after %d repairs, want %d after %d", k.has, k.repairs, value, repairs)
		}
		if len(v.under) != 0 {
			t.Error("still being looked at")
		}
		v.wait()
	}
	t.Run("what is as left is not touched", func(t *testing.T) {
		v, k := begin()
		if look(v, k) {
			t.Error("repaired")
		}
		check(t, v, k, 1, 0)
	})
	t.Run("damage is repaired", func(t *testing.T) {
		v, k := begin()
		k.set(1, 7)
		if !look(v, k) {
			t.Error("not repaired")
		}
		check(t, v, k, 1, 1)
	})
	t.Run("a change meanwhile is neither lost nor undone, and damage behind it is found", func(t *testing.T) {
		for _, damaged := range []bool{false, true} {
			v, k := begin()
			k.step()
			k.write(2) // the loop goes on, however long the look takes
			k.step()
			if v.judge(ctx, <-v.found) {
				t.Error("taken for damage")
			}
			repairs := 0
			if damaged {
				k.set(0, 7)
				repairs = 1
			}
			if look(v, k) != damaged {
				t.Errorf("damaged is %t, and found is the opposite", damaged)
			}
			check(t, v, k, 2, repairs)
		}
	})
	t.Run("a part that never rests is repaired all the same", func(t *testing.T) {
		v, k := begin()
		for n := 2; ; n++ {
			k.step()
			k.write(n)
			k.set(0, 7)
			k.step()
			if v.judge(ctx, <-v.found) {
				check(t, v, k, n, 1)
				return
			}
			if n > 2+maxLooks {
				t.Fatal("looked at for ever")
			}
		}
	})
	t.Run("one look at a time", func(t *testing.T) {
		v, k := begin()
		v.begin(ctx, k, 0)
		look(v, k)
		check(t, v, k, 1, 0)
	})
	t.Run("what cannot be read is left", func(t *testing.T) {
		v, k := begin()
		k.fails = errors.New("no answer")
		k.set(1, 7)
		if look(v, k) {
			t.Error("repaired")
		}
		if len(v.under) != 0 {
			t.Error("still being looked at")
		}
	})
	t.Run("the end of the loop ends a look", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		v, k := newVerification(slog.New(slog.DiscardHandler)), &slowKernel{between: make(chan struct{})}
		v.begin(ctx, k, 0)
		cancel()
		k.step()
		k.step()
		v.wait()
	})
}
