package model

import (
	"net/netip"
	"slices"
)

// SecurityGroup is a named set of allow rules; ports refer to it.
type SecurityGroup struct {
	Meta
	ID       SecurityGroupID `json:"id"`
	Stateful bool            `json:"stateful"`
	Shared   bool            `json:"shared,omitempty"`
	// IsDefault marks the group that a project gets on first use; there is one
	// a project, it cannot be deleted or renamed to or from "default".
	IsDefault bool `json:"is_default,omitempty"`
}

// Clone returns a deep copy to change.
func (g *SecurityGroup) Clone() *SecurityGroup {
	c := *g
	c.Tags = slices.Clone(g.Tags)
	return &c
}

// Direction is seen from the VM: ingress is towards it.
type Direction string

// The directions.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// EtherType is the address family that a rule is about.
type EtherType string

// The families.
const (
	IPv4 EtherType = "IPv4"
	IPv6 EtherType = "IPv6"
)

// ProtocolAny is SecurityGroupRule.IPProtocol of a rule for all protocols.
const ProtocolAny = -1

// SecurityGroupRule allows traffic. Exactly one of RemotePrefix, RemoteGroup
// and RemoteAddressGroup may be set; none means any peer.
type SecurityGroupRule struct {
	Meta
	ID         SecurityGroupRuleID `json:"id"`
	GroupID    SecurityGroupID     `json:"security_group_id"`
	Direction  Direction           `json:"direction"`
	EtherType  EtherType           `json:"ethertype"`
	Protocol   string              `json:"protocol,omitempty"` // as the API shows it: a name or a number; "" is any
	IPProtocol int                 `json:"ip_protocol"`        // the number (IANA), ProtocolAny for any
	// PortMin and PortMax are ports of TCP, UDP, SCTP, DCCP, UDP-Lite; for ICMP and
	// ICMPv6 they are type and code. Nil means any.
	PortMin *int `json:"port_range_min,omitempty"`
	PortMax *int `json:"port_range_max,omitempty"`

	RemotePrefix       netip.Prefix    `json:"remote_ip_prefix,omitzero"` // as given, host bits kept
	RemoteGroup        SecurityGroupID `json:"remote_group_id,omitzero"`
	RemoteAddressGroup AddressGroupID  `json:"remote_address_group_id,omitzero"`
}

// Clone returns a deep copy to change.
func (r *SecurityGroupRule) Clone() *SecurityGroupRule {
	c := *r
	c.Tags = slices.Clone(r.Tags)
	return &c
}
