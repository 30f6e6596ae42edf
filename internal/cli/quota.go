package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// Quotas are no resource like others: their attributes are the resources that have a limit, and
// their id is a project.

// quotaNames are, for each limit of the API, the flag that sets it and the name that it is shown
// by, as the openstack command has them. What is not listed is shown as the API calls it.
func quotaNames() []struct{ key, flag, shown, head string } {
	return []struct{ key, flag, shown, head string }{
		{"floatingip", "floating-ips", "floating_ips", "Floating IPs"},
		{"network", "networks", "networks", "Networks"},
		{"port", "ports", "ports", "Ports"},
		{"rbac_policy", "rbac-policies", "rbac_policies", "RBAC Policies"},
		{"router", "routers", "routers", "Routers"},
		{"security_group", "secgroups", "security_groups", "Security Groups"},
		{"security_group_rule", "secgroup-rules", "security_group_rules", "Security Group Rules"},
		{"subnet", "subnets", "subnets", "Subnets"},
		{"subnetpool", "subnetpools", "subnet_pools", "Subnet Pools"},
	}
}

func (a app) quotaCommands() []*cobra.Command {
	out := []*cobra.Command{a.showQuota(), a.setQuota(), a.listQuotas(), a.deleteQuota()}
	for i, h := range []help{
		{`PROJECT is an id; without it, the project of --project-id. With --usage, what is in use of
them; with --default, what a project has that has no quota of its own.`,
			`  weft quota show 3d84212e92fb47d8bedc2643525fa5eb
  weft quota show --usage --project-id 3d84212e92fb47d8bedc2643525fa5eb
  weft quota show --default`},
		{`PROJECT is an id; without it, the project of --project-id. -1 is unlimited. A limit below
what is in use is refused, unless --force says otherwise.`,
			`  weft quota set --ports 1000 --secgroup-rules -1 3d84212e92fb47d8bedc2643525fa5eb`},
		{`Projects that are not listed have the default limits: see "weft quota show --default".`, `  weft quota list -f json`},
		{`The project has the default limits afterwards.`, `  weft quota delete 3d84212e92fb47d8bedc2643525fa5eb`},
	} {
		h.on(out[i])
	}
	return out
}

// projectOf is the project that a quota command is about.
func projectOf(cmd *cobra.Command, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	project, err := cmd.Flags().GetString("project-id")
	if err != nil {
		return "", err
	}
	if project == "" {
		return "", usage("PROJECT is missing: give its id, or --project-id")
	}
	return project, nil
}

// quota asks for the limits of a project, below one of the paths of quotas.
func quota(ctx context.Context, api *client.Client, project, below string) (map[string]any, error) {
	body, err := api.Do(ctx, http.MethodGet, "quotas/"+url.PathEscape(project)+below, nil)
	if err != nil {
		return nil, err
	}
	var answer struct{ Quota client.Object }
	if err := client.Decode(body, &answer); err != nil {
		return nil, fmt.Errorf("reading the quota of %s: %w", project, err)
	}
	return answer.Quota, nil
}

func (a app) showQuota() *cobra.Command {
	cmd := &cobra.Command{Use: "show [PROJECT]", Short: "Show the limits of a project"}
	f := &flags{cmd: cmd, verb: onShow, group: groupAttributes}
	usages, defaults := f.yes("usage", "what is in use, too"), f.yes("default", "the limits of projects that have none of their own")
	onlyNetworking(f)
	f.exclusive("usage", "default")
	out := outputFlags(f, true)
	a.finish(f, arguments(0, 1, "PROJECT"), nil, func(ctx context.Context, api *client.Client, args []string) error {
		project, err := projectOf(cmd, args)
		columns := []column{{head: "Resource", key: "resource"}, {head: "Limit", key: "limit"}}
		below := ""
		switch {
		case *usages:
			columns = append(columns, column{head: "In Use", key: "used"}, column{head: "Reserved", key: "reserved"})
			below = "/details"
		case *defaults:
			// They are the same for all, so no project need be named.
			project, err, below = cmp.Or(project, "default"), nil, "/default"
		}
		if err != nil {
			return err
		}
		limits, err := quota(ctx, api, project, below)
		if err != nil {
			return err
		}
		return out.rows(cmd.OutOrStdout(), columns, quotaRows(limits))
	})
	return cmd
}

// quotaRows makes a row of each limit.
func quotaRows(limits map[string]any) []client.Object {
	shown := map[string]string{}
	for _, n := range quotaNames() {
		shown[n.key] = n.shown
	}
	var rows []client.Object
	for k, v := range limits {
		row := client.Object{"resource": cmp.Or(shown[k], k), "limit": v}
		if details, ok := v.(map[string]any); ok {
			row["limit"], row["used"], row["reserved"] = details["limit"], details["used"], details["reserved"]
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b client.Object) int { return cmp.Compare(a.Text("resource"), b.Text("resource")) })
	return rows
}

func (a app) setQuota() *cobra.Command {
	cmd := &cobra.Command{Use: "set [PROJECT]", Short: "Change the limits of a project"}
	f := &flags{cmd: cmd, verb: onSet, group: groupAttributes}
	limits := map[string]*texted{}
	for _, n := range quotaNames() {
		limits[n.key] = f.text(n.flag, "NUMBER", "limit of "+n.head+", -1 for unlimited", number(-1, 1<<31-1))
	}
	f.something(groupAttributes)
	f.group = groupOther
	force := f.yes("force", "allow limits below what is in use")
	f.yes("no-force", "refuse limits below what is in use (default)")
	f.exclusive("force", "no-force")
	a.finish(f, arguments(0, 1, "PROJECT"), nil, func(ctx context.Context, api *client.Client, args []string) error {
		project, err := projectOf(cmd, args)
		if err != nil {
			return err
		}
		body := map[string]any{}
		for key, t := range limits {
			if text := t.last(); text != "" {
				body[key] = json.Number(text)
			}
		}
		if !*force {
			body["check_limit"] = true
		}
		_, err = api.Do(ctx, http.MethodPut, "quotas/"+url.PathEscape(project), map[string]any{"quota": body})
		return err
	})
	return cmd
}

func (a app) listQuotas() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the projects that have limits of their own"}
	f := &flags{cmd: cmd, verb: onList, group: groupFilters}
	onlyNetworking(f)
	out := outputFlags(f, true)
	columns := []column{{head: "Project ID", key: "project_id"}}
	for _, n := range quotaNames() {
		columns = append(columns, column{head: n.head, key: n.key})
	}
	quotas := client.Resource{Name: "quota", Collection: "quotas", Path: "quotas"}
	a.finish(f, arguments(0, 0, ""), nil, func(ctx context.Context, api *client.Client, _ []string) error {
		var all []client.Object
		for o, err := range api.List(ctx, quotas, nil) {
			if err != nil {
				return err
			}
			all = append(all, o)
		}
		return out.rows(cmd.OutOrStdout(), columns, all)
	})
	return cmd
}

func (a app) deleteQuota() *cobra.Command {
	cmd := &cobra.Command{Use: "delete PROJECT", Short: "Delete the limits that a project has of its own"}
	f := &flags{cmd: cmd, verb: onDelete, group: groupOther}
	onlyNetworking(f)
	a.finish(f, arguments(1, 1, "PROJECT"), nil, func(ctx context.Context, api *client.Client, args []string) error {
		return api.Delete(ctx, client.Resource{Path: "quotas"}, args[0])
	})
	return cmd
}
