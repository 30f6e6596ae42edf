package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weft/internal/host/flow"
	"weft/internal/model"
	"weft/internal/testkit/ovstest"
)

// lab is a real Open vSwitch with the three bridges of a host, their patch
// ports, and the ports and tunnels of an Input. What stands for a tunnel is an
// internal port: tun_id is the same, and a trace names it.
type lab struct {
	*ovstest.Switch
	t *testing.T
}

// newLab plugs, beside the ports of the Input (p11 …, with the access tag of
// their network), a "stranger" that has no flows and no tag: a device that was
// plugged a moment ago.
func newLab(t *testing.T, in Input) lab {
	t.Helper()
	s := ovstest.Start(t)
	for _, b := range []string{"br-int", "br-tun", "br-ex"} {
		s.AddBridge(b)
	}
	args := []string{}
	add := func(bridge, port string, settings ...string) {
		args = append(args, "--", "add-port", bridge, port, "--", "set", "interface", port)
		args = append(args, settings...)
	}
	add("br-int", "patch-tun", "type=patch", "options:peer=patch-int", "ofport_request=1")
	add("br-tun", "patch-int", "type=patch", "options:peer=patch-tun", "ofport_request=1")
	add("br-int", "int-br-ex", "type=patch", "options:peer=phy-br-ex", "ofport_request=90")
	add("br-ex", "phy-br-ex", "type=patch", "options:peer=int-br-ex", "ofport_request=91")
	add("br-ex", "nic", "type=internal", "ofport_request=1")
	for tunnel, ofport := range in.Local.Tunnels {
		add("br-tun", tunnelName(tunnel), "type=internal", fmt.Sprintf("ofport_request=%d", ofport))
	}
	add("br-int", "stranger", "type=internal", "ofport_request=77")
	for id, ofport := range in.Local.Ports {
		name := fmt.Sprintf("p%d", ofport)
		add("br-int", name, "type=internal", fmt.Sprintf("ofport_request=%d", ofport))
		if p := in.Ports[id]; p != nil { // not the leg of a router that is served elsewhere
			args = append(args, "--", "set", "port", name, fmt.Sprintf("tag=%d", in.Networks[p.NetworkID].VLAN))
		}
	}
	s.Vsctl(args[1:]...)
	l := lab{s, t}
	l.install(Compute(in))
	return l
}

func tunnelName(t Tunnel) string {
	a := t.Remote.As4()
	return fmt.Sprintf("%s-%x", t.Type, a[:])
}

func (l lab) install(out Output) {
	l.t.Helper()
	addMeters(l.Switch, out)
	for bridge, flows := range map[string][]flow.Flow{"br-int": out.BrInt, "br-tun": out.BrTun, "br-ex": out.Physical["br-ex"]} {
		l.OfctlInput(text(flows), "--bundle", "replace-flows", bridge, "-")
	}
}

// addMeters makes the meters that br-int's flows use.
func addMeters(s *ovstest.Switch, out Output) {
	for _, id := range out.Meters {
		s.Ofctl("add-meter", "br-int", fmt.Sprintf("meter=%d,pktps,band=type=drop,rate=10", id))
	}
}

var datapathActions = regexp.MustCompile(`(?m)^Datapath actions: (.*)$`)

// trace tells what the switch does with a packet, without doing it, unless
// generate: then it happens. The answer is the datapath's actions.
func (l lab) trace(bridge, packet string, generate ...string) string {
	l.t.Helper()
	out := l.Appctl(append([]string{"ofproto/trace", "--names", bridge, packet}, generate...)...)
	found := datapathActions.FindAllStringSubmatch(out, -1)
	if len(found) == 0 {
		l.t.Fatalf("no actions in the trace of %s:\n%s", packet, out)
	}
	return found[len(found)-1][1]
}

// reached lists the ports that a packet leaves by, sorted.
func reached(actions string) []string {
	var ports []string
	depth, start := 0, 0
	take := func(s string) {
		if portName.MatchString(s) {
			ports = append(ports, s)
		}
	}
	for i, r := range actions {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			take(actions[start:i])
			start = i + 1
		}
	}
	take(actions[start:])
	slices.Sort(ports)
	return ports
}

var portName = regexp.MustCompile(`^(p\d+|stranger|nic|br-\w+|(gre|vxlan|geneve)-\w+)$`)

// probe is a packet and where it must come out.
type probe struct {
	rule   string
	bridge string // br-int if empty
	packet string
	want   string // ports, sorted; empty: nowhere
}

func (l lab) check(t *testing.T, probes []probe) {
	t.Helper()
	for _, p := range probes {
		if p.bridge == "" {
			p.bridge = "br-int"
		}
		if actions := l.trace(p.bridge, p.packet); strings.Join(reached(actions), " ") != p.want {
			t.Errorf("%s: %s on %s goes to %q, want %q\nactions %s", p.rule, p.packet, p.bridge, reached(actions), p.want, actions)
		}
	}
}

// ip, arp and udp write packets for ofproto/trace.
func ip(in int, src, dst model.MAC) string { return ipOn(1, in, src, dst) }

// ipOn is of a port on network n.
func ipOn(n, in int, src, dst model.MAC) string {
	return fmt.Sprintf("in_port=%d,dl_src=%s,dl_dst=%s,ip,nw_src=10.0.%d.%d,nw_dst=10.0.%d.99,nw_proto=6,nw_ttl=64", in, src, dst, n, in, n)
}

func fromTunnel(ofport, key int, src, dst model.MAC) string {
	return fmt.Sprintf("tun_id=%d,", key) + ip(ofport, src, dst)
}

var broadcast = model.MAC{255, 255, 255, 255, 255, 255}

func arpAsk(in int, sha model.MAC, spa, tpa string) string {
	return fmt.Sprintf("in_port=%d,dl_src=%s,dl_dst=%s,arp,arp_op=1,arp_spa=%s,arp_tpa=%s,arp_sha=%s", in, sha, broadcast, spa, tpa, sha)
}

func TestSwitchAcceptsEveryGolden(t *testing.T) {
	s := ovstest.Start(t)
	for name, in := range scenarios() {
		out := Compute(in)
		for bridge, flows := range map[string][]flow.Flow{"int": out.BrInt, "tun": out.BrTun, "ex": out.Physical["br-ex"]} {
			b := "br-" + bridge
			s.Vsctl("--may-exist", "add-br", b, "--", "set", "bridge", b, "datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow10,OpenFlow13,OpenFlow14")
			if bridge == "int" {
				addMeters(s, out)
			}
			s.OfctlInput(text(flows), "--bundle", "replace-flows", b, "-")
			if n := strings.Count("\n"+s.Ofctl("--no-stats", "dump-flows", b), "\n cookie="); n != len(flows) {
				t.Errorf("%s: %s holds %d flows of %d: some have the same key", name, b, n, len(flows))
			}
			// What comes back is what was sent: a restarted agent writes nothing.
			var have []flow.Flow
			for line := range strings.Lines(s.Ofctl("--no-stats", "--no-names", "dump-flows", b)) {
				if !strings.Contains(line, "cookie=") {
					continue
				}
				f, err := flow.Parse(strings.TrimSpace(line))
				if err != nil {
					t.Fatalf("%s: parsing %q: %v", name, line, err)
				}
				have = append(have, f)
			}
			add, del := flow.Diff(flows, have, Mine)
			if len(add)+len(del) != 0 {
				t.Errorf("%s: %s comes back different: add\n%sdelete\n%s", name, b, text(add), text(del))
			}
		}
	}
}

func TestPopulatedNetwork(t *testing.T) {
	l := newLab(t, scenarios()["populated"].network(2, model.TypeGRE, 200).port(2, 31).peer(2, 41, "10.0.1.21"))
	l.check(t, []probe{
		{"known unicast to a local port goes to that port only", "", ip(11, mac(11), mac(12)), "p12"},
		{"known unicast to a peer goes to its tunnel only", "", ip(11, mac(11), mac(21)), "gre-0a000115"},
		{"known unicast to a peer goes to its tunnel only", "", ip(11, mac(11), mac(22)), "gre-0a000120"},
		{"unknown unicast goes to the network's hosts, not to local ports", "", ip(11, mac(11), mac(99)), "gre-0a000115 gre-0a000120"},
		{"broadcast goes to the network's ports and hosts", "", ip(11, mac(11), broadcast), "gre-0a000115 gre-0a000120 p12"},
		{"flooding reaches only hosts with a port on the network", "", ipOn(2, 31, mac(31), broadcast), "gre-0a000115"},
		{"a MAC of another network is unknown", "", ipOn(2, 31, mac(31), mac(12)), "gre-0a000115"},
		{"what goes to the DHCP port leaves the host never", "", ip(11, mac(11), mac(0xdc01)), ""},
		{"a tunnel delivers known unicast to its port", "br-tun", fromTunnel(2, 100, mac(21), mac(12)), "p12"},
		{"a tunnel never floods unicast", "br-tun", fromTunnel(2, 100, mac(21), mac(99)), ""},
		{"a tunnel never reaches another tunnel", "br-tun", fromTunnel(2, 100, mac(21), mac(22)), ""},
		{"a tunnel floods broadcast to local ports only", "br-tun", fromTunnel(2, 100, mac(21), broadcast), "p11 p12"},
		{"a key says the network", "br-tun", fromTunnel(2, 200, mac(41), mac(12)), ""},
		{"a key says the network", "br-tun", fromTunnel(2, 200, mac(41), broadcast), "p31"},
		{"an unknown key is dropped", "br-tun", fromTunnel(2, 300, mac(21), mac(12)), ""},
		{"an unknown key is dropped", "br-tun", fromTunnel(2, 300, mac(21), broadcast), ""},
		{"a port without flows forwards nothing", "", ip(77, mac(11), broadcast), ""},
		{"a port without flows forwards nothing, tagged", "", "in_port=77,dl_vlan=1,dl_src=" + mac(11).String() + ",dl_dst=" + mac(12).String() + ",ip", ""},
		{"the bridge's own device forwards nothing", "", "in_port=LOCAL,dl_src=" + mac(11).String() + ",dl_dst=" + broadcast.String() + ",ip", ""},
		{"the bridge's own device forwards nothing", "br-tun", "in_port=LOCAL,tun_id=100,dl_src=" + mac(11).String() + ",dl_dst=" + broadcast.String() + ",ip", ""},
		{"an unwanted tunnel is dropped", "br-tun", fromTunnel(4, 100, mac(21), mac(12)), ""},
	})

	// The other ports of this host hear a question for a peer, as in Neutron.
	for _, p := range []probe{
		{rule: "ARP for a peer is answered on the host", packet: arpAsk(11, mac(11), "10.0.1.11", "10.0.1.21"), want: "p11 p12"},
		{rule: "ARP for the DHCP address is answered on the host", packet: arpAsk(11, mac(11), "10.0.1.11", "10.0.1.2"), want: "p11"},
	} {
		if actions := l.trace("br-int", p.packet); !strings.Contains(actions, "op=2") || strings.Join(reached(actions), " ") != p.want {
			t.Errorf("%s: %s", p.rule, actions)
		}
	}
	for rule, packet := range map[string]string{
		"DHCP discovery goes to the agent": "in_port=11,dl_src=" + mac(11).String() + ",dl_dst=" + broadcast.String() + ",udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,udp_src=68,udp_dst=67",
		"DHCP renewal goes to the agent":   "in_port=11,dl_src=" + mac(11).String() + ",dl_dst=" + mac(0xdc01).String() + ",udp,nw_src=10.0.1.11,nw_dst=10.0.1.2,udp_src=68,udp_dst=67",
	} {
		actions := l.trace("br-int", packet)
		if !strings.Contains(actions, "userspace(") || !strings.Contains(actions, "controller(") || len(reached(actions)) != 0 {
			t.Errorf("%s, and nowhere else: %s", rule, actions)
		}
	}
}

// TestIPv6QuestionsGoToTheAgent: DHCPv6, routers and the DHCP port are asked for on the host, by the port's meter; all else of
// neighbour discovery goes on.
func TestIPv6QuestionsGoToTheAgent(t *testing.T) {
	in := scenarios()["ipv6"].port(1, 12)
	in.Ports[portID(12)].FixedIPs = []model.FixedIP{{Addr: addr("2001:db8::12")}}
	l := newLab(t, in)
	own := fmt.Sprintf("in_port=11,dl_src=%s,", mac(11))
	dhcp := "dl_dst=33:33:00:01:00:02,udp6,ipv6_dst=ff02::1:2,udp_src=546,udp_dst=547"
	nd := "dl_dst=33:33:ff:00:00:02,icmp6,nw_ttl=255,icmpv6_code=0,"
	solicit := nd + "icmpv6_type=135,nd_sll=" + mac(11).String() + ",nd_target="
	for _, c := range []struct{ rule, packet, want string }{
		{"DHCPv6", own + dhcp, "agent"},
		{"DHCPv6 of a foreign MAC", "in_port=11,dl_src=" + mac(12).String() + "," + dhcp, ""},
		{"router solicitation", own + nd + "icmpv6_type=133", "agent"},
		{"neighbour: the DHCP port", own + solicit + "2001:db8::2", "agent"},
		{"neighbour: the DHCP port's link-local address", own + solicit + "fe80::f816:3eff:fe00:dc01", "agent"},
		{"neighbour: another", own + solicit + "2001:db8::12", "p12"},
		{"ping of the DHCP port", own + "dl_dst=" + mac(0xdc01).String() + ",icmp6,icmpv6_type=128,icmpv6_code=0,ipv6_src=2001:db8::11,ipv6_dst=2001:db8::2,nw_ttl=64", "answered"},
		{"neighbour: the DHCP port, by a foreign MAC", own + nd + "icmpv6_type=135,nd_target=2001:db8::2,nd_sll=" + mac(12).String(), ""},
	} {
		actions := l.trace("br-int", c.packet)
		got := strings.Join(reached(actions), " ")
		if strings.Contains(actions, "icmpv6(type=129") && got == "p11" {
			got = "answered"
		}
		if strings.Contains(actions, "meter(") && strings.Contains(actions, "controller(") {
			got = strings.TrimSpace("agent " + got)
		}
		if got != c.want {
			t.Errorf("%s goes to %q, want %q\nactions %s", c.rule, got, c.want, actions)
		}
	}
}

func TestSpoofedFramesAreDropped(t *testing.T) {
	in := scenarios()["populated"]
	in.Ports[portID(11)].FixedIPs = append(in.Ports[portID(11)].FixedIPs, model.FixedIP{Addr: addr("2001:db8::11")})
	l := newLab(t, in)
	m11, m12 := mac(11).String(), mac(12).String()
	own := "in_port=11,dl_src=" + m11 + ",dl_dst=" + m12 + ","
	group := "in_port=11,dl_src=" + m11 + ",dl_dst=33:33:00:00:00:01,"
	l.check(t, []probe{
		{"own MAC and address pass", "", own + "ip,nw_src=10.0.1.11", "p12"},
		{"foreign address", "", own + "ip,nw_src=10.0.1.12", ""},
		{"own MAC and address pass, IPv6", "", own + "ipv6,ipv6_src=2001:db8::11", "p12"},
		{"foreign address, IPv6", "", own + "ipv6,ipv6_src=2001:db8::12", ""},
		{"foreign MAC", "", "in_port=11,dl_src=" + m12 + ",dl_dst=" + m12 + ",ip,nw_src=10.0.1.11", ""},
		{"foreign MAC, IPv6", "", "in_port=11,dl_src=" + m12 + ",dl_dst=" + m12 + ",ipv6,ipv6_src=2001:db8::11", ""},
		{"own ARP passes", "", own + "arp,arp_op=2,arp_spa=10.0.1.11,arp_sha=" + m11, "p12"},
		{"ARP probe passes", "", own + "arp,arp_op=1,arp_spa=0.0.0.0,arp_tpa=10.0.1.11,arp_sha=" + m11, "p12"},
		{"ARP answer for no address", "", own + "arp,arp_op=2,arp_spa=0.0.0.0,arp_sha=" + m11, ""},
		{"ARP for a foreign address", "", own + "arp,arp_op=2,arp_spa=10.0.1.12,arp_sha=" + m11, ""},
		{"ARP with a foreign hardware address", "", own + "arp,arp_op=2,arp_spa=10.0.1.11,arp_sha=" + m12, ""},
		{"ARP from a foreign MAC", "", "in_port=11,dl_src=" + m12 + ",dl_dst=" + m12 + ",arp,arp_op=2,arp_spa=10.0.1.11,arp_sha=" + m11, ""},
		{"own advertisement passes", "", own + "icmp6,ipv6_src=2001:db8::11,icmpv6_type=136,icmpv6_code=0,nd_target=2001:db8::11,nd_tll=" + m11, "p12"},
		{"own advertisement without option passes", "", own + "icmp6,ipv6_src=2001:db8::11,icmpv6_type=136,icmpv6_code=0,nd_target=2001:db8::11", "p12"},
		{"own link-local advertisement passes", "", own + "icmp6,ipv6_src=2001:db8::11,icmpv6_type=136,icmpv6_code=0,nd_target=fe80::f816:3eff:fe00:b,nd_tll=" + m11, "p12"},
		{"advertisement for a foreign address", "", own + "icmp6,ipv6_src=2001:db8::11,icmpv6_type=136,icmpv6_code=0,nd_target=2001:db8::12,nd_tll=" + m11, ""},
		{"advertisement with a foreign MAC", "", own + "icmp6,ipv6_src=2001:db8::11,icmpv6_type=136,icmpv6_code=0,nd_target=2001:db8::11,nd_tll=" + m12, ""},
		{"solicitation passes", "", group + "icmp6,ipv6_src=2001:db8::11,icmpv6_type=135,icmpv6_code=0,nd_target=2001:db8::12,nd_sll=" + m11, "gre-0a000115 gre-0a000120 p12"},
		{"duplicate address detection passes", "", group + "icmp6,ipv6_src=::,icmpv6_type=135,icmpv6_code=0,nd_target=2001:db8::11", "gre-0a000115 gre-0a000120 p12"},
		{"solicitation with a foreign MAC", "", group + "icmp6,icmpv6_type=135,icmpv6_code=0,nd_target=2001:db8::12,nd_sll=" + m12, ""},
		{"solicitation with broken options", "", group + "icmp6,icmpv6_type=135,icmpv6_code=0,nd_target=::", ""},
		{"router solicitation passes", "", group + "icmp6,ipv6_src=fe80::f816:3eff:fe00:b,icmpv6_type=133,icmpv6_code=0", "gre-0a000115 gre-0a000120 p12"},
		{"router advertisement", "", group + "icmp6,icmpv6_type=134,icmpv6_code=0", ""},
		{"redirect", "", own + "icmp6,icmpv6_type=137,icmpv6_code=0", ""},
		{"DHCP server", "", own + "udp,udp_src=67,udp_dst=68", ""},
		{"DHCPv6 server", "", own + "udp6,udp_src=547,udp_dst=546", ""},
		{"DHCP request from a foreign MAC", "", "in_port=11,dl_src=" + m12 + ",dl_dst=" + broadcast.String() + ",udp,nw_dst=255.255.255.255,udp_src=68,udp_dst=67", ""},
		{"VLAN tag", "", own + "dl_vlan=1,ip", ""},
		{"VLAN tag of no VLAN", "", own + "dl_vlan=0,ip", ""},
		{"802.3 frame", "", own + "dl_type=0x05ff", ""},
		{"LLDP", "", own + "dl_type=0x88cc", ""},
		{"EAPOL", "", own + "dl_type=0x888e", ""},
		{"MPLS", "", own + "dl_type=0x8847", ""},
	})
}

func TestOpenPortsLearn(t *testing.T) {
	in := scenarios()["open"]
	l := newLab(t, in)
	nested := mac(0xabc)
	l.check(t, []probe{
		{"known unicast is not flooded to open ports", "", ip(11, mac(11), mac(13)), "p13"},
		{"a peer's MAC is not flooded to open ports", "", ip(11, mac(11), mac(21)), "gre-0a000115"},
		{"unknown unicast goes to open ports and hosts", "", ip(11, mac(11), nested), "gre-0a000115 p12 p13"},
		{"broadcast goes to all", "", ip(12, nested, broadcast), "gre-0a000115 p11 p13"},
		{"an open port may use any MAC", "", ip(12, nested, mac(11)), "p11"},
		{"even an open port has no tags", "", "in_port=12,dl_vlan=1,dl_src=" + nested.String() + ",dl_dst=" + mac(11).String() + ",ip", ""},
		{"a pair's MAC passes, with the pair's address", "", "in_port=13,dl_src=00:00:5e:00:01:07,dl_dst=" + mac(11).String() + ",ip,nw_src=10.0.1.200", "p11"},
		{"a pair's MAC with another address", "", ip(13, model.MAC{0, 0, 0x5e, 0, 1, 7}, mac(11)), ""},
		{"another MAC does not", "", ip(13, nested, mac(11)), ""},
		{"a pair's prefix is claimed by ARP", "", "in_port=13,dl_src=" + mac(13).String() + ",dl_dst=" + mac(11).String() + ",arp,arp_op=2,arp_spa=192.0.2.1,arp_sha=" + mac(13).String(), "p11"},
	})

	l.trace("br-int", ip(12, nested, mac(11)), "-generate")
	l.check(t, []probe{{"a learned MAC is no more flooded", "", ip(11, mac(11), nested), "p12"}})

	l.trace("br-int", ip(12, mac(11), mac(21)), "-generate")
	l.check(t, []probe{{"a known MAC cannot be taken over", "", ip(13, mac(13), mac(11)), "p11"}})

	l.trace("br-tun", fromTunnel(2, 100, nested, mac(11)), "-generate")
	l.check(t, []probe{{"a learned MAC moves to another host", "", ip(11, mac(11), nested), "gre-0a000115"}})

	if dump := l.Ofctl("dump-flows", "br-int", "table=61"); !strings.Contains(dump, fmt.Sprintf("cookie=%#x", Cookie(model.KindLearned, netID(1).UUID))) {
		t.Errorf("a learned flow does not lead to its network:\n%s", dump)
	}
}

func TestProviderNetworks(t *testing.T) {
	l := newLab(t, scenarios()["provider"].port(2, 15))
	nic := func(rest string) string {
		return "in_port=1,dl_src=" + mac(22).String() + ",dl_dst=" + broadcast.String() + rest + ",ip"
	}
	l.check(t, []probe{
		{"a flat network is untagged outside", "br-ex", nic(""), "br-ex p11"},
		{"a VLAN is its tag outside", "br-ex", nic(",dl_vlan=200"), "br-ex p12 p15"},
		{"other VLANs are not ours", "br-ex", nic(",dl_vlan=201"), "br-ex"},
		{"a local VLAN id means nothing outside", "br-ex", nic(",dl_vlan=1"), "br-ex"},
		{"between VLAN ports of one host", "", ipOn(2, 12, mac(12), mac(15)), "p15"},
		{"other unicast goes to the physical network only", "", ipOn(2, 12, mac(12), mac(22)), "br-ex nic"},
		{"a local network stays on the host", "", ipOn(3, 13, mac(13), broadcast), "p14"},
		{"a local network stays on the host", "", ipOn(3, 13, mac(13), mac(99)), ""},
	})
	if a := l.trace("br-int", ip(11, mac(11), broadcast)); strings.Contains(a, "vlan") {
		t.Errorf("a frame of a flat network leaves with a tag: %s", a)
	}
	if a := l.trace("br-int", ipOn(2, 12, mac(12), mac(22))); !strings.Contains(a, "push_vlan(vid=200,pcp=0)") {
		t.Errorf("a frame of VLAN 200 leaves with another tag: %s", a)
	}
}

func TestLearningPipeline(t *testing.T) {
	l := newLab(t, scenarios()["learning"])
	l.check(t, []probe{
		{"ARP questions travel", "", arpAsk(11, mac(11), "10.0.1.11", "10.0.1.21"), "gre-0a000115 gre-0a000120 p12"},
		{"a MAC not heard of is flooded to hosts", "", ip(11, mac(11), mac(21)), "gre-0a000115 gre-0a000120"},
	})
	l.trace("br-tun", fromTunnel(2, 100, mac(21), mac(11)), "-generate")
	l.check(t, []probe{{"a MAC heard of is not", "", ip(11, mac(11), mac(21)), "gre-0a000115"}})
	if kind, _ := Object(Cookie(model.KindLearned, model.UUID{})); kind != model.KindLearned {
		t.Error("learned flows are not told by their cookie")
	}
}

// TestGuestIsAnswered sends real packets from a port with the kernel's own
// stack behind it.
func TestGuestIsAnswered(t *testing.T) {
	l := newLab(t, scenarios()["populated"])
	l.Exec("ip", "link", "set", "p11", "address", mac(11).String())
	l.Exec("ip", "address", "add", "10.0.1.11/24", "dev", "p11")
	l.Exec("ip", "link", "set", "p11", "up")
	l.Exec("ping", "-c", "1", "-w", "10", "-I", "p11", "10.0.1.2")
	if n := l.Exec("ip", "neighbour", "show", "10.0.1.2"); !strings.Contains(n, mac(0xdc01).String()) {
		t.Errorf("the DHCP address resolves to %q", n)
	}
	l.Exec("busybox", "arping", "-c", "1", "-w", "10", "-I", "p11", "10.0.1.21")
}
