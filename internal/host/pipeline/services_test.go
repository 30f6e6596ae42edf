package pipeline

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/host/standin"
	"weft/internal/model"
)

// TestServices traces packets to the host's services and back on a real switch.
func TestServices(t *testing.T) {
	in := scenarios()["services"]
	l := newLab(t, in)
	l.Vsctl("add-port", "br-int", "p80", "--", "set", "interface", "p80", "type=internal", "ofport_request=80")
	metadata := func(port, n int, rest string) string {
		return "in_port=" + fmt.Sprint(port) + ",dl_src=" + mac(n).String() + ",dl_dst=" + mac(0x99).String() + ",tcp,nw_ttl=64,tp_src=1000," + rest
	}
	back := func(to netip.Addr, proto, rest string) string {
		return "in_port=80,dl_src=" + standin.MAC.String() + ",dl_dst=" + standin.MAC.String() + "," + proto + ",nw_ttl=64,nw_src=169.254.169.254,nw_dst=" + to.String() + "," + rest
	}
	first := func(ofport uint16) netip.Addr { return standin.Key{OFPort: ofport}.V4() }
	l.check(t, []probe{
		{"metadata goes to the services, by whatever MAC", "", metadata(11, 11, "nw_src=10.0.1.11,nw_dst=169.254.169.254,tp_dst=80"), "p80"},
		{"another tenant with the same address too", "", metadata(13, 13, "nw_src=10.0.1.11,nw_dst=169.254.169.254,tp_dst=80"), "p80"},
		{"not from a foreign address", "", metadata(11, 11, "nw_src=10.0.1.12,nw_dst=169.254.169.254,tp_dst=80"), ""},
		{"not from what stands for another", "", metadata(11, 11, "nw_src="+first(12).String()+",nw_dst=169.254.169.254,tp_dst=80"), ""},
		{"not from a foreign MAC", "", metadata(11, 12, "nw_src=10.0.1.11,nw_dst=169.254.169.254,tp_dst=80"), ""},
		{"another port of the address is no service", "", strings.Replace(metadata(11, 11, "nw_src=10.0.1.11,nw_dst=169.254.169.254,tp_dst=22"), mac(0x99).String(), standin.MAC.String(), 1), ""},
		{"names by UDP", "", strings.NewReplacer(",tcp,", ",udp,", "tp_", "udp_").Replace(metadata(11, 11, "nw_src=10.0.1.11,nw_dst=10.0.1.2,tp_dst=53")), "p80"},
		{"names by TCP", "", metadata(11, 11, "nw_src=10.0.1.11,nw_dst=10.0.1.2,tp_dst=53"), "p80"},
		{"no names where there is no DHCP port", "", strings.Replace(metadata(11, 11, "nw_src=10.0.1.11,nw_dst=10.0.1.2,tp_dst=80"), mac(0x99).String(), mac(0xdc01).String(), 1), ""},
		{"the answer goes to the port alone", "", back(first(11), "tcp", "tp_src=80"), "p11"},
		{"the other tenant's to its own", "", back(first(13), "tcp", "tp_src=80"), "p13"},
		{"names come back", "", back(first(11), "udp", "udp_src=53"), "p11"},
		{"nothing else comes out of the services", "", back(first(11), "tcp", "tp_src=22"), ""},
		{"nothing comes out for nobody", "", back(first(14), "tcp", "tp_src=80"), ""},
		{"nothing comes out for other addresses", "", back(addr("10.0.1.11"), "tcp", "tp_src=80"), ""},
		{"ARP does not come out", "", "in_port=80,dl_src=" + standin.MAC.String() + ",dl_dst=" + broadcast.String() + ",arp,arp_op=1,arp_tpa=10.0.1.11", ""},
		{"a port without port security is no service", "", "in_port=12,dl_src=" + mac(12).String() + ",dl_dst=" + mac(11).String() + ",tcp,nw_src=169.254.169.254,nw_dst=10.0.1.11,tp_src=80", ""},
		{"nor does it name hosts", "", "in_port=12,dl_src=" + mac(12).String() + ",dl_dst=" + mac(11).String() + ",udp,nw_src=10.0.1.2,nw_dst=10.0.1.11,udp_src=53", ""},
	})
	for rule, c := range map[string][2]string{
		"the service sees who it is":   {metadata(13, 13, "nw_src=10.0.1.11,nw_dst=169.254.169.254,tp_dst=80"), "src=" + first(13).String()},
		"the guest sees whom it asked": {back(first(11), "udp", "udp_src=53"), "src=10.0.1.2,dst=10.0.1.11"},
	} {
		if actions := l.trace("br-int", c[0]); !strings.Contains(actions, c[1]) {
			t.Errorf("%s: %s", rule, actions)
		}
	}
	for _, p := range []string{arpAsk(11, mac(11), "10.0.1.11", "169.254.169.254"), arpAsk(12, mac(12), "10.0.1.12", "169.254.169.254")} {
		if actions := l.trace("br-int", p); !strings.Contains(actions, "op=2") || !strings.Contains(actions, "sha="+standin.MAC.String()) {
			t.Errorf("ARP for the metadata service is not answered: %s", actions)
		}
	}
	solicit := "in_port=11,dl_src=" + mac(11).String() + ",dl_dst=33:33:ff:fe:a9:fe,icmp6,icmpv6_type=135,icmpv6_code=0,nd_target=fe80::a9fe:a9fe,nd_sll=" + mac(11).String()
	if actions := l.trace("br-int", solicit); !strings.Contains(actions, "userspace(") || len(reached(actions)) != 0 {
		t.Errorf("a solicitation for the metadata service does not go to the agent alone: %s", actions)
	}
}

// TestServices_areNotThereWithoutTheirDevice: a host without services has no flow that leads to them.
func TestServices_areNotThereWithoutTheirDevice(t *testing.T) {
	in := scenarios()["services"]
	in.Local.Services = 0
	for _, f := range Compute(in).BrInt {
		if f.Table == IntServices && len(f.Actions) > 0 || strings.Contains(f.String(), "169.254.169.254") {
			t.Errorf("%s", f)
		}
	}
	// A port beyond what can be told apart has none either, and nothing else is missing.
	in = scenarios()["services"]
	in.Local.Ports[portID(11)] = standin.MaxPort + 1
	out := Compute(in)
	if len(out.Problems) != 0 || len(out.Wired) != 3 {
		t.Errorf("wired %v, problems %v", out.Wired, out.Problems)
	}
	for _, f := range out.BrInt {
		if f.Table == IntServices && f.Cookie == Cookie(model.KindPort, portID(11).UUID) {
			t.Errorf("%s", f)
		}
	}
}
