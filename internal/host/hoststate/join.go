package hoststate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/host/ovs/vsw"
	"weft/internal/host/pipeline"
	"weft/internal/host/standin"
	"weft/internal/model"
)

// The bridges and the patch ports between them, as on any Neutron host.
const (
	BrInt    = "br-int"
	BrTun    = "br-tun"
	PatchTun = "patch-tun" // on br-int
	PatchInt = "patch-int" // on br-tun
)

// zoneBase is added to a network's VLAN id to make its conntrack zone, so that
// zones of networks and of the host's own use stay apart.
const zoneBase = 4096

// Config is what the host's operator says.
type Config struct {
	TunnelAddr netip.Addr
	Datapath   string            // "system" or "netdev"
	Mappings   map[string]string // physical network -> bridge, which must exist
	Services   bool              // guests are answered by the host's services
	Reach      Reach             // what the host sees of others
}

// State is a port's device on the host, joined with the view.
type State struct {
	Port      *model.PortView
	Network   *model.NetworkView
	VLAN      uint16
	Interface *vsw.Interface // nil: the device is not there yet
	Leg       bool           // of a router: its device is ours to make, and nothing filters it
	Problem   string         // why it cannot be wired at all
}

// Zone is the kernel's conntrack zone of the port's network on this host. The
// switch's is the VLAN id itself.
func (s *State) Zone() uint16 { return zoneBase + s.VLAN }

// bridged reports whether the port is plugged in by a Linux bridge.
func (s *State) bridged() bool {
	return s.Interface != nil && strings.HasPrefix(s.Interface.Name, "qvo")
}

// ByIptables reports whether iptables filters the port: it is plugged in by a
// Linux bridge, or will be.
func (s *State) ByIptables() bool {
	return !s.Leg && (s.bridged() || s.Interface == nil && s.Port.Firewall == model.FirewallHybrid)
}

// BySwitch reports whether flows filter the port: its TAP is on the switch itself,
// or will be. A port that is moving from the one to the other is filtered twice,
// never not at all: by what its device can have, and by what its binding says.
func (s *State) BySwitch() bool {
	return !s.Leg && (s.Interface != nil && !s.bridged() || s.Port.Firewall == model.FirewallNative)
}

// OFPort is the OpenFlow number of the port's device, 0 while it has none.
func (s *State) OFPort() uint32 {
	if s.Interface == nil || s.Interface.OFPort <= 0 {
		return 0
	}
	return uint32(s.Interface.OFPort)
}

// Joined is a host's whole desired state.
type Joined struct {
	Ports    []State // in order of their ids
	Desired  vsw.Desired
	Pipeline pipeline.Input
	// Legs are those that routers have on the networks of the host, in order of their ports' ids.
	Legs map[model.NetworkID][]*model.LegView
	// Released are VLAN ids whose network has left the host: what the switch has learned with them must go
	// before another network uses them.
	Released []uint16
}

// RecoverVLANs reads the ids of networks from the ports that were wired before a restart.
func RecoverVLANs(v *VLANs, s *vsw.State) {
	b := s.Bridge(BrInt)
	if b == nil {
		return
	}
	for _, name := range b.Ports {
		p := s.Port(name)
		if p == nil || p.Tag == nil {
			continue
		}
		if id, err := model.ParseUUID(p.OtherConfig["net_uuid"]); err == nil {
			v.Recover(model.NetworkID{UUID: id}, uint16(*p.Tag))
		}
	}
}

// interfacesByPort finds the devices on br-int by the port id that whoever plugged them wrote.
// Two devices that claim one port contradict each other; the later name is passed over.
func interfacesByPort(s *vsw.State) map[model.PortID]*vsw.Interface {
	out := map[model.PortID]*vsw.Interface{}
	b := s.Bridge(BrInt)
	if b == nil {
		return out
	}
	for _, name := range b.Ports {
		i := s.Interface(name)
		if i == nil || i.ExternalIDs["iface-id"] == "" {
			continue
		}
		id, err := model.ParseUUID(i.ExternalIDs["iface-id"])
		if err != nil {
			continue
		}
		if _, twice := out[model.PortID{UUID: id}]; !twice {
			out[model.PortID{UUID: id}] = i
		}
	}
	return out
}

// Join computes what a host should have from the view and the switch's state.
func Join(cfg Config, l2pop bool, view *model.HostView, s *vsw.State, vlans *VLANs) *Joined {
	j := &Joined{Pipeline: pipeline.Input{
		L2Population: l2pop, Host: view.Host, Routers: map[model.RouterID]pipeline.Router{}, Networks: map[model.NetworkID]pipeline.Network{}, Ports: map[model.PortID]*model.PortView{}, Peers: view.Peers,
		Local: pipeline.Local{TunnelAddr: cfg.TunnelAddr, Ports: map[model.PortID]uint32{}, Filtered: map[model.PortID]bool{}, Tunnels: map[pipeline.Tunnel]uint32{}, Physical: map[string]pipeline.Physical{}, Watched: cfg.Reach.Watched},
	}}
	j.bridges(cfg, s)
	j.legs(view)
	devices := interfacesByPort(s)
	j.Released = vlans.Keep(func(n model.NetworkID) bool { return view.Networks[n] != nil })
	// In order, so that a host that starts anew numbers its networks the same way each time.
	for _, id := range slices.SortedFunc(maps.Keys(view.Networks), func(a, b model.NetworkID) int { return a.Compare(b.UUID) }) {
		if vlan, err := vlans.Assign(id); err == nil {
			j.Pipeline.Networks[id] = pipeline.Network{View: view.Networks[id], VLAN: vlan}
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(view.Ports), func(a, b model.PortID) int { return a.Compare(b.UUID) }) {
		if p := view.Ports[id]; p.IsRouterPort() && !servesLeg(view, p) {
			j.Ports = append(j.Ports, State{Port: p, Leg: true}) // of a router that is down: it has no device
			continue
		}
		j.port(view.Ports[id], devices[id])
	}
	for id, r := range view.Routers {
		j.Pipeline.Routers[id] = pipeline.Router{View: r, Active: r.ServedBy(view.Host) && cfg.Reach.answers(r, view.Host)}
	}
	j.served(view)
	j.atPorts(view, s)
	j.tunnels(cfg, view, s)
	return j
}

// legs finds the routers of the host's networks. One that is down has no legs.
func (j *Joined) legs(view *model.HostView) {
	j.Legs = map[model.NetworkID][]*model.LegView{}
	for _, r := range view.Routers {
		if !r.AdminStateUp {
			continue
		}
		for i := range r.Legs {
			l := &r.Legs[i]
			j.Legs[l.NetworkID] = append(j.Legs[l.NetworkID], l)
		}
	}
	for _, legs := range j.Legs {
		slices.SortFunc(legs, func(a, b *model.LegView) int { return a.PortID.Compare(b.PortID.UUID) })
	}
}

// bridges wants br-int, br-tun and the way between them and to physical networks.
func (j *Joined) bridges(cfg Config, s *vsw.State) {
	d := &j.Desired
	bridge := func(name string) {
		d.Bridges = append(d.Bridges, vsw.DesiredBridge{Name: name, FailMode: "secure", DatapathType: cfg.Datapath})
	}
	patch := func(on, name, peer string) {
		d.Ports = append(d.Ports, vsw.DesiredPort{Bridge: on, Name: name, Type: "patch", Options: map[string]string{"peer": peer}})
	}
	bridge(BrInt)
	if cfg.Services {
		d.Ports = append(d.Ports, vsw.DesiredPort{Bridge: BrInt, Name: standin.Device})
		j.Pipeline.Local.Services = ofport(s, standin.Device)
	}
	if cfg.TunnelAddr.IsValid() {
		bridge(BrTun)
		patch(BrInt, PatchTun, PatchInt)
		patch(BrTun, PatchInt, PatchTun)
		j.Pipeline.Local.PatchTun = ofport(s, PatchTun)
		j.Pipeline.Local.PatchInt = ofport(s, PatchInt)
	}
	for _, physical := range slices.Sorted(maps.Keys(cfg.Mappings)) {
		br := cfg.Mappings[physical]
		if s.Bridge(br) == nil {
			continue // its networks are reported as without a way
		}
		toPhy, toInt := patchName("int-", br), patchName("phy-", br)
		patch(BrInt, toPhy, toInt)
		patch(br, toInt, toPhy)
		j.Pipeline.Local.Physical[physical] = pipeline.Physical{Bridge: br, Int: ofport(s, toPhy), Phy: ofport(s, toInt)}
	}
}

// patchName is Neutron's name of a patch port to a physical bridge, within the 15
// letters of a device name.
func patchName(prefix, bridge string) string {
	name := prefix + bridge
	if len(name) <= 15 {
		return name
	}
	sum := sha256.Sum256([]byte(bridge))
	return name[:9] + hex.EncodeToString(sum[:3])
}

// ofport is the OpenFlow number of an interface, 0 while it has none.
func ofport(s *vsw.State, name string) uint32 {
	if i := s.Interface(name); i != nil && i.OFPort > 0 {
		return uint32(i.OFPort)
	}
	return 0
}

// port joins one port with its device.
func (j *Joined) port(p *model.PortView, dev *vsw.Interface) {
	st := State{Port: p, Interface: dev, Leg: p.IsRouterPort()}
	n, ok := j.Pipeline.Networks[p.NetworkID]
	switch {
	case !ok:
		st.Problem = "this host has no way to the port's network"
	case st.Leg && dev != nil && dev.Name != LegName(p.ID, p.DeviceOwner == model.OwnerRouterGateway):
		st.Problem = "another device claims to be the router's leg: " + dev.Name
	case st.Leg:
	case p.Firewall != model.FirewallHybrid && p.Firewall != model.FirewallNative:
		st.Problem = fmt.Sprintf("there is no firewall driver %q", p.Firewall)
	case dev != nil && dev.OFPort < 0:
		st.Problem = "Open vSwitch cannot use " + dev.Name + ": " + dev.Error
	}
	if ok {
		st.Network, st.VLAN = n.View, n.VLAN
	}
	j.Ports = append(j.Ports, st)
	if st.Problem != "" {
		return
	}
	j.Pipeline.Ports[p.ID] = p
	if st.BySwitch() {
		j.Pipeline.Local.Filtered[p.ID] = true
	}
	var want vsw.DesiredPort
	switch {
	case st.Leg:
		want = legPort(p)
	case dev == nil:
		return
	default:
		want = vsw.DesiredPort{Bridge: BrInt, Name: dev.Name}
	}
	if n := st.OFPort(); n > 0 {
		j.Pipeline.Local.Ports[p.ID] = n
	}
	j.wantOn(n, want)
}

// wantOn wants a port on a network. Neutron's agent keeps the same keys there, and reads them after a restart.
func (j *Joined) wantOn(n pipeline.Network, want vsw.DesiredPort) {
	segment := n.View.Segment
	want.Tag = vsw.Tag(int(n.VLAN))
	want.OtherConfig = map[string]string{
		"net_uuid": n.View.ID.String(), "network_type": string(segment.Type), "physical_network": segment.Physical,
		"segmentation_id": strconv.Itoa(int(segment.Tag)), "tag": strconv.Itoa(int(n.VLAN)),
	}
	j.Desired.Ports = append(j.Desired.Ports, want)
}

// tunnels wants one tunnel a type and host that shares a network, or serves a router with a leg on it.
func (j *Joined) tunnels(cfg Config, view *model.HostView, s *vsw.State) {
	if !cfg.TunnelAddr.IsValid() {
		return
	}
	want := map[pipeline.Tunnel]bool{}
	for _, p := range j.Pipeline.Peers {
		n, ok := j.Pipeline.Networks[p.NetworkID]
		if !ok || !n.View.Segment.Type.IsTunnel() || !p.Tunnel.IsValid() || p.Tunnel == cfg.TunnelAddr {
			continue
		}
		want[pipeline.Tunnel{Type: n.View.Segment.Type, Remote: p.Tunnel}] = true
	}
	j.gatewayTunnels(view, func(t model.NetworkType, g model.GatewayView) {
		if g.Tunnel != cfg.TunnelAddr {
			want[pipeline.Tunnel{Type: t, Remote: g.Tunnel}] = true
		}
	})
	watched := map[pipeline.Tunnel]bool{}
	j.watchTunnels(view, func(t pipeline.Tunnel) {
		if t.Remote != cfg.TunnelAddr {
			want[t], watched[t] = true, true
		}
	})
	order := slices.SortedFunc(maps.Keys(want), func(a, b pipeline.Tunnel) int {
		if c := a.Remote.Compare(b.Remote); c != 0 {
			return c
		}
		return strings.Compare(string(a.Type), string(b.Type))
	})
	for _, t := range order {
		p := vsw.DesiredPort{
			Bridge: BrTun, Name: TunnelName(t.Type, t.Remote), Type: string(t.Type),
			Options: map[string]string{
				"df_default": "true", "in_key": "flow", "out_key": "flow",
				"local_ip": cfg.TunnelAddr.String(), "remote_ip": t.Remote.String(),
			},
		}
		if watched[t] {
			p.BFD = bfd()
		}
		j.Desired.Ports = append(j.Desired.Ports, p)
		if n := ofport(s, p.Name); n > 0 {
			j.Pipeline.Local.Tunnels[t] = n
		}
	}
}

// TunnelName is the name of the port to a host: the type, and the address in hex for
// IPv4 (gre-0a000115 is 10.0.1.21), of a digest of it for IPv6.
func TunnelName(t model.NetworkType, remote netip.Addr) string {
	if remote.Is4() {
		b := remote.As4()
		return string(t) + "-" + hex.EncodeToString(b[:])
	}
	b := remote.As16()
	sum := sha256.Sum256(b[:])
	return string(t) + "-" + hex.EncodeToString(sum[:4])
}

// IsTunnel reports whether a port of br-tun is one that TunnelName made.
func IsTunnel(name string) bool {
	kind, rest, ok := strings.Cut(name, "-")
	if !ok || !model.NetworkType(kind).IsTunnel() || len(rest) != 8 {
		return false
	}
	_, err := hex.DecodeString(rest)
	return err == nil
}
