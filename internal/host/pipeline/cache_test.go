package pipeline

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// holder is a bridge that follows what a Cache says.
type holder struct {
	holds map[string]flow.Flow
	list  []flow.Flow
	at    uint64
}

func (h *holder) follow(t *rapid.T, list []flow.Flow, s flow.Step) {
	if s.To == h.at {
		s = flow.Step{To: s.To} // the same output as before
	} else if s.From != h.at {
		t.Fatalf("the step begins at %d, not at %d", s.From, h.at)
	}
	add, del := flow.Diff(list, h.list, nil)
	for _, f := range append(del, s.Del...) {
		delete(h.holds, f.Key())
	}
	for _, f := range append(add, s.Add...) {
		h.holds[f.Key()] = f
	}
	h.list, h.at = list, s.To
}

// equals compares with what shall be there, and with what the lists together say.
func (h *holder) equals(t *rapid.T, want, whole []flow.Flow) {
	for name, got := range map[string][]flow.Flow{"by steps": slices.Collect(maps.Values(h.holds)), "in lists": whole} {
		if add, del := flow.Diff(want, got, nil); len(add)+len(del) > 0 || len(got) != len(want) {
			t.Fatalf("%s %d flows, want %d; lacks\n%shas\n%s", name, len(got), len(want), text(add), text(del))
		}
	}
}

// changePeers lets peers come, go, change and move, in the map itself.
func changePeers(t *rapid.T, in Input) {
	for range rapid.IntRange(1, 3).Draw(t, "peers change") {
		p := rapid.IntRange(21, 29).Draw(t, "peer")
		if rapid.IntRange(0, 2).Draw(t, "goes") == 0 {
			delete(in.Peers, peerID(p))
			continue
		}
		in.peer(rapid.IntRange(1, len(in.Networks)+1).Draw(t, "network"), p, rapid.SampledFrom([]string{"10.0.1.21", "10.0.1.21", "10.0.1.32", "10.0.1.33", ""}).Draw(t, "host"))
		switch v := in.Peers[peerID(p)]; rapid.IntRange(0, 9).Draw(t, "odd") {
		case 0:
			v.MAC = rapid.SampledFrom([]model.MAC{{}, mac(21), mac(22), mac(101)}).Draw(t, "peer mac")
		case 1:
			v.Addrs = append(v.Addrs, netip.AddrFrom4([4]byte{10, 0, 1, byte(rapid.IntRange(20, 23).Draw(t, "address"))}))
		case 2:
			v.Addrs = []netip.Addr{addr("10.0.1.1"), addr("2001:db8::5")}
		}
	}
}

// TestACacheFollowsAsComputeSays: whatever sequence of inputs, what follows the lists and steps of a Cache has the flows that
// Compute makes of the last input alone, and all else of the output is the same.
func TestACacheFollowsAsComputeSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Cache
		brInt, brTun := holder{holds: map[string]flow.Flow{}}, holder{holds: map[string]flow.Flow{}}
		in := drawInput(t)
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			out, want := c.Compute(in), Compute(in)
			brInt.follow(t, out.BrInt, out.IntPeers)
			brTun.follow(t, out.BrTun, out.TunPeers)
			brInt.equals(t, want.BrInt, slices.Concat(out.BrInt, c.IntPeers()))
			brTun.equals(t, want.BrTun, slices.Concat(out.BrTun, c.TunPeers()))
			if n := len(want.BrInt) - len(out.BrInt); out.IntPeers.Total != n {
				t.Fatalf("counts %d flows of peers, want %d", out.IntPeers.Total, n)
			}
			if n := len(want.BrTun) - len(out.BrTun); out.TunPeers.Total != n {
				t.Fatalf("counts %d flows of peers, want %d", out.TunPeers.Total, n)
			}
			got := *out
			got.BrInt, got.BrTun, got.IntPeers, got.TunPeers = nil, nil, flow.Step{}, flow.Step{}
			want.BrInt, want.BrTun = nil, nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Fatalf("the rest is\n%+v, want\n%+v", got, want)
			}
			if again := c.Compute(in); again != out {
				t.Fatal("the same input has another output")
			}
			if rapid.IntRange(0, 3).Draw(t, "all change") == 0 {
				peers := in.Peers
				if in = drawInput(t); rapid.Bool().Draw(t, "but for peers") {
					in.Peers = peers
				}
			} else {
				changePeers(t, in)
			}
		}
	})
}

// large is a host with a port on a network of n peers on two hosts.
func large(n int) Input {
	in := host().network(1, model.TypeGRE, 100).port(1, 11)
	for p := range n {
		comeTo(in, p)
	}
	return in
}

func comeTo(in Input, p int) {
	in.peer(1, 1000+p, []string{"10.0.1.21", "10.0.1.32"}[p%2])
	in.Peers[peerID(1000+p)].Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(p >> 8), byte(p)})}
}

// TestAPeerIsNotPaidForByTheOthers: of 1,000 peers one goes, another comes and a third moves to another host. Each time the flows
// of that one alone change, and nothing else is made anew.
func TestAPeerIsNotPaidForByTheOthers(t *testing.T) {
	routed := large(1000)
	routed.network(2, model.TypeGRE, 200).port(2, 12).router(1, true, []string{"10.0.1.21"}, 1, 2)
	for p := range 1000 { // within the leg's subnet, as far as it goes
		routed.Peers[peerID(1000+p)].Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, byte(p / 200), 1, byte(30 + p%200)})}
	}
	for name, in := range map[string]Input{"one network": large(1000), "a distributed router": routed} {
		t.Run(name, func(t *testing.T) {
			var c Cache
			before := c.Compute(in)
			built := c.b
			gone := in.Peers[peerID(1007)]
			moved := *in.Peers[peerID(1008)]
			moved.Tunnel = addr("10.0.1.21")
			if moved.Tunnel == in.Peers[peerID(1008)].Tunnel {
				moved.Tunnel = addr("10.0.1.32")
			}
			for _, s := range []struct {
				what     string
				do       func()
				add, del int // on br-tun
			}{
				{"goes", func() { delete(in.Peers, gone.PortID) }, 0, 2},
				{"comes", func() { in.Peers[gone.PortID] = gone }, 2, 0},
				{"moves", func() { in.Peers[moved.PortID] = &moved }, 1, 0},
			} {
				s.do()
				out := c.Compute(in)
				if c.b != built || &out.BrInt[0] != &before.BrInt[0] || &out.BrTun[0] != &before.BrTun[0] {
					t.Errorf("one %s: all is made anew", s.what)
				}
				if len(out.TunPeers.Add) != s.add || len(out.TunPeers.Del) != s.del {
					t.Errorf("one %s: added\n%sdeleted\n%s", s.what, text(out.TunPeers.Add), text(out.TunPeers.Del))
				}
			}
		})
	}
}

// TestWhatAPeerLeavesIsAnothers: of two peers that claim one address, or one MAC, the one that had to go without has it when the
// other is gone.
func TestWhatAPeerLeavesIsAnothers(t *testing.T) {
	for name, spoil := range map[string]func(first, second *model.PeerView){
		"address": func(first, second *model.PeerView) { second.Addrs = first.Addrs },
		"MAC":     func(first, second *model.PeerView) { second.MAC = first.MAC },
	} {
		for _, l2pop := range []bool{true, false} {
			in := host().network(1, model.TypeGRE, 100).network(2, model.TypeGRE, 200).port(1, 11).port(2, 12).
				peer(1, 21, "10.0.1.21").peer(1, 22, "10.0.1.21").peer(1, 23, "10.0.1.21").router(1, true, []string{"10.0.1.21"}, 1, 2)
			in.L2Population = l2pop
			spoil(in.Peers[peerID(21)], in.Peers[peerID(22)])
			var c Cache
			c.Compute(in)
			delete(in.Peers, peerID(21))
			out, want := c.Compute(in), Compute(in)
			for bridge, flows := range map[string][2][]flow.Flow{
				"br-int": {want.BrInt, append(slices.Clone(out.BrInt), c.IntPeers()...)}, "br-tun": {want.BrTun, append(slices.Clone(out.BrTun), c.TunPeers()...)},
			} {
				if add, del := flow.Diff(flows[0], flows[1], nil); len(add)+len(del) > 0 {
					t.Errorf("%s, l2population %v: %s lacks\n%shas\n%s", name, l2pop, bridge, text(add), text(del))
				}
			}
		}
	}
}

// BenchmarkPeerOf10000 is a peer that comes to or goes from a network of 10,000, and a change of the host's own port, which makes
// everything anew.
func BenchmarkPeerOf10000(b *testing.B) {
	run := func(name string, change func(in *Input, i int)) {
		b.Run(name, func(b *testing.B) {
			in := large(10_000)
			var c Cache
			c.Compute(in)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				change(&in, i)
				c.Compute(in)
			}
		})
	}
	run("peer", func(in *Input, i int) {
		if comeTo(*in, 10_000); i%2 == 1 {
			delete(in.Peers, peerID(11_000))
		}
	})
	run("port", func(in *Input, i int) {
		v := *in.Ports[portID(11)]
		in.Ports = maps.Clone(in.Ports)
		in.Ports[v.ID] = &v
	})
	run("nothing", func(*Input, int) {})
}
