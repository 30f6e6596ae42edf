package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/host/agent"
	"weft/internal/host/iptables"
	"weft/internal/host/metadata"
	"weft/internal/model"
	"weft/internal/obs"
	"weft/internal/pki"
	"weft/internal/run"
)

// agentOptions are the flags of "weft agent".
type agentOptions struct {
	host, stateDir, token, tunnelAddr string
	roles, servers                    []string
	mappings                          map[string]string
	datapath, ovsdb, ovsRunDir        string
	iptables, firewall, metrics, zone string
	novaMetadata, metadataSecret      string
	verify                            time.Duration
	logLevel, logFormat               string
}

func agentCommand() *cobra.Command {
	o := &agentOptions{}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host",
		Long: `Run the agent of this host. It connects to a server, learns what the host's ports
need, and programs Open vSwitch, iptables and ipsets accordingly.

On its first start it needs a join token, made on the server with "weft agent token".
It stores its certificate in --state-dir and needs no token again.`,
		Example: `  weft agent --servers 192.0.2.10:9697 --token weft1.… --tunnel-address 10.0.1.31
  weft agent --roles compute,gateway --config /etc/weft/agent.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), o) },
	}
	hostname, _ := os.Hostname()
	f := cmd.Flags()
	f.StringVar(&o.host, "host", hostname, "name of this host, as in a port's binding:host_id")
	f.StringSliceVar(&o.roles, "roles", []string{"compute"}, "compute, gateway or both")
	f.StringSliceVar(&o.servers, "servers", []string{"127.0.0.1:9697"}, "host listeners of the servers, tried in turn")
	f.StringVar(&o.token, "token", "", "join token, for the first start")
	f.StringVar(&o.stateDir, "state-dir", "/var/lib/weft/agent", "where the certificate and the last view are kept")
	f.StringVar(&o.tunnelAddr, "tunnel-address", "", "address of this host where tunnels end; none: no tunnels")
	f.StringToStringVar(&o.mappings, "bridge-mappings", nil, "bridges of physical networks, as PHYSICAL_NETWORK=BRIDGE")
	f.StringVar(&o.datapath, "datapath", "", "Open vSwitch datapath: system or netdev; found out when not given")
	f.StringVar(&o.ovsdb, "ovsdb", "unix:/run/openvswitch/db.sock", "the switch's database")
	f.StringVar(&o.ovsRunDir, "ovs-run-dir", "/run/openvswitch", "where ovs-vswitchd has its sockets")
	f.StringVar(&o.firewall, "firewall", model.FirewallHybrid, "what filters ports that do not say it themselves: hybrid (iptables on a Linux bridge) or native (flows)")
	f.StringVar(&o.iptables, "iptables", "", "iptables backend: nft or legacy; found out when not given")
	f.DurationVar(&o.verify, "verify-interval", 10*time.Second, "how often the host is compared with what was left there")
	f.StringVar(&o.metrics, "metrics-listen", "127.0.0.1:9698", "address of /metrics and /healthz; empty: none")
	f.StringVar(&o.zone, "availability-zone", "nova", "availability zone of this host")
	f.StringVar(&o.novaMetadata, "nova-metadata", "", "URL of Nova's metadata service (http://HOST:8775); none: guests are answered by this host")
	f.StringVar(&o.metadataSecret, "metadata-secret-file", "", "file with the secret shared with Nova (metadata_proxy_shared_secret)")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	configFlag(cmd)
	cmd.AddCommand(tokenCommand())
	return cmd
}

func (o *agentOptions) config(log *slog.Logger) (agent.Config, error) {
	c := agent.Config{
		Host: o.host, Roles: o.roles, Servers: o.servers, Token: o.token, StateDir: o.stateDir, Mappings: o.mappings,
		Datapath: o.datapath, OVSDB: o.ovsdb, RunDir: o.ovsRunDir, Backend: iptables.Backend(o.iptables), Firewall: o.firewall, Verify: o.verify, Version: version, Zone: o.zone, Log: log,
	}
	switch c.Backend {
	case iptables.Auto, iptables.NFT, iptables.Legacy:
	default:
		return c, fmt.Errorf("--iptables %s: want nft or legacy", o.iptables)
	}
	if o.novaMetadata != "" || o.metadataSecret != "" {
		if o.novaMetadata == "" || o.metadataSecret == "" {
			return c, errors.New("--nova-metadata and --metadata-secret-file go together")
		}
		secret, err := os.ReadFile(o.metadataSecret)
		if err != nil {
			return c, fmt.Errorf("reading the secret shared with Nova: %w", err)
		}
		if c.NovaMetadata, err = metadata.NewUpstream(o.novaMetadata, bytes.TrimSpace(secret)); err != nil {
			return c, fmt.Errorf("--nova-metadata: %w", err)
		}
	}
	if o.tunnelAddr != "" {
		a, err := netip.ParseAddr(o.tunnelAddr)
		if err != nil {
			return c, fmt.Errorf("--tunnel-address %s: want an IP address", o.tunnelAddr)
		}
		c.TunnelAddr = a
	}
	return c, c.Check()
}

// gcPercent is how much the heap may grow before it is collected.
const gcPercent = 50

func runAgent(ctx context.Context, o *agentOptions) error {
	log, err := obs.NewLogger(os.Stderr, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	c, err := o.config(log)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent) // memory on a host is for its guests; an agent is idle most of the time
	}
	registry := obs.NewRegistry()
	c.Registry = registry
	g := run.New(ctx, log)
	if o.metrics != "" {
		ln, err := net.Listen("tcp", o.metrics)
		if err != nil {
			return fmt.Errorf("listening for metrics: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("/metrics", obs.MetricsHandler(registry))
		mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
		web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		g.Go("metrics", func(ctx context.Context) error {
			go func() {
				<-ctx.Done()
				web.Close()
			}()
			return web.Serve(ln)
		})
	}
	g.Go("agent", agent.New(c).Run)
	return g.Wait()
}

func tokenCommand() *cobra.Command {
	var dataDir, host string
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a join token for a host; run it where the server's data is",
		Example: `  weft agent token --data-dir /var/lib/weft/server --for-host compute1
  weft agent token --valid 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := pki.LoadAuthority(filepath.Join(dataDir, "pki"))
			if err != nil {
				return fmt.Errorf("no certificate authority in %s (%w): start the server there first, or give --data-dir", dataDir, err)
			}
			if life <= 0 {
				return fmt.Errorf("--valid %s: want a time to come", life)
			}
			token, err := a.Token(host, time.Now().Add(life))
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", "/var/lib/weft/server", "the server's --data-dir")
	f.StringVar(&host, "for-host", "", "only this host may join with it; empty: any")
	f.DurationVar(&life, "valid", 24*time.Hour, "how long the token is good")
	return cmd
}
