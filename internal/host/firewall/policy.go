package firewall

import (
	"net/netip"
	"slices"

	"weft/internal/model"
)

// Conn is a tracked connection, in the direction of its first packet.
type Conn struct {
	Protocol         uint8 // IANA
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16 // of protocols that have ports
	Type, Code       uint8  // of ICMP and ICMPv6
}

// Policy decides about connections by the same rules that Hybrid writes. It
// tells which established connections a change has revoked.
type Policy struct {
	fixed   map[endpoint][]*portRules
	paired  map[uint16][]*portRules // by zone: ports that may send from prefixes
	members map[setKey]memberSet
}

type endpoint struct {
	zone uint16
	addr netip.Addr
}

// NewPolicy reads the ports, groups and members of a host.
func NewPolicy(in Input) *Policy {
	p := &Policy{fixed: map[endpoint][]*portRules{}, paired: map[uint16][]*portRules{}, members: map[setKey]memberSet{}}
	var lists groupLists
	for i := range in.Ports {
		rules := checkPort(&in.Ports[i], lists.of(in.Ports[i].View.SecurityGroups, in.Groups))
		if rules.mode == open || rules.stateless || rules.zone == 0 {
			continue // not tracked
		}
		for _, f := range in.Ports[i].View.FixedIPs {
			e := endpoint{rules.zone, f.Addr}
			p.fixed[e] = append(p.fixed[e], &rules)
		}
		p.paired[rules.zone] = append(p.paired[rules.zone], &rules)
		for _, k := range rules.sets {
			p.members[k] = memberSet{}
		}
	}
	for key, m := range in.Members {
		for _, prefix := range m.Prefixes {
			if !usable(prefix) {
				continue
			}
			if s, ok := p.members[setKey{key.Set, familyOf(prefix.Addr())}]; ok {
				s.add(prefix.Masked())
			}
		}
	}
	return p
}

// Allows reports whether a connection may go on: every port of this host that
// is one of its ends allows it. Connections of which neither end is known here
// are allowed. An end is a port with that fixed address; only if there is none
// on either side, a port with an address pair that covers it, since pairs are
// shared between hosts.
func (p *Policy) Allows(zone uint16, c Conn) bool {
	from, to := p.fixed[endpoint{zone, c.Src}], p.fixed[endpoint{zone, c.Dst}]
	if len(from) == 0 && len(to) == 0 {
		from, to = p.covering(zone, c.Src), p.covering(zone, c.Dst)
	}
	for _, port := range from {
		if !p.egress(port, c) {
			return false
		}
	}
	for _, port := range to {
		if !p.ingress(port, c) {
			return false
		}
	}
	return true
}

// Knows reports whether an end of a connection is an address of a port of this
// host, fixed or by an address pair.
func (p *Policy) Knows(zone uint16, c Conn) bool {
	return len(p.fixed[endpoint{zone, c.Src}])+len(p.fixed[endpoint{zone, c.Dst}]) > 0 ||
		len(p.covering(zone, c.Src))+len(p.covering(zone, c.Dst)) > 0
}

// Owns reports whether a port may send from an address.
func Owns(v *model.PortView, a netip.Addr) bool {
	pairs, _ := pairsOf(v)
	return slices.ContainsFunc(pairs, func(q pair) bool { return q.prefix.Bits() > 0 && q.prefix.Contains(a) })
}

// Released lists what a port could send from and no longer can; after is nil when
// the port has left. Connections from and to there that no port of the host knows
// are to be forgotten: the address may get another owner, and until then nobody is
// to hear on it.
func Released(before, after *model.PortView) []netip.Prefix {
	had, _ := pairsOf(before)
	var has []pair
	if after != nil {
		has, _ = pairsOf(after)
	}
	var out []netip.Prefix
	for _, q := range had {
		same := func(r pair) bool { return r.prefix == q.prefix }
		if q.prefix.Bits() > 0 && !slices.ContainsFunc(has, same) && !slices.Contains(out, q.prefix) {
			out = append(out, q.prefix)
		}
	}
	return out
}

func (p *Policy) covering(zone uint16, a netip.Addr) (ports []*portRules) {
	for _, port := range p.paired[zone] {
		if slices.ContainsFunc(port.pairs, func(q pair) bool { return q.prefix.Bits() > 0 && q.prefix.Contains(a) }) {
			ports = append(ports, port)
		}
	}
	return ports
}

func (p *Policy) egress(port *portRules, c Conn) bool {
	if port.mode == shut {
		return false
	}
	switch {
	case c.dhcp(68, 67) || c.dhcp(546, 547):
		return true
	case c.dhcp(67, 68) || c.dhcp(547, 546):
		return false
	case !slices.ContainsFunc(port.pairs, func(q pair) bool { return q.prefix.Contains(c.Src) }):
		return false
	}
	return port.serves(c) || p.any(port, model.Egress, c.Dst, c)
}

// serves reports a connection to a service of the host.
func (p *portRules) serves(c Conn) bool {
	return slices.ContainsFunc(p.services, func(s service) bool {
		return s.addr == c.Dst && s.port == c.DstPort && (c.Protocol == protoTCP && s.protocol == "tcp" || c.Protocol == protoUDP && s.protocol == "udp")
	})
}

func (p *Policy) ingress(port *portRules, c Conn) bool {
	if port.mode == shut {
		return false
	}
	if (c.dhcp(67, 68) || c.dhcp(547, 546)) && slices.Contains(port.dhcp, c.Src) {
		return true
	}
	return p.any(port, model.Ingress, c.Src, c)
}

// dhcp reports a UDP connection between the two ports; those of DHCPv4 count
// for IPv4 only, those of DHCPv6 for IPv6.
func (c Conn) dhcp(src, dst uint16) bool {
	return c.Protocol == protoUDP && c.SrcPort == src && c.DstPort == dst && c.Src.Is4() == (src < 100)
}

func (p *Policy) any(port *portRules, d model.Direction, remote netip.Addr, c Conn) bool {
	for i := range port.rules {
		m := &port.rules[i]
		if m.direction == d && m.family == familyOf(remote) && m.matches(c) && p.isRemote(m, remote) {
			return true
		}
	}
	return false
}

func (p *Policy) isRemote(m *match, remote netip.Addr) bool {
	if m.remote.IsValid() && !m.remote.Contains(remote) {
		return false
	}
	return m.set.IsZero() || p.members[setKey{m.set, m.family}].contains(remote)
}

// matches compares protocol and ports, or type and code.
func (m *match) matches(c Conn) bool {
	if m.protocol == model.ProtocolAny {
		return true
	}
	if m.protocol != int(c.Protocol) {
		return false
	}
	if m.isICMP() {
		return (m.min < 0 || m.min == int(c.Type)) && (m.max < 0 || m.max == int(c.Code))
	}
	return m.min < 0 || m.min <= int(c.DstPort) && int(c.DstPort) <= m.max
}

// memberSet holds prefixes by their length.
type memberSet map[int]map[netip.Prefix]struct{}

func (s memberSet) add(p netip.Prefix) {
	if s[p.Bits()] == nil {
		s[p.Bits()] = map[netip.Prefix]struct{}{}
	}
	s[p.Bits()][p] = struct{}{}
}

func (s memberSet) contains(a netip.Addr) bool {
	for bits, prefixes := range s {
		if p, err := a.Prefix(bits); err == nil {
			if _, ok := prefixes[p]; ok {
				return true
			}
		}
	}
	return false
}
