package authn

import (
	"net/http/httptest"
	"testing"
)

func TestNoneBelievesTheHeaders(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers map[string]string
		project string
		admin   bool
		ro      bool
	}{
		{"no header is an admin", nil, "", true, false},
		{"a project is a member", map[string]string{"X-Project-Id": "p"}, "p", false, false},
		{"the older name of the header", map[string]string{"X-Tenant-Id": "p"}, "p", false, false},
		{"roles in any case", map[string]string{"X-Project-Id": "p", "X-Roles": "Member, ADMIN"}, "p", true, false},
		{"a role that only ends in admin", map[string]string{"X-Roles": "notadmin"}, "", false, false},
		{"a user alone", map[string]string{"X-User-Id": "u"}, "", false, false},
		{"a reader", map[string]string{"X-Project-Id": "p", "X-Roles": "reader"}, "p", false, true},
		{"a reader that is a member", map[string]string{"X-Project-Id": "p", "X-Roles": "reader,member"}, "p", false, false},
	} {
		r := httptest.NewRequest("GET", "/v2.0/networks", nil)
		for k, v := range c.headers {
			r.Header.Set(k, v)
		}
		p, err := None{}.Authenticate(r)
		if err != nil || p.ProjectID != c.project || p.Admin != c.admin || p.ReadOnly != c.ro {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
}

func FuzzParseRoles(f *testing.F) {
	f.Add("admin,,Member , reader")
	f.Fuzz(func(t *testing.T, s string) {
		seen := map[string]bool{}
		for _, r := range ParseRoles(s) {
			if r == "" || seen[r] {
				t.Fatalf("roles of %q: %q", s, r)
			}
			seen[r] = true
		}
	})
}
