package view

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/host/flow"
	"weft/internal/host/link"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/ovs/vsw"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

const extNet = "5e0c9d11-6a2b-4f3d-8c47-9b1e2f6a7d80"

// oneRouter is a router with n floating IPs.
func oneRouter(i, n int) Router {
	id := fmt.Sprintf("%08x-4f1a-4b4c-a8dc-6e3a3c2bff31", 0x5a43ad40+i*0x01010101)
	leg := func(name string, ofport, vlan int, network, mac string, addrs ...string) Leg {
		c := uint64(100 * ofport)
		return Leg{
			Device: Device{Name: name, Role: RoleLeg, Present: true, Up: true, OFPort: ofport, MTU: 1458, Rx: Count{3 * c, 270 * c}, Tx: Count{2 * c, 180 * c}},
			Inside: true, MAC: mac, Addrs: addrs, External: strings.HasPrefix(name, "qg-"), NetworkID: network, VLAN: vlan, Flows: 6,
		}
	}
	r := Router{
		ID: id, Netns: "qrouter-" + id, State: Active, Duty: Answers,
		Gateways: []Gateway{{"network1", addr("10.0.1.21"), Here}, {"network2", addr("10.0.1.22"), Alive}},
		Legs: []Leg{
			leg(fmt.Sprintf("qr-%08x-e8", 0x37b25c08+i), 2*i+5, 1, demoNet, fmt.Sprintf("fa:16:3e:1c:%02x:01", i), fmt.Sprintf("10.%d.0.1/24", i), fmt.Sprintf("2001:db8:%d::1/64", i)),
			leg(fmt.Sprintf("qg-%08x-0f", 0x9e4d1c55+i), 2*i+6, 2, extNet, fmt.Sprintf("fa:16:3e:2d:%02x:01", i), fmt.Sprintf("203.0.113.%d/24", 10+i)),
		},
		Sources: []Translation{{Outside: fmt.Sprintf("203.0.113.%d", 10+i), Out: 41}},
		Routes:  []NextHop{{netip.MustParsePrefix("0.0.0.0/0"), addr("203.0.113.1"), fmt.Sprintf("qg-%08x-0f", 0x9e4d1c55+i)}},
	}
	for j := range n {
		r.Floating = append(r.Floating, Translation{Outside: fmt.Sprintf("203.0.113.%d", 100+20*i+j), Inside: fmt.Sprintf("10.%d.0.%d", i, 11+j), In: uint64(7 * j), Out: uint64(12345 * j)})
	}
	return r
}

// network1 is a gateway host of the reference deployment: one router, whose other host stands by.
func network1() *Host {
	h := compute1()
	h.Name, h.TunnelAddr = "network1", addr("10.0.1.21")
	h.Ports, h.Sets = nil, nil
	r := oneRouter(0, 2)
	r.Forwards = []Translation{{Outside: "203.0.113.102 tcp 2222", Inside: "10.0.0.12:22", In: 3}, {Outside: "203.0.113.102 udp 5000:5010", Inside: "10.0.0.12:6000-6010"}}
	r.Routes = append([]NextHop{{netip.MustParsePrefix("10.9.0.0/16"), addr("10.0.0.9"), r.Legs[0].Name}}, r.Routes...)
	h.Routers = []Router{r}
	h.Networks[0].Ports, h.Networks[0].Legs, h.Networks[0].Peers = 0, 1, 2
	h.Networks = append(h.Networks, Network{
		ID: extNet, Name: "ext-net", VLAN: 2, Type: "flat", Physical: "public", MTU: 1500, Legs: 1, Subnets: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
	})
	h.Tunnels = []Tunnel{
		{
			Device: Device{Name: "gre-0a000116", Role: RoleTunnel, Present: true, Up: true, OFPort: 3, Rx: Count{11, 924}, Tx: Count{12, 1008}},
			Type:   "gre", Local: addr("10.0.1.21"), Remote: addr("10.0.1.22"), RemoteName: "network2", Routers: 1, BFD: &BFD{State: "up", Forwarding: true, Flaps: "1"},
		},
		{
			Device: Device{Name: "gre-0a00011f", Role: RoleTunnel, Present: true, Up: true, OFPort: 2, Rx: Count{191, 17850}, Tx: Count{161, 15456}},
			Type:   "gre", Local: addr("10.0.1.21"), Remote: addr("10.0.1.31"), RemoteName: "compute1", Peers: 2, BFD: &BFD{State: "up", Forwarding: true, Flaps: "1"},
		},
	}
	h.Physicals = []Physical{{
		Bridge: "br-ex",
		Int:    Device{Name: "int-br-ex", Role: RolePatch, Present: true, Up: true, OFPort: 4, Rx: Count{900, 81000}, Tx: Count{1200, 96000}},
		Phy:    Device{Name: "phy-br-ex", Role: RolePatch, Present: true, Up: true, OFPort: 2, Rx: Count{1200, 96000}, Tx: Count{900, 81000}},
		Others: []Device{{Name: "eth2", Role: RoleUplink, Present: true, Up: true, OFPort: 1, Rx: Count{901, 81060}, Tx: Count{1200, 96000}}},
	}}
	return h
}

// network2 stands by for one router, answers for another since their first host is lost, and has the rest of a third.
func network2() *Host {
	h := network1()
	h.Name, h.TunnelAddr = "network2", addr("10.0.1.22")
	standby, taken, left := h.Routers[0], oneRouter(1, 0), oneRouter(2, 0)
	standby.Duty, standby.Forwards = Standby, nil
	standby.Gateways = []Gateway{{"network3", addr("10.0.1.23"), Alive}, {"network2", addr("10.0.1.22"), Here}}
	taken.Gateways = []Gateway{{"network1", addr("10.0.1.21"), Lost}, {"network2", addr("10.0.1.22"), Here}}
	taken.Legs = taken.Legs[:1]
	taken.Sources, taken.Routes = nil, nil
	left.Duty, left.Gateways = "", nil
	left.State, left.Reason = Failed, left.Legs[1].Name+" is not there"
	left.Legs[1].Device = Device{Name: left.Legs[1].Name, Role: RoleLeg}
	h.Routers = []Router{standby, taken, left}
	h.Tunnels[0].Device.Name, h.Tunnels[0].Remote, h.Tunnels[0].RemoteName = "gre-0a000115", addr("10.0.1.21"), "network1"
	h.Tunnels[0].BFD = &BFD{State: "down", Diagnostic: "Control Detection Time Expired", Flaps: "2"}
	return h
}

// manyRouters is a gateway host with n routers of 20 floating IPs each.
func manyRouters(n int) *Host {
	h := network1()
	h.Routers = nil
	for i := range n {
		h.Routers = append(h.Routers, oneRouter(i, 20))
	}
	h.Networks[0].Legs, h.Networks[1].Legs = n, n
	return h
}

// natText is what "iptables-save -c -t nat" prints in a router's namespace.
const natText = `# Generated by iptables-save v1.8.9 (nf_tables)
*nat
:PREROUTING ACCEPT [5:300]
:neutron-l3-agent-snat - [0:0]
[5:300] -A PREROUTING -j neutron-l3-agent-PREROUTING
[4:240] -A neutron-l3-agent-PREROUTING -j neutron-l3-agent-fip-pf
[3:180] -A neutron-l3-agent-PREROUTING -d 203.0.113.100/32 -j DNAT --to-destination 10.0.0.11
[1:60] -A neutron-l3-agent-OUTPUT -d 203.0.113.100/32 -j DNAT --to-destination 10.0.0.11
[9:540] -A neutron-l3-agent-PREROUTING -d 203.0.113.20/32 -j DNAT --to-destination 10.0.0.12
[7:420] -A neutron-l3-agent-POSTROUTING ! -o qg-9e4d1c55-0f -m conntrack ! --ctstate DNAT -j ACCEPT
[2:120] -A neutron-l3-agent-float-snat -s 10.0.0.11/32 -j SNAT --to-source 203.0.113.100
[6:360] -A neutron-l3-agent-snat -o qg-9e4d1c55-0f -j SNAT --to-source 203.0.113.10 --random-fully
[1:60] -A neutron-l3-agent-snat -m mark ! --mark 0x2/0xffff -m conntrack --ctstate DNAT -j SNAT --to-source 203.0.113.10 --random-fully
[8:480] -A neutron-l3-agent-pf-0b8c1d2e -d 203.0.113.102/32 -p tcp -m tcp --dport 2222 -j DNAT --to-destination 10.0.0.12:22
[4:240] -A neutron-l3-agent-pf-0b8c1d2e -d 203.0.113.102/32 -p udp -m udp --dport 5000:5010 -j DNAT --to-destination 10.0.0.12
COMMIT
`

func TestTranslationsAreReadFromTheRules(t *testing.T) {
	rules, err := parseNAT(natText)
	if err != nil {
		t.Fatal(err)
	}
	sources, floating, forwards := translations(rules)
	if want := []Translation{{Outside: "203.0.113.10", Out: 7}}; !slices.Equal(sources, want) {
		t.Errorf("source NAT %+v", sources)
	}
	// By address, not by letters; what the host itself sends in counts too.
	if want := []Translation{{"203.0.113.20", "10.0.0.12", 9, 0}, {"203.0.113.100", "10.0.0.11", 4, 2}}; !slices.Equal(floating, want) {
		t.Errorf("floating IPs %+v", floating)
	}
	if want := []Translation{{"203.0.113.102 tcp 2222", "10.0.0.12:22", 8, 0}, {"203.0.113.102 udp 5000:5010", "10.0.0.12", 4, 0}}; !slices.Equal(forwards, want) {
		t.Errorf("forwardings %+v", forwards)
	}
}

func FuzzNAT(f *testing.F) {
	f.Add(natText)
	f.Add("[1:2] -A X -d -s --to-source --to-destination -p")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := parseNAT(text)
		if err != nil {
			return
		}
		sources, floating, forwards := translations(rules)
		if n := len(sources) + len(floating) + len(forwards); n > len(rules) {
			t.Errorf("%d translations of %d rules", n, len(rules))
		}
	})
}

// routed are the facts of wired with a router whose external leg is not on the host, and a tunnel to its other gateway.
func routed(t *testing.T) (*facts, *model.RouterView) {
	f := wired(t)
	uuid := func(first byte) model.UUID { return model.UUID{first, 0x11, 0x22, 0x33, 0x44, 15: 1} }
	id, inner := model.RouterID{UUID: uuid(0xa1)}, model.PortID{UUID: uuid(0xb1)}
	mac := model.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}
	network := model.NetworkID{UUID: mustUUID(demoNet)}
	v := &model.RouterView{
		ID: id, AdminStateUp: true, Gateways: []model.GatewayView{{Host: "compute1", Tunnel: addr("10.0.1.31")}, {Host: "network1", Tunnel: addr("10.0.1.21")}},
		Legs: []model.LegView{{PortID: inner, NetworkID: network, MAC: mac, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}, MTU: 1458}},
	}
	f.view.Routers[id] = v
	f.view.Ports[inner] = &model.PortView{ID: inner, NetworkID: network, MAC: mac, AdminStateUp: true, DeviceOwner: model.OwnerRouterInterface, DeviceID: id.String()}
	name := "qr-" + inner.DeviceSuffix()
	old := f.state
	br := *old.Bridge("br-int")
	br.Ports = append(slices.Clone(br.Ports), name)
	var ports []vsw.Port
	var interfaces []vsw.Interface
	for _, n := range old.Ports() {
		ports = append(ports, *old.Port(n))
	}
	for _, n := range old.Interfaces() {
		interfaces = append(interfaces, *old.Interface(n))
	}
	ports = append(ports, vsw.Port{Name: name, Bridge: "br-int", Tag: vsw.Tag(1), Interfaces: []string{name}, OtherConfig: map[string]string{"net_uuid": demoNet}})
	interfaces = append(interfaces, vsw.Interface{Name: name, OFPort: 7, ExternalIDs: map[string]string{"iface-id": inner.String()}})
	f.state = vsw.NewState(old.Root, []vsw.Bridge{br, *old.Bridge("br-tun")}, ports, interfaces)
	f.links[name] = device{Link: link.Link{Index: 20, Name: name, Up: true, Peer: 2}, Counters: link.Counters{RxPackets: 30, RxBytes: 300, TxPackets: 20, TxBytes: 200}}
	f.intFlows = append(f.intFlows, openflow.FlowStats{Flow: flow.Flow{Cookie: pipeline.Cookie(model.KindPort, inner.UUID), Actions: []flow.Action{flow.GotoTable{Table: 30}}}})
	rules, err := parseNAT(natText)
	if err != nil {
		t.Fatal(err)
	}
	f.routers = map[model.RouterID]*routerFacts{id: {
		links: map[string]device{"lo": {}, name: {Link: link.Link{Index: 2, Name: name, Up: true, MAC: mac, Peer: 20}}},
		addrs: map[string][]netip.Prefix{name: {netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fe80::1/64")}},
		routes: []link.Route{
			{Dst: netip.MustParsePrefix("10.0.0.0/24"), Dev: name},
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: addr("10.0.0.9"), Dev: name, Static: true},
		},
		nat: rules,
	}}
	return f, v
}

func TestARouterIsJoinedFromAllThatTheHostHasOfIt(t *testing.T) {
	f, v := routed(t)
	h := assemble(f)
	if len(h.Routers) != 1 || len(h.Ports) != 1 || len(h.Others) != 0 {
		t.Fatalf("a leg is a router's, not a port of its own: %+v", h)
	}
	r := h.Routers[0]
	if r.ID != v.ID.String() || r.State != Active || r.Reason != "" || r.Duty != Answers || r.Netns != "qrouter-"+v.ID.String() {
		t.Errorf("router %+v", r)
	}
	l := r.Legs[0]
	if l.VLAN != 1 || l.OFPort != 7 || l.MAC != "fa:16:3e:00:00:01" || !slices.Equal(l.Addrs, []string{"10.0.0.1/24"}) || l.FromVM() != (Count{30, 300}) || l.Flows != 1 || l.NetworkID != demoNet {
		t.Errorf("leg %+v", l)
	}
	if len(r.Floating) != 2 || len(r.Forwards) != 2 || len(r.Sources) != 1 || len(r.Routes) != 1 || r.Routes[0].Via != addr("10.0.0.9") {
		t.Errorf("translations %+v", r)
	}
	if h.Networks[0].Legs != 1 || h.Networks[0].Ports != 1 || h.Tunnels[0].Routers != 1 {
		t.Errorf("network %+v, tunnel %+v", h.Networks[0], h.Tunnels[0])
	}
}

func TestWhoAnswersForARouterIsSeenByTheWatchOfTheTunnels(t *testing.T) {
	status := func(forwarding string) map[string]string {
		return map[string]string{"state": "up", "forwarding": forwarding, "flap_count": "1"}
	}
	for name, c := range map[string]struct {
		bfd   map[string]string
		first string // the preferred gateway
		duty  Duty
		seen  Sight
	}{
		"preferred":                                  {status("true"), "compute1", Answers, Alive},
		"second, and the first is alive":             {status("true"), "network1", Standby, Alive},
		"second, and the first is lost":              {status("false"), "network1", Answers, Lost},
		"second, and the first is not watched":       {nil, "network1", Standby, Unwatched},
		"second, and the first has never been heard": {map[string]string{"forwarding": "false", "flap_count": "0"}, "network1", Answers, Lost},
	} {
		t.Run(name, func(t *testing.T) {
			f, v := routed(t)
			f.state.Interface("gre-0a000115").BFDStatus = c.bfd
			if c.first == "network1" {
				slices.Reverse(v.Gateways)
			}
			r := assemble(f).Routers[0]
			other := slices.IndexFunc(r.Gateways, func(g Gateway) bool { return g.Seen != Here })
			if r.Duty != c.duty || r.Gateways[other].Seen != c.seen {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestARouterThatDoesNotWorkSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(f *facts, v *model.RouterView, leg string)
		state State
		why   string
	}{
		"no namespace":       {func(f *facts, _ *model.RouterView, _ string) { clear(f.routers) }, Failed, "is not there"},
		"not in the view":    {func(f *facts, v *model.RouterView, _ string) { delete(f.view.Routers, v.ID) }, Waiting, "has not been told"},
		"switched off":       {func(_ *facts, v *model.RouterView, _ string) { v.AdminStateUp = false }, Waiting, "has not been told"},
		"no leg":             {func(f *facts, _ *model.RouterView, leg string) { without(f, leg) }, Failed, "is not there"},
		"no leg inside":      {func(f *facts, v *model.RouterView, leg string) { delete(f.routers[v.ID].links, leg) }, Failed, "no other end"},
		"a leg without port": {func(f *facts, _ *model.RouterView, leg string) { f.state.Interface(leg).OFPort = 0 }, Waiting, "not plugged into br-int"},
		"a leg refused": {func(f *facts, _ *model.RouterView, leg string) {
			f.state.Interface(leg).OFPort, f.state.Interface(leg).Error = -1, "No such device"
		}, Failed, "No such device"},
		"a leg without tag":   {func(f *facts, _ *model.RouterView, leg string) { f.state.Port(leg).Tag = nil }, Waiting, "VLAN id"},
		"a leg without flows": {func(f *facts, _ *model.RouterView, _ string) { f.intFlows = f.intFlows[:4] }, Waiting, "no flows"},
	} {
		t.Run(name, func(t *testing.T) {
			f, v := routed(t)
			c.do(f, v, "qr-"+v.Legs[0].PortID.DeviceSuffix())
			h := assemble(f)
			if len(h.Routers) != 1 || h.Routers[0].State != c.state || !strings.Contains(h.Routers[0].Reason, c.why) {
				t.Fatalf("got %+v", h.Routers)
			}
			checkText(t, h, Options{})
			checkSVG(t, h, Options{})
		})
	}
}

func TestADistributedRouterIsCountedByItsFlows(t *testing.T) {
	f, v := routed(t)
	if h := assemble(f); len(h.Distributed) != 0 {
		t.Errorf("none is distributed, but %+v", h.Distributed)
	}
	v.Distributed = true
	other := v.ID.UUID
	other[0]++
	add := func(table uint8, id model.UUID, kind model.ObjectKind, key uint64, packets uint64) {
		m := flow.MatchIPv4()
		if key != 0 {
			m = m.Uint(pipeline.RegRouter, key)
		}
		f.intFlows = append(f.intFlows, openflow.FlowStats{Flow: flow.Flow{Table: table, Cookie: pipeline.Cookie(kind, id), Match: m, Actions: []flow.Action{flow.GotoTable{Table: 59}}}, Packets: packets})
	}
	const mine, others = 0xa1112233, 0xa2112233
	add(pipeline.IntLocalEgress, v.ID.UUID, model.KindRouter, 0, 10)
	add(pipeline.IntLocalEgress, other, model.KindRouter, 0, 100)
	add(pipeline.IntRoute, v.ID.UUID, model.KindRouter, mine, 9)
	add(pipeline.IntRouted, model.UUID{7}, model.KindPeer, mine, 8)
	add(pipeline.IntRouted, model.UUID{7}, model.KindPeer, others, 1000)
	h := assemble(f)
	if want := []Distributed{{ID: v.ID.String(), Flows: 3, Asked: Count{Packets: 10}, Routed: Count{Packets: 8}}}; !slices.Equal(h.Distributed, want) {
		t.Errorf("got %+v", h.Distributed)
	}
}

func TestServicesAreOfTheHostAndCountedByWhatIsAsked(t *testing.T) {
	f, _ := routed(t)
	if h := assemble(f); h.Services != nil {
		t.Errorf("there are none, but %+v", h.Services)
	}
	old := f.state
	br := *old.Bridge("br-int")
	br.Ports = append(slices.Clone(br.Ports), "weft-svc")
	var ports []vsw.Port
	for _, n := range br.Ports {
		if p := old.Port(n); p != nil {
			ports = append(ports, *p)
		}
	}
	f.state = vsw.NewState(old.Root, []vsw.Bridge{br}, ports, []vsw.Interface{{Name: "weft-svc", OFPort: 9}})
	f.served, f.links["weft-svc"] = true, device{Link: link.Link{Name: "weft-svc", Up: true}, Counters: link.Counters{TxPackets: 5}}
	for port, packets := range map[uint64]uint64{80: 3, 53: 2} {
		m := flow.MatchTCP(0x0800).InPort(4).Uint(flow.TCPDst, port)
		f.intFlows = append(f.intFlows, openflow.FlowStats{Flow: flow.Flow{Table: pipeline.IntServices, Match: m, Actions: []flow.Action{flow.Output{Port: 9}}}, Packets: packets})
	}
	h := assemble(f)
	s := h.Services
	if s == nil || !s.There || s.Metadata.Packets != 3 || s.DNS.Packets != 2 || s.FromVM().Packets != 5 || s.OFPort != 9 || len(h.Others) != 0 {
		t.Errorf("services %+v, others %+v", s, h.Others)
	}
}

func TestWhatIsLeftOutOfARouterIsSaid(t *testing.T) {
	text := Text(manyRouters(3), Options{})
	if got := strings.Count(text, "... and 15 more (--all shows them)"); got != 3 {
		t.Errorf("of 20 floating IPs each %d of 3 routers say how many are left out:\n%s", got, text)
	}
	if all := Text(manyRouters(3), Options{All: true}); strings.Count(all, " is 10.") != 60 {
		t.Errorf("--all lacks floating IPs:\n%s", all)
	}
	if text := Text(manyRouters(20), Options{}); !strings.Contains(text, "... and 8 more routers: 8 active (--all shows them)") || !strings.Contains(text, "20 floating IPs, 0 forwardings, 1 route (--all") {
		t.Errorf("of 20 routers:\n%s", text)
	}
}

// TestRoutersHoldTogetherWhateverTheyAre draws routers with names, numbers and gaps that no router should have.
func TestRoutersHoldTogetherWhateverTheyAre(t *testing.T) {
	word := rapid.StringMatching(`[a-zA-Z0-9 .:-]{0,70}`)
	rapid.Check(t, func(t *rapid.T) {
		h := manyRouters(rapid.IntRange(0, 14).Draw(t, "routers"))
		for i := range h.Routers {
			r := &h.Routers[i]
			r.State, r.Reason = rapid.SampledFrom([]State{Active, Waiting, Failed}).Draw(t, "state"), word.Draw(t, "reason")
			r.Duty = rapid.SampledFrom([]Duty{Answers, Standby, ""}).Draw(t, "duty")
			for j := range r.Gateways {
				r.Gateways[j].Host = word.Draw(t, "gateway")
			}
			r.Legs = r.Legs[:rapid.IntRange(0, 2).Draw(t, "legs")]
			for j := range r.Legs {
				l := &r.Legs[j]
				l.Name, l.MAC, l.Addrs = word.Draw(t, "leg"), word.Draw(t, "mac"), rapid.SliceOfN(word, 0, 4).Draw(t, "addresses")
				l.Present, l.Up, l.OFPort = rapid.Bool().Draw(t, "present"), rapid.Bool().Draw(t, "up"), rapid.IntRange(-1, 65279).Draw(t, "ofport")
				l.VLAN = rapid.IntRange(0, 4094).Draw(t, "vlan")
			}
			r.Floating = r.Floating[:rapid.IntRange(0, 20).Draw(t, "floating")]
			for j := range r.Floating {
				r.Floating[j] = Translation{word.Draw(t, "outside"), word.Draw(t, "inside"), rapid.Uint64().Draw(t, "in"), rapid.Uint64().Draw(t, "out")}
			}
			r.Forwards = rapid.SliceOfN(rapid.Map(word, func(s string) Translation { return Translation{Outside: s, Inside: s} }), 0, 8).Draw(t, "forwards")
		}
		for i := range h.Tunnels {
			h.Tunnels[i].BFD = &BFD{State: word.Draw(t, "bfd"), Forwarding: rapid.Bool().Draw(t, "forwarding"), Diagnostic: word.Draw(t, "diagnostic")}
			h.Tunnels[i].Routers = rapid.IntRange(0, 1_000_000).Draw(t, "serves")
		}
		o := Options{All: rapid.Bool().Draw(t, "all"), ASCII: rapid.Bool().Draw(t, "ascii")}
		checkText(t, h, o)
		checkSVG(t, h, o)
	})
}
