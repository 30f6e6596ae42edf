package cli

import "weft/internal/client"

func networkAPI() client.Resource {
	return client.Resource{Name: "network", Collection: "networks", Path: "networks", NameKey: "name"}
}

func networkTypes() kind { return oneOf("flat", "geneve", "gre", "local", "vlan", "vxlan") }

func networks() resource {
	external := choose("External", "Internal")
	return resource{
		Resource: networkAPI(), noun: "network", arg: "NETWORK", plural: "networks",
		about: "Networks: layer 2 domains that ports are on",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Name", key: "name"},
			{head: "Status", key: "status", long: true},
			{head: "Project", key: "project_id", long: true},
			{head: "State", key: "admin_state_up", text: upDown, long: true},
			{head: "Shared", key: "shared", long: true},
			{head: "Subnets", key: "subnets", text: sorted},
			{head: "Network Type", key: "provider:network_type", long: true},
			{head: "Router Type", key: "router:external", text: external, long: true},
			{head: "Availability Zones", key: "availability_zones", text: sorted, long: true},
			{head: "Tags", key: "tags", text: sorted, long: true},
		},
		fields: []column{
			{head: "admin_state_up", key: "admin_state_up", text: upDown},
			{head: "availability_zone_hints", key: "availability_zone_hints", text: sorted},
			{head: "availability_zones", key: "availability_zones", text: sorted},
			{head: "created_at", key: "created_at"},
			{head: "description", key: "description"},
			{head: "dns_domain", key: "dns_domain"},
			{head: "id", key: "id"},
			{head: "ipv4_address_scope", key: "ipv4_address_scope"},
			{head: "ipv6_address_scope", key: "ipv6_address_scope"},
			{head: "is_default", key: "is_default"},
			{head: "is_vlan_transparent", key: "vlan_transparent"},
			{head: "mtu", key: "mtu"},
			{head: "name", key: "name"},
			{head: "port_security_enabled", key: "port_security_enabled"},
			{head: "project_id", key: "project_id"},
			{head: "provider:network_type", key: "provider:network_type"},
			{head: "provider:physical_network", key: "provider:physical_network"},
			{head: "provider:segmentation_id", key: "provider:segmentation_id"},
			{head: "qos_policy_id", key: "qos_policy_id"},
			{head: "revision_number", key: "revision_number"},
			{head: "router:external", key: "router:external", text: external},
			{head: "segments", key: "segments"},
			{head: "shared", key: "shared"},
			{head: "status", key: "status"},
			{head: "subnets", key: "subnets", text: sorted},
			{head: "tags", key: "tags", text: sorted},
			{head: "updated_at", key: "updated_at"},
		},

		options: options(
			attr{flag: "name", arg: "NAME", key: "name", help: "name", on: onSet | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: onCreate | onSet},
			toggle{key: "admin_state_up", on: onCreate | onSet | onList,
				yes: "enable", yesHelp: "administrative state up (default when created)", no: "disable", noHelp: "administrative state down: nothing is forwarded"},
			toggle{key: "shared", on: onCreate | onSet | onList,
				yes: "share", yesHelp: "shared with all projects", no: "no-share", noHelp: "not shared"},
			toggle{key: "router:external", on: onCreate | onSet | onList,
				yes: "external", yesHelp: "external: routers may have their gateway there", no: "internal", noHelp: "not external"},
			toggle{key: "is_default", on: onCreate | onSet,
				yes: "default", yesHelp: "the external network that is taken when none is named", no: "no-default", noHelp: "not that one"},
			attr{flag: "mtu", arg: "BYTES", key: "mtu", help: "largest packet of its ports", as: number(0, 1<<16), on: onCreate | onSet},
			toggle{key: "port_security_enabled", on: onCreate | onSet,
				yes: "enable-port-security", yesHelp: "new ports are filtered and checked for spoofing (default when created)",
				no: "disable-port-security", noHelp: "new ports are neither"},
			attr{flag: "provider-network-type", arg: "TYPE", key: "provider:network_type", help: "how it is carried between hosts: flat, geneve, gre, local, vlan or vxlan",
				as: networkTypes(), on: onCreate | onSet | onList},
			attr{flag: "provider-physical-network", arg: "NAME", key: "provider:physical_network", help: "physical network that carries it, of flat and vlan", on: onCreate | onSet | onList},
			attr{flag: "provider-segment", arg: "NUMBER", key: "provider:segmentation_id", help: "VLAN id, GRE key, VXLAN or Geneve network id",
				as: number(0, 1<<32-1), on: onCreate | onSet | onList},
			attr{flag: "dns-domain", arg: "DOMAIN", key: "dns_domain", help: "DNS domain of its ports, with a dot at its end", on: onCreate | onSet},
			list{flag: "availability-zone-hint", arg: "ZONE", key: "availability_zone_hints", help: "zone to serve it from", on: onCreate},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
			attr{flag: "status", arg: "STATUS", key: "status", help: "status: ACTIVE, BUILD, DOWN or ERROR", as: statuses(), on: onList},
			tags(),
		),

		verbs: map[verb]help{
			onCreate: {`Hosts carry it as the server's configuration says, unless
--provider-network-type and --provider-segment choose; only admins may.`,
				`  weft network create demo-net
  weft network create --provider-network-type gre --provider-segment 7 --mtu 1400 gre-net
  weft network create --external --share --provider-network-type flat --provider-physical-network physnet1 ext-net`},
			onList: {`Those of one's project, shared and external ones; all of them for admins.`,
				`  weft network list
  weft network list --external --long
  weft network list --name demo-net -f value -c ID`},
			onShow:  {`By name or id.`, `  weft network show demo-net`},
			onSet:   {`What is not named stays as it is.`, `  weft network set --name other-net --mtu 1400 demo-net`},
			onUnset: {`These are tags; other attributes are changed with set.`, `  weft network unset --tag old demo-net`},
			onDelete: {`Ports other than those of routers and DHCP must be gone before. Several can be given;
what can be deleted is.`, `  weft network delete demo-net other-net`},
		},
	}
}

func statuses() kind { return oneOf("ACTIVE", "BUILD", "DOWN", "ERROR") }
