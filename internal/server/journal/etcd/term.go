package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/server/journal"
)

// Campaign waits until this server leads and begins a term. When the leader's
// key is this server's own already, from a term before or from before a crash, it
// begins the next term at once by writing the key again: that moves the revision which appends
// compare, so nothing that is still under way for the old term can be written after. For
// that the identity must be of one process at a time, which an embedded etcd's lock of its
// data directory grants.
//
// The channel is closed when the lease has ended, or could not be renewed in time.
func (j *Journal) Campaign(ctx context.Context) (<-chan struct{}, error) {
	if resigned := j.endTerm(); resigned {
		select {
		case <-time.After(stepBack):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if j.relieve != nil {
		if err := j.relieve(ctx); err != nil {
			return nil, fmt.Errorf("making room in the journal: %w", err)
		}
	}
	for {
		t, holder, seen, err := j.tryLead(ctx)
		if err != nil {
			return nil, fmt.Errorf("seeking the lead: %w", err)
		}
		if t != nil {
			return j.begin(t)
		}
		j.log.Info("waiting for the lead", "leader", holder)
		if err := j.awaitVacancy(ctx, seen); err != nil {
			return nil, fmt.Errorf("waiting for the lead: %w", err)
		}
	}
}

// endTerm ends the present term, if any, and tells whether the last one was
// given up.
func (j *Journal) endTerm() (resigned bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	resigned, j.resigned = j.resigned, false
	if j.term != nil {
		j.term.stop()
		j.term = nil
	}
	return resigned
}

// tryLead writes the leader's key if there is none, or if it is our own. When
// another server leads, it returns who, and a revision at which that was so.
func (j *Journal) tryLead(ctx context.Context) (t *term, holder string, seen int64, err error) {
	lease, err := j.client.Grant(ctx, leaseSeconds)
	if err != nil {
		return nil, "", 0, err
	}
	defer func() {
		if t == nil {
			// Best effort: it ends by itself.
			_, _ = j.client.Revoke(context.WithoutCancel(ctx), lease.ID)
		}
	}()
	put := clientv3.OpPut(LeaderKey, j.identity, clientv3.WithLease(lease.ID))
	for _, free := range []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(LeaderKey), "=", 0),
		clientv3.Compare(clientv3.Value(LeaderKey), "=", j.identity),
	} {
		got, err := j.client.Txn(ctx).If(free).Then(put).Else(clientv3.OpGet(LeaderKey)).Commit()
		if err != nil {
			return nil, "", 0, err
		}
		if got.Succeeded {
			return &term{revision: got.Header.Revision, lease: lease.ID}, "", 0, nil
		}
		// Only an answer that has the key tells when another led: it may have gone between the two
		// questions, and a watch from the second would miss that for ever.
		if kvs := got.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			seen, holder = got.Header.Revision, string(kvs[0].Value)
		}
	}
	return nil, holder, seen, nil
}

// awaitVacancy returns when the leader's key was deleted after a revision.
func (j *Journal) awaitVacancy(ctx context.Context, after int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for answer := range j.client.Watch(clientv3.WithRequireLeader(ctx), LeaderKey, clientv3.WithRev(after+1), clientv3.WithFilterPut()) {
		if err := answer.Err(); err != nil {
			if errors.Is(err, rpctypes.ErrCompacted) {
				return nil // it may be vacant: look again
			}
			return err
		}
		if len(answer.Events) > 0 {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("the watch ended")
}

// begin keeps the lease of a term alive until the term is stopped.
func (j *Journal) begin(t *term) (<-chan struct{}, error) {
	ctx, stop := context.WithCancel(context.Background())
	renewed, err := j.client.KeepAlive(ctx, t.lease)
	if err != nil {
		stop()
		return nil, fmt.Errorf("renewing the lead: %w", err)
	}
	lost := make(chan struct{})
	go func() { // ends with the term or the lease
		defer close(lost)
		for range renewed {
		}
	}()
	t.stop = stop
	j.mu.Lock()
	defer j.mu.Unlock()
	j.term = t
	return lost, nil
}

func (j *Journal) currentTerm() (*term, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.term == nil {
		return nil, journal.ErrDeposed
	}
	return j.term, nil
}

// leads is true in etcd as long as no term has begun, and no lease ended, after
// this one began.
func (t *term) leads() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(LeaderKey), "=", t.revision)
}

// Append writes all of ops in one etcd transaction, or nothing.
func (j *Journal) Append(ctx context.Context, ops []journal.Op) (uint64, error) {
	t, err := j.currentTerm()
	if err != nil {
		return 0, err
	}
	writes := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		if op.Value == nil {
			writes[i] = clientv3.OpDelete(op.Key)
		} else {
			writes[i] = clientv3.OpPut(op.Key, "")
			writes[i].WithValueBytes(op.Value) // OpPut would copy it, from a string that is a copy already
		}
	}
	got, err := j.client.Txn(ctx).If(t.leads()).Then(writes...).Commit()
	switch {
	case err == nil && got.Succeeded:
		return uint64(got.Header.Revision), nil
	case err == nil:
		return 0, journal.ErrDeposed
	case refused(err):
		return 0, fmt.Errorf("%w: %w", journal.ErrRefused, err)
	}
	return 0, fmt.Errorf("%w: %w", journal.ErrUnknown, err)
}

// refused reports whether etcd answered that it did not, and will not, write.
// ErrNoSpace is not such an answer: the write that exhausts the space gets it and is
// applied all the same (quotaApplierV3 in etcd 3.6).
func refused(err error) bool {
	for _, definite := range []error{
		rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyRequests,
	} {
		if errors.Is(err, definite) {
			return true
		}
	}
	return false
}

// Confirm returns nil when the term was not over at some moment of the call. A
// majority of etcd's members has to agree.
func (j *Journal) Confirm(ctx context.Context) error {
	t, err := j.currentTerm()
	if err != nil {
		return err
	}
	got, err := j.client.Get(ctx, LeaderKey, j.asks...)
	if err != nil {
		return fmt.Errorf("confirming the lead: %w", err)
	}
	if len(got.Kvs) == 0 || got.Kvs[0].ModRevision != t.revision {
		return journal.ErrDeposed
	}
	return nil
}
