package ovsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func decodeAny(t testing.TB, raw []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// mustEqualDump fails unless the replica holds exactly what ovsdb-client prints.
func mustEqualDump(t testing.TB, s *server, c *Client) {
	t.Helper()
	snap := c.Snapshot()
	schema, err := parseSchema([]byte(zooSchema))
	if err != nil {
		t.Fatal(err)
	}
	for table, cols := range schema.Tables {
		want := dump(t, s, table, cols)
		if snap.Len(table) != len(want) {
			t.Fatalf("%s: %d rows in the replica, %d in the database", table, snap.Len(table), len(want))
		}
		for id, values := range want {
			row := snap.Row(table, id)
			if row == nil {
				t.Fatalf("%s: row %s is missing", table, id)
			}
			for name := range cols {
				if got := row.Get(name); !got.Equal(values[name]) {
					t.Fatalf("%s: row %s column %s: replica %s, database %s", table, id, name, got, values[name])
				}
			}
		}
	}
}

// TestReplicaEqualsDatabase is the central property: after any series of
// transactions, ours or another client's, over columns of every type, the replica
// equals what an independent tool reads.
func TestReplicaEqualsDatabase(t *testing.T) {
	s := startServer(t, false)
	writer, reader := startClient(t, Config{Addr: s.addr}), startClient(t, Config{Addr: s.addr})
	waitFor(t, writer, "writer connected", connected(1))
	waitFor(t, reader, "reader connected", connected(1))
	serial := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 8).Draw(rt, "transactions") {
			var ops []Operation
			for range rapid.IntRange(1, 5).Draw(rt, "operations") {
				serial++
				ops = append(ops, drawOperation(rt, writer.Snapshot(), serial)...)
			}
			_, err := writer.Transact(context.Background(), ops...)
			var refused *OpError
			if err != nil && !errors.As(err, &refused) {
				rt.Fatal(err)
			}
		}
		mustEqualDump(t, s, writer) // at once: a transaction's outcome is in the replica when it returns
		serial++
		marker := fmt.Sprint("marker", serial)
		if _, err := writer.Transact(context.Background(), Insert("Animal", "", Values{"name": Str(marker), "colours": Strs("x")})); err != nil {
			rt.Fatal(err)
		}
		waitFor(t, reader, "the other client's replica", func(s *Snapshot) bool {
			for row := range s.Rows("Animal") {
				if row.Get("name").Str() == marker {
					return true
				}
			}
			return false
		})
		mustEqualDump(t, s, reader)
	})
}

// drawOperation draws a step that is likely, but not certain, to be accepted.
func drawOperation(t *rapid.T, s *Snapshot, serial int) []Operation {
	var ids []UUID
	for row := range s.Rows("Animal") {
		ids = append(ids, row.UUID())
	}
	slices.Sort(ids)
	verb := rapid.SampledFrom([]string{"insert", "update", "update", "mutate", "mutate", "delete"}).Draw(t, "verb")
	if len(ids) == 0 {
		verb = "insert"
	}
	if verb == "insert" {
		keeper, animal := fmt.Sprint("k", serial), fmt.Sprint("a", serial)
		values := drawValues(t, ids)
		values["name"] = Str(fmt.Sprint("animal", serial))
		values["keepers"] = Set(NamedAtom(keeper))
		return []Operation{
			Insert("Keeper", keeper, Values{"name": Str(keeper), "seen": Map([2]Atom{StrAtom("own"), NamedAtom(animal)})}),
			Insert("Animal", animal, values),
		}
	}
	id := rapid.SampledFrom(ids).Draw(t, "row")
	switch verb {
	case "update":
		return []Operation{Update("Animal", drawValues(t, ids), ByUUID(id))}
	case "mutate":
		return []Operation{Mutate("Animal", drawMutations(t, ids), ByUUID(id))}
	default:
		return []Operation{Delete("Animal", ByUUID(id))}
	}
}

func strings3(t *rapid.T, label string, least int) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "a", "b", "ä\"\\\n", "d"}), least, 3, rapid.ID[string]).Draw(t, label)
}

func ints3(t *rapid.T, label string) []int {
	return rapid.SliceOfNDistinct(rapid.IntRange(-3, 5), 0, 3, rapid.ID[int]).Draw(t, label)
}

func drawPairs(t *rapid.T) Datum {
	m := map[string]string{}
	for _, k := range strings3(t, "keys", 0) {
		m[k] = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "value")
	}
	return StrMap(m)
}

func drawCounts(t *rapid.T) Datum {
	var pairs [][2]Atom
	for _, k := range ints3(t, "counts") {
		pairs = append(pairs, [2]Atom{IntAtom(int64(k)), IntAtom(rapid.Int64().Draw(t, "count"))})
	}
	return Map(pairs...)
}

// drawReal draws a number that ovsdb-server reads.
func drawReal(t *rapid.T) float64 {
	return rapid.Float64Range(-1e9, 1e9).Filter(func(f float64) bool { return f == 0 || math.Abs(f) >= smallestNormal }).Draw(t, "real")
}

func drawRefs(t *rapid.T, ids []UUID) Datum {
	var atoms []Atom
	for _, id := range ids[:min(len(ids), rapid.IntRange(0, 3).Draw(t, "friends"))] {
		atoms = append(atoms, RefAtom(id))
	}
	return Set(atoms...)
}

func drawValues(t *rapid.T, ids []UUID) Values {
	all := map[string]func() Datum{
		"legs":     func() Datum { return Int(rapid.Int64().Draw(t, "legs")) },
		"weight":   func() Datum { return Set(RealAtom(drawReal(t))) },
		"tame":     func() Datum { return Set(BoolAtom(rapid.Bool().Draw(t, "tame"))) },
		"opt_int":  func() Datum { return Ints(ints3(t, "opt_int")...).first() },
		"opt_str":  func() Datum { return Strs(strings3(t, "opt_str", 0)...).first() },
		"ints":     func() Datum { return Ints(ints3(t, "ints")...) },
		"reals":    func() Datum { return Set(RealAtom(0.1), RealAtom(drawReal(t))) },
		"colours":  func() Datum { return Strs(strings3(t, "colours", 1)...) },
		"labels":   func() Datum { return drawPairs(t) },
		"counts":   func() Datum { return drawCounts(t) },
		"one_pair": func() Datum { return Map([2]Atom{StrAtom(strings3(t, "pair", 1)[0]), BoolAtom(true)}) },
		"friends":  func() Datum { return drawRefs(t, ids) },
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	values := Values{"colours": Strs("red")}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 5, rapid.ID[string]).Draw(t, "columns") {
		values[name] = all[name]()
	}
	return values
}

func drawMutations(t *rapid.T, ids []UUID) []Mutation {
	how := rapid.SampledFrom([]string{"insert", "delete"}).Draw(t, "mutator")
	muts := []Mutation{
		{"ints", how, Ints(ints3(t, "ints")...)},
		{"labels", how, drawPairs(t)},
		{"counts", how, drawCounts(t)},
		{"friends", how, drawRefs(t, ids)},
	}
	if rapid.Bool().Draw(t, "arithmetic") {
		muts = append(muts, Mutation{"legs", "+=", Int(1)}, Mutation{"weight", "*=", Set(RealAtom(0.5))})
	}
	return muts
}

// first returns the set of at most one element of d.
func (d Datum) first() Datum { return Datum{keys: d.keys[:min(1, len(d.keys))]} }
