package responder

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"weft/internal/model"
)

// Lifetimes of what an advertisement says, in seconds. A guest keeps its default route while the agent is away for
// as long as RFC 4861, 6.2.1, lets it; addresses live as radvd has it, which is Neutron's.
const (
	routerLifetime  = 9000
	prefixValid     = 86400
	prefixPreferred = 14400
	prefixWithdrawn = 7200 // RFC 4862, 5.5.3: a guest takes no lower one
)

// Sizes of an advertisement, which every link must carry.
const (
	leastIPv6MTU = 1280
	mostPrefixes = 32
	mostDNS      = 8 // guests keep three (RFC 8106, 5.3.1)
	prefixUnits  = 4 // length of the option, of 8 bytes
)

// Flags of an advertisement and of its prefixes.
const (
	raManaged    = 0x80
	raOther      = 0x40
	piOnLink     = 0x80
	piAutonomous = 0x40
)

// Advert is what one router says to the guests of a network (RFC 4861, 4.2).
type Advert struct {
	Source   netip.Addr // link-local
	MAC      model.MAC
	Lifetime uint16 // seconds that it is a default router; 0: it is none
	Managed  bool   // addresses are had by DHCPv6
	Other    bool   // all but addresses is had by DHCPv6
	MTU      int    // bytes
	Prefixes []AdvertPrefix
	DNS      []netip.Addr // for as long as the router; with Lifetime 0, no longer
}

// AdvertPrefix is a prefix that is on the link.
type AdvertPrefix struct {
	netip.Prefix
	Autonomous       bool   // guests form addresses from it
	Valid, Preferred uint32 // seconds
}

// Adverts returns what the guests of a network are told by routers with the given legs on it, in order of sources.
//
// Flags and options are those that Neutron configures radvd with. A subnet whose router mode is set and that has no
// router is told of by the DHCP port, as no default router: the address that the API shows for a port must be the guest's,
// and guests of one subnet must reach each other, whether or not there is a way out.
func Adverts(n *model.NetworkView, legs []*model.LegView) []Advert {
	var adverts []Advert
	say := func(source netip.Addr, mac model.MAC, lifetime uint16, s *model.SubnetView) {
		i := slices.IndexFunc(adverts, func(a Advert) bool { return a.Source == source && len(a.Prefixes) < mostPrefixes })
		if i < 0 {
			i = len(adverts)
			adverts = append(adverts, Advert{Source: source, MAC: mac, Lifetime: lifetime, MTU: n.MTU})
		}
		adverts[i].add(s)
	}
	for i := range n.Subnets {
		s := &n.Subnets[i]
		if s.RAMode == "" || !s.CIDR.Addr().Is6() {
			continue
		}
		routed := false
		for _, l := range legs {
			if serves(l, s) {
				say(sourceOf(l), l.MAC, routerLifetime, s)
				routed = true
			}
		}
		if !routed && !n.DHCPMAC.IsZero() {
			say(linkLocal(n.DHCPMAC), n.DHCPMAC, 0, s)
		}
	}
	slices.SortStableFunc(adverts, func(a, b Advert) int { return a.Source.Compare(b.Source) })
	return adverts
}

// serves reports whether a leg is a router of a subnet: it has the gateway's address, or one of the subnet where any will do,
// because guests take their router from its advertisement alone.
func serves(l *model.LegView, s *model.SubnetView) bool {
	for _, a := range l.Addrs {
		if a.Addr() == s.Gateway || s.CIDR.Contains(a.Addr()) && (s.RAMode == model.IPv6SLAAC || s.Gateway.IsLinkLocalUnicast()) {
			return true
		}
	}
	return false
}

// sourceOf is the leg's link-local address: the one it was given, or that of its MAC.
func sourceOf(l *model.LegView) netip.Addr {
	for _, a := range l.Addrs {
		if a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() {
			return a.Addr()
		}
	}
	return linkLocal(l.MAC)
}

func (a *Advert) add(s *model.SubnetView) {
	p := AdvertPrefix{Prefix: s.CIDR, Valid: prefixValid, Preferred: prefixPreferred}
	switch s.RAMode {
	case model.IPv6Stateful:
		a.Managed = true
	case model.IPv6Stateless:
		a.Other, p.Autonomous = true, true
	case model.IPv6SLAAC:
		p.Autonomous = true
		for _, d := range s.DNS {
			if d.Is6() && !d.Is4In6() && !slices.Contains(a.DNS, d) && len(a.DNS) < mostDNS {
				a.DNS = append(a.DNS, d)
			}
		}
	}
	a.Prefixes = append(a.Prefixes, p)
}

// Withdrawn returns what guests that have heard before are to be told when now is said instead: routers that have gone
// are no longer routers, and prefixes that have gone are not to be used for anything new.
func Withdrawn(before, now []Advert) []Advert {
	var out []Advert
	for _, b := range before {
		gone := slices.DeleteFunc(slices.Clone(b.Prefixes), func(p AdvertPrefix) bool {
			return slices.ContainsFunc(now, func(a Advert) bool {
				return slices.ContainsFunc(a.Prefixes, func(q AdvertPrefix) bool { return q.Prefix == p.Prefix })
			})
		})
		for i := range gone {
			gone[i].Valid, gone[i].Preferred = prefixWithdrawn, 0
		}
		w := Advert{Source: b.Source, MAC: b.MAC, MTU: b.MTU, DNS: b.DNS, Prefixes: gone}
		if at := slices.IndexFunc(now, func(a Advert) bool { return a.Source == b.Source }); at >= 0 {
			if len(gone) == 0 {
				continue // what it says now is said by itself
			}
			w = now[at]
			w.Prefixes = gone
		}
		out = append(out, w)
	}
	return out
}

// Frame returns the advertisement to all nodes of the link, as an Ethernet frame.
func (a *Advert) Frame() []byte {
	frame := make([]byte, headers6+sizeRA, headers6+sizeRA+8+8+32*len(a.Prefixes)+8+16*len(a.DNS))
	m := frame[headers6:]
	m[0], m[4] = routerAdvert, hops
	if a.Managed {
		m[5] |= raManaged
	}
	if a.Other {
		m[5] |= raOther
	}
	binary.BigEndian.PutUint16(m[6:], a.Lifetime)

	frame = append(append(frame, ndSourceMAC, 1), a.MAC[:]...)
	if a.MTU >= leastIPv6MTU {
		frame = append(frame, ndMTU, 1, 0, 0)
		frame = binary.BigEndian.AppendUint32(frame, uint32(a.MTU))
	}
	for _, p := range a.Prefixes {
		flags := byte(piOnLink)
		if p.Autonomous {
			flags |= piAutonomous
		}
		frame = append(frame, ndPrefix, prefixUnits, byte(p.Bits()), flags)
		frame = binary.BigEndian.AppendUint32(frame, p.Valid)
		frame = binary.BigEndian.AppendUint32(frame, p.Preferred)
		frame = append(frame, 0, 0, 0, 0)
		frame = append(frame, p.Masked().Addr().AsSlice()...)
	}
	if len(a.DNS) > 0 {
		frame = append(frame, ndRDNSS, byte(1+2*len(a.DNS)), 0, 0)
		frame = binary.BigEndian.AppendUint32(frame, a.dnsLifetime())
		for _, d := range a.DNS {
			frame = append(frame, d.AsSlice()...)
		}
	}
	return sealFrame6(frame, endpoint{a.MAC, a.Source}, allNodes, protoICMPv6)
}

// dnsLifetime is that of the router. Servers that no router tells of, as the DHCP port does, live as long as an address is preferred.
func (a *Advert) dnsLifetime() uint32 {
	if a.Lifetime == 0 && len(a.Prefixes) > 0 && a.Prefixes[0].Preferred > 0 {
		return prefixPreferred
	}
	return uint32(a.Lifetime)
}
