package standin

import (
	"net/netip"

	"weft/internal/model"
)

// Guest is who is at the other end of a connection to a service.
type Guest struct {
	Port    *model.PortView
	Network *model.NetworkView
	Addr    netip.Addr // the guest's own, on its network
}

// Guests finds guests by what stands for them. It does not change once it is made.
type Guests struct {
	byKey map[Key]guestAt
}

type guestAt struct {
	Guest
	v6 bool
}

// NewGuests returns an empty Guests to add to.
func NewGuests() *Guests { return &Guests{byKey: map[Key]guestAt{}} }

// Add takes up a port with all its addresses. All are added before the first is looked up.
func (g *Guests) Add(p *model.PortView, n *model.NetworkView, ofport uint32) {
	for _, a := range Addresses(p, n, ofport) {
		g.byKey[a.Key] = guestAt{Guest{Port: p, Network: n, Addr: a.Addr}, a.Addr.Is6()}
	}
}

// Find returns the guest that an address stands for.
func (g *Guests) Find(a netip.Addr) (Guest, bool) {
	k, v6, ok := Parse(a)
	if !ok || g == nil {
		return Guest{}, false
	}
	at, ok := g.byKey[k]
	return at.Guest, ok && at.v6 == v6
}
