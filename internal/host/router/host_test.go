package router

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weft/internal/host/iptables"
	"weft/internal/host/link"
	"weft/internal/model"
)

// hostEnv makes the test program, started in namespaces of its own, run TestHost.
const hostEnv = "WEFT_ROUTER_HOST"

// TestHost makes routers as a gateway host does. Names of network namespaces are the machine's, so that the test
// runs in a mount namespace of its own: it sweeps what it finds.
func TestHost(t *testing.T) {
	if os.Getenv(hostEnv) == "" {
		cmd := exec.Command("unshare", "--net", "--mount", "--propagation", "private", os.Args[0], "-test.run=^TestHost$", "-test.v")
		cmd.Env = append(os.Environ(), hostEnv+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	sh(t, "mkdir -p "+link.NetnsDir+" && mount -t tmpfs netns "+link.NetnsDir+" && ip link set lo up")
	for _, userspace := range []bool{false, true} {
		h := newHost(t, userspace)
		plan := func(change func(r *model.RouterView)) []*Plan {
			r, floating := sample()
			r.Legs[0].Addrs = append(r.Legs[0].Addrs, prefixes("2001:db8:2::1/64")...)
			if change != nil {
				change(r)
			}
			return []*Plan{Compute(r, floating)}
		}
		h.apply(plan(nil))
		if !userspace {
			h.forwards(plan)
		}
		t.Run("what is gone comes back", func(t *testing.T) {
			sh(t, h.in("ip addr del 203.0.113.130/32 dev qg-1e000000-1e; iptables-nft -t nat -F neutron-l3-agent-snat; ip route del default"))
			before := h.Writes()
			h.Doubt()
			h.apply(plan(nil))
			got := sh(t, h.in("ip -4 -o addr; iptables-nft-save; ip route"))
			for _, want := range []string{"203.0.113.130/32", "--to-source 203.0.113.120", "default via 203.0.113.1"} {
				if !strings.Contains(got, want) {
					t.Errorf("no %s", want)
				}
			}
			if h.Writes() == before {
				t.Error("repaired without a write")
			}
		})
		t.Run("a restart writes nothing", func(t *testing.T) {
			next := newHost(t, userspace)
			next.apply(plan(nil))
			if n := next.Writes(); n != 0 {
				t.Errorf("%d writes", n)
			}
		})
		t.Run("removal leaves nothing", func(t *testing.T) {
			sh(t, "ip netns add qrouter-somebody-else; ip link add qr-22000000-22 type veth peer name x") // the latter of an earlier run
			defer sh(t, "ip netns del qrouter-somebody-else; ip link del x 2>/dev/null || true")
			h.Doubt()
			h.apply(nil)
			left := sh(t, "ip netns; ip -o link; nft list tables")
			if strings.Count(left, "qrouter-") != 1 || strings.Contains(left, "qr-") || strings.Contains(left, "qg-") {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

type testHost struct {
	*Host
	t *testing.T
}

func newHost(t *testing.T, userspace bool) *testHost {
	h, err := New(Config{Backend: iptables.NFT, Userspace: userspace, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return &testHost{h, t}
}

func (h *testHost) apply(plans []*Plan) {
	h.t.Helper()
	if problems := h.Apply(context.Background(), plans, true); len(problems) > 0 {
		h.t.Fatal(problems)
	}
}

// in is a shell command in the router's namespace.
func (h *testHost) in(command string) string {
	r, _ := sample()
	return "ip netns exec " + Netns(r.ID) + " sh -c '" + command + "'"
}

func sh(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// forwards has two guests and the world outside speak by the router. The world has no route to the guests.
func (h *testHost) forwards(plan func(func(*model.RouterView)) []*Plan) {
	for ns, c := range map[string]struct{ leg, addrs, gateways string }{
		"one":     {"qr-11000000-11", "10.0.0.7/24 10.0.0.8/24 2001:db8:2::7/64", "10.0.0.1 2001:db8:2::1"},
		"two":     {"qr-12000000-12", "10.0.1.7/24 10.0.1.8/24 2001:db8:1::7/64", "10.0.1.1 2001:db8:1::1"},
		"outside": {"qg-1e000000-1e", "203.0.113.1/24", ""},
	} {
		sh(h.t, "ip netns add "+ns+"; ip link add br-"+ns+" type bridge; ip link set br-"+ns+" up; ip link set "+c.leg+" master br-"+ns+
			"; ip link add p-"+ns+" type veth peer name eth0 netns "+ns+"; ip link set p-"+ns+" master br-"+ns+" up; ip -n "+ns+" link set eth0 up")
		for a := range strings.FieldsSeq(c.addrs) {
			sh(h.t, "ip -n "+ns+" addr add "+a+" dev eth0"+map[bool]string{true: " nodad"}[strings.Contains(a, ":")])
		}
		for g := range strings.FieldsSeq(c.gateways) {
			sh(h.t, "ip -n "+ns+" route add default via "+g)
		}
		h.t.Cleanup(func() { sh(h.t, "ip netns del "+ns+"; ip link del br-"+ns) })
	}
	check := func(rule, from, source, to string, want bool) {
		h.t.Helper()
		ping := "ip netns exec " + from + " ping -c 1 -W 1 -I " + source + " " + to
		out, err := exec.Command("sh", "-c", ping+" || "+ping).CombinedOutput() // the first may wait for a neighbour
		if (err == nil) != want {
			h.t.Errorf("%s: %s pings %s: %v, want %v\n%s", rule, source, to, err == nil, want, out)
		}
	}
	check("source NAT", "one", "10.0.0.8", "203.0.113.1", true)
	check("a floating IP", "outside", "203.0.113.1", "203.0.113.130", true)
	between := func(rule string, v4, v6 bool) {
		h.t.Helper()
		check(rule, "one", "10.0.0.8", "10.0.1.8", v4)
		check(rule, "two", "10.0.1.8", "10.0.0.8", v4)
		check(rule, "one", "2001:db8:2::7", "2001:db8:1::7", v6)
		check(rule, "one", "10.0.0.8", "203.0.113.131", true) // stands for 10.0.1.7
		check(rule, "two", "10.0.1.8", "203.0.113.1", true)
	}
	between("no scopes", true, true)
	scope := model.AddressScopeID{UUID: id(9, 1)}
	h.apply(plan(func(r *model.RouterView) { r.Legs[0].Scope = scope }))
	between("another scope in IPv4", false, true)
	h.apply(plan(func(r *model.RouterView) { r.Legs[1].Scope6 = scope }))
	between("another scope in IPv6", true, false)
	h.apply(plan(func(r *model.RouterView) {
		for i := range r.Legs {
			r.Legs[i].Scope, r.Legs[i].Scope6 = scope, scope
		}
	}))
	between("one scope", true, true)
	h.apply(plan(nil))
}
