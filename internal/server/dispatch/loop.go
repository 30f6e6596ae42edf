package dispatch

import (
	"context"
	"errors"
	"maps"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/internal/model"
	"weft/internal/server/hostview"
	"weft/internal/server/store"
)

// loop owns the sessions and follows the store's commits.
type loop struct {
	s        *Server
	cursor   *store.Snapshot // what all sessions have been told
	history  model.UUID      // names the snapshots that the cursor has gone through without a gap
	trails   map[string]*trail
	sessions map[string]*session
	waiting  []*session // joined, but the cursor is before their host's row
	networks map[model.NetworkID]map[*session]struct{}
	groups   map[model.SecurityGroupID]map[*session]struct{}
	sets     map[model.UUID]map[*session]struct{}
	routers  map[model.RouterID]map[*session]struct{}
}

func newLoop(s *Server) *loop {
	return &loop{
		s: s, sessions: map[string]*session{}, trails: map[string]*trail{},
		networks: map[model.NetworkID]map[*session]struct{}{},
		groups:   map[model.SecurityGroupID]map[*session]struct{}{},
		sets:     map[model.UUID]map[*session]struct{}{},
		routers:  map[model.RouterID]map[*session]struct{}{},
	}
}

// pumped is what follows from one read of the subscription.
type pumped struct {
	commit *store.Commit
	lagged bool
}

func (l *loop) run(ctx context.Context) error {
	l.cursor, l.history = l.s.cfg.Store.Snapshot(), model.RandomUUID(l.s.cfg.Random())
	bookmarks := time.NewTicker(l.s.cfg.Bookmarks)
	defer bookmarks.Stop()
	commits := make(chan pumped, 256)
	pump := func(from *store.Snapshot) {
		sub := l.s.cfg.Store.Subscribe(from)
		for {
			c, err := sub.Next(ctx)
			p := pumped{commit: c, lagged: errors.Is(err, store.ErrLagged)}
			if err != nil && !p.lagged {
				return
			}
			select {
			case commits <- p:
			case <-ctx.Done():
				return
			}
			if p.lagged {
				return
			}
		}
	}
	go pump(l.cursor)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ses := <-l.s.joins:
			l.join(ses)
		case ses := <-l.s.leaves:
			l.leave(ctx, ses)
		case <-bookmarks.C:
			l.bookmark()
		case p := <-commits:
			if p.lagged {
				l.restart()
				go pump(l.cursor)
				continue
			}
			l.step(drain(p.commit, commits))
		}
	}
}

// drain takes the commits that have piled up: a burst becomes one step.
func drain(first *store.Commit, more chan pumped) (last *store.Commit, changes []store.Change) {
	last, changes = first, first.Changes
	for len(changes) < 500 {
		select {
		case p := <-more:
			if p.lagged {
				// Put back for the loop; the channel has room, we just took this from it.
				more <- p
				return last, changes
			}
			last, changes = p.commit, append(changes[:len(changes):len(changes)], p.commit.Changes...)
		default:
			return last, changes
		}
	}
	return last, changes
}

// join starts a session, or a session anew that fell behind.
func (l *loop) join(ses *session) {
	if old := l.sessions[ses.host]; old != nil && old != ses {
		l.forget(old)
		old.end(status.Error(codes.Aborted, "a newer session of this host has begun"))
	}
	if l.cursor.Revision() < ses.rev {
		l.waiting = append(l.waiting, ses)
		return
	}
	l.begin(ses)
}

// begin sends a host what it needs: the difference from the view that it holds, when that is one that it
// was sent in this history, else all of it.
func (l *loop) begin(ses *session) {
	l.forget(ses)
	l.sessions[ses.host] = ses
	l.s.mu.Lock()
	l.s.alive[ses.host] = ses
	l.s.mu.Unlock()
	l.setScope(ses, hostview.ScopeOf(l.cursor, ses.host))
	view := hostview.View(l.cursor, ses.host)
	view.History = l.history
	if delta := l.resume(ses, view); delta != nil {
		l.s.metrics.resumes.Inc()
		l.tell(ses, outbound{delta: delta})
		return
	}
	l.trails[ses.host] = &trail{}
	l.tell(ses, outbound{view: view})
}

// resume returns what leads from the view that the host says it holds to its present one; nil when the
// former is not known here, or when that is no less than a whole view.
func (l *loop) resume(ses *session, view *model.HostView) *model.ViewDelta {
	have := ses.have
	ses.have = position{}
	if have.history != l.history {
		return nil
	}
	held := l.trails[ses.host].at(have.revision)
	if held == nil {
		return nil
	}
	delta := hostview.View(held, ses.host).Diff(view)
	if delta.Len() > maxChunk {
		return nil
	}
	return delta
}

// tell sends a host what leads to the cursor, and notes where that puts it.
func (l *loop) tell(ses *session, m outbound) {
	ses.push(m)
	t := l.trails[ses.host]
	t.left = time.Time{}
	at, _ := ses.progress()
	t.acknowledged(at.Applied)
	t.add(l.cursor)
}

// bookmark moves the hosts on that nothing has concerned for a while, so that few old snapshots are
// held for them to resume from, and forgets what hosts held that have not come back.
func (l *loop) bookmark() {
	for _, ses := range l.sessions {
		at, waiting := ses.progress()
		l.trails[ses.host].acknowledged(at.Applied)
		if !waiting && at.Sent < l.cursor.Revision() {
			l.tell(ses, outbound{bookmark: l.cursor.Revision()})
		}
	}
	before := l.s.cfg.Now().Add(-trailLife)
	maps.DeleteFunc(l.trails, func(_ string, t *trail) bool { return !t.left.IsZero() && t.left.Before(before) })
}

// leave ends a session and notes when the host was last seen.
func (l *loop) leave(ctx context.Context, ses *session) {
	for i, w := range l.waiting {
		if w == ses {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			break
		}
	}
	if l.sessions[ses.host] != ses {
		return
	}
	l.forget(ses)
	now := l.s.cfg.Now().UTC().Truncate(time.Second)
	go func() {
		_, err := l.s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
			if old := tx.Host(ses.host); old != nil {
				row := old.Clone()
				row.SeenAt = now
				tx.PutHost(row)
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			l.s.cfg.Log.Warn("last sight of host not written", "host", ses.host, "err", err)
		}
	}()
}

func (l *loop) forget(ses *session) {
	if l.sessions[ses.host] != ses {
		return
	}
	delete(l.sessions, ses.host)
	l.s.mu.Lock()
	delete(l.s.alive, ses.host)
	l.s.mu.Unlock()
	l.setScope(ses, nil)
	if t := l.trails[ses.host]; t != nil {
		t.left = l.s.cfg.Now()
	}
}

// restart sends every host a whole view, in a new history: the commits in between are gone, or the store
// was read anew.
func (l *loop) restart() {
	l.cursor, l.history = l.s.cfg.Store.Snapshot(), model.RandomUUID(l.s.cfg.Random())
	clear(l.trails)
	for _, ses := range l.sessions {
		l.begin(ses)
	}
	l.release()
}

// step moves all sessions from the cursor to a later commit.
func (l *loop) step(last *store.Commit, changes []store.Change) {
	before, after := l.cursor, last.Snapshot
	l.cursor = after
	for ses, mine := range l.affected(before, after, changes) {
		delta, scope := hostview.Delta(before, after, mine, ses.scope, ses.host)
		if scope != ses.scope {
			l.setScope(ses, scope)
		}
		if delta.Len() > 0 {
			l.tell(ses, outbound{delta: delta})
		}
	}
	l.release()
}

// release starts the sessions whose host's row the cursor has reached.
func (l *loop) release() {
	waiting := l.waiting
	l.waiting = nil
	for _, ses := range waiting {
		l.join(ses)
	}
}

// affected sorts changes between two snapshots by the sessions that they may concern.
func (l *loop) affected(before, after *store.Snapshot, changes []store.Change) map[*session][]store.Change {
	out := map[*session][]store.Change{}
	for _, c := range changes {
		note := func(ses *session) {
			if ses == nil {
				return
			}
			if n := len(out[ses]); n > 0 && out[ses][n-1] == c {
				return
			}
			out[ses] = append(out[ses], c)
		}
		noteAll := func(set map[*session]struct{}) {
			for ses := range set {
				note(ses)
			}
		}
		for i, v := range []any{c.Before, c.After} {
			switch v := v.(type) {
			case *model.Port:
				note(l.sessions[v.Binding.HostID])
				noteAll(l.networks[v.NetworkID])
				for _, g := range v.SecurityGroups {
					noteAll(l.sets[g.UUID])
				}
				if r, ok := v.RouterOf(); ok {
					noteAll(l.routers[r])
					l.noteGateways(before, after, r, note)
				} else {
					for _, s := range []*store.Snapshot{before, after} {
						for f := range s.FloatingIPsByPort(v.ID) {
							l.noteGateways(before, after, f.RouterID, note)
						}
					}
				}
			case *model.Network:
				noteAll(l.networks[v.ID])
			case *model.Subnet:
				noteAll(l.networks[v.NetworkID])
			case *model.SubnetPool: // may have changed its address scope
				for _, s := range []*store.Snapshot{before, after} {
					for sub := range s.SubnetsByPool(v.ID) {
						noteAll(l.networks[sub.NetworkID])
					}
				}
			case *model.Router:
				noteAll(l.routers[v.ID])
				for _, h := range v.Gateways() {
					note(l.sessions[h])
				}
			case *model.FloatingIP:
				l.noteFloating(before, after, v, note)
			case *model.PortForwarding:
				for _, s := range []*store.Snapshot{before, after} {
					if f := s.FloatingIP(v.FloatingIPID); f != nil {
						l.noteFloating(before, after, f, note)
					}
				}
			case *model.SecurityGroup:
				noteAll(l.groups[v.ID])
			case *model.SecurityGroupRule:
				noteAll(l.groups[v.GroupID])
			case *model.AddressGroup:
				noteAll(l.sets[v.ID.UUID])
			case *model.Host:
				if i == 1 {
					l.hostChanged(c, v, note)
				}
			}
		}
	}
	return out
}

// noteFloating notes the hosts that serve a floating IP: its router's, and that of its port, where
// those of distributed routers are served.
func (l *loop) noteFloating(before, after *store.Snapshot, f *model.FloatingIP, note func(*session)) {
	l.noteGateways(before, after, f.RouterID, note)
	for _, s := range []*store.Snapshot{before, after} {
		if p := s.Port(f.PortID); p != nil {
			note(l.sessions[p.Binding.HostID])
		}
	}
}

// noteGateways notes the hosts that serve a router.
func (l *loop) noteGateways(before, after *store.Snapshot, id model.RouterID, note func(*session)) {
	for _, s := range []*store.Snapshot{before, after} {
		if r := s.Router(id); r != nil {
			for _, h := range r.Gateways() {
				note(l.sessions[h])
			}
		}
	}
}

// hostChanged tells the host itself when what it can reach has changed, and everybody when its
// tunnels end elsewhere. Being seen is nobody's business.
func (l *loop) hostChanged(c store.Change, h *model.Host, note func(*session)) {
	old, _ := c.Before.(*model.Host)
	if old != nil && old.TunnelAddr == h.TunnelAddr && sameMap(old.Mappings, h.Mappings) {
		return
	}
	note(l.sessions[h.Name])
	if old == nil || old.TunnelAddr != h.TunnelAddr {
		for _, ses := range l.sessions {
			note(ses)
		}
	}
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// setScope moves a session's entries in the index of interest.
func (l *loop) setScope(ses *session, scope *hostview.Scope) {
	if old := ses.scope; old != nil {
		for k := range old.Networks {
			unlist(l.networks, k, ses)
		}
		for k := range old.Groups {
			unlist(l.groups, k, ses)
		}
		for k := range old.Sets {
			unlist(l.sets, k, ses)
		}
		for k := range old.Routers {
			unlist(l.routers, k, ses)
		}
	}
	ses.scope = scope
	if scope == nil {
		return
	}
	for k := range scope.Networks {
		list(l.networks, k, ses)
	}
	for k := range scope.Groups {
		list(l.groups, k, ses)
	}
	for k := range scope.Sets {
		list(l.sets, k, ses)
	}
	for k := range scope.Routers {
		list(l.routers, k, ses)
	}
}

func list[K comparable](index map[K]map[*session]struct{}, k K, ses *session) {
	if index[k] == nil {
		index[k] = map[*session]struct{}{}
	}
	index[k][ses] = struct{}{}
}

func unlist[K comparable](index map[K]map[*session]struct{}, k K, ses *session) {
	delete(index[k], ses)
	if len(index[k]) == 0 {
		delete(index, k)
	}
}
