package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Host is a port as far as names go.
type Host struct {
	Name   string // dns_name: one label, or several; empty: none but that made of the address
	Domain string // the port's own, with or without a final dot; may be empty
	Addrs  []netip.Addr
}

// Zone is what a network's guests can ask of the network itself. It does not change.
type Zone struct {
	domain  string // of the cloud, canonical: lower case, final dot
	names   map[string][]netip.Addr
	reverse map[netip.Addr]string
	subnets []netip.Prefix
}

// NewZone makes the zone of a network: domain is the cloud's, own the network's, which may be empty. The
// first host that has an address or is the first of a name says what it is called.
func NewZone(domain, own string, subnets []netip.Prefix, hosts []Host) *Zone {
	z := &Zone{domain: canonical(domain), names: map[string][]netip.Addr{}, reverse: map[netip.Addr]string{}, subnets: subnets}
	for _, h := range hosts {
		for _, a := range h.Addrs {
			a = a.Unmap()
			made := "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
			z.add(made+"."+z.domain, a)
			full := made + "." + z.domain
			switch {
			case h.Name == "":
			case strings.HasSuffix(h.Name, "."):
				full = canonical(h.Name)
				z.add(full, a)
			default:
				full = canonical(h.Name + "." + z.domain)
				for _, d := range []string{z.domain, own, h.Domain, "."} {
					if d != "" {
						z.add(canonical(h.Name+"."+strings.TrimPrefix(d, ".")), a)
					}
				}
			}
			if _, taken := z.reverse[a]; !taken {
				z.reverse[a] = full
			}
		}
	}
	return z
}

// canonical is a name in lower case with a final dot.
func canonical(name string) string { return dns.CanonicalName(name) }

func (z *Zone) add(name string, a netip.Addr) {
	if _, valid := dns.IsDomainName(name); valid && !slices.Contains(z.names[name], a) {
		z.names[name] = append(z.names[name], a)
	}
}

// ttl is how long an answer may be kept, in seconds: a port's address may change.
const ttl = 10

// answer answers a question from the zone; ok is false when it is for servers outside.
func (z *Zone) answer(q dns.Question) (rrs []dns.RR, rcode int, ok bool) {
	name := canonical(q.Name)
	if a, isReverse := reverseAddr(name); isReverse {
		host, known := z.reverse[a]
		switch {
		case known && q.Qtype == dns.TypePTR:
			return []dns.RR{&dns.PTR{Hdr: header(q, dns.TypePTR), Ptr: host}}, dns.RcodeSuccess, true
		case known:
			return nil, dns.RcodeSuccess, true
		case slices.ContainsFunc(z.subnets, func(p netip.Prefix) bool { return p.Contains(a) }):
			return nil, dns.RcodeNameError, true
		}
		return nil, 0, false
	}
	if addrs, known := z.names[name]; known {
		for _, a := range addrs {
			switch {
			case a.Is4() && q.Qtype == dns.TypeA:
				rrs = append(rrs, &dns.A{Hdr: header(q, dns.TypeA), A: a.AsSlice()})
			case a.Is6() && q.Qtype == dns.TypeAAAA:
				rrs = append(rrs, &dns.AAAA{Hdr: header(q, dns.TypeAAAA), AAAA: a.AsSlice()})
			}
		}
		return rrs, dns.RcodeSuccess, true
	}
	// The root's own records are everybody's.
	if labels := dns.CountLabel(name); labels == 1 || labels > 0 && z.domain != "." && dns.IsSubDomain(z.domain, name) {
		if name == z.domain {
			return nil, dns.RcodeSuccess, true
		}
		return nil, dns.RcodeNameError, true
	}
	return nil, 0, false
}

func header(q dns.Question, typ uint16) dns.RR_Header {
	return dns.RR_Header{Name: q.Name, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
}

// reverseAddr reads an address from a name below in-addr.arpa or ip6.arpa (RFC 1035, 3.5; RFC 3596, 2.5).
func reverseAddr(name string) (netip.Addr, bool) {
	if rest, is4 := strings.CutSuffix(name, ".in-addr.arpa."); is4 {
		parts := strings.Split(rest, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	rest, is6 := strings.CutSuffix(name, ".ip6.arpa.")
	if !is6 || len(rest) != 63 {
		return netip.Addr{}, false
	}
	nibbles := strings.Split(rest, ".")
	if len(nibbles) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(nibbles)
	var b strings.Builder
	for i, n := range nibbles {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(n)
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil && a.Is6()
}
