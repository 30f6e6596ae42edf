package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/model"
)

// scratch makes a network namespace of the test's own.
func scratch(t *testing.T, suffix string) *Namespace {
	t.Helper()
	name := fmt.Sprintf("wl-%s-%d", suffix, os.Getpid())
	created, err := EnsureNetns(name)
	if err != nil || !created {
		t.Fatalf("EnsureNetns(%s) = %v, %v", name, created, err)
	}
	t.Cleanup(func() {
		if err := DeleteNetns(name); err != nil {
			t.Error(err)
		}
	})
	n, err := OpenNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// in runs a command in the namespace and returns what it prints.
func in(t *testing.T, n *Namespace, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out []byte
	err := n.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err })
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestNamedNetnsIsWhatIPRouteKnows(t *testing.T) {
	name := fmt.Sprintf("wl-name-%d", os.Getpid())
	created, err := EnsureNetns(name)
	ok(t, err)
	again, err := EnsureNetns(name)
	ok(t, err)
	if !created || again {
		t.Errorf("created %v, then %v; want true, then false", created, again)
	}
	out, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil || !strings.Contains(string(out), name) {
		t.Errorf("ip netns list: %v: %s", err, out)
	}
	ok(t, DeleteNetns(name))
	ok(t, DeleteNetns(name))
	if names, err := NetnsNames(); err != nil || slices.Contains(names, name) {
		t.Errorf("after delete: %v, %v", names, err)
	}
}

func TestNetnsNameLeftByACrashIsUsed(t *testing.T) {
	name := fmt.Sprintf("wl-crash-%d", os.Getpid())
	ok(t, os.MkdirAll(NetnsDir, 0o755))
	ok(t, os.WriteFile(filepath.Join(NetnsDir, name), nil, 0o444))
	t.Cleanup(func() { DeleteNetns(name) })
	if created, err := EnsureNetns(name); err != nil || !created {
		t.Fatalf("EnsureNetns = %v, %v", created, err)
	}
	n, err := OpenNetns(name)
	ok(t, err)
	n.Close()
}

func TestDoRunsInTheNamespaceAndComesBack(t *testing.T) {
	n := scratch(t, "do")
	home, err := Current()
	ok(t, err)
	defer home.Close()
	ok(t, n.Do(func() error {
		here, err := Current()
		if err != nil {
			return err
		}
		defer here.Close()
		if !here.Same(n) || here.Same(home) {
			t.Error("fn did not run in the namespace")
		}
		return nil
	}))
	sentinel := errors.New("sentinel")
	if err := n.Do(func() error { return sentinel }); err != sentinel {
		t.Errorf("Do returned %v", err)
	}
	now, err := Current()
	ok(t, err)
	defer now.Close()
	if !now.Same(home) {
		t.Error("Do left the caller in another namespace")
	}
}

func TestMissingLinkIsNotFound(t *testing.T) {
	n := scratch(t, "none")
	_, err := n.Get("nothing")
	for what, err := range map[string]error{
		"Get": err, "SetUp": n.SetUp("nothing"), "SetMTU": n.SetMTU("nothing", 1400), "EnsureAddr": n.EnsureAddr("nothing", netip.MustParsePrefix("10.0.0.1/24")),
	} {
		if fault.Of(err) != fault.NotFound || err == nil {
			t.Errorf("%s: %v, want kind NotFound", what, err)
		}
	}
	ok(t, n.Delete("nothing"))
	ok(t, n.Delete("nothing", "neither"))
}

func TestBridgeHasTheOptionsAskedFor(t *testing.T) {
	n := scratch(t, "br")
	want := Bridge{Name: "qbr0", MTU: 1458, NoLearning: true}
	created, err := n.EnsureBridge(want)
	ok(t, err)
	again, err := n.EnsureBridge(want)
	ok(t, err)
	if !created || again {
		t.Errorf("created %v, then %v", created, again)
	}
	out := in(t, n, "ip", "-d", "link", "show", "qbr0")
	for _, opt := range []string{"mtu 1458", "forward_delay 0 ", "ageing_time 0 ", "stp_state 0 ", "mcast_snooping 0 "} {
		if !strings.Contains(out, opt) {
			t.Errorf("no %q in %s", opt, out)
		}
	}
	_, err = n.EnsureBridge(Bridge{Name: "qbr0", MulticastSnooping: true})
	ok(t, err)
	out = in(t, n, "ip", "-d", "link", "show", "qbr0")
	for _, opt := range []string{"ageing_time 30000 ", "mcast_snooping 1 "} {
		if !strings.Contains(out, opt) {
			t.Errorf("no %q in %s", opt, out)
		}
	}
}

func TestVethPair(t *testing.T) {
	a, b := scratch(t, "a"), scratch(t, "b")
	v := Veth{Name: "tap0", Peer: "eth0", PeerIn: b, MTU: 1458, MAC: model.MAC{0xfe, 1, 2, 3, 4, 5}, PeerMAC: model.MAC{0xfa, 1, 2, 3, 4, 5}}
	check := func(created, want bool, err error) {
		t.Helper()
		ok(t, err)
		near, err := a.Get("tap0")
		ok(t, err)
		far, err := b.Get("eth0")
		ok(t, err)
		if created != want || near.Peer != far.Index || far.Peer != near.Index {
			t.Fatalf("created %v, want %v; %+v %+v", created, want, near, far)
		}
		if near.MTU != v.MTU || far.MTU != v.MTU || near.MAC != v.MAC || far.MAC != v.PeerMAC {
			t.Errorf("want %+v, have %+v %+v", v, near, far)
		}
	}
	created, err := a.EnsureVeth(v)
	check(created, true, err)
	created, err = a.EnsureVeth(v)
	check(created, false, err)
	v.MTU = 1400
	created, err = a.EnsureVeth(v)
	check(created, false, err)
	// The other end is somewhere else: the pair is replaced.
	in(t, b, "ip", "link", "set", "eth0", "name", "other")
	created, err = a.EnsureVeth(v)
	check(created, true, err)
	// Somebody else's device is left alone.
	_, err = a.EnsureBridge(Bridge{Name: "br0"})
	ok(t, err)
	if _, err := a.EnsureVeth(Veth{Name: "br0", Peer: "x"}); err == nil || !strings.Contains(err.Error(), "not a veth") {
		t.Errorf("veth over a bridge: %v", err)
	}
}

func TestTapIsPersistentAndNeedsNoHeader(t *testing.T) {
	n := scratch(t, "tap")
	created, err := n.EnsureTap("tap0", 1458)
	ok(t, err)
	again, err := n.EnsureTap("tap0", 1458)
	ok(t, err)
	if !created || again {
		t.Errorf("created %v, then %v", created, again)
	}
	if out := in(t, n, "ip", "-d", "link", "show", "tap0"); !strings.Contains(out, "tun type tap") || !strings.Contains(out, "persist on") || !strings.Contains(out, "vnet_hdr off") || !strings.Contains(out, "mtu 1458") {
		t.Error(out)
	}
	home, err := Current()
	ok(t, err)
	defer home.Close()
	if _, err := home.Get("tap0"); fault.Of(err) != fault.NotFound {
		t.Errorf("the tap is in the test's own namespace: %v", err)
	}
}

func TestPortsAndFlags(t *testing.T) {
	n := scratch(t, "port")
	_, err := n.EnsureVeth(Veth{Name: "p0", Peer: "p1"})
	ok(t, err)
	_, err = n.EnsureBridge(Bridge{Name: "br0"})
	ok(t, err)
	ok(t, n.SetMaster("p0", "br0"))
	ok(t, n.SetPromisc("p1", true))
	for _, d := range []string{"p0", "p1", "br0"} {
		ok(t, n.SetUp(d))
		ok(t, n.SetUp(d))
	}
	br, err := n.Get("br0")
	ok(t, err)
	p0, err := n.Get("p0")
	ok(t, err)
	p1, err := n.Get("p1")
	ok(t, err)
	if p0.Master != br.Index || !p0.Up || !p0.Carrier || !p1.Promisc {
		t.Errorf("%+v %+v", p0, p1)
	}
	ok(t, n.ClearMaster("p0"))
	ok(t, n.SetDown("p0"))
	ok(t, n.SetPromisc("p1", false))
	p0, err = n.Get("p0")
	ok(t, err)
	p1, err = n.Get("p1")
	ok(t, err)
	if p0.Master != 0 || p0.Up || p1.Carrier || p1.Promisc {
		t.Errorf("%+v %+v", p0, p1)
	}
}

func TestAddressesAndRoutes(t *testing.T) {
	n := scratch(t, "addr")
	_, err := n.EnsureVeth(Veth{Name: "e0", Peer: "e1"})
	ok(t, err)
	ok(t, n.SetUp("e0"))
	ok(t, n.SetUp("e1"))
	addr := netip.MustParsePrefix("10.9.0.5/24")
	ok(t, n.EnsureAddr("e0", addr))
	ok(t, n.EnsureAddr("e0", addr))
	if addrs, err := n.Addrs("e0"); err != nil || !slices.Contains(addrs, addr) {
		t.Errorf("%v, %v", addrs, err)
	}
	for _, r := range []Route{
		{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.9.0.1"), Dev: "e0"},
		{Dst: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("10.9.0.2"), Dev: "e0"},
		{Dst: netip.MustParsePrefix("169.254.169.254/32"), Dev: "e0"},
	} {
		ok(t, n.EnsureRoute(r))
		ok(t, n.EnsureRoute(r))
		if routes, err := n.Routes(); err != nil || !slices.Contains(routes, r) {
			t.Errorf("no %v in %v (%v)", r, routes, err)
		}
		ok(t, n.DeleteRoute(r))
		ok(t, n.DeleteRoute(r))
		if routes, err := n.Routes(); err != nil || slices.Contains(routes, r) {
			t.Errorf("still %v in %v (%v)", r, routes, err)
		}
	}
	ok(t, n.DeleteAddr("e0", addr))
	ok(t, n.DeleteAddr("e0", addr))
}

func TestSysctlIsTheNamespacesOwn(t *testing.T) {
	a, b := scratch(t, "sa"), scratch(t, "sb")
	const key = "net/ipv4/ip_forward"
	before, err := b.Sysctl(key)
	ok(t, err)
	other := map[string]string{"0": "1", "1": "0"}[before]
	ok(t, a.SetSysctl(key, other))
	got, err := a.Sysctl(key)
	ok(t, err)
	same, err := b.Sysctl(key)
	ok(t, err)
	if got != other || same != before {
		t.Errorf("a %s (want %s), b %s (want %s)", got, other, same, before)
	}
	if err := a.SetSysctl("net/no/such", "1"); err == nil || fault.Of(err) != fault.NotFound || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing sysctl: %v", err)
	}
	ok(t, a.TrySysctls("1", "net/no/such"))
}

func TestTxOffloadGoesOffAsByEthtool(t *testing.T) {
	n := scratch(t, "eth")
	_, err := n.EnsureVeth(Veth{Name: "e0", Peer: "e1"})
	ok(t, err)
	ok(t, n.DisableTxOffload("e0"))
	ok(t, n.DisableTxOffload("e0"))
	_, err = n.EnsureVeth(Veth{Name: "f0", Peer: "f1"})
	ok(t, err)
	in(t, n, "ethtool", "-K", "f0", "tx", "off")
	ours := strings.Replace(in(t, n, "ethtool", "-k", "e0"), "e0:", "", 1)
	want := strings.Replace(in(t, n, "ethtool", "-k", "f0"), "f0:", "", 1)
	if ours != want || !strings.Contains(ours, "tx-checksumming: off") {
		t.Errorf("ours %s\nethtool's %s", ours, want)
	}
	if err := n.DisableTxOffload("e9"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("missing device: %v", err)
	}
}

func TestQuietKernelDoesNotAnswer(t *testing.T) {
	a, b := scratch(t, "qa"), scratch(t, "qb")
	_, err := a.EnsureVeth(Veth{Name: "e0", Peer: "e1", PeerIn: b})
	ok(t, err)
	ok(t, a.SetUp("e0"))
	ok(t, b.SetUp("e1"))
	ok(t, a.EnsureAddr("e0", netip.MustParsePrefix("10.9.1.1/24")))
	ok(t, b.EnsureAddr("e1", netip.MustParsePrefix("10.9.1.2/24")))
	in(t, a, "ping", "-c1", "-W2", "10.9.1.2")
	silent := func(when string) {
		t.Helper()
		cmd := exec.Command("ping", "-c1", "-W1", "10.9.1.2")
		if err := a.Do(cmd.Run); err == nil {
			t.Errorf("a quiet device answered %s", when)
		}
	}
	ok(t, b.Quiet(t.Context(), "e1"))
	silent("at first")
	before := in(t, b, "nft", "-a", "list", "ruleset")
	ok(t, b.Quiet(t.Context(), "e1"))
	if after := in(t, b, "nft", "-a", "list", "ruleset"); after != before {
		t.Errorf("what was quiet already was written again:\n%s\nwas\n%s", after, before)
	}
	// A device that comes back by that name.
	ok(t, b.Delete("e1"))
	_, err = a.EnsureVeth(Veth{Name: "e0", Peer: "e1", PeerIn: b})
	ok(t, err)
	ok(t, a.SetUp("e0"))
	ok(t, b.SetUp("e1"))
	ok(t, a.EnsureAddr("e0", netip.MustParsePrefix("10.9.1.1/24")))
	ok(t, b.EnsureAddr("e1", netip.MustParsePrefix("10.9.1.2/24")))
	ok(t, b.Quiet(t.Context(), "e1"))
	silent("when it came back")
	// Also when the device is gone first.
	ok(t, b.Delete("e1"))
	ok(t, b.Unquiet(t.Context(), "e1", "e7"))
	if out := in(t, b, "nft", "list", "ruleset"); out != "" {
		t.Errorf("left behind: %s", out)
	}
}

func TestDeleteSeveral(t *testing.T) {
	n := scratch(t, "del")
	var names []string
	for i := range 20 {
		name := fmt.Sprintf("p%d", i)
		_, err := n.EnsureVeth(Veth{Name: name, Peer: "q" + name})
		ok(t, err)
		names = append(names, name, "q"+name)
	}
	ok(t, n.Delete(names...))
	links, err := n.List()
	ok(t, err)
	for _, l := range links {
		if l.Kind == "veth" {
			t.Errorf("left: %+v", l)
		}
	}
}

func TestNamesAreThoseOfTheList(t *testing.T) {
	n := scratch(t, "nam")
	for i := range 100 {
		_, err := n.EnsureVeth(Veth{Name: fmt.Sprintf("p%d", i), Peer: fmt.Sprintf("fifteen-long-%02d", i)})
		ok(t, err)
	}
	links, err := n.List()
	ok(t, err)
	var want []string
	for _, l := range links {
		want = append(want, l.Name)
	}
	if got, err := n.Names(); err != nil || !slices.Equal(got, want) {
		t.Errorf("names %v (%v), want %v", got, err, want)
	}
}

func TestCountersCount(t *testing.T) {
	n := scratch(t, "cnt")
	ok(t, n.SetUp("lo"))
	before, err := n.Counters("lo")
	ok(t, err)
	in(t, n, "ping", "-c1", "-W2", "127.0.0.1")
	after, err := n.Counters("lo")
	ok(t, err)
	if after.TxPackets < before.TxPackets+2 || after.RxBytes <= before.RxBytes {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// watching collects events until stop is called; next waits for one that fits.
type watching struct {
	t      *testing.T
	events chan Event
	stop   func()
}

func watch(t *testing.T, n *Namespace) *watching {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{t: t, events: make(chan Event, 1000)}
	done := make(chan error, 1)
	go func() { done <- n.Watch(ctx, func(e Event) { w.events <- e }) }()
	w.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
	}
	return w
}

func (w *watching) next(fits func(Event) bool) Event {
	w.t.Helper()
	for {
		select {
		case e := <-w.events:
			if fits(e) {
				return e
			}
		case <-w.t.Context().Done():
			w.t.Fatal("no such event")
		}
	}
}

func TestWatchTellsWhatIsThereThenSyncedThenChanges(t *testing.T) {
	defer goleak.VerifyNone(t)
	n := scratch(t, "watch")
	_, err := n.EnsureVeth(Veth{Name: "old", Peer: "old1"})
	ok(t, err)
	w := watch(t, n)
	for seen := false; ; {
		e := w.next(func(Event) bool { return true })
		if e.Kind == Synced {
			if !seen {
				t.Error("synced before the device that was there")
			}
			break
		}
		seen = seen || e.Link.Name == "old"
	}
	_, err = n.EnsureVeth(Veth{Name: "new", Peer: "new1"})
	ok(t, err)
	w.next(func(e Event) bool { return e.Kind == Changed && e.Link.Name == "new" })
	_, err = n.EnsureBridge(Bridge{Name: "br0"})
	ok(t, err)
	ok(t, n.SetMaster("new", "br0"))
	w.next(func(e Event) bool { return e.Kind == Changed && e.Link.Name == "new" && e.Link.Master != 0 })
	// Leaving a bridge is a change of the device, not its end.
	ok(t, n.ClearMaster("new"))
	w.next(func(e Event) bool {
		if e.Kind == Gone {
			t.Errorf("told as gone: %+v", e)
		}
		return e.Kind == Changed && e.Link.Name == "new" && e.Link.Master == 0
	})
	ok(t, n.Delete("new"))
	w.next(func(e Event) bool { return e.Kind == Gone && e.Link.Name == "new" })
	w.stop()
}

func TestWatcherTellsTheDifferenceAfterARead(t *testing.T) {
	var told []Event
	w := watcher{known: map[int]Link{}, tell: func(e Event) { told = append(told, e) }}
	a, b, c := Link{Index: 1, Name: "a"}, Link{Index: 2, Name: "b"}, Link{Index: 3, Name: "c"}
	w.replace([]Link{a, b})
	told = nil
	up := b
	up.Up = true
	w.replace([]Link{up, c})
	want := []Event{{Gone, a}, {Changed, up}, {Changed, c}}
	if !slices.Equal(told, want) {
		t.Errorf("told %+v\nwant %+v", told, want)
	}
}
