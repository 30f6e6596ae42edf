package router

import (
	"net/netip"
	"slices"

	"weft/internal/host/hoststate"
	"weft/internal/host/link"
	"weft/internal/model"
)

// ComputeAtPorts plans what of a distributed router a host has that is none of its gateways, to serve the floating IPs of
// the host's own ports. floating are these, in any order. The external leg has their addresses and no other, with a
// MAC of the host's own; the legs are those of the ports' networks, and nobody but these ports sees them.
func ComputeAtPorts(r *model.RouterView, host string, floating []*model.FloatingView) *Plan {
	floating = sorted(floating)
	p := &Plan{ID: r.ID}
	for i := range r.Legs {
		l := &r.Legs[i]
		if slices.ContainsFunc(floating, func(f *model.FloatingView) bool { return l.Reaches(f.Fixed) }) {
			p.Legs = append(p.Legs, legOf(l, false))
		}
	}
	if r.External == nil || len(p.Legs) == 0 {
		return p
	}
	outer := Leg{Name: hoststate.LegName(r.External.PortID, true), Port: r.External.PortID, MAC: r.MACAt(host), MTU: r.External.MTU, External: true}
	for _, f := range floating {
		outer.Addrs = append(outer.Addrs, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
	}
	p.Legs = append(p.Legs, outer)
	// The router's own address stays with the gateways; its subnet is on the wire all the same.
	for _, a := range r.External.Addrs {
		if a.Addr().Is4() {
			p.Routes = append(p.Routes, link.Route{Dst: a.Masked(), Dev: outer.Name, Static: true})
		}
	}
	own := *r
	external := *r.External
	external.NextHops = slices.DeleteFunc(slices.Clone(external.NextHops), func(a netip.Addr) bool { return !a.Is4() })
	external.SNAT = false // what has no floating IP goes by a gateway
	own.External, own.Routes = &external, nil
	p.routes(&own)
	p.V4, p.V6, p.Translated = rulesOf(&own, floating, nil)
	return p
}
