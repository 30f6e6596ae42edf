package etcd

import (
	"context"
	"fmt"
	"log/slog"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/backend"
)

// relieve frees the space of an etcd that refuses writes because its database has reached the quota
// (alarm NOSPACE): it drops the history of all rows, which nobody needs, returns what that took to the file system, and
// lifts the alarm. Without the alarm it does nothing. When the rows themselves fill the quota, the next
// write raises the alarm again.
func relieve(ctx context.Context, c *clientv3.Client, database backend.Backend, log *slog.Logger) error {
	list, err := c.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("asking for alarms: %w", err)
	}
	full := false
	for _, a := range list.Alarms {
		full = full || a.Alarm == etcdserverpb.AlarmType_NOSPACE
	}
	if !full {
		return nil
	}
	log.Warn("the journal's database is full: dropping history")
	now, err := c.Get(ctx, LeaderKey)
	if err != nil {
		return fmt.Errorf("asking for the revision: %w", err)
	}
	if _, err := c.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("dropping history: %w", err)
	}
	if err := database.Defrag(); err != nil {
		return fmt.Errorf("returning space: %w", err)
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return fmt.Errorf("lifting the alarm: %w", err)
	}
	log.Warn("the journal takes writes again")
	return nil
}
