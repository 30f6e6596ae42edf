package e2e

import (
	"context"
	"strings"
	"testing"

	"weft/internal/labcmd"
	"weft/internal/model"
)

// TestDrivers_meetOnOneHost: two guests that the switch filters and one that iptables
// filters, on one host and network, by the same rules.
func TestDrivers_meetOnOneHost(t *testing.T) {
	n := w.network(t, "10.27.0.0/24", nil)
	servers, clients := w.group(t, "dm-servers"), w.group(t, "dm-clients")
	w.rule(t, servers, body{"protocol": "icmp", "remote_group_id": clients})
	w.vm(t, "dm-c", "compute1", n, in(clients), by(model.FirewallNative))
	w.vm(t, "dm-h", "compute1", n, in(clients), by(model.FirewallHybrid))
	s := w.vm(t, "dm-s", "compute1", n, in(servers), by(model.FirewallNative))
	u := w.vm(t, "dm-u", "compute1", n, in(servers), by(model.FirewallHybrid))
	for _, from := range []string{"dm-c", "dm-h"} {
		for _, to := range []labcmd.Port{s, u} {
			w.reaches(t, from, to.Addrs[0].String())
			if got := w.ping(t, from, to.Addrs[0].String(), 50); got != 50 {
				t.Errorf("%s: %d of 50 pings answered", from, got)
			}
			if w.connects(t, from, to.Addrs[0].String(), 22) {
				t.Error("TCP 22 passes without a rule")
			}
		}
	}
	if w.ping(t, "dm-s", u.Addrs[0].String(), 1)+w.ping(t, "dm-u", s.Addrs[0].String(), 1) != 0 {
		t.Error("servers reach each other without a rule")
	}
	w.reaches(t, "dm-c", "10.27.0.2") // the DHCP port, which the host answers for
	tap := "tap" + s.ID.DeviceSuffix()
	if ports := w.host(t, "compute1", "ovs-vsctl", "list-ports", "br-int"); !strings.Contains(ports, tap) {
		t.Errorf("%s is not on br-int: %s", tap, ports)
	}
	if rules := w.host(t, "compute1", "iptables-save"); strings.Contains(rules, tap) {
		t.Error("iptables has rules for a port that the switch filters")
	}
}

// TestDrivers_aPortMovesLive: the guest keeps running and its address, and what is
// forbidden reaches it at no time.
func TestDrivers_aPortMovesLive(t *testing.T) {
	n := w.network(t, "10.28.0.0/24", nil)
	g := w.group(t, "mv")
	w.rule(t, g, body{"protocol": "icmp"})
	moving := w.vm(t, "mv-m", "compute1", n, in(g))
	w.vm(t, "mv-c", "compute2", n)
	addr := moving.Addrs[0].String()
	w.reaches(t, "mv-c", addr)

	// The guest hears SYNs to port 80, which no rule allows; the client sends them without pause.
	ctx, cancel := context.WithCancel(t.Context())
	heard, sent := make(chan string, 1), make(chan struct{})
	go func() {
		out, _ := w.lab.VMOutput(ctx, "mv-m", "tcpdump", "-lnni", "eth0", "-c", "1", "tcp dst port 80")
		heard <- out
	}()
	w.eventually(t, "tcpdump has begun", func() bool {
		out, _ := w.lab.VMOutput(t.Context(), "mv-m", "sh", "-c", "cat /proc/net/packet | wc -l")
		return strings.TrimSpace(out) > "1"
	})
	go func() {
		defer close(sent)
		w.lab.VMOutput(ctx, "mv-c", "sh", "-c", "while :; do timeout 0.02 nc -z "+addr+" 80; done")
	}()
	for _, driver := range []string{model.FirewallNative, model.FirewallHybrid, model.FirewallNative} {
		if err := labcmd.MoveVM(t.Context(), w.lab, w.Cloud, "mv-m", driver); err != nil {
			t.Fatal(err)
		}
		w.eventually(t, "the port is active by "+driver, func() bool {
			p, err := w.Port(t.Context(), moving.ID)
			return err == nil && p.Status == "ACTIVE" && w.ping(t, "mv-c", addr, 1) == 1
		})
		if got := w.ping(t, "mv-c", addr, 50); got != 50 {
			t.Errorf("%s: %d of 50 pings answered", driver, got)
		}
		if w.connects(t, "mv-c", addr, 22) {
			t.Errorf("%s: TCP 22 passes without a rule", driver)
		}
		ports := w.host(t, "compute1", "ovs-vsctl", "list-ports", "br-int")
		suffix := moving.ID.DeviceSuffix()
		if native := strings.Contains(ports, "tap"+suffix); native != (driver == model.FirewallNative) || native == strings.Contains(ports, "qvo"+suffix) {
			t.Errorf("%s: plugged as %s", driver, ports)
		}
	}
	cancel()
	<-sent
	if out := strings.TrimSpace(<-heard); out != "" {
		t.Errorf("a forbidden packet was delivered: %s", out)
	}
}

// TestDrivers_aTAPOnTheSwitchIsFilteredThere, whatever the port's binding says.
func TestDrivers_aTAPOnTheSwitchIsFilteredThere(t *testing.T) {
	n := w.network(t, "10.26.0.0/24", nil)
	p, err := w.CreatePort(t.Context(), labcmd.PortSpec{Name: "straight", Network: n, Host: "compute1", Firewall: model.FirewallHybrid})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.must(t, "DELETE", "ports/"+p.ID.String(), "", nil) })
	tap := "tap" + p.ID.DeviceSuffix()
	w.host(t, "compute1", "ip", "tuntap", "add", tap, "mode", "tap")
	w.host(t, "compute1", "ovs-vsctl", "add-port", "br-int", tap, "--", "set", "Interface", tap, "external_ids:iface-id="+p.ID.String())
	t.Cleanup(func() {
		w.lab.Output(context.Background(), "compute1", "ovs-vsctl", "del-port", "br-int", tap)
		w.lab.Output(context.Background(), "compute1", "ip", "link", "del", tap)
	})
	w.eventually(t, "the port is ACTIVE", func() bool {
		p, err := w.Port(t.Context(), p.ID)
		return err == nil && p.Status == "ACTIVE"
	})
	flows := w.host(t, "compute1", "ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "br-int", "table=71")
	if !strings.Contains(flows, "dl_src="+p.MAC.String()) {
		t.Errorf("its sources are not checked: %s", flows)
	}
}
