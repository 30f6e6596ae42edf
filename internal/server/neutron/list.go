package neutron

import (
	"iter"
	"net/http"
	"slices"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/pyrepr"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// plan is a list request understood: how to find, what to keep, in which order.
type plan[T any] struct {
	source  iter.Seq[*store.Row[T]]
	ordered bool // the source yields in order of id
	all     bool // the caller sees every object, whosever it is
	keep    []func(o *T) bool
	compare func(a, b *T) int // nil: by id
	reverse bool
	limit   int
	marker  *T
}

func (r *resource[T, S]) handleList(c *call) error {
	q, err := parseQuery(c.rawQuery)
	if err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	if r.prepare != nil {
		if err := r.prepare(c); err != nil {
			return err
		}
	}
	p, err := r.plan(c, q)
	if err != nil {
		return err
	}
	s := r.sightOf(c.who)
	only := r.fieldsOf(q.fields)
	if only == nil && q.fields != nil {
		only = []int{}
	}
	c.begin(r.collection)
	c.body = append(c.body, '[')
	var first, last *T
	count := 0
	for row := range p.rows(r.id) {
		if count > 0 {
			c.body = append(c.body, ',')
		} else {
			first = row.Obj
		}
		last = row.Obj
		count++
		if only != nil {
			c.body = r.appendFields(c.body, &c.view, row.Obj, s, only)
		} else {
			c.body = r.appendObject(c.body, &c.view, row, row.Obj, s)
		}
		if q.limit == 0 {
			c.flush()
		}
	}
	c.body = append(c.body, ']')
	name := func(o *T) string {
		if o == nil {
			return ""
		}
		return r.id(o).String()
	}
	c.body = q.appendLinks(c.body, r.collection, c.base()+"/v2.0/"+strings.Replace(r.path, "{parent}", c.parent.String(), 1), name(first), name(last), count)
	c.end(http.StatusOK)
	return nil
}

// plan compiles a query for this resource and caller.
func (r *resource[T, S]) plan(c *call, q *query) (*plan[T], error) {
	v := &c.view
	p := &plan[T]{limit: q.limit, reverse: q.reverse}
	var unknown []any
	best := -1 // attribute whose index serves: the first that was declared
	var bestValues []string
	var tags tagFilter
	hasTags := false
	for _, f := range q.filters {
		if r.tagKind != "" && tags.add(f) {
			hasTags = true
			continue
		}
		if f.name == "changed_since" && r.meta != nil {
			t, err := parseChangedSince(f.values[len(f.values)-1])
			if err != nil {
				return nil, err
			}
			p.keep = append(p.keep, func(o *T) bool { return !r.meta(o).UpdatedAt.Before(t) })
			continue
		}
		i, ok := r.byName[f.name]
		if !ok || r.attributes[i].match == nil {
			unknown = append(unknown, f.name)
			continue
		}
		a := &r.attributes[i]
		// What policy hides cannot be asked for either: a filter is an oracle.
		if a.guarded && r.sightOf(c.who).hidden[i] {
			p.keep = append(p.keep, func(*T) bool { return false })
			continue
		}
		keep, err := a.match(v, f.values)
		if err != nil {
			return nil, err
		}
		if keep == nil {
			continue // the filter says nothing
		}
		p.keep = append(p.keep, keep)
		if a.index != nil && (best < 0 || i < best) && r.indexed(v, a, f.values) {
			best, bestValues = i, f.values
		}
	}
	if unknown != nil {
		return nil, badRequest("%s is invalid attribute for filtering", pyrepr.Of(unknown))
	}
	if hasTags {
		p.keep = append(p.keep, func(o *T) bool { return tags.matches(r.meta(o).Tags) })
	}
	if err := r.planOrder(p, q); err != nil {
		return nil, err
	}
	if q.marker != "" && q.limit > 0 {
		row, err := r.find(c, q.marker)
		if err != nil {
			return nil, err
		}
		p.marker = row.Obj
	}
	p.all = r.adminOnly && c.who.Admin || policy.Allowed(c.who, r.getAction, policy.Target{})
	if !p.all {
		p.keep = append(p.keep, func(o *T) bool { return r.visible(c, o) })
	}
	r.planSource(c, p, best, bestValues)
	return p, nil
}

// indexed reports whether the index serves all values of a filter.
func (r *resource[T, S]) indexed(v *view, a *attribute[T, S], values []string) bool {
	return !slices.ContainsFunc(values, func(value string) bool { return a.index(v, value) == nil })
}

// planSource picks where rows come from: an index when a filter has one, what
// the project can reach at all, or the whole table.
func (r *resource[T, S]) planSource(c *call, p *plan[T], best int, values []string) {
	v := &c.view
	p.ordered = true
	switch {
	case best >= 0:
		index := r.attributes[best].index
		if len(values) == 1 {
			p.source = index(v, values[0])
			return
		}
		p.source = func(yield func(*store.Row[T]) bool) {
			for _, value := range values {
				for row := range index(v, value) {
					if !yield(row) {
						return
					}
				}
			}
		}
		p.ordered = false
	case !p.all && r.reach != nil:
		p.source, p.ordered = r.reach(v, c.who.ProjectID), false
	default:
		p.source = r.rows(v)
	}
}

// planOrder compiles sort keys.
func (r *resource[T, S]) planOrder(p *plan[T], q *query) error {
	var unknown []any
	type key struct {
		compare func(a, b *T) int
		desc    bool
	}
	var keys []key
	for i, k := range q.sortKeys {
		j, ok := r.byName[k]
		if !ok || r.attributes[j].compare == nil || r.attributes[j].guarded {
			unknown = append(unknown, k)
			continue
		}
		keys = append(keys, key{r.attributes[j].compare, q.sortDirs[i]})
		if k == "id" {
			break // nothing behind a unique key matters
		}
	}
	if unknown != nil {
		return badRequest("%s is invalid attribute for sort_keys", pyrepr.Of(unknown))
	}
	if len(q.sortKeys) == 0 || q.sortKeys[0] == "id" && !q.sortDirs[0] {
		return nil
	}
	p.compare = func(a, b *T) int {
		for _, k := range keys {
			if n := k.compare(a, b); n != 0 {
				if k.desc {
					return -n
				}
				return n
			}
		}
		return r.id(a).Compare(r.id(b))
	}
	return nil
}

// rows yields the page: filtered, sorted, cut. In the plain case (order of id,
// forwards) nothing is collected.
func (p *plan[T]) rows(id func(*T) model.UUID) iter.Seq[*store.Row[T]] {
	if p.compare == nil && p.ordered && !p.reverse {
		return p.stream(id)
	}
	compare := p.compare
	if compare == nil {
		compare = func(a, b *T) int { return id(a).Compare(id(b)) }
	}
	var rows []*store.Row[T]
	for row := range p.source {
		if p.passes(row.Obj) {
			rows = append(rows, row)
		}
	}
	order := func(a, b *store.Row[T]) int { return compare(a.Obj, b.Obj) }
	slices.SortFunc(rows, order)
	// A source that is not ordered may repeat itself; the order is total.
	rows = slices.CompactFunc(rows, func(a, b *store.Row[T]) bool { return a == b })
	return slices.Values(p.page(rows, compare))
}

func (p *plan[T]) passes(o *T) bool {
	for _, keep := range p.keep {
		if !keep(o) {
			return false
		}
	}
	return true
}

func (p *plan[T]) stream(id func(*T) model.UUID) iter.Seq[*store.Row[T]] {
	return func(yield func(*store.Row[T]) bool) {
		n := 0
		for row := range p.source {
			if p.marker != nil && id(row.Obj).Compare(id(p.marker)) <= 0 || !p.passes(row.Obj) {
				continue
			}
			if !yield(row) {
				return
			}
			if n++; p.limit > 0 && n == p.limit {
				return
			}
		}
	}
}

// page cuts the sorted rows: those behind the marker, or before it when
// walking backwards, at most limit.
func (p *plan[T]) page(rows []*store.Row[T], compare func(a, b *T) int) []*store.Row[T] {
	if p.marker != nil {
		at, found := slices.BinarySearchFunc(rows, p.marker, func(row *store.Row[T], m *T) int { return compare(row.Obj, m) })
		switch {
		case p.reverse:
			rows = rows[:at]
		case found:
			rows = rows[at+1:]
		default:
			rows = rows[at:]
		}
	}
	if p.limit > 0 && len(rows) > p.limit {
		if p.reverse {
			return rows[len(rows)-p.limit:]
		}
		return rows[:p.limit]
	}
	return rows
}

// notFound makes the 404 of a resource from its exception name and sentence.
func notFound(typ, format string) func(id string) *fault.Error {
	return func(id string) *fault.Error { return fault.New(fault.NotFound, typ, format, id) }
}
