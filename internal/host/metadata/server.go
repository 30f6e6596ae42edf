package metadata

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"weft/internal/host/fair"
	"weft/internal/host/standin"
	"weft/internal/model"
)

// Limits of what a guest may do. A boot of cloud-init asks about 40 times in EC2's format.
const (
	maxHeader     = 16 << 10
	maxBody       = 64 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 15 * time.Second
)

// DefaultRequests and DefaultConnections are the limits of a Config that names none.
var (
	DefaultRequests    = fair.Limits{PerSecond: 20, Burst: 100, AtOnce: 8, All: 256}
	DefaultConnections = fair.Limits{PerSecond: 50, Burst: 200, AtOnce: 16, All: 2048}
)

// Config says where answers come from.
type Config struct {
	// Guest finds who is at an address. It is called with each request.
	Guest func(netip.Addr) (standin.Guest, bool)
	// Siblings lists the ports of this host that are of the same machine, the port itself included.
	Siblings func(standin.Guest) []standin.Guest
	// Domain is the domain of host names that have none, with a final dot.
	Domain func() string
	// Upstream is Nova's metadata service; nil: the package answers by itself.
	Upstream *Upstream
	// Requests and Connections limit each port; zero: the defaults.
	Requests, Connections fair.Limits
	Log                   *slog.Logger
	// Count is told of each answer's status.
	Count func(status int)
}

// Server answers metadata requests. See New.
type Server struct {
	cfg      Config
	proxy    http.Handler // nil without an upstream
	requests *fair.Gate
	conns    *fair.Connections
}

// New returns a server that does not listen yet.
func New(cfg Config) *Server {
	if cfg.Requests == (fair.Limits{}) {
		cfg.Requests = DefaultRequests
	}
	if cfg.Connections == (fair.Limits{}) {
		cfg.Connections = DefaultConnections
	}
	if cfg.Count == nil {
		cfg.Count = func(int) {}
	}
	s := &Server{cfg: cfg, requests: fair.New(cfg.Requests)}
	s.conns = fair.NewConnections(cfg.Connections, func(a netip.Addr) (model.PortID, bool) {
		g, ok := cfg.Guest(a)
		if !ok {
			return model.PortID{}, false
		}
		return g.Port.ID, true
	})
	if cfg.Upstream != nil {
		s.proxy = cfg.Upstream.handler(cfg.Log)
	}
	return s
}

// Serve answers on the listeners until ctx ends, and closes them.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener) error {
	web := &http.Server{
		Handler: s, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		// What guests send may be anything; it is no news of the host's.
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	errs := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { errs <- web.Serve(s.conns.Listener(l)) }()
	}
	var err error
	left := len(listeners)
	select {
	case <-ctx.Done():
	case err = <-errs:
		left--
	}
	web.Close()
	for range left {
		<-errs
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	defer func() { s.cfg.Count(rec.code()) }()
	g, ok := s.guestOf(r.RemoteAddr)
	if !ok {
		fail(rec, http.StatusNotFound)
		return
	}
	if !s.requests.Allow(g.Port.ID, time.Now()) {
		rec.Header().Set("Retry-After", "1")
		fail(rec, http.StatusTooManyRequests)
		return
	}
	leave, ok := s.requests.Enter(g.Port.ID)
	if !ok {
		rec.Header().Set("Retry-After", "1")
		fail(rec, http.StatusTooManyRequests)
		return
	}
	defer leave()
	r.Body = http.MaxBytesReader(rec, r.Body, maxBody)
	if s.proxy != nil {
		s.proxy.ServeHTTP(rec, r.WithContext(withGuest(r.Context(), g)))
		return
	}
	s.builtin(rec, r, g)
}

func (s *Server) guestOf(remote string) (standin.Guest, bool) {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return standin.Guest{}, false
	}
	return s.cfg.Guest(a.Addr().Unmap())
}

// Recheck ends the connections of whoever is not at its address any more, and forgets ports that are gone
// (fair.Connections).
func (s *Server) Recheck(here func(model.PortID) bool) {
	s.conns.Recheck(here)
	s.requests.Keep(here)
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader is http.ResponseWriter's.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the writer below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

func fail(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }
