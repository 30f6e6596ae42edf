package ovsdb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// peer plays an ovsdb-server by script over a pipe.
type peer struct {
	t    testing.TB
	nc   net.Conn
	dec  *json.Decoder
	dial chan net.Conn
}

// newPeer returns a peer and a client that reaches it. Each accept is one session.
func newPeer(t testing.TB) (*peer, *Client) {
	p := &peer{t: t, dial: make(chan net.Conn)}
	c := startClient(t, Config{Dial: func(ctx context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case p.dial <- far:
			return near, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	return p, c
}

func (p *peer) accept() {
	p.nc = <-p.dial
	p.dec = json.NewDecoder(bufio.NewReader(p.nc))
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, text); err != nil {
		p.t.Fatal(err)
	}
}

// expect reads the next request, which must be method, and returns its id and parameters.
func (p *peer) expect(method string) (id, params string) {
	p.t.Helper()
	var m message
	if err := p.dec.Decode(&m); err != nil {
		p.t.Fatalf("waiting for %s: %v", method, err)
	}
	if m.Method != method {
		p.t.Fatalf("got %s %s, want %s", m.Method, m.Params, method)
	}
	return string(m.ID), string(m.Params)
}

// open accepts a session and answers up to the monitor with (found, txn, updates). It returns the monitor's parameters.
func (p *peer) open(answer string) string {
	p.t.Helper()
	p.accept()
	id, _ := p.expect("get_schema")
	p.send(`{"id":` + id + `,"error":null,"result":` + zooSchema + `}`)
	id, params := p.expect("monitor_cond_since")
	p.send(`{"id":` + id + `,"error":null,"result":` + answer + `}`)
	return params
}

const (
	cat  = "11111111-2222-3333-4444-555555555555"
	dog  = "aaaaaaaa-2222-3333-4444-555555555555"
	txn1 = "00000001-0000-0000-0000-000000000000"
	txn2 = "00000002-0000-0000-0000-000000000000"
)

func TestUpdate3Differences(t *testing.T) {
	p, c := newPeer(t)
	p.open(`[false,"` + txn1 + `",{"Animal":{"` + cat + `":{"initial":{"name":"cat","ints":["set",[1,2]],"colours":"red",
		"labels":["map",[["a","1"],["b","2"],["c","3"]]],"opt_int":7}}}}]`)
	waitFor(t, c, "connected", connected(1))
	steps := []struct{ rule, update, column, want string }{
		{"a bare scalar stands for a set of one", ``, "colours", `"red"`},
		{"an omitted column has its default", ``, "weight", `0`},
		{"set: present goes, absent comes", `"modify":{"ints":["set",[2,3]]}`, "ints", `["set",[1,3]]`},
		{"set: difference of one element", `"modify":{"ints":3}`, "ints", `1`},
		{"map: same pair goes, other value replaces, new key comes",
			`"modify":{"labels":["map",[["a","1"],["b","9"],["d","4"]]]}`, "labels", `["map",[["b","9"],["c","3"],["d","4"]]]`},
		{"optional scalar: the new value", `"modify":{"opt_int":8}`, "opt_int", `8`},
		{"optional scalar: emptied", `"modify":{"opt_int":["set",[]]}`, "opt_int", `["set",[]]`},
		{"scalar: the new value", `"modify":{"weight":1.5}`, "weight", `1.5`},
		{"map of one: the new value", `"modify":{"one_pair":["map",[["k",true]]]}`, "one_pair", `["map",[["k",true]]]`},
	}
	for _, step := range steps {
		if step.update != "" {
			changed := c.Changed()
			p.send(`{"id":null,"method":"update3","params":["replica","` + txn2 + `",{"Animal":{"` + cat + `":{` + step.update + `}}}]}`)
			<-changed
		}
		if got := c.Snapshot().Row("Animal", cat).Get(step.column).String(); got != step.want {
			t.Errorf("%s: %s is %s, want %s", step.rule, step.column, got, step.want)
		}
	}
	before := c.Snapshot()
	changed := c.Changed()
	p.send(`{"id":null,"method":"update3","params":["replica","` + txn2 + `",{"Animal":{"` + cat + `":{"delete":null}}}]}`)
	<-changed
	if c.Snapshot().Len("Animal") != 0 || before.Len("Animal") != 1 {
		t.Error(`a delete is {"delete": null}, and old snapshots keep the row`)
	}
}

// TestResumeAsksAfterLastTransaction checks both answers to a resume, and that an
// update which does not fit makes the client ask for everything.
func TestResumeAsksAfterLastTransaction(t *testing.T) {
	p, c := newPeer(t)
	since := func(params string) string {
		var parts []any
		if err := json.Unmarshal([]byte(params), &parts); err != nil {
			t.Fatal(err)
		}
		return parts[3].(string)
	}
	insert := func(id, name string) string { return `{"Animal":{"` + id + `":{"insert":{"name":"` + name + `"}}}}` }
	if got := since(p.open(`[false,"` + txn1 + `",` + insert(cat, "cat") + `]`)); got != string(zeroUUID) {
		t.Errorf("first session asks after %s", got)
	}
	waitFor(t, c, "connected", connected(1))
	p.nc.Close()
	if got := since(p.open(`[true,"` + txn2 + `",` + insert(dog, "dog") + `]`)); got != txn1 {
		t.Errorf("second session asks after %s", got)
	}
	if s := waitFor(t, c, "resumed", connected(2)); s.Len("Animal") != 2 {
		t.Errorf("%d rows after resuming, want both", s.Len("Animal"))
	}
	p.send(`{"id":null,"method":"update3","params":["replica","` + txn1 + `",` + insert(dog, "dog again") + `]}`)
	if got := since(p.open(`[false,"` + txn1 + `",` + insert(dog, "dog") + `]`)); got != string(zeroUUID) {
		t.Errorf("after an update that does not fit the session asks after %s", got)
	}
	if s := waitFor(t, c, "whole state", connected(3)); s.Len("Animal") != 1 || s.Row("Animal", dog) == nil {
		t.Error("the whole state did not replace the old one")
	}
}

func TestSessionIsAtomicPerUpdate(t *testing.T) {
	p, c := newPeer(t)
	p.open(`[false,"` + txn1 + `",{}]`)
	waitFor(t, c, "connected", connected(1))
	p.send(`{"id":null,"method":"update3","params":["replica","` + txn2 + `",{"Animal":{
		"` + cat + `":{"insert":{"name":"cat"}},"` + dog + `":{"insert":{"legs":"four"}}}}]}`)
	s := waitFor(t, c, "session ended", func(s *Snapshot) bool { return !s.Connected })
	if s.Len("Animal") != 0 {
		t.Error("half an update was applied")
	}
}

func TestTransactionLosesItsConnection(t *testing.T) {
	p, c := newPeer(t)
	p.open(`[false,"` + txn1 + `",{}]`)
	waitFor(t, c, "connected", connected(1))
	done := make(chan error)
	go func() {
		_, err := c.Transact(context.Background(), Comment("x"))
		done <- err
	}()
	p.expect("transact")
	p.nc.Close()
	if err := <-done; !errors.Is(err, ErrConnectionLost) {
		t.Errorf("got %v", err)
	}
}

func TestEchoIsAnswered(t *testing.T) {
	p, c := newPeer(t)
	p.open(`[false,"` + txn1 + `",{}]`)
	waitFor(t, c, "connected", connected(1))
	p.send(`{"id":"echo","method":"echo","params":["x"]}`)
	var m message
	if err := p.dec.Decode(&m); err != nil || string(m.ID) != `"echo"` || string(m.Result) != `["x"]` {
		t.Errorf("answer %+v, %v", m, err)
	}
}

// TestInactivityProbe: a server that falls silent is asked after one interval and given up after two.
func TestInactivityProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := newPeer(t)
		p.open(`[false,"` + txn1 + `",{}]`)
		waitFor(t, c, "connected", connected(1))
		start := time.Now()
		id, _ := p.expect("echo")
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("asked after %s", waited)
		}
		p.send(`{"id":` + id + `,"error":null,"result":[]}`)
		p.expect("echo") // the first answer kept the session alive; this one is not answered
		waitFor(t, c, "gave up", func(s *Snapshot) bool { return !s.Connected })
		if waited := time.Since(start); waited != 15*time.Second {
			t.Errorf("gave up after %s", waited)
		}
		p.nc.Close()
	})
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []time.Time
		ctx, cancel := context.WithCancel(context.Background())
		c := New(Config{Dial: func(context.Context) (net.Conn, error) {
			if attempts = append(attempts, time.Now()); len(attempts) == 20 {
				cancel()
			}
			return nil, errors.New("refused")
		}})
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
		bound := 100 * time.Millisecond
		for i := 1; i < len(attempts); i++ {
			if d := attempts[i].Sub(attempts[i-1]); d < bound/2 || d > bound {
				t.Errorf("delay %d is %s, want %s to %s", i, d, bound/2, bound)
			}
			bound = min(2*bound, 8*time.Second)
		}
	})
}
