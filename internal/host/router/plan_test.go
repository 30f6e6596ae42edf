package router

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/host/iptables/table"
	"weft/internal/model"
	"weft/internal/testkit/golden"
)

func id(kind, n byte) model.UUID { return model.UUID{kind, 6: 0x40, 8: 0x80, 15: n} }

func port(n byte) model.PortID { return model.PortID{UUID: model.UUID{n, 4: n, 6: 0x40, 8: 0x80}} }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// sample is a router with two legs, an external one with both families, a user's route, two floating IPs and
// forwardings of a third.
func sample() (*model.RouterView, []*model.FloatingView) {
	r := &model.RouterView{
		ID: model.RouterID{UUID: id(4, 1)}, AdminStateUp: true,
		Legs: []model.LegView{
			{PortID: port(0x11), MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 0x11}, Addrs: prefixes("10.0.0.1/24"), MTU: 1458},
			{PortID: port(0x12), MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 0x12}, Addrs: prefixes("10.0.1.1/24", "2001:db8:1::1/64"), MTU: 1458},
		},
		External: &model.ExternalView{
			LegView:  model.LegView{PortID: port(0x1e), MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 0x1e}, Addrs: prefixes("203.0.113.120/24", "2001:db8:113::5/64"), MTU: 1500},
			NextHops: []netip.Addr{addr("203.0.113.1"), addr("2001:db8:113::1")}, SNAT: true,
		},
		Routes: []model.Route{{Destination: netip.MustParsePrefix("192.0.2.0/24"), NextHop: addr("10.0.1.9")}},
	}
	floating := []*model.FloatingView{
		{ID: model.FloatingIPID{UUID: id(7, 2)}, RouterID: r.ID, Addr: addr("203.0.113.131"), Fixed: addr("10.0.1.7")},
		{ID: model.FloatingIPID{UUID: id(7, 1)}, RouterID: r.ID, Addr: addr("203.0.113.130"), Fixed: addr("10.0.0.7")},
		{ID: model.FloatingIPID{UUID: id(7, 3)}, RouterID: r.ID, Addr: addr("203.0.113.132"), Forwarding: []model.ForwardingView{
			{Protocol: 6, Internal: addr("10.0.0.8"), ExternalMin: 2222, ExternalMax: 2222, InternalMin: 22, InternalMax: 22},
			{Protocol: 17, Internal: addr("10.0.0.8"), ExternalMin: 5000, ExternalMax: 5009, InternalMin: 6000, InternalMax: 6009},
			{Protocol: 132, Internal: addr("10.0.0.9"), ExternalMin: 80, ExternalMax: 90, InternalMin: 80, InternalMax: 90},
			{Protocol: 6, Internal: addr("10.0.0.9"), ExternalMin: 9000, ExternalMax: 9009, InternalMin: 9, InternalMax: 9},
		}},
	}
	return r, floating
}

func TestCompute(t *testing.T) {
	r, floating := sample()
	p := Compute(r, floating)
	t.Run("legs have the names that Neutron gives them, the external one is last", func(t *testing.T) {
		var names []string
		for _, l := range p.Legs {
			names = append(names, l.Name)
		}
		if got := strings.Join(names, " "); got != "qr-11000000-11 qr-12000000-12 qg-1e000000-1e" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("the external leg has the floating addresses, after its own", func(t *testing.T) {
		want := prefixes("203.0.113.120/24", "2001:db8:113::5/64", "203.0.113.130/32", "203.0.113.131/32", "203.0.113.132/32")
		got := p.Legs[2].Addrs
		if len(got) != len(want) {
			t.Fatalf("got %v", got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got %v", got)
			}
		}
	})
	t.Run("routes are the user's and a default route a family", func(t *testing.T) {
		var text []string
		for _, x := range p.Routes {
			text = append(text, x.Dst.String()+" "+x.Gateway.String()+" "+x.Dev)
		}
		want := "192.0.2.0/24 10.0.1.9 |0.0.0.0/0 203.0.113.1 qg-1e000000-1e|::/0 2001:db8:113::1 qg-1e000000-1e"
		if got := strings.Join(text, "|"); got != want {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a gateway outside of the subnet is on the wire", func(t *testing.T) {
		r, _ := sample()
		r.External.NextHops = []netip.Addr{addr("192.0.2.1")}
		if got := Compute(r, nil).Routes[1]; got.Dst.String() != "192.0.2.1/32" || got.Gateway.IsValid() {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("a user's default route counts before the external network's", func(t *testing.T) {
		r, _ := sample()
		r.Routes = []model.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), NextHop: addr("10.0.1.9")}}
		if got := Compute(r, nil).Routes; len(got) != 2 || got[0].Gateway != addr("10.0.1.9") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("without an external leg nothing is translated", func(t *testing.T) {
		r, _ := sample()
		r.External = nil
		if p := Compute(r, nil); p.V4 != nil || len(p.Legs) != 2 {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("without SNAT floating IPs are translated all the same", func(t *testing.T) {
		r, floating := sample()
		r.External.SNAT = false
		text := Compute(r, floating).V4.Text()
		if strings.Contains(text, "203.0.113.120") || !strings.Contains(text, "-s 10.0.0.7/32 -j SNAT --to-source 203.0.113.130") {
			t.Errorf("got %s", text)
		}
	})
	t.Run("the order of floating IPs does not matter", func(t *testing.T) {
		r, floating := sample()
		floating[0], floating[2] = floating[2], floating[0]
		if Compute(r, floating).V4.Text() != p.V4.Text() {
			t.Error("the rules differ")
		}
	})
}

// TestComputeAtPorts: a host that serves floating IPs of its own ports has their addresses, and no other public one.
func TestComputeAtPorts(t *testing.T) {
	r, floating := sample()
	r.Distributed = true
	for _, f := range floating[:2] {
		f.AtPort = true
	}
	p := ComputeAtPorts(r, "compute1", floating[:2])
	outer := p.Legs[len(p.Legs)-1]
	if want := prefixes("203.0.113.130/32", "203.0.113.131/32"); !outer.External || !slices.Equal(outer.Addrs, want) {
		t.Errorf("external leg %+v", outer)
	}
	if other := ComputeAtPorts(r, "compute2", floating[:2]).Legs[2]; outer.MAC == r.External.MAC || outer.MAC == other.MAC || outer.MAC[0] != 0xfa {
		t.Errorf("MAC %s, the other host's %s, the gateways' %s", outer.MAC, other.MAC, r.External.MAC)
	}
	if len(p.Legs) != 3 || p.Legs[0].MAC != r.Legs[0].MAC {
		t.Errorf("legs %+v", p.Legs)
	}
	if one := ComputeAtPorts(r, "compute1", floating[:1]); len(one.Legs) != 2 || one.Legs[0].Name != "qr-12000000-12" {
		t.Errorf("a network without such a port has a leg: %+v", one.Legs)
	}
	var routes []string
	for _, x := range p.Routes {
		routes = append(routes, x.Dst.String()+" "+x.Gateway.String())
	}
	if got := strings.Join(routes, "|"); got != "203.0.113.0/24 invalid IP|0.0.0.0/0 203.0.113.1" {
		t.Errorf("routes %s", got)
	}
	if rules := p.V4.Text(); strings.Contains(rules, "203.0.113.120") || !strings.Contains(rules, "-s 10.0.0.7/32 -j SNAT --to-source 203.0.113.130") {
		t.Errorf("rules %s", rules)
	}
	gateway := Compute(r, floating)
	if text := gateway.V4.Text(); strings.Contains(text, "203.0.113.130") || !strings.Contains(text, "203.0.113.132") {
		t.Errorf("the gateway's rules %s", text)
	}
	if got := gateway.Legs[2].Addrs; !slices.Equal(got, prefixes("203.0.113.120/24", "2001:db8:113::5/64", "203.0.113.132/32")) {
		t.Errorf("the gateway's addresses %v", got)
	}
}

// TestRules_golden keeps the rules in sight; iptables-restore has to take them, and print them as we do.
func TestRules_golden(t *testing.T) {
	apart, floating := sample()
	apart.Legs[0].Scope, apart.Legs[1].Scope6 = model.AddressScopeID{UUID: id(9, 1)}, model.AddressScopeID{UUID: id(9, 2)}
	apart.External.SNAT = false
	scoped := Compute(apart, floating)
	for _, c := range []struct {
		file   string
		rules  table.Ruleset
		family string
	}{
		{"router.rules", Compute(sample()).V4, "ip"},
		{"scopes.rules", scoped.V4, "ip"},
		{"scopes6.rules", scoped.V6, "ip6"},
	} {
		t.Run(c.file, func(t *testing.T) {
			golden.Check(t, filepath.Join("testdata", c.file), c.rules.Text())
			for _, tool := range []string{c.family + "tables-nft", c.family + "tables-legacy"} {
				printsAlike(t, tool, c.rules)
			}
		})
	}
}

// printsAlike checks that a tool takes rules, and prints them as we do.
func printsAlike(t *testing.T, tool string, rules table.Ruleset) {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "sh", "-c", tool+"-restore && "+tool+"-save")
	cmd.Stdin = strings.NewReader(withPolicies(rules.Text()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", tool, err, out)
	}
	back, err := table.Protocols{}.Parse(string(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, tb := range rules {
		for _, c := range tb.Chains {
			is := back.Table(tb.Name).Chain(c.Name)
			if is == nil || strings.Join(text(is.Rules), "\n") != strings.Join(text(c.Rules), "\n") {
				t.Errorf("%s prints chain %s of %s as %v, want %v", tool, c.Name, tb.Name, is, c.Rules)
			}
		}
	}
}

func text(rules []table.Rule) (out []string) {
	for _, r := range rules {
		out = append(out, string(r))
	}
	return out
}

// withPolicies gives built-in chains the policy that iptables-restore wants of them.
func withPolicies(rules string) string {
	for _, c := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
		rules = strings.ReplaceAll(rules, ":"+c+" - ", ":"+c+" ACCEPT ")
	}
	return rules
}

func TestTranslation_carries(t *testing.T) {
	fip := Translation{Outside: addr("203.0.113.130"), Inside: addr("10.0.0.7")}
	forward := Translation{Outside: addr("203.0.113.132"), Inside: addr("10.0.0.8"), Protocol: 6, PortMin: 2222, PortMax: 2222, InsidePort: 22}
	own := Translation{Outside: addr("203.0.113.120")}
	conn := func(src, dst string, dport uint16) firewall.Conn {
		return firewall.Conn{Protocol: 6, Src: addr(src), Dst: addr(dst), DstPort: dport}
	}
	inward := [2]firewall.Conn{conn("198.51.100.1", "203.0.113.130", 22), conn("10.0.0.7", "198.51.100.1", 1)}
	outward := [2]firewall.Conn{conn("10.0.0.7", "198.51.100.1", 80), conn("198.51.100.1", "203.0.113.130", 1)}
	masked := [2]firewall.Conn{conn("10.0.0.9", "198.51.100.1", 80), conn("198.51.100.1", "203.0.113.120", 1)}
	forwarded := [2]firewall.Conn{conn("198.51.100.1", "203.0.113.132", 2222), conn("10.0.0.8", "198.51.100.1", 1)}
	plain := [2]firewall.Conn{conn("10.0.0.7", "10.0.1.7", 80), conn("10.0.1.7", "10.0.0.7", 1)}
	all := map[string][2]firewall.Conn{"inward": inward, "outward": outward, "masked": masked, "forwarded": forwarded, "plain": plain}
	for name, want := range map[string]struct {
		t     Translation
		which string
	}{
		"a floating IP":     {fip, "inward outward"},
		"a forwarding":      {forward, "forwarded"},
		"the router's SNAT": {own, "masked"},
	} {
		for c, pair := range all {
			if got := want.t.carries(pair[0], pair[1]); got != strings.Contains(" "+want.which+" ", " "+c+" ") {
				t.Errorf("%s carries %s: %v", name, c, got)
			}
		}
	}
}

func TestAnnouncement(t *testing.T) {
	mac := model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3}
	if f := announcement(mac, addr("203.0.113.130")); len(f) != 42 || f[21] != 1 || string(f[28:32]) != string(f[38:42]) {
		t.Errorf("ARP %x", f)
	}
	f := announcement(mac, addr("2001:db8::1"))
	if len(f) != 86 || f[54] != 136 {
		t.Fatalf("NA %x", f)
	}
	// Over a message with its checksum the sum is zero.
	if sum := checksum6([16]byte(f[22:38]), [16]byte(f[38:54]), f[54:]); sum != 0 {
		t.Errorf("checksum is off by %x", sum)
	}
}
