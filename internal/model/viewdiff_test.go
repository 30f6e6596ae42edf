package model_test

import (
	"reflect"
	"testing"

	"weft/internal/model"
)

// oneOfEach returns a view that has one object in each of its maps, found by reflection so that a map
// that is added to the view cannot be forgotten here.
func oneOfEach(t *testing.T) *model.HostView {
	t.Helper()
	v := model.NewHostView("compute1")
	fields := reflect.ValueOf(v).Elem()
	for i := range fields.NumField() {
		f := fields.Field(i)
		if f.Kind() != reflect.Map {
			continue
		}
		obj := reflect.New(f.Type().Elem().Elem())
		f.SetMapIndex(reflect.Zero(f.Type().Key()), obj)
	}
	return v
}

func TestHostView_Diff_coversEveryKindOfObject(t *testing.T) {
	full, empty := oneOfEach(t), model.NewHostView("compute1")
	got := model.NewHostView("compute1")
	got.Apply(empty.Diff(full))
	if !reflect.DeepEqual(got, full) {
		t.Errorf("from nothing to all: %+v", got)
	}
	got.Apply(full.Diff(empty))
	if !reflect.DeepEqual(got, empty) {
		t.Errorf("from all to nothing: %+v", got)
	}
	if n := full.Diff(oneOfEach(t)).Len(); n != 0 {
		t.Errorf("equal views differ by %d objects", n)
	}
}
