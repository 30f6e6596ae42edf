package hoststate

import (
	"net/netip"
	"testing"
	"time"

	"weft/internal/host/ovs/vsw"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// tunnels is a switch whose GRE tunnels are watched with the given outcome, by remote address: "up", "down" after it was up,
// "new" before it was ever up, "" not watched.
func tunnels(states map[string]string) *vsw.State {
	var list []vsw.Interface
	for remote, state := range states {
		i := vsw.Interface{Name: TunnelName(model.TypeGRE, netip.MustParseAddr(remote)), Type: "gre", Options: map[string]string{"remote_ip": remote}}
		switch state {
		case "up":
			i.BFDStatus = map[string]string{"forwarding": "true", "flap_count": "1"}
		case "down":
			i.BFDStatus = map[string]string{"forwarding": "false", "flap_count": "2"}
		case "new":
			i.BFDStatus = map[string]string{"forwarding": "false", "flap_count": "0"}
		}
		list = append(list, i)
	}
	return vsw.NewState(vsw.Root{}, nil, nil, list)
}

func TestReach(t *testing.T) {
	const first, other = "10.0.1.21", "10.0.1.31"
	r := &model.RouterView{AdminStateUp: true, Gateways: []model.GatewayView{
		{Host: "network1", Tunnel: netip.MustParseAddr(first)}, {Host: "network2", Tunnel: netip.MustParseAddr("10.0.1.22")},
	}}
	for _, c := range []struct {
		rule           string
		states         map[string]string
		later          time.Duration
		second, cutOff bool // the second gateway answers; it is cut off
		knows          bool // it knows whether the first is alive
	}{
		{rule: "the preferred gateway lives", states: map[string]string{first: "up", other: "up"}, knows: true},
		{rule: "it is lost", states: map[string]string{first: "down", other: "up"}, second: true, knows: true},
		{rule: "everybody is lost: it is we who are", states: map[string]string{first: "down", other: "down"}, cutOff: true, knows: true},
		{rule: "one tunnel alone does not tell who is lost", states: map[string]string{first: "down"}, second: true, knows: true},
		{rule: "a tunnel that is not watched tells nothing", states: map[string]string{first: "", other: "up"}},
		{rule: "one that is about to come up is not lost", states: map[string]string{first: "new", other: "up"}},
		{rule: "but it is when it has not in time", states: map[string]string{first: "new", other: "up"}, later: firstUp, second: true, knows: true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var reach Reach
			began := time.Unix(1000, 0)
			wait := reach.Update(tunnels(c.states), began)
			if c.later > 0 {
				if wait != firstUp {
					t.Errorf("waits %s", wait)
				}
				reach.Update(tunnels(c.states), began.Add(c.later))
			}
			if got := reach.answers(r, "network2"); got != c.second || reach.CutOff != c.cutOff {
				t.Errorf("answers %v, cut off %v", got, reach.CutOff)
			}
			if got := reach.Watched[pipeline.Tunnel{Type: model.TypeGRE, Remote: netip.MustParseAddr(first)}]; got != c.knows {
				t.Errorf("knows about the first: %v", got)
			}
			if got := reach.answers(r, "network1"); got == c.cutOff {
				t.Errorf("with this in sight the preferred one answers: %v", got)
			}
		})
	}
	t.Run("one that was cut off returns until all tunnels are up, or have had the time for it", func(t *testing.T) {
		var reach Reach
		began := time.Unix(1000, 0)
		for _, c := range []struct {
			at        time.Duration
			states    map[string]string
			returning bool
			wait      time.Duration
		}{
			{0, map[string]string{first: "up", other: "up"}, false, 0},
			{1, map[string]string{first: "down", other: "up"}, false, 0},
			{2, map[string]string{first: "down", other: "down"}, false, 0},
			{3, map[string]string{first: "down", other: "up"}, true, firstUp},
			{4, map[string]string{first: "up", other: "up"}, false, 0},
			{5, map[string]string{first: "down", other: "up"}, true, firstUp - 2},
			{3 + firstUp, map[string]string{first: "down", other: "up"}, false, 0},
		} {
			wait := reach.Update(tunnels(c.states), began.Add(c.at))
			if reach.Returning != c.returning || wait != c.wait {
				t.Errorf("after %d: returning %v, waits %s", c.at, reach.Returning, wait)
			}
		}
	})
	t.Run("who is preferred relieves another that is alive", func(t *testing.T) {
		for _, c := range []struct {
			lost string
			host string
			want bool
		}{{"", "network1", true}, {"10.0.1.22", "network1", false}, {"", "network2", false}, {first, "network2", false}} {
			reach := Reach{Lost: map[netip.Addr]bool{}}
			if c.lost != "" {
				reach.Lost[netip.MustParseAddr(c.lost)] = true
			}
			if got := reach.Relieves(r, c.host); got != c.want {
				t.Errorf("%s with %q lost: %v", c.host, c.lost, got)
			}
		}
	})
	t.Run("a router with one gateway needs no watch", func(t *testing.T) {
		alone := &model.RouterView{AdminStateUp: true, Gateways: r.Gateways[:1]}
		reach := Reach{CutOff: true}
		if !reach.answers(alone, "network1") {
			t.Error("it does not answer")
		}
	})
}

// redundant is the view of a host of a network with a router that two hosts serve.
func redundant(host string) *model.HostView {
	v := model.NewHostView(host)
	net := model.NetworkID{UUID: model.UUID{1}}
	v.Networks[net] = &model.NetworkView{ID: net, AdminStateUp: true, Segment: model.Segment{Type: model.TypeVXLAN, Tag: 5}}
	leg := model.PortID{UUID: model.UUID{9}}
	r := &model.RouterView{
		ID: model.RouterID{UUID: model.UUID{4}}, AdminStateUp: true, Legs: []model.LegView{{PortID: leg, NetworkID: net, MAC: model.MAC{2}}},
		Gateways: []model.GatewayView{{Host: "network1", Tunnel: netip.MustParseAddr("10.0.1.21")}, {Host: "network2", Tunnel: netip.MustParseAddr("10.0.1.22")}},
	}
	v.Routers[r.ID] = r
	guest := model.PortID{UUID: model.UUID{2}}
	if host == "compute1" {
		v.Ports[guest] = &model.PortView{ID: guest, NetworkID: net, MAC: model.MAC{2, 2}, AdminStateUp: true, Firewall: model.FirewallHybrid}
	} else {
		v.Ports[leg] = &model.PortView{ID: leg, NetworkID: net, MAC: model.MAC{2}, AdminStateUp: true, DeviceOwner: model.OwnerRouterInterfaceHA, DeviceID: r.ID.String()}
		v.Peers[guest] = &model.PeerView{PortID: guest, NetworkID: net, MAC: model.MAC{2, 2}, Tunnel: netip.MustParseAddr("10.0.1.31")}
	}
	return v
}

// TestTunnels_areWatchedByBothEnds: a watch that only one end keeps would find the other dead.
func TestTunnels_areWatchedByBothEnds(t *testing.T) {
	addrs := map[string]string{"network1": "10.0.1.21", "network2": "10.0.1.22", "compute1": "10.0.1.31"}
	watches := map[[2]string]bool{}
	for host, at := range addrs {
		j := Join(Config{TunnelAddr: netip.MustParseAddr(at)}, true, redundant(host), vsw.NewState(vsw.Root{}, []vsw.Bridge{{Name: BrInt}}, nil, nil), NewVLANs())
		for _, p := range j.Desired.Ports {
			if p.BFD["enable"] == "true" {
				watches[[2]string{at, p.Options["remote_ip"]}] = true
				if p.Type != "vxlan" {
					t.Errorf("%s watches %s", host, p.Name)
				}
			}
		}
	}
	if len(watches) != 6 {
		t.Errorf("got %v", watches)
	}
	for w := range watches {
		if !watches[[2]string{w[1], w[0]}] {
			t.Errorf("%s watches %s, but not the other way round", w[0], w[1])
		}
	}
}

func TestJoin_legs(t *testing.T) {
	v := redundant("network1")
	j := Join(Config{TunnelAddr: netip.MustParseAddr("10.0.1.21")}, true, v, vsw.NewState(vsw.Root{}, []vsw.Bridge{{Name: BrInt}}, nil, nil), NewVLANs())
	if len(j.Ports) != 1 || !j.Ports[0].Leg || j.Ports[0].Problem != "" {
		t.Fatalf("got %+v", j.Ports)
	}
	for _, p := range j.Desired.Ports {
		if IsLeg(p.Name) {
			if p.Type != "" || p.ExternalIDs["iface-id"] != j.Ports[0].Port.ID.String() || p.ExternalIDs["iface-status"] != "active" || *p.Tag != 1 {
				t.Errorf("got %+v", p)
			}
			return
		}
	}
	t.Error("the leg is not wanted on br-int")
}

func TestJoin_aRouterThatIsDownHasNoDevices(t *testing.T) {
	v := redundant("network1")
	for _, r := range v.Routers {
		r.AdminStateUp = false
	}
	j := Join(Config{TunnelAddr: netip.MustParseAddr("10.0.1.21")}, true, v, vsw.NewState(vsw.Root{}, []vsw.Bridge{{Name: BrInt}}, nil, nil), NewVLANs())
	if len(j.Ports) != 1 || j.Ports[0].Problem != "" || len(j.Pipeline.Ports) != 0 {
		t.Errorf("got %+v", j.Ports)
	}
	for _, p := range j.Desired.Ports {
		if IsLeg(p.Name) {
			t.Errorf("wants %s", p.Name)
		}
	}
}

func TestIsLeg(t *testing.T) {
	id := model.PortID{UUID: model.UUID{0x32, 0xd6, 0xec, 0xac, 0xf4}}
	for _, name := range []string{LegName(id, false), LegName(id, true)} {
		if !IsLeg(name) {
			t.Errorf("%s is no leg", name)
		}
	}
	for _, name := range []string{"qr-", "qr-32d6ecac-f", "qr-32d6ecac-f44", "qr-32D6ecac-f4", "qvo32d6ecac-f4", "qr-32d6ecacxf4", "tap32d6ecac-f4"} {
		if IsLeg(name) {
			t.Errorf("%s is a leg", name)
		}
	}
}
