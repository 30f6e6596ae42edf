// Package iptables owns the iptables rules, ipsets and tracked connections of
// one network namespace: it reads them, computes the difference to what is
// wanted and applies the difference atomically.
//
// It is the only package that runs iptables-restore, iptables-save and ipset,
// and that changes conntrack entries. What iptables cannot see on a bridge it drops by nft (frames.go). It does not know what rules mean: package
// firewall makes them, the agent brings both together.
//
// A Layout says which chains are ours: neutron-openvswi-* in a host's own namespace, neutron-l3-agent-*
// in a router's. Ours, and touched, are they, the jumps to them at
// the head of built-in chains and of neutron-filter-top, and sets of type hash:net
// named as Neutron names those of remote groups. Everything else stays as it
// is, in its order. With nothing to change nothing is written.
package iptables
