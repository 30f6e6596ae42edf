package dispatch_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/api/hostpb"
	"weft/internal/model"
	"weft/internal/pki"
	"weft/internal/server/hostview"
	"weft/internal/server/store"
)

// away ends a session as a host does that loses its connection.
func (h *hub) away(s *host) *model.HostView {
	h.t.Helper()
	sub := h.store.Subscribe(h.store.Snapshot())
	s.cancel()
	for {
		if _, err := s.stream.Recv(); err != nil {
			break
		}
	}
	// The end of a session is written down once it is no longer alive.
	if _, err := sub.Next(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	return s.view
}

func (h *hub) withPorts() (*pki.Identity, *host) {
	h.t.Helper()
	h.put(func(tx *store.Tx) {
		tx.PutNetwork(&model.Network{ID: netA, AdminStateUp: true, Segments: []model.Segment{{Type: model.TypeGRE, Tag: 5}}})
		tx.PutPort(port(portA, "compute1"))
		tx.PutPort(port(portB, "compute1"))
	})
	id := h.identity("compute1")
	s := h.open(id, "compute1", 31)
	if s.receive().GetComplete() == nil {
		h.t.Fatal("a host that holds nothing was not sent a COMPLETE")
	}
	return id, s
}

func TestSession_resumesWithWhatChangedMeanwhile(t *testing.T) {
	h := start(t)
	id, s := h.withPorts()
	held := h.away(s)
	portC := model.PortID{UUID: model.UUID{3, 15: 3}}
	h.put(func(tx *store.Tx) { tx.PutPort(port(portC, "compute1")) })
	h.put(func(tx *store.Tx) { tx.DeletePort(portB) })
	from := held.Revision
	s = h.resume(id, "compute1", 31, held)
	d := s.receive().GetDelta()
	if d == nil || d.GetFrom() != from || len(d.GetUpserts().GetPorts()) != 1 || len(d.GetUpserts().GetNetworks()) != 0 || len(d.GetDeletes()) != 1 {
		t.Fatalf("the session began with %v", d)
	}
	if !same(s.view, hostview.View(h.store.Snapshot(), "compute1")) {
		t.Fatalf("resumed at %+v", s.view)
	}
	h.put(func(tx *store.Tx) { tx.DeletePort(portA) })
	s.until("deltas go on", func(v *model.HostView) bool { return v.Ports[portA] == nil && v.Ports[portC] != nil })
}

func TestSession_resumesWithNothingWhenNothingChanged(t *testing.T) {
	h := start(t)
	id, s := h.withPorts()
	s = h.resume(id, "compute1", 31, h.away(s))
	if d := s.receive().GetDelta(); d == nil || len(d.GetUpserts().GetPorts())+len(d.GetDeletes()) != 0 {
		t.Fatalf("the session began with %v", d)
	}
}

// TestSession_resumesBehindALiveOne is a host whose connection broke without the server having seen it yet.
func TestSession_resumesBehindALiveOne(t *testing.T) {
	h := start(t)
	id, old := h.withPorts()
	h.put(func(tx *store.Tx) { tx.DeletePort(portB) }) // sent to the old session, and lost
	s := h.resume(id, "compute1", 31, old.view)
	if d := s.receive().GetDelta(); d == nil || len(d.GetDeletes()) != 1 {
		t.Fatalf("the session began with %v", d)
	}
	for {
		if _, err := old.stream.Recv(); err != nil {
			if status.Code(err) != codes.Aborted {
				t.Fatal(err)
			}
			return
		}
	}
}

func TestSession_doesNotResumeFromWhatItDoesNotKnow(t *testing.T) {
	for name, change := range map[string]func(h *hub, v *model.HostView){
		"a revision that this host was not told of": func(_ *hub, v *model.HostView) { v.Revision-- },
		"a revision to come":                        func(_ *hub, v *model.HostView) { v.Revision += 1000 },
		"another history":                           func(_ *hub, v *model.HostView) { v.History[3]++ },
		"no history":                                func(_ *hub, v *model.HostView) { v.History = model.UUID{} },
		"a server that has started anew":            func(h *hub, _ *model.HostView) { h.stop(); h.run() },
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			id, s := h.withPorts()
			held := h.away(s)
			change(h, held)
			if m := h.resume(id, "compute1", 31, held).receive(); m.GetComplete() == nil {
				t.Fatalf("the session began with %v", m)
			}
		})
	}
}

func TestSession_doesNotResumeAnotherHostsView(t *testing.T) {
	h := start(t)
	_, s := h.withPorts()
	if m := h.resume(h.identity("compute2"), "compute2", 32, s.view).receive(); m.GetComplete() == nil {
		t.Fatalf("the session began with %v", m)
	}
}

func (s *host) acknowledge(revision uint64, failed uint32) {
	s.t.Helper()
	if err := s.stream.Send(&hostpb.AgentMessage{Kind: &hostpb.AgentMessage_Ack{Ack: &hostpb.Ack{Revision: revision, Failed: failed}}}); err != nil {
		s.t.Fatal(err)
	}
}

// TestSession_anIdleHostIsBookmarked: the store moves on without the host, and the host can resume at the latest.
func TestSession_anIdleHostIsBookmarked(t *testing.T) {
	h := start(t)
	id, s := h.withPorts()
	before := s.view.Revision
	for range 5 * 16 { // more than the snapshots that are kept for a host
		h.put(func(tx *store.Tx) { tx.PutPort(port(model.PortID{UUID: model.UUID{3, 15: 9}}, "")) })
		for s.view.Revision < h.store.Snapshot().Revision() {
			if m := s.receive(); m.GetBookmark() == nil {
				t.Fatalf("a host that nothing concerned was sent %v", m)
			}
		}
	}
	if s.view.Revision == before {
		t.Fatal("the host's revision did not move")
	}
	s = h.resume(id, "compute1", 31, h.away(s))
	if d := s.receive().GetDelta(); d == nil {
		t.Fatal("the bookmarked revision was not resumed from")
	}
}

func TestSession_progressIsWhatTheHostAcknowledged(t *testing.T) {
	h := start(t)
	_, s := h.withPorts()
	s.acknowledge(s.view.Revision, 2)
	for {
		p, ok := h.srv.Progress("compute1")
		if !ok {
			t.Fatal("no progress of a host that has a session")
		}
		if p.Applied == s.view.Revision && p.Failed == 2 && p.Sent >= p.Applied {
			break
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	h.away(s)
	if p, ok := h.srv.Progress("compute1"); ok {
		t.Fatalf("progress %+v of a host that has no session", p)
	}
}

// TestSession_resumesFromWhatItHasNotAcknowledged: the host may be anywhere between its last word and the last sent.
func TestSession_resumesFromWhatItHasNotAcknowledged(t *testing.T) {
	h := start(t)
	id, s := h.withPorts()
	s.acknowledge(s.view.Revision, 0)
	for n := byte(4); n < 8; n++ {
		h.put(func(tx *store.Tx) { tx.PutPort(port(model.PortID{UUID: model.UUID{3, 15: n}}, "compute1")) })
		p := model.PortID{UUID: model.UUID{3, 15: n}}
		s.until("port", func(v *model.HostView) bool { return v.Ports[p] != nil })
		s = h.resume(id, "compute1", 31, s.view)
		if d := s.receive().GetDelta(); d == nil {
			t.Fatalf("port %d: not resumed", n)
		}
		if !same(s.view, hostview.View(h.store.Snapshot(), "compute1")) {
			t.Fatalf("resumed at %+v", s.view)
		}
	}
}
