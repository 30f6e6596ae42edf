package neutron

import (
	"net/http"
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/network"
	"weft/internal/server/store"
)

// maxTagLength is that of the API (Neutron API reference, "Tags"), in characters.
const maxTagLength = 255

// handleTags serves /{resource}/{id}/tags and /{resource}/{id}/tags/{tag}.
func (r *resource[T, S]) handleTags(c *call, path []string) error {
	if len(path) > 3 {
		return errNoSuchResource()
	}
	id := path[0]
	if len(path) == 3 {
		c.route = "/v2.0/" + r.path + "/{id}/tags/{tag}"
		return r.oneTag(c, id, path[2])
	}
	c.route = "/v2.0/" + r.path + "/{id}/tags"
	switch c.req.Method {
	case http.MethodGet, http.MethodHead:
		tags, err := r.readTags(c, id)
		if err != nil {
			return err
		}
		c.begin("tags")
		c.body = appendStrings(c.body, tags)
		c.end(http.StatusOK)
		return nil
	case http.MethodPut:
		return r.setTags(c, id)
	case http.MethodDelete:
		if err := r.writeTags(c, id, func(tx *store.Tx, env network.Env, u model.UUID) error {
			return c.api.Rules.ClearTags(tx, env, c.who, r.tagKind, u, c.ifMatch())
		}); err != nil {
			return err
		}
		c.end(http.StatusNoContent)
		return nil
	}
	return notAllowed{"GET, HEAD, PUT, DELETE"}
}

func (r *resource[T, S]) oneTag(c *call, id, tag string) error {
	if len([]rune(tag)) > maxTagLength {
		return invalidInput("'%s' exceeds maximum length of %d.", tag, maxTagLength)
	}
	switch c.req.Method {
	case http.MethodGet, http.MethodHead:
		tags, err := r.readTags(c, id)
		if err != nil {
			return err
		}
		if !slices.Contains(tags, tag) {
			return fault.New(fault.NotFound, "TagNotFound", "Tag %s could not be found.", tag)
		}
		c.end(http.StatusNoContent)
		return nil
	case http.MethodPut:
		if err := r.writeTags(c, id, func(tx *store.Tx, env network.Env, u model.UUID) error {
			return c.api.Rules.AddTag(tx, env, c.who, r.tagKind, u, tag, c.ifMatch())
		}); err != nil {
			return err
		}
		c.end(http.StatusCreated)
		return nil
	case http.MethodDelete:
		if err := r.writeTags(c, id, func(tx *store.Tx, env network.Env, u model.UUID) error {
			return c.api.Rules.RemoveTag(tx, env, c.who, r.tagKind, u, tag, c.ifMatch())
		}); err != nil {
			return err
		}
		c.end(http.StatusNoContent)
		return nil
	}
	return notAllowed{"GET, HEAD, PUT, DELETE"}
}

func (r *resource[T, S]) setTags(c *call, id string) error {
	body, err := c.decode()
	if err != nil {
		return err
	}
	v, ok := body.get("tags")
	if !ok || len(body.keys) != 1 {
		return invalidInput("Invalid tags body.")
	}
	elements, ok := v.([]any)
	if !ok {
		return invalidInput("%s is not a list.", quoted(v))
	}
	tags := make([]string, 0, len(elements))
	for _, e := range elements {
		s, ok := e.(string)
		switch {
		case !ok:
			return invalidInput("%s is not a valid string.", quoted(e))
		case len([]rune(s)) > maxTagLength:
			return invalidInput("'%s' exceeds maximum length of %d.", s, maxTagLength)
		case slices.Contains(tags, s):
			return invalidInput("Duplicate items in the list: '%s'.", s)
		}
		tags = append(tags, s)
	}
	if err := r.writeTags(c, id, func(tx *store.Tx, env network.Env, u model.UUID) error {
		return c.api.Rules.SetTags(tx, env, c.who, r.tagKind, u, tags, c.ifMatch())
	}); err != nil {
		return err
	}
	c.begin("tags")
	c.body = appendStrings(c.body, tags)
	c.end(http.StatusOK)
	return nil
}

// readTags returns the tags of an object that the caller may see.
func (r *resource[T, S]) readTags(c *call, id string) ([]string, error) {
	u, err := model.ParseUUID(id)
	if err != nil {
		return nil, r.noTagged(id)
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c.api.Rules.Tags(c.Snapshot, c.who, r.tagKind, u)
}

func (r *resource[T, S]) noTagged(id string) error {
	return fault.New(fault.NotFound, "TagResourceNotFound", "Resource %s %s could not be found.", r.path, id)
}

func (r *resource[T, S]) writeTags(c *call, id string, fn func(tx *store.Tx, env network.Env, u model.UUID) error) error {
	u, err := model.ParseUUID(id)
	if err != nil {
		return r.noTagged(id)
	}
	return c.write(func(tx *store.Tx, env network.Env) error { return fn(tx, env, u) })
}
