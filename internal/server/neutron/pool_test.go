package neutron

import (
	"net/http"
	"slices"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/addressscopes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/addressgroups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/subnetpools"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

// A network is shown with the scope that its subnets are in now, though it has not changed itself.
func TestNetworkShowsTheScopeOfItsPool(t *testing.T) {
	r := newRig(t, unlimited)
	scope := str(r.must(t, demo, "POST", "/v2.0/address-scopes", obj{"address_scope": obj{"ip_version": 6}}), "id")
	pool := str(r.must(t, demo, "POST", "/v2.0/subnetpools", obj{"subnetpool": obj{"name": "p", "prefixes": []any{"fd00::/48"}}}), "id")
	n := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	r.must(t, demo, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": n, "ip_version": 6, "subnetpool_id": pool}})
	shown := func() string {
		o := r.must(t, demo, "GET", "/v2.0/networks/"+n, nil)
		if str(o, "ipv4_address_scope") != "" {
			t.Errorf("IPv4 scope: %v", o)
		}
		return str(o, "ipv6_address_scope")
	}
	if got := shown(); got != "" {
		t.Errorf("scope %q of a pool without", got)
	}
	r.must(t, demo, "PUT", "/v2.0/subnetpools/"+pool, obj{"subnetpool": obj{"address_scope_id": scope}})
	if got := shown(); got != scope {
		t.Errorf("scope %q, want %q", got, scope)
	}
	r.must(t, demo, "PUT", "/v2.0/subnetpools/"+pool, obj{"subnetpool": obj{"address_scope_id": nil}})
	if got := shown(); got != "" {
		t.Errorf("scope %q after the pool has left it", got)
	}
}

// Who owns it sees it, all see what is shared, and others' pools are not there.
func TestPoolsOfOthers(t *testing.T) {
	r := newRig(t, unlimited)
	mine := str(r.must(t, demo, "POST", "/v2.0/subnetpools", obj{"subnetpool": obj{"name": "p", "prefixes": []any{"10.0.0.0/8"}}}), "id")
	all := str(r.must(t, admin, "POST", "/v2.0/subnetpools", obj{"subnetpool": obj{"name": "q", "prefixes": []any{"10.0.0.0/8"}, "shared": true}}), "id")
	n := str(r.must(t, demo2, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	r.refused(t, 404, "SubnetPoolNotFound", demo2, "GET", "/v2.0/subnetpools/"+mine, nil)
	for _, action := range []string{"add_prefixes", "remove_prefixes"} {
		r.refused(t, 404, "SubnetPoolNotFound", demo2, "PUT", "/v2.0/subnetpools/"+mine+"/"+action, obj{"prefixes": []any{"192.0.2.0/24"}})
		r.refused(t, 403, "PolicyNotAuthorized", demo2, "PUT", "/v2.0/subnetpools/"+all+"/"+action, obj{"prefixes": []any{"192.0.2.0/24"}})
		r.refused(t, 400, "HTTPBadRequest", demo, "PUT", "/v2.0/subnetpools/"+mine+"/"+action, obj{"prefixes": []any{}})
	}
	r.refused(t, 404, "SubnetPoolNotFound", demo2, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": n, "ip_version": 4, "subnetpool_id": mine}})
	r.must(t, demo2, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": n, "ip_version": 4, "subnetpool_id": all, "prefixlen": 24}})
	if got := r.list(t, demo2, "/v2.0/subnetpools"); len(got) != 1 || str(got[0], "id") != all {
		t.Errorf("others see %v", got)
	}
	r.must(t, demo, "PUT", "/v2.0/subnetpools/"+mine+"/tags", obj{"tags": []any{"t"}})
	if got := r.list(t, demo, "/v2.0/subnetpools?tags=t"); len(got) != 1 {
		t.Errorf("tagged: %v", got)
	}
	usage := r.must(t, demo, "GET", "/v2.0/quotas/"+demo.project+"/details.json", nil)["subnetpool"].(map[string]any)
	if usage["used"] != 1.0 {
		t.Errorf("usage %v", usage)
	}
}

// TestGophercloudAddressGroups lives through an address group with the library that Terraform and Kubernetes use.
func TestGophercloudAddressGroups(t *testing.T) {
	r := newRig(t, nil)
	client, check := gopher(t, r)
	ctx := t.Context()
	g, err := addressgroups.Create(ctx, client, addressgroups.CreateOpts{Name: "offices", Description: "d", Addresses: []string{"192.0.2.0/24", "10.0.0.1/32"}}).Extract()
	check(err)
	if g.Name != "offices" || g.Description != "d" || !slices.Equal(g.Addresses, []string{"10.0.0.1/32", "192.0.2.0/24"}) {
		t.Errorf("created: %+v", g)
	}
	name := "renamed"
	g, err = addressgroups.Update(ctx, client, g.ID, addressgroups.UpdateOpts{Name: &name}).Extract()
	check(err)
	g, err = addressgroups.AddAddresses(ctx, client, g.ID, addressgroups.UpdateAddressesOpts{Addresses: []string{"2001:db8::/32"}}).Extract()
	check(err)
	g, err = addressgroups.RemoveAddresses(ctx, client, g.ID, addressgroups.UpdateAddressesOpts{Addresses: []string{"10.0.0.1/32"}}).Extract()
	check(err)
	if g.Name != "renamed" || !slices.Equal(g.Addresses, []string{"192.0.2.0/24", "2001:db8::/32"}) {
		t.Errorf("changed: %+v", g)
	}
	for _, c := range []struct {
		as    caller
		count int
	}{{demo, 1}, {caller{"somebody", "member"}, 0}, {admin, 1}} {
		if list := r.list(t, c.as, "/v2.0/address-groups?name=renamed"); len(list) != c.count {
			t.Errorf("%s sees %d groups, want %d", c.as.project, len(list), c.count)
		}
	}
	check(addressgroups.Delete(ctx, client, g.ID).ExtractErr())
}

// TestGophercloudPools lives through address scopes, subnet pools and subnets of them with the library that Terraform
// and Kubernetes use.
func TestGophercloudPools(t *testing.T) {
	r := newRig(t, nil)
	client, check := gopher(t, r)
	ctx := t.Context()
	n := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	scope, err := addressscopes.Create(ctx, client, addressscopes.CreateOpts{Name: "s", IPVersion: 4}).Extract()
	check(err)
	pool, err := subnetpools.Create(ctx, client, subnetpools.CreateOpts{Name: "p", Prefixes: []string{"10.0.0.0/16", "10.1.0.0/16"},
		DefaultPrefixLen: 26, MaxPrefixLen: 28, AddressScopeID: scope.ID}).Extract()
	check(err)
	if len(pool.Prefixes) != 1 || pool.Prefixes[0] != "10.0.0.0/15" || pool.MinPrefixLen != 8 || pool.MaxPrefixLen != 28 ||
		pool.DefaultPrefixLen != 26 || pool.IPversion != 4 || pool.AddressScopeID != scope.ID {
		t.Errorf("pool: %+v", pool)
	}
	s, err := subnets.Create(ctx, client, subnets.CreateOpts{NetworkID: n, IPVersion: 4, SubnetPoolID: pool.ID}).Extract()
	check(err)
	if s.CIDR != "10.0.0.0/26" || s.SubnetPoolID != pool.ID || s.GatewayIP != "10.0.0.1" {
		t.Errorf("subnet: %+v", s)
	}
	small, err := subnets.Create(ctx, client, subnets.CreateOpts{NetworkID: n, IPVersion: 4, SubnetPoolID: pool.ID, Prefixlen: 28}).Extract()
	check(err)
	if small.CIDR != "10.0.0.64/28" {
		t.Errorf("small subnet: %+v", small)
	}
	quota := 1024
	pool, err = subnetpools.Update(ctx, client, pool.ID, subnetpools.UpdateOpts{Name: "renamed", DefaultQuota: &quota,
		Prefixes: []string{"10.0.0.0/15", "192.168.0.0/16"}}).Extract()
	check(err)
	if pool.Name != "renamed" || pool.DefaultQuota != 1024 || len(pool.Prefixes) != 2 {
		t.Errorf("changed pool: %+v", pool)
	}
	if err := subnetpools.Delete(ctx, client, pool.ID).ExtractErr(); !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
		t.Errorf("deleting a pool in use: %v", err)
	}
	if err := addressscopes.Delete(ctx, client, scope.ID).ExtractErr(); !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		t.Errorf("deleting a scope in use: %v", err)
	}
	check(subnets.Delete(ctx, client, s.ID).ExtractErr())
	check(subnets.Delete(ctx, client, small.ID).ExtractErr())
	check(subnetpools.Delete(ctx, client, pool.ID).ExtractErr())
	pages, err := addressscopes.List(client, addressscopes.ListOpts{Name: "s"}).AllPages(ctx)
	check(err)
	if list, err := addressscopes.ExtractAddressScopes(pages); err != nil || len(list) != 1 || list[0].ID != scope.ID {
		t.Errorf("scopes: %v, %v", list, err)
	}
	check(addressscopes.Delete(ctx, client, scope.ID).ExtractErr())
}
