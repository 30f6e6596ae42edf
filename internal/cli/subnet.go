package cli

import (
	"context"
	"maps"
	"net/netip"
	"strings"

	"weft/internal/client"
)

func subnetAPI() client.Resource {
	return client.Resource{Name: "subnet", Collection: "subnets", Path: "subnets", NameKey: "name"}
}

func subnets() resource {
	modes := oneOf("dhcpv6-stateful", "dhcpv6-stateless", "slaac")
	return resource{
		Resource: subnetAPI(), noun: "subnet", arg: "SUBNET", plural: "subnets",
		about: "Subnets: the addresses of a network, and what DHCP says of them",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Name", key: "name"},
			{head: "Network", key: "network_id"},
			{head: "Subnet", key: "cidr"},
			{head: "Project", key: "project_id", long: true},
			{head: "DHCP", key: "enable_dhcp", long: true},
			{head: "Name Servers", key: "dns_nameservers", text: inOrder, long: true},
			{head: "Allocation Pools", key: "allocation_pools", text: pools, long: true},
			{head: "Host Routes", key: "host_routes", text: routes, long: true},
			{head: "IP Version", key: "ip_version", long: true},
			{head: "Gateway", key: "gateway_ip", long: true},
			{head: "Service Types", key: "service_types", text: sorted, long: true},
			{head: "Tags", key: "tags", text: sorted, long: true},
		},
		fields: written(attributes("allocation_pools", "cidr", "created_at", "description", "dns_nameservers", "dns_publish_fixed_ip",
			"enable_dhcp", "gateway_ip", "host_routes", "id", "ip_version", "ipv6_address_mode", "ipv6_ra_mode", "name", "network_id",
			"project_id", "revision_number", "segment_id", "service_types", "subnetpool_id", "tags", "updated_at"),
			map[string]textFunc{"allocation_pools": pools, "dns_nameservers": inOrder, "host_routes": routes, "service_types": sorted, "tags": sorted}),

		options: options(
			attr{flag: "network", arg: "NETWORK", key: "network_id", help: "network that it belongs to (name or id)", as: reference(networkAPI()), on: onCreate | onList, needed: true},
			attr{flag: "subnet-range", arg: "CIDR", key: "cidr", help: "its addresses, as 10.0.0.0/24 or fd00::/64", on: onCreate | onList},
			attr{flag: "subnet-pool", arg: "POOL", key: "subnetpool_id", help: "subnet pool that its addresses are of (name or id)", as: reference(poolAPI()), on: onCreate | onList},
			toggle{key: "use_default_subnetpool", on: onCreate, yes: "use-default-subnet-pool", yesHelp: "its addresses are of the default subnet pool"},
			attr{flag: "prefix-length", arg: "LENGTH", key: "prefixlen", help: "prefix length of a block from the pool", as: number(1, 128), on: onCreate},
			attr{flag: "name", arg: "NAME", key: "name", help: "name", on: onSet | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: onCreate | onSet},
			attr{flag: "ip-version", arg: "VERSION", key: "ip_version", help: "4 or 6 (default when created: that of the range)", as: oneNumberOf("4", "6"), on: onCreate | onList},
			attr{flag: "gateway", arg: "ADDRESS", key: "gateway_ip", help: "address of the gateway, auto for the first of the range (default), or none", as: kind{value: gatewayOf}, on: onCreate},
			attr{flag: "gateway", arg: "ADDRESS", key: "gateway_ip", help: "address of the gateway, or none", as: kind{value: gatewayOf}, on: onSet},
			attr{flag: "gateway", arg: "ADDRESS", key: "gateway_ip", help: "address of the gateway", on: onList},
			drop{flag: "gateway", key: "gateway_ip", help: "the gateway"},
			list{flag: "allocation-pool", arg: "start=ADDRESS,end=ADDRESS", key: "allocation_pools", help: "addresses that ports get by themselves",
				as: object(false, key{name: "start", attribute: "start", needed: true}, key{name: "end", attribute: "end", needed: true}),
				on: onCreate | onSet | onUnset, front: true, clear: "no-allocation-pool", clearOn: onSet, clearHelp: "no pools; with --allocation-pool, those given replace them"},
			toggle{key: "enable_dhcp", on: onCreate | onSet | onList, yes: "dhcp", yesHelp: "with DHCP (default when created)", no: "no-dhcp", noHelp: "without DHCP"},
			list{flag: "dns-nameserver", arg: "ADDRESS", key: "dns_nameservers", help: "DNS server",
				on: onCreate | onSet | onUnset, front: true, clear: "no-dns-nameservers", clearOn: onSet, clearHelp: "no DNS servers; with --dns-nameserver, those given replace them"},
			list{flag: "host-route", arg: "destination=CIDR,gateway=ADDRESS", key: "host_routes", help: "route that DHCP tells",
				as: object(false, key{name: "destination", attribute: "destination", needed: true}, key{name: "gateway", attribute: "nexthop", needed: true}),
				on: onCreate | onSet | onUnset, front: true, clear: "no-host-route", clearOn: onSet, clearHelp: "no routes; with --host-route, those given replace them"},
			attr{flag: "ipv6-ra-mode", arg: "MODE", key: "ipv6_ra_mode", help: "who advertises routers, and how: dhcpv6-stateful, dhcpv6-stateless or slaac", as: modes, on: onCreate},
			attr{flag: "ipv6-address-mode", arg: "MODE", key: "ipv6_address_mode", help: "where addresses come from: dhcpv6-stateful, dhcpv6-stateless or slaac", as: modes, on: onCreate},
			list{flag: "service-type", arg: "OWNER", key: "service_types", help: "device owner of the ports that it is for, as network:floatingip", on: onCreate | onSet | onUnset | onList, here: true},
			toggle{key: "dns_publish_fixed_ip", on: onCreate | onSet,
				yes: "dns-publish-fixed-ip", yesHelp: "its addresses are published in DNS", no: "no-dns-publish-fixed-ip", noHelp: "they are not (default when created)"},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
			tags(),
		),
		finish: versionOfRange,

		verbs: map[verb]help{
			onCreate: {`Ports on the network get their addresses from it. The range is given, or a free block of a
subnet pool. The gateway is the first address of it, and the rest is for ports, unless --gateway and
--allocation-pool say otherwise.`,
				`  weft subnet create --network demo-net --subnet-range 10.0.0.0/24 demo-subnet
  weft subnet create --network demo-net --subnet-range 10.0.0.0/24 --gateway 10.0.0.254 \
      --allocation-pool start=10.0.0.10,end=10.0.0.99 --dns-nameserver 192.0.2.53 demo-subnet
  weft subnet create --network demo-net --subnet-range fd00::/64 --ipv6-ra-mode slaac --ipv6-address-mode slaac v6
  weft subnet create --network demo-net --subnet-pool demo-pool --prefix-length 28 small`},
			onList: {`Those of one's project and of shared networks; all of them for admins.`,
				`  weft subnet list --network demo-net
  weft subnet list --long --ip-version 6`},
			onShow: {`By name or id.`, `  weft subnet show demo-subnet`},
			onSet: {`Pools, DNS servers, routes and service types are added to those that there are.`,
				`  weft subnet set --dns-nameserver 192.0.2.54 --host-route destination=10.9.0.0/16,gateway=10.0.0.9 demo-subnet
  weft subnet set --no-dns-nameservers --dns-nameserver 192.0.2.55 demo-subnet`},
			onUnset:  {`What is named is taken away.`, `  weft subnet unset --dns-nameserver 192.0.2.54 demo-subnet`},
			onDelete: {`No port may have an address of it. Several can be given; what can be deleted is.`, `  weft subnet delete demo-subnet`},
		},
	}
}

// versionOfRange completes a subnet that no IP version is given for: that of its pool or range, else 4.
func versionOfRange(ctx context.Context, r *request) error {
	if pool := r.body.Text("subnetpool_id"); pool != "" && r.body["ip_version"] == nil {
		o, err := r.api.Get(ctx, poolAPI(), pool)
		if err != nil {
			return err
		}
		r.body["ip_version"] = o["ip_version"]
	}
	if p, err := netip.ParsePrefix(r.body.Text("cidr")); err == nil && p.Addr().Is6() && r.body["ip_version"] == nil {
		r.body["ip_version"] = 6
	}
	return fourByDefault(ctx, r)
}

// fourByDefault completes what no IP version is given for.
func fourByDefault(_ context.Context, r *request) error {
	if r.body["ip_version"] == nil {
		r.body["ip_version"] = 4
	}
	return nil
}

// gatewayOf reads --gateway: an address, none, or, for create, auto.
func gatewayOf(_ context.Context, r *request, text string) (any, error) {
	switch strings.ToLower(text) {
	case "none":
		return nil, nil
	case "auto":
		if r.verb != onCreate {
			return nil, usage("--gateway auto is for create alone: give an address, or none")
		}
		return unsaid{}, nil
	}
	return text, nil
}

// pools writes allocation pools as first-last.
func pools(v any) string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, e := range list {
		p, _ := e.(map[string]any)
		out[i] = client.Object(p).Text("start") + "-" + client.Object(p).Text("end")
	}
	return strings.Join(out, ",")
}

// routes writes host routes with the keys of --host-route.
func routes(v any) string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, e := range list {
		r, _ := e.(map[string]any)
		r = maps.Clone(r)
		if hop, ok := r["nexthop"]; ok {
			delete(r, "nexthop")
			r["gateway"] = hop
		}
		out[i] = dict(r)
	}
	return strings.Join(out, "\n")
}
