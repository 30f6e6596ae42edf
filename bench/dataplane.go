package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/host/link"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// The guests of the bare switch: namespaces of the machine, so that the lab knows nothing of them.
const (
	bareA, bareB = "wbench-bare-a", "wbench-bare-b"
	bareBridge   = "br-bare"
	// bareKey is the GRE key of the bare tunnel: the server gives out no such key.
	bareKey = "4000000000"
)

// runTime is how long one measurement sends, in seconds, and rounds how often each path is measured, in turn: what else
// the machine does meets all of them.
const (
	runTime = "3"
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
	sent := many[pathWeft] * 1e6 * 3 * rounds / 8 / mtu
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
		c, err := w.one.links.Counters(vif.NamesOf(p.ID).BridgeEnd)
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
		mbit, err := w.iperf(ctx, w.inLab(guestA), w.inLab(guestB), w.b.IP)
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

// place runs a command somewhere and returns what it prints.
type place func(ctx context.Context, argv ...string) (string, error)

func (w *world) inLab(guest string) place {
	return func(ctx context.Context, argv ...string) (string, error) { return w.lab.VMOutput(ctx, guest, argv...) }
}

func inNetns(n *link.Namespace) place {
	return func(ctx context.Context, argv ...string) (string, error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := n.Do(cmd.Start); err != nil {
			return "", err
		}
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, errOut.String())
		}
		return out.String(), err
	}
}

// iperf returns the TCP throughput from one guest to another in Mbit/s.
func (w *world) iperf(ctx context.Context, from, to place, addr netip.Addr) (float64, error) {
	serving, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		to(serving, "iperf3", "-s", "-1")
	}()
	defer func() { stop(); <-done }()
	err := wait(ctx, "the guest listens", 20*time.Millisecond, func() (bool, error) {
		text, err := to(ctx, "ss", "-Htln", "sport = 5201")
		return strings.Contains(text, ":5201"), err
	})
	if err != nil {
		return 0, err
	}
	text, err := from(ctx, "iperf3", "-c", addr.String(), "-t", runTime, "-J")
	if err != nil {
		return 0, fmt.Errorf("%w: %.500s", err, text)
	}
	var out struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return 0, err
	}
	return out.End.Received.Rate / 1e6, nil
}

// bareGuest is a guest of the bare switch.
type bareGuest struct {
	host          *host
	name          string
	id            byte
	local, remote string // tunnel addresses
}

func (g bareGuest) port() port {
	return port{ID: model.PortID{UUID: model.UUID{0xba, 0x5e, g.id}}, MAC: model.MAC{0xfa, 0x16, 0x3e, 0xba, 0x5e, g.id}}
}

func (g bareGuest) addr() netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, g.id}) }

// bare measures between two guests on switches with one NORMAL flow, joined by a GRE tunnel.
func (w *world) bare(ctx context.Context, mode vif.Mode) (mbit float64, err error) {
	one, two, err := w.tunnelAddrs()
	if err != nil {
		return 0, err
	}
	guests := []bareGuest{{w.one, bareA, 1, one, two}, {w.two, bareB, 2, two, one}}
	var places []place
	for _, g := range guests {
		defer func() { err = errors.Join(err, w.removeBare(g)) }()
		if err := w.makeBare(ctx, g, mode); err != nil {
			return 0, err
		}
		n, err := link.OpenNetns(vif.GuestNetns(g.name))
		if err != nil {
			return 0, err
		}
		defer n.Close()
		if err := n.EnsureAddr(vif.GuestDevice, netip.PrefixFrom(g.addr(), 24)); err != nil {
			return 0, err
		}
		places = append(places, inNetns(n))
	}
	err = wait(ctx, "the bare guests reach each other", 10*time.Millisecond, func() (bool, error) {
		_, err := places[0](ctx, "ping", "-c", "1", "-W", "1", guests[1].addr().String())
		return err == nil, nil
	})
	if err != nil {
		return 0, err
	}
	return w.iperf(ctx, places[0], places[1], guests[1].addr())
}

func (w *world) tunnelAddrs() (one, two string, err error) {
	st, err := w.lab.Status()
	for _, h := range st.Hosts {
		switch h.Name {
		case w.one.name:
			one = h.Tunnel.String()
		case w.two.name:
			two = h.Tunnel.String()
		}
	}
	return one, two, err
}

// bareSwitch inserts the port that a plug ends with.
type bareSwitch struct {
	noSwitch
	host *host
	mode vif.Mode
	port port
}

func (s bareSwitch) AddPort(ctx context.Context, _ vif.Port) error {
	return s.host.insert(ctx, bareBridge, s.mode, s.port)
}

func (w *world) makeBare(ctx context.Context, g bareGuest, mode vif.Mode) error {
	_, err := w.lab.Output(ctx, g.host.name, "ovs-vsctl", "add-br", bareBridge, "--", "set", "bridge", bareBridge, "datapath_type=netdev", "fail_mode=secure",
		"--", "add-port", bareBridge, "gre-bare", "--", "set", "interface", "gre-bare", "type=gre", "options:local_ip="+g.local, "options:remote_ip="+g.remote,
		"options:key="+bareKey, "options:df_default=true")
	if err != nil {
		return err
	}
	if _, err := w.lab.Output(ctx, g.host.name, "ovs-ofctl", "add-flow", bareBridge, "actions=NORMAL"); err != nil {
		return err
	}
	p := g.port()
	plugger := vif.New(g.host.links, bareSwitch{host: g.host, mode: mode, port: p})
	return plugger.Plug(ctx, vif.Spec{PortID: p.ID, MAC: p.MAC, VMUUID: p.ID.UUID, MTU: mtu, Mode: mode, Guest: g.name, Bridge: bareBridge})
}

func (w *world) removeBare(g bareGuest) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := w.lab.Output(ctx, g.host.name, "ovs-vsctl", "--if-exists", "del-br", bareBridge)
	return errors.Join(err, vif.New(g.host.links, noSwitch{}).Unplug(ctx, g.port().ID, bareBridge, g.name))
}
