package agent

import (
	"log/slog"
	"slices"
	"testing"

	"weft/internal/host/iptables"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/responder"
	"weft/internal/model"
)

func newTestServer(ports ...model.PortID) *guestServer {
	m := newMetrics(nil, nil, func() iptables.Stats { return iptables.Stats{} })
	s := newGuestServer(responder.NewGuests(responder.Settings{}), slog.New(slog.DiscardHandler), m)
	for _, id := range ports {
		s.set(&model.PortView{ID: id}, &model.NetworkView{}, &announced{})
	}
	return s
}

// TestFlood_takesNoOthersPlace: however much one port asks while nothing is answered, the questions of another wait, all of them.
func TestFlood_takesNoOthersPlace(t *testing.T) {
	loud, quiet := model.PortID{UUID: model.UUID{1}}, model.PortID{UUID: model.UUID{2}}
	s := newTestServer(loud, quiet)
	for range 100 * askQueue {
		s.packet(openflow.PacketIn{Userdata: loud.UUID[:]})
	}
	if n := len(s.queue); n < askBurst || n > askQueue/2 {
		t.Errorf("%d questions of the loud port wait", n)
	}
	for range askBurst {
		s.packet(openflow.PacketIn{Userdata: quiet.UUID[:]})
	}
	waiting := map[model.PortID]int{}
	for len(s.queue) > 0 {
		waiting[(<-s.queue).port]++
	}
	if waiting[quiet] != askBurst {
		t.Errorf("%d of %d questions of the quiet port wait", waiting[quiet], askBurst)
	}
	s.packet(openflow.PacketIn{Userdata: slices.Repeat([]byte{9}, 16)}) // of no port
	s.packet(openflow.PacketIn{Userdata: []byte{1}})
	if len(s.queue) != 0 {
		t.Error("a question of nobody waits")
	}
	s.keep(func(id model.PortID) bool { return id == loud })
	s.packet(openflow.PacketIn{Userdata: quiet.UUID[:]})
	if len(s.queue) != 0 {
		t.Error("a question of a port that has left waits")
	}
}
