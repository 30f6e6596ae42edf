package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/host/link"
	"weft/internal/host/vif"
)

// leaseScript is what udhcpc runs on each change of a lease, in the host.
const leaseScript = guestDir + "/on-lease"

// guestVariable tells the script which guest it is in.
const guestVariable = "WEFT_LAB_GUEST"

// onLease applies what udhcpc says, which gives the lease in the environment.
func onLease(event string) error {
	n, err := link.Current()
	if err != nil {
		return err
	}
	defer n.Close()
	file := guestFile(os.Getenv(guestVariable), "lease.json")
	switch event {
	case "deconfig", "nak":
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			return err
		}
		return errors.Join(keepAddress(n, netip.Prefix{}), n.SetUp(vif.GuestDevice))
	case "bound", "renew":
		lease, err := parseLease(os.Getenv)
		if err != nil {
			return err
		}
		if err := applyLease(n, lease); err != nil {
			return err
		}
		b, err := json.Marshal(lease)
		if err != nil {
			return err
		}
		return errors.Join(writeResolv(lease), os.WriteFile(file, b, 0o644))
	}
	return nil // "leasefail": nothing changed
}

func applyLease(n *link.Namespace, lease Lease) error {
	if err := n.EnsureAddr(vif.GuestDevice, lease.Address); err != nil {
		return err
	}
	if err := keepAddress(n, lease.Address); err != nil {
		return err
	}
	if lease.MTU != 0 {
		if err := n.SetMTU(vif.GuestDevice, lease.MTU); err != nil {
			return err
		}
	}
	// Routes on the link first: others may have their gateway behind them.
	routes := slices.Clone(lease.Routes)
	slices.SortStableFunc(routes, func(a, b link.Route) int {
		return boolInt(a.Gateway.IsValid()) - boolInt(b.Gateway.IsValid())
	})
	for _, r := range routes {
		r.Dev = vif.GuestDevice
		if err := n.EnsureRoute(r); err != nil {
			return err
		}
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// keepAddress takes all IPv4 addresses from the card but one.
func keepAddress(n *link.Namespace, keep netip.Prefix) error {
	addrs, err := n.Addrs(vif.GuestDevice)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.Addr().Is4() && a != keep {
			if err := n.DeleteAddr(vif.GuestDevice, a); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeResolv(lease Lease) error {
	var b strings.Builder
	if lease.Domain != "" {
		fmt.Fprintf(&b, "search %s\n", lease.Domain)
	}
	for _, a := range lease.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if b.Len() == 0 {
		return nil
	}
	return os.WriteFile(guestFile(os.Getenv(guestVariable), "resolv.conf"), []byte(b.String()), 0o644)
}

// parseLease reads a lease from udhcpc's variables. With classless routes, the
// router option is passed over (RFC 3442).
func parseLease(env func(string) string) (Lease, error) {
	var l Lease
	addr, err := netip.ParseAddr(env("ip"))
	if err != nil || !addr.Is4() {
		return l, fmt.Errorf("lease: %q is no address", env("ip"))
	}
	bits, err := strconv.Atoi(env("mask"))
	if err != nil || bits < 0 || bits > 32 {
		return l, fmt.Errorf("lease: %q is no length of a mask", env("mask"))
	}
	l.Address = netip.PrefixFrom(addr, bits)
	if l.DNS, err = parseAddrs(env("dns")); err != nil {
		return l, fmt.Errorf("lease: name servers: %w", err)
	}
	if l.Routes, err = parseRoutes(env("staticroutes")); err != nil {
		return l, fmt.Errorf("lease: classless routes: %w", err)
	}
	routers, err := parseAddrs(env("router"))
	if err != nil {
		return l, fmt.Errorf("lease: routers: %w", err)
	}
	if len(l.Routes) == 0 && len(routers) > 0 {
		l.Routes = []link.Route{{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: routers[0]}}
	}
	if s := env("mtu"); s != "" {
		// 68 is the least of RFC 2132, 5.1.
		if l.MTU, err = strconv.Atoi(s); err != nil || l.MTU < 68 || l.MTU > 65535 {
			return l, fmt.Errorf("lease: %q is no mtu", s)
		}
	}
	l.Domain = strings.Join(strings.Fields(env("domain")), " ")
	l.Server, _ = netip.ParseAddr(env("serverid"))
	if seconds, err := strconv.ParseUint(env("lease"), 10, 32); err == nil {
		l.Time = time.Duration(seconds) * time.Second
	}
	return l, nil
}

func parseAddrs(list string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range strings.Fields(list) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// parseRoutes reads pairs of destination and gateway; gateway 0.0.0.0 is the link itself.
func parseRoutes(list string) ([]link.Route, error) {
	words := strings.Fields(list)
	if len(words)%2 != 0 {
		return nil, fmt.Errorf("%q has a destination without a gateway", list)
	}
	var out []link.Route
	for i := 0; i < len(words); i += 2 {
		dst, err := netip.ParsePrefix(words[i])
		if err != nil {
			return nil, err
		}
		gw, err := netip.ParseAddr(words[i+1])
		if err != nil {
			return nil, err
		}
		if !dst.Addr().Is4() || !gw.Is4() {
			return nil, fmt.Errorf("%s via %s is not IPv4", dst, gw)
		}
		r := link.Route{Dst: dst.Masked()}
		if !gw.IsUnspecified() {
			r.Gateway = gw
		}
		out = append(out, r)
	}
	return out, nil
}
