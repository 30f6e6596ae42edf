package main

import (
	"context"
	"fmt"
	"time"

	"weft/bench/apibench"
	"weft/bench/benchlab"
)

// stream measures what a host is sent when a group of a thousand, which its port's rules refer to, gets one member more.
func (w *world) stream(ctx context.Context) error {
	w.step("making a remote group of 1,000 members")
	group, err := w.api.Create(ctx, "/security-groups", "security_group", apibench.Object{"name": "thousand"})
	if err != nil {
		return err
	}
	_, err = w.api.Create(ctx, "/security-group-rules", "security_group_rule", apibench.Object{
		"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "remote_group_id": group,
	})
	if err != nil {
		return err
	}
	network, err := benchlab.MakeNetwork(ctx, w.api, "10.41.0.0/16", apibench.Object{"name": "thousand"})
	if err != nil {
		return err
	}
	groups := []string{group}
	if _, err := benchlab.MakePorts(ctx, w.api, network, 999, apibench.Object{"security_groups": groups}); err != nil {
		return err
	}
	if _, err := benchlab.MakePorts(ctx, w.api, network, 1, apibench.Object{"security_groups": groups, "binding:host_id": "compute1"}); err != nil {
		return err
	}
	var sizes, deltas float64
	const members = 10
	for range members {
		before, err := w.quiet(ctx)
		if err != nil {
			return err
		}
		if _, err := benchlab.MakePorts(ctx, w.api, network, 1, apibench.Object{"security_groups": groups}); err != nil {
			return err
		}
		err = benchlab.Wait(ctx, "the host is told of the member", time.Millisecond, func() (bool, error) {
			m, err := w.serverMetrics(ctx)
			return m[sentBytes] > before[sentBytes], err
		})
		if err != nil {
			return err
		}
		after, err := w.quiet(ctx)
		if err != nil {
			return err
		}
		sizes += after[sentBytes] - before[sentBytes]
		deltas += after[sentDeltas] - before[sentDeltas]
	}
	w.add(figure{name: "bytes to a host for one more member of a 1,000-member group", measured: fmt.Sprintf("%.0f in %.1f messages", sizes/members, deltas/members)})
	return nil
}

const sentBytes, sentDeltas = "weft_dispatch_sent_bytes_total", "weft_dispatch_deltas_total"

// quiet returns the server's figures once nothing has been sent for a while.
func (w *world) quiet(ctx context.Context) (now map[string]float64, err error) {
	last := -1.0
	err = benchlab.Wait(ctx, "the server has nothing more to send", 200*time.Millisecond, func() (bool, error) {
		if now, err = w.serverMetrics(ctx); err != nil {
			return false, err
		}
		was := last
		last = now[sentBytes]
		return last == was, nil
	})
	return now, err
}
