package pipeline

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/model"
)

// Ids of the scenarios: the kind of object is seen in the first digits.
func netID(n int) model.NetworkID { return model.NetworkID{UUID: uuid(0x0e, n)} }
func portID(n int) model.PortID   { return model.PortID{UUID: uuid(0x37, n)} }
func peerID(n int) model.PortID   { return model.PortID{UUID: uuid(0x9e, n)} }

func uuid(kind byte, n int) model.UUID {
	u := model.UUID{kind, 6: 0x40, 8: 0x80}
	binary.BigEndian.PutUint32(u[1:], uint32(n))
	return u
}

func mac(n int) model.MAC {
	m := model.MAC{0xfa, 0x16, 0x3e}
	m[3], m[4], m[5] = byte(n>>16), byte(n>>8), byte(n)
	return m
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// host returns a host with all its patch ports and tunnels to two others.
func host() Input {
	gre := func(a string) Tunnel { return Tunnel{model.TypeGRE, addr(a)} }
	return Input{
		L2Population: true,
		Local: Local{
			TunnelAddr: addr("10.0.1.31"),
			PatchTun:   1, PatchInt: 1,
			Ports:    map[model.PortID]uint32{},
			Filtered: map[model.PortID]bool{},
			Tunnels:  map[Tunnel]uint32{gre("10.0.1.21"): 2, gre("10.0.1.32"): 3, {model.TypeVXLAN, addr("10.0.1.32")}: 4, {model.TypeGeneve, addr("10.0.1.32")}: 5},
			Physical: map[string]Physical{"ext": {"br-ex", 90, 91}},
		},
		Networks: map[model.NetworkID]Network{},
		Ports:    map[model.PortID]*model.PortView{},
		Peers:    map[model.PortID]*model.PeerView{},
		Routers:  map[model.RouterID]Router{},
		Floating: map[model.FloatingIPID]*model.FloatingView{},
	}
}

// network adds network n with local VLAN id n, subnet 10.0.n.0/24 with DHCP at
// .2, and the given segment.
func (in Input) network(n int, typ model.NetworkType, tag uint32) Input {
	seg := model.Segment{Type: typ, Tag: tag}
	if typ == model.TypeFlat || typ == model.TypeVLAN {
		seg.Physical = "ext"
	}
	in.Networks[netID(n)] = Network{VLAN: uint16(n), View: &model.NetworkView{
		ID: netID(n), AdminStateUp: true, MTU: 1458, Segment: seg,
		Subnets: []model.SubnetView{{
			CIDR:    netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24),
			Gateway: netip.AddrFrom4([4]byte{10, 0, byte(n), 1}), EnableDHCP: true,
		}},
		DHCPMAC: mac(0xdc00 + n), DHCPAddrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n), 2})},
	}}
	return in
}

// port wires port p (OpenFlow number p, address .p, MAC p) to network n.
func (in Input) port(n, p int) Input {
	in.Ports[portID(p)] = &model.PortView{
		ID: portID(p), NetworkID: netID(n), MAC: mac(p), AdminStateUp: true, PortSecurity: true,
		FixedIPs: []model.FixedIP{{Addr: netip.AddrFrom4([4]byte{10, 0, byte(n), byte(p)})}},
		Firewall: model.FirewallHybrid,
	}
	in.Local.Ports[portID(p)] = uint32(p)
	return in
}

// peer adds a port with address .p and MAC p to network n, on another host.
func (in Input) peer(n, p int, host string) Input {
	v := &model.PeerView{
		PortID: peerID(p), NetworkID: netID(n), MAC: mac(p),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n), byte(p)})},
	}
	if host != "" {
		v.Tunnel = addr(host)
	}
	in.Peers[v.PortID] = v
	return in
}

func routerID(n int) model.RouterID { return model.RouterID{UUID: uuid(0x40, n)} }

// router adds router r with a leg on each of the networks (port and MAC 100 times the router and the network),
// served by hosts whose tunnel addresses are given.
func (in Input) router(r int, distributed bool, gateways []string, networks ...int) Input {
	v := &model.RouterView{ID: routerID(r), AdminStateUp: true, Distributed: distributed}
	for _, g := range gateways {
		v.Gateways = append(v.Gateways, model.GatewayView{Host: g, Tunnel: addr(g)})
	}
	for _, n := range networks {
		v.Legs = append(v.Legs, model.LegView{
			PortID: portID(100*r + n), NetworkID: netID(n), MAC: mac(100*r + n), MTU: 1458,
			Addrs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 1}), 24)},
		})
	}
	in.Routers[v.ID] = Router{View: v}
	return in
}

// here makes this host, 10.0.1.31, one that serves router r, by ports whose OpenFlow numbers are those of their MACs.
func (in Input) here(r int, active bool) Input {
	v := in.Routers[routerID(r)].View
	in.Host, in.Routers[v.ID] = "10.0.1.31", Router{View: v, Active: active}
	for i := range v.Legs {
		l := &v.Legs[i]
		in.Ports[l.PortID] = &model.PortView{ID: l.PortID, NetworkID: l.NetworkID, MAC: l.MAC, AdminStateUp: true, DeviceOwner: model.OwnerRouterInterface}
		in.Local.Ports[l.PortID] = uint32(l.MAC[4])<<8 | uint32(l.MAC[5])
	}
	return in
}

// external gives router r, which this host serves, an external leg on network 3 and a floating IP for port 11.
func (in Input) external(r int) Input {
	v := in.Routers[routerID(r)].View
	id := portID(100*r + 3)
	v.External = &model.ExternalView{LegView: model.LegView{
		PortID: id, NetworkID: netID(3), MAC: mac(100*r + 3), MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.120/24")},
	}}
	in.Ports[id] = &model.PortView{ID: id, NetworkID: netID(3), MAC: mac(100*r + 3), AdminStateUp: true, DeviceOwner: model.OwnerRouterGateway}
	in.Local.Ports[id] = uint32(100*r + 3)
	f := &model.FloatingView{ID: model.FloatingIPID{UUID: uuid(0x50, 11)}, RouterID: v.ID, Addr: addr("203.0.113.130"), Fixed: addr("10.0.1.11"), PortID: portID(11)}
	in.Served = map[model.FloatingIPID]*model.FloatingView{f.ID: f}
	return in
}

// floating has this host serve a floating IP of port p on network n by router r, whose external network is 3. The router's
// legs here are ports 70 (on n) and 73.
func (in Input) floating(r, n, p int) Input {
	v := in.Routers[routerID(r)].View
	v.External = &model.ExternalView{LegView: model.LegView{
		PortID: portID(100*r + 3), NetworkID: netID(3), MAC: mac(100*r + 3), MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.120/24")},
	}}
	v.Routes = []model.Route{{Destination: netip.MustParsePrefix("192.0.2.0/24"), NextHop: addr("10.0.1.99")}}
	in.Local.Ports[portID(100*r+n)], in.Local.Ports[portID(100*r+3)] = 70, 73
	f := &model.FloatingView{ID: model.FloatingIPID{UUID: uuid(0x50, p)}, RouterID: v.ID, Addr: addr("203.0.113.130"), Fixed: in.Ports[portID(p)].FixedIPs[0].Addr, PortID: portID(p), AtPort: true}
	in.Floating[f.ID] = f
	return in
}

// scenarios are the hosts whose flows are kept as goldens.
func scenarios() map[string]Input {
	learning := host().network(1, model.TypeGRE, 100).port(1, 11).port(1, 12).
		peer(1, 21, "10.0.1.21").peer(1, 22, "10.0.1.32")
	learning.L2Population = false

	open := host().network(1, model.TypeGRE, 100).port(1, 11).port(1, 12).port(1, 13).peer(1, 21, "10.0.1.21")
	open.Ports[portID(12)].PortSecurity = false
	open.Ports[portID(13)].AddressPairs = []model.AddressPair{
		{Prefix: netip.MustParsePrefix("10.0.1.200/32"), MAC: model.MAC{0, 0, 0x5e, 0, 1, 7}},
		{Prefix: netip.MustParsePrefix("10.0.1.128/25"), MAC: mac(13)},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), MAC: mac(13)},
	}

	v6 := host().network(1, model.TypeGRE, 100).port(1, 11)
	v6.Networks[netID(1)].View.Subnets[0].CIDR = netip.MustParsePrefix("2001:db8::/64")
	v6.Local.MeterLimit = 65535
	v6.Networks[netID(1)].View.Subnets[0].RAMode = model.IPv6Stateful
	v6.Networks[netID(1)].View.Subnets[0].AddressMode = model.IPv6Stateful
	v6.Networks[netID(1)].View.DHCPAddrs = []netip.Addr{addr("2001:db8::2")}
	v6.Ports[portID(11)].FixedIPs = []model.FixedIP{{Addr: addr("2001:db8::11")}}
	v6.Ports[portID(11)].AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("2001:db8:0:1::/64"), MAC: mac(11)}}

	// Two tenants with the same addresses, and a port that may use any address.
	services := host().network(1, model.TypeGRE, 100).port(1, 11).port(1, 12).network(2, model.TypeGRE, 200).port(2, 13)
	services.Local.Services = 80
	services.Networks[netID(2)].View.Subnets[0].CIDR = netip.MustParsePrefix("10.0.1.0/24")
	services.Networks[netID(2)].View.DHCPAddrs = []netip.Addr{addr("10.0.1.2"), addr("2001:db8::2")}
	services.Ports[portID(13)].FixedIPs = []model.FixedIP{{Addr: addr("10.0.1.11")}, {Addr: addr("2001:db8::11")}}
	services.Ports[portID(12)].PortSecurity = false

	watched := host().network(1, model.TypeGRE, 100).port(1, 11).network(2, model.TypeGRE, 200).port(2, 12).peer(2, 22, "10.0.1.32").
		router(1, false, []string{"10.0.1.21", "10.0.1.32"}, 1, 2)
	watched.Local.Watched = map[Tunnel]bool{{model.TypeGRE, addr("10.0.1.21")}: true, {model.TypeGRE, addr("10.0.1.32")}: true}
	narrow := host().network(1, model.TypeGRE, 100).port(1, 11).network(2, model.TypeGRE, 200).port(2, 12).peer(2, 22, "10.0.1.32").
		router(1, true, []string{"10.0.1.21"}, 1, 2)
	narrow.Routers[routerID(1)].View.Legs[1].MTU = 1400
	// Networks 1 and 3 are of one address scope in IPv4, network 2 is of none; in IPv6, networks 2 and 3 are.
	scopes := host().network(1, model.TypeGRE, 100).port(1, 11).network(2, model.TypeGRE, 200).port(2, 12).network(3, model.TypeGRE, 300).peer(3, 23, "10.0.1.32").
		router(1, true, []string{"10.0.1.21"}, 1, 2, 3)
	legs := scopes.Routers[routerID(1)].View.Legs
	for i, six := range []string{"2001:db8:1::1/64", "2001:db8:2::1/64", "2001:db8:3::1/64"} {
		legs[i].Addrs = append(legs[i].Addrs, netip.MustParsePrefix(six))
	}
	legs[0].Scope, legs[2].Scope = model.AddressScopeID{UUID: uuid(0x60, 1)}, model.AddressScopeID{UUID: uuid(0x60, 1)}
	legs[1].Scope6, legs[2].Scope6 = model.AddressScopeID{UUID: uuid(0x60, 2)}, model.AddressScopeID{UUID: uuid(0x60, 2)}
	scopes.Ports[portID(12)].FixedIPs = append(scopes.Ports[portID(12)].FixedIPs, model.FixedIP{Addr: addr("2001:db8:2::12")})
	scopes.Peers[peerID(23)].Addrs = append(scopes.Peers[peerID(23)].Addrs, addr("2001:db8:3::23"))
	two := []string{"10.0.1.31", "10.0.1.21"}
	served := func(active bool) Input {
		return host().network(1, model.TypeGRE, 100).port(1, 11).peer(1, 21, "10.0.1.32").router(1, false, two, 1).here(1, active)
	}

	gateway := func(active, quiet bool) Input {
		in := served(active).network(3, model.TypeFlat, 0).external(1)
		r := in.Routers[routerID(1)]
		r.Quiet = quiet
		in.Routers[routerID(1)] = r
		return in
	}

	atPort := host().network(1, model.TypeGRE, 100).port(1, 11).port(1, 13).network(2, model.TypeGRE, 200).port(2, 12).peer(2, 22, "10.0.1.32").
		network(3, model.TypeFlat, 0).router(1, true, []string{"10.0.1.21"}, 1, 2).floating(1, 1, 11)

	filtered := host().network(1, model.TypeGRE, 100).port(1, 11).port(1, 12).port(1, 13)
	filtered.Ports[portID(13)].AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("10.0.1.200/32"), MAC: model.MAC{0, 0, 0x5e, 0, 1, 7}}}
	for _, p := range []int{11, 13} {
		filtered.Ports[portID(p)].Firewall = model.FirewallNative
		filtered.Local.Filtered[portID(p)] = true
	}

	return map[string]Input{
		"router":         watched,
		"router-active":  served(true),
		"router-standby": served(false),
		"gateway":        gateway(true, false),
		"gateway-quiet":  gateway(true, true),
		"distributed":    narrow,
		"scopes":         scopes,
		"at-port":        atPort,
		"services":       services,
		"filtered":       filtered,
		"empty":          host(),
		"one-host":       host().network(1, model.TypeGRE, 100).port(1, 11).port(1, 12),
		"populated":      host().network(1, model.TypeGRE, 100).port(1, 11).port(1, 12).peer(1, 21, "10.0.1.21").peer(1, 22, "10.0.1.32"),
		"learning":       learning,
		"open":           open,
		"ipv6":           v6,
		"tunnel-types": host().network(1, model.TypeGRE, 100).port(1, 11).peer(1, 21, "10.0.1.32").
			network(2, model.TypeVXLAN, 100).port(2, 12).peer(2, 22, "10.0.1.32").
			network(3, model.TypeGeneve, 100).port(3, 13).peer(3, 23, "10.0.1.32"),
		"provider": host().network(1, model.TypeFlat, 0).port(1, 11).
			network(2, model.TypeVLAN, 200).port(2, 12).peer(2, 22, "").
			network(3, model.TypeLocal, 0).port(3, 13).port(3, 14),
	}
}
