package neutron

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"weft/internal/fault"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// quotaEndpoint serves /v2.0/quotas. Quotas are no resource like others: their
// attributes are the resources that have a limit, and their id is a project.
func quotaEndpoint() *endpoint {
	return &endpoint{list: listQuotas, show: showQuota, update: updateQuota, remove: deleteQuota, below: quotaBelow}
}

func appendLimits(b []byte, limits map[string]int64) []byte {
	for i, k := range slices.Sorted(maps.Keys(limits)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendInt(b, limits[k])
	}
	return b
}

// listQuotas lists the projects that have limits of their own.
func listQuotas(c *call) error {
	if !policy.Allowed(c.who, "list_quotas", policy.Target{}) {
		return fault.New(fault.Forbidden, "PolicyNotAuthorized", "rule:get_quota is disallowed by policy")
	}
	if err := c.read(); err != nil {
		return err
	}
	c.begin("quotas")
	c.body = append(c.body, '[')
	sep := false
	for q := range c.Quotas() {
		if sep {
			c.body = append(c.body, ',')
		}
		sep = true
		c.body = append(c.body, '{')
		c.body = appendLimits(c.body, c.api.Rules.Limits(c.Snapshot, q.ProjectID))
		c.body = append(c.body, `,"project_id":`...)
		c.body = appendString(c.body, q.ProjectID)
		c.body = append(c.body, `,"tenant_id":`...)
		c.body = appendString(c.body, q.ProjectID)
		c.body = append(c.body, '}')
	}
	c.body = append(c.body, ']')
	c.end(http.StatusOK)
	return nil
}

func showQuota(c *call, project string) error {
	switch project {
	case "tenant", "project": // who am I
		c.begin(project)
		c.body = append(c.body, `{"`+project+`_id":`...)
		c.body = appendString(c.body, c.who.ProjectID)
		c.body = append(c.body, '}')
		c.end(http.StatusOK)
		return nil
	}
	if err := c.readQuota(project); err != nil {
		return err
	}
	c.answerLimits(c.api.Rules.Limits(c.Snapshot, project))
	return nil
}

// readQuota gives the call a snapshot, if it may see the project's quota.
func (c *call) readQuota(project string) error {
	if err := c.api.Rules.CheckQuotaAccess(c.who, project); err != nil {
		return err
	}
	return c.read()
}

func (c *call) answerLimits(limits map[string]int64) {
	c.begin("quota")
	c.body = append(c.body, '{')
	c.body = appendLimits(c.body, limits)
	c.body = append(c.body, '}')
	c.end(http.StatusOK)
}

// quotaBelow serves /v2.0/quotas/{project}/default and …/details.
func quotaBelow(c *call, path []string) error {
	if len(path) != 2 || path[1] != "default" && path[1] != "details" {
		return errNoSuchResource()
	}
	c.route = "/v2.0/quotas/{id}/" + path[1]
	if m := c.req.Method; m != http.MethodGet && m != http.MethodHead {
		return notAllowed{"GET, HEAD"}
	}
	if err := c.readQuota(path[0]); err != nil {
		return err
	}
	if path[1] == "default" {
		c.answerLimits(c.api.Rules.DefaultLimits())
		return nil
	}
	usage := c.api.Rules.Usage(c.Snapshot, path[0])
	c.begin("quota")
	c.body = append(c.body, '{')
	for i, k := range slices.Sorted(maps.Keys(usage)) {
		if i > 0 {
			c.body = append(c.body, ',')
		}
		c.body = appendString(c.body, k)
		c.body = append(c.body, `:{"limit":`...)
		c.body = appendInt(c.body, usage[k].Limit)
		c.body = append(c.body, `,"used":`...)
		c.body = appendInt(c.body, usage[k].Used)
		c.body = append(c.body, `,"reserved":`...)
		c.body = appendInt(c.body, usage[k].Reserved)
		c.body = append(c.body, '}')
	}
	c.body = append(c.body, '}')
	c.end(http.StatusOK)
	return nil
}

func updateQuota(c *call, project string) error {
	body, err := c.decode()
	if err != nil {
		return err
	}
	o, err := objectOf(body, "quota")
	if err != nil {
		return err
	}
	spec := network.QuotaSpec{Limits: map[string]int64{}}
	known := c.api.Rules.DefaultLimits()
	var unknown []string
	for _, k := range o.keys {
		if _, ok := known[k]; !ok && k != "check_limit" {
			unknown = append(unknown, k)
		}
	}
	if unknown != nil {
		return badRequest("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	for i, k := range o.keys {
		if k == "check_limit" {
			if spec.CheckLimit, err = boolean(k, o.values[i]); err != nil {
				return err
			}
			continue
		}
		n, err := quotaLimit(k, o.values[i])
		if err != nil {
			return err
		}
		spec.Limits[k] = int64(n)
	}
	if err := c.write(func(tx *store.Tx, env network.Env) error {
		return c.api.Rules.UpdateQuota(tx, env, c.who, project, spec)
	}); err != nil {
		return err
	}
	c.answerLimits(c.api.Rules.Limits(c.Snapshot, project))
	return nil
}

// quotaLimit accepts a limit; the database of the peer holds 31 bits of it.
func quotaLimit(name string, v any) (int, error) {
	n, err := atLeast(-1)(name, v)
	if err == nil && n > 1<<31-1 {
		err = invalidAttribute(name, "'%d' is too large - must be no larger than '%d'.", n, 1<<31-1)
	}
	return n, err
}

func deleteQuota(c *call, project string) error {
	if err := c.write(func(tx *store.Tx, env network.Env) error {
		return c.api.Rules.DeleteQuota(tx, env, c.who, project)
	}); err != nil {
		return err
	}
	c.end(http.StatusNoContent)
	return nil
}
