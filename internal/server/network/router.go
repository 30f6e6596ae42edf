package network

import (
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// CreateRouter makes a router with its external gateway, if one is asked for, and
// chooses the gateway hosts that serve it.
func (r *Rules) CreateRouter(tx *store.Tx, env Env, who authn.Principal, spec RouterSpec) (*model.Router, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	if err := askRouter(who, "create_router", policy.ProjectTarget(project), &spec).err(); err != nil {
		return nil, err
	}
	if err := checkRouterSpec(tx, &spec); err != nil {
		return nil, err
	}
	if err := r.checkQuota(tx, project, QuotaRouter); err != nil {
		return nil, err
	}
	rt := &model.Router{
		Meta:         env.meta(project, spec.Name, spec.Description, 1),
		ID:           model.RouterID{UUID: env.uuid()},
		AdminStateUp: spec.AdminStateUp.Or(true),
		Distributed:  spec.Distributed.Or(r.RouterDistributed),
		HA:           spec.HA.Or(r.RouterHA),
		ZoneHints:    spec.ZoneHints.Or(nil),
	}
	r.place(tx, env, rt)
	if gw, ok := spec.External.Get(); ok {
		if err := r.setGateway(tx, env, who, rt, gw); err != nil {
			return nil, err
		}
	}
	tx.PutRouter(rt)
	return rt, nil
}

// UpdateRouter changes a router. Whether it is distributed or redundant is changed only
// while it is down, since all its legs change with that.
func (r *Rules) UpdateRouter(tx *store.Tx, env Env, who authn.Principal, id model.RouterID, spec RouterSpec, ifMatch *int64) (*model.Router, error) {
	old, err := r.Router(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := askRouter(who, "update_router", policy.RouterTarget(old), &spec).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkRouterSpec(tx, &spec); err != nil {
		return nil, err
	}
	if err := refuseReadOnly(map[string]bool{"availability_zone_hints": spec.ZoneHints.Set}); err != nil {
		return nil, err
	}
	gateway := gatewayPort(tx, old)
	rt := old.Clone()
	set(&rt.Name, spec.Name)
	set(&rt.Description, spec.Description)
	set(&rt.AdminStateUp, spec.AdminStateUp)
	set(&rt.Distributed, spec.Distributed)
	set(&rt.HA, spec.HA)
	if err := r.changeKind(tx, env, old, rt); err != nil {
		return nil, err
	}
	if spec.External.Set {
		if gw, ok := spec.External.Get(); !ok {
			err = r.clearGateway(tx, env, rt)
		} else {
			err = r.setGateway(tx, env, who, rt, gw)
		}
		if err != nil {
			return nil, err
		}
	}
	if spec.Routes.Set {
		rt.Routes = sortedRoutes(spec.Routes.Value)
	}
	if spec.Routes.Set || spec.External.Set {
		if err := r.checkRoutes(tx, rt); err != nil {
			return nil, err
		}
	}
	if reflect.DeepEqual(old, rt) && gatewayPort(tx, rt) == gateway {
		return old, nil
	}
	env.touch(&rt.Meta)
	tx.PutRouter(rt)
	return rt, nil
}

// changeKind makes the legs follow what kind of router it is.
func (r *Rules) changeKind(tx *store.Tx, env Env, old, rt *model.Router) error {
	if old.Distributed == rt.Distributed && old.HA == rt.HA {
		return nil
	}
	if old.AdminStateUp || rt.AdminStateUp {
		attr := "distributed"
		if old.HA != rt.HA {
			attr = "HA"
		}
		return badRequest("router", "Cannot change the '%s' attribute of active routers. "+
			"Please set router admin_state_up to False prior to upgrade.", attr)
	}
	for p := range routerPorts(tx, rt.ID) {
		if p.IsRouterLeg() && p.DeviceOwner != legOwner(rt) {
			p = p.Clone()
			p.DeviceOwner = legOwner(rt)
			env.touch(&p.Meta)
			putPort(tx, p)
		}
	}
	kept := rt.Hosts[:min(len(rt.Hosts), r.gatewaysFor(rt))]
	r.setHosts(tx, env, rt, r.fill(tx, rt, candidates(tx, rt, nil), kept))
	return nil
}

// DeleteRouter removes a router that has no leg any more, with its gateway.
func (r *Rules) DeleteRouter(tx *store.Tx, env Env, who authn.Principal, id model.RouterID, ifMatch *int64) error {
	rt, err := r.Router(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_router", policy.RouterTarget(rt)).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, rt.Revision); err != nil {
		return err
	}
	var attached []string
	for p := range routerPorts(tx, id) {
		if p.IsRouterLeg() {
			attached = append(attached, p.ID.String())
		}
	}
	if len(attached) > 0 {
		return fault.New(fault.Conflict, "RouterInUse", "Router %s has ports still attached: %s", id, strings.Join(attached, ", "))
	}
	if err := r.clearGateway(tx, env, rt.Clone()); err != nil {
		return err
	}
	tx.DeleteRouter(id)
	return nil
}

// routerPorts yields the ports that a router has: legs, and its gateway. A port that merely
// says to be of the router's id is none of them: who may give these owners are the rules.
func routerPorts(tx *store.Tx, id model.RouterID) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for p := range tx.PortsByDevice(id.String()) {
			if p.IsRouterPort() && !yield(p) {
				return
			}
		}
	}
}

// routerSubnets yields the subnets that a router has addresses on, and all those of its external
// network: packets for any of these leave by one certain port.
func routerSubnets(tx *store.Tx, rt *model.Router) []*model.Subnet {
	var out []*model.Subnet
	for p := range routerPorts(tx, rt.ID) {
		if p.DeviceOwner == model.OwnerRouterGateway {
			out = slices.AppendSeq(out, tx.SubnetsByNetwork(p.NetworkID))
			continue
		}
		for _, f := range p.FixedIPs {
			out = append(out, tx.Subnet(f.SubnetID))
		}
	}
	return out
}

// refuseOverlap refuses a subnet for a router that has it already, or another with addresses in
// common: there would be two ways to one address.
func refuseOverlap(tx *store.Tx, rt *model.Router, s *model.Subnet) error {
	for _, have := range routerSubnets(tx, rt) {
		switch {
		case have.ID == s.ID:
			return badRequest("router", "Router already has a port on subnet %s.", s.ID)
		case have.CIDR.Overlaps(s.CIDR):
			return badRequest("router", "Cidr %s of subnet %s overlaps with cidr %s of subnet %s.", s.CIDR, s.ID, have.CIDR, have.ID)
		}
	}
	return nil
}

// legOwner is the device owner of the legs of a router.
func legOwner(rt *model.Router) string {
	switch {
	case rt.Distributed:
		return model.OwnerRouterInterfaceDistributed
	case rt.HA:
		return model.OwnerRouterInterfaceHA
	}
	return model.OwnerRouterInterface
}

// servicePort makes a port that the rules themselves own: it is never filtered. Its addresses are the
// caller's to choose, and it is not stored yet.
func (r *Rules) servicePort(tx *store.Tx, env Env, n *model.Network, project, owner, device string) (*model.Port, error) {
	mac, err := r.newMAC(tx, env, n.ID)
	if err != nil {
		return nil, err
	}
	return &model.Port{
		Meta:         env.meta(project, Opt[string]{}, Opt[string]{}, 1),
		ID:           model.PortID{UUID: env.uuid()},
		NetworkID:    n.ID,
		MAC:          mac,
		AdminStateUp: true,
		DeviceID:     device,
		DeviceOwner:  owner,
		Binding:      model.Binding{VIFType: model.VIFUnbound},
	}, nil
}

// gatewayPort is the port of a router's external gateway, nil when it has none.
func gatewayPort(tx *store.Tx, rt *model.Router) *model.Port {
	if rt.External == nil {
		return nil
	}
	return tx.Port(rt.External.PortID)
}

// sortedRoutes puts extra routes in order and drops doubles.
func sortedRoutes(routes []model.Route) []model.Route {
	if len(routes) == 0 {
		return nil
	}
	out := slices.Clone(routes)
	slices.SortFunc(out, compareRoutes)
	return slices.Compact(out)
}

func compareRoutes(a, b model.Route) int {
	if c := a.Destination.Addr().Compare(b.Destination.Addr()); c != 0 {
		return c
	}
	if c := a.Destination.Bits() - b.Destination.Bits(); c != 0 {
		return c
	}
	return a.NextHop.Compare(b.NextHop)
}

// checkRoutes requires that each next hop is on a subnet of the router, and no address of its own.
func (r *Rules) checkRoutes(tx *store.Tx, rt *model.Router) error {
	if len(rt.Routes) > r.MaxRoutes {
		return fault.New(fault.Invalid, "RoutesExhausted", "Unable to complete operation for %s. "+
			"The number of routes exceeds the maximum %d.", rt.ID, r.MaxRoutes)
	}
	if len(rt.Routes) == 0 {
		return nil
	}
	bad := func(reason string) error {
		var text []string
		for _, route := range rt.Routes {
			text = append(text, "{'destination': '"+route.Destination.String()+"', 'nexthop': '"+route.NextHop.String()+"'}")
		}
		return fault.New(fault.Invalid, "InvalidRoutes", "Invalid format for routes: [%s], %s", strings.Join(text, ", "), reason)
	}
	own := map[netip.Addr]bool{}
	for p := range routerPorts(tx, rt.ID) {
		for _, f := range p.FixedIPs {
			own[f.Addr] = true
		}
	}
	subnets := routerSubnets(tx, rt)
	for _, route := range rt.Routes {
		switch {
		case !route.Destination.IsValid() || route.Destination.Addr().Is4() != route.NextHop.Is4():
			return bad("the destination and the nexthop are of different IP versions")
		case !slices.ContainsFunc(subnets, func(s *model.Subnet) bool { return s.CIDR.Contains(route.NextHop) }):
			return bad("the nexthop is not connected with router")
		case own[route.NextHop]:
			return bad("the nexthop is used by router")
		}
	}
	return nil
}

// ChangeRoutes adds extra routes to a router, or removes some, whatever others it has: two
// who do that at the same time do not undo each other's change. To add a route that is there, or
// to remove one that is not, is no error.
func (r *Rules) ChangeRoutes(tx *store.Tx, env Env, who authn.Principal, id model.RouterID, add bool, routes []model.Route) (*model.Router, error) {
	old, err := r.Router(tx, who, id)
	if err != nil {
		return nil, err
	}
	action := "remove_extraroutes"
	if add {
		action = "add_extraroutes"
	}
	if err := ask(who, action, policy.RouterTarget(old)).err(); err != nil {
		return nil, err
	}
	rt := old.Clone()
	if add {
		rt.Routes = sortedRoutes(append(rt.Routes, routes...))
	} else {
		rt.Routes = sortedRoutes(slices.DeleteFunc(rt.Routes, func(have model.Route) bool { return slices.Contains(routes, have) }))
	}
	if err := r.checkRoutes(tx, rt); err != nil {
		return nil, err
	}
	if slices.Equal(old.Routes, rt.Routes) {
		return old, nil
	}
	env.touch(&rt.Meta)
	tx.PutRouter(rt)
	return rt, nil
}

func askRouter(who authn.Principal, action string, t policy.Target, s *RouterSpec) *access {
	gw := s.External.Value
	return ask(who, action, t).
		attr("ha", s.HA.Set).
		attr("distributed", s.Distributed.Set).
		nested("external_gateway_info", s.External.Set,
			part{"network_id", gw.NetworkID.Set}, part{"enable_snat", gw.EnableSNAT.Set}, part{"external_fixed_ips", gw.FixedIPs.Set})
}

func checkRouterSpec(tx *store.Tx, s *RouterSpec) error {
	if err := checkTexts(s.Name, s.Description); err != nil {
		return err
	}
	zones := map[string]bool{}
	for h := range tx.Hosts() {
		if h.IsGateway() {
			zones[h.AvailabilityZone()] = true
		}
	}
	for _, hint := range s.ZoneHints.Or(nil) {
		if !zones[hint] {
			return fault.New(fault.NotFound, "AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", hint)
		}
	}
	return nil
}
