package dns

import (
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"weft/internal/host/standin"
)

// HostResolvers returns the servers that a resolv.conf(5) names. The file is read again at most every few
// seconds: it changes with the host's network.
func HostResolvers(file string) func() []netip.AddrPort {
	const fresh = 5 * time.Second
	var mu sync.Mutex
	var read time.Time
	var servers []netip.AddrPort
	return func() []netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); read.IsZero() || now.Sub(read) > fresh {
			read = now
			if c, err := dns.ClientConfigFromFile(file); err == nil {
				servers = nil
				for _, s := range c.Servers {
					if a, err := netip.ParseAddr(s); err == nil && a.Unmap() != standin.Metadata4 {
						servers = append(servers, netip.AddrPortFrom(a.Unmap(), standin.DNSPort))
					}
				}
			}
		}
		return servers
	}
}
