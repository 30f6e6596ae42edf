package vsw

import (
	"os"
	"slices"
)

// moduleDir is there if the kernel has Open vSwitch's datapath, loaded or built in.
const moduleDir = "/sys/module/openvswitch"

// DetectDatapath returns the datapath_type to give to bridges: "system" if
// ovs-vswitchd can use a kernel datapath and the kernel has one, else "netdev".
// ovs-vswitchd alone does not tell: it lists "system" without the module, too.
func DetectDatapath(root Root) string { return detectDatapath(root, moduleDir) }

func detectDatapath(root Root, module string) string {
	if _, err := os.Stat(module); err != nil || !slices.Contains(root.DatapathTypes, "system") {
		return "netdev"
	}
	return "system"
}
