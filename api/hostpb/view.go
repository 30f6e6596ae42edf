package hostpb

import (
	"fmt"
	"net/netip"

	"weft/internal/model"
)

// FromObjects turns the objects of a message into a delta without revisions. An object
// that cannot be read is left out and named in the error list, so that one bad
// object costs only itself.
func FromObjects(o *Objects) (*model.ViewDelta, []error) {
	d := &model.ViewDelta{}
	r := &reader{}
	for _, n := range o.GetNetworks() {
		if v := r.network(n); r.good("network", n.GetId()) {
			d.Networks = append(d.Networks, v)
		}
	}
	for _, p := range o.GetPorts() {
		if v := r.port(p); r.good("port", p.GetId()) {
			d.Ports = append(d.Ports, v)
		}
	}
	for _, p := range o.GetPeers() {
		if v := r.peer(p); r.good("peer", p.GetPortId()) {
			d.Peers = append(d.Peers, v)
		}
	}
	for _, g := range o.GetGroups() {
		v := r.group(g)
		if r.good("security group", g.GetId()) {
			d.Groups = append(d.Groups, v)
		}
	}
	for _, m := range o.GetMembers() {
		if v := r.member(m); r.good("member", m.GetPort()) {
			d.Members = append(d.Members, v)
		}
	}
	for _, m := range o.GetRouters() {
		if v := r.router(m); r.good("router", m.GetId()) {
			d.Routers = append(d.Routers, v)
		}
	}
	for _, m := range o.GetFloating() {
		if v := r.floating(m); r.good("floating IP", m.GetId()) {
			d.Floating = append(d.Floating, v)
		}
	}
	return d, r.problems
}

// FromDelta turns a message into a delta, see FromObjects.
func FromDelta(m *Delta) (*model.ViewDelta, []error) {
	d, problems := FromObjects(m.GetUpserts())
	d.From, d.To = m.GetFrom(), m.GetTo()
	r := &reader{problems: problems}
	for _, k := range m.GetDeletes() {
		key := model.ObjectKey{Kind: model.ObjectKind(k.GetKind()), ID: r.id(k.GetId()), Sub: r.optionalID(k.GetSub())}
		if r.good("deleted object", k.GetId()) {
			d.Deletes = append(d.Deletes, key)
		}
	}
	return d, r.problems
}

// ToObjects turns the upserts of a delta into a message.
func ToObjects(d *model.ViewDelta) *Objects {
	o := &Objects{}
	for _, n := range d.Networks {
		o.Networks = append(o.Networks, toNetwork(n))
	}
	for _, p := range d.Ports {
		o.Ports = append(o.Ports, toPort(p))
	}
	for _, p := range d.Peers {
		o.Peers = append(o.Peers, &Peer{PortId: p.PortID.UUID[:], NetworkId: p.NetworkID.UUID[:], Mac: toMAC(p.MAC), Addrs: toAddrs(p.Addrs), Tunnel: toAddr(p.Tunnel), DnsName: p.DNSName, DnsDomain: p.DNSDomain})
	}
	for _, g := range d.Groups {
		o.Groups = append(o.Groups, toGroup(g))
	}
	for _, m := range d.Members {
		o.Members = append(o.Members, &Member{Set: m.Key.Set[:], Port: m.Key.Port[:], Prefixes: toPrefixes(m.Prefixes)})
	}
	for _, r := range d.Routers {
		o.Routers = append(o.Routers, toRouter(r))
	}
	for _, f := range d.Floating {
		o.Floating = append(o.Floating, toFloating(f))
	}
	return o
}

// ToDelta turns a delta into a message.
func ToDelta(d *model.ViewDelta) *Delta {
	m := &Delta{From: d.From, To: d.To, Upserts: ToObjects(d)}
	for _, k := range d.Deletes {
		pk := &Key{Kind: uint32(k.Kind), Id: k.ID[:]}
		if !k.Sub.IsZero() {
			pk.Sub = k.Sub[:]
		}
		m.Deletes = append(m.Deletes, pk)
	}
	return m
}

func toNetwork(n *model.NetworkView) *Network {
	m := &Network{
		Id: n.ID.UUID[:], Revision: n.Revision, AdminStateUp: n.AdminStateUp, Mtu: uint32(n.MTU),
		Segment: &Segment{Type: string(n.Segment.Type), Physical: n.Segment.Physical, Tag: n.Segment.Tag},
		DhcpMac: toMAC(n.DHCPMAC), DhcpAddrs: toAddrs(n.DHCPAddrs), DnsDomain: n.DNSDomain,
	}
	if !n.Segment.ID.IsZero() {
		m.Segment.Id = n.Segment.ID.UUID[:]
	}
	for i := range n.Subnets {
		s := &n.Subnets[i]
		ps := &Subnet{
			Id: s.ID.UUID[:], Cidr: toPrefix(s.CIDR), Gateway: toAddr(s.Gateway), EnableDhcp: s.EnableDHCP,
			Dns: toAddrs(s.DNS), RaMode: string(s.RAMode), AddressMode: string(s.AddressMode), Routes: toRoutes(s.Routes),
		}
		m.Subnets = append(m.Subnets, ps)
	}
	return m
}

func toPort(p *model.PortView) *Port {
	m := &Port{
		Id: p.ID.UUID[:], NetworkId: p.NetworkID.UUID[:], Revision: p.Revision, Mac: toMAC(p.MAC), AdminStateUp: p.AdminStateUp,
		DeviceOwner: p.DeviceOwner, DeviceId: p.DeviceID, PortSecurity: p.PortSecurity, DnsName: p.DNSName, Firewall: p.Firewall,
		ProjectId: p.ProjectID, DnsDomain: p.DNSDomain,
	}
	if i := &p.Instance; !i.IsZero() {
		m.Instance = &Instance{Hostname: i.Hostname, SshKeys: i.SSHKeys, UserData: i.UserData}
	}
	for _, f := range p.FixedIPs {
		m.FixedIps = append(m.FixedIps, &FixedIP{SubnetId: f.SubnetID.UUID[:], Addr: toAddr(f.Addr)})
	}
	for _, g := range p.SecurityGroups {
		m.SecurityGroups = append(m.SecurityGroups, g.UUID[:])
	}
	for _, a := range p.AddressPairs {
		m.AddressPairs = append(m.AddressPairs, &AddressPair{Prefix: toPrefix(a.Prefix), Mac: toMAC(a.MAC)})
	}
	for _, o := range p.DHCPOptions {
		m.DhcpOptions = append(m.DhcpOptions, &DHCPOption{Name: o.Name, Value: o.Value, IpVersion: uint32(o.IPVersion)})
	}
	return m
}

func toGroup(g *model.GroupView) *Group {
	m := &Group{Id: g.ID.UUID[:], Revision: g.Revision, Stateful: g.Stateful}
	for i := range g.Rules {
		r := &g.Rules[i]
		pr := &Rule{
			Id: r.ID.UUID[:], Egress: r.Direction == model.Egress, Ipv6: r.EtherType == model.IPv6,
			Protocol: int32(r.Protocol), PortMin: int32(r.PortMin), PortMax: int32(r.PortMax),
		}
		if r.RemotePrefix.IsValid() {
			pr.RemotePrefix = toPrefix(r.RemotePrefix)
		}
		if !r.RemoteGroup.IsZero() {
			pr.RemoteGroup = r.RemoteGroup.UUID[:]
		}
		if !r.RemoteAddressGroup.IsZero() {
			pr.RemoteAddressGroup = r.RemoteAddressGroup.UUID[:]
		}
		m.Rules = append(m.Rules, pr)
	}
	return m
}

func toMAC(m model.MAC) []byte {
	if m.IsZero() {
		return nil
	}
	return m[:]
}

func toAddr(a netip.Addr) []byte { return a.AsSlice() }

func toAddrs(as []netip.Addr) (out [][]byte) {
	for _, a := range as {
		out = append(out, a.AsSlice())
	}
	return out
}

func toPrefix(p netip.Prefix) *Prefix {
	return &Prefix{Addr: p.Addr().AsSlice(), Bits: uint32(p.Bits())}
}

func toRoutes(rs []model.Route) (out []*Route) {
	for _, r := range rs {
		out = append(out, &Route{Destination: toPrefix(r.Destination), Nexthop: toAddr(r.NextHop)})
	}
	return out
}

func toPrefixes(ps []netip.Prefix) (out []*Prefix) {
	for _, p := range ps {
		out = append(out, toPrefix(p))
	}
	return out
}

// reader remembers the first thing wrong with the object that is being read.
type reader struct {
	err      error
	problems []error
}

// good ends an object: it reports whether the object was well formed, and files
// the problem under the object's name if not.
func (r *reader) good(kind string, id []byte) bool {
	if r.err == nil {
		return true
	}
	r.problems = append(r.problems, fmt.Errorf("%s %x: %w", kind, id, r.err))
	r.err = nil
	return false
}

func (r *reader) bad(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) id(b []byte) (u model.UUID) {
	if copy(u[:], b) != 16 || len(b) != 16 || u.IsZero() {
		r.bad("id of %d bytes", len(b))
	}
	return u
}

func (r *reader) optionalID(b []byte) model.UUID {
	if len(b) == 0 {
		return model.UUID{}
	}
	return r.id(b)
}

func (r *reader) mac(b []byte) (m model.MAC) {
	if len(b) != 0 && len(b) != 6 {
		r.bad("MAC address of %d bytes", len(b))
	}
	copy(m[:], b)
	return m
}

func (r *reader) addr(b []byte) netip.Addr {
	if len(b) == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		r.bad("address of %d bytes", len(b))
	}
	return a
}

func (r *reader) addrs(bs [][]byte) (out []netip.Addr) {
	for _, b := range bs {
		out = append(out, r.addr(b))
	}
	return out
}

func (r *reader) prefix(p *Prefix) netip.Prefix {
	a := r.addr(p.GetAddr())
	v := netip.PrefixFrom(a, int(p.GetBits()))
	if !v.IsValid() {
		r.bad("prefix %s/%d", a, p.GetBits())
	}
	return v
}

func (r *reader) routes(rs []*Route) (out []model.Route) {
	for _, rt := range rs {
		out = append(out, model.Route{Destination: r.prefix(rt.GetDestination()), NextHop: r.addr(rt.GetNexthop())})
	}
	return out
}

func (r *reader) network(n *Network) *model.NetworkView {
	v := &model.NetworkView{
		ID: model.NetworkID{UUID: r.id(n.GetId())}, Revision: n.GetRevision(), AdminStateUp: n.GetAdminStateUp(), MTU: int(n.GetMtu()),
		Segment: model.Segment{
			ID: model.SegmentID{UUID: r.optionalID(n.GetSegment().GetId())}, Type: model.NetworkType(n.GetSegment().GetType()),
			Physical: n.GetSegment().GetPhysical(), Tag: n.GetSegment().GetTag(),
		},
		DHCPMAC: r.mac(n.GetDhcpMac()), DHCPAddrs: r.addrs(n.GetDhcpAddrs()), DNSDomain: n.GetDnsDomain(),
	}
	for _, s := range n.GetSubnets() {
		sv := model.SubnetView{
			ID: model.SubnetID{UUID: r.id(s.GetId())}, CIDR: r.prefix(s.GetCidr()), Gateway: r.addr(s.GetGateway()), EnableDHCP: s.GetEnableDhcp(),
			DNS: r.addrs(s.GetDns()), RAMode: model.IPv6Mode(s.GetRaMode()), AddressMode: model.IPv6Mode(s.GetAddressMode()), Routes: r.routes(s.GetRoutes()),
		}
		v.Subnets = append(v.Subnets, sv)
	}
	return v
}

func (r *reader) port(p *Port) *model.PortView {
	v := &model.PortView{
		ID: model.PortID{UUID: r.id(p.GetId())}, NetworkID: model.NetworkID{UUID: r.id(p.GetNetworkId())}, Revision: p.GetRevision(),
		MAC: r.mac(p.GetMac()), AdminStateUp: p.GetAdminStateUp(), DeviceOwner: p.GetDeviceOwner(), DeviceID: p.GetDeviceId(),
		PortSecurity: p.GetPortSecurity(), DNSName: p.GetDnsName(), Firewall: p.GetFirewall(),
		ProjectID: p.GetProjectId(), DNSDomain: p.GetDnsDomain(),
		Instance: model.Instance{Hostname: p.GetInstance().GetHostname(), SSHKeys: p.GetInstance().GetSshKeys(), UserData: p.GetInstance().GetUserData()},
	}
	if v.MAC.IsZero() {
		r.bad("no MAC address")
	}
	for _, f := range p.GetFixedIps() {
		v.FixedIPs = append(v.FixedIPs, model.FixedIP{SubnetID: model.SubnetID{UUID: r.id(f.GetSubnetId())}, Addr: r.addr(f.GetAddr())})
	}
	for _, g := range p.GetSecurityGroups() {
		v.SecurityGroups = append(v.SecurityGroups, model.SecurityGroupID{UUID: r.id(g)})
	}
	for _, a := range p.GetAddressPairs() {
		v.AddressPairs = append(v.AddressPairs, model.AddressPair{Prefix: r.prefix(a.GetPrefix()), MAC: r.mac(a.GetMac())})
	}
	for _, o := range p.GetDhcpOptions() {
		v.DHCPOptions = append(v.DHCPOptions, model.DHCPOption{Name: o.GetName(), Value: o.GetValue(), IPVersion: int(o.GetIpVersion())})
	}
	return v
}

func (r *reader) peer(p *Peer) *model.PeerView {
	return &model.PeerView{
		PortID: model.PortID{UUID: r.id(p.GetPortId())}, NetworkID: model.NetworkID{UUID: r.id(p.GetNetworkId())},
		MAC: r.mac(p.GetMac()), Addrs: r.addrs(p.GetAddrs()), Tunnel: r.addr(p.GetTunnel()),
		DNSName: p.GetDnsName(), DNSDomain: p.GetDnsDomain(),
	}
}

func (r *reader) group(g *Group) *model.GroupView {
	v := &model.GroupView{ID: model.SecurityGroupID{UUID: r.id(g.GetId())}, Revision: g.GetRevision(), Stateful: g.GetStateful()}
	if r.err != nil {
		return v
	}
	// A rule that cannot be read is left out by itself: rules only allow, so the
	// group gets narrower by it, never wider.
	for _, rule := range g.GetRules() {
		rv := model.RuleView{
			ID: model.SecurityGroupRuleID{UUID: r.id(rule.GetId())}, Direction: model.Ingress, EtherType: model.IPv4,
			Protocol: int(rule.GetProtocol()), PortMin: int(rule.GetPortMin()), PortMax: int(rule.GetPortMax()),
			RemoteGroup:        model.SecurityGroupID{UUID: r.optionalID(rule.GetRemoteGroup())},
			RemoteAddressGroup: model.AddressGroupID{UUID: r.optionalID(rule.GetRemoteAddressGroup())},
		}
		if rule.GetEgress() {
			rv.Direction = model.Egress
		}
		if rule.GetIpv6() {
			rv.EtherType = model.IPv6
		}
		if rule.RemotePrefix != nil {
			rv.RemotePrefix = r.prefix(rule.GetRemotePrefix())
		}
		if r.good("security group rule", rule.GetId()) {
			v.Rules = append(v.Rules, rv)
		}
	}
	return v
}

func (r *reader) member(m *Member) *model.MemberView {
	v := &model.MemberView{Key: model.MemberKey{Set: r.id(m.GetSet()), Port: r.id(m.GetPort())}}
	for _, p := range m.GetPrefixes() {
		v.Prefixes = append(v.Prefixes, r.prefix(p))
	}
	return v
}

// ToReports turns reports into a message.
func ToReports(in []model.Report) *Reports {
	out := &Reports{}
	for i := range in {
		r := &in[i]
		state := State_STATE_UNSPECIFIED
		switch r.State {
		case model.ReportActive:
			state = State_STATE_ACTIVE
		case model.ReportWaiting:
			state = State_STATE_WAITING
		case model.ReportFailed:
			state = State_STATE_FAILED
		case model.ReportStandby:
			state = State_STATE_STANDBY
		}
		out.Reports = append(out.Reports, &Report{PortId: r.PortID.UUID[:], Revision: r.Revision, State: state, Error: r.Error})
	}
	return out
}

// FromReports reads reports; what is malformed is left out.
func FromReports(m *Reports) []model.Report {
	var out []model.Report
	for _, p := range m.GetReports() {
		r := &reader{}
		v := model.Report{PortID: model.PortID{UUID: r.id(p.GetPortId())}, Revision: p.GetRevision(), Error: p.GetError()}
		switch p.GetState() {
		case State_STATE_ACTIVE:
			v.State = model.ReportActive
		case State_STATE_WAITING:
			v.State = model.ReportWaiting
		case State_STATE_FAILED:
			v.State = model.ReportFailed
		case State_STATE_STANDBY:
			v.State = model.ReportStandby
		default:
			r.bad("state %d", p.GetState())
		}
		if r.err == nil {
			out = append(out, v)
		}
	}
	return out
}
