package filtertest

import (
	"fmt"
	"net/netip"
	"testing"

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

func ruleKinds(t *testing.T, d Driver) {
	g := Group(1, true,
		Rule(1, model.Ingress, model.IPv4, Proto(6, 22, 22)),
		Rule(2, model.Ingress, model.IPv4, Proto(6, 8000, 8010)),
		Rule(3, model.Ingress, model.IPv4, Proto(17, 53, 53)),
		Rule(4, model.Ingress, model.IPv4, Proto(1, 8, -1)),
		Rule(5, model.Ingress, model.IPv4, Proto(1, 13, 0)),
		Rule(6, model.Ingress, model.IPv4, Proto(6, 443, 443), Remote("10.0.0.48/28")),
		Rule(7, model.Ingress, model.IPv4, Proto(112, -1, -1)),
		Rule(8, model.Ingress, model.IPv6, Proto(6, 22, 22)),
		Rule(9, model.Ingress, model.IPv6, Proto(58, 128, -1)),
		Rule(10, model.Egress, model.IPv4, Proto(6, 80, 80), Remote("10.0.0.54/32")),
		Rule(11, model.Egress, model.IPv6, Proto(17, 53, 53)),
		Rule(12, model.Ingress, model.IPv4, Proto(6, 9000, 9000), FromGroup(ID(700))),
		Rule(13, model.Ingress, model.IPv4, Proto(6, 9001, 9001), FromGroup(ID(701))), // no members
		Rule(14, model.Ingress, model.IPv4, Proto(6, 9002, 9002), FromAddresses(ID(700))),
		Rule(15, model.Egress, model.IPv4, Proto(17, 9003, 9003), FromGroup(ID(700))),
	)
	v := Port(11, []*model.GroupView{g}, vm4, vm6)
	w := d(t, v)
	input := w.input(v, g)
	input.Members = Members(ID(700), far4+"/32")
	w.Apply(t, input)
	in4, in6, out4, out6 := w.to(far4, vm4), w.to(far6, vm6), w.from(vm4, far4), w.from(vm6, far6)
	stranger := w.to(else4, vm4)
	w.Check(t, []Probe{
		{"tcp 22", true, in4.TCP(1000, 22, SYN, 1, 0), true},
		{"tcp 23", true, in4.TCP(1000, 23, SYN, 1, 0), false},
		{"udp 22", true, in4.UDP(1000, 22), false},
		{"range, first", true, in4.TCP(1000, 8000, SYN, 1, 0), true},
		{"range, last", true, in4.TCP(1000, 8010, SYN, 1, 0), true},
		{"range, below", true, in4.TCP(1000, 7999, SYN, 1, 0), false},
		{"range, above", true, in4.TCP(1000, 8011, SYN, 1, 0), false},
		{"udp 53", true, in4.UDP(1000, 53), true},
		{"echo request", true, in4.ICMP(8, 0, 7), true},
		{"timestamp", true, in4.ICMP(13, 0, 7), true},
		{"address mask", true, in4.ICMP(17, 0, 7), false},
		{"prefix, inside", true, in4.TCP(1000, 443, SYN, 1, 0), true},
		{"prefix, outside", true, stranger.TCP(1000, 443, SYN, 1, 0), false},
		{"protocol 112", true, in4.Packet(112, make([]byte, 16)), true},
		{"protocol 113", true, in4.Packet(113, make([]byte, 16)), false},
		{"v6 tcp 22", true, in6.TCP(1000, 22, SYN, 1, 0), true},
		{"v6 tcp 23", true, in6.TCP(1000, 23, SYN, 1, 0), false},
		{"v6 echo request", true, in6.ICMP(128, 0, 7), true},
		{"group, member", true, in4.TCP(1000, 9000, SYN, 1, 0), true},
		{"group, stranger", true, stranger.TCP(1000, 9000, SYN, 1, 0), false},
		{"address group, member", true, in4.TCP(1000, 9002, SYN, 1, 0), true},
		{"address group, stranger", true, stranger.TCP(1000, 9002, SYN, 1, 0), false},
		{"egress to a group, member", false, out4.UDP(1000, 9003), true},
		{"egress to a group, stranger", false, stranger.Back().UDP(1000, 9003), false},
		{"group without members", true, in4.TCP(1000, 9001, SYN, 1, 0), false},
		{"egress tcp 80", false, out4.TCP(2000, 80, SYN, 1, 0), true},
		{"its reply", true, out4.Back().TCP(80, 2000, SYN|ACK, 1, 2), true},
		{"a reply to nothing", true, in4.TCP(80, 2001, SYN|ACK, 1, 2), false},
		{"egress tcp 81", false, out4.TCP(2000, 81, SYN, 1, 0), false},
		{"egress elsewhere", false, w.from(vm4, else4).TCP(2000, 80, SYN, 1, 0), false},
		{"egress echo request", false, out4.ICMP(8, 0, 9), false},
		{"v6 egress udp 53", false, out6.UDP(2000, 53), true},
		{"its reply v6", true, out6.Back().UDP(53, 2000), true},
		{"v6 egress udp 54", false, out6.UDP(2000, 54), false},
		{"v6 egress echo request", false, out6.ICMP(128, 0, 9), false},
		{"reply of the ssh server", false, in4.Back().TCP(22, 1000, SYN|ACK, 1, 2), true},
	})
	input.Members = Members(ID(700), else4+"/32")
	w.Apply(t, input)
	w.Check(t, []Probe{
		{"member removed", true, in4.TCP(1001, 9000, SYN, 1, 0), false},
		{"member added", true, stranger.TCP(1001, 9000, SYN, 1, 0), true},
	})
	input.Members = Members(ID(700), "0.0.0.0/0")
	w.Apply(t, input)
	w.Check(t, []Probe{
		{"member 0/0, low", true, in4.TCP(1002, 9000, SYN, 1, 0), true},
		{"member 0/0, high", true, stranger.TCP(1002, 9000, SYN, 1, 0), true},
	})
}

func spoofing(t *testing.T, d Driver) {
	g := Group(1, true, Rule(1, model.Egress, model.IPv4), Rule(2, model.Egress, model.IPv6))
	v := Port(11, []*model.GroupView{g}, vm4, vm6)
	vip := model.MAC{0, 0, 0x5e, 0, 1, 7}
	v.AddressPairs = []model.AddressPair{{Prefix: pfx("10.0.0.100/32"), MAC: v.MAC}, {Prefix: pfx("10.5.0.0/16"), MAC: vip}}
	w := d(t, v)
	w.Apply(t, w.input(v, g))
	other := model.MAC{0xfa, 0x16, 0x3e, 9, 9, 9}
	lla := lla(v.MAC)
	out := func(src, dst string) Flow { return w.from(src, dst) }
	w.Check(t, []Probe{
		{"own address", false, out(vm4, far4).UDP(1, 2), true},
		{"another address", false, out("10.0.0.12", far4).UDP(1, 2), false},
		{"another address, tagged with VLAN 0", false, PriorityTagged(out("10.0.0.12", far4).UDP(1, 2)), false},
		{"own address, another MAC", false, out(vm4, far4).As(other).UDP(1, 2), false},
		{"pair", false, out("10.0.0.100", far4).UDP(1, 2), true},
		{"pair with its MAC", false, out("10.5.6.7", far4).As(vip).UDP(1, 2), true},
		{"pair with the port's MAC", false, out("10.5.6.7", far4).UDP(1, 2), false},
		{"v6 own address", false, out(vm6, far6).UDP(1, 2), true},
		{"v6 another address", false, out("2001:db8::12", far6).UDP(1, 2), false},
		{"v6 own link-local", false, out(lla, far6).UDP(1, 2), true},
		{"v6 another link-local", false, out("fe80::12", far6).UDP(1, 2), false},
		{"v6 link-local, another MAC", false, out(lla, far6).As(other).UDP(1, 2), false},
		{"DHCP discovery", false, Flow{w.VM.MAC, everyone, "0.0.0.0", bcast4}.UDP(68, 67), true},
		{"DHCP discovery, another MAC", false, Flow{other, everyone, "0.0.0.0", bcast4}.UDP(68, 67), false},
		{"DHCP renewal", false, out(vm4, dhcp4).UDP(68, 67), true},
		{"DHCP server", false, out(vm4, far4).UDP(67, 68), false},
		{"DHCPv6 client", false, out(lla, "ff02::1:2").UDP(546, 547), true},
		{"DHCPv6 server", false, out(lla, far6).UDP(547, 546), false},
		{"router advertisement", false, out(lla, "ff02::1").ICMP(134, 0, 0), false},
		{"router advertisement, global source", false, out(vm6, "ff02::1").ICMP(134, 0, 0), false},
		{"redirect", false, out(lla, far6).ICMP(137, 0, 0), false},
		{"router solicitation", false, out(lla, "ff02::2").ICMP(133, 0, 0), true},
		{"neighbour solicitation", false, out(lla, "ff02::1:ff00:54").ICMP(135, 0, 0), true},
		{"neighbour advertisement", false, out(vm6, far6).ICMP(136, 0, 0), true},
		{"duplicate address detection", false, out("::", "ff02::1:ff00:11").ICMP(135, 0, 0), true},
		{"duplicate address detection, another MAC", false, out("::", "ff02::1:ff00:11").As(other).ICMP(135, 0, 0), false},
		{"unspecified source, router solicitation", false, out("::", "ff02::2").ICMP(133, 0, 0), false},
	})
}

// llc leaves open what becomes of frames that the rules allow: a driver that cannot tell may drop them all.
func llc(t *testing.T, d Driver) {
	g := Group(1, true, Rule(1, model.Egress, model.IPv4, Proto(17, 53, 53)), Rule(2, model.Ingress, model.IPv6, Proto(17, 53, 53)))
	v := Port(11, []*model.GroupView{g}, vm4, vm6)
	w := d(t, v)
	w.Apply(t, w.input(v, g))
	in4, in6, out4, out6 := w.to(far4, vm4), w.to(far6, vm6), w.from(vm4, far4), w.from(vm6, far6)
	w.Check(t, []Probe{
		{"out", false, SNAP(out4.UDP(1, 2)), false},
		{"out, IPv6", false, SNAP(out6.UDP(1, 2)), false},
		{"out, another's address", false, SNAP(w.from("10.0.0.12", far4).UDP(1, 53)), false},
		{"in", true, SNAP(in4.UDP(1, 2)), false},
		{"in, IPv6", true, SNAP(in6.UDP(1, 2)), false},
		{"an Ethernet frame passes all the same", false, out4.UDP(1, 53), true},
	})
	c := *v
	c.PortSecurity = false
	w.Apply(t, w.input(&c, g))
	w.Check(t, []Probe{
		{"out, port security off", false, SNAP(out4.UDP(1, 2)), true},
		{"in, port security off", true, SNAP(in4.UDP(1, 2)), true},
	})
}

func servers(t *testing.T, d Driver) {
	v := Port(11, nil, vm4, vm6)
	w := d(t, v)
	w.Apply(t, w.input(v))
	server := lla(Network().DHCPMAC)
	w.Check(t, []Probe{
		{"DHCP reply, broadcast", true, w.to(dhcp4, bcast4).UDP(67, 68), true},
		{"DHCP reply, unicast", true, w.to(dhcp4, vm4).UDP(67, 68), true},
		{"DHCP reply of another", true, w.to(far4, vm4).UDP(67, 68), false},
		{"DHCP reply of another, broadcast", true, w.to(far4, bcast4).UDP(67, 68), false},
		{"DHCPv6 reply", true, w.to(server, lla(v.MAC)).UDP(547, 546), true},
		{"DHCPv6 reply of another", true, w.to("fe80::bad", lla(v.MAC)).UDP(547, 546), false},
		{"router advertisement of the host", true, w.to(server, "ff02::1").ICMP(134, 0, 0), true},
		{"router advertisement of the gateway", true, w.to("fe80::1", "ff02::1").ICMP(134, 0, 0), true},
		{"router advertisement of another", true, w.to("fe80::bad", "ff02::1").ICMP(134, 0, 0), false},
		{"neighbour solicitation", true, w.to("fe80::bad", vm6).ICMP(135, 0, 0), true},
		{"neighbour advertisement", true, w.to("fe80::bad", vm6).ICMP(136, 0, 0), true},
		{"anything else", true, w.to(far4, vm4).UDP(1, 2), false},
		{"egress without rules", false, w.from(vm4, far4).UDP(1, 2), false},
	})
}

func portKinds(t *testing.T, d Driver) {
	g := Group(1, true, Rule(1, model.Egress, model.IPv4), Rule(2, model.Ingress, model.IPv4, Proto(6, 22, 22)))
	sl := Group(2, false, Rule(3, model.Egress, model.IPv4, Proto(6, 80, 80)), Rule(4, model.Ingress, model.IPv4, Proto(6, 22, 22)))
	v := Port(11, []*model.GroupView{g}, vm4)
	w := d(t, v)
	step := func(name string, change func(v *model.PortView), probes ...Probe) {
		t.Run(name, func(t *testing.T) {
			c := *v
			change(&c)
			input := w.input(&c, g, sl)
			w.Apply(t, input)
			w.Check(t, probes)
		})
	}
	spoof := w.from("10.9.9.9", far4).UDP(1, 2)
	ssh := w.to(far4, vm4).TCP(1000, 22, SYN, 1, 0)
	other := w.to(far4, vm4).TCP(1000, 23, SYN, 1, 0)
	out := w.from(vm4, far4).TCP(2000, 80, SYN, 1, 0)
	reply := w.to(far4, vm4).TCP(80, 2000, SYN|ACK, 1, 2)
	step("port security off", func(v *model.PortView) { v.PortSecurity = false },
		Probe{"spoofed", false, spoof, true}, Probe{"to any port", true, other, true})
	if got := w.Tracked(t); got != 0 {
		t.Errorf("%d connections of an unfiltered port are tracked", got)
	}
	step("stateless", func(v *model.PortView) { v.SecurityGroups = []model.SecurityGroupID{sl.ID} },
		Probe{"ssh", true, ssh, true}, Probe{"out", false, out, true}, Probe{"its reply", true, reply, false},
		Probe{"spoofed", false, spoof, false})
	if got := w.Tracked(t); got != 0 {
		t.Errorf("%d connections of a stateless port are tracked", got)
	}
	step("filtered", func(*model.PortView) {},
		Probe{"ssh", true, ssh, true}, Probe{"another port", true, other, false}, Probe{"spoofed", false, spoof, false},
		Probe{"out", false, out, true}, Probe{"its reply", true, reply, true})
	step("admin down", func(v *model.PortView) { v.AdminStateUp = false },
		Probe{"ssh", true, ssh, false}, Probe{"established", true, reply, false}, Probe{"out", false, out, false},
		Probe{"DHCP", false, Flow{w.VM.MAC, everyone, "0.0.0.0", bcast4}.UDP(68, 67), false})
	step("no MAC", func(v *model.PortView) { v.MAC = model.MAC{} },
		Probe{"ssh", true, ssh, false}, Probe{"out", false, out, false})
	step("no address", func(v *model.PortView) { v.FixedIPs = nil },
		Probe{"any source with its MAC", false, spoof, true},
		Probe{"another MAC", false, w.from(vm4, far4).As(model.MAC{2, 2, 2, 2, 2, 2}).UDP(1, 2), false})
	step("unknown group", func(v *model.PortView) { v.SecurityGroups = []model.SecurityGroupID{{UUID: ID(999)}} },
		Probe{"to any port", true, other, false}, Probe{"out", false, w.from(vm4, far4).UDP(5, 6), false})
	step("pair 0/0", func(v *model.PortView) {
		v.AddressPairs = []model.AddressPair{{Prefix: pfx("0.0.0.0/0"), MAC: v.MAC}}
	}, Probe{"any source with its MAC", false, spoof, true},
		Probe{"another MAC", false, w.from("10.9.9.9", far4).As(model.MAC{2, 2, 2, 2, 2, 2}).UDP(1, 2), false})
}

// lla is the link-local address of a MAC, worked out here by hand.
func lla(m model.MAC) string {
	return netip.MustParseAddr(fmt.Sprintf("fe80::%02x%02x:%02xff:fe%02x:%02x%02x", m[0]^2, m[1], m[2], m[3], m[4], m[5])).String()
}
