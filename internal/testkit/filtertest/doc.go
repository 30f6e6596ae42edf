// Package filtertest says with packets what a firewall driver must do, so that
// iptables on a Linux bridge and flows in the switch mean the same. A driver puts
// its filter between two guests (Wire); the cases send raw frames from the one and
// look for them at the other.
//
// It holds no driver: package iptables and package firewall test theirs with it.
package filtertest

import (
	"testing"

	"weft/internal/host/firewall"
	"weft/internal/model"
)

// Wire is a VM with a filtered port and, on the same network, a peer that may send
// anything.
type Wire struct {
	VM, Peer *Guest
	Zone     uint16 // the conntrack zone of the network
	// Apply brings rules in force, and fails the test if any of them is not.
	Apply func(t testing.TB, in firewall.Input)
	// Passes sends frames from one guest and tells whether the last of them arrives at
	// the other.
	Passes func(t testing.TB, from, to *Guest, frames ...[]byte) bool
	// Settle ends established connections that the rules in force do not allow; what
	// a host does within a second.
	Settle func(t testing.TB, in firewall.Input)
	// Tracked counts the connections that are tracked in the zone.
	Tracked func(t testing.TB) int
}

// Driver makes a wire for a port. Everything of it ends with the test.
type Driver func(t testing.TB, v *model.PortView) *Wire

// Case is one thing that all drivers do.
type Case struct {
	Name string
	Run  func(t *testing.T, d Driver)
}

// Run runs all cases with a driver.
func Run(t *testing.T, d Driver) {
	for _, c := range []Case{
		{"each rule kind lets through what it says and nothing else", ruleKinds},
		{"ranges that overlap are a union", overlaps},
		{"each ICMP type is its own", icmpTypes},
		{"errors about a connection belong to it", related},
		{"fragments share the fate of their packet", fragments},
		{"a guest cannot spoof, serve or advertise", spoofing},
		{"what a rule refuses is refused behind an LLC header", llc},
		{"only the network's own servers reach a guest unasked", servers},
		{"port kinds without stateful rules", portKinds},
		{"the policy decides as the rules do", policies},
		{"no packet is lost or let through while rules change", updates},
		{"a revoked rule ends its connections and no others", revocation},
		{"a revoked rule ends what only the other end sends", oneWay},
	} {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, d) })
	}
}

// Probe is a frame and whether it must pass.
type Probe struct {
	Name   string
	ToVM   bool
	Frame  []byte
	Passes bool
}

// Check sends probes, in order.
func (w *Wire) Check(t *testing.T, probes []Probe) {
	t.Helper()
	for _, p := range probes {
		from, to := w.VM, w.Peer
		if p.ToVM {
			from, to = w.Peer, w.VM
		}
		if got := w.Passes(t, from, to, p.Frame); got != p.Passes {
			t.Errorf("%s: passes = %v, want %v", p.Name, got, p.Passes)
		}
	}
}

// to and from make flows between the peer and the VM.
func (w *Wire) to(src, dst string) Flow   { return Flow{w.Peer.MAC, w.VM.MAC, src, dst} }
func (w *Wire) from(src, dst string) Flow { return Flow{w.VM.MAC, w.Peer.MAC, src, dst} }

// input is a host with the port alone.
func (w *Wire) input(v *model.PortView, gs ...*model.GroupView) firewall.Input {
	return firewall.Input{Ports: []firewall.PortInput{{View: v, Network: Network(), Zone: w.Zone}}, Groups: Groups(gs...)}
}
