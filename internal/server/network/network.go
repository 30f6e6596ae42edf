package network

import (
	"reflect"
	"strconv"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// CreateNetwork makes a network: checks who sets what, the quota, the
// segments and the MTU. A project that has no default security group gets it.
func (r *Rules) CreateNetwork(tx *store.Tx, env Env, who authn.Principal, spec NetworkSpec) (*model.Network, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	if err := askNetwork(who, "create_network", policy.Target{ProjectID: project, NetworkProject: project}, &spec).err(); err != nil {
		return nil, err
	}
	if err := checkNetworkSpec(&spec); err != nil {
		return nil, err
	}
	if err := r.checkQuota(tx, project, QuotaNetwork); err != nil {
		return nil, err
	}
	segments, err := r.segmentsFor(tx, env, &spec)
	if err != nil {
		return nil, err
	}
	mtu, err := r.mtuFor(spec.MTU, segments)
	if err != nil {
		return nil, err
	}
	n := &model.Network{
		Meta:         env.meta(project, spec.Name, spec.Description, 1),
		ID:           model.NetworkID{UUID: env.uuid()},
		AdminStateUp: spec.AdminStateUp.Or(true),
		Shared:       spec.Shared.Or(false),
		External:     spec.External.Or(false),
		IsDefault:    spec.IsDefault.Or(false),
		MTU:          mtu,
		PortSecurity: spec.PortSecurity.Or(true),
		Segments:     segments,
		DNSDomain:    spec.DNSDomain.Or(""),
		ZoneHints:    spec.ZoneHints.Or(nil),
	}
	if v, ok := spec.VLANTransparent.Get(); ok {
		n.VLANTransparent = &v
	}
	if err := checkDefaultExternal(tx, n); err != nil {
		return nil, err
	}
	ensureDefaultGroup(tx, env, project)
	tx.PutNetwork(n)
	return n, nil
}

// UpdateNetwork changes a network.
func (r *Rules) UpdateNetwork(tx *store.Tx, env Env, who authn.Principal, id model.NetworkID, spec NetworkSpec, ifMatch *int64) (*model.Network, error) {
	old, err := r.Network(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	if err := askNetwork(who, "update_network", policy.NetworkTarget(old), &spec).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkNetworkSpec(&spec); err != nil {
		return nil, err
	}
	if spec.NetworkType.Set || spec.PhysicalNetwork.Set || spec.SegmentationID.Set || spec.Segments.Set {
		return nil, badInput("Plugin does not support updating provider attributes")
	}
	n := old.Clone()
	set(&n.Name, spec.Name)
	set(&n.Description, spec.Description)
	set(&n.AdminStateUp, spec.AdminStateUp)
	set(&n.Shared, spec.Shared)
	set(&n.External, spec.External)
	set(&n.IsDefault, spec.IsDefault)
	set(&n.PortSecurity, spec.PortSecurity)
	set(&n.DNSDomain, spec.DNSDomain)
	if spec.MTU.Set {
		if n.MTU, err = r.mtuFor(spec.MTU, n.Segments); err != nil {
			return nil, err
		}
	}
	if !n.External {
		n.IsDefault = false
	}
	if err := checkDefaultExternal(tx, n); err != nil {
		return nil, err
	}
	if old.External && !n.External && hasGateways(tx, id) {
		return nil, fault.New(fault.Conflict, "ExternalNetworkInUse", "External network %s cannot be updated to be made non-external, "+
			"since it has existing gateway ports.", id)
	}
	if old.Shared && !n.Shared && usedByOthers(tx, old) {
		return nil, fault.New(fault.Conflict, "InvalidSharedSetting",
			"Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", id)
	}
	if reflect.DeepEqual(old, n) {
		return old, nil
	}
	env.touch(&n.Meta)
	tx.PutNetwork(n)
	return n, nil
}

// DeleteNetwork removes a network with its subnets, its DHCP port, and floating IPs that are not associated. Any
// other port on it is in the way.
func (r *Rules) DeleteNetwork(tx *store.Tx, _ Env, who authn.Principal, id model.NetworkID, ifMatch *int64) error {
	n, err := r.Network(tx, who, id)
	if err != nil {
		return err
	}
	if err := ask(who, "delete_network", policy.NetworkTarget(n)).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, n.Revision); err != nil {
		return err
	}
	var inUse []string
	var ours []model.PortID
	for p := range tx.PortsByNetwork(id) {
		if p.DeviceOwner == model.OwnerDHCP || idleFloating(tx, p) {
			ours = append(ours, p.ID)
		} else if inUse = append(inUse, p.ID.String()); len(inUse) > maxNamedInUse {
			break
		}
	}
	if len(inUse) > 0 {
		names := strings.Join(inUse[:min(len(inUse), maxNamedInUse)], ",")
		if len(inUse) > maxNamedInUse {
			names += ",… (" + strconv.Itoa(tx.PortCountByNetwork(id)) + " in all)"
		}
		return fault.New(fault.Conflict, "NetworkInUse", "Unable to complete operation on network %s. "+
			"There are one or more ports still in use on the network, id for these ports is: %s.", id, names)
	}
	for f := range tx.FloatingIPsByNetwork(id) {
		tx.DeleteFloatingIP(f.ID)
	}
	for _, p := range ours {
		deletePort(tx, p)
	}
	for s := range tx.SubnetsByNetwork(id) {
		tx.DeleteSubnet(s.ID)
	}
	tx.DeleteNetwork(id)
	return nil
}

// maxNamedInUse bounds the ids in an error's sentence.
const maxNamedInUse = 100

func askNetwork(who authn.Principal, action string, t policy.Target, s *NetworkSpec) *access {
	return ask(who, action, t).
		attr("shared", s.Shared.Set).
		attr("router:external", s.External.Set).
		attr("is_default", s.IsDefault.Set).
		attr("port_security_enabled", s.PortSecurity.Set).
		attr("segments", s.Segments.Set).
		attr("provider:network_type", s.NetworkType.Set).
		attr("provider:physical_network", s.PhysicalNetwork.Set).
		attr("provider:segmentation_id", s.SegmentationID.Set)
}

func checkNetworkSpec(s *NetworkSpec) error {
	if err := checkTexts(s.Name, s.Description); err != nil {
		return err
	}
	if err := checkText("dns_domain", s.DNSDomain); err != nil {
		return err
	}
	if d := s.DNSDomain.Or(""); hasControl(d) {
		return badAttr("dns_domain", "%q has control characters.", d)
	}
	if q := s.QoSPolicyID.Or(""); q != "" {
		return qosPolicyNotFound(q)
	}
	if h := s.ZoneHints.Or(nil); len(h) > 0 {
		return fault.New(fault.NotFound, "AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", h[0])
	}
	return nil
}

// checkDefaultExternal allows one default external network.
func checkDefaultExternal(tx *store.Tx, n *model.Network) error {
	if !n.IsDefault || !n.External {
		return nil
	}
	for o := range tx.ExternalNetworks() {
		if o.IsDefault && o.ID != n.ID {
			return fault.New(fault.Conflict, "DefaultExternalNetworkExists",
				"A default external network already exists: %s.", o.ID)
		}
	}
	return nil
}

// idleFloating reports whether a port holds the address of a floating IP that leads nowhere.
func idleFloating(tx *store.Tx, p *model.Port) bool {
	id, err := model.ParseUUID(p.DeviceID)
	if err != nil || p.DeviceOwner != model.OwnerFloatingIP {
		return false
	}
	f := tx.FloatingIP(model.FloatingIPID{UUID: id})
	return f == nil || f.RouterID.IsZero()
}

// hasGateways reports whether routers or floating IPs use a network as external.
func hasGateways(tx *store.Tx, id model.NetworkID) bool {
	for p := range tx.PortsByNetwork(id) {
		if p.DeviceOwner == model.OwnerRouterGateway || p.DeviceOwner == model.OwnerFloatingIP {
			return true
		}
	}
	return false
}

// usedByOthers reports whether another project has a subnet or a port on the
// network.
func usedByOthers(tx *store.Tx, n *model.Network) bool {
	for s := range tx.SubnetsByNetwork(n.ID) {
		if s.ProjectID != n.ProjectID {
			return true
		}
	}
	for p := range tx.PortsByNetwork(n.ID) {
		if p.ProjectID != n.ProjectID && !strings.HasPrefix(p.DeviceOwner, "network:") {
			return true
		}
	}
	return false
}

// touchNetwork bumps a network's revision, since what it is shown with has
// changed: its subnets.
func touchNetwork(tx *store.Tx, env Env, id model.NetworkID) {
	if n := tx.Network(id); n != nil {
		n = n.Clone()
		env.touch(&n.Meta)
		tx.PutNetwork(n)
	}
}
