package policy

import (
	"strings"
	"testing"

	"weft/internal/server/authn"
)

func TestUnknownActionIsDeniedToAll(t *testing.T) {
	for _, action := range []string{"", "get_networks", "update_network:colour", "create_port:binding", "delete_everything"} {
		if Allowed(authn.AdminPrincipal(), action, Target{}) {
			t.Errorf("%q is allowed", action)
		}
	}
}

// TestMatrix asks about one action of each kind of rule, for each kind of
// principal, on an object of project "own" on a network of project "net".
func TestMatrix(t *testing.T) {
	who := map[string]authn.Principal{
		"admin":   authn.NewPrincipal("x", "u", authn.RoleAdmin),
		"service": authn.NewPrincipal("x", "u", authn.RoleService),
		"owner":   authn.NewPrincipal("own", "u", authn.RoleMember),
		"network": authn.NewPrincipal("net", "u", authn.RoleMember),
		"reader":  authn.NewPrincipal("own", "u", authn.RoleReader),
		"other":   authn.NewPrincipal("other", "u", authn.RoleMember),
		"nobody":  authn.NewPrincipal("", "u", authn.RoleMember),
	}
	private := Target{ProjectID: "own", NetworkProject: "net"}
	shared, external := private, private
	shared.Shared, external.External = true, true
	trusted := shared
	trusted.DeviceOwner = "network:dhcp"
	for _, c := range []struct {
		action  string
		target  Target
		allowed string
	}{
		{"get_network", private, "admin service owner reader"},
		{"get_network", shared, "admin service owner network reader other nobody"},
		{"get_network", external, "admin service owner network reader other nobody"},
		{"get_network:provider:segmentation_id", private, "admin"},
		{"update_network", shared, "admin owner"},
		{"update_network:shared", private, "admin"},
		{"create_network", private, "admin service owner network other nobody"},
		{"create_subnet", shared, "admin network"},
		{"get_subnet", external, "admin service owner network reader"},
		{"get_port", shared, "admin service owner network reader"},
		{"get_port:binding:host_id", private, "admin"},
		{"create_port", private, "admin service network"},
		{"create_port", external, "admin service network"},
		{"create_port", shared, "admin service owner network other nobody"},
		{"create_port:device_owner", shared, "admin service owner network other nobody"},
		{"create_port:device_owner", trusted, "admin service network"},
		{"update_port:device_owner", trusted, "admin service network"},
		{"create_port:mac_address", shared, "admin service network"},
		{"create_port:fixed_ips:ip_address", shared, "admin service network"},
		{"create_port:fixed_ips:subnet_id", shared, "admin service owner network other nobody"},
		{"create_port:allowed_address_pairs", shared, "admin network"},
		{"create_port:binding:host_id", private, "admin service"},
		{"update_port", private, "admin service owner"},
		{"update_port:mac_address", private, "admin service"},
		{"delete_port", private, "admin service owner network"},
		{"update_security_group", shared, "admin owner"},
		{"get_security_group", shared, "admin service owner network reader other nobody"},
		{"get_agent", Target{}, "admin"},
		{"get_quota", private, "admin owner reader"},
		{"update_quota", private, "admin"},
		{"update_networks_tags", shared, "admin owner"},
		{"set_project_id", private, "admin service"},
	} {
		for name, p := range who {
			want := strings.Contains(" "+c.allowed+" ", " "+name+" ")
			if got := Allowed(p, c.action, c.target); got != want {
				t.Errorf("%s by %s on %+v: %v, want %v", c.action, name, c.target, got, want)
			}
		}
	}
}

func TestReaderOnlyGets(t *testing.T) {
	reader := authn.NewPrincipal("own", "u", authn.RoleReader)
	for action := range table {
		own := Target{ProjectID: "own", NetworkProject: "own", Shared: true, External: true}
		if !strings.HasPrefix(action, "get_") && Allowed(reader, action, own) {
			t.Errorf("%s is allowed to a reader", action)
		}
	}
}
