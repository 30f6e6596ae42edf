package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

func routerAPI() client.Resource {
	return client.Resource{Name: "router", Collection: "routers", Path: "routers", NameKey: "name"}
}

func routers() resource {
	return resource{
		Resource: routerAPI(), noun: "router", arg: "ROUTER", plural: "routers",
		about: "Routers: between subnets, and to external networks",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Name", key: "name"},
			{head: "Status", key: "status"},
			{head: "State", key: "admin_state_up", text: upDown},
			{head: "Project", key: "project_id"},
			{head: "Distributed", key: "distributed", long: true},
			{head: "HA", key: "ha", long: true},
			{head: "Routes", key: "routes", text: dicts, long: true},
			{head: "External gateway info", key: "external_gateway_info", text: dict, long: true},
			{head: "Availability zones", key: "availability_zones", text: sorted, long: true},
			{head: "Tags", key: "tags", text: sorted, long: true},
		},
		fields: []column{
			{head: "admin_state_up", key: "admin_state_up", text: upDown},
			{head: "availability_zone_hints", key: "availability_zone_hints", text: sorted},
			{head: "availability_zones", key: "availability_zones", text: sorted},
			{head: "created_at", key: "created_at"},
			{head: "description", key: "description"},
			{head: "distributed", key: "distributed"},
			{head: "external_gateway_info", key: "external_gateway_info", text: dict},
			{head: "ha", key: "ha"},
			{head: "id", key: "id"},
			{head: "name", key: "name"},
			{head: "project_id", key: "project_id"},
			{head: "revision_number", key: "revision_number"},
			{head: "routes", key: "routes", text: dicts},
			{head: "status", key: "status"},
			{head: "tags", key: "tags", text: sorted},
			{head: "updated_at", key: "updated_at"},
		},

		options: options(
			attr{flag: "name", arg: "NAME", key: "name", help: "name", on: onSet | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: onCreate | onSet},
			toggle{key: "admin_state_up", on: onCreate | onSet | onList,
				yes: "enable", yesHelp: "administrative state up (default when created)", no: "disable", noHelp: "administrative state down: nothing is routed"},
			toggle{key: "distributed", on: onCreate | onSet,
				yes: "distributed", yesHelp: "the hosts of its ports route; to change it, the router must be down",
				no: "centralized", noHelp: "gateway hosts route"},
			toggle{key: "ha", on: onCreate | onSet, yes: "ha", yesHelp: "several gateway hosts serve it; to change it, the router must be down", no: "no-ha", noHelp: "one does"},
			routerGateway(),
			list{flag: "route", arg: "destination=CIDR,gateway=ADDRESS", key: "routes", help: "further route", as: routeKind(),
				on: onSet | onUnset, clear: "no-route", clearOn: onSet, clearHelp: "no further routes; with --route, those given replace them"},
			drop{flag: "external-gateway", key: "external_gateway_info", help: "the external gateway"},
			list{flag: "availability-zone-hint", arg: "ZONE", key: "availability_zone_hints", help: "zone to serve it from", on: onCreate},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
			tags(),
		),

		verbs: map[verb]help{
			onCreate: {`It routes between the subnets that are added to it, and to the network of its external gateway.`,
				`  weft router create demo-router
  weft router create --external-gateway ext-net --enable-snat demo-router`},
			onList: {`Those of one's project; all of them for admins.`, `  weft router list --long`},
			onShow: {`By name or id.`, `  weft router show demo-router`},
			onSet: {`What is not named stays as it is.`, `  weft router set --external-gateway ext-net --fixed-ip ip-address=172.25.0.99 demo-router
  weft router set --route destination=192.168.77.0/24,gateway=10.0.0.9 demo-router
  weft router set --disable --distributed demo-router`},
			onUnset:  {`Addresses of its gateway are changed with set.`, `  weft router unset --external-gateway --route destination=192.168.77.0/24,gateway=10.0.0.9 demo-router`},
			onDelete: {`No subnet may be on it any more. Several can be given; what can be deleted is.`, `  weft router delete demo-router`},
		},
	}
}

func routeKind() kind {
	return object(false, key{name: "destination", attribute: "destination", needed: true}, key{name: "gateway", attribute: "nexthop", needed: true})
}

// routerGateway is the flags that make up one attribute, the external gateway. What is not
// named of it stays as it is.
func routerGateway() option {
	fixed := object(false, key{name: "subnet", attribute: "subnet_id", as: reference(subnetAPI())}, key{name: "ip-address", attribute: "ip_address"})
	return option{onCreate | onSet, func(f *flags) addition {
		network := f.text("external-gateway", "NETWORK", "external network (name or id)", reference(networkAPI()))
		ips := f.texts("fixed-ip", "subnet=SUBNET,ip-address=ADDRESS", "address there, or subnet (name or id) to take one from (repeat for several)", fixed)
		on, off := f.yes("enable-snat", "addresses are translated there"), f.yes("disable-snat", "they are not")
		f.exclusive("enable-snat", "disable-snat")
		return func(ctx context.Context, r *request) error {
			if network.last() == "" && len(ips.given) == 0 && !*on && !*off {
				return nil
			}
			info := map[string]any{}
			if have, ok := r.current["external_gateway_info"].(map[string]any); ok {
				info["network_id"] = have["network_id"]
			}
			if text := network.last(); text != "" {
				id, err := network.as.valueOf(ctx, r, text)
				if err != nil {
					return err
				}
				info["network_id"] = id
			}
			if info["network_id"] == nil {
				return usage("--external-gateway is missing")
			}
			if *on || *off {
				info["enable_snat"] = *on
			}
			var addresses []any
			for _, text := range ips.given {
				v, err := fixed.valueOf(ctx, r, text)
				if err != nil {
					return err
				}
				addresses = append(addresses, v)
			}
			if addresses != nil {
				info["external_fixed_ips"] = addresses
			}
			r.body["external_gateway_info"] = info
			return nil
		}
	}}
}

// addRouterCommands adds what is done with a router beside changing its attributes.
func (a app) addRouterCommands(root *cobra.Command) {
	for _, verb := range []struct{ word, does, joins, path string }{
		{"add", "Add", "to", "add_"}, {"remove", "Remove", "from", "remove_"},
	} {
		at := group(root, "router "+verb.word, verb.does+" what a router has")
		leg := func(noun, arg, key, more string, of client.Resource) *cobra.Command {
			cmd := a.act(noun+" ROUTER "+arg, verb.does+" a "+noun+" "+verb.joins+" a router", "ROUTER and "+arg,
				func(ctx context.Context, api *client.Client, router, other string) error {
					o, err := api.Find(ctx, of, other)
					if err != nil {
						return err
					}
					_, err = api.Do(ctx, http.MethodPut, "routers/"+router+"/"+verb.path+"router_interface", map[string]any{key: o.ID()})
					return err
				})
			help{more, "  weft router " + verb.word + " " + noun + " demo-router demo-" + noun}.on(cmd)
			return cmd
		}
		at.AddCommand(
			leg("subnet", "SUBNET", "subnet_id", "The router has the subnet's gateway address there.", subnetAPI()),
			leg("port", "PORT", "port_id", "The router has the port's addresses; a port that is removed is deleted.", portAPI()),
			a.routerRoutes(verb.word, verb.does, verb.joins, verb.path), a.routerGatewayCommand(verb.word, verb.does, verb.joins))
	}
	for _, verb := range []struct{ word, does, joins string }{{"add", "Add", "to"}, {"remove", "Remove", "from"}} {
		at := group(root, "network agent "+verb.word, verb.does+" what an agent serves")
		cmd := &cobra.Command{Use: "router AGENT ROUTER", Short: verb.does + " a router " + verb.joins + " an agent"}
		f := &flags{cmd: cmd}
		f.group = groupAttributes
		f.yes("l3", "an L3 agent (there are no others)")
		a.finish(f, arguments(2, 2, "AGENT and ROUTER"), nil, func(ctx context.Context, api *client.Client, args []string) error {
			agent, err := api.Find(ctx, agents().Resource, args[0])
			if err != nil {
				return err
			}
			router, err := api.Find(ctx, routerAPI(), args[1])
			if err != nil {
				return err
			}
			if verb.word == "add" {
				_, err = api.Do(ctx, http.MethodPost, "agents/"+agent.ID()+"/l3-routers", map[string]any{"router_id": router.ID()})
			} else {
				_, err = api.Do(ctx, http.MethodDelete, "agents/"+agent.ID()+"/l3-routers/"+router.ID(), nil)
			}
			return err
		})
		help{`The first host of a redundant router that is left has its traffic: to move it, add the new host, then remove the old.`,
			"  weft network agent " + verb.word + " router --l3 network1 demo-router"}.on(cmd)
		at.AddCommand(cmd)
	}
}

// act makes a command with two arguments, of which the first is a router.
func (a app) act(use, short, missing string, do func(ctx context.Context, api *client.Client, router, other string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	names := routerAPI()
	a.finish(&flags{cmd: cmd}, arguments(2, 2, missing), &names, func(ctx context.Context, api *client.Client, args []string) error {
		o, err := api.Find(ctx, routerAPI(), args[0])
		if err != nil {
			return err
		}
		return do(ctx, api, o.ID(), args[1])
	})
	return cmd
}

func (a app) routerRoutes(word, does, joins, path string) *cobra.Command {
	cmd := &cobra.Command{Use: "route ROUTER", Short: does + " further routes " + joins + " a router"}
	f := &flags{cmd: cmd}
	f.group = groupAttributes
	given := f.texts("route", "destination=CIDR,gateway=ADDRESS", "the route (repeat for several)", routeKind())
	f.needed("route")
	names := routerAPI()
	a.finish(f, arguments(1, 1, "ROUTER"), &names, func(ctx context.Context, api *client.Client, args []string) error {
		o, err := api.Find(ctx, names, args[0])
		if err != nil {
			return err
		}
		var routes []any
		for _, text := range given.given {
			v, err := routeKind().valueOf(ctx, &request{api: api}, text)
			if err != nil {
				return err
			}
			routes = append(routes, v)
		}
		_, err = api.Do(ctx, http.MethodPut, "routers/"+o.ID()+"/"+path+"extraroutes", map[string]any{"router": map[string]any{"routes": routes}})
		return err
	})
	help{`Others stay, whoever changes them at the same time.`, "  weft router " + word + " route --route destination=192.168.77.0/24,gateway=10.0.0.9 demo-router"}.on(cmd)
	return cmd
}

func (a app) routerGatewayCommand(word, does, joins string) *cobra.Command {
	cmd := a.act("gateway ROUTER NETWORK", does+" the external gateway "+joins+" a router", "ROUTER and NETWORK",
		func(ctx context.Context, api *client.Client, router, other string) error {
			n, err := api.Find(ctx, networkAPI(), other)
			if err != nil {
				return err
			}
			var info any
			if word == "add" {
				info = map[string]any{"network_id": n.ID()}
			}
			_, err = api.Update(ctx, routerAPI(), router, client.Object{"external_gateway_info": info}, "")
			return err
		})
	help{`A router has one at most.`, "  weft router " + word + " gateway demo-router ext-net"}.on(cmd)
	return cmd
}
