package e2e

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"weft/internal/host/pipeline"
	"weft/internal/lab"
	"weft/internal/labcmd"
	"weft/internal/model"
)

// TestReferenceDeployment looks at compute1 as an operator does: the devices, the switch, the
// flows and the chains must be those of any Neutron host.
func TestReferenceDeployment(t *testing.T) {
	n := w.network(t, "10.40.0.0/24", nil)
	vm1 := w.vm(t, "ref1", "compute1", n)
	vm2 := w.vm(t, "ref2", "compute1", n)
	far := w.vm(t, "ref3", "compute2", n)
	w.reaches(t, "ref1", far.Addrs[0].String())
	w.reaches(t, "ref1", vm2.Addrs[0].String())

	_, out, err := w.call(t.Context(), http.MethodGet, "networks/"+n, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := int(out["network"].(body)["provider:segmentation_id"].(float64))

	show := w.host(t, "compute1", "ovs-vsctl", "show")
	suffix := vm1.ID.DeviceSuffix()
	for _, want := range []string{
		"Bridge br-int\n        fail_mode: secure", "Bridge br-tun\n        fail_mode: secure",
		"Port qvo" + suffix + "\n            tag: 1\n", "Port qvo" + vm2.ID.DeviceSuffix() + "\n            tag: 1\n",
		"type: patch\n                options: {peer=patch-tun}", "type: patch\n                options: {peer=patch-int}",
		`Interface gre-0a000120
                type: gre
                options: {df_default="true", in_key=flow, local_ip="10.0.1.31", out_key=flow, remote_ip="10.0.1.32"}`,
	} {
		if !strings.Contains(show, want) {
			t.Errorf("ovs-vsctl show lacks %q:\n%s", want, show)
		}
	}
	if strings.Contains(show, "gre-0a000115") {
		t.Error("there is a tunnel to the gateway, which shares no network")
	}

	flows := w.host(t, "compute1", "ovs-ofctl", "-O", "OpenFlow14", "--names", "dump-flows", "br-tun")
	for _, want := range []string{
		`table=0, .*priority=1,in_port="patch-int" actions=goto_table:2`,
		`table=0, .*priority=1,in_port="gre-0a000120" actions=goto_table:3`,
		`table=0, .*priority=0 actions=drop`,
		`table=2, .*dl_dst=00:00:00:00:00:00/01:00:00:00:00:00 actions=goto_table:20`,
		`table=2, .*dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=goto_table:22`,
		`table=3, .*priority=1,tun_id=0x` + hex(key) + ` actions=push_vlan:0x8100,set_field:4097->vlan_vid,goto_table:10`,
		`table=4, .*priority=0 actions=drop`, `table=6, .*priority=0 actions=drop`,
		`table=10, .*priority=1 actions=learn\(table=20,hard_timeout=300,priority=1,cookie=0x57e7080000000000,NXM_OF_VLAN_TCI\[0..11\],NXM_OF_ETH_DST\[\]=NXM_OF_ETH_SRC\[\],load:0->NXM_OF_VLAN_TCI\[\],load:NXM_NX_TUN_ID\[\]->NXM_NX_TUN_ID\[\],output:[ON]XM_OF_IN_PORT\[\]\),output:"patch-int"`,
		`table=20, .*priority=2,dl_vlan=1,dl_dst=` + far.MAC.String() + ` actions=pop_vlan,set_field:0x` + hex(key) + `->tun_id,output:"gre-0a000120"`,
		`table=20, .*priority=0 actions=goto_table:22`,
		`table=21, .*priority=1,arp,dl_vlan=1,arp_tpa=` + far.Addrs[0].String() + `,arp_op=1 actions=set_field:2->arp_op,.*IN_PORT`,
		`table=22, .*dl_vlan=1 actions=pop_vlan,set_field:0x` + hex(key) + `->tun_id,output:"gre-0a000120"`,
		`table=22, .*priority=0 actions=drop`,
	} {
		if !regexp.MustCompile(want).MatchString(flows) {
			t.Errorf("br-tun has no flow like %s:\n%s", want, flows)
		}
	}

	rules := w.host(t, "compute1", "iptables", "-S")
	chain := "neutron-openvswi-i" + vm1.ID.ChainSuffix()
	for _, want := range []string{
		"-N neutron-openvswi-sg-chain", "-N " + chain, "-N neutron-openvswi-o" + vm1.ID.ChainSuffix(), "-N neutron-openvswi-s" + vm1.ID.ChainSuffix(),
		"-A neutron-openvswi-FORWARD -m physdev --physdev-out tap" + suffix + " --physdev-is-bridged",
		"-A neutron-openvswi-INPUT -m physdev --physdev-in tap" + suffix + " --physdev-is-bridged",
		"-A " + chain + " -m state --state RELATED,ESTABLISHED",
		"-A " + chain + " -m set --match-set NIPv4",
		"-A neutron-openvswi-s" + vm1.ID.ChainSuffix() + " -s " + vm1.Addrs[0].String() + "/32 -m mac --mac-source",
	} {
		if !strings.Contains(rules, want) {
			t.Errorf("iptables -S lacks %q", want)
		}
	}
	for _, dev := range []string{"tap", "qbr", "qvb", "qvo"} {
		w.host(t, "compute1", "ip", "link", "show", dev+suffix)
	}
}

func hex(n int) string {
	const digits = "0123456789abcdef"
	if n < 16 {
		return digits[n : n+1]
	}
	return hex(n/16) + digits[n%16:n%16+1]
}

// TestDeletedVM_leavesNoTrace is invariant V6: after a delete there is no flow, no chain, no set, no
// device and no tunnel that was the port's.
func TestDeletedVM_leavesNoTrace(t *testing.T) {
	n := w.network(t, "10.41.0.0/24", nil)
	p, err := labcmd.CreateVM(t.Context(), w.lab, w.Cloud, labcmd.VMOptions{Name: "gone1", Network: n, Host: "compute1"})
	if err != nil {
		t.Fatal(err)
	}
	far := w.vm(t, "gone2", "compute2", n)
	w.reaches(t, "gone1", far.Addrs[0].String())
	if err := labcmd.DeleteVM(t.Context(), w.lab, w.Cloud, "gone1"); err != nil {
		t.Fatal(err)
	}
	// dump is all that two hosts show, and false when one of them changed under the eyes of a tool: iptables-save
	// fails when a set goes while it reads.
	dump := func() (string, bool) {
		var all strings.Builder
		for _, h := range []string{"compute1", "compute2"} {
			for _, cmd := range [][]string{
				{"ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "br-int"}, {"ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "br-tun"},
				{"iptables-save"}, {"ip6tables-save"}, {"ovs-vsctl", "show"}, {"ip", "link"},
			} {
				out, err := w.lab.Output(t.Context(), h, cmd...)
				if err != nil {
					return "", false
				}
				for line := range strings.Lines(out) {
					// Learned flows of a network that is still on the host age by themselves.
					if h == "compute1" || !strings.Contains(line, "hard_timeout") {
						all.WriteString(line)
					}
				}
			}
		}
		return all.String(), true
	}
	kind, prefix := pipeline.Object(pipeline.Cookie(model.KindPort, p.ID.UUID))
	if kind != model.KindPort || !strings.HasPrefix(p.ID.String(), prefix) {
		t.Fatalf("the cookie of %s leads to %s", p.ID, prefix)
	}
	cookie := "0x57e702" + strings.ReplaceAll(p.ID.String(), "-", "")[:10]
	w.eventually(t, "no trace", func() bool {
		s, whole := dump()
		return whole && !strings.Contains(s, p.ID.ChainSuffix()) && !strings.Contains(s, p.MAC.String()) && !strings.Contains(s, cookie) && !strings.Contains(s, "gre-")
	})
}

// TestNetworkTypes has packets travel in each kind of tunnel, and stay at home on a local network.
func TestNetworkTypes(t *testing.T) {
	for i, kind := range []string{"gre", "vxlan", "geneve"} {
		t.Run(kind, func(t *testing.T) {
			n := w.network(t, "10."+itoa(50+i)+".0.0/24", body{"provider:network_type": kind})
			a := w.vm(t, kind+"-a", "compute1", n)
			b := w.vm(t, kind+"-b", "compute2", n)
			w.reaches(t, kind+"-a", b.Addrs[0].String())
			if _, err := w.lab.VMOutput(t.Context(), kind+"-a", "ping", "-c", "3", "-i", "0.05", "-M", "do", "-s", itoa(a.MTU-28), b.Addrs[0].String()); err != nil {
				t.Errorf("a packet of the network's MTU (%d) does not pass: %v", a.MTU, err)
			}
			w.host(t, "compute1", "ip", "link", "show", "qvo"+a.ID.DeviceSuffix())
			if show := w.host(t, "compute1", "ovs-vsctl", "show"); !strings.Contains(show, kind+"-0a000120") {
				t.Errorf("no %s tunnel:\n%s", kind, show)
			}
		})
	}
	t.Run("local", func(t *testing.T) {
		n := w.network(t, "10.55.0.0/24", body{"provider:network_type": "local"})
		w.vm(t, "local-a", "compute1", n)
		here := w.vm(t, "local-b", "compute1", n)
		there := w.vm(t, "local-c", "compute2", n)
		w.reaches(t, "local-a", here.Addrs[0].String())
		if w.ping(t, "local-a", there.Addrs[0].String(), 2) != 0 {
			t.Error("a local network reaches another host")
		}
	})
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// TestIsolation is invariant V8: with the same addresses on two networks, a guest reaches its own neighbours only.
func TestIsolation_networksWithTheSameAddressesDoNotMeet(t *testing.T) {
	red, blue := w.network(t, "10.42.0.0/24", nil), w.network(t, "10.42.0.0/24", nil)
	at := func(ip string) func(*labcmd.VMOptions) {
		return func(o *labcmd.VMOptions) { o.FixedIPs = []string{ip} }
	}
	w.vm(t, "red-a", "compute1", red, at("10.42.0.11"))
	w.vm(t, "red-b", "compute2", red, at("10.42.0.12"))
	w.vm(t, "blue-a", "compute1", blue, at("10.42.0.11"))
	w.reaches(t, "red-a", "10.42.0.12")
	if w.ping(t, "blue-a", "10.42.0.12", 5) != 0 {
		t.Error("a packet crossed from one network to another")
	}
}

// TestDHCP_tellsWhatTheSubnetSays reads the lease that an unmodified client got.
func TestDHCP_tellsWhatTheSubnetSays(t *testing.T) {
	n := w.must(t, "POST", "networks", "network", body{"name": t.Name()})["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "networks/"+n, "", nil) })
	w.must(t, "POST", "subnets", "subnet", body{
		"network_id": n, "cidr": "10.43.0.0/24", "ip_version": 4, "gateway_ip": "10.43.0.254", "dns_nameservers": []string{"9.9.9.9", "149.112.112.112"},
		"host_routes": []body{{"destination": "192.0.2.0/24", "nexthop": "10.43.0.7"}},
	})
	p := w.vm(t, "dhcp1", "compute1", n)
	lease, err := w.lab.VMLease("dhcp1")
	if err != nil {
		t.Fatal(err)
	}
	if lease.Address.Addr() != p.Addrs[0] || lease.Address.Bits() != 24 || lease.MTU != 1458 || len(lease.DNS) != 2 {
		t.Errorf("lease %+v of port %v", lease, p.Addrs)
	}
	routes, err := w.lab.VMOutput(t.Context(), "dhcp1", "ip", "route")
	if err != nil || !strings.Contains(routes, "default via 10.43.0.254") || !strings.Contains(routes, "192.0.2.0/24 via 10.43.0.7") {
		t.Errorf("routes %q, %v", routes, err)
	}
	// The server's address is the network's DHCP port's, and that answers on the host itself.
	_, out, err := w.call(t.Context(), http.MethodGet, "ports?device_owner=network:dhcp&network_id="+n, nil)
	if err != nil || len(out["ports"].([]any)) != 1 {
		t.Fatalf("DHCP ports %v, %v", out, err)
	}
	server := out["ports"].([]any)[0].(body)["fixed_ips"].([]any)[0].(body)["ip_address"].(string)
	if lease.Server.String() != server {
		t.Errorf("the lease is from %s, the DHCP port has %s", lease.Server, server)
	}
	if w.ping(t, "dhcp1", server, 2) != 2 {
		t.Error("the DHCP server's address does not answer pings")
	}
	t.Run("and renews while the server is away", func(t *testing.T) {
		if err := w.lab.Kill(t.Context(), "", lab.Server); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := w.lab.Start(context.Background(), "", lab.Server); err != nil {
				t.Error(err)
			}
			w.settled(t, "compute1")
			w.settled(t, "compute2")
		}()
		out, err := w.lab.VMOutput(t.Context(), "dhcp1", "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", "-s", "/bin/true")
		if err != nil {
			t.Fatalf("no lease: %v %s", err, out)
		}
	})
}
