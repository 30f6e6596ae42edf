package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"weft/internal/labcmd"
	"weft/internal/model"
)

// group makes a security group that the test's end removes. It has the two egress rules that every group begins with.
func (w *world) group(t testing.TB, name string) string {
	t.Helper()
	id := w.must(t, "POST", "security-groups", "security_group", body{"name": name})["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "security-groups/"+id, "", nil) })
	return id
}

func (w *world) rule(t testing.TB, group string, attrs body) string {
	t.Helper()
	in := body{"security_group_id": group, "direction": "ingress", "ethertype": "IPv4"}
	for k, v := range attrs {
		in[k] = v
	}
	return w.must(t, "POST", "security-group-rules", "security_group_rule", in)["id"].(string)
}

func in(groups ...string) func(*labcmd.VMOptions) {
	return func(o *labcmd.VMOptions) { o.SecurityGroups = groups }
}

// within reports how long it took until ok, which must be before a limit that is far above what is promised.
func (w *world) within(t testing.TB, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
	return time.Since(began)
}

// bothDrivers runs a test with each firewall driver; which says so to the VMs it makes.
func bothDrivers(t *testing.T, f func(t *testing.T, which func(*labcmd.VMOptions))) {
	for _, driver := range []string{model.FirewallHybrid, model.FirewallNative} {
		t.Run(driver, func(t *testing.T) { f(t, by(driver)) })
	}
}

func by(driver string) func(*labcmd.VMOptions) {
	return func(o *labcmd.VMOptions) { o.Firewall = driver }
}

func TestSecurityGroup_refusesUntilARuleAllowsAndCutsWhenItGoes(t *testing.T) {
	bothDrivers(t, refusesUntilARuleAllowsAndCutsWhenItGoes)
}

func refusesUntilARuleAllowsAndCutsWhenItGoes(t *testing.T, which func(*labcmd.VMOptions)) {
	n := w.network(t, "10.21.0.0/24", nil)
	servers, clients := w.group(t, "servers"), w.group(t, "clients")
	w.vm(t, "sg-c", "compute1", n, in(clients), which)
	server := w.vm(t, "sg-s", "compute2", n, in(servers), which)
	addr := server.Addrs[0].String()
	w.listen(t, "sg-s", 22)
	w.listen(t, "sg-s", 80)

	if w.connects(t, "sg-c", addr, 22) {
		t.Fatal("TCP 22 passes without a rule")
	}
	rule := w.rule(t, servers, body{"protocol": "tcp", "port_range_min": 22, "port_range_max": 22})
	w.rule(t, servers, body{"protocol": "tcp", "port_range_min": 80, "port_range_max": 80})
	took := w.within(t, "TCP 22 passes after the rule", 10*time.Second, func() bool { return w.connects(t, "sg-c", addr, 22) })
	t.Logf("the rule was in force in at most %s", took)
	if got := w.ping(t, "sg-c", addr, 1); got != 0 {
		t.Error("ICMP passes without a rule")
	}

	// Removal cuts the established flow that it had allowed, and no other.
	w.rule(t, servers, body{"protocol": "icmp"})
	w.reaches(t, "sg-c", addr)
	pings := w.startPing(t, "sg-c", addr)
	ssh, web := w.dial(t, "sg-c", addr, 22), w.dial(t, "sg-c", addr, 80)
	w.must(t, "DELETE", "security-group-rules/"+rule, "", nil)
	w.isCut(t, "the removal of a rule", ssh, pings, web)
	if w.connects(t, "sg-c", addr, 22) {
		t.Error("TCP 22 passes after the rule went")
	}
}

func TestSecurityGroup_remoteGroupFollowsItsMembers(t *testing.T) {
	bothDrivers(t, remoteGroupFollowsItsMembers)
}

func remoteGroupFollowsItsMembers(t *testing.T, which func(*labcmd.VMOptions)) {
	n := w.network(t, "10.22.0.0/24", nil)
	servers, friends, strangers := w.group(t, "rg-servers"), w.group(t, "rg-friends"), w.group(t, "rg-strangers")
	w.rule(t, servers, body{"protocol": "icmp", "remote_group_id": friends})
	server := w.vm(t, "rg-s", "compute2", n, in(servers), which)
	client := w.vm(t, "rg-c", "compute1", n, in(strangers), which)
	addr := server.Addrs[0].String()
	if w.ping(t, "rg-c", addr, 1) != 0 {
		t.Fatal("a stranger is let in")
	}
	w.must(t, "PUT", "ports/"+client.ID.String(), "port", body{"security_groups": []string{friends}})
	w.reaches(t, "rg-c", addr)
	w.must(t, "PUT", "ports/"+client.ID.String(), "port", body{"security_groups": []string{strangers}})
	w.eventually(t, "the member that left is kept out", func() bool { return w.ping(t, "rg-c", addr, 1) == 0 })
}

func TestSecurityGroup_addressGroupIsFollowed(t *testing.T) { bothDrivers(t, addressGroupIsFollowed) }

func addressGroupIsFollowed(t *testing.T, which func(*labcmd.VMOptions)) {
	n := w.network(t, "10.28.0.0/24", nil)
	offices := w.must(t, "POST", "address-groups", "address_group", body{"name": "offices", "addresses": []string{"192.0.2.0/24", "2001:db8::/32"}})["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "address-groups/"+offices, "", nil) }) // after the rules, which go with their group
	servers, clients := w.group(t, "ag-servers"), w.group(t, "ag-clients")
	change := func(action string, addresses ...string) {
		t.Helper()
		w.must(t, "PUT", "address-groups/"+offices+"/"+action, "addresses", addresses)
	}
	server := w.vm(t, "ag-s", "compute2", n, in(servers), which)
	client := w.vm(t, "ag-c", "compute1", n, in(clients), which)
	addr, from := server.Addrs[0].String(), client.Addrs[0].String()
	w.rule(t, servers, body{"protocol": "icmp", "remote_address_group_id": offices})
	w.rule(t, servers, body{"protocol": "tcp", "remote_address_group_id": offices})
	w.listen(t, "ag-s", 22)
	if w.ping(t, "ag-c", addr, 1) != 0 || w.connects(t, "ag-c", addr, 22) {
		t.Fatal("who is not in the group is let in")
	}
	change("add_addresses", from)
	w.reaches(t, "ag-c", addr)
	ssh := w.dial(t, "ag-c", addr, 22)
	change("remove_addresses", from)
	w.within(t, "the established flow is cut", 10*time.Second, func() bool { return !ssh.echoes(300 * time.Millisecond) })
	if w.ping(t, "ag-c", addr, 1) != 0 {
		t.Error("who was taken out of the group is let in")
	}
	change("add_addresses", "0.0.0.0/0") // all of a family, in a set
	w.reaches(t, "ag-c", addr)
}

func TestSpoofing_onlyAPortsOwnAddressesLeaveIt(t *testing.T) {
	bothDrivers(t, onlyAPortsOwnAddressesLeaveIt)
}

func onlyAPortsOwnAddressesLeaveIt(t *testing.T, which func(*labcmd.VMOptions)) {
	n := w.network(t, "10.23.0.0/24", nil)
	victim := w.vm(t, "sp-v", "compute2", n, which)
	spoofer := w.vm(t, "sp-s", "compute1", n, which)
	addr := victim.Addrs[0].String()
	w.reaches(t, "sp-s", addr)
	sh := func(script string) (string, error) {
		return w.lab.VMOutput(t.Context(), "sp-s", "sh", "-c", script)
	}
	// What the victim receives is the oracle.
	sees := func(filter string, script string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		got := make(chan string, 1)
		go func() {
			out, _ := w.lab.VMOutput(ctx, "sp-v", "timeout", "-s", "INT", "3", "tcpdump", "-lnni", "eth0", "-c", "1", filter)
			got <- out
		}()
		w.eventually(t, "tcpdump has begun", func() bool {
			out, _ := w.lab.VMOutput(t.Context(), "sp-v", "sh", "-c", "cat /proc/net/packet | wc -l")
			return strings.TrimSpace(out) > "1"
		})
		sh(script)
		return strings.TrimSpace(<-got)
	}
	if sees("icmp[icmptype]=icmp-echo", "ping -c 3 -i 0.1 "+addr) == "" {
		t.Fatal("the oracle does not see an honest ping")
	}
	for _, c := range []struct{ rule, filter, script string }{
		{"a foreign IP address", "icmp and src 10.23.0.250", "ip addr add 10.23.0.250/32 dev eth0; ping -c 3 -i 0.1 -I 10.23.0.250 " + addr + "; ip addr del 10.23.0.250/32 dev eth0"},
		{"ARP for a foreign address", "arp and host 10.23.0.251", "arping -c 3 -w 2 -U -s 10.23.0.251 -I eth0 10.23.0.251 || busybox arping -c 3 -w 2 -U -s 10.23.0.251 -I eth0 10.23.0.251"},
		{"a foreign MAC address", "ether src fa:16:3e:99:99:99", "ip link set eth0 address fa:16:3e:99:99:99; ping -c 3 -i 0.1 " + addr + "; ip link set eth0 address " + spoofer.MAC.String()},
		{"a DHCP server's reply", "udp and src port 67", "echo x | busybox nc -u -s " + spoofer.Addrs[0].String() + " -p 67 -w 1 " + addr + " 68; echo x | nc -u -p 67 -w 1 " + addr + " 68"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := sees(c.filter, c.script); got != "" {
				t.Fatalf("the victim received %s", got)
			}
		})
	}
	w.reaches(t, "sp-s", addr)
}

func TestAllowedAddressPair_letsAnotherAddressOut(t *testing.T) {
	bothDrivers(t, letsAnotherAddressOut)
}

func letsAnotherAddressOut(t *testing.T, which func(*labcmd.VMOptions)) {
	n := w.network(t, "10.24.0.0/24", nil)
	a := w.vm(t, "ap-a", "compute1", n, which)
	b := w.vm(t, "ap-b", "compute2", n, which)
	addr := b.Addrs[0].String()
	w.reaches(t, "ap-a", addr)
	out, err := w.lab.VMOutput(t.Context(), "ap-a", "ip", "addr", "add", "10.24.0.200/24", "dev", "eth0")
	if err != nil {
		t.Fatal(out, err)
	}
	from := func() bool {
		out, _ := w.lab.VMOutput(t.Context(), "ap-a", "ping", "-c", "1", "-W", "1", "-I", "10.24.0.200", addr)
		return strings.Contains(out, "1 received")
	}
	if from() {
		t.Fatal("a foreign address passes without a pair")
	}
	w.must(t, "PUT", "ports/"+a.ID.String(), "port", body{"allowed_address_pairs": []body{{"ip_address": "10.24.0.200"}}})
	w.eventually(t, "the pair's address passes", from)
	w.listen(t, "ap-b", 22)
	w.listen(t, "ap-b", 80)
	pings := w.startPing(t, "ap-a", addr)
	pair, own := w.dialFrom(t, "ap-a", "10.24.0.200", addr, 22), w.dialFrom(t, "ap-a", a.Addrs[0].String(), addr, 80)
	w.must(t, "PUT", "ports/"+a.ID.String(), "port", body{"allowed_address_pairs": []body{}})
	w.isCut(t, "the removal of an address pair", pair, pings, own)
	w.eventually(t, "the address is refused again", func() bool { return !from() })
}

func TestPortSecurityOff_filtersNothing(t *testing.T) { bothDrivers(t, filtersNothing) }

func filtersNothing(t *testing.T, which func(*labcmd.VMOptions)) {
	n := w.network(t, "10.25.0.0/24", nil)
	strangers := w.group(t, "ps-strangers")
	open := w.vm(t, "ps-o", "compute1", n, which)
	w.vm(t, "ps-c", "compute2", n, in(strangers), which)
	addr := open.Addrs[0].String()
	if w.ping(t, "ps-c", addr, 1) != 0 {
		t.Fatal("ICMP passes before")
	}
	w.must(t, "PUT", "ports/"+open.ID.String(), "port", body{"port_security_enabled": false, "security_groups": []string{}})
	w.reaches(t, "ps-c", addr)
}
