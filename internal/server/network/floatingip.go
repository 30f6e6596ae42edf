package network

import (
	"net/netip"
	"reflect"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// CreateFloatingIP takes an address of an external network, and associates it with a port if one is named.
// A port of no project holds the address.
func (r *Rules) CreateFloatingIP(tx *store.Tx, env Env, who authn.Principal, spec FloatingIPSpec) (*model.FloatingIP, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "create_floatingip", policy.ProjectTarget(project)).attr("floating_ip_address", spec.Addr.Set).err(); err != nil {
		return nil, err
	}
	if err := checkFloatingTexts(&spec); err != nil {
		return nil, err
	}
	n, err := r.Network(tx, who, spec.NetworkID.Or(model.NetworkID{}))
	if err != nil {
		return nil, err
	}
	if !n.External {
		return nil, badRequest("floatingip", "Network %s is not a valid external network.", n.ID)
	}
	if err := r.checkQuota(tx, project, QuotaFloatingIP); err != nil {
		return nil, err
	}
	f := &model.FloatingIP{
		Meta:      env.meta(project, Opt[string]{}, spec.Description, 0),
		ID:        model.FloatingIPID{UUID: env.uuid()},
		NetworkID: n.ID,
		DNSName:   spec.DNSName.Or(""),
		DNSDomain: spec.DNSDomain.Or(""),
	}
	p, err := r.floatingPort(tx, env, n, f, &spec)
	if err != nil {
		return nil, err
	}
	f.ReservedPortID, f.Addr = p.ID, p.FixedIPs[0].Addr
	if err := r.associate(tx, who, f, &spec); err != nil {
		return nil, err
	}
	putPort(tx, p)
	tx.PutFloatingIP(f)
	return f, nil
}

// floatingPort makes the port that holds the address of a floating IP: one IPv4 address.
func (r *Rules) floatingPort(tx *store.Tx, env Env, n *model.Network, f *model.FloatingIP, spec *FloatingIPSpec) (*model.Port, error) {
	p, err := r.servicePort(tx, env, n, "", model.OwnerFloatingIP, f.ID.String())
	if err != nil {
		return nil, err
	}
	a := r.addressing(tx, env, p)
	want := FixedIPSpec{SubnetID: spec.SubnetID.Or(model.SubnetID{}), Addr: spec.Addr.Or(netip.Addr{})}
	if want != (FixedIPSpec{}) {
		s, err := a.subnetFor(want)
		switch {
		case err != nil:
			return nil, err
		case s.IPVersion() != 4:
			return nil, badRequest("floatingip", "Subnet %s is not an IPv4 subnet.", s.ID)
		case want.Addr.IsValid() && want.Addr == s.Gateway:
			return nil, badRequest("floatingip", "%s is the gateway of subnet %s.", want.Addr, s.ID)
		case want.Addr.IsValid():
			err = a.takeExact(s, want.Addr)
		default:
			err = a.exhausted()
			if addr, ok := a.pick(s); ok {
				a.take(s, addr)
				err = nil
			}
		}
		p.FixedIPs = a.got
		return p, err
	}
	some := false
	for _, s := range a.serving() {
		if s.IPVersion() != 4 {
			continue
		}
		some = true
		if addr, ok := a.pick(s); ok {
			a.take(s, addr)
			p.FixedIPs = a.got
			return p, nil
		}
	}
	if !some {
		return nil, badRequest("floatingip", "Network %s does not contain any IPv4 subnet.", n.ID)
	}
	return nil, fault.New(fault.Invalid, "ExternalIpAddressExhausted", "Unable to find any IP address on external network %s.", n.ID)
}

// UpdateFloatingIP associates a floating IP with another port, or with none when port_id is null.
func (r *Rules) UpdateFloatingIP(tx *store.Tx, env Env, who authn.Principal, id model.FloatingIPID, spec FloatingIPSpec, ifMatch *int64) (*model.FloatingIP, error) {
	old, err := r.FloatingIP(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := refuseReadOnly(map[string]bool{"floating_network_id": spec.NetworkID.Set, "floating_ip_address": spec.Addr.Set,
		"subnet_id": spec.SubnetID.Set, "dns_name": spec.DNSName.Set, "dns_domain": spec.DNSDomain.Set}); err != nil {
		return nil, err
	}
	if err := ask(who, "update_floatingip", policy.FloatingIPTarget(old)).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkFloatingTexts(&spec); err != nil {
		return nil, err
	}
	f := old.Clone()
	set(&f.Description, spec.Description)
	if err := r.associate(tx, who, f, &spec); err != nil {
		return nil, err
	}
	if reflect.DeepEqual(old, f) {
		return old, nil
	}
	env.touch(&f.Meta)
	tx.PutFloatingIP(f)
	return f, nil
}

// associate gives a floating IP the port and fixed address that a request asks for, and the router by which
// the external network reaches them. Without port_id in the request nothing changes.
func (r *Rules) associate(tx *store.Tx, who authn.Principal, f *model.FloatingIP, spec *FloatingIPSpec) error {
	id, named := spec.PortID.Get()
	fixed, exact := spec.FixedAddr.Get()
	switch {
	case exact && !named:
		return badRequest("floatingip", "fixed_ip_address cannot be specified without a port_id.")
	case !spec.PortID.Set:
		return nil
	case !named:
		if !f.PortID.IsZero() { // else forwardings may hold the router
			f.PortID, f.FixedAddr, f.RouterID = model.PortID{}, netip.Addr{}, model.RouterID{}
		}
		return nil
	}
	p, err := r.Port(tx, who, id)
	if err != nil {
		return err
	}
	if err := checkInside(who, f, p); err != nil {
		return err
	}
	inside, err := fixedFor(p, fixed)
	if err != nil {
		return err
	}
	router, err := routerFor(tx, f.NetworkID, p, inside.SubnetID)
	if err != nil {
		return err
	}
	for o := range tx.FloatingIPsByPort(p.ID) {
		if o.ID != f.ID && o.FixedAddr == inside.Addr && o.NetworkID == f.NetworkID {
			return alreadyAssociated(f, p.ID, inside.Addr)
		}
	}
	for range tx.PortForwardingsByFloatingIP(f.ID) {
		return floatingHasForwardings(f.ID)
	}
	if router.Distributed {
		for range tx.PortForwardingsByPort(p.ID) {
			return fault.New(fault.Invalid, "PortHasPortForwarding",
				"Cannot associate floating IP to port %s because it already has a Port Forwarding binding.", p.ID)
		}
	}
	f.PortID, f.FixedAddr, f.RouterID = p.ID, inside.Addr, router.ID
	return nil
}

// checkInside refuses a port that a floating IP may not lead to: another project's, or a network service's.
func checkInside(who authn.Principal, f *model.FloatingIP, p *model.Port) error {
	switch {
	case p.ProjectID != f.ProjectID && !who.Admin:
		return badRequest("floatingip", "Cannot process floating IP association with Port %s, since that port is owned by a different project.", p.ID)
	case isReserved(p):
		return badRequest("floatingip", "Port %s is unable to be assigned a floating IP.", p.ID)
	}
	return nil
}

// fixedFor is the IPv4 address of a port that is meant: the one named, or the only one.
func fixedFor(p *model.Port, named netip.Addr) (model.FixedIP, error) {
	if named.IsValid() {
		if !named.Is4() {
			return model.FixedIP{}, badRequest("floatingip", "Cannot process floating IP association with %s, since that is not an IPv4 address.", named)
		}
		for _, f := range p.FixedIPs {
			if f.Addr == named {
				return f, nil
			}
		}
		return model.FixedIP{}, badRequest("floatingip", "Port %s does not have fixed ip %s.", p.ID, named)
	}
	var v4 []model.FixedIP
	for _, f := range p.FixedIPs {
		if f.Addr.Is4() {
			v4 = append(v4, f)
		}
	}
	switch len(v4) {
	case 0:
		return model.FixedIP{}, badRequest("floatingip", "Cannot add floating IP to port %s that has no fixed IPv4 addresses.", p.ID)
	case 1:
		return v4[0], nil
	}
	return model.FixedIP{}, badRequest("floatingip", "Port %s has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address "+
		"when assigning a floating IP.", p.ID)
}

// routerFor is the router by which an external network reaches a subnet of a port: the one that is the
// subnet's gateway before any other.
func routerFor(tx *store.Tx, external model.NetworkID, p *model.Port, subnet model.SubnetID) (*model.Router, error) {
	by := func(leg *model.Port) *model.Router {
		if leg == nil || !leg.IsRouterLeg() {
			return nil
		}
		id, err := model.ParseUUID(leg.DeviceID)
		rt := tx.Router(model.RouterID{UUID: id})
		if err != nil || rt == nil || rt.External == nil || rt.External.NetworkID != external {
			return nil
		}
		return rt
	}
	s := tx.Subnet(subnet)
	if s.Gateway.IsValid() {
		if rt := by(tx.PortByAddr(subnet, s.Gateway)); rt != nil {
			return rt, nil
		}
	}
	for _, leg := range tx.AddrsInSubnet(subnet, netip.Addr{}) {
		if rt := by(leg); rt != nil {
			return rt, nil
		}
	}
	return nil, fault.New(fault.NotFound, "ExternalGatewayForFloatingIPNotFound", "External network %s is not reachable from subnet %s.  "+
		"Therefore, cannot associate Port %s with a Floating IP.", external, subnet, p.ID)
}

// DeleteFloatingIP gives a floating IP's address back. Port forwardings are in the way.
func (r *Rules) DeleteFloatingIP(tx *store.Tx, _ Env, who authn.Principal, id model.FloatingIPID, ifMatch *int64) error {
	f, err := r.FloatingIP(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_floatingip", policy.FloatingIPTarget(f)).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, f.Revision); err != nil {
		return err
	}
	for range tx.PortForwardingsByFloatingIP(id) {
		return floatingHasForwardings(id)
	}
	deletePort(tx, f.ReservedPortID)
	tx.DeleteFloatingIP(id)
	return nil
}

// releaseFloating ends what floating IPs and forwardings have to do with a port that is being deleted. A
// floating IP that is hidden from who deletes it is in the way.
func (r *Rules) releaseFloating(tx *store.Tx, env Env, who authn.Principal, p *model.Port) error {
	for f := range tx.FloatingIPsByPort(p.ID) {
		if _, err := r.FloatingIP(tx, who, f.ID); err != nil {
			return fault.New(fault.Conflict, "FipAssociated", "Unable to complete the operation on port \"%s\" because the port still has an associated floating IP.", p.ID)
		}
		f = f.Clone()
		f.PortID, f.FixedAddr, f.RouterID = model.PortID{}, netip.Addr{}, model.RouterID{}
		env.touch(&f.Meta)
		tx.PutFloatingIP(f)
	}
	for pf := range tx.PortForwardingsByPort(p.ID) {
		dropForwarding(tx, env, pf)
	}
	return nil
}

// keepFloating refuses other fixed addresses for a port when a floating IP stands for one that goes;
// forwardings to one that goes end.
func keepFloating(tx *store.Tx, env Env, p *model.Port) error {
	has := func(addr netip.Addr) bool {
		for _, f := range p.FixedIPs {
			if f.Addr == addr {
				return true
			}
		}
		return false
	}
	for f := range tx.FloatingIPsByPort(p.ID) {
		if !has(f.FixedAddr) {
			return badRequest("port", "Cannot update the fixed_ips of the port %s, because its original fixed_ip has been associated to a floating ip.", p.ID)
		}
	}
	for pf := range tx.PortForwardingsByPort(p.ID) {
		if !has(pf.InternalAddr) {
			dropForwarding(tx, env, pf)
		}
	}
	return nil
}

func checkFloatingTexts(s *FloatingIPSpec) error {
	for name, o := range map[string]Opt[string]{"description": s.Description, "dns_name": s.DNSName, "dns_domain": s.DNSDomain} {
		if err := checkText(name, o); err != nil {
			return err
		}
	}
	if q := s.QoSPolicyID.Or(""); q != "" {
		return qosPolicyNotFound(q)
	}
	return nil
}

func alreadyAssociated(f *model.FloatingIP, port model.PortID, fixed netip.Addr) *fault.Error {
	return fault.New(fault.Conflict, "FloatingIPPortAlreadyAssociated", "Cannot associate floating IP %s (%s) with port %s using fixed IP %s, "+
		"as that fixed IP already has a floating IP on external network %s.", f.Addr, f.ID, port, fixed, f.NetworkID)
}

func floatingHasForwardings(id model.FloatingIPID) *fault.Error {
	return fault.New(fault.Conflict, "FipInUseByPortForwarding", "Floating IP %s in use by Port Forwarding resources.", id)
}
