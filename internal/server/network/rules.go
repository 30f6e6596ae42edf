package network

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
)

// Rules applies a configuration. It has no state: all methods may be called
// by anybody, though a transaction is one goroutine's.
type Rules struct {
	Config
}

// New returns rules for a configuration, or what is wrong with it.
func New(c Config) (*Rules, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("checking the network rules' configuration: %w", err)
	}
	return &Rules{Config: c}, nil
}

func (e Env) now() time.Time { return e.Now.UTC().Truncate(time.Second) }

func (e Env) uuid() model.UUID { return model.RandomUUID(e.Random()) }

// meta is the standard attributes of an object made now. The first revision
// that Neutron shows is 1 for an object that its plugin touches again while
// making it (networks, ports, security groups), else 0.
func (e Env) meta(project string, name, description Opt[string], revision int64) model.Meta {
	now := e.now()
	return model.Meta{ProjectID: project, Name: name.Or(""), Description: description.Or(""),
		CreatedAt: now, UpdatedAt: now, Revision: revision}
}

// touch marks an object that is being changed.
func (e Env) touch(m *model.Meta) {
	m.Revision++
	m.UpdatedAt = e.now()
}

// projectFor is the project of a new object: the asker's, unless it may and
// does name another.
func projectFor(who authn.Principal, given Opt[string]) (string, error) {
	p, ok := given.Get()
	if !ok || p == who.ProjectID {
		return who.ProjectID, nil
	}
	if !policy.Allowed(who, "set_project_id", policy.Target{ProjectID: p}) {
		return "", errOtherProject()
	}
	if len(p) > maxText {
		return "", badAttr("project_id", "'%s' exceeds maximum length of %d.", p, maxText)
	}
	return p, nil
}

// refuseProjectChange answers an update that carries a project: nobody may
// move an object to another.
func refuseProjectChange(who authn.Principal, given Opt[string]) error {
	p, ok := given.Get()
	if !ok {
		return nil
	}
	if p != who.ProjectID && !policy.Allowed(who, "set_project_id", policy.Target{ProjectID: p}) {
		return errOtherProject()
	}
	return fault.New(fault.Invalid, "HTTPBadRequest", "Cannot update read-only attribute project_id")
}

// refuseReadOnly answers an update that carries what only a create may.
func refuseReadOnly(given map[string]bool) error {
	for _, attr := range slices.Sorted(maps.Keys(given)) {
		if given[attr] {
			return fault.New(fault.Invalid, "HTTPBadRequest", "Cannot update read-only attribute %s", attr)
		}
	}
	return nil
}

func errOtherProject() *fault.Error {
	return fault.New(fault.Invalid, "HTTPBadRequest", "Specifying 'project_id' or 'tenant_id' other than "+
		"the authenticated project in request requires admin or advsvc privileges")
}

// maxText is the longest name, description, device id … that is stored, in
// characters.
const maxText = 255

// checkText refuses texts that are too long. The dialect has said so already;
// a rule does not rely on it.
func checkText(attr string, o Opt[string]) error {
	if v, ok := o.Get(); ok && len(v) > maxText && len([]rune(v)) > maxText {
		return badAttr(attr, "'%s' exceeds maximum length of %d.", v, maxText)
	}
	return nil
}

func checkTexts(name, description Opt[string]) error {
	if err := checkText("name", name); err != nil {
		return err
	}
	return checkText("description", description)
}

// set puts a present value where it belongs; null is the zero value.
func set[T any](to *T, from Opt[T]) {
	if from.Set {
		*to = from.Value
		if from.Null {
			*to = *new(T)
		}
	}
}

// hasControl reports whether a text has a control character: a line break
// must never reach what a guest or a host parses (OSSA-2021-005).
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c == 0x7f || c == 0x85 || c == 0x2028 || c == 0x2029 })
}

// sortedUnique returns a sorted copy without doubles, nil for nothing.
func sortedUnique(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}
