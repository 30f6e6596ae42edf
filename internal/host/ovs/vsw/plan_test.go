package vsw

import (
	"log/slog"
	"strings"
	"testing"
)

// ours is the ownership rule of these tests: what the agent makes has a prefix of its own.
func ours(_, port string) bool {
	for _, prefix := range []string{"gre-", "vxlan-", "geneve-", "patch-"} {
		if strings.HasPrefix(port, prefix) {
			return true
		}
	}
	return false
}

func greOptions(remote string) map[string]string {
	return map[string]string{"df_default": "true", "in_key": "flow", "out_key": "flow", "local_ip": "10.0.1.31", "remote_ip": remote}
}

// sample is a host with one VM's port, one tunnel and a port of unknown origin.
func sample() *State {
	return NewState(Root{UUID: "00000000-0000-0000-0000-00000000000a", ExternalIDs: map[string]string{"system-id": "x"}},
		[]Bridge{
			{UUID: "b1", Name: "br-int", FailMode: "secure", DatapathType: "netdev", Ports: []string{"br-int", "eth9", "qvo1"},
				Protocols: []string{"OpenFlow10", "OpenFlow14"}, OtherConfig: map[string]string{"a": "1"}},
			{UUID: "b2", Name: "br-tun", FailMode: "secure", DatapathType: "netdev", Ports: []string{"br-tun", "gre-1"}},
		},
		[]Port{
			{UUID: "p1", Name: "br-int", Bridge: "br-int", Interfaces: []string{"br-int"}},
			{UUID: "p2", Name: "br-tun", Bridge: "br-tun", Interfaces: []string{"br-tun"}},
			{UUID: "p3", Name: "qvo1", Bridge: "br-int", Interfaces: []string{"qvo1"}, Tag: Tag(1), VLANMode: "access"},
			{UUID: "p4", Name: "eth9", Bridge: "br-int", Interfaces: []string{"eth9"}},
			{UUID: "p5", Name: "gre-1", Bridge: "br-tun", Interfaces: []string{"gre-1"}},
			{UUID: "p6", Name: "bond0", Bridge: "br-int", Interfaces: []string{"eth1", "eth2"}},
		},
		[]Interface{
			{UUID: "i1", Name: "br-int", Type: "internal"}, {UUID: "i2", Name: "br-tun", Type: "internal"},
			{UUID: "i3", Name: "qvo1", ExternalIDs: map[string]string{"iface-id": "P", "vm-uuid": "V"}},
			{UUID: "i4", Name: "eth9"}, {UUID: "i5", Name: "gre-1", Type: "gre", Options: greOptions("10.0.1.21")},
			{UUID: "i6", Name: "eth1"}, {UUID: "i7", Name: "eth2"},
		})
}

func TestPlan(t *testing.T) {
	gre := DesiredPort{Bridge: "br-tun", Name: "gre-1", Type: "gre", Options: greOptions("10.0.1.21")}
	with := func(ports ...DesiredPort) Desired { return Desired{Ports: append([]DesiredPort{gre}, ports...)} }
	vxlan := gre
	vxlan.Type = "vxlan"
	moved := gre
	moved.Bridge = "br-int"
	elsewhere := gre
	elsewhere.Options = greOptions("10.0.1.22")
	tests := []struct {
		rule    string
		desired Desired
		want    []string
	}{
		{"what is as desired is not written", with(DesiredPort{Bridge: "br-int", Name: "qvo1", Tag: Tag(1), VLANMode: "access",
			ExternalIDs: map[string]string{"iface-id": "P"}}), nil},
		{"a bridge as desired is not written", Desired{Ports: []DesiredPort{gre}, Bridges: []DesiredBridge{{Name: "br-int", FailMode: "secure",
			DatapathType: "netdev", Protocols: []string{"OpenFlow14", "OpenFlow10"}, OtherConfig: map[string]string{"a": "1"}}}}, nil},
		{"columns not named stay", Desired{Ports: []DesiredPort{{Bridge: "br-tun", Name: "gre-1", Type: "gre"}},
			Bridges: []DesiredBridge{{Name: "br-int"}}}, nil},
		{"an owned port that is not desired goes", Desired{}, []string{"delete port br-tun gre-1"}},
		{"an owned port's options are set as a whole", Desired{Ports: []DesiredPort{elsewhere}}, []string{"set port br-tun gre-1 Interface.options"}},
		{"an owned port's type is set", Desired{Ports: []DesiredPort{vxlan}}, []string{"set port br-tun gre-1 Interface.type"}},
		{"an owned port moves to its bridge", Desired{Ports: []DesiredPort{moved}}, []string{"move port br-int gre-1"}},
		{"only what differs is set", with(DesiredPort{Bridge: "br-int", Name: "qvo1", Tag: Tag(2), VLANMode: "access", MTURequest: 1458,
			ExternalIDs: map[string]string{"iface-id": "P", "iface-status": "active"}, OtherConfig: map[string]string{"tag": "2"}}),
			[]string{"set port br-int qvo1 Port.tag,Port.other_config,Interface.mtu_request,Interface.external_ids"}},
		{"a tag and a mode can be cleared", with(DesiredPort{Bridge: "br-int", Name: "qvo1", Tag: NoTag(), VLANMode: Default}),
			[]string{"set port br-int qvo1 Port.tag,Port.vlan_mode"}},
		{"type and options of a foreign port are not ours to set", with(DesiredPort{Bridge: "br-int", Name: "eth9", Type: "gre",
			Options: greOptions("1.1.1.1")}), nil},
		{"a foreign port is not moved, nor touched where it is", with(DesiredPort{Bridge: "br-tun", Name: "eth9", Tag: Tag(3)}), nil},
		{"a foreign port that is not there is waited for", with(DesiredPort{Bridge: "br-int", Name: "qvo2", Tag: Tag(3)}), nil},
		{"of a bond only the port is set", with(DesiredPort{Bridge: "br-int", Name: "bond0", Tag: Tag(3), ExternalIDs: map[string]string{"a": "b"}}),
			[]string{"set port br-int bond0 Port.tag"}},
		{"a port needs its bridge", with(DesiredPort{Bridge: "br-ex", Name: "patch-x", Type: "patch"}), nil},
		{"a port may come with its bridge", Desired{Bridges: []DesiredBridge{{Name: "br-ex"}},
			Ports: []DesiredPort{gre, {Bridge: "br-ex", Name: "patch-x", Type: "patch"}}},
			[]string{"add bridge br-ex", "add port br-ex patch-x"}},
		{"of two with one name the first counts", Desired{Bridges: []DesiredBridge{{Name: "br-ex"}, {Name: "br-ex", FailMode: "secure"}},
			Ports: []DesiredPort{gre, elsewhere}}, []string{"add bridge br-ex"}},
		{"bridges are set and never deleted", with().bridge(DesiredBridge{Name: "br-tun", FailMode: "standalone", DatapathType: "system",
			Protocols: []string{"OpenFlow14"}, ExternalIDs: map[string]string{"k": "v"}}),
			[]string{"set bridge br-tun Bridge.fail_mode,Bridge.datapath_type,Bridge.protocols,Bridge.external_ids"}},
		{"keys of the root row are merged", Desired{Ports: []DesiredPort{gre}, ExternalIDs: map[string]string{"system-id": "y", "host": "h"}},
			[]string{"set switch Open_vSwitch.external_ids"}},
		{"deletes come before moves and additions", Desired{Ports: []DesiredPort{{Bridge: "br-tun", Name: "gre-2", Type: "gre"}}},
			[]string{"delete port br-tun gre-1", "add port br-tun gre-2"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			var got []string
			for _, op := range Plan(sample(), test.desired, ours) {
				got = append(got, op.String())
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func (d Desired) bridge(b DesiredBridge) Desired {
	d.Bridges = append(d.Bridges, b)
	return d
}

func TestPlanOwnsEverythingButBridgePorts(t *testing.T) {
	for _, op := range Plan(sample(), Desired{}, func(string, string) bool { return true }) {
		if op.Verb != DeletePort || op.Port == op.Bridge {
			t.Errorf("unexpected %s", op)
		}
	}
}

func TestPlanNeedsAConnection(t *testing.T) {
	s := New("unix:/nowhere", slog.New(slog.DiscardHandler)).State()
	if ops := Plan(s, Desired{Bridges: []DesiredBridge{{Name: "br-int"}}}, ours); ops != nil {
		t.Errorf("planned %v without knowing anything", ops)
	}
}

func TestDetectDatapath(t *testing.T) {
	both := Root{DatapathTypes: []string{"netdev", "system"}}
	dir := t.TempDir()
	for _, test := range []struct {
		rule   string
		root   Root
		module string
		want   string
	}{
		{"kernel module and support", both, dir, "system"},
		{"support without the module", both, dir + "/none", "netdev"},
		{"module without support", Root{DatapathTypes: []string{"netdev"}}, dir, "netdev"},
	} {
		if got := detectDatapath(test.root, test.module); got != test.want {
			t.Errorf("%s: %s", test.rule, got)
		}
	}
}
