// Package authn turns what a request carries into a Principal: who asks, for
// which project, in which roles.
//
// It decides nothing about what a principal may do: that is policy. The
// dialect calls Method.Authenticate once a request.
package authn

import "slices"

// Roles that mean something to Weft.
const (
	RoleAdmin   = "admin"   // everything, in every project
	RoleService = "service" // another service of the cloud (Nova, Octavia)
	RoleAdvsvc  = "advsvc"  // the older name of RoleService
	RoleMember  = "member"
	RoleManager = "manager"
	RoleReader  = "reader" // sees what a member sees, changes nothing
)

// Principal is who asks.
type Principal struct {
	ProjectID string
	UserID    string
	Roles     []string // lower case
	Admin     bool     // has RoleAdmin, or needs none
	Service   bool     // has RoleService or RoleAdvsvc
	ReadOnly  bool     // has RoleReader and nothing stronger
}

// NewPrincipal derives the flags from the roles.
func NewPrincipal(project, user string, roles ...string) Principal {
	p := Principal{ProjectID: project, UserID: user, Roles: roles}
	p.Admin = slices.Contains(roles, RoleAdmin)
	p.Service = slices.Contains(roles, RoleService) || slices.Contains(roles, RoleAdvsvc)
	p.ReadOnly = slices.Contains(roles, RoleReader) && !p.Admin && !p.Service &&
		!slices.Contains(roles, RoleMember) && !slices.Contains(roles, RoleManager)
	return p
}

// AdminPrincipal is what a request is without authentication and without
// headers that say otherwise, and what Weft's own actions run as.
func AdminPrincipal() Principal { return NewPrincipal("", "", RoleAdmin) }

// Has reports whether the principal has a role.
func (p Principal) Has(role string) bool { return slices.Contains(p.Roles, role) }
