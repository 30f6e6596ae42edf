package fair

import (
	"testing"
	"time"

	"weft/internal/model"
)

func portID(n byte) model.PortID { return model.PortID{UUID: model.UUID{n}} }

func TestGate_onePortDoesNotTakeAnothersShare(t *testing.T) {
	g := New(Limits{PerSecond: 10, Burst: 3, AtOnce: 2, All: 3})
	now := time.Unix(1000, 0)
	allowed := 0
	for range 100 {
		if g.Allow(portID(1), now) {
			allowed++
		}
	}
	if allowed != 3 {
		t.Errorf("%d allowed at once, want 3", allowed)
	}
	if !g.Allow(portID(2), now) {
		t.Error("another port has no token")
	}
	if !g.Allow(portID(1), now.Add(100*time.Millisecond)) || g.Allow(portID(1), now.Add(100*time.Millisecond)) {
		t.Error("a tenth of a second brings one token")
	}

	var leave []func()
	for n, want := range []bool{true, true, false} {
		l, ok := g.Enter(portID(1))
		if ok != want {
			t.Errorf("entry %d of one port: %v", n, ok)
		}
		leave = append(leave, l)
	}
	if _, ok := g.Enter(portID(2)); !ok {
		t.Error("another port has no room")
	}
	if _, ok := g.Enter(portID(3)); ok {
		t.Error("there is room for more than all may have")
	}
	leave[0]()
	if _, ok := g.Enter(portID(3)); !ok {
		t.Error("who has left still takes room")
	}
}

func TestGate_forgetsPorts(t *testing.T) {
	g := New(Limits{PerSecond: 1, Burst: 1, AtOnce: 1, All: 10})
	leave, _ := g.Enter(portID(1))
	g.Allow(portID(2), time.Unix(1, 0))
	g.Keep(func(id model.PortID) bool { return id == portID(2) })
	if len(g.ports) != 1 {
		t.Errorf("%d ports remembered, want 1", len(g.ports))
	}
	leave() // of a forgotten port
	if g.all != 0 {
		t.Errorf("%d inside, want none", g.all)
	}
}
