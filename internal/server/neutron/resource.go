package neutron

import (
	"bytes"
	"encoding/binary"
	"iter"
	"net/http"
	"slices"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/pyrepr"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// resource declares a kind of object of the API. Its handlers are the methods
// of this type: no resource has handlers of its own.
type resource[T, S any] struct {
	name       string // in bodies and policy: "security_group"
	collection string // in bodies of lists: "security_groups"
	path       string // below /v2.0/: "security-groups"

	attributes []attribute[T, S]

	id      func(o *T) model.UUID
	meta    func(o *T) *model.Meta // nil: no tags, no project
	target  func(v *view, o *T) policy.Target
	missing func(id string) *fault.Error

	row  func(v *view, id model.UUID) *store.Row[T]
	rows func(v *view) iter.Seq[*store.Row[T]] // all, in order of id
	// reach yields at least what a project that is not an admin's may see, in
	// any order and repeatedly.
	reach func(v *view, project string) iter.Seq[*store.Row[T]]
	// depends is what the shown object depends on beside itself, as a
	// comparable value; nil: on nothing.
	depends func(v *view, o *T) any
	// fresh: never cached, since the shown object depends on the clock.
	fresh bool
	// adminOnly: seen by admins only, whatever the target.
	adminOnly bool
	// prepare runs before a list or show, nil for most.
	prepare func(c *call) error

	// The rules. A nil one makes the method unknown to the resource.
	create func(tx *store.Tx, env network.Env, who authn.Principal, s S) (*T, error)
	bulk   func(specs []S) error // what is wrong with creating these together, nil: nothing
	update func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*T, error)
	remove func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error
	// due reports whether update, then with an empty spec, or remove is to be called again, since the change is too large for one
	// transaction. nil: it never is.
	due func(v *view, id model.UUID) bool

	tagKind network.TagKind // empty: no tags
	// actions are what a PUT of /{resource}/{id}/{action} does.
	actions map[string]func(c *call, id string) error
	// children are the resources whose objects belong to one of this, by their part of the path.
	children map[string]func(c *call, path []string) error
	// adopt puts the object that a new one belongs to into its spec, nil when there is none.
	adopt func(s *S, parent model.UUID)

	byName    map[string]int // index into attributes, made by finish
	project   func(s *S) *network.Opt[string]
	guarded   []int  // attributes that policy guards
	getAction string // "get_port", unless the declaration says otherwise
}

// finish completes a declaration: what can be computed from it is.
func (r *resource[T, S]) finish() *resource[T, S] {
	r.byName = make(map[string]int, len(r.attributes))
	if r.getAction == "" {
		r.getAction = "get_" + r.name
	}
	for i := range r.attributes {
		a := &r.attributes[i]
		r.byName[a.name] = i
		a.key = `"` + a.name + `":`
		if a.guarded {
			r.guarded = append(r.guarded, i)
		}
	}
	return r
}

// index adds the index that serves the filter of an attribute declared before.
func (r *resource[T, S]) index(name string, by func(v *view, value string) iter.Seq[*store.Row[T]]) {
	for i := range r.attributes {
		if r.attributes[i].name == name {
			r.attributes[i].index = by
		}
	}
}

// sight is which of the guarded attributes a principal sees: all, none, or some.
type sight struct {
	all, none bool
	hidden    map[int]bool // when it is neither
}

func (r *resource[T, S]) sightOf(who authn.Principal) sight {
	s := sight{all: true, none: true}
	for _, i := range r.guarded {
		if policy.Allowed(who, r.getAction+":"+r.attributes[i].name, policy.Target{}) {
			s.none = false
			continue
		}
		s.all = false
		if s.hidden == nil {
			s.hidden = map[int]bool{}
		}
		s.hidden[i] = true
	}
	return s
}

// encode makes the form of an object that is cached: what everybody sees, then what
// policy guards, after four bytes that tell where the second part begins.
// Both forms of the body are in it, contiguously. It takes the room behind b, which is empty, if that is enough.
func (r *resource[T, S]) encode(b []byte, v *view, o *T) []byte {
	b = append(b, 0, 0, 0, 0, '{')
	sep := false
	part := func(guarded bool) {
		for i := range r.attributes {
			a := &r.attributes[i]
			if a.show == nil || a.guarded != guarded {
				continue
			}
			before := len(b)
			if sep {
				b = append(b, ',')
			}
			b = append(b, a.key...)
			start := len(b)
			b = a.show(b, v, o)
			if len(b) == start { // this object does not have it
				b = b[:before]
				continue
			}
			sep = true
		}
	}
	part(false)
	split := len(b)
	part(true)
	b = append(b, '}')
	binary.LittleEndian.PutUint32(b, uint32(split))
	return b
}

// appendObject appends an object as a principal with this sight sees it. row may be
// nil: then nothing is cached.
func (r *resource[T, S]) appendObject(b []byte, v *view, row *store.Row[T], o *T, s sight) []byte {
	if !s.all && !s.none {
		return r.appendFields(b, v, o, s, nil)
	}
	room := b[len(b):]
	kept := func() []byte { return bytes.Clone(r.encode(room, v, o)) } // of its own length: there is one an object
	var body []byte
	switch {
	case row == nil || r.fresh:
		body = r.encode(room, v, o)
	case r.depends == nil:
		body = row.Memo(nil, kept)
	default:
		body = row.Memo(r.depends(v, o), kept)
	}
	if s.all {
		return append(b, body[4:]...)
	}
	b = append(b, body[4:binary.LittleEndian.Uint32(body)]...)
	return append(b, '}')
}

// appendFields appends only the attributes named, all of them when the list is nil.
func (r *resource[T, S]) appendFields(b []byte, v *view, o *T, s sight, only []int) []byte {
	b = append(b, '{')
	start := len(b)
	add := func(i int) {
		a := &r.attributes[i]
		if a.show == nil || s.hidden[i] {
			return
		}
		before := len(b)
		if before > start {
			b = append(b, ',')
		}
		b = append(b, a.key...)
		value := len(b)
		if b = a.show(b, v, o); len(b) == value {
			b = b[:before]
		}
	}
	if only == nil {
		for i := range r.attributes {
			add(i)
		}
	} else {
		for _, i := range only {
			add(i)
		}
	}
	return append(b, '}')
}

// fieldsOf turns names of `fields` into attributes. Unknown names show nothing.
func (r *resource[T, S]) fieldsOf(names []string) []int {
	if len(names) == 0 {
		return nil
	}
	out := make([]int, 0, len(names))
	for _, n := range names {
		if i, ok := r.byName[n]; ok && !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	return out
}

func (r *resource[T, S]) visible(c *call, o *T) bool {
	if r.adminOnly {
		return c.who.Admin
	}
	return policy.Allowed(c.who, r.getAction, r.target(&c.view, o))
}

// find returns the row of an id that the caller may see, or the resource's 404.
func (r *resource[T, S]) find(c *call, id string) (*store.Row[T], error) {
	u, err := model.ParseUUID(id)
	if err != nil {
		return nil, r.missing(id)
	}
	row := r.row(&c.view, u)
	if row == nil || !r.visible(c, row.Obj) {
		return nil, r.missing(id)
	}
	return row, nil
}

func (r *resource[T, S]) handleShow(c *call, id string) error {
	if err := c.read(); err != nil {
		return err
	}
	if r.prepare != nil {
		if err := r.prepare(c); err != nil {
			return err
		}
	}
	row, err := r.find(c, id)
	if err != nil {
		return err
	}
	c.begin(r.name)
	s := r.sightOf(c.who)
	if only := r.fieldsOf(c.fields()); only != nil {
		c.body = r.appendFields(c.body, &c.view, row.Obj, s, only)
	} else {
		c.body = r.appendObject(c.body, &c.view, row, row.Obj, s)
	}
	c.end(http.StatusOK)
	return nil
}

func (r *resource[T, S]) handleCreate(c *call) error {
	body, err := c.decode()
	if err != nil {
		return err
	}
	if v, ok := body.get(r.collection); ok && r.create != nil {
		return r.createMany(c, v)
	}
	o, err := objectOf(body, r.name)
	if err != nil {
		return err
	}
	var spec S
	if err := r.fill(c, &spec, o, true); err != nil {
		return err
	}
	var made *T
	if err := c.write(func(tx *store.Tx, env network.Env) error {
		made, err = r.create(tx, env, c.who, spec)
		return err
	}); err != nil {
		return err
	}
	c.begin(r.name)
	r.appendWritten(c, made)
	c.end(http.StatusCreated)
	return nil
}

// createMany is the bulk form: all or nothing, in one transaction.
func (r *resource[T, S]) createMany(c *call, v any) error {
	list, ok := v.([]any)
	if !ok {
		return badRequest("Object '%s' contains invalid data", r.collection)
	}
	if len(list) == 0 {
		return badRequest("Resources required")
	}
	specs := make([]S, len(list))
	for i, e := range list {
		// Each element may be wrapped like a single one, as Neutron accepts.
		o, ok := e.(*object)
		if !ok {
			return badRequest("Object '%s' contains invalid data", r.collection)
		}
		if inner, ok := o.get(r.name); ok && len(o.keys) == 1 {
			if o, ok = inner.(*object); !ok {
				return badRequest("Object '%s' contains invalid data", r.name)
			}
		}
		if err := r.fill(c, &specs[i], o, true); err != nil {
			return err
		}
	}
	if r.bulk != nil {
		if err := r.bulk(specs); err != nil {
			return err
		}
	}
	made := make([]*T, len(specs))
	if err := c.write(func(tx *store.Tx, env network.Env) (err error) {
		for i := range specs {
			if made[i], err = r.create(tx, env, c.who, specs[i]); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	c.begin(r.collection)
	c.body = append(c.body, '[')
	for i, o := range made {
		if i > 0 {
			c.body = append(c.body, ',')
		}
		r.appendWritten(c, o)
	}
	c.body = append(c.body, ']')
	c.end(http.StatusCreated)
	return nil
}

func (r *resource[T, S]) handleUpdate(c *call, id string) error {
	body, err := c.decode()
	if err != nil {
		return err
	}
	o, err := objectOf(body, r.name)
	if err != nil {
		return err
	}
	var spec S
	if err := r.fill(c, &spec, o, false); err != nil {
		return err
	}
	u, err := model.ParseUUID(id)
	if err != nil {
		return r.missing(id)
	}
	var changed *T
	if err := r.inSteps(c, u, func(tx *store.Tx, env network.Env, again bool) error {
		asked := spec
		if again {
			asked = *new(S)
		}
		changed, err = r.update(tx, env, c.who, u, asked, c.ifMatch())
		return err
	}); err != nil {
		return err
	}
	c.begin(r.name)
	r.appendWritten(c, changed)
	c.end(http.StatusOK)
	return nil
}

func (r *resource[T, S]) handleDelete(c *call, id string) error {
	u, err := model.ParseUUID(id)
	if err != nil {
		return r.missing(id)
	}
	if err := r.inSteps(c, u, func(tx *store.Tx, env network.Env, _ bool) error {
		return r.remove(tx, env, c.who, u, c.ifMatch())
	}); err != nil {
		return err
	}
	c.end(http.StatusNoContent)
	return nil
}

// inSteps makes a change, and goes on with it in further transactions while more of it is due.
func (r *resource[T, S]) inSteps(c *call, id model.UUID, change func(tx *store.Tx, env network.Env, again bool) error) error {
	for again := false; ; again = true {
		err := c.write(func(tx *store.Tx, env network.Env) error { return change(tx, env, again) })
		if err != nil || r.due == nil || !r.due(&c.view, id) {
			return err
		}
	}
}

// appendWritten appends an object that was just written. Its row is used, and
// so the encoding kept for the GETs to come, unless somebody has changed it since.
func (r *resource[T, S]) appendWritten(c *call, o *T) {
	row := r.row(&c.view, r.id(o))
	if row != nil && row.Obj != o {
		row = nil
	}
	c.body = r.appendObject(c.body, &c.view, row, o, r.sightOf(c.who))
}

// objectOf finds the object that a body must hold under a name.
func objectOf(body *object, name string) (*object, error) {
	v, ok := body.get(name)
	if !ok {
		return nil, badRequest("Unable to find '%s' in request body", name)
	}
	o, ok := v.(*object)
	if !ok {
		return nil, badRequest("Object '%s' contains invalid data", name)
	}
	return o, nil
}

// fill puts what a request says into a spec, or says what is wrong with it:
// unknown attributes, then those that the method may not carry, then values.
func (r *resource[T, S]) fill(c *call, spec *S, o *object, post bool) error {
	o, err := r.fillProject(c, spec, o, post)
	if err != nil {
		return err
	}
	var unknown []string
	for _, k := range o.keys {
		if _, ok := r.byName[k]; !ok {
			unknown = append(unknown, k)
		}
	}
	if unknown != nil {
		return badRequest("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	for _, k := range o.keys {
		a := &r.attributes[r.byName[k]]
		switch {
		case post && !a.onPOST:
			return badRequest("Attribute '%s' not allowed in POST", k)
		case !post && !a.onPUT:
			return badRequest("Cannot update read-only attribute %s", k)
		}
	}
	if post {
		for i := range r.attributes {
			if a := &r.attributes[i]; a.required {
				if _, ok := o.get(a.name); !ok {
					return badRequest("Failed to parse request. Required attribute '%s' not specified", a.name)
				}
			}
		}
	}
	for i, k := range o.keys {
		a := &r.attributes[r.byName[k]]
		if o.values[i] == nil && a.nulled {
			a.setNull(spec)
			continue
		}
		if err := a.set(spec, o.values[i]); err != nil {
			return err
		}
	}
	if r.adopt != nil && post {
		r.adopt(spec, c.parent)
	}
	return nil
}

// fillProject takes the owner out of a request: it has two names, and only
// some may give it to others.
func (r *resource[T, S]) fillProject(c *call, spec *S, o *object, post bool) (*object, error) {
	project, hasProject := o.get("project_id")
	tenant, hasTenant := o.get("tenant_id")
	if r.project == nil || !hasProject && !hasTenant {
		return o, nil
	}
	if hasProject && hasTenant && pyrepr.Of(project) != pyrepr.Of(tenant) {
		return nil, badRequest("'project_id' and 'tenant_id' do not match")
	}
	name := "project_id"
	if !hasProject {
		name, project = "tenant_id", tenant
	}
	// Null is the caller's own project, as it is when nothing is said.
	id, isString := project.(string)
	if project != nil && (!isString || id != c.who.ProjectID) &&
		!policy.Allowed(c.who, "set_project_id", policy.Target{}) {
		return nil, badRequest("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin or advsvc privileges")
	}
	if !post {
		return nil, badRequest("Cannot update read-only attribute %s", name)
	}
	if project != nil {
		s, err := plainText(255)(name, project)
		if err != nil {
			return nil, err
		}
		*r.project(spec) = network.Some(s)
	}
	return o.without("project_id").without("tenant_id"), nil
}
