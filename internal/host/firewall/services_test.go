package firewall

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// serviceRulesOf lists the rules for services in a port's two chains.
func serviceRulesOf(out Output, f table.Ruleset, chain string) (rules []string) {
	for _, t := range f {
		for _, c := range t.Chains {
			if strings.HasPrefix(c.Name, prefix+chain) {
				for _, r := range c.Rules {
					if strings.Contains(string(r), "services of the host") {
						before, _, _ := strings.Cut(string(r), " -m comment")
						rules = append(rules, before)
					}
				}
			}
		}
	}
	return rules
}

func TestServicesPassWhateverTheGroupSays(t *testing.T) {
	network := &model.NetworkView{AdminStateUp: true, DHCPMAC: model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3}, DHCPAddrs: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2")}}
	in := func(stateful bool, rules ...model.RuleView) Input {
		g := &model.GroupView{ID: model.SecurityGroupID{UUID: num(1)}, Stateful: stateful, Rules: rules}
		return Input{Ports: []PortInput{{View: port(1, g), Network: network, Zone: 4097}}, Groups: groupsByID(g)}
	}
	shut := in(true)
	out := Hybrid(shut)
	want4 := "-d 169.254.169.254/32 -p tcp -m tcp --dport 80|-d 10.0.0.2/32 -p udp -m udp --dport 53|-d 10.0.0.2/32 -p tcp -m tcp --dport 53"
	want6 := "-d fe80::a9fe:a9fe/128 -p tcp -m tcp --dport 80|-d 2001:db8::2/128 -p udp -m udp --dport 53|-d 2001:db8::2/128 -p tcp -m tcp --dport 53"
	if got := strings.Join(serviceRulesOf(out, out.V4, "o"), "|"); got != want4 {
		t.Errorf("from the guest, IPv4: %s", got)
	}
	if got := strings.Join(serviceRulesOf(out, out.V6, "o"), "|"); got != want6 {
		t.Errorf("from the guest, IPv6: %s", got)
	}
	if got := serviceRulesOf(out, out.V4, "i"); len(got) != 0 {
		t.Errorf("what is tracked needs no rule to come back: %s", got)
	}
	stateless := Hybrid(in(false))
	if got := strings.Join(serviceRulesOf(stateless, stateless.V4, "i"), "|"); got != strings.NewReplacer("-d", "-s", "--dport", "--sport").Replace(want4) {
		t.Errorf("to a stateless guest: %s", got)
	}
	open := Hybrid(in(true, rule(1, model.Egress, model.IPv4), rule(2, model.Egress, model.IPv6)))
	if got := append(serviceRulesOf(open, open.V4, "o"), serviceRulesOf(open, open.V6, "o")...); len(got) != 0 {
		t.Errorf("what passes anyway needs no rule: %s", got)
	}

	policy := NewPolicy(shut)
	guest := netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		conn Conn
		want bool
	}{
		{Conn{Protocol: protoTCP, Src: guest, Dst: netip.MustParseAddr("169.254.169.254"), SrcPort: 9, DstPort: 80}, true},
		{Conn{Protocol: protoUDP, Src: guest, Dst: netip.MustParseAddr("10.0.0.2"), SrcPort: 9, DstPort: 53}, true},
		{Conn{Protocol: protoUDP, Src: guest, Dst: netip.MustParseAddr("169.254.169.254"), SrcPort: 9, DstPort: 80}, false},
		{Conn{Protocol: protoTCP, Src: guest, Dst: netip.MustParseAddr("169.254.169.254"), SrcPort: 9, DstPort: 443}, false},
		{Conn{Protocol: protoTCP, Src: guest, Dst: netip.MustParseAddr("10.0.0.3"), SrcPort: 9, DstPort: 53}, false},
		{Conn{Protocol: protoTCP, Src: netip.MustParseAddr("10.0.0.9"), Dst: guest, SrcPort: 80, DstPort: 80}, false},
	} {
		if got := policy.Allows(4097, c.conn); got != c.want {
			t.Errorf("%+v goes on: %v", c.conn, got)
		}
	}
}
