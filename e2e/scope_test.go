package e2e

import (
	"testing"

	"weft/internal/lab"
	"weft/internal/labcmd"
)

// TestAddressScopes_routersKeepThemApart: a router forwards between networks of one address scope only, and leaves addresses as
// they are within that of the external network. A floating IP stands for its port in every scope.
func TestAddressScopes_routersKeepThemApart(t *testing.T) {
	x := another(t, "s", 92, labcmd.Options{Compute: 2, Gateway: 1})
	scope := x.must(t, "POST", "address-scopes", "address_scope", body{"name": "one", "ip_version": 4})["id"]
	pool := x.must(t, "POST", "subnetpools", "subnetpool", body{
		"name": "one", "address_scope_id": scope, "default_prefixlen": 24, "prefixes": []string{"10.94.0.0/16", "203.0.113.0/24"},
	})["id"]
	network := func(cidr string, subnet, attrs body) string {
		in := body{"name": cidr}
		for k, v := range attrs {
			in[k] = v
		}
		id := x.must(t, "POST", "networks", "network", in)["id"].(string)
		t.Cleanup(func() { x.must(t, "DELETE", "networks/"+id, "", nil) })
		subnet["network_id"], subnet["cidr"], subnet["ip_version"], subnet["subnetpool_id"] = id, cidr, 4, pool
		x.must(t, "POST", "subnets", "subnet", subnet)
		return id
	}
	ext := network("203.0.113.0/24", body{"gateway_ip": "203.0.113.1", "enable_dhcp": false, "allocation_pools": []body{{"start": "203.0.113.10", "end": "203.0.113.200"}}},
		body{"router:external": true, "provider:network_type": "flat", "provider:physical_network": lab.ExternalNetwork})
	one, two := network("10.94.1.0/24", body{}, nil), network("10.94.2.0/24", body{}, nil)
	apart := x.network(t, "10.95.0.0/24", nil)
	open := x.group(t, "open")
	x.rule(t, open, body{})
	a := x.vm(t, "s-a", "compute1", one, in(open))
	b := x.vm(t, "s-b", "compute2", two, in(open))
	c := x.vm(t, "s-c", "compute2", apart, in(open))

	for name, attrs := range map[string]body{"central": nil, "distributed": {"distributed": true, "ha": false}} {
		t.Run(name, func(t *testing.T) {
			r := x.router(t, ext, attrs, one, two, apart)
			own := x.must(t, "GET", "routers/"+r, "router", nil)["external_gateway_info"].(body)["external_fixed_ips"].([]any)[0].(body)["ip_address"].(string)
			x.outside(t, "ip", "route", "replace", "10.94.0.0/16", "via", own)
			t.Run("within a scope: routed", func(t *testing.T) { x.reaches(t, "s-a", b.Addrs[0].String()) })
			t.Run("between a scope and none: not", func(t *testing.T) {
				x.reaches(t, "s-a", "10.94.1.1")
				x.reaches(t, "s-c", "10.95.0.1")
				if n := x.ping(t, "s-a", c.Addrs[0].String(), 10) + x.ping(t, "s-c", a.Addrs[0].String(), 10); n > 0 {
					t.Errorf("%d of 20 pings answered", n)
				}
			})
			t.Run("to the external network of the same scope: as it is", func(t *testing.T) {
				x.reaches(t, "s-a", farAway)
				x.tcpFromOutside(t, "s-a", a.Addrs[0].String())
				x.outsideReaches(t, a.Addrs[0].String())
			})
			t.Run("to that of another: translated", func(t *testing.T) {
				x.reaches(t, "s-c", farAway)
				x.tcpFromOutside(t, "s-c", own)
			})
			t.Run("to a floating IP", func(t *testing.T) {
				_, addr := x.floating(t, ext, body{"port_id": c.ID.String()})
				x.outsideReaches(t, addr)
				x.reaches(t, "s-a", addr)
				x.tcpFromOutside(t, "s-c", addr)
			})
		})
	}
}
