package view

import "strings"

// Places of a router in the SVG drawing: its namespace takes the devices' place, but for the legs at its right.
const (
	legWidth   = 176
	legLeft    = lanesEnd - legWidth
	legHeight  = 100
	legPitch   = legHeight + 12
	netnsWidth = legLeft - 28 - devLeft
)

// svgRouter draws a router and returns its lower edge.
func svgRouter(d *svgDoc, r *routerWords, y int) int {
	top := y
	class := stateClass(r.head.state)
	if r.head.reason != "" {
		for _, line := range wrap(strings.Fields(string(r.head.state)+": "+r.head.reason), " ", fontBody, lanesEnd-devLeft) {
			d.text(devLeft, y+12, fontBody, class, line, lanesEnd-devLeft)
			y += rowHeight
		}
		y += 4
	}
	var facts []string
	for _, t := range r.head.details {
		facts = append(facts, wrap(strings.Fields(t), " ", fontSmall, vmWidth-26)...)
	}
	ns := box{devLeft, y, netnsWidth, max(40+rowHeight*len(r.rows), legPitch*len(r.legs)-12)}
	self := box{vmLeft, top, vmWidth, max(ns.y+ns.h-top, 46+16*len(facts))}
	ns.h = max(ns.h, self.y+self.h-ns.y)
	d.rect(self, "vm "+class, 10)
	d.dot(self.x+18, self.y+21, class)
	d.text(self.x+32, self.y+26, fontStrong, "ink", r.head.name, self.w-44)
	for i, line := range facts {
		d.text(self.x+14, self.y+46+16*i, fontSmall, "soft", line, self.w-26)
	}
	d.line(self.x+self.w, ns.y+20, ns.x, ns.y+20, "wire")
	d.rect(ns, "filter", 6)
	d.text(ns.x+12, ns.y+22, fontTiny, "ink", r.netns, ns.w-20)
	for i, row := range r.rows {
		at := ns.y + 44 + rowHeight*i
		count := fit(fontMono, row.count, 130)
		d.text(ns.x+12, at, fontSmall, "soft", row.kind, 74)
		d.text(ns.x+88, at, fontMono, "ink", row.what, ns.w-100-textWidth(fontMono, count))
		d.textEnd(ns.x+ns.w-8, at, fontMono, "soft", count, 130)
	}
	for i := range r.legs {
		svgLeg(d, &r.legs[i], ns, ns.y+legPitch*i, class)
	}
	return max(ns.y+ns.h, self.y+self.h)
}

// svgLeg draws a leg between a router's namespace and br-int.
func svgLeg(d *svgDoc, l *legWords, ns box, y int, class string) {
	wire, kind, look := y+20, "wire", "device"
	switch {
	case !l.device.Present:
		kind, look = "wire gone", "device gone"
	case !l.device.Up, l.device.OFPort < 0:
		look = "device broken"
	}
	d.line(ns.x+ns.w, wire, legLeft, wire, kind)
	d.rect(box{legLeft, y, legWidth, legHeight}, look, 6)
	d.text(legLeft+12, y+22, fontName, "ink", l.device.Name, legWidth-20)
	d.text(legLeft+12, y+39, fontMono, "ink", l.addrs, legWidth-20)
	d.text(legLeft+12, y+55, fontMono, "soft", l.mac, legWidth-20)
	d.text(legLeft+12, y+73, fontMono, "ink", "→"+textCount(l.device.FromVM()), legWidth-20)
	d.text(legLeft+12, y+89, fontMono, "ink", "←"+textCount(l.device.ToVM()), legWidth-20)
	if l.plugged {
		d.line(lanesEnd, wire, intLeft, wire, "wire")
		d.rect(box{intLeft - 5, wire - 7, 14, 14}, "plug "+class, 3)
	} else {
		d.line(lanesEnd, wire, lanesEnd+24, wire, "wire gone")
	}
	for i, p := range l.plug {
		f := fontBody
		if i > 0 {
			f = fontSmall
		}
		d.text(intLeft+20, wire+5+16*i, f, "ink", p, intWidth-32)
	}
}
