package neutron

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weft/internal/server/authn"
	"weft/internal/server/policy"
)

// declared is what a declaration says of an attribute, without its types.
type declared struct {
	name                           string
	post, put, required, nulled    bool
	shown, guarded, filter, sorted bool
}

func (r *resource[T, S]) declared() []declared {
	var out []declared
	for _, a := range r.attributes {
		out = append(out, declared{a.name, a.onPOST, a.onPUT, a.required, a.nulled,
			a.show != nil, a.guarded, a.match != nil, a.compare != nil && !a.guarded})
	}
	return out
}

// kind is a resource as these tests see it.
type kind struct {
	name, path string
	attributes []declared
	minimum    func(t *testing.T, r *rig) obj // of a POST by demo
}

func kinds(r *rig) []kind {
	network := func(t *testing.T, r *rig) string {
		return str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{"name": "parent"}}), "id")
	}
	rules := r.api.Rules
	return []kind{
		{"network", "/v2.0/networks", networkResource(rules).finish().declared(), func(*testing.T, *rig) obj { return obj{} }},
		{"subnet", "/v2.0/subnets", subnetResource(rules).finish().declared(), func(t *testing.T, r *rig) obj {
			return obj{"network_id": network(t, r), "ip_version": 4, "cidr": "10.0.0.0/24"}
		}},
		{"port", "/v2.0/ports", portResource(rules).finish().declared(), func(t *testing.T, r *rig) obj {
			return obj{"network_id": network(t, r)}
		}},
		{"security_group", "/v2.0/security-groups", securityGroupResource(rules).finish().declared(), func(*testing.T, *rig) obj { return obj{"name": "g"} }},
		{"security_group_rule", "/v2.0/security-group-rules", securityGroupRuleResource(rules).finish().declared(), func(t *testing.T, r *rig) obj {
			return obj{"direction": "ingress", "protocol": "icmp", "security_group_id": str(r.must(t, demo, "POST", "/v2.0/security-groups", obj{"security_group": obj{"name": "g"}}), "id")}
		}},
		{"router", "/v2.0/routers", routerResource(rules).finish().declared(), func(*testing.T, *rig) obj { return obj{} }},
		{"floatingip", "/v2.0/floatingips", floatingIPResource(rules).finish().declared(), func(t *testing.T, r *rig) obj {
			return obj{"floating_network_id": external(t, r)}
		}},
		{"subnetpool", "/v2.0/subnetpools", subnetPoolResource(rules).finish().declared(), func(*testing.T, *rig) obj {
			return obj{"name": "p", "prefixes": []any{"10.0.0.0/16"}, "default_quota": 65536}
		}},
		{"address_group", "/v2.0/address-groups", addressGroupResource(rules).finish().declared(), func(*testing.T, *rig) obj { return obj{"name": "a"} }},
		{"address_scope", "/v2.0/address-scopes", addressScopeResource(rules).finish().declared(), func(*testing.T, *rig) obj { return obj{"ip_version": 4} }},
	}
}

// external makes an external network with a subnet.
func external(t *testing.T, r *rig) string {
	id := str(r.must(t, admin, "POST", "/v2.0/networks", obj{"network": obj{"router:external": true}}), "id")
	r.must(t, admin, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": id, "ip_version": 4, "cidr": "172.25.0.0/24", "enable_dhcp": false}})
	return id
}

// needsMore are attributes whose sample is right only beside others, or for
// another object than the smallest.
var needsMore = map[string]bool{
	"PUT provider:network_type":      true, // never changed
	"PUT provider:physical_network":  true,
	"PUT provider:segmentation_id":   true,
	"POST provider:physical_network": true, // needs a type
	"POST provider:segmentation_id":  true,
	"POST port_range_max":            true, // a code needs a type
	"PUT distributed":                true, // needs a router that is down
	"PUT ha":                         true,
	"POST subnet_id":                 true, // needs one of its network
	"POST fixed_ip_address":          true, // needs a port
	"PUT fixed_ip_address":           true,
}

// sample is a value that each settable attribute accepts; what is not listed
// accepts text.
var sample = map[string]any{
	"admin_state_up": false, "shared": true, "router:external": true, "is_default": false, "mtu": 1400,
	"port_security_enabled": true, "availability_zone_hints": []any{}, "dns_domain": "example.org.", "dns_name": "host",
	"qos_policy_id": nil, "provider:network_type": "vxlan", "provider:physical_network": "physnet1", "provider:segmentation_id": 7,
	"segments":   []any{obj{"provider:network_type": "vxlan", "provider:segmentation_id": 8}},
	"ip_version": 4, "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1", "enable_dhcp": false,
	"allocation_pools": []any{obj{"start": "10.0.0.10", "end": "10.0.0.20"}}, "dns_nameservers": []any{"192.0.2.1"},
	"host_routes": []any{obj{"destination": "192.0.2.0/24", "nexthop": "10.0.0.3"}}, "ipv6_ra_mode": nil, "ipv6_address_mode": nil,
	"service_types": []any{}, "subnetpool_id": nil, "prefixlen": nil, "segment_id": nil, "dns_publish_fixed_ip": false,
	"fixed_ips": []any{}, "security_groups": []any{}, "mac_address": "fa:16:3e:00:00:99", "allowed_address_pairs": []any{},
	"extra_dhcp_opts": []any{obj{"opt_name": "mtu", "opt_value": "1400"}}, "binding:vnic_type": "normal", "binding:profile": obj{},
	"data_plane_status": "ACTIVE", "propagate_uplink_status": true, "numa_affinity_policy": nil, "device_profile": nil,
	"stateful": true, "direction": "egress", "ethertype": "IPv4", "protocol": "udp", "port_range_min": 80, "port_range_max": 80,
	"distributed": true, "ha": false, "external_gateway_info": nil, "routes": []any{}, "port_id": nil, "fixed_ip_address": "10.0.0.9",
	"floating_ip_address": "172.25.0.77", "subnet_id": "11111111-2222-3333-4444-555555555555",
	"use_default_subnetpool": false, "prefixes": []any{"10.0.0.0/15"}, "min_prefixlen": 8, "max_prefixlen": 31, "default_prefixlen": 26, "default_quota": 256,
	"addresses": []any{"192.0.2.0/24", "2001:db8::1"}, "address_scope_id": nil, "remote_ip_prefix": "192.0.2.0/24", "remote_group_id": nil, "remote_address_group_id": nil,
}

// TestDeclaredAttributes: every attribute of every resource, in POST and PUT, by a
// member, a reader and an admin, is taken or refused as declared and as
// policy says; an attribute of which neither speaks does not exist.
func TestDeclaredAttributes(t *testing.T) {
	for _, who := range []caller{demo, reader, {demo.project, "admin"}} {
		r := newRig(t, unlimited)
		principal := authn.NewPrincipal(who.project, "u", who.roles)
		for _, k := range kinds(r) {
			for _, a := range k.attributes {
				for _, method := range []string{"POST", "PUT"} {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", who.roles, k.name, method, a.name), func(t *testing.T) {
						checkAttribute(t, r, who, principal, k, a, method)
					})
				}
			}
		}
	}
}

func checkAttribute(t *testing.T, r *rig, who caller, principal authn.Principal, k kind, a declared, method string) {
	body := k.minimum(t, r)
	path, settable, action := k.path, a.post, "create_"+k.name
	if method == "PUT" {
		path += "/" + str(r.must(t, demo, "POST", k.path, obj{k.name: body}), "id")
		body, settable, action = obj{}, a.put, "update_"+k.name
	}
	value, ok := sample[a.name]
	if !ok {
		value = "some"
	}
	if _, given := body[a.name]; !given {
		body[a.name] = value
	}
	if a.name == "project_id" || a.name == "tenant_id" {
		body[a.name] = who.project
		settable = method == "POST"
	}
	w := r.do(who, method, path, obj{k.name: body})
	message := w.Body.String()
	refusedByName := strings.Contains(message, "not allowed in POST") || strings.Contains(message, "read-only attribute")
	target := policy.Target{ProjectID: who.project, NetworkProject: who.project}
	forbidden := principal.ReadOnly ||
		policy.Known(action+":"+a.name) && !policy.Allowed(principal, action+":"+a.name, target)
	switch {
	case w.Code >= 500:
		t.Errorf("%d %s", w.Code, message)
	case !settable && (w.Code != 400 || !refusedByName):
		t.Errorf("is not settable, yet: %d %s", w.Code, message)
	case settable && (refusedByName || strings.Contains(message, "Unrecognized")):
		t.Errorf("is settable, yet: %d %s", w.Code, message)
	case settable && forbidden && w.Code != 403 && !(needsMore[method+" "+a.name] && w.Code == 400):
		t.Errorf("policy forbids it, yet: %d %s", w.Code, message)
	case settable && !forbidden && w.Code >= 300 && !needsMore[method+" "+a.name]:
		t.Errorf("is allowed, yet: %d %s", w.Code, message)
	}
}

// TestSight: a member sees what is not guarded, an admin sees everything, and
// nobody sees what is not declared.
func TestSight(t *testing.T) {
	r := newRig(t, unlimited)
	for _, k := range kinds(r) {
		id := str(r.must(t, demo, "POST", k.path, obj{k.name: k.minimum(t, r)}), "id")
		for _, who := range []caller{demo, reader, admin} {
			for form, got := range map[string]obj{
				"show": r.must(t, who, "GET", k.path+"/"+id, nil),
				"list": r.list(t, who, k.path+"?id="+id)[0],
			} {
				for _, a := range k.attributes {
					_, has := got[a.name]
					want := a.shown && (!a.guarded || who == admin)
					if a.name == "segments" { // of networks with several
						want = false
					}
					if has != want {
						t.Errorf("%s %s as %s: %s shown: %v, want %v", k.name, form, who.roles, a.name, has, want)
					}
				}
				names := map[string]bool{}
				for _, a := range k.attributes {
					names[a.name] = true
				}
				for n := range maps.Keys(got) {
					if !names[n] {
						t.Errorf("%s %s: %s is not declared", k.name, form, n)
					}
				}
			}
			for _, a := range k.attributes { // fields= shows that one, and no more than the sight allows
				got := r.must(t, who, "GET", k.path+"/"+id+"?fields="+url.QueryEscape(a.name), nil)
				want := 0
				if a.shown && (!a.guarded || who == admin) && a.name != "segments" {
					want = 1
				}
				if len(got) != want {
					t.Errorf("%s fields=%s as %s: %v", k.name, a.name, who.roles, got)
				}
			}
		}
	}
}

// TestFilterFindsTheObjectByItsOwnValue: for every attribute that is a filter, an object
// is found by the value that it shows, also when another value is asked for beside
// it, and not by another value alone. Indexes and plain comparison agree.
func TestFilterFindsTheObjectByItsOwnValue(t *testing.T) {
	r := newRig(t, unlimited)
	for _, k := range kinds(r) {
		body := k.minimum(t, r)
		made := r.must(t, demo, "POST", k.path, obj{k.name: body})
		made = r.must(t, admin, "GET", k.path+"/"+str(made, "id"), nil)
		id := str(made, "id")
		for _, a := range k.attributes {
			filter := url.QueryEscape(a.name)
			if !a.filter {
				if w := r.do(admin, "GET", k.path+"?"+filter+"=x", nil); w.Code != 400 && a.name != "tags" {
					t.Errorf("%s?%s: %d %s", k.path, a.name, w.Code, w.Body)
				}
				continue
			}
			value := ""
			switch v := made[a.name].(type) {
			case string:
				value = v
			case bool, float64:
				value = fmt.Sprint(v)
			case []any, map[string]any:
				continue // fixed_ips, security_groups: see TestPortFilters
			}
			found := func(who caller, query string) bool {
				return slices.ContainsFunc(r.list(t, who, k.path+"?fields=id&"+query), func(o map[string]any) bool { return str(o, "id") == id })
			}
			other := "zzz"
			if v, ok := made[a.name].(bool); ok {
				other = fmt.Sprint(!v)
			} else if _, err := strconv.Atoi(value); err == nil {
				other = "77777"
			}
			v := filter + "=" + url.QueryEscape(value)
			if !found(admin, v) || !found(admin, filter+"="+other+"&"+v) || found(admin, filter+"="+other) {
				t.Errorf("%s?%s does not filter", k.path, v)
			}
			if found(demo, v) == a.guarded {
				t.Errorf("%s?%s: a member finds it: %v", k.path, v, !a.guarded)
			}
		}
		for _, a := range k.attributes {
			w := r.do(admin, "GET", k.path+"?sort_dir=desc&sort_key="+url.QueryEscape(a.name), nil)
			if (w.Code == 200) != a.sorted {
				t.Errorf("%s sorted by %s: %d", k.path, a.name, w.Code)
			}
		}
		r.refused(t, 400, "HTTPBadRequest", demo, "GET", k.path+"?colour=x", nil)
	}
}

// TestPortFilters: the filters that Nova, Octavia and the DHCP tools send.
func TestPortFilters(t *testing.T) {
	r := newRig(t, unlimited)
	net := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	subnet := str(r.must(t, demo, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": net, "ip_version": 4, "cidr": "10.7.0.0/24", "enable_dhcp": false}}), "id")
	group := str(r.must(t, demo, "POST", "/v2.0/security-groups", obj{"security_group": obj{"name": "g"}}), "id")
	a := r.must(t, demo, "POST", "/v2.0/ports", obj{"port": obj{"network_id": net, "name": "a", "device_id": "d1", "fixed_ips": []any{obj{"ip_address": "10.7.0.77"}}}})
	b := r.must(t, demo, "POST", "/v2.0/ports", obj{"port": obj{"network_id": net, "name": "b", "security_groups": []any{group}, "fixed_ips": []any{obj{"ip_address": "10.7.0.78"}}}})
	r.must(t, admin, "PUT", "/v2.0/ports/"+str(b, "id"), obj{"port": obj{"binding:host_id": "h9"}})
	for query, want := range map[string]string{
		"fixed_ips=ip_address%3D10.7.0.77":                                   "a",
		"fixed_ips=ip_address%3D10.7.0.77&fixed_ips=ip_address%3D10.7.0.78":  "a b",
		"fixed_ips=ip_address%3D10.7.0.77&fixed_ips=subnet_id%3D" + subnet:   "a",
		"fixed_ips=ip_address%3D10.7.0.77&fixed_ips=subnet_id%3D" + net:      "",
		"fixed_ips=subnet_id%3D" + subnet:                                    "a b",
		"fixed_ips=ip_address_substr%3D0.78":                                 "b",
		"fixed_ips=ip_address%3Dnonsense":                                    "",
		"fixed_ips=foo%3Dbar":                                                "a b",
		"device_id=d1":                                                       "a",
		"device_id=":                                                         "b",
		"device_id=d1&device_id=":                                            "a b",
		"security_groups=" + group:                                           "b",
		"security_groups=zzz":                                                "",
		"mac_address=" + strings.ToUpper(str(a, "mac_address")):              "a",
		"binding%3Ahost_id=h9":                                               "b",
		"binding:host_id=h9&name=a":                                          "",
		"admin_state_up=True":                                                "a b",
		"admin_state_up=0":                                                   "",
		"status=DOWN":                                                        "a b",
		"network_id=" + net + "&name=a&device_id=d1":                         "a",
		"network_id=zzz":                                                     "",
		"name=b&name=a&sort_key=name&sort_dir=asc":                           "a b",
		"id=" + str(a, "id") + "&id=" + str(b, "id") + "&id=" + str(a, "id"): "a b",
		"tenant_id=" + demo.project:                                          "a b",
		"project_id=other":                                                   "",
		"changed_since=2100-01-01T00:00:00":                                  "",
		"changed_since=2000-01-01T00:00:00Z":                                 "a b",
		"fields=name&limit=5":                                                "a b",
		"security_groups=" + group + "&security_groups=zzz&fixed_ips=subnet_id%3D": "",
	} {
		var names []string
		for _, p := range r.list(t, admin, "/v2.0/ports?"+query) {
			if name := str(p, "name"); name != "" { // the network's own DHCP port has none
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	r.refused(t, 400, "InvalidInput", demo, "GET", "/v2.0/ports?changed_since=yesterday", nil)
}

// TestCacheFollowsWhatItDependsOn: a body that was shown is not shown again
// when something beside the object has changed.
func TestCacheFollowsWhatItDependsOn(t *testing.T) {
	r := newRig(t, unlimited)
	net := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	get := func(path string) obj { return r.must(t, demo, "GET", path, nil) }
	get("/v2.0/networks/" + net)
	subnet := str(r.must(t, demo, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": net, "ip_version": 4, "cidr": "10.7.0.0/24"}}), "id")
	if got, _ := json.Marshal(get("/v2.0/networks/" + net)["subnets"]); string(got) != `["`+subnet+`"]` {
		t.Errorf("subnets after the first was made: %s", got)
	}
	r.must(t, demo, "DELETE", "/v2.0/subnets/"+subnet, nil)
	if got := get("/v2.0/networks/" + net)["subnets"].([]any); len(got) != 0 {
		t.Errorf("subnets after it was deleted: %v", got)
	}
	group := str(r.must(t, demo, "POST", "/v2.0/security-groups", obj{"security_group": obj{"name": "g"}}), "id")
	get("/v2.0/security-groups/" + group)
	rule := str(r.must(t, demo, "POST", "/v2.0/security-group-rules", obj{"security_group_rule": obj{"direction": "ingress", "security_group_id": group}}), "id")
	r.must(t, demo, "PUT", "/v2.0/security-group-rules/"+rule, obj{"security_group_rule": obj{"description": "new"}})
	if got, _ := json.Marshal(get("/v2.0/security-groups/" + group)); !strings.Contains(string(got), `"description":"new"`) {
		t.Errorf("the group shows its rule as it was: %s", got)
	}
}
