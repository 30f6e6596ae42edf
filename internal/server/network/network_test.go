package network

import (
	"slices"
	"testing"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

func TestNetworkDefaults(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	if n.MTU != 1458 || !n.PortSecurity || !n.AdminStateUp || n.Revision != 1 || n.ProjectID != "demo" {
		t.Fatalf("not the defaults: %+v", n)
	}
	if s := n.Segments; len(s) != 1 || s[0].Type != model.TypeGRE || s[0].Tag != 1 || s[0].ID.IsZero() {
		t.Fatalf("segments %+v, want the first GRE key", s)
	}
	if second := w.network(demo, NetworkSpec{}); second.Segments[0].Tag != 2 {
		t.Fatalf("second network has key %d, want 2", second.Segments[0].Tag)
	}
	if n.CreatedAt.Nanosecond() != 0 {
		t.Fatalf("created at %v, want whole seconds", n.CreatedAt)
	}
}

func TestNetworkProviderAttributes(t *testing.T) {
	gre := Some("gre")
	for _, c := range []struct {
		name          string
		spec          NetworkSpec
		kind          fault.Kind
		typ, sentence string
	}{
		{"unknown type", NetworkSpec{NetworkType: Some("carrier-pigeon")}, fault.Invalid, "InvalidInput",
			"Invalid input for operation: network_type value 'carrier-pigeon' not supported."},
		{"vlan in use", NetworkSpec{NetworkType: Some("vlan"), PhysicalNetwork: Some("physnet1"), SegmentationID: Some(3999)}, fault.Conflict, "VlanIdInUse",
			"Unable to create the network. The VLAN 3999 on physical network physnet1 is in use."},
		{"vlan out of range", NetworkSpec{NetworkType: Some("vlan"), PhysicalNetwork: Some("physnet1"), SegmentationID: Some(5000)}, fault.Invalid, "InvalidInput",
			"Invalid input for operation: segmentation_id out of range (1 through 4094)."},
		{"vlan on unknown network", NetworkSpec{NetworkType: Some("vlan"), PhysicalNetwork: Some("physnet9"), SegmentationID: Some(5)}, fault.Invalid, "InvalidInput",
			"Invalid input for operation: physical_network 'physnet9' unknown for VLAN provider network."},
		{"vlan without network", NetworkSpec{NetworkType: Some("vlan"), SegmentationID: Some(5)}, fault.Invalid, "InvalidInput",
			"Invalid input for operation: segmentation_id requires physical_network for VLAN provider network."},
		{"gre on physical network", NetworkSpec{NetworkType: gre, PhysicalNetwork: Some("physnet1"), SegmentationID: Some(5)}, fault.Invalid, "InvalidInput",
			"Invalid input for operation: provider:physical_network specified for gre network."},
		{"flat on unknown network", NetworkSpec{NetworkType: Some("flat"), PhysicalNetwork: Some("nope")}, fault.Invalid, "InvalidInput",
			"Invalid input for operation: physical_network 'nope' unknown for flat provider network."},
		{"flat in use", NetworkSpec{NetworkType: Some("flat"), PhysicalNetwork: Some("physnet1")}, fault.Conflict, "FlatNetworkInUse", ""},
		{"gre key in use", NetworkSpec{NetworkType: gre, SegmentationID: Some(77)}, fault.Conflict, "TunnelIdInUse", ""},
		{"vxlan id of 25 bits", NetworkSpec{NetworkType: Some("vxlan"), SegmentationID: Some(1 << 24)}, fault.Invalid, "InvalidInput", ""},
		{"id without type", NetworkSpec{SegmentationID: Some(7)}, fault.Invalid, "InvalidInput", ""},
		{"both forms", NetworkSpec{NetworkType: gre, Segments: Some([]SegmentSpec{{NetworkType: gre}})}, fault.Invalid, "SegmentsSetInConjunctionWithProviders", ""},
		{"doubled segment", NetworkSpec{Segments: Some([]SegmentSpec{{NetworkType: gre, SegmentationID: Some(9)}, {NetworkType: gre, SegmentationID: Some(9)}})},
			fault.Invalid, "SegmentsContainDuplicateEntry", ""},
		{"mtu too big", NetworkSpec{MTU: Some(70000)}, fault.Invalid, "InvalidInput",
			"Invalid input for operation: Requested MTU is too big, maximum is 1458."},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.network(admin, NetworkSpec{NetworkType: Some("vlan"), PhysicalNetwork: Some("physnet1"), SegmentationID: Some(3999)})
			w.network(admin, NetworkSpec{NetworkType: Some("flat"), PhysicalNetwork: Some("physnet1")})
			w.network(admin, NetworkSpec{NetworkType: gre, SegmentationID: Some(77)})
			_, err := try(w, func(tx *store.Tx) (*model.Network, error) { return w.rules.CreateNetwork(tx, w.env, admin, c.spec) })
			wantFault(t, err, c.kind, c.typ, c.sentence)
		})
	}
}

func TestMultiSegmentNetworkTakesTheSmallestMTU(t *testing.T) {
	w := newWorld(t)
	n := w.network(admin, NetworkSpec{Segments: Some([]SegmentSpec{
		{NetworkType: Some("vlan"), PhysicalNetwork: Some("physnet1"), SegmentationID: Some(3998)},
		{NetworkType: Some("vxlan"), SegmentationID: Some(59999)},
	})})
	if n.MTU != 1450 || len(n.Segments) != 2 {
		t.Fatalf("mtu %d, segments %+v", n.MTU, n.Segments)
	}
}

func TestMTUOfEachType(t *testing.T) {
	for _, c := range []struct {
		segment model.Segment
		change  func(*Config)
		want    int
	}{
		{model.Segment{Type: model.TypeGRE}, nil, 1458},
		{model.Segment{Type: model.TypeVXLAN}, nil, 1450},
		{model.Segment{Type: model.TypeGeneve}, nil, 1450},
		{model.Segment{Type: model.TypeVLAN, Physical: "p"}, nil, 1500},
		{model.Segment{Type: model.TypeGRE}, func(c *Config) { c.UnderlayIPv6 = true }, 1438},
		{model.Segment{Type: model.TypeGRE}, func(c *Config) { c.PathMTU = 9000; c.GlobalMTU = 9100 }, 8958},
		{model.Segment{Type: model.TypeVLAN, Physical: "p"}, func(c *Config) { c.PhysicalMTU = map[string]int{"p": 1400} }, 1400},
	} {
		cfg := DefaultConfig()
		if c.change != nil {
			c.change(&cfg)
		}
		if got := (&Rules{Config: cfg}).maxMTU([]model.Segment{c.segment}); got != c.want {
			t.Errorf("%s: mtu %d, want %d", c.segment.Type, got, c.want)
		}
	}
}

func TestPickTagAsksFewQuestions(t *testing.T) {
	ranges := []IDRange{{1, 1 << 20}}
	for _, c := range []struct {
		name  string
		used  func(uint32) bool
		most  int
		first uint32 // 0: any
	}{
		{"empty", func(uint32) bool { return false }, 2, 1},
		{"a block", func(v uint32) bool { return v <= 60000 }, 64, 60001},
		{"all but one in eight", func(v uint32) bool { return v%8 != 3 }, 200, 0},
	} {
		asked := 0
		tag, ok := pickTag(ranges, testEnv(3), func(v uint32) bool { asked++; return !c.used(v) })
		if !ok || c.used(tag) || asked > c.most || c.first != 0 && tag != c.first {
			t.Errorf("%s: tag %d after %d questions, want at most %d", c.name, tag, asked, c.most)
		}
	}
	if _, ok := pickTag([]IDRange{{5, 9}}, testEnv(3), func(uint32) bool { return false }); ok {
		t.Error("found an id where none is free")
	}
	if tag, ok := pickTag([]IDRange{{5, 9}, {20, 20}}, testEnv(3), func(v uint32) bool { return v == 20 }); !ok || tag != 20 {
		t.Errorf("got %d, want the only free one, 20", tag)
	}
}

func TestTenantTypesAreTriedInOrder(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.TenantTypes = []model.NetworkType{model.TypeVXLAN, model.TypeGRE}
		c.TunnelRanges[model.TypeVXLAN] = []IDRange{{7, 7}}
		c.TunnelRanges[model.TypeGRE] = []IDRange{{8, 8}}
	})
	a, b := w.network(demo, NetworkSpec{}), w.network(demo, NetworkSpec{})
	if a.Segments[0].Type != model.TypeVXLAN || b.Segments[0].Type != model.TypeGRE {
		t.Fatalf("types %s, %s", a.Segments[0].Type, b.Segments[0].Type)
	}
	_, err := try(w, func(tx *store.Tx) (*model.Network, error) {
		return w.rules.CreateNetwork(tx, w.env, demo, NetworkSpec{})
	})
	wantFault(t, err, fault.Conflict, "NoNetworkAvailable", "")
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteNetwork(tx, w.env, demo, a.ID, nil) }); err != nil {
		t.Fatal(err)
	}
	if c := w.network(demo, NetworkSpec{}); c.Segments[0].Type != model.TypeVXLAN || c.Segments[0].Tag != 7 {
		t.Fatalf("the id of a deleted network was not given out again: %+v", c.Segments)
	}
}

func TestNetworkUpdate(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	update := func(who authn.Principal, spec NetworkSpec, ifMatch *int64) (*model.Network, error) {
		return try(w, func(tx *store.Tx) (*model.Network, error) {
			return w.rules.UpdateNetwork(tx, w.env, who, n.ID, spec, ifMatch)
		})
	}
	got, err := update(demo, NetworkSpec{Name: Some("net1"), Description: Some("d")}, nil)
	if err != nil || got.Revision != 2 || got.Name != "net1" {
		t.Fatalf("got %+v, %v", got, err)
	}
	same, err := update(demo, NetworkSpec{Name: Some("net1")}, nil)
	if err != nil || same.Revision != 2 {
		t.Fatalf("an update that changes nothing: revision %d, %v", same.Revision, err)
	}
	stale := int64(0)
	_, err = update(demo, NetworkSpec{Name: Some("y")}, &stale)
	wantFault(t, err, fault.Stale, "RevisionNumberConstraintFailed", "Constrained to 0, but current revision is 2")
	_, err = update(demo, NetworkSpec{ProjectID: Some("other")}, nil)
	wantFault(t, err, fault.Invalid, "HTTPBadRequest", "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin or advsvc privileges")
	_, err = update(admin, NetworkSpec{SegmentationID: Some(4)}, nil)
	wantFault(t, err, fault.Invalid, "InvalidInput", "")
	_, err = update(other, NetworkSpec{Name: Some("x")}, nil)
	wantFault(t, err, fault.NotFound, "NetworkNotFound", "Network "+n.ID.String()+" could not be found.")
}

func TestNetworkStopsBeingShared(t *testing.T) {
	w := newWorld(t)
	n := w.network(admin, NetworkSpec{Shared: Some(true)})
	w.port(other, n)
	unshare := func() error {
		_, err := try(w, func(tx *store.Tx) (*model.Network, error) {
			return w.rules.UpdateNetwork(tx, w.env, admin, n.ID, NetworkSpec{Shared: Some(false)}, nil)
		})
		return err
	}
	wantFault(t, unshare(), fault.Conflict, "InvalidSharedSetting", "")
	for p := range w.store.Snapshot().PortsByNetwork(n.ID) {
		if err := w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, other, p.ID, nil) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := unshare(); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkDelete(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	w.subnet(demo, n, "10.7.0.0/24")
	p := w.port(demo, n)
	del := func() error {
		return w.do(func(tx *store.Tx) error { return w.rules.DeleteNetwork(tx, w.env, demo, n.ID, nil) })
	}
	wantFault(t, del(), fault.Conflict, "NetworkInUse", "Unable to complete operation on network "+n.ID.String()+
		". There are one or more ports still in use on the network, id for these ports is: "+p.ID.String()+".")
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, demo, p.ID, nil) }); err != nil {
		t.Fatal(err)
	}
	if err := del(); err != nil {
		t.Fatalf("the DHCP port is in the way: %v", err)
	}
	s := w.store.Snapshot()
	if s.Network(n.ID) != nil || len(slices.Collect(s.Subnets())) != 0 || len(slices.Collect(s.Ports())) != 0 {
		t.Fatal("something of the network is left")
	}
}

func TestOneDefaultExternalNetwork(t *testing.T) {
	w := newWorld(t)
	w.network(admin, NetworkSpec{External: Some(true), IsDefault: Some(true)})
	_, err := try(w, func(tx *store.Tx) (*model.Network, error) {
		return w.rules.CreateNetwork(tx, w.env, admin, NetworkSpec{External: Some(true), IsDefault: Some(true)})
	})
	wantFault(t, err, fault.Conflict, "DefaultExternalNetworkExists", "")
}

func TestQuotas(t *testing.T) {
	w := newWorld(t)
	set := func(who authn.Principal, spec QuotaSpec) error {
		return w.do(func(tx *store.Tx) error { return w.rules.UpdateQuota(tx, w.env, who, "demo", spec) })
	}
	if err := set(admin, QuotaSpec{Limits: map[string]int64{"network": 1}}); err != nil {
		t.Fatal(err)
	}
	w.network(demo, NetworkSpec{})
	_, err := try(w, func(tx *store.Tx) (*model.Network, error) {
		return w.rules.CreateNetwork(tx, w.env, demo, NetworkSpec{})
	})
	wantFault(t, err, fault.QuotaExceeded, "OverQuota", "Quota exceeded for resources: ['network'].")
	if u := w.rules.Usage(w.store.Snapshot(), "demo")["network"]; u != (QuotaUsage{Limit: 1, Used: 1}) {
		t.Fatalf("usage %+v", u)
	}
	wantFault(t, set(demo, QuotaSpec{Limits: map[string]int64{"network": 10}}), fault.Forbidden, "PolicyNotAuthorized", "rule:update_quota is disallowed by policy")
	wantFault(t, w.rules.CheckQuotaAccess(other, "demo"), fault.Forbidden, "PolicyNotAuthorized", "rule:get_quota is disallowed by policy")
	wantFault(t, set(admin, QuotaSpec{Limits: map[string]int64{"banana": 1}}), fault.Invalid, "HTTPBadRequest", "Unrecognized attribute(s) 'banana'")
	wantFault(t, set(admin, QuotaSpec{Limits: map[string]int64{"network": -2}}), fault.Invalid, "HTTPBadRequest",
		"Invalid input for network. Reason: '-2' is too small - must be at least '-1'.")
	wantFault(t, set(admin, QuotaSpec{Limits: map[string]int64{"network": 0}, CheckLimit: true}), fault.Invalid, "HTTPBadRequest",
		"Quota limit 0 for network must be greater than or equal to already used 1")
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteQuota(tx, w.env, admin, "demo") }); err != nil {
		t.Fatal(err)
	}
	if l := w.rules.Limits(w.store.Snapshot(), "demo")["network"]; l != 100 {
		t.Fatalf("limit %d after reset", l)
	}
	wantFault(t, w.do(func(tx *store.Tx) error { return w.rules.DeleteQuota(tx, w.env, admin, "demo") }),
		fault.NotFound, "TenantQuotaNotFound", "Quota for tenant demo could not be found.")
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	set := func(who authn.Principal, tags ...string) error {
		return w.do(func(tx *store.Tx) error { return w.rules.SetTags(tx, w.env, who, TagNetworks, n.ID.UUID, tags, nil) })
	}
	if err := set(demo, "red", "blue", "red"); err != nil {
		t.Fatal(err)
	}
	if got := w.store.Snapshot().Network(n.ID); !slices.Equal(got.Tags, []string{"blue", "red"}) || got.Revision != 2 {
		t.Fatalf("tags %v, revision %d", got.Tags, got.Revision)
	}
	remove := func(tag string) error {
		return w.do(func(tx *store.Tx) error { return w.rules.RemoveTag(tx, w.env, demo, TagNetworks, n.ID.UUID, tag, nil) })
	}
	wantFault(t, remove("none"), fault.NotFound, "TagNotFound", "Tag none could not be found.")
	if err := remove("red"); err != nil {
		t.Fatal(err)
	}
	wantFault(t, set(other, "x"), fault.NotFound, "TagResourceNotFound", "Resource networks "+n.ID.String()+" could not be found.")
	wantFault(t, set(demo, "a\nb"), fault.Invalid, "InvalidInput", "")
	many := make([]string, 51)
	for i := range many {
		many[i] = string(rune('A' + i))
	}
	wantFault(t, set(demo, many...), fault.Invalid, "BadRequest", "")
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no tenant type":            func(c *Config) { c.TenantTypes = nil },
		"flat for tenants":          func(c *Config) { c.TenantTypes = []model.NetworkType{model.TypeFlat} },
		"type without range":        func(c *Config) { c.TunnelRanges = nil },
		"range backwards":           func(c *Config) { c.TunnelRanges[model.TypeGRE] = []IDRange{{5, 1}} },
		"ranges overlap":            func(c *Config) { c.TunnelRanges[model.TypeGRE] = []IDRange{{1, 5}, {5, 9}} },
		"vlan 4095":                 func(c *Config) { c.VLANRanges["p"] = []IDRange{{1, 4095}} },
		"vxlan beyond 24 bits":      func(c *Config) { c.TunnelRanges[model.TypeVXLAN] = []IDRange{{1, 1 << 24}} },
		"multicast MAC base":        func(c *Config) { c.MACBase[0] = 1 },
		"negative quota":            func(c *Config) { c.Quotas["port"] = -2 },
		"mtu of a pigeon":           func(c *Config) { c.GlobalMTU = -1 },
		"range of no tunnel type":   func(c *Config) { c.TunnelRanges["flat"] = []IDRange{{1, 2}} },
		"nameless physical network": func(c *Config) { c.VLANRanges[""] = nil },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
