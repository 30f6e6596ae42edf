package firewall_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/host/flow"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/pipeline"
	"weft/internal/model"
	"weft/internal/testkit/filtertest"
	"weft/internal/testkit/ovstest"
)

// Where things are plugged on br-int.
const (
	vmPort = 11 + iota
	peerPort
	witnessPort
	vlan = 1
)

var netID = model.NetworkID{UUID: model.UUID{0x0e, 6: 0x40, 8: 0x80}}

// native is a switch with a filtered VM and two guests without port security.
type native struct {
	*ovstest.Switch
	bridge    *openflow.Client
	installed []flow.Flow
	fresh     bool // installed since the last probe
	cache     firewall.FlowCache
	plugged   []*model.PortView // of the guests without port security
	ofports   map[model.PortID]uint32
	witness   *filtertest.Guest
	marks     atomic.Uint64
}

func wire(t testing.TB, v *model.PortView) *filtertest.Wire {
	t.Helper()
	_, w := lab(t, v)
	return w
}

func lab(t testing.TB, v *model.PortView) (*native, *filtertest.Wire) {
	t.Helper()
	n := &native{Switch: ovstest.Start(t), ofports: map[model.PortID]uint32{v.ID: vmPort}}
	n.AddBridge("br-int")
	n.connect(t)
	n.Exec("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	w := &filtertest.Wire{Zone: vlan, VM: n.plug(t, "vm", v.MAC, vmPort), Peer: n.open(t, "peer", peerPort)}
	n.witness = n.open(t, "witness", witnessPort)
	w.Apply = n.apply
	w.Settle = func(testing.TB, firewall.Input) { n.settle() }
	w.Passes = func(t testing.TB, from, to *filtertest.Guest, frames ...[]byte) bool {
		t.Helper()
		return n.passes(t, w, from, to, frames...)
	}
	w.Tracked = func(testing.TB) int {
		return strings.Count(n.Appctl("dpctl/dump-conntrack", fmt.Sprintf("zone=%d", vlan)), "orig=")
	}
	return n, w
}

// settle waits until the datapath follows the flows, which it does a moment after they are installed.
func (n *native) settle() {
	if n.fresh {
		n.Appctl("revalidator/wait")
		n.fresh = false
	}
}

// connect opens the OpenFlow connection.
func (n *native) connect(t testing.TB) {
	connected := make(chan struct{}, 1)
	n.bridge = openflow.New(n.Mgmt("br-int"), openflow.Events{
		Connected:    func(uint64) { connected <- struct{}{} },
		Disconnected: func(error) {}, PacketIn: func(openflow.PacketIn) {}, PortStatus: func(openflow.PortStatus) {},
	}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.bridge.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-connected
}

func (n *native) plug(t testing.TB, name string, mac model.MAC, ofport int) *filtertest.Guest {
	return filtertest.NewGuest(t, mac, func(ns string) {
		filtertest.Sh(t, fmt.Sprintf("ip link add %s netns %d type veth peer name eth0 address %s netns %s", name, n.PID(), mac, ns))
		n.Exec("ip", "link", "set", name, "up")
		n.Vsctl("add-port", "br-int", name, "--", "set", "interface", name, fmt.Sprintf("ofport_request=%d", ofport))
	})
}

// open plugs a guest that may send anything.
func (n *native) open(t testing.TB, name string, ofport int) *filtertest.Guest {
	v := &model.PortView{ID: model.PortID{UUID: filtertest.ID(60000 + ofport)}, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0xe, byte(ofport)}, AdminStateUp: true}
	n.plugged, n.ofports[v.ID] = append(n.plugged, v), uint32(ofport)
	return n.plug(t, name, v.MAC, ofport)
}

// apply installs what the pipeline and the firewall make of an input.
func (n *native) apply(t testing.TB, in firewall.Input) {
	t.Helper()
	local := pipeline.Local{Ports: map[model.PortID]uint32{}, Filtered: map[model.PortID]bool{}}
	ports := map[model.PortID]*model.PortView{}
	put := func(v *model.PortView, ofport uint32) {
		c := *v
		c.NetworkID = netID
		ports[v.ID], local.Ports[v.ID] = &c, ofport
	}
	for _, v := range n.plugged {
		put(v, n.ofports[v.ID])
	}
	for i := range in.Ports {
		p := &in.Ports[i]
		if p.OFPort = n.ofports[p.View.ID]; p.OFPort == 0 {
			p.OFPort = uint32(100 + i)
			n.ofports[p.View.ID] = p.OFPort
		}
		put(p.View, p.OFPort)
		local.Filtered[p.View.ID] = true
	}
	flows := pipeline.Compute(pipeline.Input{Local: local, Ports: ports, Networks: map[model.NetworkID]pipeline.Network{
		netID: {VLAN: vlan, View: &model.NetworkView{ID: netID, AdminStateUp: true, Segment: model.Segment{Type: model.TypeLocal}}},
	}}).BrInt
	out := n.cache.Native(in)
	flows = append(append(flows, out.Flows...), n.cache.AllMembers()...)
	add, del := flow.Diff(flows, n.installed, nil)
	if err := n.bridge.Apply(t.Context(), add, del); err != nil {
		t.Fatal(err)
	}
	for i := range in.Ports {
		if err := n.bridge.DeleteCovered(t.Context(), pipeline.ForgetPort(in.Ports[i].View.ID), ^uint64(0)); err != nil {
			t.Fatal(err)
		}
	}
	n.installed, n.fresh = flows, true
}

// passes sends frames and looks for the last one. The switch's one thread takes
// what has arrived from all ports in turn: when two frames that the witness sent
// one after the other have come through, so have those before.
func (n *native) passes(t testing.TB, w *filtertest.Wire, from, to *filtertest.Guest, frames ...[]byte) bool {
	t.Helper()
	n.settle()
	from.Send(t, frames...)
	seen := false
	last := frames[len(frames)-1]
	buf := make([]byte, 4096)
	for range 2 {
		mark := make([]byte, 46)
		copy(mark, "wf-mark.")
		binary.BigEndian.PutUint64(mark[8:], n.marks.Add(1))
		n.witness.Send(t, filtertest.Ethernet(n.witness.MAC, model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x88b5, mark)) // IEEE 802 local experimental ethertype
		for {
			f := w.Peer.Receive(t, buf)
			if bytes.Contains(f, mark[:16]) {
				break
			}
			seen = seen || to == w.Peer && filtertest.IsFrame(f, last)
		}
	}
	for to != w.Peer {
		f, ok := to.Waiting(t, buf)
		if !ok {
			break
		}
		seen = seen || filtertest.IsFrame(f, last)
	}
	return seen
}

func TestNative(t *testing.T) { filtertest.Run(t, wire) }

// TestFlushAddressForgetsItsConnectionsAndNoOthers: what the agent does before an
// address may get another port.
func TestFlushAddressForgetsItsConnectionsAndNoOthers(t *testing.T) {
	g := filtertest.Group(1, true, filtertest.Rule(1, model.Egress, model.IPv4), filtertest.Rule(2, model.Egress, model.IPv6), filtertest.Rule(3, model.Ingress, model.IPv4))
	v := filtertest.Port(11, []*model.GroupView{g}, "10.0.0.11", "10.0.0.12", "2001:db8::11")
	n, w := lab(t, v)
	w.Apply(t, firewall.Input{Ports: []firewall.PortInput{{View: v, Zone: w.Zone}}, Groups: filtertest.Groups(g)})
	flow := func(src, dst string) filtertest.Flow {
		return filtertest.Flow{SrcMAC: v.MAC, DstMAC: w.Peer.MAC, Src: src, Dst: dst}
	}
	w.Check(t, []filtertest.Probe{
		{Name: "from one", Frame: flow("10.0.0.11", "10.0.0.54").UDP(1, 2), Passes: true},
		{Name: "from the other", Frame: flow("10.0.0.12", "10.0.0.54").UDP(1, 2), Passes: true},
		{Name: "to one", ToVM: true, Frame: flow("10.0.0.11", "10.0.0.54").Back().UDP(3, 4), Passes: true},
		{Name: "from one, IPv6", Frame: flow("2001:db8::11", "2001:db8::54").UDP(1, 2), Passes: true},
	})
	for _, step := range []struct {
		addr string
		left int
	}{{"10.0.0.99", 4}, {"10.0.0.11", 2}, {"2001:db8::11", 1}, {"10.0.0.12", 0}} {
		if err := n.bridge.FlushAddress(t.Context(), w.Zone, netip.MustParseAddr(step.addr)); err != nil {
			t.Fatal(err)
		}
		if got := w.Tracked(t); got != step.left {
			t.Errorf("after %s, %d connections are left, want %d", step.addr, got, step.left)
		}
	}
}
