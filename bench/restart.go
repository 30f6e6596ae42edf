package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weft/bench/benchlab"
	"weft/internal/lab"
)

// writes are the agent's counters of what it changed on its host.
var writes = []string{
	"weft_agent_ovsdb_writes_total", "weft_agent_firewall_writes_total",
	`weft_agent_flow_mods_total{bridge="br-int"}`, `weft_agent_flow_mods_total{bridge="br-tun"}`,
}

// restart measures the restart of the agent of a full host. It is in sync when the server has taken in all that it
// reports about its ports, which it does after all writes.
func (w *world) restart(ctx context.Context) error {
	if err := w.fillIdle(ctx, idlePorts); err != nil {
		return err
	}
	time.Sleep(time.Second)
	w.step("restarting the agent of compute1 with %d ports", len(w.idle)+1)
	stopPing := w.pinging(ctx)
	time.Sleep(500 * time.Millisecond)
	if err := w.lab.Stop(ctx, "compute1", lab.Agent); err != nil {
		return err
	}
	before, err := w.serverMetrics(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.lab.Start(ctx, "compute1", lab.Agent); err != nil {
		return err
	}
	took, err := w.lastReport(ctx, began, before[reporting])
	if err != nil {
		return err
	}
	used, err := w.agentCPU()
	if err != nil {
		return err
	}
	m, err := agentMetrics(ctx, w.one)
	if err != nil {
		return err
	}
	if m["weft_agent_session_up"] != 1 {
		return fmt.Errorf("the agent has no session")
	}
	sent, lost, err := stopPing()
	if err != nil {
		return err
	}
	w.time("agent restart, 200 ports: in sync after its start", took, "< 1 s", 136*time.Second)
	w.time("agent restart, 200 ports: CPU until 2 s after that", used, "< 500 ms", 61*time.Second)
	sum := 0.0
	for _, name := range writes {
		n, ok := m[name]
		if !ok {
			return fmt.Errorf("the agent does not count %s", name)
		}
		sum += n
	}
	w.add(figure{name: "agent restart, 200 ports: writes to the host", measured: fmt.Sprintf("%.0f", sum), aim: "0"})
	w.add(figure{"agent restart, 200 ports: lost of a 10 ms ping", fmt.Sprintf("%d of %d", lost, sent), "0", "0 and 3", ""})
	stopPing = w.pinging(ctx)
	time.Sleep(4 * time.Second)
	if sent, lost, err = stopPing(); err != nil {
		return err
	}
	w.add(figure{name: "  the same ping without a restart", measured: fmt.Sprintf("%d of %d", lost, sent)})
	return nil
}

// lastReport returns when, after began, the server took in the last report of compute1's ports: of each of them, and
// then none for two seconds. An agent reports once for the view that it recalls and again for the one that it is sent.
func (w *world) lastReport(ctx context.Context, began time.Time, before float64) (took time.Duration, err error) {
	seen := before
	// To ask more often would take a quarter of two cores from those who are measured.
	err = benchlab.Wait(ctx, "the agent is in sync", 25*time.Millisecond, func() (bool, error) {
		m, err := w.serverMetrics(ctx)
		if err != nil {
			return false, err
		}
		if m[reporting] != seen {
			seen, took = m[reporting], time.Since(began)
		}
		return seen-before >= float64(len(w.idle)+1) && time.Since(began)-took > 2*time.Second, nil
	})
	return took, err
}

// agentCPU is what the agent of compute1 and the commands that it ran have used since its start.
func (w *world) agentCPU() (time.Duration, error) {
	pid, err := w.lab.PID("compute1", lab.Agent)
	if err != nil {
		return 0, err
	}
	own, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	children, err := childTime(pid)
	return own + children, err
}

// agentMemory measures the agent of a full host.
func (w *world) agentMemory(ctx context.Context) error {
	if err := w.fillIdle(ctx, idlePorts); err != nil {
		return err
	}
	w.step("memory of the agent with %d ports", len(w.idle)+1)
	time.Sleep(10 * time.Second) // it gives back what it has left behind when it rests
	pid, err := w.lab.PID("compute1", lab.Agent)
	if err != nil {
		return err
	}
	m, err := memoryOf(pid)
	if err != nil {
		return err
	}
	const peer = 328 // with 50 ports
	w.add(figure{"memory of the agent, 200 ports", fmt.Sprintf("%.0f MiB (most: %.0f)", m.now, m.most), "< 40 MB", fmt.Sprintf("%d MiB (50 ports)", peer), ratio(peer, m.now)})
	w.add(figure{name: "  of it its own, and pages of the program's file", measured: fmt.Sprintf("%.0f and %.0f MiB", m.anon, m.file)})
	return nil
}

var pinged = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// pinging pings from guest to guest every 10 ms until it is stopped.
func (w *world) pinging(ctx context.Context) (stop func() (sent, lost int, err error)) {
	const pidFile = "/run/weft-bench-ping"
	var out bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		// At SIGINT it prints how many were answered; its exit status says the same.
		w.lab.VMExec(ctx, guestA, lab.Streams{Out: &out}, "sh", "-c", "echo $$ >"+pidFile+"; exec ping -q -i 0.01 "+w.b.IP.String())
	}()
	return func() (int, int, error) {
		if _, err := w.lab.VMOutput(ctx, guestA, "sh", "-c", "kill -INT $(cat "+pidFile+"); rm "+pidFile); err != nil {
			return 0, 0, err
		}
		<-done
		m := pinged.FindStringSubmatch(out.String())
		if m == nil {
			return 0, 0, fmt.Errorf("ping printed %q", strings.TrimSpace(out.String()))
		}
		sent, _ := strconv.Atoi(m[1])
		received, _ := strconv.Atoi(m[2])
		// One may have been under way when it was ended.
		return sent, max(0, sent-received-1), nil
	}
}
