package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"weft/internal/host/dns"
	"weft/internal/host/metadata"
	"weft/internal/host/ovs/vsw"
	"weft/internal/host/pipeline"
	"weft/internal/host/services"
	"weft/internal/host/standin"
	"weft/internal/model"
	"weft/internal/run"
)

// localServices are metadata and names for the guests of this host. The loop hands it what is in force; the
// servers read that, and never what the loop works on.
type localServices struct {
	log     *slog.Logger
	ns      *services.Namespace
	meta    *metadata.Server
	names   *dns.Server
	told    atomic.Pointer[told]
	serving atomic.Bool
	reopen  chan struct{} // one slot: sockets are to be opened anew

	// Owned by the loop, as ns is.
	flows  *pipeline.Output // that told follows from
	domain string
	fresh  bool  // the device is another than the one that the switch may have
	gone   int64 // configuration of the switch (Root.NextCfg) that is without its port
}

// told is what the servers answer from. It does not change but for zones, which are made when they are first asked for.
type told struct {
	in       pipeline.Input
	domain   string
	guests   *standin.Guests
	machines map[machine][]standin.Guest

	mu    sync.Mutex
	zones map[model.NetworkID]*dns.Zone
}

// machine is what has several ports: a device of one project, since anybody may write any device's id into a port.
type machine struct{ device, project string }

func newLocalServices(cfg Config, userspace bool, m *metrics) *localServices {
	s := &localServices{log: cfg.Log, ns: services.New(userspace), reopen: make(chan struct{}, 1)}
	s.told.Store(&told{})
	s.meta = metadata.New(metadata.Config{
		Guest: s.guest, Siblings: func(g standin.Guest) []standin.Guest { return s.told.Load().siblings(g) },
		Domain: func() string { return s.told.Load().domain }, Upstream: cfg.NovaMetadata, Log: cfg.Log,
		Count: func(status int) { m.metadata.WithLabelValues(strconv.Itoa(status)).Inc() },
	})
	s.names = dns.New(dns.Config{
		Guest: s.guest, Zone: func(g standin.Guest) *dns.Zone { return s.told.Load().zone(g.Network) },
		Resolvers: dns.HostResolvers("/etc/resolv.conf"), Forbidden: []netip.Addr{cfg.TunnelAddr}, Log: cfg.Log,
		Count: func(rcode string) { m.names.WithLabelValues(rcode).Inc() },
	})
	return s
}

func (s *localServices) guest(a netip.Addr) (standin.Guest, bool) {
	return s.told.Load().guests.Find(a)
}

// ensure makes the namespace and the pair to it. What it cannot do is tried again with the next verification.
func (s *localServices) ensure(ctx context.Context) {
	anew, fresh, err := s.ns.Ensure(ctx)
	s.fresh = s.fresh || fresh
	if err != nil {
		s.log.Error("metadata and names cannot be answered on this host", "err", err)
		return
	}
	if anew || !s.serving.Load() {
		select {
		case s.reopen <- struct{}{}:
		default:
		}
	}
}

// unplug takes the services' port out of what the switch shall have, when its device was made anew: the
// switch does not find it again unless the port is made anew, too. It reports whether there is a port to take away.
//
// The port stays away until ovs-vswitchd has seen that: of a port that goes and comes between two looks of it at the
// database, it keeps the device that is no more.
func (s *localServices) unplug(state *vsw.State, d *vsw.Desired) bool {
	there := state.Port(standin.Device) != nil
	s.fresh = s.fresh && there
	if s.fresh || !there && state.Root.CurCfg < s.gone {
		d.Ports = slices.DeleteFunc(d.Ports, func(p vsw.DesiredPort) bool { return p.Name == standin.Device })
	}
	return s.fresh
}

// unplugged is called when the switch's database has a configuration without the port. When ovs-vswitchd has it as well, the
// state changes, and the next pass plugs the device in.
func (s *localServices) unplugged(configuration int64) { s.fresh, s.gone = false, configuration }

// errAnew ends what is served in a namespace that is no more.
var errAnew = errors.New("the namespace is a new one")

// run serves until ctx ends.
func (s *localServices) run(ctx context.Context) error {
	for {
		err := s.serve(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errAnew):
			continue
		}
		s.log.Warn("metadata and names are not answered for now", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.reopen:
		}
	}
}

// serve answers until the namespace is another.
func (s *localServices) serve(ctx context.Context) error {
	select {
	case <-s.reopen: // what it asks for is done now
	default:
	}
	sockets, err := services.Open()
	if err != nil {
		return err
	}
	defer sockets.Close()
	s.serving.Store(true)
	defer s.serving.Store(false)
	g := run.New(ctx, s.log)
	g.Go("metadata", func(ctx context.Context) error { return s.meta.Serve(ctx, sockets.Metadata) })
	g.Go("names", func(ctx context.Context) error { return s.names.Serve(ctx, sockets.DNS, sockets.DNSUDP) })
	g.Go("namespace", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.reopen:
			return errAnew
		}
	})
	return g.Wait()
}

// take has the servers answer from what flows were computed from. It comes before those flows are in force:
// an address that changes hands is cut off from its old guest's connections first.
func (s *localServices) take(in pipeline.Input, out *pipeline.Output, domain string) {
	if s.flows == out && s.domain == domain {
		return
	}
	s.flows, s.domain = out, domain
	t := &told{in: in, domain: domain, guests: standin.NewGuests(), machines: map[machine][]standin.Guest{}, zones: map[model.NetworkID]*dns.Zone{}}
	for _, id := range out.Wired {
		p := in.Ports[id]
		if p == nil {
			continue // a router's leg
		}
		n := in.Networks[p.NetworkID].View
		t.guests.Add(p, n, in.Local.Ports[id])
		if k := (machine{p.DeviceID, p.ProjectID}); k.device != "" {
			t.machines[k] = append(t.machines[k], standin.Guest{Port: p, Network: n})
		}
	}
	s.told.Store(t)
	here := func(id model.PortID) bool { return in.Ports[id] != nil }
	s.meta.Recheck(here)
	s.names.Recheck(here)
}

func (t *told) siblings(g standin.Guest) []standin.Guest {
	if all := t.machines[machine{g.Port.DeviceID, g.Port.ProjectID}]; len(all) > 0 {
		return all
	}
	return []standin.Guest{g}
}

// zone is what a network's guests are told of each other.
func (t *told) zone(n *model.NetworkView) *dns.Zone {
	t.mu.Lock()
	defer t.mu.Unlock()
	if z := t.zones[n.ID]; z != nil {
		return z
	}
	type named struct {
		id model.PortID
		dns.Host
	}
	var all []named
	for id, p := range t.in.Ports {
		if p.NetworkID == n.ID {
			h := named{id, dns.Host{Name: p.DNSName, Domain: p.DNSDomain}}
			for _, f := range p.FixedIPs {
				h.Addrs = append(h.Addrs, f.Addr)
			}
			all = append(all, h)
		}
	}
	for id, p := range t.in.Peers {
		if p.NetworkID == n.ID {
			all = append(all, named{id, dns.Host{Name: p.DNSName, Domain: p.DNSDomain, Addrs: p.Addrs}})
		}
	}
	slices.SortFunc(all, func(a, b named) int { return a.id.Compare(b.id.UUID) })
	hosts := make([]dns.Host, 0, len(all)+1)
	for _, h := range all {
		hosts = append(hosts, h.Host)
	}
	hosts = append(hosts, dns.Host{Addrs: n.DHCPAddrs})
	var subnets []netip.Prefix
	for i := range n.Subnets {
		subnets = append(subnets, n.Subnets[i].CIDR)
	}
	z := dns.NewZone(cmp.Or(t.domain, defaultDomain), n.DNSDomain, subnets, hosts)
	if t.zones != nil {
		t.zones[n.ID] = z
	}
	return z
}

// defaultDomain is Neutron's, until a server has said otherwise.
const defaultDomain = "openstacklocal."
