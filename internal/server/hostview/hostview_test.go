package hostview_test

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/server/hostview"
	"weft/internal/server/store"
	"weft/internal/testkit/storetest"
)

func id(kind byte, n int) (u model.UUID) {
	u[0], u[15] = kind, byte(n+1)
	u[14] = byte((n + 1) >> 8)
	return u
}

func netID(n int) model.NetworkID         { return model.NetworkID{UUID: id(1, n)} }
func subID(n int) model.SubnetID          { return model.SubnetID{UUID: id(2, n)} }
func portID(n int) model.PortID           { return model.PortID{UUID: id(3, n)} }
func groupID(n int) model.SecurityGroupID { return model.SecurityGroupID{UUID: id(4, n)} }
func ruleID(n int) model.SecurityGroupRuleID {
	return model.SecurityGroupRuleID{UUID: id(5, n)}
}

func routerID(n int) model.RouterID { return model.RouterID{UUID: id(6, n)} }
func addressesID(n int) model.AddressGroupID {
	return model.AddressGroupID{UUID: id(11, n)}
}
func floatID(n int) model.FloatingIPID { return model.FloatingIPID{UUID: id(7, n)} }

func host(n int, last byte) *model.Host {
	return &model.Host{Name: fmt.Sprintf("compute%d", n), TunnelAddr: netip.AddrFrom4([4]byte{10, 0, 1, last}), Mappings: map[string]string{"physnet1": "br-ex"}}
}

func network(n int, segment model.Segment) *model.Network {
	return &model.Network{ID: netID(n), AdminStateUp: true, MTU: 1458, Segments: []model.Segment{segment}}
}

func port(n, net int, hostName string, groups ...int) *model.Port {
	p := &model.Port{
		ID: portID(n), NetworkID: netID(net), AdminStateUp: true, PortSecurity: true, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, byte(n >> 8), byte(n)},
		FixedIPs: []model.FixedIP{{SubnetID: subID(net), Addr: netip.AddrFrom4([4]byte{10, byte(net), byte(n >> 8), byte(n + 2)})}},
	}
	if hostName != "" {
		p.Binding = model.Binding{HostID: hostName, VIFType: "ovs", Firewall: model.FirewallHybrid}
	}
	for _, g := range groups {
		p.SecurityGroups = append(p.SecurityGroups, groupID(g))
	}
	return p
}

func update(t interface{ Fatal(...any) }, s *store.Store, fn func(tx *store.Tx)) {
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestView_holdsOnlyWhatConcernsTheHost(t *testing.T) {
	s := storetest.Open(t)
	gre := model.Segment{Type: model.TypeGRE, Tag: 7}
	update(t, s, func(tx *store.Tx) {
		tx.PutHost(host(1, 31))
		tx.PutHost(host(2, 32))
		tx.PutNetwork(network(0, gre))
		tx.PutNetwork(network(1, model.Segment{Type: model.TypeGRE, Tag: 8}))
		tx.PutSecurityGroup(&model.SecurityGroup{ID: groupID(0)})
		tx.PutSecurityGroup(&model.SecurityGroup{ID: groupID(1)})
		tx.PutSecurityGroupRule(&model.SecurityGroupRule{ID: ruleID(0), GroupID: groupID(0), Direction: model.Ingress, EtherType: model.IPv4, IPProtocol: -1, RemoteGroup: groupID(1)})
		tx.PutPort(port(0, 0, "compute1", 0))
		tx.PutPort(port(1, 0, "compute2", 1))
		tx.PutPort(port(2, 1, "compute2", 1)) // another network, but in the remote group
		tx.PutPort(port(3, 1, "compute2"))    // another network and no group
	})
	v := hostview.View(s.Snapshot(), "compute1")
	if len(v.Ports) != 1 || v.Ports[portID(0)] == nil {
		t.Errorf("ports: %v", v.Ports)
	}
	if len(v.Networks) != 1 || v.Networks[netID(0)] == nil {
		t.Errorf("networks: %v", v.Networks)
	}
	if len(v.Peers) != 1 || v.Peers[portID(1)] == nil || v.Peers[portID(1)].Tunnel.String() != "10.0.1.32" {
		t.Errorf("peers: %v", v.Peers)
	}
	if len(v.Groups) != 1 || v.Groups[groupID(0)] == nil {
		t.Errorf("groups: %v", v.Groups)
	}
	if len(v.Members) != 2 {
		t.Errorf("members: %v", v.Members)
	}
	if empty := hostview.View(s.Snapshot(), "compute9"); len(empty.Networks)+len(empty.Ports)+len(empty.Peers)+len(empty.Groups)+len(empty.Members) != 0 {
		t.Errorf("a host without ports was sent %+v", empty)
	}
}

// TestView_tellsNamesAndInstances: a host is told what its guests ask it for.
func TestView_tellsNamesAndInstances(t *testing.T) {
	s := storetest.Open(t)
	update(t, s, func(tx *store.Tx) {
		tx.PutHost(host(1, 31))
		tx.PutHost(host(2, 32))
		n := network(0, model.Segment{Type: model.TypeVLAN, Physical: "physnet1", Tag: 7})
		n.DNSDomain = "corp.example."
		tx.PutNetwork(n)
		own := port(0, 0, "compute1")
		own.ProjectID, own.DNSDomain, own.Tags = "demo", "port.example.", []string{"weft:hostname=web1"}
		tx.PutPort(own)
		named := port(1, 0, "compute2")
		named.DNSName = "db"
		tx.PutPort(named)
		tx.PutPort(port(2, 0, "compute2")) // without a name, and needs no tunnel
	})
	v := hostview.View(s.Snapshot(), "compute1")
	if p := v.Ports[portID(0)]; p == nil || p.ProjectID != "demo" || p.DNSDomain != "port.example." || p.Instance.Hostname != "web1" {
		t.Errorf("port %+v", p)
	}
	if n := v.Networks[netID(0)]; n == nil || n.DNSDomain != "corp.example." {
		t.Errorf("network %+v", n)
	}
	if p := v.Peers[portID(1)]; len(v.Peers) != 1 || p == nil || p.DNSName != "db" || p.Tunnel.IsValid() || len(p.Addrs) != 1 {
		t.Errorf("peers %v", v.Peers)
	}
}

// mutate makes one random change.
func mutate(t *rapid.T, tx *store.Tx) {
	pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	hosts := []string{"compute0", "compute1", "compute2", ""}
	segments := []model.Segment{{Type: model.TypeGRE}, {Type: model.TypeVXLAN}, {Type: model.TypeVLAN, Physical: "physnet1"}, {Type: model.TypeFlat, Physical: "nowhere"}}
	switch pick("op", 22) {
	case 0, 1, 2, 3:
		p := port(pick("port", 12), pick("net", 3), hosts[pick("host", 4)], pick("group", 3))
		p.AdminStateUp = pick("up", 4) > 0
		p.PortSecurity = pick("ps", 4) > 0
		p.DNSName = []string{"", "web"}[pick("name", 2)]
		if pick("pair", 3) == 0 {
			p.AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), MAC: p.MAC}}
		}
		if old := tx.Port(p.ID); old != nil {
			p.NetworkID, p.FixedIPs = old.NetworkID, old.FixedIPs
		}
		tx.PutPort(p)
	case 4:
		tx.DeletePort(portID(pick("port", 12)))
	case 5:
		n := network(pick("net", 3), segments[pick("segment", 4)])
		n.Segments[0].Tag = uint32(n.ID.UUID[15])
		n.MTU = 1400 + pick("mtu", 2)
		tx.PutNetwork(n)
	case 6:
		n := pick("net", 3)
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 16)
		if pick("family", 3) == 0 {
			cidr = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 5: byte(n)}), 64)
		}
		tx.PutSubnet(&model.Subnet{ID: subID(n), NetworkID: netID(n), CIDR: cidr, EnableDHCP: pick("dhcp", 2) == 0,
			SubnetPoolID: model.SubnetPoolID{UUID: id(9, pick("pool", 2))}})
	case 7:
		n := pick("net", 3)
		p := port(100+n, n, "")
		p.DeviceOwner, p.DeviceID = model.OwnerDHCP, model.DHCPDeviceID(netID(n))
		tx.PutPort(p)
	case 8:
		g := pick("group", 3)
		tx.PutSecurityGroup(&model.SecurityGroup{ID: groupID(g), Stateful: pick("stateful", 2) == 0})
	case 9:
		r := &model.SecurityGroupRule{ID: ruleID(pick("rule", 5)), GroupID: groupID(pick("group", 3)), Direction: model.Ingress, EtherType: model.IPv4, IPProtocol: 6}
		if pick("remote", 2) == 0 {
			r.RemoteGroup = groupID(pick("rg", 3))
		} else if pick("addresses", 2) == 0 {
			r.RemoteAddressGroup = addressesID(pick("ag", 2))
		}
		if old := tx.SecurityGroupRule(r.ID); old != nil {
			r.GroupID = old.GroupID
		}
		tx.PutSecurityGroupRule(r)
	case 10:
		tx.DeleteSecurityGroupRule(ruleID(pick("rule", 5)))
	case 11:
		h := host(pick("host", 3), byte(31+pick("addr", 40)))
		if pick("map", 2) == 0 {
			h.Mappings = nil
		}
		tx.PutHost(h)
	case 12, 13:
		g := &model.AddressGroup{ID: addressesID(pick("ag", 2))}
		for i := range 4 {
			if pick("has", 2) == 0 {
				g.Addresses = append(g.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i << 4)}), 28))
			}
		}
		tx.PutAddressGroup(g)
		if pick("gone", 4) == 0 {
			tx.DeleteAddressGroup(g.ID)
		}
	default:
		mutateRouting(t, tx)
	}
}

// mutateRouting makes one random change of what routers are about. Rows need not fit together: a leg
// may be there before its router, a floating IP after its port.
func mutateRouting(t *rapid.T, tx *store.Tx) {
	pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	switch pick("routing op", 9) {
	case 0, 1:
		r := &model.Router{ID: routerID(pick("router", 2)), AdminStateUp: true, Distributed: pick("distributed", 2) == 0}
		r.Hosts = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"compute0", "compute1", "compute2"}), 0, 2, rapid.ID).Draw(t, "hosts")
		if pick("moving", 3) == 0 {
			r.HandOver = &model.HandOver{From: fmt.Sprintf("compute%d", pick("from", 3))}
			if pick("ready", 2) == 0 {
				r.HandOver.Ready = time.Unix(1, 0)
			}
		}
		if pick("external", 2) == 0 {
			r.External = &model.ExternalGateway{NetworkID: netID(2), PortID: portID(200 + int(r.ID.UUID[15])), EnableSNAT: pick("snat", 2) == 0}
		}
		tx.PutRouter(r)
	case 2:
		tx.DeleteRouter(routerID(pick("router", 2)))
	case 3, 4:
		r, n := pick("router", 2), pick("net", 3)
		p := port(300+10*r+n, n, "", pick("group", 3))
		p.DeviceOwner, p.DeviceID = model.OwnerRouterInterface, routerID(r).String()
		if pick("gateway", 3) == 0 {
			p.ID, p.DeviceOwner = portID(200+int(routerID(r).UUID[15])), model.OwnerRouterGateway
		}
		if old := tx.Port(p.ID); old != nil {
			p.NetworkID, p.FixedIPs = old.NetworkID, old.FixedIPs
		}
		tx.PutPort(p)
	case 5:
		tx.DeletePort(portID(300 + 10*pick("router", 2) + pick("net", 3)))
	case 6:
		f := &model.FloatingIP{ID: floatID(pick("floating", 3)), NetworkID: netID(pick("external net", 3)), Addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(pick("addr", 9) + 10)})}
		if pick("routed", 4) > 0 {
			f.RouterID = routerID(pick("router", 2))
		}
		if pick("associated", 3) > 0 {
			f.PortID, f.FixedAddr = portID(pick("port", 12)), netip.AddrFrom4([4]byte{10, 0, 0, 9})
		}
		tx.PutFloatingIP(f)
		if pick("delete", 4) == 0 {
			tx.DeleteFloatingIP(f.ID)
		}
	case 8:
		tx.PutSubnetPool(&model.SubnetPool{ID: model.SubnetPoolID{UUID: id(9, pick("pool", 2))}, AddressScopeID: model.AddressScopeID{UUID: id(10, pick("scope", 2))},
			Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	case 7:
		w := &model.PortForwarding{
			ID: model.PortForwardingID{UUID: id(8, pick("forwarding", 3))}, FloatingIPID: floatID(pick("floating", 3)), PortID: portID(pick("port", 12)),
			InternalAddr: netip.AddrFrom4([4]byte{10, 0, 0, 9}), IPProtocol: 6, ExternalMin: 1000 + pick("port", 9), ExternalMax: 1010, InternalMin: 22, InternalMax: 22,
		}
		tx.PutPortForwarding(w)
		if pick("delete", 4) == 0 {
			tx.DeletePortForwarding(w.ID)
		}
	}
}

func sameObjects[K comparable, V any](t *rapid.T, what string, got, want map[K]*V) {
	for k, v := range want {
		if got[k] == nil || !reflect.DeepEqual(got[k], v) {
			t.Fatalf("%s: %v by deltas is %+v, from scratch %+v", what, k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d by deltas, %d from scratch", what, len(got), len(want))
	}
}

func sameView(t *rapid.T, who string, got, want *model.HostView) {
	sameObjects(t, who+" networks", got.Networks, want.Networks)
	sameObjects(t, who+" ports", got.Ports, want.Ports)
	sameObjects(t, who+" peers", got.Peers, want.Peers)
	sameObjects(t, who+" groups", got.Groups, want.Groups)
	sameObjects(t, who+" members", got.Members, want.Members)
	sameObjects(t, who+" routers", got.Routers, want.Routers)
	sameObjects(t, who+" floating IPs", got.Floating, want.Floating)
}

// TestDelta_followingDeltasEqualsStartingFromScratch is the convergence invariant: whatever
// changes, in batches of whatever size, the view that a host has built from deltas is the view of the
// latest snapshot; so is that of a host which was away and got the difference from any earlier one.
func TestDelta_followingDeltasEqualsStartingFromScratch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := storetest.Open(t)
		names := []string{"compute0", "compute1", "compute2"}
		cursor := s.Snapshot()
		views, scopes := map[string]*model.HostView{}, map[string]*hostview.Scope{}
		for _, h := range names {
			views[h], scopes[h] = hostview.View(cursor, h), hostview.ScopeOf(cursor, h)
		}
		sub := s.Subscribe(cursor)
		past := cursor
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			var changes []store.Change
			var last *store.Commit
			for range rapid.IntRange(1, 5).Draw(rt, "commits") {
				before := s.Snapshot().Revision()
				update(rt, s, func(tx *store.Tx) {
					for range rapid.IntRange(1, 3).Draw(rt, "writes") {
						mutate(rt, tx)
					}
				})
				if s.Snapshot().Revision() == before {
					continue // nothing was written
				}
				c, err := sub.Next(context.Background())
				if err != nil {
					rt.Fatal(err)
				}
				changes, last = append(changes, c.Changes...), c
			}
			if last == nil {
				continue
			}
			for _, h := range names {
				delta, scope := hostview.Delta(cursor, last.Snapshot, changes, scopes[h], h)
				views[h].Apply(delta)
				scopes[h] = scope
				want := hostview.View(last.Snapshot, h)
				sameView(rt, h, views[h], want)
				resumed := hostview.View(past, h) // a host that was away since then, and resumes
				resumed.Apply(resumed.Diff(want))
				sameView(rt, h+" resumed", resumed, want)
				if !reflect.DeepEqual(scope, hostview.ScopeOf(last.Snapshot, h)) {
					rt.Fatalf("host %s: scope has drifted", h)
				}
			}
			cursor = last.Snapshot
			if rapid.Bool().Draw(rt, "leave") {
				past = cursor
			}
		}
	})
}

// TestDelta_oneMemberIsOneObject holds up that a member of a remote group costs the same
// whatever the size of the group.
func TestDelta_oneMemberIsOneObject(t *testing.T) {
	s := storetest.Open(t)
	update(t, s, func(tx *store.Tx) {
		tx.PutHost(host(1, 31))
		tx.PutNetwork(network(0, model.Segment{Type: model.TypeGRE, Tag: 7}))
		tx.PutNetwork(network(1, model.Segment{Type: model.TypeGRE, Tag: 8}))
		tx.PutSecurityGroup(&model.SecurityGroup{ID: groupID(0)})
		tx.PutSecurityGroupRule(&model.SecurityGroupRule{ID: ruleID(0), GroupID: groupID(0), Direction: model.Ingress, EtherType: model.IPv4, IPProtocol: -1, RemoteGroup: groupID(0)})
		tx.PutPort(port(0, 0, "compute1", 0))
		for n := 1; n < 1000; n++ {
			tx.PutPort(port(n, 1, "", 0))
		}
	})
	before := s.Snapshot()
	scope := hostview.ScopeOf(before, "compute1")
	sub := s.Subscribe(before)
	update(t, s, func(tx *store.Tx) { tx.PutPort(port(1000, 1, "", 0)) })
	c, err := sub.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	delta, next := hostview.Delta(before, c.Snapshot, c.Changes, scope, "compute1")
	if next != scope {
		t.Error("the scope was computed anew")
	}
	if n := len(delta.Networks) + len(delta.Ports) + len(delta.Peers) + len(delta.Groups) + len(delta.Deletes); n != 0 || len(delta.Members) != 1 {
		t.Errorf("delta of %d members and %d other objects", len(delta.Members), n)
	}
}

// TestDelta_oneAddressIsOneObject is the same of an address group, whose addresses are one row.
func TestDelta_oneAddressIsOneObject(t *testing.T) {
	s := storetest.Open(t)
	g := &model.AddressGroup{ID: addressesID(0)}
	for n := range 1000 {
		g.Addresses = append(g.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 32))
	}
	update(t, s, func(tx *store.Tx) {
		tx.PutHost(host(1, 31))
		tx.PutNetwork(network(0, model.Segment{Type: model.TypeGRE, Tag: 7}))
		tx.PutSecurityGroup(&model.SecurityGroup{ID: groupID(0)})
		tx.PutSecurityGroupRule(&model.SecurityGroupRule{ID: ruleID(0), GroupID: groupID(0), Direction: model.Ingress, EtherType: model.IPv4, IPProtocol: -1, RemoteAddressGroup: g.ID})
		tx.PutAddressGroup(g)
		tx.PutPort(port(0, 0, "compute1", 0))
	})
	before := s.Snapshot()
	scope := hostview.ScopeOf(before, "compute1")
	if n := len(hostview.View(before, "compute1").Members); n != 1000 {
		t.Fatalf("%d members, want 1000", n)
	}
	sub := s.Subscribe(before)
	update(t, s, func(tx *store.Tx) {
		g := g.Clone()
		g.Addresses = slices.Concat(g.Addresses[1:500], g.Addresses[501:], []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")})
		tx.PutAddressGroup(g)
	})
	c, err := sub.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	delta, next := hostview.Delta(before, c.Snapshot, c.Changes, scope, "compute1")
	if next != scope || len(delta.Members) != 1 || len(delta.Deletes) != 2 {
		t.Errorf("delta of %d members and %d deletes", len(delta.Members), len(delta.Deletes))
	}
}

// TestFloating_isServedByItsPortsHostOrByTheGateways: the gateways and the port's host come to the same result.
func TestFloating_isServedByItsPortsHostOrByTheGateways(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*store.Tx)
		atPort bool
	}{
		{"a distributed router", func(*store.Tx) {}, true},
		{"a router that is not distributed", func(tx *store.Tx) {
			tx.PutRouter(&model.Router{ID: routerID(0), AdminStateUp: true, Hosts: []string{"compute2"}})
		}, false},
		{"a host without a bridge for the external network", func(tx *store.Tx) {
			h := host(1, 31)
			h.Mappings = nil
			tx.PutHost(h)
		}, false},
		{"a host that is itself a gateway", func(tx *store.Tx) {
			tx.PutRouter(&model.Router{ID: routerID(0), AdminStateUp: true, Distributed: true, Hosts: []string{"compute2", "compute1"}})
		}, false},
		{"a tunnelled external network", func(tx *store.Tx) { tx.PutNetwork(network(2, model.Segment{Type: model.TypeGRE, Tag: 9})) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := storetest.Open(t)
			update(t, s, func(tx *store.Tx) {
				tx.PutHost(host(1, 31))
				tx.PutHost(host(2, 32))
				tx.PutNetwork(network(0, model.Segment{Type: model.TypeGRE, Tag: 7}))
				tx.PutNetwork(network(2, model.Segment{Type: model.TypeFlat, Physical: "physnet1"}))
				tx.PutRouter(&model.Router{ID: routerID(0), AdminStateUp: true, Distributed: true, Hosts: []string{"compute2"}})
				leg := port(300, 0, "")
				leg.DeviceOwner, leg.DeviceID = model.OwnerRouterInterface, routerID(0).String()
				tx.PutPort(leg)
				tx.PutPort(port(0, 0, "compute1"))
				tx.PutFloatingIP(&model.FloatingIP{
					ID: floatID(0), NetworkID: netID(2), RouterID: routerID(0), Addr: netip.MustParseAddr("203.0.113.10"),
					PortID: portID(0), FixedAddr: netip.MustParseAddr("10.0.0.2"),
				})
			})
			update(t, s, c.spoil)
			mine, gateway := hostview.View(s.Snapshot(), "compute1"), hostview.View(s.Snapshot(), "compute2")
			if f := gateway.Floating[floatID(0)]; f == nil || f.AtPort != c.atPort {
				t.Errorf("the gateway sees %+v", f)
			}
			if f := mine.Floating[floatID(0)]; c.atPort && (f == nil || !f.AtPort || mine.Networks[netID(2)] == nil) {
				t.Errorf("the port's host sees %+v, networks %v", f, mine.Networks)
			}
		})
	}
}
