package network

import (
	"net/netip"
	"slices"
	"testing"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

func TestDefaultGroupComesWithTheFirstWrite(t *testing.T) {
	w := newWorld(t)
	w.network(demo, NetworkSpec{})
	w.network(demo, NetworkSpec{})
	s := w.store.Snapshot()
	g := s.DefaultSecurityGroup("demo")
	if g == nil || g.Name != "default" || g.Description != "Default security group" || s.SecurityGroupCount("demo") != 1 {
		t.Fatalf("group %+v", g)
	}
	var kinds []string
	for r := range s.SecurityGroupRulesByGroup(g.ID) {
		kind := string(r.Direction) + " " + string(r.EtherType)
		if r.RemoteGroup == g.ID {
			kind += " from the group"
		}
		if r.IPProtocol != model.ProtocolAny || r.PortMin != nil || r.PortMax != nil {
			t.Errorf("rule %+v", r)
		}
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	want := []string{"egress IPv4", "egress IPv6", "ingress IPv4 from the group", "ingress IPv6 from the group"}
	if !slices.Equal(kinds, want) {
		t.Fatalf("rules %v", kinds)
	}
}

func TestSecurityGroupLife(t *testing.T) {
	w := newWorld(t)
	g := w.group(demo, "web")
	if rules := slices.Collect(w.store.Snapshot().SecurityGroupRulesByGroup(g.ID)); len(rules) != 2 || rules[0].Direction != model.Egress {
		t.Fatalf("a new group has rules %v", rules)
	}
	_, err := try(w, func(tx *store.Tx) (*model.SecurityGroup, error) {
		return w.rules.CreateSecurityGroup(tx, w.env, demo, SecurityGroupSpec{Name: Some("default")})
	})
	wantFault(t, err, fault.Conflict, "SecurityGroupDefaultAlreadyExists", "Default security group already exists.")

	update := func(id model.SecurityGroupID, spec SecurityGroupSpec) error {
		return w.do(func(tx *store.Tx) error {
			_, err := w.rules.UpdateSecurityGroup(tx, w.env, demo, id, spec, nil)
			return err
		})
	}
	def := w.store.Snapshot().DefaultSecurityGroup("demo")
	wantFault(t, update(def.ID, SecurityGroupSpec{Name: Some("x")}), fault.Conflict, "SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
	wantFault(t, update(g.ID, SecurityGroupSpec{Name: Some("default")}), fault.Conflict, "SecurityGroupDefaultAlreadyExists", "")
	if err := update(g.ID, SecurityGroupSpec{Name: Some("web2"), Stateful: Some(false)}); err != nil {
		t.Fatal(err)
	}

	n := w.network(demo, NetworkSpec{})
	p := w.port(demo, n, func(s *PortSpec) { s.SecurityGroups = Some([]model.SecurityGroupID{g.ID}) })
	wantFault(t, update(g.ID, SecurityGroupSpec{Stateful: Some(true)}), fault.Conflict, "SecurityGroupInUse", "Security Group "+g.ID.String()+" in use.")
	del := func(who authn.Principal, id model.SecurityGroupID) error {
		return w.do(func(tx *store.Tx) error { return w.rules.DeleteSecurityGroup(tx, w.env, who, id, nil) })
	}
	wantFault(t, del(demo, g.ID), fault.Conflict, "SecurityGroupInUse", "")
	wantFault(t, del(demo, def.ID), fault.Conflict, "SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeletePort(tx, w.env, demo, p.ID, nil) }); err != nil {
		t.Fatal(err)
	}
	if err := del(demo, g.ID); err != nil {
		t.Fatal(err)
	}
}

func TestDeletingAGroupRemovesTheRulesThatReferToIt(t *testing.T) {
	w := newWorld(t)
	a, b := w.group(demo, "a"), w.group(demo, "b")
	if _, err := w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(a.ID), Direction: Some(model.Ingress), RemoteGroup: Some(b.ID)}); err != nil {
		t.Fatal(err)
	}
	before := w.store.Snapshot().SecurityGroup(a.ID).Revision
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteSecurityGroup(tx, w.env, demo, b.ID, nil) }); err != nil {
		t.Fatal(err)
	}
	s := w.store.Snapshot()
	if n := len(slices.Collect(s.SecurityGroupRulesByGroup(a.ID))); n != 2 {
		t.Fatalf("%d rules left, want the two that were made with the group", n)
	}
	if s.SecurityGroup(a.ID).Revision != before+1 || s.SecurityGroupRuleCount("demo") != 2+4 {
		t.Fatal("the other group does not show the change")
	}
}

func TestRuleIsStoredAsWritten(t *testing.T) {
	w := newWorld(t)
	g := w.group(demo, "web")
	for _, c := range []struct {
		spec   SecurityGroupRuleSpec
		shown  string
		number int
		prefix string
	}{
		{SecurityGroupRuleSpec{}, "", model.ProtocolAny, ""},
		{SecurityGroupRuleSpec{Protocol: Some("TCP"), PortMin: Some(80), PortMax: Some(81), RemotePrefix: Some("10.1.2.3/16")}, "tcp", 6, "10.1.2.3/16"},
		{SecurityGroupRuleSpec{Protocol: Some("89")}, "89", 89, ""},
		{SecurityGroupRuleSpec{Protocol: Some("icmp"), PortMin: Some(8), PortMax: Some(0)}, "icmp", 1, ""},
		{SecurityGroupRuleSpec{Protocol: Some("icmp"), EtherType: Some("ipv6")}, "ipv6-icmp", 58, ""},
		{SecurityGroupRuleSpec{Protocol: Some("udp"), RemotePrefix: Some("192.0.2.1")}, "udp", 17, "192.0.2.1/32"},
		{SecurityGroupRuleSpec{Protocol: Some("sctp"), RemotePrefix: Some("0.0.0.0/0")}, "sctp", 132, "0.0.0.0/0"},
		{SecurityGroupRuleSpec{Protocol: Some("vrrp")}, "vrrp", 112, ""},
	} {
		c.spec.GroupID, c.spec.Direction = Some(g.ID), Some(model.Ingress)
		r, err := w.tryRule(demo, c.spec)
		if err != nil {
			t.Errorf("%+v: %v", c.spec, err)
			continue
		}
		prefix := ""
		if r.RemotePrefix.IsValid() {
			prefix = r.RemotePrefix.String()
		}
		if r.Protocol != c.shown || r.IPProtocol != c.number || prefix != c.prefix || r.Revision != 0 || r.ProjectID != "demo" {
			t.Errorf("%+v: stored as %+v", c.spec, r)
		}
	}
}

func TestRuleRefused(t *testing.T) {
	const protocols = "Only protocol values [None, 'ah', 'dccp', 'egp', 'esp', 'gre', 'hopopt', 'icmp', 'igmp', 'ip', 'ipip', 'ipv6-encap', 'ipv6-frag', " +
		"'ipv6-icmp', 'icmpv6', 'ipv6-nonxt', 'ipv6-opts', 'ipv6-route', 'ospf', 'pgm', 'rsvp', 'sctp', 'tcp', 'udp', 'udplite', 'vrrp'] and integer representations [0 to 255] are supported."
	w := newWorld(t)
	g := w.group(demo, "web")
	tcp := Some("tcp")
	first, err := w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress), Protocol: tcp, PortMin: Some(80), PortMax: Some(81), RemotePrefix: Some("10.1.2.3/16")})
	if err != nil {
		t.Fatal(err)
	}
	unknown := model.SecurityGroupID{UUID: model.UUID{0x11}}
	for _, c := range []struct {
		name          string
		spec          SecurityGroupRuleSpec
		kind          fault.Kind
		typ, sentence string
	}{
		{"range inverted", SecurityGroupRuleSpec{Protocol: tcp, PortMin: Some(100), PortMax: Some(50)}, fault.Invalid, "SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max"},
		{"one end", SecurityGroupRuleSpec{Protocol: tcp, PortMin: Some(100)}, fault.Invalid, "SecurityGroupInvalidPortRange", ""},
		{"port 0", SecurityGroupRuleSpec{Protocol: tcp, PortMin: Some(0), PortMax: Some(5)}, fault.Invalid, "SecurityGroupInvalidPortValue", "Invalid value for port 0"},
		{"port too big", SecurityGroupRuleSpec{Protocol: tcp, PortMin: Some(1), PortMax: Some(70000)}, fault.Invalid, "SecurityGroupInvalidPortValue", "Invalid value for port 70000"},
		{"ports without protocol", SecurityGroupRuleSpec{PortMin: Some(1), PortMax: Some(7)}, fault.Invalid, "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given."},
		{"ports of ah", SecurityGroupRuleSpec{Protocol: Some("ah"), PortMin: Some(1), PortMax: Some(7)}, fault.Invalid, "SecurityGroupInvalidProtocolForPort",
			"Ports cannot be specified for protocol 51. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE."},
		{"icmp type too big", SecurityGroupRuleSpec{Protocol: Some("icmp"), PortMin: Some(300)}, fault.Invalid, "SecurityGroupInvalidIcmpValue", "Invalid value for ICMP type (port_range_min) 300. It must be 0 to 255."},
		{"icmp code without type", SecurityGroupRuleSpec{Protocol: Some("icmp"), PortMax: Some(3)}, fault.Invalid, "SecurityGroupMissingIcmpType", "ICMP code (port-range-max) 3 is provided but ICMP type (port-range-min) is missing."},
		{"no such protocol", SecurityGroupRuleSpec{Protocol: Some("bogus")}, fault.Invalid, "SecurityGroupRuleInvalidProtocol", "Security group rule protocol bogus not supported. " + protocols},
		{"protocol 256", SecurityGroupRuleSpec{Protocol: Some("256")}, fault.Invalid, "SecurityGroupRuleInvalidProtocol", "Security group rule protocol 256 not supported. " + protocols},
		{"protocol -1", SecurityGroupRuleSpec{Protocol: Some("-1")}, fault.Invalid, "SecurityGroupRuleInvalidProtocol", ""},
		{"family of the prefix", SecurityGroupRuleSpec{EtherType: Some("IPv6"), RemotePrefix: Some("10.0.0.0/8")}, fault.Invalid, "SecurityGroupRuleParameterConflict", "Conflicting value ethertype IPv6 for CIDR 10.0.0.0/8"},
		{"ipv6-icmp on IPv4", SecurityGroupRuleSpec{EtherType: Some("IPv4"), Protocol: Some("ipv6-icmp")}, fault.Invalid, "SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype IPv4 for protocol ipv6-icmp."},
		{"no such family", SecurityGroupRuleSpec{EtherType: Some("IPv5")}, fault.Invalid, "SecurityGroupRuleInvalidEtherType", "Security group rule for ethertype 'IPv5' not supported. Allowed values are ['IPv4', 'IPv6']."},
		{"sideways", SecurityGroupRuleSpec{Direction: Some(model.Direction("sideways"))}, fault.Invalid, "HTTPBadRequest", "Invalid input for direction. Reason: sideways is not in valid_values."},
		{"twice", SecurityGroupRuleSpec{Protocol: tcp, PortMin: Some(80), PortMax: Some(81), RemotePrefix: Some("10.1.2.3/16")}, fault.Conflict, "SecurityGroupRuleExists", "Security group rule already exists. Rule id is " + first.ID.String() + "."},
		{"twice, spelt in another way", SecurityGroupRuleSpec{Protocol: Some("6"), PortMin: Some(80), PortMax: Some(81), RemotePrefix: Some("10.1.0.0/16"), Description: Some("x")}, fault.Conflict, "SecurityGroupRuleExists", ""},
		{"two remotes", SecurityGroupRuleSpec{RemoteGroup: Some(g.ID), RemotePrefix: Some("10.0.0.0/8")}, fault.Invalid, "SecurityGroupMultipleRemoteEntites",
			"Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided."},
		{"unknown group", SecurityGroupRuleSpec{GroupID: Some(unknown)}, fault.NotFound, "SecurityGroupNotFound", "Security group " + unknown.String() + " does not exist"},
		{"unknown remote group", SecurityGroupRuleSpec{RemoteGroup: Some(unknown)}, fault.NotFound, "SecurityGroupNotFound", "Security group " + unknown.String() + " does not exist"},
		{"no prefix", SecurityGroupRuleSpec{RemotePrefix: Some("10.0.0.0/99")}, fault.Invalid, "InvalidCIDR", "Invalid CIDR 10.0.0.0/99 given as IP prefix."},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.spec.GroupID.Set {
				c.spec.GroupID = Some(g.ID)
			}
			if !c.spec.Direction.Set {
				c.spec.Direction = Some(model.Ingress)
			}
			_, err := w.tryRule(demo, c.spec)
			wantFault(t, err, c.kind, c.typ, c.sentence)
		})
	}
	wantFault(t, w.rules.CheckRuleBatch([]SecurityGroupRuleSpec{{GroupID: Some(g.ID)}, {GroupID: Some(unknown)}}), fault.Invalid, "SecurityGroupNotSingleGroupRules",
		"Only allowed to update rules for one security profile at a time")
}

func TestRuleChangesShowOnItsGroup(t *testing.T) {
	w := newWorld(t)
	g := w.group(demo, "web")
	r, err := w.tryRule(demo, SecurityGroupRuleSpec{GroupID: Some(g.ID), Direction: Some(model.Ingress)})
	if err != nil {
		t.Fatal(err)
	}
	revision := func() int64 { return w.store.Snapshot().SecurityGroup(g.ID).Revision }
	if revision() != 2 {
		t.Fatalf("after a new rule: revision %d", revision())
	}
	_, err = try(w, func(tx *store.Tx) (*model.SecurityGroupRule, error) {
		return w.rules.UpdateSecurityGroupRule(tx, w.env, demo, r.ID, SecurityGroupRuleSpec{Protocol: Some("udp")}, nil)
	})
	wantFault(t, err, fault.Invalid, "HTTPBadRequest", "Cannot update read-only attribute protocol")
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteSecurityGroupRule(tx, w.env, demo, r.ID, nil) }); err != nil {
		t.Fatal(err)
	}
	if revision() != 3 {
		t.Fatalf("after it was deleted: revision %d", revision())
	}
	err = w.do(func(tx *store.Tx) error { return w.rules.DeleteSecurityGroupRule(tx, w.env, demo, r.ID, nil) })
	wantFault(t, err, fault.NotFound, "SecurityGroupRuleNotFound", "Security group rule "+r.ID.String()+" does not exist")
}

func TestAgents(t *testing.T) {
	w := newWorld(t)
	w.host("compute1")
	h := w.store.Snapshot().Host("compute1")
	update := func(who authn.Principal, spec AgentSpec) error {
		return w.do(func(tx *store.Tx) error {
			_, err := w.rules.UpdateAgent(tx, w.env, who, h.AgentID, spec)
			return err
		})
	}
	wantFault(t, update(demo, AgentSpec{}), fault.NotFound, "AgentNotFound", "Agent "+h.AgentID.String()+" could not be found.")
	if err := update(admin, AgentSpec{AdminStateUp: Some(false), Description: Some("rack 3")}); err != nil {
		t.Fatal(err)
	}
	if got := w.store.Snapshot().Host("compute1"); got.AdminStateUp || got.Description != "rack 3" {
		t.Fatalf("host %+v", got)
	}
	del := func(alive bool) error {
		return w.do(func(tx *store.Tx) error { return w.rules.DeleteAgent(tx, w.env, admin, h.AgentID, alive) })
	}
	wantFault(t, del(true), fault.Conflict, "AgentInUse", "")
	if err := del(false); err != nil || w.store.Snapshot().Host("compute1") != nil {
		t.Fatalf("deleting a dead agent: %v", err)
	}
}

// FuzzRule holds that whatever text a rule is given, what is stored is well
// formed and no wider than what was written.
func FuzzRule(f *testing.F) {
	f.Add("tcp", "IPv4", "10.0.0.0/8", 1, 65535)
	f.Add("any", "ipv6", "::/0", 0, 0)
	f.Add("255", "IPV4", "1.2.3.4", -1, 70000)
	f.Fuzz(func(t *testing.T, protocol, family, prefix string, lo, hi int) {
		spec := &SecurityGroupRuleSpec{GroupID: Some(model.SecurityGroupID{UUID: model.UUID{1}}), Direction: Some(model.Ingress),
			Protocol: Some(protocol), EtherType: Some(family), RemotePrefix: Some(prefix), PortMin: Some(lo), PortMax: Some(hi)}
		r, err := parseRule(spec)
		if err != nil {
			wantFault(t, err, fault.Of(err), fault.As(err).Type, "")
			return
		}
		if prefix != "" && (!r.RemotePrefix.IsValid() || r.RemotePrefix.Addr().Is4() != (r.EtherType == model.IPv4)) {
			t.Fatalf("prefix %q became %v", prefix, r.RemotePrefix)
		}
		if r.PortMin == nil || r.PortMax == nil || *r.PortMin != lo || *r.PortMax != hi || r.IPProtocol == model.ProtocolAny {
			t.Fatalf("ports %d-%d of %q were widened: %+v", lo, hi, protocol, r)
		}
		if _, err := netip.ParsePrefix(prefix); err == nil && r.RemotePrefix.String() != netip.MustParsePrefix(prefix).String() {
			t.Fatalf("prefix %q became %v", prefix, r.RemotePrefix)
		}
	})
}
