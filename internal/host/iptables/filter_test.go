package iptables

import (
	"fmt"
	"net/netip"
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/model"
)

const (
	vm4, vm6   = "10.0.0.11", "2001:db8::11"
	far4, far6 = "10.0.0.54", "2001:db8::54"
	else4      = "192.0.2.9"
	dhcp4      = "10.0.0.2"
	bcast4     = "255.255.255.255"
)

var everyone = model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// probe is a packet and whether it must pass.
type probe struct {
	name   string
	toVM   bool
	frame  []byte
	passes bool
}

func (w *wire) check(t *testing.T, probes []probe) {
	t.Helper()
	for _, p := range probes {
		from, to := w.vm, w.peer
		if p.toVM {
			from, to = w.peer, w.vm
		}
		if got := passes(t, from, to, p.frame); got != p.passes {
			t.Errorf("%s: passes = %v, want %v", p.name, got, p.passes)
		}
	}
}

// bothBackends runs a test over both kernel interfaces.
func bothBackends(t *testing.T, f func(t *testing.T, b Backend)) {
	for _, b := range []Backend{NFT, Legacy} {
		t.Run(string(b), func(t *testing.T) { f(t, b) })
	}
}

func (w *wire) to(src, dst string) flow   { return flow{w.peer.mac, w.vm.mac, src, dst} }
func (w *wire) from(src, dst string) flow { return flow{w.vm.mac, w.peer.mac, src, dst} }

func (w *wire) input(v *model.PortView, gs ...*model.GroupView) firewall.Input {
	return firewall.Input{Ports: []firewall.PortInput{{View: v, Network: network(), Zone: 4097}}, Groups: groups(gs...)}
}

func TestEachRuleKindLetsThroughWhatItSaysAndNothingElse(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		g := group(1, true,
			rule(1, model.Ingress, model.IPv4, proto(6, 22, 22)),
			rule(2, model.Ingress, model.IPv4, proto(6, 8000, 8010)),
			rule(3, model.Ingress, model.IPv4, proto(17, 53, 53)),
			rule(4, model.Ingress, model.IPv4, proto(1, 8, -1)),
			rule(5, model.Ingress, model.IPv4, proto(1, 13, 0)),
			rule(6, model.Ingress, model.IPv4, proto(6, 443, 443), remote("10.0.0.48/28")),
			rule(7, model.Ingress, model.IPv4, proto(112, -1, -1)),
			rule(8, model.Ingress, model.IPv6, proto(6, 22, 22)),
			rule(9, model.Ingress, model.IPv6, proto(58, 128, -1)),
			rule(10, model.Egress, model.IPv4, proto(6, 80, 80), remote("10.0.0.54/32")),
			rule(11, model.Egress, model.IPv6, proto(17, 53, 53)),
			rule(12, model.Ingress, model.IPv4, proto(6, 9000, 9000), fromGroup(id(700))),
			rule(13, model.Ingress, model.IPv4, proto(6, 9001, 9001), fromGroup(id(701))), // no members
		)
		v := port(11, []*model.GroupView{g}, vm4, vm6)
		w := newWire(t, v)
		m := openManager(t, w.host, b)
		input := w.input(v, g)
		input.Members = members(id(700), far4+"/32")
		apply(t, m, input)
		in4, in6, out4, out6 := w.to(far4, vm4), w.to(far6, vm6), w.from(vm4, far4), w.from(vm6, far6)
		stranger := w.to(else4, vm4)
		w.check(t, []probe{
			{"tcp 22", true, in4.tcp(1000, 22, syn, 1, 0), true},
			{"tcp 23", true, in4.tcp(1000, 23, syn, 1, 0), false},
			{"udp 22", true, in4.udp(1000, 22), false},
			{"range, first", true, in4.tcp(1000, 8000, syn, 1, 0), true},
			{"range, last", true, in4.tcp(1000, 8010, syn, 1, 0), true},
			{"range, below", true, in4.tcp(1000, 7999, syn, 1, 0), false},
			{"range, above", true, in4.tcp(1000, 8011, syn, 1, 0), false},
			{"udp 53", true, in4.udp(1000, 53), true},
			{"echo request", true, in4.icmp(8, 0, 7), true},
			{"timestamp", true, in4.icmp(13, 0, 7), true},
			{"address mask", true, in4.icmp(17, 0, 7), false},
			{"prefix, inside", true, in4.tcp(1000, 443, syn, 1, 0), true},
			{"prefix, outside", true, stranger.tcp(1000, 443, syn, 1, 0), false},
			{"protocol 112", true, in4.packet(112, make([]byte, 16)), true},
			{"protocol 113", true, in4.packet(113, make([]byte, 16)), false},
			{"v6 tcp 22", true, in6.tcp(1000, 22, syn, 1, 0), true},
			{"v6 tcp 23", true, in6.tcp(1000, 23, syn, 1, 0), false},
			{"v6 echo request", true, in6.icmp(128, 0, 7), true},
			{"group, member", true, in4.tcp(1000, 9000, syn, 1, 0), true},
			{"group, stranger", true, stranger.tcp(1000, 9000, syn, 1, 0), false},
			{"group without members", true, in4.tcp(1000, 9001, syn, 1, 0), false},
			{"egress tcp 80", false, out4.tcp(2000, 80, syn, 1, 0), true},
			{"its reply", true, out4.back().tcp(80, 2000, syn|ack, 1, 2), true},
			{"a reply to nothing", true, in4.tcp(80, 2001, syn|ack, 1, 2), false},
			{"egress tcp 81", false, out4.tcp(2000, 81, syn, 1, 0), false},
			{"egress elsewhere", false, w.from(vm4, else4).tcp(2000, 80, syn, 1, 0), false},
			{"egress echo request", false, out4.icmp(8, 0, 9), false},
			{"v6 egress udp 53", false, out6.udp(2000, 53), true},
			{"its reply v6", true, out6.back().udp(53, 2000), true},
			{"v6 egress udp 54", false, out6.udp(2000, 54), false},
			{"v6 egress echo request", false, out6.icmp(128, 0, 9), false},
			{"reply of the ssh server", false, in4.back().tcp(22, 1000, syn|ack, 1, 2), true},
		})
		input.Members = members(id(700), else4+"/32")
		apply(t, m, input)
		w.check(t, []probe{
			{"member removed", true, in4.tcp(1001, 9000, syn, 1, 0), false},
			{"member added", true, stranger.tcp(1001, 9000, syn, 1, 0), true},
		})
		input.Members = members(id(700), "0.0.0.0/0")
		apply(t, m, input)
		w.check(t, []probe{
			{"member 0/0, low", true, in4.tcp(1002, 9000, syn, 1, 0), true},
			{"member 0/0, high", true, stranger.tcp(1002, 9000, syn, 1, 0), true},
		})
		wantConverged(t, m, state(firewall.Hybrid(input)))
	})
}

func TestAGuestCannotSpoofServeOrAdvertise(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		g := group(1, true, rule(1, model.Egress, model.IPv4), rule(2, model.Egress, model.IPv6))
		v := port(11, []*model.GroupView{g}, vm4, vm6)
		vip := model.MAC{0, 0, 0x5e, 0, 1, 7}
		v.AddressPairs = []model.AddressPair{{Prefix: pfx("10.0.0.100/32"), MAC: v.MAC}, {Prefix: pfx("10.5.0.0/16"), MAC: vip}}
		w := newWire(t, v)
		m := openManager(t, w.host, b)
		apply(t, m, w.input(v, g))
		other := model.MAC{0xfa, 0x16, 0x3e, 9, 9, 9}
		lla := lla(v.MAC)
		out := func(src, dst string) flow { return w.from(src, dst) }
		w.check(t, []probe{
			{"own address", false, out(vm4, far4).udp(1, 2), true},
			{"own address, tagged with VLAN 0", false, priorityTagged(out(vm4, far4).udp(1, 2)), true},
			{"another address", false, out("10.0.0.12", far4).udp(1, 2), false},
			{"another address, tagged with VLAN 0", false, priorityTagged(out("10.0.0.12", far4).udp(1, 2)), false},
			{"own address, another MAC", false, out(vm4, far4).as(other).udp(1, 2), false},
			{"pair", false, out("10.0.0.100", far4).udp(1, 2), true},
			{"pair with its MAC", false, out("10.5.6.7", far4).as(vip).udp(1, 2), true},
			{"pair with the port's MAC", false, out("10.5.6.7", far4).udp(1, 2), false},
			{"v6 own address", false, out(vm6, far6).udp(1, 2), true},
			{"v6 another address", false, out("2001:db8::12", far6).udp(1, 2), false},
			{"v6 own link-local", false, out(lla, far6).udp(1, 2), true},
			{"v6 another link-local", false, out("fe80::12", far6).udp(1, 2), false},
			{"v6 link-local, another MAC", false, out(lla, far6).as(other).udp(1, 2), false},
			{"DHCP discovery", false, flow{w.vm.mac, everyone, "0.0.0.0", bcast4}.udp(68, 67), true},
			{"DHCP discovery, another MAC", false, flow{other, everyone, "0.0.0.0", bcast4}.udp(68, 67), false},
			{"DHCP renewal", false, out(vm4, dhcp4).udp(68, 67), true},
			{"DHCP server", false, out(vm4, far4).udp(67, 68), false},
			{"DHCPv6 client", false, out(lla, "ff02::1:2").udp(546, 547), true},
			{"DHCPv6 server", false, out(lla, far6).udp(547, 546), false},
			{"router advertisement", false, out(lla, "ff02::1").icmp(134, 0, 0), false},
			{"router advertisement, global source", false, out(vm6, "ff02::1").icmp(134, 0, 0), false},
			{"redirect", false, out(lla, far6).icmp(137, 0, 0), false},
			{"router solicitation", false, out(lla, "ff02::2").icmp(133, 0, 0), true},
			{"neighbour solicitation", false, out(lla, "ff02::1:ff00:54").icmp(135, 0, 0), true},
			{"neighbour advertisement", false, out(vm6, far6).icmp(136, 0, 0), true},
			{"duplicate address detection", false, out("::", "ff02::1:ff00:11").icmp(135, 0, 0), true},
			{"duplicate address detection, another MAC", false, out("::", "ff02::1:ff00:11").as(other).icmp(135, 0, 0), false},
			{"unspecified source, router solicitation", false, out("::", "ff02::2").icmp(133, 0, 0), false},
		})
	})
}

func TestOnlyTheNetworksOwnServersReachAGuestUnasked(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		v := port(11, nil, vm4, vm6)
		w := newWire(t, v)
		m := openManager(t, w.host, b)
		apply(t, m, w.input(v))
		server := lla(network().DHCPMAC)
		w.check(t, []probe{
			{"DHCP reply, broadcast", true, w.to(dhcp4, bcast4).udp(67, 68), true},
			{"DHCP reply, unicast", true, w.to(dhcp4, vm4).udp(67, 68), true},
			{"DHCP reply of another", true, w.to(far4, vm4).udp(67, 68), false},
			{"DHCP reply of another, broadcast", true, w.to(far4, bcast4).udp(67, 68), false},
			{"DHCPv6 reply", true, w.to(server, lla(v.MAC)).udp(547, 546), true},
			{"DHCPv6 reply of another", true, w.to("fe80::bad", lla(v.MAC)).udp(547, 546), false},
			{"router advertisement of the host", true, w.to(server, "ff02::1").icmp(134, 0, 0), true},
			{"router advertisement of the gateway", true, w.to("fe80::1", "ff02::1").icmp(134, 0, 0), true},
			{"router advertisement of another", true, w.to("fe80::bad", "ff02::1").icmp(134, 0, 0), false},
			{"neighbour solicitation", true, w.to("fe80::bad", vm6).icmp(135, 0, 0), true},
			{"neighbour advertisement", true, w.to("fe80::bad", vm6).icmp(136, 0, 0), true},
			{"anything else", true, w.to(far4, vm4).udp(1, 2), false},
			{"egress without rules", false, w.from(vm4, far4).udp(1, 2), false},
		})
	})
}

func TestPortKindsWithoutStatefulRules(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		g := group(1, true, rule(1, model.Egress, model.IPv4), rule(2, model.Ingress, model.IPv4, proto(6, 22, 22)))
		sl := group(2, false, rule(3, model.Egress, model.IPv4, proto(6, 80, 80)), rule(4, model.Ingress, model.IPv4, proto(6, 22, 22)))
		v := port(11, []*model.GroupView{g}, vm4)
		w := newWire(t, v)
		m := openManager(t, w.host, b)
		step := func(name string, change func(v *model.PortView), probes ...probe) {
			t.Run(name, func(t *testing.T) {
				c := *v
				change(&c)
				input := w.input(&c, g, sl)
				apply(t, m, input)
				w.check(t, probes)
				wantConverged(t, m, state(firewall.Hybrid(input)))
			})
		}
		spoof := w.from("10.9.9.9", far4).udp(1, 2)
		ssh := w.to(far4, vm4).tcp(1000, 22, syn, 1, 0)
		other := w.to(far4, vm4).tcp(1000, 23, syn, 1, 0)
		out := w.from(vm4, far4).tcp(2000, 80, syn, 1, 0)
		reply := w.to(far4, vm4).tcp(80, 2000, syn|ack, 1, 2)
		step("port security off", func(v *model.PortView) { v.PortSecurity = false },
			probe{"spoofed", false, spoof, true}, probe{"to any port", true, other, true})
		if got := sh(t, in(w.host, "conntrack -L 2>/dev/null | wc -l")); got != "0\n" {
			t.Errorf("%s connections of an unfiltered port are tracked", got)
		}
		step("stateless", func(v *model.PortView) { v.SecurityGroups = []model.SecurityGroupID{sl.ID} },
			probe{"ssh", true, ssh, true}, probe{"out", false, out, true}, probe{"its reply", true, reply, false},
			probe{"spoofed", false, spoof, false})
		if got := sh(t, in(w.host, "conntrack -L 2>/dev/null | wc -l")); got != "0\n" {
			t.Errorf("%s connections of a stateless port are tracked", got)
		}
		step("filtered", func(*model.PortView) {},
			probe{"ssh", true, ssh, true}, probe{"another port", true, other, false}, probe{"spoofed", false, spoof, false},
			probe{"out", false, out, true}, probe{"its reply", true, reply, true})
		step("admin down", func(v *model.PortView) { v.AdminStateUp = false },
			probe{"ssh", true, ssh, false}, probe{"established", true, reply, false}, probe{"out", false, out, false},
			probe{"DHCP", false, flow{w.vm.mac, everyone, "0.0.0.0", bcast4}.udp(68, 67), false})
		step("no MAC", func(v *model.PortView) { v.MAC = model.MAC{} },
			probe{"ssh", true, ssh, false}, probe{"out", false, out, false})
		step("no address", func(v *model.PortView) { v.FixedIPs = nil },
			probe{"any source with its MAC", false, spoof, true},
			probe{"another MAC", false, w.from(vm4, far4).as(model.MAC{2, 2, 2, 2, 2, 2}).udp(1, 2), false})
		step("unknown group", func(v *model.PortView) { v.SecurityGroups = []model.SecurityGroupID{{UUID: id(999)}} },
			probe{"to any port", true, other, false}, probe{"out", false, w.from(vm4, far4).udp(5, 6), false})
		step("pair 0/0", func(v *model.PortView) {
			v.AddressPairs = []model.AddressPair{{Prefix: pfx("0.0.0.0/0"), MAC: v.MAC}}
		}, probe{"any source with its MAC", false, spoof, true},
			probe{"another MAC", false, w.from("10.9.9.9", far4).as(model.MAC{2, 2, 2, 2, 2, 2}).udp(1, 2), false})
	})
}

// lla is the link-local address of a MAC, worked out here by hand.
func lla(m model.MAC) string {
	return netip.MustParseAddr(fmt.Sprintf("fe80::%02x%02x:%02xff:fe%02x:%02x%02x", m[0]^2, m[1], m[2], m[3], m[4], m[5])).String()
}
