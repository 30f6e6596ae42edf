package view

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/fault"
	"weft/internal/host/hoststate"
	"weft/internal/host/link"
	"weft/internal/host/pipeline"
	"weft/internal/host/router"
	"weft/internal/host/services"
	"weft/internal/model"
)

// Router is a router that the host has, or should have: a network namespace with legs on br-int.
type Router struct {
	ID     string `json:"id"`
	Netns  string `json:"netns"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is not active, or a remark
	Duty   Duty   `json:"duty,omitempty"`

	Gateways []Gateway `json:"gateways,omitempty"` // the hosts that serve it, the preferred one first
	Legs     []Leg     `json:"legs"`               // the external one last
	// Sources, Floating and Forwards are the translations that the namespace's rules make.
	Sources  []Translation `json:"sources,omitempty"`  // of whatever leaves by the external leg
	Floating []Translation `json:"floating,omitempty"` // one to one
	Forwards []Translation `json:"forwards,omitempty"` // of ports
	Routes   []NextHop     `json:"routes,omitempty"`   // static ones, the default included
}

// Duty is what a host does for a router that several hosts serve.
type Duty string

// The duties.
const (
	Answers Duty = "answers" // it answers for the router
	Standby Duty = "standby" // it is ready to, and forwards what reaches it
)

// Gateway is a host that serves a router, as this host sees it.
type Gateway struct {
	Host   string     `json:"host"`
	Tunnel netip.Addr `json:"tunnel,omitzero"`
	Seen   Sight      `json:"seen"`
}

// Sight is what is known of another host.
type Sight string

// What may be known.
const (
	Here      Sight = "this host"
	Alive     Sight = "alive"
	Lost      Sight = "lost"
	Unwatched Sight = "not watched"
)

// Leg is a router's leg: a veth pair, one end in the namespace, the other on br-int.
type Leg struct {
	Device             // the end on br-int
	Inside    bool     `json:"inside"` // its other end is in the namespace, and up
	MAC       string   `json:"mac,omitempty"`
	Addrs     []string `json:"addrs,omitempty"` // with the length of their subnet, those of floating IPs left out
	External  bool     `json:"external,omitempty"`
	NetworkID string   `json:"network_id,omitempty"`
	VLAN      int      `json:"vlan,omitempty"`
	Flows     int      `json:"flows"` // of br-int that the leg causes
}

// NextHop is a static route.
type NextHop struct {
	Dst netip.Prefix `json:"dst"`
	Via netip.Addr   `json:"via,omitzero"`
	Dev string       `json:"dev,omitempty"`
}

// routerFacts are what was read of a router's namespace.
type routerFacts struct {
	links  map[string]device
	addrs  map[string][]netip.Prefix
	routes []link.Route
	nat    []natRule
}

// readRouters reads the routers' namespaces, and whether the services' is there.
func (f *facts) readRouters(ctx context.Context) error {
	names, err := link.NetnsNames()
	if err != nil {
		return err
	}
	f.served = slices.Contains(names, services.Netns)
	f.routers = map[model.RouterID]*routerFacts{}
	for _, name := range names {
		_, rest, _ := strings.Cut(name, "-")
		uuid, err := model.ParseUUID(rest)
		id := model.RouterID{UUID: uuid}
		if err != nil || router.Netns(id) != name {
			continue
		}
		facts, err := readRouter(ctx, name)
		if err != nil {
			f.problem("reading namespace "+name, err)
			facts = &routerFacts{}
		}
		f.routers[id] = facts
	}
	return nil
}

// readRouter reads a router's namespace: devices, addresses, routes, translations.
func readRouter(ctx context.Context, name string) (*routerFacts, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	ns, err := link.OpenNetns(name)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	r := &routerFacts{addrs: map[string][]netip.Prefix{}}
	if r.links, err = devices(ns); err != nil {
		return nil, err
	}
	for dev := range r.links {
		if r.addrs[dev], err = ns.Addrs(dev); err != nil && fault.Of(err) != fault.NotFound {
			return nil, err
		}
	}
	if r.routes, err = ns.Routes(); err != nil {
		return nil, err
	}
	err = ns.Do(func() error {
		text, err := saved(ctx, "iptables", "ip", "nat", routerChains)
		if err != nil {
			return err
		}
		r.nat, err = parseNAT(text)
		return err
	})
	return r, err
}

// addRouters lists the routers that the host serves, and those whose namespace it has.
func (f *facts) addRouters(h *Host, joined *hoststate.Joined) {
	ids := map[model.RouterID]bool{}
	for id, v := range f.view.Routers {
		if v.ServedBy(f.host) {
			ids[id] = true
		}
	}
	for id := range f.routers {
		ids[id] = true
	}
	for id := range ids {
		h.Routers = append(h.Routers, f.router(id, joined.Pipeline.Routers[id]))
	}
	slices.SortFunc(h.Routers, func(a, b Router) int { return strings.Compare(a.ID, b.ID) })
}

// router joins one router of the view with its namespace.
func (f *facts) router(id model.RouterID, known pipeline.Router) Router {
	r := Router{ID: id.String(), Netns: router.Netns(id)}
	have := f.routers[id]
	if have != nil {
		r.Sources, r.Floating, r.Forwards = translations(have.nat)
		for _, route := range have.routes {
			if route.Static {
				r.Routes = append(r.Routes, NextHop{Dst: route.Dst, Via: route.Gateway, Dev: route.Dev})
			}
		}
		slices.SortStableFunc(r.Routes, func(a, b NextHop) int {
			return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), a.Dst.Addr().Compare(b.Dst.Addr()))
		})
	}
	if v := known.View; v != nil && v.ServedBy(f.host) {
		r.Duty = Standby
		if known.Active {
			r.Duty = Answers
		}
		for _, g := range v.Gateways {
			r.Gateways = append(r.Gateways, Gateway{Host: g.Host, Tunnel: g.Tunnel, Seen: f.sight(g)})
		}
		for i := range v.Legs {
			r.Legs = append(r.Legs, f.leg(&v.Legs[i], false, have))
		}
		if v.External != nil {
			r.Legs = append(r.Legs, f.leg(&v.External.LegView, true, have))
		}
	} else if have != nil {
		for _, name := range sortedNames(have.links) {
			if hoststate.IsLeg(name) {
				r.Legs = append(r.Legs, f.foundLeg(name, have))
			}
		}
	}
	f.judgeRouter(&r, known.View, have)
	return r
}

func sortedNames(links map[string]device) []string {
	var out []string
	for name := range links {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// sight says what this host knows of a gateway.
func (f *facts) sight(g model.GatewayView) Sight {
	switch {
	case g.Host == f.host:
		return Here
	case f.reach.Lost[g.Tunnel]:
		return Lost
	}
	for t := range f.reach.Watched {
		if t.Remote == g.Tunnel {
			return Alive
		}
	}
	return Unwatched
}

// leg is a leg of the view, joined with its devices.
func (f *facts) leg(v *model.LegView, external bool, have *routerFacts) Leg {
	l := f.foundLeg(hoststate.LegName(v.PortID, external), have)
	l.NetworkID = v.NetworkID.String()
	if l.MAC == "" {
		l.MAC = v.MAC.String()
	}
	if len(l.Addrs) == 0 && !l.Inside {
		for _, a := range v.Addrs {
			l.Addrs = append(l.Addrs, a.String())
		}
	}
	for _, s := range f.intFlows {
		if kind, id := pipeline.Object(s.Flow.Cookie); kind == model.KindPort && id != "" && strings.HasPrefix(v.PortID.DeviceSuffix(), id) {
			l.Flows++
		}
	}
	return l
}

// foundLeg is what the host has of a leg.
func (f *facts) foundLeg(name string, have *routerFacts) Leg {
	l := Leg{Device: f.hostDevice(name, RoleLeg), External: strings.HasPrefix(name, "qg-")}
	if p := f.state.Port(name); p != nil {
		if p.Tag != nil {
			l.VLAN = *p.Tag
		}
		l.NetworkID = p.OtherConfig["net_uuid"]
	}
	if have == nil {
		return l
	}
	inside, ok := have.links[name]
	if !ok {
		return l
	}
	l.Inside, l.MAC = inside.Up, inside.MAC.String()
	for _, a := range have.addrs[name] {
		if a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() || l.External && a.IsSingleIP() {
			continue
		}
		l.Addrs = append(l.Addrs, a.String())
	}
	return l
}

// judgeRouter tells whether a router works.
func (f *facts) judgeRouter(r *Router, v *model.RouterView, have *routerFacts) {
	r.State = Active
	say := func(s State, why string) {
		if r.State == Active {
			r.State, r.Reason = s, why
		}
	}
	switch {
	case v == nil || !v.ServedBy(f.host):
		say(Waiting, "the namespace is there, but the agent has not been told that this host serves the router")
	case f.routers == nil:
		say(Waiting, "it is not known whether its namespace is there")
	case have == nil:
		say(Failed, "namespace "+r.Netns+" is not there")
	}
	for i := range r.Legs {
		l := &r.Legs[i]
		switch {
		case f.links != nil && !l.Present:
			say(Failed, l.Name+" is not there")
		case l.OFPort < 0:
			say(Failed, "Open vSwitch cannot use "+l.Name+": "+l.Error)
		case have != nil && have.links != nil && !l.Inside:
			say(Failed, l.Name+" has no other end in "+r.Netns+" that is up")
		case f.links != nil && !l.Up:
			say(Failed, l.Name+" is down")
		case l.OFPort == 0:
			say(Waiting, l.Name+" is not plugged into br-int yet")
		case l.VLAN == 0:
			say(Waiting, "the agent has not given "+l.Name+" a VLAN id yet")
		case f.intFlows != nil && l.Flows == 0:
			say(Waiting, "br-int has no flows for "+l.Name+" yet")
		}
	}
	if r.State == Active && f.reach.CutOff && len(r.Gateways) > 1 {
		r.Reason = "no other host is in reach: this one is cut off, and answers for nobody"
	}
}
