package cli

import "weft/internal/client"

func poolAPI() client.Resource {
	return client.Resource{Name: "subnetpool", Collection: "subnetpools", Path: "subnetpools", NameKey: "name"}
}

func subnetPools() resource {
	length := number(0, 128)
	return resource{
		Resource: poolAPI(), noun: "subnet pool", arg: "POOL", plural: "subnet pools",
		about: "Subnet pools: addresses that subnets are made of",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Name", key: "name"},
			{head: "Prefixes", key: "prefixes", text: inOrder},
			{head: "Default Prefix Length", key: "default_prefixlen", long: true},
			{head: "Address Scope", key: "address_scope_id", long: true},
			{head: "Default Subnet Pool", key: "is_default", long: true},
			{head: "Shared", key: "shared", long: true},
			{head: "Tags", key: "tags", text: sorted, long: true},
		},
		fields: written(attributes("address_scope_id", "created_at", "default_prefixlen", "default_quota", "description", "id", "ip_version",
			"is_default", "max_prefixlen", "min_prefixlen", "name", "prefixes", "project_id", "revision_number", "shared", "tags", "updated_at"),
			map[string]textFunc{"prefixes": inOrder, "tags": sorted}),

		options: options(
			list{flag: "pool-prefix", arg: "CIDR", key: "prefixes", help: "addresses, as 10.0.0.0/8", on: onCreate | onSet},
			attr{flag: "name", arg: "NAME", key: "name", help: "name", on: onSet | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: onCreate | onSet},
			attr{flag: "default-prefix-length", arg: "LENGTH", key: "default_prefixlen", help: "prefix length of subnets that ask for none", as: length, on: onCreate | onSet},
			attr{flag: "min-prefix-length", arg: "LENGTH", key: "min_prefixlen", help: "shortest prefix length of a subnet (default when created: 8, or 64 for IPv6)", as: length, on: onCreate | onSet},
			attr{flag: "max-prefix-length", arg: "LENGTH", key: "max_prefixlen", help: "longest prefix length of a subnet (default when created: that of an address)", as: length, on: onCreate | onSet},
			attr{flag: "default-quota", arg: "NUMBER", key: "default_quota", help: "what a project may have of it: IPv4 addresses, or IPv6 prefixes of 64 bits; 0 for no limit",
				as: number(0, 1<<31-1), on: onCreate | onSet},
			attr{flag: "address-scope", arg: "SCOPE", key: "address_scope_id", help: "address scope (name or id)", as: reference(scopeAPI()), on: onCreate | onSet | onList},
			drop{flag: "no-address-scope", key: "address_scope_id", help: "in no address scope", on: onSet},
			toggle{key: "is_default", on: onCreate | onSet | onList,
				yes: "default", yesHelp: "for subnets that ask for the default pool", no: "no-default", noHelp: "not the default pool (default when created)"},
			toggle{key: "shared", on: onCreate | onList,
				yes: "share", yesHelp: "for all projects", no: "no-share", noHelp: "for its project alone (default when created)"},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
			tags(),
		),

		verbs: map[verb]help{
			onCreate: {`Subnets get blocks of its prefixes that do not overlap, whatever their networks.`,
				`  weft subnet pool create --pool-prefix 10.0.0.0/8 --default-prefix-length 26 demo-pool
  weft subnet pool create --pool-prefix fd00::/48 --address-scope demo-scope six`},
			onList:   {`Those of one's project and shared ones; all of them for admins.`, `  weft subnet pool list --long`},
			onShow:   {`By name or id.`, `  weft subnet pool show demo-pool`},
			onSet:    {`Prefixes are added to those that there are.`, `  weft subnet pool set --pool-prefix 172.16.0.0/12 --max-prefix-length 28 demo-pool`},
			onUnset:  {`Of a pool, tags alone can be taken away so.`, `  weft subnet pool unset --tag old demo-pool`},
			onDelete: {`It may have no subnets. Several can be given; what can be deleted is.`, `  weft subnet pool delete demo-pool`},
		},
	}
}
