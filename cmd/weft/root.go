package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"weft/internal/labcmd"
)

// rootCommand is the tree of all commands.
func rootCommand() *cobra.Command {
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
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run Weft:"}, &cobra.Group{ID: "host", Title: "Hosts:"}, &cobra.Group{ID: "api", Title: "Networking:"})
	for _, c := range []*cobra.Command{serverCommand(), agentCommand()} {
		c.GroupID = "run"
		root.AddCommand(c)
	}
	lab := labcmd.Command(nil)
	lab.GroupID = "run"
	root.AddCommand(lab)
	return root
}

// report prints an error and returns the exit code.
func report(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
		return 1
	}
	fmt.Fprintln(os.Stderr, "weft:", err)
	return 1
}
