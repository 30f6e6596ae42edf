// Package firewall turns the security groups of a host's view into what
// filters its ports. Hybrid makes iptables rules and ipsets for ports whose TAP
// is on a Linux bridge, with the chains, order, names and comments of Neutron's
// iptables_hybrid driver (docs/reference: Neutron administration guide,
// "iptables_hybrid firewall"); FlowCache makes flows for ports whose TAP is on
// br-int, in Neutron's tables 71 to 94; Policy answers whether a connection is
// allowed.
//
// It is pure: no clock, no context, no I/O, and the same input gives the same
// output. It does not touch the kernel: package iptables applies what this
// package makes, the agent calls both.
//
// Whatever cannot be expressed is left out and reported, never widened: a rule
// that cannot be right matches nothing, a port that cannot be right passes
// nothing.
//
// Where the rules are tighter than Neutron 21's:
//   - a DHCP reply is let in by the server's address (Neutron by the guest's);
//   - DHCP discovery and duplicate address detection, which have no source
//     address, must come from a MAC of the port;
//   - the anti-spoofing chain exists for IPv6 even if the port has no IPv6
//     address, and lets link-local addresses of the port's MACs out;
//   - of ICMPv6 only neighbour discovery and multicast listener messages leave
//     without a rule, and redirects never (RFC 4890 section 4.4);
//   - router advertisements are let in from the network's routers only;
//   - connections that a removed rule had allowed carry KilledMark and are
//     dropped before anything else;
//   - ports without port security are not tracked: they could otherwise forge
//     the connections of others in the network's conntrack zone.
package firewall
