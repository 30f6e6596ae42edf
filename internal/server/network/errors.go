package network

import (
	"fmt"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/policy"

	"weft/internal/server/authn"
)

// badInput is the refusal of a value that only a rule can judge.
func badInput(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "InvalidInput", "Invalid input for operation: %s.",
		strings.TrimSuffix(fmt.Sprintf(format, args...), "."))
}

// badAttr is the refusal of an attribute's value by itself, as the dialect's
// own validation words it.
func badAttr(attr, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "HTTPBadRequest", "Invalid input for %s. Reason: %s", attr, fmt.Sprintf(format, args...))
}

// badRequest is the refusal of a request for a resource as a whole.
func badRequest(resource, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "BadRequest", "Bad %s request: %s", resource, fmt.Sprintf(format, args...))
}

func networkNotFound(id model.NetworkID) *fault.Error {
	return fault.New(fault.NotFound, "NetworkNotFound", "Network %s could not be found.", id)
}

func subnetNotFound(id model.SubnetID) *fault.Error {
	return fault.New(fault.NotFound, "SubnetNotFound", "Subnet %s could not be found.", id)
}

func portNotFound(id model.PortID) *fault.Error {
	return fault.New(fault.NotFound, "PortNotFound", "Port %s could not be found.", id)
}

func groupNotFound(id model.SecurityGroupID) *fault.Error {
	return fault.New(fault.NotFound, "SecurityGroupNotFound", "Security group %s does not exist", id)
}

func ruleNotFound(id model.SecurityGroupRuleID) *fault.Error {
	return fault.New(fault.NotFound, "SecurityGroupRuleNotFound", "Security group rule %s does not exist", id)
}

func agentNotFound(id model.AgentID) *fault.Error {
	return fault.New(fault.NotFound, "AgentNotFound", "Agent %s could not be found.", id)
}

func routerNotFound(id model.RouterID) *fault.Error {
	return fault.New(fault.NotFound, "RouterNotFound", "Router %s could not be found", id)
}

func qosPolicyNotFound(id string) *fault.Error {
	return fault.New(fault.NotFound, "QosPolicyNotFound", "QoS policy %s could not be found.", id)
}

// checkRevision holds an If-Match against the object's revision.
func checkRevision(ifMatch *int64, have int64) error {
	if ifMatch == nil || *ifMatch == have {
		return nil
	}
	return fault.New(fault.Stale, "RevisionNumberConstraintFailed",
		"Constrained to %d, but current revision is %d", *ifMatch, have)
}

// access is one question to policy: an action, and attributes of it that are
// present in the request.
type access struct {
	action string
	target policy.Target
	text   string // the rule as Neutron prints it
	denied bool
	who    authn.Principal
}

// ask begins a question to policy.
func ask(who authn.Principal, action string, t policy.Target) *access {
	return &access{action: action, target: t, who: who, text: "rule:" + action,
		denied: !policy.Allowed(who, action, t)}
}

// attr adds an attribute, when it is present and has a rule of its own. Present means
// present: sending an attribute's default is setting it (OSSA-2014-031).
func (a *access) attr(name string, present bool) *access {
	if !present {
		return a
	}
	action := a.action + ":" + name
	a.text = "(" + a.text + " and rule:" + action + ")"
	if !policy.Allowed(a.who, action, a.target) {
		a.denied = true
	}
	return a
}

// part is an attribute of an attribute.
type part struct {
	name    string
	present bool
}

// nested adds an attribute that has attributes of its own, with those of them that are present.
func (a *access) nested(name string, present bool, parts ...part) *access {
	if !present {
		return a
	}
	action := a.action + ":" + name
	text := "rule:" + action
	a.denied = a.denied || !policy.Allowed(a.who, action, a.target)
	var inner []string
	for _, p := range parts {
		if p.present {
			inner = append(inner, "rule:"+action+":"+p.name)
			a.denied = a.denied || !policy.Allowed(a.who, action+":"+p.name, a.target)
		}
	}
	if inner != nil {
		text = "(" + text + " and (" + strings.Join(inner, " and ") + "))"
	}
	a.text = "(" + a.text + " and " + text + ")"
	return a
}

// err is nil when everything that was asked is allowed.
func (a *access) err() error {
	if !a.denied {
		return nil
	}
	return fault.New(fault.Forbidden, "PolicyNotAuthorized", "%s is disallowed by policy", a.text)
}
