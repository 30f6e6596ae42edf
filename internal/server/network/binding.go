package network

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"weft/internal/model"
	"weft/internal/server/store"
)

// vnicNormal is the kind of NIC that Open vSwitch plugs; the others need
// hardware that the mechanism driver does not have.
const vnicNormal = "normal"

// vnicTypes are those that the API knows (Neutron API reference, "binding:vnic_type").
var vnicTypes = []string{vnicNormal, "direct", "macvtap", "baremetal", "direct-physical",
	"virtio-forwarder", "smart-nic", "vdpa", "accelerator-direct", "accelerator-direct-physical", "remote-managed"}

// bind derives VIF type and firewall of a port from the host that it names. The host need
// not be alive: a port bound to a host that is away is wired when it returns.
func bind(tx *store.Tx, p *model.Port, n *model.Network) {
	b := &p.Binding
	b.Firewall = ""
	switch {
	case b.HostID == "":
		b.VIFType = model.VIFUnbound
	case canBind(tx.Host(b.HostID), n, b):
		b.VIFType = model.VIFOVS
		b.Firewall = cmp.Or(askedFirewall(b.Profile), tx.Host(b.HostID).Firewall, model.FirewallHybrid)
	default:
		b.VIFType = model.VIFBindingFailed
	}
}

// askedFirewall is the driver that a binding profile asks for, {"firewall": "native"},
// nothing if it leaves that to the host.
func askedFirewall(profile json.RawMessage) string {
	var asked struct {
		Firewall string `json:"firewall"`
	}
	if len(profile) == 0 || json.Unmarshal(profile, &asked) != nil {
		return ""
	}
	return asked.Firewall
}

// canBind reports whether a host can plug the port: it is known, admitted, and
// reaches a segment of the network.
func canBind(h *model.Host, n *model.Network, b *model.Binding) bool {
	if h == nil || n == nil || !h.AdminStateUp || b.VNICType != "" && b.VNICType != vnicNormal {
		return false
	}
	return slices.ContainsFunc(n.Segments, func(s model.Segment) bool { return reaches(h, s) })
}

// reaches reports whether a host has what a segment needs: the tunnel type and
// an address for tunnels, or a bridge for the physical network.
func reaches(h *model.Host, s model.Segment) bool {
	switch {
	case s.Type.IsTunnel():
		return h.TunnelAddr.IsValid() && slices.Contains(h.TunnelTypes, s.Type)
	case s.Type == model.TypeLocal:
		return true
	}
	return h.Mappings[s.Physical] != ""
}

// rebound is how many ports, and how many rows of routers and their ports, are changed in one transaction because of a host: rows of the
// largest size still fit in it, and other writers need not wait long.
const rebound = 500

// RebindHost binds ports of a host again whose binding failed, or no longer holds, now that
// the host is known or has changed from before, which is nil for a new one; and it lets routers follow a
// gateway host. The dispatcher calls it in the transaction that writes the host, and in further ones, in which
// the host has not changed, for as long as more is true. It returns how many ports it bound.
func (r *Rules) RebindHost(tx *store.Tx, env Env, before *model.Host, host string) (changed int, more bool) {
	placing := r.followHost(tx, env, before, host)
	h := tx.Host(host)
	if h == nil {
		return 0, false // deleted between two transactions
	}
	var ports []*model.Port
	for old := range tx.PortsByHost(host) {
		if old.Binding.VIFType == model.VIFOVS && !h.AdminStateUp {
			continue // admin_state_up of a host is about new ports
		}
		p := *old
		bind(tx, &p, tx.Network(p.NetworkID))
		if p.Binding.VIFType == old.Binding.VIFType && p.Binding.Firewall == old.Binding.Firewall {
			continue
		}
		if more = len(ports) == rebound; more {
			break
		}
		ports = append(ports, old)
	}
	for _, old := range ports {
		p := old.Clone()
		bind(tx, p, tx.Network(p.NetworkID))
		env.touch(&p.Meta)
		putPort(tx, p)
	}
	return len(ports), more || placing
}

// checkBinding checks the binding attributes of a request by themselves.
func checkBinding(s *PortSpec) error {
	if err := checkText("binding:host_id", s.HostID); err != nil {
		return err
	}
	if hasControl(s.HostID.Or("")) {
		return badAttr("binding:host_id", "%q has control characters.", s.HostID.Value)
	}
	if v, ok := s.VNICType.Get(); ok && !slices.Contains(vnicTypes, v) {
		return badAttr("binding:vnic_type", "%s is not in valid_values.", v)
	}
	return nil
}

// maxProfile is the longest binding profile that is stored, in bytes (Neutron's column), what it says of the
// instance apart: that has limits of its own (model.Instance).
const maxProfile = 4095

// profile returns a binding profile as it is stored: compact, nothing when it is empty.
func profile(given Opt[json.RawMessage]) (json.RawMessage, error) {
	raw, ok := given.Get()
	if !ok || len(raw) == 0 {
		return nil, nil
	}
	var buf bytes.Buffer
	if err := json.Compact(&buf, raw); err != nil || buf.Len() == 0 || buf.Bytes()[0] != '{' {
		return nil, badAttr("binding:profile", "'%s' is not a dictionary.", raw)
	}
	_, rest, err := model.ProfileInstance(buf.Bytes())
	if err != nil {
		return nil, badAttr("binding:profile", "%s.", err)
	}
	if len(rest) > maxProfile {
		return nil, badInput("binding:profile value too large")
	}
	if buf.String() == "{}" {
		return nil, nil
	}
	var asked struct {
		Firewall *string `json:"firewall"`
	}
	if err := json.Unmarshal(buf.Bytes(), &asked); err != nil ||
		asked.Firewall != nil && *asked.Firewall != model.FirewallHybrid && *asked.Firewall != model.FirewallNative {
		return nil, badAttr("binding:profile", "its firewall is neither %s nor %s.", model.FirewallHybrid, model.FirewallNative)
	}
	return buf.Bytes(), nil
}
