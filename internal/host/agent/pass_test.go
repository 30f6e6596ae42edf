package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"weft/api/hostpb"
	"weft/internal/model"
	"weft/internal/pki"
	"weft/internal/testkit/filtertest"
	"weft/internal/testkit/ovstest"
)

// passVariable makes the test's program run a host instead: a scene in JSON.
const passVariable = "WEFT_TEST_PASS"

// scene is a host whose ports are in a group that lets in the members of another, all on one network. One member after the
// other comes and goes.
type scene struct {
	RunDir, StateDir string
	Firewall, Role   string
	Ports, Members   int
	Rounds           int
}

// round is what one member that came or went took, from the message to its acknowledgement, and what was written for it.
type round struct {
	Came    bool
	Seconds float64
	Writes  map[string]float64 // by counter, those that have moved
}

// server is a server with one host.
type server struct {
	hostpb.UnimplementedHostServiceServer
	hostpb.UnimplementedEnrolmentServer
	ca     *pki.Authority
	stream chan hostpb.HostService_SessionServer
	end    chan struct{}
}

func (s *server) Enrol(_ context.Context, req *hostpb.EnrolRequest) (*hostpb.EnrolReply, error) {
	der, err := s.ca.IssueHost(req.GetHost(), req.GetCsr(), time.Now())
	return &hostpb.EnrolReply{Certificate: der, Ca: s.ca.Certificate()}, err
}

func (s *server) Session(stream hostpb.HostService_SessionServer) error {
	if _, err := stream.Recv(); err != nil { // hello
		return err
	}
	s.stream <- stream
	<-s.end
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// play runs a server and an agent, and returns what became of each change.
func (s scene) play() []round {
	srv := &server{ca: must(pki.OpenAuthority(filepath.Join(s.StateDir, "ca"), time.Now())), stream: make(chan hostpb.HostService_SessionServer), end: make(chan struct{})}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	gs := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{must(srv.ca.IssueServer(time.Now()))}, ClientCAs: srv.ca.Pool(), ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS13,
	})), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	hostpb.RegisterHostServiceServer(gs, srv)
	hostpb.RegisterEnrolmentServer(gs, srv)
	go gs.Serve(listener)

	registry := prometheus.NewRegistry()
	a := New(Config{
		Host: "compute1", Roles: []string{s.Role}, Servers: []string{listener.Addr().String()}, Token: must(srv.ca.Token("compute1", time.Now().Add(time.Hour))),
		StateDir: filepath.Join(s.StateDir, "agent"), TunnelAddr: netip.MustParseAddr("10.0.1.31"), Datapath: "netdev", OVSDB: "unix:" + filepath.Join(s.RunDir, "db.sock"), RunDir: s.RunDir,
		Verify: time.Hour, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Registry: registry,
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	var stream hostpb.HostService_SessionServer
	select {
	case stream = <-srv.stream:
	case err := <-ended:
		panic(err)
	}
	out := s.rounds(stream, registry)
	close(srv.end)
	stop()
	<-ended
	return out
}

// network is that of all ports and members.
func (s scene) network() *model.NetworkView {
	n := filtertest.Network()
	n.ID, n.Segment = model.NetworkID{UUID: filtertest.ID(600)}, model.Segment{Type: model.TypeGRE, Tag: 100}
	n.Subnets[0].CIDR = netip.MustParsePrefix("10.0.0.0/15")
	for i := range n.Subnets {
		n.Subnets[i].ID = model.SubnetID{UUID: filtertest.ID(601 + i)}
	}
	return n
}

// port is the i-th of the host.
func (s scene) port(i int) *model.PortView {
	p := filtertest.Port(1+i, []*model.GroupView{{ID: model.SecurityGroupID{UUID: filtertest.ID(500)}}}, fmt.Sprintf("10.0.0.%d", 10+i))
	p.FixedIPs[0].SubnetID = model.SubnetID{UUID: filtertest.ID(601)}
	p.NetworkID, p.Firewall = model.NetworkID{UUID: filtertest.ID(600)}, s.Firewall
	return p
}

// device is what the port is plugged in by.
func (s scene) device(i int) string {
	if s.Firewall == model.FirewallHybrid {
		return "qvo" + s.port(i).ID.DeviceSuffix()
	}
	return "tap" + s.port(i).ID.DeviceSuffix()
}

// member is a port of another host and what it brings into the remote group.
func (s scene) member(i int) *model.ViewDelta {
	id := model.UUID{1, byte(i >> 8), byte(i), 3, 4, 5}
	a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
	return &model.ViewDelta{
		Members: []*model.MemberView{{Key: model.MemberKey{Set: filtertest.ID(700), Port: id}, Prefixes: []netip.Prefix{netip.PrefixFrom(a, 32)}}},
		Peers: []*model.PeerView{{
			PortID: model.PortID{UUID: id}, NetworkID: model.NetworkID{UUID: filtertest.ID(600)}, MAC: model.MAC{0xfa, 0x16, 0x3e, 2, byte(i >> 8), byte(i)},
			Addrs: []netip.Addr{a}, Tunnel: netip.AddrFrom4([4]byte{10, 0, 1, byte(100 + i%10)}),
		}},
	}
}

// view is everything before the first round.
func (s scene) view() *model.ViewDelta {
	set := filtertest.ID(700)
	d := &model.ViewDelta{Networks: []*model.NetworkView{s.network()}, Groups: []*model.GroupView{filtertest.Group(500, true,
		filtertest.Rule(1, model.Egress, model.IPv4, filtertest.FromGroup(set)),
		filtertest.Rule(2, model.Ingress, model.IPv4, filtertest.Proto(6, 22, 22), filtertest.FromGroup(set)),
		filtertest.Rule(3, model.Ingress, model.IPv4, filtertest.Proto(17, 1000, 2000), filtertest.FromGroup(set)))}}
	for i := range s.Ports {
		d.Ports = append(d.Ports, s.port(i))
	}
	for i := range s.Members {
		m := s.member(i)
		d.Members, d.Peers = append(d.Members, m.Members...), append(d.Peers, m.Peers...)
	}
	return d
}

// rounds sends the view and then one change after the other, each when the one before is in force.
func (s scene) rounds(stream hostpb.HostService_SessionServer, registry prometheus.Gatherer) (out []round) {
	active := map[string]bool{}
	acked := uint64(0)
	inForce := func(revision uint64) {
		for {
			m := must(stream.Recv())
			for _, r := range m.GetReports().GetReports() {
				active[string(r.GetPortId())] = r.GetState() == hostpb.State_STATE_ACTIVE
				if r.GetState() == hostpb.State_STATE_FAILED {
					panic(r.GetError())
				}
			}
			acked = max(acked, m.GetAck().GetRevision())
			if acked == revision && len(active) == s.Ports && !slices.Contains(slices.Collect(maps.Values(active)), false) {
				return
			}
		}
	}
	send := func(m *hostpb.ServerMessage) {
		if err := stream.Send(m); err != nil {
			panic(err)
		}
	}
	send(&hostpb.ServerMessage{Kind: &hostpb.ServerMessage_Complete{Complete: &hostpb.Complete{
		Revision: 1, History: make([]byte, 16), Settings: &hostpb.Settings{L2Population: true}, Objects: hostpb.ToObjects(s.view()),
	}}})
	inForce(1)
	for counters(registry)["flows br-tun"] < float64(2*s.Members) { // until all tunnels are there
		<-time.After(time.Millisecond)
	}
	for i := range uint64(s.Rounds) {
		m := s.member(s.Members + int(i/2))
		d := &hostpb.Delta{From: 1 + i, To: 2 + i}
		if i%2 == 0 {
			d.Upserts = hostpb.ToObjects(m)
		} else {
			key, peer := m.Members[0].Key, m.Peers[0].PortID
			gone := &model.ViewDelta{Deletes: []model.ObjectKey{{Kind: model.KindMember, ID: key.Set, Sub: key.Port}, {Kind: model.KindPeer, ID: peer.UUID}}}
			d.Deletes = hostpb.ToDelta(gone).GetDeletes()
		}
		before, began := counters(registry), time.Now()
		send(&hostpb.ServerMessage{Kind: &hostpb.ServerMessage_Delta{Delta: d}})
		inForce(2 + i)
		r := round{Came: i%2 == 0, Seconds: time.Since(began).Seconds(), Writes: map[string]float64{}}
		for name, n := range counters(registry) {
			if n != before[name] && !strings.HasPrefix(name, "flows ") {
				r.Writes[name] = n - before[name]
			}
		}
		out = append(out, r)
	}
	return out
}

// counters reads what the agent counts of its writes and flows, without its prefix.
func counters(registry prometheus.Gatherer) map[string]float64 {
	out := map[string]float64{}
	for _, f := range must(registry.Gather()) {
		switch f.GetName() {
		case "weft_agent_flows", "weft_agent_flow_mods_total", "weft_agent_ovsdb_writes_total", "weft_agent_firewall_lines_total", "weft_agent_firewall_members_total":
			for _, m := range f.GetMetric() {
				name := f.GetName()[len("weft_agent_"):]
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return out
}

// run plays the scene on a switch of its own, in its namespaces.
func (s scene) run(t testing.TB) []round {
	t.Helper()
	sw := ovstest.Start(t)
	sw.AddBridge("br-int")
	var vsctl []string
	for i := range s.Ports {
		name := s.device(i)
		vsctl = append(vsctl, "--", "add-port", "br-int", name, "--", "set", "interface", name, "type=internal", fmt.Sprintf("ofport_request=%d", 10+i),
			"external_ids:iface-id="+s.port(i).ID.String(), `external_ids:attached-mac="`+s.port(i).MAC.String()+`"`)
	}
	sw.Vsctl(vsctl[1:]...)
	s.RunDir, s.StateDir = sw.RunDir, t.TempDir()
	spec := must(json.Marshal(s))
	// Names of network namespaces are files in /run.
	host := exec.Command("nsenter", "-t", strconv.Itoa(sw.PID()), "-n", "-m", "-p", "--", "sh", "-ec", `mount -t tmpfs tmpfs /run; exec "$0"`, must(os.Executable()))
	host.Env = append(os.Environ(), passVariable+"="+string(spec))
	host.Stderr = os.Stderr
	said, err := host.Output()
	if err != nil {
		t.Fatal(err)
	}
	var out []round
	if err := json.Unmarshal(said, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAMemberOfALargeGroupIsOneChange: of a remote group of 1,000 that all ports refer to, one member comes and another goes, by
// the server's stream through a whole agent: what is written are its own address in the group, and its own place in the
// tunnels; no rule, no other member, nothing in the switch's database.
func TestAMemberOfALargeGroupIsOneChange(t *testing.T) {
	for firewall, group := range map[string]map[string]float64{
		model.FirewallHybrid: {"firewall_members_total": 1},
		model.FirewallNative: {"flow_mods_total br-int": 2}, // one a direction
	} {
		t.Run(firewall, func(t *testing.T) {
			want := map[string]float64{"flow_mods_total br-tun": 2} // where its MAC is, and who has its address
			maps.Copy(want, group)
			for _, r := range (scene{Firewall: firewall, Role: "gateway", Ports: 5, Members: 1000, Rounds: 4}).run(t) {
				if fmt.Sprint(r.Writes) != fmt.Sprint(want) {
					t.Errorf("a member that came (%v): written %v, want %v", r.Came, r.Writes, want)
				}
			}
		})
	}
}

// BenchmarkMemberThroughTheAgent is a member that comes to or goes from a remote group of 10,000, all of them peers on the ports'
// network, from the server's message to its acknowledgement: filters and flows have been confirmed by then.
func BenchmarkMemberThroughTheAgent(b *testing.B) {
	for _, firewall := range []string{model.FirewallHybrid, model.FirewallNative} {
		b.Run(firewall, func(b *testing.B) {
			for b.Loop() {
				var took []float64
				writes := 0.0
				for _, r := range (scene{Firewall: firewall, Role: "compute", Ports: 50, Members: 10_000, Rounds: 100}).run(b) {
					took = append(took, 1000*r.Seconds)
					for _, n := range r.Writes {
						writes += n
					}
				}
				slices.Sort(took)
				b.ReportMetric(took[len(took)/2], "ms-p50")
				b.ReportMetric(took[len(took)*9/10], "ms-p90")
				b.ReportMetric(took[len(took)-1], "ms-max")
				b.ReportMetric(writes/float64(len(took)), "writes")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
