package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"weft/api/hostpb"
	"weft/internal/model"
	"weft/internal/pki"
)

// event is what the session tells the agent's loop.
type event struct {
	view     *model.HostView  // COMPLETE: everything from now on
	settings *hostpb.Settings // with view
	delta    *model.ViewDelta // or a step from the last
	resumed  bool             // with delta: it is the first of a session, the view is whole with it
	bookmark uint64           // or a revision up to which nothing concerned the host
	problems []error          // objects that could not be read and were left out
}

// session keeps one stream to a server: it joins, dials, says hello, hands
// views down and reports up, and starts again when anything of this ends.
type session struct {
	servers  []string
	dir      string // identity
	token    string // join token, used when there is no identity
	hello    *hostpb.Hello
	log      *slog.Logger
	events   chan<- event
	reporter *reporter
	state    func(connected bool)
	held     held // what the loop's view is, once it has taken all that was handed to it
}

// held is the view that a session can be resumed from. A view that lacks objects which could not be
// read, or whose reading was cut short, is not such: its history is zero.
type held struct {
	history  model.UUID
	revision uint64
}

// Session timing.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 8 * time.Second
	dialLimit  = 5 * time.Second
)

// run keeps the session up until ctx ends. Servers are tried in turn.
func (s *session) run(ctx context.Context) error {
	wait := minBackoff
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := s.once(ctx, s.servers[attempt%len(s.servers)])
		s.state(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fatal := (&joinError{}); errors.As(err, &fatal) {
			return fatal
		}
		if time.Since(began) > maxBackoff {
			wait = minBackoff
		}
		if attempt < 3 || attempt%20 == 0 {
			s.log.Warn("no session with the server, the last view stays in force", "server", s.servers[attempt%len(s.servers)], "err", err, "attempt", attempt+1)
		}
		// Full jitter, so that a thousand hosts do not come back at once.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(rand.Int64N(int64(wait))) + minBackoff/2):
		}
		wait = min(wait*2, maxBackoff)
	}
}

// joinError is a refusal to join, which trying again does not heal.
type joinError struct{ err error }

func (e *joinError) Error() string { return e.err.Error() }
func (e *joinError) Unwrap() error { return e.err }

// once holds one session from the dial to its end.
func (s *session) once(ctx context.Context, server string) error {
	id, err := s.identity(ctx, server)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(credentials.NewTLS(id.ClientTLS())),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: minBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: dialLimit}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", server, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := hostpb.NewHostServiceClient(conn).Session(ctx)
	if err != nil {
		return plain(err)
	}
	s.hello.HaveRevision, s.hello.HaveHistory = 0, nil
	if !s.held.history.IsZero() {
		s.hello.HaveRevision, s.hello.HaveHistory = s.held.revision, s.held.history[:]
	}
	if err := stream.Send(&hostpb.AgentMessage{Kind: &hostpb.AgentMessage_Hello{Hello: s.hello}}); err != nil {
		return plain(err)
	}
	received := make(chan error, 1)
	go func() { received <- s.receive(ctx, stream) }()
	for {
		select {
		case err := <-received:
			return plain(err)
		case <-s.reporter.wake:
			if err := s.report(stream); err != nil {
				// The reason is what Recv has.
				cancel()
				return plain(errors.Join(<-received, err))
			}
		}
	}
}

// report sends what there is to say. An acknowledgement goes out after the reports of what it is about.
func (s *session) report(stream hostpb.HostService_SessionClient) error {
	ack := s.reporter.takeAck()
	if reports := s.reporter.take(); len(reports) > 0 {
		if err := stream.Send(&hostpb.AgentMessage{Kind: &hostpb.AgentMessage_Reports{Reports: hostpb.ToReports(reports)}}); err != nil {
			s.reporter.putBack(reports)
			return err
		}
	}
	if ack == nil {
		return nil
	}
	return stream.Send(&hostpb.AgentMessage{Kind: &hostpb.AgentMessage_Ack{Ack: &hostpb.Ack{Revision: ack.revision, Failed: uint32(ack.failed)}}})
}

// receive hands views down until the stream ends. What does not follow on what the host has ends the
// session, and the next one begins with a COMPLETE.
func (s *session) receive(ctx context.Context, stream hostpb.HostService_SessionClient) error {
	var building *model.HostView // a COMPLETE in chunks
	var problems []error
	begun := false
	begin := func() {
		if !begun {
			begun = true
			s.reporter.forget()
			s.state(true)
		}
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		switch {
		case m.GetComplete() != nil:
			c := m.GetComplete()
			if building == nil {
				building, problems = model.NewHostView(s.hello.Host), nil
			}
			d, bad := hostpb.FromObjects(c.GetObjects())
			building.Apply(d)
			problems = append(problems, bad...)
			if c.GetMore() {
				continue
			}
			building.Revision = c.GetRevision()
			if len(problems) == 0 && len(c.GetHistory()) == len(building.History) {
				copy(building.History[:], c.GetHistory())
			}
			begin()
			next := held{building.History, building.Revision}
			if err := s.deliver(ctx, event{view: building, settings: c.GetSettings(), problems: problems}, next); err != nil {
				return err
			}
			building = nil
		case m.GetDelta() != nil:
			d, bad := hostpb.FromDelta(m.GetDelta())
			// Deltas that change nothing for this host are not sent: "from" may be ahead of
			// what we have, but never behind it. The first one resumes just where we are.
			if d.From < s.held.revision || d.To < d.From || !begun && (s.held.history.IsZero() || d.From != s.held.revision) {
				err := fmt.Errorf("delta from revision %d to %d does not follow on %d", d.From, d.To, s.held.revision)
				s.held = held{}
				return err
			}
			e := event{delta: d, resumed: !begun, problems: bad}
			begin()
			next := held{s.held.history, d.To}
			if len(bad) > 0 {
				next.history = model.UUID{}
			}
			if err := s.deliver(ctx, e, next); err != nil {
				return err
			}
		case m.GetBookmark() != nil:
			to := m.GetBookmark().GetRevision()
			if !begun || to < s.held.revision {
				err := fmt.Errorf("bookmark at revision %d does not follow on %d", to, s.held.revision)
				s.held = held{}
				return err
			}
			if err := s.deliver(ctx, event{bookmark: to}, held{s.held.history, to}); err != nil {
				return err
			}
		}
	}
}

// deliver hands an event to the loop and notes what that makes its view. An event that the loop
// has not taken is none: the session resumes before it.
func (s *session) deliver(ctx context.Context, e event, next held) error {
	select {
	case s.events <- e:
		s.held = next
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// identity returns the host's certificate: the stored one, or a new one for the join
// token, or a new one for the old when that has lived two thirds of its life.
func (s *session) identity(ctx context.Context, server string) (*pki.Identity, error) {
	id, err := pki.LoadIdentity(s.dir)
	switch {
	case err == nil && id.Host == s.hello.Host:
		if time.Now().Before(id.RenewAt()) {
			return id, nil
		}
		j, err := pki.Renew(s.dir, s.hello.Host)
		if err != nil {
			return nil, err
		}
		renewed, err := s.enrol(ctx, server, j, credentials.NewTLS(id.ClientTLS()), "")
		if err != nil {
			s.log.Warn("certificate not renewed", "err", err, "expires", id.Leaf.NotAfter)
			return id, nil
		}
		s.log.Info("certificate renewed", "expires", renewed.Leaf.NotAfter)
		return renewed, nil
	case err == nil && s.token == "":
		return nil, &joinError{fmt.Errorf("the certificate in %s is of host %q, but this host is %q: remove it and join with a token", s.dir, id.Host, s.hello.Host)}
	case err != nil && !errors.Is(err, fs.ErrNotExist) && s.token == "":
		return nil, &joinError{fmt.Errorf("the certificate in %s cannot be used (%w): remove it and join with a token", s.dir, err)}
	case s.token == "":
		return nil, &joinError{fmt.Errorf("this host has not joined yet: give --token with what \"weft agent token\" prints on the server")}
	}
	j, err := pki.Join(s.dir, s.hello.Host, s.token)
	if err != nil {
		return nil, &joinError{err}
	}
	id, err = s.enrol(ctx, server, j, credentials.NewTLS(j.TLS()), s.token)
	if err != nil {
		return nil, err
	}
	s.log.Info("host joined", "server", server, "certificate", s.dir)
	return id, nil
}

func (s *session) enrol(ctx context.Context, server string, j *pki.Joining, creds credentials.TransportCredentials, token string) (*pki.Identity, error) {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", server, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	reply, err := hostpb.NewEnrolmentClient(conn).Enrol(ctx, &hostpb.EnrolRequest{Host: s.hello.Host, Token: token, Csr: j.CSR})
	if err != nil {
		if refused(err) {
			return nil, &joinError{fmt.Errorf("joining: %s", status.Convert(err).Message())}
		}
		return nil, plain(err)
	}
	return j.Finish(reply.GetCertificate(), reply.GetCa())
}
