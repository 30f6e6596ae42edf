package cli

import (
	"context"

	"weft/internal/client"
)

func agents() resource {
	return resource{
		// The openstack command takes ids alone; hosts are easier to say.
		Resource: client.Resource{Name: "agent", Collection: "agents", Path: "agents", NameKey: "host",
			Among: "agent_type=Open vSwitch agent"}, // a gateway host is an L3 agent, too
		noun: "network agent", arg: "AGENT", plural: "network agents",
		about: "Network agents: the hosts, as the server knows them",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Agent Type", key: "agent_type"},
			{head: "Host", key: "host"},
			{head: "Availability Zone", key: "availability_zone"},
			{head: "Alive", key: "alive", text: choose(":-)", "XXX")},
			{head: "State", key: "admin_state_up", text: upDown},
			{head: "Binary", key: "binary"},
		},
		fields: []column{
			{head: "admin_state_up", key: "admin_state_up", text: upDown},
			{head: "agent_type", key: "agent_type"},
			{head: "alive", key: "alive", text: choose(":-)", "XXX")},
			{head: "availability_zone", key: "availability_zone"},
			{head: "binary", key: "binary"},
			{head: "configuration", key: "configurations"},
			{head: "created_at", key: "created_at"},
			{head: "description", key: "description"},
			{head: "host", key: "host"},
			{head: "id", key: "id"},
			{head: "last_heartbeat_at", key: "heartbeat_timestamp"},
			{head: "resources_synced", key: "resources_synced"},
			{head: "started_at", key: "started_at"},
			{head: "topic", key: "topic"},
		},

		options: options(
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: onSet},
			toggle{key: "admin_state_up", on: onSet, yes: "enable", yesHelp: "new ports may be bound there", no: "disable", noHelp: "no new ports are bound there; those that are stay"},
			attr{flag: "host", arg: "HOST", key: "host", help: "host", on: onList},
			attr{flag: "agent-type", arg: "TYPE", key: "agent_type", help: "type: open-vswitch or l3", as: agentTypes(), on: onList},
			option{onList, allColumns},
		),

		verbs: map[verb]help{
			onList:   {`Alive is :-) for those that are in touch with the server, XXX for others.`, `  weft network agent list --host compute1`},
			onShow:   {`By host or id.`, `  weft network agent show compute1`},
			onSet:    {`By host or id.`, `  weft network agent set --disable --description "disk is replaced" compute1`},
			onDelete: {`An agent that is alive would be back at once: stop it before. Several can be given.`, `  weft network agent delete compute9`},
		},
	}
}

// agentTypes are the names that the openstack command has for the types of agents which the API
// knows; gateway hosts are shown as agents of both.
func agentTypes() kind {
	k := oneOf("open-vswitch", "l3")
	k.value = func(_ context.Context, _ *request, text string) (any, error) {
		if text == "l3" {
			return "L3 agent", nil
		}
		return "Open vSwitch agent", nil
	}
	return k
}
