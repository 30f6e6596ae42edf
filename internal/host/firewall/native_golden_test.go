package firewall_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/host/flow"
	"weft/internal/model"
	"weft/internal/testkit/filtertest"
	"weft/internal/testkit/golden"
	"weft/internal/testkit/ovstest"
)

// sample is a host with a stateful port, which has an address pair, and a stateless
// one, and rules of each kind.
func sample() firewall.Input {
	set, other := filtertest.ID(0x7000), filtertest.ID(0x7100)
	web := filtertest.Group(0x3000, true,
		filtertest.Rule(1, model.Ingress, model.IPv4, filtertest.Proto(6, 80, 83)),
		filtertest.Rule(2, model.Ingress, model.IPv4, filtertest.Proto(1, 8, 0)),
		filtertest.Rule(3, model.Ingress, model.IPv4, filtertest.Proto(6, 5432, 5432), filtertest.FromGroup(set)),
		filtertest.Rule(4, model.Ingress, model.IPv4, filtertest.Proto(17, 53, 53), filtertest.Remote("192.0.2.0/24")),
		filtertest.Rule(5, model.Egress, model.IPv4),
		filtertest.Rule(6, model.Egress, model.IPv6))
	def := filtertest.Group(0x3100, true,
		filtertest.Rule(7, model.Ingress, model.IPv4, filtertest.FromGroup(other)),
		filtertest.Rule(8, model.Ingress, model.IPv4, filtertest.Proto(6, 82, 85)))
	plain := filtertest.Group(0x3200, false,
		filtertest.Rule(9, model.Ingress, model.IPv4, filtertest.Proto(17, 514, 514), filtertest.FromGroup(set)),
		filtertest.Rule(10, model.Egress, model.IPv4, filtertest.Proto(17, 514, 514)))
	a := filtertest.Port(0x3700, []*model.GroupView{web, def}, "10.0.0.11", "2001:db8::11")
	a.AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("10.0.0.128/25"), MAC: a.MAC}}
	b := filtertest.Port(0x3800, []*model.GroupView{plain}, "10.0.0.12")
	in := firewall.Input{
		Groups: filtertest.Groups(web, def, plain), Members: filtertest.Members(set, "10.0.0.12/32", "10.0.0.54/32"),
		Ports: []firewall.PortInput{{View: a, Network: filtertest.Network(), Zone: 1, OFPort: 11}, {View: b, Network: filtertest.Network(), Zone: 1, OFPort: 12}},
	}
	for k, m := range filtertest.Members(other, "10.0.0.54/32", "10.2.0.0/16") {
		in.Members[k] = m
	}
	return in
}

func sampleFlows() []flow.Flow {
	var c firewall.FlowCache
	out := c.Native(sample())
	return slices.Concat(out.Flows, c.AllMembers())
}

func text(flows []flow.Flow) string {
	var b strings.Builder
	for _, f := range flows {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

// TestGolden keeps the flows in sight. Run with -update, then read the difference.
func TestGolden(t *testing.T) {
	golden.Check(t, "testdata/native.txt", text(sampleFlows()))
}

// TestTheSwitchReturnsWhatItWasGiven: a restarted agent writes nothing.
func TestTheSwitchReturnsWhatItWasGiven(t *testing.T) {
	s := ovstest.Start(t)
	s.AddBridge("br-int")
	flows := sampleFlows()
	s.OfctlInput(text(flows), "--bundle", "replace-flows", "br-int", "-")
	var have []flow.Flow
	for line := range strings.Lines(s.Ofctl("--no-stats", "--no-names", "dump-flows", "br-int")) {
		if !strings.Contains(line, "cookie=") {
			continue
		}
		f, err := flow.Parse(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("parsing %q: %v", line, err)
		}
		have = append(have, f)
	}
	if add, del := flow.Diff(flows, have, nil); len(add)+len(del) != 0 || len(have) != len(flows) {
		t.Errorf("%d flows come back as %d: add\n%sdelete\n%s", len(flows), len(have), text(add), text(del))
	}
}
