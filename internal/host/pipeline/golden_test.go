package pipeline

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/host/flow"
	"weft/internal/testkit/golden"
)

func text(flows []flow.Flow) string {
	var b strings.Builder
	for _, f := range flows {
		b.WriteString(f.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func dump(out Output) string {
	var b strings.Builder
	b.WriteString("# br-int\n" + text(out.BrInt) + "# br-tun\n" + text(out.BrTun))
	for _, bridge := range []string{"br-ex"} {
		b.WriteString("# " + bridge + "\n" + text(out.Physical[bridge]))
	}
	for _, id := range out.Meters {
		fmt.Fprintf(&b, "# meter %d\n", id)
	}
	for _, t := range out.Tunnels {
		b.WriteString("# tunnel " + string(t.Type) + " " + t.Remote.String() + "\n")
	}
	for _, p := range out.Problems {
		b.WriteString("# problem " + p.Object.ID.String() + ": " + p.Reason + "\n")
	}
	return b.String()
}

// TestGoldens keeps the flows of each scenario in sight. Run with -update, then
// read the difference.
func TestGoldens(t *testing.T) {
	for name, in := range scenarios() {
		t.Run(name, func(t *testing.T) {
			golden.Check(t, filepath.Join("testdata", name+".txt"), dump(Compute(in)))
		})
	}
}
