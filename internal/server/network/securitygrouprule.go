package network

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// CreateSecurityGroupRule adds a rule to a group. Nothing in it is ever taken
// for wider than it was written: what does not fit together is refused.
func (r *Rules) CreateSecurityGroupRule(tx *store.Tx, env Env, who authn.Principal, spec SecurityGroupRuleSpec) (*model.SecurityGroupRule, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	rule, err := parseRule(&spec)
	if err != nil {
		return nil, err
	}
	if err := r.checkQuota(tx, project, QuotaSecurityGroupRule); err != nil {
		return nil, err
	}
	g, err := r.SecurityGroup(tx, who, rule.GroupID)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "create_security_group_rule", policy.SecurityGroupTarget(g)).err(); err != nil {
		return nil, err
	}
	if !rule.RemoteGroup.IsZero() {
		if _, err := r.SecurityGroup(tx, who, rule.RemoteGroup); err != nil {
			return nil, err
		}
	}
	if !rule.RemoteAddressGroup.IsZero() {
		if _, err := r.AddressGroup(tx, who, rule.RemoteAddressGroup); err != nil {
			return nil, err
		}
	}
	for o := range tx.SecurityGroupRulesByGroup(g.ID) {
		if sameRule(o, rule) {
			return nil, fault.New(fault.Conflict, "SecurityGroupRuleExists",
				"Security group rule already exists. Rule id is %s.", o.ID)
		}
	}
	rule.Meta = env.meta(project, Opt[string]{}, spec.Description, 0)
	rule.ID = model.SecurityGroupRuleID{UUID: env.uuid()}
	tx.PutSecurityGroupRule(rule)
	touchGroup(tx, env, g.ID)
	return rule, nil
}

// CheckRuleBatch refuses a bulk create of rules for more than one group.
func (r *Rules) CheckRuleBatch(specs []SecurityGroupRuleSpec) error {
	for _, s := range specs {
		if s.GroupID.Value != specs[0].GroupID.Value {
			return fault.New(fault.Invalid, "SecurityGroupNotSingleGroupRules",
				"Only allowed to update rules for one security profile at a time")
		}
	}
	return nil
}

// UpdateSecurityGroupRule changes a rule's description; all else of a rule is
// fixed.
func (r *Rules) UpdateSecurityGroupRule(tx *store.Tx, env Env, who authn.Principal, id model.SecurityGroupRuleID, spec SecurityGroupRuleSpec, ifMatch *int64) (*model.SecurityGroupRule, error) {
	old, err := r.SecurityGroupRule(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := refuseReadOnly(map[string]bool{
		"security_group_id": spec.GroupID.Set, "direction": spec.Direction.Set, "ethertype": spec.EtherType.Set,
		"protocol": spec.Protocol.Set, "port_range_min": spec.PortMin.Set, "port_range_max": spec.PortMax.Set,
		"remote_ip_prefix": spec.RemotePrefix.Set, "remote_group_id": spec.RemoteGroup.Set,
		"remote_address_group_id": spec.RemoteAddressGroup.Set,
	}); err != nil {
		return nil, err
	}
	t := policy.SecurityGroupRuleTarget(old, tx.SecurityGroup(old.GroupID))
	if err := ask(who, "update_security_group_rule", t).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkText("description", spec.Description); err != nil {
		return nil, err
	}
	rule := old.Clone()
	set(&rule.Description, spec.Description)
	if reflect.DeepEqual(old, rule) {
		return old, nil
	}
	env.touch(&rule.Meta)
	tx.PutSecurityGroupRule(rule)
	touchGroup(tx, env, rule.GroupID)
	return rule, nil
}

// DeleteSecurityGroupRule removes a rule.
func (r *Rules) DeleteSecurityGroupRule(tx *store.Tx, env Env, who authn.Principal, id model.SecurityGroupRuleID, ifMatch *int64) error {
	rule, err := r.SecurityGroupRule(tx, who, id)
	if err != nil {
		return err
	}
	t := policy.SecurityGroupRuleTarget(rule, tx.SecurityGroup(rule.GroupID))
	if err := ask(who, "delete_security_group_rule", t).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, rule.Revision); err != nil {
		return err
	}
	tx.DeleteSecurityGroupRule(id)
	touchGroup(tx, env, rule.GroupID)
	return nil
}

// parseRule makes a rule of what a request says, without looking at others.
func parseRule(spec *SecurityGroupRuleSpec) (*model.SecurityGroupRule, error) {
	if err := checkText("description", spec.Description); err != nil {
		return nil, err
	}
	rule := &model.SecurityGroupRule{
		GroupID:     spec.GroupID.Or(model.SecurityGroupID{}),
		Direction:   spec.Direction.Or(""),
		RemoteGroup: spec.RemoteGroup.Or(model.SecurityGroupID{}),

		RemoteAddressGroup: spec.RemoteAddressGroup.Or(model.AddressGroupID{}),
	}
	if rule.Direction != model.Ingress && rule.Direction != model.Egress {
		return nil, badAttr("direction", "%s is not in valid_values.", rule.Direction)
	}
	var err error
	if rule.EtherType, err = parseEtherType(spec.EtherType); err != nil {
		return nil, err
	}
	if rule.Protocol, rule.IPProtocol, err = parseProtocol(spec.Protocol, rule.EtherType); err != nil {
		return nil, err
	}
	if err := parsePorts(rule, spec); err != nil {
		return nil, err
	}
	return rule, parseRemote(rule, spec)
}

func parseEtherType(given Opt[string]) (model.EtherType, error) {
	switch t := given.Or(string(model.IPv4)); {
	case strings.EqualFold(t, string(model.IPv4)):
		return model.IPv4, nil
	case strings.EqualFold(t, string(model.IPv6)):
		return model.IPv6, nil
	default:
		return "", fault.New(fault.Invalid, "SecurityGroupRuleInvalidEtherType",
			"Security group rule for ethertype '%s' not supported. Allowed values are ['IPv4', 'IPv6'].", t)
	}
}

// Numbers of the protocols that rules treat in a special way (IANA).
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

// protocols are the names that a rule may have, in the order that Neutron
// lists them, with their numbers (IANA). "ip" is any protocol.
var protocols = []struct {
	name   string
	number int
	v6only bool
}{
	{"ah", 51, false}, {"dccp", protoDCCP, false}, {"egp", 8, false}, {"esp", 50, false}, {"gre", 47, false},
	{"hopopt", 0, false}, {"icmp", protoICMP, false}, {"igmp", 2, false}, {"ip", model.ProtocolAny, false}, {"ipip", 4, false},
	{"ipv6-encap", 41, true}, {"ipv6-frag", 44, true}, {"ipv6-icmp", protoICMPv6, true}, {"icmpv6", protoICMPv6, true},
	{"ipv6-nonxt", 59, true}, {"ipv6-opts", 60, true}, {"ipv6-route", 43, true}, {"ospf", 89, false}, {"pgm", 113, false},
	{"rsvp", 46, false}, {"sctp", protoSCTP, false}, {"tcp", protoTCP, false}, {"udp", protoUDP, false},
	{"udplite", protoUDPLite, false}, {"vrrp", 112, false},
}

// parseProtocol reads a protocol's name, in any case of letters, or number. The first result is
// as the API shows it: a known name in lower case, or a number as given. "any" is
// none: a rule for all protocols says so by null (OSSN-0029).
func parseProtocol(given Opt[string], family model.EtherType) (shown string, number int, err error) {
	text, ok := given.Get()
	if !ok || text == "" {
		return "", model.ProtocolAny, nil
	}
	name := strings.ToLower(text)
	for _, p := range protocols {
		if p.name != name {
			continue
		}
		switch {
		case p.v6only && family == model.IPv4:
			return "", 0, fault.New(fault.Invalid, "SecurityGroupEthertypeConflictWithProtocol",
				"Invalid ethertype %s for protocol %s.", family, name)
		case p.number == protoICMP && family == model.IPv6, name == "icmpv6":
			// ICMP of IPv6 has one name, whichever the user wrote.
			return "ipv6-icmp", protoICMPv6, nil
		}
		return name, p.number, nil
	}
	if n, err := strconv.ParseUint(text, 10, 8); err == nil {
		switch {
		case n == protoICMPv6 && family == model.IPv4:
			return "", 0, fault.New(fault.Invalid, "SecurityGroupEthertypeConflictWithProtocol",
				"Invalid ethertype %s for protocol %s.", family, text)
		case n == protoICMP && family == model.IPv6:
			return "ipv6-icmp", protoICMPv6, nil
		}
		return strconv.FormatUint(n, 10), int(n), nil
	}
	var names []string
	for _, p := range protocols {
		names = append(names, "'"+p.name+"'")
	}
	return "", 0, fault.New(fault.Invalid, "SecurityGroupRuleInvalidProtocol",
		"Security group rule protocol %s not supported. Only protocol values [None, %s] and integer representations [0 to 255] are supported.",
		text, strings.Join(names, ", "))
}

// parsePorts reads a range of ports, or type and code of ICMP. Ports with a
// protocol that has none are refused (OSSA-2019-001), as are ports without a protocol.
func parsePorts(rule *model.SecurityGroupRule, spec *SecurityGroupRuleSpec) error {
	lo, hasLo := spec.PortMin.Get()
	hi, hasHi := spec.PortMax.Get()
	for _, v := range []int{lo, hi} {
		if v < 0 || v > 65535 {
			return badPort(v)
		}
	}
	if !hasLo && !hasHi {
		return nil
	}
	if spec.Protocol.Or("") == "" {
		return fault.New(fault.Invalid, "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
	}
	switch rule.IPProtocol {
	case protoTCP, protoUDP, protoSCTP, protoDCCP, protoUDPLite:
		switch {
		case hasLo && lo == 0 || hasHi && hi == 0:
			return badPort(0)
		case !hasLo || !hasHi || lo > hi:
			return fault.New(fault.Invalid, "SecurityGroupInvalidPortRange",
				"For TCP/UDP protocols, port_range_min must be <= port_range_max")
		}
	case protoICMP, protoICMPv6:
		switch {
		case lo > 255:
			return badICMP("type", "port_range_min", lo)
		case hi > 255:
			return badICMP("code", "port_range_max", hi)
		case !hasLo:
			return fault.New(fault.Invalid, "SecurityGroupMissingIcmpType",
				"ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", hi)
		}
	default:
		return fault.New(fault.Invalid, "SecurityGroupInvalidProtocolForPort", "Ports cannot be specified for protocol %d. "+
			"Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE.", max(rule.IPProtocol, 0))
	}
	if hasLo {
		rule.PortMin = &lo
	}
	if hasHi {
		rule.PortMax = &hi
	}
	return nil
}

func badPort(v int) *fault.Error {
	return fault.New(fault.Invalid, "SecurityGroupInvalidPortValue", "Invalid value for port %d", v)
}

func badICMP(field, attr string, v int) *fault.Error {
	return fault.New(fault.Invalid, "SecurityGroupInvalidIcmpValue",
		"Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", field, attr, v)
}

// parseRemote reads who a rule is about: a prefix, a group or an address group, one of them at most.
func parseRemote(rule *model.SecurityGroupRule, spec *SecurityGroupRuleSpec) error {
	prefix := spec.RemotePrefix.Or("")
	remotes := 0
	for _, has := range []bool{prefix != "", !rule.RemoteGroup.IsZero(), !rule.RemoteAddressGroup.IsZero()} {
		if has {
			remotes++
		}
	}
	switch {
	case remotes > 1:
		return fault.New(fault.Invalid, "SecurityGroupMultipleRemoteEntites",
			"Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
	case prefix == "":
		return nil
	}
	p, err := netip.ParsePrefix(prefix)
	if err != nil && !strings.Contains(prefix, "/") {
		var a netip.Addr
		if a, err = netip.ParseAddr(prefix); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if err != nil || !p.IsValid() || p.Addr().Is4In6() {
		return fault.New(fault.Invalid, "InvalidCIDR", "Invalid CIDR %s given as IP prefix.", prefix)
	}
	if p.Addr().Is4() != (rule.EtherType == model.IPv4) {
		return fault.New(fault.Invalid, "SecurityGroupRuleParameterConflict",
			"Conflicting value ethertype %s for CIDR %s", rule.EtherType, prefix)
	}
	rule.RemotePrefix = p
	return nil
}

// sameRule reports whether two rules of a group allow the same: descriptions,
// the spelling of the protocol and host bits do not count.
func sameRule(a, b *model.SecurityGroupRule) bool {
	return a.Direction == b.Direction && a.EtherType == b.EtherType && a.IPProtocol == b.IPProtocol &&
		sameInt(a.PortMin, b.PortMin) && sameInt(a.PortMax, b.PortMax) &&
		a.RemotePrefix.Masked() == b.RemotePrefix.Masked() && a.RemoteGroup == b.RemoteGroup &&
		a.RemoteAddressGroup == b.RemoteAddressGroup
}

func sameInt(a, b *int) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
