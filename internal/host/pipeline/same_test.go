package pipeline

import (
	"net/netip"
	"reflect"
	"testing"
)

// TestEveryPartOfTheInputCounts: flows are computed anew whatever of their input has changed. A field that
// a Cache does not know fails here.
func TestEveryPartOfTheInputCounts(t *testing.T) {
	same := func(a, b Input) bool { return sameBesidePeers(a, b) && len(changedPeers(a.Peers, b.Peers)) == 0 }
	if !same(Input{}, Input{}) {
		t.Fatal("an input differs from itself")
	}
	differs := func(path string, a, b Input) {
		if same(a, b) || same(b, a) {
			t.Errorf("a change of %s makes no difference", path)
		}
	}
	var each func(path string, at []int, typ reflect.Type)
	each = func(path string, at []int, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			at, path := append(at[:len(at):len(at)], i), path+"."+f.Name
			if f.Type == reflect.TypeFor[Local]() {
				each(path, at, f.Type)
				continue
			}
			var with Input
			field := reflect.ValueOf(&with).Elem().FieldByIndex(at)
			if f.Type.Kind() != reflect.Map {
				field.Set(another(t, path, f.Type))
				differs(path, Input{}, with)
				continue
			}
			put := func(value reflect.Value) Input {
				var in Input
				m := reflect.MakeMap(f.Type)
				m.SetMapIndex(reflect.Zero(f.Type.Key()), value)
				reflect.ValueOf(&in).Elem().FieldByIndex(at).Set(m)
				return in
			}
			value := f.Type.Elem()
			differs(path+"[new]", Input{}, put(reflect.Zero(value)))
			if value.Kind() != reflect.Struct {
				differs(path+"[]", put(reflect.Zero(value)), put(another(t, path, value)))
				continue
			}
			for j := range value.NumField() {
				v := reflect.New(value).Elem()
				v.Field(j).Set(another(t, path, value.Field(j).Type))
				differs(path+"[]."+value.Field(j).Name, put(reflect.Zero(value)), put(v))
			}
		}
	}
	each("Input", nil, reflect.TypeFor[Input]())
}

// another returns a value that is not the zero one.
func another(t *testing.T, path string, typ reflect.Type) reflect.Value {
	v := reflect.New(typ).Elem()
	switch {
	case typ == reflect.TypeFor[netip.Addr]():
		return reflect.ValueOf(netip.IPv6Loopback())
	case v.CanUint():
		v.SetUint(1)
	case v.CanInt():
		v.SetInt(1)
	case typ.Kind() == reflect.Bool:
		v.SetBool(true)
	case typ.Kind() == reflect.String:
		v.SetString("x")
	case typ.Kind() == reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
	case typ.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(typ, 1, 1))
	case typ.Kind() == reflect.Array:
		v.Index(0).Set(another(t, path, typ.Elem()))
	default:
		t.Fatalf("%s is a %s: say here what another one is", path, typ)
	}
	return v
}
