package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"weft/internal/host/link"
)

// Paths inside a host, all of them Open vSwitch's defaults.
const (
	ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"
	ovsConf   = "/etc/openvswitch/conf.db"
	ovsSocket = "unix:/run/openvswitch/db.sock"
)

// createOVSDB makes a host's database file, unless the host has one from before
// it was killed.
func (l *Lab) createOVSDB(ctx context.Context, host string) error {
	conf := filepath.Join(l.hostDir(host), ovsConf)
	if _, err := os.Stat(conf); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "ovsdb-tool", "create", conf, ovsSchema).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ovsdb-tool: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Both daemons detach when they are ready: no need to ask them again and again.

func (l *Lab) startOVSDB(ctx context.Context, host string) error {
	_, err := l.Output(ctx, host, "ovsdb-server", "--remote=p"+ovsSocket,
		"--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
		"--pidfile", "--detach", "--no-chdir", "--log-file", ovsConf)
	return err
}

func (l *Lab) startVSwitchd(ctx context.Context, host string) error {
	_, err := l.Output(ctx, host, "ovs-vswitchd", ovsSocket, "--pidfile", "--detach", "--no-chdir", "--log-file")
	return err
}

// configureOVS writes what a host's installer would: who the host is, and the
// bridge with the tunnel address. Native tunnelling needs that address on a
// bridge of the same userspace datapath as the tunnels.
func (l *Lab) configureOVS(ctx context.Context, h Host, n *link.Namespace) error {
	card, err := n.Get(underlayDevice)
	if err != nil {
		return err
	}
	_, err = l.Output(ctx, h.Name, "ovs-vsctl", "--no-wait", "--timeout=10",
		"--", "set", "Open_vSwitch", ".", "external_ids:hostname="+h.Name, "external_ids:system-id="+h.Name,
		"--", "set-manager", "ptcp:6640:127.0.0.1",
		"--", "--may-exist", "add-br", underlayBridge,
		"--", "set", "Bridge", underlayBridge, "datapath_type=netdev", "fail_mode=standalone",
		"other_config:hwaddr="+strconv.Quote(card.MAC.String()),
		"--", "--may-exist", "add-port", underlayBridge, underlayDevice,
		"--", "--may-exist", "add-br", ExternalBridge,
		"--", "set", "Bridge", ExternalBridge, "datapath_type=netdev", "fail_mode=standalone",
		"--", "--may-exist", "add-port", ExternalBridge, externalDevice)
	return err
}

// ovsPID finds a daemon of a host by its pidfile, which has the id that the host
// knows it by.
func ovsPID(firstPID int, daemon string) (int, error) {
	if firstPID == 0 {
		return 0, nil
	}
	b, err := readInHost(firstPID, "/run/openvswitch/"+daemon+".pid")
	inside := strings.TrimSpace(string(b))
	if err != nil || inside == "" {
		return 0, err
	}
	pid, err := pidOutside(firstPID, inside)
	if err != nil || pid == 0 {
		return 0, err
	}
	// The file stays when the daemon is killed; another process may have its id by then.
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || strings.TrimSpace(string(comm)) != daemon {
		return 0, nil
	}
	return pid, nil
}
