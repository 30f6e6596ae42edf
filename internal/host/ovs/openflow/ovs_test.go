package openflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/host/flow"
	"weft/internal/testkit/ovstest"
)

// patience bounds waits for events that must come; no test waits for it.
const patience = time.Minute

// bench is a bridge br0 with ports 1 and 2, and a client that is connected.
type bench struct {
	*ovstest.Switch
	*Client
	connected chan uint64
	packets   chan PacketIn
	ports     chan PortStatus
}

func start(t testing.TB) *bench {
	t.Helper()
	b := &bench{
		Switch:    ovstest.Start(t),
		connected: make(chan uint64, 10),
		packets:   make(chan PacketIn, 10),
		ports:     make(chan PortStatus, 100),
	}
	b.AddBridge("br0")
	b.AddPort("br0", "tap1", 1)
	b.AddPort("br0", "tap2", 2)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	b.Client = New(b.Mgmt("br0"), Events{
		Connected:  func(epoch uint64) { b.connected <- epoch },
		PacketIn:   func(p PacketIn) { b.packets <- p },
		PortStatus: func(p PortStatus) { b.ports <- p },
	}, log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if epoch := receive(t, b.connected); epoch != 1 {
		t.Fatalf("first epoch is %d", epoch)
	}
	return b
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// shapes returns one flow of every shape.
func shapes(t testing.TB) []flow.Flow {
	t.Helper()
	file, err := os.Open("../../flow/testdata/shapes.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out []flow.Flow
	for s := bufio.NewScanner(file); s.Scan(); {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
			f, err := flow.Parse(line)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, f)
		}
	}
	return out
}

// prepare makes what the shapes refer to.
func (b *bench) prepare(t testing.TB) {
	t.Helper()
	ctx := timeout(t)
	if err := b.AddMeter(ctx, Meter{ID: 1, Rate: 1000, Burst: 100}); err != nil {
		t.Fatal(err)
	}
	if err := b.AddGroup(ctx, 1, GroupAll, []Bucket{{Actions: []flow.Action{flow.Output{Port: 1}}}}); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) flows(t testing.TB) []flow.Flow {
	t.Helper()
	stats, err := b.Dump(timeout(t), AllTables)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]flow.Flow, len(stats))
	for i, s := range stats {
		if s.Err != nil {
			t.Errorf("flow %s: %v", s.Flow, s.Err)
		}
		out[i] = s.Flow
	}
	return out
}

func TestEveryShapeComesBackEqual(t *testing.T) {
	b := start(t)
	b.prepare(t)
	want := shapes(t)
	for _, f := range want { // one by one first: the error names the flow
		if err := b.Apply(timeout(t), []flow.Flow{f}, nil); err != nil {
			t.Errorf("%v", err)
		}
	}
	have := b.flows(t)
	byKey := map[string]flow.Flow{}
	for _, f := range have {
		byKey[f.Key()] = f
		if strings.Contains(f.String(), "raw(") {
			t.Errorf("not decoded: %s", f)
		}
	}
	for _, f := range want {
		got, ok := byKey[f.Key()]
		if !ok {
			t.Errorf("not found: %s", f)
		} else if !got.Equal(f) {
			t.Errorf("differs\n sent %s\n have %s", f, got)
		}
	}
	add, del := flow.Diff(want, have, nil)
	if len(add) != 0 || len(del) != 0 {
		t.Errorf("diff is not empty: add %v, delete %v", add, del)
	}
	if err := b.Apply(timeout(t), nil, have); err != nil {
		t.Fatal(err)
	}
	if left := b.flows(t); len(left) != 0 {
		t.Errorf("strict deletes left %v", left)
	}
}

func TestDeleteCovered_takesWhatTheMatchCoversAndNoOther(t *testing.T) {
	b := start(t)
	mine := func(n uint32) flow.Flow {
		return flow.Flow{Table: 20, Priority: uint16(n), Cookie: 0xab00 | uint64(n), Match: flow.Match{}.Vlan(7).Uint(flow.Metadata, uint64(n))}
	}
	other := flow.Flow{Table: 20, Priority: 9, Cookie: 0xab09, Match: flow.Match{}.Vlan(8)}
	foreign := flow.Flow{Table: 20, Priority: 9, Cookie: 0xcd09, Match: flow.Match{}.Vlan(7)}
	elsewhere := flow.Flow{Table: 21, Priority: 9, Cookie: 0xab09, Match: flow.Match{}.Vlan(7)}
	if err := b.Apply(timeout(t), []flow.Flow{mine(1), mine(2), other, foreign, elsewhere}, nil); err != nil {
		t.Fatal(err)
	}
	covers := flow.Flow{Table: 20, Cookie: 0xab00, Match: flow.Match{}.Masked(flow.VlanTCI, 7, 0xfff)}
	if err := b.DeleteCovered(timeout(t), covers, 0xff00); err != nil {
		t.Fatal(err)
	}
	left := b.flows(t)
	if len(left) != 3 {
		t.Errorf("left %v", left)
	}
	for _, f := range left {
		if f.Equal(mine(1)) || f.Equal(mine(2)) {
			t.Errorf("still there: %s", f)
		}
	}
}

var changing = regexp.MustCompile(`duration=[^ ]*|n_packets=[^ ]*|n_bytes=[^ ]*`)

// dump is what an operator sees, in an order that does not depend on time.
func (b *bench) dump() []string {
	lines := strings.Split(changing.ReplaceAllString(b.Ofctl("dump-flows", "br0"), ""), "\n")
	slices.Sort(lines)
	return lines
}

func TestOurTextInstallsWhatOurBytesInstall(t *testing.T) {
	b := start(t)
	b.prepare(t)
	want := shapes(t)
	want = slices.DeleteFunc(want, func(f flow.Flow) bool {
		// ovs-ofctl splits the masked write into loads of adjacent bits.
		return strings.Contains(f.String(), "set_field:0x5/0x5")
	})
	if err := b.Apply(timeout(t), want, nil); err != nil {
		t.Fatal(err)
	}
	bytes := b.dump()
	b.Ofctl("del-flows", "br0")
	var text strings.Builder
	for _, f := range want {
		fmt.Fprintln(&text, f)
	}
	b.OfctlInput(text.String(), "--bundle", "add-flows", "br0", "-")
	for i, line := range b.dump() {
		if i >= len(bytes) || line != bytes[i] {
			t.Errorf("flow %d\n text  %s\n bytes %s", i, line, bytes[min(i, len(bytes)-1)])
		}
	}
	if add, del := flow.Diff(want, b.flows(t), nil); len(add)+len(del) != 0 {
		t.Errorf("what the text installed differs: %v, %v", add, del)
	}
}

func TestABadFlowInABundleAppliesNothing(t *testing.T) {
	b := start(t)
	good := flow.Flow{Priority: 1, Match: flow.Match{}.InPort(1)}
	if err := b.Apply(timeout(t), []flow.Flow{good}, nil); err != nil {
		t.Fatal(err)
	}
	bad := flow.Flow{Priority: 7, Match: flow.Match{}.Uint(flow.TCPDst, 80)} // no eth_type
	err := b.Apply(timeout(t), []flow.Flow{{Priority: 2}, {Priority: 3}, bad, {Priority: 4}}, []flow.Flow{good})
	var fe *FlowError
	if !errors.As(err, &fe) || fe.Index != 2 || fe.Delete || fe.Err.Error() != "OFPBMC_BAD_PREREQ" {
		t.Fatalf("error %v, want flow 2 with OFPBMC_BAD_PREREQ", err)
	}
	if have := b.flows(t); len(have) != 1 || !have[0].Equal(good) {
		t.Errorf("flows changed: %v", have)
	}
	badDelete := flow.Flow{Match: flow.Match{}.Uint(flow.TCPDst, 80)}
	err = b.Apply(timeout(t), []flow.Flow{{Priority: 2}}, []flow.Flow{good, badDelete})
	if !errors.As(err, &fe) || fe.Index != 1 || !fe.Delete {
		t.Fatalf("error %v, want delete 1", err)
	}
	if have := b.flows(t); len(have) != 1 {
		t.Errorf("flows changed: %v", have)
	}
	if err := b.Apply(timeout(t), []flow.Flow{{Priority: 2}}, nil); err != nil {
		t.Errorf("no bundle after a failed one: %v", err)
	}
}

// TestWhatOnlyTheCommitFindsOut: the table is full, which no single message shows.
func TestWhatOnlyTheCommitFindsOutAppliesNothing(t *testing.T) {
	b := start(t)
	b.Vsctl("--", "--id=@t", "create", "Flow_Table", "flow_limit=2", "overflow_policy=refuse",
		"--", "set", "bridge", "br0", "flow_tables:0=@t")
	err := b.Apply(timeout(t), []flow.Flow{{Priority: 1}, {Priority: 2}, {Priority: 3}}, nil)
	var fe *FlowError
	if !errors.As(err, &fe) || fe.Index != 2 || fe.Err.Error() != "OFPFMFC_TABLE_FULL" {
		t.Fatalf("error %v, want flow 2 with OFPFMFC_TABLE_FULL", err)
	}
	if have := b.flows(t); len(have) != 0 {
		t.Errorf("flows changed: %v", have)
	}
}

func TestAddReplacesTheFlowOfTheSameKey(t *testing.T) {
	b := start(t)
	m := flow.Match{}.InPort(1)
	before := flow.Flow{Priority: 5, Cookie: 1, IdleTimeout: 100, Match: m}
	after := flow.Flow{Priority: 5, Cookie: 2, Match: m, Actions: []flow.Action{flow.Output{Port: 2}}}
	if err := b.Apply(timeout(t), []flow.Flow{before}, nil); err != nil {
		t.Fatal(err)
	}
	add, del := flow.Diff([]flow.Flow{after}, b.flows(t), nil)
	if len(add) != 1 || len(del) != 0 {
		t.Fatalf("diff add %v, delete %v", add, del)
	}
	if err := b.Apply(timeout(t), add, del); err != nil {
		t.Fatal(err)
	}
	if have := b.flows(t); len(have) != 1 || !have[0].Equal(after) {
		t.Errorf("flows %v", have)
	}
}

// frame is an Ethernet frame of 60 bytes with an unused type.
func frame(n byte) []byte {
	b := make([]byte, 60)
	copy(b, net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, n, 0xfa, 0x16, 0x3e, 0, 0, 1, 0x88, 0xb5})
	return b
}

func TestAPacketOutComesBackAsPacketIn(t *testing.T) {
	b := start(t)
	err := b.Apply(timeout(t), []flow.Flow{
		{Table: 0, Priority: 1, Match: flow.Match{}.InPort(1), Actions: []flow.Action{
			flow.Set(flow.Reg(6), 0x77), flow.GotoTable{Table: 21}}},
		{Table: 21, Priority: 1, Cookie: 0xabc, Match: flow.Match{}.EthDst(net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 2}),
			Actions: []flow.Action{flow.Controller{Userdata: []byte{1, 2, 3}}}},
		{Table: 21, Priority: 1, Cookie: 0xdef, Match: flow.Match{}.EthDst(net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 3}),
			Actions: []flow.Action{flow.Output{Port: flow.PortController}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		n        byte
		cookie   uint64
		userdata string
	}{{2, 0xabc, "\x01\x02\x03"}, {3, 0xdef, ""}} {
		sent := frame(want.n)
		if err := b.PacketOut(1, []flow.Action{flow.Output{Port: flow.PortTable}}, sent); err != nil {
			t.Fatal(err)
		}
		p := receive(t, b.packets)
		reg, _ := p.Match.Get(flow.Reg(6))
		if p.InPort() != 1 || p.Table != 21 || p.Cookie != want.cookie || string(p.Userdata) != want.userdata ||
			string(p.Data) != string(sent) || p.TotalLen != len(sent) || reg.Uint() != 0x77 {
			t.Errorf("packet-in %+v", p)
		}
	}
}

func TestALearnedFlowIsReadAndLeftAlone(t *testing.T) {
	b := start(t)
	want := []flow.Flow{{Table: 0, Priority: 1, Match: flow.Match{}.InPort(1), Actions: []flow.Action{
		flow.Learn{Table: 20, HardTimeout: 300, Priority: 1, Cookie: 0x55, Specs: []flow.LearnSpec{
			flow.LearnMatch(flow.Range(flow.VlanTCI, 0, 11), flow.Range(flow.VlanTCI, 0, 11)),
			flow.LearnMatch(flow.Whole(flow.EthDst), flow.Whole(flow.EthSrc)),
			flow.LearnLoadValue(0, flow.Whole(flow.VlanTCI)),
			flow.LearnLoad(flow.Whole(flow.TunID), flow.Whole(flow.TunID)),
			flow.LearnOutput(flow.Whole(flow.InPort)),
		}},
		flow.Output{Port: flow.PortController},
	}}}
	if err := b.Apply(timeout(t), want, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.PacketOut(1, []flow.Action{flow.Output{Port: flow.PortTable}}, frame(2)); err != nil {
		t.Fatal(err)
	}
	receive(t, b.packets) // it went through, so the flow is learned
	have := b.flows(t)
	if len(have) != 2 {
		t.Fatalf("flows %v", have)
	}
	learned := have[0]
	if learned.Table != 20 {
		learned = have[1]
	}
	const text = "cookie=0x55, table=20, hard_timeout=300, priority=1,vlan_tci=0x0000/0x0fff,dl_dst=fa:16:3e:00:00:01" +
		" actions=set_field:0->vlan_tci,set_field:0->tun_id,output:1"
	if got := learned.String(); got != text {
		t.Errorf("learned\n got  %s\n want %s", got, text)
	}
	mine := func(f flow.Flow) bool { return f.Table != 20 || f.HardTimeout == 0 }
	if add, del := flow.Diff(want, have, mine); len(add)+len(del) != 0 {
		t.Errorf("diff add %v, delete %v", add, del)
	}
}

func TestPortsAndTheirChanges(t *testing.T) {
	b := start(t)
	b.AddPort("br0", "tap3", 3)
	for {
		s := receive(t, b.ports)
		if s.Port.Name == "tap3" && s.Reason == PortAdded {
			break
		}
	}
	ports, err := b.Ports(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint32{}
	for _, p := range ports {
		got[p.Name] = p.Number
		if len(p.MAC) != 6 {
			t.Errorf("port %+v has no MAC", p)
		}
	}
	if got["tap1"] != 1 || got["tap2"] != 2 || got["tap3"] != 3 || got["br0"] != flow.PortLocal || len(got) != 4 {
		t.Errorf("ports %v", got)
	}
	b.Vsctl("del-port", "tap3")
	for s := receive(t, b.ports); s.Port.Number != 3 || s.Reason != PortDeleted; {
		s = receive(t, b.ports)
	}
}

func TestCounters_countWhatAPortIsGiven(t *testing.T) {
	b := start(t)
	const sent = 3
	for range sent {
		if err := b.PacketOut(flow.PortController, []flow.Action{flow.Output{Port: flow.PortLocal}}, frame(2)); err != nil {
			t.Fatal(err)
		}
	}
	counters, err := b.Counters(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint32]PortCounters{}
	for _, c := range counters {
		got[c.Number] = c
	}
	// br0's own device is down: what goes to it is dropped, and counted so.
	l := got[flow.PortLocal]
	if len(got) != 3 || l.TxPackets+l.TxDropped != sent {
		t.Errorf("counters %+v, want %d frames to the bridge's own device", counters, sent)
	}
}

func TestTheClientComesBackAfterACrashOfTheSwitch(t *testing.T) {
	b := start(t)
	if err := b.Apply(timeout(t), []flow.Flow{{Priority: 1}}, nil); err != nil {
		t.Fatal(err)
	}
	b.KillVswitchd()
	b.StartVswitchd()
	if epoch := receive(t, b.connected); epoch != 2 {
		t.Errorf("epoch %d, want 2", epoch)
	}
	if have := b.flows(t); len(have) != 0 {
		t.Errorf("flows survived: %v", have)
	}
	if err := b.Apply(timeout(t), []flow.Flow{{Priority: 1}}, nil); err != nil {
		t.Error(err)
	}
}

func TestZoneFlushMetersAndGroups(t *testing.T) {
	b := start(t)
	ctx := timeout(t)
	if err := b.FlushZone(ctx, 17); err != nil {
		t.Error(err)
	}
	b.prepare(t)
	if err := b.AddMeter(ctx, Meter{ID: 1, Rate: 5}); err == nil || !strings.Contains(err.Error(), "OFPMMFC_METER_EXISTS") {
		t.Errorf("second meter 1: %v", err)
	}
	if err := b.ModifyMeter(ctx, Meter{ID: 1, Packets: true, Rate: 500, Burst: 50}); err != nil {
		t.Error(err)
	}
	if got := b.Ofctl("dump-meters", "br0"); !strings.Contains(got, "meter=1 pktps burst stats bands=\ntype=drop rate=500 burst_size=50") {
		t.Errorf("meters: %s", got)
	}
	if limit, err := b.MeterLimit(ctx); err != nil || limit < 65535 {
		t.Errorf("meters up to %d, %v", limit, err)
	}
	if err := b.AddMeter(ctx, Meter{ID: 65535, Rate: 8, Burst: 4}); err != nil {
		t.Error(err)
	}
	meters, err := b.Meters(ctx)
	slices.SortFunc(meters, func(x, y Meter) int { return int(x.ID) - int(y.ID) })
	if want := []Meter{{ID: 1, Packets: true, Rate: 500, Burst: 50}, {ID: 65535, Rate: 8, Burst: 4}}; err != nil || !slices.Equal(meters, want) {
		t.Errorf("meters %v, %v, want %v", meters, err, want)
	}
	if err := b.ModifyGroup(ctx, 1, GroupSelect, []Bucket{{Weight: 3, Actions: []flow.Action{flow.Output{Port: 2}}}}); err != nil {
		t.Error(err)
	}
	if got := b.Ofctl("dump-groups", "br0"); !strings.Contains(got, "type=select,bucket=weight:3,actions=output:tap2") &&
		!strings.Contains(got, "type=select,bucket=weight:3,actions=output:2") {
		t.Errorf("groups: %s", got)
	}
	if err := errors.Join(b.DeleteMeter(ctx, 1), b.DeleteGroup(ctx, 1), b.Barrier(ctx)); err != nil {
		t.Error(err)
	}
}
