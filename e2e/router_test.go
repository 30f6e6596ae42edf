package e2e

import (
	"context"
	"regexp"
	"slices"
	"strconv"
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
	w.must(t, "POST", "subnets", "subnet", body{
		"network_id": network, "cidr": "2001:db8:113::/64", "gateway_ip": "2001:db8:113::1", "ip_version": 6, "enable_dhcp": false,
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

// answering returns the gateway host that answers for the lab's one router: its legs are there, and not on standby.
func (w *world) answering(t testing.TB, router string) string {
	t.Helper()
	var at []string
	w.eventually(t, "one host answers for the router", func() bool {
		at = nil
		for _, h := range []string{"network1", "network2"} {
			names, err := w.lab.Output(t.Context(), h, "ip", "netns")
			if err != nil || !strings.Contains(names, router) {
				continue
			}
			flows, err := w.lab.Output(t.Context(), h, "ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "--no-stats", "br-int", "table=60")
			if err == nil && strings.Contains(flows, "priority=100") && !strings.Contains(flows, "priority=101") {
				at = append(at, h)
			}
		}
		return len(at) == 1
	})
	return at[0]
}

func TestRouter(t *testing.T) {
	x := another(t, "r", 95, labcmd.Options{Compute: 2, Gateway: 2, AgentArgs: []string{"--verify-interval", "2s"}})
	ext := x.external(t)
	n := x.network(t, "10.80.0.0/24", nil)
	narrow := x.network(t, "10.81.0.0/24", body{"mtu": 1300})
	r := x.router(t, ext, nil, n, narrow)
	open := x.group(t, "open")
	x.rule(t, open, body{})
	a := x.vm(t, "r-a", "compute1", n, in(open))
	b := x.vm(t, "r-b", "compute2", narrow, in(open))
	x.reaches(t, "r-a", farAway)
	x.reaches(t, "r-b", farAway)
	var own, own6 string
	for _, f := range x.must(t, "GET", "routers/"+r, "router", nil)["external_gateway_info"].(body)["external_fixed_ips"].([]any) {
		if ip := f.(body)["ip_address"].(string); strings.Contains(ip, ":") {
			own6 = ip
		} else {
			own = ip
		}
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
	t.Run("floating IP", func(t *testing.T) { x.floatingIP(t, ext, a, "r-a", "r-b") })
	t.Run("port forwarding", func(t *testing.T) { x.portForwarding(t, ext, b, "r-b") })
	t.Run("routes IPv6 as it is", func(t *testing.T) { x.routesIPv6(t, r, own6) })
	_, floating := x.floating(t, ext, body{"port_id": x.portOf(t, "r-b")})
	x.outsideReaches(t, floating)
	t.Run("stays where it is when it is changed", func(t *testing.T) { x.changesMoveNothing(t, r, ext, floating) })
	t.Run("moves without a loss", func(t *testing.T) { x.moves(t, r, own, floating) })
	t.Run("survives its gateway", func(t *testing.T) { x.survivesGateways(t, r, own, floating) })
	t.Run("agents and server restart without a loss", func(t *testing.T) { x.restartsWithoutLoss(t, floating) })
	t.Run("comes back with the switch", func(t *testing.T) {
		x.redundant(t)
		at := x.answering(t, r)
		traffic := x.bothWays(t, "r-a", floating)
		if err := x.lab.Kill(t.Context(), at, lab.VSwitchd); err != nil {
			t.Fatal(err)
		}
		if err := x.lab.Start(t.Context(), at, lab.VSwitchd); err != nil {
			t.Fatal(err)
		}
		x.eventually(t, "one host answers again", func() bool { return x.answering(t, r) == at })
		traffic.stop(t, "the switch restarts", time.Second)
	})
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
func (w *world) tcpFromOutside(t *testing.T, vm, from string) *flow {
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
	return f
}

func (w *world) restartsWithoutLoss(t *testing.T, floating string) {
	for _, h := range []string{"network1", "network2"} {
		w.eventually(t, "what other tests had is gone", func() bool {
			return strings.TrimSpace(w.host(t, h, "sh", "-c", "ovs-vsctl list-ports br-int | grep -c '^q[rg]-'")) == "3"
		})
	}
	traffic := w.bothWays(t, "r-a", floating)
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
	traffic.stop(t, "restarts", 0)
}

// redundant waits until every host that has to do with a redundant router watches its gateways at full pace: BFD begins
// with a packet a second, also when the other end has just come up (RFC 5880, 6.8.3).
func (w *world) redundant(t *testing.T) {
	t.Helper()
	for _, h := range []string{"compute1", "compute2", "network1", "network2"} {
		w.eventually(t, h+" watches the gateways", func() bool {
			out := w.host(t, h, "ovs-appctl", "bfd/show")
			paces := strings.Count(out, "X Interval: Approx ")
			return paces >= 4 && strings.Count(out, "X Interval: Approx 100ms") == paces && strings.Count(out, "Local Session State: up") == paces/2
		})
	}
}

// l3Agents are the agents of the lab's two gateway hosts.
func (w *world) l3Agents(t *testing.T) map[string]string {
	t.Helper()
	agents := map[string]string{}
	for _, h := range []string{"network1", "network2"} {
		_, out, err := w.call(t.Context(), "GET", "agents?host="+h+"&binary=neutron-l3-agent", nil)
		if err != nil || len(out["agents"].([]any)) != 1 {
			t.Fatalf("%v %v", out, err)
		}
		agents[h] = out["agents"].([]any)[0].(body)["id"].(string)
	}
	return agents
}

// drain has an agent's host give its routers to others, and lets it serve them again as the last.
func (w *world) drain(t *testing.T, agent string) {
	t.Helper()
	w.must(t, "PUT", "agents/"+agent, "agent", body{"admin_state_up": false})
	w.must(t, "PUT", "agents/"+agent, "agent", body{"admin_state_up": true})
}

// moves has a router go from one of its two hosts to the other and back, by an operator's word.
func (w *world) moves(t *testing.T, r, own, floating string) {
	w.redundant(t)
	agents := w.l3Agents(t)
	move := []func(agent string){
		func(agent string) {
			w.must(t, "DELETE", "agents/"+agent+"/l3-routers/"+r, "", nil)
			if status, out, err := w.call(t.Context(), "POST", "agents/"+agent+"/l3-routers", body{"router_id": r}); err != nil || status != 201 {
				t.Fatalf("%d %v %v", status, out, err)
			}
		},
		func(agent string) { w.drain(t, agent) },
	}
	at := w.answering(t, r)
	traffic := w.bothWays(t, "r-a", floating)
	connection := w.tcpFromOutside(t, "r-a", own)
	before := traffic.lost()
	for i := range 10 {
		from := at
		move[i%len(move)](agents[from])
		w.eventually(t, "the other host answers", func() bool {
			at = w.answering(t, r)
			return at != from
		})
		if !connection.echoes(time.Second) {
			t.Fatalf("the connection by source translation broke in move %d", i+1)
		}
		answered(t, 5, traffic...)
		now := traffic.lost()
		t.Logf("move %d from %s: %d and %d pings lost", i+1, from, now[0]-before[0], now[1]-before[1])
		before = now
	}
	// The lab's userspace datapath loses a frame now and then when the machine is busy, whether a router moves or not.
	traffic.stop(t, "ten moves", 20*time.Millisecond)
}

// survivesGateways takes the gateway that answers away, in two ways, and brings it back.
func (w *world) survivesGateways(t *testing.T, r, own, floating string) {
	for _, c := range []struct {
		name       string
		away, back func(host string) error
	}{
		{"its underlay is cut", w.lab.Cut, w.lab.Mend},
		{"the host dies", func(h string) error { return w.lab.KillHost(context.Background(), h) }, func(h string) error { return w.lab.StartHost(context.Background(), h) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.redundant(t)
			at := w.answering(t, r)
			traffic := w.bothWays(t, "r-a", floating)
			connection := w.tcpFromOutside(t, "r-a", own)
			if err := c.away(at); err != nil {
				t.Fatal(err)
			}
			for i, lost := range traffic.stop(t, c.name, time.Second) {
				if lost == 0 {
					t.Errorf("%s was not on the way of %s", at, traffic[i].name)
				}
			}
			if !connection.echoes(5 * time.Second) {
				t.Error("a connection by source translation did not go on")
			}
			w.saysWhoAnswers(t, r, w.answering(t, r))
			traffic = w.bothWays(t, "r-a", floating)
			if err := c.back(at); err != nil {
				t.Fatal(err)
			}
			w.eventually(t, "it answers again", func() bool { return w.answering(t, r) == at })
			w.saysWhoAnswers(t, r, at)
			traffic.stop(t, at+" comes back", time.Second)
		})
	}
}

// changesMoveNothing: whatever is changed of a redundant router, the gateway that answers goes on, and no packet is lost.
func (w *world) changesMoveNothing(t *testing.T, r, ext, floating string) {
	w.redundant(t)
	more := w.network(t, "10.83.0.0/24", nil)
	_, out, err := w.call(t.Context(), "GET", "subnets?network_id="+more, nil)
	if err != nil {
		t.Fatal(err)
	}
	subnet := out["subnets"].([]any)[0].(body)["id"].(string)
	set := func(attrs body) { w.must(t, "PUT", "routers/"+r, "router", attrs) }
	at, another := w.answering(t, r), ""
	traffic := w.bothWays(t, "r-a", floating)
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"another name", func() { set(body{"name": "renamed", "description": "changed"}) }},
		{"a route", func() { set(body{"routes": []body{{"destination": "192.0.2.0/24", "nexthop": "10.80.0.250"}}}) }},
		{"no route", func() { set(body{"routes": []body{}}) }},
		{"a leg", func() { w.leg(t, "add", r, subnet) }},
		{"another floating IP", func() { another, _ = w.floating(t, ext, body{"port_id": w.portOf(t, "r-a")}) }},
		{"and without it", func() { w.must(t, "DELETE", "floatingips/"+another, "", nil) }},
		{"the leg is gone", func() { w.leg(t, "remove", r, subnet) }},
	} {
		c.do()
		answered(t, 10, traffic...)
		if now := w.answering(t, r); now != at {
			t.Fatalf("%s: %s answers, not %s", c.what, now, at)
		}
	}
	traffic.stop(t, "changes", 10*time.Millisecond)
}

// saysWhoAnswers waits until the API says that of a router's gateways one host alone is active, and that its ports are.
func (w *world) saysWhoAnswers(t *testing.T, router, host string) {
	t.Helper()
	w.eventually(t, "the API says that "+host+" answers", func() bool {
		_, agents, err := w.call(t.Context(), "GET", "routers/"+router+"/l3-agents", nil)
		if err != nil {
			return false
		}
		for _, a := range agents["agents"].([]any) {
			if (a.(body)["ha_state"] == "active") != (a.(body)["host"] == host) {
				return false
			}
		}
		_, ports, err := w.call(t.Context(), "GET", "ports?fields=status&device_id="+router, nil)
		return err == nil && !slices.ContainsFunc(ports["ports"].([]any), func(p any) bool { return p.(body)["status"] != "ACTIVE" })
	})
}

// floating makes a floating IP.
func (w *world) floating(t testing.TB, external string, attrs body) (id, addr string) {
	t.Helper()
	in := body{"floating_network_id": external}
	for k, v := range attrs {
		in[k] = v
	}
	f := w.must(t, "POST", "floatingips", "floatingip", in)
	id = f["id"].(string)
	t.Cleanup(func() { w.call(context.Background(), "DELETE", "floatingips/"+id, nil) })
	return id, f["floating_ip_address"].(string)
}

// outsideReaches waits until the world outside pings an address.
func (w *world) outsideReaches(t testing.TB, addr string) {
	t.Helper()
	w.eventually(t, "outside pings "+addr, func() bool {
		out, _ := w.lab.Output(t.Context(), lab.Outside, "ping", "-c", "1", "-W", "0.5", addr)
		return strings.Contains(out, "bytes from")
	})
}

// dialIn opens a connection from the world outside to a guest that listens.
func (w *world) dialIn(t testing.TB, to string, port string) *flow {
	t.Helper()
	return w.open(t, func(ctx context.Context, s lab.Streams) error {
		return w.lab.Exec(ctx, lab.Outside, s, "nc", to, port)
	})
}

func (w *world) floatingIP(t *testing.T, ext string, p labcmd.Port, vm, other string) {
	w.listen(t, vm, 8022)
	id, addr := w.floating(t, ext, body{"port_id": p.ID.String()})
	w.outsideReaches(t, addr)
	in := w.dialIn(t, addr, "8022")
	w.tcpFromOutside(t, vm, addr)
	t.Run("reaches from a guest behind the same router", func(t *testing.T) { w.reaches(t, other, addr) })
	second, secondAddr := w.floating(t, ext, body{"port_id": w.portOf(t, other)})
	t.Run("reaches another of the same router", func(t *testing.T) { w.reaches(t, vm, secondAddr) })
	t.Run("says that a packet is too big", func(t *testing.T) {
		out, _ := w.lab.Output(t.Context(), lab.Outside, "ping", "-c", "2", "-i", "0.2", "-M", "do", "-s", "1440", addr)
		if !strings.Contains(out, "mtu = 1458") && !strings.Contains(out, "mtu=1458") {
			t.Errorf("got %s", out)
		}
	})
	w.must(t, "DELETE", "floatingips/"+second, "", nil)
	w.listen(t, vm, 8024)
	fixed := p.Addrs[0].String()
	pings, routed := w.startPing(t, other, fixed), w.dial(t, other, fixed, 8024)
	w.must(t, "DELETE", "floatingips/"+id, "", nil)
	w.isCut(t, "the removal of a floating IP", in, pings, routed)
	w.reaches(t, vm, farAway)
}

// portOf is the port of a guest.
func (w *world) portOf(t testing.TB, vm string) string {
	t.Helper()
	vms, err := w.lab.VMs()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vms {
		if v.Name == vm {
			return v.PortID.String()
		}
	}
	t.Fatalf("no guest %s", vm)
	return ""
}

func (w *world) portForwarding(t *testing.T, ext string, p labcmd.Port, vm string) {
	w.listen(t, vm, 8023)
	id, addr := w.floating(t, ext, nil)
	f := w.must(t, "POST", "floatingips/"+id+"/port_forwardings", "port_forwarding", body{
		"protocol": "tcp", "external_port": 2222, "internal_port": 8023, "internal_ip_address": p.Addrs[0].String(), "internal_port_id": p.ID.String(),
	})
	w.eventually(t, "the forwarded port is open", func() bool {
		_, err := w.lab.Output(t.Context(), lab.Outside, "timeout", "0.5", "nc", "-z", addr, "2222")
		return err == nil
	})
	in, pings := w.dialIn(t, addr, "2222"), w.startPing(t, vm, farAway)
	w.must(t, "DELETE", "floatingips/"+id+"/port_forwardings/"+f["id"].(string), "", nil)
	w.isCut(t, "the removal of a port forwarding", in, pings)
}

// TestRouter_servesNetworksOfEachKind: legs on a VLAN, a flat network, and a tunnelled one whose hosts learn; the last of a router
// with one gateway at a time.
func TestRouter_servesNetworksOfEachKind(t *testing.T) {
	x := another(t, "k", 92, labcmd.Options{
		Compute: 1, Gateway: 2, ServerArgs: []string{"--l2-population=false", "--network-vlan-ranges=physnet1:100:199"},
		AgentArgs: []string{"--bridge-mappings=physnet1=br-phy"},
	})
	ext := x.external(t)
	open := x.group(t, "open")
	x.rule(t, open, body{})
	agents := x.l3Agents(t)
	kinds := []string{"vlan", "flat", "gre", "single"}
	floating := map[string]string{}
	for i, kind := range kinds {
		attrs := body{}
		if i < 2 {
			attrs = body{"provider:network_type": kind, "provider:physical_network": "physnet1"}
		}
		n := x.network(t, "10."+itoa(95+i)+".0.0/24", attrs)
		x.router(t, ext, body{"ha": kind != "single"}, n)
		x.vm(t, kind+"-a", "compute1", n, in(open))
		x.vm(t, kind+"-b", "compute1", n, in(open))
		_, floating[kind] = x.floating(t, ext, body{"port_id": x.portOf(t, kind+"-b")})
	}
	x.drain(t, agents["network2"])
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			x.reaches(t, kind+"-a", farAway)
			x.outsideReaches(t, floating[kind])
			x.reaches(t, kind+"-a", floating[kind])
		})
	}
	begin := func(t *testing.T, kinds []string) (out bothWays) {
		for _, kind := range kinds {
			out = append(out, x.bothWays(t, kind+"-a", floating[kind])...)
		}
		return out
	}
	t.Run("moves without a loss", func(t *testing.T) {
		x.eventually(t, "network1 answers", func() bool { return x.answering(t, "qrouter") == "network1" })
		traffic := begin(t, kinds)
		x.drain(t, agents["network1"])
		x.eventually(t, "network2 answers", func() bool { return x.answering(t, "qrouter") == "network2" })
		traffic.stop(t, "a move", 10*time.Millisecond)
	})
	t.Run("survives its gateway", func(t *testing.T) {
		traffic := begin(t, kinds[:3])
		if err := x.lab.KillHost(t.Context(), "network2"); err != nil {
			t.Fatal(err)
		}
		traffic.stop(t, "the host dies", time.Second)
	})
}

// TestDistributedRouter: what two guests of one router say to each other goes from host to host.
func TestDistributedRouter_eastWestStaysOnTheGuestsHosts(t *testing.T) {
	x := another(t, "d", 94, labcmd.Options{Compute: 2, Gateway: 1})
	ext := x.external(t)
	n, m := x.network(t, "10.90.0.0/24", nil), x.network(t, "10.91.0.0/24", nil)
	x.router(t, ext, body{"distributed": true, "ha": false}, n, m)
	x.vm(t, "d-a", "compute1", n)
	b := x.vm(t, "d-b", "compute2", m)
	c := x.vm(t, "d-c", "compute1", m)
	x.reaches(t, "d-a", farAway)
	x.reaches(t, "d-a", b.Addrs[0].String())
	forwarded := func() int {
		text := x.host(t, "network1", "sh", "-c", "cat /sys/class/net/qr-*/statistics/tx_packets")
		sum := 0
		for _, f := range strings.Fields(text) {
			v, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
		return sum
	}
	for _, to := range []labcmd.Port{b, c} {
		before := forwarded()
		if got := x.ping(t, "d-a", to.Addrs[0].String(), 100); got != 100 {
			t.Errorf("%d of 100 pings answered", got)
		}
		if after := forwarded(); after-before > 20 { // a neighbour's question now and then
			t.Errorf("the gateway saw %d packets of 100 pings to %s", after-before, to.Addrs[0])
		}
	}
	out, _ := x.lab.VMOutput(t.Context(), "d-a", "busybox", "traceroute", "-n", "-q", "1", "-w", "1", b.Addrs[0].String())
	if !regexp.MustCompile(`(?m)^ 1  10\.90\.0\.1 .*\n 2  ` + regexp.QuoteMeta(b.Addrs[0].String())).MatchString(out) {
		t.Errorf("traceroute: %s", out)
	}
}

// TestDistributedRouter_floatingIPIsServedAtItsPort: the guest's own host has its floating IP; no gateway is needed for it.
func TestDistributedRouter_floatingIPIsServedAtItsPort(t *testing.T) {
	x := another(t, "f", 93, labcmd.Options{Compute: 2, Gateway: 1})
	ext := x.external(t)
	n, m := x.network(t, "10.92.0.0/24", nil), x.network(t, "10.93.0.0/24", nil)
	r := x.router(t, ext, body{"distributed": true, "ha": false}, n, m)
	open := x.group(t, "open")
	x.rule(t, open, body{})
	a := x.vm(t, "f-a", "compute1", n, in(open))
	x.vm(t, "f-b", "compute2", m, in(open))
	x.vm(t, "f-c", "compute1", m, in(open))
	x.vm(t, "f-d", "compute1", n, in(open)) // without one
	x.listen(t, "f-a", 8022)
	var addrs []string
	var first string
	for _, vm := range []string{"f-a", "f-b", "f-c"} {
		id, addr := x.floating(t, ext, body{"port_id": x.portOf(t, vm)})
		if addrs = append(addrs, addr); first == "" {
			first = id
		}
		x.outsideReaches(t, addr)
	}
	x.eventually(t, "compute1 serves two floating IPs", func() bool {
		out, err := x.lab.Output(t.Context(), "compute1", "ip", "netns", "exec", "qrouter-"+r, "ip", "-4", "-o", "addr")
		return err == nil && strings.Contains(out, addrs[0]+"/32") && strings.Contains(out, addrs[2]+"/32")
	})
	public := x.host(t, "compute1", "sh", "-c", "ip netns exec qrouter-"+r+" ip -4 -o addr | grep -oE ' 203\\.0\\.113\\.[0-9]+' | sort -u | wc -l; ip -4 -o addr | grep -c 203.0.113. || true")
	if strings.Join(strings.Fields(public), " ") != "2 0" {
		t.Errorf("public addresses of compute1: %s", public)
	}
	gateway := x.host(t, "network1", "ip", "netns", "exec", "qrouter-"+r, "ip", "-4", "-o", "addr")
	for _, a := range addrs {
		if strings.Contains(gateway, " "+a+"/") {
			t.Errorf("the gateway has %s:\n%s", a, gateway)
		}
	}
	forwarded := func() int {
		sum := 0
		for _, f := range strings.Fields(x.host(t, "network1", "sh", "-c", "cat /sys/class/net/q[rg]-*/statistics/rx_packets")) {
			v, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
		return sum
	}
	x.reaches(t, "f-a", farAway)
	before := forwarded()
	if got := x.ping(t, "f-a", farAway, 100); got != 100 {
		t.Errorf("%d of 100 pings out answered", got)
	}
	if out := x.outside(t, "ping", "-c", "100", "-i", "0.01", addrs[0]); !strings.Contains(out, " 100 received") {
		t.Errorf("pings in: %s", out)
	}
	if after := forwarded(); after-before > 20 { // a neighbour's question now and then
		t.Errorf("the gateway saw %d packets of 200 pings", after-before)
	}
	x.tcpFromOutside(t, "f-a", addrs[0])
	t.Run("reaches others of the same router, here and elsewhere", func(t *testing.T) {
		x.reaches(t, "f-a", addrs[1])
		x.reaches(t, "f-a", addrs[2])
	})
	t.Run("a guest without one goes by the gateway", func(t *testing.T) {
		x.reaches(t, "f-d", farAway)
		x.reaches(t, "f-d", addrs[0])
		x.reaches(t, "f-d", addrs[1])
	})
	t.Run("goes on without the gateway", func(t *testing.T) {
		stop := x.pinging(t, "f-a", farAway)
		if err := x.lab.KillHost(t.Context(), "network1"); err != nil {
			t.Fatal(err)
		}
		if out := x.outside(t, "ping", "-c", "100", "-i", "0.01", addrs[0]); !strings.Contains(out, " 100 received") {
			t.Errorf("pings in: %s", out)
		}
		if sent, lost := stop(); lost != 0 {
			t.Errorf("%d of %d pings lost", lost, sent)
		}
		if got := x.ping(t, "f-d", farAway, 2); got != 0 {
			t.Error("the gateway is still there")
		}
		if err := x.lab.StartHost(t.Context(), "network1"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("its removal cuts its connections", func(t *testing.T) {
		in := x.dialIn(t, addrs[0], "8022")
		x.listen(t, "f-a", 8024)
		fixed := a.Addrs[0].String()
		// Not by a tunnel: devices go with the floating IP, and on each change of a device the switch's userspace datapath
		// reads its routes to tunnels anew, and may drop a packet meanwhile.
		pings, routed := x.startPing(t, "f-c", fixed), x.dial(t, "f-b", fixed, 8024)
		x.must(t, "DELETE", "floatingips/"+first, "", nil)
		x.isCut(t, "the removal of a floating IP at its port", in, pings, routed)
		x.reaches(t, "f-a", farAway) // by the gateway
		x.outsideReaches(t, addrs[2])
	})
}

// routesIPv6 has a guest and the world outside speak with their own addresses.
func (w *world) routesIPv6(t *testing.T, router, own string) {
	n := w.must(t, "POST", "networks", "network", body{"name": t.Name()})["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "networks/"+n, "", nil) })
	w.must(t, "POST", "subnets", "subnet", body{"network_id": n, "cidr": "2001:db8:80::/64", "ip_version": 6})
	w.attach(t, router, n)
	open := w.group(t, "open6")
	w.rule(t, open, body{"ethertype": "IPv6"})
	p := w.vm(t, "r-6", "compute1", n, in(open), func(o *labcmd.VMOptions) { o.NoDHCP = true })
	out, err := w.lab.VMOutput(t.Context(), "r-6", "sh", "-c", "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip addr add "+
		p.Addrs[0].String()+"/64 dev eth0 nodad; ip -6 route replace default via 2001:db8:80::1 dev eth0")
	if err != nil {
		t.Fatal(out, err)
	}
	w.outside(t, "ip", "-6", "route", "replace", "2001:db8:80::/64", "via", own)
	w.reaches(t, "r-6", "2001:db8:113::1")
	w.outsideReaches(t, p.Addrs[0].String())
}
