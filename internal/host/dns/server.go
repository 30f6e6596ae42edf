package dns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"weft/internal/host/fair"
	"weft/internal/host/standin"
	"weft/internal/model"
)

// maxUDP is the longest answer by UDP: what every network carries uncut (DNS flag day 2020). plainUDP is the
// longest for who does not say how much it takes (RFC 1035, 4.2.1).
const (
	maxUDP   = 1232
	plainUDP = dns.MinMsgSize
)

// DefaultQuestions and DefaultConnections are the limits of a Config that names none.
var (
	DefaultQuestions   = fair.Limits{PerSecond: 100, Burst: 300, AtOnce: 32, All: 1024}
	DefaultConnections = fair.Limits{PerSecond: 20, Burst: 50, AtOnce: 8, All: 512}
)

// Config says who is answered what.
type Config struct {
	// Guest finds who is at an address. It is called with each question.
	Guest func(netip.Addr) (standin.Guest, bool)
	// Zone is what a network says of itself.
	Zone func(standin.Guest) *Zone
	// Resolvers are the servers of the host, asked when the guest's subnet names none.
	Resolvers func() []netip.AddrPort
	// Forbidden are addresses of the host that must not be asked for a tenant.
	Forbidden []netip.Addr
	// Questions and Connections limit each port; zero: the defaults.
	Questions, Connections fair.Limits
	Log                    *slog.Logger
	// Count is told of each answer's code (RFC 1035, RCODE).
	Count func(rcode string)
}

// Server answers questions for names. See New.
type Server struct {
	cfg       Config
	questions *fair.Gate
	conns     *fair.Connections
}

// New returns a server that does not listen yet.
func New(cfg Config) *Server {
	if cfg.Questions == (fair.Limits{}) {
		cfg.Questions = DefaultQuestions
	}
	if cfg.Connections == (fair.Limits{}) {
		cfg.Connections = DefaultConnections
	}
	if cfg.Count == nil {
		cfg.Count = func(string) {}
	}
	s := &Server{cfg: cfg, questions: fair.New(cfg.Questions)}
	s.conns = fair.NewConnections(cfg.Connections, func(a netip.Addr) (model.PortID, bool) {
		g, ok := cfg.Guest(a)
		if !ok {
			return model.PortID{}, false
		}
		return g.Port.ID, true
	})
	return s
}

// Recheck ends the connections of whoever is not at its address any more, and forgets ports that are gone
// (fair.Connections).
func (s *Server) Recheck(here func(model.PortID) bool) {
	s.conns.Recheck(here)
	s.questions.Keep(here)
}

// Serve answers on the sockets until ctx ends, and closes them.
func (s *Server) Serve(ctx context.Context, tcp []net.Listener, udp []net.PacketConn) error {
	var servers []*dns.Server
	for _, l := range tcp {
		servers = append(servers, &dns.Server{Listener: s.conns.Listener(l), Handler: s.handler(ctx, true), MaxTCPQueries: 100,
			ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: func() time.Duration { return 10 * time.Second }, MsgAcceptFunc: accept})
	}
	for _, c := range udp {
		servers = append(servers, &dns.Server{PacketConn: c, Handler: s.handler(ctx, false), UDPSize: 4096, MsgAcceptFunc: accept})
	}
	errs := make(chan error, len(servers))
	for _, srv := range servers {
		go func() { errs <- srv.ActivateAndServe() }()
	}
	left := len(servers)
	var err error
	select {
	case <-ctx.Done():
	case err = <-errs:
		left--
	}
	for _, l := range tcp {
		l.Close()
	}
	for _, c := range udp {
		c.Close()
	}
	for range left {
		<-errs
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// accept drops what is not one question. An answer to it would make a loop of two servers.
func accept(h dns.Header) dns.MsgAcceptAction {
	const response, opcode = 1 << 15, 0xf << 11
	switch {
	case h.Bits&response != 0:
		return dns.MsgIgnore
	case h.Bits&opcode != 0:
		return dns.MsgRejectNotImplemented
	case h.Qdcount != 1, h.Ancount != 0, h.Nscount > 1, h.Arcount > 2:
		return dns.MsgReject
	}
	return dns.MsgAccept
}

func (s *Server) handler(ctx context.Context, tcp bool) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		a, err := netip.ParseAddrPort(w.RemoteAddr().String())
		if err != nil {
			return
		}
		g, ok := s.cfg.Guest(a.Addr().Unmap())
		if !ok || !s.questions.Allow(g.Port.ID, time.Now()) {
			return // as if it were lost: to refuse costs as much as to answer
		}
		leave, ok := s.questions.Enter(g.Port.ID)
		if !ok {
			return
		}
		defer leave()
		answer := s.answer(ctx, g, m, tcp)
		s.cfg.Count(dns.RcodeToString[answer.Rcode])
		fit(answer, m, tcp)
		if err := w.WriteMsg(answer); err != nil {
			s.cfg.Log.Debug("answer to a question for a name not sent", "port", g.Port.ID, "err", err)
		}
	})
}

// answer answers one question.
func (s *Server) answer(ctx context.Context, g standin.Guest, m *dns.Msg, tcp bool) *dns.Msg {
	reply := new(dns.Msg)
	reply.SetReply(m)
	reply.RecursionAvailable = true
	if len(m.Question) != 1 {
		reply.Rcode = dns.RcodeFormatError
		return reply
	}
	q := m.Question[0]
	switch {
	case q.Qclass != dns.ClassINET:
		reply.Rcode = dns.RcodeRefused
	case q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR || q.Qtype == dns.TypeMAILA || q.Qtype == dns.TypeMAILB || q.Qtype == dns.TypeANY:
		reply.Rcode = dns.RcodeRefused // RFC 8482
	case badVersion(m):
		reply.Rcode = dns.RcodeBadVers
	default:
		if rrs, rcode, ours := s.cfg.Zone(g).answer(q); ours {
			reply.Authoritative, reply.Answer, reply.Rcode = true, rrs, rcode
			return reply
		}
		return forward(ctx, m, reply, s.serversFor(g), tcp)
	}
	return reply
}

func badVersion(m *dns.Msg) bool {
	opt := m.IsEdns0()
	return opt != nil && opt.Version() != 0
}

// fit adds what EDNS0 asks for and cuts an answer to what the guest takes (RFC 6891).
func fit(answer, question *dns.Msg, tcp bool) {
	size := plainUDP
	if opt := question.IsEdns0(); opt != nil {
		size = min(max(plainUDP, int(opt.UDPSize())), maxUDP)
		answer.SetEdns0(maxUDP, opt.Do())
	} else if answer.Rcode > 0xf {
		answer.Rcode = dns.RcodeServerFailure // the rest of the code would be in the OPT record
	}
	if tcp {
		size = dns.MaxMsgSize
	}
	answer.Compress = true
	answer.Truncate(size)
}
