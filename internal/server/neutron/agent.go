package neutron

import (
	"iter"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"weft/internal/model"
	"weft/internal/pyrepr"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// agentBinary and agentType are what Neutron calls the agent of an Open vSwitch
// host; Nova and the dashboards look for them.
const (
	agentBinary = "neutron-openvswitch-agent"
	agentType   = "Open vSwitch agent"
)

// A host is shown as one agent, or as two when it serves routers: one process, under the names by which
// clients look for what it does. What an operator says of either is said of the host.
type face struct {
	*model.Host
	kind faceKind
}

type faceKind byte

const (
	faceSwitch faceKind = iota
	faceL3
)

// names are what Neutron calls the agent that does the work.
func (f *face) names() (binary, kind string) {
	if f.kind == faceL3 {
		return "neutron-l3-agent", "L3 agent"
	}
	return agentBinary, agentType
}

// id is the host's own for the first face, and follows from it for the other.
func (f *face) id() model.UUID {
	u := f.AgentID.UUID
	u[len(u)-1] ^= byte(f.kind)
	return u
}

func facesOf(h *model.Host) []*face {
	if h.IsGateway() {
		return []*face{{h, faceSwitch}, {h, faceL3}}
	}
	return []*face{{h, faceSwitch}}
}

// hostOf finds the host that an id of one of its faces names, nil when there is none.
func hostOf(rd interface {
	HostByAgent(model.AgentID) *model.Host
}, id model.UUID) (*model.Host, faceKind) {
	for _, kind := range []faceKind{faceSwitch, faceL3} {
		u := id
		u[len(u)-1] ^= byte(kind)
		if h := rd.HostByAgent(model.AgentID{UUID: u}); h != nil && (kind == faceSwitch || h.IsGateway()) {
			return h, kind
		}
	}
	return nil, faceSwitch
}

// agentResource declares agents: the hosts, seen through the extension agent.
// They come and go with their sessions; the API changes two attributes.
func agentResource(rules *network.Rules, alive func(host string) bool) *resource[face, network.AgentSpec] {
	type (
		M    = face
		S    = network.AgentSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	rows := func(faces []*face) iter.Seq[*store.Row[M]] {
		slices.SortFunc(faces, func(a, b *face) int { return a.id().Compare(b.id()) })
		return func(yield func(*store.Row[M]) bool) {
			for _, f := range faces {
				if !yield(&store.Row[M]{Obj: f}) {
					return
				}
			}
		}
	}
	hostID := func(tx *store.Tx, id model.UUID) (*model.Host, model.AgentID) {
		if h, _ := hostOf(tx, id); h != nil {
			return h, h.AgentID
		}
		return nil, model.AgentID{UUID: id}
	}
	r := &resource[M, S]{
		name: "agent", collection: "agents", path: "agents",
		fresh:   true,
		id:      (*M).id,
		target:  func(*view, *M) policy.Target { return policy.Target{} },
		missing: notFound("AgentNotFound", "Agent %s could not be found."),

		row: func(v *view, id model.UUID) *store.Row[M] {
			h, kind := hostOf(v, id)
			if h == nil {
				return nil
			}
			return &store.Row[M]{Obj: &face{h, kind}}
		},
		rows: func(v *view) iter.Seq[*store.Row[M]] {
			var faces []*face
			for h := range v.Hosts() {
				faces = append(faces, facesOf(h)...)
			}
			return rows(faces)
		},

		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, _ *int64) (*M, error) {
			_, kind := hostOf(tx, id)
			_, agent := hostID(tx, id)
			h, err := rules.UpdateAgent(tx, env, who, agent, s)
			return &face{h, kind}, err
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, _ *int64) error {
			h, agent := hostID(tx, id)
			return rules.DeleteAgent(tx, env, who, agent, h != nil && alive(h.Name))
		},
		due: func(v *view, id model.UUID) bool {
			h, _ := hostOf(v, id)
			return h != nil && h.RoutersDue
		},
	}
	configurations := func(b []byte, v *view, f *M) []byte { return appendConfigurations(b, v, f.Host) }
	r.attributes = []attr{
		d.id("id", (*M).id).by(byID(r.row)),
		d.str("host", func(h *M) string { return h.Name }, nil, nil).
			by(func(v *view, host string) iter.Seq[*store.Row[M]] {
				if h := v.Host(host); h != nil {
					return rows(facesOf(h))
				}
				return none[M]
			}),
		d.str("binary", func(f *M) string { binary, _ := f.names(); return binary }, nil, nil),
		d.str("agent_type", func(f *M) string { _, kind := f.names(); return kind }, nil, nil),
		d.str("topic", func(*M) string { return "N/A" }, nil, nil),
		d.str("availability_zone", func(h *M) string { return h.AvailabilityZone() }, nil, nil),
		d.flag("admin_state_up", func(h *M) bool { return h.AdminStateUp }, func(s *S) *network.Opt[bool] { return &s.AdminStateUp }).putOnly(),
		attr{
			name: "alive",
			show: func(b []byte, v *view, h *M) []byte { return appendBool(b, v.api.Alive(h.Name)) },
			match: func(v *view, values []string) (func(*M) bool, error) {
				return matchBool(func(h *M) bool { return v.api.Alive(h.Name) })(v, values)
			},
		},
		d.strOrNull("description", func(h *M) string { return h.Description }, text(255), func(s *S) *network.Opt[string] { return &s.Description }).putOnly(),
		d.other("created_at", func(b []byte, _ *view, h *M) []byte { return appendAgentTime(b, h.CreatedAt) }),
		d.other("started_at", func(b []byte, _ *view, h *M) []byte { return appendAgentTime(b, h.StartedAt) }),
		// Liveness is the session itself: while it stands, the agent was seen now.
		d.other("heartbeat_timestamp", func(b []byte, v *view, h *M) []byte {
			if v.api.Alive(h.Name) {
				return appendAgentTime(b, v.api.Now())
			}
			return appendAgentTime(b, h.SeenAt)
		}),
		d.constant("resources_synced", "null"),
		d.other("configurations", configurations),
	}
	return r
}

// appendConfigurations appends what operators and Nova read of an agent's set-up,
// under the names that Neutron's agent reports; and of one that is alive, how far its host is.
func appendConfigurations(b []byte, v *view, h *model.Host) []byte {
	b = append(b, `{"bridge_mappings":{`...)
	for i, k := range slices.Sorted(maps.Keys(h.Mappings)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendString(b, h.Mappings[k])
	}
	b = append(b, `},"datapath_type":`...)
	b = appendString(b, h.Datapath)
	b = append(b, `,"tunneling_ip":`...)
	b = appendAddr(b, h.TunnelAddr)
	b = append(b, `,"tunnel_types":`...)
	b = appendList(b, h.TunnelTypes, func(b []byte, t model.NetworkType) []byte { return appendString(b, string(t)) })
	b = append(b, `,"roles":`...)
	b = appendStrings(b, h.Roles)
	b = append(b, `,"firewall":`...)
	b = appendString(b, h.Firewall)
	b = append(b, `,"version":`...)
	b = appendString(b, h.Version)
	if p, ok := v.api.Progress(h.Name); ok {
		b = append(b, `,"sent_revision":`...)
		b = strconv.AppendUint(b, p.Sent, 10)
		b = append(b, `,"applied_revision":`...)
		b = strconv.AppendUint(b, p.Applied, 10)
		b = append(b, `,"failed_ports":`...)
		b = strconv.AppendInt(b, int64(p.Failed), 10)
	}
	return append(b, '}')
}

// listZones serves /v2.0/availability_zones: the zones of the hosts, for
// networks (compute hosts) and for routers (gateways). A zone is available while one
// of its hosts is.
func listZones(c *call) error {
	type key struct{ resource, name string }
	if err := c.read(); err != nil {
		return err
	}
	q, err := parseQuery(c.rawQuery)
	if err != nil {
		return err
	}
	available := map[key]bool{}
	for h := range c.Hosts() {
		usable := h.AdminStateUp && c.api.Alive(h.Name)
		for _, role := range h.Roles {
			k := key{"network", h.AvailabilityZone()}
			if role == model.RoleGateway {
				k.resource = "router"
			}
			available[k] = available[k] || usable
		}
	}
	state := func(k key) string {
		if available[k] {
			return "available"
		}
		return "unavailable"
	}
	keep := func(k key) (bool, error) {
		for _, f := range q.filters {
			var have string
			switch f.name {
			case "name":
				have = k.name
			case "resource":
				have = k.resource
			case "state":
				have = state(k)
			default:
				return false, badRequest("%s is invalid attribute for filtering", pyrepr.Of([]any{f.name}))
			}
			if !slices.Contains(f.values, have) {
				return false, nil
			}
		}
		return true, nil
	}
	var zones []key
	for k := range available {
		zones = append(zones, k)
	}
	slices.SortFunc(zones, func(a, b key) int {
		return slices.Compare([]string{a.name, a.resource}, []string{b.name, b.resource})
	})
	if _, err := keep(key{}); err != nil { // also when there is no zone
		return err
	}
	zones = slices.DeleteFunc(zones, func(k key) bool { ok, _ := keep(k); return !ok })
	c.begin("availability_zones")
	c.body = appendList(c.body, zones, func(b []byte, k key) []byte {
		b = append(b, `{"name":`...)
		b = appendString(b, k.name)
		b = append(b, `,"resource":`...)
		b = appendString(b, k.resource)
		b = append(b, `,"state":`...)
		b = appendString(b, state(k))
		return append(b, '}')
	})
	c.end(http.StatusOK)
	return nil
}
