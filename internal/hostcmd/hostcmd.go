// Package hostcmd is the commands "weft host": they look at a host, and plug VMs into it by hand.
//
// It draws nothing and makes no devices itself: packages view and vif do. Called by the main package.
package hostcmd

import "github.com/spf13/cobra"

// Command is the tree "weft host".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Look at a host, and plug VMs into it",
		Long: `Look at a host as it is at this moment, and plug VMs into it by hand.

These commands read and change the host that they run on, with the rights of root. To look at a host of
a running lab, name it.`,
		Example: `  weft host view                        this host
  weft host view compute1 -o svg --file compute1.svg
  weft host plug --port-id 37b25c08-e8aa-4d0e-8d2a-5f1f5c8e7a11 --mac fa:16:3e:11:22:33
  weft host unplug 37b25c08-e8aa-4d0e-8d2a-5f1f5c8e7a11`,
	}
	cmd.AddCommand(viewCommand(), plugCommand(), unplugCommand())
	return cmd
}

// The switch's database where Open vSwitch's packages put it.
const defaultOVSDB = "unix:/run/openvswitch/db.sock"
