package neutron

import (
	"iter"
	"net/netip"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// subnetResource declares subnets: the core attributes and those of the
// extensions subnet-service-types, dns-integration, segment, subnet_allocation and default-subnetpools.
func subnetResource(rules *network.Rules) *resource[model.Subnet, network.SubnetSpec] {
	type (
		M    = model.Subnet
		S    = network.SubnetSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	meta := func(s *M) *model.Meta { return &s.Meta }
	mode := func(name string, get func(*M) model.IPv6Mode, at func(*S) *network.Opt[model.IPv6Mode]) attr {
		a := d.strOrNull(name, func(s *M) string { return string(get(s)) }, nil, nil)
		return field(a, oneOf(model.IPv6Stateful, model.IPv6Stateless, model.IPv6SLAAC), at).postOnly().orNull()
	}
	r := &resource[M, S]{
		name: "subnet", collection: "subnets", path: "subnets",
		id:      func(s *M) model.UUID { return s.ID.UUID },
		meta:    meta,
		target:  func(v *view, s *M) policy.Target { return policy.SubnetTarget(s, v.Network(s.NetworkID)) },
		missing: notFound("SubnetNotFound", "Subnet %s could not be found."),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },
		tagKind: network.TagSubnets,

		row:  func(v *view, id model.UUID) *store.Row[M] { return v.SubnetRow(model.SubnetID{UUID: id}) },
		rows: func(v *view) iter.Seq[*store.Row[M]] { return v.SubnetRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] {
			return chain(v.SubnetRowsByProject(project),
				subnetsOf(v, v.NetworksByProject(project)), subnetsOf(v, v.SharedNetworks()))
		},

		create: rules.CreateSubnet,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateSubnet(tx, env, who, model.SubnetID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteSubnet(tx, env, who, model.SubnetID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.SubnetRowsByProject(project) }
	cidrText := func(s *M) string { return s.CIDR.String() }
	gateway := func(s *M) string {
		if !s.Gateway.IsValid() {
			return ""
		}
		return s.Gateway.String()
	}
	r.attributes = append([]attr{
		d.id("id", func(s *M) model.UUID { return s.ID.UUID }).by(byID(r.row)),
		field(d.id("network_id", func(s *M) model.UUID { return s.NetworkID.UUID }), networkID,
			func(s *S) *network.Opt[model.NetworkID] { return &s.NetworkID }).must().postOnly().
			by(byKey(func(v *view, id model.UUID) iter.Seq[*store.Row[M]] {
				return rowsOf(v.SubnetsByNetwork(model.NetworkID{UUID: id}), func(s *M) *store.Row[M] { return v.SubnetRow(s.ID) })
			})),
		d.str("name", func(s *M) string { return s.Name }, text(255), func(s *S) *network.Opt[string] { return &s.Name }).
			by(func(v *view, name string) iter.Seq[*store.Row[M]] {
				return rowsOf(v.SubnetsByName(name), func(s *M) *store.Row[M] { return v.SubnetRow(s.ID) })
			}),
		d.num("ip_version", func(s *M) int64 { return int64(s.IPVersion()) }, integerOf(4, 6),
			func(s *S) *network.Opt[int] { return &s.IPVersion }).must().postOnly(),
		d.str("cidr", cidrText, cidr, func(s *S) *network.Opt[string] { return &s.CIDR }).postOnly().orNull(),
		field(d.str("gateway_ip", gateway, nil, nil), address, func(s *S) *network.Opt[netip.Addr] { return &s.Gateway }).
			orNull().as(func(b []byte, _ *view, s *M) []byte { return appendAddr(b, s.Gateway) }),
		d.flag("enable_dhcp", func(s *M) bool { return s.EnableDHCP }, func(s *S) *network.Opt[bool] { return &s.EnableDHCP }),
		field(d.other("allocation_pools", func(b []byte, _ *view, s *M) []byte { return appendList(b, s.Pools, appendRange) }),
			list(addressRange), func(s *S) *network.Opt[[]model.Range] { return &s.Pools }).orNull(),
		field(d.other("dns_nameservers", func(b []byte, _ *view, s *M) []byte { return appendList(b, s.DNS, appendAddr) }),
			nameservers, func(s *S) *network.Opt[[]netip.Addr] { return &s.DNS }).orNull(),
		field(d.other("host_routes", func(b []byte, _ *view, s *M) []byte { return appendList(b, s.Routes, appendRoute) }),
			list(route), func(s *S) *network.Opt[[]model.Route] { return &s.Routes }).orNull(),
		mode("ipv6_ra_mode", func(s *M) model.IPv6Mode { return s.RAMode }, func(s *S) *network.Opt[model.IPv6Mode] { return &s.RAMode }),
		mode("ipv6_address_mode", func(s *M) model.IPv6Mode { return s.AddressMode }, func(s *S) *network.Opt[model.IPv6Mode] { return &s.AddressMode }),
		field(d.other("service_types", func(b []byte, _ *view, s *M) []byte { return appendStrings(b, s.ServiceTypes) }),
			list(plainText(255)), func(s *S) *network.Opt[[]string] { return &s.ServiceTypes }),
		field(d.id("subnetpool_id", func(s *M) model.UUID { return s.SubnetPoolID.UUID }), poolID,
			func(s *S) *network.Opt[model.SubnetPoolID] { return &s.SubnetPoolID }).postOnly().orNull().by(bySet(
			func(v *view, id model.UUID) iter.Seq[*store.Row[M]] {
				return v.SubnetRowsByPool(model.SubnetPoolID{UUID: id})
			})),
		d.flag("use_default_subnetpool", func(*M) bool { return false }, func(s *S) *network.Opt[bool] { return &s.UseDefaultPool }).
			postOnly().hidden().noFilter().noSort(),
		d.num("prefixlen", func(*M) int64 { return 0 }, atLeast(0), func(s *S) *network.Opt[int] { return &s.PrefixLen }).
			postOnly().orNull().hidden().noFilter().noSort(),
		d.strOrNull("segment_id", func(s *M) string { return s.SegmentID }, uuidText,
			func(s *S) *network.Opt[string] { return &s.SegmentID }).guard(),
		d.flag("dns_publish_fixed_ip", func(s *M) bool { return s.DNSPublishFixed }, func(s *S) *network.Opt[bool] { return &s.DNSPublishFixed }),
		d.tags(meta),
	}, d.standard(meta, func(s *S) *network.Opt[string] { return &s.Description })...)
	r.index("project_id", byProject)
	r.index("tenant_id", byProject)
	return r
}

func subnetsOf(v *view, networks iter.Seq[*model.Network]) iter.Seq[*store.Row[model.Subnet]] {
	return func(yield func(*store.Row[model.Subnet]) bool) {
		for n := range networks {
			for s := range v.SubnetsByNetwork(n.ID) {
				if !yield(v.SubnetRow(s.ID)) {
					return
				}
			}
		}
	}
}

func appendRange(b []byte, r model.Range) []byte {
	b = append(b, `{"start":`...)
	b = appendAddr(b, r.First)
	b = append(b, `,"end":`...)
	b = appendAddr(b, r.Last)
	return append(b, '}')
}

func appendRoute(b []byte, r model.Route) []byte {
	b = append(b, `{"destination":`...)
	b = appendPrefix(b, r.Destination)
	b = append(b, `,"nexthop":`...)
	b = appendAddr(b, r.NextHop)
	return append(b, '}')
}
