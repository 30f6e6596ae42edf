package agent

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/host/ovs/openflow"
	"weft/internal/model"
	"weft/internal/testkit/filtertest"
)

// BenchmarkMemberOf10000 is a member that joins or leaves a remote group of 10,000
// which 50 ports of a host refer to: from the view's change until the switch has
// confirmed the flows.
func BenchmarkMemberOf10000(b *testing.B) {
	_, br := connectBridge(b, func(openflow.PacketIn) {})
	ctx := context.Background()

	set := filtertest.ID(700)
	g := filtertest.Group(1, true, filtertest.Rule(1, model.Egress, model.IPv4, filtertest.FromGroup(set)),
		filtertest.Rule(2, model.Ingress, model.IPv4, filtertest.Proto(6, 22, 22), filtertest.FromGroup(set)),
		filtertest.Rule(3, model.Ingress, model.IPv4, filtertest.Proto(17, 1000, 2000), filtertest.FromGroup(set)))
	in := firewall.Input{Groups: filtertest.Groups(g), Members: map[model.MemberKey]*model.MemberView{}}
	for i := range 50 {
		in.Ports = append(in.Ports, firewall.PortInput{
			View: filtertest.Port(1+i, []*model.GroupView{g}, fmt.Sprintf("10.0.0.%d", 1+i)), Network: filtertest.Network(), Zone: 1, OFPort: uint32(1 + i),
		})
	}
	member := func(i int) *model.MemberView {
		key := model.MemberKey{Set: set, Port: model.UUID{1, byte(i >> 8), byte(i)}}
		return &model.MemberView{Key: key, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)}}
	}
	for i := range 10_000 {
		m := member(i)
		in.Members[m.Key] = m
	}
	var cache firewall.FlowCache
	sync := func() {
		b.Helper()
		out := cache.Native(in)
		if err := br.sync(ctx, want{filters: out.Flows, members: stepped{out.Members, cache.AllMembers}}, true); err != nil {
			b.Fatal(err)
		}
	}
	sync()
	guest := member(20_000)
	for i := 0; b.Loop(); i++ {
		before := br.written
		if i%2 == 0 {
			in.Members[guest.Key] = guest
		} else {
			delete(in.Members, guest.Key)
		}
		sync()
		if n := br.written - before; n != 2 {
			b.Fatalf("%d flows were written, want one a direction", n)
		}
	}
}
