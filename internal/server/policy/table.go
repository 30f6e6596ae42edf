package policy

// The table: Neutron's default policy, with two differences. A read-only
// principal changes nothing, as newer releases have it. And "create_port" asks
// for a network that the project may use, where Neutron relies on a hook
// (its commit 6ffe5056af).
var table = map[string]rule{
	// Networks.
	"get_network":                           anyOf(admin, service, owner, shared, external),
	"get_network:segments":                  admin,
	"get_network:provider:network_type":     admin,
	"get_network:provider:physical_network": admin,
	"get_network:provider:segmentation_id":  admin,
	"get_network:router:external":           everybody,

	"create_network":                           everybody,
	"create_network:shared":                    admin,
	"create_network:router:external":           admin,
	"create_network:is_default":                admin,
	"create_network:port_security_enabled":     everybody,
	"create_network:segments":                  admin,
	"create_network:provider:network_type":     admin,
	"create_network:provider:physical_network": admin,
	"create_network:provider:segmentation_id":  admin,

	"update_network":                           anyOf(admin, owner),
	"update_network:shared":                    admin,
	"update_network:router:external":           admin,
	"update_network:is_default":                admin,
	"update_network:port_security_enabled":     anyOf(admin, owner),
	"update_network:segments":                  admin,
	"update_network:provider:network_type":     admin,
	"update_network:provider:physical_network": admin,
	"update_network:provider:segmentation_id":  admin,

	"delete_network": anyOf(admin, owner),

	// Subnets. An external network is seen by all, its subnets are not.
	"get_subnet":               anyOf(admin, service, owner, parentOwner, shared),
	"get_subnet:segment_id":    admin,
	"create_subnet":            anyOf(admin, parentOwner),
	"create_subnet:segment_id": admin,
	"update_subnet":            anyOf(admin, owner, parentOwner),
	"update_subnet:segment_id": admin,
	"delete_subnet":            anyOf(admin, owner, parentOwner),

	// Ports.
	"get_port":                     anyOf(admin, service, owner, parentOwner),
	"get_port:binding:host_id":     admin,
	"get_port:binding:profile":     admin,
	"get_port:binding:vif_type":    admin,
	"get_port:binding:vif_details": admin,
	"get_port:binding:vnic_type":   everybody,
	"get_port:resource_request":    admin,

	"create_port":                       anyOf(admin, service, parentOwner, shared),
	"create_port:device_owner":          anyOf(notNetworkDevice, admin, service, parentOwner),
	"create_port:mac_address":           anyOf(admin, service, parentOwner),
	"create_port:fixed_ips":             anyOf(admin, service, parentOwner, shared),
	"create_port:fixed_ips:ip_address":  anyOf(admin, service, parentOwner),
	"create_port:fixed_ips:subnet_id":   anyOf(admin, service, parentOwner, shared),
	"create_port:port_security_enabled": anyOf(admin, service, parentOwner),
	"create_port:binding:host_id":       anyOf(admin, service),
	"create_port:binding:profile":       anyOf(admin, service),
	"create_port:binding:vnic_type":     everybody,
	"create_port:allowed_address_pairs": anyOf(admin, parentOwner),
	"create_port:data_plane_status":     admin,

	"update_port":                       anyOf(admin, service, owner),
	"update_port:device_owner":          anyOf(notNetworkDevice, admin, service, parentOwner),
	"update_port:mac_address":           anyOf(admin, service),
	"update_port:fixed_ips":             anyOf(admin, service, parentOwner, shared),
	"update_port:fixed_ips:ip_address":  anyOf(admin, service, parentOwner),
	"update_port:fixed_ips:subnet_id":   anyOf(admin, service, parentOwner, shared),
	"update_port:port_security_enabled": anyOf(admin, service, parentOwner),
	"update_port:binding:host_id":       anyOf(admin, service),
	"update_port:binding:profile":       anyOf(admin, service),
	"update_port:binding:vnic_type":     anyOf(admin, service, owner),
	"update_port:allowed_address_pairs": anyOf(admin, parentOwner),
	"update_port:data_plane_status":     admin,

	"delete_port": anyOf(admin, service, owner, parentOwner),

	// Security groups and their rules.
	"get_security_group":         anyOf(admin, service, owner, shared),
	"create_security_group":      everybody,
	"update_security_group":      anyOf(admin, owner),
	"delete_security_group":      anyOf(admin, owner),
	"get_security_group_rule":    anyOf(admin, service, owner, parentOwner, shared),
	"create_security_group_rule": anyOf(admin, owner),
	"update_security_group_rule": anyOf(admin, owner),
	"delete_security_group_rule": anyOf(admin, owner, parentOwner),

	// Routers. What others' routers cost, an admin decides: gateway addresses of one's own choice,
	// and untranslated addresses on an external network.
	"get_router":             anyOf(admin, owner),
	"get_router:distributed": admin,
	"get_router:ha":          admin,

	"create_router":                                          everybody,
	"create_router:distributed":                              admin,
	"create_router:ha":                                       admin,
	"create_router:external_gateway_info":                    anyOf(admin, owner),
	"create_router:external_gateway_info:network_id":         anyOf(admin, owner),
	"create_router:external_gateway_info:enable_snat":        admin,
	"create_router:external_gateway_info:external_fixed_ips": admin,

	"update_router":                                          anyOf(admin, owner),
	"update_router:distributed":                              admin,
	"update_router:ha":                                       admin,
	"update_router:external_gateway_info":                    anyOf(admin, owner),
	"update_router:external_gateway_info:network_id":         anyOf(admin, owner),
	"update_router:external_gateway_info:enable_snat":        admin,
	"update_router:external_gateway_info:external_fixed_ips": admin,

	"delete_router":           anyOf(admin, owner),
	"add_router_interface":    anyOf(admin, owner),
	"remove_router_interface": anyOf(admin, owner),
	"add_extraroutes":         anyOf(admin, owner),
	"remove_extraroutes":      anyOf(admin, owner),

	// Floating IPs and their port forwardings.
	"get_floatingip":                        anyOf(admin, owner),
	"create_floatingip":                     everybody,
	"create_floatingip:floating_ip_address": admin,
	"update_floatingip":                     anyOf(admin, owner),
	"delete_floatingip":                     anyOf(admin, owner),
	"get_floatingip_port_forwarding":        anyOf(admin, parentOwner),
	"create_floatingip_port_forwarding":     anyOf(admin, parentOwner),
	"update_floatingip_port_forwarding":     anyOf(admin, parentOwner),
	"delete_floatingip_port_forwarding":     anyOf(admin, parentOwner),
	"get_floatingips_tags":                  anyOf(admin, owner),
	"update_floatingips_tags":               anyOf(admin, owner),
	"delete_floatingips_tags":               anyOf(admin, owner),

	// Address scopes and subnet pools. What is for all projects, an admin decides.
	"get_address_scope":            anyOf(admin, owner, shared),
	"create_address_scope":         everybody,
	"create_address_scope:shared":  admin,
	"update_address_scope":         anyOf(admin, owner),
	"update_address_scope:shared":  admin,
	"delete_address_scope":         anyOf(admin, owner),
	"get_subnetpool":               anyOf(admin, owner, shared),
	"create_subnetpool":            everybody,
	"create_subnetpool:shared":     admin,
	"create_subnetpool:is_default": admin,
	"update_subnetpool":            anyOf(admin, owner),
	"update_subnetpool:is_default": admin,
	"delete_subnetpool":            anyOf(admin, owner),
	"add_prefixes":                 anyOf(admin, owner),
	"remove_prefixes":              anyOf(admin, owner),
	"get_subnetpools_tags":         anyOf(admin, owner, shared),
	"update_subnetpools_tags":      anyOf(admin, owner),
	"delete_subnetpools_tags":      anyOf(admin, owner),

	// Address groups.
	"get_address_group":    anyOf(admin, owner),
	"create_address_group": everybody,
	"update_address_group": anyOf(admin, owner),
	"delete_address_group": anyOf(admin, owner),
	"add_addresses":        anyOf(admin, owner),
	"remove_addresses":     anyOf(admin, owner),

	// Which hosts serve routers and networks.
	"get_l3-agents":       admin,
	"get_l3-routers":      admin,
	"create_l3-router":    admin,
	"delete_l3-router":    admin,
	"get_dhcp-agents":     admin,
	"get_dhcp-networks":   admin,
	"create_dhcp-network": admin,
	"delete_dhcp-network": admin,

	// Agents.
	"get_agent":    admin,
	"update_agent": admin,
	"delete_agent": admin,

	// Quotas: a project's limits are its own to see.
	"get_quota":    anyOf(admin, owner),
	"list_quotas":  admin,
	"update_quota": admin,
	"delete_quota": admin,

	// Tags follow their object: who may change it may tag it.
	"get_networks_tags":                anyOf(admin, service, owner, shared, external),
	"update_networks_tags":             anyOf(admin, owner),
	"delete_networks_tags":             anyOf(admin, owner),
	"get_subnets_tags":                 anyOf(admin, service, owner, parentOwner, shared),
	"update_subnets_tags":              anyOf(admin, owner, parentOwner),
	"delete_subnets_tags":              anyOf(admin, owner, parentOwner),
	"get_ports_tags":                   anyOf(admin, service, owner, parentOwner),
	"update_ports_tags":                anyOf(admin, service, owner),
	"delete_ports_tags":                anyOf(admin, service, owner),
	"get_security-groups_tags":         anyOf(admin, service, owner, shared),
	"update_security-groups_tags":      anyOf(admin, owner),
	"delete_security-groups_tags":      anyOf(admin, owner),
	"get_security-group-rules_tags":    anyOf(admin, service, owner, parentOwner, shared),
	"update_security-group-rules_tags": anyOf(admin, owner),
	"delete_security-group-rules_tags": anyOf(admin, owner),

	"get_routers_tags":    anyOf(admin, owner),
	"update_routers_tags": anyOf(admin, owner),
	"delete_routers_tags": anyOf(admin, owner),

	// Creating for, or moving to, another project.
	"set_project_id": anyOf(admin, service),
}
