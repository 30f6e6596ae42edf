package cli

import (
	"fmt"
	"strings"
	"unicode"
)

// minColumn is the width that a column is not made narrower than, in characters.
const minColumn = 8

// table draws a box around rows of texts, as PrettyTable does for the openstack command. Cells
// may have several lines. Columns in right are aligned to the right. With fit > 0, wide columns
// are wrapped so that the table has at most fit characters in width, if that can be.
func table(head []string, rows [][]string, right []bool, fit int) string {
	lines := make([][][]string, 0, len(rows)+1) // row, column, line
	widths := make([]int, len(head))
	add := func(row []string) {
		cells := make([][]string, len(head))
		for i, text := range row {
			for l := range strings.SplitSeq(text, "\n") {
				l = printable(l)
				cells[i] = append(cells[i], l)
				widths[i] = max(widths[i], width(l))
			}
		}
		lines = append(lines, cells)
	}
	add(head)
	for _, row := range rows {
		add(row)
	}
	if fit > 0 {
		shrink(widths, fit)
		for _, cells := range lines {
			for i := range cells {
				var wrapped []string
				for _, l := range cells[i] {
					wrapped = append(wrapped, wrap(l, widths[i])...)
				}
				cells[i] = wrapped
			}
		}
	}
	var b strings.Builder
	rule := func() {
		for _, w := range widths {
			b.WriteString("+" + strings.Repeat("-", w+2))
		}
		b.WriteString("+\n")
	}
	rule()
	for n, cells := range lines {
		height := 0
		for _, c := range cells {
			height = max(height, len(c))
		}
		for l := range height {
			for i, c := range cells {
				text := ""
				if l < len(c) {
					text = c[l]
				}
				pad := strings.Repeat(" ", widths[i]-width(text))
				if right != nil && right[i] {
					b.WriteString("| " + pad + text + " ")
				} else {
					b.WriteString("| " + text + pad + " ")
				}
			}
			b.WriteString("|\n")
		}
		if n == 0 {
			rule()
		}
	}
	rule()
	return b.String()
}

// shrink makes the widest columns narrower until borders and columns fit: those that need no
// more than an equal share keep their width, the others share what is left.
func shrink(widths []int, fit int) {
	total := 1
	for _, w := range widths {
		total += w + 3
	}
	if total <= fit {
		return
	}
	usable := max(0, fit-1-3*len(widths))
	share := usable / len(widths)
	wide, left := 0, usable
	for _, w := range widths {
		if w <= share {
			left -= w
		} else {
			wide++
		}
	}
	first := true
	for i, w := range widths {
		if w <= share {
			continue
		}
		each := left / wide
		if first {
			each += left % wide
		}
		first = false
		widths[i] = min(w, max(minColumn, each))
	}
}

// wrap breaks a line at spaces so that no part is wider than w; a word that is, is cut.
func wrap(line string, w int) []string {
	var out []string
	for width(line) > w {
		cut, space, used := 0, -1, 0
		for i, r := range line {
			used += runeWidth(r)
			if used > w && cut > 0 {
				if r == ' ' {
					space = i
				}
				break
			}
			cut = i + len(string(r))
			if r == ' ' && i > 0 {
				space = i
			}
		}
		if space > 0 {
			out, line = append(out, line[:space]), strings.TrimLeft(line[space:], " ")
		} else {
			out, line = append(out, line[:cut]), line[cut:]
		}
	}
	return append(out, line)
}

// printable writes control characters as Go does in strings: a name that somebody chose must
// not move the cursor of who lists it.
func printable(s string) string {
	clean := func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
	}
	if !strings.ContainsFunc(s, clean) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case clean(r):
			q := fmt.Sprintf("%+q", r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// width is the number of terminal cells that a text takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is 0 for combining characters, 2 for wide ones (the blocks of Unicode Standard
// Annex 11 that are wide as a whole), 1 for others.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf && r != 0x303f, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1f64f, r >= 0x1f680 && r <= 0x1f6ff, r >= 0x1f900 && r <= 0x1f9ff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}
