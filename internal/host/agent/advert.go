package agent

import (
	"cmp"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"weft/internal/host/flow"
	"weft/internal/host/hoststate"
	"weft/internal/host/pipeline"
	"weft/internal/host/responder"
	"weft/internal/model"
)

// When routers are told of without having been asked for (RFC 4861, 6.2.4): now and then, long before a guest would forget, and a few
// times in a row after a change.
const (
	advertEvery   = 10 * time.Minute // at most; at least a third of it
	advertAgain   = 3 * time.Second
	advertRepeats = 3
)

// sender sends a frame out of ports; *openflow.Client is one.
type sender interface {
	PacketOut(inPort uint32, actions []flow.Action, data []byte) error
}

// adverts are the router advertisements of a host's networks, sent to each of its ports. The loop owns them.
type adverts struct {
	out      sender
	log      *slog.Logger
	networks map[model.NetworkID]*announced
	timer    *time.Timer // of the next that is due
}

// announced is what the guests of a network are told of its routers.
type announced struct {
	// What it follows from; views do not change.
	network *model.NetworkView
	legs    []*model.LegView

	said   []responder.Advert
	frames [][]byte // of said
	former []responder.Advert
	ports  []uint32 // that hear it, in order
	left   int      // repetitions after a change
	due    time.Time
}

func newAdverts(out sender, log *slog.Logger) *adverts {
	return &adverts{out: out, log: log, networks: map[model.NetworkID]*announced{}, timer: time.NewTimer(0)}
}

// plan works out what is to be said from now on. It comes before the filters, which let only advertisements through of those who are
// routers or have just been.
func (a *adverts) plan(j *hoststate.Joined, now time.Time) {
	for id, n := range j.Pipeline.Networks {
		old := a.networks[id]
		if old != nil && old.network == n.View && slices.Equal(old.legs, j.Legs[id]) {
			continue
		}
		next := &announced{network: n.View, legs: j.Legs[id], said: responder.Adverts(n.View, j.Legs[id]), due: now, left: advertRepeats}
		if old != nil {
			next.ports = old.ports
			if reflect.DeepEqual(old.said, next.said) {
				next.former, next.left, next.due = old.former, old.left, old.due
			} else {
				next.former = responder.Withdrawn(append(slices.Clone(old.former), old.said...), next.said)
			}
		}
		for i := range next.said {
			next.frames = append(next.frames, next.said[i].Frame())
		}
		a.networks[id] = next
	}
	maps.DeleteFunc(a.networks, func(id model.NetworkID, _ *announced) bool {
		_, here := j.Pipeline.Networks[id]
		return !here
	})
}

// of returns what is said on a network.
func (a *adverts) of(id model.NetworkID) *announced { return cmp.Or(a.networks[id], &announced{}) }

// routers lists who may advertise itself on a network: those who do, and those who are about to say that they no longer are routers.
func (n *announced) routers() []netip.Addr {
	var out []netip.Addr
	for _, list := range [][]responder.Advert{n.said, n.former} {
		for _, s := range list {
			if !slices.Contains(out, s.Source) {
				out = append(out, s.Source)
			}
		}
	}
	return out
}

// tell sends what is due to the ports that are wired. A port that is new hears it at once.
func (a *adverts) tell(j *hoststate.Joined, wired []model.PortID, now time.Time) {
	ports := map[model.NetworkID][]uint32{}
	for _, id := range wired {
		if p := j.Pipeline.Ports[id]; !p.IsRouterPort() {
			ports[p.NetworkID] = append(ports[p.NetworkID], j.Pipeline.Local.Ports[id])
		}
	}
	for id, n := range a.networks {
		slices.Sort(ports[id])
		fresh := slices.DeleteFunc(slices.Clone(ports[id]), func(p uint32) bool { return slices.Contains(n.ports, p) })
		n.ports = ports[id]
		if len(fresh) > 0 && now.Before(n.due) && !a.send(fresh, n.frames) {
			n.due = now.Add(advertAgain)
		}
	}
	a.sendDue(now)
}

// sendDue sends what is due, and reports whether somebody who was a router has said all that it had to say.
func (a *adverts) sendDue(now time.Time) (ended bool) {
	next := now.Add(advertEvery)
	for _, n := range a.networks {
		if len(n.said)+len(n.former) == 0 {
			continue
		}
		if !now.Before(n.due) {
			var frames [][]byte
			for i := range n.former {
				frames = append(frames, n.former[i].Frame())
			}
			if a.send(n.ports, append(frames, n.frames...)) {
				n.left = max(0, n.left-1)
			}
			n.due = now.Add(advertAgain)
			if n.left == 0 {
				ended = ended || len(n.former) > 0
				n.former = nil
				n.due = now.Add(advertEvery/3 + rand.N(advertEvery*2/3))
			}
		}
		if n.due.Before(next) {
			next = n.due
		}
	}
	a.timer.Reset(next.Sub(now))
	return ended
}

// send sends frames to ports, and reports whether all could be sent.
func (a *adverts) send(ports []uint32, frames [][]byte) (sent bool) {
	if len(ports) == 0 {
		return true
	}
	var actions []flow.Action
	for _, p := range ports {
		actions = append(actions, flow.Output{Port: p})
	}
	for _, f := range frames {
		if err := a.out.PacketOut(flow.PortController, actions, f); err != nil {
			a.log.Debug("router advertisement not sent", "err", err)
			return false
		}
	}
	return true
}

// tellGuests tells the responder about the ports that are here, and the ports about their routers.
func (a *Agent) tellGuests(j *hoststate.Joined, wired *pipeline.Output, r *results) {
	a.guests.setDomain(a.settings.GetDnsDomain())
	here := map[model.PortID]bool{}
	for i := range j.Ports {
		st := &j.Ports[i]
		if st.Problem != "" || st.Network == nil || st.Leg {
			continue
		}
		here[st.Port.ID] = true
		if err := a.guests.set(st.Port, st.Network, a.adverts.of(st.Network.ID)); err != nil {
			r.note(st.Port.ID, err.Error())
		}
	}
	a.guests.keep(func(id model.PortID) bool { return here[id] })
	a.adverts.tell(j, wired.Wired, time.Now())
}
