package neutron

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

// gopher is demo's client of the library, and a check that its calls succeed.
func gopher(t *testing.T, r *rig) (client *gophercloud.ServiceClient, check func(error)) {
	server := httptest.NewServer(r.api)
	t.Cleanup(server.Close)
	return &gophercloud.ServiceClient{
			ProviderClient: &gophercloud.ProviderClient{},
			Endpoint:       server.URL + "/",
			ResourceBase:   server.URL + "/v2.0/",
			MoreHeaders:    map[string]string{"X-Project-Id": demo.project, "X-Roles": demo.roles},
		}, func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
}

// TestGophercloud lives through networks, subnets, security groups and ports with
// the library that Terraform and Kubernetes use, over real HTTP.
func TestGophercloud(t *testing.T) {
	r := newRig(t, nil)
	client, check := gopher(t, r)
	ctx := t.Context()
	up := true
	n, err := networks.Create(ctx, client, networks.CreateOpts{Name: "demo-net", AdminStateUp: &up}).Extract()
	check(err)
	s, err := subnets.Create(ctx, client, subnets.CreateOpts{NetworkID: n.ID, Name: "demo-subnet", IPVersion: 4, CIDR: "10.1.0.0/24", DNSNameservers: []string{"192.0.2.1"},
		AllocationPools: []subnets.AllocationPool{{Start: "10.1.0.10", End: "10.1.0.90"}}}).Extract()
	check(err)
	if s.GatewayIP != "10.1.0.1" || len(s.AllocationPools) != 1 {
		t.Errorf("subnet: %+v", s)
	}
	g, err := groups.Create(ctx, client, groups.CreateOpts{Name: "web"}).Extract()
	check(err)
	rule, err := rules.Create(ctx, client, rules.CreateOpts{SecGroupID: g.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4,
		Protocol: rules.ProtocolTCP, PortRangeMin: 22, PortRangeMax: 22}).Extract()
	check(err)
	p, err := ports.Create(ctx, client, ports.CreateOpts{NetworkID: n.ID, Name: "p", SecurityGroups: &[]string{g.ID},
		FixedIPs: []ports.IP{{SubnetID: s.ID, IPAddress: "10.1.0.20"}}}).Extract()
	check(err)
	if p.Status != "DOWN" || len(p.FixedIPs) != 1 || p.FixedIPs[0].IPAddress != "10.1.0.20" || p.SecurityGroups[0] != g.ID {
		t.Errorf("port: %+v", p)
	}
	for _, name := range []string{"q1", "q2", "q3"} {
		_, err := ports.Create(ctx, client, ports.CreateOpts{NetworkID: n.ID, Name: name}).Extract()
		check(err)
	}
	name, stale := "renamed", p.RevisionNumber
	p, err = ports.Update(ctx, client, p.ID, ports.UpdateOpts{Name: &name, RevisionNumber: &p.RevisionNumber}).Extract()
	check(err)
	if p.Name != name || p.RevisionNumber == stale {
		t.Errorf("updated: %+v", p)
	}
	_, err = ports.Update(ctx, client, p.ID, ports.UpdateOpts{Name: &name, RevisionNumber: &stale}).Extract()
	if !gophercloud.ResponseCodeIs(err, http.StatusPreconditionFailed) {
		t.Errorf("a stale revision: %v", err)
	}
	var seen int
	err = ports.List(client, ports.ListOpts{NetworkID: n.ID, Limit: 2, SortKey: "name", SortDir: "asc"}).EachPage(ctx, func(_ context.Context, page pagination.Page) (bool, error) {
		list, err := ports.ExtractPorts(page)
		seen += len(list)
		return true, err
	})
	check(err)
	if seen < 4 {
		t.Errorf("%d ports on all pages", seen)
	}
	if err := networks.Delete(ctx, client, n.ID).ExtractErr(); !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		t.Errorf("deleting a network in use: %v", err)
	}
	all, err := ports.List(client, ports.ListOpts{NetworkID: n.ID, ProjectID: demo.project}).AllPages(ctx)
	check(err)
	list, err := ports.ExtractPorts(all)
	check(err)
	for _, p := range list {
		if p.DeviceOwner == "" {
			check(ports.Delete(ctx, client, p.ID).ExtractErr())
		}
	}
	check(rules.Delete(ctx, client, rule.ID).ExtractErr())
	check(groups.Delete(ctx, client, g.ID).ExtractErr())
	check(subnets.Delete(ctx, client, s.ID).ExtractErr())
	check(networks.Delete(ctx, client, n.ID).ExtractErr())
	if _, err := networks.Get(ctx, client, n.ID).Extract(); !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("after all: %v", err)
	}
}
