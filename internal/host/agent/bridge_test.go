package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"weft/internal/host/flow"
	"weft/internal/host/ovs/openflow"
	"weft/internal/testkit/ovstest"
)

// connectBridge returns br-int of a new switch, connected and greeted.
func connectBridge(t testing.TB, packet func(openflow.PacketIn)) (*ovstest.Switch, *bridge) {
	t.Helper()
	sw := ovstest.Start(t)
	sw.AddBridge("br-int")
	connected := make(chan struct{}, 1)
	br := newBridge("br-int", sw.Mgmt("br-int"), func() {
		select {
		case connected <- struct{}{}:
		default:
		}
	}, packet, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { br.client.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	<-connected
	if err := br.greet(ctx); err != nil {
		t.Fatal(err)
	}
	return sw, br
}

// TestALookAtFlowsSeesDamage, both when the flows have to be read one by one, after a change of ours, and when they only have to
// be the same as the last time. What others have there is not damage.
func TestALookAtFlowsSeesDamage(t *testing.T) {
	sw, br := connectBridge(t, func(openflow.PacketIn) {})
	parse := func(lines ...string) (out []flow.Flow) {
		for _, l := range lines {
			f, err := flow.Parse(l)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, f)
		}
		return out
	}
	few := parse("cookie=0x57e7070000000000, table=0, priority=0 actions=drop", "cookie=0x57e7020000000001, table=60, priority=5,dl_vlan=7 actions=output:9")
	more := append(parse("cookie=0x57e7020000000002, table=60, priority=5,dl_vlan=8 actions=output:9"), few...)
	sync := func(flows []flow.Flow) {
		t.Helper()
		if err := br.sync(t.Context(), want{flows: flows}, true); err != nil {
			t.Fatal(err)
		}
	}
	look := func(what string, want bool) {
		t.Helper()
		if asLeft, err := br.look()(t.Context()); err != nil || asLeft != want {
			t.Errorf("%s: as left %v (%v), want %v", what, asLeft, err, want)
		}
	}
	for _, c := range []struct {
		what   string
		damage []string
		asLeft bool
	}{
		{"a flow is gone", []string{"--strict", "del-flows", "br-int", "table=60,priority=5,dl_vlan=7"}, false},
		{"a flow has other actions", []string{"--strict", "mod-flows", "br-int", "table=60,priority=5,dl_vlan=7 actions=drop"}, false},
		{"a flow is too much", []string{"add-flow", "br-int", "cookie=0x57e7020000000003,table=60,priority=6 actions=drop"}, false},
		{"another's flow", []string{"add-flow", "br-int", "cookie=0x1,table=61,priority=6 actions=drop"}, true},
		{"a learned flow", []string{"add-flow", "br-int", "cookie=0x57e7080000000000,table=61,priority=7 actions=drop"}, true},
	} {
		for _, before := range []int{-1, 0, 1, 2} { // looks that have found all in order; -1: the agent has read it so
			br.repair(t.Context())
			sync(few)
			sync(more)
			if before < 0 {
				br.repair(t.Context())
				sync(more)
			}
			for range before {
				look("before", true)
			}
			sw.Ofctl(c.damage...)
			look(c.what, c.asLeft)
		}
	}
}
