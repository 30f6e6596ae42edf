package network

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/ipam"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// CreateSubnet makes a subnet, and gives its addresses where they follow from
// it: to the network's DHCP port, and to all ports when guests make their own (SLAAC).
func (r *Rules) CreateSubnet(tx *store.Tx, env Env, who authn.Principal, spec SubnetSpec) (*model.Subnet, error) {
	project, err := projectFor(who, spec.ProjectID)
	if err != nil {
		return nil, err
	}
	netID := spec.NetworkID.Or(model.NetworkID{})
	n, err := r.Network(tx, who, netID)
	if err != nil {
		return nil, err
	}
	t := policy.NetworkTarget(n)
	t.ProjectID = project
	if err := ask(who, "create_subnet", t).attr("segment_id", spec.SegmentID.Set).err(); err != nil {
		return nil, err
	}
	if err := checkSubnetTexts(&spec); err != nil {
		return nil, err
	}
	if err := r.checkQuota(tx, project, QuotaSubnet); err != nil {
		return nil, err
	}
	s := &model.Subnet{
		Meta:            env.meta(project, spec.Name, spec.Description, 0),
		ID:              model.SubnetID{UUID: env.uuid()},
		NetworkID:       netID,
		EnableDHCP:      spec.EnableDHCP.Or(true),
		DNS:             spec.DNS.Or(nil),
		Routes:          spec.Routes.Or(nil),
		RAMode:          spec.RAMode.Or(""),
		AddressMode:     spec.AddressMode.Or(""),
		ServiceTypes:    spec.ServiceTypes.Or(nil),
		DNSPublishFixed: spec.DNSPublishFixed.Or(false),
	}
	pool, err := r.poolFor(tx, who, &spec)
	if err != nil {
		return nil, err
	}
	if pool != nil {
		s.SubnetPoolID = pool.ID
		s.CIDR, err = allocate(tx, pool, project, &spec)
	} else {
		s.CIDR, err = subnetPrefix(&spec)
	}
	if err != nil {
		return nil, err
	}
	if err := checkModes(s, spec.IPVersion.Or(s.IPVersion())); err != nil {
		return nil, err
	}
	if err := r.checkSubnet(s); err != nil {
		return nil, err
	}
	if err := checkOverlap(tx, s); err != nil {
		return nil, err
	}
	if err := checkAffinity(tx, s, pool); err != nil {
		return nil, err
	}
	if err := setGatewayAndPools(s, &spec); err != nil {
		return nil, err
	}
	tx.PutSubnet(s)
	touchNetwork(tx, env, netID)
	if err := giveAutoAddresses(tx, env, s); err != nil {
		return nil, err
	}
	if err := r.syncDHCP(tx, env, n); err != nil {
		return nil, err
	}
	return s, nil
}

// UpdateSubnet changes a subnet. Pools and gateway must stay apart; the DHCP
// port follows enable_dhcp.
func (r *Rules) UpdateSubnet(tx *store.Tx, env Env, who authn.Principal, id model.SubnetID, spec SubnetSpec, ifMatch *int64) (*model.Subnet, error) {
	old, err := r.Subnet(tx, who, id)
	if err != nil {
		return nil, err
	}
	if err := refuseProjectChange(who, spec.ProjectID); err != nil {
		return nil, err
	}
	n := tx.Network(old.NetworkID)
	if err := ask(who, "update_subnet", policy.SubnetTarget(old, n)).attr("segment_id", spec.SegmentID.Set).err(); err != nil {
		return nil, err
	}
	if err := checkRevision(ifMatch, old.Revision); err != nil {
		return nil, err
	}
	if err := checkSubnetTexts(&spec); err != nil {
		return nil, err
	}
	if err := refuseReadOnly(map[string]bool{
		"network_id": spec.NetworkID.Set, "ip_version": spec.IPVersion.Set, "cidr": spec.CIDR.Set, "subnetpool_id": spec.SubnetPoolID.Set,
		"use_default_subnetpool": spec.UseDefaultPool.Set, "prefixlen": spec.PrefixLen.Set, "ipv6_ra_mode": spec.RAMode.Set, "ipv6_address_mode": spec.AddressMode.Set,
	}); err != nil {
		return nil, err
	}
	s := old.Clone()
	set(&s.Name, spec.Name)
	set(&s.Description, spec.Description)
	set(&s.EnableDHCP, spec.EnableDHCP)
	set(&s.DNS, spec.DNS)
	set(&s.Routes, spec.Routes)
	set(&s.ServiceTypes, spec.ServiceTypes)
	set(&s.DNSPublishFixed, spec.DNSPublishFixed)
	if err := r.checkSubnet(s); err != nil {
		return nil, err
	}
	if spec.Gateway.Set {
		set(&s.Gateway, spec.Gateway)
		if err := checkGateway(s); err != nil {
			return nil, err
		}
		if p := tx.PortByAddr(id, old.Gateway); s.Gateway != old.Gateway && p != nil && p.IsRouterLeg() {
			return nil, fault.New(fault.Conflict, "GatewayIpInUse",
				"Current gateway ip %s already in use by port %s. Unable to update.", old.Gateway, p.ID)
		}
	}
	if pools, ok := spec.Pools.Get(); ok {
		if s.Pools, err = checkPools(s, pools); err != nil {
			return nil, err
		}
	}
	if err := checkGatewayOutsidePools(s); err != nil {
		return nil, err
	}
	if reflect.DeepEqual(old, s) {
		return old, nil
	}
	env.touch(&s.Meta)
	tx.PutSubnet(s)
	touchNetwork(tx, env, s.NetworkID)
	if old.EnableDHCP != s.EnableDHCP {
		if err := r.syncDHCP(tx, env, n); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// DeleteSubnet removes a subnet that no port has an address of. The DHCP port
// gives its address back; so do ports whose guests made it themselves (SLAAC).
func (r *Rules) DeleteSubnet(tx *store.Tx, env Env, who authn.Principal, id model.SubnetID, ifMatch *int64) error {
	s, err := r.Subnet(tx, who, id)
	if err != nil {
		return err
	}
	n := tx.Network(s.NetworkID)
	if err := ask(who, "delete_subnet", policy.SubnetTarget(s, n)).err(); err != nil {
		return err
	}
	if err := checkRevision(ifMatch, s.Revision); err != nil {
		return err
	}
	var release []*model.Port
	for _, p := range tx.AddrsInSubnet(id, s.CIDR.Addr()) {
		if p.DeviceOwner != model.OwnerDHCP && (!autoAddress(s) || isRouterInterface(p.DeviceOwner)) {
			return fault.New(fault.Conflict, "SubnetInUse", "Unable to complete operation on subnet %s: "+
				"One or more ports have an IP allocation from this subnet.", id)
		}
		release = append(release, p)
	}
	for _, p := range release {
		p = tx.Port(p.ID).Clone()
		p.FixedIPs = slices.DeleteFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == id })
		env.touch(&p.Meta)
		putPort(tx, p)
	}
	tx.DeleteSubnet(id)
	touchNetwork(tx, env, s.NetworkID)
	return r.syncDHCP(tx, env, n)
}

func checkSubnetTexts(s *SubnetSpec) error {
	if err := checkTexts(s.Name, s.Description); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, t := range s.ServiceTypes.Or(nil) {
		switch {
		case t == "" || len(t) > maxText || hasControl(t):
			return fault.New(fault.Invalid, "InvalidServiceType", "Invalid service type: %s.", t)
		case seen[t]:
			return badInput("duplicate service type %s", t)
		}
		seen[t] = true
	}
	if id := s.SegmentID.Or(""); id != "" {
		return fault.New(fault.NotFound, "SegmentNotFound", "Segment %s could not be found.", id)
	}
	return nil
}

// subnetPrefix reads the block that a subnet asks for.
func subnetPrefix(spec *SubnetSpec) (netip.Prefix, error) {
	text, ok := spec.CIDR.Get()
	if !ok || text == "" {
		return netip.Prefix{}, badRequest("subnets", "a subnetpool must be specified in the absence of a cidr.")
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, badInput("%s is not in a CIDR format", text)
	}
	if v, ok := spec.IPVersion.Get(); ok && (v == 4) != p.Addr().Is4() {
		return netip.Prefix{}, badInput("cidr '%s' does not match the ip_version '%d'", text, v)
	}
	if p.Bits() == 0 {
		return netip.Prefix{}, badInput("0 is not allowed as CIDR prefix length")
	}
	return p.Masked(), nil
}

// checkModes allows the combinations of IPv6 modes that mean something
// (Neutron API reference, "ipv6_ra_mode").
func checkModes(s *model.Subnet, version int) error {
	for _, m := range []struct {
		name string
		mode model.IPv6Mode
	}{{"ipv6_ra_mode", s.RAMode}, {"ipv6_address_mode", s.AddressMode}} {
		switch m.mode {
		case "":
			continue
		case model.IPv6SLAAC, model.IPv6Stateful, model.IPv6Stateless:
		default:
			return badAttr(m.name, "%s is not in valid_values.", m.mode)
		}
		if version == 4 {
			return badInput("%s is not valid when ip_version is 4", m.name)
		}
	}
	switch {
	case s.RAMode == "" && s.AddressMode == "":
		return nil
	case !s.EnableDHCP:
		return badInput("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	case s.RAMode != "" && s.AddressMode != "" && s.RAMode != s.AddressMode:
		return badInput("ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. "+
			"If both attributes are set, they must be the same value", s.RAMode, s.AddressMode)
	case autoAddress(s) && s.CIDR.Bits() != 64:
		return badInput("Invalid CIDR %s for IPv6 address mode. OpenStack uses the EUI-64 address format, "+
			"which requires the prefix to be /64", s.CIDR)
	}
	return nil
}

// checkSubnet checks what an update can change as well.
func (r *Rules) checkSubnet(s *model.Subnet) error {
	v4 := s.CIDR.Addr().Is4()
	if s.EnableDHCP {
		switch {
		case s.CIDR.Addr().IsMulticast():
			return badInput("Multicast IP subnet is not supported if enable_dhcp is True")
		case s.CIDR.Addr().IsLoopback():
			return badInput("Loopback IP subnet is not supported if enable_dhcp is True")
		}
	} else if s.RAMode != "" || s.AddressMode != "" {
		return badInput("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	}
	if len(s.DNS) > r.MaxDNSServers {
		return fault.New(fault.Invalid, "DNSNameServersExhausted", "Unable to complete operation for %s. "+
			"The number of DNS nameservers exceeds the limit %d.", s.ID, r.MaxDNSServers)
	}
	for i, a := range s.DNS {
		switch {
		case !a.IsValid() || a.Zone() != "":
			return badAttr("dns_nameservers", "'%s' is not a valid nameserver. '%s' is not a valid IP address.", a, a)
		case a.Is4() != v4:
			return badInput("dns_nameserver '%s' does not match the ip_version '%d'", a, s.IPVersion())
		case slices.Contains(s.DNS[:i], a):
			return badAttr("dns_nameservers", "Duplicate nameserver '%s'.", a)
		}
	}
	if len(s.Routes) > r.MaxHostRoutes {
		return fault.New(fault.Invalid, "HostRoutesExhausted", "Unable to complete operation for %s. "+
			"The number of host routes exceeds the limit %d.", s.ID, r.MaxHostRoutes)
	}
	for i, rt := range s.Routes {
		switch {
		case !rt.Destination.IsValid() || !rt.NextHop.IsValid() || rt.NextHop.Zone() != "":
			return badAttr("host_routes", "a route needs a destination and a nexthop.")
		case rt.Destination.Addr().Is4() != v4:
			return badInput("destination '%s' does not match the ip_version '%d'", rt.Destination, s.IPVersion())
		case rt.NextHop.Is4() != v4:
			return badInput("nexthop '%s' does not match the ip_version '%d'", rt.NextHop, s.IPVersion())
		case slices.Contains(s.Routes[:i], rt):
			return badAttr("host_routes", "Duplicate hostroute '{'destination': '%s', 'nexthop': '%s'}'.", rt.Destination, rt.NextHop)
		}
	}
	return nil
}

// checkOverlap refuses a block that has an address in common with another
// subnet of the network.
func checkOverlap(tx *store.Tx, s *model.Subnet) error {
	for o := range tx.SubnetsByNetwork(s.NetworkID) {
		if o.ID != s.ID && o.CIDR.Overlaps(s.CIDR) {
			return badInput("Requested subnet with cidr: %s for network: %s overlaps with another subnet", s.CIDR, s.NetworkID)
		}
	}
	return nil
}

// setGatewayAndPools fills in what the user left out: the first address is the gateway
// (the network address where guests make their own addresses), and the pools are
// all the rest.
func setGatewayAndPools(s *model.Subnet, spec *SubnetSpec) error {
	switch {
	case spec.Gateway.Set:
		set(&s.Gateway, spec.Gateway)
		if err := checkGateway(s); err != nil {
			return err
		}
	case autoAddress(s):
		s.Gateway = s.CIDR.Addr()
	case !s.CIDR.IsSingleIP():
		s.Gateway = s.CIDR.Addr().Next()
	}
	pools, ok := spec.Pools.Get()
	if !ok {
		s.Pools = ipam.DefaultPools(s.CIDR, s.Gateway)
		return nil
	}
	var err error
	if s.Pools, err = checkPools(s, pools); err != nil {
		return err
	}
	return checkGatewayOutsidePools(s)
}

// checkGateway refuses a gateway that is the network or broadcast address. One
// outside the subnet is allowed: an on-link route leads to it.
func checkGateway(s *model.Subnet) error {
	g := s.Gateway
	switch {
	case !g.IsValid():
		return nil
	case g.Zone() != "" || g.Is4() != s.CIDR.Addr().Is4():
		return badInput("gateway_ip '%s' does not match the ip_version '%d'", g, s.IPVersion())
	case g.IsMulticast() || g.IsUnspecified() || g.Is4() && s.CIDR.Contains(g) && !ipam.Bounds(s.CIDR).Contains(g):
		return badInput("Gateway is not valid on subnet")
	}
	return nil
}

// checkPools checks allocation pools and returns them in order.
func checkPools(s *model.Subnet, pools []model.Range) ([]model.Range, error) {
	if len(pools) > maxPools {
		return nil, badInput("a subnet cannot have more than %d allocation pools", maxPools)
	}
	sorted, err := ipam.ValidPools(s.CIDR, pools)
	var bad *ipam.PoolError
	if !errors.As(err, &bad) {
		return sorted, err
	}
	switch bad.Kind {
	case ipam.PoolOutside:
		return nil, fault.New(fault.Invalid, "OutOfBoundsAllocationPool",
			"The allocation pool %s spans beyond the subnet cidr %s.", rangeText(bad.Pool), s.CIDR)
	case ipam.PoolsOverlap:
		return nil, fault.New(fault.Conflict, "OverlappingAllocationPools",
			"Found overlapping allocation pools: %s %s for subnet %s.", rangeText(bad.Pool), rangeText(bad.Other), s.CIDR)
	}
	return nil, fault.New(fault.Invalid, "InvalidAllocationPool",
		"The allocation pool {'start': '%s', 'end': '%s'} is not valid.", bad.Pool.First, bad.Pool.Last)
}

// maxPools bounds one subnet's allocation pools: each is looked at for each
// new port.
const maxPools = 256

func checkGatewayOutsidePools(s *model.Subnet) error {
	if !s.Gateway.IsValid() {
		return nil
	}
	for _, p := range s.Pools {
		if p.Contains(s.Gateway) {
			return fault.New(fault.Conflict, "GatewayConflictWithAllocationPools",
				"Gateway ip %s conflicts with allocation pool %s.", s.Gateway, rangeText(p))
		}
	}
	return nil
}

func rangeText(r model.Range) string { return fmt.Sprintf("%s-%s", r.First, r.Last) }

// isRouterInterface reports whether a port of this owner is a router's way to a tenant network.
func isRouterInterface(owner string) bool {
	p := model.Port{DeviceOwner: owner}
	return p.IsRouterLeg() || strings.HasPrefix(owner, model.OwnerRouterInterface) || owner == "network:router_centralized_snat"
}
