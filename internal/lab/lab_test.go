package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/host/link"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// The lab runs its own program inside hosts; here that is the test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == InitCommand {
		if err := HostInit(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if at := os.Getenv("WL_DIE_AT"); at != "" {
		dieDuringUp(at)
	}
	os.Exit(m.Run())
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// traces lists what a lab of this name may leave on the machine.
func traces(t *testing.T, l *Lab) []string {
	t.Helper()
	var out []string
	root, err := link.Current()
	ok(t, err)
	defer root.Close()
	links, err := root.List()
	ok(t, err)
	for _, d := range links {
		if strings.HasPrefix(d.Name, l.name+"-") {
			out = append(out, "link "+d.Name)
		}
	}
	names, err := link.NetnsNames()
	ok(t, err)
	for _, n := range names {
		if strings.HasPrefix(n, l.name+"-") {
			out = append(out, "netns "+n)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	ok(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, l.dir) || strings.Contains(line, "/"+l.name+"-") {
			out = append(out, "mount "+line)
		}
	}
	pids, err := processes(func(pid int) bool { _, alive := startTime(pid); return alive && isOf(pid, l.name) })
	ok(t, err)
	for _, pid := range pids {
		out = append(out, fmt.Sprintf("process %d", pid))
	}
	if _, err := os.Stat(l.dir); err == nil {
		out = append(out, "directory "+l.dir)
	}
	return out
}

func noTraces(t *testing.T, l *Lab) {
	t.Helper()
	if left := traces(t, l); len(left) > 0 {
		t.Errorf("the lab left:\n%s", strings.Join(left, "\n"))
	}
}

// processesInside lists the processes of a host, by the machine's ids.
func processesInside(t *testing.T, l *Lab, host string) []int {
	t.Helper()
	pid, err := l.firstProcess(host)
	ok(t, err)
	ns := pidNamespace(pid)
	pids, err := processes(func(p int) bool { return pidNamespace(p) == ns })
	ok(t, err)
	return pids
}

func newLab(t *testing.T, name string) *Lab {
	t.Helper()
	l := New(name, filepath.Join(t.TempDir(), "lab"))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), downTime)
		defer cancel()
		if err := l.Down(ctx); err != nil {
			t.Error(err)
		}
		noTraces(t, l)
	})
	return l
}

// deadline is only there for a failing test to end.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (l *Lab) must(t *testing.T, ctx context.Context, host string, argv ...string) string {
	t.Helper()
	out, err := l.Output(ctx, host, argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", host, err, out)
	}
	return strings.TrimSpace(out)
}

// ping waits for an answer, and fails on a second one to the same request: that
// is the kernel answering beside the switch.
func (l *Lab) ping(t *testing.T, ctx context.Context, host string, to netip.Addr) {
	t.Helper()
	if out := l.must(t, ctx, host, "ping", "-c1", "-w15", "-i0.2", to.String()); strings.Contains(out, "DUP") {
		t.Errorf("%s: doubled answer:\n%s", host, out)
	}
}

func TestLabIsACloudOfHosts(t *testing.T) {
	ctx := deadline(t)
	l := newLab(t, "wla")
	began := time.Now()
	var served Info
	ok(t, l.Up(ctx, Config{
		Compute: 2, Gateway: 1,
		Server: func(i Info) []string { served = i; return []string{"sh", "-c", "echo serving; exec sleep infinity"} },
		Agent: func(_ context.Context, i Info, h Host) ([]string, error) {
			return []string{"sh", "-c", "echo agent of $0; hostname; exec sleep infinity", h.Name}, nil
		},
	}))
	t.Logf("Up with 3 hosts: %v", time.Since(began).Round(time.Millisecond))

	st, err := l.Status()
	ok(t, err)
	if !st.Ready || st.Server == 0 || len(st.Hosts) != 3 || st.Management != served.Management {
		t.Errorf("status %+v", st)
	}
	wantTunnels := map[string]string{"network1": "10.0.1.21", "compute1": "10.0.1.31", "compute2": "10.0.1.32"}
	for _, h := range st.Hosts {
		if h.Tunnel.String() != wantTunnels[h.Name] || h.PID == 0 || h.Procs[Agent] == 0 || h.Procs[OVSDB] == 0 || h.Procs[VSwitchd] == 0 {
			t.Errorf("host %+v", h)
		}
	}

	t.Run("a second Up is refused and harms nothing", func(t *testing.T) {
		if err := l.Up(ctx, Config{Compute: 1}); fault.Of(err) != fault.Conflict {
			t.Errorf("second Up: %v", err)
		}
		l.must(t, ctx, "compute1", "true")
	})

	t.Run("hosts reach each other over br-phy and the server", func(t *testing.T) {
		for _, a := range st.Hosts {
			l.ping(t, ctx, a.Name, st.Management)
			for _, b := range st.Hosts {
				if a.Name != b.Name {
					l.ping(t, ctx, a.Name, b.Tunnel)
				}
			}
		}
	})

	t.Run("a host is its own", func(t *testing.T) {
		for _, h := range []string{"compute1", "compute2"} {
			l.must(t, ctx, h, "ip", "netns", "add", "qdhcp-x") // the same name in both
			if out := l.must(t, ctx, h, "ip", "netns", "list"); out != "qdhcp-x" {
				t.Errorf("%s sees namespaces %q", h, out)
			}
			if out := l.must(t, ctx, h, "hostname"); out != h {
				t.Errorf("%s is called %q", h, out)
			}
			if out := l.must(t, ctx, h, "sh", "-c", "ls /sys/class/net | tr '\\n' ' '; ps -e -o pid= | head -1"); !strings.Contains(out, "ens3 ens4") || !strings.HasSuffix(out, " 1") {
				t.Errorf("%s sees %q", h, out)
			}
			l.must(t, ctx, h, "touch", "/var/lib/weft/mine")
			l.must(t, ctx, h, "ip", "netns", "del", "qdhcp-x")
		}
		out, err := exec.Command("ip", "netns", "exec", "wla-compute1", "ip", "-br", "addr", "show", "br-phy").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "10.0.1.31/24") {
			t.Errorf("ip netns exec: %v: %s", err, out)
		}
		if _, err := os.Stat("/var/lib/weft/mine"); err == nil {
			t.Error("a host's /var/lib/weft is the machine's")
		}
	})

	t.Run("exit status and streams come through", func(t *testing.T) {
		var out bytes.Buffer
		err := l.Exec(ctx, "compute1", Streams{In: strings.NewReader("in"), Out: &out}, "sh", "-c", "cat; exit 3")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 3 || out.String() != "in" {
			t.Errorf("%v, %q", err, out.String())
		}
		if _, err := l.Output(ctx, "compute9", "true"); fault.Of(err) != fault.NotFound {
			t.Errorf("unknown host: %v", err)
		}
	})

	t.Run("processes stop, die and start again", func(t *testing.T) {
		for _, p := range [][2]string{{"", Server}, {"compute1", Agent}, {"compute1", VSwitchd}, {"compute2", OVSDB}} {
			before, err := l.PID(p[0], p[1])
			ok(t, err)
			ok(t, l.Kill(ctx, p[0], p[1]))
			if pid, err := l.PID(p[0], p[1]); pid != 0 || err != nil {
				t.Errorf("%v after Kill: %d, %v", p, pid, err)
			}
			if err := l.Stop(ctx, p[0], p[1]); fault.Of(err) != fault.Conflict {
				t.Errorf("%v: stopping the dead: %v", p, err)
			}
			ok(t, l.Start(ctx, p[0], p[1]))
			if err := l.Start(ctx, p[0], p[1]); fault.Of(err) != fault.Conflict {
				t.Errorf("%v: starting the living: %v", p, err)
			}
			after, err := l.PID(p[0], p[1])
			ok(t, err)
			if after == 0 || after == before {
				t.Errorf("%v: process %d, then %d", p, before, after)
			}
		}
		ok(t, l.Stop(ctx, "compute1", Agent))
		ok(t, l.Start(ctx, "compute1", Agent))
		if err := l.Start(ctx, "compute1", "postgres"); fault.Of(err) != fault.NotFound {
			t.Errorf("unknown process: %v", err)
		}
		l.ping(t, ctx, "compute1", netip.MustParseAddr("10.0.1.32"))
	})

	t.Run("a second lab does not clash", func(t *testing.T) {
		other := newLab(t, "wlb")
		ok(t, other.Up(ctx, Config{Compute: 2}))
		second, err := other.Status()
		ok(t, err)
		if second.Management == st.Management {
			t.Errorf("both labs have management %s", st.Management)
		}
		other.ping(t, ctx, "compute1", netip.MustParseAddr("10.0.1.32"))
		other.ping(t, ctx, "compute1", second.Management)
		ok(t, other.Down(ctx))
		noTraces(t, other)
		l.ping(t, ctx, "compute1", netip.MustParseAddr("10.0.1.32"))
	})

	t.Run("a killed host is gone whole and boots with its disk", func(t *testing.T) {
		inside := processesInside(t, l, "compute2")
		if len(inside) < 4 {
			t.Fatalf("only %d processes in the host", len(inside))
		}
		l.must(t, ctx, "compute2", "ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", "external_ids:kept=yes")
		ok(t, l.KillHost(ctx, "compute2"))
		for _, pid := range inside {
			if _, alive := startTime(pid); alive {
				t.Errorf("process %d outlived its host", pid)
			}
		}
		if _, err := l.Output(ctx, "compute2", "true"); fault.Of(err) != fault.Conflict {
			t.Errorf("exec in a dead host: %v", err)
		}
		for _, left := range traces(t, l) {
			if strings.Contains(left, "compute2") || strings.Contains(left, "wla-m32") {
				t.Errorf("the killed host left %s", left)
			}
		}
		ok(t, l.StartHost(ctx, "compute2"))
		l.ping(t, ctx, "compute2", netip.MustParseAddr("10.0.1.31"))
		if out := l.must(t, ctx, "compute2", "ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids:kept"); out != "yes" {
			t.Errorf("kept: %q", out)
		}
		if pid, err := l.PID("compute2", Agent); pid == 0 || err != nil {
			t.Errorf("agent of the booted host: %d, %v", pid, err)
		}
	})

	t.Run("down removes it", func(t *testing.T) {
		// What runs in the world outside has no host that it ends with.
		stray, err := strconv.Atoi(l.must(t, ctx, Outside, "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"))
		ok(t, err)
		ok(t, l.Down(ctx))
		if _, alive := startTime(stray); alive {
			t.Error("a process in the world outside outlived the lab")
		}
		noTraces(t, l)
		ok(t, l.Down(ctx))
		if _, err := l.Status(); fault.Of(err) != fault.NotFound {
			t.Errorf("status after Down: %v", err)
		}
	})
}

// devices is what plugging may leave behind in a host.
func (l *Lab) devices(t *testing.T, ctx context.Context, host string) string {
	t.Helper()
	return l.must(t, ctx, host, "sh", "-c",
		"ls /sys/class/net; ip netns list; ls "+guestDir+"; nft list tables; ovs-vsctl list-ports br-int")
}

func testVM(host, name string, n byte) VMSpec {
	return VMSpec{
		Host: host, Name: name, MTU: 1458,
		PortID: model.PortID{UUID: model.UUID{n, 1, 2, 3, 4, 5, 0x40, 7, 0x80, n}},
		MAC:    model.MAC{0xfa, 0x16, 0x3e, 0, 0, n}, UUID: model.UUID{9, n},
	}
}

func TestVMs(t *testing.T) {
	ctx := deadline(t)
	l := newLab(t, "wlc")
	ok(t, l.Up(ctx, Config{Compute: 1}))
	l.must(t, ctx, "compute1", "ovs-vsctl", "add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev", "fail_mode=secure")
	l.must(t, ctx, "compute1", "ovs-ofctl", "add-flow", "br-int", "priority=0,actions=NORMAL")
	before := l.devices(t, ctx, "compute1")

	server := testVM("compute1", "server", 1)
	server.Static = []netip.Prefix{netip.MustParsePrefix("10.5.0.1/24"), netip.MustParsePrefix("10.5.0.53/24")}
	_, err := l.VMCreate(ctx, server)
	ok(t, err)

	t.Run("packets pass through the bridge and br-int", func(t *testing.T) {
		b := testVM("compute1", "b", 2)
		b.Static, b.Gateway = []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, netip.MustParseAddr("10.5.0.1")
		_, err := l.VMCreate(ctx, b)
		ok(t, err)
		out, err := l.VMOutput(ctx, "b", "ping", "-c1", "-w15", "-i0.2", "10.5.0.1")
		if err != nil || strings.Contains(out, "DUP") {
			t.Errorf("%v\n%s", err, out)
		}
		// By way of the bridge, not past it.
		counted := l.must(t, ctx, "compute1", "cat", "/sys/class/net/"+vif.NamesOf(b.PortID).BridgeEnd+"/statistics/rx_packets")
		if counted == "0" {
			t.Error("nothing came through qvb")
		}
		if out, err := l.VMOutput(ctx, "b", "ip", "route"); err != nil || !strings.Contains(out, "default via 10.5.0.1") {
			t.Errorf("%v\n%s", err, out)
		}
		if out, err := l.VMOutput(ctx, "b", "sh", "-c", "ls /sys/class/net"); err != nil || strings.Join(strings.Fields(out), " ") != "eth0 lo" {
			t.Errorf("the guest sees %q, %v", out, err)
		}
		if _, err := l.VMCreate(ctx, b); fault.Of(err) != fault.Conflict {
			t.Errorf("the same VM again: %v", err)
		}
		ok(t, l.VMDelete(ctx, "b"))
	})

	t.Run("a VM gets its address by DHCP", func(t *testing.T) {
		startDHCP(t, ctx, l)
		c := testVM("compute1", "c", 3)
		c.Mode = vif.Direct
		began := time.Now()
		_, err := l.VMCreate(ctx, c)
		ok(t, err)
		t.Logf("VM with a lease: %v", time.Since(began).Round(time.Millisecond))
		lease, err := l.VMLease("c")
		ok(t, err)
		want := Lease{
			Address: netip.MustParsePrefix("10.5.0.100/24"), DNS: []netip.Addr{netip.MustParseAddr("10.5.0.53")},
			Routes: []link.Route{
				{Dst: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("10.5.0.1")},
				{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.5.0.1")},
			},
			Domain: "example.org", MTU: 1400, Server: netip.MustParseAddr("10.5.0.1"), Time: time.Hour,
		}
		if fmt.Sprint(lease) != fmt.Sprint(want) {
			t.Errorf("lease %+v\nwant  %+v", lease, want)
		}
		out, err := l.VMOutput(ctx, "c", "sh", "-c", "ip route; ip link show eth0; cat /etc/resolv.conf; ping -c1 -w15 10.5.0.1; cat /proc/sys/net/ipv6/conf/eth0/accept_ra")
		ok(t, err)
		for _, has := range []string{"default via 10.5.0.1", "192.0.2.0/24 via 10.5.0.1", "mtu 1400", "nameserver 10.5.0.53", "search example.org", " 0% packet loss", "\n0\n"} {
			if !strings.Contains(out, has) {
				t.Errorf("no %q in\n%s", has, out)
			}
		}
		ok(t, l.VMDelete(ctx, "c"))
	})

	t.Run("a VM without an address is not left behind", func(t *testing.T) {
		held := l.devices(t, ctx, "compute1")
		ok(t, l.VMExec(ctx, "server", Streams{}, "ip", "link", "set", "eth0", "down"))
		d := testVM("compute1", "d", 4)
		d.DHCP = time.Second
		if _, err := l.VMCreate(ctx, d); err == nil || !strings.Contains(err.Error(), "no address by DHCP") {
			t.Errorf("%v", err)
		}
		if after := l.devices(t, ctx, "compute1"); after != held {
			t.Errorf("left behind\n%s\nbefore\n%s", after, held)
		}
	})

	t.Run("deleting leaves no device", func(t *testing.T) {
		ok(t, l.VMDelete(ctx, "server"))
		if after := l.devices(t, ctx, "compute1"); after != before {
			t.Errorf("after\n%s\nbefore\n%s", after, before)
		}
		if vms, err := l.VMs(); err != nil || len(vms) != 0 {
			t.Errorf("%v, %v", vms, err)
		}
		if err := l.VMDelete(ctx, "server"); fault.Of(err) != fault.NotFound {
			t.Errorf("deleting it again: %v", err)
		}
	})
}

// startDHCP has the VM "server" answer DHCP.
func startDHCP(t *testing.T, ctx context.Context, l *Lab) {
	t.Helper()
	conf := `start 10.5.0.100
end 10.5.0.100
interface eth0
lease_file /run/udhcpd.leases
pidfile /run/udhcpd.pid
opt subnet 255.255.255.0
opt router 10.5.0.9
opt dns 10.5.0.53
opt domain example.org
opt mtu 1400
opt lease 3600
opt staticroutes 192.0.2.0/24 10.5.0.1, 0.0.0.0/0 10.5.0.1
`
	ok(t, l.VMExec(ctx, "server", Streams{In: strings.NewReader(conf)}, "sh", "-c", "cat > /run/udhcpd.conf; : > /run/udhcpd.leases"))
	if out, err := l.VMOutput(ctx, "server", "busybox", "udhcpd", "-S", "/run/udhcpd.conf"); err != nil {
		t.Fatalf("udhcpd: %v\n%s", err, out)
	}
}

// dieDuringUp brings a lab up and kills itself at the n-th step.
func dieDuringUp(at string) {
	var name, dir string
	var steps int
	if _, err := fmt.Sscan(at, &steps, &name, &dir); err != nil {
		panic(err)
	}
	count := make(chan int, 1)
	count <- 0
	err := New(name, dir).Up(context.Background(), Config{
		Compute: 2,
		Server:  func(Info) []string { return []string{"sleep", "infinity"} },
		Agent: func(context.Context, Info, Host) ([]string, error) {
			return []string{"sleep", "infinity"}, nil
		},
		Progress: func(Step) {
			n := <-count + 1
			count <- n
			if n == steps {
				unix.Kill(os.Getpid(), unix.SIGKILL)
			}
		},
	})
	fmt.Fprintln(os.Stderr, "still alive:", err)
	os.Exit(1)
}

func TestDownRemovesWhatACrashedUpLeft(t *testing.T) {
	ctx := deadline(t)
	for _, steps := range []int{1, 2, 3, 4, 6} {
		l := newLab(t, "wld")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("WL_DIE_AT=%d %s %s", steps, l.name, l.dir))
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Fatalf("step %d: %v: %s", steps, err, errOut.String())
		}
		if len(traces(t, l)) < 3 {
			t.Errorf("step %d left too little to prove anything: %v", steps, traces(t, l))
		}
		began := time.Now()
		ok(t, l.Down(ctx))
		t.Logf("died at step %d, Down: %v", steps, time.Since(began).Round(time.Millisecond))
		noTraces(t, l)
	}
}

func TestDownNeedsNoState(t *testing.T) {
	ctx := deadline(t)
	l := newLab(t, "wle")
	ok(t, l.Up(ctx, Config{Compute: 1, Server: func(Info) []string { return []string{"sleep", "infinity"} }}))
	ok(t, os.Remove(l.statePath()))
	ok(t, l.Down(ctx))
	noTraces(t, l)
}

func TestFailedUpLeavesNothing(t *testing.T) {
	ctx := deadline(t)
	l := newLab(t, "wlf")
	boom := errors.New("boom")
	err := l.Up(ctx, Config{Compute: 2, Agent: func(_ context.Context, _ Info, h Host) ([]string, error) {
		if h.Name == "compute2" {
			return nil, boom
		}
		return []string{"sleep", "infinity"}, nil
	}})
	if !errors.Is(err, boom) {
		t.Errorf("Up: %v", err)
	}
	noTraces(t, l)
	canceled, cancel := context.WithCancel(ctx)
	err = l.Up(canceled, Config{Compute: 2, Progress: func(Step) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Up: %v", err)
	}
	noTraces(t, l)
}

func TestBadLabIsRefusedBeforeAnythingIsMade(t *testing.T) {
	for want, c := range map[string]struct {
		name string
		cfg  Config
	}{
		"a lab's name":    {"Wl-x", Config{Compute: 1}},
		"at least one":    {"wlg", Config{}},
		"underlay mtu 10": {"wlg", Config{Compute: 1, MTU: 10}},
		"at most 200":     {"wlg", Config{Compute: 201}},
	} {
		l := New(c.name, filepath.Join(t.TempDir(), "lab"))
		if err := l.Up(t.Context(), c.cfg); fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
		noTraces(t, l)
	}
}

func TestManagementNetworkIsOneThatTheMachineDoesNotUse(t *testing.T) {
	p := netip.MustParsePrefix("172.31.254.0/24")
	for _, c := range []struct {
		dst, gw string
		want    bool
	}{
		{"0.0.0.0/0", "10.0.0.1", false},
		{"0.0.0.0/0", "172.31.254.1", true},
		{"172.31.0.0/16", "", false},
		{"172.31.254.0/24", "", true},
		{"172.31.240.0/20", "", true},
		{"172.31.254.7/32", "", true},
		{"172.31.253.0/24", "", false},
		{"fd00::/64", "", false},
	} {
		r := link.Route{Dst: netip.MustParsePrefix(c.dst)}
		if c.gw != "" {
			r.Gateway = netip.MustParseAddr(c.gw)
		}
		if got := inUse(p, []link.Route{r}); got != c.want {
			t.Errorf("route %s via %s: in use %v, want %v", c.dst, c.gw, got, c.want)
		}
	}
}

func TestHostsAreNumberedAsInTheReference(t *testing.T) {
	hosts := planHosts(Config{Compute: 2, Gateway: 1}, netip.MustParsePrefix("172.31.254.0/24"))
	var got []string
	for _, h := range hosts {
		got = append(got, fmt.Sprint(h.Name, " ", h.Tunnel, " ", h.Management, " ", h.Gateway))
	}
	want := []string{
		"network1 10.0.1.21 172.31.254.21 true",
		"compute1 10.0.1.31 172.31.254.31 false",
		"compute2 10.0.1.32 172.31.254.32 false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}
