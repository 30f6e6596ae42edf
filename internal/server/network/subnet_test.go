package network

import (
	"net/netip"
	"slices"
	"testing"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/store"
)

func TestSubnetDefaults(t *testing.T) {
	for _, c := range []struct {
		cidr    string
		change  func(*SubnetSpec)
		stored  string
		gateway string
		pools   []model.Range
	}{
		{cidr: "10.7.0.0/24", gateway: "10.7.0.1", pools: []model.Range{{First: addr("10.7.0.2"), Last: addr("10.7.0.254")}}},
		{cidr: "10.8.0.5/24", stored: "10.8.0.0/24", gateway: "10.8.0.1", pools: []model.Range{{First: addr("10.8.0.2"), Last: addr("10.8.0.254")}}},
		{cidr: "10.9.0.0/29", change: func(s *SubnetSpec) { s.Gateway = NullOf[netip.Addr]() },
			pools: []model.Range{{First: addr("10.9.0.1"), Last: addr("10.9.0.6")}}},
		{cidr: "10.9.0.0/29", change: func(s *SubnetSpec) { s.Gateway = Some(addr("10.9.0.3")) }, gateway: "10.9.0.3",
			pools: []model.Range{{First: addr("10.9.0.1"), Last: addr("10.9.0.2")}, {First: addr("10.9.0.4"), Last: addr("10.9.0.6")}}},
		{cidr: "10.9.0.0/31", gateway: "10.9.0.1", pools: []model.Range{{First: addr("10.9.0.0"), Last: addr("10.9.0.0")}}},
		{cidr: "fd00:8::/64", gateway: "fd00:8::1", pools: []model.Range{{First: addr("fd00:8::2"), Last: addr("fd00:8::ffff:ffff:ffff:ffff")}}},
		{cidr: "fd00:7::/64", change: slaac, gateway: "fd00:7::", pools: []model.Range{{First: addr("fd00:7::1"), Last: addr("fd00:7::ffff:ffff:ffff:ffff")}}},
	} {
		t.Run(c.cidr, func(t *testing.T) {
			w := newWorld(t)
			var changes []func(*SubnetSpec)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			s := w.subnet(demo, w.network(demo, NetworkSpec{}), c.cidr, changes...)
			gateway := ""
			if s.Gateway.IsValid() {
				gateway = s.Gateway.String()
			}
			if gateway != c.gateway || !slices.Equal(s.Pools, c.pools) || c.stored != "" && s.CIDR.String() != c.stored {
				t.Fatalf("cidr %s gateway %q pools %v", s.CIDR, gateway, s.Pools)
			}
		})
	}
}

func slaac(s *SubnetSpec) { s.RAMode, s.AddressMode = Some(model.IPv6SLAAC), Some(model.IPv6SLAAC) }

func pools(rs ...model.Range) func(*SubnetSpec) {
	return func(s *SubnetSpec) { s.Pools = Some(rs) }
}

func rng(first, last string) model.Range { return model.Range{First: addr(first), Last: addr(last)} }

func TestSubnetRefused(t *testing.T) {
	const net99 = "10.99.0.0/24"
	for _, c := range []struct {
		name, cidr    string
		change        func(*SubnetSpec)
		kind          fault.Kind
		typ, sentence string
	}{
		{"no cidr", "", nil, fault.Invalid, "BadRequest", "Bad subnets request: a subnetpool must be specified in the absence of a cidr."},
		{"mask too long", "10.0.0.0/33", nil, fault.Invalid, "InvalidInput", "Invalid input for operation: 10.0.0.0/33 is not in a CIDR format."},
		{"no cidr at all", "hello", nil, fault.Invalid, "InvalidInput", "Invalid input for operation: hello is not in a CIDR format."},
		{"mapped", "::ffff:10.0.0.0/120", nil, fault.Invalid, "InvalidInput", ""},
		{"/0", "0.0.0.0/0", nil, fault.Invalid, "InvalidInput", "Invalid input for operation: 0 is not allowed as CIDR prefix length."},
		{"wrong version", "10.0.0.0/24", func(s *SubnetSpec) { s.IPVersion = Some(6) }, fault.Invalid, "InvalidInput",
			"Invalid input for operation: cidr '10.0.0.0/24' does not match the ip_version '6'."},
		{"overlap", "10.7.0.128/25", nil, fault.Invalid, "InvalidInput", "*overlaps"},
		{"multicast", "224.0.0.0/24", nil, fault.Invalid, "InvalidInput", ""},
		{"loopback", "127.0.0.0/24", nil, fault.Invalid, "InvalidInput", ""},
		{"gateway is the network address", net99, func(s *SubnetSpec) { s.Gateway = Some(addr("10.99.0.0")) }, fault.Invalid, "InvalidInput",
			"Invalid input for operation: Gateway is not valid on subnet."},
		{"gateway is the broadcast address", net99, func(s *SubnetSpec) { s.Gateway = Some(addr("10.99.0.255")) }, fault.Invalid, "InvalidInput", ""},
		{"gateway of the other family", net99, func(s *SubnetSpec) { s.Gateway = Some(addr("fd00::1")) }, fault.Invalid, "InvalidInput",
			"Invalid input for operation: gateway_ip 'fd00::1' does not match the ip_version '4'."},
		{"gateway in pool", net99, func(s *SubnetSpec) {
			s.Gateway = Some(addr("10.99.0.5"))
			s.Pools = Some([]model.Range{rng("10.99.0.2", "10.99.0.9")})
		}, fault.Conflict, "GatewayConflictWithAllocationPools", "Gateway ip 10.99.0.5 conflicts with allocation pool 10.99.0.2-10.99.0.9."},
		{"pool outside", net99, pools(rng("10.98.0.2", "10.98.0.9")), fault.Invalid, "OutOfBoundsAllocationPool",
			"The allocation pool 10.98.0.2-10.98.0.9 spans beyond the subnet cidr 10.99.0.0/24."},
		{"pools overlap", net99, pools(rng("10.99.0.2", "10.99.0.9"), rng("10.99.0.8", "10.99.0.19")), fault.Conflict, "OverlappingAllocationPools",
			"Found overlapping allocation pools: 10.99.0.2-10.99.0.9 10.99.0.8-10.99.0.19 for subnet 10.99.0.0/24."},
		{"pool inverted", net99, pools(rng("10.99.0.9", "10.99.0.2")), fault.Invalid, "InvalidAllocationPool",
			"The allocation pool {'start': '10.99.0.9', 'end': '10.99.0.2'} is not valid."},
		{"dns twice", net99, func(s *SubnetSpec) { s.DNS = Some([]netip.Addr{addr("1.1.1.1"), addr("1.1.1.1")}) }, fault.Invalid, "HTTPBadRequest",
			"Invalid input for dns_nameservers. Reason: Duplicate nameserver '1.1.1.1'."},
		{"six dns servers", net99, func(s *SubnetSpec) {
			s.DNS = Some([]netip.Addr{addr("1.1.1.1"), addr("1.1.1.2"), addr("1.1.1.3"), addr("1.1.1.4"), addr("1.1.1.5"), addr("1.1.1.6")})
		}, fault.Invalid, "DNSNameServersExhausted", ""},
		{"route of the other family", net99, func(s *SubnetSpec) {
			s.Routes = Some([]model.Route{{Destination: netip.MustParsePrefix("fd00::/64"), NextHop: addr("fd00::1")}})
		}, fault.Invalid, "InvalidInput", ""},
		{"ra mode on v4", net99, func(s *SubnetSpec) { s.RAMode = Some(model.IPv6SLAAC) }, fault.Invalid, "InvalidInput",
			"Invalid input for operation: ipv6_ra_mode is not valid when ip_version is 4."},
		{"slaac on /65", "fd00:99::/65", slaac, fault.Invalid, "InvalidInput", "Invalid input for operation: Invalid CIDR fd00:99::/65 for IPv6 address mode. " +
			"OpenStack uses the EUI-64 address format, which requires the prefix to be /64."},
		{"modes differ", "fd00:98::/64", func(s *SubnetSpec) { s.RAMode, s.AddressMode = Some(model.IPv6SLAAC), Some(model.IPv6Stateful) }, fault.Invalid, "InvalidInput",
			"Invalid input for operation: ipv6_ra_mode set to 'slaac' with ipv6_address_mode set to 'dhcpv6-stateful' is not valid. If both attributes are set, they must be the same value."},
		{"modes without dhcp", "fd00:98::/64", func(s *SubnetSpec) { slaac(s); s.EnableDHCP = Some(false) }, fault.Invalid, "InvalidInput", ""},
		{"from an unknown pool", "", func(s *SubnetSpec) { s.SubnetPoolID = Some(model.SubnetPoolID{UUID: model.UUID{9}}) }, fault.NotFound, "SubnetPoolNotFound", ""},
		{"on an unknown network", net99, func(s *SubnetSpec) { s.NetworkID = Some(model.NetworkID{}) }, fault.NotFound, "NetworkNotFound", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			n := w.network(demo, NetworkSpec{})
			w.subnet(demo, n, "10.7.0.0/24")
			spec := subnetSpec(n, c.cidr)
			if c.change != nil {
				c.change(&spec)
			}
			if c.sentence == "*overlaps" {
				c.sentence = "Invalid input for operation: Requested subnet with cidr: 10.7.0.128/25 for network: " + n.ID.String() + " overlaps with another subnet."
			}
			_, err := try(w, func(tx *store.Tx) (*model.Subnet, error) { return w.rules.CreateSubnet(tx, w.env, demo, spec) })
			wantFault(t, err, c.kind, c.typ, c.sentence)
		})
	}
}

func TestSubnetUpdate(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	s := w.subnet(demo, n, "10.7.0.0/24")
	update := func(spec SubnetSpec) (*model.Subnet, error) {
		return try(w, func(tx *store.Tx) (*model.Subnet, error) {
			return w.rules.UpdateSubnet(tx, w.env, demo, s.ID, spec, nil)
		})
	}
	got, err := update(SubnetSpec{Name: Some("s1"), DNS: Some([]netip.Addr{addr("9.9.9.9")})})
	if err != nil || got.Revision != 1 || w.store.Snapshot().Network(n.ID).Revision != 3 {
		t.Fatalf("revision %d of the subnet, %v", got.Revision, err)
	}
	_, err = update(SubnetSpec{CIDR: Some("10.0.0.0/8")})
	wantFault(t, err, fault.Invalid, "HTTPBadRequest", "Cannot update read-only attribute cidr")
	_, err = update(SubnetSpec{Gateway: Some(addr("10.7.0.9"))})
	wantFault(t, err, fault.Conflict, "GatewayConflictWithAllocationPools", "")
	if got, err = update(SubnetSpec{Gateway: Some(addr("10.7.0.9")), Pools: Some([]model.Range{rng("10.7.0.20", "10.7.0.30")})}); err != nil || got.Gateway != addr("10.7.0.9") {
		t.Fatalf("gateway and pools together: %v", err)
	}
	if got, err = update(SubnetSpec{Gateway: NullOf[netip.Addr]()}); err != nil || got.Gateway.IsValid() {
		t.Fatalf("removing the gateway: %v", err)
	}
}

func dhcpPortOf(t *testing.T, w *world, n *model.Network) *model.Port {
	t.Helper()
	var found *model.Port
	for p := range w.store.Snapshot().PortsByNetwork(n.ID) {
		if p.DeviceOwner == model.OwnerDHCP {
			if found != nil {
				t.Fatal("two DHCP ports")
			}
			found = p
		}
	}
	return found
}

func TestDHCPPortFollowsTheSubnets(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	if dhcpPortOf(t, w, n) != nil {
		t.Fatal("a DHCP port without subnets")
	}
	a := w.subnet(demo, n, "10.7.0.0/24")
	p := dhcpPortOf(t, w, n)
	if p == nil || !slices.Equal(addrsOf(p), []string{"10.7.0.2"}) || p.DeviceID != model.DHCPDeviceID(n.ID) || p.Name != "" ||
		p.ProjectID != "demo" || len(p.SecurityGroups) != 0 || p.PortSecurity {
		t.Fatalf("DHCP port %+v", p)
	}
	w.subnet(demo, n, "10.8.0.0/24")
	w.subnet(demo, n, "10.9.0.0/24", func(s *SubnetSpec) { s.EnableDHCP = Some(false) })
	q := dhcpPortOf(t, w, n)
	if q.ID != p.ID || q.MAC != p.MAC || len(q.FixedIPs) != 2 {
		t.Fatalf("after a second subnet: %v", addrsOf(q))
	}
	w.subnet(demo, n, "fd00:7::/64", slaac)
	if q = dhcpPortOf(t, w, n); len(q.FixedIPs) != 3 {
		t.Fatalf("after a SLAAC subnet: %v", addrsOf(q))
	}
	if _, err := try(w, func(tx *store.Tx) (*model.Subnet, error) {
		return w.rules.UpdateSubnet(tx, w.env, demo, a.ID, SubnetSpec{EnableDHCP: Some(false)}, nil)
	}); err != nil {
		t.Fatal(err)
	}
	if q = dhcpPortOf(t, w, n); slices.Contains(addrsOf(q), "10.7.0.2") {
		t.Fatalf("after DHCP was switched off: %v", addrsOf(q))
	}
	err := w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, admin, q.ID, nil) })
	wantFault(t, err, fault.Conflict, "ServicePortInUse", "")
	for s := range w.store.Snapshot().SubnetsByNetwork(n.ID) {
		if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteSubnet(tx, w.env, demo, s.ID, nil) }); err != nil {
			t.Fatalf("the DHCP port is in the way: %v", err)
		}
	}
	if dhcpPortOf(t, w, n) != nil {
		t.Fatal("the DHCP port outlived its subnets")
	}
}

func TestFullSubnetDoesWithoutDHCPAddress(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	w.subnet(demo, n, "10.7.0.0/30", func(s *SubnetSpec) { s.Pools = Some([]model.Range{}) })
	if p := dhcpPortOf(t, w, n); p == nil || len(p.FixedIPs) != 0 {
		t.Fatalf("DHCP port %+v", p)
	}
}

func TestSubnetInUse(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	s := w.subnet(demo, n, "10.7.0.0/24")
	six := w.subnet(demo, n, "fd00:7::/64", slaac)
	p := w.port(demo, n)
	err := w.do(func(tx *store.Tx) error { return w.rules.DeleteSubnet(tx, w.env, demo, s.ID, nil) })
	wantFault(t, err, fault.Conflict, "SubnetInUse", "Unable to complete operation on subnet "+s.ID.String()+": One or more ports have an IP allocation from this subnet.")
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteSubnet(tx, w.env, demo, six.ID, nil) }); err != nil {
		t.Fatalf("addresses that guests made are in the way: %v", err)
	}
	if got := w.store.Snapshot().Port(p.ID); len(got.FixedIPs) != 1 || got.Revision != p.Revision+1 {
		t.Fatalf("the port keeps an address of a deleted subnet: %v", addrsOf(got))
	}
}

func TestSLAACSubnetGivesAddressesToPortsThatAreThere(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	p := w.port(demo, n, func(s *PortSpec) { s.MAC = Some(mac("fa:16:3e:14:d5:75")) })
	w.subnet(demo, n, "fd00:7::/64", slaac)
	if got := w.store.Snapshot().Port(p.ID); !slices.Equal(addrsOf(got), []string{"fd00:7::f816:3eff:fe14:d575"}) {
		t.Fatalf("addresses %v", addrsOf(got))
	}
}
