package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"weft/internal/model"
	"weft/internal/obs"
	"weft/internal/pki"
	"weft/internal/run"
	"weft/internal/server/authn"
	"weft/internal/server/dispatch"
	"weft/internal/server/journal/etcd"
	"weft/internal/server/network"
	"weft/internal/server/neutron"
	"weft/internal/server/store"
)

// serverOptions are the flags of "weft server".
type serverOptions struct {
	dataDir, listen, hostListen string
	etcd                        []string
	allowUnauthenticated        bool
	l2Population                bool
	dnsDomain                   string
	tenantTypes                 []string
	greIDs, vxlanIDs, geneveIDs []string
	vlanRanges, flatNetworks    []string
	mtu, pathMTU                int
	quotas                      map[string]string
	routerHA, routerDistributed bool
	maxL3Agents                 int
	logLevel, logFormat         string
}

func serverCommand() *cobra.Command {
	o := &serverOptions{}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the server: API, state, and dispatch to hosts",
		Long: `Run the server. It keeps its state in an etcd of its own under --data-dir, serves the
Networking API v2.0 at --listen and waits for the agents of hosts at --host-listen.

Options can also be in a YAML file (--config) or the environment: --data-dir is
data_dir there and WEFT_DATA_DIR here.`,
		Example: `  weft server --data-dir /var/lib/weft/server
  weft server --config /etc/weft/server.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runServer(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dataDir, "data-dir", "/var/lib/weft/server", "where the state and the certificate authority are kept")
	f.StringVar(&o.listen, "listen", "127.0.0.1:9696", "address of the API, /metrics and /healthz")
	f.StringVar(&o.hostListen, "host-listen", "0.0.0.0:9697", "address that agents connect to, with mutual TLS")
	f.StringSliceVar(&o.etcd, "etcd-endpoints", nil, "use this etcd (URLs) instead of the embedded one")
	f.BoolVar(&o.allowUnauthenticated, "allow-unauthenticated", false, "let everybody who reaches --listen do everything, even if that is not loopback")
	f.StringVar(&o.dnsDomain, "dns-domain", "openstacklocal.", "domain of ports' names")
	f.BoolVar(&o.l2Population, "l2-population", true, "tell hosts where MAC addresses live; false: they learn by flooding")
	f.StringSliceVar(&o.tenantTypes, "tenant-network-types", []string{"gre"}, "types tried in turn for a network whose creator names none")
	f.StringSliceVar(&o.greIDs, "gre-id-ranges", []string{"1:60000"}, "GRE keys given out, as FIRST:LAST")
	f.StringSliceVar(&o.vxlanIDs, "vxlan-id-ranges", []string{"1:60000"}, "VXLAN network ids given out, as FIRST:LAST")
	f.StringSliceVar(&o.geneveIDs, "geneve-id-ranges", []string{"1:60000"}, "Geneve network ids given out, as FIRST:LAST")
	f.StringSliceVar(&o.vlanRanges, "network-vlan-ranges", nil, "VLAN ids given out, as PHYSICAL_NETWORK[:FIRST:LAST]")
	f.StringSliceVar(&o.flatNetworks, "flat-networks", []string{"*"}, "physical networks that may carry a flat network; * for all")
	f.IntVar(&o.mtu, "global-physnet-mtu", 1500, "MTU of the physical network in bytes")
	f.IntVar(&o.pathMTU, "path-mtu", 0, "smallest MTU between hosts' tunnel addresses in bytes, 0: that of the physical network")
	f.StringToStringVar(&o.quotas, "default-quotas", nil, "limits of projects that have none of their own, as RESOURCE=NUMBER; -1 is unlimited")
	f.BoolVar(&o.routerHA, "router-ha", true, "let several gateway hosts serve a router of which nobody says otherwise")
	f.BoolVar(&o.routerDistributed, "router-distributed", false, "make routers distributed of which nobody says otherwise")
	f.IntVar(&o.maxL3Agents, "max-l3-agents-per-router", 3, "gateway hosts that serve a redundant router")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	configFlag(cmd)
	return cmd
}

// check refuses what would be dangerous or cannot work, before anything is touched.
func (o *serverOptions) check() error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: want HOST:PORT", o.listen)
	}
	if _, _, err := net.SplitHostPort(o.hostListen); err != nil {
		return fmt.Errorf("--host-listen %s: want HOST:PORT", o.hostListen)
	}
	if ip := net.ParseIP(host); !o.allowUnauthenticated && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen %s is beyond this machine and there is no authentication: whoever reaches it could do everything. "+
			"Listen on 127.0.0.1, or say --allow-unauthenticated if that is what you want", o.listen)
	}
	return nil
}

func (o *serverOptions) rules() (*network.Rules, error) {
	c := network.DefaultConfig()
	if !model.ValidHostname(o.dnsDomain) {
		return nil, fmt.Errorf("--dns-domain %s: want a domain name", o.dnsDomain)
	}
	c.DNSDomain = strings.TrimSuffix(o.dnsDomain, ".") + "."
	c.TenantTypes = nil
	for _, t := range o.tenantTypes {
		c.TenantTypes = append(c.TenantTypes, model.NetworkType(t))
	}
	for t, texts := range map[model.NetworkType][]string{model.TypeGRE: o.greIDs, model.TypeVXLAN: o.vxlanIDs, model.TypeGeneve: o.geneveIDs} {
		c.TunnelRanges[t] = nil
		for _, text := range texts {
			r, err := parseRange(text)
			if err != nil {
				return nil, fmt.Errorf("--%s-id-ranges %s: %w", t, text, err)
			}
			c.TunnelRanges[t] = append(c.TunnelRanges[t], r)
		}
	}
	for _, text := range o.vlanRanges {
		physical, ids, some := strings.Cut(text, ":")
		ranges := c.VLANRanges[physical]
		if some {
			r, err := parseRange(ids)
			if err != nil {
				return nil, fmt.Errorf("--network-vlan-ranges %s: %w", text, err)
			}
			ranges = append(ranges, r)
		}
		c.VLANRanges[physical] = ranges
	}
	c.RouterHA, c.RouterDistributed, c.MaxGateways = o.routerHA, o.routerDistributed, o.maxL3Agents
	c.FlatNetworks, c.GlobalMTU, c.PathMTU = o.flatNetworks, o.mtu, o.pathMTU
	for resource, text := range o.quotas {
		n, err := strconv.ParseInt(text, 10, 64)
		if _, known := c.Quotas[resource]; err != nil || !known {
			return nil, fmt.Errorf("--default-quotas %s=%s: want a known resource and a number", resource, text)
		}
		c.Quotas[resource] = n
	}
	return network.New(c)
}

func parseRange(text string) (network.IDRange, error) {
	first, last, ok := strings.Cut(text, ":")
	a, err1 := strconv.ParseUint(first, 10, 32)
	b, err2 := strconv.ParseUint(last, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return network.IDRange{}, errors.New("want FIRST:LAST")
	}
	return network.IDRange{First: uint32(a), Last: uint32(b)}, nil
}

// openJournal starts the embedded etcd, or connects to the one that was named.
func openJournal(ctx context.Context, o *serverOptions, log *slog.Logger) (*etcd.Journal, error) {
	if len(o.etcd) > 0 {
		return etcd.Connect(ctx, etcd.Remote{Endpoints: o.etcd, Log: log})
	}
	return etcd.Start(ctx, etcd.Embedded{Dir: filepath.Join(o.dataDir, "etcd"), Log: log})
}

// keptCommits is how far behind a follower of the store may fall before it starts anew. Each commit
// that is kept keeps the tree nodes that it replaced.
const keptCommits = 64

func runServer(ctx context.Context, o *serverOptions) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	rules, err := o.rules()
	if err != nil {
		return err
	}
	log, err := obs.NewLogger(os.Stderr, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	// Listeners first: a second server on the same address fails before it touches anything.
	api, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listening for the API: %w", err)
	}
	defer api.Close()
	hosts, err := net.Listen("tcp", o.hostListen)
	if err != nil {
		return fmt.Errorf("listening for hosts: %w", err)
	}
	defer hosts.Close()
	now := func() time.Time { return time.Now().UTC() }
	authority, err := pki.OpenAuthority(filepath.Join(o.dataDir, "pki"), now())
	if err != nil {
		return err
	}
	journal, err := openJournal(ctx, o, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()

	registry := obs.NewRegistry()
	random := func() (b [16]byte) { rand.Read(b[:]); return b }
	st := store.New(journal, store.Options{Log: log, Ring: keptCommits})
	hub := dispatch.New(dispatch.Config{
		Store: st, Authority: authority, Now: now, Random: random, L2Population: o.l2Population, DNSDomain: rules.DNSDomain, Log: log, Registry: registry,
		Rebind: func(tx *store.Tx, before *model.Host, host string) bool {
			_, more := rules.RebindHost(tx, network.Env{Now: now(), Random: random}, before, host)
			return more
		},
		Reported: func(tx *store.Tx, port model.PortID) {
			rules.LegReported(tx, network.Env{Now: now(), Random: random}, port)
		},
		Settle: func(tx *store.Tx) { rules.EndHandOvers(tx, network.Env{Now: now(), Random: random}) },
	})
	requests := newRequestMetrics(registry)
	handler := neutron.New(neutron.Config{
		Store: st, Rules: rules, Authenticator: authn.None{}, Now: now, Random: random, Alive: hub.Alive, Progress: hub.Progress, Log: log, Metrics: requests,
	})
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.Handle("/metrics", obs.MetricsHandler(registry))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !st.Leading() {
			http.Error(w, "this server does not lead: it cannot write", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}

	g := run.New(ctx, log)
	g.Go("store", st.Run)
	g.Go("dispatch", func(ctx context.Context) error {
		select {
		case <-st.Ready():
			return hub.Run(ctx, hosts)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	g.Go("api", func(ctx context.Context) error {
		select {
		case <-st.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		fmt.Printf("weft server ready: API http://%s, hosts %s, data in %s\n", api.Addr(), hosts.Addr(), o.dataDir)
		go func() {
			<-ctx.Done()
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			if web.Shutdown(stop) != nil {
				web.Close()
			}
		}()
		return web.Serve(api)
	})
	return g.Wait()
}

// requestMetrics counts API requests.
type requestMetrics struct {
	seconds *prometheus.HistogramVec
}

func newRequestMetrics(reg prometheus.Registerer) *requestMetrics {
	m := &requestMetrics{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "weft_api_request_seconds", Help: "Duration of API requests.", Buckets: prometheus.ExponentialBuckets(0.00005, 2, 16),
	}, []string{"method", "route", "status"})}
	reg.MustRegister(m.seconds)
	return m
}

// Request is neutron.Metrics.
func (m *requestMetrics) Request(method, route string, status int, took time.Duration) {
	m.seconds.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}
