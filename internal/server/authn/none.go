package authn

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// ErrUnauthorized is what a Method returns for a request that does not prove
// who it is: answer 401.
var ErrUnauthorized = errors.New("authentication required")

// Method learns from a request who asks. An error other than ErrUnauthorized
// means that the method itself is out of order (Keystone is away): answer 503.
type Method interface {
	Authenticate(r *http.Request) (Principal, error)
}

// None is the method of a server without authentication: it believes the
// headers X-Project-Id (or X-Tenant-Id), X-User-Id and X-Roles, as Neutron's
// "noauth" does. A request with none of them is an admin's; one that names a
// project or a user has only the roles that it names.
//
// It must only be reachable by those who may do everything: loopback.
type None struct{}

// Authenticate never fails.
func (None) Authenticate(r *http.Request) (Principal, error) {
	project := r.Header.Get("X-Project-Id")
	if project == "" {
		project = r.Header.Get("X-Tenant-Id")
	}
	user, roles := r.Header.Get("X-User-Id"), ParseRoles(r.Header.Get("X-Roles"))
	if project == "" && user == "" && len(roles) == 0 {
		return AdminPrincipal(), nil
	}
	return NewPrincipal(project, user, roles...), nil
}

// ParseRoles reads a list of roles separated by commas: lower case, no
// doubles, no blanks.
func ParseRoles(s string) []string {
	var roles []string
	for f := range strings.SplitSeq(s, ",") {
		f = strings.ToLower(strings.TrimSpace(f))
		if f != "" && !slices.Contains(roles, f) {
			roles = append(roles, f)
		}
	}
	return roles
}
