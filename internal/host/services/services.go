// Package services has the network namespace in which a host answers its guests: metadata and names, on
// real sockets. A veth pair joins it to br-int, and the flows of table IntServices are the only way in
// (docs/pipeline.md).
//
// The namespace forwards nothing, has no route but the one back to the guests, no address beyond that of
// the services, and speaks neither ARP nor neighbour discovery: nothing that a guest sends can get through
// it to the host or to anybody else. What listens there is what Open opened.
package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"weft/internal/host/link"
	"weft/internal/host/standin"
)

// Names of the namespace and of the pair's end in it; the other is standin.Device.
const (
	Netns  = "weft-services"
	inside = "svc0"
)

// mtu is the least that IPv6 allows (RFC 8200, section 5), so that an answer fits any network, and one by
// UDP of at most 1232 bytes is never cut into fragments.
const mtu = 1280

// gateways are where the namespace sends what is for a guest. Nobody has these addresses: with ARP switched
// off the kernel asks for none, and gives all frames the device's own MAC. They spare it an entry for each guest.
var (
	gateway4 = netip.AddrFrom4([4]byte{169, 254, 0, 1})
	gateway6 = netip.AddrFrom16([16]byte{0xfe, 0x80, 15: 1})
)

// Namespace is the services' network namespace and the pair that leads to it. One goroutine owns it.
type Namespace struct {
	quiet bool // the switch's datapath is userspace's
	still bool // the host's end is known to be silenced
}

// New returns the namespace of this host, which Ensure makes. userspace tells of the switch's datapath, see link.Quiet.
func New(userspace bool) *Namespace { return &Namespace{quiet: userspace} }

// Ensure makes the namespace and the pair, or brings what is there to this form; it changes nothing when it
// is so already. It does not plug standin.Device into br-int. anew reports that the namespace is another than
// before, so that sockets opened earlier are not in it; fresh that the device is, so that a switch which had
// one of that name has lost it.
func (s *Namespace) Ensure(ctx context.Context) (anew, fresh bool, err error) {
	anew, err = link.EnsureNetns(Netns)
	if err != nil {
		return anew, false, err
	}
	fresh, err = s.ensurePair(ctx)
	return anew, fresh, err
}

// ensurePair makes the pair and sets both ends up.
func (s *Namespace) ensurePair(ctx context.Context) (fresh bool, err error) {
	host, err := link.Current()
	if err != nil {
		return fresh, err
	}
	defer host.Close()
	ns, err := link.OpenNetns(Netns)
	if err != nil {
		return fresh, err
	}
	defer ns.Close()
	fresh, err = host.EnsureVeth(link.Veth{Name: standin.Device, Peer: inside, PeerIn: ns, MTU: mtu, PeerMAC: standin.MAC})
	if err != nil {
		return fresh, err
	}
	if err := furnish(ns); err != nil {
		return fresh, fmt.Errorf("setting up namespace %s: %w", Netns, err)
	}
	// The host's own end says no word: whatever it hears is the switch's.
	if err := host.DisableIPv6(standin.Device); err != nil {
		return fresh, err
	}
	if s.quiet && (fresh || !s.still) {
		if err := host.Quiet(ctx, standin.Device); err != nil {
			return fresh, err
		}
		s.still = true
	}
	return fresh, host.SetUp(standin.Device)
}

// furnish sets the inside up.
func furnish(ns *link.Namespace) error {
	err := errors.Join(
		ns.TrySysctls("0", "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding",
			"net/ipv6/conf/all/accept_ra", "net/ipv6/conf/"+inside+"/accept_ra", "net/ipv4/conf/all/accept_redirects", "net/ipv6/conf/all/accept_redirects"),
		ns.TrySysctls("1", "net/ipv4/icmp_echo_ignore_all", "net/ipv6/icmp/echo_ignore_all"),
		ns.DisableTxOffload(inside),
		ns.DisableARP(inside),
		ns.SetUp("lo"),
		ns.SetUp(inside),
	)
	if err != nil {
		return err
	}
	for _, a := range []netip.Addr{standin.Service4, standin.Service6} {
		// On lo there is no duplicate to detect.
		if err := ns.EnsureAddr("lo", netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
	}
	for _, r := range []link.Route{
		{Dst: netip.PrefixFrom(gateway4, 32), Dev: inside},
		{Dst: standin.Prefix4, Gateway: gateway4, Dev: inside},
		{Dst: standin.Prefix6, Gateway: gateway6, Dev: inside},
	} {
		if err := ns.EnsureRoute(r); err != nil {
			return err
		}
	}
	return nil
}

// Sockets are where the services listen, in the namespace.
type Sockets struct {
	Metadata []net.Listener   // TCP 80, of both families
	DNS      []net.Listener   // TCP 53
	DNSUDP   []net.PacketConn // UDP 53
}

// Open opens the sockets. Whoever uses them may be anywhere: a socket stays in the namespace that it was
// made in.
func Open() (*Sockets, error) {
	ns, err := link.OpenNetns(Netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	s := &Sockets{}
	err = ns.Do(func() error {
		for _, a := range []netip.Addr{standin.Service4, standin.Service6} {
			for port, list := range map[uint16]*[]net.Listener{standin.MetadataPort: &s.Metadata, standin.DNSPort: &s.DNS} {
				l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
				if err != nil {
					return err
				}
				*list = append(*list, l)
			}
			c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, standin.DNSPort)))
			if err != nil {
				return err
			}
			s.DNSUDP = append(s.DNSUDP, c)
		}
		return nil
	})
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("listening in namespace %s: %w", Netns, err)
	}
	return s, nil
}

// Close closes the sockets.
func (s *Sockets) Close() {
	for _, l := range append(s.Metadata, s.DNS...) {
		l.Close()
	}
	for _, c := range s.DNSUDP {
		c.Close()
	}
}
