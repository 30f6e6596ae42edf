package responder

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"weft/internal/model"
	"weft/internal/testkit/golden"
)

var routerMAC = model.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}

// solicitation is a guest's router or neighbour solicitation.
func solicitation(typ byte, target netip.Addr, mac model.MAC, src netip.Addr) []byte {
	frame := make([]byte, headers6+sizeRS)
	if typ == neighbourSolicit {
		frame = append(frame[:headers6+8], target.AsSlice()...)
	}
	frame[headers6] = typ
	if !src.IsUnspecified() {
		frame = append(append(frame, ndSourceMAC, 1), mac[:]...)
	}
	return sealFrame6(frame, endpoint{mac, src}, endpoint{model.MAC{0x33, 0x33, 0, 0, 0, 2}, netip.IPv6LinkLocalAllRouters()}, protoICMPv6)
}

func leg(mac model.MAC, addrs ...string) *model.LegView {
	l := &model.LegView{MAC: mac}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
	}
	return l
}

func slaac(_ *model.PortView, n *model.NetworkView) {
	n.Subnets = append(n.Subnets, model.SubnetView{
		CIDR: netip.MustParsePrefix("2001:db8:3::/64"), Gateway: addr("2001:db8:3::1"), EnableDHCP: true,
		RAMode: model.IPv6SLAAC, AddressMode: model.IPv6SLAAC, DNS: []netip.Addr{addr("2001:4860::8888"), addr("8.8.8.8"), addr("2001:4860::8844")},
	})
}

// said is what routers say, in short.
func said(adverts []Advert) string {
	var out []string
	for _, a := range adverts {
		s := a.Source.String()
		if a.Lifetime > 0 {
			s += " router"
		}
		if a.Managed {
			s += " M"
		}
		if a.Other {
			s += " O"
		}
		for _, p := range a.Prefixes {
			s += " " + p.String()
			if p.Autonomous {
				s += "+A"
			}
			if p.Preferred == 0 {
				s += " gone"
			}
		}
		for _, d := range a.DNS {
			s += " dns " + d.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestAdvertsFollowSubnetsAndRouters(t *testing.T) {
	const (
		dhcp   = "fe80::f816:3eff:fe00:2"
		router = "fe80::f816:3eff:fe00:1"
		dns    = " dns 2001:4860::8888 dns 2001:4860::8844"
	)
	gateway1, gateway2, gateway3 := "2001:db8:1::1/64", "2001:db8:2::1/64", "2001:db8:3::1/64"
	all := func(p *model.PortView, n *model.NetworkView) { v6(p, n); slaac(p, n) }
	mode := func(m func(*model.SubnetView)) func(*model.PortView, *model.NetworkView) {
		return func(p *model.PortView, n *model.NetworkView) { slaac(p, n); m(&n.Subnets[len(n.Subnets)-1]) }
	}
	for _, c := range []struct {
		rule   string
		change func(*model.PortView, *model.NetworkView)
		legs   []*model.LegView
		want   string
	}{
		{"no IPv6", func(*model.PortView, *model.NetworkView) {}, nil, ""},
		{"no router", all, nil, dhcp + " M O 2001:db8:1::/64 2001:db8:2::/64+A 2001:db8:3::/64+A" + dns},
		{"one router for all", all, []*model.LegView{leg(routerMAC, gateway1, gateway2, gateway3)},
			router + " router M O 2001:db8:1::/64 2001:db8:2::/64+A 2001:db8:3::/64+A" + dns},
		{"a router for one of them", all, []*model.LegView{leg(routerMAC, gateway3)},
			router + " router 2001:db8:3::/64+A" + dns + "; " + dhcp + " M O 2001:db8:1::/64 2001:db8:2::/64+A"},
		{"SLAAC takes any leg", slaac, []*model.LegView{leg(routerMAC, "2001:db8:3::77/64")}, router + " router 2001:db8:3::/64+A" + dns},
		{"DHCPv6 takes the gateway only", v6, []*model.LegView{leg(routerMAC, "2001:db8:1::77/64")}, dhcp + " M O 2001:db8:1::/64 2001:db8:2::/64+A"},
		{"an IPv4 leg is no router", slaac, []*model.LegView{leg(routerMAC, "10.0.0.1/24")}, dhcp + " 2001:db8:3::/64+A" + dns},
		{"a gateway that is link-local", mode(func(s *model.SubnetView) { s.RAMode, s.Gateway, s.DNS = model.IPv6Stateful, addr("fe80::1"), nil }),
			[]*model.LegView{leg(routerMAC, "2001:db8:3::77/64", "fe80::1/64")}, "fe80::1 router M 2001:db8:3::/64"},
		{"others advertise", mode(func(s *model.SubnetView) { s.RAMode = "" }), []*model.LegView{leg(routerMAC, gateway3)}, ""},
		{"no DHCP port and no router", func(p *model.PortView, n *model.NetworkView) { slaac(p, n); n.DHCPMAC = model.MAC{} }, nil, ""},
	} {
		p, n := views()
		c.change(p, n)
		if got := said(Adverts(n, c.legs)); got != c.want {
			t.Errorf("%s: said\n%s, want\n%s", c.rule, got, c.want)
		}
	}
}

// TestAdvertsFitEveryLink: a network with many subnets has several advertisements of one router.
func TestAdvertsFitEveryLink(t *testing.T) {
	_, n := views()
	for i := range 100 {
		s := model.SubnetView{CIDR: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(i)}), 64), RAMode: model.IPv6SLAAC}
		for j := range 5 {
			s.DNS = append(s.DNS, netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i), 15: byte(j)}))
		}
		n.Subnets = append(n.Subnets, s)
	}
	adverts, told := Adverts(n, nil), map[netip.Prefix]bool{}
	for _, a := range adverts {
		if f := a.Frame(); len(f) > ethernetHeader+leastIPv6MTU {
			t.Errorf("a frame of %d bytes", len(f))
		}
		for _, p := range a.Prefixes {
			told[p.Prefix] = true
		}
	}
	if len(told) != 100 || len(adverts) != 4 {
		t.Errorf("%d prefixes in %d advertisements", len(told), len(adverts))
	}
}

func TestWithdrawn(t *testing.T) {
	p, n := views()
	slaac(p, n)
	router := []*model.LegView{leg(routerMAC, "2001:db8:3::1/64")}
	alone, routed := Adverts(n, nil), Adverts(n, router)
	n.Subnets = n.Subnets[:2]
	for _, c := range []struct {
		rule        string
		before, now []Advert
		want        string
	}{
		{"nothing changes", routed, routed, ""},
		{"a router goes", routed, alone, "fe80::f816:3eff:fe00:1 dns 2001:4860::8888 dns 2001:4860::8844"},
		{"a router comes", alone, routed, "fe80::f816:3eff:fe00:2 dns 2001:4860::8888 dns 2001:4860::8844"},
		{"a subnet goes", routed, Adverts(n, router), "fe80::f816:3eff:fe00:1 2001:db8:3::/64+A gone dns 2001:4860::8888 dns 2001:4860::8844"},
	} {
		got := Withdrawn(c.before, c.now)
		if said(got) != c.want {
			t.Errorf("%s: said %q, want %q", c.rule, said(got), c.want)
		}
		for _, a := range got {
			if a.Lifetime != 0 || a.dnsLifetime() != 0 {
				t.Errorf("%s: lifetime %d, of name servers %d", c.rule, a.Lifetime, a.dnsLifetime())
			}
		}
	}
}

func TestSolicitations(t *testing.T) {
	p, n := views()
	v6(p, n)
	adverts := Adverts(n, nil)
	g := NewGuests(Settings{})
	if err := g.Set(p, n, [][]byte{adverts[0].Frame()}); err != nil {
		t.Fatal(err)
	}
	own, nobody, target := linkLocal(guestMAC), netip.IPv6Unspecified(), addr("2001:db8::2")
	rs := solicitation(routerSolicit, netip.Addr{}, guestMAC, own)
	ns := solicitation(neighbourSolicit, target, guestMAC, own)
	changed := func(f []byte, at int, v byte) []byte {
		f = slices.Clone(f)
		f[at] = v
		return f
	}
	for _, c := range []struct {
		rule  string
		frame []byte
		want  any // type and destination, "" for silence, or an error
	}{
		{"router", rs, "134 ff02::1"},
		{"router, before there is an address", solicitation(routerSolicit, netip.Addr{}, guestMAC, nobody), "134 ff02::1"},
		{"router, from another's address", solicitation(routerSolicit, netip.Addr{}, guestMAC, linkLocal(serverMAC)), ErrForeign},
		{"router, from another's MAC", solicitation(routerSolicit, netip.Addr{}, serverMAC, own), ErrForeign},
		{"router, through a router", changed(rs, ethernetHeader+7, 254), ErrMalformed},
		{"router, of a code that is not", changed(rs, headers6+1, 1), ErrMalformed},
		{"router, with an option of nothing", changed(rs, headers6+sizeRS+1, 0), ErrMalformed},
		{"router, with an option that is longer than the packet", changed(rs, headers6+sizeRS+1, 2), ErrMalformed},
		{"neighbour", ns, "136 " + own.String()},
		{"neighbour, the link-local one", solicitation(neighbourSolicit, linkLocal(serverMAC), guestMAC, own), "136 " + own.String()},
		{"neighbour, is it free?", solicitation(neighbourSolicit, target, guestMAC, nobody), "136 ff02::1"},
		{"neighbour, somebody else", solicitation(neighbourSolicit, addr("2001:db8::3"), guestMAC, own), ""},
		{"neighbour, through a router", changed(ns, ethernetHeader+7, 64), ErrMalformed},
		{"neighbour, cut", ns[:headers6+sizeNS-1], ErrMalformed},
		{"another message", changed(ns, headers6, 128), ErrUnknownPort},
	} {
		frame, err := single(g.Answer(testPort, c.frame))
		if want, ok := c.want.(error); ok {
			if !errors.Is(err, want) {
				t.Errorf("%s: %x, %v, want %v", c.rule, frame, err, want)
			}
			continue
		}
		got := ""
		if pk, ok := parsePacket6(frame); ok {
			got = string(rune('0'+pk.payload[0]/100)) + string(rune('0'+pk.payload[0]/10%10)) + string(rune('0'+pk.payload[0]%10)) + " " + pk.dst.String()
			checkSum6(t, frame)
			if pk.hops != hopsND || pk.mac != serverMAC {
				t.Errorf("%s: answered with %d hops by %s", c.rule, pk.hops, pk.mac)
			}
		}
		if err != nil || got != c.want {
			t.Errorf("%s: answer %q, %v, want %q", c.rule, got, err, c.want)
		}
	}
}

// TestLinkLocalAddressesOfAPort: who may ask is who may send.
func TestLinkLocalAddressesOfAPort(t *testing.T) {
	given := addr("fe80::77")
	pair := func(p *model.PortView, _ *model.NetworkView) {
		p.AddressPairs = []model.AddressPair{{Prefix: netip.PrefixFrom(given, 128), MAC: guestMAC}}
	}
	for _, c := range []struct {
		rule   string
		change func(*model.PortView, *model.NetworkView)
		src    netip.Addr
		want   bool
	}{
		{"the MAC's", func(*model.PortView, *model.NetworkView) {}, linkLocal(guestMAC), true},
		{"another", func(*model.PortView, *model.NetworkView) {}, given, false},
		{"an address pair's", pair, given, true},
		{"another than the pair's", pair, addr("fe80::78"), false},
		{"any, without port security", func(p *model.PortView, _ *model.NetworkView) { p.PortSecurity = false }, given, true},
		{"a global one, without port security", func(p *model.PortView, _ *model.NetworkView) { p.PortSecurity = false }, addr("2001:db8::77"), false},
	} {
		answer, err := single(newDHCP(t, v6, c.change).Answer(testPort, sent6(message6Of(dhcpv6.MessageTypeSolicit).ToBytes(), guestMAC, c.src)))
		if got := err == nil; got != c.want || !got && !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		if p, ok := parsePacket6(answer); ok && p.dst != c.src {
			t.Errorf("%s: answered to %s", c.rule, p.dst)
		}
	}
}

// TestGoldenPackets keeps packets in sight as tcpdump reads them, which also judges their checksums. Run with -update, then read the
// difference.
func TestGoldenPackets(t *testing.T) {
	p, n := views()
	v6(p, n)
	slaac(p, n)
	routed := Adverts(n, []*model.LegView{leg(routerMAC, "2001:db8:1::1/64", "2001:db8:2::1/64", "2001:db8:3::1/64")})
	alone := Adverts(n, nil)
	withdrawn := Withdrawn(routed, alone)[0]
	g := newDHCP(t, v6, slaac)
	answer := func(frame []byte) []byte {
		a, err := single(g.Answer(testPort, frame))
		if err != nil || a == nil {
			t.Fatalf("no answer: %v", err)
		}
		return a
	}
	dhcp := func(m *dhcpv6.Message) []byte { return answer(sent6(m.ToBytes(), guestMAC, linkLocal(guestMAC))) }
	frames := [][]byte{
		routed[0].Frame(), alone[0].Frame(), withdrawn.Frame(),
		answer(solicitation(neighbourSolicit, addr("2001:db8::2"), guestMAC, linkLocal(guestMAC))),
		dhcp(message6Of(dhcpv6.MessageTypeSolicit, iana6(guestIAID), dhcpv6.WithRequestedOptions(23, 24, 39))),
		dhcp(message6Of(dhcpv6.MessageTypeRenew, iana6(guestIAID, "2001:db8:1::99"), toServer(serverDUID))),
		dhcp(message6Of(dhcpv6.MessageTypeInformationRequest)),
	}
	got := tcpdump(t, frames)
	golden.Check(t, filepath.Join("testdata", "packets6.txt"), got)
	for _, bad := range []string{"bad", "malformed", "invalid", "[|", "unknown"} {
		if strings.Contains(got, bad) {
			t.Errorf("tcpdump says %q", bad)
		}
	}
}

// tcpdump returns what tcpdump says of frames.
func tcpdump(t *testing.T, frames [][]byte) string {
	t.Helper()
	const ethernet = 1
	le := binary.LittleEndian
	pcap := le.AppendUint32(nil, 0xa1b2c3d4)
	pcap = append(le.AppendUint32(pcap, 2|4<<16), make([]byte, 8)...)
	pcap = le.AppendUint32(le.AppendUint32(pcap, 65535), ethernet)
	for _, f := range frames {
		pcap = append(pcap, make([]byte, 8)...)
		pcap = le.AppendUint32(le.AppendUint32(pcap, uint32(len(f))), uint32(len(f)))
		pcap = append(pcap, f...)
	}
	file := filepath.Join(t.TempDir(), "packets.pcap")
	if err := os.WriteFile(file, pcap, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tcpdump", "-tenvv", "-r", file).Output()
	if err != nil {
		t.Fatalf("tcpdump: %v", err)
	}
	return regexp.MustCompile(`[ \t]+\n`).ReplaceAllString(string(out), "\n")
}
