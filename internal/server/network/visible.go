package network

import (
	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
)

// Readers of single objects: what a snapshot and a transaction both are.
type (
	networkReader interface {
		Network(model.NetworkID) *model.Network
	}
	subnetReader interface {
		networkReader
		Subnet(model.SubnetID) *model.Subnet
	}
	portReader interface {
		networkReader
		Port(model.PortID) *model.Port
	}
	groupReader interface {
		SecurityGroup(model.SecurityGroupID) *model.SecurityGroup
	}
	ruleReader interface {
		groupReader
		SecurityGroupRule(model.SecurityGroupRuleID) *model.SecurityGroupRule
	}
	routerReader interface {
		Router(model.RouterID) *model.Router
	}
	floatingReader interface {
		FloatingIP(model.FloatingIPID) *model.FloatingIP
	}
	scopeReader interface {
		AddressScope(model.AddressScopeID) *model.AddressScope
	}
	addressGroupReader interface {
		AddressGroup(model.AddressGroupID) *model.AddressGroup
	}
	poolReader interface {
		SubnetPool(model.SubnetPoolID) *model.SubnetPool
	}
	agentReader interface {
		HostByAgent(model.AgentID) *model.Host
	}
)

// Network returns a network that the principal may see, else NetworkNotFound:
// what is invisible does not exist.
func (r *Rules) Network(rd networkReader, who authn.Principal, id model.NetworkID) (*model.Network, error) {
	n := rd.Network(id)
	if n == nil || !policy.Allowed(who, "get_network", policy.NetworkTarget(n)) {
		return nil, networkNotFound(id)
	}
	return n, nil
}

// Subnet returns a subnet that the principal may see, else SubnetNotFound.
func (r *Rules) Subnet(rd subnetReader, who authn.Principal, id model.SubnetID) (*model.Subnet, error) {
	s := rd.Subnet(id)
	if s == nil || !policy.Allowed(who, "get_subnet", policy.SubnetTarget(s, rd.Network(s.NetworkID))) {
		return nil, subnetNotFound(id)
	}
	return s, nil
}

// Port returns a port that the principal may see, else PortNotFound.
func (r *Rules) Port(rd portReader, who authn.Principal, id model.PortID) (*model.Port, error) {
	p := rd.Port(id)
	if p == nil || !policy.Allowed(who, "get_port", policy.PortTarget(p, rd.Network(p.NetworkID))) {
		return nil, portNotFound(id)
	}
	return p, nil
}

// SecurityGroup returns a group that the principal may see, else
// SecurityGroupNotFound.
func (r *Rules) SecurityGroup(rd groupReader, who authn.Principal, id model.SecurityGroupID) (*model.SecurityGroup, error) {
	g := rd.SecurityGroup(id)
	if g == nil || !policy.Allowed(who, "get_security_group", policy.SecurityGroupTarget(g)) {
		return nil, groupNotFound(id)
	}
	return g, nil
}

// SecurityGroupRule returns a rule that the principal may see, else
// SecurityGroupRuleNotFound.
func (r *Rules) SecurityGroupRule(rd ruleReader, who authn.Principal, id model.SecurityGroupRuleID) (*model.SecurityGroupRule, error) {
	rule := rd.SecurityGroupRule(id)
	if rule == nil || !policy.Allowed(who, "get_security_group_rule",
		policy.SecurityGroupRuleTarget(rule, rd.SecurityGroup(rule.GroupID))) {
		return nil, ruleNotFound(id)
	}
	return rule, nil
}

// Router returns a router that the principal may see, else RouterNotFound.
func (r *Rules) Router(rd routerReader, who authn.Principal, id model.RouterID) (*model.Router, error) {
	rt := rd.Router(id)
	if rt == nil || !policy.Allowed(who, "get_router", policy.RouterTarget(rt)) {
		return nil, routerNotFound(id)
	}
	return rt, nil
}

// FloatingIP returns a floating IP that the principal may see, else FloatingIPNotFound.
func (r *Rules) FloatingIP(rd floatingReader, who authn.Principal, id model.FloatingIPID) (*model.FloatingIP, error) {
	f := rd.FloatingIP(id)
	if f == nil || !policy.Allowed(who, "get_floatingip", policy.FloatingIPTarget(f)) {
		return nil, fault.New(fault.NotFound, "FloatingIPNotFound", "Floating IP %s could not be found", id)
	}
	return f, nil
}

// AddressScope returns an address scope that the principal may see, else AddressScopeNotFound.
func (r *Rules) AddressScope(rd scopeReader, who authn.Principal, id model.AddressScopeID) (*model.AddressScope, error) {
	s := rd.AddressScope(id)
	if s == nil || !policy.Allowed(who, "get_address_scope", policy.AddressScopeTarget(s)) {
		return nil, fault.New(fault.NotFound, "AddressScopeNotFound", "Address scope %s could not be found.", id)
	}
	return s, nil
}

// AddressGroup returns an address group that the principal may see, else AddressGroupNotFound.
func (r *Rules) AddressGroup(rd addressGroupReader, who authn.Principal, id model.AddressGroupID) (*model.AddressGroup, error) {
	g := rd.AddressGroup(id)
	if g == nil || !policy.Allowed(who, "get_address_group", policy.AddressGroupTarget(g)) {
		return nil, fault.New(fault.NotFound, "AddressGroupNotFound", "Address group %s could not be found.", id)
	}
	return g, nil
}

// SubnetPool returns a subnet pool that the principal may see, else SubnetPoolNotFound.
func (r *Rules) SubnetPool(rd poolReader, who authn.Principal, id model.SubnetPoolID) (*model.SubnetPool, error) {
	p := rd.SubnetPool(id)
	if p == nil || !policy.Allowed(who, "get_subnetpool", policy.SubnetPoolTarget(p)) {
		return nil, fault.New(fault.NotFound, "SubnetPoolNotFound", "Subnet pool %s could not be found.", id)
	}
	return p, nil
}

// Agent returns the host of an agent that the principal may see, else
// AgentNotFound.
func (r *Rules) Agent(rd agentReader, who authn.Principal, id model.AgentID) (*model.Host, error) {
	h := rd.HostByAgent(id)
	if h == nil || !policy.Allowed(who, "get_agent", policy.Target{}) {
		return nil, agentNotFound(id)
	}
	return h, nil
}
