// Package agent is the host's half of Weft: it holds the session with the server and
// keeps the host as the last view says.
//
// One goroutine (loop.go) owns everything mutable and is level-triggered: whatever wakes it — a
// view, a change in the switch's database, a lost OpenFlow connection, the clock — it
// joins the view with what is there and writes only the difference:
//
//	view + switch state -> hoststate.Join -> firewall -> iptables, ipsets
//	                                      -> vsw.Plan -> OVSDB
//	                                      -> pipeline -> flows, one bundle a bridge
//	                                      -> reports
//
// The firewall comes first, so that a port forwards nothing before it is filtered. Converged means zero writes.
// Packets that the switch hands up (DHCP) are answered by a goroutine of their own, from memory.
//
// What the flows and rules are is not decided here but in the pure packages pipeline and firewall.
package agent
