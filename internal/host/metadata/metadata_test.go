package metadata

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/host/fair"
	"weft/internal/host/standin"
	"weft/internal/model"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// guest is a port with everything that is told.
func guest() standin.Guest {
	subnet := model.SubnetID{UUID: model.UUID{3}}
	return standin.Guest{
		Addr: netip.MustParseAddr("10.0.0.5"),
		Port: &model.PortView{
			ID: model.PortID{UUID: model.UUID{0x05, 0x1a}}, MAC: model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3}, ProjectID: "demo", DeviceID: "5d9fa2f0-0000-4000-8000-000000000001",
			FixedIPs: []model.FixedIP{{SubnetID: subnet, Addr: netip.MustParseAddr("10.0.0.5")}},
			Instance: model.Instance{Hostname: "web1", SSHKeys: []string{"ssh-ed25519 AAAA one", "ssh-rsa BBBB two"}, UserData: []byte("#!/bin/sh\n\x00\xff")},
		},
		Network: &model.NetworkView{ID: model.NetworkID{UUID: model.UUID{9}}, MTU: 1458, Subnets: []model.SubnetView{{
			ID: subnet, CIDR: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1"), EnableDHCP: true, DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		}}},
	}
}

func config(g standin.Guest) Config {
	return Config{
		Guest:    func(netip.Addr) (standin.Guest, bool) { return g, g.Port != nil },
		Siblings: func(g standin.Guest) []standin.Guest { return []standin.Guest{g} },
		Domain:   func() string { return "openstacklocal." }, Log: quiet,
	}
}

// ask has a server answer one request, without a network.
func ask(s *Server, method, path string, header http.Header) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = "100.64.0.64:1234"
	if header != nil {
		r.Header = header
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func TestBuiltin_answersBothFormats(t *testing.T) {
	s := New(config(guest()))
	for path, want := range map[string]string{
		"/":                                   "1.0\n2007-01-19\n2007-03-01\n2007-08-29\n2007-10-10\n2007-12-15\n2008-02-01\n2008-09-01\n2009-04-04\nlatest\nopenstack",
		"/openstack":                          "2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\n2016-06-30\n2016-10-06\n2017-02-22\n2018-08-27\n2020-10-14\nlatest",
		"/openstack/latest/":                  "meta_data.json\nnetwork_data.json\nvendor_data.json\nvendor_data2.json\nuser_data",
		"/openstack/latest/user_data":         "#!/bin/sh\n\x00\xff",
		"/openstack/latest/vendor_data.json":  "{}",
		"/openstack/latest/vendor_data2.json": `{"static":{}}`,
		"/openstack/2012-08-10/meta_data.json": `{"uuid":"5d9fa2f0-0000-4000-8000-000000000001","name":"web1","hostname":"web1.openstacklocal","project_id":"demo",` +
			`"availability_zone":"nova","launch_index":0,"meta":{},"devices":[],"public_keys":{"default":"ssh-ed25519 AAAA one\n","key1":"ssh-rsa BBBB two\n"},` +
			`"keys":[{"name":"default","type":"ssh","data":"ssh-ed25519 AAAA one\n"},{"name":"key1","type":"ssh","data":"ssh-rsa BBBB two\n"}]}`,
		"/openstack/latest/network_data.json": `{"links":[{"id":"tap051a0000-00","vif_id":"051a0000-0000-0000-0000-000000000000","type":"ovs","mtu":1458,"ethernet_mac_address":"fa:16:3e:01:02:03"}],` +
			`"networks":[{"id":"network0","type":"ipv4_dhcp","link":"tap051a0000-00","network_id":"09000000-0000-0000-0000-000000000000"}],"services":[{"type":"dns","address":"192.0.2.53"}]}`,
		"/latest":           "meta-data/\nuser-data",
		"/latest/user-data": "#!/bin/sh\n\x00\xff",
		"/latest/meta-data/": "ami-id\nami-launch-index\nhostname\ninstance-action\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nplacement/\npublic-hostname\npublic-ipv4\n" +
			"public-keys/\nreservation-id\nsecurity-groups",
		"/2009-04-04/meta-data/instance-id":                 "i-5d9fa2f0",
		"/latest/meta-data/local-ipv4":                      "10.0.0.5",
		"/latest/meta-data/mac":                             "fa:16:3e:01:02:03",
		"/latest/meta-data/hostname":                        "web1.openstacklocal",
		"/latest/meta-data/public-keys/":                    "0=default\n1=key1",
		"/latest/meta-data/public-keys/1/":                  "openssh-key",
		"//latest//meta-data/public-keys/1/openssh-key":     "ssh-rsa BBBB two\n",
		"/latest/meta-data/placement/availability-zone":     "nova",
		"/latest/meta-data/public-keys/1/openssh-key/":      "ssh-rsa BBBB two\n",
		"/latest/meta-data/public-keys/0/openssh-key?x=y#z": "ssh-ed25519 AAAA one\n",
	} {
		r := ask(s, "GET", path, nil)
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != 200 || string(body) != want {
			t.Errorf("%s: %d %q\nwant %q", path, r.StatusCode, body, want)
		}
		if head := ask(s, "HEAD", path, nil); head.StatusCode != 200 || head.Header.Get("Content-Length") != fmt.Sprint(len(want)) {
			t.Errorf("HEAD %s: %d, %s bytes", path, head.StatusCode, head.Header.Get("Content-Length"))
		}
	}
}

func TestBuiltin_saysNoClearly(t *testing.T) {
	bare := guest()
	bare.Port.Instance, bare.Port.DeviceID = model.Instance{}, ""
	s := New(config(bare))
	for path, want := range map[string]int{
		"/openstack/latest/user_data": 404, "/latest/user-data": 404, "/latest/meta-data/public-keys/": 404, "/openstack/1999-01-01/": 404, "/nova": 404,
		"/latest/meta-data/hostname/x": 404, "/latest/meta-data/%00": 404, "/openstack/latest/meta_data.json/x": 404, "/" + strings.Repeat("x", 2000): 404,
		"/openstack/latest/meta_data.json": 200, "/latest/meta-data/hostname": 200,
	} {
		if got := ask(s, "GET", path, nil).StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "CONNECT"} {
		if got := ask(s, method, "/latest/api/token", nil).StatusCode; got != 405 {
			t.Errorf("%s: %d", method, got)
		}
	}
	body, _ := io.ReadAll(ask(s, "GET", "/latest/meta-data/hostname", nil).Body)
	if string(body) != "host-10-0-0-5.openstacklocal" {
		t.Errorf("a guest without a name is called %q", body)
	}
	if got := ask(New(config(standin.Guest{})), "GET", "/", nil).StatusCode; got != 404 {
		t.Errorf("nobody is told %d", got)
	}
}

func TestNetworkData_tellsWhatDHCPDoesNot(t *testing.T) {
	g := guest()
	six := model.SubnetID{UUID: model.UUID{6}}
	g.Port.FixedIPs = append(g.Port.FixedIPs, model.FixedIP{SubnetID: six, Addr: netip.MustParseAddr("2001:db8::5")})
	g.Network.Subnets[0].EnableDHCP = false
	g.Network.Subnets[0].Routes = []model.Route{{Destination: netip.MustParsePrefix("10.9.0.0/16"), NextHop: netip.MustParseAddr("10.0.0.9")}}
	g.Network.Subnets = append(g.Network.Subnets, model.SubnetView{ID: six, CIDR: netip.MustParsePrefix("2001:db8::/64"), AddressMode: model.IPv6SLAAC})
	m := machine{guest: g, ports: []standin.Guest{g}}
	b, err := json.Marshal(m.networkData().Networks)
	want := `[{"id":"network0","type":"ipv4","link":"tap051a0000-00","network_id":"09000000-0000-0000-0000-000000000000","ip_address":"10.0.0.5","netmask":"255.255.255.0","gateway":"10.0.0.1",` +
		`"routes":[{"network":"0.0.0.0","netmask":"0.0.0.0","gateway":"10.0.0.1"},{"network":"10.9.0.0","netmask":"255.255.0.0","gateway":"10.0.0.9"}],"services":[{"type":"dns","address":"192.0.2.53"}]},` +
		`{"id":"network1","type":"ipv6_slaac","link":"tap051a0000-00","network_id":"09000000-0000-0000-0000-000000000000","ip_address":"2001:db8::5"}]`
	if err != nil || string(b) != want {
		t.Errorf("%s\nwant %s", b, want)
	}
}

// nova is a metadata service that checks what Nova checks.
type nova struct {
	secret string
	last   atomic.Pointer[http.Request]
	body   atomic.Pointer[[]byte]
}

func (n *nova) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	n.last.Store(r)
	n.body.Store(&body)
	for _, name := range []string{"X-Instance-ID", "X-Tenant-ID", "X-Instance-ID-Signature", "X-Forwarded-For"} {
		if len(r.Header.Values(name)) != 1 {
			http.Error(w, name, http.StatusForbidden)
			return
		}
	}
	h := hmac.New(sha256.New, []byte(n.secret))
	io.WriteString(h, r.Header.Get("X-Instance-ID"))
	if !hmac.Equal([]byte(hex.EncodeToString(h.Sum(nil))), []byte(r.Header.Get("X-Instance-ID-Signature"))) {
		http.Error(w, "bad signature", http.StatusForbidden)
		return
	}
	w.Header().Set("X-From", "nova")
	if r.URL.Path == "/broken" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%s of %s at %s asked %s", r.Header.Get("X-Instance-ID"), r.Header.Get("X-Tenant-ID"), r.Header.Get("X-Forwarded-For"), r.URL.RequestURI())
}

func proxied(t *testing.T, g standin.Guest, secret string) (*Server, *nova) {
	n := &nova{secret: "s3cret"}
	up := httptest.NewServer(n)
	t.Cleanup(up.Close)
	c := config(g)
	var err error
	if c.Upstream, err = NewUpstream(up.URL, []byte(secret)); err != nil {
		t.Fatal(err)
	}
	return New(c), n
}

func TestUpstream_isToldWhoAsksAndByNobodyElse(t *testing.T) {
	s, n := proxied(t, guest(), "s3cret")
	lies := http.Header{}
	for _, name := range []string{"X-Instance-ID", "x-instance-id", "X-Tenant-ID", "X-Instance-ID-Signature", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Via",
		"X-Real-IP", "X-Neutron-Network-ID", "X-Neutron-Router-ID", "X-Neutron-Port-ID", "X-OVN-Network-ID", "X-Metadata-Provider", "X-Metadata-Provider-Signature", "X-LB-IP",
		"Proxy-Authorization", "Authorization", "Cookie", "Connection", "Upgrade", "Te", "Trailer", "Keep-Alive"} {
		lies[name] = []string{"10.0.0.66", "victim"}
	}
	lies["Accept"] = []string{"application/json"}
	r := ask(s, "GET", "/openstack/latest/meta_data.json?x=1", lies)
	body, _ := io.ReadAll(r.Body)
	if want := "5d9fa2f0-0000-4000-8000-000000000001 of demo at 10.0.0.5 asked /openstack/latest/meta_data.json?x=1"; r.StatusCode != 200 || string(body) != want {
		t.Fatalf("%d %q, want %q", r.StatusCode, body, want)
	}
	got := n.last.Load().Header
	for name := range got {
		switch name {
		case "Accept", "Accept-Encoding", "X-Instance-Id", "X-Tenant-Id", "X-Instance-Id-Signature", "X-Forwarded-For":
		default:
			t.Errorf("%s: %q got through", name, got[name])
		}
	}
	if got.Get("Accept") != "application/json" {
		t.Error("what is harmless does not get through")
	}
	// A request in the form for proxies goes to Nova as well.
	if r := ask(s, "GET", "http://192.0.2.1/latest/", nil); r.StatusCode != 200 || n.last.Load().Host == "192.0.2.1" {
		t.Errorf("%d, host %s", r.StatusCode, n.last.Load().Host)
	}
}

func TestUpstream_failuresAreToldAsTheyAre(t *testing.T) {
	s, _ := proxied(t, guest(), "s3cret")
	if r := ask(s, "GET", "/broken", nil); r.StatusCode != 500 || r.Header.Get("X-From") != "nova" {
		t.Errorf("Nova's own failure is told as %d", r.StatusCode)
	}
	wrong, _ := proxied(t, guest(), "other")
	if r := ask(wrong, "GET", "/latest/", nil); r.StatusCode != 403 {
		t.Errorf("a wrong secret is told as %d", r.StatusCode)
	}
	none := guest()
	none.Port.DeviceID = ""
	s, _ = proxied(t, none, "s3cret")
	if r := ask(s, "GET", "/latest/", nil); r.StatusCode != 404 {
		t.Errorf("a port of no instance is told %d", r.StatusCode)
	}
	c := config(guest())
	c.Upstream, _ = NewUpstream("http://127.0.0.1:1", []byte("x"))
	if r := ask(New(c), "GET", "/latest/", nil); r.StatusCode != 502 {
		t.Errorf("no Nova is told as %d", r.StatusCode)
	}
}

func TestUpstream_takesWhatGuestsPostUpToALimit(t *testing.T) {
	s, n := proxied(t, guest(), "s3cret")
	post := func(size int) int {
		r := httptest.NewRequest("POST", "/openstack/2013-04-04/password", bytes.NewReader(make([]byte, size)))
		r.RemoteAddr = "100.64.0.64:1"
		if size > maxBody {
			r.ContentLength = -1 // found out while it is read
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	if got := post(100); got != 200 || len(*n.body.Load()) != 100 {
		t.Errorf("a short body: %d", got)
	}
	if got := post(maxBody + 1); got != 413 {
		t.Errorf("a long body: %d", got)
	}
}

func TestNewUpstream_refusesWhatCannotWork(t *testing.T) {
	for _, u := range []string{"", "nova", "ftp://nova:8775", "http://", "http://user:pw@nova", "http://nova/?x", "http://nova:8775/#x", "://"} {
		if _, err := NewUpstream(u, []byte("x")); err == nil {
			t.Errorf("%q is taken", u)
		}
	}
	if _, err := NewUpstream("http://nova:8775", nil); err == nil {
		t.Error("no secret is taken")
	}
}

// serve has a server listen; every connection is of the guest that the test says.
func serve(t *testing.T, c Config) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, []net.Listener{l}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return s, l.Addr().String()
}

func TestServer_limitsEachPort(t *testing.T) {
	c := config(guest())
	c.Requests = fair.Limits{PerSecond: 0.001, Burst: 3, AtOnce: 9, All: 9}
	s := New(c)
	var got []int
	for range 5 {
		got = append(got, ask(s, "GET", "/openstack", nil).StatusCode)
	}
	if fmt.Sprint(got) != "[200 200 200 429 429]" {
		t.Errorf("answers %v", got)
	}
}

func TestServer_aSlowGuestHoldsNoOthersPlace(t *testing.T) {
	slow, quick := guest(), guest()
	quick.Port = &model.PortView{ID: model.PortID{UUID: model.UUID{7}}}
	var who atomic.Pointer[standin.Guest]
	who.Store(&slow)
	c := config(slow)
	c.Guest = func(netip.Addr) (standin.Guest, bool) { return *who.Load(), true }
	c.Connections = fair.Limits{PerSecond: 1000, Burst: 1000, AtOnce: 2, All: 100}
	s, addr := serve(t, c)
	var held []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	// One too many is reset, while it is made or after.
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a connection too many: %v", err)
	}
	who.Store(&quick)
	resp, err := http.Get("http://" + addr + "/openstack")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("another guest: %v %v", resp, err)
	}
	resp.Body.Close()
	// The port's number now is another guest's: the old one's connections are reset.
	s.Recheck(func(model.PortID) bool { return true })
	held[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := held[0].Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a connection of a guest that has gone is %v", err)
	}
}

// FuzzRequest: whatever a guest sends as a request, it is answered from its own port's data or refused, and what would go on to
// Nova says who asks exactly once, as the host knows it.
func FuzzRequest(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	f.Add("GET /latest/meta-data/public-keys/0/openssh-key HTTP/1.0\r\n\r\n")
	f.Add("GET http://192.0.2.1/openstack/latest/../../etc HTTP/1.1\r\nHost: x\r\nx-forwarded-for: 1\r\nX-Instance-ID: 2\r\nX-Instance-ID: 3\r\n\r\n")
	f.Add("POST /openstack HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Tenant-ID\r\n\r\n0\r\nX-Tenant-ID: 4\r\n\r\n")
	s := New(config(guest()))
	up, err := NewUpstream("http://nova:8775", []byte("s3cret"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		r.RemoteAddr = "100.64.0.64:1"
		out := &httputil.ProxyRequest{In: r.WithContext(withGuest(r.Context(), guest())), Out: r.Clone(r.Context())}
		up.rewrite(out)
		for name, want := range map[string]string{"X-Instance-Id": guest().Port.DeviceID, "X-Tenant-Id": "demo", "X-Forwarded-For": "10.0.0.5", "X-Instance-Id-Signature": up.Sign(guest().Port.DeviceID)} {
			if got := out.Out.Header[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		for name := range out.Out.Header {
			if strings.HasPrefix(http.CanonicalHeaderKey(name), "X-") && http.CanonicalHeaderKey(name) != name {
				t.Errorf("%s goes on", name)
			}
		}
		if out.Out.URL.Host != "nova:8775" || out.Out.Host != "nova:8775" || out.Out.URL.Scheme != "http" || len(out.Out.Trailer) != 0 {
			t.Errorf("it goes to %s of %s", out.Out.URL, out.Out.Host)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 404 && w.Code != 405 && w.Code != 429 {
			t.Errorf("answer %d", w.Code)
		}
	})
}
