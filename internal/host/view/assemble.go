package view

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/host/firewall"
	"weft/internal/host/hoststate"
	"weft/internal/host/iptables/table"
	"weft/internal/host/ovs/vsw"
	"weft/internal/host/standin"
	"weft/internal/model"
)

// assemble joins what was read into the host. It is pure.
func assemble(f *facts) *Host {
	h := &Host{
		Name: f.host, CollectedAt: f.at, OVSVersion: f.state.Root.OVSVersion, Revision: f.view.Revision, Sets: f.sets, Problems: f.problems,
		Int: f.bridge(hoststate.BrInt), Tun: f.bridge(hoststate.BrTun),
		PatchTun: f.switchDevice(hoststate.PatchTun, RolePatch), PatchInt: f.switchDevice(hoststate.PatchInt, RolePatch),
	}
	// Which tunnels the switch has had long enough to judge cannot be seen: all of them.
	f.reach.Update(f.state, f.at.Add(-time.Minute))
	f.reach.Update(f.state, f.at)
	countFlows(&h.Int, f.intFlows)
	countFlows(&h.Tun, f.tunFlows)
	h.Services, h.Distributed = f.services(), f.distributed()
	f.ports(h)
	f.uplinks(h)
	f.tunnels(h)
	f.networks(h)
	if f.filter != nil {
		h.Cut = f.filter.cut()
	}
	f.nameSets(h)
	return h
}

func (f *facts) bridge(name string) Bridge {
	out := Bridge{Name: name}
	if b := f.state.Bridge(name); b != nil {
		out.Present, out.FailMode, out.Datapath = true, b.FailMode, b.DatapathType
	}
	return out
}

// switchDevice is a port of the switch, with the switch's own counters.
func (f *facts) switchDevice(name string, role Role) Device {
	d := Device{Name: name, Role: role}
	i := f.state.Interface(name)
	if i == nil {
		return d
	}
	s := func(key string) uint64 { return uint64(max(i.Statistics[key], 0)) }
	d.Present, d.Up, d.OFPort, d.MTU, d.Error = true, i.LinkState != "down", i.OFPort, i.MTU, i.Error
	d.Rx, d.Tx = Count{s("rx_packets"), s("rx_bytes")}, Count{s("tx_packets"), s("tx_bytes")}
	d.Dropped = s("rx_dropped") + s("tx_dropped")
	if c, ok := f.counters[name]; ok { // the database's are seconds old
		d.Rx, d.Tx, d.Dropped = Count{c.RxPackets, c.RxBytes}, Count{c.TxPackets, c.TxBytes}, c.RxDropped+c.TxDropped
	}
	return d
}

// hostDevice is a device of the host. One that is on the switch too has its number and error from there, and its
// counters, which are more recent, from the kernel.
func (f *facts) hostDevice(name string, role Role) Device {
	d := f.switchDevice(name, role)
	l, ok := f.links[name]
	if f.links == nil {
		return d
	}
	d.Present = ok
	if ok {
		d.Up, d.MTU = l.Up, l.MTU
		d.Rx, d.Tx, d.Dropped = Count{l.RxPackets, l.RxBytes}, Count{l.TxPackets, l.TxBytes}, l.RxDropped+l.TxDropped
	}
	return d
}

// ports lists the ports that are bound to the host, and those that are plugged in without being so.
func (f *facts) ports(h *Host) {
	vlans := hoststate.NewVLANs()
	hoststate.RecoverVLANs(vlans, f.state)
	joined := hoststate.Join(hoststate.Config{Reach: f.reach}, false, f.view, f.state, vlans)
	f.addRouters(h, joined)
	known := map[string]bool{}
	for i := range h.Routers {
		for _, l := range h.Routers[i].Legs {
			known[l.Name] = true
		}
	}
	for i := range joined.Ports {
		if joined.Ports[i].Leg {
			continue
		}
		p := f.port(&joined.Ports[i])
		h.Ports = append(h.Ports, p)
		known[p.Devices[len(p.Devices)-1].Name] = true
	}
	br := f.state.Bridge(hoststate.BrInt)
	if br == nil {
		return
	}
	for _, name := range br.Ports {
		i := f.state.Interface(name)
		if i == nil || name == hoststate.BrInt || i.Type == "patch" || name == standin.Device || known[name] {
			continue
		}
		id, err := model.ParseUUID(i.ExternalIDs["iface-id"])
		if err != nil {
			h.Others = append(h.Others, f.hostDevice(name, RoleOther))
			continue
		}
		h.Ports = append(h.Ports, f.stranger(model.PortID{UUID: id}, i))
	}
	slices.SortStableFunc(h.Ports, func(a, b Port) int { return strings.Compare(a.ID, b.ID) })
}

// port is a port of the view, joined with its device.
func (f *facts) port(st *hoststate.State) Port {
	v := st.Port
	p := Port{
		ID: v.ID.String(), MAC: v.MAC.String(), Owner: v.DeviceOwner, VMUUID: v.DeviceID, VMName: v.DNSName,
		NetworkID: v.NetworkID.String(), Filtered: v.PortSecurity, Mode: Hybrid,
	}
	for _, ip := range v.FixedIPs {
		p.Addrs = append(p.Addrs, ip.Addr)
	}
	if v.Firewall != model.FirewallHybrid {
		p.Mode = Direct
	}
	f.plug(&p, v.ID, st.Interface)
	switch {
	case st.Problem != "":
		p.State, p.Reason = Failed, st.Problem
	case st.Interface == nil:
		p.State, p.Reason = Waiting, "not plugged in: no port of br-int bears its id (external_ids:iface-id)"
	case !v.AdminStateUp:
		p.State, p.Reason = Waiting, "administratively down: it passes nothing"
	default:
		f.judge(&p)
	}
	return p
}

// stranger is a port that is plugged in but not in the view.
func (f *facts) stranger(id model.PortID, i *vsw.Interface) Port {
	p := Port{ID: id.String(), MAC: i.ExternalIDs["attached-mac"], Mode: Hybrid}
	f.plug(&p, id, i)
	p.State, p.Reason = Waiting, "plugged in, but the agent has not been told that it is bound to this host"
	if i.OFPort < 0 {
		p.State, p.Reason = Failed, "Open vSwitch cannot use "+i.Name+": "+i.Error
	}
	return p
}

// plug adds what the host has of a port: devices, tag, guest, chains and flows.
func (f *facts) plug(p *Port, id model.PortID, i *vsw.Interface) {
	suffix := id.DeviceSuffix()
	last := "qvo" + suffix
	if i != nil {
		last = i.Name
	}
	switch {
	case strings.HasPrefix(last, "qvo"):
		p.Mode = Hybrid
		p.Devices = []Device{
			f.hostDevice("tap"+suffix, RoleTAP), f.hostDevice("qbr"+suffix, RoleBridge), f.hostDevice("qvb"+suffix, RoleVethIn), f.hostDevice(last, RoleVethOut),
		}
	case strings.HasPrefix(last, "tap"):
		p.Mode = Direct
		p.Devices = []Device{f.hostDevice(last, RoleTAP)}
	default:
		p.Mode = Direct
		p.Devices = []Device{f.hostDevice(last, RoleInternal)}
	}
	if i != nil {
		if uuid := i.ExternalIDs["vm-uuid"]; uuid != "" {
			p.VMUUID = uuid
		}
		if port := f.state.Port(i.Name); port != nil && port.Tag != nil {
			p.VLAN = *port.Tag
		}
	}
	if tap, ok := f.links["tap"+suffix]; ok {
		if mac, err := model.ParseMAC(p.MAC); err == nil && f.guests[guestKey(mac, tap.Index)] != "" {
			p.VMName = f.guests[guestKey(mac, tap.Index)]
		}
	}
	f.portFlows(p, suffix)
	if p.Mode == Direct && i != nil && i.OFPort > 0 {
		f.filterFlows(p, i.OFPort)
	}
	if f.filter == nil || p.Mode == Direct {
		return
	}
	for _, c := range []struct{ letter, kind string }{{"i", Ingress}, {"o", Egress}, {"s", Spoofing}} {
		chain := f.filter.chain(chainPrefix+c.letter+id.ChainSuffix(), c.kind)
		if chain == nil {
			continue
		}
		p.Chains = append(p.Chains, *chain)
		for _, r := range chain.Rules {
			if set := lookedInto(r.Text); set != "" && !slices.Contains(p.SetNames, set) {
				p.SetNames = append(p.SetNames, set)
			}
		}
	}
	slices.Sort(p.SetNames)
}

// judge tells whether a port that is plugged in as it should be works.
func (f *facts) judge(p *Port) {
	onSwitch := p.Devices[len(p.Devices)-1]
	p.State = Active
	fail := func(why string) {
		if p.State == Active {
			p.State, p.Reason = Failed, why
		}
	}
	wait := func(why string) {
		if p.State == Active {
			p.State, p.Reason = Waiting, why
		}
	}
	if f.links != nil {
		for _, d := range p.Devices {
			switch {
			case d.Role == RoleInternal:
				// It may be in a namespace of a router.
			case !d.Present:
				fail(d.Name + " is not there")
			case !d.Up:
				fail(d.Name + " is down")
			}
		}
		if p.Mode == Hybrid {
			bridge := f.links[p.Devices[1].Name]
			for _, d := range []Device{p.Devices[0], p.Devices[2]} {
				if l := f.links[d.Name]; l.Index != 0 && l.Master != bridge.Index {
					fail(d.Name + " is not in the bridge " + bridge.Name)
				}
			}
		}
	}
	if onSwitch.OFPort == 0 {
		wait("Open vSwitch has not given " + onSwitch.Name + " a port number yet")
	}
	if p.VLAN == 0 {
		wait("the agent has not given its port on br-int a VLAN id yet")
	}
	if f.intFlows != nil && p.Flows == 0 {
		wait("br-int has no flows for it yet")
	}
	if p.Mode == Direct && p.Filtered && f.intFlows != nil && !slices.ContainsFunc(p.Chains, func(c Chain) bool { return c.Kind == Spoofing }) {
		wait("br-int has no flows that filter it yet")
	}
	if p.Mode == Hybrid && p.Filtered && f.filter != nil && len(p.Chains) < 3 {
		fail("its iptables chains are not in force")
	}
	if tap := f.links[p.Devices[0].Name]; p.State == Active && p.Devices[0].Role == RoleTAP && tap.Index != 0 && !tap.Carrier {
		p.Reason = "no hypervisor has " + tap.Name + " open: the VM does not run"
	}
}

// uplinks lists the ways from br-int to physical networks.
func (f *facts) uplinks(h *Host) {
	br := f.state.Bridge(hoststate.BrInt)
	if br == nil {
		return
	}
	for _, name := range br.Ports {
		i := f.state.Interface(name)
		if i == nil || i.Type != "patch" || name == hoststate.PatchTun {
			continue
		}
		peer := i.Options["peer"]
		p := Physical{Int: f.switchDevice(name, RolePatch), Phy: f.switchDevice(peer, RolePatch)}
		if _, ok := f.counters[name]; ok { // the bridge behind is not Weft's to ask: what one end sends, the other receives
			p.Phy.Rx, p.Phy.Tx = p.Int.Tx, p.Int.Rx
		}
		if port := f.state.Port(peer); port != nil {
			p.Bridge = port.Bridge
		}
		if b := f.state.Bridge(p.Bridge); b != nil {
			for _, other := range b.Ports {
				if other != peer && other != p.Bridge {
					p.Others = append(p.Others, f.hostDevice(other, RoleUplink))
				}
			}
		}
		h.Physicals = append(h.Physicals, p)
	}
}

// tunnels lists the ways to other hosts.
func (f *facts) tunnels(h *Host) {
	br := f.state.Bridge(hoststate.BrTun)
	if br == nil {
		return
	}
	peers := map[netip.Addr]int{}
	for _, p := range f.view.Peers {
		peers[p.Tunnel]++
	}
	served := map[netip.Addr]int{}
	for _, r := range f.view.Routers {
		for _, g := range r.Gateways {
			if r.AdminStateUp && g.Host != f.host {
				served[g.Tunnel]++
			}
		}
	}
	for _, name := range br.Ports {
		i := f.state.Interface(name)
		if i == nil || !hoststate.IsTunnel(name) {
			continue
		}
		t := Tunnel{Device: f.switchDevice(name, RoleTunnel), Type: i.Type}
		// An address that cannot be read stays unset.
		t.Local, _ = netip.ParseAddr(i.Options["local_ip"])
		t.Remote, _ = netip.ParseAddr(i.Options["remote_ip"])
		t.Peers, t.Routers = peers[t.Remote], served[t.Remote]
		if st := i.BFDStatus; len(st) > 0 {
			t.BFD = &BFD{State: st["state"], Forwarding: st["forwarding"] == "true", Diagnostic: st["diagnostic"], Flaps: st["flap_count"]}
		}
		if !h.TunnelAddr.IsValid() {
			h.TunnelAddr = t.Local
		}
		h.Tunnels = append(h.Tunnels, t)
	}
	slices.SortStableFunc(h.Tunnels, func(a, b Tunnel) int {
		return cmp.Or(a.Remote.Compare(b.Remote), strings.Compare(a.Name, b.Name))
	})
}

// networks lists the networks of the view and of the ports' tags.
func (f *facts) networks(h *Host) {
	byID := map[string]*Network{}
	for id, v := range f.view.Networks {
		n := &Network{ID: id.String(), Type: string(v.Segment.Type), Segmentation: v.Segment.Tag, Physical: v.Segment.Physical, MTU: v.MTU}
		for _, s := range v.Subnets {
			n.Subnets = append(n.Subnets, s.CIDR)
		}
		byID[n.ID] = n
	}
	for i := range h.Ports {
		p := &h.Ports[i]
		onSwitch := p.Devices[len(p.Devices)-1].Name
		if port := f.state.Port(onSwitch); port != nil && p.VLAN > 0 && byID[p.NetworkID] == nil && port.OtherConfig["net_uuid"] != "" {
			// Of a port that is no longer bound the switch's database remembers the network.
			tag, _ := strconv.ParseUint(port.OtherConfig["segmentation_id"], 10, 32)
			p.NetworkID = port.OtherConfig["net_uuid"]
			byID[p.NetworkID] = &Network{
				ID: p.NetworkID, Type: port.OtherConfig["network_type"], Segmentation: uint32(tag), Physical: port.OtherConfig["physical_network"],
			}
		}
		if n := byID[p.NetworkID]; n != nil && p.VLAN > 0 {
			n.VLAN = p.VLAN
			n.Ports++
		}
	}
	for i := range h.Routers {
		for _, l := range h.Routers[i].Legs {
			if n := byID[l.NetworkID]; n != nil && l.VLAN > 0 {
				n.VLAN = l.VLAN
				n.Legs++
			}
		}
	}
	for _, p := range f.view.Peers {
		if n := byID[p.NetworkID.String()]; n != nil {
			n.Peers++
		}
	}
	for _, n := range byID {
		f.networkFlows(n)
		h.Networks = append(h.Networks, *n)
	}
	slices.SortFunc(h.Networks, func(a, b Network) int { return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), strings.Compare(a.ID, b.ID)) })
}

// nameSets finds the groups that the sets are of.
func (f *facts) nameSets(h *Host) {
	names := map[string]model.UUID{}
	add := func(id model.UUID) {
		names[firewall.SetName(id, table.IPv4)] = id
		names[firewall.SetName(id, table.IPv6)] = id
	}
	for id := range maps.Keys(f.view.Groups) {
		add(id.UUID)
	}
	for key := range maps.Keys(f.view.Members) {
		add(key.Set)
	}
	for i := range h.Sets {
		if id, ok := names[h.Sets[i].Name]; ok {
			h.Sets[i].Group = id.String()
		}
	}
}
