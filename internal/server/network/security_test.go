package network

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// Each test here is an attack that once worked on a network service; its name or first
// line says which.

func forbidden(t *testing.T, err error, text string) {
	t.Helper()
	wantFault(t, err, fault.Forbidden, "PolicyNotAuthorized", text+" is disallowed by policy")
}

// OSSA-2014-031: a default value resets an admin's attribute unless policy looks at presence.
func TestAdminAttributesAreRefusedByPresence(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	create := func(spec NetworkSpec) error {
		_, err := try(w, func(tx *store.Tx) (*model.Network, error) { return w.rules.CreateNetwork(tx, w.env, demo, spec) })
		return err
	}
	update := func(spec NetworkSpec) error {
		_, err := try(w, func(tx *store.Tx) (*model.Network, error) {
			return w.rules.UpdateNetwork(tx, w.env, demo, n.ID, spec, nil)
		})
		return err
	}
	for attr, spec := range map[string]NetworkSpec{
		"shared":                    {Shared: Some(false)},
		"router:external":           {External: Some(false)},
		"is_default":                {IsDefault: Some(false)},
		"provider:network_type":     {NetworkType: NullOf[string]()},
		"provider:physical_network": {PhysicalNetwork: NullOf[string]()},
		"provider:segmentation_id":  {SegmentationID: NullOf[int]()},
		"segments":                  {Segments: Some([]SegmentSpec{})},
	} {
		forbidden(t, create(spec), "(rule:create_network and rule:create_network:"+attr+")")
		forbidden(t, update(spec), "(rule:update_network and rule:update_network:"+attr+")")
	}
	p := w.port(demo, n)
	_, err := w.tryUpdatePort(demo, p.ID, PortSpec{HostID: Some("")})
	forbidden(t, err, "(rule:update_port and rule:update_port:binding:host_id)")
	_, err = w.tryUpdatePort(demo, p.ID, PortSpec{Profile: NullOf[json.RawMessage]()})
	forbidden(t, err, "(rule:update_port and rule:update_port:binding:profile)")
}

// OSSA-2014-008, OSSA-2015-018 and its return CVE-2026-50266: device_owner is trusted, so
// that on another project's network it must not be the user's to choose, at create or later.
func TestDeviceOwnerOfServicesIsNotForGuestsOfANetwork(t *testing.T) {
	w := newWorld(t)
	sh := w.network(admin, NetworkSpec{Shared: Some(true)})
	w.subnet(admin, sh, "10.7.0.0/24")
	for _, owner := range []string{"network:dhcp", "network:router_interface", "network:router_gateway", "network:floatingip", "network:x"} {
		own := func(s *PortSpec) { s.DeviceOwner = Some(owner) }
		_, err := w.tryPort(demo, sh, own)
		forbidden(t, err, "(rule:create_port and rule:create_port:device_owner)")
		p := w.port(demo, sh)
		_, err = w.tryUpdatePort(demo, p.ID, PortSpec{DeviceOwner: Some(owner)})
		forbidden(t, err, "(rule:update_port and rule:update_port:device_owner)")
		if got := w.store.Snapshot().Port(p.ID); !got.PortSecurity || len(got.SecurityGroups) != 1 {
			t.Fatal("the port lost its filter")
		}
	}
	manager := authn.NewPrincipal("demo", "m", authn.RoleManager, authn.RoleMember)
	_, err := w.tryPort(manager, sh, func(s *PortSpec) { s.DeviceOwner = Some("network:dhcp") })
	forbidden(t, err, "(rule:create_port and rule:create_port:device_owner)")
}

// OSSA-2015-018: also where the owner may say network:*, saying it later does not switch filtering off.
func TestDeviceOwnerNeverChangesPortSecurityLater(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	p := w.port(demo, n)
	p, err := w.tryUpdatePort(demo, p.ID, PortSpec{DeviceOwner: Some("network:x")})
	if err != nil || !p.PortSecurity || len(p.SecurityGroups) != 1 {
		t.Fatalf("port %+v, %v", p, err)
	}
}

// Neutron commit 6ffe5056af: a port on a network that one may not use.
func TestPortOnForeignNetwork(t *testing.T) {
	w := newWorld(t)
	private := w.network(demo, NetworkSpec{})
	_, err := w.tryPort(other, private)
	wantFault(t, err, fault.NotFound, "NetworkNotFound", "Network "+private.ID.String()+" could not be found.")
	external := w.network(admin, NetworkSpec{External: Some(true)})
	_, err = w.tryPort(demo, external)
	forbidden(t, err, "rule:create_port")
	sh := w.network(admin, NetworkSpec{Shared: Some(true)})
	_, err = try(w, func(tx *store.Tx) (*model.Subnet, error) {
		return w.rules.CreateSubnet(tx, w.env, demo, subnetSpec(sh, "10.0.0.0/24"))
	})
	forbidden(t, err, "rule:create_subnet")
	_, err = try(w, func(tx *store.Tx) (*model.Network, error) {
		return w.rules.UpdateNetwork(tx, w.env, demo, sh.ID, NetworkSpec{Name: Some("x")}, nil)
	})
	forbidden(t, err, "rule:update_network")
	forbidden(t, w.do(func(tx *store.Tx) error { return w.rules.DeleteNetwork(tx, w.env, demo, sh.ID, nil) }), "rule:delete_network")
	if p := w.port(demo, sh); p.ProjectID != "demo" {
		t.Fatal("a shared network cannot be used")
	}
	_, err = w.tryPort(demo, sh, func(s *PortSpec) { s.MAC = Some(mac("fa:16:3e:00:00:76")) })
	forbidden(t, err, "(rule:create_port and rule:create_port:mac_address)")
}

// Neutron commit 927399c011: address pairs, exact addresses and port security on another's shared network.
func TestSpoofingRightsOnASharedNetworkAreItsOwners(t *testing.T) {
	w := newWorld(t)
	sh := w.network(admin, NetworkSpec{Shared: Some(true)})
	s := w.subnet(admin, sh, "10.7.0.0/24")
	for attr, change := range map[string]func(*PortSpec){
		"allowed_address_pairs": func(s *PortSpec) { s.AddressPairs = Some([]AddressPairSpec{{IP: Some("10.7.0.1")}}) },
		"port_security_enabled": func(s *PortSpec) { s.PortSecurity = Some(false) },
	} {
		_, err := w.tryPort(demo, sh, change)
		forbidden(t, err, "(rule:create_port and rule:create_port:"+attr+")")
		p := w.port(demo, sh)
		var spec PortSpec
		change(&spec)
		_, err = w.tryUpdatePort(demo, p.ID, spec)
		forbidden(t, err, "(rule:update_port and rule:update_port:"+attr+")")
	}
	_, err := w.tryPort(demo, sh, fixed(FixedIPSpec{SubnetID: s.ID, Addr: addr("10.7.0.1")}))
	if fault.Of(err) != fault.Forbidden {
		t.Fatalf("the gateway's address on another's network: %v", err)
	}
	if _, err := w.tryPort(demo, sh, fixed(FixedIPSpec{SubnetID: s.ID})); err != nil {
		t.Fatalf("an address of a subnet of a shared network: %v", err)
	}
}

// OSSA-2014-025: thousands of pairs. OSSA-2015-012: a pair of 0.0.0.0/0.
func TestAddressPairsAreCappedAndMayBeEverything(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	p := w.port(demo, n, func(s *PortSpec) {
		s.AddressPairs = Some([]AddressPairSpec{{IP: Some("0.0.0.0/0")}, {IP: Some("::/0")}, {IP: Some("10.0.0.7/8")}})
	})
	for i, want := range []string{"0.0.0.0/0", "::/0", "10.0.0.0/8"} {
		if got := p.AddressPairs[i].Prefix.String(); got != want {
			t.Errorf("pair %d is %s, want %s", i, got, want)
		}
	}
	for _, bad := range []string{"1.2.3.4/33", "1.2.3", "fe80::1%eth0", "::ffff:1.2.3.4", "x", "1.2.3.4\n"} {
		_, err := w.tryPort(demo, n, func(s *PortSpec) { s.AddressPairs = Some([]AddressPairSpec{{IP: Some(bad)}}) })
		wantFault(t, err, fault.Invalid, "HTTPBadRequest", "")
	}
}

// OSSA-2021-005: a line break in an extra DHCP option became configuration.
func TestControlCharactersAreRefused(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	for name, change := range map[string]func(*PortSpec, string){
		"option value": func(s *PortSpec, v string) {
			s.DHCPOptions = Some([]DHCPOptionSpec{{Name: "bootfile-name", Value: Some(v)}})
		},
		"option name":  func(s *PortSpec, v string) { s.DHCPOptions = Some([]DHCPOptionSpec{{Name: v, Value: Some("x")}}) },
		"device id":    func(s *PortSpec, v string) { s.DeviceID = Some(v) },
		"device owner": func(s *PortSpec, v string) { s.DeviceOwner = Some(v) },
		"host":         func(s *PortSpec, v string) { s.HostID = Some(v) },
		"dns name":     func(s *PortSpec, v string) { s.DNSName = Some(v) },
	} {
		for _, v := range []string{"a\nb", "a\rb", "a\x00b", "a\x7fb", "a\u2028b"} {
			_, err := w.tryPort(admin, n, func(s *PortSpec) { change(s, v) })
			if fault.Of(err) != fault.Invalid {
				t.Errorf("%s %q: %v", name, v, err)
			}
		}
	}
	_, err := w.tryPort(demo, n, func(s *PortSpec) {
		s.DHCPOptions = Some([]DHCPOptionSpec{{Name: "bootfile-name", Value: Some(strings.Repeat("x", 256))}})
	})
	wantFault(t, err, fault.Invalid, "HTTPBadRequest", "")
}

// OSSN-0029: "any" with a port lost the port and let all in.
func TestProtocolAnyWithPortIsRefused(t *testing.T) {
	w := newWorld(t)
	g := w.group(demo, "web")
	for _, protocol := range []string{"any", "ip", "", "0"} {
		_, err := w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress),
			Protocol: Some(protocol), PortMin: Some(22), PortMax: Some(22)})
		if fault.Of(err) != fault.Invalid {
			t.Errorf("protocol %q with port 22: %v", protocol, err)
		}
	}
}

// OSSN-0095, OSSN-0011: a reference to what does not exist must not become "from anywhere".
func TestUnknownReferencesAreRefused(t *testing.T) {
	w := newWorld(t)
	g := w.group(demo, "web")
	_, err := w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress),
		RemoteAddressGroup: Some(model.AddressGroupID{UUID: model.UUID{1}})})
	wantFault(t, err, fault.NotFound, "AddressGroupNotFound", "")
	theirs := w.group(other, "theirs")
	_, err = w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress), RemoteGroup: Some(theirs.ID)})
	wantFault(t, err, fault.NotFound, "SecurityGroupNotFound", "Security group "+theirs.ID.String()+" does not exist")
	_, err = w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(theirs.ID), Direction: Some(model.Ingress)})
	wantFault(t, err, fault.NotFound, "SecurityGroupNotFound", "")
	n := w.network(demo, NetworkSpec{})
	_, err = w.tryPort(demo, n, func(s *PortSpec) { s.SecurityGroups = Some([]model.SecurityGroupID{theirs.ID}) })
	wantFault(t, err, fault.NotFound, "SecurityGroupNotFound", "")
}

// CVE-2012-2101: rules without limit. CVE-2012-2654: a check skipped by the case of letters.
func TestRuleQuotaAndCase(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quotas[QuotaSecurityGroupRule] = 7 })
	g := w.group(demo, "web") // 4 + 2 rules
	if r, err := w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress), Protocol: Some("UdP"), PortMin: Some(1), PortMax: Some(1)}); err != nil || r.Protocol != "udp" || r.IPProtocol != 17 {
		t.Fatalf("rule %+v, %v", r, err)
	}
	_, err := w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress), Protocol: Some("TCP")})
	wantFault(t, err, fault.QuotaExceeded, "OverQuota", "Quota exceeded for resources: ['security_group_rule'].")
}

// CVE-2022-3277: reading made default groups, for any project named.
func TestReadingWritesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.store.Snapshot()
	_, _ = w.rules.SecurityGroup(s, admin, model.SecurityGroupID{UUID: model.UUID{1}})
	_ = w.rules.Limits(s, "nobody")
	_ = w.rules.Usage(s, "nobody")
	if after := w.store.Snapshot(); after.Revision() != s.Revision() || after.SecurityGroupCount("nobody") != 0 {
		t.Fatal("a read wrote")
	}
	if err := w.do(func(tx *store.Tx) error { return w.rules.EnsureDefaultSecurityGroup(tx, w.env, reader) }); err != nil {
		t.Fatal(err)
	}
	if w.store.Snapshot().DefaultSecurityGroup("demo") != nil {
		t.Fatal("a reader made a group")
	}
}

// OSSA-2024-005, OSSA-2026-016: tags of an object by who may not change it.
func TestTagsFollowTheirObject(t *testing.T) {
	w := newWorld(t)
	sh := w.network(admin, NetworkSpec{Shared: Some(true)})
	p := w.port(demo, sh)
	tag := func(who authn.Principal, kind TagKind, id model.UUID) error {
		return w.do(func(tx *store.Tx) error { return w.rules.AddTag(tx, w.env, who, kind, id, "t", nil) })
	}
	forbidden(t, tag(demo, TagNetworks, sh.ID.UUID), "rule:update_networks_tags")
	wantFault(t, tag(other, TagPorts, p.ID.UUID), fault.NotFound, "TagResourceNotFound", "")
	wantFault(t, tag(demo, "routers", p.ID.UUID), fault.NotFound, "TagResourceNotFound", "")
	forbidden(t, tag(reader, TagPorts, p.ID.UUID), "rule:update_ports_tags")
	if err := tag(demo, TagPorts, p.ID.UUID); err != nil {
		t.Fatal(err)
	}
}

// OSSN-0102: everything of another project, by its id.
func TestForeignObjectsDoNotExist(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	s := w.subnet(demo, n, "10.7.0.0/24")
	p := w.port(demo, n)
	g := w.group(demo, "web")
	var rule model.SecurityGroupRuleID
	for r := range w.store.Snapshot().SecurityGroupRulesByGroup(g.ID) {
		rule = r.ID
	}
	r := w.rules
	for name, op := range map[string]func(tx *store.Tx) error{
		"get network": func(tx *store.Tx) error { _, err := r.Network(tx, other, n.ID); return err },
		"get subnet":  func(tx *store.Tx) error { _, err := r.Subnet(tx, other, s.ID); return err },
		"get port":    func(tx *store.Tx) error { _, err := r.Port(tx, other, p.ID); return err },
		"get group":   func(tx *store.Tx) error { _, err := r.SecurityGroup(tx, other, g.ID); return err },
		"get rule":    func(tx *store.Tx) error { _, err := r.SecurityGroupRule(tx, other, rule); return err },
		"update network": func(tx *store.Tx) error {
			_, err := r.UpdateNetwork(tx, w.env, other, n.ID, NetworkSpec{}, nil)
			return err
		},
		"update subnet": func(tx *store.Tx) error {
			_, err := r.UpdateSubnet(tx, w.env, other, s.ID, SubnetSpec{}, nil)
			return err
		},
		"update port": func(tx *store.Tx) error { _, err := r.UpdatePort(tx, w.env, other, p.ID, PortSpec{}, nil); return err },
		"update group": func(tx *store.Tx) error {
			_, err := r.UpdateSecurityGroup(tx, w.env, other, g.ID, SecurityGroupSpec{}, nil)
			return err
		},
		"update rule": func(tx *store.Tx) error {
			_, err := r.UpdateSecurityGroupRule(tx, w.env, other, rule, SecurityGroupRuleSpec{}, nil)
			return err
		},
		"delete network": func(tx *store.Tx) error { return r.DeleteNetwork(tx, w.env, other, n.ID, nil) },
		"delete subnet":  func(tx *store.Tx) error { return r.DeleteSubnet(tx, w.env, other, s.ID, nil) },
		"delete port":    func(tx *store.Tx) error { return r.DeletePort(tx, w.env, other, p.ID, nil) },
		"delete group":   func(tx *store.Tx) error { return r.DeleteSecurityGroup(tx, w.env, other, g.ID, nil) },
		"delete rule":    func(tx *store.Tx) error { return r.DeleteSecurityGroupRule(tx, w.env, other, rule, nil) },
		"new subnet": func(tx *store.Tx) error {
			_, err := r.CreateSubnet(tx, w.env, other, subnetSpec(n, "10.9.0.0/24"))
			return err
		},
		"for another project": func(tx *store.Tx) error {
			_, err := r.CreateNetwork(tx, w.env, other, NetworkSpec{ProjectID: Some("demo")})
			if fault.Of(err) == fault.Invalid {
				return networkNotFound(n.ID) // that one is a bad request, as Neutron has it
			}
			return err
		},
	} {
		if err := w.do(op); fault.Of(err) != fault.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A principal with the role reader changes nothing of its own project.
func TestReaderChangesNothing(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	p := w.port(demo, n)
	if _, err := w.rules.Port(w.store.Snapshot(), reader, p.ID); err != nil {
		t.Fatalf("a reader does not see its port: %v", err)
	}
	_, err := w.tryPort(reader, n)
	forbidden(t, err, "rule:create_port")
	_, err = w.tryUpdatePort(reader, p.ID, PortSpec{Name: Some("x")})
	forbidden(t, err, "rule:update_port")
	forbidden(t, w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, reader, p.ID, nil) }), "rule:delete_port")
}

// A request without a project must not own what has none.
func TestNoProjectOwnsNothing(t *testing.T) {
	w := newWorld(t)
	n := w.network(authn.AdminPrincipal(), NetworkSpec{})
	nobody := authn.NewPrincipal("", "u", authn.RoleMember)
	if _, err := w.rules.Network(w.store.Snapshot(), nobody, n.ID); fault.Of(err) != fault.NotFound {
		t.Fatalf("seen by a member of no project: %v", err)
	}
}

// Every action that a rule asks policy about must be in its table: what is not is
// denied to all, and would only be found by its users.
func TestEveryActionIsInTheTable(t *testing.T) {
	var actions []string
	spec := NetworkSpec{}
	port := PortSpec{}
	for _, verb := range []string{"create", "update"} {
		set := func(a *access) {
			for _, f := range strings.FieldsFunc(a.text, func(c rune) bool { return c == ' ' || c == '(' || c == ')' }) {
				if r, ok := strings.CutPrefix(f, "rule:"); ok {
					actions = append(actions, r)
				}
			}
		}
		spec.Shared.Set, spec.External.Set, spec.IsDefault.Set, spec.PortSecurity.Set = true, true, true, true
		spec.Segments.Set, spec.NetworkType.Set, spec.PhysicalNetwork.Set, spec.SegmentationID.Set = true, true, true, true
		port.DeviceOwner.Set, port.MAC.Set, port.PortSecurity.Set, port.HostID.Set, port.Profile.Set = true, true, true, true, true
		port.VNICType.Set, port.AddressPairs.Set, port.DataPlaneStatus.Set = true, true, true
		port.FixedIPs = Some([]FixedIPSpec{{SubnetID: model.SubnetID{UUID: model.UUID{1}}, Addr: addr("1.2.3.4")}})
		set(askNetwork(admin, verb+"_network", policy.Target{}, &spec))
		set(askPort(admin, verb+"_port", policy.Target{}, &port))
	}
	for _, kind := range []TagKind{TagNetworks, TagSubnets, TagPorts, TagSecurityGroups, TagSecurityGroupRules} {
		for _, verb := range []string{"get", "update", "delete"} {
			actions = append(actions, verb+"_"+string(kind)+"_tags")
		}
	}
	slices.Sort(actions)
	for _, a := range slices.Compact(actions) {
		if !policy.Known(a) {
			t.Errorf("%s is not in the table", a)
		}
	}
	if len(actions) < 40 {
		t.Fatalf("only %d actions found", len(actions))
	}
}

// OSSA-2014-008, OSSA-2015-018, CVE-2026-50266: hosts forward for routers' ports unfiltered, so that nobody, admins
// included, gives a port such an owner or takes it away by the port API; nor is a port a router's because its device id says so.
func TestRouterPortsAreMadeByTheRulesOnly(t *testing.T) {
	w := newWorld(t)
	n := w.network(demo, NetworkSpec{})
	sub := w.subnet(demo, n, "10.7.0.0/24")
	rt := w.router(demo)
	leg := w.addLeg(demo, rt, sub)
	for _, who := range []authn.Principal{demo, admin} {
		for _, owner := range []string{model.OwnerRouterInterface, model.OwnerRouterInterfaceDistributed, model.OwnerRouterInterfaceHA,
			model.OwnerRouterGateway, model.OwnerFloatingIP, "network:router_centralized_snat", "network:router_ha_interface"} {
			_, err := w.tryPort(who, n, func(s *PortSpec) { s.DeviceOwner, s.DeviceID = Some(owner), Some(rt.ID.String()) })
			wantFault(t, err, fault.Conflict, "ServicePortInUse", "")
			p := w.port(who, n, func(s *PortSpec) { s.DeviceID = Some(rt.ID.String()) })
			_, err = w.tryUpdatePort(who, p.ID, PortSpec{DeviceOwner: Some(owner)})
			wantFault(t, err, fault.Conflict, "ServicePortInUse", "")
		}
		for _, spec := range []PortSpec{
			{DeviceOwner: Some("")}, {DeviceOwner: Some("compute:nova")}, {DeviceOwner: Some(model.OwnerRouterGateway)}, {DeviceID: Some("")},
			{FixedIPs: Some([]FixedIPSpec{{Addr: addr("10.7.0.9")}})}, {PortSecurity: Some(true)},
			{AddressPairs: Some([]AddressPairSpec{{IP: Some("10.7.0.0/24")}})},
		} {
			_, err := w.tryUpdatePort(who, leg.ID, spec)
			wantFault(t, err, fault.Conflict, "ServicePortInUse", "")
		}
	}
	if got := w.store.Snapshot().Port(leg.ID); got.Revision != leg.Revision {
		t.Errorf("the leg has changed: %+v", got)
	}
	if _, err := w.tryUpdatePort(demo, leg.ID, PortSpec{Name: Some("inside")}); err != nil {
		t.Errorf("a leg may have a name: %v", err)
	}
	if _, err := w.tryRemoveLeg(demo, rt.ID, bySubnet(sub)); err != nil {
		t.Fatal(err)
	}
	// What is left says the router's id, and is none of its ports.
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteRouter(tx, w.env, demo, rt.ID, nil) }); err != nil {
		t.Errorf("a port that says the router's id keeps it: %v", err)
	}
}
