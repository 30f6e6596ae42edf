package view

import (
	"fmt"
	"slices"
	"strings"
)

// shownPorts is how many ports and tunnels are drawn unless all are asked for.
const shownPorts = 12

// Options of a drawing.
type Options struct {
	All   bool // every port, router, translation and tunnel; otherwise a few, those in trouble first
	Rules bool // the rules of each chain, with their counters
	ASCII bool // text: no box-drawing characters
	Color bool // text: colours of a terminal
}

// scene is what a drawing says, before it has a place: the words and the choice of what is shown, the same for text and SVG.
type scene struct {
	title    string
	facts    []string // about the host, one phrase each
	lanes    []lane
	hidden   string // what is left out, "" if nothing
	routers  []routerWords
	moreRtrs string // what is left out of them
	uplinks  []lane // and what else is plugged into br-int; most have no state
	intFacts []string
	patch    patchWords
	tunFacts []string
	tunnels  []tunnelWords
	noTunnel string // why there are none
	moreTuns string
	networks []networkWords
	drops    []dropWords
	problems []string
	legend   []legendEntry
	tun      bool // br-tun is there
}

// lane is the way of one port, from its VM to br-int.
type lane struct {
	state   State
	name    string   // of the VM
	details []string // addresses, ids; the most important first
	reason  string
	devices []Device
	filter  *filterWords
	mode    Mode
	plugged bool     // it has a port on br-int
	plug    []string // at br-int: number, tag, network, flows
}

// filterWords are what stands in the way of a lane's packets.
type filterWords struct {
	title  string
	chains []chainWords
	sets   [][2]string // name, what is in it
}

type chainWords struct {
	name, what, rules string
	inward            bool // judges what goes to the VM
	entered           Count
	dropped           Count
	list              []Rule
}

type patchWords struct {
	present          bool
	intName, tunName string
	intPort, tunPort string
	from, to         Count
	broken           string
}

type tunnelWords struct {
	host    string // of the other end
	address string
	peers   string
	serves  string // "" if no router
	watch   string // what BFD says, "" if it does not watch
	device  Device
	state   State
	reason  string
}

type networkWords struct {
	vlan, wire, name, rest string
	short                  string // a few letters of the name
	traffic                string
}

type dropWords struct {
	count  Count
	where  string
	reason string
}

type legendEntry struct{ what, text string }

// compose chooses what to say of a host. What is not active comes before what is when not all fits.
func compose(h *Host, o Options) *scene {
	s := &scene{title: h.Name, problems: h.Problems, tun: h.Tun.Present}
	s.facts = hostFacts(h)
	ports, hidden := choose(h.Ports, o.All, func(p Port) State { return p.State })
	for i := range ports {
		s.lanes = append(s.lanes, portLane(h, &ports[i], o))
	}
	var states []State
	for _, p := range hidden {
		states = append(states, p.State)
	}
	s.hidden = hiddenOf(states, "port")
	s.routers, s.moreRtrs = composeRouters(h, o)
	for i := range h.Distributed {
		if i == shownPorts && !o.All {
			break
		}
		s.uplinks = append(s.uplinks, distributedLane(&h.Distributed[i]))
	}
	if h.Services != nil {
		s.uplinks = append(s.uplinks, servicesLane(h.Services))
	}
	for i := range h.Physicals {
		s.uplinks = append(s.uplinks, uplinkLane(&h.Physicals[i]))
	}
	for i, d := range h.Others {
		if i == shownPorts && !o.All {
			break
		}
		s.uplinks = append(s.uplinks, lane{
			name: "not ours", details: []string{"plugged in for no port of the API"}, devices: []Device{d}, plugged: d.OFPort > 0, plug: []string{portNumber(d.OFPort)},
		})
	}
	s.intFacts = bridgeFacts(&h.Int)
	s.tunFacts = bridgeFacts(&h.Tun)
	s.patch = patchWords{
		present: h.PatchTun.Present && h.PatchInt.Present, intName: "patch-tun", tunName: "patch-int",
		intPort: portNumber(h.PatchTun.OFPort), tunPort: portNumber(h.PatchInt.OFPort), from: h.PatchTun.FromVM(), to: h.PatchTun.ToVM(),
	}
	if !s.patch.present {
		s.patch.broken = "not there: nothing leaves the host through tunnels"
	}
	tunnels, more := choose(h.Tunnels, o.All, tunnelState)
	for i := range tunnels {
		s.tunnels = append(s.tunnels, tunnelOf(&tunnels[i]))
	}
	if len(more) > 0 {
		s.moreTuns = fmt.Sprintf("... and %d more tunnels (--all shows them)", len(more))
	}
	if len(h.Tunnels) == 0 {
		s.noTunnel = "no tunnels: no other host shares a network with this one"
	}
	for i := range h.Networks {
		if o.All || i < shownPorts {
			s.networks = append(s.networks, networkOf(&h.Networks[i]))
		}
	}
	if n := len(h.Networks) - len(s.networks); n > 0 {
		s.networks = append(s.networks, networkWords{name: fmt.Sprintf("... and %d more (--all shows them)", n)})
	}
	s.drops = dropsOf(h)
	s.legend = legendOf(h)
	return s
}

// choose returns what is shown, in its order, and what is not.
func choose[T any](all []T, everything bool, state func(T) State) (shown, hidden []T) {
	if everything || len(all) <= shownPorts {
		return all, nil
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	rank := map[State]int{Failed: 0, Waiting: 1, Active: 2}
	slices.SortStableFunc(order, func(a, b int) int { return rank[state(all[a])] - rank[state(all[b])] })
	in := map[int]bool{}
	for _, i := range order[:shownPorts] {
		in[i] = true
	}
	for i := range all {
		if in[i] {
			shown = append(shown, all[i])
		} else {
			hidden = append(hidden, all[i])
		}
	}
	return shown, hidden
}

func hostFacts(h *Host) []string {
	out := []string{}
	if h.TunnelAddr.IsValid() {
		out = append(out, "tunnel address "+h.TunnelAddr.String())
	}
	what := plural(len(h.Ports), "port")
	if len(h.Routers) > 0 {
		what += ", " + plural(len(h.Routers), "router")
	}
	out = append(out, what+" on "+plural(len(h.Networks), "network"))
	if h.OVSVersion != "" {
		out = append(out, "Open vSwitch "+h.OVSVersion)
	}
	if h.Revision > 0 {
		out = append(out, fmt.Sprintf("view revision %d", h.Revision))
	}
	if !h.CollectedAt.IsZero() {
		out = append(out, h.CollectedAt.Format("2006-01-02 15:04:05 MST"))
	}
	return out
}

// hiddenOf says how many are not shown, and their states.
func hiddenOf(hidden []State, what string) string {
	if len(hidden) == 0 {
		return ""
	}
	by := map[State]int{}
	for _, st := range hidden {
		by[st]++
	}
	var parts []string
	for _, st := range []State{Failed, Waiting, Active} {
		if by[st] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", by[st], st))
		}
	}
	if what != "port" {
		return fmt.Sprintf("... and %d more %ss: %s (--all shows them)", len(hidden), what, strings.Join(parts, ", "))
	}
	return fmt.Sprintf("... and %d more: %s (--all shows them)", len(hidden), strings.Join(parts, ", "))
}

// portLane says what there is to say of a port.
func portLane(h *Host, p *Port, o Options) lane {
	l := lane{state: p.State, reason: p.Reason, devices: p.Devices, mode: p.Mode}
	l.name = p.VMName
	if l.name == "" {
		l.name = "port " + p.ID[:min(11, len(p.ID))]
		if p.VMUUID != "" {
			l.name = "VM " + p.VMUUID[:min(8, len(p.VMUUID))]
		}
	}
	for _, a := range p.Addrs {
		l.details = append(l.details, a.String())
	}
	l.details = append(l.details, p.MAC, "port "+p.ID)
	if p.VMUUID != "" {
		l.details = append(l.details, "VM "+p.VMUUID)
	}
	last := p.Devices[len(p.Devices)-1]
	l.plugged = last.OFPort > 0
	at := portNumber(last.OFPort)
	if p.VLAN > 0 {
		at += fmt.Sprintf("  tag %d", p.VLAN)
	}
	l.plug = append(l.plug, at)
	if n := h.network(p.NetworkID); n != nil {
		l.plug = append(l.plug, "net "+networkName(n), wire(n))
	}
	if p.Flows > 0 {
		l.plug = append(l.plug, plural(p.Flows, "flow"))
	}
	if p.DHCP.Packets > 0 {
		l.plug = append(l.plug, fmt.Sprintf("%s DHCP replies", number(p.DHCP.Packets)))
	}
	l.filter = filterOf(h, p, o)
	return l
}

// filterOf says what filters a port.
func filterOf(h *Host, p *Port, o Options) *filterWords {
	if len(p.Chains) == 0 {
		switch {
		case p.State == Waiting || p.Mode == Direct:
			return nil
		case !p.Filtered:
			return &filterWords{title: "no port security: nothing is filtered"}
		}
		return nil
	}
	w, unit := &filterWords{title: "security groups"}, "rule"
	if p.Mode == Direct {
		w.title, unit = "security groups, by the switch itself", "flow"
	}
	what := map[string]string{Ingress: "to the VM", Egress: "from the VM", Spoofing: "no spoofing"}
	for _, c := range p.Chains {
		cw := chainWords{name: c.Name, what: what[c.Kind], inward: c.Kind == Ingress, rules: plural(len(c.Rules), unit), entered: c.Entered, dropped: c.Dropped()}
		if o.Rules {
			cw.list = c.Rules
		}
		w.chains = append(w.chains, cw)
	}
	for _, name := range p.SetNames {
		i := slices.IndexFunc(h.Sets, func(s Set) bool { return s.Name == name })
		if i < 0 {
			w.sets = append(w.sets, [2]string{name, "ipset that is not there"})
			continue
		}
		w.sets = append(w.sets, [2]string{name, "ipset, " + plural(h.Sets[i].Members, "member")})
	}
	return w
}

func uplinkLane(p *Physical) lane {
	l := lane{
		name: p.Bridge, details: []string{"bridge of a physical network"}, devices: []Device{p.Phy, p.Int},
		plugged: p.Int.OFPort > 0, plug: []string{portNumber(p.Int.OFPort)},
	}
	switch n := len(p.Others); {
	case n == 0:
		l.details = append(l.details, "nothing else is plugged into it")
	case n > 1:
		l.details = append(l.details, fmt.Sprintf("%d more devices plugged into it", n-1))
		fallthrough
	default:
		l.devices = append([]Device{p.Others[0]}, l.devices...)
	}
	return l
}

func bridgeFacts(b *Bridge) []string {
	if !b.Present {
		return []string{"not there:", "the agent", "makes it"}
	}
	out := []string{plural(b.Flows, "flow")}
	if b.FailMode != "" {
		out = append(out, "fail mode "+b.FailMode)
	}
	if b.FailMode != "secure" {
		out[len(out)-1] += "!"
	}
	return out
}

func tunnelState(t Tunnel) State {
	if t.OFPort <= 0 || t.Error != "" || t.BFD != nil && !t.BFD.Forwarding {
		return Failed
	}
	return Active
}

func tunnelOf(t *Tunnel) tunnelWords {
	w := tunnelWords{host: t.RemoteName, address: t.Remote.String(), device: t.Device, state: tunnelState(*t)}
	if w.host == "" {
		w.host, w.address = w.address, "other host"
	}
	w.peers = plural(t.Peers, "port") + " there"
	if t.Routers > 0 {
		w.serves = "serves " + plural(t.Routers, "router")
	}
	if t.BFD != nil {
		w.watch = "BFD " + t.BFD.State
	}
	switch {
	case w.state != Failed:
	case t.Error != "":
		w.reason = t.Error
	case t.OFPort <= 0:
		w.reason = "Open vSwitch cannot use it"
	case t.BFD.State == "init": // it hears the other, which does not say yet that it hears this one
		w.reason = "the watch comes up"
	default:
		w.reason = "the host is not heard"
	}
	return w
}

// networkName is what a network is called in few letters.
func networkName(n *Network) string {
	if n.Name != "" {
		return n.Name
	}
	return n.ID[:min(8, len(n.ID))]
}

// wire says how a network's frames are marked outside of the host.
func wire(n *Network) string {
	switch n.Type {
	case "gre":
		return fmt.Sprintf("gre key %d", n.Segmentation)
	case "vxlan", "geneve":
		return fmt.Sprintf("%s VNI %d", n.Type, n.Segmentation)
	case "vlan":
		return fmt.Sprintf("vlan %d", n.Segmentation)
	case "":
		return "type unknown"
	}
	return n.Type
}

func networkOf(n *Network) networkWords {
	w := networkWords{vlan: "no VLAN", wire: wire(n), name: n.ID, short: networkName(n)}
	if n.VLAN > 0 {
		w.vlan = fmt.Sprintf("VLAN %d", n.VLAN)
	}
	if n.Name != "" {
		w.name = n.Name + " " + n.ID
	}
	rest := []string{}
	for _, p := range n.Subnets {
		rest = append(rest, p.String())
	}
	if n.MTU > 0 {
		rest = append(rest, fmt.Sprintf("mtu %d", n.MTU))
	}
	here := plural(n.Ports, "port")
	if n.Legs > 0 {
		here += " and " + plural(n.Legs, "router leg")
	}
	rest = append(rest, here+" here", fmt.Sprintf("%d elsewhere", n.Peers))
	w.rest = strings.Join(rest, ", ")
	switch n.Type {
	case "gre", "vxlan", "geneve":
		w.traffic = fmt.Sprintf("into tunnels %s unicast + %s flooded   out of tunnels %s   ARP answered here %s",
			number(n.Unicast.Packets), number(n.Flooded.Packets), number(n.FromTunnels.Packets), number(n.ARPAnswered.Packets))
	}
	return w
}

// dropsOf gathers every drop of the host, the largest first.
func dropsOf(h *Host) []dropWords {
	var out []dropWords
	for i := range h.Ports {
		p := &h.Ports[i]
		who := p.VMName
		if who == "" {
			who = "port " + p.ID[:min(11, len(p.ID))]
		}
		way := map[string]string{Ingress: "to " + who, Egress: "from " + who, Spoofing: "from " + who}
		for _, c := range p.Chains {
			for _, d := range c.Drops {
				by := ", iptables "
				if p.Mode == Direct {
					by = ", "
				}
				out = append(out, dropWords{d.Count, way[c.Kind] + by + c.Name, d.Reason})
			}
		}
	}
	if h.Cut.Packets > 0 {
		out = append(out, dropWords{h.Cut, "iptables " + groupsChain, "of connections that a removed rule had allowed"})
	}
	for _, b := range []*Bridge{&h.Int, &h.Tun} {
		for _, d := range b.Drops {
			table := fmt.Sprintf("%s table %d", b.Name, d.Table)
			if d.Name != "" {
				table += " (" + d.Name + ")"
			}
			out = append(out, dropWords{d.Count, table, h.flowReason(b.Name, &d)})
		}
	}
	slices.SortStableFunc(out, func(a, b dropWords) int {
		switch {
		case a.count.Packets > b.count.Packets:
			return -1
		case a.count.Packets < b.count.Packets:
			return 1
		}
		return 0
	})
	return out
}

// flowReason says why a flow without actions drops what it matches.
func (h *Host) flowReason(bridge string, d *FlowDrop) string {
	for i := range h.Physicals {
		if p := &h.Physicals[i]; bridge == h.Int.Name && d.Match == fmt.Sprintf("in_port=%d", p.Int.OFPort) {
			return "from " + p.Bridge + ", of a network that is not on this host"
		}
	}
	if d.Match != "" {
		return "flow " + d.Match
	}
	reasons := map[string]map[string]string{
		"br-int": {
			"classify":   "from a port that is not wired, or of a protocol that is not let in",
			"neighbours": "ARP or neighbour discovery in the name of another address",
			"source":     "source MAC is not the port's",
			"deliver":    "of a network that is not known here",
			"uplink":     "its network has no way out of this host",
		},
		"br-tun": {
			"classify": "from neither br-int nor a known tunnel",
			"gre":      "of a GRE key that no network here has",
			"vxlan":    "of a VNI that no network here has",
			"geneve":   "of a VNI that no network here has",
			"flood":    "to all other hosts of the network, and there are none",
		},
	}
	if r := reasons[bridge][d.Name]; r != "" {
		return r
	}
	return "no flow of the table matches"
}

// legendOf explains what is in the picture, in the order of a packet's way.
func legendOf(h *Host) []legendEntry {
	roles := map[Role]bool{}
	chains, native, sets := false, false, len(h.Sets) > 0
	watched := slices.ContainsFunc(h.Tunnels, func(t Tunnel) bool { return t.BFD != nil })
	for _, p := range h.Ports {
		for _, d := range p.Devices {
			roles[d.Role] = true
		}
		chains = chains || len(p.Chains) > 0 && p.Mode == Hybrid
		native = native || len(p.Chains) > 0 && p.Mode == Direct
	}
	var out []legendEntry
	add := func(if_ bool, what, text string) {
		if if_ {
			out = append(out, legendEntry{what, text})
		}
	}
	add(roles[RoleTAP], "tap", "the host's end of the VM's network card")
	add(roles[RoleBridge], "qbr", "Linux bridge between TAP and switch: the place where iptables sees the frames")
	add(roles[RoleVethIn], "qvb / qvo", "a virtual cable from that bridge (qvb) to br-int (qvo)")
	add(native, "tables 71-82", "security groups as flows: 82 to the VM, 72 from it, 71 from no address but its own")
	add(len(h.Distributed) > 0, "by flows", "packets between a distributed router's subnets go straight to their receiver's host")
	add(chains, "iptables", "security groups: -i to the VM, -o from it, -s from no address but the port's own")
	add(sets, "ipset", "the addresses of a remote group's members, which its rules match")
	add(h.Services != nil, "services", "metadata (169.254.169.254) and DNS, answered on this host to its own guests alone")
	add(len(h.Others) > 0, "not ours", "a port of br-int that somebody made by hand: nothing is known of it, it has no flows")
	add(len(h.Routers) > 0, "qrouter-", "a router: a network namespace that forwards; translations are counted in connections")
	add(len(h.Routers) > 0, "qr- / qg-", "a router's leg on a tenant network / on its external one: a virtual cable to br-int")
	add(watched, "BFD", "the switch's watch of a tunnel: when it is down, the next gateway answers for routers")
	add(roles[RoleInternal], "internal", "a device of the switch itself, as routers have")
	add(h.Int.Present, "br-int", "the host's switch; the VLAN id (tag) of a network means something here alone")
	add(h.PatchTun.Present, "patch", "the way from br-int to br-tun")
	add(h.Tun.Present, "br-tun", "turns VLAN ids into tunnel keys and back, and knows which host has which MAC")
	add(len(h.Tunnels) > 0, "tunnel", "carries frames to one other host")
	add(len(h.Physicals) > 0, "int- / phy-", "the way from br-int to the bridge of a physical network")
	return out
}

func portNumber(ofport int) string {
	if ofport <= 0 {
		return "no port"
	}
	return fmt.Sprintf("port %d", ofport)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// number writes a count in at most 4 characters.
func number(n uint64) string { return scaled(n, 1000, []string{"", "k", "M", "G", "T", "P", "E"}) }

// octets writes a number of bytes in at most 6 characters.
func octets(n uint64) string {
	return scaled(n, 1000, []string{" B", " kB", " MB", " GB", " TB", " PB", " EB"})
}

// scaled writes a number with three or four digits and a unit.
func scaled(n, base uint64, units []string) string {
	if n < 10*base && units[0] == "" || n < base {
		return fmt.Sprintf("%d%s", n, units[0])
	}
	v, i := float64(n), 0
	for v >= float64(base)-0.5 && i < len(units)-1 {
		v /= float64(base)
		i++
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f%s", v, units[i])
	}
	return fmt.Sprintf("%.0f%s", v, units[i])
}
