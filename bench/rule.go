package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"weft/bench/apibench"
	"weft/bench/benchlab"
)

// firstPort is the first TCP port that the measured rules open.
const firstPort = 20000

// ruleFew measures rules on a host with one port.
func (w *world) ruleFew(ctx context.Context) error {
	return w.rule(ctx, "1 port on the host", firstPort, "< 30 ms", [2]time.Duration{1030 * time.Millisecond, 1980 * time.Millisecond})
}

// ruleMany measures rules on a full host. Each rule of the default group is in the chains of all its ports.
func (w *world) ruleMany(ctx context.Context) error {
	if err := w.fillIdle(ctx, idlePorts); err != nil {
		return err
	}
	time.Sleep(time.Second)
	return w.rule(ctx, fmt.Sprintf("%d ports on the host", idlePorts), firstPort+1000, "< 50 ms", [2]time.Duration{1500 * time.Millisecond, 15400 * time.Millisecond})
}

// rule measures from the answer 201 to the rule in the chain of the guest's port.
func (w *world) rule(ctx context.Context, where string, first int, aim string, peer [2]time.Duration) error {
	w.step("creating 20 rules with %s", where)
	name := "neutron-openvswi-i" + w.a.ID.ChainSuffix()
	var took, polls []time.Duration
	var rules []string
	for i := range 20 {
		id, err := w.api.Create(ctx, "/security-group-rules", "security_group_rule", apibench.Object{
			"security_group_id": w.group, "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
			"port_range_min": first + i, "port_range_max": first + i,
		})
		if err != nil {
			return err
		}
		began := time.Now()
		rules = append(rules, id)
		err = benchlab.Wait(ctx, "the rule is in the table", 0, func() (bool, error) {
			asked := time.Now()
			text, err := chain(ctx, w.one, name)
			polls = append(polls, time.Since(asked))
			return strings.Contains(text, fmt.Sprintf("--dport %d ", first+i)), err
		})
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
		time.Sleep(150 * time.Millisecond) // beyond the agent's second look at connections
	}
	w.time("rule created → in the host's table, "+where+": p50", benchlab.Percentile(took, .5), aim, peer[0])
	w.time("rule created → in the host's table, "+where+": max", benchlab.Percentile(took, 1), "", peer[1])
	w.add(figure{name: "  one look at the table (iptables -S CHAIN), part of the above", measured: round(benchlab.Percentile(polls, .5))})
	for _, id := range rules {
		if _, err := w.api.Do(ctx, "DELETE", "/security-group-rules/"+id, 204, nil); err != nil {
			return err
		}
	}
	return nil
}

// chain prints a chain of a host's filter table.
func chain(ctx context.Context, h *benchlab.Host, name string) (string, error) {
	return benchlab.Run(ctx, h.Links, "iptables", "-w", "-S", name)
}
