package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func addAnimal(t testing.TB, c *Client, name string) UUID {
	t.Helper()
	res, err := c.Transact(context.Background(), Insert("Animal", "", Values{"name": Str(name), "colours": Strs("red")}))
	if err != nil {
		t.Fatal(err)
	}
	return res[0].UUID
}

func TestReconnectAfterServerRestart(t *testing.T) {
	s := startServer(t, false)
	c := startClient(t, Config{Addr: s.addr, MaxBackoff: 200 * time.Millisecond})
	before := waitFor(t, c, "connected", connected(1))
	kept := addAnimal(t, c, "kept")
	row := c.Snapshot().Row("Animal", kept)

	s.stop()
	down := waitFor(t, c, "noticed", func(s *Snapshot) bool { return !s.Connected })
	if down.Row("Animal", kept) != row {
		t.Error("the last known rows are gone while the server is out of reach")
	}
	if _, err := c.Transact(context.Background(), Comment("x")); !errors.Is(err, ErrNotConnected) {
		t.Errorf("transaction without a server: %v", err)
	}
	s.start(t)
	run(t, "ovsdb-client", "transact", s.addr, `["Zoo",{"op":"insert","table":"Animal","row":{"name":"new","colours":"x"}}]`)
	snap := waitFor(t, c, "back", func(s *Snapshot) bool { return connected(2)(s) && s.Len("Animal") == 2 })
	if snap.Row("Animal", kept) != row {
		t.Error("an unchanged row lost its identity over the restart")
	}
	if before.Len("Animal") != 0 {
		t.Error("an old snapshot changed")
	}
	mustEqualDump(t, s, c)
}

// TestResumeAfterLastTransaction cuts the connection to a database that remembers
// its transactions: what happens meanwhile arrives as differences.
func TestResumeAfterLastTransaction(t *testing.T) {
	s := startServer(t, true)
	proxy := &cutter{target: s.path("db.sock")}
	t.Cleanup(proxy.wg.Wait)
	c := startClient(t, Config{Dial: proxy.dial, Addr: s.addr, MinBackoff: 300 * time.Millisecond})
	other := startClient(t, Config{Addr: s.addr})
	waitFor(t, c, "connected", connected(1))
	waitFor(t, other, "other connected", connected(1))
	// The server keeps no more history than it has data: a database of a few rows would forget at once.
	var herd []Operation
	for i := range 100 {
		herd = append(herd, Insert("Animal", "", Values{"name": Str(fmt.Sprint("sheep", i)), "colours": Strs("white")}))
	}
	if _, err := c.Transact(context.Background(), herd...); err != nil {
		t.Fatal(err)
	}
	gone, kept := addAnimal(t, c, "gone"), addAnimal(t, c, "kept")
	proxy.cut()
	waitFor(t, c, "noticed", func(s *Snapshot) bool { return !s.Connected })
	addAnimal(t, other, "new")
	if _, err := other.Transact(context.Background(), Delete("Animal", ByUUID(gone)),
		Mutate("Animal", []Mutation{{"labels", "insert", StrMap(map[string]string{"a": "b"})}}, ByUUID(kept))); err != nil {
		t.Fatal(err)
	}
	waitFor(t, c, "resumed", connected(2))
	c.mu.Lock()
	resumes := c.resumes
	c.mu.Unlock()
	if resumes != 1 {
		t.Errorf("the state was sent whole, not as what happened since")
	}
	mustEqualDump(t, s, c)
}

func TestTransactionOutcome(t *testing.T) {
	s := startServer(t, false)
	c := startClient(t, Config{Addr: s.addr})
	waitFor(t, c, "connected", connected(1))
	id := addAnimal(t, c, "cat")
	ctx := context.Background()

	t.Run("select and count", func(t *testing.T) {
		res, err := c.Transact(ctx,
			Select("Animal", []string{"name", "_uuid", "labels"}, ByUUID(id)),
			Update("Animal", Values{"legs": Int(4)}, Condition{"name", "==", Str("cat")}),
			Mutate("Animal", nil, Condition{"name", "==", Str("nobody")}))
		if err != nil {
			t.Fatal(err)
		}
		if len(res[0].Rows) != 1 || res[0].Rows[0]["name"].Str() != "cat" || res[0].Rows[0]["_uuid"].Str() != string(id) {
			t.Errorf("select: %v", res[0].Rows)
		}
		if res[1].Count != 1 || res[2].Count != 0 {
			t.Errorf("counts: %+v", res)
		}
		if n, _ := c.Snapshot().Row("Animal", id).Get("legs").Int(); n != 4 {
			t.Error("own write is not in the replica when Transact returns")
		}
	})
	refused := func(t *testing.T, index int, name string, ops ...Operation) {
		t.Helper()
		_, err := c.Transact(ctx, ops...)
		var e *OpError
		if !errors.As(err, &e) || e.Index != index || (name != "" && e.Name != name) {
			t.Errorf("got %v, want operation %d, %s", err, index, name)
		}
	}
	t.Run("guard that does not hold", func(t *testing.T) {
		guard := Require("Animal", []string{"legs"}, []Values{{"legs": Int(5)}}, ByUUID(id))
		refused(t, 1, "timed out", Update("Animal", Values{"tame": Set(BoolAtom(true))}, ByUUID(id)), guard)
		if c.Snapshot().Row("Animal", id).Get("tame").Bool() {
			t.Error("half a transaction was carried out")
		}
	})
	t.Run("guard that holds", func(t *testing.T) {
		if _, err := c.Transact(ctx, Require("Animal", []string{"legs"}, []Values{{"legs": Int(4)}}, ByUUID(id)),
			Require("Animal", []string{"name"}, nil, Condition{"name", "==", Str("dog")})); err != nil {
			t.Error(err)
		}
	})
	t.Run("refused at the commit", func(t *testing.T) {
		op := Insert("Animal", "", Values{"name": Str("cat"), "colours": Strs("x")})
		refused(t, 1, "constraint violation", op)
	})
	t.Run("a number the server could not read is not sent", func(t *testing.T) {
		if _, err := c.Transact(ctx, Update("Animal", Values{"weight": Set(RealAtom(5e-324))}, ByUUID(id))); err == nil {
			t.Error("sent")
		}
		if s := c.Snapshot(); !s.Connected || s.Epoch != 1 {
			t.Error("it broke the session")
		}
	})
	t.Run("refused operation", func(t *testing.T) {
		refused(t, 1, "", Comment("x"), Delete("Plant"), Comment("y"))
	})
}

func TestQuietColumnsWakeNobody(t *testing.T) {
	s := startServer(t, false)
	c := startClient(t, Config{Addr: s.addr})
	waitFor(t, c, "connected", connected(1))
	id := addAnimal(t, c, "cat")
	changed := c.Changed()
	count := Map([2]Atom{IntAtom(1), IntAtom(2)})
	if _, err := c.Transact(context.Background(), Update("Animal", Values{"counts": count}, ByUUID(id))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("a quiet column woke the waiters")
	default:
	}
	if got := c.Snapshot().Row("Animal", id).Get("counts"); !got.Equal(count) {
		t.Errorf("the quiet column is not replicated: %s", got)
	}
	if _, err := c.Transact(context.Background(), Update("Animal", Values{"legs": Int(3)}, ByUUID(id))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("a change woke nobody")
	}
}

// TestMissingColumnIsEmpty: an Open vSwitch older or newer than we know must not stop us.
func TestMissingColumnIsEmpty(t *testing.T) {
	s := startServer(t, false)
	c := New(Config{Addr: s.addr, Database: "Zoo", Monitors: []Monitor{
		{Table: "Animal", Columns: []string{"name", "wings"}}, {Table: "Plant", Columns: []string{"name"}}}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	waitFor(t, c, "connected", connected(1))
	id := addAnimal(t, c, "bat")
	if row := c.Snapshot().Row("Animal", id); row.Get("name").Str() != "bat" || row.Get("wings").Len() != 0 {
		t.Error("wrong row")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
