package network

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/store"
)

func fixed(specs ...FixedIPSpec) func(*PortSpec) {
	return func(s *PortSpec) { s.FixedIPs = Some(specs) }
}

func TestPortDefaults(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	four := w.subnet(demo, n, "10.7.0.0/24")
	w.subnet(demo, n, "10.8.0.0/24")
	six := w.subnet(demo, n, "fd00:7::/64", slaac)
	p := w.port(demo, n)
	if len(p.FixedIPs) != 2 || p.FixedIPs[0].SubnetID == six.ID || p.FixedIPs[1].SubnetID != six.ID {
		t.Fatalf("want one IPv4 and the SLAAC address, got %v", p.FixedIPs)
	}
	if p.MAC[0] != 0xfa || p.MAC[1] != 0x16 || p.MAC[2] != 0x3e {
		t.Fatalf("MAC %s", p.MAC)
	}
	def := w.store.Snapshot().DefaultSecurityGroup("demo")
	if def == nil || !slices.Equal(p.SecurityGroups, []model.SecurityGroupID{def.ID}) || !p.PortSecurity {
		t.Fatalf("groups %v", p.SecurityGroups)
	}
	if p.Revision != 1 || p.Binding.VIFType != model.VIFUnbound || p.Binding.Since != 1 {
		t.Fatalf("port %+v", p)
	}
	q := w.port(demo, n, fixed(FixedIPSpec{SubnetID: four.ID}))
	if len(q.FixedIPs) != 2 || q.FixedIPs[0].SubnetID != four.ID {
		t.Fatalf("asked for a subnet: %v", q.FixedIPs)
	}
	bare := w.port(demo, n, fixed(), func(s *PortSpec) { s.PortSecurity = Some(false) })
	if len(bare.FixedIPs) != 1 || len(bare.SecurityGroups) != 0 || bare.PortSecurity {
		t.Fatalf("no addresses asked, no port security: %v %v", bare.FixedIPs, bare.SecurityGroups)
	}
}

func TestPortRefused(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	s := w.subnet(demo, n, "10.7.0.0/24")
	six := w.subnet(demo, n, "fd00:7::/64", slaac)
	elsewhere := w.subnet(demo, w.network(demo, NetworkSpec{}), "10.66.0.0/24")
	taken := w.port(admin, n, fixed(FixedIPSpec{SubnetID: s.ID, Addr: addr("10.7.0.77")}), func(s *PortSpec) { s.MAC = Some(mac("fa:16:3e:00:00:77")) })
	def := w.store.Snapshot().DefaultSecurityGroup("demo")
	ip := func(a string) func(*PortSpec) { return fixed(FixedIPSpec{SubnetID: s.ID, Addr: addr(a)}) }
	pairs := func(ps ...AddressPairSpec) func(*PortSpec) {
		return func(s *PortSpec) { s.AddressPairs = Some(ps) }
	}
	eleven := make([]AddressPairSpec, 11)
	for i := range eleven {
		eleven[i].IP = Some(netip.AddrFrom4([4]byte{1, 2, 3, byte(i)}).String())
	}
	unknown := model.SecurityGroupID{UUID: model.UUID{0x11}}
	for _, c := range []struct {
		name          string
		change        func(*PortSpec)
		kind          fault.Kind
		typ, sentence string
	}{
		{"address of another subnet", ip("10.200.0.5"), fault.Invalid, "InvalidIpForSubnet", "IP address 10.200.0.5 is not a valid IP for the specified subnet."},
		{"address of no subnet", fixed(FixedIPSpec{Addr: addr("203.0.113.5")}), fault.Invalid, "InvalidIpForNetwork",
			"IP address 203.0.113.5 is not a valid IP for any of the subnets on the specified network."},
		{"address in use", ip("10.7.0.77"), fault.Conflict, "IpAddressAlreadyAllocated", "IP address 10.7.0.77 already allocated in subnet " + s.ID.String()},
		{"same address twice", fixed(FixedIPSpec{Addr: addr("10.7.0.9")}, FixedIPSpec{Addr: addr("10.7.0.9")}), fault.Conflict, "IpAddressAlreadyAllocated", ""},
		{"broadcast address", ip("10.7.0.255"), fault.Invalid, "InvalidIpForSubnet", "IP address 10.7.0.255 is not a valid IP for the specified subnet."},
		{"network address", ip("10.7.0.0"), fault.Invalid, "InvalidIpForSubnet", ""},
		{"neither subnet nor address", fixed(FixedIPSpec{}), fault.Invalid, "InvalidInput", "Invalid input for operation: IP allocation requires subnet_id or ip_address."},
		{"subnet of another network", fixed(FixedIPSpec{SubnetID: elsewhere.ID}), fault.Invalid, "InvalidInput", "Invalid input for operation: Failed to create port on network " +
			n.ID.String() + ", because fixed_ips included invalid subnet " + elsewhere.ID.String() + "."},
		{"unknown subnet", fixed(FixedIPSpec{SubnetID: model.SubnetID{UUID: model.UUID{1}}}), fault.NotFound, "SubnetNotFound", ""},
		{"explicit address where guests make their own", fixed(FixedIPSpec{SubnetID: six.ID, Addr: addr("fd00:7::5")}), fault.Invalid, "AllocationOnAutoAddressSubnet",
			"IPv6 address fd00:7::5 cannot be directly assigned to a port on subnet " + six.ID.String() + " as the subnet is configured for automatic addresses"},
		{"six addresses", fixed(make([]FixedIPSpec, 6)...), fault.Invalid, "InvalidInput", ""},
		{"MAC in use", func(s *PortSpec) { s.MAC = Some(taken.MAC) }, fault.Conflict, "MacAddressInUse",
			"Unable to complete operation for network " + n.ID.String() + ". The mac address fa:16:3e:00:00:77 is in use."},
		{"multicast MAC", func(s *PortSpec) { s.MAC = Some(mac("01:16:3e:00:00:77")) }, fault.Invalid, "HTTPBadRequest", ""},
		{"unknown group", func(s *PortSpec) { s.SecurityGroups = Some([]model.SecurityGroupID{unknown}) }, fault.NotFound, "SecurityGroupNotFound",
			"Security group " + unknown.String() + " does not exist"},
		{"groups without port security", func(s *PortSpec) {
			s.PortSecurity = Some(false)
			s.SecurityGroups = Some([]model.SecurityGroupID{def.ID})
		}, fault.Invalid, "PortSecurityAndIPRequiredForSecurityGroups",
			"Port security must be enabled and port must have an IP address in order to use security groups."},
		{"pairs without port security", func(s *PortSpec) {
			s.PortSecurity = Some(false)
			pairs(AddressPairSpec{IP: Some("1.2.3.4")})(s)
		}, fault.Conflict, "AddressPairAndPortSecurityRequired", "Port Security must be enabled in order to have allowed address pairs on a port."},
		{"pair without address", pairs(AddressPairSpec{MAC: Some("fa:16:3e:00:00:01")}), fault.Invalid, "AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address"},
		{"pair twice", pairs(AddressPairSpec{IP: Some("1.2.3.4")}, AddressPairSpec{IP: Some("1.2.3.4")}), fault.Invalid, "DuplicateAddressPairInRequest",
			"Request contains duplicate address pair: mac_address None ip_address 1.2.3.4."},
		{"eleven pairs", pairs(eleven...), fault.Invalid, "AllowedAddressPairExhausted", "The number of allowed address pair exceeds the maximum 10."},
		{"VNIC of no kind", func(s *PortSpec) { s.VNICType = Some("bogus") }, fault.Invalid, "HTTPBadRequest", "Invalid input for binding:vnic_type. Reason: bogus is not in valid_values."},
		{"profile is a list", func(s *PortSpec) { s.Profile = Some(json.RawMessage("[1]")) }, fault.Invalid, "HTTPBadRequest", ""},
		{"profile with an instance that cannot be", func(s *PortSpec) { s.Profile = Some(json.RawMessage(`{"weft":{"hostname":"a_b"}}`)) }, fault.Invalid, "HTTPBadRequest", ""},
		{"profile too long, the instance apart", func(s *PortSpec) {
			s.Profile = Some(json.RawMessage(`{"x":"` + strings.Repeat("x", 4096) + `","weft":{}}`))
		}, fault.Invalid, "InvalidInput", ""},
		{"DHCP option without name", func(s *PortSpec) { s.DHCPOptions = Some([]DHCPOptionSpec{{Value: Some("x")}}) }, fault.Invalid, "HTTPBadRequest", ""},
		{"the DHCP port's device", func(s *PortSpec) {
			s.DeviceOwner = Some(model.OwnerDHCP)
			s.DeviceID = Some(model.DHCPDeviceID(n.ID))
		}, fault.Conflict, "ServicePortInUse", ""},
		{"QoS policy", func(s *PortSpec) { s.QoSPolicyID = Some("x") }, fault.NotFound, "QosPolicyNotFound", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The network's owner, who is a plain member, or an admin where only that may ask.
			who := demo
			if c.name == "the DHCP port's device" || strings.HasPrefix(c.name, "profile") {
				who = admin
			}
			before := w.store.Snapshot().Revision()
			_, err := w.tryPort(who, n, c.change)
			wantFault(t, err, c.kind, c.typ, c.sentence)
			if after := w.store.Snapshot().Revision(); after != before {
				t.Fatal("a refused request changed something")
			}
		})
	}
}

func TestSubnetIsExhausted(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	w.subnet(demo, n, "10.9.0.0/29", func(s *SubnetSpec) { s.Gateway = NullOf[netip.Addr]() })
	got := map[string]bool{"10.9.0.1": true} // DHCP
	for range 5 {
		a := w.port(demo, n).FixedIPs[0].Addr.String()
		if got[a] {
			t.Fatalf("%s twice", a)
		}
		got[a] = true
	}
	_, err := w.tryPort(demo, n)
	wantFault(t, err, fault.Conflict, "IpAddressGenerationFailure", "No more IP addresses available on network "+n.ID.String()+".")
}

func TestServiceSubnets(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	s := w.subnet(demo, n, "10.7.0.0/24", func(s *SubnetSpec) { s.ServiceTypes = Some([]string{"compute:nova"}) })
	_, err := w.tryPort(demo, n)
	wantFault(t, err, fault.Invalid, "IpAddressGenerationFailureNoMatchingSubnet", "")
	p := w.port(demo, n, func(s *PortSpec) { s.DeviceOwner = Some("compute:nova") })
	if len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != s.ID {
		t.Fatalf("addresses %v", p.FixedIPs)
	}
}

func TestPortUpdateOfAddresses(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	s := w.subnet(demo, n, "10.7.0.0/24")
	w.subnet(demo, n, "fd00:7::/64", slaac)
	p := w.port(demo, n, func(s *PortSpec) { s.MAC = Some(mac("fa:16:3e:14:d5:75")) })
	first := p.FixedIPs[0].Addr
	slaacAddr := "fd00:7::f816:3eff:fe14:d575"

	p, err := w.tryUpdatePort(demo, p.ID, PortSpec{FixedIPs: Some([]FixedIPSpec{{SubnetID: s.ID}, {SubnetID: s.ID}})})
	if err != nil || len(p.FixedIPs) != 3 || p.FixedIPs[0].Addr != first {
		t.Fatalf("a second address: %v, %v", addrsOf(p), err)
	}
	p, err = w.tryUpdatePort(demo, p.ID, PortSpec{FixedIPs: Some([]FixedIPSpec{{Addr: addr("10.7.0.78")}})})
	if err != nil || !slices.Equal(addrsOf(p), []string{"10.7.0.78", slaacAddr}) || p.Revision != 3 {
		t.Fatalf("another address: %v, %v", addrsOf(p), err)
	}
	p, err = w.tryUpdatePort(demo, p.ID, PortSpec{FixedIPs: Some([]FixedIPSpec{{Addr: addr("10.7.0.78")}, {Addr: addr(slaacAddr)}})})
	if err != nil || p.Revision != 3 {
		t.Fatalf("the same addresses: %v, revision %d, %v", addrsOf(p), p.Revision, err)
	}
	p, err = w.tryUpdatePort(admin, p.ID, PortSpec{MAC: Some(mac("fa:16:3e:00:00:01"))})
	if err != nil || !slices.Equal(addrsOf(p), []string{"10.7.0.78", "fd00:7::f816:3eff:fe00:1"}) {
		t.Fatalf("after a new MAC: %v, %v", addrsOf(p), err)
	}
	if w.store.Snapshot().PortByAddr(s.ID, first) != nil {
		t.Fatal("the first address is still taken")
	}
}

func TestPortSecurityUpdate(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	p := w.port(demo, n)
	_, err := w.tryUpdatePort(demo, p.ID, PortSpec{PortSecurity: Some(false)})
	wantFault(t, err, fault.Conflict, "PortSecurityPortHasSecurityGroup", "")
	p, err = w.tryUpdatePort(demo, p.ID, PortSpec{PortSecurity: Some(false), SecurityGroups: Some([]model.SecurityGroupID{})})
	if err != nil || p.PortSecurity {
		t.Fatalf("without groups: %v", err)
	}
	_, err = w.tryUpdatePort(demo, p.ID, PortSpec{AddressPairs: Some([]AddressPairSpec{{IP: Some("1.2.3.4")}})})
	wantFault(t, err, fault.Conflict, "AddressPairAndPortSecurityRequired", "")
	p, err = w.tryUpdatePort(demo, p.ID, PortSpec{PortSecurity: Some(true), AddressPairs: Some([]AddressPairSpec{{IP: Some("1.2.3.4")}})})
	if err != nil || p.AddressPairs[0].MAC != p.MAC || !p.AddressPairs[0].Bare {
		t.Fatalf("pairs %v, %v", p.AddressPairs, err)
	}
	_, err = w.tryUpdatePort(demo, p.ID, PortSpec{PortSecurity: Some(false)})
	wantFault(t, err, fault.Conflict, "AddressPairAndPortSecurityRequired", "")
}

func TestDHCPOptionsMerge(t *testing.T) {
	w := newWorld(t)
	p := w.port(demo, w.network(demo, NetworkSpec{}), func(s *PortSpec) {
		s.DHCPOptions = Some([]DHCPOptionSpec{{Name: "bootfile-name", Value: Some("a")}, {Name: "tftp-server", Value: Some("1.1.1.1")}})
	})
	p, err := w.tryUpdatePort(demo, p.ID, PortSpec{DHCPOptions: Some([]DHCPOptionSpec{
		{Name: "bootfile-name", Value: Some("b")}, {Name: "tftp-server", Value: NullOf[string]()}, {Name: "26", Value: Some("1400"), IPVersion: 4}})})
	want := []model.DHCPOption{{Name: "bootfile-name", Value: "b", IPVersion: 4}, {Name: "26", Value: "1400", IPVersion: 4}}
	if err != nil || !slices.Equal(p.DHCPOptions, want) {
		t.Fatalf("options %v, %v", p.DHCPOptions, err)
	}
}

func TestBinding(t *testing.T) {
	for _, c := range []struct {
		name   string
		host   func(*model.Host) // nil: unknown
		vnic   string
		asked  string
		net    NetworkSpec
		vif    string
		filter string
	}{
		{name: "unknown host", vif: model.VIFBindingFailed},
		{name: "host with tunnels", host: func(*model.Host) {}, vif: model.VIFOVS, filter: model.FirewallNative},
		{name: "firewall is hybrid when the host says none", host: func(h *model.Host) { h.Firewall = "" }, vif: model.VIFOVS, filter: model.FirewallHybrid},
		{name: "a port may ask for another firewall than its host's", host: func(*model.Host) {}, asked: `{"firewall": "hybrid"}`, vif: model.VIFOVS, filter: model.FirewallHybrid},
		{name: "another profile asks for none", host: func(*model.Host) {}, asked: `{"os_vif_delegation": true}`, vif: model.VIFOVS, filter: model.FirewallNative},
		{name: "host without the tunnel type", host: func(h *model.Host) { h.TunnelTypes = nil }, vif: model.VIFBindingFailed},
		{name: "host without tunnel address", host: func(h *model.Host) { h.TunnelAddr = netip.Addr{} }, vif: model.VIFBindingFailed},
		{name: "host closed for new ports", host: func(h *model.Host) { h.AdminStateUp = false }, vif: model.VIFBindingFailed},
		{name: "NIC that Open vSwitch cannot plug", host: func(*model.Host) {}, vnic: "direct", vif: model.VIFBindingFailed},
		{name: "host with the physical network", host: func(*model.Host) {}, vif: model.VIFOVS, filter: model.FirewallNative,
			net: NetworkSpec{NetworkType: Some("vlan"), PhysicalNetwork: Some("physnet1")}},
		{name: "host without the physical network", host: func(h *model.Host) { h.Mappings = nil }, vif: model.VIFBindingFailed,
			net: NetworkSpec{NetworkType: Some("vlan"), PhysicalNetwork: Some("physnet1")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.host != nil {
				w.host("compute1", c.host)
			}
			n := w.network(admin, c.net)
			p := w.port(admin, n, func(s *PortSpec) {
				s.HostID = Some("compute1")
				if c.vnic != "" {
					s.VNICType = Some(c.vnic)
				}
				if c.asked != "" {
					s.Profile = Some(json.RawMessage(c.asked))
				}
			})
			if p.Binding.VIFType != c.vif || p.Binding.Firewall != c.filter {
				t.Fatalf("binding %+v", p.Binding)
			}
		})
	}
}

func TestRebinding(t *testing.T) {
	w := newWorld(t)
	n := w.network(admin, NetworkSpec{})
	p := w.port(admin, n, func(s *PortSpec) { s.HostID = Some("compute1") })
	w.host("compute1")
	if err := w.do(func(tx *store.Tx) error {
		if got, more := w.rules.RebindHost(tx, w.env, nil, "compute1"); got != 1 || more {
			t.Errorf("%d ports bound, more: %v; want 1 and no more", got, more)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p = w.store.Snapshot().Port(p.ID)
	if p.Binding.VIFType != model.VIFOVS || p.Binding.Since != p.Revision {
		t.Fatalf("binding %+v", p.Binding)
	}
	_, err := w.tryUpdatePort(admin, p.ID, PortSpec{MAC: Some(mac("fa:16:3e:00:00:09"))})
	wantFault(t, err, fault.Conflict, "PortBound", "")
	p, err = w.tryUpdatePort(admin, p.ID, PortSpec{Name: Some("x")})
	if err != nil || p.Binding.Since == p.Revision {
		t.Fatalf("a new name counts as a new binding: %+v, %v", p.Binding, err)
	}
	p, err = w.tryUpdatePort(admin, p.ID, PortSpec{HostID: Some("")})
	if err != nil || p.Binding.VIFType != model.VIFUnbound || p.Binding.Firewall != "" || p.Binding.Since != p.Revision {
		t.Fatalf("after unbinding: %+v, %v", p.Binding, err)
	}
}

// TestRebindingAFullHost: a host may have more ports than one transaction may change.
func TestRebindingAFullHost(t *testing.T) {
	const ports = 20_000 // of them a transaction holds half
	w := newWorld(t)
	n := w.network(admin, NetworkSpec{})
	for start := 0; start < ports; start += 4000 {
		if err := w.do(func(tx *store.Tx) error {
			for i := start; i < start+4000; i++ {
				tx.PutPort(&model.Port{ID: model.PortID{UUID: model.UUID{14: byte(i >> 8), 15: byte(i)}}, NetworkID: n.ID,
					Binding: model.Binding{HostID: "compute1", VIFType: model.VIFBindingFailed}})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	w.host("compute1")
	done := 0
	for more := true; more; {
		if err := w.do(func(tx *store.Tx) error {
			n, again := w.rules.RebindHost(tx, w.env, tx.Host("compute1"), "compute1")
			done, more = done+n, again
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if done != ports {
		t.Fatalf("%d ports bound, want %d", done, ports)
	}
	for p := range w.store.Snapshot().PortsByHost("compute1") {
		if p.Binding.VIFType != model.VIFOVS {
			t.Fatalf("port %s: binding %+v", p.ID, p.Binding)
		}
	}
	// A host that is gone between two transactions binds nothing, and ends it.
	if err := w.do(func(tx *store.Tx) error {
		tx.DeleteHost("compute1")
		if got, more := w.rules.RebindHost(tx, w.env, tx.Host("compute1"), "compute1"); got != 0 || more {
			t.Errorf("%d ports bound to a host that is gone, more: %v", got, more)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestDeletingAPortForgetsItsReport(t *testing.T) {
	w := newWorld(t)
	p := w.port(demo, w.network(demo, NetworkSpec{}))
	if err := w.do(func(tx *store.Tx) error {
		tx.PutPortReport(&model.PortReport{PortID: p.ID})
		return w.rules.DeletePort(tx, w.env, demo, p.ID, nil)
	}); err != nil {
		t.Fatal(err)
	}
	if w.store.Snapshot().PortReport(p.ID) != nil {
		t.Fatal("the report is still there")
	}
}
