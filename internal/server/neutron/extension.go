package neutron

import (
	"net/http"

	"weft/internal/fault"
)

// extension is one entry of the list that clients look for features in. Alias,
// name and date are those that clients know from Neutron.
type extension struct{ alias, name, description, updated string }

// extensions returns what is served; an alias is added in the change that makes it
// work, never before. The order is that of the aliases.
func extensions() []extension {
	return []extension{
		{"address-group", "Address group", "Sets of addresses that security group rules refer to.", "2020-07-15T10:00:00-00:00"},
		{"address-scope", "Address scope", "Spaces of addresses that routers need not translate between.", "2015-07-26T10:00:00-00:00"},
		{"agent", "agent", "Agents of hosts: list, show, switch off, delete.", "2013-02-03T10:00:00-00:00"},
		{"allowed-address-pairs", "Allowed Address Pairs", "Further addresses that a port may use.", "2013-07-23T10:00:00-00:00"},
		{"availability_zone", "Availability Zone", "Zones that hosts are in.", "2015-01-01T10:00:00-00:00"},
		{"binding", "Port Binding", "Where a port is plugged, and how.", "2014-02-03T10:00:00-00:00"},
		{"data-plane-status", "Port data plane status extension", "What others know of the state of a port.", "2017-01-24T10:00:00-00:00"},
		{"default-subnetpools", "Default Subnetpools", "Subnet pools for subnets that ask for the default.", "2016-02-18T18:00:00-00:00"},
		{"dhcp_agent_scheduler", "DHCP Agent Scheduler", "Which hosts answer DHCP on a network.", "2013-02-07T10:00:00-00:00"},
		{"dns-domain-ports", "dns_domain for ports", "A DNS domain of a port.", "2017-04-24T10:00:00-00:00"},
		{"dns-integration", "DNS Integration", "DNS names of ports, and domains of networks.", "2015-08-15T18:00:00-00:00"},
		{"dvr", "Distributed Virtual Router", "Routers whose work is done on the hosts of their ports.", "2014-06-1T10:00:00-00:00"},
		{"empty-string-filtering", "Empty String Filtering Extension", "Lists filtered by an empty value.", "2018-05-01T10:00:00-00:00"},
		{"expose-port-forwarding-in-fip", "Expose Floating IP port forwardings", "Port forwardings shown with their floating IP.", "2018-06-28T16:00:00-00:00"},
		{"ext-gw-mode", "Neutron L3 Configurable external gateway mode", "Whether a router translates source addresses.", "2013-03-28T10:00:00-00:00"},
		{"external-net", "Neutron external network", "Networks that lead out of the cloud.", "2013-01-14T10:00:00-00:00"},
		{"extra_dhcp_opt", "Neutron Extra DHCP options", "Further DHCP options of a port.", "2013-03-17T12:00:00-00:00"},
		{"extraroute", "Neutron Extra Route", "Further routes of a router.", "2013-02-01T10:00:00-00:00"},
		{"extraroute-atomic", "Atomically add/remove extra routes", "Routes of a router added and removed one by one.", "2019-07-10T00:00:00+00:00"},
		{"filter-validation", "Filter parameters validation", "Unknown filters are refused.", "2018-07-04T10:00:00-00:00"},
		{"fip-port-details", "Floating IP Port Details Extension", "The port of a floating IP shown with it.", "2018-04-09T10:00:00-00:00"},
		{"floating-ip-port-forwarding", "Floating IP Port Forwarding", "Ports of a floating IP forwarded to ports of guests.", "2018-01-19T10:00:00-00:00"},
		{"floating-ip-port-forwarding-description", "Floating IP Port Forwarding new attribute description", "Descriptions of port forwardings.", "2019-11-01T10:00:00-00:00"},
		{"floating-ip-port-forwarding-detail", "Floating IP port forwarding detail", "Id and port of port forwardings shown with their floating IP.", "2022-05-06T10:00:00-00:00"},
		{"floating-ip-port-forwarding-port-ranges", "Floating IP Port Forwarding support port ranges", "Ranges of ports forwarded.", "2020-07-01T10:00:00-00:00"},
		{"floatingip-pools", "Floating IP Pools Extension", "The subnets that floating IPs are taken from.", "2018-03-21T10:00:00-00:00"},
		{"ip-substring-filtering", "IP address substring filtering", "Ports filtered by a part of an address.", "2017-11-28T09:00:00-00:00"},
		{"ip_allocation", "IP Allocation", "When a port gets its addresses.", "2016-06-10T23:00:00-00:00"},
		{"l2_adjacency", "L2 Adjacency", "Whether a network is one layer 2 domain.", "2016-04-12T16:00:00-00:00"},
		{"l3-ha", "HA Router extension", "Routers that several gateway hosts serve.", "2014-04-26T00:00:00-00:00"},
		{"l3-port-ip-change-not-allowed", "Prevent L3 router ports IP address change extension", "Addresses of routers' ports are changed by the router only.", "2018-10-09T10:00:00-00:00"},
		{"l3_agent_scheduler", "L3 Agent Scheduler", "Which hosts serve a router.", "2013-02-07T10:00:00-00:00"},
		{"multi-provider", "Multi Provider Network", "Networks of several segments.", "2013-06-27T10:00:00-00:00"},
		{"net-mtu", "Network MTU", "The MTU of a network.", "2015-03-25T10:00:00-00:00"},
		{"net-mtu-writable", "Network MTU (writable)", "The MTU of a network, given by its owner.", "2017-07-12T00:00:00-00:00"},
		{"network-ip-availability", "Network IP Availability", "How many addresses of a network are in use.", "2015-09-24T00:00:00-00:00"},
		{"network_availability_zone", "Network Availability Zone", "Zones that a network asks for.", "2015-01-01T10:00:00-00:00"},
		{"pagination", "Pagination support", "Lists in pages.", "2016-06-12T00:00:00-00:00"},
		{"port-device-profile", "Port device profile", "The device profile of a port.", "2020-12-17T10:00:00-00:00"},
		{"port-mac-address-regenerate", "Neutron Port MAC address regenerate", "A new MAC address for a port on request.", "2018-05-03T10:00:00-00:00"},
		{"port-numa-affinity-policy", "Port NUMA affinity policy", "How a port is placed near its guest.", "2020-07-08T10:00:00-00:00"},
		{"port-security", "Port Security", "Anti-spoofing and filtering, switched per port and network.", "2012-07-23T10:00:00-00:00"},
		{"port-security-groups-filtering", "Port filtering on security groups", "Ports filtered by security group.", "2018-01-09T09:00:00-00:00"},
		{"project-id", "project_id field enabled", "Owners are called project_id, too.", "2016-09-09T09:09:09-09:09"},
		{"provider", "Provider Network", "How a network is carried between hosts.", "2012-09-07T10:00:00-00:00"},
		{"quota-check-limit", "Quota engine limit check", "Limits below what is used are refused on request.", "2021-09-08T16:00:00-00:00"},
		{"quota_details", "Quota details management support", "Limits and what is used of them.", "2017-02-10T10:00:00-00:00"},
		{"quotas", "Quota management support", "Limits of projects.", "2012-07-29T10:00:00-00:00"},
		{"revision-if-match", "If-Match constraints based on revision_number", "Changes on condition of a revision.", "2016-12-11T00:00:00-00:00"},
		{"router", "Neutron L3 Router", "Routers between subnets, and to external networks.", "2012-07-20T10:00:00-00:00"},
		{"router-admin-state-down-before-update", "Enforce Router's Admin State Down Before Update Extension", "A router changes its kind only while it is down.", "2019-07-02T15:56:00"},
		{"router_availability_zone", "Router Availability Zone", "Zones that a router asks for.", "2015-01-01T10:00:00-00:00"},
		{"security-group", "security-group", "Security groups and their rules.", "2012-10-05T10:00:00-00:00"},
		{"security-groups-normalized-cidr", "Normalized CIDR field for security group rules", "The network that a rule's prefix means.", "2020-07-28T10:00:00-00:00"},
		{"security-groups-remote-address-group", "Remote address group id field for security group rules", "Rules about the addresses of an address group.", "2020-08-25T10:00:00-00:00"},
		{"security-groups-shared-filtering", "Security group filtering on the shared field", "Security groups filtered by whether they are shared.", "2021-10-05T09:00:00-00:00"},
		{"sorting", "Sorting support", "Lists in order of given attributes.", "2016-06-12T00:00:00-00:00"},
		{"standard-attr-description", "standard-attr-description", "Descriptions of objects.", "2016-02-10T10:00:00-00:00"},
		{"standard-attr-revisions", "Resource revision numbers", "Revision numbers of objects.", "2016-04-11T10:00:00-00:00"},
		{"standard-attr-tag", "Tag support for resources with standard attribute: port, subnet, subnetpool, network, security_group, router, floatingip, policy, trunk, network_segment_range", "Tags on objects.", "2017-01-01T00:00:00-00:00"},
		{"standard-attr-timestamp", "Resource timestamps", "Times of creation and of the last change.", "2016-09-12T10:00:00-00:00"},
		{"stateful-security-group", "Stateful security group", "Security groups with and without connection tracking.", "2019-11-26T09:00:00-00:00"},
		{"subnet-dns-publish-fixed-ip", "Subnet DNS publish fixed IP", "Whether addresses of a subnet are published in DNS.", "2019-05-24T10:00:00-00:00"},
		{"subnet-service-types", "Subnet service types", "Subnets for certain kinds of devices.", "2016-03-15T18:00:00-00:00"},
		{"subnet_allocation", "Subnet Allocation", "Subnets whose addresses come from a pool.", "2015-03-30T10:00:00-00:00"},
		{"subnetpool-prefix-ops", "Subnet Pool Prefix Operations", "Prefixes of a subnet pool added and removed one by one.", "2019-02-08T10:00:00-00:00"},
		{"uplink-status-propagation", "Uplink status propagation extension", "Whether a port follows the state of its uplink.", "2018-05-31T18:00:00-00:00"},
	}
}

func (e extension) append(b []byte) []byte {
	b = append(b, `{"alias":`...)
	b = appendString(b, e.alias)
	b = append(b, `,"name":`...)
	b = appendString(b, e.name)
	b = append(b, `,"description":`...)
	b = appendString(b, e.description)
	b = append(b, `,"updated":`...)
	b = appendString(b, e.updated)
	return append(b, `,"links":[]}`...)
}

func listExtensions(c *call) error {
	c.begin("extensions")
	c.body = appendList(c.body, extensions(), func(b []byte, e extension) []byte { return e.append(b) })
	c.end(http.StatusOK)
	return nil
}

func showExtension(c *call, alias string) error {
	for _, e := range extensions() {
		if e.alias == alias {
			c.begin("extension")
			c.body = e.append(c.body)
			c.end(http.StatusOK)
			return nil
		}
	}
	return fault.New(fault.NotFound, "ExtensionNotFound", "Extension with alias %s does not exist", alias)
}
