package view

import (
	"fmt"
	"strings"
)

// Width is the width of the text drawing, in characters.
const Width = 100

// Places of the text drawing. Lanes lie on the left, one below the other, and end in br-int, which is a bar on the
// right; under it hangs br-tun, and the tunnels go back to the left.
const (
	barLeft   = 80 // br-int
	barWidth  = 20
	barText   = barWidth - 3
	laneEnd   = 78 // lanes stay left of it
	boxWidth  = 18 // of a device: a name of 14 characters
	boxPitch  = boxWidth + 1
	boxLeft   = 2
	filterW   = 4*boxPitch - 1
	tunLeft   = 52 // br-tun
	tunWidth  = Width - tunLeft
	hostWidth = 20 // of a remote host
	trunk     = barLeft + barWidth/2
	// fullLanes is how many ports are drawn as boxes; more are drawn in three lines each.
	fullLanes = 4
)

// Text draws a host for a terminal, at most Width characters wide.
func Text(h *Host, o Options) string {
	c := &canvas{width: Width}
	drawText(c, compose(h, o), o)
	return c.text(o)
}

func drawText(c *canvas, s *scene, o Options) {
	y := textHead(c, s)
	y = textLanes(c, s, y, o)
	y = textTunnels(c, s, y)
	y = textNetworks(c, s, y+1)
	y = textDrops(c, s, y+1)
	textLegend(c, s, y+1)
}

// textHead draws the title and what went wrong, and returns the next row.
func textHead(c *canvas, s *scene) int {
	c.put(0, 0, strong, clip(s.title, 60))
	at := min(len([]rune(s.title)), 60) + 3
	for i, line := range flowing(s.facts, " · ", Width-at, Width-at) {
		c.put(at, i, faint, line)
	}
	y := len(c.rows)
	for _, p := range s.problems {
		for i, line := range flowing(strings.Fields(p), " ", Width-2, Width-2) {
			if i == 0 {
				c.put(0, y, bad, "!")
			}
			c.put(2, y, bad, line)
			y++
		}
	}
	return y + 1
}

// textLanes draws br-int and all that is plugged into it, and returns the row of br-int's lower edge.
func textLanes(c *canvas, s *scene, y int, o Options) int {
	top := y
	for i, f := range s.intFacts {
		c.put(barLeft+2, top+1+i, faint, clip(f, barText))
	}
	c.put(0, top+1, faint, "packets and bytes:  "+arrows(s))
	y = top + 2 + len(s.intFacts)
	compact := len(s.lanes) > fullLanes && !o.Rules
	for i := range s.lanes {
		if compact {
			y = textCompact(c, &s.lanes[i], y)
		} else {
			y = textLane(c, &s.lanes[i], y)
		}
		y++
	}
	if s.hidden != "" {
		c.put(2, y, faint, clip(s.hidden, laneEnd-2))
		y += 2
	}
	if len(s.lanes)+len(s.routers) == 0 {
		c.put(2, y, faint, "no ports: none is bound to this host and none is plugged in")
		y += 2
	}
	for i := range s.routers {
		y = textRouter(c, &s.routers[i], y) + 1
	}
	if s.moreRtrs != "" {
		c.put(2, y, faint, clip(s.moreRtrs, laneEnd-2))
		y += 2
	}
	for i := range s.uplinks {
		y = textCompact(c, &s.uplinks[i], y) + 1
	}
	bottom := y
	c.box(barLeft, top, barWidth, bottom-top+1, thick, plain, "br-int")
	for r := top + 1; r < bottom; r++ { // lanes end in the bar's left edge
		if c.row(r)[barLeft-1].r == '─' {
			c.over(barLeft, r, plain, '┨')
		}
	}
	return bottom
}

// textName draws the head of a lane and returns the next row. below says that the lane goes on.
func textName(c *canvas, l *lane, y int) int {
	st := stateStyle(l.state)
	mark := map[State]string{Active: "●", Waiting: "○", Failed: "✗", "": "·"}[l.state]
	c.put(0, y, st, mark)
	c.right(laneEnd, y, st, string(l.state))
	name := clip(l.name, 28)
	c.put(2, y, strong, name)
	at := 4 + len([]rune(name))
	for i, line := range flowing(l.details, "  ", laneEnd-at-9, laneEnd-2) {
		if i > 0 {
			c.put(0, y, faint, "│")
			at = 2
		}
		c.put(at, y, plain, line)
		y++
	}
	if l.reason != "" {
		for _, line := range flowing(strings.Fields(l.reason), " ", laneEnd-2, laneEnd-2) {
			c.put(0, y, faint, "│")
			c.put(2, y, st, line)
			y++
		}
	}
	return y
}

// textWire draws the way from a lane's last device to br-int, or its beginning when the lane does not get there.
func textWire(c *canvas, l *lane, x, y int) {
	if l.plugged {
		c.put(x, y, faint, strings.Repeat("─", barLeft-x))
		return
	}
	c.put(x, y, faint, "┄┄")
}

// textPlug writes what is to be known of a lane's port into br-int's bar.
func textPlug(c *canvas, l *lane, y, most int) int {
	for i, p := range l.plug {
		if i == most {
			break
		}
		st := plain
		if i > 0 {
			st = faint
		}
		c.put(barLeft+2, y+i, st, clip(p, barText))
	}
	return y + min(len(l.plug), most)
}

// textLane draws a lane with a box for each device, and returns the next row.
func textLane(c *canvas, l *lane, y int) int {
	y = textName(c, l, y)
	c.put(0, y, faint, "│")
	line := y + 1 // the row of names, along which the packets go
	c.put(0, line, faint, "└")
	c.put(1, line, faint, "─")
	x := boxLeft
	for i := range l.devices {
		d := &l.devices[i]
		textDevice(c, d, x, y)
		c.over(x, line, plain, '┤')
		c.over(x+boxWidth-1, line, plain, '├')
		x += boxPitch
		switch {
		case i == len(l.devices)-1:
		case d.Role == RoleVethIn:
			c.put(x-1, line, faint, "═")
			c.over(x-2, line, plain, '╞')
		default:
			c.put(x-1, line, faint, "─")
		}
		if d.Role == RoleVethOut {
			c.over(x-boxPitch, line, plain, '╡')
		}
	}
	textWire(c, l, x-1, line)
	plugEnd := textPlug(c, l, line, 6)
	y += 5
	if l.filter != nil {
		y = textFilter(c, l, y)
	}
	return max(y, plugEnd)
}

// textDevice draws a device: its name in the second row, what has passed in the third and fourth.
func textDevice(c *canvas, d *Device, x, y int) {
	b, st := thin, plain
	switch {
	case !d.Present:
		b, st = dashed, faint
	case !d.Up && d.Role != RoleInternal, d.OFPort < 0:
		st = bad
	}
	c.box(x, y, boxWidth, 5, b, st, map[Role]string{
		RoleTAP: "TAP", RoleBridge: "Linux bridge", RoleVethIn: "veth", RoleVethOut: "other end", RoleInternal: "internal port",
	}[d.Role])
	c.put(x+2, y+1, st, clip(d.Name, boxWidth-4))
	if !d.Present {
		c.put(x+2, y+2, st, "not there")
		return
	}
	if d.Role == RoleBridge {
		c.put(x+2, y+2, faint, "where iptables")
		c.put(x+2, y+3, faint, "sees frames")
		return
	}
	c.put(x+2, y+2, plain, "→"+textCount(d.FromVM()))
	c.put(x+2, y+3, plain, "←"+textCount(d.ToVM()))
}

// textCount writes a count in 13 characters.
func textCount(n Count) string { return fmt.Sprintf("%6s %6s", number(n.Packets), octets(n.Bytes)) }

// textFilter draws what filters a lane, below its Linux bridge, and returns the next row.
func textFilter(c *canvas, l *lane, y int) int {
	f := l.filter
	rows := 0
	for _, ch := range f.chains {
		rows += 1 + len(ch.list)
	}
	rows += len(f.sets)
	if rows == 0 {
		c.put(boxLeft+2, y, warn, f.title)
		return y + 1
	}
	c.box(boxLeft, y, filterW, rows+2, thin, plain, f.title)
	if l.mode == Hybrid {
		at := boxLeft + boxPitch + boxWidth/2
		c.over(at, y-1, plain, '┬')
		c.over(at, y, plain, '┴')
	}
	y++
	x := boxLeft + 2
	for _, ch := range f.chains {
		st := plain
		if ch.dropped.Packets > 0 {
			st = bad
		}
		c.put(x, y, plain, clip(ch.name, 29))
		c.put(x+30, y, faint, fmt.Sprintf("%-11s %9s", ch.what, ch.rules))
		c.put(x+51, y, plain, fmt.Sprintf("%5s seen", number(ch.entered.Packets)))
		c.put(x+61, y, st, fmt.Sprintf("%5s drop", number(ch.dropped.Packets)))
		y++
		for _, r := range ch.list {
			st := faint
			if r.Packets > 0 && dropReason("", r.Text) != "" {
				st = bad
			}
			c.put(x, y, st, fmt.Sprintf("%7s  %s", number(r.Packets), clip(ruleText(r), filterW-13)))
			y++
		}
	}
	for _, set := range f.sets {
		c.put(x, y, plain, clip(set[0], 29))
		c.put(x+30, y, faint, clip(set[1], filterW-34))
		y++
	}
	return y + 1
}

// ruleText is a rule without its comment.
func ruleText(r Rule) string {
	text := r.Text
	if i := strings.Index(text, `-m comment --comment "`); i >= 0 {
		rest := text[i+len(`-m comment --comment "`):]
		if j := strings.Index(rest, `" `); j >= 0 {
			text = text[:i] + rest[j+2:]
		}
	}
	if r.Family == "IPv6" {
		return "ip6 " + text
	}
	return "ip4 " + text
}

// textCompact draws a lane in few rows, and returns the next.
func textCompact(c *canvas, l *lane, y int) int {
	short := *l
	if len(short.details) > 2 {
		short.details = short.details[:2]
	}
	y = textName(c, &short, y)
	c.put(0, y, faint, "└─")
	x := 3
	for i := range l.devices {
		d := &l.devices[i]
		st := plain
		switch {
		case !d.Present:
			st = faint
		case !d.Up, d.OFPort < 0:
			st = bad
		}
		name := clip(d.Name, 15)
		c.put(x, y, st, name)
		x += len([]rune(name)) + 1
		if i < len(l.devices)-1 {
			link := "──"
			if d.Role == RoleVethIn || d.Role == RolePatch {
				link = "══"
			}
			c.put(x, y, faint, link)
			x += 3
		}
	}
	textWire(c, l, x, y)
	end := max(y+2, textPlug(c, l, y, 2))
	y++
	if len(l.devices) > 0 && l.devices[0].Present {
		d := &l.devices[0]
		if d.Role == RolePatch || d.Role == RoleUplink {
			d = &l.devices[len(l.devices)-1]
		}
		c.put(3, y, plain, "→"+textCount(d.FromVM())+"  ←"+textCount(d.ToVM()))
	}
	if l.filter != nil {
		textCompactFilter(c, l.filter, 35, y)
	}
	return end
}

func textCompactFilter(c *canvas, f *filterWords, x, y int) {
	if len(f.chains) == 0 {
		c.put(x, y, warn, clip(f.title, laneEnd-x))
		return
	}
	var in, out Count
	for _, ch := range f.chains {
		if ch.inward {
			in = in.plus(ch.dropped)
		} else {
			out = out.plus(ch.dropped)
		}
	}
	if in.Packets+out.Packets == 0 {
		c.put(x, y, faint, "filtered, nothing dropped")
		return
	}
	c.put(x, y, bad, fmt.Sprintf("dropped: → %s  ← %s", number(out.Packets), number(in.Packets)))
}

// textTunnels draws what hangs below br-int: the patch, br-tun, and the tunnels to the left. It returns the next row.
func textTunnels(c *canvas, s *scene, y int) int {
	if !s.tun {
		return y + 1
	}
	st := plain
	if s.patch.present {
		c.over(trunk, y, plain, '┯')
		c.right(trunk-1, y+1, plain, s.patch.intName+"  "+s.patch.intPort)
		c.right(trunk-1, y+2, plain, s.patch.tunName+"  "+s.patch.tunPort)
		c.put(trunk, y+1, faint, "│")
		c.put(trunk, y+2, faint, "│")
		c.right(trunk-33, y+1, plain, "→"+textCount(s.patch.from))
		c.right(trunk-33, y+2, plain, "←"+textCount(s.patch.to))
	} else {
		st = bad
		c.right(trunk-1, y+1, bad, clip("patch-tun, patch-int "+s.patch.broken, trunk-2))
		c.put(trunk, y+1, bad, "✗")
		c.put(trunk, y+2, faint, "┊")
	}
	y += 3
	top := y
	for i, f := range s.tunFacts {
		c.put(tunLeft+2, top+1+i, faint, f)
	}
	y = top + 2 + len(s.tunFacts)
	maps := y
	for i := range s.tunnels {
		if len(s.tunnels) > fullLanes {
			y = textTunnelCompact(c, &s.tunnels[i], y)
		} else {
			y = textTunnel(c, &s.tunnels[i], y)
		}
	}
	if s.moreTuns != "" {
		c.put(0, y, faint, s.moreTuns)
		y++
	}
	if s.noTunnel != "" {
		for i, line := range flowing(strings.Fields(s.noTunnel), " ", tunLeft-4, tunLeft-4) {
			c.put(2, top+1+i, faint, line)
		}
	}
	for _, n := range s.networks {
		if n.wire == "" || n.vlan == "no VLAN" || n.traffic == "" {
			continue
		}
		c.put(tunLeft+15, maps, plain, clip(fmt.Sprintf("%-9s = %s", n.vlan, n.wire), tunWidth-17))
		maps++
	}
	bottom := max(y, maps)
	c.box(tunLeft, top, tunWidth, bottom-top+1, thick, plain, "br-tun")
	if s.patch.present {
		c.over(trunk, top, st, '┷')
	}
	for r := top + 1; r < bottom; r++ {
		if c.row(r)[tunLeft-1].r == '─' {
			c.over(tunLeft, r, plain, '┨')
		}
	}
	return bottom + 1
}

// textTunnel draws a tunnel with the host at its other end, and returns the next row.
func textTunnel(c *canvas, t *tunnelWords, y int) int {
	rows := []string{t.address, t.peers}
	for _, r := range []string{t.serves, t.watch} {
		if r != "" {
			rows = append(rows, r)
		}
	}
	c.box(0, y, hostWidth, len(rows)+2, thin, plain, t.host)
	for i, r := range rows {
		c.put(2, y+1+i, faint, clip(r, hostWidth-4))
	}
	c.over(hostWidth-1, y+1, plain, '├')
	textTunnelWire(c, t, y+1)
	return y + 2 + len(rows)
}

// textTunnelCompact draws a tunnel in two rows, and returns the next.
func textTunnelCompact(c *canvas, t *tunnelWords, y int) int {
	c.put(0, y, plain, clip(t.host, hostWidth-1))
	c.put(0, y+1, faint, clip(textWatch(t), hostWidth-1))
	textTunnelWire(c, t, y)
	return y + 2
}

// textTunnelWire draws the way from a remote host to br-tun.
func textTunnelWire(c *canvas, t *tunnelWords, y int) {
	st := plain
	if t.state == Failed {
		st = bad
	}
	c.put(hostWidth, y, faint, "───")
	name := clip(t.device.Name, 15)
	c.put(hostWidth+4, y, st, name)
	x := hostWidth + 5 + len([]rune(name))
	c.put(tunLeft+2, y, plain, clip(portNumber(t.device.OFPort), 12))
	if t.state == Failed {
		c.put(x, y, faint, "┄┄")
		c.put(hostWidth+4, y+1, bad, clip(t.reason, tunLeft-hostWidth-5))
		return
	}
	c.put(x, y, faint, strings.Repeat("─", tunLeft-x))
	c.put(hostWidth+1, y+1, plain, "→"+textCount(t.device.FromVM())+" ←"+textCount(t.device.ToVM()))
}

// arrows says what the arrows beside counters mean.
func arrows(s *scene) string {
	if len(s.routers) > 0 {
		return "→ from VMs and routers   ← to them"
	}
	return "→ from the VMs   ← to the VMs"
}

func textNetworks(c *canvas, s *scene, y int) int {
	if len(s.networks) == 0 {
		return y - 1
	}
	c.put(0, y, strong, "Networks here")
	y++
	for _, n := range s.networks {
		c.put(2, y, plain, n.vlan)
		c.put(12, y, plain, clip(n.wire, 15))
		c.put(28, y, plain, clip(n.name, Width-28))
		y++
		for _, line := range []string{n.rest, n.traffic} {
			if line != "" {
				c.put(12, y, faint, clip(line, Width-12))
				y++
			}
		}
	}
	return y
}

func textDrops(c *canvas, s *scene, y int) int {
	c.put(0, y, strong, "Dropped here")
	if len(s.drops) == 0 {
		c.put(14, y, good, "nothing")
		return y + 1
	}
	y++
	for i, d := range s.drops {
		if i == shownPorts {
			c.put(2, y, faint, fmt.Sprintf("... and %d more places", len(s.drops)-i))
			y++
			break
		}
		c.put(2, y, bad, textCount(d.count))
		c.put(18, y, plain, clip(d.where, Width-18))
		c.put(18, y+1, faint, clip(d.reason, Width-18))
		y += 2
	}
	return y
}

func textLegend(c *canvas, s *scene, y int) {
	c.put(0, y, strong, "Legend")
	for i, e := range s.legend {
		c.put(2, y+1+i, plain, e.what)
		c.put(15, y+1+i, faint, clip(e.text, Width-15))
	}
}
