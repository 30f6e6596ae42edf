package filtertest

import (
	"math/rand/v2"
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/model"
)

// policies asks firewall.Policy and the driver about the first packets of random
// connections.
func policies(t *testing.T, d Driver) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	for round := range 6 {
		var rules []model.RuleView
		for i := range 6 {
			e := []model.EtherType{model.IPv4, model.IPv6}[r.IntN(2)]
			d := []model.Direction{model.Ingress, model.Egress}[r.IntN(2)]
			p := []int{model.ProtocolAny, 6, 17, 17, 1, 132}[r.IntN(6)]
			ru := Rule(i+1, d, e)
			if p == 1 {
				ru.Protocol, ru.PortMin = map[model.EtherType]int{model.IPv4: 1, model.IPv6: 58}[e], map[model.EtherType]int{model.IPv4: 8, model.IPv6: 128}[e]
			} else if ru.Protocol = p; p > 1 && r.IntN(3) > 0 {
				ru.PortMin = 1 + r.IntN(4)
				ru.PortMax = ru.PortMin + r.IntN(3)
			}
			switch r.IntN(4) {
			case 0:
				ru.RemoteGroup.UUID = ID(700)
			case 1:
				ru.RemotePrefix = pfx(map[model.EtherType]string{model.IPv4: "10.0.0.48/28", model.IPv6: "2001:db8::40/122"}[e])
			}
			rules = append(rules, ru)
		}
		g := Group(1, true, rules...)
		v := Port(11, []*model.GroupView{g}, vm4, vm6)
		v.AdminStateUp = round != 5
		w := d(t, v)
		input := w.input(v, g)
		input.Members = Members(ID(700), else4+"/32", "2001:db8:9::/48", "10.0.0.128/25")
		w.Apply(t, input)
		policy := firewall.NewPolicy(input)
		for i := range 120 {
			c := firewall.Conn{Src: addr(pick(far4, else4, "10.0.0.200")), Dst: addr(vm4), SrcPort: uint16(20000 + i), DstPort: uint16(1 + r.IntN(6))}
			own := vm4
			if r.IntN(2) == 0 {
				c.Src, c.Dst, own = addr(pick(far6, "2001:db8:9::1", "2001:db8:8::1")), addr(vm6), vm6
			}
			f, from, to := w.to(c.Src.String(), own), w.Peer, w.VM
			if r.IntN(2) == 0 {
				c.Src, c.Dst = c.Dst, c.Src
				f, from, to = f.Back(), w.VM, w.Peer
			}
			var frame []byte
			switch c.Protocol = []uint8{6, 17, 1}[r.IntN(3)]; c.Protocol {
			case 6:
				frame = f.TCP(c.SrcPort, c.DstPort, SYN, 1, 0)
			case 17:
				frame = f.UDP(c.SrcPort, c.DstPort)
			case 1:
				if c.Type = 8; own == vm6 {
					c.Protocol, c.Type = 58, 128
				}
				frame = f.ICMP(c.Type, 0, uint16(i))
			}
			if got, want := policy.Allows(w.Zone, c), w.Passes(t, from, to, frame); got != want {
				t.Errorf("%+v: the policy says %v, the packets %v; rules: %+v", c, got, want, rules)
			}
		}
	}
}
