package filtertest

import (
	"net/netip"

	"weft/internal/model"
)

// ID is the id of object n.
func ID(n int) model.UUID {
	var u model.UUID
	u[0], u[1], u[2], u[3], u[4], u[5] = byte(n>>8), byte(n), 0x5b, 0xd3, byte(n), 0x06
	u[15] = byte(n)
	return u
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr  { return netip.MustParseAddr(s) }

// Rule makes a rule for everything that the changes then narrow.
func Rule(n int, d model.Direction, e model.EtherType, change ...func(*model.RuleView)) model.RuleView {
	r := model.RuleView{ID: model.SecurityGroupRuleID{UUID: ID(n)}, Direction: d, EtherType: e, Protocol: model.ProtocolAny, PortMin: -1, PortMax: -1}
	for _, f := range change {
		f(&r)
	}
	return r
}

// Proto narrows a rule to a protocol and its ports, or type and code.
func Proto(p, lo, hi int) func(*model.RuleView) {
	return func(r *model.RuleView) { r.Protocol, r.PortMin, r.PortMax = p, lo, hi }
}

// Remote narrows a rule to a prefix.
func Remote(s string) func(*model.RuleView) {
	return func(r *model.RuleView) { r.RemotePrefix = pfx(s) }
}

// FromGroup narrows a rule to the members of a security group.
func FromGroup(u model.UUID) func(*model.RuleView) {
	return func(r *model.RuleView) { r.RemoteGroup = model.SecurityGroupID{UUID: u} }
}

// FromAddresses narrows a rule to an address group.
func FromAddresses(u model.UUID) func(*model.RuleView) {
	return func(r *model.RuleView) { r.RemoteAddressGroup = model.AddressGroupID{UUID: u} }
}

// Group makes a security group.
func Group(n int, stateful bool, rules ...model.RuleView) *model.GroupView {
	return &model.GroupView{ID: model.SecurityGroupID{UUID: ID(n)}, Stateful: stateful, Rules: rules}
}

// Groups collects security groups.
func Groups(gs ...*model.GroupView) map[model.SecurityGroupID]*model.GroupView {
	out := map[model.SecurityGroupID]*model.GroupView{}
	for _, g := range gs {
		out[g.ID] = g
	}
	return out
}

// Members makes a set of one member a prefix.
func Members(set model.UUID, prefixes ...string) map[model.MemberKey]*model.MemberView {
	out := map[model.MemberKey]*model.MemberView{}
	for i, p := range prefixes {
		k := model.MemberKey{Set: set, Port: ID(9000 + i)}
		out[k] = &model.MemberView{Key: k, Prefixes: []netip.Prefix{pfx(p)}}
	}
	return out
}

// Port makes a port with port security and the addresses.
func Port(n int, gs []*model.GroupView, addrs ...string) *model.PortView {
	v := &model.PortView{ID: model.PortID{UUID: ID(n)}, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, byte(n >> 8), byte(n)},
		AdminStateUp: true, PortSecurity: true, Firewall: model.FirewallHybrid}
	for _, g := range gs {
		v.SecurityGroups = append(v.SecurityGroups, g.ID)
	}
	for _, a := range addrs {
		v.FixedIPs = append(v.FixedIPs, model.FixedIP{Addr: addr(a)})
	}
	return v
}

// Network is the network of the ports, with DHCP and a gateway in both families.
func Network() *model.NetworkView {
	return &model.NetworkView{AdminStateUp: true, MTU: 1458, DHCPMAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0xd, 0xd},
		DHCPAddrs: []netip.Addr{addr("10.0.0.2"), addr("2001:db8::2")},
		Subnets: []model.SubnetView{
			{CIDR: pfx("10.0.0.0/24"), Gateway: addr("10.0.0.1"), EnableDHCP: true},
			{CIDR: pfx("2001:db8::/64"), Gateway: addr("fe80::1"), EnableDHCP: true, RAMode: model.IPv6Stateful},
		}}
}
