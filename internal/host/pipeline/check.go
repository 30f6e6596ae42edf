package pipeline

import (
	"cmp"
	"net/netip"
	"slices"

	"weft/internal/model"
)

// maxVLAN is the highest VLAN id a network may have (IEEE 802.1Q); 4095 is
// reserved, and Neutron parks dead ports on it.
const maxVLAN = 4094

// checkNetworks fills b.networks with the networks that can be programmed.
func (b *builder) checkNetworks() map[model.NetworkID]*network {
	byID := make(map[model.NetworkID]*network, len(b.in.Networks))
	vlans := map[uint16]bool{}
	segments := map[model.Segment]bool{}
	for _, id := range sortedKeys(b.in.Networks, func(x, y model.NetworkID) int { return x.Compare(y.UUID) }) {
		in := b.in.Networks[id]
		if in.View == nil || in.View.ID != id {
			b.problem(model.KindNetwork, id.UUID, "the network has no view")
			continue
		}
		if in.VLAN < 1 || in.VLAN > maxVLAN || vlans[in.VLAN] {
			b.problem(model.KindNetwork, id.UUID, "local VLAN id %d is not valid or not its own", in.VLAN)
			continue
		}
		segment := b.place(in.View.Segment)
		if segment.Type != model.TypeLocal && segments[segment] {
			b.problem(model.KindNetwork, id.UUID, "another network is on %s segment %d already", segment.Type, segment.Tag)
			continue
		}
		n := &network{view: in.View, vlan: in.VLAN}
		if !b.checkSegment(n) {
			continue
		}
		vlans[in.VLAN], segments[segment] = true, true
		b.checkDHCP(n)
		checkIPv6(n)
		byID[id] = n
		b.networks = append(b.networks, n)
	}
	slices.SortFunc(b.networks, func(x, y *network) int { return cmp.Compare(x.vlan, y.vlan) })
	return byID
}

// place reduces a segment to what tells it from others on the wire.
func (b *builder) place(s model.Segment) model.Segment {
	at := model.Segment{Type: s.Type, Tag: s.Tag}
	if s.Type == model.TypeFlat || s.Type == model.TypeVLAN {
		at.Physical = "unknown " + s.Physical
		if phy, found := b.in.Local.Physical[s.Physical]; found {
			at.Physical = phy.Bridge // two names may share one
		}
	}
	if s.Type == model.TypeFlat {
		at.Tag = 0
	}
	return at
}

// checkSegment finds the network's way to other hosts. A network without one
// still connects the ports of this host.
func (b *builder) checkSegment(n *network) bool {
	id, seg := n.view.ID.UUID, n.view.Segment
	switch seg.Type {
	case model.TypeLocal:
		return true
	case model.TypeGRE, model.TypeVXLAN, model.TypeGeneve:
		if seg.Type != model.TypeGRE && seg.Tag >= 1<<24 {
			b.problem(model.KindNetwork, id, "%s segment %d does not fit 24 bits", seg.Type, seg.Tag)
			return false
		}
		if !b.in.Local.TunnelAddr.IsValid() {
			b.problem(model.KindNetwork, id, "the host has no tunnel address for a %s network", seg.Type)
			return true
		}
		n.uplink = b.in.Local.PatchTun
		if n.uplink == 0 || b.in.Local.PatchInt == 0 {
			b.waiting(model.KindNetwork, id, "the patch ports between br-int and br-tun are not there yet")
		}
		return true
	case model.TypeFlat, model.TypeVLAN:
		if seg.Type == model.TypeVLAN && (seg.Tag < 1 || seg.Tag > maxVLAN) {
			b.problem(model.KindNetwork, id, "VLAN id %d is not valid", seg.Tag)
			return false
		}
		phy, found := b.in.Local.Physical[seg.Physical]
		if !found {
			b.problem(model.KindNetwork, id, "the host has no bridge for physical network %q", seg.Physical)
			return true
		}
		if phy.Int == 0 || phy.Phy == 0 {
			b.waiting(model.KindNetwork, id, "the patch ports to bridge "+phy.Bridge+" are not there yet")
			return true
		}
		n.phy, n.uplink = &phy, phy.Int
		return true
	}
	b.problem(model.KindNetwork, id, "unknown network type %q", seg.Type)
	return false
}

func (b *builder) checkDHCP(n *network) {
	if !isUnicast(n.view.DHCPMAC) {
		return
	}
	for _, s := range n.view.Subnets {
		n.answers4 = n.answers4 || s.EnableDHCP && s.CIDR.Addr().Is4()
	}
	for _, a := range n.view.DHCPAddrs {
		if a = a.Unmap(); a.Is4() && !slices.Contains(n.dhcp4, a) {
			n.dhcp4 = append(n.dhcp4, a)
		}
	}
	slices.SortFunc(n.dhcp4, netip.Addr.Compare)
}

// onNetwork names a MAC on a network.
type onNetwork struct {
	network model.NetworkID
	mac     model.MAC
}

// checkPorts hands every port that can be wired to its network.
func (b *builder) checkPorts(networks map[model.NetworkID]*network) {
	macs := map[onNetwork]bool{}
	for _, id := range sortedKeys(b.in.Ports, comparePorts) {
		v := b.in.Ports[id]
		n := networks[v.NetworkID]
		switch {
		case n == nil:
			b.problem(model.KindPort, id.UUID, "network %s cannot be programmed on this host", v.NetworkID)
			continue
		case !isUnicast(v.MAC):
			b.problem(model.KindPort, id.UUID, "%s is not a MAC address that a port can have", v.MAC)
			continue
		case !v.AdminStateUp || !n.view.AdminStateUp:
			continue // as it should be: down
		case v.PortSecurity && !v.IsRouterPort() && v.Firewall == model.FirewallNative && !b.in.Local.Filtered[id]:
			// Nothing filters such a port: rather no traffic.
			b.problem(model.KindPort, id.UUID, "no flows filter the port")
			continue
		}
		ofport := b.in.Local.Ports[id]
		switch {
		case ofport == 0:
			b.waiting(model.KindPort, id.UUID, "its device is not on br-int yet")
			continue
		case !b.free(ofport, id):
			b.problem(model.KindPort, id.UUID, "port %d of br-int has another use", ofport)
			continue
		case macs[onNetwork{v.NetworkID, v.MAC}]:
			b.problem(model.KindPort, id.UUID, "another port of the network has MAC %s", v.MAC)
			continue
		}
		b.used[ofport], macs[onNetwork{v.NetworkID, v.MAC}] = id, true
		p := port{view: v, ofport: ofport, open: Learns(v), filtered: v.PortSecurity && b.in.Local.Filtered[id]}
		if v.IsRouterPort() {
			if p.open, p.filtered, p.leg = false, false, n.leg(id); p.leg == nil {
				b.problem(model.KindPort, id.UUID, "its router is not served by this host")
				continue
			}
		}
		n.open = n.open || p.open
		n.ports = append(n.ports, p)
		b.out.Wired = append(b.out.Wired, id)
	}
	for _, n := range b.networks {
		slices.SortStableFunc(n.ports, func(x, y port) int { return cmp.Compare(x.ofport, y.ofport) })
	}
}

// Learns reports whether a port may use MACs that nobody told us of, so that the
// switch learns them: it has no port security, or address pairs with other MACs.
func Learns(v *model.PortView) bool {
	return !v.PortSecurity || slices.ContainsFunc(v.AddressPairs, func(p model.AddressPair) bool { return p.MAC != v.MAC && isUnicast(p.MAC) })
}

// free reports whether a number on br-int is for a port to have: nothing else does.
func (b *builder) free(ofport uint32, id model.PortID) bool {
	other, used := b.used[ofport]
	return !b.reservedIntPort(ofport) && (!used || other == id)
}

// reservedIntPort reports whether a number on br-int is a patch port's, or one
// of the numbers that OpenFlow reserves (OFPP_MAX is 0xffffff00).
func (b *builder) reservedIntPort(ofport uint32) bool {
	if ofport > 0xffffff00 || ofport == b.in.Local.PatchTun || ofport == b.in.Local.Services {
		return true
	}
	for _, phy := range b.in.Local.Physical {
		if ofport == phy.Int {
			return true
		}
	}
	return false
}

func comparePorts(x, y model.PortID) int { return x.Compare(y.UUID) }

func compareTunnels(x, y Tunnel) int {
	return cmp.Or(cmp.Compare(x.Type, y.Type), x.Remote.Compare(y.Remote))
}

// isUnicast reports whether a MAC can be a port's.
func isUnicast(m model.MAC) bool { return !m.IsZero() && !m.IsMulticast() }
