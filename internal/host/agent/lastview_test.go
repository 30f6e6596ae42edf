package agent

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"weft/api/hostpb"
	"weft/internal/model"
)

func sampleView() *model.HostView {
	v := model.NewHostView("compute1")
	v.Revision, v.History = 42, model.UUID{9: 9}
	net, port, group := model.NetworkID{UUID: model.UUID{1}}, model.PortID{UUID: model.UUID{2}}, model.SecurityGroupID{UUID: model.UUID{3}}
	v.Networks[net] = &model.NetworkView{
		ID: net, MTU: 1458, AdminStateUp: true, Segment: model.Segment{Type: model.TypeGRE, Tag: 7}, DHCPMAC: model.MAC{2, 2, 2, 2, 2, 2},
		Subnets: []model.SubnetView{{ID: model.SubnetID{UUID: model.UUID{4}}, CIDR: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1"), EnableDHCP: true}},
	}
	v.Ports[port] = &model.PortView{
		ID: port, NetworkID: net, Revision: 3, MAC: model.MAC{0xfa, 1, 2, 3, 4, 5}, AdminStateUp: true, PortSecurity: true, SecurityGroups: []model.SecurityGroupID{group},
		FixedIPs: []model.FixedIP{{SubnetID: model.SubnetID{UUID: model.UUID{4}}, Addr: netip.MustParseAddr("10.0.0.5")}}, Firewall: model.FirewallHybrid,
	}
	v.Groups[group] = &model.GroupView{ID: group, Stateful: true, Rules: []model.RuleView{{
		ID: model.SecurityGroupRuleID{UUID: model.UUID{5}}, Direction: model.Ingress, EtherType: model.IPv6, Protocol: 6, PortMin: 22, PortMax: 22, RemotePrefix: netip.MustParsePrefix("2001:db8::/32"),
	}}}
	key := model.MemberKey{Set: group.UUID, Port: port.UUID}
	v.Members[key] = &model.MemberView{Key: key, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32")}}
	peer := model.PortID{UUID: model.UUID{6}}
	v.Peers[peer] = &model.PeerView{PortID: peer, NetworkID: net, MAC: model.MAC{1, 2, 3, 4, 5, 6}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.6")}, Tunnel: netip.MustParseAddr("10.0.1.32")}
	r := &model.RouterView{
		ID: model.RouterID{UUID: model.UUID{7}}, AdminStateUp: true, Gateways: []model.GatewayView{{Host: "network1", Tunnel: netip.MustParseAddr("10.0.1.21")}},
		Legs: []model.LegView{{PortID: port, NetworkID: net, MAC: model.MAC{1, 2, 3, 4, 5, 7}, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}, MTU: 1458}},
	}
	v.Routers[r.ID] = r
	f := &model.FloatingView{ID: model.FloatingIPID{UUID: model.UUID{8}}, RouterID: r.ID, Addr: netip.MustParseAddr("203.0.113.7"), Fixed: netip.MustParseAddr("10.0.0.5"), PortID: port, PortHost: "compute1"}
	v.Floating[f.ID] = f
	return v
}

func TestLastView_survivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "view.pb")
	want := sampleView()
	if err := saveView(path, want, &hostpb.Settings{L2Population: true}); err != nil {
		t.Fatal(err)
	}
	got, settings, err := loadView(path, "compute1")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || !settings.GetL2Population() {
		t.Fatalf("got %+v", got)
	}
}

// rewrite changes the file at path and makes its checksum right again.
func rewrite(t *testing.T, path string, change func(magic string, body []byte) (string, []byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := len(lastViewMagic)
	magic, body := change(string(b[:n]), b[n+4:])
	b = binary.BigEndian.AppendUint32([]byte(magic), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(path, append(b, body...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLastView_isResumedFromOnlyByTheSchemaThatWroteIt(t *testing.T) {
	for name, change := range map[string]func(string, []byte) (string, []byte){
		"another schema":   func(magic string, body []byte) (string, []byte) { body[0]++; return magic, body },
		"the first format": func(_ string, body []byte) (string, []byte) { return firstViewMagic, body[8:] },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "view.pb")
			want := sampleView()
			if err := saveView(path, want, nil); err != nil {
				t.Fatal(err)
			}
			rewrite(t, path, change)
			got, _, err := loadView(path, "compute1")
			if err != nil {
				t.Fatal(err)
			}
			want.History = model.UUID{}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v", got)
			}
		})
	}
}

func TestLastView_aDamagedOneCountsAsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "view.pb")
	if _, _, err := loadView(path, "compute1"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("none: %v", err)
	}
	if err := saveView(path, sampleView(), nil); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		broken := append([]byte{}, whole...)
		broken[n] ^= 0x40
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := loadView(path, "compute1"); !errors.Is(err, errDamaged) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := loadView(path, "compute1"); !errors.Is(err, errDamaged) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

// TestHowSoonAChangeIsOnDisk: what a port's filters could be taken away for is there before they are in force, what a
// revoked rule could come back by before the server is told, and the rest a moment later.
func TestHowSoonAChangeIsOnDisk(t *testing.T) {
	gone := func(k model.ObjectKind) model.ViewDelta {
		return model.ViewDelta{Deletes: []model.ObjectKey{{Kind: k}}}
	}
	for name, c := range map[string]struct {
		delta model.ViewDelta
		want  need
	}{
		"peer":          {model.ViewDelta{Peers: []*model.PeerView{{}}}, needSoon},
		"peer goes":     {gone(model.KindPeer), needSoon},
		"member":        {model.ViewDelta{Members: []*model.MemberView{{}}}, needSoon},
		"member goes":   {gone(model.KindMember), needSoon},
		"rule":          {model.ViewDelta{Groups: []*model.GroupView{{}}}, needTold},
		"group goes":    {gone(model.KindGroup), needTold},
		"port":          {model.ViewDelta{Ports: []*model.PortView{{}}}, needFilters},
		"port and rule": {model.ViewDelta{Ports: []*model.PortView{{}}, Groups: []*model.GroupView{{}}}, needFilters},
		"port goes":     {gone(model.KindPort), needFilters},
		"network":       {model.ViewDelta{Networks: []*model.NetworkView{{}}}, needFilters},
		"network goes":  {gone(model.KindNetwork), needFilters},
		"router":        {model.ViewDelta{Routers: []*model.RouterView{{}}}, needFilters},
		"router goes":   {gone(model.KindRouter), needFilters},
		"peer, group":   {model.ViewDelta{Peers: []*model.PeerView{{}}, Deletes: []model.ObjectKey{{Kind: model.KindGroup}, {Kind: model.KindPeer}}}, needTold},
	} {
		if got := needOf(&c.delta); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestSavingGoesOnBesideTheLoop: what save began is on disk when kept returns, a second save comes after the first, and
// one that failed is made up for.
func TestSavingGoesOnBesideTheLoop(t *testing.T) {
	dir := t.TempDir()
	a := &Agent{cfg: Config{StateDir: dir}, log: slog.New(slog.DiscardHandler), view: sampleView()}
	for _, revision := range []uint64{43, 44} {
		a.view.Revision, a.unsaved = revision, true
		a.save()
	}
	a.kept()
	if v, err := LoadView(a.lastViewPath(), "compute1"); err != nil || v.Revision != 44 || a.unsaved {
		t.Fatalf("%+v, %v, unsaved %v", v, err, a.unsaved)
	}
	a.cfg.StateDir, a.unsaved = filepath.Join(dir, "missing"), true
	a.save()
	a.kept()
	if !a.unsaved {
		t.Error("a view that could not be written counts as saved")
	}
}
