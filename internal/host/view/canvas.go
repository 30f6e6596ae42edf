package view

import (
	"strings"
	"unicode/utf8"
)

// style is what a piece of a drawing means; the terminal's colours and the SVG's follow from it.
type style uint8

const (
	plain style = iota
	strong
	faint
	good
	warn
	bad
)

// stateStyle is the style of a state.
func stateStyle(s State) style {
	switch s {
	case Failed:
		return bad
	case Waiting:
		return warn
	case Active:
		return good
	}
	return plain
}

// cell is one character.
type cell struct {
	r     rune
	style style
}

// canvas is a grid of characters that grows downwards. Text that does not fit its width is cut.
type canvas struct {
	width int
	rows  [][]cell
	// clashes counts characters that were drawn over others: a layout that is right has none.
	clashes int
}

func (c *canvas) row(y int) []cell {
	for len(c.rows) <= y {
		c.rows = append(c.rows, make([]cell, c.width))
	}
	return c.rows[y]
}

// put writes text at a place.
func (c *canvas) put(x, y int, st style, text string) {
	row := c.row(y)
	for _, r := range text {
		if x >= c.width {
			c.clashes++
			return
		}
		if r != ' ' {
			if old := row[x].r; old != 0 && old != r {
				c.clashes++
			}
			row[x] = cell{r, st}
		}
		x++
	}
}

// right writes text so that it ends before x.
func (c *canvas) right(x, y int, st style, text string) {
	c.put(x-utf8.RuneCountInString(text), y, st, text)
}

// over replaces one character of a line: where another line meets it.
func (c *canvas) over(x, y int, st style, r rune) { c.row(y)[x] = cell{r, st} }

// border is the characters of a box: corners clockwise from the top left, then horizontal and vertical.
type border [6]rune

var (
	thin   = border{'┌', '┐', '┘', '└', '─', '│'}
	thick  = border{'┏', '┓', '┛', '┗', '━', '┃'}
	dashed = border{'┌', '┐', '┘', '└', '┄', '┊'}
)

// box draws a box with a title in its upper edge.
func (c *canvas) box(x, y, w, h int, b border, st style, title string) {
	across := strings.Repeat(string(b[4]), w-2)
	c.put(x, y, st, string(b[0]))
	if title == "" {
		c.put(x+1, y, st, across)
	} else {
		title = clip(title, w-5)
		c.put(x+1, y, st, string(b[4]))
		c.put(x+3, y, st, title)
		used := 3 + utf8.RuneCountInString(title)
		c.put(x+1+used, y, st, strings.Repeat(string(b[4]), w-2-used))
	}
	c.put(x+w-1, y, st, string(b[1]))
	for i := 1; i < h-1; i++ {
		c.put(x, y+i, st, string(b[5]))
		c.put(x+w-1, y+i, st, string(b[5]))
	}
	c.put(x, y+h-1, st, string(b[3])+across+string(b[2]))
}

// ansi are the terminal's codes for styles (ECMA-48, SGR).
var ansi = [...]string{plain: "", strong: "\x1b[1m", faint: "\x1b[2m", good: "\x1b[32m", warn: "\x1b[33m", bad: "\x1b[1;31m"}

// text returns the drawing, without spaces at the ends of lines.
func (c *canvas) text(o Options) string {
	var b strings.Builder
	for _, row := range c.rows {
		end := len(row)
		for end > 0 && row[end-1].r == 0 {
			end--
		}
		now := plain
		for _, cl := range row[:end] {
			if cl.r == 0 {
				b.WriteByte(' ')
				continue
			}
			if o.Color && cl.style != now {
				if now != plain {
					b.WriteString("\x1b[0m")
				}
				b.WriteString(ansi[cl.style])
				now = cl.style
			}
			if o.ASCII {
				b.WriteString(ascii(cl.r))
			} else {
				b.WriteRune(cl.r)
			}
		}
		if now != plain {
			b.WriteString("\x1b[0m")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// ascii is the nearest character of ASCII.
func ascii(r rune) string {
	switch {
	case r < utf8.RuneSelf:
		return string(r)
	case strings.ContainsRune("─━┄", r):
		return "-"
	case strings.ContainsRune("│┃┊", r):
		return "|"
	case strings.ContainsRune("═╞╡", r):
		return "="
	case r >= 0x2500 && r < 0x2580: // corners and junctions
		return "+"
	}
	switch r {
	case '→':
		return ">"
	case '←':
		return "<"
	case '●':
		return "*"
	case '○':
		return "o"
	case '✗':
		return "x"
	case '…':
		return "~"
	case '·':
		return "-"
	}
	return "?"
}

// clip cuts text that is longer than n characters, and shows that it did.
func clip(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	if n < 1 {
		return ""
	}
	return string([]rune(text)[:n-1]) + "…"
}

// flowing arranges pieces in lines of at most width characters, the first of which has room for first.
func flowing(pieces []string, between string, first, width int) []string {
	var lines []string
	line, room := "", first
	for _, p := range pieces {
		if p == "" {
			continue
		}
		p = clip(p, width)
		switch {
		case line == "" && utf8.RuneCountInString(p) <= room:
			line = p
		case line != "" && utf8.RuneCountInString(line+between+p) <= room:
			line += between + p
		default:
			lines = append(lines, line)
			line, room = p, width
		}
	}
	return append(lines, line)
}
