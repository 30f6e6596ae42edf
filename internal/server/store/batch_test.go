package store

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/server/journal"
)

// However many there are, the journal gets one operation a key, the last, in the order of the first; a subscriber
// gets the way from before the first to after the last.
func TestBatchHasOneOperationAKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b batch
		var order []string
		before, after := map[string]any{}, map[string]any{}
		for i := range rapid.IntRange(1, 80).Draw(t, "edits") {
			key := fmt.Sprint(rapid.IntRange(1, 50).Draw(t, "key"))
			if _, ok := after[key]; !ok {
				order = append(order, key)
				before[key] = -i
			}
			b.add([]encoded{{journal.Op{Key: key, Value: []byte{byte(i)}}, Change{Before: -i, After: i}}})
			after[key] = i
		}
		if len(b.ops) != len(order) || len(b.changes) != len(order) {
			t.Fatalf("%d operations and %d changes, want %d", len(b.ops), len(b.changes), len(order))
		}
		bytes := 0
		for i, key := range order {
			bytes += len(key) + 1
			if b.ops[i].Key != key || int(b.ops[i].Value[0]) != after[key] || b.changes[i] != (Change{before[key], after[key]}) {
				t.Fatalf("operation %d: %v, change %v; want %s, %v to %v", i, b.ops[i], b.changes[i], key, before[key], after[key])
			}
		}
		if b.bytes != bytes {
			t.Fatalf("%d bytes, want %d", b.bytes, bytes)
		}
	})
}
