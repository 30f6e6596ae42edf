package dns

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"weft/internal/host/fair"
	"weft/internal/host/standin"
	"weft/internal/model"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func zone() *Zone {
	return NewZone("openstacklocal.", "corp.example.", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8::/64")}, []Host{
		{Name: "Web1", Addrs: []netip.Addr{addr("10.0.0.5"), addr("2001:db8::5")}},
		{Name: "db", Domain: "tenant.example.", Addrs: []netip.Addr{addr("10.0.0.6")}},
		{Name: "full.name.example.", Addrs: []netip.Addr{addr("10.0.0.7")}},
		{Addrs: []netip.Addr{addr("10.0.0.8")}},
		{Name: "db", Addrs: []netip.Addr{addr("10.0.0.9")}},
	})
}

func TestZone_knowsTheNetworksNames(t *testing.T) {
	for _, c := range []struct {
		name string
		typ  uint16
		want string // answers, the code, or "outside"
	}{
		{"web1.openstacklocal.", dns.TypeA, "10.0.0.5"},
		{"WEB1.OpenStackLocal.", dns.TypeA, "10.0.0.5"},
		{"web1.openstacklocal.", dns.TypeAAAA, "2001:db8::5"},
		{"web1.openstacklocal.", dns.TypeMX, "NOERROR"},
		{"web1.", dns.TypeA, "10.0.0.5"},
		{"web1.corp.example.", dns.TypeA, "10.0.0.5"},
		{"web1.tenant.example.", dns.TypeA, "outside"},
		{"db.tenant.example.", dns.TypeA, "10.0.0.6"},
		{"db.openstacklocal.", dns.TypeA, "10.0.0.6 10.0.0.9"},
		{"full.name.example.", dns.TypeA, "10.0.0.7"},
		{"host-10-0-0-8.openstacklocal.", dns.TypeA, "10.0.0.8"},
		{"host-10-0-0-5.openstacklocal.", dns.TypeA, "10.0.0.5"},
		{"5.0.0.10.in-addr.arpa.", dns.TypePTR, "web1.openstacklocal."},
		{"8.0.0.10.in-addr.arpa.", dns.TypePTR, "host-10-0-0-8.openstacklocal."},
		{"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, "web1.openstacklocal."},
		{"5.0.0.10.in-addr.arpa.", dns.TypeA, "NOERROR"},
		// What only the cloud can know never leaves.
		{"nobody.openstacklocal.", dns.TypeA, "NXDOMAIN"},
		{"openstacklocal.", dns.TypeSOA, "NOERROR"},
		{"nobody.", dns.TypeA, "NXDOMAIN"},
		{"99.0.0.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
		{"f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, "NXDOMAIN"},
		{"www.corp.example.", dns.TypeA, "outside"},
		{"www.example.org.", dns.TypeA, "outside"},
		{"notopenstacklocal.", dns.TypeA, "NXDOMAIN"},
		{"www.notopenstacklocal.", dns.TypeA, "outside"},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, "outside"},
		{"x.0.0.10.in-addr.arpa.", dns.TypePTR, "outside"},
		{"05.0.0.10.in-addr.arpa.", dns.TypePTR, "outside"},
		{".", dns.TypeNS, "outside"},
	} {
		rrs, rcode, ours := zone().answer(dns.Question{Name: c.name, Qtype: c.typ, Qclass: dns.ClassINET})
		got := dns.RcodeToString[rcode]
		if !ours {
			got = "outside"
		}
		if len(rrs) > 0 {
			var all []string
			for _, rr := range rrs {
				all = append(all, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			got = strings.Join(all, " ")
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, dns.TypeToString[c.typ], got, c.want)
		}
	}
}

func guest(servers ...string) standin.Guest {
	id := model.SubnetID{UUID: model.UUID{3}}
	g := standin.Guest{
		Addr:    addr("10.0.0.5"),
		Port:    &model.PortView{ID: model.PortID{UUID: model.UUID{1}}, FixedIPs: []model.FixedIP{{SubnetID: id, Addr: addr("10.0.0.5")}}},
		Network: &model.NetworkView{Subnets: []model.SubnetView{{ID: id, CIDR: netip.MustParsePrefix("10.0.0.0/24")}, {ID: model.SubnetID{UUID: model.UUID{4}}, DNS: []netip.Addr{addr("192.0.2.99")}}}},
	}
	for _, s := range servers {
		g.Network.Subnets[0].DNS = append(g.Network.Subnets[0].DNS, addr(s))
	}
	return g
}

func TestServers_nothingOfTheHostIsAskedForATenant(t *testing.T) {
	host := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53")}
	s := New(Config{Resolvers: func() []netip.AddrPort { return host }, Forbidden: []netip.Addr{addr("10.0.1.31")}, Log: quiet})
	for _, c := range []struct{ named, want string }{
		{"", "[127.0.0.53:53]"}, // the operator's own choice
		{"192.0.2.53", "[192.0.2.53:53]"},
		{"192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4", "[192.0.2.1:53 192.0.2.2:53 192.0.2.3:53]"},
		{"127.0.0.1", "[]"}, {"::1", "[]"}, {"169.254.169.254", "[]"}, {"fe80::1", "[]"}, {"224.0.0.1", "[]"}, {"0.0.0.0", "[]"}, {"255.255.255.255", "[]"},
		{"10.0.1.31", "[]"}, {"10.0.0.53", "[]"}, {"100.64.0.64", "[]"}, {"fd57:e700::a9fe:a9fe", "[]"}, {"::ffff:127.0.0.1", "[]"},
		{"127.0.0.1 192.0.2.53", "[192.0.2.53:53]"},
	} {
		if got := fmt.Sprint(s.serversFor(guest(strings.Fields(c.named)...))); got != c.want {
			t.Errorf("%q: %s, want %s", c.named, got, c.want)
		}
	}
}

// outside is a server of the world: it has one long and one short name, and remembers what it was asked.
type outside struct {
	asked atomic.Pointer[dns.Msg]
	net   atomic.Pointer[string]
	addr  netip.AddrPort
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	o.addr = netip.MustParseAddrPort(pc.LocalAddr().String())
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: o.handler("udp")}, {Listener: l, Handler: o.handler("tcp")}} {
		done := make(chan struct{})
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() { srv.ActivateAndServe(); close(done) }()
		<-started
		t.Cleanup(func() { srv.Shutdown(); <-done })
	}
	return o
}

func (o *outside) handler(network string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, m *dns.Msg) {
		o.asked.Store(m.Copy())
		o.net.Store(&network)
		r := new(dns.Msg)
		r.SetReply(m)
		n := 1
		switch m.Question[0].Name {
		case "long.example.org.":
			n = 200
		case "none.example.org.":
			n, r.Rcode = 0, dns.RcodeNameError
		case "other.example.org.":
			r.Question[0].Name = "forged.example.org."
		}
		for i := range n {
			rr, _ := dns.NewRR(fmt.Sprintf("%s 60 IN TXT \"number %03d\"", m.Question[0].Name, i))
			r.Answer = append(r.Answer, rr)
		}
		if network == "udp" {
			r.Truncate(512)
		}
		w.WriteMsg(r)
	}
}

// serve has a server answer one guest on real sockets.
func serve(t *testing.T, c Config) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Log = quiet
	s := New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, []net.Listener{l}, []net.PacketConn{pc}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return pc.LocalAddr().String()
}

func exchangeWith(t *testing.T, network, server string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, UDPSize: 4096}
	a, _, err := c.Exchange(m, server)
	if err != nil {
		t.Fatalf("%s: %v", m.Question[0].Name, err)
	}
	return a
}

func question(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	return m
}

func TestServer_forwardsWhatIsOutside(t *testing.T) {
	out := newOutside(t)
	server := serve(t, Config{
		Guest: func(netip.Addr) (standin.Guest, bool) { return guest(), true }, Zone: func(standin.Guest) *Zone { return zone() },
		Resolvers: func() []netip.AddrPort { return []netip.AddrPort{out.addr} },
	})

	if a := exchangeWith(t, "udp", server, question("web1.openstacklocal.", dns.TypeA)); len(a.Answer) != 1 || !a.Authoritative || out.asked.Load() != nil {
		t.Errorf("an own name: %v, outside was asked %v", a, out.asked.Load())
	}
	m := question("short.example.org.", dns.TypeTXT)
	m.SetEdns0(4096, true)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"},
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: net.IP{10, 0, 0, 5}})
	a := exchangeWith(t, "udp", server, m)
	asked := out.asked.Load()
	if len(a.Answer) != 1 || a.Authoritative || a.IsEdns0() == nil || !a.IsEdns0().Do() {
		t.Errorf("a name outside: %v", a)
	}
	if opt := asked.IsEdns0(); asked.Id == m.Id || opt == nil || !opt.Do() || len(opt.Option) != 0 {
		t.Errorf("what went out: %v", asked)
	}
	if a := exchangeWith(t, "udp", server, question("none.example.org.", dns.TypeTXT)); a.Rcode != dns.RcodeNameError || a.IsEdns0() != nil {
		t.Errorf("no such name: %v", a)
	}
	if a := exchangeWith(t, "udp", server, question("other.example.org.", dns.TypeTXT)); a.Rcode != dns.RcodeServerFailure || len(a.Answer) != 0 {
		t.Errorf("an answer to another question: %v", a)
	}

	long := question("long.example.org.", dns.TypeTXT)
	cut := exchangeWith(t, "udp", server, long)
	cut.Compress = true // as it came
	if !cut.Truncated || cut.Len() > 512 {
		t.Errorf("a long answer by UDP has %d bytes, cut %v", cut.Len(), cut.Truncated)
	}
	if a := exchangeWith(t, "tcp", server, long); a.Truncated || len(a.Answer) != 200 || *out.net.Load() != "tcp" {
		t.Errorf("a long answer by TCP has %d records, cut %v", len(a.Answer), a.Truncated)
	}

	for name, m := range map[string]*dns.Msg{
		"ANY":          question("www.example.org.", dns.TypeANY),
		"AXFR":         question("openstacklocal.", dns.TypeAXFR),
		"class CHAOS":  {MsgHdr: dns.MsgHdr{Id: 1, RecursionDesired: true}, Question: []dns.Question{{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}}},
		"no recursion": {MsgHdr: dns.MsgHdr{Id: 1}, Question: []dns.Question{{Name: "www.example.org.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}},
	} {
		if a := exchangeWith(t, "tcp", server, m); a.Rcode != dns.RcodeRefused || len(a.Answer) != 0 {
			t.Errorf("%s: %v", name, a)
		}
	}
	notify := question("www.example.org.", dns.TypeSOA)
	notify.Opcode = dns.OpcodeNotify
	if a := exchangeWith(t, "udp", server, notify); a.Rcode != dns.RcodeNotImplemented {
		t.Errorf("another opcode: %v", a)
	}
}

func TestServer_answersOnlyGuestsAndNeverMoreThanTheirShare(t *testing.T) {
	var known atomic.Bool
	c := Config{
		Guest: func(netip.Addr) (standin.Guest, bool) { return guest(), known.Load() }, Zone: func(standin.Guest) *Zone { return zone() },
		Resolvers: func() []netip.AddrPort { return nil }, Questions: fair.Limits{PerSecond: 0.001, Burst: 2, AtOnce: 9, All: 9},
	}
	s := New(c)
	h := s.handler(t.Context(), false)
	ask := func() *answers { w := &answers{}; h.ServeDNS(w, question("web1.openstacklocal.", dns.TypeA)); return w }
	if w := ask(); w.n != 0 {
		t.Error("a stranger is answered")
	}
	known.Store(true)
	got := 0
	for range 10 {
		got += ask().n
	}
	if got != 2 {
		t.Errorf("%d of 10 questions answered, want 2", got)
	}
}

// answers counts what a handler writes.
type answers struct {
	dns.ResponseWriter
	n int
}

func (a *answers) RemoteAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort("100.64.0.64:1234"))
}

func (a *answers) WriteMsg(*dns.Msg) error { a.n++; return nil }

func TestHostResolvers_leavesOutTheServicesThemselves(t *testing.T) {
	file := t.TempDir() + "/resolv.conf"
	write(t, file, "search example.org\nnameserver 192.0.2.1\nnameserver 169.254.169.254\nnameserver 2001:db8::53\nnameserver bogus\n")
	if got := fmt.Sprint(HostResolvers(file)()); got != "[192.0.2.1:53 [2001:db8::53]:53]" {
		t.Errorf("servers %s", got)
	}
	if got := HostResolvers(file + ".none")(); len(got) != 0 {
		t.Errorf("servers %s of no file", got)
	}
}

// FuzzMessage: whatever a guest sends by UDP, what comes back is an answer to it that fits, or nothing.
func FuzzMessage(f *testing.F) {
	for _, m := range []*dns.Msg{question("web1.openstacklocal.", dns.TypeA), question("5.0.0.10.in-addr.arpa.", dns.TypePTR), question("x.example.", dns.TypeANY)} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := New(Config{Zone: func(standin.Guest) *Zone { return zone() }, Resolvers: func() []netip.AddrPort { return nil }, Log: quiet})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil || len(m.Question) != 1 {
			return
		}
		a := s.answer(t.Context(), guest("127.0.0.1"), m, false)
		fit(a, m, false)
		out, err := a.Pack()
		if err != nil {
			return // a name that cannot be written is none that can be asked for
		}
		if len(out) > maxUDP || a.Id != m.Id || !a.Response || !slices.Equal(a.Question, m.Question) {
			t.Errorf("%v is answered by %v, %d bytes", m, a, len(out))
		}
	})
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
