package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

// toLeg is a packet of port p to the MAC of a router's leg.
func toLeg(p int, leg int, dst string, ttl int) string {
	return fmt.Sprintf("in_port=%d,dl_src=%s,dl_dst=%s,icmp,nw_src=10.0.1.%d,nw_dst=%s,nw_ttl=%d", p, mac(p), mac(leg), p, dst, ttl)
}

func TestRouterElsewhere(t *testing.T) {
	l := newLab(t, host().network(1, "gre", 100).port(1, 11).router(1, false, []string{"10.0.1.21", "10.0.1.32"}, 1))
	l.check(t, []probe{
		{"a leg is reached by the tunnel to the preferred gateway", "", toLeg(11, 101, "192.0.2.1", 64), "gre-0a000115"},
		{"broadcasts reach all gateways", "", ip(11, mac(11), broadcast), "gre-0a000115 gre-0a000120"},
	})
	if actions := l.trace("br-int", arpAsk(11, mac(11), "10.0.1.11", "10.0.1.1")); !strings.Contains(actions, "op=2") {
		t.Errorf("ARP for a leg is not answered on the host: %s", actions)
	}
}

func TestDistributedRouter_routesAtTheSource(t *testing.T) {
	in := scenarios()["distributed"]
	in.Routers[routerID(1)].View.Legs[1].MTU = 1458
	l := newLab(t, in)
	l.check(t, []probe{
		{"to a port of this host on another leg's subnet", "", toLeg(11, 101, "10.0.2.12", 64), "p12"},
		{"to a port of another host: by the tunnel to that host", "", toLeg(11, 101, "10.0.2.22", 64), "gre-0a000120"},
		{"to an unknown port: the gateway asks for it", "", toLeg(11, 101, "10.0.2.99", 64), "gre-0a000115"},
		{"to the world: the gateway", "", toLeg(11, 101, "192.0.2.1", 64), "gre-0a000115"},
		{"to the leg itself: the gateway", "", toLeg(11, 101, "10.0.2.1", 64), "gre-0a000115"},
		{"with no hop left: the gateway says so", "", toLeg(11, 101, "10.0.2.12", 1), "gre-0a000115"},
	})
	actions := l.trace("br-int", toLeg(11, 101, "10.0.2.22", 64))
	for _, want := range []string{"src=" + mac(102).String(), "dst=" + mac(22).String(), "ttl=63"} {
		if !strings.Contains(actions, want) {
			t.Errorf("routed packet lacks %s: %s", want, actions)
		}
	}
}

func TestDistributedRouter_leavesPacketsThatDoNotFitToTheGateway(t *testing.T) {
	l := newLab(t, scenarios()["distributed"])
	actions := l.trace("br-int", toLeg(11, 101, "10.0.2.12", 64))
	if want := "check_pkt_len(size=1414,gt(gre-0a000115),le(set(eth(src=" + mac(102).String(); !strings.Contains(actions, want) {
		t.Errorf("got %s, want %s", actions, want)
	}
}

// TestDistributedRouter_routesWithinAnAddressScope: what the gateway has to refuse it is given.
func TestDistributedRouter_routesWithinAnAddressScope(t *testing.T) {
	toLeg6 := func(p, leg int, src, dst string) string {
		return fmt.Sprintf("in_port=%d,dl_src=%s,dl_dst=%s,icmp6,ipv6_src=%s,ipv6_dst=%s,nw_ttl=64", p, mac(p), mac(leg), src, dst)
	}
	to2 := "in_port=12,dl_src=" + mac(12).String() + ",dl_dst=" + mac(102).String() + ",icmp,nw_src=10.0.2.12,nw_ttl=64,nw_dst="
	l := newLab(t, scenarios()["scopes"])
	l.check(t, []probe{
		{"of one scope: by the tunnel to the port's host", "", toLeg(11, 101, "10.0.3.23", 64), "gre-0a000120"},
		{"from a scope to none: the gateway", "", toLeg(11, 101, "10.0.2.12", 64), "gre-0a000115"},
		{"from none to a scope: the gateway", "", to2 + "10.0.3.23", "gre-0a000115"},
		{"of one IPv6 scope", "", toLeg6(12, 102, "2001:db8:2::12", "2001:db8:3::23"), "gre-0a000120"},
		{"from none to an IPv6 scope: the gateway", "", toLeg6(12, 102, "2001:db8:2::12", "2001:db8:1::11"), "gre-0a000115"},
	})
}

func TestStandbyGateway(t *testing.T) {
	l := newLab(t, scenarios()["router-standby"])
	l.check(t, []probe{
		{"its own ports go to the gateway that answers", "", toLeg(11, 101, "192.0.2.1", 64), "gre-0a000115"},
		{"a broadcast does not reach the leg", "", ip(11, mac(11), broadcast), "gre-0a000115 gre-0a000120"},
		{"what comes by a tunnel is forwarded all the same", "br-tun", fromTunnel(3, 100, mac(21), mac(101)), "p101"},
		{"a broadcast by a tunnel does not reach the leg", "br-tun", fromTunnel(3, 100, mac(21), broadcast), "p11"},
	})
}

func TestActiveGateway(t *testing.T) {
	l := newLab(t, scenarios()["router-active"])
	l.check(t, []probe{
		{"its own ports go to its leg", "", toLeg(11, 101, "192.0.2.1", 64), "p101"},
		{"a broadcast reaches the leg", "br-tun", fromTunnel(3, 100, mac(21), broadcast), "p101 p11"},
		{"the leg sends with its own MAC, from any address", "", "in_port=101,dl_src=" + mac(101).String() + ",dl_dst=" + mac(11).String() + ",ip,nw_src=192.0.2.1", "p11"},
		{"and with no other", "", "in_port=101,dl_src=" + mac(7).String() + ",dl_dst=" + mac(11).String() + ",ip", ""},
	})
}

// fromOutside is a packet for the router's external leg, or what else is given.
func fromOutside(more string) string {
	return fmt.Sprintf("in_port=1,dl_src=%s,%s", mac(7), more)
}

func TestGateway_onItsExternalNetwork(t *testing.T) {
	l := newLab(t, scenarios()["gateway"])
	l.check(t, []probe{
		{"what is for the router goes there, whatever the bridge has learned", "br-ex", fromOutside("dl_dst=" + mac(103).String() + ",ip"), "p103"},
		{"a broadcast reaches it", "br-ex", fromOutside("dl_dst=" + broadcast.String() + ",arp"), "br-ex p103"},
		{"it sends with the router's MAC", "", fmt.Sprintf("in_port=103,dl_src=%s,dl_dst=%s,ip,nw_src=203.0.113.120", mac(103), mac(7)), "br-ex nic"},
	})
	left := fmt.Sprintf("in_port=103,dl_src=%s,dl_dst=%s,icmp,nw_src=10.0.1.11,nw_dst=198.51.100.1", mac(103), mac(7))
	if actions := l.trace("br-int", left); !strings.Contains(actions, "set(ipv4(src=203.0.113.130)") {
		t.Errorf("what the kernel has not translated does not get the floating IP: %s", actions)
	}
}

// TestGateway_quiet: its guests' hosts send to it, and the external network is still the other's.
func TestGateway_quiet(t *testing.T) {
	in := scenarios()["gateway-quiet"]
	own := in.Routers[routerID(1)].View.MACAt(in.Host)
	l := newLab(t, in)
	l.check(t, []probe{
		{"its own ports go to its leg", "", toLeg(11, 101, "192.0.2.1", 64), "p101"},
		{"a broadcast reaches its inner leg", "br-tun", fromTunnel(3, 100, mac(21), broadcast), "p101 p11"},
		{"but not its outer one", "br-ex", fromOutside("dl_dst=" + broadcast.String() + ",arp"), "br-ex"},
		{"what comes for the router is forwarded", "br-ex", fromOutside("dl_dst=" + mac(103).String() + ",ip"), "br-ex p103"},
		{"it announces nothing", "", fmt.Sprintf("in_port=103,dl_src=%s,dl_dst=%s,arp,arp_op=2", mac(103), broadcast), ""},
		{"it asks for neighbours", "", fmt.Sprintf("in_port=103,dl_src=%s,dl_dst=%s,arp,arp_op=1,arp_spa=203.0.113.120,arp_sha=%s,arp_tpa=203.0.113.1", mac(103), broadcast, mac(103)), "br-ex nic"},
		{"and is answered by its own MAC", "br-ex", fromOutside("dl_dst=" + own.String() + ",arp,arp_op=2"), "br-ex p103"},
	})
	late := in.Routers[routerID(1)]
	late.Active, late.Quiet, late.Lately = false, false, true
	in.Routers[routerID(1)] = late
	l.install(Compute(in))
	l.check(t, []probe{
		{"one that has answered lately takes what comes, whatever the bridge has learned", "br-ex", fromOutside("dl_dst=" + mac(103).String() + ",ip"), "p103"},
	})
	for what, c := range map[string]struct{ bridge, packet, want string }{
		"what it forwards has a MAC of its own":     {"br-int", fmt.Sprintf("in_port=103,dl_src=%s,dl_dst=%s,ip,nw_src=203.0.113.120", mac(103), mac(7)), "eth(src=" + own.String()},
		"so has what the kernel has not translated": {"br-int", fmt.Sprintf("in_port=103,dl_src=%s,dl_dst=%s,ip,nw_src=10.0.1.11", mac(103), mac(7)), "eth(src=" + own.String()},
		"its questions are from no address": {"br-int", fmt.Sprintf("in_port=103,dl_src=%s,dl_dst=%s,arp,arp_op=1,arp_spa=203.0.113.120,arp_sha=%s,arp_tpa=203.0.113.1", mac(103), broadcast, mac(103)),
			"arp(sip=0.0.0.0,sha=" + own.String()},
		"the leg takes the answer for its own": {"br-ex", fromOutside("dl_dst=" + own.String() + ",arp,arp_op=2"), "dst=" + mac(103).String()},
	} {
		if actions := l.trace(c.bridge, c.packet); !strings.Contains(actions, c.want) {
			t.Errorf("%s: got %s, want %s", what, actions, c.want)
		}
	}
}

func TestFloatingAtPort(t *testing.T) {
	in := scenarios()["at-port"]
	l := newLab(t, in)
	own := in.Routers[routerID(1)].View.MACAt(in.Host)
	fromLeg := func(dst string) string {
		return fmt.Sprintf("in_port=70,dl_src=%s,dl_dst=%s,icmp,nw_src=198.51.100.1,nw_dst=%s,nw_ttl=63", mac(101), mac(11), dst)
	}
	l.check(t, []probe{
		{"to the world: the leg on this host", "", toLeg(11, 101, "198.51.100.1", 64), "p70"},
		{"to a port of another host: by the tunnel to that host", "", toLeg(11, 101, "10.0.2.22", 64), "gre-0a000120"},
		{"to an unknown port of a subnet: the gateway", "", toLeg(11, 101, "10.0.2.99", 64), "gre-0a000115"},
		{"by a user's route: the gateway", "", toLeg(11, 101, "192.0.2.1", 64), "gre-0a000115"},
		{"another port to the world: the gateway", "", toLeg(13, 101, "198.51.100.1", 64), "gre-0a000115"},
		{"from the leg: the port", "", fromLeg("10.0.1.11"), "p11"},
		{"from the leg to another port: nowhere", "", fromLeg("10.0.1.13"), ""},
		{"from the external leg: the physical network", "", fmt.Sprintf("in_port=73,dl_src=%s,dl_dst=%s,ip,nw_src=203.0.113.130", own, mac(7)), "br-ex nic"},
		{"from the external leg with the gateways' MAC: nowhere", "", fmt.Sprintf("in_port=73,dl_src=%s,dl_dst=%s,ip,nw_src=203.0.113.130", mac(103), mac(7)), ""},
	})
	if actions := l.trace("br-int", arpAsk(11, mac(11), "10.0.1.11", "10.0.1.1")); !strings.Contains(actions, "op=2") || strings.Contains(actions, "gre") {
		t.Errorf("ARP for the leg is not answered on the host: %s", actions)
	}
	ask := fmt.Sprintf("in_port=70,dl_src=%s,dl_dst=%s,arp,arp_op=1,arp_spa=10.0.1.1,arp_tpa=10.0.1.11", mac(101), broadcast)
	if actions := l.trace("br-int", ask); !strings.Contains(actions, "op=2") {
		t.Errorf("ARP of the leg for its port is not answered: %s", actions)
	}
}
