package vsw

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/internal/host/ovs/ovsdb"
)

// Verb is what an Operation does.
type Verb string

// The verbs, in the order in which a plan has them. Ports go before ports come, so that a name can be taken over.
const (
	SetRoot    Verb = "set switch"
	AddBridge  Verb = "add bridge"
	SetBridge  Verb = "set bridge"
	DeletePort Verb = "delete port"
	MovePort   Verb = "move port"
	AddPort    Verb = "add port"
	SetPort    Verb = "set port"
)

// Operation is one step of a plan. It carries guards: what the plan saw of all that
// it changes. If that is no longer so when it is applied, nothing is.
type Operation struct {
	Verb    Verb
	Bridge  string
	Port    string
	Columns []string // of a set: what is changed, as table.column

	guards []ovsdb.Operation
	edits  []ovsdb.Operation
}

// String returns the operation in words, for logs.
func (o Operation) String() string {
	words := []string{string(o.Verb)}
	for _, w := range []string{o.Bridge, o.Port, strings.Join(o.Columns, ",")} {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// Plan returns the operations that turn state into desired: none if it is so
// already. A port that is not owned is neither made nor moved nor deleted, and of
// its columns only those that desired names change. An owned port that desired does
// not have is deleted; a bridge's own port never is. Of two desired bridges or
// ports with one name the first counts. A port for a bridge that neither exists nor
// is desired is left out. The order of the result depends on the arguments alone.
// A state from before the first connection is no ground for a plan: there is none.
func Plan(state *State, desired Desired, owned func(bridge, port string) bool) []Operation {
	if state.Epoch == 0 {
		return nil
	}
	p := planner{state: state, owned: owned, willHave: make(map[string]bool)}
	p.root(desired.ExternalIDs)
	for _, b := range desired.Bridges {
		if !p.willHave[b.Name] {
			p.willHave[b.Name] = true
			p.bridge(b)
		}
	}
	wanted := make(map[string]bool, len(desired.Ports))
	for _, d := range desired.Ports {
		wanted[d.Name] = true
	}
	p.deletePorts(wanted)
	done := make(map[string]bool, len(desired.Ports))
	for _, d := range desired.Ports {
		if !done[d.Name] {
			done[d.Name] = true
			p.port(d)
		}
	}
	slices.SortStableFunc(p.ops, func(a, b Operation) int { return verbOrder[a.Verb] - verbOrder[b.Verb] })
	return p.ops
}

var verbOrder = map[Verb]int{SetRoot: 0, AddBridge: 1, SetBridge: 2, DeletePort: 3, MovePort: 4, AddPort: 5, SetPort: 6}

type planner struct {
	state    *State
	owned    func(bridge, port string) bool
	willHave map[string]bool // bridges that desired names
	ops      []Operation
}

func (p *planner) root(ids map[string]string) {
	e := edit{table: "Open_vSwitch", row: p.state.Root.UUID}
	e.merge("external_ids", p.state.Root.ExternalIDs, ids)
	p.set(Operation{Verb: SetRoot}, e)
}

// set adds op if any of the edits changes something.
func (p *planner) set(op Operation, edits ...edit) {
	for _, e := range edits {
		op.Columns = append(op.Columns, e.changed()...)
		g, w := e.operations()
		op.guards, op.edits = append(op.guards, g...), append(op.edits, w...)
	}
	if len(op.edits) > 0 {
		p.ops = append(p.ops, op)
	}
}

func (p *planner) bridge(d DesiredBridge) {
	have := p.state.Bridge(d.Name)
	if have == nil {
		p.addBridge(d)
		return
	}
	e := edit{table: "Bridge", row: have.UUID}
	if d.FailMode != "" {
		e.set("fail_mode", optional(have.FailMode), ovsdb.Str(d.FailMode))
	}
	if d.DatapathType != "" {
		e.set("datapath_type", ovsdb.Str(have.DatapathType), ovsdb.Str(d.DatapathType))
	}
	if d.Protocols != nil {
		e.set("protocols", ovsdb.Strs(have.Protocols...), ovsdb.Strs(d.Protocols...))
	}
	e.merge("external_ids", have.ExternalIDs, d.ExternalIDs)
	e.merge("other_config", have.OtherConfig, d.OtherConfig)
	p.set(Operation{Verb: SetBridge, Bridge: d.Name}, e)
}

// addBridge makes a bridge with its own port, as ovs-vsctl add-br does.
func (p *planner) addBridge(d DesiredBridge) {
	values := ovsdb.Values{
		"name":         ovsdb.Str(d.Name),
		"external_ids": ovsdb.StrMap(d.ExternalIDs),
		"other_config": ovsdb.StrMap(d.OtherConfig),
		"protocols":    ovsdb.Strs(d.Protocols...),
		"ports":        ovsdb.Set(ovsdb.NamedAtom(rowName("p", d.Name))),
		"fail_mode":    optional(d.FailMode),
	}
	if d.DatapathType != "" {
		values["datapath_type"] = ovsdb.Str(d.DatapathType)
	}
	own := DesiredPort{Name: d.Name, Type: "internal"}
	p.ops = append(p.ops, Operation{Verb: AddBridge, Bridge: d.Name,
		guards: []ovsdb.Operation{absent("Bridge", d.Name), absent("Port", d.Name)},
		edits: append(insertPort(own),
			ovsdb.Insert("Bridge", rowName("b", d.Name), values),
			member("Open_vSwitch", p.state.Root.UUID, "bridges", "insert", ovsdb.NamedAtom(rowName("b", d.Name)))),
	})
}

// deletePorts deletes the owned ports that are not wanted.
func (p *planner) deletePorts(wanted map[string]bool) {
	var doomed []string
	for name, have := range p.state.ports {
		if !wanted[name] && name != have.Bridge && p.owned(have.Bridge, name) {
			doomed = append(doomed, name)
		}
	}
	slices.Sort(doomed)
	for _, name := range doomed {
		have := p.state.Port(name)
		p.ops = append(p.ops, Operation{Verb: DeletePort, Bridge: have.Bridge, Port: name,
			guards: []ovsdb.Operation{p.isOn(have)},
			edits:  []ovsdb.Operation{p.detach(have)},
		})
	}
}

func (p *planner) port(d DesiredPort) {
	have := p.state.Port(d.Name)
	if have == nil {
		if p.owned(d.Bridge, d.Name) {
			p.addPort(d)
		}
		return
	}
	owned := p.owned(have.Bridge, have.Name)
	if have.Bridge != d.Bridge {
		if !owned || !p.owned(d.Bridge, d.Name) || !p.movePort(have, d.Bridge) {
			return // somebody else's port has the name, or there is nowhere to move ours
		}
	}
	p.setPort(have, d, owned)
}

// target returns how to refer to a bridge that is there or is made by this plan, and guards that it stays.
func (p *planner) target(bridge string) (where ovsdb.Condition, guards []ovsdb.Operation, ok bool) {
	if b := p.state.Bridge(bridge); b != nil {
		return ovsdb.ByUUID(b.UUID), []ovsdb.Operation{present("Bridge", b.UUID, b.Name)}, true
	}
	return ovsdb.Condition{Column: "_uuid", Function: "==", Value: ovsdb.Set(ovsdb.NamedAtom(rowName("b", bridge)))}, nil, p.willHave[bridge]
}

func (p *planner) addPort(d DesiredPort) {
	where, guards, ok := p.target(d.Bridge)
	if !ok {
		return // without its bridge the port would be collected as garbage at once
	}
	p.ops = append(p.ops, Operation{Verb: AddPort, Bridge: d.Bridge, Port: d.Name,
		guards: append(guards, absent("Port", d.Name)),
		edits:  append(insertPort(d), addMember("Bridge", where, "ports", ovsdb.NamedAtom(rowName("p", d.Name)))),
	})
}

func (p *planner) movePort(have *Port, bridge string) bool {
	where, guards, ok := p.target(bridge)
	if ok {
		p.ops = append(p.ops, Operation{Verb: MovePort, Bridge: bridge, Port: have.Name,
			guards: append(guards, p.isOn(have)),
			edits:  []ovsdb.Operation{p.detach(have), addMember("Bridge", where, "ports", ovsdb.RefAtom(have.UUID))},
		})
	}
	return ok
}

func (p *planner) setPort(have *Port, d DesiredPort, owned bool) {
	port := edit{table: "Port", row: have.UUID}
	if d.Tag != nil {
		port.set("tag", tagOf(have.Tag), tagOf(d.Tag))
	}
	if d.VLANMode != "" {
		port.set("vlan_mode", optional(have.VLANMode), vlanMode(d.VLANMode))
	}
	if d.Trunks != nil {
		port.set("trunks", ovsdb.Ints(have.Trunks...), ovsdb.Ints(d.Trunks...))
	}
	port.merge("other_config", have.OtherConfig, d.OtherConfig)
	op := Operation{Verb: SetPort, Bridge: d.Bridge, Port: d.Name}
	iface := p.state.Interface(d.Name)
	if iface == nil || !slices.Contains(have.Interfaces, d.Name) {
		p.set(op, port) // a bond: which of its interfaces could be meant?
		return
	}
	e := edit{table: "Interface", row: iface.UUID}
	if owned {
		e.set("type", ovsdb.Str(iface.Type), ovsdb.Str(d.Type))
		if d.Options != nil {
			e.set("options", ovsdb.StrMap(iface.Options), ovsdb.StrMap(d.Options))
		}
		e.set("bfd", ovsdb.StrMap(iface.BFD), ovsdb.StrMap(d.BFD))
	}
	if d.MAC != "" {
		e.set("mac", optional(iface.MAC), ovsdb.Str(d.MAC))
	}
	if d.MTURequest != 0 {
		e.set("mtu_request", optionalInt(iface.MTURequest), ovsdb.Int(int64(d.MTURequest)))
	}
	e.merge("external_ids", iface.ExternalIDs, d.ExternalIDs)
	p.set(op, port, e)
}

// isOn guards that have is still the same row on the same bridge.
func (p *planner) isOn(have *Port) ovsdb.Operation {
	b := p.state.Bridge(have.Bridge)
	return ovsdb.Require("Bridge", []string{"name"}, []ovsdb.Values{{"name": ovsdb.Str(b.Name)}}, ovsdb.ByUUID(b.UUID),
		ovsdb.Condition{Column: "ports", Function: "includes", Value: ovsdb.Set(ovsdb.RefAtom(have.UUID))})
}

// detach takes have off its bridge. The server deletes the row unless the same transaction puts it on another.
func (p *planner) detach(have *Port) ovsdb.Operation {
	return member("Bridge", p.state.Bridge(have.Bridge).UUID, "ports", "delete", ovsdb.RefAtom(have.UUID))
}

// insertPort makes a Port and its Interface; someone must refer to the port.
func insertPort(d DesiredPort) []ovsdb.Operation {
	iface := ovsdb.Values{
		"name":         ovsdb.Str(d.Name),
		"type":         ovsdb.Str(d.Type),
		"options":      ovsdb.StrMap(d.Options),
		"external_ids": ovsdb.StrMap(d.ExternalIDs),
		"bfd":          ovsdb.StrMap(d.BFD),
		"mac":          optional(d.MAC),
		"mtu_request":  optionalInt(d.MTURequest),
	}
	port := ovsdb.Values{
		"name":         ovsdb.Str(d.Name),
		"interfaces":   ovsdb.Set(ovsdb.NamedAtom(rowName("i", d.Name))),
		"tag":          tagOf(d.Tag),
		"vlan_mode":    vlanMode(d.VLANMode),
		"trunks":       ovsdb.Ints(d.Trunks...),
		"other_config": ovsdb.StrMap(d.OtherConfig),
	}
	return []ovsdb.Operation{
		ovsdb.Insert("Interface", rowName("i", d.Name), iface),
		ovsdb.Insert("Port", rowName("p", d.Name), port),
	}
}

// rowName is the name, within a transaction, of the row to be made for name: an identifier, and unique as name is.
func rowName(kind, name string) string { return kind + "_" + hex.EncodeToString([]byte(name)) }

func absent(table, name string) ovsdb.Operation {
	return ovsdb.Require(table, []string{"name"}, nil, ovsdb.Condition{Column: "name", Function: "==", Value: ovsdb.Str(name)})
}

func present(table string, row ovsdb.UUID, name string) ovsdb.Operation {
	return ovsdb.Require(table, []string{"name"}, []ovsdb.Values{{"name": ovsdb.Str(name)}}, ovsdb.ByUUID(row))
}

func member(table string, row ovsdb.UUID, column, mutator string, a ovsdb.Atom) ovsdb.Operation {
	return ovsdb.Mutate(table, []ovsdb.Mutation{{Column: column, Mutator: mutator, Value: ovsdb.Set(a)}}, ovsdb.ByUUID(row))
}

func addMember(table string, where ovsdb.Condition, column string, a ovsdb.Atom) ovsdb.Operation {
	return ovsdb.Mutate(table, []ovsdb.Mutation{{Column: column, Mutator: "insert", Value: ovsdb.Set(a)}}, where)
}

func optional(s string) ovsdb.Datum {
	if s == "" {
		return ovsdb.Set()
	}
	return ovsdb.Str(s)
}

func optionalInt(n int) ovsdb.Datum {
	if n == 0 {
		return ovsdb.Set()
	}
	return ovsdb.Int(int64(n))
}

func tagOf(tag *int) ovsdb.Datum {
	if tag == nil || *tag == noTag {
		return ovsdb.Set()
	}
	return ovsdb.Int(int64(*tag))
}

func vlanMode(mode string) ovsdb.Datum {
	if mode == Default {
		mode = ""
	}
	return optional(mode)
}

// edit collects the changes of one existing row.
type edit struct {
	table    string
	row      ovsdb.UUID
	old, new ovsdb.Values // columns that get a new value
	columns  []string     // the same, and those merged into
	merges   []ovsdb.Mutation
}

func (e *edit) set(column string, have, want ovsdb.Datum) {
	if have.Equal(want) {
		return
	}
	if e.new == nil {
		e.old, e.new = make(ovsdb.Values), make(ovsdb.Values)
	}
	e.old[column], e.new[column] = have, want
	e.columns = append(e.columns, column)
}

// merge sets the keys of want in a column of pairs. Other keys are not ours and are not sent.
func (e *edit) merge(column string, have, want map[string]string) {
	replaced, added := []ovsdb.Atom(nil), make(map[string]string)
	for _, k := range slices.Sorted(maps.Keys(want)) {
		old, ok := have[k]
		if ok && old == want[k] {
			continue
		}
		if ok {
			replaced = append(replaced, ovsdb.StrAtom(k))
		}
		added[k] = want[k]
	}
	if len(added) == 0 {
		return
	}
	if e.old == nil {
		e.old = make(ovsdb.Values)
	}
	e.old[column] = ovsdb.StrMap(have)
	e.columns = append(e.columns, column)
	if len(replaced) > 0 { // "insert" leaves a key that is there as it is
		e.merges = append(e.merges, ovsdb.Mutation{Column: column, Mutator: "delete", Value: ovsdb.Set(replaced...)})
	}
	e.merges = append(e.merges, ovsdb.Mutation{Column: column, Mutator: "insert", Value: ovsdb.StrMap(added)})
}

// changed returns the changed columns as table.column.
func (e *edit) changed() []string {
	var out []string
	for _, c := range e.columns {
		out = append(out, fmt.Sprintf("%s.%s", e.table, c))
	}
	return out
}

// operations returns the guards and the writes of the edit, none if nothing changes.
func (e *edit) operations() (guards, writes []ovsdb.Operation) {
	if len(e.columns) == 0 {
		return nil, nil
	}
	guards = append(guards, ovsdb.Require(e.table, e.columns, []ovsdb.Values{e.old}, ovsdb.ByUUID(e.row)))
	if len(e.new) > 0 {
		writes = append(writes, ovsdb.Update(e.table, e.new, ovsdb.ByUUID(e.row)))
	}
	if len(e.merges) > 0 {
		writes = append(writes, ovsdb.Mutate(e.table, e.merges, ovsdb.ByUUID(e.row)))
	}
	return guards, writes
}
