package agent

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"

	"weft/api/hostpb"
	"weft/internal/model"
)

// script is a server's half of a session: what it sends, and then the end.
type script struct {
	hostpb.HostService_SessionClient
	messages []*hostpb.ServerMessage
}

func (s *script) Recv() (*hostpb.ServerMessage, error) {
	if len(s.messages) == 0 {
		return nil, io.EOF
	}
	m := s.messages[0]
	s.messages = s.messages[1:]
	return m, nil
}

var history = model.UUID{1, 2, 3}

func complete(revision uint64, o *hostpb.Objects) *hostpb.ServerMessage {
	return &hostpb.ServerMessage{Kind: &hostpb.ServerMessage_Complete{Complete: &hostpb.Complete{Revision: revision, History: history[:], Objects: o}}}
}

func delta(from, to uint64, o *hostpb.Objects) *hostpb.ServerMessage {
	return &hostpb.ServerMessage{Kind: &hostpb.ServerMessage_Delta{Delta: &hostpb.Delta{From: from, To: to, Upserts: o}}}
}

func bookmark(revision uint64) *hostpb.ServerMessage {
	return &hostpb.ServerMessage{Kind: &hostpb.ServerMessage_Bookmark{Bookmark: &hostpb.Bookmark{Revision: revision}}}
}

func TestSession_whatFollowsOnWhatTheHostHolds(t *testing.T) {
	bad := &hostpb.Objects{Ports: []*hostpb.Port{{Id: []byte{1}}}}
	resumable := func(revision uint64) held { return held{history, revision} }
	for _, c := range []struct {
		name   string
		before held
		sent   []*hostpb.ServerMessage
		taken  int // events that the loop gets
		after  held
	}{
		{"a COMPLETE, then deltas", held{}, []*hostpb.ServerMessage{complete(5, nil), delta(5, 7, nil), delta(9, 12, nil)}, 3, resumable(12)},
		{"a delta from where the host is", resumable(5), []*hostpb.ServerMessage{delta(5, 7, nil)}, 1, resumable(7)},
		{"a COMPLETE instead of what was asked for", resumable(5), []*hostpb.ServerMessage{complete(3, nil)}, 1, resumable(3)},
		{"bookmarks move the revision", held{}, []*hostpb.ServerMessage{complete(5, nil), bookmark(8), delta(8, 9, nil)}, 3, resumable(9)},
		{"a first delta that the host did not ask for", held{}, []*hostpb.ServerMessage{delta(0, 7, nil)}, 0, held{}},
		{"a first delta from elsewhere", resumable(5), []*hostpb.ServerMessage{delta(6, 7, nil)}, 0, held{}},
		{"a delta from behind", held{}, []*hostpb.ServerMessage{complete(5, nil), delta(4, 7, nil)}, 1, held{}},
		{"a bookmark from behind", held{}, []*hostpb.ServerMessage{complete(5, nil), bookmark(4)}, 1, held{}},
		{"a first bookmark", resumable(5), []*hostpb.ServerMessage{bookmark(6)}, 0, held{}},
		{"a COMPLETE with an object that cannot be read", held{}, []*hostpb.ServerMessage{complete(5, bad)}, 1, held{revision: 5}},
		{"a delta with an object that cannot be read", resumable(5), []*hostpb.ServerMessage{delta(5, 6, bad), delta(6, 7, nil)}, 2, held{revision: 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			events := make(chan event, len(c.sent))
			s := &session{hello: &hostpb.Hello{Host: "compute1"}, log: slog.New(slog.DiscardHandler), events: events, reporter: newReporter(), state: func(bool) {}, held: c.before}
			if err := s.receive(context.Background(), &script{messages: slices.Clone(c.sent)}); err == nil {
				t.Fatal("the session did not end")
			}
			if len(events) != c.taken || s.held != c.after {
				t.Fatalf("%d events, holds %v; want %d, %v", len(events), s.held, c.taken, c.after)
			}
			if c.taken == 0 {
				return
			}
			if e := <-events; e.resumed != (c.sent[0].GetDelta() != nil) {
				t.Errorf("the first event is %+v", e)
			}
		})
	}
}

func TestSession_anEventThatTheLoopDidNotTakeIsNotHeld(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	before := held{history, 5}
	s := &session{hello: &hostpb.Hello{Host: "compute1"}, events: make(chan event), reporter: newReporter(), state: func(bool) {}, held: before}
	if err := s.receive(ctx, &script{messages: []*hostpb.ServerMessage{delta(5, 7, nil)}}); err == nil || s.held != before {
		t.Fatalf("holds %v after %v", s.held, err)
	}
}
