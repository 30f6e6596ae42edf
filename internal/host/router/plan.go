package router

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/host/hoststate"
	"weft/internal/host/iptables/table"
	"weft/internal/host/link"
	"weft/internal/model"
)

// netnsPrefix begins the names of routers' namespaces, as Neutron's layer 3 agent has them.
const netnsPrefix = "qrouter-"

// Plan is a router as a host shall have it.
type Plan struct {
	ID     model.RouterID
	Legs   []Leg // the external one last
	Routes []link.Route
	V4, V6 table.Ruleset // IPv6 is not translated
	// Translated are the translations that connections may depend on: when one goes, they are cut.
	Translated []Translation
}

// Leg is a veth pair, one end in the router's namespace and one on br-int; both have its name.
type Leg struct {
	Name     string
	Port     model.PortID
	MAC      model.MAC
	MTU      int
	Addrs    []netip.Prefix // sorted; those of floating IPs have full length
	External bool
}

// Netns is the name of a router's namespace.
func Netns(id model.RouterID) string { return netnsPrefix + id.String() }

// routerOfNetns is the opposite of Netns.
func routerOfNetns(name string) (model.RouterID, bool) {
	rest, ok := strings.CutPrefix(name, netnsPrefix)
	if !ok {
		return model.RouterID{}, false
	}
	id, err := model.ParseUUID(rest)
	return model.RouterID{UUID: id}, err == nil && Netns(model.RouterID{UUID: id}) == name
}

// Compute plans a router as its gateways have it. floating are the floating IPs of this router, in any order; those
// that are served at their ports are left to other hosts.
func Compute(r *model.RouterView, floating []*model.FloatingView) *Plan {
	var elsewhere []netip.Addr
	floating = slices.DeleteFunc(sorted(floating), func(f *model.FloatingView) bool {
		if f.AtPort {
			elsewhere = append(elsewhere, f.Addr)
		}
		return f.AtPort
	})
	p := &Plan{ID: r.ID}
	for i := range r.Legs {
		p.Legs = append(p.Legs, legOf(&r.Legs[i], false))
	}
	if r.External != nil {
		leg := legOf(&r.External.LegView, true)
		for _, f := range floating {
			leg.Addrs = append(leg.Addrs, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
		}
		// The subnet's own address stays first: the kernel speaks with it.
		slices.SortStableFunc(leg.Addrs, func(a, b netip.Prefix) int {
			return cmp.Or(cmp.Compare(btoi(a.IsSingleIP()), btoi(b.IsSingleIP())), a.Addr().Compare(b.Addr()))
		})
		leg.Addrs = slices.Compact(leg.Addrs)
		p.Legs = append(p.Legs, leg)
	}
	p.routes(r)
	p.V4, p.V6, p.Translated = rulesOf(r, floating, elsewhere)
	return p
}

func sorted(floating []*model.FloatingView) []*model.FloatingView {
	return slices.SortedFunc(slices.Values(floating), func(a, b *model.FloatingView) int {
		return cmp.Or(a.Addr.Compare(b.Addr), bytes.Compare(a.ID.UUID[:], b.ID.UUID[:]))
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func legOf(l *model.LegView, external bool) Leg {
	return Leg{
		Name: hoststate.LegName(l.PortID, external), Port: l.PortID, MAC: l.MAC, MTU: l.MTU, Addrs: slices.Clone(l.Addrs), External: external,
	}
}

// routes are the user's, and the default routes by the external network. Of two to one destination the user's counts.
func (p *Plan) routes(r *model.RouterView) {
	has := func(dst netip.Prefix) bool {
		return slices.ContainsFunc(p.Routes, func(x link.Route) bool { return x.Dst == dst })
	}
	for _, e := range r.Routes {
		if dst := e.Destination.Masked(); !has(dst) {
			p.Routes = append(p.Routes, link.Route{Dst: dst, Gateway: e.NextHop, Static: true})
		}
	}
	if r.External == nil {
		return
	}
	dev := hoststate.LegName(r.External.PortID, true)
	for _, hop := range r.External.NextHops {
		if !slices.ContainsFunc(r.External.Addrs, func(a netip.Prefix) bool { return a.Contains(hop) }) {
			// A gateway outside of its subnet is on the wire all the same.
			p.Routes = append(p.Routes, link.Route{Dst: netip.PrefixFrom(hop, hop.BitLen()), Dev: dev, Static: true})
		}
		all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if hop.Is4() {
			all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		if !has(all) {
			p.Routes = append(p.Routes, link.Route{Dst: all, Gateway: hop, Dev: dev, Static: true})
		}
	}
}
