package link

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// EventKind says what a link event tells.
type EventKind uint8

// The kinds.
const (
	Changed EventKind = iota + 1 // a device is there and like this: new, or other than before
	Gone                         // a device is no longer there
	Synced                       // all devices that were there at the start have been told
)

// Event is one step of Watch. Link is the device as it is, or as it last was
// when it is gone, and zero in Synced.
type Event struct {
	Kind EventKind
	Link Link
}

// Watch tells the devices that are there, then Synced (once), then each change,
// until ctx ends. Events are in order, and tell does not run twice at once. When
// the kernel could not queue its messages, Watch reads everything anew and tells
// the difference: whoever keeps a table from the events has the kernel's table.
func (n *Namespace) Watch(ctx context.Context, tell func(Event)) error {
	w := watcher{known: map[int]Link{}, tell: tell}
	for synced := false; ; synced = true {
		if err := n.watchOnce(ctx, &w, !synced); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// watchOnce follows one subscription until it breaks or ctx ends.
func (n *Namespace) watchOnce(ctx context.Context, w *watcher, first bool) error {
	done := make(chan struct{})
	updates := make(chan netlink.LinkUpdate, 64)
	fd := n.fd
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		Namespace: &fd, ReceiveBufferSize: 4 << 20, ReceiveBufferForceSize: true,
	})
	if err != nil {
		return fmt.Errorf("subscribing to links: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // lets the reader go, which may be waiting to deliver
		}
	}()
	// First subscribe, then list: a change in between is told late, never lost.
	links, err := n.List()
	if err != nil {
		return err
	}
	w.replace(links)
	if first {
		w.tell(Event{Kind: Synced})
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, open := <-updates:
			if !open {
				return nil
			}
			w.update(u)
		}
	}
}

// watcher is the table that the events so far make up.
type watcher struct {
	known map[int]Link
	tell  func(Event)
}

func (w *watcher) replace(links []Link) {
	there := make(map[int]bool, len(links))
	for _, l := range links {
		there[l.Index] = true
	}
	for i, l := range w.known {
		if !there[i] {
			w.gone(l)
		}
	}
	for _, l := range links {
		w.changed(l)
	}
}

func (w *watcher) update(u netlink.LinkUpdate) {
	// The bridge code tells of its ports in messages of its own family. Its
	// "deleted" means that a device left the bridge, not that it is gone.
	if u.IfInfomsg.Family == unix.AF_BRIDGE {
		return
	}
	l := linkOf(u.Link)
	if u.Header.Type == unix.RTM_DELLINK {
		if old, ok := w.known[l.Index]; ok {
			w.gone(old)
		}
		return
	}
	w.changed(l)
}

func (w *watcher) changed(l Link) {
	if w.known[l.Index] == l {
		return
	}
	w.known[l.Index] = l
	w.tell(Event{Kind: Changed, Link: l})
}

func (w *watcher) gone(l Link) {
	delete(w.known, l.Index)
	w.tell(Event{Kind: Gone, Link: l})
}
