package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	made := func(rates ...float64) *row {
		r := &row{name: "r"}
		for _, rate := range rates {
			r.samples = append(r.samples, sample{stream: rate})
		}
		return r
	}
	// The machine is twice as fast in the second round: that is no difference between the rows.
	tab := table{rows: []*row{made(100, 200, 150), made(90, 180, 150)}}
	if got := tab.rows[1].of(stream); got != (spread{150, 90, 180}) {
		t.Errorf("figure %v", got)
	}
	if got := tab.ratio(tab.rows[1], stream); got != (spread{0.9, 0.9, 1}) {
		t.Errorf("ratio %v", got)
	}
}

func TestMedianOfEvenlyManyIsBetweenTheMiddleTwo(t *testing.T) {
	if got := spreadOf([]float64{4, 1, 3, 2}); got != (spread{2.5, 1, 4}) {
		t.Errorf("got %v", got)
	}
}

func TestARowThatIsMissingIsNamedWithTheReason(t *testing.T) {
	tab := table{title: "T", rows: []*row{{name: "limit", samples: []sample{{stream: 1}}}}}
	if err := tab.add("floating IP", nil, missing("the API has none")); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	tab.markdown(&out)
	if !strings.Contains(out.String(), "Not measured: floating IP (the API has none).") || strings.Contains(out.String(), "| floating IP") {
		t.Errorf("got %s", out.String())
	}
	if err := tab.add("broken", nil, os.ErrInvalid); err == nil {
		t.Error("an error is no missing part")
	}
}

func TestTextAroundTheMarksStays(t *testing.T) {
	name := filepath.Join(t.TempDir(), "p.md")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + beginMark + "old\n" + endMark + "after\n")
	if err := replaceMarked(name, "new\n"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(name); string(b) != "before\n"+beginMark+"new\n"+endMark+"after\n" {
		t.Errorf("got %s", b)
	}
	write("no marks\n")
	if err := replaceMarked(name, "new\n"); err == nil {
		t.Error("a file without marks is refused")
	}
	if b, _ := os.ReadFile(name); string(b) != "no marks\n" {
		t.Errorf("it was changed: %s", b)
	}
}
