package standin

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
)

// TestKey_isABijection: two addresses of guests never share what stands for them.
func TestKey_isABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := Key{OFPort: rapid.Uint16Min(1).Draw(t, "port"), Index: uint8(rapid.IntRange(0, MaxAddresses).Draw(t, "index"))}
		for _, a := range []netip.Addr{k.V4(), k.V6()} {
			got, v6, ok := Parse(a)
			if !ok || got != k || v6 != a.Is6() {
				t.Fatalf("%v is %s, which stands for %v (v6 %v, %v)", k, a, got, v6, ok)
			}
			if !Prefix4.Contains(a) && !Prefix6.Contains(a) {
				t.Fatalf("%s is in neither prefix", a)
			}
		}
	})
}

// TestParse_acceptsNothingElse: what does not come out of Key is nobody.
func TestParse_acceptsNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if rapid.Bool().Draw(t, "v6") {
			a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")))
		} else {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		}
		k, v6, ok := Parse(a)
		if back := k.V4(); ok && !v6 && back != a.Unmap() {
			t.Fatalf("%s stands for %v, for which %s stands", a, k, back)
		}
		if back := k.V6(); ok && v6 && back != a {
			t.Fatalf("%s stands for %v, for which %s stands", a, k, back)
		}
	})
	for _, s := range []string{"10.0.0.1", "169.254.169.254", "100.64.0.5", "100.128.0.0", "fd57:e700:0:1:1::40", "fd57:e700:0:1::40:0:40", "::", "fe80::1"} {
		if k, _, ok := Parse(netip.MustParseAddr(s)); ok {
			t.Errorf("%s stands for %v", s, k)
		}
	}
}

func TestGuests_tellsOverlappingTenantsApart(t *testing.T) {
	network := &model.NetworkView{
		DHCPMAC: model.MAC{2, 1}, DHCPAddrs: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("10.9.0.2")},
		Subnets: []model.SubnetView{{ID: model.SubnetID{UUID: model.UUID{1}}, CIDR: netip.MustParsePrefix("10.9.0.0/24")}},
	}
	port := func(n byte, addrs ...string) *model.PortView {
		p := &model.PortView{ID: model.PortID{UUID: model.UUID{n}}, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, n}}
		for _, a := range addrs {
			p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: model.SubnetID{UUID: model.UUID{1}}, Addr: netip.MustParseAddr(a)})
		}
		return p
	}
	red, blue := port(1, "10.9.0.5", "2001:db8::5"), port(2, "10.9.0.5")
	g := NewGuests()
	g.Add(red, network, 7)
	g.Add(blue, network, 8)
	g.Add(port(3, "10.9.0.5"), network, 0)
	g.Add(port(4, "10.9.0.5"), network, MaxPort+1)
	seen := map[netip.Addr]bool{}
	for ofport, p := range map[uint32]*model.PortView{7: red, 8: blue} {
		for _, a := range Addresses(p, network, ofport) {
			if seen[a.StandIn] {
				t.Errorf("%s stands for two", a.StandIn)
			}
			seen[a.StandIn] = true
			if got, ok := g.Find(a.StandIn); !ok || got.Port != p || got.Addr != a.Addr {
				t.Errorf("%s stands for %v of port %s, found %+v", a.StandIn, a.Addr, p.ID, got)
			}
			want := map[string]string{"10.9.0.5": "10.9.0.2", "2001:db8::5": "2001:db8::2"}[a.Addr.String()]
			if a.DNS.IsValid() && a.DNS.String() != want || want != "" && !a.DNS.IsValid() {
				t.Errorf("%s asks %s for names, want %q", a.Addr, a.DNS, want)
			}
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d addresses, want 5", len(seen))
	}
	// The same key in the other family is nobody.
	if _, ok := g.Find(Key{OFPort: 7, Index: 0}.V6()); ok {
		t.Error("an IPv4 address was found by an IPv6 one")
	}
}
