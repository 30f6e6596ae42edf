package iptables

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/model"
	"weft/internal/testkit/filtertest"
)

// hybridZone is the conntrack zone of the wire's network.
const hybridZone = 4097

// bothBackends runs a test over both kernel interfaces.
func bothBackends(t *testing.T, f func(t *testing.T, b Backend)) {
	for _, b := range []Backend{NFT, Legacy} {
		t.Run(string(b), func(t *testing.T) { f(t, b) })
	}
}

func TestHybrid(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		filtertest.Run(t, func(t testing.TB, v *model.PortView) *filtertest.Wire {
			w, _ := wire(t, b, v)
			return w
		})
	})
}

// wire is a TAP and a qvb on a Linux bridge in a host namespace, with a VM behind
// the one and the network behind the other.
func wire(t testing.TB, b Backend, v *model.PortView) (*filtertest.Wire, *Manager) {
	t.Helper()
	host := filtertest.NewNamespace(t)
	filtertest.Sh(t, filtertest.In(host, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"))
	s := v.ID.DeviceSuffix()
	filtertest.Sh(t, "ip -n "+host+" link add qbr"+s+" type bridge forward_delay 0 mcast_snooping 0")
	filtertest.Sh(t, "ip -n "+host+" link set qbr"+s+" up")
	attach := func(device string, mac model.MAC) *filtertest.Guest {
		return filtertest.NewGuest(t, mac, func(ns string) {
			filtertest.Sh(t, "ip -n "+host+" link add "+device+" type veth peer name eth0 address "+mac.String()+" netns "+ns)
			filtertest.Sh(t, "ip -n "+host+" link set "+device+" master qbr"+s+" up")
		})
	}
	m := openManager(t, host, b)
	ctx := context.Background()
	ports := map[model.PortID]*model.PortView{}
	var marks atomic.Uint64
	return &filtertest.Wire{
		Zone: hybridZone, VM: attach("tap"+s, v.MAC), Peer: attach("qvb"+s, model.MAC{0xfa, 0x16, 0x3e, 0, 0xe, 0xe}),
		Apply: func(t testing.TB, in firewall.Input) {
			t.Helper()
			apply(t, m, in)
		},
		Settle: func(t testing.TB, in firewall.Input) {
			t.Helper()
			wantConverged(t, m, state(firewall.Hybrid(in)))
			// As the agent does with a port that has lost an address.
			policy := firewall.NewPolicy(in)
			for _, p := range in.Ports {
				if old := ports[p.View.ID]; old != nil {
					for _, gone := range firewall.Released(old, p.View) {
						if _, err := m.ForgetConnections(ctx, hybridZone, func(c firewall.Conn) bool {
							return (gone.Contains(c.Src) || gone.Contains(c.Dst)) && !policy.Knows(hybridZone, c)
						}); err != nil {
							t.Fatal(err)
						}
					}
				}
				ports[p.View.ID] = p.View
			}
			cut, err := m.CutConnections(ctx, hybridZone, policyOf(in))
			if err != nil {
				t.Fatal(err)
			}
			if again, err := m.CutConnections(ctx, hybridZone, policyOf(in)); err != nil || again != (Cut{}) {
				t.Fatalf("after %+v, cut again %+v, %v", cut, again, err)
			}
		},
		Tracked: func(t testing.TB) int {
			return strings.Count(filtertest.Sh(t, filtertest.In(host, "conntrack -L 2>/dev/null || true")), "src=") / 2
		},
		Passes: func(t testing.TB, from, to *filtertest.Guest, frames ...[]byte) bool {
			t.Helper()
			return passes(t, marks.Add(1), from, to, frames...)
		},
	}, m
}

func policyOf(in firewall.Input) func(firewall.Conn) bool {
	p := firewall.NewPolicy(in)
	return func(c firewall.Conn) bool { return p.Allows(hybridZone, c) }
}

// passes sends frames from one guest to the other and tells whether the last
// arrives. A marker that no rule touches follows: when the marker is there, the
// frame is there or was dropped.
func passes(t testing.TB, n uint64, from, to *filtertest.Guest, frames ...[]byte) bool {
	t.Helper()
	mark := make([]byte, 46)
	copy(mark, "wf-mark.")
	binary.BigEndian.PutUint64(mark[8:], n)
	everyone := model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	from.Send(t, append(frames, filtertest.Ethernet(from.MAC, everyone, 0x88b5, mark))...) // IEEE 802 local experimental ethertype
	seen := false
	buf := make([]byte, 4096)
	for {
		f := to.Receive(t, buf)
		if bytes.Contains(f, mark[:16]) {
			return seen
		}
		seen = seen || filtertest.IsFrame(f, frames[len(frames)-1])
	}
}

// TestPriorityTagsDoNotHideASource: a frame with VLAN tag 0 is filtered as what
// it holds. (The switch drops it later.)
func TestPriorityTagsDoNotHideASource(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		g := filtertest.Group(1, true, filtertest.Rule(1, model.Egress, model.IPv4))
		v := filtertest.Port(11, []*model.GroupView{g}, "10.0.0.11")
		w, _ := wire(t, b, v)
		w.Apply(t, firewall.Input{Ports: []firewall.PortInput{{View: v, Network: filtertest.Network(), Zone: w.Zone}}, Groups: filtertest.Groups(g)})
		flow := func(src string) filtertest.Flow {
			return filtertest.Flow{SrcMAC: v.MAC, DstMAC: w.Peer.MAC, Src: src, Dst: "10.0.0.54"}
		}
		w.Check(t, []filtertest.Probe{
			{Name: "own address", Frame: filtertest.PriorityTagged(flow("10.0.0.11").UDP(1, 2)), Passes: true},
			{Name: "another address", Frame: filtertest.PriorityTagged(flow("10.0.0.12").UDP(1, 2)), Passes: false},
		})
	})
}

// TestConnectionsAreCutOnceAndForgotten counts what is done to the tracker.
func TestConnectionsAreCutOnceAndForgotten(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		ssh, out := filtertest.Rule(1, model.Ingress, model.IPv4, filtertest.Proto(17, 22, 22)), filtertest.Rule(2, model.Egress, model.IPv4)
		before, after := filtertest.Group(1, true, ssh, out), filtertest.Group(1, true, out)
		v := filtertest.Port(11, []*model.GroupView{before}, "10.0.0.11")
		w, m := wire(t, b, v)
		in := firewall.Input{Ports: []firewall.PortInput{{View: v, Network: filtertest.Network(), Zone: w.Zone}}}
		step := func(g *model.GroupView, want Cut) {
			t.Helper()
			in.Groups = filtertest.Groups(g)
			w.Apply(t, in)
			for _, want := range []Cut{want, {}} {
				if cut, err := m.CutConnections(t.Context(), hybridZone, policyOf(in)); err != nil || cut != want {
					t.Fatalf("cut %+v, %v, want %+v", cut, err, want)
				}
			}
		}
		step(before, Cut{})
		toVM := filtertest.Flow{SrcMAC: w.Peer.MAC, DstMAC: v.MAC, Src: "10.0.0.54", Dst: "10.0.0.11"}
		w.Check(t, []filtertest.Probe{{Name: "in", ToVM: true, Frame: toVM.UDP(1000, 22), Passes: true}, {Name: "out", Frame: toVM.Back().UDP(2000, 53), Passes: true}})
		step(before, Cut{})
		step(after, Cut{Killed: 1})
		step(before, Cut{Freed: 1})
		w.Check(t, []filtertest.Probe{{Name: "in", ToVM: true, Frame: toVM.UDP(1000, 22), Passes: true}})
		own := func(c firewall.Conn) bool {
			return c.Src.String() == "10.0.0.11" || c.Dst.String() == "10.0.0.11"
		}
		for _, want := range []int{2, 0} {
			if n, err := m.ForgetConnections(t.Context(), hybridZone, own); err != nil || n != want {
				t.Errorf("forgot %d, %v, want %d", n, err, want)
			}
		}
	})
}
