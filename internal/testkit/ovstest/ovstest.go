// Package ovstest gives a test its own Open vSwitch: ovsdb-server and
// ovs-vswitchd with the userspace datapath, in their own network, mount and
// process namespace, with their files in a fresh directory. Nothing of it is
// seen by another test or by the machine, and all of it ends with the test.
//
// It needs root and the Debian package openvswitch-switch; without them Start
// fails the test. It does not build topologies of several hosts: that is the lab's.
package ovstest

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long one command may take before the test fails. It is for
// hangs only: no test waits for it.
const patience = 2 * time.Minute

// Switch is a running Open vSwitch.
type Switch struct {
	// RunDir holds db.sock, <bridge>.mgmt, the pid files and the unixctl
	// sockets: what /run/openvswitch is on a host.
	RunDir string

	t   testing.TB
	pid int // process 1 of the sandbox, as the machine numbers it
}

// Start makes an Open vSwitch without bridges.
func Start(t testing.TB) *Switch {
	t.Helper()
	dir, err := os.MkdirTemp("", "ovst") // not t.TempDir: a socket path has 107 bytes
	if err != nil {
		t.Fatalf("making a directory for Open vSwitch: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Switch{RunDir: dir, t: t}
	s.startSandbox()
	db := filepath.Join(dir, "conf.db")
	s.Exec("ovsdb-tool", "create", db, "/usr/share/openvswitch/vswitch.ovsschema")
	s.Exec("ovsdb-server", "--remote=punix:"+s.DB()[len("unix:"):], "--pidfile", "--detach", "--no-chdir", "--log-file", db)
	s.Vsctl("--no-wait", "init")
	s.StartVswitchd()
	return s
}

// startSandbox starts a process that holds the namespaces and ends when this
// process closes its input, even by dying.
func (s *Switch) startSandbox() {
	s.t.Helper()
	const script = `mount --make-rprivate / && mount -t proc proc /proc && mount -t sysfs sysfs /sys && ip link set lo up && echo ready && exec cat`
	cmd := exec.Command("sh", "-ec", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatalf("sandbox input: %v", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatalf("sandbox output: %v", err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("starting the sandbox (root is needed): %v", err)
	}
	s.pid = cmd.Process.Pid
	s.t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill() // process 1 takes the whole sandbox with it
		cmd.Wait()
	})
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, ready); err != nil {
		s.t.Fatalf("the sandbox did not come up: %v", err)
	}
}

// DB is where ovsdb-server listens, as OVSDB clients write it: unix:<path>.
func (s *Switch) DB() string { return "unix:" + filepath.Join(s.RunDir, "db.sock") }

// Mgmt is the path of a bridge's OpenFlow socket.
func (s *Switch) Mgmt(bridge string) string { return filepath.Join(s.RunDir, bridge+".mgmt") }

// PID is process 1 of the sandbox: /proc/<PID>/ns/net is its network namespace.
func (s *Switch) PID() int { return s.pid }

// AddBridge makes a bridge with the userspace datapath that forwards nothing
// by itself and speaks the OpenFlow versions Neutron asks for. It returns when
// ovs-vswitchd has made it.
func (s *Switch) AddBridge(name string) {
	s.t.Helper()
	s.Vsctl("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", "fail_mode=secure",
		"protocols=OpenFlow10,OpenFlow13,OpenFlow14")
}

// AddPort adds an internal port (a tap in the sandbox) with a fixed OpenFlow
// number and returns when ovs-vswitchd has made it.
func (s *Switch) AddPort(bridge, name string, ofport int) {
	s.t.Helper()
	s.Vsctl("add-port", bridge, name, "--", "set", "interface", name, "type=internal", "ofport_request="+strconv.Itoa(ofport))
}

// Ofctl runs ovs-ofctl with OpenFlow 1.4 and returns what it prints.
func (s *Switch) Ofctl(args ...string) string {
	s.t.Helper()
	return s.must(s.command("ovs-ofctl", append([]string{"-O", "OpenFlow14"}, args...)...))
}

// OfctlInput is Ofctl with a standard input, for add-flows <bridge> -.
func (s *Switch) OfctlInput(input string, args ...string) string {
	s.t.Helper()
	cmd := s.command("ovs-ofctl", append([]string{"-O", "OpenFlow14"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	return s.must(cmd)
}

// Vsctl runs ovs-vsctl, which waits for ovs-vswitchd unless told --no-wait.
func (s *Switch) Vsctl(args ...string) string {
	s.t.Helper()
	return s.must(s.command("ovs-vsctl", append([]string{"--db=" + s.DB()}, args...)...))
}

// Appctl runs ovs-appctl on ovs-vswitchd.
func (s *Switch) Appctl(args ...string) string {
	s.t.Helper()
	return s.Exec("ovs-appctl", args...)
}

// Exec runs any command inside the sandbox.
func (s *Switch) Exec(name string, args ...string) string {
	s.t.Helper()
	in := []string{"-t", strconv.Itoa(s.pid), "-n", "-m", "-p", "--", name}
	return s.must(s.command("nsenter", append(in, args...)...))
}

// StartVswitchd starts ovs-vswitchd after KillVswitchd; Start has done it once.
func (s *Switch) StartVswitchd() {
	s.t.Helper()
	s.Exec("ovs-vswitchd", s.DB(), "--pidfile", "--detach", "--no-chdir", "--log-file", "--disable-system")
}

// KillVswitchd ends ovs-vswitchd by SIGKILL, as a crash does: flows, learned
// state and connections are gone, the database stays. It returns when the
// process is gone.
func (s *Switch) KillVswitchd() {
	s.t.Helper()
	file, err := os.OpenFile(filepath.Join(s.RunDir, "ovs-vswitchd.pid"), os.O_RDWR, 0)
	if err != nil {
		s.t.Fatalf("which process is ovs-vswitchd: %v", err)
	}
	defer file.Close()
	pid, err := io.ReadAll(file)
	if err != nil {
		s.t.Fatalf("which process is ovs-vswitchd: %v", err)
	}
	s.Exec("kill", "-9", strings.TrimSpace(string(pid)))
	// The daemon holds a lock on its pid file as long as it lives.
	lock := syscall.Flock_t{Type: syscall.F_WRLCK}
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_SETLKW, &lock); err != nil {
		s.t.Fatalf("waiting for the end of ovs-vswitchd: %v", err)
	}
}

func (s *Switch) command(name string, args ...string) *exec.Cmd {
	// WaitDelay ends the wait for output that a detached daemon still holds.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+s.RunDir, "OVS_DBDIR="+s.RunDir, "OVS_LOGDIR="+s.RunDir)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (s *Switch) must(cmd *exec.Cmd) string {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, errs.String())
	}
	return out.String()
}
