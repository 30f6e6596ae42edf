package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/host/link"
	"weft/internal/host/vif"
)

// InitCommand is the hidden word that a lab runs its own program with; what
// follows it on the command line is for HostInit.
const InitCommand = "lab-init"

// readyFile is the descriptor on which a host's first process says how its start went.
const readyFile = 3

// guestDir is in the host's private /run.
const guestDir = "/run/weft-lab"

// HostInit does what the lab has its own program do inside hosts: to be a host's
// first process ("host"), to start a process that stays, to plug and unplug a
// card, and to apply a guest's DHCP lease. The caller ends when it returns.
func HostInit(args []string) error {
	if len(args) == 0 {
		return fault.New(fault.Invalid, "InvalidCommand", "%s is run by the lab itself", InitCommand)
	}
	switch word, rest := args[0], args[1:]; {
	case word == "host" && len(rest) == 2:
		return beHost(rest[0], rest[1])
	case word == "spawn" && len(rest) > 1:
		return spawn(rest[0], rest[1:])
	case word == "plug":
		return plug()
	case word == "unplug":
		return unplug()
	case word == "lease" && len(rest) > 0:
		return onLease(rest[0])
	}
	return fault.New(fault.Invalid, "InvalidCommand", "%s does not know %q", InitCommand, args)
}

// beHost is a host's first process: it makes the host out of the fresh
// namespaces that it was started in, then collects orphans for ever.
func beHost(host, dir string) error {
	ready := os.NewFile(readyFile, "ready")
	// A signal would end a first process that cares for it; the lab ends hosts by
	// SIGKILL alone.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	if err := makeHost(host, dir); err != nil {
		fmt.Fprint(ready, err)
		ready.Close()
		return err
	}
	ready.Close()
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	for range children {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err != unix.EINTR && pid <= 0 {
				break
			}
		}
	}
	return nil
}

func makeHost(host, dir string) error {
	if err := makeMounts(host, dir); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(host)); err != nil {
		return fmt.Errorf("naming the host: %w", err)
	}
	n, err := link.Current()
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.SetUp("lo"); err != nil {
		return err
	}
	return errors.Join(
		n.TrySysctls("1", "net/ipv4/ip_forward",
			// What a hybrid port's frames are filtered by. Per namespace: the machine's own stays.
			"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"),
		n.TrySysctls("0", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter",
			"net/ipv6/conf/default/accept_ra", "net/ipv6/conf/default/accept_dad"),
	)
}

// makeMounts gives the host the directories that are its own.
func makeMounts(host, dir string) error {
	mount := func(from, to, kind string, flags uintptr, data string) error {
		if err := unix.Mount(from, to, kind, flags, data); err != nil {
			return fmt.Errorf("mounting %s: %w", to, err)
		}
		return nil
	}
	if err := mount("", "/", "none", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	hosts := filepath.Join(dir, "hosts")
	text := fmt.Sprintf("127.0.0.1 localhost\n127.0.1.1 %s\n", host)
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		return err
	}
	if err := mount(hosts, "/etc/hosts", "none", unix.MS_BIND, ""); err != nil {
		return err
	}
	// From the lab's directory, which may itself be under /run: before /run is covered.
	for _, p := range privateDirs {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, p), 0o755), os.MkdirAll("/"+p, 0o755)); err != nil {
			return err
		}
		if err := mount(filepath.Join(dir, p), "/"+p, "none", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("/var/log/openvswitch", 0o755); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	// /sys/class/net of this network namespace.
	if err := mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	// The names of the machine's namespaces would keep those alive in here.
	for unix.Unmount(link.NetnsDir, unix.MNT_DETACH) == nil {
	}
	if err := mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=512m"); err != nil {
		return err
	}
	for _, d := range []string{"/run/netns", "/run/lock", "/run/openvswitch", guestDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' %s lease \"$@\"\n", self, InitCommand)
	return os.WriteFile(leaseScript, []byte(script), 0o755)
}

// privateDirs are kept in the host's directory: they outlast a crash of the host.
var privateDirs = []string{"etc/openvswitch", "var/lib/openvswitch", "var/lib/weft", "var/log"}

// plug reads a vif.Spec from standard input.
func plug() error {
	var s vif.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return fmt.Errorf("reading what to plug: %w", err)
	}
	return withPlugger(func(p *vif.Plugger) error { return p.Plug(context.Background(), s) })
}

// unplug reads a vif.Spec from standard input; of it, the port and the guest count.
func unplug() error {
	var s vif.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return fmt.Errorf("reading what to unplug: %w", err)
	}
	return withPlugger(func(p *vif.Plugger) error { return p.Unplug(context.Background(), s.PortID, s.Bridge, s.Guest) })
}

func withPlugger(fn func(*vif.Plugger) error) error {
	n, err := link.Current()
	if err != nil {
		return err
	}
	defer n.Close()
	return fn(vif.New(n, vif.VSCtl{}))
}

// guestFile is a file that the host keeps for a guest.
func guestFile(guest, name string) string { return filepath.Join(guestDir, guest, name) }

// inHost is a path of a host as the machine reaches it.
func inHost(first int, path string) string { return fmt.Sprintf("/proc/%d/root%s", first, path) }

func readInHost(first int, path string) ([]byte, error) {
	b, err := os.ReadFile(inHost(first, path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
