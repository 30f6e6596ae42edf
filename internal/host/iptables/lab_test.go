package iptables

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/model"
	"weft/internal/testkit/filtertest"
)

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

func state(o firewall.Output) State { return State{V4: o.V4, V6: o.V6, Sets: o.Sets, Taps: o.Taps} }

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

// everyRule has one rule of every kind, for both families and directions.
func everyRule() []model.RuleView {
	var rules []model.RuleView
	add := func(r model.RuleView) { rules = append(rules, r) }
	n := 1000
	set := filtertest.ID(700)
	for _, d := range []model.Direction{model.Ingress, model.Egress} {
		for _, e := range []model.EtherType{model.IPv4, model.IPv6} {
			far, half, icmp := "192.0.2.77/24", "128.0.0.0/1", 1
			if e == model.IPv6 {
				far, half, icmp = "2001:db8:ffff::77/48", "8000::/1", 58
			}
			next := func(change ...func(*model.RuleView)) { n++; add(filtertest.Rule(n, d, e, change...)) }
			for p := 1; p <= 255; p++ {
				next(filtertest.Proto(p, -1, -1))
			}
			next()
			next(filtertest.Remote(far))
			next(filtertest.Remote(half))
			next(filtertest.FromGroup(set))
			for _, p := range []int{6, 17, 33, 132, 136} {
				next(filtertest.Proto(p, 22, 22))
				next(filtertest.Proto(p, 22, 22), filtertest.Remote(far))
				next(filtertest.Proto(p, 22, 22), filtertest.FromGroup(set))
				next(filtertest.Proto(p, 80, 90))
				next(filtertest.Proto(p, 80, 90), filtertest.FromGroup(set))
				next(filtertest.Proto(p, 0, 65535))
				next(filtertest.Proto(p, 65535, 65535))
				next(filtertest.Proto(p, 1, 65535))
				next(filtertest.Proto(p, 0, 0))
			}
			for typ := 0; typ < 255; typ++ {
				next(filtertest.Proto(icmp, typ, -1))
			}
			next(filtertest.Proto(icmp, 8, 0))
			next(filtertest.Proto(icmp, 3, 255))
			next(filtertest.Proto(icmp, 3, 4), filtertest.Remote(far))
			next(filtertest.Proto(icmp, 8, -1), filtertest.FromGroup(set))
			next(func(r *model.RuleView) { r.RemoteAddressGroup = model.AddressGroupID{UUID: filtertest.ID(701)} })
			if e == model.IPv4 {
				next(filtertest.Remote("0.0.0.0/0"))
				next(filtertest.Remote("10.0.0.0/8"))
				next(filtertest.Remote("10.9.8.7/32"))
			} else {
				next(filtertest.Remote("::/0"))
				next(filtertest.Remote("2001:db8::5/128"))
				next(filtertest.Proto(58, 255, -1))
				next(filtertest.Proto(58, 255, 255))
				next(filtertest.Proto(1, -1, -1))
			}
		}
	}
	return rules
}

// everyPort has one port of every kind.
func everyPort() firewall.Input {
	all, stateless := filtertest.Group(1, true, everyRule()...), filtertest.Group(2, false, everyRule()...)
	n := filtertest.Network()
	paired := filtertest.Port(13, []*model.GroupView{all}, "10.0.0.13", "2001:db8::13")
	for _, p := range []string{"10.1.0.9/16", "0.0.0.0/0", "::/0", "2001:db8:7::1/64", "10.0.0.99/32"} {
		paired.AddressPairs = append(paired.AddressPairs, model.AddressPair{Prefix: netip.MustParsePrefix(p), MAC: paired.MAC},
			model.AddressPair{Prefix: netip.MustParsePrefix(p), MAC: model.MAC{0, 0, 0x5e, 0, 1, 7}})
	}
	down, open, bad := filtertest.Port(14, []*model.GroupView{all}, "10.0.0.14"), filtertest.Port(15, nil, "10.0.0.15"), filtertest.Port(16, []*model.GroupView{all}, "10.0.0.16")
	down.AdminStateUp, open.PortSecurity, bad.MAC = false, false, model.MAC{}
	in := firewall.Input{Groups: filtertest.Groups(all, stateless), Members: filtertest.Members(filtertest.ID(700), "10.0.0.192/32", "10.0.0.54/32", "0.0.0.0/0", "10.7.1.2/16", "::/0", "2001:db8::9/128")}
	for i, v := range []*model.PortView{filtertest.Port(11, []*model.GroupView{all}, "10.0.0.11", "2001:db8::11"), filtertest.Port(12, []*model.GroupView{stateless}, "10.0.0.12"),
		paired, down, open, bad, filtertest.Port(17, nil), filtertest.Port(18, []*model.GroupView{all}, "2001:db8::18")} {
		in.Ports = append(in.Ports, firewall.PortInput{View: v, Network: n, Zone: uint16(4097 + i), Routers: []netip.Addr{netip.MustParseAddr("fe80::99")}})
	}
	return in
}
