package ovsdb

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Values maps column names to values: a row, or a part of one, as it is sent.
type Values map[string]Datum

// Operation is one step of a transaction (RFC 7047 section 5.2). Make it with the functions below.
type Operation struct {
	op    string
	table string
	wire  map[string]any
}

// String returns the wire form, for logs.
func (o Operation) String() string {
	b, err := json.Marshal(o.wire)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func operation(op, table string, wire map[string]any) Operation {
	wire["op"] = op
	if table != "" {
		wire["table"] = table
	}
	return Operation{op: op, table: table, wire: wire}
}

// Condition selects rows by one column.
type Condition struct {
	Column   string
	Function string // ==, !=, <, <=, >, >=, includes, excludes
	Value    Datum
}

// MarshalJSON returns the wire form (RFC 7047 section 5.1, <condition>).
func (c Condition) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{c.Column, c.Function, c.Value})
}

// ByUUID selects the row u.
func ByUUID(u UUID) Condition { return Condition{"_uuid", "==", Set(RefAtom(u))} }

// Mutation changes one column in place.
type Mutation struct {
	Column  string
	Mutator string // +=, -=, *=, /=, %=, insert, delete
	Value   Datum
}

// MarshalJSON returns the wire form (RFC 7047 section 5.1, <mutation>).
func (m Mutation) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{m.Column, m.Mutator, m.Value})
}

// nonNil makes an absent list an empty one: the server refuses null.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Insert adds a row. Other operations of the transaction refer to it by
// NamedAtom(name), unless name is empty. Columns that values does not name get their defaults.
func Insert(table, name string, values Values) Operation {
	wire := map[string]any{"row": values}
	if name != "" {
		wire["uuid-name"] = name
	}
	return operation("insert", table, wire)
}

// Update sets the named columns of the rows that meet every condition.
func Update(table string, values Values, where ...Condition) Operation {
	return operation("update", table, map[string]any{"row": values, "where": nonNil(where)})
}

// Mutate carries out mutations on the rows that meet every condition.
func Mutate(table string, mutations []Mutation, where ...Condition) Operation {
	return operation("mutate", table, map[string]any{"mutations": nonNil(mutations), "where": nonNil(where)})
}

// Delete removes the rows that meet every condition.
func Delete(table string, where ...Condition) Operation {
	return operation("delete", table, map[string]any{"where": nonNil(where)})
}

// Select reads columns (all if none are named) of the rows that meet every condition.
func Select(table string, columns []string, where ...Condition) Operation {
	wire := map[string]any{"where": nonNil(where)}
	if columns != nil {
		wire["columns"] = columns
	}
	return operation("select", table, wire)
}

// Require makes the transaction fail, at once, unless the named columns of the
// rows that meet every condition are exactly rows, in any order. It is "wait" with
// a time-out of zero: a guard, not a wait.
func Require(table string, columns []string, rows []Values, where ...Condition) Operation {
	return operation("wait", table, map[string]any{
		"timeout": 0, "columns": nonNil(columns), "until": "==", "rows": nonNil(rows), "where": nonNil(where),
	})
}

// Comment puts text into the server's log of transactions.
func Comment(text string) Operation {
	return operation("comment", "", map[string]any{"comment": text})
}

// Result is the outcome of one operation.
type Result struct {
	UUID  UUID     // of an insert
	Count int      // of rows met by an update, mutate or delete
	Rows  []Values // of a select
}

// OpError is the refusal of a transaction; nothing of it was carried out.
type OpError struct {
	Index   int    // of the operation that failed; the number of operations if the commit did
	Op      string // of the operation, "commit" for the commit
	Name    string // RFC 7047's error, such as "constraint violation" or "timed out"
	Details string // for people
}

// Error implements error.
func (e *OpError) Error() string {
	return fmt.Sprintf("ovsdb operation %d (%s): %s: %s", e.Index, e.Op, e.Name, e.Details)
}

// decodeResults reads the answer to transact. The answer is shorter than ops if
// an operation failed, and longer by one if the commit did.
func decodeResults(raw []byte, ops []Operation, schema *Schema) ([]Result, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var answers []*struct {
		Error   string
		Details string
		UUID    any
		Count   int
		Rows    []map[string]any
	}
	if err := dec.Decode(&answers); err != nil {
		return nil, fmt.Errorf("parsing the outcome of a transaction: %w", err)
	}
	results := make([]Result, len(ops))
	for i, a := range answers {
		if a == nil {
			continue
		}
		if a.Error != "" {
			e := &OpError{Index: i, Op: "commit", Name: a.Error, Details: a.Details}
			if i < len(ops) {
				e.Op = ops[i].op
			}
			return nil, e
		}
		if i >= len(ops) {
			return nil, fmt.Errorf("parsing the outcome of a transaction: %d answers to %d operations", len(answers), len(ops))
		}
		results[i].Count = a.Count
		if a.UUID != nil {
			u, err := decodeAtom(a.UUID, Ref)
			if err != nil {
				return nil, fmt.Errorf("parsing the outcome of operation %d: %w", i, err)
			}
			results[i].UUID = UUID(u.str)
		}
		rows, err := decodeRows(a.Rows, schema.Tables[ops[i].table])
		if err != nil {
			return nil, fmt.Errorf("parsing the outcome of operation %d: %w", i, err)
		}
		results[i].Rows = rows
	}
	if len(answers) < len(ops) {
		return nil, fmt.Errorf("parsing the outcome of a transaction: %d answers to %d operations", len(answers), len(ops))
	}
	return results, nil
}

func decodeRows(wire []map[string]any, t TableSchema) ([]Values, error) {
	var rows []Values
	for _, w := range wire {
		row := make(Values, len(w))
		for name, v := range w {
			typ, ok := t[name]
			if name == "_uuid" || name == "_version" {
				typ, ok = ColumnType{Key: Ref, Min: 1, Max: 1}, true
			}
			if !ok {
				return nil, fmt.Errorf("unknown column %s", name)
			}
			d, err := decodeDatum(v, typ)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", name, err)
			}
			row[name] = d
		}
		rows = append(rows, row)
	}
	return rows, nil
}
