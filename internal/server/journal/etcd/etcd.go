package etcd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/server/journal"
)

// LeaderKey is the key of the server that leads.
const LeaderKey = "/weft/leader"

// leaseSeconds is how long a leader that has died is waited for by other
// servers. The same server coming back does not wait (see Campaign).
const leaseSeconds = 10

// pageRows is how many rows Load asks for at once: a page of ports is about
// 4 MiB.
const pageRows = 4096

// Journal is a connection to etcd. Its methods may be called concurrently,
// except that there is one term at a time: Campaign ends the one before.
type Journal struct {
	client   *clientv3.Client
	stop     func() // stops an embedded etcd
	log      *slog.Logger
	identity string                      // the value of LeaderKey while this server leads
	asks     []clientv3.OpOption         // how Confirm reads
	relieve  func(context.Context) error // makes room when etcd is full; nil: that is its operator's business

	mu       sync.Mutex
	term     *term // nil before the first Campaign
	resigned bool  // the next Campaign leaves others the first try
}

// term is the leadership that one write of LeaderKey began.
type term struct {
	revision int64 // of that write
	lease    clientv3.LeaseID
	stop     context.CancelFunc // of the lease's renewal
}

// randomIdentity is that of a server which cannot prove to be one that led
// before.
func randomIdentity() string {
	var b [8]byte
	rand.Read(b[:])
	return "process-" + hex.EncodeToString(b[:])
}

// stepBack is how long a server that resigned waits before it campaigns again.
// Others see the vacancy within milliseconds.
const stepBack = 500 * time.Millisecond

// Resign gives the lead up, if there is one, so that another server need not
// wait for the lease to end.
func (j *Journal) Resign(ctx context.Context) error {
	j.mu.Lock()
	t := j.term
	j.term = nil
	j.resigned = j.resigned || t != nil
	j.mu.Unlock()
	if t == nil {
		return nil
	}
	t.stop()
	if _, err := j.client.Revoke(ctx, t.lease); err != nil {
		return fmt.Errorf("giving up the lead: %w", err)
	}
	return nil
}

// Close resigns, closes the connection, and stops an embedded etcd. No other
// method may be running.
func (j *Journal) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := j.Resign(ctx); err != nil {
		j.log.Warn("closing the journal", "error", err) // the lease ends by itself
	}
	err := j.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // how a client within the process says that it is closed
	}
	j.stop()
	return err
}

// Load hands out all rows as of one revision, which is not older than the call.
func (j *Journal) Load(ctx context.Context, page func([]journal.Entry) error) (uint64, error) {
	end := clientv3.GetPrefixRangeEnd(journal.Prefix)
	from, revision := journal.Prefix, int64(0)
	for {
		got, err := j.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageRows), clientv3.WithRev(revision))
		if err != nil {
			return 0, fmt.Errorf("reading rows from %q on: %w", from, err)
		}
		if revision == 0 {
			revision = got.Header.Revision
		}
		entries := make([]journal.Entry, len(got.Kvs))
		for i, kv := range got.Kvs {
			entries[i] = journal.Entry{Key: string(kv.Key), Value: kv.Value}
		}
		if len(entries) > 0 {
			if err := page(entries); err != nil {
				return 0, err
			}
			from = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
		}
		if !got.More {
			return uint64(revision), nil
		}
	}
}
