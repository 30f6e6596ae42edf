package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/host/firewall"
	"weft/internal/model"
)

var nsCount atomic.Int32

// newNamespace makes a private network namespace, removed when the test ends.
func newNamespace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("wf-%d-%d", time.Now().UnixNano()%1e9, nsCount.Add(1))
	sh(t, "ip netns add "+name)
	t.Cleanup(func() { sh(t, "ip netns del "+name) })
	sh(t, "ip -n "+name+" link set lo up")
	return name
}

// sh runs a shell command and returns what it prints; a failure ends the test.
func sh(t testing.TB, command string) string {
	t.Helper()
	out, err := exec.Command("bash", "-e", "-o", "pipefail", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func in(ns, command string) string { return "ip netns exec " + ns + " " + command }

// openManager makes a Manager for a namespace.
func openManager(t testing.TB, ns string, b Backend) *Manager {
	t.Helper()
	m := New(Config{Layout: HostLayout(), Namespace: "/run/netns/" + ns, Backend: b})
	if err := m.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func state(o firewall.Output) State { return State{V4: o.V4, V6: o.V6, Sets: o.Sets} }

// apply applies an input and fails the test when anything is refused.
func apply(t testing.TB, m *Manager, in firewall.Input) Result {
	t.Helper()
	res, err := m.Apply(context.Background(), state(firewall.Hybrid(in)))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Refused)+len(res.BadSets) > 0 {
		t.Fatalf("refused: %v, sets: %v", res.Refused, res.BadSets)
	}
	return res
}

// wantConverged reads the kernel anew and fails when anything is left to do.
func wantConverged(t testing.TB, m *Manager, want State) {
	t.Helper()
	have, err := m.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if c := HostLayout().Plan(have, want); !c.Empty() {
		t.Fatalf("not converged, still to do:\n%s", strings.Join(c.Describe(), "\n"))
	}
}

func uuid(t testing.TB, s string) model.UUID {
	t.Helper()
	u, err := model.ParseUUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func id(n int) model.UUID {
	var u model.UUID
	u[0], u[1], u[2], u[3], u[4], u[5] = byte(n>>8), byte(n), 0x5b, 0xd3, byte(n), 0x06
	u[15] = byte(n)
	return u
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr  { return netip.MustParseAddr(s) }

// rule makes a rule that the changes then narrow.
func rule(n int, d model.Direction, e model.EtherType, change ...func(*model.RuleView)) model.RuleView {
	r := model.RuleView{ID: model.SecurityGroupRuleID{UUID: id(n)}, Direction: d, EtherType: e, Protocol: model.ProtocolAny, PortMin: -1, PortMax: -1}
	for _, f := range change {
		f(&r)
	}
	return r
}

func proto(p, lo, hi int) func(*model.RuleView) {
	return func(r *model.RuleView) { r.Protocol, r.PortMin, r.PortMax = p, lo, hi }
}

func remote(s string) func(*model.RuleView) {
	return func(r *model.RuleView) { r.RemotePrefix = pfx(s) }
}

func fromGroup(u model.UUID) func(*model.RuleView) {
	return func(r *model.RuleView) { r.RemoteGroup = model.SecurityGroupID{UUID: u} }
}

func group(n int, stateful bool, rules ...model.RuleView) *model.GroupView {
	return &model.GroupView{ID: model.SecurityGroupID{UUID: id(n)}, Stateful: stateful, Rules: rules}
}

func groups(gs ...*model.GroupView) map[model.SecurityGroupID]*model.GroupView {
	out := map[model.SecurityGroupID]*model.GroupView{}
	for _, g := range gs {
		out[g.ID] = g
	}
	return out
}

func members(set model.UUID, prefixes ...string) map[model.MemberKey]*model.MemberView {
	out := map[model.MemberKey]*model.MemberView{}
	for i, p := range prefixes {
		k := model.MemberKey{Set: set, Port: id(9000 + i)}
		out[k] = &model.MemberView{Key: k, Prefixes: []netip.Prefix{pfx(p)}}
	}
	return out
}

// port makes a port with port security and the addresses.
func port(n int, gs []*model.GroupView, addrs ...string) *model.PortView {
	v := &model.PortView{ID: model.PortID{UUID: id(n)}, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, byte(n >> 8), byte(n)},
		AdminStateUp: true, PortSecurity: true, Firewall: model.FirewallHybrid}
	for _, g := range gs {
		v.SecurityGroups = append(v.SecurityGroups, g.ID)
	}
	for _, a := range addrs {
		v.FixedIPs = append(v.FixedIPs, model.FixedIP{Addr: addr(a)})
	}
	return v
}

func network() *model.NetworkView {
	return &model.NetworkView{AdminStateUp: true, MTU: 1458, DHCPMAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0xd, 0xd},
		DHCPAddrs: []netip.Addr{addr("10.0.0.2"), addr("2001:db8::2")},
		Subnets: []model.SubnetView{
			{CIDR: pfx("10.0.0.0/24"), Gateway: addr("10.0.0.1"), EnableDHCP: true},
			{CIDR: pfx("2001:db8::/64"), Gateway: addr("fe80::1"), EnableDHCP: true, RAMode: model.IPv6Stateful},
		}}
}

// everyRule has one rule of every kind, for both families and directions.
func everyRule() []model.RuleView {
	var rules []model.RuleView
	add := func(r model.RuleView) { rules = append(rules, r) }
	n := 1000
	set := id(700)
	for _, d := range []model.Direction{model.Ingress, model.Egress} {
		for _, e := range []model.EtherType{model.IPv4, model.IPv6} {
			far, half, icmp := "192.0.2.77/24", "128.0.0.0/1", 1
			if e == model.IPv6 {
				far, half, icmp = "2001:db8:ffff::77/48", "8000::/1", 58
			}
			next := func(change ...func(*model.RuleView)) { n++; add(rule(n, d, e, change...)) }
			for p := 1; p <= 255; p++ {
				next(proto(p, -1, -1))
			}
			next()
			next(remote(far))
			next(remote(half))
			next(fromGroup(set))
			for _, p := range []int{6, 17, 33, 132, 136} {
				next(proto(p, 22, 22))
				next(proto(p, 22, 22), remote(far))
				next(proto(p, 22, 22), fromGroup(set))
				next(proto(p, 80, 90))
				next(proto(p, 80, 90), fromGroup(set))
				next(proto(p, 0, 65535))
				next(proto(p, 65535, 65535))
				next(proto(p, 1, 65535))
				next(proto(p, 0, 0))
			}
			for typ := 0; typ < 255; typ++ {
				next(proto(icmp, typ, -1))
			}
			next(proto(icmp, 8, 0))
			next(proto(icmp, 3, 255))
			next(proto(icmp, 3, 4), remote(far))
			next(proto(icmp, 8, -1), fromGroup(set))
			next(func(r *model.RuleView) { r.RemoteAddressGroup = model.AddressGroupID{UUID: id(701)} })
			if e == model.IPv4 {
				next(remote("0.0.0.0/0"))
				next(remote("10.0.0.0/8"))
				next(remote("10.9.8.7/32"))
			} else {
				next(remote("::/0"))
				next(remote("2001:db8::5/128"))
				next(proto(58, 255, -1))
				next(proto(58, 255, 255))
				next(proto(1, -1, -1))
			}
		}
	}
	return rules
}

// everyPort has one port of every kind.
func everyPort() firewall.Input {
	all, stateless := group(1, true, everyRule()...), group(2, false, everyRule()...)
	n := network()
	paired := port(13, []*model.GroupView{all}, "10.0.0.13", "2001:db8::13")
	for _, p := range []string{"10.1.0.9/16", "0.0.0.0/0", "::/0", "2001:db8:7::1/64", "10.0.0.99/32"} {
		paired.AddressPairs = append(paired.AddressPairs, model.AddressPair{Prefix: pfx(p), MAC: paired.MAC},
			model.AddressPair{Prefix: pfx(p), MAC: model.MAC{0, 0, 0x5e, 0, 1, 7}})
	}
	down, open, bad := port(14, []*model.GroupView{all}, "10.0.0.14"), port(15, nil, "10.0.0.15"), port(16, []*model.GroupView{all}, "10.0.0.16")
	down.AdminStateUp, open.PortSecurity, bad.MAC = false, false, model.MAC{}
	in := firewall.Input{Groups: groups(all, stateless), Members: members(id(700), "10.0.0.192/32", "10.0.0.54/32", "0.0.0.0/0", "10.7.1.2/16", "::/0", "2001:db8::9/128")}
	for i, v := range []*model.PortView{port(11, []*model.GroupView{all}, "10.0.0.11", "2001:db8::11"), port(12, []*model.GroupView{stateless}, "10.0.0.12"),
		paired, down, open, bad, port(17, nil), port(18, []*model.GroupView{all}, "2001:db8::18")} {
		in.Ports = append(in.Ports, firewall.PortInput{View: v, Network: n, Zone: uint16(4097 + i), Routers: []netip.Addr{addr("fe80::99")}})
	}
	return in
}
