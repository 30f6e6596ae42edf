package hoststate

import (
	"iter"
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
	id, _ := p.RouterOf()
	r := view.Routers[id]
	return r != nil && r.ServedBy(view.Host)
}

// StandsBy reports whether a port is a leg of a router that the host serves but does not answer for.
func (j *Joined) StandsBy(p *model.PortView) bool {
	id, ok := p.RouterOf()
	return ok && !j.Pipeline.Routers[id].Active
}

// legPort is a leg's port on br-int, with what Neutron's agent writes there.
func legPort(p *model.PortView) vsw.DesiredPort {
	return namedLeg(LegName(p.ID, p.DeviceOwner == model.OwnerRouterGateway), p.ID, p.MAC)
}

func namedLeg(name string, port model.PortID, mac model.MAC) vsw.DesiredPort {
	return vsw.DesiredPort{
		Bridge: BrInt, Name: name,
		ExternalIDs: map[string]string{"iface-id": port.String(), "attached-mac": mac.String(), "iface-status": "active"},
	}
}

// AtPorts yields the floating IPs that a host serves for its own ports, with their routers. The host is none of their gateways.
func AtPorts(view *model.HostView) iter.Seq2[*model.RouterView, *model.FloatingView] {
	return func(yield func(*model.RouterView, *model.FloatingView) bool) {
		for _, f := range view.Floating {
			r := view.Routers[f.RouterID]
			if !f.AtPort || f.PortHost != view.Host || r == nil || !r.AdminStateUp || r.External == nil || r.ServedBy(view.Host) {
				continue
			}
			if !yield(r, f) {
				return
			}
		}
	}
}

// served notes the floating IPs that the host serves as a gateway of their routers.
func (j *Joined) served(view *model.HostView) {
	j.Pipeline.Served = map[model.FloatingIPID]*model.FloatingView{}
	for id, f := range view.Floating {
		if r := view.Routers[f.RouterID]; r != nil && r.ServedBy(view.Host) && !f.AtPort && f.Addr.Is4() && f.Fixed.Is4() {
			j.Pipeline.Served[id] = f
		}
	}
}

// atPorts wants the legs of routers that serve floating IPs for ports of this host.
func (j *Joined) atPorts(view *model.HostView, s *vsw.State) {
	j.Pipeline.Floating = map[model.FloatingIPID]*model.FloatingView{}
	legs := map[string]bool{}
	leg := func(l *model.LegView, external bool, mac model.MAC) {
		name := LegName(l.PortID, external)
		n, ok := j.Pipeline.Networks[l.NetworkID]
		if !ok || legs[name] {
			return
		}
		legs[name] = true
		if o := ofport(s, name); o != 0 {
			j.Pipeline.Local.Ports[l.PortID] = o
		}
		j.wantOn(n, namedLeg(name, l.PortID, mac))
	}
	for r, f := range AtPorts(view) {
		j.Pipeline.Floating[f.ID] = f
		leg(&r.External.LegView, true, r.MACAt(view.Host))
		for i := range r.Legs {
			if r.Legs[i].Reaches(f.Fixed) {
				leg(&r.Legs[i], false, r.Legs[i].MAC)
			}
		}
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
