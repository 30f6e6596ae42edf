package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"weft/internal/cli"
	"weft/internal/client"
	"weft/internal/hostcmd"
	"weft/internal/labcmd"
)

// rootCommand is the tree of the commands that these arguments may be for: of all, unless they begin with one that runs for
// months. That does not keep in memory what it never uses, which is 1.3 MB.
func rootCommand(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "weft",
		Short: "Tenant networks over many hosts: Neutron's API on Open vSwitch, in one binary",
		Long: `Weft weaves many hosts into tenant networks. It speaks the OpenStack Networking API v2.0
and drives Open vSwitch, Linux bridges and iptables on each host.

Start a server with "weft server", an agent on each host with "weft agent", and use the other
commands, or any client of the Networking API, to make networks.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run Weft:"}, &cobra.Group{ID: "host", Title: "Labs and hosts:"}, &cobra.Group{ID: "api", Title: "Networking:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	world := cli.Options{Env: os.Getenv}
	cli.AddGlobalFlags(root)
	add("run", serverCommand(), agentCommand())
	if len(args) > 0 && (args[0] == "server" || args[0] == "agent") {
		return root
	}
	add("host", labcmd.Command(func(cmd *cobra.Command) (*client.Client, error) { return cli.Connect(cmd, world) }), hostcmd.Command())
	add("api", cli.Commands(world)...)
	return root
}

// report prints an error and returns the exit code.
func report(err error) int {
	if err == nil {
		return 0
	}
	// What a command in a VM or on a host has to say it has said itself.
	if code, ok := labcmd.ExitCode(err); ok && code > 0 {
		return code
	}
	fmt.Fprintln(os.Stderr, "weft:", err)
	return cli.ExitCode(err)
}
