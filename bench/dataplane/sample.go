package main

import (
	"context"
	"errors"
	"time"

	"weft/bench/benchlab"
	"weft/bench/probe"
)

// The figures of a sample.
const (
	stream     = iota // TCP, Mbit/s
	streamWork        // CPU time a megabyte of it in the switches and both ends, ms
	packets           // a second
	packetWork        // CPU time a packet, µs
	udp50             // round trips, µs
	udp99             //
	tcp50             //
	tcp99             //
	icmp50            //
	icmp99            //
	opened50          // TCP connections, µs
	opened99          //
	figures
)

// sample is what one visit to a row measures.
type sample [figures]float64

// How much a visit measures. Each row is visited once a round: more rounds say more than longer visits.
const (
	streamSeconds = 1
	packetTime    = 400 * time.Millisecond
	window        = 64 // packets under way
	trips         = 400
	echoes        = 200
	settling      = 200 * time.Millisecond // until agents have reported what was plugged
)

// path is what a row measures.
type path struct {
	probe.Path
	close func() error
}

// measureRow plugs a row in, measures it once and takes it away.
func (w *world) measureRow(ctx context.Context, r *row) (err error) {
	p, err := r.open(ctx)
	defer func() {
		if p.close != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if err != nil {
		return err
	}
	if err := benchlab.Reach(ctx, p.From, p.Addr); err != nil {
		return err
	}
	time.Sleep(settling)
	before, err := w.gateway.Links.Counters(underlay)
	if err != nil {
		return err
	}
	s, err := w.measure(ctx, p.Path)
	if err != nil {
		return err
	}
	after, err := w.gateway.Links.Counters(underlay)
	if err != nil {
		return err
	}
	if r.local && after.RxPackets-before.RxPackets > trips {
		r.absent, r.samples = "its packets pass the gateway host: they are not yet routed where the guests are", nil
		return nil
	}
	r.samples = append(r.samples, s)
	return nil
}

// measure takes a sample.
func (w *world) measure(ctx context.Context, p probe.Path) (s sample, err error) {
	trip, err := p.UDP(trips)
	if err != nil {
		return s, err
	}
	s[udp50], s[udp99] = percentiles(trip)
	opened, trip, err := p.TCP(trips / 2)
	if err != nil {
		return s, err
	}
	s[tcp50], s[tcp99] = percentiles(trip)
	s[opened50], s[opened99] = percentiles(opened)
	if trip, err = p.ICMP(ctx, echoes); err != nil {
		return s, err
	}
	s[icmp50], s[icmp99] = percentiles(trip)
	used, err := w.cpuTime(func() (err error) {
		s[packets], err = p.Packets(window, packetTime)
		return err
	})
	if err != nil {
		return s, err
	}
	s[packetWork] = micros(used) / (s[packets] * packetTime.Seconds())
	used, err = w.cpuTime(func() (err error) {
		s[stream], err = benchlab.Iperf(ctx, p.From, p.To, p.Addr, streamSeconds)
		return err
	})
	s[streamWork] = micros(used) / 1e3 / (s[stream] * streamSeconds / 8)
	return s, err
}

// cpuTime is the CPU time that forwarding takes while do runs: of all switches, and of this process and its children,
// which are both ends. What the kernel does for a packet is counted where it was sent. Other work on the machine makes
// everything slower, but costs none of this time.
func (w *world) cpuTime(do func() error) (time.Duration, error) {
	before, err := w.usedTime()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := w.usedTime()
	return after - before, err
}

func (w *world) usedTime() (sum time.Duration, err error) {
	if sum, err = benchlab.SelfTime(); err != nil {
		return 0, err
	}
	for _, h := range w.hosts() {
		t, err := h.SwitchTime()
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// percentiles are the middle and the 99th of a hundred, in µs.
func percentiles(all []time.Duration) (p50, p99 float64) {
	return micros(benchlab.Percentile(all, .5)), micros(benchlab.Percentile(all, .99))
}
