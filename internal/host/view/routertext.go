package view

import "fmt"

// textRouter draws a router: what it is, and its namespace with the legs' ends in br-int. It returns the next row.
func textRouter(c *canvas, r *routerWords, y int) int {
	y = textName(c, &r.head, y)
	c.put(0, y, faint, "│")
	c.put(0, y+1, faint, "└─")
	st, b := plain, thin
	if r.head.state == Failed {
		st = bad
	}
	rows := 2*len(r.legs) + len(r.rows)
	c.box(boxLeft, y, filterW, rows+2, b, st, r.netns)
	c.over(boxLeft, y+1, st, '┤')
	x, right := boxLeft+2, boxLeft+filterW-1
	y++
	for i := range r.legs {
		l := &r.legs[i]
		st := plain
		if !l.device.Present || !l.device.Up || l.device.OFPort < 0 {
			st = bad
		}
		c.put(x, y, st, clip(l.device.Name, 14))
		c.put(x+15, y, plain, clip(l.addrs, right-x-16))
		c.over(right, y, plain, '├')
		if l.plugged {
			c.put(right+1, y, faint, "───")
		} else {
			c.put(right+1, y, faint, "┄")
		}
		for j, p := range l.plug {
			st := plain
			if j > 0 {
				st = faint
			}
			c.put(barLeft+2, y+j, st, clip(p, barText))
		}
		c.put(x+15, y+1, faint, clip(l.mac, 17))
		c.put(x+34, y+1, plain, "→"+textCount(l.device.FromVM())+"  ←"+textCount(l.device.ToVM()))
		y += 2
	}
	for _, row := range r.rows {
		c.put(x, y, faint, row.kind)
		c.right(right-1, y, plain, clip(row.count, 20))
		c.put(x+15, y, plain, clip(row.what, right-x-17-len([]rune(clip(row.count, 20)))))
		y++
	}
	return y + 1
}

// textWatch says of a tunnel what the switch's watch says.
func textWatch(t *tunnelWords) string {
	if t.watch == "" {
		return t.peers
	}
	return fmt.Sprintf("%s, %s", t.peers, t.watch)
}
