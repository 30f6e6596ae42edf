package vif

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// VSCtl is a Switch by way of ovs-vsctl(8), which is on every host that has Open
// vSwitch; os-vif does the same.
type VSCtl struct {
	// DB is the database's address ("unix:/run/openvswitch/db.sock"); empty: ovs-vsctl's default.
	DB string
}

// Bridge implements Switch.
func (v VSCtl) Bridge(ctx context.Context, name string) (Bridge, error) {
	out, err := v.run(ctx, "--no-wait", "--", "get", "Bridge", name, "datapath_type", "--", "list-ports", name)
	if err != nil {
		return Bridge{}, err
	}
	lines := strings.Fields(out)
	return Bridge{Datapath: strings.Trim(lines[0], `"`), Ports: lines[1:]}, nil
}

// AddPort implements Switch. It does not wait for ovs-vswitchd: the port is
// wired when the agent sees it there.
func (v VSCtl) AddPort(ctx context.Context, p Port) error {
	if p.Reopen {
		// Here it waits: deleted and added in one go, ovs-vswitchd would keep its
		// socket on the device that is gone.
		if _, err := v.run(ctx, "--", "--if-exists", "del-port", p.Name); err != nil {
			return err
		}
	}
	words := []string{"--no-wait"}
	words = append(words, "--", "--may-exist", "add-port", p.Bridge, p.Name,
		"--", "set", "Interface", p.Name,
		"external_ids:iface-id="+p.PortID.String(),
		"external_ids:iface-status=active",
		// In quotes: the colons mean something to ovs-vsctl.
		"external_ids:attached-mac="+strconv.Quote(p.MAC.String()),
	)
	if !p.VMUUID.IsZero() {
		words = append(words, "external_ids:vm-uuid="+p.VMUUID.String())
	}
	if p.MTU != 0 {
		words = append(words, "mtu_request="+strconv.Itoa(p.MTU))
	}
	_, err := v.run(ctx, words...)
	return err
}

// DelPorts implements Switch.
func (v VSCtl) DelPorts(ctx context.Context, names ...string) error {
	words := []string{"--no-wait"}
	for _, name := range names {
		words = append(words, "--", "--if-exists", "del-port", name)
	}
	_, err := v.run(ctx, words...)
	return err
}

func (v VSCtl) run(ctx context.Context, words ...string) (string, error) {
	args := []string{"--timeout=10"}
	if v.DB != "" {
		args = append(args, "--db="+v.DB)
	}
	cmd := exec.CommandContext(ctx, "ovs-vsctl", append(args, words...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ovs-vsctl: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
