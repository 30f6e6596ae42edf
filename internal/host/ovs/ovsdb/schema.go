package ovsdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Unlimited is the Max of a column without an upper bound.
const Unlimited = math.MaxInt

// Schema describes a database: which tables it has, and of which type their columns are (RFC 7047 section 3.2).
type Schema struct {
	Name    string
	Version string
	Tables  map[string]TableSchema
}

// TableSchema maps a table's column names to their types.
type TableSchema map[string]ColumnType

// ColumnType is the type of a column. Value is 0 unless the column is a map; a
// scalar has Min and Max 1.
type ColumnType struct {
	Key, Value Kind
	Min, Max   int
}

// String returns the kind's name as a schema spells it.
func (k Kind) String() string {
	switch k {
	case Integer:
		return "integer"
	case Real:
		return "real"
	case Boolean:
		return "boolean"
	case String:
		return "string"
	case Ref:
		return "uuid"
	case named:
		return "named-uuid"
	default:
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
}

func kindOf(name string) (Kind, error) {
	for k := Integer; k <= Ref; k++ {
		if k.String() == name {
			return k, nil
		}
	}
	return 0, fmt.Errorf("unknown atomic type %q", name)
}

// zero returns the value that a column of this kind has if an insert does not name it (RFC 7047 section 5.2.1).
func (k Kind) zero() Atom {
	if k == Ref {
		return RefAtom(zeroUUID)
	}
	return Atom{kind: k}
}

// zero returns the default of a column: what the server leaves out of "initial" and "insert".
func (t ColumnType) zero() Datum {
	d := Datum{isMap: t.Value != 0}
	if t.Min > 0 {
		d.keys = []Atom{t.Key.zero()}
		if d.isMap {
			d.vals = []Atom{t.Value.zero()}
		}
	}
	return d
}

// parseSchema reads the answer to get_schema.
func parseSchema(raw []byte) (*Schema, error) {
	var wire struct {
		Name    string
		Version string
		Tables  map[string]struct {
			Columns map[string]struct{ Type wireType }
		}
	}
	if err := json.Unmarshal(raw, &wire); err != nil {
		return nil, fmt.Errorf("parsing the schema: %w", err)
	}
	s := &Schema{Name: wire.Name, Version: wire.Version, Tables: make(map[string]TableSchema, len(wire.Tables))}
	for name, t := range wire.Tables {
		cols := make(TableSchema, len(t.Columns))
		for c, col := range t.Columns {
			if col.Type.Key == 0 {
				return nil, fmt.Errorf("parsing the schema: column %s.%s has no type", name, c)
			}
			cols[c] = ColumnType(col.Type)
		}
		s.Tables[name] = cols
	}
	return s, nil
}

// wireType reads a <type>: an atomic type by name, or an object.
type wireType ColumnType

func (t *wireType) UnmarshalJSON(raw []byte) error {
	*t = wireType{Min: 1, Max: 1}
	if len(raw) > 0 && raw[0] == '"' {
		return (*wireBase)(&t.Key).UnmarshalJSON(raw)
	}
	var wire struct {
		Key, Value wireBase
		Min        *int
		Max        json.RawMessage
	}
	if err := json.Unmarshal(raw, &wire); err != nil {
		return err
	}
	t.Key, t.Value = Kind(wire.Key), Kind(wire.Value)
	if wire.Min != nil {
		t.Min = *wire.Min
	}
	switch string(wire.Max) {
	case "":
	case `"unlimited"`:
		t.Max = Unlimited
	default:
		if err := json.Unmarshal(wire.Max, &t.Max); err != nil {
			return err
		}
	}
	if t.Min < 0 || t.Min > 1 || t.Max < 1 {
		return errors.New("a column's min is 0 or 1, its max at least 1")
	}
	return nil
}

// wireBase reads a <base-type>: an atomic type by name, or an object with a "type".
type wireBase Kind

func (k *wireBase) UnmarshalJSON(raw []byte) error {
	var name string
	if len(raw) > 0 && raw[0] == '{' {
		var wire struct{ Type string }
		if err := json.Unmarshal(raw, &wire); err != nil {
			return err
		}
		name = wire.Type
	} else if err := json.Unmarshal(raw, &name); err != nil {
		return err
	}
	kind, err := kindOf(name)
	*k = wireBase(kind)
	return err
}
