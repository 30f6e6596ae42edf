package network

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// forwardable are the protocols that ports are forwarded of (IANA protocol numbers). ICMP, which has none, is
// forwarded as a whole.
var forwardable = map[string]int{"tcp": 6, "udp": 17, "sctp": 132, "dccp": 33, "icmp": 1}

// CreatePortForwarding sends what comes for ports of a floating IP that is not associated to ports of a
// fixed address. The first one ties the floating IP to the router that reaches it.
func (r *Rules) CreatePortForwarding(tx *store.Tx, env Env, who authn.Principal, spec PortForwardingSpec) (*model.PortForwarding, error) {
	f, err := r.FloatingIP(tx, who, spec.FloatingIPID)
	if err != nil {
		return nil, err
	}
	pf := &model.PortForwarding{
		Meta:         env.meta(f.ProjectID, Opt[string]{}, spec.Description, 0),
		ID:           model.PortForwardingID{UUID: env.uuid()},
		FloatingIPID: f.ID,
	}
	if err := ask(who, "create_floatingip_port_forwarding", policy.PortForwardingTarget(pf, f)).err(); err != nil {
		return nil, err
	}
	if err := r.forward(tx, env, who, f, pf, &spec); err != nil {
		return nil, err
	}
	tx.PutPortForwarding(pf)
	return pf, nil
}

// UpdatePortForwarding changes a port forwarding. The caller has seen to it that it is the one of the
// floating IP that was named.
func (r *Rules) UpdatePortForwarding(tx *store.Tx, env Env, who authn.Principal, id model.PortForwardingID, spec PortForwardingSpec, _ *int64) (*model.PortForwarding, error) {
	old, f, err := r.portForwarding(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := ask(who, "update_floatingip_port_forwarding", policy.PortForwardingTarget(old, f)).err(); err != nil {
		return nil, err
	}
	pf := old.Clone()
	set(&pf.Description, spec.Description)
	if err := r.forward(tx, env, who, f, pf, &spec); err != nil {
		return nil, err
	}
	if reflect.DeepEqual(old, pf) {
		return old, nil
	}
	env.touch(&pf.Meta)
	tx.PutPortForwarding(pf)
	return pf, nil
}

// DeletePortForwarding ends a port forwarding.
func (r *Rules) DeletePortForwarding(tx *store.Tx, env Env, who authn.Principal, id model.PortForwardingID, _ *int64) error {
	pf, f, err := r.portForwarding(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_floatingip_port_forwarding", policy.PortForwardingTarget(pf, f)).err(); err != nil {
		return err
	}
	dropForwarding(tx, env, pf)
	return nil
}

func (r *Rules) portForwarding(tx *store.Tx, who authn.Principal, id model.PortForwardingID) (*model.PortForwarding, *model.FloatingIP, error) {
	pf := tx.PortForwarding(id)
	if pf == nil {
		return nil, nil, forwardingNotFound(id)
	}
	f := tx.FloatingIP(pf.FloatingIPID)
	if !policy.Allowed(who, "get_floatingip_port_forwarding", policy.PortForwardingTarget(pf, f)) {
		return nil, nil, forwardingNotFound(id)
	}
	return pf, f, nil
}

// dropForwarding removes a forwarding. The last one of a floating IP unties it from its router.
func dropForwarding(tx *store.Tx, env Env, pf *model.PortForwarding) {
	tx.DeletePortForwarding(pf.ID)
	f := tx.FloatingIP(pf.FloatingIPID).Clone()
	f.RouterID = model.RouterID{}
	for range tx.PortForwardingsByFloatingIP(f.ID) {
		f.RouterID = tx.FloatingIP(f.ID).RouterID
	}
	env.touch(&f.Meta)
	tx.PutFloatingIP(f)
}

// forward makes a forwarding what a request says, and checks all of it.
func (r *Rules) forward(tx *store.Tx, env Env, who authn.Principal, f *model.FloatingIP, pf *model.PortForwarding, spec *PortForwardingSpec) error {
	if err := checkText("description", spec.Description); err != nil {
		return err
	}
	set(&pf.PortID, spec.PortID)
	set(&pf.InternalAddr, spec.InternalAddr)
	set(&pf.Protocol, spec.Protocol)
	ok := false
	if pf.IPProtocol, ok = forwardable[pf.Protocol]; !ok {
		return badAttr("protocol", "%s is not in valid_values.", pf.Protocol)
	}
	if err := setPorts("external", &pf.ExternalMin, &pf.ExternalMax, spec.ExternalPort, spec.ExternalRange); err != nil {
		return err
	}
	if err := setPorts("internal", &pf.InternalMin, &pf.InternalMax, spec.InternalPort, spec.InternalRange); err != nil {
		return err
	}
	if err := checkForwardedPorts(pf); err != nil {
		return err
	}
	p, err := r.Port(tx, who, pf.PortID)
	if err != nil {
		return err
	}
	if err := checkInside(who, f, p); err != nil {
		return err
	}
	if spec.PortID.Set && !spec.InternalAddr.Set && !slices.ContainsFunc(p.FixedIPs, func(x model.FixedIP) bool { return x.Addr == pf.InternalAddr }) {
		pf.InternalAddr = netip.Addr{} // of the port that it was before
	}
	inside, err := insideOf(p, pf.InternalAddr)
	if err != nil {
		return err
	}
	pf.InternalAddr = inside.Addr
	if err := checkCollisions(tx, pf); err != nil {
		return err
	}
	for o := range tx.FloatingIPsByPort(p.ID) {
		return fault.New(fault.Conflict, "PortHasBindingFloatingIP", "Cannot create port forwarding to floating IP %s (%s) with port %s "+
			"using fixed IP %s, as that port already has a binding floating IP.", o.Addr, o.ID, p.ID, pf.InternalAddr)
	}
	if !f.PortID.IsZero() {
		return alreadyAssociated(f, p.ID, pf.InternalAddr)
	}
	rt, err := routerFor(tx, f.NetworkID, p, inside.SubnetID)
	if err != nil {
		return badRequest("port_forwarding", "External network %s is not reachable from subnet %s. Cannot set Port forwarding for port %s with Floating IP %s.",
			f.NetworkID, inside.SubnetID, p.ID, f.ID)
	}
	if !f.RouterID.IsZero() && f.RouterID != rt.ID {
		return badRequest("port_forwarding", "The Floating IP %s had been set on router %s, the internal Neutron port %s can not reach it.", f.ID, f.RouterID, p.ID)
	}
	f = f.Clone()
	f.RouterID = rt.ID
	env.touch(&f.Meta)
	tx.PutFloatingIP(f)
	return nil
}

// insideOf is the IPv4 address of a port that is forwarded to: the one named, or the first.
func insideOf(p *model.Port, named netip.Addr) (model.FixedIP, error) {
	for _, f := range p.FixedIPs {
		if f.Addr.Is4() && (!named.IsValid() || f.Addr == named) {
			return f, nil
		}
	}
	if !named.IsValid() {
		return model.FixedIP{}, badRequest("port_forwarding", "Requested internal port %s must allocate an IPv4 address at least.", p.ID)
	}
	return model.FixedIP{}, badRequest("port_forwarding", "Requested internal IP address %s is not an IPv4 address of internal neutron port %s.", named, p.ID)
}

// setPorts reads the ports of one side: a single one, or a range FIRST:LAST.
func setPorts(side string, first, last *int, port Opt[int], ports Opt[string]) error {
	if text, ok := ports.Get(); ok {
		a, b, some := strings.Cut(text, ":")
		if !some {
			b = a
		}
		x, err1 := strconv.ParseUint(a, 10, 16)
		y, err2 := strconv.ParseUint(b, 10, 16)
		if err1 != nil || err2 != nil || x < 1 || y < x {
			return badAttr(side+"_port_range", "'%s' is not a range of ports.", text)
		}
		if p, ok := port.Get(); ok && (p != int(x) || p != int(y)) {
			return badRequest("port_forwarding", "%s_port and %s_port_range are not the same.", side, side)
		}
		*first, *last = int(x), int(y)
		return nil
	}
	if p, ok := port.Get(); ok {
		if p < 1 || p > 65535 {
			return badAttr(side+"_port", "'%d' is not a port: must be between 1 and 65535.", p)
		}
		*first, *last = p, p
	}
	return nil
}

// checkForwardedPorts holds that there are ports where the protocol has some, and that both sides fit.
func checkForwardedPorts(pf *model.PortForwarding) error {
	if pf.Protocol == "icmp" {
		if pf.ExternalMin|pf.InternalMin != 0 {
			return badRequest("port_forwarding", "icmp has no ports.")
		}
		return nil
	}
	if pf.ExternalMin == 0 || pf.InternalMin == 0 {
		return badRequest("port_forwarding", "%s needs an external and an internal port.", pf.Protocol)
	}
	if in := pf.InternalMax - pf.InternalMin; in > 0 && in != pf.ExternalMax-pf.ExternalMin {
		return badRequest("port_forwarding", "Invalid ranges of internal and/or external ports. "+
			"The relation between internal and external ports must be N-N or 1-N.")
	}
	return nil
}

// checkCollisions refuses ports that another forwarding has: of the floating IP, or of the fixed address.
func checkCollisions(tx *store.Tx, pf *model.PortForwarding) error {
	collides := func(side string, first, last, haveFirst, haveLast int) error {
		if first > haveLast || haveFirst > last {
			return nil
		}
		return badRequest("port_forwarding", "There is a port collision with the %s_port_range. The following ranges collides: %d:%d and %d:%d.",
			side, haveFirst, haveLast, first, last)
	}
	for o := range tx.PortForwardingsByPort(pf.PortID) {
		if o.ID != pf.ID && o.Protocol == pf.Protocol && o.InternalAddr == pf.InternalAddr {
			if err := collides("internal", pf.InternalMin, pf.InternalMax, o.InternalMin, o.InternalMax); err != nil {
				return err
			}
		}
	}
	for o := range tx.PortForwardingsByFloatingIP(pf.FloatingIPID) {
		if o.ID != pf.ID && o.Protocol == pf.Protocol {
			if err := collides("external", pf.ExternalMin, pf.ExternalMax, o.ExternalMin, o.ExternalMax); err != nil {
				return err
			}
		}
	}
	return nil
}

func forwardingNotFound(id model.PortForwardingID) *fault.Error {
	return fault.New(fault.NotFound, "PortForwardingNotFound", "Port Forwarding %s could not be found.", id)
}
