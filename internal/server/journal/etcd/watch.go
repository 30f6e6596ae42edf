package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/server/journal"
)

// Watch calls event for every append after a revision, in order and whole,
// until ctx ends or event returns an error, which Watch then returns. It returns
// journal.ErrCompacted when that revision is too old: load anew.
func (j *Journal) Watch(ctx context.Context, after uint64, event func(journal.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var pending journal.Event
	for answer := range j.client.Watch(clientv3.WithRequireLeader(ctx), journal.Prefix, clientv3.WithPrefix(),
		clientv3.WithRev(int64(after)+1), clientv3.WithFragment()) {
		if err := answer.Err(); err != nil {
			if errors.Is(err, rpctypes.ErrCompacted) {
				return journal.ErrCompacted
			}
			return fmt.Errorf("watching the journal: %w", err)
		}
		for _, e := range answer.Events {
			if r := uint64(e.Kv.ModRevision); r != pending.Revision {
				if err := flush(&pending, event); err != nil {
					return err
				}
				pending.Revision = r
			}
			op := journal.Op{Key: string(e.Kv.Key)}
			if e.Type == clientv3.EventTypePut {
				op.Value = e.Kv.Value
			}
			pending.Ops = append(pending.Ops, op)
		}
		// etcd never splits a revision between answers, but into fragments of one,
		// which the client has joined again: what is here is whole.
		if err := flush(&pending, event); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func flush(e *journal.Event, event func(journal.Event) error) error {
	if len(e.Ops) == 0 {
		return nil
	}
	whole := *e
	*e = journal.Event{}
	return event(whole)
}
