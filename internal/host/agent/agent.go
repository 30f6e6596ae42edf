package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weft/api/hostpb"
	"weft/internal/host/firewall"
	"weft/internal/host/hoststate"
	"weft/internal/host/iptables"
	"weft/internal/host/metadata"
	"weft/internal/host/ovs/vsw"
	"weft/internal/host/pipeline"
	"weft/internal/host/responder"
	"weft/internal/model"
	"weft/internal/pki"
	"weft/internal/run"
)

// Config is what the host's operator says. Zero values of the optional fields are Neutron's.
type Config struct {
	Host       string   // name in the certificate; what Nova calls binding:host_id
	Roles      []string // "compute", "gateway"
	Servers    []string // host:port of the servers' host listeners, tried in turn
	Token      string   // join token, for the first start
	StateDir   string   // identity and last view
	TunnelAddr netip.Addr
	Mappings   map[string]string // physical network -> bridge
	Datapath   string            // "system", "netdev" or "" to find out
	OVSDB      string            // "unix:/run/openvswitch/db.sock"
	RunDir     string            // of ovs-vswitchd: "/run/openvswitch"
	Backend    iptables.Backend  // "" to find out
	Firewall   string            // what filters ports that say nothing of it: model.FirewallHybrid ("") or model.FirewallNative
	Verify     time.Duration     // how often the host is compared with what was left there
	Version    string
	Zone       string // availability zone
	// NovaMetadata is where guests' requests for metadata go; nil: they are answered from the view.
	NovaMetadata *metadata.Upstream
	Log          *slog.Logger
	Registry     prometheus.Registerer
}

// Check says what is wrong with a configuration.
func (c *Config) Check() error {
	if err := pki.CheckHostName(c.Host); err != nil {
		return err
	}
	if len(c.Roles) == 0 {
		return errors.New("a host needs a role: compute, gateway, or both")
	}
	for _, r := range c.Roles {
		if r != "compute" && r != "gateway" {
			return fmt.Errorf("role %q: want compute or gateway", r)
		}
	}
	if len(c.Servers) == 0 {
		return errors.New("no server to connect to")
	}
	if a := c.TunnelAddr; a.IsValid() && (a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()) {
		return fmt.Errorf("tunnel address %s: want an address of this host that others can reach", a)
	}
	if c.Datapath != "" && c.Datapath != "system" && c.Datapath != "netdev" {
		return fmt.Errorf("datapath %q: want system or netdev", c.Datapath)
	}
	if c.Firewall != "" && c.Firewall != model.FirewallHybrid && c.Firewall != model.FirewallNative {
		return fmt.Errorf("firewall %q: want hybrid or native", c.Firewall)
	}
	if c.Verify < time.Second {
		return fmt.Errorf("verify interval %s: want at least 1s", c.Verify)
	}
	return nil
}

// Agent runs one host. See New.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	sw       *vsw.Client
	fw       *iptables.Manager
	routers  *routers // made by Run
	guests   *guestServer
	services *localServices // nil: the host has none
	reporter *reporter
	events   chan event
	kick     chan struct{} // one slot: look again
	metrics  *metrics

	// Owned by the loop.
	host      hoststate.Config
	bridges   map[string]*bridge
	vlans     *hoststate.VLANs
	verifier  *verification
	filters   *filters        // fw, to be verified
	view      *model.HostView // nil: nothing is known, nothing is touched
	complete  bool            // a server has said in this run that the view is whole: what is not in it may go
	inForce   bool            // the last pass left the host as the view says
	failed    int             // ports that could not be applied then
	settings  *hostpb.Settings
	cache     firewall.Cache
	flowCache firewall.FlowCache
	adverts   *adverts
	guarded   map[model.PortID]hoststate.State // ports whose filters are in force
	goneAddrs []goneAddr                       // to be forgotten by the switch
	learning  map[model.PortID]bool            // ports of which the switch learns MACs; true: it filters them
	stale     []uint16                         // VLAN ids with which the switch may have learned what no longer holds
	cut       bool                             // established connections are to be judged again
	unsaved   bool
	moved     bool         // only the view's revision is unsaved
	need      need         // how soon what is unsaved, or being saved, has to be on disk
	saving    <-chan error // of the write that save began, nil for none
	flows     pipeline.Cache
	computed  *pipeline.Output // by flows
}

// New returns an agent that is not running.
func New(cfg Config) *Agent {
	a := &Agent{
		cfg: cfg, log: cfg.Log,
		sw:       vsw.New(cfg.OVSDB, cfg.Log),
		fw:       iptables.New(iptables.Config{Layout: iptables.HostLayout(), Backend: cfg.Backend, Log: cfg.Log}),
		reporter: newReporter(), events: make(chan event), kick: make(chan struct{}, 1),
		bridges: map[string]*bridge{}, vlans: hoststate.NewVLANs(), guarded: map[model.PortID]hoststate.State{},
	}
	a.metrics = newMetrics(cfg.Registry, a.sw.Writes, a.fw.Stats)
	a.verifier, a.filters = newVerification(cfg.Log), &filters{a.fw, a.metrics}
	a.guests = newGuestServer(responder.NewGuests(responder.Settings{}), cfg.Log, a.metrics)
	return a
}

// lastViewPath is where the view of the last run is.
func (a *Agent) lastViewPath() string { return filepath.Join(a.cfg.StateDir, "view.pb") }

// Run keeps the host as the server wants it until ctx ends. What is installed stays when it returns.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.cfg.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(a.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	if err := a.fw.Open(ctx); err != nil {
		return err
	}
	defer a.fw.Close()
	g := run.New(ctx, a.log)
	g.Go("open vswitch database", a.sw.Run)
	state, err := a.waitForSwitch(ctx)
	if err != nil {
		return err
	}
	a.host = hoststate.Config{TunnelAddr: a.cfg.TunnelAddr, Datapath: a.cfg.Datapath, Mappings: a.cfg.Mappings}
	if a.host.Datapath == "" {
		a.host.Datapath = vsw.DetectDatapath(state.Root)
	}
	if err := a.openRouters(a.fw.Backend(), a.host.Datapath == "netdev"); err != nil {
		return err
	}
	defer a.routers.host.Close()
	if slices.Contains(a.cfg.Roles, "compute") {
		a.host.Services = true
		a.services = newLocalServices(a.cfg, a.host.Datapath == "netdev", a.metrics)
		a.services.ensure(ctx)
		g.Go("services", a.services.run)
	}
	hoststate.RecoverVLANs(a.vlans, state)
	a.recall()
	for _, name := range a.bridgeNames() {
		b := newBridge(name, filepath.Join(a.cfg.RunDir, name+".mgmt"), a.wake, a.guests.packet, a.log)
		a.bridges[name] = b
		g.Go("bridge "+name, b.client.Run)
	}
	brInt := a.bridges[hoststate.BrInt].client
	a.adverts = newAdverts(brInt, a.log)
	g.Go("guests", func(ctx context.Context) error { return a.guests.run(ctx, brInt) })
	g.Go("host", a.loop)
	g.Go("memory", a.rest)
	s := &session{
		servers: a.cfg.Servers, dir: filepath.Join(a.cfg.StateDir, "identity"), token: a.cfg.Token,
		hello: a.hello(), log: a.log, events: a.events, reporter: a.reporter, state: a.metrics.session,
	}
	if a.view != nil {
		s.held = held{a.view.History, a.view.Revision}
	}
	g.Go("session", s.run)
	return g.Wait()
}

// waitForSwitch returns the switch's first state, and says now and then that it is waited for.
func (a *Agent) waitForSwitch(ctx context.Context) (*vsw.State, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		state, err := a.sw.WaitConnected(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return state, err
		}
		a.log.Warn("waiting for Open vSwitch: is ovsdb-server running?", "ovsdb", a.cfg.OVSDB)
	}
}

// recall reads the last view, so that a host whose server is away still filters and forwards.
func (a *Agent) recall() {
	view, settings, err := loadView(a.lastViewPath(), a.cfg.Host)
	switch {
	case err == nil:
		a.view, a.settings = view, settings
		a.log.Info("last view recalled", "revision", view.Revision, "ports", len(view.Ports))
	case !errors.Is(err, os.ErrNotExist):
		a.log.Warn("last view not usable, waiting for the server", "err", err)
	}
}

func (a *Agent) bridgeNames() []string {
	names := []string{hoststate.BrInt}
	if a.cfg.TunnelAddr.IsValid() {
		names = append(names, hoststate.BrTun)
	}
	for _, b := range slices.Sorted(maps.Values(a.cfg.Mappings)) {
		if !slices.Contains(names, b) {
			names = append(names, b)
		}
	}
	return names
}

// wake makes the loop look again. It may be called by any goroutine.
func (a *Agent) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

func (a *Agent) hello() *hostpb.Hello {
	h := &hostpb.Hello{
		Host: a.cfg.Host, Version: a.cfg.Version, Roles: a.cfg.Roles, BridgeMappings: a.cfg.Mappings, Datapath: a.host.Datapath,
		Firewall: cmp.Or(a.cfg.Firewall, model.FirewallHybrid), StartedUnix: time.Now().Unix(), AvailabilityZone: a.cfg.Zone,
	}
	if a.cfg.TunnelAddr.IsValid() {
		h.TunnelAddr = a.cfg.TunnelAddr.String()
		h.TunnelTypes = []string{string(model.TypeGRE), string(model.TypeVXLAN), string(model.TypeGeneve)}
	}
	return h
}
