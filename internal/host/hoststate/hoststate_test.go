package hoststate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/host/ovs/vsw"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

func netID(n int) model.NetworkID {
	return model.NetworkID{UUID: model.UUID{1, 14: byte(n >> 8), 15: byte(n)}}
}

func TestVLANs_lowestFreeAndStable(t *testing.T) {
	v := NewVLANs()
	for n, want := range []uint16{1, 2, 3} {
		if got, err := v.Assign(netID(n)); err != nil || got != want {
			t.Fatalf("network %d got %d, %v", n, got, err)
		}
	}
	v.Keep(func(n model.NetworkID) bool { return n != netID(1) })
	if got, _ := v.Assign(netID(9)); got != 2 {
		t.Errorf("a freed id is not given out again: got %d", got)
	}
	if got, _ := v.Assign(netID(0)); got != 1 {
		t.Errorf("a network changed its id: got %d", got)
	}
}

func TestVLANs_recoveredIDsAreNotGivenToOthers(t *testing.T) {
	v := NewVLANs()
	if !v.Recover(netID(5), 1) || v.Recover(netID(6), 1) || v.Recover(netID(5), 2) || v.Recover(netID(7), 4095) || v.Recover(netID(7), 0) {
		t.Fatal("contradictions were accepted")
	}
	if got, _ := v.Assign(netID(6)); got != 2 {
		t.Errorf("got %d", got)
	}
}

func TestVLANs_allInUseIsAnErrorOfTheNextNetwork(t *testing.T) {
	v := NewVLANs()
	for n := range 4094 {
		if _, err := v.Assign(netID(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Assign(netID(5000)); !errors.Is(err, ErrNoVLAN) {
		t.Fatalf("got %v", err)
	}
}

func TestVLANs_noIDIsGivenTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := NewVLANs()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			n := netID(rapid.IntRange(0, 20).Draw(t, "network"))
			switch rapid.IntRange(0, 2).Draw(t, "op") {
			case 0:
				v.Assign(n)
			case 1:
				v.Recover(n, uint16(rapid.IntRange(0, 6).Draw(t, "id")))
			case 2:
				v.Keep(func(m model.NetworkID) bool { return m != n })
			}
			seen := map[uint16]model.NetworkID{}
			for m, id := range v.byNetwork {
				if other, twice := seen[id]; twice {
					t.Fatalf("%s and %s have id %d", m, other, id)
				}
				seen[id] = m
				if v.byID[id] != m {
					t.Fatalf("the two directions disagree about %d", id)
				}
			}
		}
	})
}

func TestTunnelName(t *testing.T) {
	for _, c := range []struct {
		kind   model.NetworkType
		remote string
		want   string
	}{{model.TypeGRE, "10.0.1.21", "gre-0a000115"}, {model.TypeGeneve, "192.0.2.255", "geneve-c00002ff"}} {
		if got := TunnelName(c.kind, netip.MustParseAddr(c.remote)); got != c.want || !IsTunnel(got) {
			t.Errorf("%s to %s is %s", c.kind, c.remote, got)
		}
	}
	if got := TunnelName(model.TypeGeneve, netip.MustParseAddr("2001:db8::1")); len(got) > 15 || !IsTunnel(got) {
		t.Errorf("an IPv6 tunnel is named %s", got)
	}
	for _, not := range []string{"gre-0a0001", "patch-int", "gre-zzzzzzzz", "vlan-0a000115", "br-tun", "gre0a000115"} {
		if IsTunnel(not) {
			t.Errorf("%s counts as ours", not)
		}
	}
}

func TestPatchName_fitsADeviceName(t *testing.T) {
	if got := patchName("int-", "br-ex"); got != "int-br-ex" {
		t.Errorf("got %s", got)
	}
	a, b := patchName("int-", "br-provider-one"), patchName("int-", "br-provider-two")
	if len(a) > 15 || len(b) > 15 || a == b {
		t.Errorf("got %s and %s", a, b)
	}
}

// sample is a view of two ports, one of which is plugged, with a peer.
func sample() (*model.HostView, *vsw.State) {
	v := model.NewHostView("compute1")
	v.Networks[netID(1)] = &model.NetworkView{ID: netID(1), AdminStateUp: true, MTU: 1458, Segment: model.Segment{Type: model.TypeGRE, Tag: 77}}
	for n := range 3 {
		id := model.PortID{UUID: model.UUID{2, 15: byte(n)}}
		v.Ports[id] = &model.PortView{ID: id, NetworkID: netID(1), MAC: model.MAC{2, 5: byte(n)}, AdminStateUp: true, PortSecurity: true, Firewall: model.FirewallHybrid}
	}
	peer := model.PortID{UUID: model.UUID{3}}
	v.Peers[peer] = &model.PeerView{PortID: peer, NetworkID: netID(1), Tunnel: netip.MustParseAddr("10.0.1.32")}
	plugged := model.PortID{UUID: model.UUID{2, 15: 0}}
	straight := model.PortID{UUID: model.UUID{2, 15: 2}}
	s := vsw.NewState(vsw.Root{}, []vsw.Bridge{{Name: BrInt, Ports: []string{"qvo1", "tap3"}}, {Name: BrTun}},
		[]vsw.Port{{Name: "qvo1", Bridge: BrInt, Interfaces: []string{"qvo1"}}, {Name: "tap3", Bridge: BrInt, Interfaces: []string{"tap3"}}},
		[]vsw.Interface{
			{Name: "qvo1", OFPort: 4, ExternalIDs: map[string]string{"iface-id": plugged.String()}},
			{Name: "tap3", OFPort: 5, ExternalIDs: map[string]string{"iface-id": straight.String()}},
		})
	return v, s
}

func TestJoin(t *testing.T) {
	view, state := sample()
	cfg := Config{TunnelAddr: netip.MustParseAddr("10.0.1.31"), Datapath: "netdev"}
	j := Join(cfg, true, view, state, NewVLANs())
	byName := map[string]vsw.DesiredPort{}
	for _, p := range j.Desired.Ports {
		byName[p.Name] = p
	}
	t.Run("a plugged port gets its network's tag and what Neutron's agent keeps there", func(t *testing.T) {
		p := byName["qvo1"]
		if p.Tag == nil || *p.Tag != 1 || p.OtherConfig["segmentation_id"] != "77" || p.OtherConfig["net_uuid"] != netID(1).String() {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("a port whose device is not there waits", func(t *testing.T) {
		if st := j.Ports[1]; st.Interface != nil || st.Problem != "" {
			t.Errorf("got %+v", st)
		}
	})
	t.Run("what filters a port follows from its device, and from its binding", func(t *testing.T) {
		for _, c := range []struct {
			device               string
			firewall             string
			byIptables, bySwitch bool
		}{
			{"qvo1", model.FirewallHybrid, true, false},
			{"qvo1", model.FirewallNative, true, true}, // moving to the switch
			{"tap1", model.FirewallNative, false, true},
			{"tap1", model.FirewallHybrid, false, true}, // moving to a Linux bridge
			{"", model.FirewallHybrid, true, false},
			{"", model.FirewallNative, false, true},
		} {
			st := State{Port: &model.PortView{Firewall: c.firewall}}
			if c.device != "" {
				st.Interface = &vsw.Interface{Name: c.device}
			}
			if st.ByIptables() != c.byIptables || st.BySwitch() != c.bySwitch {
				t.Errorf("%+v: by iptables %v, by the switch %v", c, st.ByIptables(), st.BySwitch())
			}
		}
		for i, filtered := range []bool{false, false, true} {
			if st := j.Ports[i]; st.Problem != "" || j.Pipeline.Local.Filtered[st.Port.ID] != filtered {
				t.Errorf("got %+v, filtered %v", st, j.Pipeline.Local.Filtered[st.Port.ID])
			}
		}
	})
	t.Run("there is one tunnel, to the host that shares the network", func(t *testing.T) {
		want := map[string]string{"df_default": "true", "in_key": "flow", "out_key": "flow", "local_ip": "10.0.1.31", "remote_ip": "10.0.1.32"}
		if p := byName["gre-0a000120"]; fmt.Sprint(p.Options) != fmt.Sprint(want) || p.Bridge != BrTun || p.Type != "gre" {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("a tunnel without a number yet is no way for flows", func(t *testing.T) {
		if _, ok := j.Pipeline.Local.Tunnels[pipeline.Tunnel{Type: model.TypeGRE, Remote: netip.MustParseAddr("10.0.1.32")}]; ok {
			t.Error("flows would name port 0")
		}
	})
	t.Run("an unknown firewall driver is refused", func(t *testing.T) {
		for _, p := range view.Ports {
			p.Firewall = "bogus"
		}
		for _, st := range Join(cfg, true, view, state, NewVLANs()).Ports {
			if st.Problem == "" {
				t.Errorf("port %s is wired unfiltered", st.Port.ID)
			}
		}
	})
	t.Run("a host without a tunnel address has no br-tun", func(t *testing.T) {
		j := Join(Config{Datapath: "netdev"}, true, view, state, NewVLANs())
		if len(j.Desired.Bridges) != 1 || j.Desired.Bridges[0].Name != BrInt {
			t.Errorf("got %+v", j.Desired.Bridges)
		}
	})
}

func TestRecoverVLANs_readsWhatWasWired(t *testing.T) {
	tag := 7
	s := vsw.NewState(vsw.Root{}, []vsw.Bridge{{Name: BrInt, Ports: []string{"qvo1", "x"}}},
		[]vsw.Port{{Name: "qvo1", Tag: &tag, OtherConfig: map[string]string{"net_uuid": netID(3).String()}}, {Name: "x", Tag: &tag, OtherConfig: map[string]string{"net_uuid": "nonsense"}}}, nil)
	v := NewVLANs()
	RecoverVLANs(v, s)
	if got, err := v.Assign(netID(3)); err != nil || got != 7 {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestJoin_routersThatAreDownHaveNoLegs(t *testing.T) {
	leg := func(n byte) model.LegView {
		return model.LegView{PortID: model.PortID{UUID: model.UUID{n}}, NetworkID: netID(1)}
	}
	view := model.NewHostView("compute1")
	view.Routers[model.RouterID{UUID: model.UUID{1}}] = &model.RouterView{AdminStateUp: true, Legs: []model.LegView{leg(7), leg(3)}}
	view.Routers[model.RouterID{UUID: model.UUID{2}}] = &model.RouterView{AdminStateUp: true, Legs: []model.LegView{leg(5)}}
	view.Routers[model.RouterID{UUID: model.UUID{3}}] = &model.RouterView{Legs: []model.LegView{leg(1)}}
	var got []byte
	for _, l := range Join(Config{}, true, view, &vsw.State{}, NewVLANs()).Legs[netID(1)] {
		got = append(got, l.PortID.UUID[0])
	}
	if string(got) != "\x03\x05\x07" {
		t.Errorf("legs %v", got)
	}
}

// TestJoin_legsForFloatingIPsAtPorts: a host that serves a floating IP of its own port has the router's leg on that port's
// network and the external one with its own MAC, and of a router that it has no such port of, none.
func TestJoin_legsForFloatingIPsAtPorts(t *testing.T) {
	leg := func(n byte, network int, addr string) model.LegView {
		return model.LegView{PortID: model.PortID{UUID: model.UUID{n, 6: 0x40, 8: 0x80}}, NetworkID: netID(network), MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, n}, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}
	}
	view := model.NewHostView("compute1")
	for n := range 3 {
		view.Networks[netID(n)] = &model.NetworkView{ID: netID(n), Segment: model.Segment{Type: model.TypeGRE, Tag: uint32(n + 1)}}
	}
	r := &model.RouterView{
		ID: model.RouterID{UUID: model.UUID{9}}, AdminStateUp: true, Distributed: true, Gateways: []model.GatewayView{{Host: "network1"}},
		Legs: []model.LegView{leg(0xa0, 0, "10.0.0.1/24"), leg(0xa1, 1, "10.0.1.1/24")}, External: &model.ExternalView{LegView: leg(0xae, 2, "203.0.113.5/24")},
	}
	view.Routers[r.ID] = r
	f := &model.FloatingView{ID: model.FloatingIPID{UUID: model.UUID{7}}, RouterID: r.ID, Addr: netip.MustParseAddr("203.0.113.9"), Fixed: netip.MustParseAddr("10.0.1.7"), PortHost: "compute1", AtPort: true}
	view.Floating[f.ID] = f
	legs := func() (out []string) {
		for _, p := range Join(Config{}, true, view, &vsw.State{}, NewVLANs()).Desired.Ports {
			if IsLeg(p.Name) {
				out = append(out, p.Name+" "+p.ExternalIDs["attached-mac"])
			}
		}
		return out
	}
	want := []string{"qg-ae000000-00 " + r.MACAt("compute1").String(), "qr-a1000000-00 fa:16:3e:00:00:a1"}
	if got := legs(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, spoil := range map[string]func(*model.FloatingView){
		"the gateways serve it":       func(f *model.FloatingView) { f.AtPort = false },
		"the port is on another host": func(f *model.FloatingView) { f.PortHost = "compute2" },
	} {
		other := *f
		spoil(&other)
		view.Floating[f.ID] = &other
		if got := legs(); len(got) != 0 {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
