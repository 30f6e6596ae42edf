package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"weft/internal/server/journal"
)

// Limits of the embedded etcd.
const (
	quotaBytes      = 8 << 30                              // of its database; the largest that etcd advises (see relieve)
	requestBytes    = journal.MaxBytes + journal.MaxOps*64 // what an operation has around its key and value
	keepRevisions   = 10_000                               // for watches that resume; older ones are compacted every 5 minutes
	defragMiB       = 64                                   // at start, when that much of the database is unused
	raftEntries     = 2_000                                // kept in memory by a member that is alone; the snapshot that replaces them is small
	socketPathBytes = 107                                  // unix(7)
)

// Embedded configures an etcd inside of this process.
type Embedded struct {
	// Dir holds the data. It is made if absent, and locked while in use.
	Dir string
	Log *slog.Logger // slog.Default when nil
	// Cluster is nil for a server that is alone.
	Cluster *Cluster

	quota int64 // bytes; quotaBytes when zero
}

// Cluster configures the members of an embedded etcd of several servers.
type Cluster struct {
	Name      string // of this member
	Listen    string // URL for the other members, "https://192.0.2.1:2380"
	Advertise string // the same as the others reach it; Listen when empty
	Initial   string // all members: "a=https://192.0.2.1:2380,b=…"
	Joining   bool   // the cluster is there already
	// CertFile, KeyFile and CAFile are for https among members, who ask each other
	// for certificates.
	CertFile, KeyFile, CAFile string
}

// Start runs an etcd in this process and returns when it can be written to,
// which in a cluster takes a majority of members.
func Start(ctx context.Context, c Embedded) (*Journal, error) {
	log := c.Log
	if log == nil {
		log = slog.Default()
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the journal's directory: %w", err)
	}
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	core := newLogCore(log)
	config, err := c.config(core)
	if err != nil {
		unlock()
		return nil, err
	}
	server, err := embed.StartEtcd(config)
	if err != nil {
		unlock()
		return nil, fmt.Errorf("starting etcd in %s: %w", c.Dir, err)
	}
	ahead, endAhead := context.WithCancel(context.WithoutCancel(ctx))
	var helpers sync.WaitGroup
	if logs := filepath.Join(config.Dir, "member", "wal"); prewritable(logs) {
		helpers.Go(func() { (&prewriter{logs, log}).run(ahead) })
	}
	stop := func() {
		endAhead()
		helpers.Wait()
		core.closing.Store(true)
		server.Close()
		unlock()
	}
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		stop()
		return nil, fmt.Errorf("starting etcd in %s: %w", c.Dir, err)
	case <-ctx.Done():
		stop()
		return nil, fmt.Errorf("waiting for etcd to have a majority: %w", ctx.Err())
	}
	j := &Journal{
		client: v3client.New(server.Server),
		stop:   stop,
		log:    log,
		// Of one process at a time, as its directory is locked.
		identity: "member-" + strconv.FormatUint(uint64(server.Server.MemberID()), 16),
	}
	if c.Cluster == nil {
		// The only member answers nobody before it has applied the write itself: its own state is the
		// newest there is, and to ask the raft log for its end first would tell nothing more.
		j.asks = append(j.asks, clientv3.WithSerializable())
		j.relieve = func(ctx context.Context) error { return relieve(ctx, j.client, server.Server.Backend(), log) }
	}
	return j, nil
}

// config turns ours into etcd's. The server's own client is in the process, so
// etcd listens for clients only on a socket in its directory, for etcdctl.
func (c Embedded) config(core *logCore) (*embed.Config, error) {
	e := embed.NewConfig()
	e.Dir = filepath.Join(c.Dir, "etcd")
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZap(core))
	e.QuotaBackendBytes = cmp.Or(c.quota, quotaBytes)
	e.BootstrapDefragThresholdMegabytes = defragMiB
	e.MaxTxnOps = journal.MaxOps
	e.MaxRequestBytes = requestBytes
	e.AutoCompactionMode = embed.CompactorModeRevision
	e.AutoCompactionRetention = strconv.Itoa(keepRevisions)
	e.EnableGRPCGateway = false
	// etcd's own default is applied only to its command line.
	e.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration

	client, err := socketURL(c.Dir, "client.sock")
	if err != nil {
		return nil, err
	}
	e.ListenClientUrls = []url.URL{client}
	// Told to clients of the cluster, of which there are none; it must look like
	// an address.
	nowhere := url.URL{Scheme: "http", Host: "localhost:0"}
	e.AdvertiseClientUrls = []url.URL{nowhere}

	if c.Cluster == nil {
		peer, err := socketURL(c.Dir, "peer.sock")
		if err != nil {
			return nil, err
		}
		e.Name = "alone"
		e.ListenPeerUrls = []url.URL{peer}
		e.AdvertisePeerUrls = []url.URL{nowhere}
		e.InitialCluster = e.Name + "=" + nowhere.String()
		// Nobody to wait for: elect oneself quickly.
		e.TickMs, e.ElectionMs = 20, 200
		e.SnapshotCount, e.SnapshotCatchUpEntries = raftEntries, 1
		return e, nil
	}
	return e, c.Cluster.configure(e)
}

func (c *Cluster) configure(e *embed.Config) error {
	listen, err := url.Parse(c.Listen)
	if err != nil {
		return fmt.Errorf("reading the address to listen on for members: %w", err)
	}
	advertise := listen
	if c.Advertise != "" {
		if advertise, err = url.Parse(c.Advertise); err != nil {
			return fmt.Errorf("reading the address that members reach this one at: %w", err)
		}
	}
	e.Name = c.Name
	e.ListenPeerUrls = []url.URL{*listen}
	e.AdvertisePeerUrls = []url.URL{*advertise}
	e.InitialCluster = c.Initial
	if c.Joining {
		e.ClusterState = embed.ClusterStateFlagExisting
	}
	if c.CertFile != "" {
		e.PeerTLSInfo = transport.TLSInfo{
			CertFile: c.CertFile, KeyFile: c.KeyFile, TrustedCAFile: c.CAFile, ClientCertAuth: true,
		}
	}
	return nil
}

// socketURL names a socket in dir.
func socketURL(dir, name string) (url.URL, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return url.URL{}, fmt.Errorf("naming the journal's socket: %w", err)
	}
	if len(path) > socketPathBytes {
		return url.URL{}, fmt.Errorf("the path %s is longer than a socket's may be (%d bytes): choose a shorter directory", path, socketPathBytes)
	}
	return url.URL{Scheme: "unix", Path: path}, nil
}

// lockDir makes sure that no other process uses the directory. The kernel lets
// go of the lock when the process dies.
func lockDir(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the journal's directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("the journal's directory %s is in use by another process", dir)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
