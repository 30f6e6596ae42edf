package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is a route of the main table.
type Route struct {
	Dst     netip.Prefix // 0.0.0.0/0 or ::/0 is the default route
	Gateway netip.Addr   // zero: on the link itself
	Dev     string
	// Static routes are somebody's choice (protocol "static"), not the kernel's own.
	Static bool
}

// Addrs returns a device's addresses of both families with their prefix lengths.
func (n *Namespace) Addrs(dev string) ([]netip.Prefix, error) {
	l, err := n.byName(dev)
	if err != nil {
		return nil, err
	}
	addrs, err := n.handle.AddrList(l, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("listing addresses of %s: %w", dev, err)
	}
	out := make([]netip.Prefix, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, prefixOf(a.IPNet))
	}
	return out, nil
}

// EnsureAddr gives a device an address.
func (n *Namespace) EnsureAddr(dev string, addr netip.Prefix) error {
	l, err := n.byName(dev)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: ipNet(addr)}
	if addr.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // whoever gives it knows that it is nobody else's
	}
	err = n.handle.AddrAdd(l, a)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding address %s to %s: %w", addr, dev, err)
	}
	return nil
}

// DeleteAddr takes an address away; it is no error when it is not there.
func (n *Namespace) DeleteAddr(dev string, addr netip.Prefix) error {
	l, err := n.byName(dev)
	if err != nil {
		return err
	}
	err = n.handle.AddrDel(l, &netlink.Addr{IPNet: ipNet(addr)})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("deleting address %s of %s: %w", addr, dev, err)
	}
	return nil
}

// EnsureRoute makes a route, or replaces the one to the same destination.
func (n *Namespace) EnsureRoute(r Route) error {
	route, err := n.route(r)
	if err != nil {
		return err
	}
	if err := n.handle.RouteReplace(route); err != nil {
		return fmt.Errorf("adding route to %s: %w", r.Dst, err)
	}
	return nil
}

// DeleteRoute takes a route away; it is no error when it is not there.
func (n *Namespace) DeleteRoute(r Route) error {
	route, err := n.route(r)
	if err != nil {
		return err
	}
	if err := n.handle.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("deleting route to %s: %w", r.Dst, err)
	}
	return nil
}

// Routes returns the routes of the main table, of both families.
func (n *Namespace) Routes() ([]Route, error) {
	names := map[int]string{}
	links, err := n.List()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var out []Route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := n.handle.RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("listing routes: %w", err)
		}
		for _, r := range routes {
			route := Route{Dev: names[r.LinkIndex], Static: r.Protocol == unix.RTPROT_STATIC}
			if r.Dst != nil {
				route.Dst = prefixOf(r.Dst)
			} else if family == unix.AF_INET {
				route.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			} else {
				route.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
			if gw, ok := netip.AddrFromSlice(r.Gw); ok {
				route.Gateway = gw.Unmap()
			}
			out = append(out, route)
		}
	}
	return out, nil
}

func (n *Namespace) route(r Route) (*netlink.Route, error) {
	out := &netlink.Route{Dst: ipNet(r.Dst.Masked())}
	if r.Dev != "" {
		l, err := n.byName(r.Dev)
		if err != nil {
			return nil, err
		}
		out.LinkIndex = l.Attrs().Index
	}
	if r.Static {
		out.Protocol = unix.RTPROT_STATIC
	}
	if r.Gateway.IsValid() {
		out.Gw = r.Gateway.AsSlice()
	} else {
		out.Scope = netlink.SCOPE_LINK
	}
	return out, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}
