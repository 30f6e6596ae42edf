package hoststate

import (
	"strings"

	"weft/internal/host/ovs/vsw"
	"weft/internal/model"
)

// Prefixes of the legs of routers, as Neutron's layer 3 agent has them.
const (
	legPrefix      = "qr-"
	externalPrefix = "qg-"
)

// LegName is the name of both ends of a router's leg: the one on br-int and the one in its namespace.
func LegName(port model.PortID, external bool) string {
	if external {
		return externalPrefix + port.DeviceSuffix()
	}
	return legPrefix + port.DeviceSuffix()
}

// IsLeg reports whether a device's name is one that LegName makes.
func IsLeg(name string) bool {
	suffix, ok := strings.CutPrefix(name, legPrefix)
	if !ok {
		suffix, ok = strings.CutPrefix(name, externalPrefix)
	}
	if !ok || len(suffix) != 11 {
		return false
	}
	for i, c := range []byte(suffix) {
		if (c == '-') != (i == 8) || c != '-' && !strings.ContainsRune("0123456789abcdef", rune(c)) {
			return false
		}
	}
	return true
}

// servesLeg reports whether the host serves the router that a port is a leg of.
func servesLeg(view *model.HostView, p *model.PortView) bool {
	id, err := model.ParseUUID(p.DeviceID)
	if err != nil {
		return false
	}
	r := view.Routers[model.RouterID{UUID: id}]
	return r != nil && r.ServedBy(view.Host)
}

// legPort is a leg's port on br-int, with what Neutron's agent writes there.
func legPort(p *model.PortView) vsw.DesiredPort {
	return vsw.DesiredPort{
		Bridge: BrInt, Name: LegName(p.ID, p.DeviceOwner == model.OwnerRouterGateway),
		ExternalIDs: map[string]string{"iface-id": p.ID.String(), "attached-mac": p.MAC.String(), "iface-status": "active"},
	}
}

// gatewayTunnels yields the tunnels to the other hosts that serve routers with a leg on the host's networks.
func (j *Joined) gatewayTunnels(view *model.HostView, yield func(model.NetworkType, model.GatewayView)) {
	for _, r := range view.Routers {
		for _, network := range r.Networks() {
			n, ok := j.Pipeline.Networks[network]
			if !ok || !n.View.Segment.Type.IsTunnel() {
				continue
			}
			for _, g := range r.Gateways {
				if g.Host != view.Host && g.Tunnel.IsValid() {
					yield(n.View.Segment.Type, g)
				}
			}
		}
	}
}
