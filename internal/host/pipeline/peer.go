package pipeline

import (
	"net/netip"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// A host may know ten thousand peers, and one of them comes or goes every moment. So the flows of a peer can be made, and taken
// away, without looking at the others, as long as it contends with nobody and its host is not the first or last on its network.

// share is the flows of one peer, and what it has taken so that no other may have it.
type share struct {
	brInt, brTun []flow.Flow
	claims       []netip.Addr
	routed       []routedDst
}

// routedDst is a destination of a distributed router.
type routedDst struct {
	router *distributed
	dst    netip.Prefix
}

// behind names the peers on a network that one tunnel leads to.
type behind struct {
	network *network
	tunnel  Tunnel
}

// checkPeers hands peers to their networks and finds the tunnels to them.
func (b *builder) checkPeers() {
	wanted := b.legTunnels()
	b.peerMACs = make(map[onNetwork]bool, len(b.legMACs)+len(b.in.Peers))
	for m := range b.legMACs {
		b.peerMACs[m] = true
	}
	for _, id := range sortedKeys(b.in.Peers, comparePorts) {
		v := b.in.Peers[id]
		n := b.byID[v.NetworkID]
		if n == nil {
			continue // the network has told why
		}
		if !b.admit(n, v) {
			continue
		}
		if at, tunnelled := b.wayTo(n, v); tunnelled && b.behind[at] == 1 {
			wanted[at.tunnel] = true
			if ofport := b.in.Local.Tunnels[at.tunnel]; ofport != 0 && !slices.Contains(n.remotes, ofport) {
				n.remotes = append(n.remotes, ofport)
			}
		}
		n.peers = append(n.peers, v)
	}
	for _, n := range b.networks {
		slices.Sort(n.remotes)
	}
	for t := range wanted {
		b.out.Tunnels = append(b.out.Tunnels, t)
	}
	slices.SortFunc(b.out.Tunnels, compareTunnels)
}

// admit takes note of a peer, or of why it can have no flows.
func (b *builder) admit(n *network, v *model.PeerView) bool {
	mac := onNetwork{v.NetworkID, v.MAC}
	switch {
	case !isUnicast(v.MAC):
		b.problem(model.KindPeer, v.PortID.UUID, "%s is not a MAC address that a port can have", v.MAC)
		return false
	case n.tunnelled() && (!v.Tunnel.IsValid() || v.Tunnel == b.in.Local.TunnelAddr):
		b.problem(model.KindPeer, v.PortID.UUID, "no tunnel leads to address %q", v.Tunnel)
		return false
	case b.peerMACs[mac]:
		b.clash = true
		b.problem(model.KindPeer, v.PortID.UUID, "another peer on the network has MAC %s", v.MAC)
		return false
	}
	if at, tunnelled := b.wayTo(n, v); tunnelled {
		b.behind[at]++
	}
	b.peerMACs[mac] = true
	return true
}

// wayTo returns the tunnel to a peer, and whether it is behind one.
func (b *builder) wayTo(n *network, v *model.PeerView) (behind, bool) {
	return behind{n, Tunnel{n.view.Segment.Type, v.Tunnel}}, n.tunnelled() && b.in.Local.TunnelAddr.IsValid()
}

// peer makes the flows of a peer, but for those of distributed routers.
func (b *builder) peer(n *network, p *model.PeerView) {
	b.as(p, func() {
		if n.open {
			b.intPeer(n, p)
		}
		if b.in.L2Population && n.tunnelled() {
			b.tunPeer(n, p)
		}
	})
}

// as makes flows that are a peer's.
func (b *builder) as(p *model.PeerView, do func()) {
	if b.shares != nil {
		s := b.shares[p.PortID]
		if s == nil {
			s = &share{}
			b.shares[p.PortID] = s
		}
		b.sink = s
		defer func() { b.sink = nil }()
	}
	do()
}

// come adds a peer to what has been built. When it returns false, that would have changed more than the peer's own flows, and all
// is to be built anew.
func (b *builder) come(v *model.PeerView) bool {
	n := b.byID[v.NetworkID]
	if n == nil {
		return true
	}
	if at, tunnelled := b.wayTo(n, v); tunnelled && b.behind[at] == 0 || !b.admit(n, v) {
		return false
	}
	b.peer(n, v)
	for _, to := range n.routed {
		b.as(v, func() { b.routePeer(n, to, v) })
	}
	return !b.clash
}

// leave takes a peer out of what has been built; see come.
func (b *builder) leave(v *model.PeerView) bool {
	n, s := b.byID[v.NetworkID], b.shares[v.PortID]
	if n == nil {
		return true
	}
	if s == nil {
		return false // something was wrong with it
	}
	if at, tunnelled := b.wayTo(n, v); tunnelled {
		if b.behind[at]--; b.behind[at] == 0 {
			return false
		}
	}
	for _, a := range s.claims {
		delete(n.claimed, a)
	}
	for _, r := range s.routed {
		delete(r.router.used, r.dst)
	}
	delete(b.peerMACs, onNetwork{v.NetworkID, v.MAC})
	delete(b.shares, v.PortID)
	return true
}
