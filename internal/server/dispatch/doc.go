// Package dispatch serves the agents of hosts: it enrols them, holds one
// session a host, sends each what concerns it as COMPLETE and DELTA, and
// takes their reports in.
//
// One goroutine (loop.go) owns all sessions, their scopes and the index of who is
// interested in what; it follows the store's commits and hands messages to
// the sessions' senders. A sender that cannot keep up loses its queue and gets a
// COMPLETE instead, so that one slow host costs neither memory nor others' time.
//
// A host that comes back says which view it holds. When it was sent that one by this loop, it is sent
// the difference, else a COMPLETE (trail.go). What it may hold is known from its acknowledgements.
//
// It decides nothing about networks: what a host needs is package hostview's.
package dispatch
