package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"weft/internal/fault"
	"weft/internal/host/firewall"
	"weft/internal/host/hoststate"
	"weft/internal/host/iptables"
	"weft/internal/host/link"
	"weft/internal/model"
)

// atOnce is how many routers are worked on side by side: each costs a few processes when its rules change.
const atOnce = 4

// perDoubt is how many routers are compared with the kernel at a time.
const perDoubt = 32

// Config is what a Host needs to know.
type Config struct {
	Backend iptables.Backend // not Auto
	// Userspace: br-int's datapath reads packets from the devices itself.
	Userspace bool
	Log       *slog.Logger
}

// Host makes routers on this host. One goroutine owns it.
type Host struct {
	cfg     Config
	root    *link.Namespace
	have    map[model.RouterID]*instance
	writes  atomic.Uint64
	doubted model.RouterID // the last one that had its turn
	swept   bool           // what an earlier run left has been looked for
}

// instance is a router's namespace, held open.
type instance struct {
	ns      *link.Namespace
	rules   *iptables.Manager
	plan    *Plan            // in force; nil: unknown
	seen    *Plan            // last asked for, in force or not
	told    map[address]bool // announced
	checked bool             // compared with the kernel since it was made or doubted
}

// New returns a Host for the namespace that the process is in.
func New(cfg Config) (*Host, error) {
	root, err := link.Current()
	if err != nil {
		return nil, err
	}
	return &Host{cfg: cfg, root: root, have: map[model.RouterID]*instance{}}, nil
}

// Close lets the namespaces go; they stay.
func (h *Host) Close() {
	for _, i := range h.have {
		i.close()
	}
	h.root.Close()
}

func (i *instance) close() {
	i.rules.Close()
	i.ns.Close()
}

// Writes counts what has been changed since the start. It may be called from any goroutine.
func (h *Host) Writes() uint64 { return h.writes.Load() }

// Apply makes the routers as planned and returns, by router, what could not be: such a router's legs
// are not fit to be wired. Routers that are not planned are left unless prune is set; then those that
// are provably ours go, of this run and of earlier ones.
func (h *Host) Apply(ctx context.Context, plans []*Plan, prune bool) map[model.RouterID]error {
	problems := make(map[model.RouterID]error)
	failed := make([]error, len(plans))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for n, p := range plans {
		i := h.have[p.ID]
		if i == nil {
			var err error
			if i, err = h.open(ctx, p.ID); err != nil {
				problems[p.ID] = err
				continue
			}
			h.have[p.ID] = i
		}
		if i.plan == p && i.checked {
			continue
		}
		g.Go(func() error {
			failed[n] = h.bring(ctx, i, p)
			return nil
		})
	}
	_ = g.Wait() // the errors are in failed
	wanted := map[model.RouterID]bool{}
	for n, p := range plans {
		wanted[p.ID] = true
		if failed[n] != nil {
			problems[p.ID] = failed[n]
		}
	}
	if prune {
		for id, err := range h.prune(ctx, wanted) {
			h.cfg.Log.Warn("router not removed, trying again", "router", id, "err", err)
		}
	}
	return problems
}

// Doubt has the next Apply compare some routers with the kernel: others each time, until all have
// had their turn.
func (h *Host) Doubt() {
	h.swept = false
	ids := slices.SortedFunc(maps.Keys(h.have), func(a, b model.RouterID) int { return a.Compare(b.UUID) })
	first, found := slices.BinarySearchFunc(ids, h.doubted, func(a, b model.RouterID) int { return a.Compare(b.UUID) })
	if found {
		first++
	}
	for n := range min(len(ids), perDoubt) {
		h.doubted = ids[(first+n)%len(ids)]
		h.have[h.doubted].checked = false
	}
}

// Announce tells the wires of a router's legs of their addresses: of each once while the host answers for
// the leg, and anew when it does so again.
func (h *Host) Announce(id model.RouterID, answers func(l *Leg) bool) error {
	i := h.have[id]
	if i == nil || i.plan == nil {
		return nil
	}
	var errs []error
	told := map[address]bool{}
	for n := range i.plan.Legs {
		l := &i.plan.Legs[n]
		if !answers(l) {
			continue
		}
		var frames [][]byte
		for _, a := range l.Addrs {
			here := address{l.Name, a.Addr()}
			if told[here] = true; !i.told[here] {
				frames = append(frames, announcement(l.MAC, a.Addr()))
			}
		}
		if len(frames) > 0 {
			errs = append(errs, i.ns.Send(l.Name, frames...))
		}
	}
	i.told = told
	return errors.Join(errs...)
}

// Retell has the next Announce tell of all addresses of a router again.
func (h *Host) Retell(id model.RouterID) {
	if i := h.have[id]; i != nil {
		i.told = nil
	}
}

// address is one address of a leg.
type address struct {
	leg  string
	addr netip.Addr
}

// open makes sure that the namespace is there.
func (h *Host) open(ctx context.Context, id model.RouterID) (*instance, error) {
	created, err := link.EnsureNetns(Netns(id))
	if err != nil {
		return nil, err
	}
	if created {
		h.writes.Add(1)
		h.cfg.Log.Info("router added", "router", id)
	}
	ns, err := link.OpenNetns(Netns(id))
	if err != nil {
		return nil, err
	}
	rules := iptables.New(iptables.Config{
		Layout: iptables.RouterLayout(), Namespace: filepath.Join(link.NetnsDir, Netns(id)), Backend: h.cfg.Backend, Log: h.cfg.Log.With("router", id),
	})
	if err := rules.Open(ctx); err != nil {
		ns.Close()
		return nil, err
	}
	return &instance{ns: ns, rules: rules}, nil
}

// settings are those that Neutron gives a router's namespace, and no duplicate address detection:
// every host that serves the router has its addresses. Nor are segments refused that are out of the window: a connection goes on while
// another host has the router, and comes back with what this one has not seen of it.
var settings = [...]struct{ key, value string }{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/arp_ignore", "1"},
	{"net/ipv4/conf/all/arp_announce", "2"},
	{"net/ipv4/conf/all/promote_secondaries", "1"},
	{"net/ipv6/conf/all/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_ra", "0"},
	{"net/ipv6/conf/all/forwarding", "1"},
	{"net/netfilter/nf_conntrack_tcp_be_liberal", "1"},
}

// legSettings are those of a leg: who takes over has to find its neighbours at once, not a second after the
// first question was lost.
var legSettings = [...]struct{ key, value string }{
	{"net/ipv4/neigh/%s/retrans_time_ms", "100"},
	{"net/ipv4/neigh/%s/mcast_solicit", "10"},
	{"net/ipv6/neigh/%s/retrans_time_ms", "100"},
	{"net/ipv6/neigh/%s/mcast_solicit", "10"},
}

// bring makes one router as planned: devices, addresses, routes, and before any of them its rules,
// so that nothing leaves untranslated, nor crosses address scopes.
func (h *Host) bring(ctx context.Context, i *instance, p *Plan) (err error) {
	before := i.plan
	i.plan, i.seen = nil, p
	doubt := !i.checked
	if doubt {
		if err := h.prepare(i); err != nil {
			return err
		}
	}
	state := iptables.State{V4: p.V4, V6: p.V6}
	apply := i.rules.Apply
	if doubt {
		apply = i.rules.Compare
	}
	written := i.rules.Stats().Writes
	res, err := apply(ctx, state)
	h.writes.Add(i.rules.Stats().Writes - written)
	if err != nil {
		return fmt.Errorf("rules of router %s: %w", p.ID, err)
	}
	for c, e := range res.Refused {
		return fmt.Errorf("chain %s of router %s: %w", c, p.ID, e)
	}
	if err := h.legs(ctx, i, p); err != nil {
		return err
	}
	if err := h.routes(i, p, doubt || before == nil || !slices.Equal(before.Routes, p.Routes)); err != nil {
		return err
	}
	if before != nil {
		h.cut(ctx, i, before, p)
	}
	i.plan, i.checked = p, true
	return nil
}

func (h *Host) prepare(i *instance) error {
	for _, s := range settings {
		if err := h.setting(i, s.key, s.value); err != nil {
			return err
		}
	}
	lo, err := i.ns.Get("lo")
	if err != nil {
		return err
	}
	if !lo.Up {
		h.writes.Add(1)
		return i.ns.SetUp("lo")
	}
	return nil
}

// setting writes a setting of a router's namespace; one that this kernel does not have is passed over.
func (h *Host) setting(i *instance, key, value string) error {
	changed, err := i.ns.ChangeSysctl(key, value)
	if changed {
		h.writes.Add(1)
	}
	if err != nil && fault.Of(err) == fault.NotFound {
		return nil
	}
	return err
}

// legs makes the legs that are planned, and takes others away.
func (h *Host) legs(ctx context.Context, i *instance, p *Plan) error {
	links, err := i.ns.List()
	if err != nil {
		return err
	}
	there := map[string]link.Link{}
	for _, l := range links {
		there[l.Name] = l
	}
	for n := range p.Legs {
		l := &p.Legs[n]
		if err := h.leg(ctx, i, l, there[l.Name]); err != nil {
			return err
		}
		delete(there, l.Name)
		for _, s := range legSettings {
			if err := h.setting(i, fmt.Sprintf(s.key, l.Name), s.value); err != nil {
				return err
			}
		}
		if err := h.addrs(i, l); err != nil {
			return err
		}
	}
	for name, l := range there {
		if hoststate.IsLeg(name) && l.Kind == "veth" {
			if err := h.deleteLeg(ctx, i.ns, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// leg makes one pair. Its host's end is set up last: an end that is up has all that it needs.
func (h *Host) leg(ctx context.Context, i *instance, l *Leg, inside link.Link) error {
	outside, err := h.root.Get(l.Name)
	if err != nil && fault.Of(err) != fault.NotFound {
		return err
	}
	whole := inside.Kind == "veth" && inside.Up && inside.MAC == l.MAC && inside.MTU == l.MTU && inside.Peer == outside.Index &&
		outside.Up && outside.MTU == l.MTU
	if whole {
		return nil
	}
	h.writes.Add(1)
	fresh, err := h.root.EnsureVeth(link.Veth{Name: l.Name, Peer: l.Name, PeerIn: i.ns, MTU: l.MTU, PeerMAC: l.MAC})
	if err != nil {
		return err
	}
	if err := i.ns.DisableTxOffload(l.Name); err != nil { // the switch does not finish checksums
		return err
	}
	if fresh || !outside.Up {
		if err := h.root.DisableIPv6(l.Name); err != nil {
			return err
		}
		if h.cfg.Userspace {
			if err := h.root.Quiet(ctx, l.Name); err != nil {
				return err
			}
		}
	}
	if err := i.ns.SetUp(l.Name); err != nil {
		return err
	}
	return h.root.SetUp(l.Name)
}

// addrs gives a leg its addresses and takes others away.
func (h *Host) addrs(i *instance, l *Leg) error {
	have, err := i.ns.Addrs(l.Name)
	if err != nil {
		return err
	}
	for _, a := range l.Addrs {
		if slices.Contains(have, a) {
			continue
		}
		h.writes.Add(1)
		if err := i.ns.EnsureAddr(l.Name, a); err != nil {
			return err
		}
	}
	for _, a := range have {
		if slices.Contains(l.Addrs, a) || a.Addr().IsLinkLocalUnicast() && a.Addr().Is6() {
			continue
		}
		h.writes.Add(1)
		if err := i.ns.DeleteAddr(l.Name, a); err != nil {
			return err
		}
	}
	return nil
}

// routes makes the routes that are planned and takes other static ones away. One that the kernel
// does not take, since nothing leads to its gateway, is left out.
func (h *Host) routes(i *instance, p *Plan, moved bool) error {
	have, err := i.ns.Routes()
	if err != nil {
		return err
	}
	same := func(a, b link.Route) bool {
		return a.Dst == b.Dst && a.Gateway == b.Gateway && (a.Dev == b.Dev || a.Dev == "" || b.Dev == "")
	}
	for _, want := range p.Routes {
		if slices.ContainsFunc(have, func(r link.Route) bool { return r.Static && same(want, r) }) {
			continue
		}
		if err := i.ns.EnsureRoute(want); err != nil {
			if moved {
				h.cfg.Log.Warn("route left out", "router", p.ID, "destination", want.Dst, "next_hop", want.Gateway, "err", err)
			}
			continue
		}
		h.writes.Add(1)
	}
	for _, r := range have {
		if !r.Static || slices.ContainsFunc(p.Routes, func(w link.Route) bool { return w.Dst == r.Dst }) {
			continue
		}
		h.writes.Add(1)
		if err := i.ns.DeleteRoute(r); err != nil {
			return err
		}
	}
	return nil
}

// cut ends the connections that rested on translations which are no more.
func (h *Host) cut(ctx context.Context, i *instance, before, now *Plan) {
	gone := slices.DeleteFunc(slices.Clone(before.Translated), func(t Translation) bool { return slices.Contains(now.Translated, t) })
	if len(gone) == 0 {
		return
	}
	n, err := i.rules.ForgetTranslated(ctx, 0, func(c, reply firewall.Conn) bool {
		return slices.ContainsFunc(gone, func(t Translation) bool { return t.carries(c, reply) })
	})
	if err != nil {
		h.cfg.Log.Warn("connections of removed translations not cut", "router", now.ID, "err", err)
		return
	}
	h.cfg.Log.Info("connections cut", "router", now.ID, "connections", n)
}

// carries reports whether a connection is translated so.
func (t Translation) carries(c, reply firewall.Conn) bool {
	if t.Protocol == 0 {
		inward := c.Dst == t.Outside && c.Dst != reply.Src && (!t.Inside.IsValid() || reply.Src == t.Inside)
		outward := reply.Dst == t.Outside && c.Src != reply.Dst && (!t.Inside.IsValid() || c.Src == t.Inside)
		return inward || outward
	}
	return int(c.Protocol) == t.Protocol && c.Dst == t.Outside && reply.Src == t.Inside &&
		(t.PortMin == 0 || int(c.DstPort) >= t.PortMin && int(c.DstPort) <= t.PortMax)
}

// prune removes the routers that are not wanted.
func (h *Host) prune(ctx context.Context, wanted map[model.RouterID]bool) map[model.RouterID]error {
	errs := map[model.RouterID]error{}
	for id, i := range h.have {
		if wanted[id] {
			continue
		}
		if err := h.remove(ctx, id, i.ns); err != nil {
			errs[id] = err
			continue
		}
		i.close()
		delete(h.have, id)
	}
	if h.swept {
		return errs
	}
	h.swept = true
	names, err := link.NetnsNames()
	if err != nil {
		h.cfg.Log.Warn("namespaces not listed", "err", err)
	}
	for _, name := range names {
		id, ok := routerOfNetns(name)
		if !ok || wanted[id] || h.have[id] != nil {
			continue
		}
		if err := h.sweep(ctx, id); err != nil {
			errs[id] = err
		}
	}
	h.sweepLegs(ctx)
	return errs
}

// sweep removes a namespace of an earlier run, when it has nothing but legs as we make them.
func (h *Host) sweep(ctx context.Context, id model.RouterID) error {
	ns, err := link.OpenNetns(Netns(id))
	if err != nil {
		return err
	}
	defer ns.Close()
	links, err := ns.List()
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Name != "lo" && !(hoststate.IsLeg(l.Name) && l.Kind == "veth") {
			return nil // somebody else's, by the name of it
		}
	}
	return h.remove(ctx, id, ns)
}

func (h *Host) remove(ctx context.Context, id model.RouterID, ns *link.Namespace) error {
	links, err := ns.List()
	if err != nil {
		return err
	}
	h.writes.Add(1)
	for _, l := range links {
		if hoststate.IsLeg(l.Name) && l.Kind == "veth" {
			if err := h.deleteLeg(ctx, ns, l.Name); err != nil {
				return err
			}
		}
	}
	h.cfg.Log.Info("router removed", "router", id)
	return link.DeleteNetns(Netns(id))
}

// deleteLeg deletes a pair by the end that is in ns.
func (h *Host) deleteLeg(ctx context.Context, ns *link.Namespace, name string) error {
	h.writes.Add(1)
	if err := ns.Delete(name); err != nil || !h.cfg.Userspace {
		return err
	}
	return h.root.Unquiet(ctx, name)
}

// sweepLegs removes the host's ends of legs that belong to no router of ours.
func (h *Host) sweepLegs(ctx context.Context) {
	names, err := h.root.Names() // hundreds, and hardly a leg among them
	if err != nil {
		h.cfg.Log.Warn("devices not listed", "err", err)
		return
	}
	known := map[string]bool{}
	for _, i := range h.have {
		if i.seen == nil {
			continue
		}
		for n := range i.seen.Legs {
			known[i.seen.Legs[n].Name] = true
		}
	}
	for _, name := range names {
		if !hoststate.IsLeg(name) || known[name] {
			continue
		}
		l, err := h.root.Get(name)
		if err == nil && l.Kind == "veth" {
			err = h.deleteLeg(ctx, h.root, name)
		}
		if err != nil {
			h.cfg.Log.Warn("leg not removed", "leg", name, "err", err)
		}
	}
}
