package e2e

import (
	"context"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/labcmd"
)

// another brings up a lab of its own for a test that needs another configuration.
func another(t *testing.T, which string, port int, o labcmd.Options) *world {
	t.Helper()
	listen := listenAddr(port)
	plain := &api{url: "http://" + listen}
	x := &world{api: plain, Cloud: plain.cloud(), lab: lab.New(labName(which), ""), weft: w.weft, dir: w.dir}
	if err := x.lab.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Listen, o.Self = listen, w.weft
	if err := labcmd.Up(t.Context(), x.lab, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			x.showLogs(labName(which))
		}
		if err := x.lab.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return x
}

// TestLab_saysWhenItsAddressIsTaken: somebody else answers there, and must not be taken for the lab's server.
func TestLab_saysWhenItsAddressIsTaken(t *testing.T) {
	l := lab.New(labName("t"), "")
	err := labcmd.Up(t.Context(), l, labcmd.Options{Compute: 1, Listen: listenAddr(96), Self: w.weft})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
	if _, err := l.Status(); err == nil {
		t.Error("a lab that did not come up was left")
	}
}

// TestLearning runs the pipeline without population: MACs are learned from tunnels, ARP travels.
func TestLearning_withoutPopulationHostsLearnByFlooding(t *testing.T) {
	x := another(t, "l", 97, labcmd.Options{Compute: 3, ServerArgs: []string{"--l2-population=false"}})
	n := x.network(t, "10.60.0.0/24", nil)
	other := x.network(t, "10.61.0.0/24", nil)
	x.vm(t, "l1", "compute1", n)
	b := x.vm(t, "l2", "compute2", n)
	x.vm(t, "l3", "compute3", other)
	x.reaches(t, "l1", b.Addrs[0].String())
	if got := x.ping(t, "l1", b.Addrs[0].String(), 50); got != 50 {
		t.Errorf("%d of 50 pings answered", got)
	}
	flows := x.host(t, "compute1", "ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "br-tun")
	if !strings.Contains(flows, "hard_timeout=300, priority=1,vlan_tci=0x0001/0x0fff,dl_dst="+b.MAC.String()) {
		t.Errorf("the peer's MAC was not learned:\n%s", flows)
	}
	if strings.Contains(flows, "priority=2,dl_vlan") || strings.Contains(flows, "table=21, n_packets=0, n_bytes=0, priority=1") {
		t.Error("the server populated a host that learns")
	}
	if show := x.host(t, "compute1", "ovs-vsctl", "show"); strings.Contains(show, "gre-0a000121") {
		t.Error("there is a tunnel to a host that shares no network")
	}
}

// TestPhysicalNetworks has VLAN and flat networks leave by the bridge of their physical network: here
// the one that also carries the tunnels.
func TestPhysicalNetworks_leaveByTheirBridge(t *testing.T) {
	x := another(t, "p", 98, labcmd.Options{
		Compute: 2, ServerArgs: []string{"--network-vlan-ranges=physnet1:100:199"}, AgentArgs: []string{"--bridge-mappings=physnet1=br-phy"},
	})
	for i, c := range []struct {
		name  string
		attrs body
	}{
		{"vlan", body{"provider:network_type": "vlan", "provider:physical_network": "physnet1"}},
		{"flat", body{"provider:network_type": "flat", "provider:physical_network": "physnet1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := x.network(t, "10."+itoa(70+i)+".0.0/24", c.attrs)
			a := x.vm(t, c.name+"-a", "compute1", n)
			b := x.vm(t, c.name+"-b", "compute2", n)
			x.reaches(t, c.name+"-a", b.Addrs[0].String())
			if p, err := x.Port(t.Context(), a.ID); err != nil || p.Status != "ACTIVE" || p.MTU != 1500 {
				t.Errorf("port %+v, %v", p, err)
			}
			if show := x.host(t, "compute1", "ovs-vsctl", "show"); strings.Contains(show, "gre-") || !strings.Contains(show, "phy-br-phy") {
				t.Errorf("devices:\n%s", show)
			}
		})
	}
	t.Run("a host without the physical network refuses the port", func(t *testing.T) {
		n := x.must(t, "POST", "networks", "network", body{"name": "elsewhere", "provider:network_type": "flat", "provider:physical_network": "physnet9"})["id"].(string)
		t.Cleanup(func() { x.must(t, "DELETE", "networks/"+n, "", nil) })
		p := x.must(t, "POST", "ports", "port", body{"network_id": n, "binding:host_id": "compute1"})
		t.Cleanup(func() { x.must(t, "DELETE", "ports/"+p["id"].(string), "", nil) })
		if p["binding:vif_type"] != "binding_failed" {
			t.Errorf("got %v", p["binding:vif_type"])
		}
	})
}

// TestIPv6 has security groups filter IPv6 as they filter IPv4.
func TestIPv6_isFilteredAsIPv4(t *testing.T) {
	n := w.must(t, "POST", "networks", "network", body{"name": t.Name()})["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "networks/"+n, "", nil) })
	w.must(t, "POST", "subnets", "subnet", body{"network_id": n, "cidr": "2001:db8:7::/64", "ip_version": 6})
	servers, clients := w.group(t, "v6-servers"), w.group(t, "v6-clients")
	quiet := func(groups ...string) func(*labcmd.VMOptions) {
		return func(o *labcmd.VMOptions) { o.SecurityGroups, o.NoDHCP = groups, true }
	}
	a := w.vm(t, "v6-a", "compute1", n, quiet(clients))
	b := w.vm(t, "v6-b", "compute2", n, quiet(servers))
	for vm, p := range map[string]labcmd.Port{"v6-a": a, "v6-b": b} {
		out, err := w.lab.VMOutput(t.Context(), vm, "sh", "-c",
			"sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip addr add "+p.Addrs[0].String()+"/64 dev eth0 nodad")
		if err != nil {
			t.Fatal(out, err)
		}
	}
	addr := b.Addrs[0].String()
	w.listen(t, "v6-b", 22)
	if w.connects(t, "v6-a", addr, 22) {
		t.Fatal("TCP 22 passes without a rule")
	}
	rule := w.rule(t, servers, body{"ethertype": "IPv6", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22})
	w.eventually(t, "TCP 22 over IPv6 passes after the rule", func() bool { return w.connects(t, "v6-a", addr, 22) })
	if w.ping(t, "v6-a", addr, 1) != 0 {
		t.Error("ICMPv6 echo passes without a rule")
	}
	w.must(t, "DELETE", "security-group-rules/"+rule, "", nil)
	w.eventually(t, "TCP 22 over IPv6 is refused again", func() bool { return !w.connects(t, "v6-a", addr, 22) })
}
