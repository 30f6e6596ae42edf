package cli

import (
	"context"
	"net/http"

	"weft/internal/client"
)

func addressGroupAPI() client.Resource {
	return client.Resource{Name: "address_group", Collection: "address_groups", Path: "address-groups", NameKey: "name"}
}

func addressGroups() resource {
	return resource{
		Resource: addressGroupAPI(), noun: "address group", arg: "GROUP", plural: "address groups",
		about: "Address groups: addresses that rules of security groups refer to",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Name", key: "name"},
			{head: "Description", key: "description"},
			{head: "Project", key: "project_id"},
			{head: "Addresses", key: "addresses", text: inOrder},
		},
		fields: written(attributes("addresses", "description", "id", "name", "project_id"), map[string]textFunc{"addresses": inOrder}),

		options: options(
			list{flag: "address", arg: "CIDR", key: "addresses", help: "addresses, as 192.0.2.0/24 or 192.0.2.7", on: onCreate},
			groupAddresses(onSet, "add_addresses", "further addresses, as 192.0.2.0/24 or 192.0.2.7"),
			groupAddresses(onUnset, "remove_addresses", "addresses that it shall not have"),
			attr{flag: "name", arg: "NAME", key: "name", help: "name", on: onSet | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: onCreate | onSet},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
		),

		verbs: map[verb]help{
			onCreate: {`Rules of security groups refer to it, and follow when it changes.`,
				`  weft address group create --address 192.0.2.0/24 --address 2001:db8::7 offices`},
			onList:   {`Those of one's project; all of them for admins.`, `  weft address group list`},
			onShow:   {`By name or id.`, `  weft address group show offices`},
			onSet:    {`Addresses are added to those that there are.`, `  weft address group set --address 198.51.100.0/24 offices`},
			onUnset:  {`What is named is taken away.`, `  weft address group unset --address 198.51.100.0/24 offices`},
			onDelete: {`No rule may refer to it. Several can be given; what can be deleted is.`, `  weft address group delete offices`},
		},
	}
}

// groupAddresses adds or removes addresses by a call of their own: two who change a group at the same time do not
// undo each other's change.
func groupAddresses(on verb, action, about string) option {
	return option{on, func(f *flags) addition {
		given := f.texts("address", "CIDR", about+" (repeat for several)", kind{})
		return func(ctx context.Context, r *request) error {
			if len(given.given) == 0 {
				return nil
			}
			path := addressGroupAPI().Path + "/" + r.current.ID() + "/" + action
			_, err := r.api.Do(ctx, http.MethodPut, path, map[string]any{"addresses": given.given})
			return err
		}
	}}
}
