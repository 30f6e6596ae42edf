package cli

import (
	"context"

	"weft/internal/client"
)

func extensions() resource {
	return resource{
		Resource: client.Resource{Name: "extension", Collection: "extensions", Path: "extensions", IDKey: "alias"},
		noun:     "extension", arg: "EXTENSION", plural: "extensions",
		about: "Extensions: what the server's API can do beyond networks, subnets and ports",

		columns: []column{
			{head: "Name", key: "name"},
			{head: "Alias", key: "alias"},
			{head: "Description", key: "description"},
			{head: "Namespace", value: empty, needs: []string{}, long: true},
			{head: "Updated At", key: "updated", long: true},
			{head: "Links", key: "links", long: true},
		},
		fields: []column{
			{head: "alias", key: "alias"},
			{head: "description", key: "description"},
			{head: "name", key: "name"},
			{head: "updated_at", key: "updated"},
		},

		options: options(option{onList, onlyNetworking}),
		verbs: map[verb]help{
			onList: {`Clients look here for what they may ask for.`, `  weft extension list -c Alias -f value`},
			onShow: {`By its alias.`, `  weft extension show port-security`},
		},
	}
}

func zones() resource {
	return resource{
		Resource: client.Resource{Name: "availability_zone", Collection: "availability_zones", Path: "availability_zones"},
		noun:     "availability zone", arg: "ZONE", plural: "availability zones",
		about: "Availability zones: groups of hosts that fail together",

		columns: []column{
			{head: "Zone Name", key: "name"},
			{head: "Zone Status", value: zoneStatus, needs: []string{"state"}},
			{head: "Zone Resource", key: "resource", long: true},
			{head: "Host Name", value: empty, needs: []string{}, long: true},
			{head: "Service Name", value: empty, needs: []string{}, long: true},
			{head: "Service Status", value: empty, needs: []string{}, long: true},
		},

		options: options(option{onList, onlyNetworking}),
		verbs:   map[verb]help{onList: {`A zone is available while one of its hosts is.`, `  weft availability zone list --long`}},
	}
}

func zoneStatus(o client.Object) any {
	if s := o.Text("state"); s != "unavailable" {
		return s
	}
	return "not available"
}

// empty is a column of the openstack command that is filled by services other than this one.
func empty(client.Object) any { return "" }

// onlyNetworking accepts --network, which chooses among the services of a cloud.
func onlyNetworking(f *flags) addition {
	f.yes("network", "those of networking (there are no others here)")
	return nothing
}

// allColumns accepts --long where the openstack command has it for no further columns.
func allColumns(f *flags) addition {
	f.group = groupOutput
	f.yes("long", "all columns (they are always shown)")
	return nothing
}

func nothing(context.Context, *request) error { return nil }

// constant gives the same value for every text.
func constant(v any) func(context.Context, *request, string) (any, error) {
	return func(context.Context, *request, string) (any, error) { return v, nil }
}
