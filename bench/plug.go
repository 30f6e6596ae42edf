package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/bench/apibench"
	"weft/bench/benchlab"
	"weft/internal/host/vif"
)

// plug measures from the port's transaction with the switch's database to ACTIVE in the API.
func (w *world) plug(ctx context.Context) error {
	w.step("plugging 20 ports one after the other")
	ports, err := benchlab.MakePorts(ctx, w.api, w.network, 70, apibench.Object{"binding:host_id": "compute1"})
	if err != nil {
		return err
	}
	w.idle = append(w.idle, ports...)
	if err := w.one.Prepare(ctx, mtu, ports); err != nil {
		return err
	}
	time.Sleep(time.Second) // the view with these ports has come, and the machine is at rest
	took := make([]time.Duration, 20)
	for i, p := range ports[:20] {
		began := time.Now()
		if err := w.one.Insert(ctx, "br-int", vif.Hybrid, mtu, p); err != nil {
			return err
		}
		if err := w.active(ctx, p); err != nil {
			return err
		}
		took[i] = time.Since(began)
		time.Sleep(100 * time.Millisecond)
	}
	w.time("port plugged → ACTIVE: p50 of 20", benchlab.Percentile(took, .5), "< 30 ms", 1400*time.Millisecond)
	w.time("port plugged → ACTIVE: p90 of 20", benchlab.Percentile(took, .9), "", 2330*time.Millisecond)

	w.step("plugging 50 ports at once")
	before, err := agentMetrics(ctx, w.one)
	if err != nil {
		return err
	}
	began := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range ports[20:] { // a transaction each, as many instances at once would
		g.Go(func() error { return w.one.Insert(gctx, "br-int", vif.Hybrid, mtu, p) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	inserted := time.Since(began)
	if err := w.allActive(ctx); err != nil {
		return err
	}
	burst := time.Since(began)
	after, err := agentMetrics(ctx, w.one)
	if err != nil {
		return err
	}
	w.time("burst of 50 ports → all ACTIVE", burst, "< 400 ms", 12700*time.Millisecond)
	const passes, seconds = "weft_agent_passes_total", "weft_agent_pass_seconds_sum"
	w.add(figure{name: "  of it: 50 transactions with the switch's database", measured: round(inserted)})
	w.add(figure{name: "  of it: the agent's comparisons and writes", measured: fmt.Sprintf("%.0f in %s", after[passes]-before[passes], round(time.Duration((after[seconds]-before[seconds])*1e9)))})
	return nil
}

// active asks every millisecond until a port is ACTIVE.
func (w *world) active(ctx context.Context, p benchlab.Port) error {
	return benchlab.Wait(ctx, "port "+p.ID.String()+" is ACTIVE", time.Millisecond, func() (bool, error) {
		var out struct{ Port struct{ Status string } }
		err := w.api.Get(ctx, "/ports/"+p.ID.String()+"?fields=status", &out)
		return out.Port.Status == "ACTIVE", err
	})
}
