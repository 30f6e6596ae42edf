package dispatch

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"weft/api/hostpb"
	"weft/internal/model"
	"weft/internal/pki"
	"weft/internal/run"
	"weft/internal/server/store"
)

// Store is what the dispatcher needs of the store.
type Store interface {
	Snapshot() *store.Snapshot
	Subscribe(from *store.Snapshot) *store.Subscription
	Update(ctx context.Context, fn func(tx *store.Tx) error) (uint64, error)
}

// Config is what a Server is made of; all fields but Rebind, Reported, Settle, Bookmarks and Registry are required.
type Config struct {
	Store        Store
	Authority    *pki.Authority
	Now          func() time.Time
	Random       func() [16]byte
	L2Population bool
	DNSDomain    string // of host names, with a final dot
	// Rebind binds ports of a host again that could not be bound before it was known, and gives routers
	// their gateway hosts. It runs in the transaction that writes the host, and in one more as long as it returns
	// true; before is what the host was, nil when it was not known. nil: nothing is done.
	Rebind func(tx *store.Tx, before *model.Host, host string) (more bool)
	// Reported is told of each report of a port, in the transaction that writes it. nil: nobody is.
	Reported func(tx *store.Tx, port model.PortID)
	// Settle ends planned moves of routers that are over. It runs in a transaction every second while there are any. nil: nothing is done.
	Settle func(tx *store.Tx)
	// Bookmarks is how often hosts that nothing concerns are told how far the store is. 10 s when zero.
	Bookmarks time.Duration
	Log       *slog.Logger
	Registry  prometheus.Registerer
}

// Server is the dispatcher.
type Server struct {
	hostpb.UnimplementedHostServiceServer
	hostpb.UnimplementedEnrolmentServer

	cfg     Config
	joins   chan *session
	leaves  chan *session
	reports chan hostReports
	stop    chan struct{} // closed when Run ends

	mu    sync.RWMutex
	alive map[string]*session // written by the loop only

	metrics metrics
}

type metrics struct {
	sessions  prometheus.GaugeFunc
	completes prometheus.Counter
	deltas    prometheus.Counter
	bookmarks prometheus.Counter
	resumes   prometheus.Counter
	bytes     prometheus.Counter
	resyncs   prometheus.Counter
	reports   prometheus.Counter
}

// New returns a dispatcher that is not running.
func New(cfg Config) *Server {
	if cfg.Bookmarks == 0 {
		cfg.Bookmarks = bookmarkEvery
	}
	s := &Server{
		cfg:   cfg,
		joins: make(chan *session), leaves: make(chan *session),
		reports: make(chan hostReports, 64), stop: make(chan struct{}),
		alive: map[string]*session{},
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_dispatch_" + name, Help: help})
	}
	s.metrics = metrics{
		sessions: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_dispatch_sessions", Help: "Hosts that have a session."}, func() float64 {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return float64(len(s.alive))
		}),
		completes: counter("completes_total", "Whole views sent."),
		deltas:    counter("deltas_total", "Deltas sent."),
		bookmarks: counter("bookmarks_total", "Bookmarks sent."),
		resumes:   counter("resumes_total", "Sessions that began where the host's last view was."),
		bytes:     counter("sent_bytes_total", "Bytes of views and deltas sent, before TLS."),
		resyncs:   counter("resyncs_total", "Sessions that fell behind and were sent a whole view again."),
		reports:   counter("reports_total", "Reports of ports taken in."),
	}
	if cfg.Registry != nil {
		cfg.Registry.MustRegister(s.metrics.sessions, s.metrics.completes, s.metrics.deltas, s.metrics.bookmarks, s.metrics.resumes, s.metrics.bytes, s.metrics.resyncs, s.metrics.reports,
			newProgressCollector(s))
	}
	return s
}

// Alive reports whether a host has a session.
func (s *Server) Alive(host string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.alive[host]
	return ok
}

// Progress tells how far a host is; ok is false when it has no session.
func (s *Server) Progress(host string) (p model.Progress, ok bool) {
	s.mu.RLock()
	ses := s.alive[host]
	s.mu.RUnlock()
	if ses == nil {
		return model.Progress{}, false
	}
	p, _ = ses.progress()
	return p, true
}

// Run serves hosts on a listener until ctx ends.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	defer close(s.stop)
	cert, err := s.cfg.Authority.IssueServer(s.cfg.Now())
	if err != nil {
		return err
	}
	creds := credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: s.cfg.Authority.Pool(),
		ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS13,
	})
	gs := grpc.NewServer(grpc.Creds(creds),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.SharedWriteBuffer(true), grpc.ReadBufferSize(4096))
	hostpb.RegisterHostServiceServer(gs, s)
	hostpb.RegisterEnrolmentServer(gs, s)

	g := run.New(ctx, s.cfg.Log)
	g.Go("dispatch loop", func(ctx context.Context) error { return newLoop(s).run(ctx) })
	g.Go("reports", s.takeReports)
	g.Go("hand-overs", s.settle)
	g.Go("host listener", func(ctx context.Context) error {
		go func() {
			<-ctx.Done()
			gs.Stop()
		}()
		return gs.Serve(ln)
	})
	return g.Wait()
}

// certifiedHost is the name in the certificate that the caller showed, "" without one.
func certifiedHost(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return ""
	}
	return info.State.VerifiedChains[0][0].Subject.CommonName
}

// Enrol signs a host's certificate: for a join token, or for the certificate that it replaces.
func (s *Server) Enrol(ctx context.Context, req *hostpb.EnrolRequest) (*hostpb.EnrolReply, error) {
	now := s.cfg.Now()
	if req.GetToken() != "" || certifiedHost(ctx) == "" || certifiedHost(ctx) != req.GetHost() {
		if err := s.cfg.Authority.CheckToken(req.GetToken(), req.GetHost(), now); err != nil {
			s.cfg.Log.Warn("enrolment refused", "host", req.GetHost(), "err", err)
			return nil, status.Error(codes.PermissionDenied, err.Error())
		}
	}
	der, err := s.cfg.Authority.IssueHost(req.GetHost(), req.GetCsr(), now)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.cfg.Log.Info("host enrolled", "host", req.GetHost())
	return &hostpb.EnrolReply{Certificate: der, Ca: s.cfg.Authority.Certificate()}, nil
}

// Session is the stream of one host, see host.proto.
func (s *Server) Session(stream hostpb.HostService_SessionServer) error {
	ctx := stream.Context()
	name := certifiedHost(ctx)
	if name == "" {
		return status.Error(codes.Unauthenticated, "a host needs a certificate of this server: join with a token from \"weft agent token\"")
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil || hello.GetHost() != name {
		return status.Errorf(codes.PermissionDenied, "the certificate is of host %q, the session of host %q", name, hello.GetHost())
	}
	row, err := hostOf(hello)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	rev, err := s.register(ctx, row)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	have := position{revision: hello.GetHaveRevision()}
	copy(have.history[:], hello.GetHaveHistory())
	ses := newSession(name, rev, have, stream)
	select {
	case s.joins <- ses:
	case <-s.stop:
		return status.Error(codes.Unavailable, "the server is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
	s.cfg.Log.Info("host session started", "host", name, "version", hello.GetVersion())
	go s.receive(ses)
	err = ses.send(ctx, s)
	select {
	case s.leaves <- ses:
	case <-s.stop:
	}
	s.cfg.Log.Info("host session ended", "host", name, "err", err)
	return err
}

// hostOf checks what a host says of itself.
func hostOf(h *hostpb.Hello) (*model.Host, error) {
	row := &model.Host{
		Name: h.GetHost(), Roles: h.GetRoles(), Mappings: h.GetBridgeMappings(), Datapath: h.GetDatapath(), Firewall: h.GetFirewall(),
		Version: h.GetVersion(), StartedAt: time.Unix(h.GetStartedUnix(), 0).UTC(), Zone: h.GetAvailabilityZone(), AdminStateUp: true,
	}
	if h.GetTunnelAddr() != "" {
		a, err := netip.ParseAddr(h.GetTunnelAddr())
		if err != nil || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return nil, fmt.Errorf("tunnel address %q of host %s: want a unicast address", h.GetTunnelAddr(), h.GetHost())
		}
		row.TunnelAddr = a
	}
	for _, t := range h.GetTunnelTypes() {
		nt := model.NetworkType(t)
		if !nt.IsTunnel() {
			return nil, fmt.Errorf("tunnel type %q of host %s: want gre, vxlan or geneve", t, h.GetHost())
		}
		row.TunnelTypes = append(row.TunnelTypes, nt)
	}
	for _, r := range row.Roles {
		if r != "compute" && r != "gateway" {
			return nil, fmt.Errorf("role %q of host %s: want compute or gateway", r, h.GetHost())
		}
	}
	if row.Firewall != model.FirewallHybrid && row.Firewall != model.FirewallNative {
		return nil, fmt.Errorf("firewall %q of host %s: want hybrid or native", row.Firewall, h.GetHost())
	}
	return row, nil
}

// register writes what the host says of itself; what an operator said of it stays.
func (s *Server) register(ctx context.Context, row *model.Host) (uint64, error) {
	now := s.cfg.Now().UTC().Truncate(time.Second)
	id := model.AgentID{UUID: model.RandomUUID(s.cfg.Random())}
	more := false
	rev, err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		for other := range tx.Hosts() {
			if other.Name != row.Name && row.TunnelAddr.IsValid() && other.TunnelAddr == row.TunnelAddr {
				return fmt.Errorf("host %s has the tunnel address %s of host %s", row.Name, row.TunnelAddr, other.Name)
			}
		}
		row.AgentID, row.CreatedAt = id, now
		old := tx.Host(row.Name)
		if old != nil {
			row.AgentID, row.CreatedAt = old.AgentID, old.CreatedAt
			row.AdminStateUp, row.Description = old.AdminStateUp, old.Description
		}
		row.SeenAt = now
		tx.PutHost(row)
		if s.cfg.Rebind != nil {
			more = s.cfg.Rebind(tx, old, row.Name)
		}
		return nil
	})
	for err == nil && more {
		rev, err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
			more = s.cfg.Rebind(tx, tx.Host(row.Name), row.Name)
			return nil
		})
	}
	return rev, err
}
