package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

func (w *world) agentOf(host string) model.AgentID { return w.store.Snapshot().Host(host).AgentID }

func (w *world) wantHosts(rt *model.Router, want string) {
	w.tb.Helper()
	if got := strings.Join(w.hostsOf(rt), " "); got != want {
		w.tb.Fatalf("hosts %q, want %q", got, want)
	}
	s := w.store.Snapshot()
	first, _, _ := strings.Cut(want, " ")
	for p := range s.PortsByDevice(rt.ID.String()) {
		if p.IsRouterPort() && p.Binding.HostID != first {
			w.tb.Fatalf("port of %s is bound to %q, want %q", p.DeviceOwner, p.Binding.HostID, first)
		}
	}
}

func (w *world) setAgent(host string, up bool) {
	w.tb.Helper()
	must(w, func(tx *store.Tx) (*model.Host, error) {
		return w.rules.UpdateAgent(tx, w.env, admin, tx.Host(host).AgentID, AgentSpec{AdminStateUp: Some(up)})
	})
}

// Redundant routers are served by up to three gateway hosts, and preferred hosts are spread.
func TestRoutersAreSpreadOverGateways(t *testing.T) {
	w := newWorld(t)
	early := w.router(demo)
	w.wantHosts(early, "")
	w.host("compute1")
	for i := 1; i <= 4; i++ {
		w.seen(fmt.Sprintf("gw%d", i))
	}
	w.wantHosts(early, "gw1 gw2 gw3")
	first := map[string]int{}
	for range 8 {
		hosts := w.hostsOf(w.router(demo, func(s *RouterSpec) {}))
		if len(hosts) != 3 || slices.Contains(hosts, "compute1") {
			t.Fatalf("hosts %v", hosts)
		}
		first[hosts[0]]++
	}
	for h, n := range first {
		if n > 3 || len(first) != 4 {
			t.Errorf("%s is preferred by %d of 8 routers: %v", h, n, first)
		}
	}
	single := w.router(admin, redundant(false))
	if got := w.hostsOf(single); len(got) != 1 {
		t.Errorf("a router that is not redundant has hosts %v", got)
	}
}

func TestRouterHostsReachItsNetworks(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.FlatNetworks = []string{"*"} })
	w.seen("gw1", func(h *model.Host) { h.Mappings = map[string]string{"inner": "br-in"} })
	w.seen("gw2", func(h *model.Host) { h.Mappings = map[string]string{"physnet1": "br-ex"} })
	w.seen("gw3", func(h *model.Host) { h.Mappings = map[string]string{"physnet1": "br-ex", "inner": "br-in"} })
	w.seen("gw4", func(h *model.Host) { h.TunnelAddr = netip.Addr{}; h.Mappings = map[string]string{"physnet1": "br-ex"} })
	ext, _ := w.externalNetwork()
	rt := w.router(demo)
	w.wantHosts(rt, "gw1 gw2 gw3")
	if _, err := w.tryUpdateRouter(demo, rt.ID, RouterSpec{External: Some(GatewaySpec{NetworkID: Some(ext.ID)})}); err != nil {
		t.Fatal(err)
	}
	w.wantHosts(rt, "gw2 gw3 gw4")
	w.addLeg(demo, rt, w.subnet(demo, w.network(demo, NetworkSpec{}), "10.7.0.0/24")) // tunnelled: gw4 has no tunnels
	w.wantHosts(rt, "gw2 gw3")
	flat := w.network(admin, NetworkSpec{NetworkType: Some("flat"), PhysicalNetwork: Some("inner")})
	w.addLeg(admin, rt, w.subnet(admin, flat, "10.8.0.0/24"))
	w.wantHosts(rt, "gw3")
	w.seen("gw2", func(h *model.Host) { h.Mappings = map[string]string{"physnet1": "br-ex", "inner": "br-in"} })
	w.wantHosts(rt, "gw3 gw2")
	w.seen("gw3", func(h *model.Host) { h.Roles = []string{"compute"} })
	w.wantHosts(rt, "gw2")
	nowhere := w.network(admin, NetworkSpec{NetworkType: Some("flat"), PhysicalNetwork: Some("nowhere")})
	leg := w.addLeg(admin, rt, w.subnet(admin, nowhere, "10.9.0.0/24"))
	w.wantHosts(rt, "gw2")
	if leg.Binding.VIFType != model.VIFBindingFailed {
		t.Errorf("a leg that no gateway reaches: %+v", leg.Binding)
	}
}

// A host that goes and comes back moves nothing; an operator's word does.
func TestRouterHostsChangeOnlyForAReason(t *testing.T) {
	w := newWorld(t)
	w.seen("gw1")
	w.seen("gw2")
	rt := w.router(demo)
	w.wantHosts(rt, "gw1 gw2")
	revision := func() int64 { return w.store.Snapshot().Router(rt.ID).Revision }
	was := revision()
	w.seen("gw1")
	w.seen("gw2")
	if revision() != was {
		t.Error("hosts that connected again changed the router")
	}
	w.setAgent("gw1", false)
	w.wantHosts(rt, "gw2")
	w.seen("gw1", func(h *model.Host) { h.AdminStateUp = false })
	w.wantHosts(rt, "gw2")
	w.setAgent("gw1", true)
	w.wantHosts(rt, "gw2 gw1")
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteAgent(tx, w.env, admin, tx.Host("gw2").AgentID, false) }); err != nil {
		t.Fatal(err)
	}
	w.wantHosts(rt, "gw1")
	w.setAgent("gw1", false)
	w.wantHosts(rt, "")
	w.seen("gw3")
	w.wantHosts(rt, "gw3")
}

func TestRouterZones(t *testing.T) {
	w := newWorld(t)
	w.seen("gw1", func(h *model.Host) { h.Zone = "a" })
	w.seen("gw2", func(h *model.Host) { h.Zone = "b" })
	w.wantHosts(w.router(demo, func(s *RouterSpec) { s.ZoneHints = Some([]string{"b"}) }), "gw2")
}

// A planned move: the next in line takes over when the active host is removed, and the host that was
// removed does not come back by itself.
func TestMovingARouterByHand(t *testing.T) {
	w := newWorld(t)
	w.seen("gw1")
	w.seen("gw2")
	rt, single := w.router(demo), w.router(admin, redundant(false))
	add := func(who authn.Principal, host string, rt *model.Router) error {
		return w.do(func(tx *store.Tx) error { return w.rules.AddRouterToAgent(tx, w.env, who, w.agentOf(host), rt.ID) })
	}
	remove := func(who authn.Principal, host string, rt *model.Router) error {
		return w.do(func(tx *store.Tx) error { return w.rules.RemoveRouterFromAgent(tx, w.env, who, w.agentOf(host), rt.ID) })
	}
	w.wantHosts(rt, "gw1 gw2")
	for _, err := range []error{add(demo, "gw1", rt), remove(demo, "gw1", rt)} {
		wantFault(t, err, fault.Forbidden, "PolicyNotAuthorized", "")
	}
	wantFault(t, add(admin, "gw1", rt), fault.Conflict, "RouterHostedByL3Agent", "")
	if err := remove(admin, "gw1", rt); err != nil {
		t.Fatal(err)
	}
	w.wantHosts(rt, "gw2")
	w.seen("gw1")
	w.addLeg(demo, rt, w.subnet(demo, w.network(demo, NetworkSpec{}), "10.7.0.0/24"))
	w.wantHosts(rt, "gw2")
	wantFault(t, remove(admin, "gw1", rt), fault.Conflict, "RouterNotHostedByL3Agent", "")
	if err := add(admin, "gw1", rt); err != nil {
		t.Fatal(err)
	}
	w.wantHosts(rt, "gw2 gw1")
	w.wantHosts(single, "gw2") // the host that was preferred by fewer
	wantFault(t, add(admin, "gw1", single), fault.Conflict, "RouterHostedByL3Agent", "")
	if err := remove(admin, "gw2", single); err != nil {
		t.Fatal(err)
	}
	w.wantHosts(single, "")
	if err := add(admin, "gw1", single); err != nil {
		t.Fatal(err)
	}
	w.wantHosts(single, "gw1")
	w.host("compute1")
	wantFault(t, add(admin, "compute1", rt), fault.NotFound, "InvalidL3Agent", "")
	w.seen("gw3", func(h *model.Host) { h.TunnelAddr = netip.Addr{} })
	w.wantHosts(rt, "gw2 gw1")
	wantFault(t, add(admin, "gw3", rt), fault.Conflict, "RouterL3AgentMismatch", "")
}

// A planned move: the host that had the router goes on until the other has said that it is ready for each of its ports, and stays
// for a while.
func TestHandOver(t *testing.T) {
	w := newWorld(t)
	w.seen("gw1")
	w.seen("gw2")
	single := w.router(admin, redundant(false))
	first := w.addLeg(admin, single, w.subnet(admin, w.network(admin, NetworkSpec{}), "10.7.0.0/24"))
	second := w.addLeg(admin, single, w.subnet(admin, w.network(admin, NetworkSpec{}), "10.8.0.0/24"))
	report := func(p *model.Port, host string, state model.ReportState) {
		t.Helper()
		if err := w.do(func(tx *store.Tx) error {
			tx.PutPortReport(tx.PortReport(p.ID).With(p.ID, model.HostReport{Host: host, Revision: tx.Port(p.ID).SpecRevision, State: state}))
			w.rules.LegReported(tx, w.env, p.ID)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what, hosts string) {
		t.Helper()
		if got := strings.Join(w.store.Snapshot().Router(single.ID).Gateways(), " "); got != hosts {
			t.Errorf("%s: the gateways are %q, want %q", what, got, hosts)
		}
	}
	later := func(d time.Duration) {
		t.Helper()
		env := w.env
		env.Now = env.Now.Add(d)
		if err := w.do(func(tx *store.Tx) error { w.rules.EndHandOvers(tx, env); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	report(first, "gw1", model.ReportActive)
	report(second, "gw1", model.ReportActive)
	w.setAgent("gw1", false)
	w.wantHosts(single, "gw2")
	want("moved", "gw1 gw2")
	report(first, "gw2", model.ReportActive)
	report(second, "gw2", model.ReportFailed)
	later(time.Hour)
	want("not ready", "gw1 gw2")
	report(second, "gw2", model.ReportActive)
	want("ready", "gw2 gw1")
	later(handsOver - 1)
	want("handing over", "gw2 gw1")
	later(handsOver)
	want("over", "gw2")

	w.setAgent("gw1", true)
	w.setAgent("gw2", false)
	want("back", "gw2 gw1")
	w.setAgent("gw2", true)
	w.setAgent("gw1", false)
	want("changed one's mind", "gw2")
	w.setAgent("gw1", true)
	w.setAgent("gw2", false)
	if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteAgent(tx, w.env, admin, tx.Host("gw2").AgentID, false) }); err != nil {
		t.Fatal(err)
	}
	want("a host that is gone hands nothing over", "gw1")
}

// TestAGatewayOfManyRouters: more routers follow a gateway host than one transaction may change, and a server that
// ends in between leaves none behind.
func TestAGatewayOfManyRouters(t *testing.T) {
	const routers = 5_000 // with a port each: a transaction holds fewer than 9,000 rows
	w := newWorld(t)
	n := w.network(admin, NetworkSpec{})
	for start := 0; start < routers; start += 2500 {
		if err := w.do(func(tx *store.Tx) error {
			for i := start; i < start+2500; i++ {
				id := model.UUID{1, 14: byte(i >> 8), 15: byte(i)}
				tx.PutRouter(&model.Router{ID: model.RouterID{UUID: id}, HA: true, AdminStateUp: true})
				tx.PutPort(&model.Port{ID: model.PortID{UUID: id}, NetworkID: n.ID, DeviceID: id.String(), DeviceOwner: model.OwnerRouterInterface})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	// step does what the dispatcher does in one transaction.
	step := func(before *model.Host, name string) (more bool) {
		t.Helper()
		if err := w.do(func(tx *store.Tx) error { _, more = w.rules.RebindHost(tx, w.env, before, name); return nil }); err != nil {
			t.Fatal(err)
		}
		return more
	}
	// connect does it for a whole session, and returns in how many transactions.
	connect := func(name string, change func(*model.Host)) int {
		t.Helper()
		before := w.store.Snapshot().Host(name)
		w.host(name, change)
		steps := 1
		for more := step(before, name); more; steps++ {
			more = step(w.store.Snapshot().Host(name), name)
		}
		return steps
	}
	want := func(hosts string) {
		t.Helper()
		for rt := range w.store.Snapshot().Routers() {
			w.wantHosts(rt, hosts)
		}
	}
	w.host("gw1", gateway)
	for range 3 {
		if !step(nil, "gw1") {
			t.Fatal("all routers in three transactions")
		}
	}
	if connect("gw1", gateway) < 5 { // after the server's end: the host comes back as it was
		t.Error("the rest of the routers is not placed step by step")
	}
	want("gw1")
	if n := connect("gw1", gateway); n != 1 || w.store.Snapshot().Host("gw1").RoutersDue {
		t.Errorf("%d transactions, though nothing has changed", n)
	}
	connect("gw2", gateway)
	want("gw1 gw2")
	connect("gw1", func(h *model.Host) { h.Roles = []string{"compute"} })
	want("gw2")
	connect("gw3", gateway)
	want("gw2 gw3")

	// An operator's word, in as many transactions.
	agent := w.agentOf("gw2")
	switchOff := AgentSpec{AdminStateUp: Some(false)}
	update := func(spec AgentSpec) *model.Host {
		return must(w, func(tx *store.Tx) (*model.Host, error) { return w.rules.UpdateAgent(tx, w.env, admin, agent, spec) })
	}
	steps := 1
	for h := update(switchOff); h.RoutersDue; steps++ {
		if h = update(AgentSpec{}); h.AdminStateUp {
			t.Fatal("the next step switched the host on")
		}
	}
	if steps < 5 {
		t.Errorf("switched off in %d transactions", steps)
	}
	want("gw3")
	update(AgentSpec{AdminStateUp: Some(true)}) // and the server ends: the client asks again
	for h := update(AgentSpec{AdminStateUp: Some(true)}); h.RoutersDue; {
		h = update(AgentSpec{})
	}
	want("gw3 gw2")
	agent = w.agentOf("gw3")
	for steps = 0; w.store.Snapshot().Host("gw3") != nil; steps++ {
		if err := w.do(func(tx *store.Tx) error { return w.rules.DeleteAgent(tx, w.env, admin, agent, false) }); err != nil {
			t.Fatal(err)
		}
		if h := w.store.Snapshot().Host("gw3"); h != nil && h.AdminStateUp {
			t.Fatal("half gone, and still given routers")
		}
	}
	if steps < 5 {
		t.Errorf("deleted in %d transactions", steps)
	}
	want("gw2")
}
