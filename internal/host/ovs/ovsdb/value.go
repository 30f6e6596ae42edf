package ovsdb

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// UUID names a row. It is the textual form the server uses: 36 characters, lower case.
type UUID string

// zeroUUID is the default of a mandatory uuid column, and "no transaction seen yet" in monitor_cond_since.
const zeroUUID UUID = "00000000-0000-0000-0000-000000000000"

// Kind is the type of an atom (RFC 7047 section 3.2, <atomic-type>).
type Kind uint8

// The kinds of atom. The zero Kind stands for "no value part", that is for a set.
const (
	Integer Kind = iota + 1
	Real
	Boolean
	String
	Ref
	// named is a reference to a row inserted by the same transaction; it is only ever sent.
	named
)

// Atom is one value of a column. It is comparable with ==.
type Atom struct {
	kind Kind
	num  uint64 // the int64, the float64 or the bool
	str  string // the string, the UUID or the name of a named-uuid
}

// IntAtom returns the integer n.
func IntAtom(n int64) Atom { return Atom{kind: Integer, num: uint64(n)} }

// RealAtom returns the real number f. What the server could not read is refused when sent: infinities and subnormal numbers.
func RealAtom(f float64) Atom {
	if f == 0 {
		f = 0 // a negative zero would be unequal to zero
	}
	return Atom{kind: Real, num: math.Float64bits(f)}
}

// BoolAtom returns the boolean b.
func BoolAtom(b bool) Atom {
	if b {
		return Atom{kind: Boolean, num: 1}
	}
	return Atom{kind: Boolean}
}

// StrAtom returns the string s.
func StrAtom(s string) Atom { return Atom{kind: String, str: s} }

// RefAtom returns a reference to the existing row u.
func RefAtom(u UUID) Atom { return Atom{kind: Ref, str: string(u)} }

// NamedAtom returns a reference to the row which the same transaction inserts under name (RFC 7047 section 5.1, <named-uuid>).
func NamedAtom(name string) Atom { return Atom{kind: named, str: name} }

// compareAtoms is a total order within one kind; which order does not matter, that all sides use the same does.
func compareAtoms(a, b Atom) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(int64(a.num), int64(b.num)), strings.Compare(a.str, b.str))
}

// smallestNormal is 2^-1022. ovsdb-server takes a smaller number for a breach of
// the protocol and hangs up.
const smallestNormal = 0x1p-1022

// appendJSON appends the wire form of a (RFC 7047 section 5.1, <atom>).
func (a Atom) appendJSON(b []byte) ([]byte, error) {
	switch a.kind {
	case Integer:
		return strconv.AppendInt(b, int64(a.num), 10), nil
	case Real:
		f := math.Float64frombits(a.num)
		if f != 0 && math.Abs(f) < smallestNormal {
			return nil, fmt.Errorf("encoding %g: too small", f)
		}
		n, err := json.Marshal(f)
		return append(b, n...), err
	case Boolean:
		return strconv.AppendBool(b, a.num != 0), nil
	case String:
		return appendString(b, a.str)
	case Ref, named:
		tag := `["uuid",`
		if a.kind == named {
			tag = `["named-uuid",`
		}
		b, err := appendString(append(b, tag...), a.str)
		return append(b, ']'), err
	default:
		return nil, fmt.Errorf("encoding an atom without a kind")
	}
}

func appendString(b []byte, s string) ([]byte, error) {
	q, err := json.Marshal(s)
	return append(b, q...), err
}

// Datum is the value of one column of one row: a scalar, a set or a map. Its
// zero value is the empty set. A Datum is never changed once made.
type Datum struct {
	keys  []Atom // sorted by compareAtoms, without duplicates
	vals  []Atom // as long as keys for a map, else nil
	isMap bool
}

// Set returns the set of atoms. A scalar is a set of one: the wire format makes no difference.
func Set(atoms ...Atom) Datum {
	keys := slices.Clone(atoms)
	slices.SortFunc(keys, compareAtoms)
	return Datum{keys: slices.Compact(keys)}
}

// Int returns the scalar n.
func Int(n int64) Datum { return Datum{keys: []Atom{IntAtom(n)}} }

// Str returns the scalar s.
func Str(s string) Datum { return Datum{keys: []Atom{StrAtom(s)}} }

// Strs returns the set of the strings ss.
func Strs(ss ...string) Datum {
	atoms := make([]Atom, len(ss))
	for i, s := range ss {
		atoms[i] = StrAtom(s)
	}
	return Set(atoms...)
}

// Ints returns the set of the integers ns.
func Ints(ns ...int) Datum {
	atoms := make([]Atom, len(ns))
	for i, n := range ns {
		atoms[i] = IntAtom(int64(n))
	}
	return Set(atoms...)
}

// StrMap returns the map m from strings to strings.
func StrMap(m map[string]string) Datum {
	pairs := make([][2]Atom, 0, len(m))
	for k, v := range m {
		pairs = append(pairs, [2]Atom{StrAtom(k), StrAtom(v)})
	}
	return Map(pairs...)
}

// Map returns the map with the given key-value pairs. Of two pairs with one key the later one counts.
func Map(pairs ...[2]Atom) Datum {
	pairs = slices.Clone(pairs)
	slices.SortStableFunc(pairs, func(a, b [2]Atom) int { return compareAtoms(a[0], b[0]) })
	d := Datum{isMap: true, keys: make([]Atom, 0, len(pairs)), vals: make([]Atom, 0, len(pairs))}
	for _, p := range pairs {
		if n := len(d.keys); n > 0 && d.keys[n-1] == p[0] {
			d.vals[n-1] = p[1]
			continue
		}
		d.keys, d.vals = append(d.keys, p[0]), append(d.vals, p[1])
	}
	return d
}

// Len returns the number of elements or pairs.
func (d Datum) Len() int { return len(d.keys) }

// Equal reports whether d and e hold the same elements. An empty set and an empty map are unequal.
func (d Datum) Equal(e Datum) bool {
	return d.isMap == e.isMap && slices.Equal(d.keys, e.keys) && slices.Equal(d.vals, e.vals)
}

// Str returns the (first) string or UUID of d, "" if there is none.
func (d Datum) Str() string {
	if len(d.keys) == 0 {
		return ""
	}
	return d.keys[0].str
}

// Int returns the (first) integer of d; ok is false if d is empty or of another kind.
func (d Datum) Int() (n int64, ok bool) {
	if len(d.keys) == 0 || d.keys[0].kind != Integer {
		return 0, false
	}
	return int64(d.keys[0].num), true
}

// Bool returns the boolean of d, false if there is none.
func (d Datum) Bool() bool { return len(d.keys) > 0 && d.keys[0] == BoolAtom(true) }

// Strs returns the strings of the set d in order, nil if it is empty.
func (d Datum) Strs() []string {
	var out []string
	for _, a := range d.keys {
		out = append(out, a.str)
	}
	return out
}

// Ints returns the integers of the set d in order, nil if it is empty.
func (d Datum) Ints() []int {
	var out []int
	for _, a := range d.keys {
		out = append(out, int(int64(a.num)))
	}
	return out
}

// Refs returns the rows that the set d refers to, nil if it is empty.
func (d Datum) Refs() []UUID {
	var out []UUID
	for _, a := range d.keys {
		out = append(out, UUID(a.str))
	}
	return out
}

// StrMap returns the pairs of the map d, never nil.
func (d Datum) StrMap() map[string]string {
	out := make(map[string]string, len(d.vals))
	for i, v := range d.vals {
		out[d.keys[i].str] = v.str
	}
	return out
}

// IntMap returns the pairs of the map d from strings to integers, never nil.
func (d Datum) IntMap() map[string]int64 {
	out := make(map[string]int64, len(d.vals))
	for i, v := range d.vals {
		out[d.keys[i].str] = int64(v.num)
	}
	return out
}

// MarshalJSON returns the wire form of d (RFC 7047 section 5.1, <value>).
func (d Datum) MarshalJSON() ([]byte, error) {
	if !d.isMap && len(d.keys) == 1 {
		return d.keys[0].appendJSON(nil)
	}
	open, closing := `["set",[`, "]]"
	if d.isMap {
		open = `["map",[`
	}
	b := []byte(open)
	var err error
	for i, k := range d.keys {
		if i > 0 {
			b = append(b, ',')
		}
		if d.isMap {
			b = append(b, '[')
		}
		if b, err = k.appendJSON(b); err != nil {
			return nil, err
		}
		if !d.isMap {
			continue
		}
		if b, err = d.vals[i].appendJSON(append(b, ',')); err != nil {
			return nil, err
		}
		b = append(b, ']')
	}
	return append(b, closing...), nil
}

// String returns the wire form, for logs.
func (d Datum) String() string {
	b, err := d.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// applyDiff returns d changed by a difference as update3 sends it for columns
// that may hold more than one element: an element on both sides goes, an element
// on one side stays or comes, and a map key on both sides takes the value of diff
// if that is new (ovsdb-server(7), <row-update2>).
func (d Datum) applyDiff(diff Datum) Datum {
	out := Datum{isMap: d.isMap}
	add := func(from Datum, i int) {
		out.keys = append(out.keys, from.keys[i])
		if d.isMap {
			out.vals = append(out.vals, from.vals[i])
		}
	}
	i, j := 0, 0
	for i < len(d.keys) && j < len(diff.keys) {
		switch c := compareAtoms(d.keys[i], diff.keys[j]); {
		case c < 0:
			add(d, i)
			i++
		case c > 0:
			add(diff, j)
			j++
		default:
			if d.isMap && d.vals[i] != diff.vals[j] {
				add(diff, j)
			}
			i++
			j++
		}
	}
	for ; i < len(d.keys); i++ {
		add(d, i)
	}
	for ; j < len(diff.keys); j++ {
		add(diff, j)
	}
	return out
}
