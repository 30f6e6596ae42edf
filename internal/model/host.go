package model

import (
	"net/netip"
	"slices"
	"time"
)

// Host is a machine with an agent. The dispatcher writes it when the agent's
// session starts and ends, never at every heartbeat: liveness is the session
// itself.
type Host struct {
	Name         string            `json:"name"`
	AgentID      AgentID           `json:"agent_id"`
	Roles        []string          `json:"roles"` // "compute", "gateway"
	TunnelAddr   netip.Addr        `json:"tunnel_addr,omitzero"`
	TunnelTypes  []NetworkType     `json:"tunnel_types,omitempty"`
	Mappings     map[string]string `json:"bridge_mappings,omitempty"` // physical network -> bridge
	Datapath     string            `json:"datapath,omitempty"`        // "system" or "netdev"
	Firewall     string            `json:"firewall,omitempty"`        // driver for ports bound here
	Version      string            `json:"version,omitempty"`
	CreatedAt    time.Time         `json:"created_at"`
	StartedAt    time.Time         `json:"started_at"`     // of the agent process
	SeenAt       time.Time         `json:"seen_at"`        // last session start or end
	AdminStateUp bool              `json:"admin_state_up"` // false: no new ports are bound here
	Description  string            `json:"description,omitempty"`
	Zone         string            `json:"availability_zone,omitempty"`
	RoutersDue   bool              `json:"routers_due,omitempty"` // routers have yet to follow its last change
}

// RoleGateway is the role of hosts that serve routers.
const RoleGateway = "gateway"

// IsGateway reports whether the host may serve routers.
func (h *Host) IsGateway() bool { return slices.Contains(h.Roles, RoleGateway) }

// DefaultZone is the availability zone of hosts that name none, as Neutron has it.
const DefaultZone = "nova"

// AvailabilityZone is the zone that the host is in.
func (h *Host) AvailabilityZone() string {
	if h.Zone == "" {
		return DefaultZone
	}
	return h.Zone
}

// Clone returns a deep copy to change.
func (h *Host) Clone() *Host {
	c := *h
	c.Roles = slices.Clone(h.Roles)
	c.TunnelTypes = slices.Clone(h.TunnelTypes)
	if h.Mappings != nil {
		c.Mappings = make(map[string]string, len(h.Mappings))
		for k, v := range h.Mappings {
			c.Mappings[k] = v
		}
	}
	return &c
}

// Progress is how far a host is that has a session. It lives as long as the session does.
type Progress struct {
	Sent    uint64 // revision of the store that the host was told of
	Applied uint64 // revision up to which it says it is programmed, 0 for none yet
	Failed  int    // ports that it could not apply there
}

// Quota holds the limits that a project was given; a resource that is not
// listed has the default, -1 is unlimited.
type Quota struct {
	ProjectID string           `json:"project_id"`
	Limits    map[string]int64 `json:"limits"` // "port" -> 500
}
