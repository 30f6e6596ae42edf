package dispatch

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"weft/api/hostpb"
	"weft/internal/model"
	"weft/internal/server/hostview"
)

// Limits of what waits for a slow host, and of one message.
const (
	maxQueue = 256  // deltas; more and the host gets a COMPLETE instead
	maxChunk = 2000 // objects of a COMPLETE in one message
)

// session is the stream of one host.
type session struct {
	host   string
	rev    uint64 // the host's own row is in the store from this revision on
	stream hostpb.HostService_SessionServer

	// Owned by the loop.
	scope *hostview.Scope
	have  position // what the host says it holds; zero once the session has begun

	mu     sync.Mutex
	at     model.Progress
	queue  []outbound
	lagged bool          // the queue overflowed and was dropped
	wake   chan struct{} // one slot: the queue has something, or ended is set
	ended  error         // why the server ends the session
}

// position is a revision, and the history that it is of.
type position struct {
	history  model.UUID
	revision uint64
}

// outbound is a message to a host: a whole view, a delta, or a bookmark.
type outbound struct {
	view     *model.HostView
	delta    *model.ViewDelta
	bookmark uint64
}

func (m outbound) revision() uint64 {
	switch {
	case m.view != nil:
		return m.view.Revision
	case m.delta != nil:
		return m.delta.To
	}
	return m.bookmark
}

func newSession(host string, rev uint64, have position, stream hostpb.HostService_SessionServer) *session {
	return &session{host: host, rev: rev, have: have, stream: stream, wake: make(chan struct{}, 1)}
}

// push queues a message. It never blocks.
func (ses *session) push(m outbound) {
	ses.mu.Lock()
	ses.at.Sent = m.revision()
	switch {
	case m.view != nil:
		ses.queue, ses.lagged = append(ses.queue[:0], m), false
	case ses.lagged:
	case len(ses.queue) >= maxQueue:
		ses.queue, ses.lagged = nil, true
	default:
		ses.queue = append(ses.queue, m)
	}
	ses.mu.Unlock()
	ses.signal()
}

// progress returns how far the host is, and whether messages wait for it.
func (ses *session) progress() (p model.Progress, waiting bool) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	return ses.at, ses.lagged || len(ses.queue) > 0
}

func (ses *session) acknowledge(a *hostpb.Ack) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	ses.at.Applied, ses.at.Failed = a.GetRevision(), int(a.GetFailed())
}

// end makes the sender return err.
func (ses *session) end(err error) {
	ses.mu.Lock()
	if ses.ended == nil {
		ses.ended = err
	}
	ses.mu.Unlock()
	ses.signal()
}

func (ses *session) signal() {
	select {
	case ses.wake <- struct{}{}:
	default:
	}
}

func (ses *session) take() (queue []outbound, lagged bool, err error) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	queue, ses.queue = ses.queue, nil
	lagged = ses.lagged
	return queue, lagged, ses.ended
}

// send delivers the queue until the stream or the session ends.
func (ses *session) send(ctx context.Context, s *Server) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stop:
			return status.Error(codes.Unavailable, "the server is stopping")
		case <-ses.wake:
		}
		queue, lagged, err := ses.take()
		if err != nil {
			return err
		}
		for _, m := range queue {
			if err := ses.deliver(s, m); err != nil {
				return err
			}
		}
		if lagged {
			s.metrics.resyncs.Inc()
			select {
			case s.joins <- ses: // asks for a COMPLETE
			case <-s.stop:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (ses *session) deliver(s *Server, m outbound) error {
	switch {
	case m.delta != nil:
		s.metrics.deltas.Inc()
		return ses.write(s, &hostpb.ServerMessage{Kind: &hostpb.ServerMessage_Delta{Delta: hostpb.ToDelta(m.delta)}})
	case m.view == nil:
		s.metrics.bookmarks.Inc()
		return ses.write(s, &hostpb.ServerMessage{Kind: &hostpb.ServerMessage_Bookmark{Bookmark: &hostpb.Bookmark{Revision: m.bookmark}}})
	}
	s.metrics.completes.Inc()
	settings := &hostpb.Settings{L2Population: s.cfg.L2Population, DnsDomain: s.cfg.DNSDomain}
	chunks := chunk(m.view)
	for i, objects := range chunks {
		c := &hostpb.Complete{Revision: m.view.Revision, More: i < len(chunks)-1, Objects: objects, Settings: settings, History: m.view.History[:]}
		if err := ses.write(s, &hostpb.ServerMessage{Kind: &hostpb.ServerMessage_Complete{Complete: c}}); err != nil {
			return err
		}
	}
	return nil
}

func (ses *session) write(s *Server, m *hostpb.ServerMessage) error {
	s.metrics.bytes.Add(float64(proto.Size(m)))
	return ses.stream.Send(m)
}

// chunk cuts a view into messages of at most maxChunk objects, at least one.
func chunk(v *model.HostView) []*hostpb.Objects {
	var out []*hostpb.Objects
	d := &model.ViewDelta{}
	n := 0
	flush := func() {
		out = append(out, hostpb.ToObjects(d))
		d, n = &model.ViewDelta{}, 0
	}
	step := func() {
		if n++; n >= maxChunk {
			flush()
		}
	}
	for _, o := range v.Networks {
		d.Networks = append(d.Networks, o)
		step()
	}
	for _, o := range v.Groups {
		d.Groups = append(d.Groups, o)
		step()
	}
	for _, o := range v.Members {
		d.Members = append(d.Members, o)
		step()
	}
	for _, o := range v.Peers {
		d.Peers = append(d.Peers, o)
		step()
	}
	for _, o := range v.Ports {
		d.Ports = append(d.Ports, o)
		step()
	}
	for _, o := range v.Routers {
		d.Routers = append(d.Routers, o)
		step()
	}
	for _, o := range v.Floating {
		d.Floating = append(d.Floating, o)
		step()
	}
	if n > 0 || len(out) == 0 {
		flush()
	}
	return out
}

// receive takes in what the host says until the stream ends.
func (s *Server) receive(ses *session) {
	for {
		m, err := ses.stream.Recv()
		if err != nil {
			ses.end(errors.Join(errHostGone, err))
			return
		}
		switch {
		case m.GetReports() != nil:
			select {
			case s.reports <- hostReports{host: ses.host, reports: hostpb.FromReports(m.GetReports())}:
			case <-s.stop:
				return
			}
		case m.GetAck() != nil:
			ses.acknowledge(m.GetAck())
		}
	}
}

var errHostGone = errors.New("the host ended the session")
