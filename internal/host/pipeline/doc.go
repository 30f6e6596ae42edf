// Package pipeline turns the desired state of a host into OpenFlow flows: what
// br-int, br-tun and the bridges of physical networks shall hold, so that
// frames of local ports reach exactly the ports of their network.
//
// It is pure: the same Input gives the same Output, in the same order, whatever
// the order of maps. It has no clock, no context, and does no I/O. The agent
// brings the numbers that Open vSwitch and itself have given out (port numbers,
// local VLAN ids), compares Output with what is installed and applies the
// difference. Security-group rules are not here: package firewall has them.
//
// Table numbers, register bits, priorities and the cookie's layout are a wire
// format between versions of the agent, and a language that operators speak.
// They are all in tables.go and explained in docs/pipeline.md.
package pipeline
