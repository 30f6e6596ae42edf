package iptables

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/host/firewall"
	"weft/internal/model"
)

// numbered puts a number into a UDP packet of a flow.
func (f flow) numbered(sport, dport uint16, n uint64) []byte {
	b := make([]byte, 8+16)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	copy(b[8:], "wf-numb.")
	binary.BigEndian.PutUint64(b[16:], n)
	return f.packet(17, checksummed(addr(f.src), addr(f.dst), 17, b, 6))
}

// TestNoPacketIsLostOrLetThroughWhileRulesChange sends, about every
// millisecond and without pause, packets that every version of the rules allows
// and packets that every version forbids, while rules, members, sets and other
// ports come and go (V1, V2).
func TestNoPacketIsLostOrLetThroughWhileRulesChange(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		base := []model.RuleView{
			rule(1, model.Ingress, model.IPv4, proto(17, 53, 53)),
			rule(2, model.Ingress, model.IPv4, proto(17, 54, 54), fromGroup(id(700))),
			rule(3, model.Egress, model.IPv4),
		}
		g := group(1, true, base...)
		v := port(11, []*model.GroupView{g}, vm4)
		w := newWire(t, v)
		m := openManager(t, w.host, b)
		input := w.input(v, g)
		input.Members = members(id(700), far4+"/32")
		apply(t, m, input)
		in4, out4 := w.to(far4, vm4), w.from(vm4, far4)
		if !passes(t, w.vm, w.peer, out4.udp(4000, 5000)) || !passes(t, w.peer, w.vm, out4.back().udp(5000, 4000)) {
			t.Fatal("no connection to begin with")
		}

		stop, sent := make(chan struct{}), make(chan uint64)
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
				w.peer.send(t, in4.numbered(1000, 53, n), in4.numbered(1000, 54, n), out4.back().numbered(5000, 4000, n), // allowed by all
					in4.numbered(1000, 55, n), w.to(else4, vm4).numbered(1000, 54, n), in4.numbered(5000, 4001, n)) // by none
			}
		}()
		for i := range 60 {
			c := *g
			switch i % 6 {
			case 0: // one rule more
				c.Rules = append(append([]model.RuleView{rule(9, model.Ingress, model.IPv4, proto(6, 22, 22))}, base...), rule(10, model.Ingress, model.IPv4, proto(1, -1, -1)))
			case 1: // the chain is written anew
				c.Rules = nil
				for p := range 40 {
					c.Rules = append(c.Rules, rule(100+p, model.Ingress, model.IPv4, proto(6, 100+p, 100+p)))
				}
				c.Rules = append(c.Rules, base...)
			case 2: // members come, the set with many grows
				input.Members = members(id(700), far4+"/32", fmt.Sprintf("10.3.0.%d/32", i), "10.4.0.0/16")
			case 3:
				input.Members = members(id(700), "10.0.0.0/24")
			case 4: // another port comes
				input.Ports = append(input.Ports, firewall.PortInput{View: port(40+i, []*model.GroupView{g}, "10.0.0.40"), Network: network(), Zone: 4098})
			case 5: // and goes
				input.Ports = input.Ports[:1]
			}
			input.Groups = groups(&c)
			apply(t, m, input)
		}
		close(stop)
		n := <-sent

		got := map[uint16]uint64{}
		strangers := 0
		w.peer.send(t, ethernet(w.peer.mac, everyone, 0x88b5, []byte("wf-the-end......................................")))
		buf := make([]byte, 4096)
		for done := false; !done; {
			pollFor(t, w.vm.fd)
			k, err := unix.Read(w.vm.fd, buf)
			if err != nil {
				t.Fatal(err)
			}
			f := buf[:k]
			done = bytes.Contains(f, []byte("wf-the-end"))
			if i := bytes.Index(f, []byte("wf-numb.")); i >= 42 {
				got[binary.BigEndian.Uint16(f[36:])]++
				if src, _ := netip.AddrFromSlice(f[26:30]); src == addr(else4) {
					strangers++
				}
			}
		}
		t.Logf("%d rounds of probes in 60 updates", n)
		for _, p := range []uint16{53, 54, 4000} {
			if got[p] != n {
				t.Errorf("port %d: %d of %d packets arrived", p, got[p], n)
			}
		}
		if got[55]+got[4001]+uint64(strangers) > 0 {
			t.Errorf("forbidden packets arrived: %v, of strangers %d", got, strangers)
		}
	})
}

// TestThePolicyDecidesAsTheRulesDo asks both about the first packets of random
// connections.
func TestThePolicyDecidesAsTheRulesDo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	for round := range 6 {
		var rules []model.RuleView
		for i := range 6 {
			e := []model.EtherType{model.IPv4, model.IPv6}[r.IntN(2)]
			d := []model.Direction{model.Ingress, model.Egress}[r.IntN(2)]
			p := []int{model.ProtocolAny, 6, 17, 17, 1, 132}[r.IntN(6)]
			ru := rule(i+1, d, e)
			if p == 1 {
				ru.Protocol, ru.PortMin = map[model.EtherType]int{model.IPv4: 1, model.IPv6: 58}[e], map[model.EtherType]int{model.IPv4: 8, model.IPv6: 128}[e]
			} else if ru.Protocol = p; p > 1 && r.IntN(3) > 0 {
				ru.PortMin = r.IntN(4)
				ru.PortMax = ru.PortMin + r.IntN(3)
			}
			switch r.IntN(4) {
			case 0:
				ru.RemoteGroup.UUID = id(700)
			case 1:
				ru.RemotePrefix = pfx(map[model.EtherType]string{model.IPv4: "10.0.0.48/28", model.IPv6: "2001:db8::40/122"}[e])
			}
			rules = append(rules, ru)
		}
		g := group(1, true, rules...)
		v := port(11, []*model.GroupView{g}, vm4, vm6)
		v.AdminStateUp = round != 5
		w := newWire(t, v)
		m := openManager(t, w.host, NFT)
		input := w.input(v, g)
		input.Members = members(id(700), else4+"/32", "2001:db8:9::/48", "10.0.0.128/25")
		apply(t, m, input)
		policy := firewall.NewPolicy(input)
		for i := range 120 {
			c := firewall.Conn{Src: addr(pick(far4, else4, "10.0.0.200")), Dst: addr(vm4), SrcPort: uint16(20000 + i), DstPort: uint16(r.IntN(6))}
			own := vm4
			if r.IntN(2) == 0 {
				c.Src, c.Dst, own = addr(pick(far6, "2001:db8:9::1", "2001:db8:8::1")), addr(vm6), vm6
			}
			f, from, to := w.to(c.Src.String(), own), w.peer, w.vm
			if r.IntN(2) == 0 {
				c.Src, c.Dst = c.Dst, c.Src
				f, from, to = f.back(), w.vm, w.peer
			}
			var frame []byte
			switch c.Protocol = []uint8{6, 17, 1}[r.IntN(3)]; c.Protocol {
			case 6:
				frame = f.tcp(c.SrcPort, c.DstPort, syn, 1, 0)
			case 17:
				frame = f.udp(c.SrcPort, c.DstPort)
			case 1:
				if c.Type = 8; own == vm6 {
					c.Protocol, c.Type = 58, 128
				}
				frame = f.icmp(c.Type, 0, uint16(i))
			}
			if got, want := policy.Allows(4097, c), passes(t, from, to, frame); got != want {
				t.Errorf("%+v: the policy says %v, the rules %v; rules: %+v", c, got, want, rules)
			}
		}
	}
}

// address gives a guest an IPv4 address and a TCP stack that uses it.
func (g *guest) address(t testing.TB, a string) {
	t.Helper()
	sh(t, "ip -n "+g.ns+" addr add "+a+"/24 dev eth0")
	// Frames of a veth carry unfinished checksums, which are right inside one kernel.
	unix.Close(g.fd)
	g.fd = -1
}

// talk connects from one guest to a port of another, with both ends kept open.
func talk(t testing.TB, from, to *guest, toAddr string, port int) (client, server net.Conn) {
	t.Helper()
	var l net.Listener
	inThread(t, to.ns, func() (err error) { l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", toAddr, port)); return })
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
	inThread(t, from.ns, func() (err error) {
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

// TestARevokedRuleEndsItsConnectionsAndNoOthers: established TCP connections, of
// which the guest goes on sending, die with the rule that allowed them; those of
// other rules and of other directions live; once allowed again, it lives again (V10).
func TestARevokedRuleEndsItsConnectionsAndNoOthers(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		ssh, http := rule(1, model.Ingress, model.IPv4, proto(6, 22, 22)), rule(2, model.Ingress, model.IPv4, proto(6, 80, 80))
		rest := []model.RuleView{rule(3, model.Egress, model.IPv4)}
		before, after := group(1, true, append(rest, ssh, http)...), group(1, true, append(rest, http)...)
		v := port(11, []*model.GroupView{before}, vm4)
		w := newWire(t, v)
		w.vm.address(t, vm4)
		w.peer.address(t, far4)
		m := openManager(t, w.host, b)
		input := w.input(v, before)
		apply(t, m, input)
		ctx := context.Background()
		sc, ss := talk(t, w.peer, w.vm, vm4, 22)
		hc, hs := talk(t, w.peer, w.vm, vm4, 80)
		oc, os := talk(t, w.vm, w.peer, far4, 8080)
		all := func() {
			t.Helper()
			for _, p := range [][2]net.Conn{{sc, ss}, {ss, sc}, {hc, hs}, {hs, hc}, {oc, os}, {os, oc}} {
				if !delivers(t, p[0], p[1], "hello", 10*time.Second) {
					t.Fatal("an allowed connection does not deliver")
				}
			}
		}
		all()
		if cut, err := m.CutConnections(ctx, 4097, policyOf(input)); err != nil || cut != (Cut{}) {
			t.Fatalf("nothing was revoked: %+v, %v", cut, err)
		}
		input.Groups = groups(after)
		apply(t, m, input)
		if cut, err := m.CutConnections(ctx, 4097, policyOf(input)); err != nil || cut != (Cut{Killed: 1}) {
			t.Fatalf("cut %+v, %v", cut, err)
		}
		if cut, err := m.CutConnections(ctx, 4097, policyOf(input)); err != nil || cut != (Cut{}) {
			t.Fatalf("cut twice: %+v, %v", cut, err)
		}
		// The guest's end sends first: this is what brings a merely deleted entry back.
		if delivers(t, ss, sc, "from the guest", 700*time.Millisecond) || delivers(t, sc, ss, "to the guest", 700*time.Millisecond) {
			t.Error("the revoked connection lives")
		}
		for _, p := range [][2]net.Conn{{hc, hs}, {hs, hc}, {oc, os}, {os, oc}} {
			if !delivers(t, p[0], p[1], "hello", 10*time.Second) {
				t.Error("another connection died")
			}
		}
		input.Groups = groups(before)
		apply(t, m, input)
		if cut, err := m.CutConnections(ctx, 4097, policyOf(input)); err != nil || cut != (Cut{Freed: 1}) {
			t.Fatalf("cut %+v, %v", cut, err)
		}
		sc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if got, err := io.ReadAll(io.LimitReader(sc, int64(len("from the guest")))); err != nil || string(got) != "from the guest" {
			t.Errorf("after the rule came back: %q, %v", got, err)
		}
		n, err := m.ForgetConnections(ctx, 4097, func(c firewall.Conn) bool { return c.Src == addr(vm4) || c.Dst == addr(vm4) })
		if err != nil || n != 3 {
			t.Errorf("forgot %d, %v", n, err)
		}
		if n, err = m.ForgetConnections(ctx, 4097, func(firewall.Conn) bool { return true }); err != nil || n > 3 {
			t.Errorf("left %d, %v", n, err)
		}
	})
}

func policyOf(in firewall.Input) func(firewall.Conn) bool {
	p := firewall.NewPolicy(in)
	return func(c firewall.Conn) bool { return p.Allows(4097, c) }
}
