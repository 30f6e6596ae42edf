package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/labcmd"
)

// farAway is an address of the world outside that is not on the external network itself.
const farAway = "198.51.100.1"

// outside runs a command in the world outside.
func (w *world) outside(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := w.lab.Output(t.Context(), lab.Outside, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// external makes the external network.
func (w *world) external(t testing.TB) (network string) {
	t.Helper()
	network = w.must(t, "POST", "networks", "network", body{
		"name": "ext-net", "router:external": true, "provider:network_type": "flat", "provider:physical_network": lab.ExternalNetwork,
	})["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "networks/"+network, "", nil) })
	w.must(t, "POST", "subnets", "subnet", body{
		"network_id": network, "cidr": "203.0.113.0/24", "gateway_ip": "203.0.113.1", "ip_version": 4, "enable_dhcp": false,
		"allocation_pools": []body{{"start": "203.0.113.10", "end": "203.0.113.200"}},
	})
	return network
}

// router makes a router with a gateway on an external network and a leg on each of the networks' subnets.
func (w *world) router(t testing.TB, external string, attrs body, networks ...string) (id string) {
	t.Helper()
	in := body{"name": t.Name(), "external_gateway_info": body{"network_id": external}}
	for k, v := range attrs {
		in[k] = v
	}
	id = w.must(t, "POST", "routers", "router", in)["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "routers/"+id, "", nil) })
	for _, n := range networks {
		w.attach(t, id, n)
	}
	return id
}

// attach gives a router a leg on each subnet of a network.
func (w *world) attach(t testing.TB, router, network string) {
	t.Helper()
	_, out, err := w.call(t.Context(), "GET", "subnets?network_id="+network, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range out["subnets"].([]any) {
		w.leg(t, "add", router, s.(body)["id"].(string))
		t.Cleanup(func() { w.leg(t, "remove", router, s.(body)["id"].(string)) })
	}
}

func (w *world) leg(t testing.TB, verb, router, subnet string) {
	t.Helper()
	status, out, err := w.call(context.Background(), "PUT", "routers/"+router+"/"+verb+"_router_interface", body{"subnet_id": subnet})
	if err != nil || status != 200 {
		t.Fatalf("%s leg: %d %v %v", verb, status, out, err)
	}
}

// answering returns the gateway host that answers for a router: its legs are open there.
func (w *world) answering(t testing.TB, router string) string {
	t.Helper()
	var at []string
	w.eventually(t, "one host answers for the router", func() bool {
		at = nil
		for _, h := range []string{"network1", "network2"} {
			text, err := w.lab.Output(t.Context(), h, "sh", "-c", "grep 'router="+router+" answers' /var/log/weft-agent.log | tail -1")
			if err == nil && strings.Contains(text, "answers=true") {
				at = append(at, h)
			}
		}
		return len(at) == 1
	})
	return at[0]
}

// longestGap is the longest time without an answer of a ping every 10 ms.
func longestGap(t testing.TB, sent, lost int) time.Duration {
	t.Helper()
	t.Logf("%d of %d pings lost", lost, sent)
	return time.Duration(lost) * 10 * time.Millisecond
}

func TestRouter(t *testing.T) {
	x := another(t, "r", 95, labcmd.Options{Compute: 2, Gateway: 2, AgentArgs: []string{"--verify-interval", "2s"}})
	ext := x.external(t)
	n := x.network(t, "10.80.0.0/24", nil)
	narrow := x.network(t, "10.81.0.0/24", body{"mtu": 1300})
	r := x.router(t, ext, nil, n, narrow)
	x.vm(t, "r-a", "compute1", n)
	b := x.vm(t, "r-b", "compute2", narrow)
	x.reaches(t, "r-a", farAway)
	x.reaches(t, "r-b", farAway)
	var own string
	for _, f := range x.must(t, "GET", "routers/"+r, "router", nil)["external_gateway_info"].(body)["external_fixed_ips"].([]any) {
		own = f.(body)["ip_address"].(string)
	}

	t.Run("translates sources to its own address", func(t *testing.T) {
		x.tcpFromOutside(t, "r-a", own)
	})
	t.Run("routes between its legs", func(t *testing.T) { x.reaches(t, "r-a", b.Addrs[0].String()) })
	t.Run("traceroute shows it", func(t *testing.T) {
		out, err := x.lab.VMOutput(t.Context(), "r-a", "busybox", "traceroute", "-n", "-q", "1", "-w", "1", farAway)
		if err != nil || !regexp.MustCompile(`(?m)^ 1  10\.80\.0\.1 .*\n 2  198\.51\.100\.1 `).MatchString(out) {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("says that a packet is too big", func(t *testing.T) {
		out, _ := x.lab.VMOutput(t.Context(), "r-a", "ping", "-c", "2", "-i", "0.2", "-M", "do", "-s", "1400", b.Addrs[0].String())
		if !strings.Contains(out, "mtu = 1300") && !strings.Contains(out, "mtu=1300") {
			t.Errorf("got %s", out)
		}
	})
	t.Run("takes a user's route", func(t *testing.T) {
		if _, err := x.lab.VMOutput(t.Context(), "r-b", "ip", "addr", "add", "192.0.2.7/32", "dev", "lo"); err != nil {
			t.Fatal(err)
		}
		x.must(t, "PUT", "ports/"+b.ID.String(), "port", body{"allowed_address_pairs": []body{{"ip_address": "192.0.2.7"}}})
		x.must(t, "PUT", "routers/"+r, "router", body{"routes": []body{{"destination": "192.0.2.0/24", "nexthop": b.Addrs[0].String()}}})
		x.reaches(t, "r-a", "192.0.2.7")
		x.must(t, "PUT", "routers/"+r, "router", body{"routes": []body{}})
		x.eventually(t, "the route is gone", func() bool { return x.ping(t, "r-a", "192.0.2.7", 1) == 0 })
	})
	t.Run("agents and server restart without a loss", func(t *testing.T) { x.restartsWithoutLoss(t) })
	t.Run("comes back with the switch", func(t *testing.T) {
		at := x.answering(t, r)
		if err := x.lab.Kill(t.Context(), at, lab.VSwitchd); err != nil {
			t.Fatal(err)
		}
		if err := x.lab.Start(t.Context(), at, lab.VSwitchd); err != nil {
			t.Fatal(err)
		}
		x.reaches(t, "r-a", farAway)
		x.reaches(t, "r-b", farAway)
		x.eventually(t, "one host answers again", func() bool { return x.answering(t, r) == at })
	})
	t.Run("survives its gateway", func(t *testing.T) { x.survivesGateways(t, r) })
	t.Run("leaves no trace", func(t *testing.T) {
		other := x.network(t, "10.82.0.0/24", nil)
		id := x.must(t, "POST", "routers", "router", body{"name": "short", "external_gateway_info": body{"network_id": ext}})["id"].(string)
		_, out, _ := x.call(t.Context(), "GET", "subnets?network_id="+other, nil)
		sub := out["subnets"].([]any)[0].(body)["id"].(string)
		x.leg(t, "add", id, sub)
		is := func(h string) string { return x.host(t, h, "sh", "-c", "ip netns list | grep "+id+" || true") }
		x.eventually(t, "the router is there", func() bool { return is("network1") != "" && is("network2") != "" })
		x.leg(t, "remove", id, sub)
		x.must(t, "DELETE", "routers/"+id, "", nil)
		x.eventually(t, "the router is gone", func() bool { return is("network1") == "" && is("network2") == "" })
		for _, h := range []string{"network1", "network2"} {
			x.eventually(t, "no leg is left", func() bool {
				text := x.host(t, h, "sh", "-c", "ip -o link | grep -cE 'q[rg]-' || true; ovs-vsctl list-ports br-int | grep -c '^q[rg]-' || true; nft list tables | grep -cE 'q[rg]-' || true")
				return strings.Join(strings.Fields(text), " ") == "3 3 3" // those of the other router
			})
		}
	})
}

// tcpFromOutside has a guest connect to the world outside, which sees the address from.
func (w *world) tcpFromOutside(t *testing.T, vm, from string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.lab.Exec(ctx, lab.Outside, lab.Streams{}, "busybox", "nc", "-ll", "-p", "8080", "-e", "cat")
	}()
	t.Cleanup(func() { cancel(); <-done })
	w.eventually(t, "listening", func() bool { return strings.Contains(w.outside(t, "ss", "-tln"), ":8080 ") })
	f := w.dial(t, vm, farAway, 8080)
	if seen := w.outside(t, "ss", "-Htn", "state", "established"); !strings.Contains(seen, from) || !f.echoes(time.Second) {
		t.Errorf("outside sees %s", seen)
	}
}

func (w *world) restartsWithoutLoss(t *testing.T) {
	stop := w.pinging(t, "r-a", farAway)
	hosts := []string{"network1", "network2", "compute1"}
	for _, h := range hosts {
		if err := w.lab.Kill(t.Context(), h, lab.Agent); err != nil {
			t.Fatal(err)
		}
		if err := w.lab.Start(t.Context(), h, lab.Agent); err != nil {
			t.Fatal(err)
		}
		w.settled(t, h)
		m := w.metrics(t, h)
		if n := w.writes(t, h) + m["weft_agent_router_writes_total"]; n != 0 {
			t.Errorf("the agent of %s wrote %v times on a converged host", h, n)
		}
	}
	if err := w.lab.Kill(t.Context(), "", lab.Server); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.Start(t.Context(), "", lab.Server); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		w.settled(t, h)
	}
	if sent, lost := stop(); lost != 0 {
		t.Errorf("%d of %d pings lost", lost, sent)
	}
}

// survivesGateways takes the gateway that answers away, in two ways, and brings it back.
func (w *world) survivesGateways(t *testing.T, r string) {
	for _, c := range []struct {
		name       string
		away, back func(host string) error
	}{
		{"its underlay is cut", w.lab.Cut, w.lab.Mend},
		{"the host dies", func(h string) error { return w.lab.KillHost(context.Background(), h) }, func(h string) error { return w.lab.StartHost(context.Background(), h) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := w.answering(t, r)
			stop := w.pinging(t, "r-a", farAway)
			if err := c.away(at); err != nil {
				t.Fatal(err)
			}
			sent, lost := stop()
			if gap := longestGap(t, sent, lost); gap > time.Second {
				t.Errorf("no answer for %s", gap)
			}
			if lost == 0 {
				t.Errorf("%s was not on the way", at)
			}
			stop = w.pinging(t, "r-a", farAway)
			if err := c.back(at); err != nil {
				t.Fatal(err)
			}
			w.eventually(t, "it answers again", func() bool { return w.answering(t, r) == at })
			sent, lost = stop()
			if gap := longestGap(t, sent, lost); gap > time.Second {
				t.Errorf("no answer for %s when %s came back", gap, at)
			}
		})
	}
}
