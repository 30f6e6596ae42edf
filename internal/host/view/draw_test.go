package view

import (
	"encoding/xml"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"weft/internal/testkit/golden"
)

// drawings are the hosts and options that have golden files.
var drawings = []struct {
	name string
	host func() *Host
	o    Options
}{
	{"compute1", compute1, Options{}},
	{"compute1-ascii", compute1, Options{ASCII: true}},
	{"compute1-rules", compute1, Options{Rules: true}},
	{"compute1-color", compute1, Options{Color: true}},
	{"empty", emptyHost, Options{}},
	{"twenty", func() *Host { return manyPorts(20) }, Options{}},
	{"trouble", troubledHost, Options{}},
	{"native", nativeHost, Options{}},
	{"network1", network1, Options{}},
	{"network2", network2, Options{}},
	{"routers", func() *Host { return manyRouters(3) }, Options{}},
}

func TestTextIsAsItWas(t *testing.T) {
	for _, d := range drawings {
		t.Run(d.name, func(t *testing.T) { golden.Check(t, filepath.Join("testdata", d.name+".txt"), Text(d.host(), d.o)) })
	}
}

func TestSVGIsAsItWas(t *testing.T) {
	for _, d := range drawings {
		if !d.o.ASCII && !d.o.Color {
			t.Run(d.name, func(t *testing.T) { golden.Check(t, filepath.Join("testdata", d.name+".svg"), SVG(d.host(), d.o)) })
		}
	}
}

// checkText asks of a text drawing what must hold for all: it fits a terminal, and nothing was drawn over anything.
func checkText(t interface {
	Errorf(string, ...any)
	Helper()
}, h *Host, o Options) {
	t.Helper()
	c := &canvas{width: Width}
	drawText(c, compose(h, o), o)
	if c.clashes > 0 {
		t.Errorf("%d characters were drawn over others:\n%s", c.clashes, c.text(o))
	}
	for line := range strings.Lines(c.text(Options{ASCII: o.ASCII})) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > Width {
			t.Errorf("a line of %d characters: %s", n, line)
		}
		if o.ASCII && len(line) != utf8.RuneCountInString(line) || strings.Contains(line, "?") {
			t.Errorf("not ASCII: %s", line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("spaces at the end of %q", line)
		}
	}
}

func (b box) overlaps(c box) bool {
	return b.x < c.x+c.w && c.x < b.x+b.w && b.y < c.y+c.h && c.y < b.y+b.h
}

func (b box) holds(c box) bool {
	return b.x <= c.x && c.x+c.w <= b.x+b.w && b.y <= c.y && c.y+c.h <= b.y+b.h
}

// checkSVG asks that no text lies on another or leaves its box, that boxes are side by side or one in the other, that
// no line crosses a text or a box, and that everything is on the page.
func checkSVG(t interface {
	Errorf(string, ...any)
	Helper()
}, h *Host, o Options) {
	t.Helper()
	d := newSVG()
	drawSVG(d, compose(h, o))
	page := box{0, 0, svgWidth, d.height}
	for i, a := range d.labels {
		if !page.holds(a) {
			t.Errorf("text %q at %v is not on the page %v", d.texts[i], a, page)
		}
		for j, b := range d.labels[:i] {
			if a.overlaps(b) {
				t.Errorf("text %q at %v lies on %q at %v", d.texts[i], a, d.texts[j], b)
			}
		}
		for _, b := range d.boxes {
			if a.overlaps(b) && !b.holds(a) {
				t.Errorf("text %q at %v crosses the edge of the box %v", d.texts[i], a, b)
			}
		}
	}
	for i, a := range d.boxes {
		if !page.holds(a) {
			t.Errorf("box %v is not on the page %v", a, page)
		}
		for _, b := range d.boxes[:i] {
			if a.overlaps(b) && !a.holds(b) && !b.holds(a) {
				t.Errorf("boxes %v and %v cross", a, b)
			}
		}
	}
	for _, l := range d.lines {
		ink := box{min(l[0], l[2]), min(l[1], l[3]) - 1, max(l[0], l[2]) - min(l[0], l[2]), max(l[1], l[3]) - min(l[1], l[3]) + 2}
		for _, b := range d.boxes {
			if ink.overlaps(b) && !b.holds(ink) {
				inner := box{b.x + 2, b.y + 2, b.w - 4, b.h - 4} // a line may end in an edge
				if ink.overlaps(inner) {
					t.Errorf("line %v crosses the box %v", l, b)
				}
			}
		}
		for i, a := range d.labels {
			if ink.overlaps(a) {
				t.Errorf("line %v crosses the text %q at %v", l, d.texts[i], a)
			}
		}
	}
	// Well formed, and without anything that a viewer would fetch or run.
	dec := xml.NewDecoder(strings.NewReader(SVG(h, o)))
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Errorf("not well formed: %v", err)
			return
		}
		if e, ok := tok.(xml.StartElement); ok && slices.Contains([]string{"script", "image", "use", "a", "foreignObject"}, e.Name.Local) {
			t.Errorf("element %s", e.Name.Local)
		}
	}
}

func TestDrawingsHoldTogetherAtEverySize(t *testing.T) {
	hosts := map[string]*Host{"empty": emptyHost(), "reference": compute1(), "trouble": troubledHost(), "native": nativeHost(), "gateway": network1(), "second gateway": network2(), "zero": {}}
	for _, n := range []int{1, 2, 4, 5, 12, 13, 20, 200} {
		hosts[fmt.Sprintf("%d ports", n)] = manyPorts(max(n, 1))
	}
	for _, n := range []int{1, 3, 4, 5, 12, 13, 40} {
		hosts[fmt.Sprintf("%d routers", n)] = manyRouters(n)
	}
	for name, h := range hosts {
		t.Run(name, func(t *testing.T) {
			for _, o := range []Options{{}, {All: true}, {Rules: true}, {ASCII: true}} {
				checkText(t, h, o)
				checkSVG(t, h, o)
			}
		})
	}
}

// TestDrawingsHoldTogetherWhateverTheHost draws hosts with names, numbers and gaps that no host should have.
func TestDrawingsHoldTogetherWhateverTheHost(t *testing.T) {
	word := rapid.StringMatching(`[a-zA-Z0-9 .:-]{0,70}`)
	count := rapid.Custom(func(t *rapid.T) Count {
		return Count{rapid.Uint64().Draw(t, "packets"), rapid.Uint64().Draw(t, "bytes")}
	})
	rapid.Check(t, func(t *rapid.T) {
		h := manyPorts(rapid.IntRange(1, 16).Draw(t, "ports"))
		h.Name = word.Draw(t, "host")
		h.Problems = rapid.SliceOfN(word, 0, 3).Draw(t, "problems")
		for i := range h.Ports {
			p := &h.Ports[i]
			p.State = rapid.SampledFrom([]State{Active, Waiting, Failed}).Draw(t, "state")
			p.Reason, p.VMName, p.VMUUID = word.Draw(t, "reason"), word.Draw(t, "vm"), word.Draw(t, "uuid")
			p.VLAN = rapid.IntRange(0, 4094).Draw(t, "vlan")
			keep := rapid.IntRange(1, 4).Draw(t, "devices")
			p.Devices = p.Devices[len(p.Devices)-keep:]
			for j := range p.Devices {
				d := &p.Devices[j]
				d.Present, d.Up = rapid.Bool().Draw(t, "present"), rapid.Bool().Draw(t, "up")
				d.Rx, d.Tx, d.OFPort = count.Draw(t, "rx"), count.Draw(t, "tx"), rapid.IntRange(-1, 65279).Draw(t, "ofport")
			}
			if rapid.Bool().Draw(t, "no chains") {
				p.Chains = nil
			}
			for j := range p.Chains {
				p.Chains[j].Entered = count.Draw(t, "seen")
			}
		}
		for i := range h.Tunnels {
			h.Tunnels[i].RemoteName, h.Tunnels[i].Error = word.Draw(t, "remote"), word.Draw(t, "error")
		}
		o := Options{All: rapid.Bool().Draw(t, "all"), Rules: rapid.Bool().Draw(t, "rules"), ASCII: rapid.Bool().Draw(t, "ascii")}
		checkText(t, h, o)
		checkSVG(t, h, o)
	})
}

func TestWhatIsInTroubleIsShownFirst(t *testing.T) {
	h := manyPorts(200)
	text := Text(h, Options{})
	if !strings.Contains(text, "qbr"+h.Ports[198].ID[:11]+" is down") {
		t.Errorf("port 199 of 200 has failed and is not shown:\n%s", text)
	}
	if !strings.Contains(text, "... and 188 more: 188 active (--all shows them)") {
		t.Errorf("it is not said what is left out:\n%s", text)
	}
	all := Text(h, Options{All: true})
	for _, p := range h.Ports {
		if !strings.Contains(all, p.Devices[3].Name) {
			t.Errorf("--all lacks %s", p.Devices[3].Name)
		}
	}
}

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 9999: "9999", 10_000: "10k", 999_499: "999k", 999_500: "1.0M", 1_500_000: "1.5M", 9_960_000: "10M", 1<<64 - 1: "18E"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_999: "1.0 MB", 1<<64 - 1: "18 EB"} {
		if got := octets(n); got != want {
			t.Errorf("octets(%d) = %s, want %s", n, got, want)
		}
	}
}
