package vsw

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"weft/internal/testkit/ovstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect runs a client of sw until the test ends.
func connect(t testing.TB, sw *ovstest.Switch) *Client {
	t.Helper()
	c := New(sw.DB(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if _, err := c.WaitConnected(patience(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

// patience bounds waits that hang only if something is broken.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func converge(t testing.TB, c *Client, d Desired) []Operation {
	t.Helper()
	ops, err := c.Converge(patience(t), d, ours)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// referenceDeployment is br-int and br-tun of a compute node, and one tunnel of each type.
func referenceDeployment(local string, remotes map[string]string) Desired {
	bridge := func(name string) DesiredBridge {
		return DesiredBridge{Name: name, FailMode: "secure", DatapathType: "netdev",
			Protocols: []string{"OpenFlow10", "OpenFlow13", "OpenFlow14"}}
	}
	d := Desired{
		Bridges: []DesiredBridge{bridge("br-int"), bridge("br-tun")},
		Ports: []DesiredPort{
			{Bridge: "br-int", Name: "patch-tun", Type: "patch", Options: map[string]string{"peer": "patch-int"}},
			{Bridge: "br-tun", Name: "patch-int", Type: "patch", Options: map[string]string{"peer": "patch-tun"}},
		},
	}
	for _, name := range slices.Sorted(maps.Keys(remotes)) {
		kind, _, _ := strings.Cut(name, "-")
		d.Ports = append(d.Ports, DesiredPort{Bridge: "br-tun", Name: name, Type: kind, Options: map[string]string{
			"df_default": "true", "in_key": "flow", "out_key": "flow", "local_ip": local, "remote_ip": remotes[name]}})
	}
	return d
}

var threeTunnels = map[string]string{"gre-0a000115": "10.0.1.21", "vxlan-0a000116": "10.0.1.22", "geneve-0a000117": "10.0.1.23"}

// TestReferenceDeployment: one transaction makes the bridges, patch and tunnel
// ports of a compute node; then there is nothing to write, also for a second agent.
func TestReferenceDeployment(t *testing.T) {
	sw := ovstest.Start(t)
	c := connect(t, sw)
	d := referenceDeployment("10.0.1.31", threeTunnels)
	converge(t, c, d)
	if c.Writes() != 1 {
		t.Errorf("%d transactions, want 1", c.Writes())
	}
	for _, p := range d.Ports {
		if _, err := c.WaitOFPort(patience(t), p.Name); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.WaitConfigured(patience(t)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"bridge br-int fail_mode":        "secure",
		"bridge br-tun protocols":        "[OpenFlow10, OpenFlow13, OpenFlow14]",
		"interface patch-tun options":    "{peer=patch-int}",
		"interface patch-int options":    "{peer=patch-tun}",
		"interface gre-0a000115 options": `{df_default="true", in_key=flow, local_ip="10.0.1.31", out_key=flow, remote_ip="10.0.1.21"}`,
		"interface vxlan-0a000116 type":  "vxlan",
		"interface geneve-0a000117 type": "geneve",
		"interface br-int type":          "internal",
	} {
		if got := strings.TrimSpace(sw.Vsctl(append([]string{"get"}, strings.Fields(name)...)...)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if n, err := c.WaitOFPort(patience(t), "patch-int"); err != nil || !strings.Contains(sw.Ofctl("show", "br-tun"), fmt.Sprintf(" %d(patch-int)", n)) {
		t.Errorf("patch-int is port %d here, but not for ovs-ofctl (%v)", n, err)
	}
	restarted := connect(t, sw)
	for _, agent := range []*Client{c, restarted} {
		before := agent.Writes()
		if ops := converge(t, agent, d); len(ops) != 0 || agent.Writes() != before {
			t.Errorf("converged, yet %v was written", ops)
		}
	}
	converge(t, c, referenceDeployment("10.0.1.31", nil))
	if got := sw.Vsctl("list-ports", "br-tun"); got != "patch-int\n" {
		t.Errorf("tunnels not desired any more are still there: %s", got)
	}
}

func TestPortThatTheSwitchCannotMake(t *testing.T) {
	sw := ovstest.Start(t)
	c := connect(t, sw)
	d := referenceDeployment("10.0.1.31", nil)
	d.Ports = append(d.Ports, DesiredPort{Bridge: "br-tun", Name: "gre-none", Type: "gre"}) // without a remote_ip
	converge(t, c, d)
	if _, err := c.WaitOFPort(patience(t), "gre-none"); err == nil || !strings.Contains(err.Error(), "could not make") {
		t.Errorf("got %v", err)
	}
	if _, err := c.WaitOFPort(patience(t), "patch-int"); err != nil {
		t.Errorf("one bad port stopped another: %v", err)
	}
}

// config returns what ovs-vsctl prints of the configuration of a port and its interface, and their identity.
func config(sw *ovstest.Switch, name string) string {
	return sw.Vsctl("--columns=_uuid,name,tag,vlan_mode,trunks,external_ids,other_config,interfaces", "list", "port", name) +
		sw.Vsctl("--columns=_uuid,name,type,options,external_ids,other_config,mac,mtu_request", "list", "interface", name)
}

// TestForeignPortsAreOnlyDecorated: what the agent did not make it never deletes,
// and changes in nothing but what it names.
func TestForeignPortsAreOnlyDecorated(t *testing.T) {
	sw := ovstest.Start(t)
	c := connect(t, sw)
	converge(t, c, referenceDeployment("10.0.1.31", threeTunnels))
	sw.Vsctl("--no-wait", "add-port", "br-int", "qvo1", "--", "set", "interface", "qvo1", "external_ids:iface-id=P", "external_ids:vm-uuid=V",
		"--", "add-port", "br-tun", "eth9", "tag=7", "--", "set", "interface", "eth9", "type=internal", "options:x=y")
	foreign, vm := config(sw, "eth9"), config(sw, "qvo1")
	if ops := converge(t, c, Desired{}); len(ops) != 5 {
		t.Errorf("%v, want our five ports deleted", ops)
	}
	if got := config(sw, "eth9") + config(sw, "qvo1"); got != foreign+vm {
		t.Errorf("foreign ports changed:\n%s", got)
	}
	d := Desired{Ports: []DesiredPort{{Bridge: "br-int", Name: "qvo1", Tag: Tag(3), Type: "gre", Options: map[string]string{"a": "b"},
		OtherConfig: map[string]string{"tag": "3"}, ExternalIDs: map[string]string{"iface-status": "active", "vm-uuid": "W"}}}}
	converge(t, c, d)
	want := strings.NewReplacer("tag                 : []", "tag                 : 3",
		"{iface-id=P, vm-uuid=V}", "{iface-id=P, iface-status=active, vm-uuid=W}").Replace(vm)
	want = strings.Replace(want, "other_config        : {}", `other_config        : {tag="3"}`, 1)
	if got := config(sw, "qvo1"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := config(sw, "eth9"); got != foreign {
		t.Errorf("the other port changed:\n%s", got)
	}
	if ops := converge(t, c, d); len(ops) != 0 {
		t.Errorf("converged, yet %v", ops)
	}
}

// configured is what clients have written to the switch's database, without what ovs-vswitchd writes back when it likes.
func configured(sw *ovstest.Switch) string {
	return sw.Vsctl("--columns=name,tag,external_ids,other_config,interfaces", "list", "port") +
		sw.Vsctl("--columns=name,type,options,external_ids", "list", "interface") + sw.Vsctl("--columns=name,ports,fail_mode", "list", "bridge")
}

// TestStalePlanWritesNothing: for each verb, a change by another client between plan and apply.
func TestStalePlanWritesNothing(t *testing.T) {
	sw := ovstest.Start(t)
	c := connect(t, sw)
	base := referenceDeployment("10.0.1.31", threeTunnels)
	gre := func(d Desired, change func(*DesiredPort)) Desired {
		d.Ports = slices.Clone(d.Ports)
		for i := range d.Ports {
			if d.Ports[i].Type == "gre" {
				change(&d.Ports[i])
			}
		}
		return d
	}
	for _, test := range []struct {
		rule    string
		desired Desired
		other   string // words of ovs-vsctl
	}{
		{"a column to be set was changed", gre(base, func(p *DesiredPort) { p.Tag = Tag(5) }), "set port gre-0a000115 tag=9"},
		{"a map to be merged into was changed", gre(base, func(p *DesiredPort) { p.ExternalIDs = map[string]string{"a": "b"} }),
			"set interface gre-0a000115 external_ids:c=d"},
		{"the port to be set was replaced", gre(base, func(p *DesiredPort) { p.Tag = Tag(5) }),
			"del-port gre-0a000115 -- add-port br-tun gre-0a000115"},
		{"the port to be added is there", gre(base, func(p *DesiredPort) { p.Name = "gre-new" }), "add-port br-int gre-new"},
		{"the port to be deleted is gone", referenceDeployment("10.0.1.31", nil), "del-port gre-0a000115"},
		{"the bridge to be added to is gone", Desired{Ports: append(slices.Clone(base.Ports),
			DesiredPort{Bridge: "br-int", Name: "patch-new", Type: "patch"})}, "del-br br-int"},
		{"the bridge to be added is there", Desired{Bridges: []DesiredBridge{{Name: "br-ex"}}, Ports: base.Ports}, "add-br br-ex"},
		{"the port to be moved is gone", gre(base, func(p *DesiredPort) { p.Bridge = "br-int" }), "del-port gre-0a000115"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			sw.Vsctl("--no-wait", "--if-exists", "del-br", "br-int", "--", "--if-exists", "del-br", "br-tun", "--", "--if-exists", "del-br", "br-ex")
			settle(t, c, sw)
			converge(t, c, base)
			ops := Plan(c.State(), test.desired, ours)
			if len(ops) == 0 {
				t.Fatal("nothing planned")
			}
			sw.Vsctl(append([]string{"--no-wait"}, strings.Fields(test.other)...)...)
			before := configured(sw)
			if err := c.Apply(patience(t), ops); !errors.Is(err, ErrStale) {
				t.Fatalf("got %v, want a stale plan", err)
			}
			if after := configured(sw); after != before {
				t.Errorf("a stale plan wrote:\n%s\nbefore:\n%s", after, before)
			}
			settle(t, c, sw)
			test.desired.Bridges = append(test.desired.Bridges, base.Bridges...)
			converge(t, c, test.desired)
			if left := Plan(c.State(), test.desired, ours); len(left) != 0 {
				t.Errorf("not converged after the stale plan was made anew: %v", left)
			}
		})
	}
}

// settle returns when c has seen all that ovs-vsctl has written so far.
func settle(t testing.TB, c *Client, sw *ovstest.Switch) {
	t.Helper()
	marker := fmt.Sprint(time.Now().UnixNano())
	sw.Vsctl("--no-wait", "set", "open_vswitch", ".", "external_ids:marker="+marker)
	if _, err := c.Wait(patience(t), func(s *State) bool { return s.Root.ExternalIDs["marker"] == marker }); err != nil {
		t.Fatal(err)
	}
}

// TestDatabaseRestartIsANonEvent: ovsdb-server dies and comes back; the agent
// reconnects, sees the same switch, and writes nothing.
func TestDatabaseRestartIsANonEvent(t *testing.T) {
	sw := ovstest.Start(t)
	c := connect(t, sw)
	d := referenceDeployment("10.0.1.31", threeTunnels)
	converge(t, c, d)
	for _, p := range d.Ports {
		if _, err := c.WaitOFPort(patience(t), p.Name); err != nil {
			t.Fatal(err)
		}
	}
	pid, err := os.ReadFile(filepath.Join(sw.RunDir, "ovsdb-server.pid"))
	if err != nil {
		t.Fatal(err)
	}
	sw.Exec("kill", "-9", strings.TrimSpace(string(pid)))
	if _, err := c.Wait(patience(t), func(s *State) bool { return !s.Connected }); err != nil {
		t.Fatal(err)
	}
	if ops := Plan(c.State(), d, ours); len(ops) != 0 {
		t.Errorf("the last known state was forgotten: %v", ops)
	}
	sw.Exec("ovsdb-server", "--remote=p"+sw.DB(), "--pidfile", "--detach", "--no-chdir", "--log-file", filepath.Join(sw.RunDir, "conf.db"))
	if _, err := c.Wait(patience(t), func(s *State) bool { return s.Connected && s.Epoch == 2 }); err != nil {
		t.Fatal(err)
	}
	before := c.Writes()
	if ops := converge(t, c, d); len(ops) != 0 || c.Writes() != before {
		t.Errorf("the restart of the database made the agent write %v", ops)
	}
}

// TestStateEqualsVsctl: after random commands of ovs-vsctl the typed state is what
// ovs-vsctl itself lists.
func TestStateEqualsVsctl(t *testing.T) {
	sw := ovstest.Start(t)
	c := connect(t, sw)
	rapid.Check(t, func(rt *rapid.T) {
		words := []string{"--no-wait"}
		for range rapid.IntRange(1, 6).Draw(rt, "commands") {
			words = append(words, drawCommand(rt)...)
		}
		sw.Vsctl(words...)
		settle(t, c, sw)
		mustEqualVsctl(rt, sw, c)
	})
}

func drawCommand(t *rapid.T) []string {
	bridge := rapid.SampledFrom([]string{"br-a", "br-b"}).Draw(t, "bridge")
	port := rapid.SampledFrom([]string{"p1", "p2", "p3"}).Draw(t, "port")
	n := rapid.IntRange(0, 3).Draw(t, "n")
	set := func(table, row string, args ...string) []string {
		return append([]string{"--", "--if-exists", "set", table, row}, args...)
	}
	add := append([]string{"--", "--may-exist", "add-br", bridge}, set("bridge", bridge, "datapath_type=netdev")...)
	add = append(add, "--", "--if-exists", "del-port", port, "--", "add-port", bridge, port)
	return rapid.SampledFrom([][]string{
		{"--", "--if-exists", "del-br", bridge},
		{"--", "--if-exists", "del-port", port},
		add, add,
		set("bridge", bridge, "fail_mode=secure", "protocols=OpenFlow14"),
		set("bridge", bridge, "fail_mode=[]", "protocols=OpenFlow10,OpenFlow14", fmt.Sprintf("other_config:k%d=v", n)),
		set("port", port, fmt.Sprintf("tag=%d", n), fmt.Sprintf("trunks=%d,9", n)),
		set("port", port, "tag=[]", "trunks=[]", "vlan_mode=trunk"),
		set("interface", port, fmt.Sprintf("external_ids:k%d=%d", n, n), "type=internal"),
		set("interface", port, "external_ids={}", fmt.Sprintf("options:o=%d", n), fmt.Sprintf("mtu_request=%d", 1400+n)),
		{"--", "set", "open_vswitch", ".", fmt.Sprintf("external_ids:e%d=x", n)},
	}).Draw(t, "command")
}

// listed is what ovs-vsctl lists of a table: name -> column -> value in wire form, decoded.
func listed(t *rapid.T, sw *ovstest.Switch, table string, columns ...string) map[string]map[string]any {
	var wire struct {
		Headings []string
		Data     [][]any
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(sw.Vsctl("--format=json", "--columns=name,"+strings.Join(columns, ","), "list", table))))
	if err := dec.Decode(&wire); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]map[string]any)
	for _, line := range wire.Data {
		row := make(map[string]any)
		for i, h := range wire.Headings {
			row[h] = plain(line[i])
		}
		out[row["name"].(string)] = row
	}
	return out
}

// plain turns wire sets into lists (a set of one: its element) and maps into Go maps.
func plain(v any) any {
	outer, ok := v.([]any)
	if !ok {
		return v
	}
	switch outer[0] {
	case "map":
		m := map[string]string{}
		for _, pair := range outer[1].([]any) {
			m[pair.([]any)[0].(string)] = pair.([]any)[1].(string)
		}
		return m
	case "set":
		return outer[1]
	}
	return outer[1]
}

func mustEqualVsctl(t *rapid.T, sw *ovstest.Switch, c *Client) {
	s := c.State()
	compare := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) && !(reflect.ValueOf(got).Kind() == reflect.Slice && fmt.Sprint(got) == fmt.Sprintf("[%v]", want)) {
			t.Fatalf("%s: state has %v, ovs-vsctl %v", what, got, want)
		}
	}
	// An optional column is the empty set where the state has a zero value.
	str := func(v string) any {
		if v == "" {
			return "[]"
		}
		return v
	}
	bridges := listed(t, sw, "bridge", "fail_mode", "protocols", "other_config", "datapath_type")
	compare("bridges", s.Bridges(), sortedKeys(bridges))
	for name, row := range bridges {
		b := s.Bridge(name)
		compare(name+" fail_mode", str(b.FailMode), row["fail_mode"])
		compare(name+" protocols", b.Protocols, row["protocols"])
		compare(name+" other_config", b.OtherConfig, row["other_config"])
		compare(name+" ports", strings.Join(slices.DeleteFunc(slices.Clone(b.Ports), func(p string) bool { return p == name }), "\n"),
			strings.TrimSpace(sw.Vsctl("list-ports", name)))
		for _, p := range b.Ports {
			compare(p+" bridge", s.Port(p).Bridge, name)
		}
	}
	ports := listed(t, sw, "port", "tag", "trunks", "vlan_mode")
	compare("ports", s.Ports(), sortedKeys(ports))
	for name, row := range ports {
		p := s.Port(name)
		tag := any("[]")
		if p.Tag != nil {
			tag = *p.Tag
		}
		compare(name+" tag", tag, row["tag"])
		compare(name+" trunks", p.Trunks, row["trunks"])
		compare(name+" vlan_mode", str(p.VLANMode), row["vlan_mode"])
		compare(name+" interfaces", p.Interfaces, []string{name})
	}
	interfaces := listed(t, sw, "interface", "type", "options", "external_ids", "mtu_request")
	compare("interfaces", s.Interfaces(), sortedKeys(interfaces))
	for name, row := range interfaces {
		i := s.Interface(name)
		compare(name+" type", i.Type, row["type"])
		compare(name+" options", i.Options, row["options"])
		compare(name+" external_ids", i.ExternalIDs, row["external_ids"])
		mtu := any("[]")
		if i.MTURequest != 0 {
			mtu = i.MTURequest
		}
		compare(name+" mtu_request", mtu, row["mtu_request"])
	}
}

// TestAnyDesiredStateIsReached: from whatever state the one before left, one apply
// reaches any desired state, and the plan after it is empty.
func TestAnyDesiredStateIsReached(t *testing.T) {
	sw := ovstest.Start(t)
	c := connect(t, sw)
	sw.Vsctl("--no-wait", "add-br", "br-x", "--", "set", "bridge", "br-x", "datapath_type=netdev", "--", "add-port", "br-x", "foreign")
	settle(t, c, sw)
	foreign := config(sw, "foreign")
	rapid.Check(t, func(rt *rapid.T) {
		d := drawDesired(rt)
		writes := c.Writes()
		ops, err := c.Converge(patience(t), d, ours)
		if err != nil {
			rt.Fatal(err)
		}
		if wrote := c.Writes() - writes; wrote != min(1, uint64(len(ops))) {
			rt.Fatalf("%d transactions for %d operations", wrote, len(ops))
		}
		if left := Plan(c.State(), d, ours); len(left) != 0 {
			rt.Fatalf("left over: %v", left)
		}
		for _, p := range d.Ports {
			if have := c.State().Port(p.Name); have == nil || have.Bridge != p.Bridge {
				rt.Fatalf("port %s is not on %s", p.Name, p.Bridge)
			}
		}
		for _, name := range c.State().Ports() {
			wanted := slices.ContainsFunc(d.Ports, func(p DesiredPort) bool { return p.Name == name })
			if ours("", name) && !wanted {
				rt.Fatalf("port %s is still there", name)
			}
		}
	})
	if got := config(sw, "foreign"); got != foreign {
		t.Errorf("a foreign port changed:\n%s", got)
	}
}

func drawDesired(t *rapid.T) Desired {
	d := Desired{Bridges: []DesiredBridge{{Name: "br-y", DatapathType: "netdev"}}}
	if rapid.Bool().Draw(t, "set bridge") {
		d.Bridges = append(d.Bridges, DesiredBridge{Name: "br-x", FailMode: rapid.SampledFrom([]string{"", "secure", "standalone"}).Draw(t, "fail_mode"),
			OtherConfig: map[string]string{"k": rapid.SampledFrom([]string{"", "v", "w"}).Draw(t, "value")}})
	}
	for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 0, 4, rapid.ID[int]).Draw(t, "ports") {
		kind := rapid.SampledFrom([]string{"gre", "vxlan", "geneve"}).Draw(t, "type")
		p := DesiredPort{Name: fmt.Sprint("gre-", n), Type: kind, Bridge: rapid.SampledFrom([]string{"br-x", "br-y"}).Draw(t, "bridge"),
			Options: greOptions(fmt.Sprintf("10.0.1.%d", rapid.IntRange(1, 3).Draw(t, "remote")))}
		if rapid.Bool().Draw(t, "tagged") {
			p.Tag, p.Trunks = Tag(rapid.IntRange(0, 4095).Draw(t, "tag")), []int{rapid.IntRange(1, 2).Draw(t, "trunk")}
			p.ExternalIDs = map[string]string{"iface-id": rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "id")}
		} else {
			p.Tag, p.VLANMode, p.MTURequest = NoTag(), rapid.SampledFrom([]string{"", Default, "trunk"}).Draw(t, "mode"), 1400
		}
		d.Ports = append(d.Ports, p)
	}
	return d
}
