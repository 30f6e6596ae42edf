package cli

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

func floatingIPAPI() client.Resource {
	return client.Resource{Name: "floatingip", Collection: "floatingips", Path: "floatingips", NameKey: "floating_ip_address"}
}

func floatingIPs() resource {
	return resource{
		Resource: floatingIPAPI(), noun: "floating ip", arg: "FLOATING_IP", plural: "floating IPs",
		about:  "Floating IPs: addresses of external networks that stand for ports",
		create: operand{arg: "NETWORK", key: "floating_network_id", as: reference(networkAPI())},

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Floating IP Address", key: "floating_ip_address"},
			{head: "Fixed IP Address", key: "fixed_ip_address"},
			{head: "Port", key: "port_id"},
			{head: "Floating Network", key: "floating_network_id"},
			{head: "Project", key: "project_id"},
			{head: "Router", key: "router_id", long: true},
			{head: "Status", key: "status", long: true},
			{head: "Description", key: "description", long: true},
			{head: "Tags", key: "tags", text: sorted, long: true},
			{head: "DNS Name", key: "dns_name", long: true},
			{head: "DNS Domain", key: "dns_domain", long: true},
		},
		fields: []column{
			{head: "created_at", key: "created_at"},
			{head: "description", key: "description"},
			{head: "dns_domain", key: "dns_domain"},
			{head: "dns_name", key: "dns_name"},
			{head: "fixed_ip_address", key: "fixed_ip_address"},
			{head: "floating_ip_address", key: "floating_ip_address"},
			{head: "floating_network_id", key: "floating_network_id"},
			{head: "id", key: "id"},
			{head: "port_details", key: "port_details", text: dict},
			{head: "port_forwardings", key: "port_forwardings", text: dicts},
			{head: "port_id", key: "port_id"},
			{head: "project_id", key: "project_id"},
			{head: "qos_policy_id", key: "qos_policy_id"},
			{head: "revision_number", key: "revision_number"},
			{head: "router_id", key: "router_id"},
			{head: "status", key: "status"},
			{head: "tags", key: "tags", text: sorted},
			{head: "updated_at", key: "updated_at"},
		},

		options: options(
			attr{flag: "port", arg: "PORT", key: "port_id", help: "port that it stands for (name or id)", as: reference(portAPI()), on: onCreate | onSet},
			attr{flag: "fixed-ip-address", arg: "ADDRESS", key: "fixed_ip_address", help: "which address of the port", on: onCreate | onSet | onList},
			attr{flag: "subnet", arg: "SUBNET", key: "subnet_id", help: "subnet to take it from (name or id)", as: reference(subnetAPI()), on: onCreate},
			attr{flag: "floating-ip-address", arg: "ADDRESS", key: "floating_ip_address", help: "the address itself; only admins may choose", on: onCreate | onList},
			attr{flag: "dns-name", arg: "NAME", key: "dns_name", help: "name in DNS", on: onCreate},
			attr{flag: "dns-domain", arg: "DOMAIN", key: "dns_domain", help: "DNS domain, with a dot at its end", on: onCreate},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: onCreate | onSet},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
			attr{flag: "network", arg: "NETWORK", key: "floating_network_id", help: "external network (name or id)", as: reference(networkAPI()), on: onList},
			attr{flag: "status", arg: "STATUS", key: "status", help: "status: ACTIVE or DOWN", as: oneOf("ACTIVE", "DOWN"), on: onList},
			drop{flag: "port", key: "port_id", help: "the port"},
			tags(),
		),

		verbs: map[verb]help{
			onCreate: {`A router must lead from the port's subnet to the network.`,
				`  weft floating ip create ext-net
  weft floating ip create --port port1 ext-net`},
			onList:   {`Those of one's project; all of them for admins.`, `  weft floating ip list --status ACTIVE --long`},
			onShow:   {`By address or id.`, `  weft floating ip show 172.25.0.50`},
			onSet:    {`What is not named stays as it is.`, `  weft floating ip set --port port1 172.25.0.50`},
			onUnset:  {`Without a port it leads nowhere.`, `  weft floating ip unset --port 172.25.0.50`},
			onDelete: {`By address or id. Several can be given; what can be deleted is.`, `  weft floating ip delete 172.25.0.50`},
		},
	}
}

func floatingPools() resource {
	return resource{
		Resource: client.Resource{Name: "floatingip_pool", Collection: "floatingip_pools", Path: "floatingip_pools"},
		noun:     "floating ip pool", arg: "POOL", plural: "floating IP pools",
		about: "Floating IP pools: the subnets that floating IPs are taken from",
		columns: []column{
			{head: "Network", key: "network_id"},
			{head: "Subnet", key: "subnet_id"},
			{head: "Subnet Name", key: "subnet_name"},
			{head: "CIDR", key: "cidr"},
		},
		verbs: map[verb]help{onList: {`Everybody may have floating IPs of them.`, `  weft floating ip pool list`}},
	}
}

// forwardingAPI is the port forwardings of one floating IP.
func forwardingAPI(floating string) client.Resource {
	return client.Resource{Name: "port_forwarding", Collection: "port_forwardings", Path: "floatingips/" + floating + "/port_forwardings"}
}

// forwardings declares port forwardings as far as they are like others: their path has their floating IP in it.
func forwardings() resource {
	const all = onCreate | onSet
	return resource{
		Resource: forwardingAPI(""), noun: "floating ip port forwarding", plural: "port forwardings",
		columns: []column{
			{head: "ID", key: "id"},
			{head: "Internal Port ID", key: "internal_port_id"},
			{head: "Internal IP Address", key: "internal_ip_address"},
			{head: "Internal Port", key: "internal_port_range"},
			{head: "External Port", key: "external_port_range"},
			{head: "Protocol", key: "protocol"},
			{head: "Description", key: "description"},
		},
		fields: []column{
			{head: "description", key: "description"},
			{head: "external_port", key: "external_port"},
			{head: "external_port_range", key: "external_port_range"},
			{head: "id", key: "id"},
			{head: "internal_ip_address", key: "internal_ip_address"},
			{head: "internal_port", key: "internal_port"},
			{head: "internal_port_id", key: "internal_port_id"},
			{head: "internal_port_range", key: "internal_port_range"},
			{head: "protocol", key: "protocol"},
		},
		options: options(
			attr{flag: "port", arg: "PORT", key: "internal_port_id", help: "port that it leads to (name or id)", as: reference(portAPI()), on: all, needed: true},
			attr{flag: "protocol", arg: "PROTOCOL", key: "protocol", help: "protocol: tcp, udp, sctp, dccp or icmp", as: oneOf("tcp", "udp", "sctp", "dccp", "icmp"), on: all | onList, needed: true},
			attr{flag: "internal-ip-address", arg: "ADDRESS", key: "internal_ip_address", help: "address of the port (default when created: its first)", on: all},
			attr{flag: "internal-protocol-port", arg: "PORTS", key: "internal_port_range", help: "port or FIRST:LAST there", on: all},
			attr{flag: "external-protocol-port", arg: "PORTS", key: "external_port_range", help: "port or FIRST:LAST of the floating IP", on: all | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: all},
		),
	}
}

// forwardingCommands are the commands of port forwardings: each begins with a floating IP.
func (a app) forwardingCommands() []*cobra.Command {
	r := forwardings()
	const base = "  weft floating ip port forwarding "
	within := func(v verb, use, short string, h help, most int, out func(*flags) *output,
		do func(ctx context.Context, q *request, add addition, of client.Resource, args []string, out *output) error) *cobra.Command {
		cmd, f, add := a.command(r, v, use, short)
		var print *output
		if out != nil {
			print = out(f)
		}
		if v == onSet {
			f.something(groupAttributes)
		}
		names := floatingIPAPI()
		a.finish(f, arguments(most, most, []string{"FLOATING_IP", "FLOATING_IP and ID"}[most-1]), &names, func(ctx context.Context, api *client.Client, args []string) error {
			floating, err := api.Find(ctx, names, args[0])
			if err != nil {
				return err
			}
			q := &request{api: api, verb: v, body: client.Object{}, query: url.Values{}}
			return do(ctx, q, add, forwardingAPI(floating.ID()), args[1:], print)
		})
		h.on(cmd)
		return cmd
	}
	one := func(f *flags) *output { return outputFlags(f, false) }
	many := func(f *flags) *output { return outputFlags(f, true) }
	var create, show, list *cobra.Command
	create = within(onCreate, "create FLOATING_IP", "Create a port forwarding", help{"The floating IP must not stand for a port as a whole.",
		base + "create --port port1 --protocol tcp --external-protocol-port 8080 --internal-protocol-port 80 172.25.0.50"}, 1, one,
		func(ctx context.Context, q *request, add addition, of client.Resource, _ []string, out *output) error {
			if err := add(ctx, q); err != nil {
				return err
			}
			made, err := q.api.Create(ctx, of, q.body)
			if err != nil {
				return err
			}
			return out.object(create.OutOrStdout(), r.fields, made)
		})
	list = within(onList, "list FLOATING_IP", "List port forwardings", help{"Those of one floating IP.", base + "list --protocol tcp 172.25.0.50"}, 1, many,
		func(ctx context.Context, q *request, add addition, of client.Resource, _ []string, out *output) error {
			if err := add(ctx, q); err != nil {
				return err
			}
			var objects []client.Object
			for o, err := range q.api.List(ctx, of, q.query) {
				if err != nil {
					return err
				}
				objects = append(objects, o)
			}
			return out.rows(list.OutOrStdout(), r.columns, objects)
		})
	show = within(onShow, "show FLOATING_IP ID", "Show a port forwarding", help{"By id.", base + "show 172.25.0.50 654d5c56-627f-4d5d-b35f-6a089f3a0e9d"}, 2, one,
		func(ctx context.Context, q *request, _ addition, of client.Resource, args []string, out *output) error {
			o, err := q.api.Find(ctx, of, args[0])
			if err != nil {
				return err
			}
			return out.object(show.OutOrStdout(), r.fields, o)
		})
	set := within(onSet, "set FLOATING_IP ID", "Change a port forwarding", help{"What is not named stays as it is.",
		base + "set --external-protocol-port 8081 172.25.0.50 654d5c56-627f-4d5d-b35f-6a089f3a0e9d"}, 2, nil,
		func(ctx context.Context, q *request, add addition, of client.Resource, args []string, _ *output) error {
			if err := add(ctx, q); err != nil {
				return err
			}
			_, err := q.api.Update(ctx, of, args[0], q.body, "")
			return err
		})
	del := within(onDelete, "delete FLOATING_IP ID", "Delete a port forwarding", help{"By id.", base + "delete 172.25.0.50 654d5c56-627f-4d5d-b35f-6a089f3a0e9d"}, 2, nil,
		func(ctx context.Context, q *request, _ addition, of client.Resource, args []string, _ *output) error {
			return q.api.Delete(ctx, of, args[0])
		})
	return []*cobra.Command{create, list, show, set, del}
}
