package neutron

import (
	"iter"
	"net/http"
	"slices"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// routerResource declares routers: the extensions router, ext-gw-mode, extraroute, dvr, l3-ha and
// router_availability_zone.
func routerResource(rules *network.Rules) *resource[model.Router, network.RouterSpec] {
	type (
		M    = model.Router
		S    = network.RouterSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	meta := func(r *M) *model.Meta { return &r.Meta }
	r := &resource[M, S]{
		name: "router", collection: "routers", path: "routers",
		id:      func(r *M) model.UUID { return r.ID.UUID },
		meta:    meta,
		target:  func(_ *view, r *M) policy.Target { return policy.RouterTarget(r) },
		missing: notFound("RouterNotFound", "Router %s could not be found"),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },
		tagKind: network.TagRouters,

		row:   func(v *view, id model.UUID) *store.Row[M] { return v.RouterRow(model.RouterID{UUID: id}) },
		rows:  func(v *view) iter.Seq[*store.Row[M]] { return v.RouterRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] { return v.RouterRowsByProject(project) },
		depends: func(v *view, r *M) any {
			return routerDependency{gatewayPort(v, r), string(appendStrings(nil, routerZones(v, r)))}
		},

		create: rules.CreateRouter,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateRouter(tx, env, who, model.RouterID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteRouter(tx, env, who, model.RouterID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.RouterRowsByProject(project) }
	r.attributes = append([]attr{
		d.id("id", func(r *M) model.UUID { return r.ID.UUID }).by(byID(r.row)),
		d.str("name", func(r *M) string { return r.Name }, text(255), func(s *S) *network.Opt[string] { return &s.Name }).
			by(func(v *view, name string) iter.Seq[*store.Row[M]] {
				return rowsOf(v.RoutersByName(name), func(r *M) *store.Row[M] { return v.RouterRow(r.ID) })
			}),
		d.flag("admin_state_up", func(r *M) bool { return r.AdminStateUp }, func(s *S) *network.Opt[bool] { return &s.AdminStateUp }),
		d.str("status", func(*M) string { return "ACTIVE" }, nil, nil),
		emptyIsNull(field(d.other("external_gateway_info", appendGatewayInfo), gatewayInfo,
			func(s *S) *network.Opt[network.GatewaySpec] { return &s.External }).orNull()),
		field(d.other("routes", func(b []byte, _ *view, r *M) []byte { return appendList(b, r.Routes, appendRoute) }),
			list(route), func(s *S) *network.Opt[[]model.Route] { return &s.Routes }).putOnly().orNull(),
		field(d.other("availability_zone_hints", func(b []byte, _ *view, r *M) []byte { return appendStrings(b, r.ZoneHints) }),
			unique(plainText(255)), func(s *S) *network.Opt[[]string] { return &s.ZoneHints }).postOnly(),
		d.other("availability_zones", func(b []byte, v *view, r *M) []byte { return appendStrings(b, routerZones(v, r)) }),
		d.flag("distributed", func(r *M) bool { return r.Distributed }, func(s *S) *network.Opt[bool] { return &s.Distributed }).guard(),
		d.flag("ha", func(r *M) bool { return r.HA }, func(s *S) *network.Opt[bool] { return &s.HA }).guard(),
		d.tags(meta),
	}, d.standard(meta, func(s *S) *network.Opt[string] { return &s.Description })...)
	r.index("project_id", byProject)
	r.index("tenant_id", byProject)
	r.children = map[string]func(c *call, path []string) error{}
	r.actions = map[string]func(c *call, id string) error{
		"add_router_interface":    routerLeg(rules.AddRouterLeg),
		"remove_router_interface": routerLeg(rules.RemoveRouterLeg),
		"add_extraroutes":         extraRoutes(r, rules, true),
		"remove_extraroutes":      extraRoutes(r, rules, false),
	}
	return r
}

// routerDependency is what a router is shown with beside itself.
type routerDependency struct {
	gateway *model.Port
	zones   string
}

func gatewayPort(v *view, r *model.Router) *model.Port {
	if r.External == nil {
		return nil
	}
	return v.Port(r.External.PortID)
}

// routerZones are the availability zones of the hosts that serve a router, sorted.
func routerZones(v *view, r *model.Router) []string {
	var zones []string
	for _, name := range r.Hosts {
		if h := v.Host(name); h != nil {
			zones = append(zones, h.AvailabilityZone())
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

func appendGatewayInfo(b []byte, v *view, r *model.Router) []byte {
	if r.External == nil {
		return append(b, "null"...)
	}
	b = append(b, `{"network_id":`...)
	b = appendUUID(b, r.External.NetworkID.UUID)
	b = append(b, `,"external_fixed_ips":`...)
	var ips []model.FixedIP
	if p := gatewayPort(v, r); p != nil {
		ips = p.FixedIPs
	}
	b = appendList(b, ips, appendFixedIP)
	b = append(b, `,"enable_snat":`...)
	b = appendBool(b, r.External.EnableSNAT)
	return append(b, '}')
}

// emptyIsNull makes an empty object mean what null means.
func emptyIsNull[T, S any](a attribute[T, S]) attribute[T, S] {
	set := a.set
	a.set = func(s *S, value any) error {
		if o, ok := value.(*object); ok && len(o.keys) == 0 {
			a.setNull(s)
			return nil
		}
		return set(s, value)
	}
	return a
}

// gatewayInfo accepts an external gateway.
func gatewayInfo(name string, v any) (network.GatewaySpec, error) {
	var s network.GatewaySpec
	o, ok := v.(*object)
	if !ok {
		return s, invalidAttribute(name, "%s is not a dictionary.", quoted(v))
	}
	if _, ok := o.get("network_id"); !ok {
		return s, invalidAttribute(name, "Validation of dictionary's keys failed. Expected keys: {'network_id'} Provided keys: %s.", keySet(o.keys))
	}
	for i, k := range o.keys {
		value := o.values[i]
		var err error
		switch k {
		case "network_id":
			var id model.NetworkID
			id, err = networkID(name, value)
			s.NetworkID = network.Some(id)
		case "enable_snat":
			var on bool
			on, err = boolean(k, value)
			s.EnableSNAT = network.Some(on)
		case "external_fixed_ips":
			if value == nil {
				break
			}
			var ips []network.FixedIPSpec
			ips, err = fixedIPs(name, value)
			s.FixedIPs = network.Some(ips)
		default:
			err = invalidAttribute(name, "Unexpected keys supplied: %s.", k)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// routerLeg serves add_router_interface and remove_router_interface, whose bodies have no name around them.
func routerLeg(change func(*store.Tx, network.Env, authn.Principal, model.RouterID, network.LegSpec) (*network.Leg, error)) func(*call, string) error {
	return func(c *call, id string) error {
		body, err := c.decode()
		if err != nil {
			return err
		}
		spec, err := legSpec(body)
		if err != nil {
			return err
		}
		u, err := model.ParseUUID(id)
		if err != nil {
			return notFound("RouterNotFound", "Router %s could not be found")(id)
		}
		var leg *network.Leg
		if err := c.write(func(tx *store.Tx, env network.Env) error {
			leg, err = change(tx, env, c.who, model.RouterID{UUID: u}, spec)
			return err
		}); err != nil {
			return err
		}
		c.body = append(c.body, `{"id":`...)
		c.body = appendUUID(c.body, u)
		c.body = append(c.body, `,"tenant_id":`...)
		c.body = appendString(c.body, leg.Port.ProjectID)
		c.body = append(c.body, `,"port_id":`...)
		c.body = appendUUID(c.body, leg.Port.ID.UUID)
		c.body = append(c.body, `,"network_id":`...)
		c.body = appendUUID(c.body, leg.Port.NetworkID.UUID)
		c.body = append(c.body, `,"subnet_id":`...)
		c.body = appendUUID(c.body, leg.Subnets[len(leg.Subnets)-1].UUID)
		c.body = append(c.body, `,"subnet_ids":`...)
		c.body = appendList(c.body, leg.Subnets, func(b []byte, s model.SubnetID) []byte { return appendUUID(b, s.UUID) })
		c.body = append(c.body, '}')
		c.end(http.StatusOK)
		return nil
	}
}

func legSpec(body *object) (network.LegSpec, error) {
	var s network.LegSpec
	for i, k := range body.keys {
		switch k {
		case "port_id", "subnet_id":
			u, err := parseUUID(k, body.values[i])
			if err != nil {
				return s, badResource("router", "%s is not a valid UUID.", quoted(body.values[i]))
			}
			if k == "port_id" {
				s.PortID = network.Some(model.PortID{UUID: u})
			} else {
				s.SubnetID = network.Some(model.SubnetID{UUID: u})
			}
		}
	}
	return s, nil
}

// extraRoutes serves add_extraroutes and remove_extraroutes.
func extraRoutes(r *resource[model.Router, network.RouterSpec], rules *network.Rules, add bool) func(*call, string) error {
	return func(c *call, id string) error {
		body, err := c.decode()
		if err != nil {
			return err
		}
		o, err := objectOf(body, r.name)
		if err != nil {
			return err
		}
		given, _ := o.get("routes")
		routes, err := list(route)("routes", given)
		if err != nil {
			return err
		}
		u, err := model.ParseUUID(id)
		if err != nil {
			return r.missing(id)
		}
		var changed *model.Router
		if err := c.write(func(tx *store.Tx, env network.Env) error {
			changed, err = rules.ChangeRoutes(tx, env, c.who, model.RouterID{UUID: u}, add, routes)
			return err
		}); err != nil {
			return err
		}
		c.begin(r.name)
		r.appendWritten(c, changed)
		c.end(http.StatusOK)
		return nil
	}
}
