package e2e

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/labcmd"
	"weft/internal/model"
)

// subnet6 adds an IPv6 subnet to a network.
func (w *world) subnet6(t testing.TB, network, cidr, mode string) {
	t.Helper()
	w.must(t, "POST", "subnets", "subnet", body{
		"network_id": network, "cidr": cidr, "ip_version": 6, "ipv6_ra_mode": mode, "ipv6_address_mode": mode,
		"dns_nameservers": []string{"2001:db8:ffff::53"},
	})
}

// addr6 is a port's first IPv6 address.
func addr6(t testing.TB, p labcmd.Port) netip.Addr {
	t.Helper()
	for _, a := range p.Addrs {
		if a.Is6() {
			return a
		}
	}
	t.Fatalf("port %s has no IPv6 address", p.ID)
	return netip.Addr{}
}

// has reports whether a guest's card has an address that it may use.
func (w *world) has(t testing.TB, vm string, a netip.Addr) bool {
	t.Helper()
	out, err := w.lab.VMOutput(t.Context(), vm, "ip", "-6", "addr", "show", "dev", "eth0")
	return err == nil && strings.Contains(out, "inet6 "+a.String()+"/") && !strings.Contains(out, "tentative")
}

// dhclient runs a real DHCPv6 client in a guest until it is bound, and returns what it was told. One that has run there before is
// ended, and its lease is confirmed.
func (w *world) dhclient(t testing.TB, vm string, args ...string) string {
	t.Helper()
	const script = `#!/bin/sh
case $reason in
PREINIT6) until ip -6 addr show dev $interface scope link | grep inet6 | grep -qv tentative; do sleep 0.1; done ;;
BOUND6|RENEW6|REBIND6) [ -z "$new_ip6_address" ] || ip -6 addr replace $new_ip6_address/128 dev $interface ;;
esac
env | grep -E '^(reason|new_)' | sort
`
	dir := "/run/weft-dhclient-" + vm
	if _, err := w.lab.VMOutput(t.Context(), vm, "sh", "-c", "mkdir -p "+dir+"; [ ! -e "+dir+"/pid ] || kill $(cat "+dir+"/pid); cat >"+dir+"/script <<'END'\n"+script+"END\nchmod +x "+dir+"/script; echo 'also request dhcp6.sntp-servers;' >"+dir+"/conf"); err != nil {
		t.Fatal(err)
	}
	argv := append([]string{"timeout", "40", "dhclient", "-6", "-1", "-v", "-cf", dir + "/conf", "-lf", dir + "/leases", "-pf", dir + "/pid", "-sf", dir + "/script"}, args...)
	out := &lines{}
	err := w.lab.VMExec(t.Context(), vm, lab.Streams{Out: out, Err: out}, append(argv, "eth0")...)
	t.Cleanup(func() {
		w.lab.VMOutput(context.Background(), vm, "sh", "-c", "kill $(cat "+dir+"/pid); rm -r "+dir)
	})
	if err != nil {
		t.Fatalf("dhclient: %v\n%s", err, out.text.String())
	}
	return out.text.String()
}

// dhcpPort is the IPv6 address of a network's DHCP port.
func (w *world) dhcpPort(t testing.TB, network string) netip.Addr {
	t.Helper()
	_, out, err := w.call(t.Context(), "GET", "ports?device_owner=network:dhcp&network_id="+network, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range out["ports"].([]any) {
		for _, f := range p.(body)["fixed_ips"].([]any) {
			if a := netip.MustParseAddr(f.(body)["ip_address"].(string)); a.Is6() {
				return a
			}
		}
	}
	t.Fatalf("network %s has no DHCP port with IPv6", network)
	return netip.Addr{}
}

func TestSLAAC_guestsFormTheAddressesOfTheirPorts(t *testing.T) {
	n := w.network(t, "10.27.0.0/24", nil)
	w.subnet6(t, n, "2001:db8:27::/64", "slaac")
	a := w.vm(t, "sl-a", "compute1", n)
	b := w.vm(t, "sl-b", "compute2", n)
	began := time.Now()
	for _, g := range []struct {
		vm   string
		port labcmd.Port
	}{{"sl-a", a}, {"sl-b", b}} {
		w.eventually(t, g.vm+" has its port's address", func() bool { return w.has(t, g.vm, addr6(t, g.port)) })
	}
	t.Logf("addresses after %s", time.Since(began))
	w.reaches(t, "sl-a", addr6(t, b).String())
	if got := w.ping(t, "sl-a", addr6(t, b).String(), 50); got != 50 {
		t.Errorf("%d of 50 pings answered", got)
	}
	// The DHCP port is a neighbour, and no router: there is none.
	w.reaches(t, "sl-a", w.dhcpPort(t, n).String())
	out, err := w.lab.VMOutput(t.Context(), "sl-a", "ip", "-6", "route")
	if err != nil || strings.Contains(out, "default") || !strings.Contains(out, "2001:db8:27::/64 dev eth0 proto kernel") {
		t.Errorf("routes %q, %v", out, err)
	}
	mtu, err := w.lab.VMOutput(t.Context(), "sl-a", "cat", "/proc/sys/net/ipv6/conf/eth0/mtu")
	if err != nil || strings.TrimSpace(mtu) != "1458" {
		t.Errorf("MTU %q, %v", mtu, err)
	}
}

// TestRouterAdvertisements_followTheRouter: the guests of a network learn of its router when it gets a leg there, and
// that it is none any more when the leg goes; their addresses stay.
func TestRouterAdvertisements_followTheRouter(t *testing.T) {
	n, m := w.network(t, "10.40.0.0/24", nil), w.network(t, "10.41.0.0/24", nil)
	w.subnet6(t, n, "2001:db8:40::/64", "slaac")
	w.subnet6(t, m, "2001:db8:41::/64", "slaac")
	open := w.group(t, "open6")
	w.rule(t, open, body{"ethertype": "IPv6"})
	a, b := w.vm(t, "ra-a", "compute1", n, in(open)), w.vm(t, "ra-b", "compute2", m, in(open))
	r := w.must(t, "POST", "routers", "router", body{"name": t.Name()})["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "routers/"+r, "", nil) })
	subnet := func(network string) string {
		_, out, err := w.call(t.Context(), "GET", "subnets?ip_version=6&network_id="+network, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out["subnets"].([]any)[0].(body)["id"].(string)
	}
	here, there := subnet(n), subnet(m)
	for _, s := range []string{here, there} { // whatever is left at the end
		t.Cleanup(func() {
			w.call(context.Background(), "PUT", "routers/"+r+"/remove_router_interface", body{"subnet_id": s})
		})
	}
	w.leg(t, "add", r, there)
	for vm, p := range map[string]labcmd.Port{"ra-a": a, "ra-b": b} {
		w.eventually(t, vm+" has its port's address", func() bool { return w.has(t, vm, addr6(t, p)) })
	}
	routes := func() string {
		out, err := w.lab.VMOutput(t.Context(), "ra-a", "ip", "-6", "route", "show", "default")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := routes(); got != "" {
		t.Errorf("a network without a router has a default route: %s", got)
	}

	w.leg(t, "add", r, here)
	_, out, err := w.call(t.Context(), "GET", "ports?network_id="+n+"&device_id="+r, nil)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := model.ParseMAC(out["ports"].([]any)[0].(body)["mac_address"].(string))
	if err != nil {
		t.Fatal(err)
	}
	eui := mac.EUI64()
	router := netip.AddrFrom16([16]byte(append([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0}, eui[:]...))).String()
	began := time.Now()
	w.eventually(t, "the guest's default route is the router's", func() bool {
		got := routes()
		return strings.Contains(got, "default via "+router+" dev eth0 proto ra") && strings.Count(got, "default") == 1
	})
	t.Logf("default route after %s", time.Since(began))
	w.reaches(t, "ra-a", addr6(t, b).String())
	if got := w.ping(t, "ra-a", addr6(t, b).String(), 50); got != 50 {
		t.Errorf("%d of 50 pings by the router answered", got)
	}

	w.leg(t, "remove", r, here)
	began = time.Now()
	w.eventually(t, "the guest has no default route", func() bool { return routes() == "" })
	t.Logf("no default route after %s", time.Since(began))
	if !w.has(t, "ra-a", addr6(t, a)) {
		t.Error("the guest's address went with the router")
	}
	said, err := w.lab.VMOutput(t.Context(), "ra-a", "rdisc6", "-1", "eth0")
	if err != nil || !regexp.MustCompile(`Router lifetime *: *0 `).MatchString(said) || !strings.Contains(said, "2001:db8:40::/64") {
		t.Errorf("asked for, the host says (%v)\n%s", err, said)
	}
}

func TestDHCPv6_aRealClientGetsItsPortsAddress(t *testing.T) {
	n := w.network(t, "10.28.0.0/24", nil)
	w.subnet6(t, n, "2001:db8:28::/64", "dhcpv6-stateful")
	a := w.vm(t, "d6-a", "compute1", n)
	b := w.vm(t, "d6-b", "compute2", n)
	w.must(t, "PUT", "ports/"+a.ID.String(), "port", body{"extra_dhcp_opts": []body{{"opt_name": "sntp-server", "opt_value": "2001:db8:28::123", "ip_version": 6}}})
	extra := map[string]string{"d6-a": "new_dhcp6_sntp_servers=2001:db8:28::123"}
	for vm, p := range map[string]labcmd.Port{"d6-a": a, "d6-b": b} {
		said := w.dhclient(t, vm)
		for _, want := range []string{"new_ip6_address=" + addr6(t, p).String() + "\n", "new_dhcp6_name_servers=2001:db8:ffff::53", "new_dhcp6_domain_search=openstacklocal.", extra[vm]} {
			if !strings.Contains(said, want) {
				t.Errorf("%s: no %q in\n%s", vm, want, said)
			}
		}
		w.eventually(t, vm+" has its port's address", func() bool { return w.has(t, vm, addr6(t, p)) })
	}
	w.reaches(t, "d6-a", addr6(t, b).String())
}

func TestDHCPv6_statelessTellsTheRest(t *testing.T) {
	n := w.network(t, "10.29.0.0/24", nil)
	w.subnet6(t, n, "2001:db8:29::/64", "dhcpv6-stateless")
	a := w.vm(t, "ds-a", "compute1", n)
	w.eventually(t, "the guest has its port's address", func() bool { return w.has(t, "ds-a", addr6(t, a)) })
	if said := w.dhclient(t, "ds-a", "-S"); !strings.Contains(said, "new_dhcp6_name_servers=2001:db8:ffff::53") {
		t.Errorf("no name server in\n%s", said)
	}
}

func TestIPv6Questions_areHeardByNoOtherGuest(t *testing.T) {
	n := w.network(t, "10.30.0.0/24", nil)
	w.subnet6(t, n, "2001:db8:30::/64", "dhcpv6-stateful")
	w.vm(t, "q6-a", "compute1", n)
	for _, host := range []string{"compute1", "compute2"} {
		w.vm(t, "q6-"+host, host, n)
	}
	heard := make(chan string, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, host := range []string{"compute1", "compute2"} {
		vm := "q6-" + host
		go func() {
			out, _ := w.lab.VMOutput(ctx, vm, "timeout", "-s", "INT", "8", "tcpdump", "-Q", "in", "-lni", "eth0", "dst port 547 or icmp6[icmp6type] == icmp6-routersolicit")
			heard <- vm + ": " + out
		}()
		w.eventually(t, "tcpdump has begun", func() bool {
			out, _ := w.lab.VMOutput(t.Context(), vm, "sh", "-c", "cat /proc/net/packet | wc -l")
			return strings.TrimSpace(out) > "1"
		})
	}
	w.dhclient(t, "q6-a")
	if _, err := w.lab.VMOutput(t.Context(), "q6-a", "rdisc6", "-1", "eth0"); err != nil {
		t.Errorf("no router advertisement: %v", err)
	}
	for range 2 {
		if h := <-heard; strings.Contains(h, "> ff02") {
			t.Errorf("heard by %s", h)
		}
	}
}

func TestDHCP_goesOnWhileTheServerIsAwayAndTheAgentRestarts(t *testing.T) {
	n := w.network(t, "10.37.0.0/24", nil)
	w.subnet6(t, n, "2001:db8:37::/64", "dhcpv6-stateful")
	a := w.vm(t, "sa-a", "compute1", n)
	w.dhclient(t, "sa-a")
	if err := w.lab.Kill(t.Context(), "", lab.Server); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the networks of the test go by the server
		if err := w.lab.Start(context.Background(), "", lab.Server); err != nil {
			t.Error(err)
		}
	})
	if err := w.lab.Kill(t.Context(), "compute1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.Start(t.Context(), "compute1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	said, err := w.lab.VMOutput(t.Context(), "sa-a", "sh", "-c", "busybox udhcpc -i eth0 -f -q -n -t 10 -T 1 -s /bin/true 2>&1")
	if err != nil || !strings.Contains(said, "lease of "+a.Addrs[0].String()) && !strings.Contains(said, "lease of "+a.Addrs[1].String()) {
		t.Errorf("udhcpc: %v\n%s", err, said)
	}
	if said := w.dhclient(t, "sa-a"); !strings.Contains(said, "new_ip6_address="+addr6(t, a).String()) {
		t.Errorf("no address in\n%s", said)
	}
}
