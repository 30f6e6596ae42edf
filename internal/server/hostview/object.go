package hostview

import (
	"net/netip"

	"weft/internal/model"
	"weft/internal/server/store"
)

// local reports whether a port is to be wired by a host: the one that it is bound to, or every one
// that serves the router whose leg it is.
func local(s *store.Snapshot, p *model.Port, host string) bool {
	if p == nil {
		return false
	}
	if r, ok := p.RouterOf(); ok {
		return serves(s.Router(r), host)
	}
	return p.Binding.HostID == host && p.Binding.VIFType == model.VIFOVS
}

// portView is a port as the host that wires it sees it.
func portView(p *model.Port) *model.PortView {
	v := &model.PortView{
		ID: p.ID, NetworkID: p.NetworkID, Revision: p.SpecRevision, MAC: p.MAC, FixedIPs: p.FixedIPs,
		AdminStateUp: p.AdminStateUp, DeviceOwner: p.DeviceOwner, DeviceID: p.DeviceID, PortSecurity: p.PortSecurity,
		AddressPairs: p.AddressPairs, DHCPOptions: p.DHCPOptions, DNSName: p.DNSName, Firewall: p.Binding.Firewall,
		ProjectID: p.ProjectID, DNSDomain: p.DNSDomain, Instance: p.Instance(),
	}
	if p.PortSecurity {
		v.SecurityGroups = p.SecurityGroups
	}
	return v
}

// segmentOn picks the segment of a network that a host can reach: the first
// tunnel, or the first whose physical network the host has a bridge for.
func segmentOn(n *model.Network, h *model.Host) (model.Segment, bool) {
	for _, s := range n.Segments {
		switch {
		case s.Type.IsTunnel(), s.Type == model.TypeLocal:
			return s, true
		case h != nil && h.Mappings[s.Physical] != "":
			return s, true
		}
	}
	return model.Segment{}, false
}

// networkView is a network as the host sees it, nil when the host cannot reach it.
func networkView(s *store.Snapshot, id model.NetworkID, host string) *model.NetworkView {
	n := s.Network(id)
	if n == nil {
		return nil
	}
	segment, ok := segmentOn(n, s.Host(host))
	if !ok {
		return nil
	}
	v := &model.NetworkView{ID: id, Revision: n.Revision, AdminStateUp: n.AdminStateUp, MTU: n.MTU, Segment: segment, DNSDomain: n.DNSDomain}
	for sub := range s.SubnetsByNetwork(id) {
		v.Subnets = append(v.Subnets, model.SubnetView{
			ID: sub.ID, CIDR: sub.CIDR, Gateway: sub.Gateway, EnableDHCP: sub.EnableDHCP, DNS: sub.DNS,
			Routes: sub.Routes, RAMode: sub.RAMode, AddressMode: sub.AddressMode,
		})
	}
	if d := dhcpPort(s, id); d != nil {
		v.DHCPMAC = d.MAC
		for _, f := range d.FixedIPs {
			v.DHCPAddrs = append(v.DHCPAddrs, f.Addr)
		}
	}
	return v
}

func dhcpPort(s *store.Snapshot, id model.NetworkID) *model.Port {
	for p := range s.PortsByDevice(model.DHCPDeviceID(id)) {
		if p.NetworkID == id && p.IsDHCPService() {
			return p
		}
	}
	return nil
}

// peerView is a port elsewhere as the host sees it; nil when it is not elsewhere. On a network that needs
// no tunnel to reach it, hosts need to know only the ports that have a DNS name. Legs of routers are none: RouterView
// tells where they are.
func peerView(s *store.Snapshot, id model.PortID, host string) *model.PeerView {
	p := s.Port(id)
	if p == nil || p.IsRouterPort() || !p.AdminStateUp || p.Binding.HostID == "" || p.Binding.HostID == host || p.Binding.VIFType != model.VIFOVS {
		return nil
	}
	n := s.Network(p.NetworkID)
	if n == nil {
		return nil
	}
	segment, ok := segmentOn(n, s.Host(host))
	if !ok {
		return nil
	}
	v := &model.PeerView{PortID: id, NetworkID: p.NetworkID, MAC: p.MAC, DNSName: p.DNSName, DNSDomain: p.DNSDomain}
	if segment.Type.IsTunnel() {
		h := s.Host(p.Binding.HostID)
		if h == nil || !h.TunnelAddr.IsValid() {
			return nil
		}
		v.Tunnel = h.TunnelAddr
	} else if p.DNSName == "" {
		return nil
	}
	for _, f := range p.FixedIPs {
		v.Addrs = append(v.Addrs, f.Addr)
	}
	return v
}

// groupView is a security group with its rules.
func groupView(s *store.Snapshot, id model.SecurityGroupID) *model.GroupView {
	g := s.SecurityGroup(id)
	if g == nil {
		return nil
	}
	v := &model.GroupView{ID: id, Revision: g.Revision, Stateful: g.Stateful}
	for r := range s.SecurityGroupRulesByGroup(id) {
		rv := model.RuleView{
			ID: r.ID, Direction: r.Direction, EtherType: r.EtherType, Protocol: r.IPProtocol, PortMin: -1, PortMax: -1,
			RemotePrefix: r.RemotePrefix, RemoteGroup: r.RemoteGroup, RemoteAddressGroup: r.RemoteAddressGroup,
		}
		if r.PortMin != nil {
			rv.PortMin = *r.PortMin
		}
		if r.PortMax != nil {
			rv.PortMax = *r.PortMax
		}
		v.Rules = append(v.Rules, rv)
	}
	return v
}

// memberView is what a port brings into the set of a security group it is in.
func memberView(s *store.Snapshot, key model.MemberKey) *model.MemberView {
	p := s.Port(model.PortID{UUID: key.Port})
	if p == nil || !inGroup(p, model.SecurityGroupID{UUID: key.Set}) {
		return nil
	}
	v := &model.MemberView{Key: key}
	for _, f := range p.FixedIPs {
		v.Prefixes = append(v.Prefixes, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
	}
	for _, a := range p.AddressPairs {
		v.Prefixes = append(v.Prefixes, a.Prefix)
	}
	return v
}

func inGroup(p *model.Port, id model.SecurityGroupID) bool {
	if !p.PortSecurity {
		return false
	}
	for _, g := range p.SecurityGroups {
		if g == id {
			return true
		}
	}
	return false
}
