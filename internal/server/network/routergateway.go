package network

import (
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

// setGateway gives a router its way to an external network, or changes it. On the network that it
// has already, the gateway keeps what the request does not name: addresses, and whether it translates.
func (r *Rules) setGateway(tx *store.Tx, env Env, who authn.Principal, rt *model.Router, spec GatewaySpec) error {
	n, err := r.Network(tx, who, spec.NetworkID.Or(model.NetworkID{}))
	if err != nil {
		return err
	}
	if !n.External {
		return badRequest("router", "Network %s is not an external network.", n.ID)
	}
	for s := range tx.SubnetsByNetwork(n.ID) {
		for _, want := range spec.FixedIPs.Or(nil) {
			if want.Addr.IsValid() && want.Addr == s.Gateway {
				return badRequest("router", "External IP %s is the same as the gateway IP.", want.Addr)
			}
		}
	}
	if rt.External != nil && rt.External.NetworkID == n.ID {
		set(&rt.External.EnableSNAT, spec.EnableSNAT)
		return r.moveGateway(tx, env, rt, spec)
	}
	if err := r.clearGateway(tx, env, rt); err != nil {
		return err
	}
	for s := range tx.SubnetsByNetwork(n.ID) {
		if err := refuseOverlap(tx, rt, s); err != nil {
			return err
		}
	}
	r.place(tx, env, rt, n.ID)
	// The gateway has no project, so that it is hidden from its router's owner.
	p, err := r.servicePort(tx, env, n, "", model.OwnerRouterGateway, rt.ID.String())
	if err != nil {
		return err
	}
	choice := r.addressing(tx, env, p)
	if want, ok := spec.FixedIPs.Get(); ok && len(want) > 0 {
		p.FixedIPs, err = choice.chooseAsked(want, nil)
	} else {
		p.FixedIPs, err = choice.choose()
	}
	if err != nil {
		return err
	}
	p.Binding.HostID = preferred(rt)
	bind(tx, p, n)
	putPort(tx, p)
	rt.External = &model.ExternalGateway{NetworkID: n.ID, PortID: p.ID, EnableSNAT: spec.EnableSNAT.Or(true)}
	return nil
}

// moveGateway gives the gateway other addresses on the network that it is on. Floating IPs have
// addresses of their own and stay.
func (r *Rules) moveGateway(tx *store.Tx, env Env, rt *model.Router, spec GatewaySpec) error {
	want, ok := spec.FixedIPs.Get()
	if !ok || len(want) == 0 {
		return nil
	}
	p := tx.Port(rt.External.PortID).Clone()
	ips, err := r.addressing(tx, env, p).chooseAsked(want, p.FixedIPs)
	if err != nil || slices.Equal(ips, p.FixedIPs) {
		return err
	}
	p.FixedIPs = ips
	env.touch(&p.Meta)
	putPort(tx, p)
	return nil
}

// clearGateway takes a router's external gateway away, unless floating IPs need it.
func (r *Rules) clearGateway(tx *store.Tx, env Env, rt *model.Router) error {
	if rt.External == nil {
		return nil
	}
	for range tx.FloatingIPsByRouter(rt.ID) {
		return fault.New(fault.Conflict, "RouterExternalGatewayInUseByFloatingIp", "Gateway cannot be updated for router %s, "+
			"since a gateway to external network %s is required by one or more floating IPs.", rt.ID, rt.External.NetworkID)
	}
	deletePort(tx, rt.External.PortID)
	rt.External = nil
	return nil
}
