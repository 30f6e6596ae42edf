package view

import (
	"fmt"
	"strings"
)

// Places of the SVG drawing, in user units (pixels at scale 1). As in the text, lanes lead from the left to br-int, a
// tall box on the right; br-tun hangs below it, and the tunnels go back to the left.
const (
	svgWidth  = 1200
	svgMargin = 24

	vmLeft, vmWidth   = svgMargin, 190
	devLeft, devWidth = vmLeft + vmWidth + 24, 150
	devPitch          = devWidth + 24
	devHeight         = 84
	lanesEnd          = devLeft + 3*devPitch + devWidth
	intLeft           = 958
	intWidth          = svgWidth - svgMargin - intLeft
	headRoom          = 84 // above the first lane: what the columns are for
	laneGap           = 26
	rowHeight         = 18

	svgTunLeft                = 600
	svgTunWidth               = svgWidth - svgMargin - svgTunLeft
	tunnelLeft, tunnelWidth   = 300, 236
	remoteLeft, remoteWidth   = svgMargin, 216
	tunnelHeight, tunnelPitch = 66, 84
	svgTrunk                  = intLeft + intWidth/2
)

// SVG draws a host as a picture that needs nothing else: no script, no fonts, no other files.
func SVG(h *Host, o Options) string {
	d := newSVG()
	drawSVG(d, compose(h, o))
	return d.document("weft host view: " + h.Name)
}

func drawSVG(d *svgDoc, s *scene) {
	y := svgHead(d, s)
	y = svgLanes(d, s, y)
	if s.tun {
		y = svgTunnels(d, s, y)
	}
	y = svgNetworks(d, s, y+34)
	y = svgDrops(d, s, y+30)
	y = svgLegend(d, s, y+30)
	d.height = y + svgMargin
}

func svgHead(d *svgDoc, s *scene) int {
	d.text(svgMargin, 48, fontTitle, "ink", s.title, 560)
	x := svgWidth - svgMargin
	for _, e := range []struct {
		class, text string
	}{{"bad", "failed, or dropped"}, {"warn", "waiting"}, {"good", "active"}} {
		w := textWidth(fontSmall, e.text)
		x -= w
		d.text(x, 38, fontSmall, "soft", e.text, w+10)
		x -= 14
		d.dot(x+5, 34, e.class)
		x -= 18
	}
	y := 72
	for _, line := range wrap(s.facts, "  ·  ", fontBody, svgWidth-2*svgMargin) {
		d.text(svgMargin, y, fontBody, "soft", line, svgWidth-2*svgMargin)
		y += rowHeight
	}
	for _, p := range s.problems {
		for _, line := range wrap(strings.Fields(p), " ", fontBody, svgWidth-2*svgMargin) {
			d.text(svgMargin, y, fontBody, "bad", line, svgWidth-2*svgMargin)
			y += rowHeight
		}
	}
	return y + 12
}

// svgLanes draws br-int and all that is plugged into it, and returns the y of br-int's lower edge.
func svgLanes(d *svgDoc, s *scene, top int) int {
	frame := d.reserve() // br-int lies below the wires' ends, but its height is known last
	svgColumns(d, s, top)
	d.text(intLeft+14, top+26, fontHead, "ink", "br-int", intWidth-28)
	y := top + 44
	for _, line := range wrap(strings.Fields("the host's switch; VLAN ids (tags) are its own"), " ", fontSmall, intWidth-28) {
		d.text(intLeft+14, y, fontSmall, "soft", line, intWidth-28)
		y += 14
	}
	for _, line := range wrap(s.intFacts, ", ", fontSmall, intWidth-28) {
		d.text(intLeft+14, y, fontSmall, "soft", line, intWidth-28)
		y += 14
	}
	y = max(top+headRoom, y) + 8
	for i := range s.lanes {
		y = svgLane(d, &s.lanes[i], y) + laneGap
	}
	note := s.hidden
	if len(s.lanes)+len(s.routers) == 0 {
		note = "no ports: none is bound to this host and none is plugged in"
	}
	if note != "" {
		d.text(svgMargin, y+14, fontBody, "soft", note, lanesEnd-svgMargin)
		y += 40
	}
	for i := range s.routers {
		y = svgRouter(d, &s.routers[i], y) + laneGap
	}
	if s.moreRtrs != "" {
		d.text(svgMargin, y+14, fontBody, "soft", s.moreRtrs, lanesEnd-svgMargin)
		y += 40
	}
	for i := range s.uplinks {
		y = svgLane(d, &s.uplinks[i], y) + laneGap
	}
	d.fill(frame, box{intLeft, top, intWidth, y - top}, "switch", 10)
	return y
}

// svgColumns says above the lanes what their parts are for.
func svgColumns(d *svgDoc, s *scene, top int) {
	roles := map[Role]bool{}
	for _, l := range s.lanes {
		for _, dev := range l.devices {
			roles[dev.Role] = true
		}
	}
	column := func(x, w int, head, text string) {
		d.text(x, top+26, fontStrong, "ink", head, w)
		for i, line := range wrap(strings.Fields(text), " ", fontSmall, w) {
			d.text(x, top+44+14*i, fontSmall, "soft", line, w)
		}
	}
	if len(s.lanes) == 0 {
		if len(s.routers) > 0 {
			column(vmLeft, vmWidth, "Router", "→ counts what it sent, ← what was sent to it")
			column(devLeft, netnsWidth, "Network namespace", "forwards and translates; a translation's counts are connections")
			column(legLeft, legWidth, "Legs", "virtual cables from the namespace to br-int")
		}
		return
	}
	column(vmLeft, vmWidth, "VM", "→ counts what it sent, ← what was sent to it")
	if roles[RoleTAP] {
		column(devLeft, devWidth, "TAP", "the host's end of its network card")
	}
	if roles[RoleBridge] {
		column(devLeft+devPitch, devWidth, "Linux bridge", "where iptables sees the frames")
	}
	if roles[RoleVethIn] {
		column(devLeft+2*devPitch, 2*devPitch-24, "veth pair", "a virtual cable from the bridge (qvb) to br-int (qvo)")
	}
}

// svgLane draws one lane and returns its lower edge.
func svgLane(d *svgDoc, l *lane, y int) int {
	top := y
	class := stateClass(l.state)
	ids, short := split(l.details, vmWidth-26)
	if len(ids) > 0 {
		d.text(devLeft, y+12, fontTiny, "soft", strings.Join(ids, "    "), lanesEnd-devLeft)
	}
	y += 20
	if l.reason != "" {
		for _, line := range wrap(strings.Fields(string(l.state)+": "+l.reason), " ", fontBody, lanesEnd-devLeft) {
			d.text(devLeft, y+12, fontBody, class, line, lanesEnd-devLeft)
			y += rowHeight
		}
		y += 4
	}
	wire := y + devHeight/2
	vm := box{vmLeft, top, vmWidth, max(y+devHeight-top, 44+16*len(short))}
	d.rect(vm, "vm "+class, 10)
	d.dot(vm.x+18, vm.y+21, class)
	d.text(vm.x+32, vm.y+26, fontStrong, "ink", l.name, vm.w-44)
	for i, line := range short {
		d.text(vm.x+14, vm.y+46+16*i, fontMono, "ink", line, vm.w-26)
	}
	x, last := devLeft, vm.x+vm.w
	for i := range l.devices {
		dev := &l.devices[i]
		kind := "wire"
		if !dev.Present {
			kind = "wire gone"
		}
		if dev.Role == RoleVethOut || dev.Role == RolePatch && i > 0 && l.devices[i-1].Role == RolePatch {
			d.line(last, wire-2, x, wire-2, kind)
			d.line(last, wire+2, x, wire+2, kind)
		} else {
			d.line(last, wire, x, wire, kind)
		}
		svgDevice(d, dev, x, y)
		last = x + devWidth
		x += devPitch
	}
	if l.plugged {
		d.line(last, wire, intLeft, wire, "wire")
		d.rect(box{intLeft - 5, wire - 7, 14, 14}, "plug "+class, 3)
	} else {
		d.line(last, wire, last+24, wire, "wire gone")
	}
	for i, p := range l.plug {
		f := fontBody
		if i > 0 {
			f = fontSmall
		}
		d.text(intLeft+20, wire+5+16*i, f, "ink", p, intWidth-32)
	}
	y = max(y+devHeight, wire+16*len(l.plug)-4)
	if l.filter != nil {
		y = svgFilter(d, l, wire+devHeight/2)
	}
	return max(y, vm.y+vm.h, wire+16*len(l.plug)-4)
}

// split parts details into ids, which are long, and the rest, in lines of a width: at most five.
func split(details []string, width int) (ids, short []string) {
	for _, t := range details {
		switch {
		case strings.HasPrefix(t, "port "), strings.HasPrefix(t, "VM "):
			ids = append(ids, t)
		case strings.Contains(t, ":"): // addresses are broken where people read a break
			short = append(short, wrap(strings.SplitAfter(t, ":"), "", fontMono, width)...)
		default:
			short = append(short, wrap(strings.Fields(t), " ", fontMono, width)...)
		}
	}
	if n := len(short); n > 5 {
		short = append(short[:4:4], fmt.Sprintf("... %d more lines", n-4))
	}
	return ids, short
}

func svgDevice(d *svgDoc, dev *Device, x, y int) {
	class := "device"
	switch {
	case !dev.Present:
		class = "device gone"
	case !dev.Up && dev.Role != RoleInternal, dev.OFPort < 0:
		class = "device broken"
	}
	d.rect(box{x, y, devWidth, devHeight}, class, 6)
	d.text(x+12, y+24, fontName, "ink", dev.Name, devWidth-20)
	switch {
	case !dev.Present:
		d.text(x+12, y+46, fontSmall, "soft", "not there", devWidth-20)
	case dev.Role == RoleBridge:
		d.text(x+12, y+46, fontSmall, "soft", "Linux bridge", devWidth-20)
	default:
		d.text(x+12, y+48, fontMono, "ink", "→"+textCount(dev.FromVM()), devWidth-16)
		d.text(x+12, y+68, fontMono, "ink", "←"+textCount(dev.ToVM()), devWidth-16)
	}
}

// svgFilter draws what filters a lane, below its Linux bridge, and returns the lower edge.
func svgFilter(d *svgDoc, l *lane, y int) int {
	f := l.filter
	rows := len(f.chains) + len(f.sets)
	width := lanesEnd - devLeft
	if rows == 0 {
		d.text(devLeft, y+20, fontBody, "warn", f.title, width)
		return y + 28
	}
	b := box{devLeft, y + 14, width, 16 + rowHeight*rows}
	if l.mode == Hybrid {
		at := devLeft + devPitch + devWidth/2
		d.line(at, y, at, b.y, "hook")
	}
	d.rect(b, "filter", 6)
	y = b.y + 20
	for _, ch := range f.chains {
		d.hint(ch.list)
		d.text(b.x+12, y, fontMono, "ink", ch.name, 230)
		d.text(b.x+250, y, fontSmall, "soft", ch.what, 90)
		d.text(b.x+346, y, fontSmall, "soft", ch.rules, 74)
		d.textEnd(b.x+520, y, fontMono, "ink", number(ch.entered.Packets)+" seen", 90)
		class := "soft"
		if ch.dropped.Packets > 0 {
			class = "bad"
		}
		d.textEnd(b.x+b.w-14, y, fontMono, class, number(ch.dropped.Packets)+" dropped", 112)
		d.unhint(ch.list)
		y += rowHeight
	}
	for _, set := range f.sets {
		d.text(b.x+12, y, fontMono, "ink", set[0], 230)
		d.text(b.x+250, y, fontSmall, "soft", set[1], 250)
		y += rowHeight
	}
	return b.y + b.h
}

// svgTunnels draws the patch, br-tun and the tunnels, and returns br-tun's lower edge.
func svgTunnels(d *svgDoc, s *scene, y int) int {
	const drop = 74
	if s.patch.present {
		d.line(svgTrunk, y, svgTrunk, y+drop, "wire")
		left := svgTrunk - 14
		d.textEnd(left, y+30, fontMono, "ink", s.patch.intName+" "+s.patch.intPort+"   →"+textCount(s.patch.from), 330)
		d.textEnd(left, y+52, fontMono, "ink", s.patch.tunName+" "+s.patch.tunPort+"   ←"+textCount(s.patch.to), 330)
		d.text(svgTrunk+14, y+41, fontSmall, "soft", "patch ports", 90)
	} else {
		d.line(svgTrunk, y, svgTrunk, y+drop, "wire gone")
		d.textEnd(svgTrunk-14, y+41, fontBody, "bad", "patch-tun, patch-int "+s.patch.broken, 560)
	}
	y += drop
	top, frame := y, d.reserve()
	d.text(svgTunLeft+14, y+26, fontHead, "ink", "br-tun", 90)
	d.text(svgTunLeft+110, y+26, fontSmall, "soft", strings.Join(s.tunFacts, ", "), svgTunWidth-124)
	d.text(svgTunLeft+14, y+46, fontSmall, "soft", "VLAN ids to tunnel keys and back; which host has which MAC", svgTunWidth-28)
	y += 64
	maps := y + 6
	for _, n := range s.networks {
		if n.wire == "" || n.vlan == "no VLAN" || n.traffic == "" {
			continue
		}
		d.text(svgTunLeft+150, maps+12, fontMono, "ink", fmt.Sprintf("%-9s = %s  %s", n.vlan, n.wire, n.short), svgTunWidth-164)
		maps += rowHeight
	}
	if len(s.tunnels) > 0 {
		d.text(remoteLeft, top+26, fontStrong, "ink", "Other hosts", remoteWidth)
		d.text(remoteLeft, top+44, fontSmall, "soft", "and ports of networks here", remoteWidth)
		d.text(tunnelLeft, top+26, fontStrong, "ink", "Tunnels", tunnelWidth)
		d.text(tunnelLeft, top+44, fontSmall, "soft", "carry frames to one other host each", tunnelWidth)
	}
	for i := range s.tunnels {
		svgTunnel(d, &s.tunnels[i], y)
		y += tunnelPitch
	}
	if s.moreTuns+s.noTunnel != "" {
		d.text(svgMargin, y+14, fontBody, "soft", s.moreTuns+s.noTunnel, svgTunLeft-2*svgMargin)
		y += 30
	}
	bottom := max(y, maps+10)
	d.fill(frame, box{svgTunLeft, top, svgTunWidth, bottom - top}, "switch", 10)
	return bottom
}

func svgTunnel(d *svgDoc, t *tunnelWords, y int) {
	remote, wire := box{remoteLeft, y, remoteWidth, tunnelHeight}, y+tunnelHeight/2
	d.rect(remote, "vm", 10)
	d.text(remote.x+14, y+22, fontStrong, "ink", t.host, remote.w-28)
	d.text(remote.x+14, y+40, fontMono, "ink", t.address, remote.w-28)
	d.text(remote.x+14, y+57, fontSmall, "soft", remoteFacts(t), remote.w-28)
	class, end := "device", "plug good"
	if t.state == Failed {
		class, end = "device broken", "plug bad"
	}
	d.line(remoteLeft+remoteWidth, wire, tunnelLeft, wire, "wire tunnel")
	d.rect(box{tunnelLeft, y, tunnelWidth, tunnelHeight}, class, 6)
	d.text(tunnelLeft+12, y+22, fontName, "ink", t.device.Name, tunnelWidth-20-textWidth(fontSmall, t.watch))
	d.textEnd(tunnelLeft+tunnelWidth-10, y+22, fontSmall, map[bool]string{true: "bad", false: "good"}[t.state == Failed], t.watch, 100)
	if t.reason != "" {
		for i, line := range wrap(strings.Fields(t.reason), " ", fontSmall, tunnelWidth-20) {
			if i < 2 {
				d.text(tunnelLeft+12, y+41+15*i, fontSmall, "bad", line, tunnelWidth-20)
			}
		}
	} else {
		d.text(tunnelLeft+12, y+41, fontMono, "ink", "→"+textCount(t.device.FromVM()), tunnelWidth-20)
		d.text(tunnelLeft+12, y+57, fontMono, "ink", "←"+textCount(t.device.ToVM()), tunnelWidth-20)
	}
	if t.state == Failed {
		d.line(tunnelLeft+tunnelWidth, wire, tunnelLeft+tunnelWidth+24, wire, "wire gone")
	} else {
		d.line(tunnelLeft+tunnelWidth, wire, svgTunLeft, wire, "wire")
	}
	d.rect(box{svgTunLeft - 5, wire - 7, 14, 14}, end, 3)
	d.text(svgTunLeft+20, wire+5, fontBody, "ink", portNumber(t.device.OFPort), 120)
}

// remoteFacts says in one line what is behind a tunnel.
func remoteFacts(t *tunnelWords) string {
	if t.serves == "" {
		return t.peers
	}
	return strings.TrimSuffix(t.peers, " there") + ", " + t.serves
}

func svgNetworks(d *svgDoc, s *scene, y int) int {
	if len(s.networks) == 0 {
		return y - 34
	}
	d.text(svgMargin, y, fontHead, "ink", "Networks here", 400)
	for _, n := range s.networks {
		y += 24
		d.text(svgMargin, y, fontStrong, "ink", n.vlan, 84)
		d.text(svgMargin+90, y, fontMono, "ink", n.wire, 150)
		d.text(svgMargin+250, y, fontMono, "ink", n.name, svgWidth-2*svgMargin-250)
		for _, line := range []string{n.rest, n.traffic} {
			if line != "" {
				y += rowHeight
				d.text(svgMargin+250, y, fontBody, "soft", line, svgWidth-2*svgMargin-250)
			}
		}
	}
	return y
}

func svgDrops(d *svgDoc, s *scene, y int) int {
	d.text(svgMargin, y, fontHead, "ink", "Dropped here", 200)
	if len(s.drops) == 0 {
		d.text(svgMargin+210, y, fontBody, "good", "nothing", 200)
		return y
	}
	for i, w := range s.drops {
		y += rowHeight + 4
		if i == shownPorts {
			d.text(svgMargin+136, y, fontBody, "soft", fmt.Sprintf("... and %d more places", len(s.drops)-i), 400)
			return y
		}
		d.textEnd(svgMargin+120, y, fontMono, "bad", textCount(w.count), 120)
		d.text(svgMargin+136, y, fontBody, "ink", w.where, 470)
		d.text(svgMargin+620, y, fontBody, "soft", w.reason, svgWidth-2*svgMargin-620)
	}
	return y
}

func svgLegend(d *svgDoc, s *scene, y int) int {
	d.text(svgMargin, y, fontHead, "ink", "Legend", 200)
	for _, e := range s.legend {
		y += rowHeight + 2
		d.text(svgMargin, y, fontMono, "ink", e.what, 110)
		d.text(svgMargin+120, y, fontBody, "soft", e.text, svgWidth-2*svgMargin-120)
	}
	return y
}

// stateClass is the SVG class of a state.
func stateClass(s State) string {
	return map[style]string{good: "good", warn: "warn", bad: "bad"}[stateStyle(s)]
}
