package responder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
)

// metadata is where guests look for their instance's metadata (EC2, OpenStack).
var metadata = netip.MustParsePrefix("169.254.169.254/32")

// binding is what a port's guest is told. It never changes.
type binding struct {
	mac    model.MAC
	server model.MAC // of the network's DHCP port
	mtu    int
	leases []lease // one for each IPv4 address on a subnet with DHCP, never empty
}

// lease is an address and the options that come with it.
type lease struct {
	addr   netip.Addr
	server netip.Addr // identifies the server
	// plain and ipxe are for clients in general and for the iPXE loader.
	plain, ipxe answer
}

// answer is what a client gets beside its address.
type answer struct {
	next     netip.Addr // siaddr
	options  []option   // in order of their codes
	bootFile []byte     // for the file field, if the client does not ask for the option
	tftp     []byte     // for the sname field, likewise
}

// find returns the value of an option, nil if there is none.
func (a *answer) find(code byte) []byte {
	for i := range a.options {
		if a.options[i].code == code {
			return a.options[i].value
		}
	}
	return nil
}

// errNoDHCP is why a port has no binding: not an error of the port.
var errNoDHCP = errors.New("the port has no address on a subnet with DHCPv4")

// bind works out what a port's guest is told. A binding comes with an error if
// some of the port's extra options are not valid: those are left out.
func bind(p *model.PortView, n *model.NetworkView, set Settings) (*binding, error) {
	b := &binding{mac: p.MAC, server: n.DHCPMAC, mtu: n.MTU}
	extras, err := parseExtras(p.DHCPOptions)
	for _, f := range p.FixedIPs {
		subnet := subnetOf(f, n)
		if subnet == nil {
			continue
		}
		server, found := serverAddr(subnet, n)
		if !found {
			continue
		}
		l := lease{addr: f.Addr.Unmap(), server: server}
		l.plain = l.answer(p, n, subnet, set, extras, notIPXE)
		l.ipxe = l.answer(p, n, subnet, set, extras, ifIPXE)
		b.leases = append(b.leases, l)
	}
	if len(b.leases) == 0 || n.DHCPMAC.IsZero() {
		return nil, errNoDHCP
	}
	return b, err
}

func parseExtras(given []model.DHCPOption) ([]extra, error) {
	var extras []extra
	var errs []error
	for _, o := range given {
		if o.IPVersion == 6 {
			continue
		}
		e, err := parseExtra(o.Name, o.Value)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		extras = append(extras, e)
	}
	return extras, errors.Join(errs...)
}

// subnetOf finds the subnet of an IPv4 address, if it has DHCP.
func subnetOf(f model.FixedIP, n *model.NetworkView) *model.SubnetView {
	if !f.Addr.Unmap().Is4() {
		return nil
	}
	for i := range n.Subnets {
		s := &n.Subnets[i]
		if s.ID == f.SubnetID && s.EnableDHCP && s.CIDR.Addr().Is4() && s.CIDR.Contains(f.Addr.Unmap()) {
			return s
		}
	}
	return nil
}

// serverAddr is the DHCP port's address on the subnet, or on another one.
func serverAddr(s *model.SubnetView, n *model.NetworkView) (netip.Addr, bool) {
	var other netip.Addr
	for _, a := range n.DHCPAddrs {
		switch a = a.Unmap(); {
		case s.CIDR.Contains(a):
			return a, true
		case a.Is4() && !other.IsValid():
			other = a
		}
	}
	return other, other.IsValid()
}

func (l *lease) answer(p *model.PortView, n *model.NetworkView, s *model.SubnetView, set Settings, extras []extra, client condition) answer {
	a := answer{next: l.server}
	put := func(code byte, value []byte) {
		a.options = slices.DeleteFunc(a.options, func(o option) bool { return o.code == code })
		if len(value) > 0 {
			a.options = append(a.options, option{code, value})
		}
	}
	gateway, routes := l.routes(n, s)
	put(optNetmask, maskOf(s.CIDR))
	if gateway.IsValid() {
		put(optRouter, appendAddr(nil, gateway))
	}
	dns := dnsOf(s)
	if dns == nil {
		dns = appendAddr(nil, l.server) // the host's own, see package dns
	}
	put(optDNS, dns)
	put(optHostname, []byte(hostname(p, l.addr)))
	put(optDomain, []byte(set.Domain))
	if n.MTU >= 68 && n.MTU <= math.MaxUint16 { // RFC 2132, 5.1
		put(optMTU, binary.BigEndian.AppendUint16(nil, uint16(n.MTU)))
	}
	put(optBroadcast, appendAddr(nil, lastAddr(s.CIDR)))
	put(optRoutes, routes)
	put(optRoutesMS, routes)
	put(optLeaseTime, binary.BigEndian.AppendUint32(nil, set.seconds()))

	for _, e := range extras {
		switch {
		case e.when != always && e.when != client:
		case e.next:
			a.next = netip.AddrFrom4([4]byte(e.value))
		default:
			put(e.code, e.value)
		}
	}
	if seconds := binary.BigEndian.Uint32(a.find(optLeaseTime)); seconds != math.MaxUint32 {
		// A lease for ever is never renewed; the others at the times of RFC 2131, 4.4.5.
		for code, part := range map[byte]uint64{optRenewal: 4, optRebinding: 7} {
			if a.find(code) == nil {
				put(code, binary.BigEndian.AppendUint32(nil, uint32(uint64(seconds)*part/8)))
			}
		}
	}
	a.bootFile, a.tftp = a.find(optBootFile), a.find(optTFTPServer)
	slices.SortFunc(a.options, func(x, y option) int { return int(x.code) - int(y.code) })
	return a
}

// routes are what Neutron tells guests: the subnet's own routes, the metadata
// service by way of the DHCP port, the network's other subnets on the link, and
// the default route, which a client that knows option 121 takes from there only
// (RFC 3442).
func (l *lease) routes(n *model.NetworkView, s *model.SubnetView) (gateway netip.Addr, encoded []byte) {
	gateway = s.Gateway.Unmap()
	toMetadata := false
	for _, r := range s.Routes {
		to, via := r.Destination, r.NextHop.Unmap()
		switch {
		case !to.Addr().Is4() || !via.Is4():
		case to.Bits() == 0:
			if !gateway.IsValid() {
				gateway = via
			}
		default:
			encoded = appendRoute(encoded, to, via)
			toMetadata = toMetadata || to == metadata
		}
	}
	if !toMetadata {
		encoded = appendRoute(encoded, metadata, l.server)
	}
	for i := range n.Subnets {
		if o := &n.Subnets[i]; o.CIDR.Addr().Is4() && o.CIDR != s.CIDR {
			encoded = appendRoute(encoded, o.CIDR, netip.IPv4Unspecified())
		}
	}
	if gateway.IsValid() && !gateway.Is4() {
		gateway = netip.Addr{}
	}
	if gateway.IsValid() {
		encoded = appendRoute(encoded, netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway)
	}
	return gateway, encoded
}

func maskOf(p netip.Prefix) []byte {
	return binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
}

func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(a[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(a[:], last)
	return netip.AddrFrom4(a)
}

func dnsOf(s *model.SubnetView) []byte {
	var b []byte
	for _, a := range s.DNS {
		if a = a.Unmap(); a.Is4() {
			b = appendAddr(b, a)
		}
	}
	return b
}

// hostname is the port's DNS name, or one made of its address as Neutron does.
func hostname(p *model.PortView, a netip.Addr) string {
	if p.DNSName != "" {
		return p.DNSName
	}
	return fmt.Sprintf("host-%s", strings.NewReplacer(".", "-", ":", "-").Replace(a.String()))
}
