package cli

import "weft/internal/client"

func scopeAPI() client.Resource {
	return client.Resource{Name: "address_scope", Collection: "address_scopes", Path: "address-scopes", NameKey: "name"}
}

func addressScopes() resource {
	return resource{
		Resource: scopeAPI(), noun: "address scope", arg: "SCOPE", plural: "address scopes",
		about: "Address scopes: subnet pools that routers need not translate between",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Name", key: "name"},
			{head: "IP Version", key: "ip_version"},
			{head: "Shared", key: "shared"},
			{head: "Project", key: "project_id"},
		},
		fields: attributes("id", "ip_version", "name", "project_id", "shared"),

		options: options(
			attr{flag: "name", arg: "NAME", key: "name", help: "name", on: onSet | onList},
			attr{flag: "ip-version", arg: "VERSION", key: "ip_version", help: "4 or 6 (default when created: 4)", as: oneNumberOf("4", "6"), on: onCreate | onList},
			toggle{key: "shared", on: onCreate | onSet | onList,
				yes: "share", yesHelp: "for all projects, and for ever", no: "no-share", noHelp: "for its project alone (default when created)"},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
		),
		finish: fourByDefault,

		verbs: map[verb]help{
			onCreate: {`Subnet pools are put into it. No two of them may have an address in common.`, `  weft address scope create --ip-version 6 demo-scope`},
			onList:   {`Those of one's project and shared ones; all of them for admins.`, `  weft address scope list --ip-version 4`},
			onShow:   {`By name or id.`, `  weft address scope show demo-scope`},
			onSet:    {`What is not named stays as it is.`, `  weft address scope set --name renamed demo-scope`},
			onDelete: {`No subnet pool may be in it. Several can be given; what can be deleted is.`, `  weft address scope delete demo-scope`},
		},
	}
}
