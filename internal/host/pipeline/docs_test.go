package pipeline

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"weft/internal/host/flow"
)

// TestEveryTableIsDocumented keeps docs/pipeline.md complete, both ways.
func TestEveryTableIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/pipeline.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for line := range strings.Lines(string(doc)) {
		if h, found := strings.CutPrefix(strings.TrimSpace(line), "### "); found && strings.Contains(h, " table ") {
			headings[h] = true
		}
	}
	for _, table := range Tables() {
		h := fmt.Sprintf("%s table %d: %s", table.Bridge, table.Number, table.Name)
		if !headings[h] {
			t.Errorf("docs/pipeline.md has no section %q", h)
		}
		delete(headings, h)
	}
	for h := range headings {
		t.Errorf("docs/pipeline.md has a section %q, and there is no such table", h)
	}
	for _, reg := range []flow.Field{RegNetwork, RegLookup, RegPort, RegSide, RegRouter, RegScope, RegTooBig} {
		if !strings.Contains(string(doc), "| `"+reg.String()+"` |") {
			t.Errorf("docs/pipeline.md does not explain %s", reg)
		}
	}
}

// TestEveryFlowIsInAKnownTable ties Tables to the flows.
func TestEveryFlowIsInAKnownTable(t *testing.T) {
	known := map[string]bool{}
	for _, table := range Tables() {
		known[fmt.Sprint(table.Bridge, table.Number)] = true
	}
	for name, in := range scenarios() {
		out := Compute(in)
		for kind, flows := range map[BridgeKind][]flow.Flow{BridgeInt: out.BrInt, BridgeTun: out.BrTun, BridgePhysical: out.Physical["br-ex"]} {
			for _, f := range flows {
				if !known[fmt.Sprint(kind, f.Table)] {
					t.Errorf("%s: a flow in an unknown table of %s: %s", name, kind, f)
				}
			}
		}
	}
}
