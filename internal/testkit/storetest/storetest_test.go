package storetest_test

import (
	"testing"

	"weft/internal/model"
	"weft/internal/server/store"
	"weft/internal/testkit/storetest"
)

func TestUpdateIsSeenBySnapshots(t *testing.T) {
	s := storetest.Open(t)
	id := model.NetworkID{UUID: model.UUID{1}}
	storetest.Update(t, s, func(tx *store.Tx) {
		tx.PutNetwork(&model.Network{ID: id, Meta: model.Meta{ProjectID: "p"}})
	})
	snap := s.Snapshot()
	if snap.Network(id) == nil || snap.NetworkCount("p") != 1 {
		t.Errorf("network %v, count %d: want it, 1", snap.Network(id), snap.NetworkCount("p"))
	}
}
