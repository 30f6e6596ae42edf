package pipeline

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// anyAddr is an address that a port may have, or one that is odd.
var anyAddr = rapid.Custom(func(t *rapid.T) netip.Addr {
	return addr(rapid.SampledFrom([]string{"10.0.1.2", "10.0.1.11", "2001:db8::2", "2001:db8::11", "169.254.169.254", "fe80::a9fe:a9fe", "fe80::f816:3eff:fe00:b", "::ffff:10.0.1.11"}).Draw(t, "address"))
})

// drawInput makes a host with a few networks of all types, ports and peers;
// some of them are wrong.
func drawInput(t *rapid.T) Input {
	in := host()
	in.L2Population = rapid.Bool().Draw(t, "l2population")
	in.Local.Services = rapid.SampledFrom([]uint32{0, 80}).Draw(t, "services")
	types := []model.NetworkType{model.TypeGRE, model.TypeVXLAN, model.TypeGeneve, model.TypeVLAN, model.TypeFlat, model.TypeLocal, "bogus"}
	networks := rapid.IntRange(1, 5).Draw(t, "networks")
	for n := 1; n <= networks; n++ {
		in.network(n, rapid.SampledFrom(types).Draw(t, "type"), uint32(rapid.IntRange(0, 4096).Draw(t, "tag")))
		v := in.Networks[netID(n)].View
		v.DHCPAddrs = append(v.DHCPAddrs, rapid.SliceOfN(anyAddr, 0, 2).Draw(t, "dhcp addresses")...)
	}
	anyMAC := rapid.Custom(func(t *rapid.T) model.MAC {
		return rapid.SampledFrom([]model.MAC{{}, broadcast, mac(11), mac(12), mac(21), {0, 0, 0x5e, 0, 1, 7}}).Draw(t, "mac")
	})
	for p := 11; p < 11+rapid.IntRange(0, 6).Draw(t, "ports"); p++ {
		in.port(rapid.IntRange(1, networks+1).Draw(t, "network"), p)
		v := in.Ports[portID(p)]
		v.PortSecurity = rapid.Bool().Draw(t, "security")
		for _, a := range rapid.SliceOfN(anyAddr, 0, 2).Draw(t, "addresses") {
			v.FixedIPs = append(v.FixedIPs, model.FixedIP{Addr: a})
		}
		in.Local.Filtered[portID(p)] = rapid.Bool().Draw(t, "filtered")
		v.AdminStateUp = rapid.Float64().Draw(t, "up") < 0.9
		if rapid.Bool().Draw(t, "pairs") {
			v.AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix(rapid.SampledFrom([]string{"0.0.0.0/0", "::/0", "10.0.1.11/32", "10.9.0.1/16"}).Draw(t, "prefix")), MAC: anyMAC.Draw(t, "pair")}}
		}
		if rapid.Float64().Draw(t, "odd") < 0.1 {
			v.MAC = anyMAC.Draw(t, "port mac")
			in.Local.Ports[portID(p)] = rapid.SampledFrom([]uint32{0, 1, 11, 80, 90, 70000, 0xffffffff}).Draw(t, "ofport")
		}
	}
	for p := 21; p < 21+rapid.IntRange(0, 8).Draw(t, "peers"); p++ {
		in.peer(rapid.IntRange(1, networks+1).Draw(t, "network"), p,
			rapid.SampledFrom([]string{"10.0.1.21", "10.0.1.32", "10.0.1.33", "10.0.1.31", ""}).Draw(t, "host"))
		if rapid.Float64().Draw(t, "odd") < 0.1 {
			in.Peers[peerID(p)].MAC = anyMAC.Draw(t, "peer mac")
			in.Peers[peerID(p)].Addrs = []netip.Addr{addr("10.0.1.21")}
		}
	}
	for r := 1; r < 1+rapid.IntRange(0, 2).Draw(t, "routers"); r++ {
		gateways := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"10.0.1.21", "10.0.1.31", "10.0.1.32"}), 0, 3, rapid.ID).Draw(t, "gateways")
		in.router(r, rapid.Bool().Draw(t, "distributed"), gateways, rapid.SliceOfNDistinct(rapid.IntRange(1, networks+1), 0, 3, rapid.ID).Draw(t, "legs")...)
		if rapid.Bool().Draw(t, "here") {
			in.here(r, rapid.Bool().Draw(t, "active"))
		}
		for i := range in.Routers[routerID(r)].View.Legs {
			l := &in.Routers[routerID(r)].View.Legs[i]
			l.Scope.UUID, l.Scope6.UUID = uuid(0x60, rapid.IntRange(1, 2).Draw(t, "scope")), uuid(0x60, rapid.IntRange(1, 2).Draw(t, "scope6"))
			if rapid.Bool().Draw(t, "ipv6") {
				l.Addrs = append(l.Addrs, netip.MustParsePrefix(rapid.SampledFrom([]string{"2001:db8::1/64", "2001:db8:1::1/64"}).Draw(t, "leg address")))
			}
			if rapid.Float64().Draw(t, "odd") < 0.1 {
				l.MAC = anyMAC.Draw(t, "leg mac")
			}
		}
		drawFloating(t, in, r, networks, anyMAC)
	}
	return in
}

// drawFloating gives a router an external leg and its ports floating IPs, for which the host has legs of it; some of
// that does not fit together.
func drawFloating(t *rapid.T, in Input, r, networks int, anyMAC *rapid.Generator[model.MAC]) {
	if !rapid.Bool().Draw(t, "external") {
		return
	}
	v := in.Routers[routerID(r)].View
	n := rapid.IntRange(1, networks+1).Draw(t, "external network")
	v.External = &model.ExternalView{LegView: model.LegView{
		PortID: portID(900 + r), NetworkID: netID(n), MAC: mac(900 + r), MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.120/24")},
	}}
	if rapid.Float64().Draw(t, "odd") < 0.1 {
		v.External.MAC = anyMAC.Draw(t, "external mac")
	}
	v.Routes = []model.Route{{Destination: netip.MustParsePrefix(rapid.SampledFrom([]string{"192.0.2.0/24", "10.0.1.0/24", "0.0.0.0/0", "2001:db8:9::/64"}).Draw(t, "destination")), NextHop: addr("10.0.1.99")}}
	for i, l := range append([]model.LegView{v.External.LegView}, v.Legs...) {
		if in.Local.Ports[l.PortID] == 0 && rapid.Float64().Draw(t, "here") < 0.8 {
			in.Local.Ports[l.PortID] = uint32(60 + 10*r + i)
		}
	}
	for p := 11; p < 17; p++ {
		port := in.Ports[portID(p)]
		if port == nil || !rapid.Bool().Draw(t, "floating") {
			continue
		}
		f := &model.FloatingView{ID: model.FloatingIPID{UUID: uuid(0x50, 100*r+p)}, RouterID: v.ID, PortID: port.ID, AtPort: true,
			Addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(p)}), Fixed: rapid.SampledFrom(port.FixedIPs).Draw(t, "fixed").Addr}
		in.Floating[f.ID] = f
	}
}

func (o Output) all() map[string][]flow.Flow {
	m := map[string][]flow.Flow{"br-int": o.BrInt, "br-tun": o.BrTun}
	for b, flows := range o.Physical {
		m[b] = flows
	}
	return m
}

func TestOutputIsAFunctionOfTheInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		first := dump(Compute(in))
		for range 3 { // Go walks its maps in another order each time
			if again := dump(Compute(in)); again != first {
				t.Fatalf("two computations differ:\n%s\n%s", first, again)
			}
		}
	})
}

func TestNoTwoFlowsHaveTheSameKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for bridge, flows := range Compute(drawInput(t)).all() {
			seen := map[string]flow.Flow{}
			for _, f := range flows {
				if other, found := seen[f.Key()]; found {
					t.Fatalf("%s: one of these would be lost:\n%s\n%s", bridge, f, other)
				}
				seen[f.Key()] = f
				if !Mine(f) {
					t.Fatalf("%s: not ours by its cookie: %s", bridge, f)
				}
			}
		}
	})
}

// TestBrIntNeverUsesNormal holds because NORMAL reaches every port that has no
// tag yet, whoever plugged it.
func TestBrIntNeverUsesNormal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		out := Compute(in)
		may := map[uint32]bool{flow.PortInPort: true, in.Local.PatchTun: true, 90: true, in.Local.Services: in.Local.Services != 0}
		for _, id := range out.Wired {
			may[in.Local.Ports[id]] = true
		}
		for _, f := range in.Floating { // to the leg of the router whose floating IP it is
			for _, l := range in.Routers[f.RouterID].View.Legs {
				may[in.Local.Ports[l.PortID]] = true
			}
		}
		for _, id := range out.External {
			may[in.Local.Ports[id]] = true
		}
		for _, f := range out.BrInt {
			for _, a := range f.Actions {
				if o, isOutput := a.(flow.Output); isOutput && !may[o.Port] {
					t.Fatalf("reaches a port that is not wired: %s", f)
				}
			}
		}
	})
}

func TestEveryPortIsWiredOrExplained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		out := Compute(in)
		for id, v := range in.Ports {
			network, known := in.Networks[v.NetworkID]
			down := !v.AdminStateUp || known && !network.View.AdminStateUp
			told := slices.ContainsFunc(out.Problems, func(p Problem) bool { return p.Object.ID == id.UUID })
			if !down && told == slices.Contains(out.Wired, id) {
				t.Fatalf("port %s: wired %v, problem told %v", id, !told, told)
			}
		}
	})
}

func TestPeerAddsOnlyItsOwnFlows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		before := Compute(in)
		in.peer(1, 200, rapid.SampledFrom([]string{"10.0.1.21", "10.0.1.32"}).Draw(t, "host"))
		after := Compute(in)
		own := Cookie(model.KindPeer, peerID(200).UUID)
		for bridge, flows := range after.all() {
			add, del := flow.Diff(flows, before.all()[bridge], Mine)
			if len(del) != 0 {
				t.Fatalf("%s: a new peer takes away\n%s", bridge, text(del))
			}
			others := 0
			for _, f := range add {
				// Its host may be the network's first: then the flood of the
				// network and the tunnel's entry come too.
				if f.Cookie != own {
					others++
				}
			}
			if others > 2 || len(add) > 4 {
				t.Fatalf("%s: a new peer changes\n%s", bridge, text(add))
			}
		}
	})
}

// TestBadObjectDisablesOnlyItself compares a host with and without a port, a
// peer and a network that cannot be honoured.
func TestBadObjectDisablesOnlyItself(t *testing.T) {
	good := func() Input {
		return host().network(1, model.TypeGRE, 100).port(1, 11).peer(1, 21, "10.0.1.21")
	}
	want := dump(Compute(good()))
	for name, spoil := range map[string]func(in Input) model.UUID{
		"network type":       func(in Input) model.UUID { in.network(2, "bogus", 1); return netID(2).UUID },
		"network tag":        func(in Input) model.UUID { in.network(2, model.TypeVLAN, 4095); return netID(2).UUID },
		"network key":        func(in Input) model.UUID { in.network(2, model.TypeVXLAN, 1<<24); return netID(2).UUID },
		"segment used twice": func(in Input) model.UUID { in.network(2, model.TypeGRE, 100); return netID(2).UUID },
		"no local VLAN id": func(in Input) model.UUID {
			in.network(2, model.TypeGRE, 200)
			in.Networks[netID(2)] = Network{View: in.Networks[netID(2)].View}
			return netID(2).UUID
		},
		"unknown network":  func(in Input) model.UUID { in.port(9, 12); return portID(12).UUID },
		"port MAC":         func(in Input) model.UUID { in.port(1, 12).Ports[portID(12)].MAC = model.MAC{}; return portID(12).UUID },
		"MAC used twice":   func(in Input) model.UUID { in.port(1, 12).Ports[portID(12)].MAC = mac(11); return portID(12).UUID },
		"device not there": func(in Input) model.UUID { delete(in.port(1, 12).Local.Ports, portID(12)); return portID(12).UUID },
		"port of a patch":  func(in Input) model.UUID { in.port(1, 12).Local.Ports[portID(12)] = 1; return portID(12).UUID },
		"native firewall": func(in Input) model.UUID {
			in.port(1, 12).Ports[portID(12)].Firewall = model.FirewallNative
			return portID(12).UUID
		},
		"peer without tunnel": func(in Input) model.UUID { in.peer(1, 22, ""); return peerID(22).UUID },
		"peer on this host":   func(in Input) model.UUID { in.peer(1, 22, "10.0.1.31"); return peerID(22).UUID },
		"peer MAC": func(in Input) model.UUID {
			in.peer(1, 22, "10.0.1.21").Peers[peerID(22)].MAC = broadcast
			return peerID(22).UUID
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			id := spoil(in)
			out := Compute(in)
			if len(out.Problems) != 1 || out.Problems[0].Object.ID != id || out.Problems[0].Reason == "" {
				t.Fatalf("problems %+v, want one about %s", out.Problems, id)
			}
			out.Problems = nil
			if got := dump(out); got != want {
				t.Errorf("other flows changed:\n%s", got)
			}
		})
	}
}

func TestCookieLeadsToTheObject(t *testing.T) {
	id, err := model.ParseUUID("051a94d5-1b2c-4d3e-8f40-516273849506")
	if err != nil {
		t.Fatal(err)
	}
	c := Cookie(model.KindPort, id)
	if got := fmt.Sprintf("%#x", c); got != "0x57e702051a94d51b" {
		t.Errorf("cookie %s", got)
	}
	kind, prefix := Object(c)
	if kind != model.KindPort || prefix != (model.PortID{UUID: id}).DeviceSuffix() {
		t.Errorf("cookie leads to %d %q", kind, prefix)
	}
	if kind, prefix := Object(Cookie(model.KindHost, model.UUID{})); kind != model.KindHost || prefix != "" {
		t.Errorf("fixed flows lead to %d %q", kind, prefix)
	}
	if kind, _ := Object(0x2fcf2c7aad7be7c5); kind != model.KindNone {
		t.Errorf("another's cookie leads to %d", kind)
	}
	for cookie, mine := range map[uint64]bool{c: true, 0: false, Cookie(model.KindLearned, id): false, Cookie(model.KindHost, model.UUID{}): true} {
		if Mine(flow.Flow{Cookie: cookie}) != mine {
			t.Errorf("Mine(%#x) is %v", cookie, !mine)
		}
	}
}

func BenchmarkCompute(b *testing.B) {
	in := host()
	for n := 1; n <= 100; n++ {
		in.network(n, model.TypeGRE, uint32(n)).port(n, 100+n)
		for p := range 100 {
			in.peer(n, 1000*n+p, "10.0.1.21")
			in.Peers[peerID(1000*n+p)].Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n), 0, byte(p)})}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		Compute(in)
	}
}
