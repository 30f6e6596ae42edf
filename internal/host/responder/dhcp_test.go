package responder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"weft/internal/model"
)

var (
	testPort   = model.PortID{UUID: model.UUID{0x37, 0xb2}}
	testSubnet = model.SubnetID{UUID: model.UUID{0x5b}}
	guestMAC   = model.MAC{0xfa, 0x16, 0x3e, 0, 0, 11}
	serverMAC  = model.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func views() (*model.PortView, *model.NetworkView) {
	p := &model.PortView{
		ID: testPort, MAC: guestMAC, AdminStateUp: true, PortSecurity: true,
		FixedIPs: []model.FixedIP{{SubnetID: testSubnet, Addr: addr("10.0.0.11")}},
	}
	n := &model.NetworkView{
		MTU: 1458, DHCPMAC: serverMAC, DHCPAddrs: []netip.Addr{addr("2001:db8::2"), addr("10.0.0.2")},
		Subnets: []model.SubnetView{{
			ID: testSubnet, CIDR: netip.MustParsePrefix("10.0.0.0/24"), Gateway: addr("10.0.0.1"), EnableDHCP: true,
			DNS:    []netip.Addr{addr("8.8.4.4"), addr("2001:4860::8888"), addr("8.8.8.8")},
			Routes: []model.Route{{Destination: netip.MustParsePrefix("10.9.0.0/16"), NextHop: addr("10.0.0.9")}},
		}, {CIDR: netip.MustParsePrefix("10.5.0.0/20")}},
	}
	return p, n
}

func newDHCP(t testing.TB, change ...func(*model.PortView, *model.NetworkView)) *Guests {
	t.Helper()
	d := NewGuests(Settings{})
	p, n := views()
	for _, c := range change {
		c(p, n)
	}
	if err := d.Set(p, n, nil); err != nil {
		t.Fatalf("setting the port: %v", err)
	}
	return d
}

// sent wraps a DHCP message of a client into a frame.
func sent(m *dhcpv4.DHCPv4, src model.MAC) []byte {
	payload := m.ToBytes()
	frame := make([]byte, headers, headers+len(payload))
	frame = append(frame, payload...)
	ip := frame[ethernetHeader:]
	copy(frame, broadcastMAC[:])
	copy(frame[6:], src[:])
	binary.BigEndian.PutUint16(frame[12:], etherTypeIPv4)
	ip[0], ip[8], ip[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[16:], []byte{255, 255, 255, 255})
	binary.BigEndian.PutUint16(ip[20:], clientPort)
	binary.BigEndian.PutUint16(ip[22:], serverPort)
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-ipv4Header))
	return frame
}

func client(t testing.TB, typ dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(guestMAC[:]), dhcpv4.WithMessageType(typ), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4}),
	}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func option50(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}
func option54(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
}
func asks(codes ...uint8) dhcpv4.Modifier {
	return func(m *dhcpv4.DHCPv4) { m.Options[55] = codes }
}

// received is an answer as another implementation reads it.
type received struct {
	*dhcpv4.DHCPv4
	dstMAC, srcMAC model.MAC
	dst, src       netip.Addr
	order          []byte
	size           int
}

// decode checks the headers and reads the message.
func decode(t testing.TB, frame []byte) received {
	t.Helper()
	if len(frame) < headers+minMessage {
		t.Fatalf("answer of %d bytes", len(frame))
	}
	ip := frame[ethernetHeader:]
	if fold(sum(0, ip[:ipv4Header])) != 0xffff {
		t.Error("IP checksum is wrong")
	}
	if s := sum(sum(protoUDP+uint32(len(ip)-ipv4Header), ip[12:20]), ip[ipv4Header:]); fold(s) != 0xffff {
		t.Error("UDP checksum is wrong")
	}
	m, err := dhcpv4.FromBytes(frame[headers:])
	if err != nil {
		t.Fatalf("answer does not parse: %v", err)
	}
	r := received{DHCPv4: m, size: len(frame), src: netip.AddrFrom4([4]byte(ip[12:])), dst: netip.AddrFrom4([4]byte(ip[16:]))}
	copy(r.dstMAC[:], frame)
	copy(r.srcMAC[:], frame[6:])
	for o := frame[headers+offOptions:]; o[0] != optEnd; o = o[2+o[1]:] {
		r.order = append(r.order, o[0])
	}
	return r
}

func answered(t testing.TB, d *Guests, m *dhcpv4.DHCPv4) received {
	t.Helper()
	frame, err := single(d.Answer(testPort, sent(m, guestMAC)))
	if err != nil || frame == nil {
		t.Fatalf("answer %x, %v", frame, err)
	}
	return decode(t, frame)
}

func TestDiscoverIsOfferedAllOfTheSubnet(t *testing.T) {
	r := answered(t, newDHCP(t), client(t, dhcpv4.MessageTypeDiscover,
		asks(121, 3, 6, 1, 28, 15, 12, 26, 42, 249)))
	for what, got := range map[string][2]string{
		"type":       {r.MessageType().String(), "OFFER"},
		"address":    {r.YourIPAddr.String(), "10.0.0.11"},
		"server":     {r.ServerIdentifier().String(), "10.0.0.2"},
		"next":       {r.ServerIPAddr.String(), "10.0.0.2"},
		"mask":       {net.IP(r.SubnetMask()).String(), "255.255.255.0"},
		"router":     {r.Router()[0].String(), "10.0.0.1"},
		"DNS":        {strings.Join([]string{r.DNS()[0].String(), r.DNS()[1].String()}, " "), "8.8.4.4 8.8.8.8"},
		"broadcast":  {r.BroadcastAddress().String(), "10.0.0.255"},
		"host name":  {r.HostName(), "host-10-0-0-11"},
		"domain":     {r.DomainName(), "openstacklocal"},
		"lease":      {r.IPAddressLeaseTime(0).String(), "24h0m0s"},
		"T1":         {r.IPAddressRenewalTime(0).String(), "12h0m0s"},
		"T2":         {r.IPAddressRebindingTime(0).String(), "21h0m0s"},
		"MAC":        {r.ClientHWAddr.String(), guestMAC.String()},
		"to":         {r.dst.String() + " " + r.dstMAC.String(), "10.0.0.11 " + guestMAC.String()},
		"from":       {r.src.String() + " " + r.srcMAC.String(), "10.0.0.2 " + serverMAC.String()},
		"xid":        {r.TransactionID.String(), "0x01020304"},
		"client set": {r.ClientIPAddr.String(), "0.0.0.0"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %s, want %s", what, got[0], got[1])
		}
	}
	if mtu := r.Options.Get(dhcpv4.OptionInterfaceMTU); !bytes.Equal(mtu, []byte{5, 178}) {
		t.Errorf("MTU %v", mtu)
	}
	want := []string{"10.9.0.0/16 10.0.0.9", "169.254.169.254/32 10.0.0.2", "10.5.0.0/20 0.0.0.0", "0.0.0.0/0 10.0.0.1"}
	var routes []string
	for _, route := range r.ClasslessStaticRoute() {
		routes = append(routes, route.Dest.String()+" "+route.Router.String())
	}
	if !slices.Equal(routes, want) {
		t.Errorf("routes %q, want %q", routes, want)
	}
	if !bytes.Equal(r.Options.Get(dhcpv4.GenericOptionCode(249)), r.Options.Get(dhcpv4.OptionClasslessStaticRoute)) {
		t.Error("options 121 and 249 differ")
	}
	if order := []byte{53, 54, 51, 58, 59, 1, 121, 3, 6, 28, 15, 12, 26, 249}; !bytes.Equal(r.order, order) {
		t.Errorf("options in order %d, want %d", r.order, order)
	}
}

// TestRequestStates goes through RFC 2131, table 4.
func TestRequestStates(t *testing.T) {
	renew := func(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a).To4()) }
	for _, c := range []struct {
		rule string
		typ  dhcpv4.MessageType
		mods []dhcpv4.Modifier
		want string // type, destination address and MAC; empty: no answer
	}{
		{"selecting", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{option54("10.0.0.2"), option50("10.0.0.11")}, "ACK 10.0.0.11 " + guestMAC.String()},
		{"selecting, broadcast flag", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{option54("10.0.0.2"), option50("10.0.0.11"), dhcpv4.WithBroadcast(true)}, "ACK 255.255.255.255 ff:ff:ff:ff:ff:ff"},
		{"selecting a wrong address", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{option54("10.0.0.2"), option50("10.0.0.12")}, "NAK 255.255.255.255 ff:ff:ff:ff:ff:ff"},
		{"selecting no address", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{option54("10.0.0.2")}, ""},
		{"selecting another server", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{option54("10.0.0.3"), option50("10.0.0.11")}, ""},
		{"init-reboot", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{option50("10.0.0.11")}, "ACK 10.0.0.11 " + guestMAC.String()},
		{"init-reboot on another network", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{option50("192.168.1.5")}, "NAK 255.255.255.255 ff:ff:ff:ff:ff:ff"},
		{"renewing or rebinding", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{renew("10.0.0.11")}, "ACK 10.0.0.11 " + guestMAC.String()},
		{"renewing an address that is gone", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{renew("10.0.0.12")}, "NAK 255.255.255.255 ff:ff:ff:ff:ff:ff"},
		{"request for nothing", dhcpv4.MessageTypeRequest, nil, ""},
		{"discover for another address", dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{option50("10.0.0.99")}, "OFFER 10.0.0.11 " + guestMAC.String()},
		{"inform", dhcpv4.MessageTypeInform, []dhcpv4.Modifier{renew("10.0.0.77")}, "ACK 10.0.0.77 " + guestMAC.String()},
		{"decline", dhcpv4.MessageTypeDecline, []dhcpv4.Modifier{option50("10.0.0.11")}, ""},
		{"release", dhcpv4.MessageTypeRelease, []dhcpv4.Modifier{renew("10.0.0.11")}, ""},
		{"a server's message", dhcpv4.MessageTypeOffer, nil, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			frame, err := single(newDHCP(t).Answer(testPort, sent(client(t, c.typ, c.mods...), guestMAC)))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if frame != nil {
				r := decode(t, frame)
				got = r.MessageType().String() + " " + r.dst.String() + " " + r.dstMAC.String()
				if c.typ == dhcpv4.MessageTypeInform && (!r.YourIPAddr.IsUnspecified() || r.IPAddressLeaseTime(0) != 0) {
					t.Error("an inform is given a lease")
				}
				if r.MessageType() == dhcpv4.MessageTypeNak && (!r.YourIPAddr.IsUnspecified() || len(r.order) != 2) {
					t.Error("a refusal gives something")
				}
			}
			if got != c.want {
				t.Errorf("answer %q, want %q", got, c.want)
			}
		})
	}
}

func TestOnlyThePortsOwnMACIsAnswered(t *testing.T) {
	d := newDHCP(t)
	other := model.MAC{0xfa, 0x16, 0x3e, 9, 9, 9}
	if _, err := single(d.Answer(testPort, sent(client(t, dhcpv4.MessageTypeDiscover), other))); !errors.Is(err, ErrForeign) {
		t.Errorf("foreign source: %v", err)
	}
	if _, err := single(d.Answer(testPort, sent(client(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(other[:])), guestMAC))); !errors.Is(err, ErrForeign) {
		t.Errorf("foreign chaddr: %v", err)
	}
	if _, err := single(d.Answer(model.PortID{}, sent(client(t, dhcpv4.MessageTypeDiscover), guestMAC))); !errors.Is(err, ErrUnknownPort) {
		t.Errorf("unknown port: %v", err)
	}
	d.Delete(testPort)
	if _, err := single(d.Answer(testPort, sent(client(t, dhcpv4.MessageTypeDiscover), guestMAC))); !errors.Is(err, ErrUnknownPort) {
		t.Errorf("deleted port: %v", err)
	}
}

func TestNotARequestIsRefused(t *testing.T) {
	d := newDHCP(t)
	good := sent(client(t, dhcpv4.MessageTypeDiscover), guestMAC)
	for name, spoil := range map[string]func([]byte){
		"VLAN tag":        func(f []byte) { f[12], f[13] = 0x81, 0 },
		"fragment":        func(f []byte) { f[ethernetHeader+6] = 0x20 },
		"not UDP":         func(f []byte) { f[ethernetHeader+9] = 6 },
		"IP too long":     func(f []byte) { f[ethernetHeader+2] = 0xff },
		"UDP too long":    func(f []byte) { f[ethernetHeader+24] = 0xff },
		"from a server":   func(f []byte) { f[ethernetHeader+21] = 67 },
		"a reply":         func(f []byte) { f[headers] = opReply },
		"token ring":      func(f []byte) { f[headers+1] = 6 },
		"relayed":         func(f []byte) { f[headers+offRelay] = 10 },
		"no magic cookie": func(f []byte) { f[headers+offCookie] = 0 },
		"option past end": func(f []byte) { f[headers+offOptions+1] = 255 },
		"no message type": func(f []byte) { f[headers+offOptions] = optEnd },
	} {
		f := slices.Clone(good)
		spoil(f)
		if frame, err := single(d.Answer(testPort, f)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: answer %x, %v", name, frame, err)
		}
	}
	for n := range headers + offOptions {
		if _, err := single(d.Answer(testPort, good[:n])); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestExtraOptions(t *testing.T) {
	given := func(name, value string) func(*model.PortView, *model.NetworkView) {
		return func(p *model.PortView, _ *model.NetworkView) {
			p.DHCPOptions = append(p.DHCPOptions, model.DHCPOption{Name: name, Value: value, IPVersion: 4})
		}
	}
	for _, c := range []struct {
		name, value string
		code        uint8
		want        []byte
	}{
		{"ntp-server", "10.0.0.5, 10.0.0.6", 42, []byte{10, 0, 0, 5, 10, 0, 0, 6}},
		{"42", "10.0.0.5", 42, []byte{10, 0, 0, 5}},
		{"bootfile-name", "pxelinux.0", 67, []byte("pxelinux.0")},
		{"66", "tftp.example", 66, []byte("tftp.example")},
		{"mtu", "1400", 26, []byte{5, 120}},
		{"router", "10.0.0.254", 3, []byte{10, 0, 0, 254}},
		{"domain-search", "a.example,b", 119, []byte("\x01a\x07example\x00\x01b\x00")},
		{"sip-server", "10.0.0.5", 120, []byte{1, 10, 0, 0, 5}},
		{"sip-server", "sip.example", 120, []byte("\x00\x03sip\x07example\x00")},
		{"classless-static-route", "10.1.0.0/16,10.0.0.7", 121, []byte{16, 10, 1, 10, 0, 0, 7}},
		{"time-offset", "-3600", 2, []byte{0xff, 0xff, 0xf1, 0xf0}},
		{"150", "10.0.0.5", 150, []byte{10, 0, 0, 5}},
		{"200", "de:ad:be:ef", 200, []byte{0xde, 0xad, 0xbe, 0xef}},
		{"200", "300", 200, []byte{1, 44}},
		{"200", "10.0.0.5", 200, []byte{10, 0, 0, 5}},
		{"210", "/tftpboot/", 210, []byte("/tftpboot/")},
		{"option:nis-domain", "x", 40, []byte("x")},
	} {
		r := answered(t, newDHCP(t, given(c.name, c.value)), client(t, dhcpv4.MessageTypeDiscover, asks(c.code)))
		if got := r.Options.Get(dhcpv4.GenericOptionCode(c.code)); !bytes.Equal(got, c.want) {
			t.Errorf("%s=%s: option %d is %x, want %x", c.name, c.value, c.code, got, c.want)
		}
	}

	r := answered(t, newDHCP(t, given("tag:ipxe,67", "http://boot"), given("tag:!ipxe,67", "undionly.kpxe"),
		given("tftp-server", "10.0.0.5"), given("server-ip-address", "10.0.0.5")), client(t, dhcpv4.MessageTypeDiscover, asks(1)))
	if r.BootFileName != "undionly.kpxe" || r.ServerHostName != "10.0.0.5" || r.ServerIPAddr.String() != "10.0.0.5" {
		t.Errorf("a boot ROM is told file %q, server %q %s", r.BootFileName, r.ServerHostName, r.ServerIPAddr)
	}
	r = answered(t, newDHCP(t, given("tag:ipxe,67", "http://boot"), given("tag:!ipxe,67", "undionly.kpxe")),
		client(t, dhcpv4.MessageTypeDiscover, asks(67), dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(175), []byte{1})))
	if got := r.BootFileNameOption(); got != "http://boot" {
		t.Errorf("iPXE is told file %q", got)
	}
}

func TestBadExtraOptionDisablesOnlyItself(t *testing.T) {
	for name, value := range map[string]string{
		"no-such-option": "1", "0": "1", "256": "1", "server-identifier": "10.0.0.1", "54": "10.0.0.1", "82": "x",
		"mtu": "70000", "router": "fe80::1", "bootfile-name": "a\ndhcp-option=3,6.6.6.6", "root-path": strings.Repeat("x", 256),
		"domain-search": "a..b", "classless-static-route": "10.0.0.0/8",
	} {
		d := NewGuests(Settings{})
		p, n := views()
		p.DHCPOptions = []model.DHCPOption{{Name: name, Value: value}, {Name: "ntp-server", Value: "10.0.0.5"}, {Name: "ntp-server", Value: "2001:db8::1", IPVersion: 6}}
		if err := d.Set(p, n, nil); err == nil {
			t.Errorf("%s=%q: no error", name, value)
		}
		if r := answered(t, d, client(t, dhcpv4.MessageTypeDiscover)); len(r.NTPServers()) != 1 || r.Router()[0].String() != "10.0.0.1" {
			t.Errorf("%s=%q: other options suffer: %s", name, value, r.Summary())
		}
	}
}

func TestSettingsAndSubnetsWithout(t *testing.T) {
	d := NewGuests(Settings{Domain: "example.org", Lease: Forever})
	p, n := views()
	p.DNSName = "web"
	n.Subnets[0].Gateway, n.Subnets[0].DNS = netip.Addr{}, nil
	if err := d.Set(p, n, nil); err != nil {
		t.Fatal(err)
	}
	r := answered(t, d, client(t, dhcpv4.MessageTypeDiscover))
	if r.DomainName() != "example.org" || r.HostName() != "web" {
		t.Errorf("name %s.%s", r.HostName(), r.DomainName())
	}
	for _, code := range []byte{optRenewal, optRebinding, optRouter} {
		if bytes.IndexByte(r.order, code) >= 0 {
			t.Errorf("option %d is there", code)
		}
	}
	if dns := r.DNS(); len(dns) != 1 || !dns[0].Equal(r.ServerIdentifier()) {
		t.Errorf("where the subnet names no DNS server, guests are told %v instead of the DHCP port", dns)
	}
	if lease := r.Options.Get(dhcpv4.OptionIPAddressLeaseTime); !bytes.Equal(lease, []byte{255, 255, 255, 255}) {
		t.Errorf("lease %x", lease)
	}
	for _, route := range r.ClasslessStaticRoute() {
		if route.Dest.String() == "0.0.0.0/0" {
			t.Error("a subnet without gateway has a default route")
		}
	}

	n.Subnets[0].EnableDHCP = false
	if err := d.Set(p, n, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := single(d.Answer(testPort, sent(client(t, dhcpv4.MessageTypeDiscover), guestMAC))); !errors.Is(err, ErrUnknownPort) {
		t.Errorf("a subnet without DHCP: %v", err)
	}
}

func TestAnswerFitsTheClient(t *testing.T) {
	long := func(p *model.PortView, n *model.NetworkView) {
		n.Subnets[0].Routes = nil
		for i := range 60 { // 420 bytes of option 121
			n.Subnets[0].Routes = append(n.Subnets[0].Routes, model.Route{
				Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24), NextHop: addr("10.0.0.9")})
		}
	}
	small := answered(t, newDHCP(t, long), client(t, dhcpv4.MessageTypeDiscover, asks(121, 3)))
	if small.size > ethernetHeader+576 || len(small.Router()) != 1 || small.Options.Has(dhcpv4.OptionClasslessStaticRoute) {
		t.Errorf("%d bytes with options %d for a client that takes 576", small.size, small.order)
	}
	large := answered(t, newDHCP(t, long), client(t, dhcpv4.MessageTypeDiscover, asks(121, 3), dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(65535))))
	if large.size > ethernetHeader+1458 || len(large.ClasslessStaticRoute()) != 63 {
		t.Errorf("%d bytes with %d routes for a client that takes all", large.size, len(large.ClasslessStaticRoute()))
	}
}

func TestClientIDComesBack(t *testing.T) {
	id := []byte{1, 2, 3, 4, 5}
	for _, typ := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest} {
		m := client(t, typ, option50("10.0.0.12"), dhcpv4.WithOption(dhcpv4.OptClientIdentifier(id)),
			dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 1, 1}))
		r := answered(t, newDHCP(t), m)
		if !bytes.Equal(r.Options.Get(dhcpv4.OptionClientIdentifier), id) {
			t.Errorf("%s: no client identifier (RFC 6842)", r.MessageType())
		}
		if r.Options.Has(dhcpv4.OptionRelayAgentInformation) {
			t.Errorf("%s: option 82 comes back", r.MessageType())
		}
	}
}

func TestPortWithTwoAddresses(t *testing.T) {
	d := newDHCP(t, func(p *model.PortView, _ *model.NetworkView) {
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: testSubnet, Addr: addr("10.0.0.12")})
	})
	if r := answered(t, d, client(t, dhcpv4.MessageTypeDiscover)); r.YourIPAddr.String() != "10.0.0.11" {
		t.Errorf("offered %s", r.YourIPAddr)
	}
	if r := answered(t, d, client(t, dhcpv4.MessageTypeRequest, option50("10.0.0.12"))); r.YourIPAddr.String() != "10.0.0.12" || r.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("%s of %s", r.MessageType(), r.YourIPAddr)
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := NewLimiter(2, 3)
	count := func() (n int) {
		for l.Allow(now) {
			n++
		}
		return n
	}
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{0, 3}, {0, 0}, {500 * time.Millisecond, 1}, {-time.Hour, 0}, {400 * time.Millisecond, 0}, {100 * time.Millisecond, 1}, {time.Hour, 3}} {
		now = now.Add(step.pass)
		if got := count(); got != step.want {
			t.Errorf("after %s: %d allowed, want %d", step.pass, got, step.want)
		}
	}
	var zero Limiter
	if zero.Allow(now) {
		t.Error("the zero Limiter allows")
	}
}

func FuzzAnswer(f *testing.F) {
	d := newDHCP(f)
	for _, typ := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform} {
		f.Add(sent(client(f, typ, option50("10.0.0.11"), asks(121, 3, 6)), guestMAC))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		given := slices.Clone(frame)
		answer, err := single(d.Answer(testPort, frame))
		if !bytes.Equal(given, frame) {
			t.Fatal("the request was written to")
		}
		if answer != nil {
			if err != nil {
				t.Fatalf("an answer and an error: %v", err)
			}
			if r := decode(t, answer); r.srcMAC != serverMAC || !r.YourIPAddr.IsUnspecified() && r.YourIPAddr.String() != "10.0.0.11" {
				t.Fatalf("answer %s", r.Summary())
			}
		}
	})
}

func FuzzExtraOption(f *testing.F) {
	f.Add("tag:ipxe,67", "a,b")
	f.Add("domain-search", "a.b,c")
	f.Add("121", "10.0.0.0/8,10.0.0.1")
	f.Fuzz(func(t *testing.T, name, value string) {
		if e, err := parseExtra(name, value); err == nil && (len(e.value) > 255 || e.next && len(e.value) != 4) {
			t.Fatalf("%q=%q becomes %x", name, value, e.value)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	d := newDHCP(b)
	frame := sent(client(b, dhcpv4.MessageTypeDiscover, asks(1, 3, 6, 12, 15, 26, 28, 42, 119, 121)), guestMAC)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := single(d.Answer(testPort, frame)); err != nil {
			b.Fatal(err)
		}
	}
}

// single is for questions that one frame answers.
func single(answers [][]byte, err error) ([]byte, error) {
	if len(answers) > 1 {
		return nil, errors.New("more than one answer")
	}
	if len(answers) == 0 {
		return nil, err
	}
	return answers[0], err
}
