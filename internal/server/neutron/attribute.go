package neutron

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/server/network"
	"weft/internal/server/store"
)

// view is what an encoder or filter may look at beside the object: the
// snapshot that the request reads, and the API's settings.
type view struct {
	*store.Snapshot
	api    *API
	parent model.UUID // the object that those asked about belong to, zero for most
}

// attribute declares one attribute of a resource whose objects are *T and
// whose requests are S. Everything that the API does with the attribute
// follows from this.
type attribute[T, S any] struct {
	name string

	// show appends the value; nil: the attribute is never shown.
	show func(b []byte, v *view, o *T) []byte
	// guarded: shown only to whom policy allows "get_<resource>:<name>".
	guarded bool

	// set converts a value of a request and puts it into the spec; setNull puts
	// null there. Without set the attribute is read-only.
	set              func(s *S, value any) error
	setNull          func(s *S)
	onPOST, onPUT    bool
	required, nulled bool // must be in a POST; may be null

	// match compiles the values of a filter, nil: cannot be filtered by.
	match func(v *view, values []string) (func(o *T) bool, error)
	// index finds the objects that a value of the filter can match, for
	// filters that have an index. It may find too many, never too few.
	index func(v *view, value string) iter.Seq[*store.Row[T]]
	// compare orders objects, nil: cannot be sorted by.
	compare func(a, b *T) int

	key string // `"name":`, made once
}

// The methods below refine a declaration; each returns a changed copy.

// postOnly: a PUT may not carry it.
func (a attribute[T, S]) postOnly() attribute[T, S] { a.onPUT = false; return a }

// putOnly: a POST may not carry it.
func (a attribute[T, S]) putOnly() attribute[T, S] { a.onPOST = false; return a }

// must: a POST without it is refused.
func (a attribute[T, S]) must() attribute[T, S] { a.required = true; return a }

// orNull: null is a value.
func (a attribute[T, S]) orNull() attribute[T, S] { a.nulled = true; return a }

// guard: seen only by whom policy allows it.
func (a attribute[T, S]) guard() attribute[T, S] { a.guarded = true; return a }

// hidden: accepted in requests, never shown.
func (a attribute[T, S]) hidden() attribute[T, S] { a.show = nil; return a }

// noFilter: the attribute is not a filter.
func (a attribute[T, S]) noFilter() attribute[T, S] { a.match = nil; return a }

// noSort: the attribute is no sort key.
func (a attribute[T, S]) noSort() attribute[T, S] { a.compare = nil; return a }

// by adds the index that serves the attribute's filter.
func (a attribute[T, S]) by(index func(v *view, value string) iter.Seq[*store.Row[T]]) attribute[T, S] {
	a.index = index
	return a
}

// as changes how the value is shown.
func (a attribute[T, S]) as(show func(b []byte, v *view, o *T) []byte) attribute[T, S] {
	a.show = show
	return a
}

// where changes how the filter works.
func (a attribute[T, S]) where(match func(v *view, values []string) (func(o *T) bool, error)) attribute[T, S] {
	a.match = match
	return a
}

// declare makes attributes of one resource: it fixes the type parameters, so
// that a declaration file need not repeat them.
type declare[T, S any] struct{}

// field makes the part of an attribute that requests carry: a converter, and
// where in the spec the value goes.
func field[T, S, V any](a attribute[T, S], conv converter[V], at func(*S) *network.Opt[V]) attribute[T, S] {
	if at == nil {
		return a
	}
	name := a.name
	a.set = func(s *S, value any) error {
		x, err := conv(name, value)
		if err != nil {
			return err
		}
		*at(s) = network.Some(x)
		return nil
	}
	a.setNull = func(s *S) { *at(s) = network.NullOf[V]() }
	a.onPOST, a.onPUT = true, true
	return a
}

// str declares text: filtered by equality, sorted, settable when at is given.
func (declare[T, S]) str(name string, get func(*T) string, conv converter[string], at func(*S) *network.Opt[string]) attribute[T, S] {
	return field(attribute[T, S]{
		name:    name,
		show:    func(b []byte, _ *view, o *T) []byte { return appendString(b, get(o)) },
		match:   matchString(get),
		compare: func(a, b *T) int { return strings.Compare(get(a), get(b)) },
	}, conv, at)
}

// strOrNull declares text that is null when it is empty.
func (d declare[T, S]) strOrNull(name string, get func(*T) string, conv converter[string], at func(*S) *network.Opt[string]) attribute[T, S] {
	return d.str(name, get, conv, at).orNull().
		as(func(b []byte, _ *view, o *T) []byte { return appendStringOrNull(b, get(o)) })
}

// flag declares a boolean.
func (declare[T, S]) flag(name string, get func(*T) bool, at func(*S) *network.Opt[bool]) attribute[T, S] {
	return field(attribute[T, S]{
		name:    name,
		show:    func(b []byte, _ *view, o *T) []byte { return appendBool(b, get(o)) },
		match:   matchBool(get),
		compare: func(a, b *T) int { return cmp.Compare(boolInt(get(a)), boolInt(get(b))) },
	}, boolean, at)
}

// num declares a number.
func (declare[T, S]) num(name string, get func(*T) int64, conv converter[int], at func(*S) *network.Opt[int]) attribute[T, S] {
	return field(attribute[T, S]{
		name:    name,
		show:    func(b []byte, _ *view, o *T) []byte { return appendInt(b, get(o)) },
		match:   matchInt(get),
		compare: func(a, b *T) int { return cmp.Compare(get(a), get(b)) },
	}, conv, at)
}

// id declares a read-only id; null when it is zero.
func (declare[T, S]) id(name string, get func(*T) model.UUID) attribute[T, S] {
	return attribute[T, S]{
		name:    name,
		show:    func(b []byte, _ *view, o *T) []byte { return appendUUID(b, get(o)) },
		match:   matchID(get),
		compare: func(a, b *T) int { return get(a).Compare(get(b)) },
	}
}

// time declares a read-only time.
func (declare[T, S]) time(name string, get func(*T) time.Time) attribute[T, S] {
	return attribute[T, S]{
		name:    name,
		show:    func(b []byte, _ *view, o *T) []byte { return appendTime(b, get(o)) },
		compare: func(a, b *T) int { return get(a).Compare(get(b)) },
	}
}

// other declares an attribute of its own shape: shown by a function, neither
// filtered nor sorted unless that is added.
func (declare[T, S]) other(name string, show func(b []byte, v *view, o *T) []byte) attribute[T, S] {
	return attribute[T, S]{name: name, show: show}
}

// constant declares what is the same for all objects.
func (declare[T, S]) constant(name, value string) attribute[T, S] {
	return attribute[T, S]{name: name, show: func(b []byte, _ *view, _ *T) []byte { return append(b, value...) }}
}

// standard declares the attributes that every object with a Meta has, but for
// its name. description is settable where at is given.
func (d declare[T, S]) standard(meta func(*T) *model.Meta, description func(*S) *network.Opt[string]) []attribute[T, S] {
	project := func(o *T) string { return meta(o).ProjectID }
	return []attribute[T, S]{
		d.str("description", func(o *T) string { return meta(o).Description }, text(255), description),
		d.str("project_id", project, nil, nil),
		d.str("tenant_id", project, nil, nil),
		d.time("created_at", func(o *T) time.Time { return meta(o).CreatedAt }),
		d.time("updated_at", func(o *T) time.Time { return meta(o).UpdatedAt }),
		d.num("revision_number", func(o *T) int64 { return meta(o).Revision }, nil, nil),
	}
}

// tags declares the tags of an object.
func (d declare[T, S]) tags(meta func(*T) *model.Meta) attribute[T, S] {
	return d.other("tags", func(b []byte, _ *view, o *T) []byte { return appendStrings(b, meta(o).Tags) })
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func matchString[T any](get func(*T) string) func(*view, []string) (func(*T) bool, error) {
	return func(_ *view, values []string) (func(*T) bool, error) {
		if len(values) == 1 {
			want := values[0]
			return func(o *T) bool { return get(o) == want }, nil
		}
		want := make(map[string]bool, len(values))
		for _, v := range values {
			want[v] = true
		}
		return func(o *T) bool { return want[get(o)] }, nil
	}
}

func matchBool[T any](get func(*T) bool) func(*view, []string) (func(*T) bool, error) {
	return func(_ *view, values []string) (func(*T) bool, error) {
		var yes, no bool
		for _, s := range values {
			b, ok := parseBool(s)
			if !ok {
				return nil, invalidInput("'%s' cannot be converted to boolean.", s)
			}
			yes, no = yes || b, no || !b
		}
		return func(o *T) bool {
			if get(o) {
				return yes
			}
			return no
		}, nil
	}
}

func matchInt[T any](get func(*T) int64) func(*view, []string) (func(*T) bool, error) {
	return func(_ *view, values []string) (func(*T) bool, error) {
		want := make([]int64, 0, len(values))
		for _, s := range values {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return nil, invalidInput("'%s' is not an integer.", s)
			}
			want = append(want, n)
		}
		return func(o *T) bool { return slices.Contains(want, get(o)) }, nil
	}
}

// matchID compares ids; what is no id matches nothing, and the empty value
// matches objects without one.
func matchID[T any](get func(*T) model.UUID) func(*view, []string) (func(*T) bool, error) {
	return func(_ *view, values []string) (func(*T) bool, error) {
		want := make(map[model.UUID]bool, len(values))
		for _, s := range values {
			if s == "" {
				want[model.UUID{}] = true
			} else if u, err := model.ParseUUID(s); err == nil {
				want[u] = true
			}
		}
		return func(o *T) bool { return want[get(o)] }, nil
	}
}

// byID serves the filter "id" from the table itself.
func byID[T any](row func(v *view, id model.UUID) *store.Row[T]) func(*view, string) iter.Seq[*store.Row[T]] {
	return func(v *view, value string) iter.Seq[*store.Row[T]] {
		u, err := model.ParseUUID(value)
		if err != nil {
			return none[T]
		}
		return one(row(v, u))
	}
}

// byKey serves the filter of another object's id from an index.
func byKey[T any](rows func(v *view, id model.UUID) iter.Seq[*store.Row[T]]) func(*view, string) iter.Seq[*store.Row[T]] {
	return func(v *view, value string) iter.Seq[*store.Row[T]] {
		u, err := model.ParseUUID(value)
		if err != nil {
			return none[T]
		}
		return rows(v, u)
	}
}

// bySet is byKey for an attribute that can be null: those without one have no index.
func bySet[T any](rows func(v *view, id model.UUID) iter.Seq[*store.Row[T]]) func(*view, string) iter.Seq[*store.Row[T]] {
	find := byKey(rows)
	return func(v *view, value string) iter.Seq[*store.Row[T]] {
		if value == "" {
			return nil
		}
		return find(v, value)
	}
}

// byText serves the filter of a text from an index that leaves out the objects whose text is empty.
func byText[T any](rows func(v *view, text string) iter.Seq[*store.Row[T]]) func(*view, string) iter.Seq[*store.Row[T]] {
	return func(v *view, value string) iter.Seq[*store.Row[T]] {
		if value == "" {
			return nil
		}
		return rows(v, value)
	}
}

func none[T any](func(*store.Row[T]) bool) {}

func one[T any](row *store.Row[T]) iter.Seq[*store.Row[T]] {
	if row == nil {
		return none[T]
	}
	return func(yield func(*store.Row[T]) bool) { yield(row) }
}
