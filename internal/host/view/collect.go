package view

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"weft/internal/fault"
	"weft/internal/host/agent"
	"weft/internal/host/hoststate"
	"weft/internal/host/link"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/ovs/vsw"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// Sources says where a host is read.
type Sources struct {
	Host     string // its name
	OVSDB    string // "unix:/run/openvswitch/db.sock"
	RunDir   string // of ovs-vswitchd: "/run/openvswitch"
	StateDir string // of the agent: "/var/lib/weft/agent"
}

// How long the parts of a host may take to answer.
const (
	databaseLimit = 3 * time.Second
	flowsLimit    = 5 * time.Second
	commandLimit  = 5 * time.Second
)

// facts are what was read of a host. What could not be read is nil, and a problem says why.
type facts struct {
	host     string
	at       time.Time
	view     *model.HostView // never nil
	state    *vsw.State
	links    map[string]device
	guests   map[string]string // by the MAC and peer of their card, see guestKey
	intFlows []openflow.FlowStats
	tunFlows []openflow.FlowStats
	counters map[string]openflow.PortCounters // by the name of the port
	filter   *filter
	sets     []Set
	routers  map[model.RouterID]*routerFacts
	served   bool // the services' namespace is there
	reach    hoststate.Reach
	problems []string
}

// device is a link with its counters.
type device struct {
	link.Link
	link.Counters
}

// Collect reads the host that it runs on. It fails when there is no switch to read; of anything else that cannot be
// read the result tells in Problems.
func Collect(ctx context.Context, s Sources) (*Host, error) {
	log := slog.New(slog.DiscardHandler)
	f := &facts{host: s.Host, at: time.Now().UTC()}
	if err := f.readView(s); err != nil {
		f.problem("reading the agent's last view", err)
	}
	if err := f.readSwitch(ctx, s, log); err != nil {
		return nil, err
	}
	if err := f.readLinks(); err != nil {
		f.problem("reading the host's devices", err)
	}
	if err := f.readRouters(ctx); err != nil {
		f.problem("reading the routers' namespaces", err)
	}
	if err := f.readFilter(ctx); err != nil {
		f.problem("reading the packet filter", err)
	}
	return assemble(f), nil
}

func (f *facts) problem(what string, err error) {
	f.problems = append(f.problems, fmt.Sprintf("%s: %v", what, err))
}

// readView reads the view that the agent keeps on disk.
func (f *facts) readView(s Sources) error {
	v, err := agent.LoadView(filepath.Join(s.StateDir, "view.pb"), s.Host)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.view = model.NewHostView(s.Host)
		return errors.New("there is none: the agent has not heard from a server yet, names and addresses are not known")
	case err != nil:
		f.view = model.NewHostView(s.Host)
		return err
	}
	f.view = v
	return nil
}

// readSwitch reads the switch's database, the flows of br-int and br-tun, and what their ports counted.
func (f *facts) readSwitch(ctx context.Context, s Sources, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer func() { cancel(); clients.Wait() }()

	sw := vsw.New(s.OVSDB, log)
	clients.Go(func() { _ = sw.Run(ctx) }) // ends with ctx; what goes wrong, the waiting tells
	wait, done := context.WithTimeout(ctx, databaseLimit)
	defer done()
	state, err := sw.WaitConnected(wait)
	if err != nil {
		return fmt.Errorf("no answer from Open vSwitch's database at %s: %w", s.OVSDB, err)
	}
	f.state = state
	f.counters = map[string]openflow.PortCounters{}
	for bridge, into := range map[string]*[]openflow.FlowStats{hoststate.BrInt: &f.intFlows, hoststate.BrTun: &f.tunFlows} {
		if state.Bridge(bridge) == nil {
			continue
		}
		err := ask(ctx, filepath.Join(s.RunDir, bridge+".mgmt"), log, func(ctx context.Context, c *openflow.Client) error {
			ports, err := c.Counters(ctx)
			if err != nil {
				return err
			}
			f.count(bridge, ports)
			*into, err = c.Dump(ctx, openflow.AllTables)
			return err
		})
		if err != nil {
			f.problem("reading "+bridge, err)
		}
	}
	return nil
}

// count keeps the counters of a bridge's ports under their names.
func (f *facts) count(bridge string, ports []openflow.PortCounters) {
	byNumber := make(map[uint32]openflow.PortCounters, len(ports))
	for _, p := range ports {
		byNumber[p.Number] = p
	}
	for _, name := range f.state.Bridge(bridge).Ports {
		if i := f.state.Interface(name); i != nil && i.OFPort > 0 {
			if p, ok := byNumber[uint32(i.OFPort)]; ok {
				f.counters[name] = p
			}
		}
	}
}

// ask talks to a bridge until what returns.
func ask(ctx context.Context, socket string, log *slog.Logger, what func(context.Context, *openflow.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, flowsLimit)
	var running sync.WaitGroup
	defer func() { cancel(); running.Wait() }()
	up := make(chan struct{}, 1)
	c := openflow.New(socket, openflow.Events{Connected: func(uint64) {
		select {
		case up <- struct{}{}:
		default: // a connection before was told already
		}
	}}, log)
	running.Go(func() { _ = c.Run(ctx) })
	select {
	case <-up:
	case <-ctx.Done():
		return fmt.Errorf("no answer at %s: %w", socket, ctx.Err())
	}
	return what(ctx, c)
}

// readLinks reads the devices of the host, and which of them lead into guests.
func (f *facts) readLinks() error {
	ns, err := link.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	if f.links, err = devices(ns); err != nil {
		return err
	}
	f.guests = map[string]string{}
	return f.readGuests()
}

// devices reads the devices of a namespace.
func devices(ns *link.Namespace) (map[string]device, error) {
	all, err := ns.List()
	if err != nil {
		return nil, err
	}
	out := make(map[string]device, len(all))
	for _, l := range all {
		d := device{Link: l}
		// A device that has gone meanwhile has none.
		if d.Counters, err = ns.Counters(l.Name); err != nil && fault.Of(err) != fault.NotFound {
			return nil, err
		}
		out[l.Name] = d
	}
	return out, nil
}

// readGuests finds the guests that are namespaces, by their cards.
func (f *facts) readGuests() error {
	names, err := link.NetnsNames()
	if err != nil {
		return err
	}
	prefix := vif.GuestNetns("")
	for _, name := range names {
		guest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		ns, err := link.OpenNetns(name)
		if err != nil {
			continue // it has just gone
		}
		if card, err := ns.Get(vif.GuestDevice); err == nil {
			f.guests[guestKey(card.MAC, card.Peer)] = guest
		}
		ns.Close()
	}
	return nil
}

// guestKey names a guest's card as seen from the host: its MAC, and the index of the TAP that is its other end.
func guestKey(mac model.MAC, tap int) string { return fmt.Sprintf("%s %d", mac, tap) }
