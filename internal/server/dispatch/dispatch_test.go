package dispatch_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"weft/api/hostpb"
	"weft/internal/model"
	"weft/internal/pki"
	"weft/internal/server/dispatch"
	"weft/internal/server/hostview"
	"weft/internal/server/store"
	"weft/internal/testkit/storetest"
)

// hub is a running dispatcher.
type hub struct {
	t      *testing.T
	stop   func()
	rebind func(tx *store.Tx, host string) bool
	store  *store.Store
	ca     *pki.Authority
	srv    *dispatch.Server
	addr   string
}

func start(t *testing.T) *hub {
	t.Helper()
	h := &hub{t: t, store: storetest.Open(t)}
	var err error
	if h.ca, err = pki.OpenAuthority(t.TempDir(), time.Now()); err != nil {
		t.Fatal(err)
	}
	h.run()
	t.Cleanup(func() { h.stop() })
	return h
}

// run starts a dispatcher, as a server does that starts anew on the same state.
func (h *hub) run() {
	h.t.Helper()
	t := h.t
	h.srv = dispatch.New(dispatch.Config{
		Store: h.store, Authority: h.ca, Now: time.Now, L2Population: true, Log: slog.New(slog.DiscardHandler),
		Random:    func() (b [16]byte) { rand.Read(b[:]); return b },
		Bookmarks: 10 * time.Millisecond,
		Rebind:    func(tx *store.Tx, _ *model.Host, host string) bool { return h.rebind != nil && h.rebind(tx, host) },
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.srv.Run(ctx, ln) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("dispatcher: %v", err)
		}
		h.stop = func() {}
	}
}

// join enrols a host the way an agent does.
func (h *hub) join(host, token string) (*pki.Identity, error) {
	h.t.Helper()
	j, err := pki.Join(h.t.TempDir(), host, token)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(h.addr, grpc.WithTransportCredentials(credentials.NewTLS(j.TLS())))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reply, err := hostpb.NewEnrolmentClient(conn).Enrol(h.t.Context(), &hostpb.EnrolRequest{Host: host, Token: token, Csr: j.CSR})
	if err != nil {
		return nil, err
	}
	return j.Finish(reply.GetCertificate(), reply.GetCa())
}

// host is the agent's end of a session.
type host struct {
	t      *testing.T
	name   string
	stream hostpb.HostService_SessionClient
	view   *model.HostView
	cancel context.CancelFunc
}

func (h *hub) identity(name string) *pki.Identity {
	h.t.Helper()
	token, err := h.ca.Token(name, time.Now().Add(time.Minute))
	if err != nil {
		h.t.Fatal(err)
	}
	id, err := h.join(name, token)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *hub) open(id *pki.Identity, name string, last byte) *host {
	h.t.Helper()
	return h.resume(id, name, last, nil)
}

// resume opens a session of a host that holds a view, nil for none.
func (h *hub) resume(id *pki.Identity, name string, last byte, view *model.HostView) *host {
	h.t.Helper()
	conn, err := grpc.NewClient(h.addr, grpc.WithTransportCredentials(credentials.NewTLS(id.ClientTLS())))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithCancel(h.t.Context())
	h.t.Cleanup(cancel)
	stream, err := hostpb.NewHostServiceClient(conn).Session(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	hello := &hostpb.Hello{Host: name, Roles: []string{"compute"}, Firewall: "hybrid", TunnelAddr: fmt.Sprintf("10.0.1.%d", last)}
	if view != nil {
		hello.HaveRevision, hello.HaveHistory = view.Revision, view.History[:]
	}
	if err := stream.Send(&hostpb.AgentMessage{Kind: &hostpb.AgentMessage_Hello{Hello: hello}}); err != nil {
		h.t.Fatal(err)
	}
	return &host{t: h.t, name: name, stream: stream, view: view, cancel: cancel}
}

// receive takes one message in, and checks that it follows on the last.
func (s *host) receive() *hostpb.ServerMessage {
	s.t.Helper()
	m, err := s.stream.Recv()
	if err != nil {
		s.t.Fatal(err)
	}
	switch {
	case m.GetComplete() != nil:
		s.view = model.NewHostView(s.name)
		d, problems := hostpb.FromObjects(m.GetComplete().GetObjects())
		if len(problems) > 0 {
			s.t.Fatal(problems)
		}
		s.view.Apply(d)
		s.view.Revision = m.GetComplete().GetRevision()
		copy(s.view.History[:], m.GetComplete().GetHistory())
	case m.GetDelta() != nil:
		d, problems := hostpb.FromDelta(m.GetDelta())
		if len(problems) > 0 || s.view == nil || d.From < s.view.Revision {
			s.t.Fatalf("delta from %d to %d on %v: %v", d.From, d.To, s.view, problems)
		}
		s.view.Apply(d)
	case m.GetBookmark() != nil:
		if s.view == nil || m.GetBookmark().GetRevision() <= s.view.Revision {
			s.t.Fatalf("bookmark %d on %v", m.GetBookmark().GetRevision(), s.view)
		}
		s.view.Revision = m.GetBookmark().GetRevision()
	}
	return m
}

func (s *host) until(what string, ok func(*model.HostView) bool) {
	s.t.Helper()
	for s.view == nil || !ok(s.view) {
		s.receive()
	}
}

var (
	netA  = model.NetworkID{UUID: model.UUID{1, 15: 1}}
	subA  = model.SubnetID{UUID: model.UUID{2, 15: 1}}
	portA = model.PortID{UUID: model.UUID{3, 15: 1}}
	portB = model.PortID{UUID: model.UUID{3, 15: 2}}
)

func port(id model.PortID, hostName string) *model.Port {
	n := id.UUID[15]
	return &model.Port{
		ID: id, NetworkID: netA, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, n}, AdminStateUp: true,
		FixedIPs: []model.FixedIP{{SubnetID: subA, Addr: netip.AddrFrom4([4]byte{10, 0, 0, n})}},
		Binding:  model.Binding{HostID: hostName, VIFType: model.VIFOVS, Firewall: model.FirewallHybrid},
	}
}

func (h *hub) put(fn func(tx *store.Tx)) { h.t.Helper(); storetest.Update(h.t, h.store, fn) }

func TestSession_completeThenDeltas(t *testing.T) {
	h := start(t)
	h.put(func(tx *store.Tx) {
		tx.PutNetwork(&model.Network{ID: netA, AdminStateUp: true, MTU: 1458, Segments: []model.Segment{{Type: model.TypeGRE, Tag: 5}}})
		tx.PutPort(port(portA, "compute1"))
	})
	s := h.open(h.identity("compute1"), "compute1", 31)
	if m := s.receive(); m.GetComplete() == nil || !m.GetComplete().GetSettings().GetL2Population() {
		t.Fatalf("first message is %v", m)
	}
	if s.view.Ports[portA] == nil || s.view.Networks[netA] == nil {
		t.Fatalf("view %+v", s.view)
	}
	if !h.srv.Alive("compute1") || h.srv.Alive("compute2") {
		t.Fatal("liveness does not follow the session")
	}
	// A peer appears when its host is known and its port is bound there.
	other := h.open(h.identity("compute2"), "compute2", 32)
	other.receive()
	h.put(func(tx *store.Tx) { tx.PutPort(port(portB, "compute2")) })
	s.until("peer", func(v *model.HostView) bool { return v.Peers[portB] != nil })
	other.until("port", func(v *model.HostView) bool { return v.Ports[portB] != nil && v.Peers[portA] != nil })
	h.put(func(tx *store.Tx) { tx.DeletePort(portB) })
	s.until("no peer", func(v *model.HostView) bool { return v.Peers[portB] == nil })
	other.until("nothing", func(v *model.HostView) bool { return len(v.Ports)+len(v.Peers)+len(v.Networks) == 0 })
}

func TestSession_manyChangesEndInTheViewFromScratch(t *testing.T) {
	h := start(t)
	h.put(func(tx *store.Tx) {
		tx.PutNetwork(&model.Network{ID: netA, AdminStateUp: true, Segments: []model.Segment{{Type: model.TypeGRE, Tag: 5}}})
	})
	s := h.open(h.identity("compute1"), "compute1", 31)
	s.receive()
	for n := 1; n <= 200; n++ {
		h.put(func(tx *store.Tx) {
			p := port(model.PortID{UUID: model.UUID{3, 14: byte(n % 3), 15: byte(n%50 + 1)}}, []string{"compute1", "compute2"}[n%2])
			if n%7 == 0 {
				tx.DeletePort(p.ID)
				return
			}
			tx.PutPort(p)
		})
	}
	want := hostview.View(h.store.Snapshot(), "compute1")
	s.until("all", func(v *model.HostView) bool {
		return v.Revision >= want.Revision || len(v.Ports) == len(want.Ports) && same(v, want)
	})
	if !same(s.view, want) {
		t.Fatalf("%d ports by deltas, %d from scratch", len(s.view.Ports), len(want.Ports))
	}
}

func same(a, b *model.HostView) bool {
	if len(a.Ports) != len(b.Ports) {
		return false
	}
	for id := range b.Ports {
		if a.Ports[id] == nil {
			return false
		}
	}
	return true
}

func TestReports_makeAPortActive(t *testing.T) {
	h := start(t)
	h.put(func(tx *store.Tx) { tx.PutPort(port(portA, "compute1")); tx.PutPort(port(portB, "compute2")) })
	s := h.open(h.identity("compute1"), "compute1", 31)
	s.receive()
	sub := h.store.Subscribe(h.store.Snapshot())
	reports := hostpb.ToReports([]model.Report{
		{PortID: portB, Revision: 9, State: model.ReportActive}, // not this host's: must count for nothing
		{PortID: portA, Revision: 3, State: model.ReportActive},
	})
	if err := s.stream.Send(&hostpb.AgentMessage{Kind: &hostpb.AgentMessage_Reports{Reports: reports}}); err != nil {
		t.Fatal(err)
	}
	for h.store.Snapshot().PortReport(portA) == nil {
		if _, err := sub.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	snap := h.store.Snapshot()
	if got := snap.Port(portA).Status(snap.PortReport(portA)); got != "ACTIVE" {
		t.Errorf("reported port is %s", got)
	}
	if snap.PortReport(portB) != nil {
		t.Error("a host could speak of another host's port")
	}
	// A report about an earlier revision must not replace a later one.
	late := hostpb.ToReports([]model.Report{{PortID: portA, Revision: 2, State: model.ReportFailed, Error: "late"}, {PortID: portA, Revision: 4, State: model.ReportWaiting}})
	if err := s.stream.Send(&hostpb.AgentMessage{Kind: &hostpb.AgentMessage_Reports{Reports: late}}); err != nil {
		t.Fatal(err)
	}
	for h.store.Snapshot().PortReport(portA).Revision < 4 {
		c, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r := c.Snapshot.PortReport(portA); r != nil && r.Revision == 2 {
			t.Fatal("a report about an older revision was taken")
		}
	}
}

func TestSession_refusals(t *testing.T) {
	h := start(t)
	id := h.identity("compute1")
	t.Run("a host cannot open another host's session", func(t *testing.T) {
		s := h.open(id, "compute2", 32)
		if _, err := s.stream.Recv(); status.Code(err) != codes.PermissionDenied {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a tunnel address has one host", func(t *testing.T) {
		h.open(id, "compute1", 31).receive()
		s := h.open(h.identity("compute3"), "compute3", 31)
		if _, err := s.stream.Recv(); err == nil || !strings.Contains(err.Error(), "tunnel address") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a certificate is needed", func(t *testing.T) {
		token, err := h.ca.Token("x", time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		j, err := pki.Join(t.TempDir(), "x", token)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := grpc.NewClient(h.addr, grpc.WithTransportCredentials(credentials.NewTLS(j.TLS())))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stream, err := hostpb.NewHostServiceClient(conn).Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a join token is needed", func(t *testing.T) {
		expired, err := h.ca.Token("compute4", time.Now().Add(-time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.join("compute4", expired); status.Code(err) != codes.PermissionDenied {
			t.Fatalf("got %v", err)
		}
	})
}

func TestSession_aNewerOneEndsTheOlder(t *testing.T) {
	h := start(t)
	id := h.identity("compute1")
	old := h.open(id, "compute1", 31)
	old.receive()
	h.open(id, "compute1", 31).receive()
	if _, err := old.stream.Recv(); status.Code(err) != codes.Aborted {
		t.Fatalf("got %v", err)
	}
	if !h.srv.Alive("compute1") {
		t.Fatal("the end of the older session took the newer one's liveness")
	}
}

// TestSession_beginsWhenAllPortsOfTheHostAreBound: binding them may take several transactions.
func TestSession_beginsWhenAllPortsOfTheHostAreBound(t *testing.T) {
	h := start(t)
	const last = 5
	n := byte(0)
	h.rebind = func(tx *store.Tx, host string) bool {
		n++
		tx.PutPort(port(model.PortID{UUID: model.UUID{3, 15: n}}, host))
		return n < last
	}
	s := h.open(h.identity("compute1"), "compute1", 31)
	s.receive()
	if len(s.view.Ports) != last {
		t.Fatalf("the session began with %d ports, want %d", len(s.view.Ports), last)
	}
}

// TestSession_routersReachTheHostsThatRoute: the gateway, and a host with a port on a network that the router has
// a leg on; no other. A new session is told of them as well as a running one.
func TestSession_routersReachTheHostsThatRoute(t *testing.T) {
	h := start(t)
	h.put(func(tx *store.Tx) {
		tx.PutNetwork(&model.Network{ID: netA, AdminStateUp: true, Segments: []model.Segment{{Type: model.TypeGRE, Tag: 5}}})
		tx.PutSubnet(&model.Subnet{ID: subA, NetworkID: netA, CIDR: netip.MustParsePrefix("10.0.0.0/24")})
		tx.PutPort(port(portB, "compute1"))
	})
	gateway := h.open(h.identity("network1"), "network1", 21)
	compute := h.open(h.identity("compute1"), "compute1", 31)
	aside := h.open(h.identity("compute2"), "compute2", 32)
	for _, s := range []*host{gateway, compute, aside} {
		s.receive()
	}
	r := model.RouterID{UUID: model.UUID{4, 15: 1}}
	floating := model.FloatingIPID{UUID: model.UUID{5, 15: 1}}
	h.put(func(tx *store.Tx) {
		tx.PutRouter(&model.Router{ID: r, AdminStateUp: true, Hosts: []string{"network1"}})
		leg := port(portA, "network1")
		leg.DeviceOwner, leg.DeviceID = model.OwnerRouterInterface, r.String()
		tx.PutPort(leg)
	})
	compute.until("the router", func(v *model.HostView) bool { return v.Routers[r] != nil && len(v.Routers[r].Legs) == 1 })
	gateway.until("the router and its leg", func(v *model.HostView) bool {
		return v.Routers[r] != nil && v.Ports[portA] != nil && v.Networks[netA] != nil
	})
	h.put(func(tx *store.Tx) {
		tx.PutFloatingIP(&model.FloatingIP{ID: floating, RouterID: r, Addr: netip.MustParseAddr("203.0.113.9"), PortID: portB, FixedAddr: netip.MustParseAddr("10.0.0.9")})
	})
	gateway.until("the floating IP", func(v *model.HostView) bool {
		return v.Floating[floating] != nil && v.Floating[floating].PortHost == "compute1"
	})
	again := h.open(h.identity("network1"), "network1", 21)
	again.receive()
	if v := again.view; v.Routers[r] == nil || v.Floating[floating] == nil || v.Ports[portA] == nil {
		t.Errorf("a new session is told of %d routers, %d floating IPs, %d ports", len(v.Routers), len(v.Floating), len(v.Ports))
	}
	h.put(func(tx *store.Tx) { tx.DeleteFloatingIP(floating) })
	again.until("no floating IP", func(v *model.HostView) bool { return v.Floating[floating] == nil })
	if len(aside.view.Routers)+len(compute.view.Floating) != 0 {
		t.Error("a host was told of what does not concern it")
	}
}

func TestSession_addressGroupsReachTheHostsWhoseRulesReferToThem(t *testing.T) {
	h := start(t)
	group, addresses := model.SecurityGroupID{UUID: model.UUID{6, 15: 1}}, model.AddressGroupID{UUID: model.UUID{7, 15: 1}}
	a, b := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")
	h.put(func(tx *store.Tx) {
		tx.PutNetwork(&model.Network{ID: netA, AdminStateUp: true, Segments: []model.Segment{{Type: model.TypeGRE, Tag: 5}}})
		tx.PutAddressGroup(&model.AddressGroup{ID: addresses, Addresses: []netip.Prefix{a}})
		tx.PutSecurityGroup(&model.SecurityGroup{ID: group})
		tx.PutSecurityGroupRule(&model.SecurityGroupRule{ID: model.SecurityGroupRuleID{UUID: model.UUID{8, 15: 1}}, GroupID: group, Direction: model.Ingress,
			EtherType: model.IPv4, IPProtocol: model.ProtocolAny, RemoteAddressGroup: addresses})
		filtered := port(portA, "compute1")
		filtered.PortSecurity, filtered.SecurityGroups = true, []model.SecurityGroupID{group}
		tx.PutPort(filtered)
		tx.PutPort(port(portB, "compute2"))
	})
	filters, aside := h.open(h.identity("compute1"), "compute1", 31), h.open(h.identity("compute2"), "compute2", 32)
	filters.receive()
	aside.receive()
	has := func(p netip.Prefix) func(*model.HostView) bool {
		return func(v *model.HostView) bool {
			return len(v.Members) == 1 && v.Members[model.MemberKey{Set: addresses.UUID, Port: model.AddressMember(p)}] != nil
		}
	}
	if !has(a)(filters.view) {
		t.Errorf("it begins with %v", filters.view.Members)
	}
	h.put(func(tx *store.Tx) {
		tx.PutAddressGroup(&model.AddressGroup{ID: addresses, Addresses: []netip.Prefix{b}})
	})
	filters.until("the other address", has(b))
	if len(aside.view.Members) != 0 {
		t.Error("a host was told of what does not concern it")
	}
}

// TestReports_ofARedundantRouterFollowTheGatewayThatAnswers: also when that took over without a word with the server. A
// stand-by changes nothing, and nothing is written that is known.
func TestReports_ofARedundantRouterFollowTheGatewayThatAnswers(t *testing.T) {
	h := start(t)
	router := model.RouterID{UUID: model.UUID{4, 15: 1}}
	leg := port(portA, "gw1")
	leg.DeviceOwner, leg.DeviceID = model.OwnerRouterGateway, router.String()
	h.put(func(tx *store.Tx) {
		tx.PutRouter(&model.Router{ID: router, HA: true, AdminStateUp: true, Hosts: []string{"gw1", "gw2"}})
		tx.PutPort(leg)
		tx.PutPort(port(portB, "gw1")) // what is said last, to know that all before it has been taken in
	})
	hosts := map[string]*host{}
	for i, name := range []string{"gw1", "gw2", "other"} {
		hosts[name] = h.open(h.identity(name), name, byte(31+i))
		hosts[name].receive()
	}
	sub := h.store.Subscribe(h.store.Snapshot())
	marker := int64(0)
	writes := 0 // of the leg's report
	say := func(host string, state model.ReportState, revision int64) {
		t.Helper()
		send := func(to string, r model.Report) {
			if err := hosts[to].stream.Send(&hostpb.AgentMessage{Kind: &hostpb.AgentMessage_Reports{Reports: hostpb.ToReports([]model.Report{r})}}); err != nil {
				t.Fatal(err)
			}
		}
		marker++
		h.put(func(tx *store.Tx) { tx.PutPort(port(portB, host)) })
		send(host, model.Report{PortID: portA, Revision: revision, State: state})
		send(host, model.Report{PortID: portB, Revision: marker, State: model.ReportActive})
		for done := false; !done; {
			c, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, ch := range c.Changes {
				if r, ok := ch.After.(*model.PortReport); ok {
					if r.PortID == portA {
						writes++
					}
					done = done || r.PortID == portB && r.Revision == marker
				}
			}
		}
	}
	for i, c := range []struct {
		rule   string
		host   string
		state  model.ReportState
		active string // the host that answers, as the server knows it
		writes int    // until then
	}{
		{"the stand-by is ready", "gw2", model.ReportStandby, "", 1},
		{"the preferred one answers", "gw1", model.ReportActive, "gw1", 2},
		{"one that does not serve the router has no say", "other", model.ReportActive, "gw1", 2},
		{"the stand-by says the same in a new session", "gw2", model.ReportStandby, "gw1", 2},
		{"the stand-by takes over", "gw2", model.ReportActive, "gw2", 3},
		{"the preferred one is back and says what it said", "gw1", model.ReportActive, "gw2", 3},
		{"the stand-by steps back", "gw2", model.ReportStandby, "gw1", 4},
		{"the preferred one is cut off", "gw1", model.ReportStandby, "", 5},
	} {
		say(c.host, c.state, 3)
		s := h.store.Snapshot()
		r := s.PortReport(portA)
		status, active := s.Port(portA).Status(r), ""
		if r.State == model.ReportActive {
			active = r.Host
		}
		if want := map[bool]string{true: "ACTIVE", false: "DOWN"}[c.active != ""]; status != want || active != c.active || writes != c.writes {
			t.Errorf("%d, %s: %s by %q after %d writes", i, c.rule, status, active, writes)
		}
	}
}
