package ovsdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Row is one row of a monitored table. It is never changed: an update makes a new Row.
type Row struct {
	uuid UUID
	cols *columns
	data []Datum
}

// columns is what is monitored of a table; all its rows share it.
type columns struct {
	names []string
	types []ColumnType
	index map[string]int
	// quiet columns change without waking those who wait for a change.
	quiet []bool
}

// UUID returns the row's identity.
func (r *Row) UUID() UUID { return r.uuid }

// Get returns the value of column, the empty set if the column is not monitored or the server's schema has no such column.
func (r *Row) Get(column string) Datum {
	i, ok := r.cols.index[column]
	if !ok {
		return Datum{}
	}
	return r.data[i]
}

// differs reports whether old and r have different values, and whether in a column that is not quiet.
func (r *Row) differs(old *Row) (any, loud bool) {
	for i := range r.data {
		if !r.data[i].Equal(old.data[i]) {
			any = true
			loud = loud || !r.cols.quiet[i]
		}
	}
	return any, loud
}

// Snapshot is the state of the monitored tables after one transaction. It is immutable.
type Snapshot struct {
	// Epoch counts the connections that delivered a full state; 0 means nothing is known yet.
	Epoch uint64
	// Connected is false while the server is out of reach; the rows are then the last ones known.
	Connected bool
	tables    map[string]map[UUID]*Row
}

// Rows yields the rows of table in no particular order.
func (s *Snapshot) Rows(table string) iter.Seq[*Row] { return maps.Values(s.tables[table]) }

// Row returns a row, or nil if there is none.
func (s *Snapshot) Row(table string, u UUID) *Row { return s.tables[table][u] }

// Len returns the number of rows of table.
func (s *Snapshot) Len(table string) int { return len(s.tables[table]) }

// replica holds the monitored tables. Its maps are handed to snapshots and copied before the next write.
type replica struct {
	cols   map[string]*columns
	tables map[string]map[UUID]*Row
	shared map[string]bool
}

func newReplica(cols map[string]*columns) *replica {
	return &replica{cols: cols, tables: make(map[string]map[UUID]*Row), shared: make(map[string]bool)}
}

// share returns the tables as they are now, for a snapshot.
func (r *replica) share() map[string]map[UUID]*Row {
	for t := range r.tables {
		r.shared[t] = true
	}
	return maps.Clone(r.tables)
}

// writable returns table's rows for writing.
func (r *replica) writable(table string) map[UUID]*Row {
	rows := r.tables[table]
	if rows == nil || r.shared[table] {
		rows = maps.Clone(rows)
		if rows == nil {
			rows = make(map[UUID]*Row)
		}
		r.tables[table], r.shared[table] = rows, false
	}
	return rows
}

// tableUpdates is a <table-updates2>: table -> row -> one of initial, insert,
// modify or delete -> columns. It is a map down to the verb because a delete is
// sent as {"delete": null}: only the presence of the key tells.
type tableUpdates map[string]map[UUID]map[string]map[string]any

// decodeUpdates parses a <table-updates2>, with numbers kept as they are written.
func decodeUpdates(raw []byte) (tableUpdates, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var u tableUpdates
	if err := dec.Decode(&u); err != nil {
		return nil, fmt.Errorf("parsing an update: %w", err)
	}
	return u, nil
}

// errDiverged means that an update does not fit the replica: only a full state repairs that.
var errDiverged = errors.New("update does not fit the replica")

// apply carries out one update as a whole or not at all. With whole set the update
// is the complete state and replaces what was known. It reports whether anything
// but quiet columns changed.
func (r *replica) apply(u tableUpdates, whole bool) (loud bool, err error) {
	staged := make(map[string]map[UUID]*Row, len(u))
	for table, rows := range u {
		cols := r.cols[table]
		if cols == nil {
			return false, fmt.Errorf("%w: table %s is not monitored", errDiverged, table)
		}
		staged[table] = make(map[UUID]*Row, len(rows))
		for id, verbs := range rows {
			var old *Row
			if !whole {
				old = r.tables[table][id]
			}
			row, err := cols.next(id, old, verbs)
			if err != nil {
				return false, fmt.Errorf("table %s, row %.40s: %w", table, id, err)
			}
			staged[table][id] = row
		}
	}
	if whole {
		r.stageRemovals(staged)
	}
	for table, rows := range staged {
		loud = r.commit(table, rows) || loud
	}
	return loud, nil
}

// stageRemovals adds a removal to staged for every row that staged does not have.
func (r *replica) stageRemovals(staged map[string]map[UUID]*Row) {
	for table, rows := range r.tables {
		if staged[table] == nil {
			staged[table] = make(map[UUID]*Row)
		}
		for id := range rows {
			if _, ok := staged[table][id]; !ok {
				staged[table][id] = nil
			}
		}
	}
}

// commit puts rows into table, a nil row being a removal. A row that did not
// change keeps its identity, so that what was derived from it stays valid.
func (r *replica) commit(table string, rows map[UUID]*Row) (loud bool) {
	for id, row := range rows {
		old := r.tables[table][id]
		if row == nil {
			if old != nil {
				delete(r.writable(table), id)
				loud = true
			}
			continue
		}
		changed, notQuiet := true, true
		if old != nil {
			changed, notQuiet = row.differs(old)
		}
		if changed {
			r.writable(table)[id] = row
		}
		loud = loud || notQuiet
	}
	return loud
}

// next returns the row that verbs, a <row-update2>, makes of old; nil if it deletes it.
func (c *columns) next(id UUID, old *Row, verbs map[string]map[string]any) (*Row, error) {
	if len(verbs) != 1 || !validUUID(string(id)) {
		return nil, fmt.Errorf("%w: %d verbs", errDiverged, len(verbs))
	}
	for verb, values := range verbs {
		exists := verb == "modify" || verb == "delete"
		if exists != (old != nil) {
			return nil, fmt.Errorf("%w: %s with row present %t", errDiverged, verb, old != nil)
		}
		switch verb {
		case "delete":
			return nil, nil
		case "modify":
			return c.modified(old, values)
		case "initial", "insert":
			return c.inserted(id, values)
		}
	}
	return nil, fmt.Errorf("%w: unknown verb", errDiverged)
}

func (c *columns) inserted(id UUID, values map[string]any) (*Row, error) {
	for name := range values {
		if _, ok := c.index[name]; !ok {
			return nil, fmt.Errorf("%w: column %s is not monitored", errDiverged, name)
		}
	}
	row := &Row{uuid: id, cols: c, data: make([]Datum, len(c.names))}
	for i, t := range c.types {
		v, ok := values[c.names[i]]
		if !ok {
			row.data[i] = t.zero()
			continue
		}
		d, err := decodeDatum(v, t)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.names[i], err)
		}
		row.data[i] = d
	}
	return row, nil
}

func (c *columns) modified(old *Row, values map[string]any) (*Row, error) {
	row := &Row{uuid: old.uuid, cols: c, data: slices.Clone(old.data)}
	for name, v := range values {
		i, ok := c.index[name]
		if !ok {
			return nil, fmt.Errorf("%w: column %s is not monitored", errDiverged, name)
		}
		d, err := decodeDatum(v, c.types[i])
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
		if c.types[i].Max > 1 {
			d = old.data[i].applyDiff(d)
		}
		row.data[i] = d
	}
	return row, nil
}
