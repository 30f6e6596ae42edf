package dns

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"weft/internal/host/standin"
)

// Times of asking outside. A guest's resolver gives up after 5 s.
const (
	askTimeout = 1500 * time.Millisecond // one server
	askTotal   = 4500 * time.Millisecond
	maxServers = 3
)

// forward sends the question of m to the servers in turn, and fills in the reply. What goes out is made anew:
// of the guest's message it has the question and the bits RD, AD, CD and DO, nothing that tells who asks. It
// has an id of its own, and goes out of an unbound port each time.
func forward(ctx context.Context, m, reply *dns.Msg, servers []netip.AddrPort, tcp bool) *dns.Msg {
	reply.Rcode = dns.RcodeServerFailure
	if !m.RecursionDesired {
		reply.Rcode = dns.RcodeRefused // of others' names nothing is known here
		return reply
	}
	ctx, cancel := context.WithTimeout(ctx, askTotal)
	defer cancel()
	q := new(dns.Msg)
	q.Id = dns.Id()
	q.RecursionDesired, q.CheckingDisabled, q.AuthenticatedData = true, m.CheckingDisabled, m.AuthenticatedData
	q.Question = slices.Clone(m.Question)
	do := false
	if opt := m.IsEdns0(); opt != nil {
		do = opt.Do()
	}
	q.SetEdns0(maxUDP, do)
	for _, server := range servers {
		a := exchange(ctx, q, server, tcp)
		if a == nil {
			continue
		}
		reply.Rcode, reply.Truncated, reply.AuthenticatedData = a.Rcode, a.Truncated, a.AuthenticatedData
		reply.Answer, reply.Ns, reply.Extra = a.Answer, a.Ns, withoutOpt(a.Extra)
		if a.Rcode == dns.RcodeSuccess || a.Rcode == dns.RcodeNameError {
			break
		}
		if ctx.Err() != nil {
			break
		}
	}
	return reply
}

// exchange asks one server, nil when it has no answer to this very question. By UDP a cut answer is handed on as cut: the
// guest asks again by TCP, and that question goes out by TCP too.
func exchange(ctx context.Context, q *dns.Msg, server netip.AddrPort, tcp bool) *dns.Msg {
	c := dns.Client{Net: "udp", Timeout: askTimeout, UDPSize: maxUDP}
	if tcp {
		c.Net = "tcp"
	}
	a, _, err := c.ExchangeContext(ctx, q, server.String())
	if err != nil || a == nil || !a.Response || a.Opcode != dns.OpcodeQuery || len(a.Question) != 1 {
		return nil
	}
	if got, want := a.Question[0], q.Question[0]; got.Qtype != want.Qtype || got.Qclass != want.Qclass || !strings.EqualFold(got.Name, want.Name) {
		return nil
	}
	return a
}

func withoutOpt(rrs []dns.RR) []dns.RR {
	return slices.DeleteFunc(slices.Clone(rrs), func(r dns.RR) bool { return r.Header().Rrtype == dns.TypeOPT })
}

// serversFor lists whom to ask for a guest: the servers that its subnets name, else those of the host. A
// tenant names servers as it likes, and they are asked from the host's own namespace: what is not a host
// on the outside is left out, and so is what lies in the guest's own network, which cannot be reached from here.
func (s *Server) serversFor(g standin.Guest) []netip.AddrPort {
	var named []netip.AddrPort
	said := false
	for i := range g.Network.Subnets {
		sub := &g.Network.Subnets[i]
		mine := false
		for _, f := range g.Port.FixedIPs {
			mine = mine || f.SubnetID == sub.ID
		}
		if !mine {
			continue
		}
		for _, a := range sub.DNS {
			said = true
			if s.askable(a.Unmap(), g) {
				named = append(named, netip.AddrPortFrom(a.Unmap(), standin.DNSPort))
			}
		}
	}
	if !said {
		named = s.cfg.Resolvers()
	}
	return named[:min(len(named), maxServers)]
}

func (s *Server) askable(a netip.Addr, g standin.Guest) bool {
	if !a.IsGlobalUnicast() || slices.Contains(s.cfg.Forbidden, a) || standin.Prefix4.Contains(a) || standin.Prefix6.Contains(a) || a == standin.Service6 {
		return false
	}
	for i := range g.Network.Subnets {
		if g.Network.Subnets[i].CIDR.Contains(a) {
			return false
		}
	}
	return true
}
