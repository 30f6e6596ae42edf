package e2e

import (
	hexadecimal "encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"weft/internal/labcmd"
	"weft/internal/model"
)

// named gives a VM a host name, which is its DNS name too.
func named(name string) func(*labcmd.VMOptions) { return tells(model.Instance{Hostname: name}) }

// query asks a server from a guest, by the bytes that nc sends. A nil answer is none.
func (w *world) query(t testing.TB, vm, network, server string, m *dns.Msg) *dns.Msg {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	args := "-u -w 1"
	if network == "tcp" {
		b = append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)
		args = "-w 2"
	}
	var text strings.Builder
	for _, c := range b {
		fmt.Fprintf(&text, `\%03o`, c)
	}
	// The end of what is sent comes late: nc must not leave before the answer.
	out, err := w.lab.VMOutput(t.Context(), vm, "sh", "-c", fmt.Sprintf("(printf '%s'; sleep 1) | timeout 3 nc %s %s 53 | od -An -v -tx1", text.String(), args, server))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hexadecimal.DecodeString(strings.Join(strings.Fields(out), ""))
	if err != nil || len(raw) < 12 {
		return nil
	}
	if network == "tcp" {
		raw = raw[2:]
	}
	a := new(dns.Msg)
	if err := a.Unpack(raw); err != nil {
		t.Fatalf("%s: %v", m.Question[0].Name, err)
	}
	return a
}

func ask(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	return m
}

// answers is what records say, in order, or the code when there are none.
func answers(m *dns.Msg) string {
	if m == nil {
		return "nothing"
	}
	var out []string
	for _, rr := range m.Answer {
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	if len(out) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestDNS_answersTheNetworksOwnNames(t *testing.T) {
	red, blue := w.network(t, "10.65.0.0/24", nil), w.network(t, "10.65.0.0/24", nil)
	w.vm(t, "dns1", "compute1", red, named("asker"))
	far := w.vm(t, "dns2", "compute2", red, named("far"))
	w.vm(t, "dns3", "compute1", blue, named("other"))
	server := "10.65.0.2"
	w.eventually(t, "names are answered", func() bool {
		return answers(w.query(t, "dns1", "udp", server, ask("far.openstacklocal.", dns.TypeA))) == far.Addrs[0].String()
	})
	reverse, err := dns.ReverseAddr(far.Addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		network, name string
		typ           uint16
		want          string
	}{
		{"tcp", "far.openstacklocal.", dns.TypeA, far.Addrs[0].String()},
		{"udp", "far.", dns.TypeA, far.Addrs[0].String()},
		{"udp", reverse, dns.TypePTR, "far.openstacklocal."},
		{"udp", "other.openstacklocal.", dns.TypeA, "NXDOMAIN"}, // of another tenant, who has the same addresses
		{"udp", "host-10-65-0-2.openstacklocal.", dns.TypeA, "10.65.0.2"},
		{"udp", "99.0.65.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
	} {
		if got := answers(w.query(t, "dns1", c.network, server, ask(c.name, c.typ))); got != c.want {
			t.Errorf("%s by %s: %s, want %s", c.name, c.network, got, c.want)
		}
	}
	// The API says the same of the port.
	port := w.must(t, "GET", "ports/"+far.ID.String(), "port", nil)
	if got := port["dns_assignment"].([]any)[0].(body)["fqdn"]; got != "far.openstacklocal." {
		t.Errorf("the API calls it %v", got)
	}
	// What guests use: DHCP has told them whom to ask.
	if out, err := w.lab.VMOutput(t.Context(), "dns1", "busybox", "nslookup", "far.openstacklocal"); err != nil || !strings.Contains(out, far.Addrs[0].String()) {
		t.Errorf("nslookup: %v\n%s", err, out)
	}
}

// TestDNS_forwardsOtherNames to the servers of the subnet. This machine has one, which tells who asks.
func TestDNS_forwardsOtherNames(t *testing.T) {
	st, err := w.lab.Status()
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 100)
	handler := dns.HandlerFunc(func(rw dns.ResponseWriter, m *dns.Msg) {
		asked <- m.Question[0].Name
		r := new(dns.Msg)
		r.SetReply(m)
		n := 1
		if strings.HasPrefix(m.Question[0].Name, "long.") {
			n = 100
		}
		for i := range n {
			rr, _ := dns.NewRR(fmt.Sprintf("%s 60 IN TXT \"record %03d of this name\"", m.Question[0].Name, i))
			r.Answer = append(r.Answer, rr)
		}
		if _, udp := rw.RemoteAddr().(*net.UDPAddr); udp {
			r.Truncate(1232)
		}
		rw.WriteMsg(r)
	})
	at := netip.AddrPortFrom(st.Management, 53).String()
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		srv := &dns.Server{Addr: at, Net: network, Handler: handler, NotifyStartedFunc: func() { close(started) }}
		failed := make(chan error, 1)
		go func() { failed <- srv.ListenAndServe() }()
		select {
		case <-started:
		case err := <-failed:
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Shutdown() })
	}
	n := w.must(t, "POST", "networks", "network", body{"name": t.Name()})["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "networks/"+n, "", nil) })
	w.must(t, "POST", "subnets", "subnet", body{"network_id": n, "cidr": "10.66.0.0/24", "ip_version": 4, "dns_nameservers": []string{st.Management.String()}})
	w.vm(t, "dns4", "compute1", n)
	if lease, err := w.lab.VMLease("dns4"); err != nil || fmt.Sprint(lease.DNS) != "["+st.Management.String()+"]" {
		t.Errorf("DHCP names %v, %v; want the subnet's own server", lease.DNS, err)
	}
	server := "10.66.0.2"
	w.eventually(t, "names are forwarded", func() bool {
		return answers(w.query(t, "dns4", "udp", server, ask("www.example.org.", dns.TypeTXT))) == `"record 000 of this name"`
	})
	long := ask("long.example.org.", dns.TypeTXT)
	if a := w.query(t, "dns4", "udp", server, long); a == nil || !a.Truncated {
		t.Errorf("a long answer by UDP is not cut: %v", a)
	}
	if a := w.query(t, "dns4", "tcp", server, long); a == nil || a.Truncated || len(a.Answer) != 100 {
		t.Errorf("a long answer by TCP: %v", a)
	}
	// A name that only the cloud can know is not asked for outside.
	if got := answers(w.query(t, "dns4", "udp", server, ask("nobody.openstacklocal.", dns.TypeA))); got != "NXDOMAIN" {
		t.Errorf("an unknown name of the cloud: %s", got)
	}
	for range len(asked) {
		if name := <-asked; strings.Contains(name, "openstacklocal") {
			t.Errorf("%s was asked for outside", name)
		}
	}
}
