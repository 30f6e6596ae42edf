package hostpb

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"weft/internal/model"
)

func uuid(t *rapid.T) (u model.UUID) {
	copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	u[0] |= 1 // not zero
	return u
}

func addr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "v6") {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: rapid.Byte().Draw(t, "byte")})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "byte")})
}

func prefix(t *rapid.T) netip.Prefix {
	a := addr(t)
	return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
}

func leg(t *rapid.T) model.LegView {
	scope := func(name string) model.AddressScopeID {
		return model.AddressScopeID{UUID: rapid.SampledFrom([]model.UUID{{}, {1, 15: 2}}).Draw(t, name)}
	}
	return model.LegView{
		PortID: model.PortID{UUID: uuid(t)}, NetworkID: model.NetworkID{UUID: uuid(t)}, MAC: model.MAC{2, 5: 1}, Addrs: []netip.Prefix{prefix(t)}, MTU: 1458,
		Scope: scope("scope"), Scope6: scope("scope6"),
	}
}

func external(t *rapid.T) *model.ExternalView {
	if rapid.Bool().Draw(t, "no gateway") {
		return nil
	}
	return &model.ExternalView{LegView: leg(t), NextHops: []netip.Addr{addr(t)}, SNAT: rapid.Bool().Draw(t, "snat")}
}

func instance(t *rapid.T) model.Instance {
	if rapid.Bool().Draw(t, "no instance") {
		return model.Instance{}
	}
	return model.Instance{Hostname: "vm", SSHKeys: []string{"ssh-ed25519 AAAA"}, UserData: rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "user data")}
}

// delta draws a delta with one object of each kind.
func delta(t *rapid.T) *model.ViewDelta {
	mac := model.MAC{2, 0, 0, 0, 0, rapid.Byte().Draw(t, "mac")}
	rule := model.RuleView{
		ID: model.SecurityGroupRuleID{UUID: uuid(t)}, Direction: model.Ingress, EtherType: model.IPv4,
		Protocol: rapid.IntRange(-1, 255).Draw(t, "protocol"), PortMin: rapid.IntRange(-1, 65535).Draw(t, "min"), PortMax: rapid.IntRange(-1, 65535).Draw(t, "max"),
	}
	if rapid.Bool().Draw(t, "egress") {
		rule.Direction, rule.EtherType = model.Egress, model.IPv6
	}
	switch rapid.IntRange(0, 3).Draw(t, "remote") {
	case 0:
		rule.RemotePrefix = prefix(t)
	case 1:
		rule.RemoteGroup = model.SecurityGroupID{UUID: uuid(t)}
	case 2:
		rule.RemoteAddressGroup = model.AddressGroupID{UUID: uuid(t)}
	}
	return &model.ViewDelta{
		From: 3, To: 4,
		Networks: []*model.NetworkView{{
			ID: model.NetworkID{UUID: uuid(t)}, Revision: 1, AdminStateUp: true, MTU: 1458, Segment: model.Segment{ID: model.SegmentID{UUID: uuid(t)}, Type: model.TypeVLAN, Physical: "p", Tag: 9},
			Subnets: []model.SubnetView{{
				ID: model.SubnetID{UUID: uuid(t)}, CIDR: prefix(t), Gateway: addr(t), EnableDHCP: true, DNS: []netip.Addr{addr(t)},
				Routes: []model.Route{{Destination: prefix(t), NextHop: addr(t)}}, RAMode: model.IPv6SLAAC, AddressMode: model.IPv6SLAAC,
			}},
			DHCPMAC: mac, DHCPAddrs: []netip.Addr{addr(t)}, DNSDomain: "example.org.",
		}},
		Ports: []*model.PortView{{
			ID: model.PortID{UUID: uuid(t)}, NetworkID: model.NetworkID{UUID: uuid(t)}, Revision: 7, MAC: mac, FixedIPs: []model.FixedIP{{SubnetID: model.SubnetID{UUID: uuid(t)}, Addr: addr(t)}},
			AdminStateUp: rapid.Bool().Draw(t, "up"), DeviceOwner: "compute:nova", DeviceID: "x", PortSecurity: rapid.Bool().Draw(t, "security"),
			SecurityGroups: []model.SecurityGroupID{{UUID: uuid(t)}}, AddressPairs: []model.AddressPair{{Prefix: prefix(t), MAC: mac}},
			DHCPOptions: []model.DHCPOption{{Name: "mtu", Value: "1400", IPVersion: 4}}, DNSName: "vm", Firewall: "hybrid",
			ProjectID: "demo", DNSDomain: "port.example.org.", Instance: instance(t),
		}},
		Peers:   []*model.PeerView{{PortID: model.PortID{UUID: uuid(t)}, NetworkID: model.NetworkID{UUID: uuid(t)}, MAC: mac, Addrs: []netip.Addr{addr(t)}, Tunnel: addr(t), DNSName: "peer", DNSDomain: "example.org."}},
		Groups:  []*model.GroupView{{ID: model.SecurityGroupID{UUID: uuid(t)}, Revision: 2, Stateful: true, Rules: []model.RuleView{rule}}},
		Members: []*model.MemberView{{Key: model.MemberKey{Set: uuid(t), Port: uuid(t)}, Prefixes: []netip.Prefix{prefix(t)}}},
		Routers: []*model.RouterView{{
			ID: model.RouterID{UUID: uuid(t)}, Revision: 5, AdminStateUp: true, Distributed: rapid.Bool().Draw(t, "distributed"),
			Gateways: []model.GatewayView{{Host: "network1", Tunnel: addr(t)}, {Host: "network2"}},
			Legs:     []model.LegView{leg(t)}, External: external(t), Routes: []model.Route{{Destination: prefix(t), NextHop: addr(t)}},
		}},
		Floating: []*model.FloatingView{{
			ID: model.FloatingIPID{UUID: uuid(t)}, Revision: 2, RouterID: model.RouterID{UUID: uuid(t)}, Addr: addr(t), Fixed: addr(t), PortID: model.PortID{UUID: uuid(t)}, PortHost: "compute1", AtPort: true,
		}, {
			ID: model.FloatingIPID{UUID: uuid(t)}, RouterID: model.RouterID{UUID: uuid(t)}, Addr: addr(t),
			Forwarding: []model.ForwardingView{{ID: model.PortForwardingID{UUID: uuid(t)}, Protocol: 6, Internal: addr(t), ExternalMin: 80, ExternalMax: 90, InternalMin: 8080, InternalMax: 8090}},
		}},
		Deletes: []model.ObjectKey{{Kind: model.KindPort, ID: uuid(t)}, {Kind: model.KindMember, ID: uuid(t), Sub: uuid(t)}},
	}
}

func TestDelta_survivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := delta(t)
		b, err := proto.Marshal(ToDelta(want))
		if err != nil {
			t.Fatal(err)
		}
		var m Delta
		if err := proto.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		got, problems := FromDelta(&m)
		if len(problems) > 0 || !reflect.DeepEqual(got, want) {
			t.Fatalf("sent %+v, got %+v, %v", want, got, problems)
		}
	})
}

func TestFromObjects_aBadObjectCostsOnlyItself(t *testing.T) {
	id := make([]byte, 16)
	id[0] = 1
	mac := []byte{2, 0, 0, 0, 0, 1}
	good := func() *Port { return &Port{Id: id, NetworkId: id, Mac: mac} }
	for _, c := range []struct {
		rule string
		bad  *Port
	}{
		{"an id that is too short", &Port{Id: id[:15], NetworkId: id, Mac: mac}},
		{"an id of zeros", &Port{Id: make([]byte, 16), NetworkId: id, Mac: mac}},
		{"no MAC address", &Port{Id: id, NetworkId: id}},
		{"an address of five bytes", &Port{Id: id, NetworkId: id, Mac: mac, FixedIps: []*FixedIP{{SubnetId: id, Addr: make([]byte, 5)}}}},
		{"a prefix that is too long", &Port{Id: id, NetworkId: id, Mac: mac, AddressPairs: []*AddressPair{{Prefix: &Prefix{Addr: []byte{10, 0, 0, 0}, Bits: 33}, Mac: mac}}}},
		{"a prefix without an address", &Port{Id: id, NetworkId: id, Mac: mac, AddressPairs: []*AddressPair{{Prefix: &Prefix{Bits: 8}, Mac: mac}}}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			d, problems := FromObjects(&Objects{Ports: []*Port{good(), c.bad, good()}})
			if len(d.Ports) != 2 || len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), "port ") {
				t.Errorf("%d ports, problems %v", len(d.Ports), problems)
			}
		})
	}
}

func TestFromObjects_aBadRuleIsLeftOutAndNeverWidened(t *testing.T) {
	id := make([]byte, 16)
	id[0] = 1
	group := &Group{Id: id, Rules: []*Rule{{Id: id, RemotePrefix: &Prefix{Bits: 8}}, {Id: id, RemotePrefix: &Prefix{}}, {Id: id, RemoteGroup: id[:3]}, {Id: id, Protocol: 6}}}
	d, problems := FromObjects(&Objects{Groups: []*Group{group}})
	if len(problems) != 3 || len(d.Groups) != 1 || len(d.Groups[0].Rules) != 1 || d.Groups[0].Rules[0].Protocol != 6 {
		t.Errorf("groups %+v, problems %v", d.Groups, problems)
	}
}

func FuzzFromDelta(f *testing.F) {
	id := make([]byte, 16)
	id[3] = 9
	seed, err := proto.Marshal(&Delta{From: 1, To: 2, Upserts: &Objects{Groups: []*Group{{Id: id, Rules: []*Rule{{Id: id}}}}}, Deletes: []*Key{{Kind: 2, Id: id}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Delta
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		d, _ := FromDelta(&m)
		view := model.NewHostView("h")
		view.Apply(d)
	})
}
