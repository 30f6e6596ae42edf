// Package model holds the objects of Weft as values: networks, subnets, ports,
// security groups, hosts, and the view of them that one host needs.
//
// It is pure: standard library only, no clock, no randomness, no I/O. Objects
// that the store hands out are immutable; to change one, Clone it first.
// JSON field names are the journal's format and therefore append-only.
//
// The package knows nothing of HTTP, of the v2.0 dialect, or of Open vSwitch.
// Everybody imports it; it imports nobody.
package model
