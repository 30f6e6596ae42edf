package ovsdb

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// decodeDatum turns a JSON value (as decoded with UseNumber) into the value of a
// column of type t. A set of one element arrives as the bare element.
func decodeDatum(v any, t ColumnType) (Datum, error) {
	if t.Value != 0 {
		return decodeMap(v, t)
	}
	elems, ok := tagged(v, "set")
	if !ok {
		elems = []any{v}
	}
	atoms := make([]Atom, len(elems))
	for i, e := range elems {
		a, err := decodeAtom(e, t.Key)
		if err != nil {
			return Datum{}, err
		}
		atoms[i] = a
	}
	return t.check(Set(atoms...), len(elems))
}

func decodeMap(v any, t ColumnType) (Datum, error) {
	elems, ok := tagged(v, "map")
	if !ok {
		return Datum{}, fmt.Errorf("value %.60v is no map", v)
	}
	pairs := make([][2]Atom, len(elems))
	for i, e := range elems {
		pair, ok := e.([]any)
		if !ok || len(pair) != 2 {
			return Datum{}, fmt.Errorf("map element %.60v is no pair", e)
		}
		key, err := decodeAtom(pair[0], t.Key)
		if err != nil {
			return Datum{}, err
		}
		val, err := decodeAtom(pair[1], t.Value)
		if err != nil {
			return Datum{}, err
		}
		pairs[i] = [2]Atom{key, val}
	}
	return t.check(Map(pairs...), len(elems))
}

// check refuses duplicate elements: in a difference they would cancel out
// differently here and at the server. The bounds are checked only where the wire
// always has whole values, that is for a max of one: a difference may be longer
// than either value, and may be empty where the value may not.
func (t ColumnType) check(d Datum, sent int) (Datum, error) {
	if d.Len() != sent {
		return Datum{}, fmt.Errorf("value has %d elements of which only %d differ", sent, d.Len())
	}
	if t.Max == 1 && (sent > 1 || sent < t.Min) {
		return Datum{}, fmt.Errorf("value has %d elements, not %d to 1", sent, t.Min)
	}
	return d, nil
}

// tagged returns the list of ["tag", [...]].
func tagged(v any, tag string) ([]any, bool) {
	outer, ok := v.([]any)
	if !ok || len(outer) != 2 || outer[0] != any(tag) {
		return nil, false
	}
	inner, ok := outer[1].([]any)
	return inner, ok
}

func decodeAtom(v any, k Kind) (Atom, error) {
	switch x := v.(type) {
	case json.Number:
		switch k {
		case Integer:
			if n, err := strconv.ParseInt(x.String(), 10, 64); err == nil {
				return IntAtom(n), nil
			}
		case Real:
			if f, err := x.Float64(); err == nil {
				return RealAtom(f), nil
			}
		}
	case bool:
		if k == Boolean {
			return BoolAtom(x), nil
		}
	case string:
		if k == String {
			return StrAtom(x), nil
		}
	case []any:
		if k == Ref && len(x) == 2 && x[0] == any("uuid") {
			if s, ok := x[1].(string); ok && validUUID(s) {
				return RefAtom(UUID(s)), nil
			}
		}
	}
	return Atom{}, fmt.Errorf("value %.60v is no %s", v, k)
}

func validUUID(s string) bool {
	if len(s) != len(zeroUUID) {
		return false
	}
	for i, c := range []byte(s) {
		if zeroUUID[i] == '-' {
			if c != '-' {
				return false
			}
			continue
		}
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
