package router

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

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

func rulesOf(t *testing.T, p *Plan, table, name string) []string {
	t.Helper()
	for _, tb := range p.NAT {
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

// What comes by a leg in the external network's address scope leaves as it is; what has no scope, or another, is
// translated, and so is everything of a network that floating IPs stand for.
func TestNoSourceNATWithinAnAddressScope(t *testing.T) {
	const (
		one, two = "qr-01000000-00", "qr-02000000-00"
		outside  = "-i qg-03000000-00 -j MARK --set-xmark 0x2/0xffff"
		accept   = "-o qg-03000000-00 -m mark --mark 0x4000000/0xffff0000 -j ACCEPT"
		snat     = "-o qg-03000000-00 -j SNAT --to-source 203.0.113.10"
	)
	marked := func(leg string) string { return "-i " + leg + " -j MARK --set-xmark 0x4000000/0xffff0000" }
	for _, c := range []struct {
		name   string
		router *model.RouterView
		legs   []string // that are not translated
	}{
		{"no scopes", scoped(0, 0, 0), nil},
		{"no external scope", scoped(7, 7, 0), nil},
		{"one leg of the scope", scoped(7, 8, 7), []string{one}},
		{"the other without one", scoped(0, 7, 7), []string{two}},
		{"both", scoped(7, 7, 7), []string{one, two}},
	} {
		floating := []*model.FloatingView{{Addr: netip.MustParseAddr("203.0.113.20"), Fixed: netip.MustParseAddr("10.0.1.9")}}
		p := Compute(c.router, floating)
		marks, source := []string{outside}, []string{"-j neutron-l3-agent-float-snat"}
		for _, l := range c.legs {
			marks = append(marks, marked(l))
		}
		if c.legs != nil {
			source = append(source, accept)
		}
		source = append(source, snat)
		if got := rulesOf(t, p, "mangle", chainMark); !slices.Equal(got, marks) {
			t.Errorf("%s: marks\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(marks, "\n"))
		}
		if got := rulesOf(t, p, "nat", chainSNAT); !slices.Equal(got[:len(source)], source) {
			t.Errorf("%s: source NAT\n%s\nwant\n%s first", c.name, strings.Join(got, "\n"), strings.Join(source, "\n"))
		}
	}
	off := scoped(7, 7, 7)
	off.External.SNAT = false
	if got := rulesOf(t, Compute(off, nil), "nat", chainSNAT); len(got) != 1 {
		t.Errorf("without source NAT: %v", got)
	}
}
