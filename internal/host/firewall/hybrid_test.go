package firewall

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

func id(s string) model.UUID {
	u, err := model.ParseUUID(s)
	if err != nil {
		panic(err)
	}
	return u
}

func num(n int) model.UUID { return id(fmt.Sprintf("%08x-1bd3-4a06-b5d6-0fe30cedc63d", n)) }

func rule(n int, d model.Direction, e model.EtherType, change ...func(*model.RuleView)) model.RuleView {
	r := model.RuleView{ID: model.SecurityGroupRuleID{UUID: num(n)}, Direction: d, EtherType: e, Protocol: model.ProtocolAny, PortMin: -1, PortMax: -1}
	for _, f := range change {
		f(&r)
	}
	return r
}

func proto(p, lo, hi int) func(*model.RuleView) {
	return func(r *model.RuleView) { r.Protocol, r.PortMin, r.PortMax = p, lo, hi }
}

func groupsByID(gs ...*model.GroupView) map[model.SecurityGroupID]*model.GroupView {
	out := map[model.SecurityGroupID]*model.GroupView{}
	for _, g := range gs {
		out[g.ID] = g
	}
	return out
}

func port(n int, gs ...*model.GroupView) *model.PortView {
	v := &model.PortView{ID: model.PortID{UUID: num(n)}, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, byte(n >> 8), byte(n)}, AdminStateUp: true, PortSecurity: true,
		FixedIPs: []model.FixedIP{{Addr: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})}}}
	for _, g := range gs {
		v.SecurityGroups = append(v.SecurityGroups, g.ID)
	}
	return v
}

// recorded is the port that the peer's tables were recorded with.
func recorded() Input {
	set := id("6f83953a-b629-4da0-8205-0123456789ab")
	fromSelf := func(r *model.RuleView) { r.RemoteGroup = model.SecurityGroupID{UUID: set} }
	g := &model.GroupView{ID: model.SecurityGroupID{UUID: set}, Stateful: true, Rules: []model.RuleView{
		rule(1, model.Ingress, model.IPv4, proto(6, 22, 22)),
		rule(2, model.Ingress, model.IPv4, proto(1, -1, -1)),
		rule(3, model.Ingress, model.IPv4, fromSelf),
		rule(4, model.Ingress, model.IPv6, fromSelf),
		rule(5, model.Egress, model.IPv4),
		rule(6, model.Egress, model.IPv6),
	}}
	v := &model.PortView{ID: model.PortID{UUID: id("051a94d5-1bd3-4a06-b5d6-0fe30cedc63d")}, MAC: model.MAC{0xfa, 0x16, 0x3e, 0x97, 0x7c, 0xe1},
		FixedIPs: []model.FixedIP{{Addr: netip.MustParseAddr("10.0.0.192")}}, AdminStateUp: true, PortSecurity: true,
		SecurityGroups: []model.SecurityGroupID{g.ID}}
	n := &model.NetworkView{AdminStateUp: true, DHCPMAC: model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3}, DHCPAddrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")},
		Subnets: []model.SubnetView{{CIDR: netip.MustParsePrefix("10.0.0.0/24"), EnableDHCP: true}}}
	members := map[model.MemberKey]*model.MemberView{}
	for i, a := range []string{"10.0.0.192/32", "10.0.0.54/32"} {
		k := model.MemberKey{Set: set, Port: num(i)}
		members[k] = &model.MemberView{Key: k, Prefixes: []netip.Prefix{netip.MustParsePrefix(a)}}
	}
	return Input{Ports: []PortInput{{View: v, Network: n, Zone: 4097}}, Groups: groupsByID(g), Members: members}
}

// TestChainsAreThoseOfARecordedNeutron compares every chain with what Neutron
// 21 put on a host for the same port. The differences are those that the
// package's documentation lists, each written out here.
func TestChainsAreThoseOfARecordedNeutron(t *testing.T) {
	const (
		client = "-s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m udp --sport 68 --dport 67 " + commentDHCPClient + "-j RETURN"
		any6   = "-p ipv6-icmp " + commentICMPv6 + "-j RETURN"
		dad    = "-s ::/128 -d ff02::/16 -p ipv6-icmp -m icmp6 --icmpv6-type %s " + commentICMPv6 + "-j RETURN"
		ours   = "-m mac --mac-source fa:16:3e:97:7c:e1 "
		chainI = "neutron-openvswi-i051a94d5-1"
		chainO = "neutron-openvswi-o051a94d5-1"
		chainS = "neutron-openvswi-s051a94d5-1"
	)
	// change rewrites the peer's chain: from one rule to the rules in its place.
	type change map[string][]string
	killed := "-m connmark --mark 0x1 " + commentKilled + "-j DROP"
	toPort := "-m physdev --physdev-out tap051a94d5-1b --physdev-is-bridged " + commentToPort + "-j " + chainI
	dads := func(typ string) []string {
		return []string{strings.Replace(fmt.Sprintf(dad, typ), "-m icmp6", ours+"-m icmp6", 1)}
	}
	var basics []string
	basics = append(basics, "-p ipv6-icmp -m icmp6 --icmpv6-type 137 "+commentRedirect+"-j DROP")
	for _, typ := range []string{"131", "132", "133", "135", "136", "143"} {
		basics = append(basics, "-p ipv6-icmp -m icmp6 --icmpv6-type "+typ+" "+commentICMPv6+"-j RETURN")
	}
	out := Hybrid(recorded())
	if len(out.Problems)+len(out.MemberProblems) > 0 {
		t.Fatal(out.Problems, out.MemberProblems)
	}
	for _, family := range []struct {
		file    string
		rules   table.Ruleset
		changes map[string]change
	}{
		{"neutron21-iptables-save.txt", out.V4, map[string]change{
			chainI: {
				"-d 10.0.0.192/32 -p udp -m udp --sport 67 --dport 68 -j RETURN":      {"-s 10.0.0.2/32 -p udp -m udp --sport 67 --dport 68 -j RETURN"},
				"-d 255.255.255.255/32 -p udp -m udp --sport 67 --dport 68 -j RETURN": nil,
			},
			chainO:                 {client: {strings.Replace(client, "-m udp", ours+"-m udp", 1)}},
			prefix + "sg-chain":    {toPort: {killed, toPort}},
			prefix + "sg-fallback": {},
		}},
		{"neutron21-ip6tables-save.txt", out.V6, map[string]change{
			chainI: {"-d fe80::/64 -p udp -m udp --sport 547 --dport 546 -j RETURN": nil}, // no IPv6 subnet, nobody answers
			chainO: {
				fmt.Sprintf(dad, "131"): dads("131"),
				fmt.Sprintf(dad, "135"): dads("135"),
				fmt.Sprintf(dad, "143"): append(dads("143"), "-j "+chainS),
				any6:                    basics,
			},
			prefix + "sg-chain": {toPort: {killed, toPort}},
		}},
	} {
		text, err := os.ReadFile("testdata/" + family.file)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := table.Protocols{}.Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, pt := range peer {
			wt := family.rules.Table(pt.Name)
			for _, pc := range pt.Chains {
				var want []table.Rule
				for _, r := range pc.Rules {
					if in, changed := family.changes[pc.Name][string(r)]; changed {
						for _, s := range in {
							want = append(want, table.Rule(s))
						}
						delete(family.changes[pc.Name], string(r))
						continue
					}
					want = append(want, r)
				}
				if left := family.changes[pc.Name]; len(left) > 0 {
					t.Errorf("%s: the peer has no such rules: %v", pc.Name, left)
				}
				wc := wt.Chain(pc.Name)
				if wc == nil {
					if len(want) > 0 || pc.Policy == "-" {
						t.Errorf("%s %s: chain missing", pt.Name, pc.Name)
					}
					continue
				}
				if !slices.Equal(wc.Rules, want) {
					t.Errorf("%s %s:\ngot  %s\nwant %s", pt.Name, pc.Name, join(wc.Rules), join(want))
				}
			}
			for _, wc := range wt.Chains {
				if pt.Chain(wc.Name) == nil && wc.Name != chainS {
					t.Errorf("%s %s: the peer has no such chain", pt.Name, wc.Name)
				}
			}
		}
	}
	want := []table.Set{
		{Name: "NIPv46f83953a-b629-4da0-8205-", Family: table.IPv4, MaxElem: 65536, Members: []netip.Prefix{netip.MustParsePrefix("10.0.0.54/32"), netip.MustParsePrefix("10.0.0.192/32")}},
		{Name: "NIPv66f83953a-b629-4da0-8205-", Family: table.IPv6, MaxElem: 65536},
	}
	if !reflect.DeepEqual(out.Sets, want) {
		t.Errorf("sets = %v", out.Sets)
	}
}

func join(rules []table.Rule) string {
	var b strings.Builder
	for _, r := range rules {
		b.WriteString("\n  " + string(r))
	}
	return b.String()
}

// TestABadRuleMatchesNothingAndIsReported: a rule that cannot be right is left
// out, the rest of the port is as without it.
func TestABadRuleMatchesNothingAndIsReported(t *testing.T) {
	good := rule(1, model.Ingress, model.IPv4, proto(6, 22, 22))
	for name, bad := range map[string]model.RuleView{
		"prefix too long":     rule(2, model.Ingress, model.IPv4, func(r *model.RuleView) { r.RemotePrefix = netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 99) }),
		"prefix of v6":        rule(2, model.Ingress, model.IPv4, func(r *model.RuleView) { r.RemotePrefix = netip.MustParsePrefix("::/0") }),
		"mapped prefix":       rule(2, model.Ingress, model.IPv6, func(r *model.RuleView) { r.RemotePrefix = netip.MustParsePrefix("::ffff:10.0.0.0/104") }),
		"any with port":       rule(2, model.Ingress, model.IPv4, proto(model.ProtocolAny, 22, 22)),
		"protocol 0":          rule(2, model.Ingress, model.IPv4, proto(0, -1, -1)),
		"protocol 256":        rule(2, model.Ingress, model.IPv4, proto(256, -1, -1)),
		"protocol -2":         rule(2, model.Ingress, model.IPv4, proto(-2, -1, -1)),
		"VRRP with port":      rule(2, model.Ingress, model.IPv4, proto(112, 80, 80)),
		"range backwards":     rule(2, model.Ingress, model.IPv4, proto(6, 90, 80)),
		"half a range":        rule(2, model.Ingress, model.IPv4, proto(6, -1, 80)),
		"other half":          rule(2, model.Ingress, model.IPv4, proto(6, 80, -1)),
		"port 65536":          rule(2, model.Ingress, model.IPv4, proto(17, 80, 65536)),
		"ICMP code alone":     rule(2, model.Ingress, model.IPv4, proto(1, -1, 0)),
		"ICMP type 256":       rule(2, model.Ingress, model.IPv4, proto(1, 256, -1)),
		"ICMP type 255":       rule(2, model.Ingress, model.IPv4, proto(1, 255, -1)),
		"ICMPv6 type over v4": rule(2, model.Ingress, model.IPv4, proto(58, 128, -1)),
		"ethertype":           rule(2, model.Ingress, "IPX"),
		"direction":           rule(2, "sideways", model.IPv4),
		"two remotes":         rule(2, model.Ingress, model.IPv4, func(r *model.RuleView) { r.RemoteGroup.UUID, r.RemoteAddressGroup.UUID = num(7), num(8) }),
		"a group and a prefix": rule(2, model.Ingress, model.IPv4, func(r *model.RuleView) {
			r.RemoteGroup.UUID, r.RemotePrefix = num(7), netip.MustParsePrefix("10.0.0.0/8")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			render := func(rules ...model.RuleView) Output {
				g := &model.GroupView{ID: model.SecurityGroupID{UUID: num(1)}, Stateful: true, Rules: rules}
				return Hybrid(Input{Ports: []PortInput{{View: port(1, g), Zone: 1}, {View: port(2), Zone: 1}}, Groups: groupsByID(g)})
			}
			with, without := render(bad, good), render(good)
			if !reflect.DeepEqual(with.V4, without.V4) || !reflect.DeepEqual(with.V6, without.V6) || len(with.Sets) > 0 {
				t.Error("the bad rule left something behind")
			}
			var e *RuleError
			if err := with.Problems[model.PortID{UUID: num(1)}]; !errors.As(err, &e) || e.Rule != bad.ID {
				t.Errorf("problem = %v", err)
			}
			if len(with.Problems) != 1 {
				t.Errorf("problems = %v", with.Problems)
			}
		})
	}
}

func TestABadPortPassesNothingAndOthersAreAsWithoutIt(t *testing.T) {
	g := &model.GroupView{ID: model.SecurityGroupID{UUID: num(1)}, Stateful: true, Rules: []model.RuleView{rule(1, model.Ingress, model.IPv4)}}
	for name, bad := range map[string]PortInput{
		"no MAC":        {View: func() *model.PortView { v := port(1, g); v.MAC = model.MAC{}; return v }(), Zone: 1},
		"multicast MAC": {View: func() *model.PortView { v := port(1, g); v.MAC[0] |= 1; return v }(), Zone: 1},
		"host's zone":   {View: port(1, g)},
		"wildcard tap":  {View: port(1, g), Zone: 1, Tap: "tap+"},
		"option as qvb": {View: port(1, g), Zone: 1, QVB: "x -j ACCEPT"},
	} {
		t.Run(name, func(t *testing.T) {
			out := Hybrid(Input{Ports: []PortInput{bad, {View: port(2, g), Zone: 1}}, Groups: groupsByID(g)})
			for _, f := range []table.Ruleset{out.V4, out.V6} {
				for _, c := range []string{bad.View.ID.ChainSuffix()} {
					for _, kind := range []string{"i", "o"} {
						if got := f.Table("filter").Chain(prefix + kind + c).Rules; !slices.Equal(got, []table.Rule{ruleUnmatched}) {
							t.Errorf("%s chain = %v", kind, got)
						}
					}
				}
			}
			var e *PortError
			if !errors.As(out.Problems[bad.View.ID], &e) || len(out.Problems) != 1 {
				t.Errorf("problems = %v", out.Problems)
			}
			for _, r := range out.V4.Table("filter").Chain(chainForward).Rules {
				if strings.Contains(string(r), "+") || strings.Contains(string(r), "ACCEPT") {
					t.Errorf("forward rule %s", r)
				}
			}
		})
	}
}

func TestPortsWhoseIdsBeginAlikeDoNotShareChains(t *testing.T) {
	g := &model.GroupView{ID: model.SecurityGroupID{UUID: num(1)}, Stateful: true, Rules: []model.RuleView{rule(1, model.Ingress, model.IPv4)}}
	a, b := port(5, g), port(5, g)
	b.ID.UUID[4] ^= 0x0f // tap names differ, chain names do not
	out := Hybrid(Input{Ports: []PortInput{{View: a, Zone: 1}, {View: b, Zone: 1}}, Groups: groupsByID(g)})
	first, second := a, b
	if b.ID.Compare(a.ID.UUID) < 0 {
		first, second = b, a
	}
	if out.Problems[second.ID] == nil || out.Problems[first.ID] != nil {
		t.Fatal(out.Problems)
	}
	n := 0
	for _, r := range out.V4.Table("filter").Chain(chainForward).Rules {
		if strings.Contains(string(r), "tap"+second.ID.DeviceSuffix()) {
			n++
			if !strings.HasSuffix(string(r), "-j "+chainFallback) {
				t.Errorf("rule %s", r)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d rules of the second port", n)
	}
}

func TestABadMemberLeavesOnlyItselfOut(t *testing.T) {
	in := recorded()
	var key model.MemberKey
	for k := range in.Members {
		key = k
	}
	m := *in.Members[key]
	m.Prefixes = append(slices.Clone(m.Prefixes), netip.PrefixFrom(netip.MustParseAddr("10.0.0.7"), 99), netip.MustParsePrefix("::ffff:1.2.3.4/128"))
	in.Members[key] = &m
	out := Hybrid(in)
	if len(out.Sets[0].Members) != 2 || len(out.MemberProblems) != 1 || out.MemberProblems[key] == nil {
		t.Errorf("members %v, problems %v", out.Sets[0].Members, out.MemberProblems)
	}
}

func TestAMemberOfEverythingBecomesTwoHalves(t *testing.T) {
	in := recorded()
	k := model.MemberKey{Set: id("6f83953a-b629-4da0-8205-0123456789ab"), Port: num(99)}
	in.Members = map[model.MemberKey]*model.MemberView{k: {Key: k, Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}}
	out := Hybrid(in)
	if got := fmt.Sprint(out.Sets[0].Members, out.Sets[1].Members); got != "[0.0.0.0/1 128.0.0.0/1] [::/1 8000::/1]" {
		t.Error(got)
	}
}

// world draws an input, good and bad alike.
func world(t *rapid.T) Input {
	in := Input{Groups: map[model.SecurityGroupID]*model.GroupView{}, Members: map[model.MemberKey]*model.MemberView{}}
	prefixes := []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.1.7/24"),
		netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::/0"), netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 99)}
	port16 := rapid.SampledFrom([]int{-1, 0, 1, 22, 80, 255, 256, 65535, 65536})
	for i := range rapid.IntRange(0, 4).Draw(t, "groups") {
		g := &model.GroupView{ID: model.SecurityGroupID{UUID: num(100 + i)}, Stateful: rapid.Bool().Draw(t, "stateful")}
		for range rapid.IntRange(0, 5).Draw(t, "rules") {
			r := rule(rapid.IntRange(1, 99).Draw(t, "id"), rapid.SampledFrom([]model.Direction{model.Ingress, model.Egress, "x"}).Draw(t, "direction"),
				rapid.SampledFrom([]model.EtherType{model.IPv4, model.IPv6, ""}).Draw(t, "ethertype"))
			r.Protocol = rapid.SampledFrom([]int{-1, -1, 0, 1, 6, 17, 58, 112, 132, 255, 300}).Draw(t, "protocol")
			r.PortMin, r.PortMax = port16.Draw(t, "min"), port16.Draw(t, "max")
			r.RemotePrefix = rapid.SampledFrom(prefixes).Draw(t, "prefix")
			if rapid.Bool().Draw(t, "set") {
				r.RemotePrefix, r.RemoteGroup.UUID = netip.Prefix{}, num(rapid.IntRange(100, 105).Draw(t, "group"))
			}
			g.Rules = append(g.Rules, r)
		}
		in.Groups[g.ID] = g
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "members") {
		k := model.MemberKey{Set: num(rapid.IntRange(100, 105).Draw(t, "of")), Port: num(i)}
		in.Members[k] = &model.MemberView{Key: k, Prefixes: []netip.Prefix{rapid.SampledFrom(prefixes).Draw(t, "member")}}
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "ports") {
		v := port(i + 1)
		v.AdminStateUp, v.PortSecurity = rapid.IntRange(0, 9).Draw(t, "up") > 0, rapid.IntRange(0, 9).Draw(t, "security") > 0
		for range rapid.IntRange(0, 3).Draw(t, "in groups") {
			v.SecurityGroups = append(v.SecurityGroups, model.SecurityGroupID{UUID: num(rapid.IntRange(100, 105).Draw(t, "in group"))})
		}
		for range rapid.IntRange(0, 2).Draw(t, "pairs") {
			v.AddressPairs = append(v.AddressPairs, model.AddressPair{Prefix: rapid.SampledFrom(prefixes).Draw(t, "pair"), MAC: v.MAC})
		}
		in.Ports = append(in.Ports, PortInput{View: v, Zone: uint16(rapid.IntRange(0, 3).Draw(t, "zone"))})
	}
	return in
}

// step draws an input that differs from another in a few objects; the others are the same.
func step(t *rapid.T, in Input) Input {
	other := world(t)
	out := Input{Ports: slices.Clone(in.Ports), Groups: maps.Clone(in.Groups), Members: maps.Clone(in.Members)}
	switch rapid.IntRange(0, 5).Draw(t, "step") {
	case 0:
		return other
	case 1: // groups come or change
		maps.Copy(out.Groups, other.Groups)
	case 2: // a rule of a group comes or goes
		for id, g := range in.Groups {
			changed := *g
			changed.Rules = slices.Clone(g.Rules)
			if n := len(changed.Rules); n > 0 && rapid.Bool().Draw(t, "goes") {
				changed.Rules = changed.Rules[:n-1]
			} else {
				changed.Rules = append(changed.Rules, rule(rapid.IntRange(1, 99).Draw(t, "rule"), model.Ingress, model.IPv4, proto(6, 80, 80)))
			}
			out.Groups[id] = &changed
			break
		}
	case 3: // groups go
		for id := range in.Groups {
			if rapid.Bool().Draw(t, "group goes") {
				delete(out.Groups, id)
			}
		}
	case 4: // members come, go and change
		for key := range in.Members {
			if rapid.IntRange(0, 2).Draw(t, "member goes") == 0 {
				delete(out.Members, key)
			}
		}
		maps.Copy(out.Members, other.Members)
	case 5: // ports go or change
		for i := range out.Ports {
			if i < len(other.Ports) && rapid.Bool().Draw(t, "port changes") {
				out.Ports[i] = other.Ports[i]
			}
		}
	}
	return out
}

// TestACacheChangesNothing: after any sequence of inputs, the output with a
// cache is that without, and what was put out before stays what it was.
func TestACacheChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Cache
		var before, wantBefore Output
		in := world(t)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			got, want := c.Hybrid(in), Hybrid(in)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("with cache:\n%v\nwithout:\n%v", got, want)
			}
			if !reflect.DeepEqual(before, wantBefore) {
				t.Fatalf("the output before has become\n%v\nwas\n%v", before, wantBefore)
			}
			before, wantBefore = got, want
			in = step(t, in)
		}
	})
}

// TestAGroupsChangeLeavesOtherChainsAlone: of 200 ports, the chains of the family and direction of a new rule are written
// anew, and no others: those are the same slices.
func TestAGroupsChangeLeavesOtherChainsAlone(t *testing.T) {
	in := manyPorts(200)
	var c Cache
	before := c.Hybrid(in)
	for id, g := range in.Groups {
		changed := *g
		changed.Rules = append(slices.Clone(g.Rules), rule(99, model.Ingress, model.IPv4, proto(6, 443, 443)))
		in.Groups[id] = &changed
	}
	after := c.Hybrid(in)
	anew := map[string]int{}
	for f, rules := range map[table.Family][2]table.Ruleset{table.IPv4: {before.V4, after.V4}, table.IPv6: {before.V6, after.V6}} {
		for i, chain := range rules[1].Table("filter").Chains {
			old := rules[0].Table("filter").Chains[i]
			if kind, ok := strings.CutPrefix(chain.Name, prefix); ok && len(kind) == 11 && kind[9] == '-' && &old.Rules[0] != &chain.Rules[0] {
				anew[f.String()+" "+kind[:1]]++
			}
		}
	}
	if want := map[string]int{"inet i": 200}; !maps.Equal(anew, want) {
		t.Errorf("chains written anew: %v, want %v", anew, want)
	}
}

// TestWhateverTheInputTheRulesAreWhole: every rule is in normal form, every jump
// has its target, every set is made, no port's chain ends open, and no rule of a
// filtered port's chain lets everything in.
func TestWhateverTheInputTheRulesAreWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out := Hybrid(world(t))
		sets := map[string]bool{}
		for _, s := range out.Sets {
			sets[s.Name] = true
		}
		for _, rules := range []table.Ruleset{out.V4, out.V6} {
			back, err := table.Protocols{}.Parse(rules.Text())
			if err != nil {
				t.Fatal(err)
			}
			for i := range rules {
				for j, c := range rules[i].Chains {
					if !slices.Equal(back[i].Chains[j].Rules, c.Rules) {
						t.Fatalf("not in normal form: %v", c.Rules)
					}
					checkChain(t, &rules[i], c, sets)
				}
			}
		}
	})
}

func checkChain(t *rapid.T, in *table.Table, c table.Chain, sets map[string]bool) {
	for _, r := range c.Rules {
		words := strings.Fields(string(r))
		at := slices.Index(words, "-j")
		if target := words[at+1]; strings.HasPrefix(target, "neutron-") && in.Chain(target) == nil {
			t.Fatalf("%s leads nowhere: %s", c.Name, r)
		}
		if i := slices.Index(words, "--match-set"); i >= 0 && !sets[words[i+1]] {
			t.Fatalf("no such set: %s", r)
		}
	}
	suffix := strings.TrimPrefix(c.Name, prefix)
	if len(suffix) == 11 && suffix[9] == '-' {
		last := c.Rules[len(c.Rules)-1]
		if last != ruleUnmatched && last != ruleNoPair {
			t.Fatalf("%s ends open: %s", c.Name, last)
		}
	}
}

// TestAnUnknownOrEmptyRemoteMatchesNothing (OSSN-0095).
func TestAnUnknownOrEmptyRemoteMatchesNothing(t *testing.T) {
	for _, change := range []func(*model.RuleView){
		func(r *model.RuleView) { r.RemoteGroup.UUID = num(77) },
		func(r *model.RuleView) { r.RemoteAddressGroup.UUID = num(77) },
	} {
		g := &model.GroupView{ID: model.SecurityGroupID{UUID: num(1)}, Stateful: true, Rules: []model.RuleView{rule(1, model.Ingress, model.IPv4, change)}}
		in := Input{Ports: []PortInput{{View: port(1, g), Zone: 1}}, Groups: groupsByID(g)}
		out := Hybrid(in)
		if len(out.Sets) != 1 || len(out.Sets[0].Members) != 0 {
			t.Errorf("sets = %v", out.Sets)
		}
		chain := out.V4.Table("filter").Chain(prefix + "i" + in.Ports[0].View.ID.ChainSuffix())
		if want := table.Rule("-m set --match-set " + out.Sets[0].Name + " src -j RETURN"); !slices.Contains(chain.Rules, want) {
			t.Errorf("no %s in %v", want, chain.Rules)
		}
		if NewPolicy(in).Allows(1, Conn{Protocol: 6, Src: netip.MustParseAddr("10.9.9.9"), Dst: in.Ports[0].View.FixedIPs[0].Addr, DstPort: 22}) {
			t.Error("the policy allows it")
		}
	}
}

func manyPorts(n int) Input {
	in := recorded()
	base := in.Ports[0]
	in.Ports = nil
	for i := range n {
		v := *base.View
		v.ID.UUID = num(i + 1)
		in.Ports = append(in.Ports, PortInput{View: &v, Network: base.Network, Zone: base.Zone})
	}
	return in
}

// BenchmarkRender renders 200 ports: all anew, after a change of their common
// group, and after a change of one port.
func BenchmarkRender(b *testing.B) {
	in := manyPorts(200)
	b.Run("200 ports", func(b *testing.B) {
		for b.Loop() {
			Hybrid(in)
		}
	})
	b.Run("200 ports, their group changed", func(b *testing.B) {
		var c Cache
		for b.Loop() {
			for id, g := range in.Groups {
				h := *g
				in.Groups[id] = &h
			}
			c.Hybrid(in)
		}
	})
	b.Run("200 ports, a member of 10,000 comes or goes", func(b *testing.B) {
		var c Cache
		in := manyPorts(200)
		var key model.MemberKey
		for k := range in.Members {
			key = k
		}
		in.Members = map[model.MemberKey]*model.MemberView{}
		for i := range 10_000 {
			key.Port = num(i)
			in.Members[key] = &model.MemberView{Key: key, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)}}
		}
		last := in.Members[key]
		c.Hybrid(in)
		for i := 0; b.Loop(); i++ {
			if delete(in.Members, key); i%2 == 1 {
				in.Members[key] = last
			}
			c.Hybrid(in)
		}
	})
	b.Run("200 ports, one changed", func(b *testing.B) {
		var c Cache
		c.Hybrid(in)
		for b.Loop() {
			v := *in.Ports[7].View
			in.Ports[7].View = &v
			c.Hybrid(in)
		}
	})
}
