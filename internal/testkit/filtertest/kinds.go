package filtertest

import (
	"fmt"
	"testing"

	"weft/internal/model"
)

// overlaps: two groups say overlapping things (OSSA-2019-002).
func overlaps(t *testing.T, d Driver) {
	a := Group(1, true, Rule(1, model.Ingress, model.IPv4, Proto(6, 10, 20)), Rule(2, model.Ingress, model.IPv4, Proto(6, 40, 47), FromGroup(ID(700))),
		Rule(3, model.Ingress, model.IPv4, Proto(6, 60, 70), Remote("10.0.0.48/28")))
	b := Group(2, true, Rule(4, model.Ingress, model.IPv4, Proto(6, 15, 30)), Rule(5, model.Ingress, model.IPv4, Proto(6, 45, 50), FromGroup(ID(701))),
		Rule(6, model.Ingress, model.IPv4, Proto(6, 40, 47), Remote("192.0.2.8/29")), Rule(7, model.Ingress, model.IPv4, Proto(6, 60, 60)))
	v := Port(11, []*model.GroupView{a, b}, vm4)
	w := d(t, v)
	input := w.input(v, a, b)
	input.Members = Members(ID(700), far4+"/32", "10.1.0.0/16")
	for k, m := range Members(ID(701), far4+"/32", "10.1.2.0/24") {
		input.Members[k] = m
	}
	w.Apply(t, input)
	check := func(src string, passes bool, ports ...uint16) {
		for _, p := range ports {
			w.Check(t, []Probe{{fmt.Sprintf("from %s to %d", src, p), true, w.to(src, vm4).TCP(1000, p, SYN, 1, 0), passes}})
		}
	}
	check(far4, false, 9, 31, 39, 51, 59, 71)
	check(far4, true, 10, 15, 20, 21, 30, 40, 45, 47, 48, 50, 60, 65, 70)
	check(else4, true, 20, 40, 47, 60)
	check(else4, false, 48, 61)
	check("10.1.9.9", true, 40, 47)
	check("10.1.9.9", false, 48, 61)
	check("10.1.2.9", true, 47, 48, 50)
}

// icmpTypes: messages that the tracker follows, errors about nothing it knows, and
// those that it cannot follow.
func icmpTypes(t *testing.T, d Driver) {
	some4, some6 := []int{0, 3, 5, 8, 10, 11, 13, 17, 40}, []int{1, 2, 128, 129, 133, 137, 139}
	var rules []model.RuleView
	for i, typ := range some4 {
		rules = append(rules, Rule(1+i, model.Ingress, model.IPv4, Proto(1, typ, -1)))
	}
	for i, typ := range some6 {
		rules = append(rules, Rule(50+i, model.Ingress, model.IPv6, Proto(58, typ, -1)))
	}
	rules = append(rules, Rule(90, model.Ingress, model.IPv4, Proto(1, 12, 1)), Rule(91, model.Ingress, model.IPv4, Proto(1, 15, 0)))
	g := Group(1, true, rules...)
	v := Port(11, []*model.GroupView{g}, vm4, vm6)
	w := d(t, v)
	w.Apply(t, w.input(v, g))
	has := func(list []int, n int) bool {
		for _, x := range list {
			if x == n {
				return true
			}
		}
		return false
	}
	in4, in6 := w.to(far4, vm4), w.to(far6, vm6)
	for typ := range 42 {
		if typ != 12 && typ != 15 {
			w.Check(t, []Probe{{fmt.Sprintf("ICMP %d", typ), true, in4.ICMP(byte(typ), 0, uint16(typ)), has(some4, typ)}})
		}
	}
	w.Check(t, []Probe{
		{"ICMP 12 code 1", true, in4.ICMP(12, 1, 1), true}, {"ICMP 12 code 0", true, in4.ICMP(12, 0, 1), false},
		{"ICMP 15 code 0", true, in4.ICMP(15, 0, 1), true}, {"ICMP 15 code 1", true, in4.ICMP(15, 1, 1), false},
	})
	always := []int{130, 135, 136}
	for _, typ := range []int{1, 2, 3, 4, 100, 128, 129, 130, 131, 133, 135, 136, 137, 139, 140, 200} {
		w.Check(t, []Probe{{fmt.Sprintf("ICMPv6 %d", typ), true, in6.ICMP(byte(typ), 0, uint16(typ)), has(some6, typ) || has(always, typ)}})
	}
	any := Group(1, true, Rule(1, model.Ingress, model.IPv4), Rule(2, model.Ingress, model.IPv6, Remote("2001:db8::/64")))
	w.Apply(t, w.input(v, any))
	for typ := range 42 {
		w.Check(t, []Probe{{fmt.Sprintf("any protocol, ICMP %d", typ), true, in4.ICMP(byte(typ), 0, uint16(1000+typ)), true}})
	}
	for _, typ := range []int{1, 2, 3, 4, 128, 129, 137} {
		w.Check(t, []Probe{
			{fmt.Sprintf("any protocol, ICMPv6 %d", typ), true, in6.ICMP(byte(typ), 0, uint16(1000+typ)), true},
			{fmt.Sprintf("any protocol from elsewhere, ICMPv6 %d", typ), true, w.to("2001:db8:1::1", vm6).ICMP(byte(typ), 0, uint16(1000+typ)), false},
		})
	}
}

// related: an error about a connection passes as the connection does, in both
// directions, whoever on the way sends it.
func related(t *testing.T, d Driver) {
	g := Group(1, true, Rule(1, model.Egress, model.IPv4, Proto(17, 33434, 33434)), Rule(2, model.Ingress, model.IPv4, Proto(17, 53, 53)),
		Rule(3, model.Egress, model.IPv6, Proto(17, 33434, 33434)))
	v := Port(11, []*model.GroupView{g}, vm4, vm6)
	w := d(t, v)
	input := w.input(v, g)
	w.Apply(t, input)
	out4, out6 := w.from(vm4, far4), w.from(vm6, far6)
	asked := w.to(far4, vm4).UDP(1000, 53)
	router := w.to(else4, vm4)
	w.Check(t, []Probe{
		{"a probe", false, out4.UDP(2000, 33434), true},
		{"time exceeded about it", true, router.Error(11, 0, out4.UDP(2000, 33434)), true},
		{"port unreachable about it", true, out4.Back().Error(3, 3, out4.UDP(2000, 33434)), true},
		{"fragmentation needed about it", true, router.Error(3, 4, out4.UDP(2000, 33434)), true},
		{"an error about nothing", true, router.Error(11, 0, out4.UDP(2001, 33434)), false},
		{"a question", true, asked, true},
		{"port unreachable about it", false, out4.Error(3, 3, asked), true},
		{"port unreachable about nothing", false, out4.Error(3, 3, w.to(far4, vm4).UDP(1001, 53)), false},
		{"a probe, IPv6", false, out6.UDP(2000, 33434), true},
		{"packet too big about it", true, w.to("2001:db8:9::1", vm6).Error(2, 0, out6.UDP(2000, 33434)), true},
		{"packet too big about nothing", true, w.to("2001:db8:9::1", vm6).Error(2, 0, out6.UDP(2001, 33434)), false},
	})
	input.Groups = Groups(Group(1, true))
	w.Apply(t, input)
	w.Settle(t, input)
	w.Check(t, []Probe{
		{"rule gone: an error about its connection", true, router.Error(11, 0, out4.UDP(2000, 33434)), false},
		{"rule gone: an error of the guest's", false, out4.Error(3, 3, asked), false},
	})
}

// fragments: only the first has the ports, and a packet without it is none.
func fragments(t *testing.T, d Driver) {
	g := Group(1, true, Rule(1, model.Ingress, model.IPv4, Proto(17, 53, 53)), Rule(2, model.Egress, model.IPv4, Proto(17, 54, 54)))
	v := Port(11, []*model.GroupView{g}, vm4)
	w := d(t, v)
	w.Apply(t, w.input(v, g))
	big := func(f Flow, dport uint16, id byte) [][]byte {
		parts := Fragments(f.Large(1000, dport, 1600), 1280)
		for i := range parts {
			parts[i] = identified(parts[i], id)
		}
		return parts
	}
	in4 := w.to(far4, vm4)
	for i, c := range []struct {
		name   string
		toVM   bool
		parts  [][]byte
		passes bool
	}{
		{"allowed", true, big(in4, 53, 1), true},
		{"forbidden", true, big(in4, 55, 2), false},
		{"allowed from the guest", false, big(in4.Back(), 54, 3), true},
		{"forbidden from the guest", false, big(in4.Back(), 55, 4), false},
		{"a later fragment alone", true, big(in4, 53, 5)[1:], false},
		{"spoofed", false, big(w.from("10.0.0.12", far4), 54, 6), false},
	} {
		from, to := w.VM, w.Peer
		if c.toVM {
			from, to = w.Peer, w.VM
		}
		if !c.passes { // look for the first
			c.parts[0], c.parts[len(c.parts)-1] = c.parts[len(c.parts)-1], c.parts[0]
		}
		if got := w.Passes(t, from, to, c.parts...); got != c.passes {
			t.Errorf("%d %s: passes = %v, want %v", i, c.name, got, c.passes)
		}
	}
}
