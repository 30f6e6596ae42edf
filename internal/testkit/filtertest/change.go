package filtertest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/host/firewall"
	"weft/internal/model"
)

// changes is how often updates changes the rules.
const changes = 100

// theEnd is the number of the last probe.
const theEnd = ^uint64(0)

// updates sends, about every millisecond and without pause, packets that every
// version of the rules allows and packets that every version forbids, while rules,
// members, sets and other ports come and go.
func updates(t *testing.T, d Driver) {
	base := []model.RuleView{
		Rule(1, model.Ingress, model.IPv4, Proto(17, 53, 53)),
		Rule(2, model.Ingress, model.IPv4, Proto(17, 54, 54), FromGroup(ID(700))),
		Rule(3, model.Egress, model.IPv4),
	}
	g := Group(1, true, base...)
	v := Port(11, []*model.GroupView{g}, vm4)
	w := d(t, v)
	input := w.input(v, g)
	input.Members = Members(ID(700), far4+"/32")
	w.Apply(t, input)
	in4, out4 := w.to(far4, vm4), w.from(vm4, far4)
	if !w.Passes(t, w.VM, w.Peer, out4.UDP(4000, 5000)) || !w.Passes(t, w.Peer, w.VM, out4.Back().UDP(5000, 4000)) {
		t.Fatal("no connection to begin with")
	}

	allowed := func(n uint64) [][]byte {
		return [][]byte{in4.Numbered(1000, 53, n), in4.Numbered(1000, 54, n), out4.Back().Numbered(5000, 4000, n)}
	}
	stop, sent := make(chan struct{}), make(chan uint64)
	var rounds atomic.Uint64
	go func() {
		n := uint64(0)
		for {
			select {
			case <-stop:
				sent <- n
				return
			case <-time.After(time.Millisecond): // the pace of the probes, nothing waits for it
			}
			n++
			rounds.Store(n)
			w.Peer.Send(t, append(allowed(n), // and what no version allows
				in4.Numbered(1000, 55, n), w.to(else4, vm4).Numbered(1000, 54, n), in4.Numbered(5000, 4001, n))...)
		}
	}()
	got := map[uint16]uint64{} // by destination port
	strangers, ends := 0, 0
	take := func(f []byte) {
		i := bytes.Index(f, []byte("wf-numb."))
		if i < 42 {
			return
		}
		if binary.BigEndian.Uint64(f[i+8:]) == theEnd {
			ends++
			return
		}
		got[binary.BigEndian.Uint16(f[36:])]++
		if src, _ := netip.AddrFromSlice(f[26:30]); src == addr(else4) {
			strangers++
		}
	}
	buf := make([]byte, 4096)
	for i := range changes {
		for f, ok := w.VM.Waiting(t, buf); ok; f, ok = w.VM.Waiting(t, buf) {
			take(f)
		}
		c := *g
		switch i % 6 {
		case 0: // one rule more
			c.Rules = append(append([]model.RuleView{Rule(9, model.Ingress, model.IPv4, Proto(6, 22, 22))}, base...), Rule(10, model.Ingress, model.IPv4, Proto(1, -1, -1)))
		case 1: // the chain is written anew
			c.Rules = nil
			for p := range 40 {
				c.Rules = append(c.Rules, Rule(100+p, model.Ingress, model.IPv4, Proto(6, 100+p, 100+p)))
			}
			c.Rules = append(c.Rules, base...)
		case 2: // members come, the set with many grows
			input.Members = Members(ID(700), far4+"/32", fmt.Sprintf("10.3.0.%d/32", i), "10.4.0.0/16")
		case 3:
			input.Members = Members(ID(700), "10.0.0.0/24")
		case 4: // another port comes
			input.Ports = append(input.Ports, firewall.PortInput{View: Port(40+i, []*model.GroupView{g}, "10.0.0.40"), Network: Network(), Zone: w.Zone + 1})
		case 5: // and goes
			input.Ports = input.Ports[:1]
		}
		input.Groups = Groups(&c)
		w.Apply(t, input)
		for n := rounds.Load(); rounds.Load() < n+3; { // what was before, and what is now
			runtime.Gosched()
		}
	}
	close(stop)
	n := <-sent

	// Each flow keeps its order, but one may overtake another: a switch forwards what it has read at once flow by flow.
	w.Peer.Send(t, allowed(theEnd)...)
	for ends < len(allowed(theEnd)) {
		take(w.VM.Receive(t, buf))
	}
	t.Logf("%d rounds of probes in %d updates", n, changes)
	for _, p := range []uint16{53, 54, 4000} {
		if got[p] != n {
			t.Errorf("port %d: %d of %d packets arrived", p, got[p], n)
		}
	}
	if got[55]+got[4001]+uint64(strangers) > 0 {
		t.Errorf("forbidden packets arrived: %v, of strangers %d", got, strangers)
	}
}

// talk connects from one guest to a port of another, with both ends kept open.
func talk(t testing.TB, from, to *Guest, toAddr string, port int) (client, server net.Conn) {
	t.Helper()
	var l net.Listener
	InThread(t, to.NS, func() (err error) { l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", toAddr, port)); return })
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	InThread(t, from.NS, func() (err error) {
		client, err = net.DialTimeout("tcp4", l.Addr().String(), 10*time.Second)
		return
	})
	server = <-accepted
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// delivers writes to one end and reads at the other. With want false it is
// enough that nothing has arrived when wait is over.
func delivers(t testing.TB, from, to net.Conn, text string, wait time.Duration) bool {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		return false
	}
	to.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, len(text))
	_, err := io.ReadFull(to, buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil && string(buf) == text
}

// revocation: established TCP connections, of which the guest goes on sending,
// die with the rule that allowed them; those of other rules and of other
// directions live; once allowed again, it lives again.
func revocation(t *testing.T, d Driver) {
	ssh, http := Rule(1, model.Ingress, model.IPv4, Proto(6, 22, 22)), Rule(2, model.Ingress, model.IPv4, Proto(6, 80, 80))
	rest := []model.RuleView{Rule(3, model.Egress, model.IPv4)}
	before, after := Group(1, true, append(rest, ssh, http)...), Group(1, true, append(rest, http)...)
	v := Port(11, []*model.GroupView{before}, vm4)
	w := d(t, v)
	w.VM.Address(t, vm4)
	w.Peer.Address(t, far4)
	input := w.input(v, before)
	apply := func(g *model.GroupView) {
		input.Groups = Groups(g)
		w.Apply(t, input)
		w.Settle(t, input)
	}
	apply(before)
	sc, ss := talk(t, w.Peer, w.VM, vm4, 22)
	hc, hs := talk(t, w.Peer, w.VM, vm4, 80)
	oc, os := talk(t, w.VM, w.Peer, far4, 8080)
	for _, p := range [][2]net.Conn{{sc, ss}, {ss, sc}, {hc, hs}, {hs, hc}, {oc, os}, {os, oc}} {
		if !delivers(t, p[0], p[1], "hello", 10*time.Second) {
			t.Fatal("an allowed connection does not deliver")
		}
	}
	apply(after)
	// The guest's end sends first: this is what brings a merely deleted entry back.
	if delivers(t, ss, sc, "from the guest", 700*time.Millisecond) || delivers(t, sc, ss, "to the guest", 700*time.Millisecond) {
		t.Error("the revoked connection lives")
	}
	for _, p := range [][2]net.Conn{{hc, hs}, {hs, hc}, {oc, os}, {os, oc}} {
		if !delivers(t, p[0], p[1], "hello", 10*time.Second) {
			t.Error("another connection died")
		}
	}
	apply(before)
	sc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if got, err := io.ReadAll(io.LimitReader(sc, int64(len("from the guest")))); err != nil || string(got) != "from the guest" {
		t.Errorf("after the rule came back: %q, %v", got, err)
	}
}

// oneWay: the guest has asked once, and only the other end sends since.
func oneWay(t *testing.T, d Driver) {
	stream, other := Rule(1, model.Egress, model.IPv4, Proto(17, 5000, 5000)), Rule(2, model.Egress, model.IPv4, Proto(17, 5001, 5001), FromGroup(ID(700)))
	before, after := Group(1, true, stream, other), Group(1, true, other)
	v := Port(11, []*model.GroupView{before}, vm4)
	v.AddressPairs = []model.AddressPair{{Prefix: pfx("10.0.0.100/32"), MAC: v.MAC}}
	w := d(t, v)
	input := w.input(v, before)
	input.Members = Members(ID(700), far4+"/32")
	apply := func() {
		t.Helper()
		w.Apply(t, input)
		w.Settle(t, input)
	}
	apply()
	in4 := w.to(far4, vm4)
	toPair := w.to(far4, "10.0.0.100")
	w.Check(t, []Probe{
		{"a question", false, in4.Back().UDP(4000, 5000), true},
		{"an answer", true, in4.UDP(5000, 4000), true},
		{"another question", false, in4.Back().UDP(4000, 5001), true},
		{"its answer", true, in4.UDP(5001, 4000), true},
		{"a question from a pair", false, toPair.Back().UDP(4000, 5001), true},
		{"its answer", true, toPair.UDP(5001, 4000), true},
	})
	input.Groups = Groups(after)
	apply()
	w.Check(t, []Probe{
		{"rule gone: its answer", true, in4.UDP(5000, 4000), false},
		{"rule gone: another's answer", true, in4.UDP(5001, 4000), true},
		{"rule gone: a pair's answer", true, toPair.UDP(5001, 4000), true},
	})
	c := *v
	c.AddressPairs = nil
	input.Ports[0].View = &c
	apply()
	w.Check(t, []Probe{
		{"pair gone: its answer", true, toPair.UDP(5001, 4000), false},
		{"pair gone: another's answer", true, in4.UDP(5001, 4000), true},
	})
	input.Members = Members(ID(700), else4+"/32")
	apply()
	w.Check(t, []Probe{{"member gone: its answer", true, in4.UDP(5001, 4000), false}})
}
