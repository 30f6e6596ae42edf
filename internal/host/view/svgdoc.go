package view

import (
	"encoding/xml"
	"fmt"
	"strings"
	"unicode/utf8"
)

// font is a size and kind of letters. The widths are generous: a viewer may have other fonts than we.
type font struct {
	class string
	size  int
	em    float64 // width of a letter, in sizes
}

// The fonts.
var (
	fontTitle  = font{"title", 26, 0.68}
	fontHead   = font{"head", 16, 0.68}
	fontStrong = font{"strong", 14, 0.68}
	fontBody   = font{"body", 13, 0.60}
	fontSmall  = font{"small", 11, 0.60}
	fontName   = font{"name", 13, 0.64}
	fontMono   = font{"mono", 12, 0.62}
	fontTiny   = font{"tiny", 11, 0.62}
)

// textWidth estimates the width of a text from above.
func textWidth(f font, text string) int {
	return int(float64(utf8.RuneCountInString(text))*f.em*float64(f.size)) + 1
}

// fit cuts a text to a width.
func fit(f font, text string, width int) string {
	return clip(text, int(float64(width-1)/(f.em*float64(f.size))))
}

// wrap arranges pieces in lines of at most a width.
func wrap(pieces []string, between string, f font, width int) []string {
	n := int(float64(width-1) / (f.em * float64(f.size)))
	return flowing(pieces, between, n, n)
}

// box is a rectangle.
type box struct{ x, y, w, h int }

// svgDoc is an SVG document in the making. It remembers where everything is, for the test that nothing lies on
// anything else.
type svgDoc struct {
	parts  []string
	height int
	boxes  []box
	labels []box
	texts  []string // of labels
	lines  [][4]int
}

func newSVG() *svgDoc { return &svgDoc{} }

func escape(s string) string {
	var b strings.Builder
	// A Builder takes everything. Of several spaces a viewer would make one.
	_ = xml.EscapeText(&b, []byte(strings.ReplaceAll(s, "  ", "\u00a0\u00a0")))
	return b.String()
}

func (d *svgDoc) add(format string, args ...any) {
	d.parts = append(d.parts, fmt.Sprintf(format, args...))
}

// reserve keeps a place in the order of drawing, for fill.
func (d *svgDoc) reserve() int {
	d.parts = append(d.parts, "")
	return len(d.parts) - 1
}

// fill draws a rectangle in a place that was reserved.
func (d *svgDoc) fill(place int, b box, class string, radius int) {
	d.boxes = append(d.boxes, b)
	d.parts[place] = rectangle(b, class, radius)
}

func (d *svgDoc) rect(b box, class string, radius int) {
	if !strings.HasPrefix(class, "plug") { // which sits on an edge by intent
		d.boxes = append(d.boxes, b)
	}
	d.parts = append(d.parts, rectangle(b, class, radius))
}

func rectangle(b box, class string, radius int) string {
	return fmt.Sprintf(`<rect x="%d" y="%d" width="%d" height="%d" rx="%d" class="%s"/>`, b.x, b.y, b.w, b.h, radius, class)
}

func (d *svgDoc) dot(x, y int, class string) {
	d.add(`<circle cx="%d" cy="%d" r="5" class="dot %s"/>`, x, y, class)
}

func (d *svgDoc) line(x1, y1, x2, y2 int, class string) {
	d.lines = append(d.lines, [4]int{x1, y1, x2, y2})
	d.add(`<line x1="%d" y1="%d" x2="%d" y2="%d" class="%s"/>`, x1, y1, x2, y2, class)
}

// text writes at the baseline y, at most width wide.
func (d *svgDoc) text(x, y int, f font, class, text string, width int) {
	text = fit(f, text, width)
	d.label(x, y, f, text)
	d.add(`<text x="%d" y="%d" class="%s %s">%s</text>`, x, y, f.class, class, escape(text))
}

// textEnd writes so that the text ends at x.
func (d *svgDoc) textEnd(x, y int, f font, class, text string, width int) {
	text = fit(f, text, width)
	d.label(x-textWidth(f, text), y, f, text)
	d.add(`<text x="%d" y="%d" text-anchor="end" class="%s %s">%s</text>`, x, y, f.class, class, escape(text))
}

func (d *svgDoc) label(x, y int, f font, text string) {
	if text == "" {
		return
	}
	up := f.size * 8 / 10
	d.labels = append(d.labels, box{x, y - up, textWidth(f, text), up + f.size/5})
	d.texts = append(d.texts, text)
}

// hint opens a group that shows rules when the pointer rests on it.
func (d *svgDoc) hint(rules []Rule) {
	if len(rules) == 0 {
		return
	}
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "%6s  %s\n", number(r.Packets), ruleText(r))
	}
	d.add(`<g><title>%s</title>`, escape(b.String()))
}

func (d *svgDoc) unhint(rules []Rule) {
	if len(rules) > 0 {
		d.add("</g>")
	}
}

// svgStyle gives colours a meaning: green works, amber waits, red fails or drops, blue is the switch, violet the filter.
const svgStyle = `
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1f2328}
.title{font-size:26px;font-weight:700}.head{font-size:16px;font-weight:700}.strong{font-size:14px;font-weight:600}
.body{font-size:13px}.small{font-size:11px}
.name,.mono,.tiny{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.name{font-size:13px;font-weight:600}.mono{font-size:12px}.tiny{font-size:11px}
text.soft{fill:#59636e}text.good{fill:#1a7f37}text.warn{fill:#9a6700}text.bad{fill:#c11f2a;font-weight:600}
rect{stroke-width:1.4}
.vm{fill:#fff;stroke:#8c959f}.vm.good{fill:#f0fbf3;stroke:#2da44e}.vm.warn{fill:#fff8e6;stroke:#bf8700}.vm.bad{fill:#fff0ef;stroke:#cf222e}
.device{fill:#fff;stroke:#57606a}.device.gone{fill:#fafbfc;stroke:#afb8c1;stroke-dasharray:4 4}.device.broken{fill:#fff0ef;stroke:#cf222e;stroke-width:2}
.filter{fill:#faf7ff;stroke:#a78bda}.switch{fill:#eef5fd;stroke:#2f6fb3;stroke-width:2}
.dot,.plug{fill:#8c959f}.dot.good,.plug.good{fill:#2da44e}.dot.warn,.plug.warn{fill:#d4a72c}.dot.bad,.plug.bad{fill:#cf222e}.plug{stroke:#fff}
line{stroke:#57606a;stroke-width:2}.wire.gone{stroke:#afb8c1;stroke-dasharray:4 4}.wire.tunnel{stroke:#2f6fb3;stroke-width:4;stroke-dasharray:10 4}.hook{stroke:#a78bda;stroke-width:1.6}
`

// document returns the whole document.
func (d *svgDoc) document(title string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`, svgWidth, d.height, svgWidth, d.height)
	fmt.Fprintf(&b, "\n<title>%s</title>\n<style>%s</style>\n", escape(title), svgStyle)
	fmt.Fprintf(&b, `<rect x="0" y="0" width="%d" height="%d" style="fill:#fff;stroke:none"/>`+"\n", svgWidth, d.height)
	for _, p := range d.parts {
		b.WriteString(p)
		b.WriteByte('\n')
	}
	b.WriteString("</svg>\n")
	return b.String()
}
