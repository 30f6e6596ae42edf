package ovsdb

import (
	"testing"
)

func zooReplica(t testing.TB) *replica {
	schema, err := parseSchema([]byte(zooSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{Monitors: zooMonitors})
	return newReplica(c.monitored(schema))
}

// FuzzApply: whatever arrives, the replica either takes it whole or stays as it
// was, and every value it then holds survives the way to the wire and back.
func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"Animal":{"`+cat+`":{"modify":{"ints":["set",[2,3]],"labels":["map",[["a","1"]]]}}}}`), false)
	f.Add([]byte(`{"Animal":{"`+dog+`":{"insert":{"name":"d","weight":1e300,"keepers":["uuid","`+cat+`"]}}}}`), false)
	f.Add([]byte(`{"Animal":{"`+cat+`":{"delete":null}}}`), false)
	f.Add([]byte(`{"Keeper":{"`+dog+`":{"initial":{"seen":["map",[["a",["uuid","`+cat+`"]]]]}}}}`), true)
	f.Add([]byte(`{"Animal":null}`), true)
	f.Add([]byte(`{"Animal":{"`+cat+`":{"modify":{"weight":5e-324}}}}`), false)
	f.Fuzz(func(t *testing.T, raw []byte, whole bool) {
		r := zooReplica(t)
		seed, err := decodeUpdates([]byte(`{"Animal":{"` + cat + `":{"insert":{"name":"cat","ints":["set",[1,2]],"labels":["map",[["a","1"]]]}}}}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.apply(seed, false); err != nil {
			t.Fatal(err)
		}
		old := r.tables["Animal"][cat]
		updates, err := decodeUpdates(raw)
		if err != nil {
			return
		}
		if _, err := r.apply(updates, whole); err != nil {
			if len(r.tables["Animal"]) != 1 || r.tables["Animal"][cat] != old {
				t.Fatal("a refused update left traces")
			}
			return
		}
		for _, rows := range r.tables {
			for _, row := range rows {
				for i, d := range row.data {
					wire, err := d.MarshalJSON()
					if err != nil {
						continue // a subnormal number: we take it, but cannot send it
					}
					back, err := decodeDatum(decodeAny(t, wire), row.cols.types[i])
					if err != nil || !back.Equal(d) {
						t.Fatalf("column %s: %s came back as %s, %v", row.cols.names[i], d, back, err)
					}
				}
			}
		}
	})
}

// FuzzSchema: a schema is read or refused, and its defaults are values of their own type.
func FuzzSchema(f *testing.F) {
	f.Add([]byte(zooSchema))
	f.Add([]byte(`{"tables":{"T":{"columns":{"c":{"type":{"key":{"type":"uuid"},"min":0,"max":3}}}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseSchema(raw)
		if err != nil {
			return
		}
		for _, table := range s.Tables {
			for name, typ := range table {
				if _, err := decodeDatum(decodeAny(t, []byte(typ.zero().String())), typ); err != nil {
					t.Fatalf("default of %s: %v", name, err)
				}
			}
		}
	})
}

// FuzzResults: the outcome of a transaction is read or refused.
func FuzzResults(f *testing.F) {
	f.Add([]byte(`[{"uuid":["uuid","` + cat + `"]},{"count":1},{"rows":[{"name":"x","_uuid":["uuid","` + cat + `"]}]}]`))
	f.Add([]byte(`[null,{"error":"timed out","details":"x"},null]`))
	schema, err := parseSchema([]byte(zooSchema))
	if err != nil {
		f.Fatal(err)
	}
	ops := []Operation{Insert("Animal", "", nil), Delete("Animal"), Select("Animal", nil)}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if res, err := decodeResults(raw, ops, schema); err == nil && len(res) != len(ops) {
			t.Fatal("an outcome for each operation, or an error")
		}
	})
}
