// Package flow holds one OpenFlow flow as a value: match, actions, its bytes on
// the wire (OpenFlow 1.4 with the Nicira extensions), its text in the syntax of
// ovs-ofctl(8), and equality.
//
// The bytes are the truth, the text is a view of them. Everything that can be
// said in several ways has one normal form, so that a flow read back from Open
// vSwitch equals the one that was sent.
//
// It does no I/O and knows neither tables nor registers of a pipeline: package
// pipeline gives flows their meaning, package ovs/openflow brings them to a bridge.
package flow

import "bytes"

import "encoding/binary"

// Flow is one entry of a flow table. No Actions means drop. Timeouts are in
// seconds, 0 meaning never.
type Flow struct {
	Table       uint8
	Priority    uint16
	Cookie      uint64
	IdleTimeout uint16
	HardTimeout uint16
	Match       Match
	Actions     []Action
}

// Key identifies the flow in its bridge: table, priority and match, as bytes.
// Adding a flow replaces the one with the same key.
func (f Flow) Key() string {
	b := make([]byte, 0, 64)
	b = append(b, f.Table)
	b = binary.BigEndian.AppendUint16(b, f.Priority)
	return string(appendFields(b, f.Match))
}

// Equal reports whether both are the same flow with the same cookie, timeouts
// and effect.
func (f Flow) Equal(g Flow) bool {
	return f.Table == g.Table && f.Priority == g.Priority && f.Cookie == g.Cookie &&
		f.IdleTimeout == g.IdleTimeout && f.HardTimeout == g.HardTimeout &&
		f.Match.Equal(g.Match) &&
		bytes.Equal(AppendInstructions(nil, f.Actions), AppendInstructions(nil, g.Actions))
}

// Diff returns what makes have into want: flows to add, which replaces those of
// the same key, and flows to delete. Flows of have that mine denies (learned
// ones, those of others) are never deleted; nil means all are ours. Both
// results keep the order of their input. Of flows in want with the same key
// the last one counts.
func Diff(want, have []Flow, mine func(Flow) bool) (add, del []Flow) {
	installed := make(map[string]int, len(have))
	for i := range have {
		installed[have[i].Key()] = i
	}
	last := make(map[string]int, len(want))
	keys := make([]string, len(want))
	for i := range want {
		keys[i] = want[i].Key()
		last[keys[i]] = i
	}
	for i := range want {
		if last[keys[i]] != i {
			continue
		}
		at, found := installed[keys[i]]
		if !found || !want[i].Equal(have[at]) {
			add = append(add, want[i])
		}
	}
	for i := range have {
		if mine != nil && !mine(have[i]) {
			continue
		}
		if _, wanted := last[have[i].Key()]; !wanted {
			del = append(del, have[i])
		}
	}
	return add, del
}

// Step leads from one state of a list of flows to another, for lists that change little.
type Step struct {
	From, To uint64 // numbers of states; equal if nothing has changed
	Add, Del []Flow // Add replaces what has the same key
	Total    int    // flows after it
}
