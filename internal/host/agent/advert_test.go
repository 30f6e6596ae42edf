package agent

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/host/flow"
	"weft/internal/host/hoststate"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// wire writes down who is sent whose advertisement.
type wire struct{ sent []string }

func (w *wire) PacketOut(_ uint32, actions []flow.Action, frame []byte) error {
	var ports []string
	for _, a := range actions {
		ports = append(ports, fmt.Sprint(a.(flow.Output).Port))
	}
	src := netip.AddrFrom16([16]byte(frame[14+8:]))
	lifetime := int(frame[54+6])<<8 | int(frame[54+7])
	w.sent = append(w.sent, fmt.Sprintf("%s/%d to %s", src, lifetime, strings.Join(ports, ",")))
	return nil
}

func (w *wire) take() string {
	s := strings.Join(w.sent, "; ")
	w.sent = nil
	return s
}

func TestAdverts_areSentWhenTheyChangeAndNowAndThen(t *testing.T) {
	const dhcp, router = "fe80::f816:3eff:fe00:2", "fe80::f816:3eff:fe00:1"
	id := func(n byte) model.UUID { return model.UUID{n} }
	network := &model.NetworkView{
		ID: model.NetworkID{UUID: id(1)}, MTU: 1458, DHCPMAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 2},
		Subnets: []model.SubnetView{{CIDR: netip.MustParsePrefix("2001:db8::/64"), RAMode: model.IPv6SLAAC, EnableDHCP: true}},
	}
	leg := &model.LegView{MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}, Addrs: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")}}
	w := &wire{}
	a := newAdverts(w, slog.New(slog.DiscardHandler))
	now := time.Unix(1000, 0)
	wired := map[model.PortID]uint32{{UUID: id(11)}: 11, {UUID: id(12)}: 12}
	pass := func(legs ...*model.LegView) string {
		j := &hoststate.Joined{Legs: map[model.NetworkID][]*model.LegView{network.ID: legs}}
		j.Pipeline.Networks = map[model.NetworkID]pipeline.Network{network.ID: {View: network}}
		j.Pipeline.Local.Ports = wired
		j.Pipeline.Ports = map[model.PortID]*model.PortView{}
		var ports []model.PortID
		for p := range wired {
			ports = append(ports, p)
			j.Pipeline.Ports[p] = &model.PortView{ID: p, NetworkID: network.ID}
		}
		own := model.PortID{UUID: id(99)} // a router's leg on this host
		j.Pipeline.Ports[own] = &model.PortView{ID: own, NetworkID: network.ID, DeviceOwner: "network:router_interface"}
		ports = append(ports, own)
		a.plan(j, now)
		a.tell(j, ports, now)
		return w.take()
	}
	expect := func(rule, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: sent %q, want %q", rule, got, want)
		}
	}
	later := func(d time.Duration) (string, bool) {
		now = now.Add(d)
		ended := a.sendDue(now)
		return w.take(), ended
	}

	expect("the first pass", pass(), dhcp+"/0 to 11,12")
	expect("the same again", pass(), "")
	for range 2 {
		got, _ := later(advertAgain)
		expect("again after a change", got, dhcp+"/0 to 11,12")
	}
	got, _ := later(advertAgain)
	expect("not for ever", got, "")
	got, _ = later(advertEvery)
	expect("now and then", got, dhcp+"/0 to 11,12")

	wired[model.PortID{UUID: id(13)}] = 13
	expect("a new port hears it at once, the others do not", pass(), dhcp+"/0 to 13")
	delete(wired, model.PortID{UUID: id(13)})
	expect("a port that goes", pass(), "")

	expect("a router comes", pass(leg), dhcp+"/0 to 11,12; "+router+"/9000 to 11,12")
	for range 2 {
		later(advertAgain)
	}
	if got := a.of(network.ID).routers(); !slices.Equal(got, []netip.Addr{netip.MustParseAddr(router)}) {
		t.Errorf("routers %s", got)
	}

	expect("a router goes", pass(), router+"/0 to 11,12; "+dhcp+"/0 to 11,12")
	if got := a.of(network.ID).routers(); len(got) != 2 {
		t.Errorf("the filters let %s through while the router says that it goes", got)
	}
	_, ended := later(advertAgain)
	if ended {
		t.Error("it has ended too early")
	}
	got, ended = later(advertAgain)
	expect("the last word of a router that goes", got, router+"/0 to 11,12; "+dhcp+"/0 to 11,12")
	if got := a.of(network.ID).routers(); !ended || len(got) != 1 {
		t.Errorf("ended %v, and the filters let %s through", ended, got)
	}
}
