// Package policy says who may do and see what: Allowed(principal, action,
// target), a pure function over one table.
//
// Actions have Neutron's names: "update_port" for the call and
// "update_port:binding:host_id" for one attribute of it. What is not in the
// table is denied, so that a misspelt name can only refuse (OSSA-2024-005).
// Attribute actions are asked when the attribute is present in the request,
// whatever its value (OSSA-2014-031); a "get_" attribute action says who sees
// the attribute in an answer.
//
// It does not read the store: the caller brings the facts in a Target. Called
// by the rules (internal/server/network) and by the dialect.
package policy

import (
	"strings"

	"weft/internal/model"
	"weft/internal/server/authn"
)

// Target is what an action is about, as far as policy depends on it.
type Target struct {
	ProjectID      string // of the object
	NetworkProject string // of the network that the object is on; a network's own
	Shared         bool   // the object, or the network that it is on, is for all projects
	External       bool   // the network is external, visible to all projects
	DeviceOwner    string // of a port: the new value, for the attribute device_owner
}

// NetworkTarget is the target of an action on a network.
func NetworkTarget(n *model.Network) Target {
	return Target{ProjectID: n.ProjectID, NetworkProject: n.ProjectID, Shared: n.Shared, External: n.External}
}

// SubnetTarget is the target of an action on a subnet of a network; the
// network may be nil.
func SubnetTarget(s *model.Subnet, n *model.Network) Target {
	t := Target{ProjectID: s.ProjectID}
	if n != nil {
		t.NetworkProject, t.Shared, t.External = n.ProjectID, n.Shared, n.External
	}
	return t
}

// PortTarget is the target of an action on a port of a network; the network
// may be nil.
func PortTarget(p *model.Port, n *model.Network) Target {
	t := Target{ProjectID: p.ProjectID, DeviceOwner: p.DeviceOwner}
	if n != nil {
		t.NetworkProject, t.Shared, t.External = n.ProjectID, n.Shared, n.External
	}
	return t
}

// SecurityGroupTarget is the target of an action on a security group.
func SecurityGroupTarget(g *model.SecurityGroup) Target {
	return Target{ProjectID: g.ProjectID, Shared: g.Shared}
}

// SecurityGroupRuleTarget is the target of an action on a rule; the owner of
// its group may see and remove it as well. The group may be nil.
func SecurityGroupRuleTarget(r *model.SecurityGroupRule, g *model.SecurityGroup) Target {
	t := Target{ProjectID: r.ProjectID}
	if g != nil {
		t.NetworkProject = g.ProjectID // the parent's owner
		t.Shared = g.Shared
	}
	return t
}

// RouterTarget is the target of an action on a router.
func RouterTarget(r *model.Router) Target { return Target{ProjectID: r.ProjectID} }

// FloatingIPTarget is the target of an action on a floating IP.
func FloatingIPTarget(f *model.FloatingIP) Target { return Target{ProjectID: f.ProjectID} }

// AddressScopeTarget is the target of an action on an address scope.
func AddressScopeTarget(s *model.AddressScope) Target {
	return Target{ProjectID: s.ProjectID, Shared: s.Shared}
}

// AddressGroupTarget is the target of an action on an address group.
func AddressGroupTarget(g *model.AddressGroup) Target { return Target{ProjectID: g.ProjectID} }

// SubnetPoolTarget is the target of an action on a subnet pool.
func SubnetPoolTarget(p *model.SubnetPool) Target {
	return Target{ProjectID: p.ProjectID, Shared: p.Shared}
}

// PortForwardingTarget is the target of an action on a port forwarding: its floating IP's owner is who counts.
// The floating IP may be nil.
func PortForwardingTarget(_ *model.PortForwarding, f *model.FloatingIP) Target {
	if f == nil {
		return Target{}
	}
	return Target{NetworkProject: f.ProjectID}
}

// ProjectTarget is the target of an action on what a project has: its quota.
func ProjectTarget(project string) Target { return Target{ProjectID: project} }

// Allowed reports whether the principal may perform the action on the target.
// Actions that are not in the table are denied to everybody, admins included.
func Allowed(p authn.Principal, action string, t Target) bool {
	r, ok := table[action]
	if !ok || p.ReadOnly && !strings.HasPrefix(action, "get_") {
		return false
	}
	return r(p, t)
}

// Known reports whether the table has the action: an attribute without an
// action of its own follows the call's.
func Known(action string) bool {
	_, ok := table[action]
	return ok
}

type rule func(authn.Principal, Target) bool

func anyOf(rules ...rule) rule {
	return func(p authn.Principal, t Target) bool {
		for _, r := range rules {
			if r(p, t) {
				return true
			}
		}
		return false
	}
}

func everybody(authn.Principal, Target) bool   { return true }
func admin(p authn.Principal, _ Target) bool   { return p.Admin }
func service(p authn.Principal, _ Target) bool { return p.Service }
func shared(_ authn.Principal, t Target) bool  { return t.Shared }
func external(_ authn.Principal, t Target) bool {
	return t.External
}

// owner: an empty project owns nothing, else a request without a project
// would own what Weft itself made.
func owner(p authn.Principal, t Target) bool {
	return p.ProjectID != "" && p.ProjectID == t.ProjectID
}

func parentOwner(p authn.Principal, t Target) bool {
	return p.ProjectID != "" && p.ProjectID == t.NetworkProject
}

// notNetworkDevice: a device owner of "network:" is trusted by the data plane and by
// in-use checks, so that only the network's owner may say it
// (OSSA-2015-018, CVE-2026-50266).
func notNetworkDevice(_ authn.Principal, t Target) bool {
	return !strings.HasPrefix(t.DeviceOwner, "network:")
}
