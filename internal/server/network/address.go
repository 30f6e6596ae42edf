package network

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/ipam"
	"weft/internal/server/store"
)

// autoAddress reports whether the guests of a subnet make their own addresses
// (SLAAC, stateless DHCPv6), by either of its modes.
func autoAddress(s *model.Subnet) bool {
	return s.AutoAddress() || s.RAMode == model.IPv6SLAAC || s.RAMode == model.IPv6Stateless
}

// validAddr reports whether a port may ask for an address of a subnet: within it, neither
// its network address nor, for IPv4, its broadcast address. The gateway's
// address, and those outside the pools, are for those who ask for them.
func validAddr(s *model.Subnet, a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && s.CIDR.Contains(a) && ipam.Bounds(s.CIDR).Contains(a)
}

// addressing chooses the fixed addresses of one port within a transaction.
type addressing struct {
	tx      *store.Tx
	env     Env
	port    *model.Port // id, network, MAC and owner are set
	subnets []*model.Subnet
	limit   int
	got     []model.FixedIP
}

func (r *Rules) addressing(tx *store.Tx, env Env, p *model.Port) *addressing {
	a := &addressing{tx: tx, env: env, port: p, limit: r.MaxFixedIPs}
	for s := range tx.SubnetsByNetwork(p.NetworkID) {
		a.subnets = append(a.subnets, s)
	}
	return a
}

// choose gives a port one IPv4 address, one IPv6 address of a subnet where the server
// hands them out, and one of every subnet where guests make their own.
func (a *addressing) choose() ([]model.FixedIP, error) {
	candidates := a.serving()
	if len(candidates) == 0 && len(a.subnets) > 0 {
		return nil, fault.New(fault.Invalid, "IpAddressGenerationFailureNoMatchingSubnet",
			"No valid service subnet for the given device owner, network %s, service type %s.",
			a.port.NetworkID, a.port.DeviceOwner)
	}
	for _, version := range []int{4, 6} {
		tried := false
		for _, s := range candidates {
			if s.IPVersion() != version || autoAddress(s) {
				continue
			}
			tried = true
			if addr, ok := a.pick(s); ok {
				a.take(s, addr)
				tried = false
				break
			}
		}
		if tried {
			return nil, a.exhausted()
		}
	}
	if err := a.addAuto(candidates); err != nil {
		return nil, err
	}
	return a.got, nil
}

// chooseAsked gives a port the addresses that a request asks for, and one of
// every subnet where guests make their own. An address that the port has (current) and
// that fits what is asked is kept.
func (a *addressing) chooseAsked(want []FixedIPSpec, current []model.FixedIP) ([]model.FixedIP, error) {
	if len(want) > a.limit {
		return nil, badInput("Exceeded maximum amount of fixed ips per port")
	}
	var open []*model.Subnet // an address of this subnet, whichever
	for _, w := range want {
		s, err := a.subnetFor(w)
		if err != nil {
			return nil, err
		}
		if !w.Addr.IsValid() {
			open = append(open, s)
			continue
		}
		if err := a.takeExact(s, w.Addr); err != nil {
			return nil, err
		}
	}
	for _, s := range open {
		if a.keep(s, current) {
			continue
		}
		if autoAddress(s) && !isRouterInterface(a.port.DeviceOwner) {
			if err := a.takeAuto(s); err != nil {
				return nil, err
			}
			continue
		}
		addr, ok := a.pick(s)
		if !ok {
			return nil, a.exhausted()
		}
		a.take(s, addr)
	}
	if err := a.addAuto(a.serving()); err != nil {
		return nil, err
	}
	return a.got, nil
}

// serving are the subnets for a port of this owner: those without service types, and
// those that name it.
func (a *addressing) serving() []*model.Subnet {
	var out []*model.Subnet
	for _, s := range a.subnets {
		if len(s.ServiceTypes) == 0 || slices.Contains(s.ServiceTypes, a.port.DeviceOwner) {
			out = append(out, s)
		}
	}
	return out
}

// subnetFor is the subnet that an element of fixed_ips is about.
func (a *addressing) subnetFor(w FixedIPSpec) (*model.Subnet, error) {
	if !w.SubnetID.IsZero() {
		for _, s := range a.subnets {
			if s.ID == w.SubnetID {
				return s, nil
			}
		}
		if a.tx.Subnet(w.SubnetID) == nil {
			return nil, subnetNotFound(w.SubnetID)
		}
		return nil, badInput("Failed to create port on network %s, because fixed_ips included invalid subnet %s",
			a.port.NetworkID, w.SubnetID)
	}
	if !w.Addr.IsValid() {
		return nil, badInput("IP allocation requires subnet_id or ip_address")
	}
	for _, s := range a.subnets {
		if s.CIDR.Contains(w.Addr) {
			return s, nil
		}
	}
	return nil, fault.New(fault.Invalid, "InvalidIpForNetwork",
		"IP address %s is not a valid IP for any of the subnets on the specified network.", w.Addr)
}

func (a *addressing) takeExact(s *model.Subnet, addr netip.Addr) error {
	if autoAddress(s) && !isRouterInterface(a.port.DeviceOwner) {
		if own, err := ipam.EUI64(s.CIDR, a.port.MAC); err == nil && own == addr {
			return a.takeAuto(s)
		}
		return fault.New(fault.Invalid, "AllocationOnAutoAddressSubnet",
			"IPv6 address %s cannot be directly assigned to a port on subnet %s as the subnet is configured for automatic addresses",
			addr, s.ID)
	}
	// A router may have the network address of an IPv6 subnet as its own: it is the default
	// gateway where guests make their own addresses.
	router := isRouterInterface(a.port.DeviceOwner) && addr.Is6() && addr == s.CIDR.Addr()
	if !validAddr(s, addr) && !router {
		return fault.New(fault.Invalid, "InvalidIpForSubnet", "IP address %s is not a valid IP for the specified subnet.", addr)
	}
	if !a.free(s, addr) {
		return fault.New(fault.Conflict, "IpAddressAlreadyAllocated", "IP address %s already allocated in subnet %s", addr, s.ID)
	}
	a.take(s, addr)
	return nil
}

// keep takes an address of the subnet that the port already has.
func (a *addressing) keep(s *model.Subnet, current []model.FixedIP) bool {
	for _, f := range current {
		if f.SubnetID == s.ID && !slices.Contains(a.got, f) {
			a.got = append(a.got, f)
			return true
		}
	}
	return false
}

// addAuto takes the address that the port's guest will make for itself, on every
// subnet that is so.
func (a *addressing) addAuto(subnets []*model.Subnet) error {
	if isRouterInterface(a.port.DeviceOwner) {
		return nil
	}
	for _, s := range subnets {
		if autoAddress(s) {
			if err := a.takeAuto(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeAuto takes the address that follows from the MAC, once.
func (a *addressing) takeAuto(s *model.Subnet) error {
	addr, err := ipam.EUI64(s.CIDR, a.port.MAC)
	if err != nil {
		return fault.New(fault.Internal, "HTTPInternalServerError",
			"Request Failed: internal server error while processing your request.").Because(err)
	}
	if slices.Contains(a.got, model.FixedIP{SubnetID: s.ID, Addr: addr}) {
		return nil
	}
	if !a.free(s, addr) {
		return fault.New(fault.Conflict, "IpAddressAlreadyAllocated", "IP address %s already allocated in subnet %s", addr, s.ID)
	}
	a.take(s, addr)
	return nil
}

func (a *addressing) take(s *model.Subnet, addr netip.Addr) {
	a.got = append(a.got, model.FixedIP{SubnetID: s.ID, Addr: addr})
}

// free reports whether no other port has the address, nor this one in this request.
func (a *addressing) free(s *model.Subnet, addr netip.Addr) bool {
	if slices.Contains(a.got, model.FixedIP{SubnetID: s.ID, Addr: addr}) {
		return false
	}
	p := a.tx.PortByAddr(s.ID, addr)
	return p == nil || p.ID == a.port.ID
}

// pick chooses an address of the subnet's pools.
func (a *addressing) pick(s *model.Subnet) (netip.Addr, bool) {
	return ipam.Pick(s.Pools, &taken{a, s}, randomUint64(a.env))
}

// lowest chooses the first free address of the subnet's pools.
func (a *addressing) lowest(s *model.Subnet) (netip.Addr, bool) {
	used := &taken{a, s}
	for _, pool := range s.Pools {
		next := pool.First
		for addr := range used.From(pool.First) {
			if addr != next {
				break
			}
			next = next.Next()
		}
		if next.IsValid() && pool.Contains(next) {
			return next, true
		}
	}
	return netip.Addr{}, false
}

func (a *addressing) exhausted() error {
	return fault.New(fault.Conflict, "IpAddressGenerationFailure",
		"No more IP addresses available on network %s.", a.port.NetworkID)
}

// taken shows ipam the addresses in use on a subnet, with those of this request.
type taken struct {
	a *addressing
	s *model.Subnet
}

// Has reports whether an address is in use.
func (t *taken) Has(addr netip.Addr) bool {
	return t.a.tx.PortByAddr(t.s.ID, addr) != nil || slices.Contains(t.a.got, model.FixedIP{SubnetID: t.s.ID, Addr: addr})
}

// From yields the addresses in use in order: those stored, merged with those
// of this request.
func (t *taken) From(from netip.Addr) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		var mine []netip.Addr
		for _, f := range t.a.got {
			if f.SubnetID == t.s.ID && !f.Addr.Less(from) {
				mine = append(mine, f.Addr)
			}
		}
		slices.SortFunc(mine, netip.Addr.Compare)
		for addr := range t.a.tx.AddrsInSubnet(t.s.ID, from) {
			for len(mine) > 0 && !addr.Less(mine[0]) {
				if mine[0] != addr && !yield(mine[0]) {
					return
				}
				mine = mine[1:]
			}
			if !yield(addr) {
				return
			}
		}
		for _, addr := range mine {
			if !yield(addr) {
				return
			}
		}
	}
}

// randomUint64 draws numbers from the environment, two for each 16 bytes.
func randomUint64(env Env) func() uint64 {
	var buf [16]byte
	left := 0
	return func() uint64 {
		if left == 0 {
			buf, left = env.Random(), 2
		}
		left--
		return binary.BigEndian.Uint64(buf[left*8:])
	}
}

// giveAutoAddresses gives the ports of a network their addresses on a new
// subnet where guests make their own. Routers get theirs by being attached.
func giveAutoAddresses(tx *store.Tx, env Env, s *model.Subnet) error {
	if !autoAddress(s) {
		return nil
	}
	var ports []*model.Port
	for p := range tx.PortsByNetwork(s.NetworkID) {
		if !isRouterInterface(p.DeviceOwner) && !p.IsDHCPService() && p.DeviceOwner != model.OwnerFloatingIP &&
			(len(s.ServiceTypes) == 0 || slices.Contains(s.ServiceTypes, p.DeviceOwner)) {
			ports = append(ports, p)
		}
	}
	for _, p := range ports {
		p = p.Clone()
		a := &addressing{tx: tx, env: env, port: p, got: p.FixedIPs}
		if err := a.takeAuto(s); err != nil {
			return err
		}
		p.FixedIPs = a.got
		env.touch(&p.Meta)
		putPort(tx, p)
	}
	return nil
}
