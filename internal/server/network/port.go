package network

import (
	"reflect"
	"slices"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// CreatePort makes a port on a network that the principal may use: MAC and
// addresses, given or chosen, security groups, pairs, options, and the binding if
// a host is named. The project gets its default security group if it has none.
func (r *Rules) CreatePort(tx *store.Tx, env Env, who authn.Principal, spec PortSpec) (*model.Port, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	n, err := r.Network(tx, who, spec.NetworkID.Or(model.NetworkID{}))
	if err != nil {
		return nil, err
	}
	t := policy.NetworkTarget(n)
	t.ProjectID, t.DeviceOwner = project, spec.DeviceOwner.Or("")
	if err := askPort(who, "create_port", t, &spec).err(); err != nil {
		return nil, err
	}
	if err := checkPortTexts(&spec); err != nil {
		return nil, err
	}
	if err := r.checkQuota(tx, project, QuotaPort); err != nil {
		return nil, err
	}
	p := &model.Port{
		Meta:            env.meta(project, spec.Name, spec.Description, 1),
		ID:              model.PortID{UUID: env.uuid()},
		NetworkID:       n.ID,
		AdminStateUp:    spec.AdminStateUp.Or(true),
		DeviceID:        spec.DeviceID.Or(""),
		DeviceOwner:     spec.DeviceOwner.Or(""),
		DNSName:         spec.DNSName.Or(""),
		DNSDomain:       spec.DNSDomain.Or(""),
		DataPlaneStatus: spec.DataPlaneStatus.Or(""),
		NUMAPolicy:      spec.NUMAPolicy.Or(""),
		DeviceProfile:   spec.DeviceProfile.Or(""),
		Binding:         model.Binding{HostID: spec.HostID.Or(""), VNICType: spec.VNICType.Or("")},
	}
	if v, ok := spec.UplinkStatus.Get(); ok {
		p.UplinkStatus = &v
	}
	if isReserved(p) {
		return nil, reservedDevice(p)
	}
	if p.Binding.Profile, err = profile(spec.Profile); err != nil {
		return nil, err
	}
	if p.MAC, err = r.portMAC(tx, env, p, spec.MAC); err != nil {
		return nil, err
	}
	if p.DHCPOptions, err = r.dhcpOptions(spec.DHCPOptions.Or(nil), nil); err != nil {
		return nil, err
	}
	if err := r.secureNewPort(tx, env, who, p, n, &spec); err != nil {
		return nil, err
	}
	choice := r.addressing(tx, env, p)
	if want, ok := spec.FixedIPs.Get(); ok {
		p.FixedIPs, err = choice.chooseAsked(want, nil)
	} else {
		p.FixedIPs, err = choice.choose()
	}
	if err != nil {
		return nil, err
	}
	bind(tx, p, n)
	p.Settle(nil)
	tx.PutPort(p)
	return p, nil
}

// portMAC is the MAC address of a new port: the one given, or a fresh one.
func (r *Rules) portMAC(tx *store.Tx, env Env, p *model.Port, given Opt[model.MAC]) (model.MAC, error) {
	mac, ok := given.Get()
	if !ok {
		return r.newMAC(tx, env, p.NetworkID)
	}
	p.MAC = mac
	return mac, claimMAC(tx, p)
}

// secureNewPort decides on port security, security groups and address pairs. The ports of
// network services (DHCP, routers) are not filtered; that is decided here, when
// policy has said who may make one, and never again by the owner's name
// (OSSA-2015-018).
func (r *Rules) secureNewPort(tx *store.Tx, env Env, who authn.Principal, p *model.Port, n *model.Network, spec *PortSpec) error {
	p.PortSecurity = spec.PortSecurity.Or(n.PortSecurity)
	if isNetworkService(p.DeviceOwner) {
		p.PortSecurity = false
	}
	def := ensureDefaultGroup(tx, env, p.ProjectID)
	var err error
	switch {
	case spec.SecurityGroups.Set:
		if p.SecurityGroups, err = r.portGroups(tx, who, spec.SecurityGroups.Value); err != nil {
			return err
		}
		if len(p.SecurityGroups) > 0 && !p.PortSecurity {
			return groupsNeedPortSecurity()
		}
	case p.PortSecurity:
		p.SecurityGroups = []model.SecurityGroupID{def.ID}
	}
	if p.AddressPairs, err = r.addressPairs(spec.AddressPairs.Or(nil), p.MAC); err != nil {
		return err
	}
	if len(p.AddressPairs) > 0 && !p.PortSecurity {
		return pairsNeedPortSecurity()
	}
	return nil
}

// UpdatePort changes a port. A port on another project's network may be
// changed by its owner only as far as policy lets it.
func (r *Rules) UpdatePort(tx *store.Tx, env Env, who authn.Principal, id model.PortID, spec PortSpec, ifMatch *int64) (*model.Port, error) {
	old, err := r.Port(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := refuseReadOnly(map[string]bool{"network_id": spec.NetworkID.Set}); err != nil {
		return nil, err
	}
	n := tx.Network(old.NetworkID)
	t := policy.PortTarget(old, n)
	t.DeviceOwner = spec.DeviceOwner.Or("")
	if err := askPort(who, "update_port", t, &spec).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkPortTexts(&spec); err != nil {
		return nil, err
	}
	if isL3(old.DeviceOwner) {
		if err := refuseServicePort(old, &spec); err != nil {
			return nil, err
		}
	}
	p := old.Clone()
	set(&p.Name, spec.Name)
	set(&p.Description, spec.Description)
	set(&p.AdminStateUp, spec.AdminStateUp)
	set(&p.DeviceID, spec.DeviceID)
	set(&p.DeviceOwner, spec.DeviceOwner)
	set(&p.DNSName, spec.DNSName)
	set(&p.DNSDomain, spec.DNSDomain)
	set(&p.DataPlaneStatus, spec.DataPlaneStatus)
	set(&p.NUMAPolicy, spec.NUMAPolicy)
	set(&p.DeviceProfile, spec.DeviceProfile)
	if (isReserved(p) || isReserved(old)) && (p.DeviceID != old.DeviceID || p.DeviceOwner != old.DeviceOwner) {
		return nil, reservedDevice(old)
	}
	if spec.DHCPOptions.Set {
		if p.DHCPOptions, err = r.dhcpOptions(spec.DHCPOptions.Value, old.DHCPOptions); err != nil {
			return nil, err
		}
	}
	if err := r.changeMAC(tx, p, spec.MAC); err != nil {
		return nil, err
	}
	if err := r.securePort(tx, who, p, &spec); err != nil {
		return nil, err
	}
	if err := r.changeAddresses(tx, env, old, p, spec.FixedIPs); err != nil {
		return nil, err
	}
	if err := rebind(tx, old, p, n, &spec); err != nil {
		return nil, err
	}
	if reflect.DeepEqual(old, p) {
		return old, nil
	}
	env.touch(&p.Meta)
	putPort(tx, p)
	if p.IsDHCPService() {
		if err := r.syncDHCP(tx, env, n); err != nil {
			return nil, err
		}
		p = tx.Port(id)
	}
	return p, nil
}

// putPort stores a port, new or changed, and notes what of the change concerns hosts.
func putPort(tx *store.Tx, p *model.Port) {
	p.Settle(tx.Port(p.ID))
	tx.PutPort(p)
}

// changeMAC gives a port another MAC address, unless it is plugged. Address pairs that
// had the port's own follow it.
func (r *Rules) changeMAC(tx *store.Tx, p *model.Port, given Opt[model.MAC]) error {
	mac, ok := given.Get()
	if !ok || mac == p.MAC {
		return nil
	}
	if p.Binding.VIFType == model.VIFOVS {
		return fault.New(fault.Conflict, "PortBound", "Unable to complete operation on port %s, port is already bound, "+
			"port type: %s, old_mac %s, new_mac %s.", p.ID, p.Binding.VIFType, p.MAC, mac)
	}
	was := p.MAC
	p.MAC = mac
	if err := claimMAC(tx, p); err != nil {
		return err
	}
	for i := range p.AddressPairs {
		if p.AddressPairs[i].MAC == was {
			p.AddressPairs[i].MAC = mac
		}
	}
	return nil
}

// securePort changes port security, security groups and address pairs together, since
// each depends on the others.
func (r *Rules) securePort(tx *store.Tx, who authn.Principal, p *model.Port, spec *PortSpec) error {
	wasSecure := p.PortSecurity
	set(&p.PortSecurity, spec.PortSecurity)
	var err error
	if spec.SecurityGroups.Set {
		// A group that the port is in stays, also when the asker does not see it.
		var added []model.SecurityGroupID
		for _, id := range spec.SecurityGroups.Value {
			if !slices.Contains(p.SecurityGroups, id) {
				added = append(added, id)
			}
		}
		if _, err = r.portGroups(tx, who, added); err != nil {
			return err
		}
		p.SecurityGroups = nil
		for _, id := range spec.SecurityGroups.Value {
			if !slices.Contains(p.SecurityGroups, id) {
				p.SecurityGroups = append(p.SecurityGroups, id)
			}
		}
		if len(p.SecurityGroups) > maxGroups {
			return badInput("a port cannot have more than %d security groups", maxGroups)
		}
	}
	if len(p.SecurityGroups) > 0 && !p.PortSecurity {
		if wasSecure && !spec.SecurityGroups.Set {
			return fault.New(fault.Conflict, "PortSecurityPortHasSecurityGroup", "Port has security group associated. "+
				"Cannot disable port security or IP address until security group is removed.")
		}
		return groupsNeedPortSecurity()
	}
	if spec.AddressPairs.Set {
		if p.AddressPairs, err = r.addressPairs(spec.AddressPairs.Value, p.MAC); err != nil {
			return err
		}
	}
	if len(p.AddressPairs) > 0 && !p.PortSecurity {
		return pairsNeedPortSecurity()
	}
	return nil
}

// changeAddresses gives a port other fixed addresses, or those that follow
// from a new MAC address.
func (r *Rules) changeAddresses(tx *store.Tx, env Env, old, p *model.Port, given Opt[[]FixedIPSpec]) error {
	var want []FixedIPSpec
	switch {
	case given.Set:
		want = given.Value
	case p.MAC != old.MAC:
		for _, f := range old.FixedIPs {
			if s := tx.Subnet(f.SubnetID); s != nil && !autoAddress(s) {
				want = append(want, FixedIPSpec{SubnetID: f.SubnetID, Addr: f.Addr})
			}
		}
	default:
		return nil
	}
	current := old.FixedIPs
	if p.MAC != old.MAC {
		// What followed from the old MAC address is not kept.
		current = slices.DeleteFunc(slices.Clone(current), func(f model.FixedIP) bool {
			s := tx.Subnet(f.SubnetID)
			return s != nil && autoAddress(s)
		})
	}
	ips, err := r.addressing(tx, env, p).chooseAsked(want, current)
	if err != nil {
		return err
	}
	p.FixedIPs = ips
	return keepFloating(tx, env, p)
}

// rebind takes over the binding attributes, and binds anew what they change or
// what could not be bound.
func rebind(tx *store.Tx, old, p *model.Port, n *model.Network, spec *PortSpec) error {
	set(&p.Binding.HostID, spec.HostID)
	set(&p.Binding.VNICType, spec.VNICType)
	if spec.Profile.Set {
		var err error
		if p.Binding.Profile, err = profile(spec.Profile); err != nil {
			return err
		}
	}
	if p.Binding.HostID != old.Binding.HostID || p.Binding.VNICType != old.Binding.VNICType ||
		askedFirewall(p.Binding.Profile) != askedFirewall(old.Binding.Profile) ||
		old.Binding.VIFType == model.VIFBindingFailed && (spec.HostID.Set || spec.VNICType.Set || spec.Profile.Set) {
		bind(tx, p, n)
	}
	return nil
}

// DeletePort removes a port, unless it belongs to a router, a floating IP, or
// the network's own DHCP.
func (r *Rules) DeletePort(tx *store.Tx, env Env, who authn.Principal, id model.PortID, ifMatch *int64) error {
	p, err := r.Port(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_port", policy.PortTarget(p, tx.Network(p.NetworkID))).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, p.Revision); err != nil {
		return err
	}
	if isReserved(p) {
		return fault.New(fault.Conflict, "ServicePortInUse",
			"Port %s cannot be deleted directly via the port API: has device owner %s.", id, p.DeviceOwner)
	}
	if err := r.releaseFloating(tx, env, who, p); err != nil {
		return err
	}
	deletePort(tx, id)
	return nil
}

// deletePort removes a port and what was reported about it.
func deletePort(tx *store.Tx, id model.PortID) {
	tx.DeletePort(id)
	tx.DeletePortReport(id)
}

func askPort(who authn.Principal, action string, t policy.Target, s *PortSpec) *access {
	fixed := s.FixedIPs.Value
	return ask(who, action, t).
		attr("device_owner", s.DeviceOwner.Set).
		attr("mac_address", s.MAC.Set).
		attr("fixed_ips", s.FixedIPs.Set).
		attr("fixed_ips:ip_address", slices.ContainsFunc(fixed, func(f FixedIPSpec) bool { return f.Addr.IsValid() })).
		attr("fixed_ips:subnet_id", slices.ContainsFunc(fixed, func(f FixedIPSpec) bool { return !f.SubnetID.IsZero() })).
		attr("port_security_enabled", s.PortSecurity.Set).
		attr("binding:host_id", s.HostID.Set).
		attr("binding:profile", s.Profile.Set).
		attr("binding:vnic_type", s.VNICType.Set).
		attr("allowed_address_pairs", s.AddressPairs.Set).
		attr("data_plane_status", s.DataPlaneStatus.Set)
}

func isNetworkService(owner string) bool { return strings.HasPrefix(owner, "network:") }

// isL3 reports whether a port of this owner is managed by the router API.
func isL3(owner string) bool {
	return isRouterInterface(owner) || owner == model.OwnerRouterGateway || owner == model.OwnerFloatingIP ||
		owner == "network:router_ha_interface"
}

// isReserved reports whether a port is one that only the rules make, and only they remove: hosts, and the
// checks of what is in use, trust these without asking (OSSA-2014-008, OSSA-2015-018, CVE-2026-50266).
// Nobody, whatever the role, may make a port one of them or one of them another by the port API.
func isReserved(p *model.Port) bool { return isL3(p.DeviceOwner) || p.IsDHCPService() }

func reservedDevice(p *model.Port) *fault.Error {
	return fault.New(fault.Conflict, "ServicePortInUse",
		"Port %s cannot be changed to or from a port of its network's DHCP, a router or a floating IP.", p.ID)
}

// refuseServicePort refuses changes of a router's or floating IP's port that are for its owner to make.
func refuseServicePort(p *model.Port, s *PortSpec) error {
	for _, a := range []struct {
		name    string
		present bool
	}{
		{"device_id", s.DeviceID.Set && s.DeviceID.Value != p.DeviceID},
		{"device_owner", s.DeviceOwner.Set && s.DeviceOwner.Value != p.DeviceOwner},
		{"fixed_ips", s.FixedIPs.Set},
		{"mac_address", s.MAC.Set && s.MAC.Value != p.MAC},
		{"port_security_enabled", s.PortSecurity.Or(false)},
		{"security_groups", len(s.SecurityGroups.Value) > 0},
		{"allowed_address_pairs", len(s.AddressPairs.Value) > 0},
		{"binding:host_id", s.HostID.Set && s.HostID.Value != p.Binding.HostID},
		{"binding:vnic_type", s.VNICType.Or(vnicNormal) != vnicNormal},
	} {
		if a.present {
			return fault.New(fault.Conflict, "ServicePortInUse", "%s of port %s cannot be changed directly via the port API: "+
				"has device owner %s.", a.name, p.ID, p.DeviceOwner)
		}
	}
	return nil
}

func groupsNeedPortSecurity() *fault.Error {
	return fault.New(fault.Invalid, "PortSecurityAndIPRequiredForSecurityGroups",
		"Port security must be enabled and port must have an IP address in order to use security groups.")
}

func pairsNeedPortSecurity() *fault.Error {
	return fault.New(fault.Conflict, "AddressPairAndPortSecurityRequired",
		"Port Security must be enabled in order to have allowed address pairs on a port.")
}
