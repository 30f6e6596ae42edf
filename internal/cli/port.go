package cli

import (
	"context"

	"weft/internal/client"
)

func portAPI() client.Resource {
	return client.Resource{Name: "port", Collection: "ports", Path: "ports", NameKey: "name"}
}

func ports() resource {
	const all = onCreate | onSet
	fixedIP := []key{{name: "subnet", attribute: "subnet_id", as: reference(subnetAPI())}, {name: "ip-address", attribute: "ip_address"}}
	return resource{
		Resource: portAPI(), noun: "port", arg: "PORT", plural: "ports",
		about: "Ports: where VMs and other devices are plugged into a network",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Name", key: "name"},
			{head: "MAC Address", key: "mac_address"},
			{head: "Fixed IP Addresses", key: "fixed_ips", text: dicts},
			{head: "Status", key: "status"},
			{head: "Security Groups", key: "security_groups", text: sorted, long: true},
			{head: "Device Owner", key: "device_owner", long: true},
			{head: "Tags", key: "tags", text: sorted, long: true},
		},
		fields: []column{
			{head: "admin_state_up", key: "admin_state_up", text: upDown},
			{head: "allowed_address_pairs", key: "allowed_address_pairs", text: dicts},
			{head: "binding_host_id", key: "binding:host_id"},
			{head: "binding_profile", key: "binding:profile", text: dict},
			{head: "binding_vif_details", key: "binding:vif_details", text: dict},
			{head: "binding_vif_type", key: "binding:vif_type"},
			{head: "binding_vnic_type", key: "binding:vnic_type"},
			{head: "created_at", key: "created_at"},
			{head: "data_plane_status", key: "data_plane_status"},
			{head: "description", key: "description"},
			{head: "device_id", key: "device_id"},
			{head: "device_owner", key: "device_owner"},
			{head: "device_profile", key: "device_profile"},
			{head: "dns_assignment", key: "dns_assignment", text: dicts},
			{head: "dns_domain", key: "dns_domain"},
			{head: "dns_name", key: "dns_name"},
			{head: "extra_dhcp_opts", key: "extra_dhcp_opts", text: dicts},
			{head: "fixed_ips", key: "fixed_ips", text: dicts},
			{head: "id", key: "id"},
			{head: "ip_allocation", key: "ip_allocation"},
			{head: "mac_address", key: "mac_address"},
			{head: "name", key: "name"},
			{head: "network_id", key: "network_id"},
			{head: "numa_affinity_policy", key: "numa_affinity_policy"},
			{head: "port_security_enabled", key: "port_security_enabled"},
			{head: "project_id", key: "project_id"},
			{head: "propagate_uplink_status", key: "propagate_uplink_status"},
			{head: "qos_network_policy_id", key: "qos_network_policy_id"},
			{head: "qos_policy_id", key: "qos_policy_id"},
			{head: "resource_request", key: "resource_request"},
			{head: "revision_number", key: "revision_number"},
			{head: "security_group_ids", key: "security_groups", text: sorted},
			{head: "status", key: "status"},
			{head: "tags", key: "tags", text: sorted},
			{head: "trunk_details", key: "trunk_details"},
			{head: "updated_at", key: "updated_at"},
		},

		options: options(
			attr{flag: "network", arg: "NETWORK", key: "network_id", help: "network that it is on (name or id)", as: reference(networkAPI()), on: onCreate | onList, needed: true},
			attr{flag: "name", arg: "NAME", key: "name", help: "name", on: onSet | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: all},
			list{flag: "fixed-ip", arg: "subnet=SUBNET,ip-address=ADDRESS", key: "fixed_ips", help: "address, or subnet (name or id) to take one from", as: object(false, fixedIP...),
				on: all | onUnset, clear: "no-fixed-ip", clearOn: all, clearHelp: "no addresses; with --fixed-ip in set, those given replace them"},
			list{flag: "fixed-ip", arg: "subnet=SUBNET,ip-address=ADDRESS,ip-substring=TEXT", key: "fixed_ips", help: "address, subnet (name or id), or part of an address",
				as: object(false, append(fixedIP, key{name: "ip-substring", attribute: "ip_address_substr"})...), on: onList},
			attr{flag: "mac-address", arg: "MAC", key: "mac_address", help: "MAC address", on: all | onList},
			attr{flag: "device", arg: "ID", key: "device_id", help: "id of the device that it is for", on: all},
			attr{flag: "device-id", arg: "ID", key: "device_id", help: "id of the device that it is for", on: onList},
			attr{flag: "device-owner", arg: "OWNER", key: "device_owner", help: "what kind of device that is, as compute:nova", on: all | onList},
			attr{flag: "host", arg: "HOST", key: "binding:host_id", help: "host that it is plugged on", on: all | onList},
			attr{flag: "vnic-type", arg: "TYPE", key: "binding:vnic_type", help: "how it is plugged (default when created: normal)", as: oneOf("normal", "direct", "macvtap", "baremetal",
				"direct-physical", "virtio-forwarder", "smart-nic", "vdpa", "accelerator-direct", "accelerator-direct-physical", "remote-managed"), on: all},
			bag{flag: "binding-profile", arg: "KEY=VALUE|JSON", key: "binding:profile", help: "what the one who plugs it is told",
				on: all | onUnset, clear: "no-binding-profile", clearHelp: "nothing; with --binding-profile, what is given replaces it"},
			toggle{key: "admin_state_up", on: all, yes: "enable", yesHelp: "administrative state up (default when created)", no: "disable", noHelp: "administrative state down: nothing passes"},
			list{flag: "security-group", arg: "GROUP", key: "security_groups", help: "security group (name or id)", as: reference(securityGroupAPI()),
				on: all | onUnset | onList, clear: "no-security-group", clearOn: all, clearHelp: "no security groups; with --security-group in set, those given replace them"},
			toggle{key: "port_security_enabled", on: all, yes: "enable-port-security", yesHelp: "filtered, and checked for spoofing (default when created)",
				no: "disable-port-security", noHelp: "neither; it may have no security groups then"},
			list{flag: "allowed-address", arg: "ip-address=CIDR[,mac-address=MAC]", key: "allowed_address_pairs", help: "further address that it may use",
				as: object(false, key{name: "ip-address", attribute: "ip_address", needed: true}, key{name: "mac-address", attribute: "mac_address"}),
				on: all | onUnset, clear: "no-allowed-address", clearOn: onSet, clearHelp: "none; with --allowed-address, those given replace them"},
			list{flag: "extra-dhcp-option", arg: "name=NAME[,value=VALUE][,ip-version=4|6]", key: "extra_dhcp_opts", help: "DHCP option; set without a value removes it",
				as: dhcpOption(), on: all, replace: true},
			attr{flag: "dns-name", arg: "NAME", key: "dns_name", help: "host name in DNS", on: all},
			attr{flag: "dns-domain", arg: "DOMAIN", key: "dns_domain", help: "DNS domain, with a dot at its end", on: all},
			toggle{key: "propagate_uplink_status", on: onCreate, yes: "enable-uplink-status-propagation", yesHelp: "it follows the state of its uplink (default)",
				no: "disable-uplink-status-propagation", noHelp: "it does not"},
			numaPolicy(),
			attr{flag: "device-profile", arg: "PROFILE", key: "device_profile", help: "profile of the accelerator behind it", on: onCreate},
			attr{flag: "data-plane-status", arg: "STATUS", key: "data_plane_status", help: "what others know of its state: ACTIVE or DOWN", as: oneOf("ACTIVE", "DOWN"), on: onSet},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
			attr{flag: "status", arg: "STATUS", key: "status", help: "status: ACTIVE, BUILD, DOWN or ERROR", as: statuses(), on: onList},
			drop{flag: "host", key: "binding:host_id", help: "the binding to a host"},
			drop{flag: "device", key: "device_id", help: "the device", none: ""},
			drop{flag: "device-owner", key: "device_owner", help: "the device's kind", none: ""},
			drop{flag: "data-plane-status", key: "data_plane_status", help: "the data plane status"},
			drop{flag: "numa-policy", key: "numa_affinity_policy", help: "the NUMA policy"},
			tags(),
		),

		verbs: map[verb]help{
			onCreate: {`It gets an address of each kind that the network's subnets have, the default security
group of its project, and a MAC address, unless options say otherwise. A port that is bound to a
host (--host) becomes ACTIVE when it is plugged there.`,
				`  weft port create --network demo-net port1
  weft port create --network demo-net --fixed-ip subnet=demo-subnet,ip-address=10.0.0.5 --security-group web port2
  weft port create --network demo-net --host compute1 --device-owner compute:nova \
      --allowed-address ip-address=10.0.0.100 --extra-dhcp-option name=domain-name,value=example.org port3`},
			onList: {`Those of one's project and on its networks; all of them for admins.`,
				`  weft port list --network demo-net --long
  weft port list --host compute1 --status DOWN
  weft port list --fixed-ip ip-address=10.0.0.5 -f value -c ID`},
			onShow: {`By name or id.`, `  weft port show port1
  weft port show -f json -c fixed_ips port1`},
			onSet: {`Addresses, security groups, allowed addresses and binding profile are added to those that
there are.`,
				`  weft port set --security-group web --allowed-address ip-address=10.0.0.101 port1
  weft port set --no-security-group --disable-port-security port1
  weft port set --extra-dhcp-option name=domain-name port1`},
			onUnset: {`What is named is taken away; an address or pair that is named in part is one that has
this part.`,
				`  weft port unset --security-group web --fixed-ip ip-address=10.0.0.5 port1
  weft port unset --host port1`},
			onDelete: {`Several can be given; what can be deleted is.`, `  weft port delete port1 port2`},
		},
	}
}

// dhcpOption reads an option; one without a value is the API's null, which removes the option.
func dhcpOption() kind {
	k := object(true, key{name: "name", attribute: "opt_name", needed: true}, key{name: "value", attribute: "opt_value"},
		key{name: "ip-version", attribute: "ip_version", as: oneNumberOf("4", "6")})
	read := k.value
	k.value = func(ctx context.Context, r *request, text string) (any, error) {
		v, err := read(ctx, r, text)
		if m, ok := v.(map[string]any); ok {
			if _, some := m["opt_value"]; !some {
				m["opt_value"] = nil
			}
		}
		return v, err
	}
	return k
}

// numaPolicy is one attribute with a flag for each value, as the openstack command has it.
func numaPolicy() option {
	return option{onCreate | onSet, func(f *flags) addition {
		values := []string{"required", "preferred", "legacy"}
		given := make([]*bool, len(values))
		names := make([]string, len(values))
		for i, v := range values {
			names[i] = "numa-policy-" + v
			given[i] = f.yes(names[i], "NUMA affinity: "+v)
		}
		f.exclusive(names...)
		return func(_ context.Context, r *request) error {
			for i, v := range values {
				if *given[i] {
					r.body["numa_affinity_policy"] = v
				}
			}
			return nil
		}
	}}
}
