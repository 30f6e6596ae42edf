package dispatch

import (
	"time"

	"weft/internal/server/store"
)

// What is kept for hosts to resume from. A snapshot holds on to the tree nodes that were replaced
// since, so that few are kept, and bookmarks bring idle hosts to the same one.
const (
	bookmarkEvery = 10 * time.Second
	maxTrail      = 16               // snapshots of one host that has not acknowledged
	trailLife     = 10 * time.Minute // after the end of the host's session
)

// trail is what a host may hold: the snapshots that it was told of, from the last that it has
// acknowledged on. It outlives the host's session, and is the loop's.
type trail struct {
	told []*store.Snapshot // oldest first
	left time.Time         // when the session ended, zero while there is one
}

// add notes that the host is told of a snapshot.
func (t *trail) add(s *store.Snapshot) {
	if n := len(t.told); n > 0 && t.told[n-1].Revision() == s.Revision() {
		return
	}
	t.told = append(t.told, s)
	if len(t.told) > maxTrail {
		t.drop(1)
	}
}

// acknowledged drops what the host has got past.
func (t *trail) acknowledged(revision uint64) {
	n := 0
	for n+1 < len(t.told) && t.told[n+1].Revision() <= revision {
		n++
	}
	t.drop(n)
}

func (t *trail) drop(n int) {
	kept := copy(t.told, t.told[n:])
	clear(t.told[kept:])
	t.told = t.told[:kept]
}

// at returns the snapshot of a revision, nil when it is not kept.
func (t *trail) at(revision uint64) *store.Snapshot {
	if t == nil {
		return nil
	}
	for _, s := range t.told {
		if s.Revision() == revision {
			return s
		}
	}
	return nil
}
