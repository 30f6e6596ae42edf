// Package hoststate joins what the server wants of a host (the view) with what
// the host has (the switch's database): which device belongs to which port,
// which local VLAN id a network has, which tunnels there are.
//
// It is pure but for VLANs, which remembers. It programs nothing: Join returns
// what the switch's database should hold and the input of the flow and
// firewall computations. Called by package agent.
package hoststate
