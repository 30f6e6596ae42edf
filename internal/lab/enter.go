package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/host/link"
	"weft/internal/host/vif"
)

// Streams are the standard streams of a command; nil ones are /dev/null. A
// *os.File is handed on as it is, so a terminal stays a terminal.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exec runs a command in a host and waits for it. Its exit status is in an
// *exec.ExitError.
func (l *Lab) Exec(ctx context.Context, host string, s Streams, argv ...string) error {
	return l.run(ctx, host, "", s, argv)
}

// Output runs a command in a host and returns what it prints; what it prints to
// standard error is in the error.
func (l *Lab) Output(ctx context.Context, host string, argv ...string) (string, error) {
	return output(func(s Streams) error { return l.run(ctx, host, "", s, argv) }, argv)
}

// VMExec runs a command in a VM that is a namespace.
func (l *Lab) VMExec(ctx context.Context, vm string, s Streams, argv ...string) error {
	v, err := l.namespaceVM(vm)
	if err != nil {
		return err
	}
	return l.run(ctx, v.Host, vm, s, argv)
}

// VMOutput runs a command in a VM that is a namespace and returns what it prints.
func (l *Lab) VMOutput(ctx context.Context, vm string, argv ...string) (string, error) {
	return output(func(s Streams) error { return l.VMExec(ctx, vm, s, argv...) }, argv)
}

func output(run func(Streams) error, argv []string) (string, error) {
	var out, errOut bytes.Buffer
	if err := run(Streams{Out: &out, Err: &errOut}); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(errOut.Bytes()))
	}
	return out.String(), nil
}

func (l *Lab) run(ctx context.Context, host, guest string, s Streams, argv []string) error {
	cmd, err := command(ctx, s, argv)
	if err != nil {
		return err
	}
	if host == Outside {
		if _, err := l.read(); err != nil {
			return err
		}
		if err := l.startOutside(cmd); err != nil {
			return fmt.Errorf("%s: %w", Outside, err)
		}
		return cmd.Wait()
	}
	first, err := l.firstProcess(host)
	if err != nil {
		return err
	}
	if err := startIn(first, guest, cmd); err != nil {
		return fmt.Errorf("host %s: %w", host, err)
	}
	return cmd.Wait()
}

func command(ctx context.Context, s Streams, argv []string) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, fault.New(fault.Invalid, "InvalidCommand", "no command to run")
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	cmd.Env = environ()
	return cmd, nil
}

// environ is the caller's environment without the mark that Down kills by: only
// a host's first process and the server carry it.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, labVariable+"=") })
}

// startIn starts a command in the namespaces of a host's first process and, when
// a guest is named, in that guest. The command is a child of this process: its
// id is the machine's, and whoever starts it must wait for it, or a host that is
// killed cannot end.
func startIn(first int, guest string, cmd *exec.Cmd) error {
	// All doors are opened before going through the first one, which changes
	// what /proc means.
	kinds := []int{unix.CLONE_NEWNET, unix.CLONE_NEWUTS, unix.CLONE_NEWPID, unix.CLONE_NEWNS}
	var doors []*os.File
	defer func() {
		for _, d := range doors {
			d.Close()
		}
	}()
	for _, kind := range []string{"net", "uts", "pid", "mnt"} {
		d, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", first, kind))
		if err != nil {
			return fmt.Errorf("entering: %w", err)
		}
		doors = append(doors, d)
	}
	return onOwnThread(func() error {
		// A thread that shares its working directory with others may not change
		// its mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("entering: %w", err)
		}
		for i, d := range doors {
			if err := unix.Setns(int(d.Fd()), kinds[i]); err != nil {
				return fmt.Errorf("entering %s: %w", d.Name(), err)
			}
		}
		if guest != "" {
			if err := enterGuest(guest); err != nil {
				return fmt.Errorf("entering guest %s: %w", guest, err)
			}
		}
		return cmd.Start()
	})
}

// enterGuest moves the thread, which is in the host, on into a guest: its
// network, its own view of /sys and its name servers.
func enterGuest(guest string) error {
	netns, err := os.Open(filepath.Join(link.NetnsDir, vif.GuestNetns(guest)))
	if err != nil {
		return err
	}
	defer netns.Close()
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "none", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	err = unix.Mount(guestFile(guest, "resolv.conf"), "/etc/resolv.conf", "none", unix.MS_BIND, "")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no lease named servers
	}
	return err
}

// onOwnThread runs fn on a thread that ends with it. The process's main thread
// cannot end, and is what others see of the process, so it is never the one.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- fn()
			return // still locked: the thread goes with the goroutine
		}
		done <- onOwnThread(fn) // held here, the main thread is not picked again
		runtime.UnlockOSThread()
	}()
	return <-done
}
