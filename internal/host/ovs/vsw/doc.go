// Package vsw is the agent's view of the Open_vSwitch database: bridges, ports
// and interfaces as typed, immutable values, and the way from a desired state to
// the one transaction that brings it about.
//
// Plan is pure and computes a difference, so a converged host is written nothing.
// A port belongs to whoever made it: the agent makes and deletes its own (patch and
// tunnel ports), and only decorates those that os-vif plugged (tag, external_ids).
//
// It does not: speak OpenFlow, make taps or veths, or decide which ports a host
// should have.
//
// Called by: the agent's reconcilers.
package vsw
