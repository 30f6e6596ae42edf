package vif

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/host/link"
	"weft/internal/model"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func portID(t *testing.T, s string) model.PortID {
	t.Helper()
	u, err := model.ParseUUID(s)
	ok(t, err)
	return model.PortID{UUID: u}
}

// host makes a network namespace that plays the host.
func host(t *testing.T, suffix string) *link.Namespace {
	t.Helper()
	name := fmt.Sprintf("wl-%s-%d", suffix, os.Getpid())
	_, err := link.EnsureNetns(name)
	ok(t, err)
	t.Cleanup(func() { link.DeleteNetns(name) })
	n, err := link.OpenNetns(name)
	ok(t, err)
	t.Cleanup(n.Close)
	return n
}

// guestName is a name no other test run uses: guests' namespaces are the machine's.
func guestName(name string) string { return fmt.Sprintf("wl%d-%s", os.Getpid(), name) }

// state is what a plug could leave behind on a host.
func state(t *testing.T, n *link.Namespace) []string {
	t.Helper()
	links, err := n.List()
	ok(t, err)
	var out []string
	for _, l := range links {
		out = append(out, "link "+l.Name)
	}
	names, err := link.NetnsNames()
	ok(t, err)
	for _, name := range names {
		if strings.HasPrefix(name, GuestNetns(guestName(""))) {
			out = append(out, "netns "+name)
		}
	}
	var rules []byte
	nft := exec.Command("nft", "list", "ruleset")
	ok(t, n.Do(func() (err error) { rules, err = nft.Output(); return err }))
	return append(out, "nft "+string(rules))
}

// fakeSwitch remembers ports, and fails when told to.
type fakeSwitch struct {
	datapath       string
	bridgeErr      error
	addErr, delErr error
	ports          map[string]Port
	adds           []Port
}

func (f *fakeSwitch) Bridge(context.Context, string) (Bridge, error) {
	return Bridge{Datapath: f.datapath, Ports: slices.Collect(maps.Keys(f.ports))}, f.bridgeErr
}

func (f *fakeSwitch) AddPort(_ context.Context, p Port) error {
	f.adds = append(f.adds, p)
	if f.addErr == nil {
		f.ports[p.Name] = p
	}
	return f.addErr
}

func (f *fakeSwitch) DelPorts(_ context.Context, names ...string) error {
	for _, n := range names {
		delete(f.ports, n)
	}
	return f.delErr
}

func newFake() *fakeSwitch { return &fakeSwitch{datapath: "netdev", ports: map[string]Port{}} }

func spec(t *testing.T, mode Mode, guest string) Spec {
	return Spec{
		PortID: portID(t, "37b25c08-e8aa-4a3c-9d11-0123456789ab"), MAC: model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3},
		VMUUID: model.UUID{1, 2, 3}, MTU: 1458, Mode: mode, Guest: guest, Bridge: "br-int",
	}
}

func TestSpecIsRefusedWithTheReason(t *testing.T) {
	good := spec(t, Hybrid, "a")
	ok(t, good.Validate())
	for want, change := range map[string]func(*Spec){
		"port id":        func(s *Spec) { s.PortID = model.PortID{} },
		"no address":     func(s *Spec) { s.MAC = model.MAC{1} },
		"between 68":     func(s *Spec) { s.MTU = 67 },
		"plug mode":      func(s *Spec) { s.Mode = "odd" },
		"needs a bridge": func(s *Spec) { s.Bridge = "" },
	} {
		s := good
		change(&s)
		err := New(nil, newFake()).Plug(t.Context(), s)
		if err == nil || fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestDevicesAreThoseOfOSVif(t *testing.T) {
	for _, c := range []struct {
		mode  Mode
		guest string
		want  []string
		port  string
	}{
		{Hybrid, "h", []string{"qbr37b25c08-e8", "qvb37b25c08-e8", "qvo37b25c08-e8", "tap37b25c08-e8"}, "qvo37b25c08-e8"},
		{Hybrid, "", []string{"qbr37b25c08-e8", "qvb37b25c08-e8", "qvo37b25c08-e8", "tap37b25c08-e8"}, "qvo37b25c08-e8"},
		{Direct, "d", []string{"tap37b25c08-e8"}, "tap37b25c08-e8"},
		{Direct, "", []string{"tap37b25c08-e8"}, "tap37b25c08-e8"},
	} {
		t.Run(string(c.mode)+"-"+c.guest, func(t *testing.T) {
			n, sw := host(t, "dev"), newFake()
			before := state(t, n)
			if c.guest != "" {
				c.guest = guestName(c.guest)
			}
			s := spec(t, c.mode, c.guest)
			p := New(n, sw)
			ok(t, p.Plug(t.Context(), s))
			var have []string
			links, err := n.List()
			ok(t, err)
			for _, l := range links {
				if strings.Contains(l.Name, "37b25c08-e8") {
					have = append(have, l.Name)
					v6, err := n.Sysctl("net/ipv6/conf/" + l.Name + "/disable_ipv6")
					if !l.Up || l.MTU != 1458 || err != nil || v6 != "1" {
						t.Errorf("%+v, disable_ipv6 %q %v", l, v6, err)
					}
				}
			}
			slices.Sort(have)
			if !slices.Equal(have, c.want) {
				t.Errorf("devices %v, want %v", have, c.want)
			}
			want := Port{Bridge: "br-int", Name: c.port, PortID: s.PortID, MAC: s.MAC, VMUUID: s.VMUUID, MTU: 1458}
			if got := sw.ports[c.port]; got != want || len(sw.ports) != 1 {
				t.Errorf("port %+v, want %+v", sw.ports, want)
			}
			// Once more: same devices, and the port is not opened anew.
			plugged := state(t, n)
			ok(t, p.Plug(t.Context(), s))
			if again := state(t, n); !slices.Equal(again, plugged) || sw.adds[1].Reopen {
				t.Errorf("plugged twice: %v, then %v; reopened %v", plugged, again, sw.adds[1].Reopen)
			}
			ok(t, p.Unplug(t.Context(), s.PortID, "br-int", c.guest))
			ok(t, p.Unplug(t.Context(), s.PortID, "br-int", c.guest))
			if after := state(t, n); !slices.Equal(after, before) || len(sw.ports) != 0 {
				t.Errorf("unplug left %v (before: %v), ports %v", after, before, sw.ports)
			}
		})
	}
}

func TestKernelDatapathIsNotSilenced(t *testing.T) {
	n, sw := host(t, "sys"), newFake()
	sw.datapath = "system"
	before := state(t, n)
	s := spec(t, Hybrid, guestName("s"))
	p := New(n, sw)
	ok(t, p.Plug(t.Context(), s))
	if st := state(t, n); st[len(st)-1] != "nft " {
		t.Errorf("rules: %s", st[len(st)-1])
	}
	ok(t, p.Unplug(t.Context(), s.PortID, "br-int", s.Guest))
	if after := state(t, n); !slices.Equal(after, before) {
		t.Errorf("left %v", after)
	}
}

func TestFailedPlugLeavesNothing(t *testing.T) {
	boom := errors.New("boom")
	for name, breakIt := range map[string]func(*testing.T, *link.Namespace, *fakeSwitch){
		"switch unknown": func(_ *testing.T, _ *link.Namespace, sw *fakeSwitch) { sw.bridgeErr = boom },
		"port refused":   func(_ *testing.T, _ *link.Namespace, sw *fakeSwitch) { sw.addErr = boom },
		"name is a bridge": func(t *testing.T, n *link.Namespace, sw *fakeSwitch) {
			_, err := n.EnsureBridge(link.Bridge{Name: "qvo37b25c08-e8"})
			ok(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, sw := host(t, "fail"), newFake()
			breakIt(t, n, sw)
			before := state(t, n)
			if err := New(n, sw).Plug(t.Context(), spec(t, Hybrid, guestName("f"))); err == nil {
				t.Fatal("plugged")
			}
			if after := state(t, n); !slices.Equal(after, before) || len(sw.ports) != 0 {
				t.Errorf("left %v, before %v; ports %v", after, before, sw.ports)
			}
		})
	}
}

func TestFailedReplugKeepsWhatWasThere(t *testing.T) {
	n, sw := host(t, "keep"), newFake()
	s := spec(t, Hybrid, guestName("k"))
	p := New(n, sw)
	ok(t, p.Plug(t.Context(), s))
	plugged := state(t, n)
	sw.addErr = errors.New("boom")
	if err := p.Plug(t.Context(), s); err == nil {
		t.Fatal("no error")
	}
	if after := state(t, n); !slices.Equal(after, plugged) || len(sw.ports) != 1 {
		t.Errorf("after a failed replug %v, before %v; ports %v", after, plugged, sw.ports)
	}
	ok(t, p.Unplug(t.Context(), s.PortID, "br-int", s.Guest))
}

func TestUnplugTakesHalfOfIt(t *testing.T) {
	n, sw := host(t, "half"), newFake()
	before := state(t, n)
	s := spec(t, Hybrid, guestName("u"))
	names := NamesOf(s.PortID)
	for _, gone := range [][]string{{names.Tap}, {names.SwitchEnd}, {names.Bridge}, {names.Tap, names.Bridge, names.SwitchEnd}} {
		p := New(n, sw)
		ok(t, p.Plug(t.Context(), s))
		ok(t, n.Delete(gone...))
		ok(t, p.Unplug(t.Context(), s.PortID, "br-int", s.Guest))
		if after := state(t, n); !slices.Equal(after, before) {
			t.Errorf("without %v, unplug left %v", gone, after)
		}
	}
}

func TestUnplugGoesOnWithoutASwitch(t *testing.T) {
	n, sw := host(t, "nosw"), newFake()
	before := state(t, n)
	s := spec(t, Hybrid, guestName("n"))
	p := New(n, sw)
	ok(t, p.Plug(t.Context(), s))
	sw.bridgeErr, sw.delErr = errors.New("no database"), errors.New("no database")
	if err := p.Unplug(t.Context(), s.PortID, "br-int", s.Guest); err == nil {
		t.Error("the switch's error is not told")
	}
	if after := state(t, n); !slices.Equal(after, before) {
		t.Errorf("left %v", after)
	}
}

func TestSecondPortCannotTakeAGuestsCard(t *testing.T) {
	n, sw := host(t, "card"), newFake()
	s := spec(t, Direct, guestName("c"))
	p := New(n, sw)
	ok(t, p.Plug(t.Context(), s))
	other := s
	other.PortID = portID(t, "99925c08-e8aa-4a3c-9d11-0123456789ab")
	if err := p.Plug(t.Context(), other); fault.Of(err) != fault.Conflict {
		t.Errorf("second card: %v", err)
	}
	if _, err := n.Get("tap37b25c08-e8"); err != nil {
		t.Errorf("the first card: %v", err)
	}
	ok(t, p.Unplug(t.Context(), s.PortID, "br-int", s.Guest))
}

// openvswitch runs a switch of the test's own in a host.
func openvswitch(t *testing.T, n *link.Namespace) VSCtl {
	t.Helper()
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir, "OVS_LOGDIR="+dir)
		var out []byte
		if err := n.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err }); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	conf, sock := filepath.Join(dir, "conf.db"), "unix:"+filepath.Join(dir, "db.sock")
	run("ovsdb-tool", "create", conf, "/usr/share/openvswitch/vswitch.ovsschema")
	for _, d := range [][]string{{"ovsdb-server", "--remote=p" + sock, conf}, {"ovs-vswitchd", sock}} {
		run(d[0], append(d[1:], "--pidfile", "--detach", "--no-chdir", "--log-file")...)
		t.Cleanup(func() {
			var pid int
			b, err := os.ReadFile(filepath.Join(dir, d[0]+".pid"))
			ok(t, err)
			_, err = fmt.Sscan(string(b), &pid)
			ok(t, err)
			ok(t, unix.Kill(pid, unix.SIGKILL))
		})
	}
	run("ovs-vsctl", "--db="+sock, "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev", "fail_mode=standalone")
	return VSCtl{DB: sock}
}

func TestPacketsPassOverOpenVSwitch(t *testing.T) {
	n := host(t, "ovs")
	sw := openvswitch(t, n)
	p := New(n, sw)
	before := state(t, n)
	type end struct {
		spec Spec
		addr netip.Prefix
		ns   *link.Namespace
	}
	var ends []end
	for i, mode := range []Mode{Hybrid, Hybrid, Direct} {
		s := spec(t, mode, guestName(fmt.Sprint(i)))
		s.PortID = portID(t, fmt.Sprintf("%08d-aaaa-4a3c-9d11-0123456789ab", i))
		s.MAC[5] = byte(i)
		t.Cleanup(func() { p.Unplug(context.Background(), s.PortID, "br-int", s.Guest) })
		ok(t, p.Plug(t.Context(), s))
		ns, err := link.OpenNetns(GuestNetns(s.Guest))
		ok(t, err)
		t.Cleanup(ns.Close)
		e := end{s, netip.MustParsePrefix(fmt.Sprintf("10.3.0.%d/24", i+1)), ns}
		ok(t, ns.EnsureAddr(GuestDevice, e.addr))
		ends = append(ends, e)
	}
	for _, pair := range [][2]int{{0, 1}, {1, 2}} {
		reach(t, ends[pair[0]].ns, ends[pair[1]].addr.Addr())
	}
	connect(t, ends[0].ns, ends[1].ns, ends[1].addr.Addr())
	ids, err := sw.run(t.Context(), "--", "get", "Interface", "qvo00000000-aa", "external_ids", "mtu_request")
	ok(t, err)
	want := `{attached-mac="fa:16:3e:01:02:00", iface-id="00000000-aaaa-4a3c-9d11-0123456789ab", iface-status=active, vm-uuid="` + ends[0].spec.VMUUID.String() + "\"}\n1458"
	if ids != want {
		t.Errorf("interface has\n%s\nwant\n%s", ids, want)
	}
	// Someone deletes the devices behind the switch's back: plugging again heals it.
	ok(t, n.Delete("qvo00000000-aa", "tap00000000-aa"))
	ok(t, p.Plug(t.Context(), ends[0].spec))
	ok(t, ends[0].ns.EnsureAddr(GuestDevice, ends[0].addr))
	reach(t, ends[0].ns, ends[1].addr.Addr())
	for _, e := range ends {
		ok(t, p.Unplug(t.Context(), e.spec.PortID, "br-int", e.spec.Guest))
	}
	if after := state(t, n); !slices.Equal(after, before) {
		t.Errorf("left %v, before %v", after, before)
	}
	if ports, err := sw.run(t.Context(), "--", "list-ports", "br-int"); err != nil || ports != "" {
		t.Errorf("ports %q, %v", ports, err)
	}
}

// reach pings until an answer comes, and fails on a doubled one: that is the
// kernel answering beside the switch.
func reach(t *testing.T, from *link.Namespace, to netip.Addr) {
	t.Helper()
	cmd := exec.Command("ping", "-c1", "-w10", "-i0.2", to.String())
	var out []byte
	if err := from.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err }); err != nil || strings.Contains(string(out), "DUP") {
		t.Fatalf("ping %s: %v: %s", to, err, out)
	}
}

// connect opens a TCP connection and sends data, which only arrives with good checksums.
func connect(t *testing.T, from, to *link.Namespace, addr netip.Addr) {
	t.Helper()
	fd := -1
	ok(t, to.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 7000}); err != nil {
			return err
		}
		return unix.Listen(fd, 1)
	}))
	defer unix.Close(fd)
	cmd := exec.Command("busybox", "nc", "-w", "5", addr.String(), "7000")
	cmd.Stdin = strings.NewReader("hello")
	done := make(chan error, 1)
	go func() { done <- from.Do(cmd.Run) }()
	ok(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
	conn, _, err := unix.Accept(fd)
	ok(t, err)
	buf := make([]byte, 16)
	got, err := unix.Read(conn, buf)
	ok(t, err)
	unix.Close(conn)
	if string(buf[:got]) != "hello" {
		t.Errorf("received %q", buf[:got])
	}
	<-done
}
