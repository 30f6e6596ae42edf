package metadata

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
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
	accepts  *fair.Gate

	mu   sync.Mutex
	open map[*conn]struct{}
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
	s := &Server{cfg: cfg, requests: fair.New(cfg.Requests), accepts: fair.New(cfg.Connections), open: map[*conn]struct{}{}}
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
		go func() { errs <- web.Serve(&listener{l, s}) }()
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

// Recheck ends the connections of whoever is not at its address any more, and forgets ports that are gone.
// It is to be called after what Guest answers from has changed and before the switch leads packets by the
// new state: what is still to be sent on such a connection is dropped, so that nobody else can get it.
func (s *Server) Recheck(here func(model.PortID) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if g, ok := s.cfg.Guest(c.remote); !ok || g.Port.ID != c.port {
			c.abort()
		}
	}
	s.requests.Keep(here)
	s.accepts.Keep(here)
}

// listener hands on connections of guests that are within their limits.
type listener struct {
	net.Listener
	s *Server
}

// Accept returns the next connection. One that is refused is reset, so that nothing of it stays.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.s.admit(raw); c != nil {
			return c, nil
		}
	}
}

func (s *Server) admit(raw net.Conn) net.Conn {
	c := &conn{Conn: raw, s: s}
	a, err := netip.ParseAddrPort(raw.RemoteAddr().String())
	if err == nil {
		c.remote = a.Addr().Unmap()
		if g, ok := s.cfg.Guest(c.remote); ok && s.accepts.Allow(g.Port.ID, time.Now()) {
			if leave, ok := s.accepts.Enter(g.Port.ID); ok {
				c.port, c.leave = g.Port.ID, leave
				s.mu.Lock()
				s.open[c] = struct{}{}
				s.mu.Unlock()
				return c
			}
		}
	}
	c.abort()
	return nil
}

// conn is a connection that counts against its port's share until it is closed.
type conn struct {
	net.Conn
	s      *Server
	remote netip.Addr
	port   model.PortID
	leave  func()
	once   sync.Once
}

// Close is net.Conn's.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.s.mu.Lock()
		delete(c.s.open, c)
		c.s.mu.Unlock()
		c.leave()
	})
	return c.Conn.Close()
}

// abort resets the connection: what is not sent yet never is.
func (c *conn) abort() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Conn.Close()
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
