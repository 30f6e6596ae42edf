package model

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUUID_textRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u UUID
		copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		for _, s := range []string{u.String(), strings.ToUpper(u.String()), strings.ReplaceAll(u.String(), "-", "")} {
			v, err := ParseUUID(s)
			if err != nil || v != u {
				t.Fatalf("%s: %v, %v", s, v, err)
			}
		}
	})
}

func TestParseUUID_refuses(t *testing.T) {
	for _, s := range []string{"", "x", "051a94d5-1bd3-4a06-b5d6-0fe30cedc63", "051a94d5-1bd3-4a06-b5d6-0fe30cedc63dd", "051a94d5_1bd3_4a06_b5d6_0fe30cedc63d",
		"051a94d5-1bd3-4a06-b5d6-0fe30cedc63g", "{051a94d5-1bd3-4a06-b5d6-0fe30cedc6}"} {
		if _, err := ParseUUID(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestRandomUUID_isVersion4(t *testing.T) {
	if got := RandomUUID([16]byte{}).String(); got != "00000000-0000-4000-8000-000000000000" {
		t.Errorf("got %s", got)
	}
}

func TestPortID_namesItsDevicesAndChains(t *testing.T) {
	u, err := ParseUUID("37b25c08-e8d3-4a06-b5d6-0fe30cedc63d")
	if err != nil {
		t.Fatal(err)
	}
	p := PortID{u}
	if p.DeviceSuffix() != "37b25c08-e8" || p.ChainSuffix() != "37b25c08-e" {
		t.Errorf("devices %s, chains %s", p.DeviceSuffix(), p.ChainSuffix())
	}
}

func FuzzParseMAC(f *testing.F) {
	for _, s := range []string{"fa:16:3e:00:00:01", "FA-16-3E-00-00-01", "fa163e000001", "fa:16:3e:00:00", "fa:16-3e:00:00:01", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			return
		}
		if again, err := ParseMAC(m.String()); err != nil || again != m {
			t.Fatalf("%q read as %s, which reads as %s, %v", s, m, again, err)
		}
	})
}

func TestMAC_EUI64(t *testing.T) {
	m, err := ParseMAC("fa:16:3e:97:7c:e1")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.EUI64(); got != [8]byte{0xf8, 0x16, 0x3e, 0xff, 0xfe, 0x97, 0x7c, 0xe1} {
		t.Errorf("got %x", got)
	}
}

func TestPortStatus_isDerivedFromTheLastReport(t *testing.T) {
	bound := func(f func(*Port)) *Port {
		p := &Port{AdminStateUp: true, Binding: Binding{HostID: "compute1", VIFType: VIFOVS, Since: 5}}
		if f != nil {
			f(p)
		}
		return p
	}
	active := &PortReport{HostReport: HostReport{Host: "compute1", Revision: 5, State: ReportActive}}
	for _, c := range []struct {
		rule   string
		port   *Port
		report *PortReport
		want   string
	}{
		{"no report is DOWN", bound(nil), nil, "DOWN"},
		{"the host says it is wired", bound(nil), active, "ACTIVE"},
		{"the host waits for the device", bound(nil), &PortReport{HostReport: HostReport{Host: "compute1", Revision: 5, State: ReportWaiting}}, "DOWN"},
		{"the host cannot apply it", bound(nil), &PortReport{HostReport: HostReport{Host: "compute1", Revision: 5, State: ReportFailed}}, "ERROR"},
		{"another host's word counts for nothing", bound(nil), &PortReport{HostReport: HostReport{Host: "compute2", Revision: 9, State: ReportActive}}, "DOWN"},
		{"a word from before the binding counts for nothing", bound(nil), &PortReport{HostReport: HostReport{Host: "compute1", Revision: 4, State: ReportActive}}, "DOWN"},
		{"a leg's status is that of the gateway that answers", bound(func(p *Port) { p.DeviceOwner = OwnerRouterGateway }), &PortReport{HostReport: HostReport{Host: "gw2", Revision: 5, State: ReportActive}}, "ACTIVE"},
		{"a leg for which nobody answers is DOWN", bound(func(p *Port) { p.DeviceOwner = OwnerRouterGateway }), &PortReport{HostReport: HostReport{Host: "compute1", Revision: 5, State: ReportStandby}}, "DOWN"},
		{"an unbound port is DOWN", bound(func(p *Port) { p.Binding.HostID = "" }), active, "DOWN"},
		{"a port that is switched off is DOWN", bound(func(p *Port) { p.AdminStateUp = false }), active, "DOWN"},
		{"a network's DHCP port is everywhere", &Port{DeviceOwner: OwnerDHCP, DeviceID: DHCPDeviceID(NetworkID{})}, nil, "ACTIVE"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := c.port.Status(c.report); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestPortReport_theGatewayThatAnswersCounts: of what the gateways of a router say about a leg.
func TestPortReport_theGatewayThatAnswersCounts(t *testing.T) {
	word := func(host string, revision int64, s ReportState) HostReport {
		return HostReport{Host: host, Revision: revision, State: s}
	}
	for _, c := range []struct {
		rule  string
		said  []HostReport
		gone  []string
		count string // the host whose word counts, empty for none
		words int
	}{
		{rule: "the stand-by speaks before", said: []HostReport{word("b", 1, ReportStandby), word("a", 1, ReportActive)}, count: "a", words: 2},
		{rule: "the stand-by speaks after", said: []HostReport{word("a", 1, ReportActive), word("b", 1, ReportStandby)}, count: "a", words: 2},
		{rule: "a stand-by that fails breaks nothing", said: []HostReport{word("a", 1, ReportActive), word("b", 1, ReportFailed)}, count: "a", words: 2},
		{rule: "one that died does not say so", said: []HostReport{word("a", 1, ReportActive), word("b", 1, ReportActive)}, count: "b", words: 2},
		{rule: "it comes back and takes over", said: []HostReport{word("a", 1, ReportActive), word("b", 1, ReportActive), word("a", 1, ReportActive), word("b", 1, ReportStandby)}, count: "a", words: 2},
		{rule: "a failure is told when nobody answers", said: []HostReport{word("a", 1, ReportFailed), word("b", 1, ReportStandby)}, count: "a", words: 2},
		{rule: "an older revision is no news", said: []HostReport{word("a", 2, ReportActive), word("a", 1, ReportFailed)}, count: "a", words: 1},
		{rule: "the answering one is taken off the router", said: []HostReport{word("a", 1, ReportActive), word("b", 1, ReportActive)}, gone: []string{"b"}, count: "a", words: 1},
		{rule: "one that said nothing is taken off", said: []HostReport{word("a", 1, ReportActive)}, gone: []string{"c"}, count: "a", words: 1},
		{rule: "all are taken off", said: []HostReport{word("a", 1, ReportActive), word("b", 1, ReportStandby)}, gone: []string{"a", "b"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var r *PortReport
			for _, w := range c.said {
				before := r
				if r = r.With(PortID{}, w); r != before && r.With(PortID{}, w) != r {
					t.Error("the same again is news")
				}
			}
			for _, h := range c.gone {
				r = r.Without(h)
			}
			switch {
			case r == nil:
				if c.count != "" {
					t.Error("nobody says anything")
				}
			case r.Host != c.count || len(r.Others)+1 != c.words:
				t.Errorf("%s counts, others %v", r.Host, r.Others)
			}
		})
	}
}

// TestPortReport_readsWhatWasWrittenBefore: rows of the journal from when the host that a port is bound to was the only one to speak.
func TestPortReport_readsWhatWasWrittenBefore(t *testing.T) {
	const row = `{"port_id":"37000000-0000-4000-8000-000000000001","host":"gw1","revision":3,"state":"ACTIVE","at":"2026-01-02T03:04:05Z"}`
	var r PortReport
	if err := json.Unmarshal([]byte(row), &r); err != nil || r.Host != "gw1" || r.Revision != 3 || r.State != ReportActive || r.At.Year() != 2026 {
		t.Errorf("read %+v, %v", r, err)
	}
	if got, err := json.Marshal(&r); err != nil || string(got) != row {
		t.Errorf("written %s, %v", got, err)
	}
}

func TestSettle_onlyWhatHostsActOnMovesTheSpec(t *testing.T) {
	base := &Port{Meta: Meta{Revision: 3}, AdminStateUp: true, Binding: Binding{HostID: "a"}}
	base.Settle(nil)
	change := func(f func(*Port)) *Port {
		p := base.Clone()
		p.Revision = 4
		f(p)
		p.Settle(base)
		return p
	}
	for _, c := range []struct {
		rule        string
		change      func(*Port)
		spec, since int64
	}{
		{"a name is nobody's business", func(p *Port) { p.Name = "x"; p.Tags = []string{"t"} }, 3, 3},
		{"an address is the host's business", func(p *Port) { p.FixedIPs = []FixedIP{{Addr: netip.MustParseAddr("10.0.0.1")}} }, 4, 3},
		{"a group is the host's business", func(p *Port) { p.SecurityGroups = []SecurityGroupID{{}} }, 4, 3},
		{"another host is a new binding", func(p *Port) { p.Binding.HostID = "b" }, 4, 4},
		{"another MAC is a new binding", func(p *Port) { p.MAC = MAC{1} }, 4, 4},
		{"switching off is a new binding", func(p *Port) { p.AdminStateUp = false }, 4, 4},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := change(c.change)
			if p.SpecRevision != c.spec || p.Binding.Since != c.since {
				t.Errorf("spec %d, since %d; want %d, %d", p.SpecRevision, p.Binding.Since, c.spec, c.since)
			}
		})
	}
}
