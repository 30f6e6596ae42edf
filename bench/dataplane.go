package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/bench/benchlab"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// runTime is how long one measurement sends, in seconds, and rounds how often each path is measured, in turn: what else
// the machine does meets all of them.
const (
	runTime = 3
	rounds  = 3
)

// The paths that are compared.
const (
	pathWeft   = "Weft"
	pathHybrid = "bare switch, same devices (tap, qbr, qvb, qvo)"
	pathDirect = "bare switch, guest's card straight on it"
)

var (
	paths = []string{pathWeft, pathHybrid, pathDirect}
	modes = map[string]vif.Mode{pathHybrid: vif.Hybrid, pathDirect: vif.Direct}
)

var peerThroughput = map[int]float64{1: 375, idlePorts: 90} // Mbit/s, the better of the runs

// dataplaneFew measures throughput with one port on each host.
func (w *world) dataplaneFew(ctx context.Context) (err error) {
	w.throughputFew, err = w.throughput(ctx, len(w.idle)+1)
	return err
}

// dataplaneMany measures throughput with many idle ports of the network on one of the hosts, and that those see nothing of it.
func (w *world) dataplaneMany(ctx context.Context) error {
	if err := w.fillIdle(ctx, idlePorts); err != nil {
		return err
	}
	time.Sleep(time.Second)
	before, err := w.seen()
	if err != nil {
		return err
	}
	many, err := w.throughput(ctx, len(w.idle))
	if err != nil {
		return err
	}
	after, err := w.seen()
	if err != nil {
		return err
	}
	sum, worst := grown(before, after)
	// An address that nobody has is asked for by broadcast: that the idle ports must see, or their counters prove nothing.
	w.lab.VMOutput(ctx, guestA, "ping", "-c", "1", "-W", "1", "10.40.255.250")
	control, err := w.seen()
	if err != nil {
		return err
	}
	if reached, _ := grown(after, control); reached < uint64(len(w.idle)) {
		return fmt.Errorf("a broadcast reached %d of %d idle ports", reached, len(w.idle))
	}
	sent := many[pathWeft] * 1e6 * runTime * rounds / 8 / mtu
	w.add(figure{name: fmt.Sprintf("frames at %d idle ports meanwhile: all, most at one", len(w.idle)), measured: fmt.Sprintf("%d, %d", sum, worst), aim: "no unicast"})
	if float64(worst) > sent/100 {
		return fmt.Errorf("an idle port saw %d frames while two guests exchanged %.0f: known unicast is flooded", worst, sent)
	}
	for _, path := range paths {
		w.add(figure{name: fmt.Sprintf("TCP over GRE, %d idle ports ÷ 1 port: %s", len(w.idle), path), measured: fmt.Sprintf("%.2f", many[path]/w.throughputFew[path])})
	}
	return nil
}

// grown is how much counters have grown: all together, and the one that grew most.
func grown(before, after []uint64) (sum, most uint64) {
	for i := range before {
		sum += after[i] - before[i]
		most = max(most, after[i]-before[i])
	}
	return sum, most
}

// seen counts, for each idle port, the frames that the switch has sent towards it.
func (w *world) seen() ([]uint64, error) {
	out := make([]uint64, len(w.idle))
	for i, p := range w.idle {
		c, err := w.one.Links.Counters(vif.NamesOf(p.ID).BridgeEnd)
		if err != nil {
			return nil, err
		}
		out[i] = c.RxPackets
	}
	return out, nil
}

// throughput measures TCP between two guests: Weft's, then those of a bare switch on the same hosts with the same tunnel.
func (w *world) throughput(ctx context.Context, ports int) (map[string]float64, error) {
	all := map[string][]float64{}
	for round := range rounds {
		w.step("TCP between guests, %d port%s on compute1, round %d of %d", ports, plural(ports), round+1, rounds)
		mbit, err := w.guests(ctx)
		if err != nil {
			return nil, err
		}
		all[pathWeft] = append(all[pathWeft], mbit)
		for _, path := range paths[1:] {
			if mbit, err = w.bare(ctx, modes[path]); err != nil {
				return nil, err
			}
			all[path] = append(all[path], mbit)
		}
	}
	median := map[string]float64{}
	for _, path := range paths {
		sorted := slices.Sorted(slices.Values(all[path]))
		median[path] = sorted[rounds/2]
		f := figure{
			name:     fmt.Sprintf("TCP over GRE, %d port%s on the host: %s", ports, plural(ports), path),
			measured: fmt.Sprintf("%.0f (%.0f–%.0f) Mbit/s", median[path], sorted[0], sorted[rounds-1]),
		}
		if peer := peerThroughput[ports]; path == pathWeft && peer > 0 {
			f.peer, f.ratio = fmt.Sprintf("%.0f Mbit/s", peer), ratio(median[path], peer)
		}
		w.add(f)
	}
	return median, nil
}

// guests measures between the two guests.
func (w *world) guests(ctx context.Context) (float64, error) {
	a, err := w.one.Guest(guestA)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	b, err := w.two.Guest(guestB)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	return benchlab.Iperf(ctx, a, b, w.b.IP, runTime)
}

// bare measures between two guests on switches with one NORMAL flow, joined by a GRE tunnel.
func (w *world) bare(ctx context.Context, mode vif.Mode) (mbit float64, err error) {
	pair := benchlab.BarePair{Hosts: [2]*benchlab.Host{w.one, w.two}, Tunnel: model.TypeGRE, Mode: mode, MTU: mtu}
	defer func() { err = errors.Join(err, pair.Close()) }()
	from, to, addr, err := pair.Open(ctx)
	if err != nil {
		return 0, err
	}
	return benchlab.Iperf(ctx, from, to, addr, runTime)
}
