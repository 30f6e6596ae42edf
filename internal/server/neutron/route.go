package neutron

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"weft/internal/fault"
	"weft/internal/server/authn"
)

// endpoint is what lies below one name of the API. A nil handler is a method
// that the path does not have.
type endpoint struct {
	list, create         func(c *call) error
	show, update, remove func(c *call, id string) error
	// below answers what lies deeper: path is at least two elements, the id first.
	below func(c *call, path []string) error
}

// table lists everything that is served below /v2.0.
func (a *API) table() map[string]*endpoint {
	t := map[string]*endpoint{
		"extensions":         {list: listExtensions, show: showExtension},
		"availability_zones": {list: listZones},
		"quotas":             quotaEndpoint(),
		"floatingip_pools":   {list: listPools},
	}
	networks, routers, agents := networkResource(a.Rules), routerResource(a.Rules), agentResource(a.Rules, a.Alive)
	mountSchedulers(a.Rules, agents, routers, networks)
	mount(t, networks)
	mount(t, subnetResource(a.Rules))
	mount(t, subnetPoolResource(a.Rules))
	mount(t, addressScopeResource(a.Rules))
	mount(t, addressGroupResource(a.Rules))
	mount(t, portResource(a.Rules))
	mount(t, securityGroupResource(a.Rules))
	mount(t, securityGroupRuleResource(a.Rules))
	mount(t, routers)
	mount(t, floatingIPResource(a.Rules))
	mount(t, agents)
	mount(t, availabilityResource())
	return t
}

// mount serves a declared resource.
func mount[T, S any](t map[string]*endpoint, r *resource[T, S]) { t[r.path] = endpointOf(r) }

// endpointOf completes a declaration and makes its handlers.
func endpointOf[T, S any](r *resource[T, S]) *endpoint {
	r.finish()
	e := &endpoint{list: r.handleList, show: r.handleShow}
	if r.create != nil {
		e.create = r.handleCreate
	}
	if r.update != nil {
		e.update = r.handleUpdate
	}
	if r.remove != nil {
		e.remove = r.handleDelete
	}
	if r.tagKind != "" || r.actions != nil || r.children != nil {
		e.below = r.handleBelow
	}
	return e
}

// handleBelow serves what lies below an object: its tags, its children, and what is done with it.
func (r *resource[T, S]) handleBelow(c *call, path []string) error {
	if path[1] == "tags" && r.tagKind != "" {
		return r.handleTags(c, path)
	}
	if child, ok := r.children[path[1]]; ok {
		return child(c, path)
	}
	act, ok := r.actions[path[1]]
	if !ok || len(path) > 2 {
		return errNoSuchResource()
	}
	c.route = "/v2.0/" + r.path + "/{id}/" + path[1]
	if c.req.Method != http.MethodPut {
		return notAllowed{http.MethodPut}
	}
	return act(c, path[0])
}

// dispatch finds the handler of a request and runs it.
//
// net/http's ServeMux is not used: it redirects double slashes, takes a
// trailing slash for another path, knows no ".json", and answers what it does
// not know in text.
func (a *API) dispatch(c *call) error {
	path := splitPath(c.req.URL.EscapedPath())
	if len(path) == 0 {
		c.route = "/"
		return a.rootDocument(c)
	}
	if path[0] != "v2.0" {
		c.route = "unknown"
		return noPath{}
	}
	path = path[1:]
	if len(path) > 0 {
		last := len(path) - 1
		if !(len(path) > 2 && path[2] == "tags") { // a tag may end in anything
			path[last] = strings.TrimSuffix(path[last], ".json")
		}
	}
	// Who asks comes before whether there is such a path.
	who, err := a.Authenticator.Authenticate(c.req)
	if err != nil {
		return authError(err)
	}
	c.who = who
	if len(path) == 0 {
		c.route = "/v2.0/"
		return a.v2Document(c)
	}
	e, ok := a.routes[path[0]]
	if !ok {
		c.route = "/v2.0/unknown"
		return errNoSuchResource()
	}
	c.route = "/v2.0/" + path[0]
	switch len(path) {
	case 1:
		return e.collection(c)
	case 2:
		c.route += "/{id}"
		return e.member(c, path[1])
	}
	if e.below == nil {
		c.route += "/{id}/unknown"
		return errNoSuchResource()
	}
	c.route += "/{id}/{sub}"
	return e.below(c, path[1:])
}

// authError gives an error of authentication its kind: not proven is 401, anything
// else is an outage of whoever proves it.
func authError(err error) error {
	switch {
	case fault.As(err) != nil:
		return err
	case errors.Is(err, authn.ErrUnauthorized):
		return fault.New(fault.Unauthorized, "", "%s", err).Because(err)
	}
	return fault.New(fault.Unavailable, "", "Authentication is not available").Because(err)
}

func (e *endpoint) collection(c *call) error {
	switch c.req.Method {
	case http.MethodGet, http.MethodHead:
		if e.list != nil {
			return e.list(c)
		}
	case http.MethodPost:
		if e.create != nil {
			return e.create(c)
		}
	}
	return allowed(method{http.MethodGet, e.list != nil}, method{http.MethodPost, e.create != nil})
}

func (e *endpoint) member(c *call, id string) error {
	switch c.req.Method {
	case http.MethodGet, http.MethodHead:
		if e.show != nil {
			return e.show(c, id)
		}
	case http.MethodPut:
		if e.update != nil {
			return e.update(c, id)
		}
	case http.MethodDelete:
		if e.remove != nil {
			return e.remove(c, id)
		}
	}
	return allowed(method{http.MethodGet, e.show != nil}, method{http.MethodPut, e.update != nil}, method{http.MethodDelete, e.remove != nil})
}

type method struct {
	name string
	has  bool
}

// allowed is the answer to a method that a path does not have; a path without
// any method is not there.
func allowed(methods ...method) error {
	var names []string
	for _, m := range methods {
		if m.has {
			names = append(names, m.name)
			if m.name == http.MethodGet {
				names = append(names, http.MethodHead)
			}
		}
	}
	if names == nil {
		return errNoSuchResource()
	}
	return notAllowed{strings.Join(names, ", ")}
}

// splitPath splits a path before it is unescaped, so that %2F stays part of
// a name; empty elements (a trailing or double slash) mean nothing.
func splitPath(escaped string) []string {
	var out []string
	for s := range strings.SplitSeq(escaped, "/") {
		if s == "" {
			continue
		}
		if u, err := url.PathUnescape(s); err == nil {
			s = u
		}
		out = append(out, s)
	}
	return out
}
