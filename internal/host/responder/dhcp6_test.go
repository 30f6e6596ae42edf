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

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"pgregory.net/rapid"

	"weft/internal/model"
)

var (
	statefulSubnet  = model.SubnetID{UUID: model.UUID{0x6f}}
	statelessSubnet = model.SubnetID{UUID: model.UUID{0x6e}}
	guestDUID       = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: guestMAC[:]}
	serverDUID      = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: serverMAC[:]}
	guestIAID       = [4]byte{1, 2, 3, 4}
)

// v6 gives the port an address on a stateful and one on a stateless subnet.
func v6(p *model.PortView, n *model.NetworkView) {
	n.Subnets = append(n.Subnets, model.SubnetView{
		ID: statefulSubnet, CIDR: netip.MustParsePrefix("2001:db8:1::/64"), Gateway: addr("2001:db8:1::1"), EnableDHCP: true,
		RAMode: model.IPv6Stateful, AddressMode: model.IPv6Stateful, DNS: []netip.Addr{addr("2001:4860::8888"), addr("8.8.8.8")},
	}, model.SubnetView{
		ID: statelessSubnet, CIDR: netip.MustParsePrefix("2001:db8:2::/64"), Gateway: addr("2001:db8:2::1"), EnableDHCP: true,
		RAMode: model.IPv6Stateless, AddressMode: model.IPv6Stateless, DNS: []netip.Addr{addr("2001:4860::8888"), addr("2001:4860::8844")},
	})
	p.FixedIPs = append(p.FixedIPs,
		model.FixedIP{SubnetID: statefulSubnet, Addr: addr("2001:db8:1::11")},
		model.FixedIP{SubnetID: statelessSubnet, Addr: addr("2001:db8:2:0:f816:3eff:fe00:b")})
}

// message makes a client's message with its identifier.
func message6Of(typ dhcpv6.MessageType, mods ...dhcpv6.Modifier) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: typ, TransactionID: dhcpv6.TransactionID{7, 8, 9}}
	m.AddOption(dhcpv6.OptClientID(guestDUID))
	for _, mod := range mods {
		mod(m)
	}
	return m
}

func toServer(d dhcpv6.DUID) dhcpv6.Modifier { return dhcpv6.WithOption(dhcpv6.OptServerID(d)) }

func iana6(id [4]byte, addrs ...string) dhcpv6.Modifier {
	o := &dhcpv6.OptIANA{IaId: id}
	for _, a := range addrs {
		o.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a)})
	}
	return func(d dhcpv6.DHCPv6) { d.AddOption(o) }
}

// sent6 wraps what a client sends to all servers into a frame.
func sent6(payload []byte, mac model.MAC, src netip.Addr) []byte {
	frame := append(make([]byte, headers6+udpHeader), payload...)
	group := endpoint{model.MAC{0x33, 0x33, 0, 1, 0, 2}, addr("ff02::1:2")}
	frame = sealFrame6(frame, endpoint{mac, src}, group, protoUDP)
	binary.BigEndian.PutUint16(frame[headers6:], clientPort6)
	binary.BigEndian.PutUint16(frame[headers6+2:], serverPort6)
	return frame
}

// decode6 checks the headers of an answer to the guest and reads the message.
func decode6(t testing.TB, frame []byte) *dhcpv6.Message {
	t.Helper()
	p, ok := parsePacket6(frame)
	if !ok || p.next != protoUDP {
		t.Fatalf("no IPv6 packet: %x", frame)
	}
	checkSum6(t, frame)
	if model.MAC(frame[:6]) != guestMAC || p.mac != serverMAC || p.src != linkLocal(serverMAC) || p.dst != linkLocal(guestMAC) {
		t.Errorf("from %s %s to %x %s", p.mac, p.src, frame[:6], p.dst)
	}
	if src, dst := binary.BigEndian.Uint16(p.payload), binary.BigEndian.Uint16(p.payload[2:]); src != serverPort6 || dst != clientPort6 {
		t.Errorf("from UDP port %d to %d", src, dst)
	}
	m, err := dhcpv6.MessageFromBytes(p.payload[udpHeader:])
	if err != nil {
		t.Fatalf("answer does not parse: %v", err)
	}
	return m
}

func checkSum6(t testing.TB, frame []byte) {
	t.Helper()
	ip, payload := frame[ethernetHeader:headers6], frame[headers6:]
	if fold(sum(sum(uint32(ip[6])+uint32(len(payload)), ip[8:]), payload)) != 0xffff {
		t.Error("checksum is wrong")
	}
}

func answered6(t testing.TB, g *Guests, m *dhcpv6.Message) *dhcpv6.Message {
	t.Helper()
	frame, err := single(g.Answer(testPort, sent6(m.ToBytes(), guestMAC, linkLocal(guestMAC))))
	if err != nil || frame == nil {
		t.Fatalf("answer %x, %v", frame, err)
	}
	r := decode6(t, frame)
	if r.TransactionID != m.TransactionID {
		t.Errorf("transaction %s", r.TransactionID)
	}
	if id := r.Options.ClientID(); m.Options.ClientID() != nil && (id == nil || !id.Equal(guestDUID)) {
		t.Errorf("client %v", id)
	}
	if id := r.Options.ServerID(); id == nil || !id.Equal(serverDUID) {
		t.Errorf("server %v", id)
	}
	return r
}

// leases says what an answer gives: each association with its addresses and valid lifetimes, or its status.
func leases(m *dhcpv6.Message) string {
	var out []string
	for _, ia := range m.Options.IANA() {
		s := ""
		for _, a := range ia.Options.Addresses() {
			s += " " + a.IPv6Addr.String() + "/" + a.ValidLifetime.String()
		}
		if st := ia.Options.Status(); st != nil {
			s += " " + st.StatusCode.String()
		}
		out = append(out, strings.TrimSpace(s))
	}
	if st := m.Options.Status(); st != nil {
		out = append(out, "status "+st.StatusCode.String())
	}
	return m.MessageType.String() + ": " + strings.Join(out, "; ")
}

// TestDHCPv6States goes through RFC 8415, 18.3.
func TestDHCPv6States(t *testing.T) {
	ours, theirs := toServer(serverDUID), toServer(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{1, 2, 3, 4, 5, 6}})
	const have = "2001:db8:1::11"
	for _, c := range []struct {
		rule string
		typ  dhcpv6.MessageType
		mods []dhcpv6.Modifier
		want string // empty: silence; "malformed": refused
	}{
		{"solicit", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{iana6(guestIAID)}, "ADVERTISE: 2001:db8:1::11/24h0m0s"},
		{"solicit, wishing for another", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{iana6(guestIAID, "2001:db8:1::99")}, "ADVERTISE: 2001:db8:1::11/24h0m0s"},
		{"solicit with rapid commit", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{iana6(guestIAID), dhcpv6.WithRapidCommit}, "REPLY: 2001:db8:1::11/24h0m0s"},
		{"solicit for two cards", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{iana6(guestIAID), iana6([4]byte{9})}, "ADVERTISE: 2001:db8:1::11/24h0m0s; NoAddrsAvail"},
		{"solicit to a server", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{iana6(guestIAID), ours}, "malformed"},
		{"request", dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{iana6(guestIAID, have), ours}, "REPLY: 2001:db8:1::11/24h0m0s"},
		{"request to another server", dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{iana6(guestIAID, have), theirs}, ""},
		{"request to nobody", dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{iana6(guestIAID, have)}, "malformed"},
		{"renew", dhcpv6.MessageTypeRenew, []dhcpv6.Modifier{iana6(guestIAID, have), ours}, "REPLY: 2001:db8:1::11/24h0m0s"},
		{"renew of an address that has gone", dhcpv6.MessageTypeRenew, []dhcpv6.Modifier{iana6(guestIAID, "2001:db8:1::99"), ours}, "REPLY: 2001:db8:1::11/24h0m0s 2001:db8:1::99/0s"},
		{"rebind", dhcpv6.MessageTypeRebind, []dhcpv6.Modifier{iana6(guestIAID, have)}, "REPLY: 2001:db8:1::11/24h0m0s"},
		{"confirm", dhcpv6.MessageTypeConfirm, []dhcpv6.Modifier{iana6(guestIAID, have)}, "REPLY: ; status Success"},
		{"confirm on another network", dhcpv6.MessageTypeConfirm, []dhcpv6.Modifier{iana6(guestIAID, "2001:db8:77::1")}, "REPLY: ; status NotOnLink"},
		{"confirm of another's address", dhcpv6.MessageTypeConfirm, []dhcpv6.Modifier{iana6(guestIAID, "2001:db8:1::99")}, "REPLY: ; status NotOnLink"},
		{"confirm of nothing", dhcpv6.MessageTypeConfirm, []dhcpv6.Modifier{iana6(guestIAID)}, ""},
		{"decline", dhcpv6.MessageTypeDecline, []dhcpv6.Modifier{iana6(guestIAID, have), ours}, "REPLY: ; status Success"},
		{"release", dhcpv6.MessageTypeRelease, []dhcpv6.Modifier{iana6(guestIAID, have), ours}, "REPLY: ; status Success"},
		{"release to another server", dhcpv6.MessageTypeRelease, []dhcpv6.Modifier{iana6(guestIAID, have), theirs}, ""},
		{"information request", dhcpv6.MessageTypeInformationRequest, nil, "REPLY: "},
		{"information request with an address", dhcpv6.MessageTypeInformationRequest, []dhcpv6.Modifier{iana6(guestIAID)}, "malformed"},
		{"information request to another server", dhcpv6.MessageTypeInformationRequest, []dhcpv6.Modifier{theirs}, ""},
		{"a server's message", dhcpv6.MessageTypeAdvertise, []dhcpv6.Modifier{ours}, "malformed"},
		{"a relay's message", dhcpv6.MessageTypeRelayForward, nil, "malformed"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			m := message6Of(c.typ, c.mods...)
			frame, err := single(newDHCP(t, v6).Answer(testPort, sent6(m.ToBytes(), guestMAC, linkLocal(guestMAC))))
			got := ""
			switch {
			case errors.Is(err, ErrMalformed):
				got = "malformed"
			case err != nil:
				t.Fatal(err)
			case frame != nil:
				got = leases(decode6(t, frame))
			}
			if c.want = strings.ReplaceAll(c.want, ": ; ", ": "); got != c.want {
				t.Errorf("answer %q, want %q", got, c.want)
			}
		})
	}
}

func TestDHCPv6TellsWhatIsAskedFor(t *testing.T) {
	g := newDHCP(t, v6, func(p *model.PortView, _ *model.NetworkView) { p.DNSName = "web" })
	r := answered6(t, g, message6Of(dhcpv6.MessageTypeSolicit, iana6(guestIAID),
		dhcpv6.WithRequestedOptions(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionFQDN)))
	if dns := r.Options.DNS(); len(dns) != 2 || dns[0].String() != "2001:4860::8888" || dns[1].String() != "2001:4860::8844" {
		t.Errorf("DNS %v", dns)
	}
	if s := r.Options.DomainSearchList(); s == nil || !slices.Equal(s.Labels, []string{"openstacklocal"}) {
		t.Errorf("search %v", s)
	}
	if f := r.Options.FQDN(); f == nil || f.Flags != 4 || f.DomainName.Labels[0] != "web.openstacklocal" {
		t.Errorf("name %v", f)
	}
	if ia := r.Options.OneIANA(); ia.IaId != guestIAID || ia.T1 != 12*time.Hour || ia.T2 != 19*time.Hour+12*time.Minute {
		t.Errorf("association %v", ia)
	}
	if r.Options.Preference() != 255 {
		t.Errorf("preference %d", r.Options.Preference())
	}

	r = answered6(t, g, message6Of(dhcpv6.MessageTypeSolicit, iana6(guestIAID), dhcpv6.WithRequestedOptions(dhcpv6.OptionDomainSearchList)))
	if len(r.Options.DNS()) != 0 || r.Options.FQDN() != nil {
		t.Error("told what was not asked for")
	}
	r = answered6(t, g, message6Of(dhcpv6.MessageTypeInformationRequest))
	if len(r.Options.DNS()) != 2 || r.Options.InformationRefreshTime(0) != 24*time.Hour {
		t.Errorf("without a list: %s", r.Summary())
	}
}

func TestDHCPv6OfSubnetsWithoutAddressesToGive(t *testing.T) {
	stateless := newDHCP(t, v6, func(p *model.PortView, _ *model.NetworkView) { p.FixedIPs = p.FixedIPs[2:] })
	if got := leases(answered6(t, stateless, message6Of(dhcpv6.MessageTypeSolicit, iana6(guestIAID)))); got != "ADVERTISE: NoAddrsAvail" {
		t.Errorf("a stateless subnet answers %q", got)
	}
	bare := newDHCP(t, v6, func(p *model.PortView, n *model.NetworkView) { // no mode at all: Neutron's dnsmasq gives leases
		n.Subnets[2].RAMode, n.Subnets[2].AddressMode = "", ""
	})
	if got := leases(answered6(t, bare, message6Of(dhcpv6.MessageTypeSolicit, iana6(guestIAID)))); got != "ADVERTISE: 2001:db8:1::11/24h0m0s" {
		t.Errorf("a subnet without modes answers %q", got)
	}
	for what, change := range map[string]func(*model.PortView, *model.NetworkView){
		"SLAAC alone": func(p *model.PortView, n *model.NetworkView) {
			n.Subnets[2].RAMode, n.Subnets[2].AddressMode = model.IPv6SLAAC, model.IPv6SLAAC
			n.Subnets[3].RAMode, n.Subnets[3].AddressMode = model.IPv6SLAAC, model.IPv6SLAAC
		},
		"no DHCP": func(p *model.PortView, n *model.NetworkView) {
			n.Subnets[2].EnableDHCP, n.Subnets[3].EnableDHCP = false, false
		},
		"IPv4 only": func(p *model.PortView, n *model.NetworkView) { p.FixedIPs = p.FixedIPs[:1] },
	} {
		g := newDHCP(t, v6, change)
		if f, err := single(g.Answer(testPort, sent6(message6Of(dhcpv6.MessageTypeSolicit).ToBytes(), guestMAC, linkLocal(guestMAC)))); !errors.Is(err, ErrUnknownPort) {
			t.Errorf("%s: %x, %v", what, f, err)
		}
	}
}

func TestDHCPv6ExtraOptions(t *testing.T) {
	given := func(name, value string) func(*model.PortView, *model.NetworkView) {
		return func(p *model.PortView, _ *model.NetworkView) {
			p.DHCPOptions = append(p.DHCPOptions, model.DHCPOption{Name: name, Value: value, IPVersion: 6})
		}
	}
	ask := func(t *testing.T, g *Guests, code uint16, mods ...dhcpv6.Modifier) []byte {
		r := answered6(t, g, message6Of(dhcpv6.MessageTypeInformationRequest, append(mods, dhcpv6.WithRequestedOptions(dhcpv6.OptionCode(code)))...))
		if o := r.GetOneOption(dhcpv6.OptionCode(code)); o != nil {
			return o.ToBytes()
		}
		return nil
	}
	a1, a2 := addr("2001:db8::5").AsSlice(), addr("2001:db8::6").AsSlice()
	for _, c := range []struct {
		name, value string
		code        uint16
		want        []byte
	}{
		{"dns-server", "2001:db8::5, [2001:db8::6]", 23, append(slices.Clone(a1), a2...)},
		{"23", "2001:db8::5", 23, a1},
		{"domain-search", "a.example,b", 24, []byte("\x01a\x07example\x00\x01b\x00")},
		{"ntp-server", "2001:db8::5,ntp.example", 56, append(append([]byte{0, 1, 0, 16}, a1...), "\x00\x03\x00\x0d\x03ntp\x07example\x00"...)},
		{"sntp-server", "2001:db8::5", 31, a1},
		{"bootfile-url", "tftp://[2001:db8::5]/x", 59, []byte("tftp://[2001:db8::5]/x")},
		{"option6:bootfile-param", "a,bc", 60, []byte("\x00\x01a\x00\x02bc")},
		{"information-refresh-time", "3600", 32, []byte{0, 0, 14, 16}},
		{"200", "de:ad:be:ef", 200, []byte{0xde, 0xad, 0xbe, 0xef}},
		{"200", "2001:db8::5", 200, a1},
		{"200", "300", 200, []byte{1, 44}},
	} {
		if got := ask(t, newDHCP(t, v6, given(c.name, c.value)), c.code); !bytes.Equal(got, c.want) {
			t.Errorf("%s=%s: option %d is %x, want %x", c.name, c.value, c.code, got, c.want)
		}
	}
	boot := newDHCP(t, v6, given("tag:ipxe6,59", "http://boot"), given("tag:!ipxe6,59", "tftp://boot"))
	if got := ask(t, boot, 59); string(got) != "tftp://boot" {
		t.Errorf("a boot ROM is told file %q", got)
	}
	if got := ask(t, boot, 59, dhcpv6.WithUserClass([]byte("iPXE"))); string(got) != "http://boot" {
		t.Errorf("iPXE is told file %q", got)
	}
	for name, value := range map[string]string{
		"no-such-option": "1", "0": "1", "65536": "1", "1": "x", "2": "x", "3": "x", "13": "x", "14": "x", "25": "x", "39": "x",
		"dns-server": "10.0.0.1", "domain-search": "a..b", "ntp-server": "", "bootfile-url": "a\nb", "59": strings.Repeat("x", 800),
	} {
		g := NewGuests(Settings{})
		p, n := views()
		v6(p, n)
		p.DHCPOptions = []model.DHCPOption{{Name: name, Value: value, IPVersion: 6}, {Name: "sntp-server", Value: "2001:db8::5", IPVersion: 6}}
		if err := g.Set(p, n, nil); err == nil {
			t.Errorf("%s=%q: no error", name, value)
		}
		if got := ask(t, g, 31); !bytes.Equal(got, a1) {
			t.Errorf("%s=%q: another option suffers: %x", name, value, got)
		}
	}
}

// TestDHCPv6EchoesOnlyWhatWasMeasured is CVE-2026-5367: lengths that lie.
func TestDHCPv6EchoesOnlyWhatWasMeasured(t *testing.T) {
	g := newDHCP(t, v6)
	good := message6Of(dhcpv6.MessageTypeSolicit, iana6(guestIAID, "2001:db8:1::11"), dhcpv6.WithRequestedOptions(23)).ToBytes()
	refused := func(what string, payload []byte) {
		t.Helper()
		if f, err := single(g.Answer(testPort, sent6(payload, guestMAC, linkLocal(guestMAC)))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %x, %v", what, f, err)
		}
	}
	spoilt := func(at int, b ...byte) []byte {
		s := slices.Clone(good)
		copy(s[at:], b)
		return s
	}
	duid := len(guestDUID.ToBytes())
	refused("client identifier beyond the message", spoilt(6, 0xff, 0xff))
	refused("client identifier one byte too long", spoilt(6, 0, byte(duid+1)))
	refused("client identifier of nothing", append(slices.Clone(good[:4]), 0, 1, 0, 0))
	refused("client identifier of 131 bytes", append(append(slices.Clone(good[:4]), 0, 1, 0, 131), make([]byte, 131)...))
	refused("two client identifiers", append(slices.Clone(good), good[4:8+duid]...))
	refused("address of 23 bytes", append(append(slices.Clone(good[:8+duid]), 0, 3, 0, 12+4+23), append(append(make([]byte, 12), 0, 5, 0, 23), make([]byte, 23)...)...))
	refused("association of 11 bytes", append(append(slices.Clone(good[:8+duid]), 0, 3, 0, 11), make([]byte, 11)...))
	refused("odd option request", append(slices.Clone(good[:8+duid]), 0, 6, 0, 1, 0))
	many := slices.Clone(good[:8+duid])
	for range mostIAs + 1 {
		many = append(append(many, 0, 3, 0, 12), make([]byte, 12)...)
	}
	refused("too many associations", many)
	whole := sent6(good, guestMAC, linkLocal(guestMAC))
	for n := range whole {
		if f, err := single(g.Answer(testPort, whole[:n])); err == nil {
			t.Fatalf("cut to %d bytes: answer %x", n, f)
		}
	}
	for what, f := range map[string][]byte{
		"a foreign MAC":            sent6(good, serverMAC, linkLocal(guestMAC)),
		"a foreign link-local":     sent6(good, guestMAC, linkLocal(serverMAC)),
		"the port's other address": sent6(good, guestMAC, addr("2001:db8:1::11")),
	} {
		if f, err := single(g.Answer(testPort, f)); !errors.Is(err, ErrForeign) {
			t.Errorf("from %s: %x, %v", what, f, err)
		}
	}
}

// TestDHCPv6IsOfThePortOnly: whatever is asked, no address is given but the port's, and answers fit a packet.
func TestDHCPv6IsOfThePortOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, n := views()
		v6(p, n)
		for i := range rapid.IntRange(0, 60).Draw(t, "more addresses") {
			p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: statefulSubnet, Addr: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 14: 1, 15: byte(i)})})
		}
		g := NewGuests(Settings{})
		if err := g.Set(p, n, nil); err != nil {
			t.Fatal(err)
		}
		typ := rapid.SampledFrom([]dhcpv6.MessageType{1, 3, 4, 5, 6, 8, 9, 11}).Draw(t, "type")
		m := message6Of(typ)
		if rapid.Bool().Draw(t, "to the server") {
			m.AddOption(dhcpv6.OptServerID(serverDUID))
		}
		for range rapid.IntRange(0, 3).Draw(t, "associations") {
			var asked []string
			for range rapid.IntRange(0, 5).Draw(t, "addresses") {
				asked = append(asked, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 15: rapid.Byte().Draw(t, "address")}).String())
			}
			iana6(guestIAID, asked...)(m)
		}
		frame, err := single(g.Answer(testPort, sent6(m.ToBytes(), guestMAC, linkLocal(guestMAC))))
		if err != nil || frame == nil {
			return
		}
		if len(frame) > ethernetHeader+leastIPv6MTU {
			t.Fatalf("answer of %d bytes", len(frame))
		}
		pk, _ := parsePacket6(frame)
		r, err := dhcpv6.MessageFromBytes(pk.payload[udpHeader:])
		if err != nil {
			t.Fatal(err)
		}
		given := map[string]bool{}
		for _, ia := range r.Options.IANA() {
			for _, a := range ia.Options.Addresses() {
				got, _ := netip.AddrFromSlice(a.IPv6Addr)
				own := slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == statefulSubnet && f.Addr == got })
				if a.ValidLifetime > 0 && (!own || given[got.String()]) {
					t.Fatalf("%s given", got)
				}
				given[got.String()] = given[got.String()] || a.ValidLifetime > 0
			}
		}
	})
}

func FuzzAnswer6(f *testing.F) {
	g := newDHCP(f, v6)
	for _, m := range []*dhcpv6.Message{
		message6Of(dhcpv6.MessageTypeSolicit, iana6(guestIAID), dhcpv6.WithRapidCommit),
		message6Of(dhcpv6.MessageTypeRenew, iana6(guestIAID, "2001:db8:1::99"), toServer(serverDUID)),
		message6Of(dhcpv6.MessageTypeInformationRequest, dhcpv6.WithUserClass([]byte("iPXE"))),
	} {
		f.Add(sent6(m.ToBytes(), guestMAC, linkLocal(guestMAC)))
	}
	f.Add(solicitation(routerSolicit, netip.Addr{}, guestMAC, linkLocal(guestMAC)))
	f.Add(solicitation(neighbourSolicit, linkLocal(serverMAC), guestMAC, linkLocal(guestMAC)))
	f.Fuzz(func(t *testing.T, frame []byte) {
		given := slices.Clone(frame)
		answers, err := g.Answer(testPort, frame)
		if !bytes.Equal(given, frame) {
			t.Fatal("the request was written to")
		}
		for _, a := range answers {
			p, ok := parsePacket6(a)
			switch {
			case err != nil:
				t.Fatalf("an answer and an error: %v", err)
			case !ok:
				continue // IPv4
			case p.mac != serverMAC:
				t.Fatalf("answer from %s", p.mac)
			case p.next == protoUDP:
				decode6(t, a)
			}
			checkSum6(t, a)
		}
	})
}

func FuzzExtraOption6(f *testing.F) {
	f.Add("tag:ipxe6,59", "a,b")
	f.Add("ntp-server", "a.b,2001:db8::1")
	f.Add("bootfile-param", "a,,b")
	f.Fuzz(func(t *testing.T, name, value string) {
		if e, err := parseExtra6(name, value); err == nil && (len(e.value) > mostExtra6 || e.code < firstFree6) {
			t.Fatalf("%q=%q becomes %d %x", name, value, e.code, e.value)
		}
	})
}

func BenchmarkAnswer6(b *testing.B) {
	g := newDHCP(b, v6)
	frame := sent6(message6Of(dhcpv6.MessageTypeSolicit, iana6(guestIAID), dhcpv6.WithRequestedOptions(23, 24, 39)).ToBytes(), guestMAC, linkLocal(guestMAC))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Answer(testPort, frame); err != nil {
			b.Fatal(err)
		}
	}
}
