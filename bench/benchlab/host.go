// Package benchlab reaches into a lab from outside, to measure it: the hosts' devices and the databases of their switches,
// the namespaces of guests, ports that are plugged many at a time, and guests of a bare switch to compare with.
//
// It measures little (TCP by iperf3) and judges nothing. Called by weft/bench and weft/bench/dataplane.
package benchlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/host/link"
	"weft/internal/host/ovs/ovsdb"
	"weft/internal/host/vif"
	"weft/internal/lab"
)

// Patience ends what hangs. Nothing that works takes as long.
const Patience = 2 * time.Minute

// Host is a host of a lab from outside.
type Host struct {
	Name   string
	Tunnel netip.Addr
	Links  *link.Namespace
	DB     *ovsdb.Client // of its switch
	lab    *lab.Lab
}

// Open reaches into a host of a lab that is up. Its connection with the database lives as long as ctx.
func Open(ctx context.Context, l *lab.Lab, name string) (*Host, error) {
	st, err := l.Status()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(st.Hosts, func(h lab.HostStatus) bool { return h.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("lab %s has no host %s", st.Name, name)
	}
	h := &Host{Name: name, Tunnel: st.Hosts[i].Tunnel, lab: l}
	root, err := h.Root()
	if err != nil {
		return nil, err
	}
	if h.Links, err = link.OpenNetns(st.Name + "-" + name); err != nil {
		return nil, err
	}
	h.DB = ovsdb.New(ovsdb.Config{
		Addr: "unix:" + root + "/run/openvswitch/db.sock", Database: "Open_vSwitch",
		Monitors: []ovsdb.Monitor{{Table: "Bridge", Columns: []string{"name"}}},
	})
	go h.DB.Run(ctx)
	return h, Wait(ctx, "the database of "+name+" answers", time.Millisecond, func() (bool, error) {
		return h.DB.Snapshot().Epoch > 0, nil
	})
}

// Close lets go of a host; nil is no host.
func (h *Host) Close() {
	if h != nil {
		h.Links.Close()
	}
}

// Root is the host's file system as the machine reaches it.
func (h *Host) Root() (string, error) {
	pid, err := h.switchPID()
	return fmt.Sprintf("/proc/%d/root", pid), err
}

func (h *Host) switchPID() (int, error) {
	pid, err := h.lab.PID(h.Name, lab.VSwitchd)
	if err == nil && pid == 0 {
		err = fmt.Errorf("ovs-vswitchd of %s does not run", h.Name)
	}
	return pid, err
}

// SwitchTime is the CPU time that the host's ovs-vswitchd has used, to the nanosecond (clock_getcpuclockid(3)).
func (h *Host) SwitchTime() (time.Duration, error) {
	pid, err := h.switchPID()
	if err != nil {
		return 0, err
	}
	var ts unix.Timespec
	const processClock = 2 // CPUCLOCK_SCHED of a whole process
	err = unix.ClockGettime(int32(^uint32(pid)<<3|processClock), &ts)
	return time.Duration(ts.Nano()), err
}

// Output runs a command on the host and returns what it prints.
func (h *Host) Output(ctx context.Context, argv ...string) (string, error) {
	return h.lab.Output(ctx, h.Name, argv...)
}

// Guest opens the network namespace of a guest of the lab on this host.
func (h *Host) Guest(name string) (*link.Namespace, error) {
	root, err := h.Root()
	if err != nil {
		return nil, err
	}
	return link.OpenPath(root + link.NetnsDir + "/" + vif.GuestNetns(name))
}

// Wait asks every so often until the answer is yes.
func Wait(ctx context.Context, what string, every time.Duration, ask func() (bool, error)) error {
	deadline := time.Now().Add(Patience)
	for {
		ok, err := ask()
		if ok || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %s", Patience, what)
		}
		time.Sleep(every)
	}
}

// Run runs a command in a network namespace and returns what it prints.
func Run(ctx context.Context, n *link.Namespace, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := n.Do(cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, errOut.String())
	}
	return out.String(), err
}

// Reach waits until a namespace gets an answer to a ping.
func Reach(ctx context.Context, from *link.Namespace, to netip.Addr) error {
	return Wait(ctx, to.String()+" answers a ping", 5*time.Millisecond, func() (bool, error) {
		_, err := Run(ctx, from, "ping", "-n", "-c", "1", "-W", "1", to.String())
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) { // no answer
			return false, nil
		}
		return err == nil, err
	})
}
