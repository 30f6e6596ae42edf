package network

import (
	"maps"
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// QuotaUsage is how much of a limit a project uses.
type QuotaUsage struct {
	Limit    int64 // -1: unlimited
	Used     int64
	Reserved int64 // always 0: a transaction checks and takes at once
}

type quotaReader interface {
	Quota(project string) *model.Quota
}

type portCounter interface {
	NetworkCount(project string) int
	SubnetCount(project string) int
	PortCount(project string) int
}

type groupCounter interface {
	SecurityGroupCount(project string) int
	SecurityGroupRuleCount(project string) int
}

type routerCounter interface {
	RouterCount(project string) int
	FloatingIPCount(project string) int
	SubnetPoolCount(project string) int
}

// quotaView is what quotas are derived from: a snapshot or a transaction.
type quotaView interface {
	quotaReader
	portCounter
	groupCounter
	routerCounter
}

// DefaultLimits returns the limits of a project that has none of its own.
func (r *Rules) DefaultLimits() map[string]int64 { return maps.Clone(r.Quotas) }

// Limits returns the limits of a project, by resource.
func (r *Rules) Limits(rd quotaReader, project string) map[string]int64 {
	limits := r.DefaultLimits()
	if q := rd.Quota(project); q != nil {
		maps.Copy(limits, q.Limits)
	}
	return limits
}

// Usage returns limits and use of a project, by resource.
func (r *Rules) Usage(rd quotaView, project string) map[string]QuotaUsage {
	usage := map[string]QuotaUsage{}
	for k, limit := range r.Limits(rd, project) {
		usage[k] = QuotaUsage{Limit: limit, Used: used(rd, project, k)}
	}
	return usage
}

// used is how many objects of a resource a project has; 0 for resources that
// do not exist yet.
func used(rd quotaView, project, resource string) int64 {
	switch resource {
	case QuotaNetwork:
		return int64(rd.NetworkCount(project))
	case QuotaSubnet:
		return int64(rd.SubnetCount(project))
	case QuotaPort:
		return int64(rd.PortCount(project))
	case QuotaSecurityGroup:
		return int64(rd.SecurityGroupCount(project))
	case QuotaSecurityGroupRule:
		return int64(rd.SecurityGroupRuleCount(project))
	case QuotaRouter:
		return int64(rd.RouterCount(project))
	case QuotaFloatingIP:
		return int64(rd.FloatingIPCount(project))
	case QuotaSubnetPool:
		return int64(rd.SubnetPoolCount(project))
	}
	return 0
}

// checkQuota refuses one more object of a resource than the project may have.
func (r *Rules) checkQuota(tx *store.Tx, project, resource string) error {
	limit, ok := r.Quotas[resource]
	if q := tx.Quota(project); q != nil {
		if own, has := q.Limits[resource]; has {
			limit, ok = own, true
		}
	}
	if !ok || limit < 0 || used(tx, project, resource) < limit {
		return nil
	}
	return fault.New(fault.QuotaExceeded, "OverQuota", "Quota exceeded for resources: ['%s'].", resource)
}

// CheckQuotaAccess reports whether the principal may see a project's quota.
func (r *Rules) CheckQuotaAccess(who authn.Principal, project string) error {
	return ask(who, "get_quota", policy.ProjectTarget(project)).err()
}

// UpdateQuota gives a project limits; those not named keep their value.
// With CheckLimit, a limit below what is used is refused.
func (r *Rules) UpdateQuota(tx *store.Tx, _ Env, who authn.Principal, project string, spec QuotaSpec) error {
	if err := ask(who, "update_quota", policy.ProjectTarget(project)).err(); err != nil {
		return err
	}
	if project == "" || len(project) > maxText || hasControl(project) {
		return badRequest("quotas", "'%s' is not a project.", project)
	}
	var unknown []string
	for k := range spec.Limits {
		if _, ok := r.Quotas[k]; !ok {
			unknown = append(unknown, k)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fault.New(fault.Invalid, "HTTPBadRequest", "Unrecognized attribute(s) '%s'", unknown[0])
	}
	q := &model.Quota{ProjectID: project, Limits: map[string]int64{}}
	old := tx.Quota(project)
	if old != nil {
		maps.Copy(q.Limits, old.Limits)
	}
	for _, k := range slices.Sorted(maps.Keys(spec.Limits)) {
		limit := spec.Limits[k]
		if limit < -1 {
			return badAttr(k, "'%d' is too small - must be at least '-1'.", limit)
		}
		if limit > 1<<31-1 {
			return badAttr(k, "'%d' is too large - must be no larger than '%d'.", limit, 1<<31-1)
		}
		if n := used(tx, project, k); spec.CheckLimit && limit >= 0 && limit < n {
			return fault.New(fault.Invalid, "HTTPBadRequest",
				"Quota limit %d for %s must be greater than or equal to already used %d", limit, k, n)
		}
		q.Limits[k] = limit
	}
	if old != nil && maps.Equal(old.Limits, q.Limits) {
		return nil
	}
	tx.PutQuota(q)
	return nil
}

// DeleteQuota gives a project the default limits again.
func (r *Rules) DeleteQuota(tx *store.Tx, _ Env, who authn.Principal, project string) error {
	if err := ask(who, "delete_quota", policy.ProjectTarget(project)).err(); err != nil {
		return err
	}
	if tx.Quota(project) == nil {
		return fault.New(fault.NotFound, "TenantQuotaNotFound", "Quota for tenant %s could not be found.", project)
	}
	tx.DeleteQuota(project)
	return nil
}
