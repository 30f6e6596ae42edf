package neutron

import (
	"iter"
	"net/http"
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// The extensions l3_agent_scheduler and dhcp_agent_scheduler: which hosts serve a router, and which answer
// DHCP on a network. The first is an operator's to change; DHCP every host answers that reaches the network.

// mountSchedulers adds the calls to the resources that they are about.
func mountSchedulers(rules *network.Rules, agents *resource[face, network.AgentSpec], routers *resource[model.Router, network.RouterSpec],
	networks *resource[model.Network, network.NetworkSpec]) {
	routers.children["l3-agents"] = func(c *call, path []string) error {
		return listOf(c, path, "get_l3-agents", routers, "agents", func(rt *model.Router) {
			appendEach(c, slices.Values(rt.Hosts), func(name string) {
				if h := c.Host(name); h != nil {
					c.body = agents.appendObject(c.body, &c.view, nil, &face{h, faceL3}, agents.sightOf(c.who))
					c.body = append(c.body[:len(c.body)-1], `,"ha_state":`...)
					c.body = append(appendStringOrNull(c.body, haState(&c.view, rt, name)), '}')
				}
			})
		})
	}
	networks.children = map[string]func(*call, []string) error{"dhcp-agents": func(c *call, path []string) error {
		return listOf(c, path, "get_dhcp-agents", networks, "agents", func(n *model.Network) {
			appendEach(c, answering(&c.view, n), func(h *model.Host) {
				c.body = agents.appendObject(c.body, &c.view, nil, &face{h, faceSwitch}, agents.sightOf(c.who))
			})
		})
	}}
	agents.children = map[string]func(*call, []string) error{
		"l3-routers": func(c *call, path []string) error {
			if c.req.Method != http.MethodGet && c.req.Method != http.MethodHead {
				return changeAgent(c, path, "router_id", func(tx *store.Tx, env network.Env, agent, id model.UUID, add bool) error {
					if add {
						return rules.AddRouterToAgent(tx, env, c.who, model.AgentID{UUID: agent}, model.RouterID{UUID: id})
					}
					return rules.RemoveRouterFromAgent(tx, env, c.who, model.AgentID{UUID: agent}, model.RouterID{UUID: id})
				})
			}
			return listOf(c, path, "get_l3-routers", agents, "routers", func(f *face) {
				appendEach(c, c.RoutersByHost(f.Name), func(rt *model.Router) {
					if !slices.Contains(rt.Hosts, f.Name) {
						return // it only hands it over
					}
					c.body = routers.appendObject(c.body, &c.view, c.RouterRow(rt.ID), rt, routers.sightOf(c.who))
				})
			})
		},
		"dhcp-networks": func(c *call, path []string) error {
			if c.req.Method != http.MethodGet && c.req.Method != http.MethodHead {
				return changeAgent(c, path, "network_id", func(tx *store.Tx, _ network.Env, agent, id model.UUID, add bool) error {
					return rules.ChangeDHCPAgent(tx, c.who, model.AgentID{UUID: agent}, model.NetworkID{UUID: id}, add)
				})
			}
			return listOf(c, path, "get_dhcp-networks", agents, "networks", func(f *face) {
				appendEach(c, c.Networks(), func(n *model.Network) {
					if network.AnswersDHCP(c.Snapshot, f.Host, n) {
						c.body = networks.appendObject(c.body, &c.view, c.NetworkRow(n.ID), n, networks.sightOf(c.who))
					}
				})
			})
		},
	}
}

// listOf answers a list of what belongs to one object.
func listOf[T, S any](c *call, path []string, action string, of *resource[T, S], name string, fill func(o *T)) error {
	c.route = "/v2.0/" + of.path + "/{id}/" + path[1]
	if len(path) > 2 {
		return errNoSuchResource()
	}
	if c.req.Method != http.MethodGet && c.req.Method != http.MethodHead {
		return notAllowed{"GET, HEAD"}
	}
	if !policy.Allowed(c.who, action, policy.Target{}) {
		return fault.New(fault.Forbidden, "PolicyNotAuthorized", "rule:%s is disallowed by policy", action)
	}
	if err := c.read(); err != nil {
		return err
	}
	row, err := of.find(c, path[0])
	if err != nil {
		return err
	}
	c.begin(name)
	c.body = append(c.body, '[')
	fill(row.Obj)
	c.body = append(c.body, ']')
	c.end(http.StatusOK)
	return nil
}

// appendEach appends what add appends for each element, with commas between.
func appendEach[E any](c *call, elements iter.Seq[E], add func(E)) {
	start := len(c.body)
	for e := range elements {
		before := len(c.body)
		if before > start {
			c.body = append(c.body, ',')
		}
		with := len(c.body)
		if add(e); len(c.body) == with {
			c.body = c.body[:before]
		}
	}
}

// changeAgent serves POST /agents/{id}/{what} and DELETE /agents/{id}/{what}/{id}.
func changeAgent(c *call, path []string, key string, change func(tx *store.Tx, env network.Env, agent, id model.UUID, add bool) error) error {
	c.route = "/v2.0/agents/{id}/" + path[1]
	add := c.req.Method == http.MethodPost
	text := ""
	switch {
	case add && len(path) == 2:
		body, err := c.decode()
		if err != nil {
			return err
		}
		v, _ := body.get(key)
		text, _ = v.(string)
	case c.req.Method == http.MethodDelete && len(path) == 3:
		text = path[2]
	case len(path) == 2:
		return notAllowed{"GET, HEAD, POST"}
	default:
		return notAllowed{"DELETE"}
	}
	id, err := parseUUID(key, text)
	if err != nil {
		return err
	}
	agent, err := model.ParseUUID(path[0])
	if err != nil {
		return notFound("AgentNotFound", "Agent %s could not be found.")(path[0])
	}
	if err := c.write(func(tx *store.Tx, env network.Env) error {
		if h, _ := hostOf(tx, agent); h != nil {
			agent = h.AgentID.UUID
		}
		return change(tx, env, agent, id, add)
	}); err != nil {
		return err
	}
	if !add {
		c.end(http.StatusNoContent)
		return nil
	}
	c.body = append(c.body, "null"...)
	c.end(http.StatusCreated)
	return nil
}

// haState is what a host does for a redundant router: active when it answers, standby when it is ready to. It is
// empty when the host has not said so, or when one host serves the router.
func haState(v *view, rt *model.Router, host string) string {
	if !rt.HA {
		return ""
	}
	for p := range v.PortsByDevice(rt.ID.String()) {
		r := v.PortReport(p.ID)
		if r == nil || !p.IsRouterPort() {
			continue
		}
		word, spoke := r.Of(host)
		switch {
		case !spoke:
			return ""
		case word.State != model.ReportActive && word.State != model.ReportStandby:
			continue // of this leg it cannot be told
		case word.State == model.ReportActive && r.Host == host:
			return "active"
		}
		return "standby"
	}
	return ""
}

// answering yields the hosts that answer DHCP on a network.
func answering(v *view, n *model.Network) iter.Seq[*model.Host] {
	return func(yield func(*model.Host) bool) {
		for h := range v.Hosts() {
			if network.AnswersDHCP(v.Snapshot, h, n) && !yield(h) {
				return
			}
		}
	}
}
