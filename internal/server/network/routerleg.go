package network

import (
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/ipam"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// AddRouterLeg connects a router with a network: by subnet, with the subnet's gateway
// address, or by a port that nobody uses yet, with the addresses that this has. It returns the leg, and the
// subnets that the router now reaches by it and did not before.
func (r *Rules) AddRouterLeg(tx *store.Tx, env Env, who authn.Principal, id model.RouterID, spec LegSpec) (*Leg, error) {
	rt, err := r.Router(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "add_router_interface", policy.RouterTarget(rt)).err(); err != nil {
		return nil, err
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	if spec.PortID.Set && spec.SubnetID.Set {
		return nil, badRequest("router", "Cannot specify both subnet-id and port-id.")
	}
	rt = rt.Clone()
	var leg *Leg
	if spec.PortID.Set {
		leg, err = r.addLegByPort(tx, env, who, rt, spec.PortID.Value)
	} else {
		leg, err = r.addLegBySubnet(tx, env, who, rt, spec.SubnetID.Value)
	}
	if err != nil {
		return nil, err
	}
	env.touch(&rt.Meta)
	tx.PutRouter(rt)
	return leg, nil
}

func (r *Rules) addLegBySubnet(tx *store.Tx, env Env, who authn.Principal, rt *model.Router, id model.SubnetID) (*Leg, error) {
	s, err := r.Subnet(tx, who, id)
	if err != nil {
		return nil, err
	}
	switch {
	case !s.Gateway.IsValid():
		return nil, badRequest("router", "Subnet for router interface must have a gateway IP.")
	case s.ProjectID != who.ProjectID && !who.Admin:
		return nil, badRequest("router", "Cannot add interface to router because subnet %s is not owned by project making the request.", id)
	}
	if err := checkLegSubnet(tx, rt, s); err != nil {
		return nil, err
	}
	n := tx.Network(s.NetworkID)
	want := FixedIPSpec{SubnetID: s.ID, Addr: s.Gateway}
	// A further IPv6 prefix of a network is one more address of the leg that is there.
	if s.IPVersion() == 6 {
		if p := legWithIPv6(tx, rt, n.ID); p != nil {
			p = p.Clone()
			choice := r.addressing(tx, env, p)
			choice.got = p.FixedIPs
			if err := choice.takeExact(s, want.Addr); err != nil {
				return nil, err
			}
			p.FixedIPs = choice.got
			env.touch(&p.Meta)
			putPort(tx, p)
			return &Leg{Port: p, Subnets: []model.SubnetID{s.ID}}, nil
		}
	}
	if err := r.checkQuota(tx, rt.ProjectID, QuotaPort); err != nil {
		return nil, err
	}
	r.place(tx, env, rt, n.ID)
	p, err := r.servicePort(tx, env, n, rt.ProjectID, legOwner(rt), rt.ID.String())
	if err != nil {
		return nil, err
	}
	if p.FixedIPs, err = r.addressing(tx, env, p).chooseAsked([]FixedIPSpec{want}, nil); err != nil {
		return nil, err
	}
	p.Binding.HostID = preferred(rt)
	bind(tx, p, n)
	putPort(tx, p)
	return &Leg{Port: p, Subnets: []model.SubnetID{s.ID}}, nil
}

func (r *Rules) addLegByPort(tx *store.Tx, env Env, who authn.Principal, rt *model.Router, id model.PortID) (*Leg, error) {
	old, err := r.Port(tx, who, id)
	if err != nil {
		return nil, err
	}
	n := tx.Network(old.NetworkID)
	if old.DeviceID != "" || isNetworkService(old.DeviceOwner) {
		return nil, fault.New(fault.Conflict, "PortInUse", "Unable to complete operation on port %s for network %s. "+
			"Port already has an attached device %s.", id, old.NetworkID, old.DeviceID)
	}
	// Becoming a leg ends the port's filtering, which only those may decide who may change it.
	if err := ask(who, "update_port", policy.PortTarget(old, n)).err(); err != nil {
		return nil, err
	}
	if len(old.FixedIPs) == 0 {
		return nil, badRequest("router", "Router port must have at least one fixed IP.")
	}
	leg, err := checkLegPort(tx, who, rt, old)
	if err != nil {
		return nil, err
	}
	for range tx.FloatingIPsByPort(id) {
		return nil, badRequest("router", "Port %s has a floating IP.", id)
	}
	for range tx.PortForwardingsByPort(id) {
		return nil, badRequest("router", "Port %s has port forwardings.", id)
	}
	r.place(tx, env, rt, n.ID)
	p := old.Clone()
	p.DeviceID, p.DeviceOwner = rt.ID.String(), legOwner(rt)
	p.PortSecurity, p.SecurityGroups, p.AddressPairs = false, nil, nil
	p.Binding = model.Binding{HostID: preferred(rt)}
	bind(tx, p, n)
	env.touch(&p.Meta)
	putPort(tx, p)
	leg.Port = p
	return leg, nil
}

// checkLegPort checks the addresses of a port that is to be a leg.
func checkLegPort(tx *store.Tx, who authn.Principal, rt *model.Router, p *model.Port) (*Leg, error) {
	leg := &Leg{}
	v4 := 0
	for _, f := range p.FixedIPs {
		s := tx.Subnet(f.SubnetID)
		if slices.Contains(leg.Subnets, s.ID) {
			return nil, badRequest("router", "Router port has two addresses on subnet %s.", s.ID)
		}
		if err := checkLegSubnet(tx, rt, s); err != nil {
			return nil, err
		}
		if s.IPVersion() == 4 {
			v4++
		} else if have := legWithIPv6(tx, rt, p.NetworkID); have != nil {
			return nil, badRequest("router", "Router already has the IPv6 port %s on network %s; add the subnet to it instead.", have.ID, p.NetworkID)
		}
		if !who.Admin && s.ProjectID != who.ProjectID && !autoAddress(s) && !ipam.InPools(s.Pools, f.Addr) {
			return nil, badRequest("router", "Cannot add interface to router because port %s has an IP address out of the "+
				"allocation pools of subnet %s, which is not owned by project making the request.", p.ID, s.ID)
		}
		leg.Subnets = append(leg.Subnets, s.ID)
	}
	if v4 > 1 {
		return nil, badRequest("router", "Cannot have multiple IPv4 subnets on router port.")
	}
	return leg, nil
}

// checkLegSubnet refuses a subnet that a router cannot serve: one that it has, one that overlaps, or
// one whose guests are told their addresses by somebody else's router.
func checkLegSubnet(tx *store.Tx, rt *model.Router, s *model.Subnet) error {
	if s.IPVersion() == 6 && s.RAMode == "" && s.AddressMode != "" {
		return badRequest("router", "IPv6 subnet %s configured to receive RAs from an external router cannot be added to Neutron Router.", s.ID)
	}
	return refuseOverlap(tx, rt, s)
}

// legWithIPv6 returns the leg of a router that has IPv6 addresses on a network, nil when there is none.
func legWithIPv6(tx *store.Tx, rt *model.Router, n model.NetworkID) *model.Port {
	for p := range routerPorts(tx, rt.ID) {
		if p.IsRouterLeg() && p.NetworkID == n && slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.Addr.Is6() }) {
			return p
		}
	}
	return nil
}

// RemoveRouterLeg disconnects a router from a network, or from one of the subnets that a leg
// has several of. What needs the leg is in the way: floating IPs, port forwardings, extra routes.
func (r *Rules) RemoveRouterLeg(tx *store.Tx, env Env, who authn.Principal, id model.RouterID, spec LegSpec) (*Leg, error) {
	rt, err := r.Router(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "remove_router_interface", policy.RouterTarget(rt)).err(); err != nil {
		return nil, err
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	p, err := findLeg(tx, rt, spec)
	if err != nil {
		return nil, err
	}
	leg := &Leg{Port: p}
	for _, f := range p.FixedIPs {
		if spec.PortID.Set || f.SubnetID == spec.SubnetID.Value {
			leg.Subnets = append(leg.Subnets, f.SubnetID)
		}
	}
	for _, s := range leg.Subnets {
		if err := legInUse(tx, rt, tx.Subnet(s)); err != nil {
			return nil, err
		}
	}
	if len(leg.Subnets) == len(p.FixedIPs) {
		deletePort(tx, p.ID)
	} else {
		p = p.Clone()
		p.FixedIPs = slices.DeleteFunc(p.FixedIPs, func(f model.FixedIP) bool { return slices.Contains(leg.Subnets, f.SubnetID) })
		env.touch(&p.Meta)
		putPort(tx, p)
		leg.Port = p
	}
	rt = rt.Clone()
	env.touch(&rt.Meta)
	tx.PutRouter(rt)
	return leg, nil
}

// findLeg returns the leg that a request names.
func findLeg(tx *store.Tx, rt *model.Router, spec LegSpec) (*model.Port, error) {
	has := func(p *model.Port) bool {
		return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == spec.SubnetID.Value })
	}
	for p := range routerPorts(tx, rt.ID) {
		switch {
		case !p.IsRouterLeg():
		case spec.PortID.Set && p.ID == spec.PortID.Value:
			if spec.SubnetID.Set && !has(p) {
				return nil, fault.New(fault.Invalid, "SubnetMismatchForPort",
					"Subnet on port %s does not match the requested subnet %s.", p.ID, spec.SubnetID.Value)
			}
			return p, nil
		case !spec.PortID.Set && has(p):
			return p, nil
		}
	}
	if spec.PortID.Set {
		return nil, fault.New(fault.NotFound, "RouterInterfaceNotFound",
			"Router %s does not have an interface with id %s", rt.ID, spec.PortID.Value)
	}
	if tx.Subnet(spec.SubnetID.Value) == nil {
		return nil, subnetNotFound(spec.SubnetID.Value)
	}
	return nil, fault.New(fault.NotFound, "RouterInterfaceNotFoundForSubnet",
		"Router %s has no interface on subnet %s", rt.ID, spec.SubnetID.Value)
}

// legInUse is why a router's leg on a subnet cannot be removed, nil when it can.
func legInUse(tx *store.Tx, rt *model.Router, s *model.Subnet) error {
	onSubnet := func(port model.PortID, fixed model.FixedIP) bool {
		p := tx.Port(port)
		return p != nil && slices.Contains(p.FixedIPs, fixed)
	}
	needed := false
	for f := range tx.FloatingIPsByRouter(rt.ID) {
		needed = needed || onSubnet(f.PortID, model.FixedIP{SubnetID: s.ID, Addr: f.FixedAddr})
		for pf := range tx.PortForwardingsByFloatingIP(f.ID) {
			needed = needed || onSubnet(pf.PortID, model.FixedIP{SubnetID: s.ID, Addr: pf.InternalAddr})
		}
	}
	if needed {
		return fault.New(fault.Conflict, "RouterInterfaceInUseByFloatingIP", "Router interface for subnet %s on router %s "+
			"cannot be deleted, as it is required by one or more floating IPs.", s.ID, rt.ID)
	}
	if slices.ContainsFunc(rt.Routes, func(route model.Route) bool { return s.CIDR.Contains(route.NextHop) }) {
		return fault.New(fault.Conflict, "RouterInterfaceInUseByRoute", "Router interface for subnet %s on router %s "+
			"cannot be deleted, as it is required by one or more routes.", s.ID, rt.ID)
	}
	return nil
}

// check requires that a request names a leg.
func (s LegSpec) check() error {
	if !s.PortID.Set && !s.SubnetID.Set {
		return badRequest("router", "Either subnet_id or port_id must be specified.")
	}
	return nil
}
