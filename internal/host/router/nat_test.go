package router

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// scoped is a router with two legs and an external one, of the address scopes given.
func scoped(one, two, outside byte) *model.RouterView {
	leg := func(n, scope byte, addr string) model.LegView {
		l := model.LegView{PortID: model.PortID{UUID: model.UUID{n}}, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}
		if scope > 0 {
			l.Scope = model.AddressScopeID{UUID: model.UUID{scope}}
		}
		return l
	}
	return &model.RouterView{
		AdminStateUp: true,
		Legs:         []model.LegView{leg(1, one, "10.0.1.1/24"), leg(2, two, "10.0.2.1/24")},
		External:     &model.ExternalView{LegView: leg(3, outside, "203.0.113.10/24"), SNAT: true},
	}
}

func rulesIn(t *testing.T, rules table.Ruleset, table, name string) []string {
	t.Helper()
	for _, tb := range rules {
		for _, c := range tb.Chains {
			if tb.Name == table && c.Name == name && !c.Shared {
				var out []string
				for _, r := range c.Rules {
					out = append(out, string(r))
				}
				return out
			}
		}
	}
	t.Fatalf("no chain %s in %s", name, table)
	return nil
}

// scopeRules are those of the scope chain of a table, nil when there is none.
func scopeRules(rules table.Ruleset, name string) (out []string) {
	if tb := rules.Table(name); tb != nil && tb.Chain(chainScope) != nil {
		out = text(tb.Chain(chainScope).Rules)
	}
	return out
}

// What comes by a leg in the external network's address scope leaves as it is; what has no scope, or another, is
// translated, and so is everything of a network that floating IPs stand for.
func TestNoSourceNATWithinAnAddressScope(t *testing.T) {
	const snat = "-o qg-03000000-00 -j SNAT --to-source 203.0.113.10"
	for _, c := range []struct {
		name   string
		router *model.RouterView
		mark   string // that is not translated
	}{
		{"no scopes", scoped(0, 0, 0), ""},
		{"no external scope", scoped(7, 7, 0), ""},
		{"no leg of the scope", scoped(6, 0, 7), ""},
		{"one leg of the scope", scoped(7, 8, 7), "0x4010000"},
		{"the other without one", scoped(0, 8, 8), "0x4010000"},
		{"both", scoped(7, 7, 7), "0x4010000"},
	} {
		floating := []*model.FloatingView{{Addr: netip.MustParseAddr("203.0.113.20"), Fixed: netip.MustParseAddr("10.0.1.9")}}
		p := Compute(c.router, floating)
		source := []string{"-j neutron-l3-agent-float-snat"}
		if c.mark != "" {
			source = append(source, "-o qg-03000000-00 -m mark --mark "+c.mark+"/0xffff0000 -j ACCEPT")
		}
		source = append(source, snat)
		if got := rulesIn(t, p.V4, "mangle", chainMark); !slices.Equal(got, []string{"-i qg-03000000-00 -j MARK --set-xmark 0x2/0xffff"}) {
			t.Errorf("%s: marks %q", c.name, got)
		}
		if got := rulesIn(t, p.V4, "nat", chainSNAT); !slices.Equal(got[:len(source)], source) {
			t.Errorf("%s: source NAT\n%s\nwant\n%s first", c.name, strings.Join(got, "\n"), strings.Join(source, "\n"))
		}
	}
	off := scoped(7, 7, 7)
	off.External.SNAT = false
	if got := rulesIn(t, Compute(off, nil).V4, "nat", chainSNAT); len(got) != 1 {
		t.Errorf("without source NAT: %v", got)
	}
}

// From a leg to a floating IP that another host serves: what leaves untranslated otherwise is translated, and may cross scopes.
func TestToFloatingIPsElsewhere(t *testing.T) {
	const (
		snat = "-d 203.0.113.20/32 -o qg-03000000-00 -j SNAT --to-source 203.0.113.10"
		open = "-d 203.0.113.20/32 -o qg-03000000-00 -j RETURN"
	)
	elsewhere := []*model.FloatingView{{Addr: netip.MustParseAddr("203.0.113.20"), Fixed: netip.MustParseAddr("10.0.1.9"), AtPort: true}}
	for _, c := range []struct {
		name             string
		router           *model.RouterView
		noSNAT           bool
		translated, open bool
	}{
		{name: "everything is translated", router: scoped(0, 0, 0)},
		{name: "a leg in the external network's scope", router: scoped(7, 0, 7), translated: true},
		{name: "no source NAT", router: scoped(0, 0, 0), noSNAT: true, translated: true},
		{name: "no source NAT, several scopes", router: scoped(7, 0, 0), noSNAT: true, translated: true, open: true},
	} {
		c.router.External.SNAT = !c.noSNAT
		p := Compute(c.router, elsewhere)
		if got := slices.Contains(rulesIn(t, p.V4, "nat", chainSNAT), snat); got != c.translated {
			t.Errorf("%s: translated %v", c.name, got)
		}
		if got := slices.Contains(scopeRules(p.V4, "filter"), open); got != c.open {
			t.Errorf("%s: open %v", c.name, got)
		}
	}
}

// Legs of different address scopes are held apart, in each family by the scopes of that family.
func TestAddressScopesAreHeldApart(t *testing.T) {
	const (
		answers    = "-m conntrack --ctdir REPLY -j RETURN"
		translated = "-m conntrack --ctstate DNAT -j RETURN"
		floating   = "-s 10.0.1.9/32 -o qg-03000000-00 -j RETURN"
	)
	mark := func(leg, n string) string {
		return "-i " + leg + "-00 -j MARK --set-xmark 0x40" + n + "0000/0xffff0000"
	}
	drop := func(leg, n string) string {
		return "-o " + leg + "-00 -m mark ! --mark 0x40" + n + "0000/0xffff0000 -j DROP"
	}
	one, two, out := "qr-01000000", "qr-02000000", "qg-03000000"
	in6 := func(r *model.RouterView) *model.RouterView {
		for _, l := range []*model.LegView{&r.Legs[0], &r.Legs[1], &r.External.LegView} {
			l.Scope, l.Scope6 = model.AddressScopeID{}, l.Scope
		}
		return r
	}
	for _, c := range []struct {
		name         string
		router       *model.RouterView
		noSNAT, none bool // without source NAT, without an external leg
		v6           bool // what is wanted is of IPv6, and nothing of IPv4
		marks        []string
		filters      []string
	}{
		{name: "no scopes", router: scoped(0, 0, 0)},
		{name: "no scopes, no source NAT", router: scoped(0, 0, 0), noSNAT: true},
		{name: "all of one", router: scoped(7, 7, 7), marks: []string{mark(one, "1"), mark(two, "1"), mark(out, "1")}},
		{name: "two and none", router: scoped(8, 7, 0), marks: []string{mark(one, "2"), mark(two, "1"), mark(out, "0")},
			filters: []string{answers, translated, drop(one, "2"), drop(two, "1")}},
		{name: "no source NAT", router: scoped(7, 0, 7), noSNAT: true, marks: []string{mark(one, "1"), mark(two, "0"), mark(out, "1")},
			filters: []string{answers, translated, floating, drop(one, "1"), drop(two, "0"), drop(out, "1")}},
		{name: "no external leg", router: scoped(7, 0, 0), none: true, marks: []string{mark(one, "1"), mark(two, "0")},
			filters: []string{answers, drop(one, "1"), drop(two, "0")}},
		{name: "IPv6", router: in6(scoped(7, 0, 7)), v6: true, marks: []string{mark(one, "1"), mark(two, "0"), mark(out, "1")},
			filters: []string{answers, drop(one, "1"), drop(two, "0"), drop(out, "1")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.router.External.SNAT = !c.noSNAT
			if c.none {
				c.router.External = nil
			}
			p := Compute(c.router, []*model.FloatingView{{Addr: netip.MustParseAddr("203.0.113.20"), Fixed: netip.MustParseAddr("10.0.1.9")}})
			with, without := p.V4, p.V6
			if c.v6 {
				with, without = p.V6, p.V4
			}
			for table, want := range map[string][]string{"mangle": c.marks, "filter": c.filters} {
				if got := scopeRules(with, table); !slices.Equal(got, want) {
					t.Errorf("%s:\n%s\nwant\n%s", table, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				if got := scopeRules(without, table); got != nil {
					t.Errorf("the other family: %s %q", table, got)
				}
			}
		})
	}
}
