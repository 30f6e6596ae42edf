package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/internal/server/journal"
)

// oldest is the oldest etcd that a remote journal may be on: what its makers no
// longer mend is not for this.
const oldest = "3.5.0"

// Remote configures an etcd cluster that runs elsewhere.
type Remote struct {
	Endpoints          []string // "https://192.0.2.1:2379"
	TLS                *tls.Config
	Username, Password string
	Log                *slog.Logger // slog.Default when nil
}

// Connect connects to an etcd cluster and checks that it will do: its version,
// and that it takes requests of the size that the store sends.
func Connect(ctx context.Context, c Remote) (*Journal, error) {
	log := c.Log
	if log == nil {
		log = slog.Default()
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            c.Endpoints,
		TLS:                  c.TLS,
		Username:             c.Username,
		Password:             c.Password,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		MaxCallSendMsgSize:   2 * requestBytes,
		Logger:               newZap(newLogCore(log)),
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to etcd at %s: %w", strings.Join(c.Endpoints, ", "), err)
	}
	j := &Journal{client: client, stop: func() {}, log: log, identity: randomIdentity()}
	if err := j.check(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("checking etcd at %s: %w", strings.Join(c.Endpoints, ", "), err)
	}
	return j, nil
}

func (j *Journal) check(ctx context.Context) error {
	for _, endpoint := range j.client.Endpoints() {
		got, err := j.client.Status(ctx, endpoint)
		if err != nil {
			// One member may be away, as long as the cluster answers below.
			j.log.Warn("etcd member does not answer", "endpoint", endpoint, "error", err)
			continue
		}
		v, err := semver.NewVersion(got.Version)
		if err != nil || v.LessThan(*semver.New(oldest)) {
			return fmt.Errorf("%s runs version %s; %s is the oldest that will do", endpoint, got.Version, oldest)
		}
	}
	// The branch is never taken: only its size matters, and nothing is written.
	never := clientv3.Compare(clientv3.CreateRevision(LeaderKey), "<", 0)
	many := make([]clientv3.Op, journal.MaxOps)
	for i := range many {
		many[i] = clientv3.OpGet(LeaderKey)
	}
	if _, err := j.client.Txn(ctx).If(never).Then(many...).Commit(); err != nil {
		if errors.Is(err, rpctypes.ErrTooManyOps) {
			return fmt.Errorf("it takes fewer than %d operations in a transaction: start it with --max-txn-ops=%d", journal.MaxOps, journal.MaxOps)
		}
		return err
	}
	large := clientv3.OpGet(strings.Repeat("x", journal.MaxBytes))
	if _, err := j.client.Txn(ctx).If(never).Then(large).Commit(); err != nil {
		if errors.Is(err, rpctypes.ErrRequestTooLarge) || status.Code(err) == codes.ResourceExhausted {
			return fmt.Errorf("it takes requests of less than %d bytes: start it with --max-request-bytes=%d", journal.MaxBytes, requestBytes)
		}
		return err
	}
	return nil
}
