package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NetnsDir is where iproute2 keeps the names of network namespaces, and so do we:
// what is made here `ip netns` lists and enters (ip-netns(8)).
const NetnsDir = "/run/netns"

// EnsureNetns makes a new network namespace under a name, and says whether it
// had to. A file of that name that nothing is mounted on, as a crash may leave
// it, is used.
func EnsureNetns(name string) (created bool, err error) {
	err = mountNetns(name, func(path string) error {
		return inNewNetns(func() error { return bindNetns("/proc/thread-self/ns/net", path) })
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	return true, nil
}

// AttachNetns gives the network namespace of a process a name.
func AttachNetns(name string, pid int) error {
	err := mountNetns(name, func(path string) error { return bindNetns(fmt.Sprintf("/proc/%d/ns/net", pid), path) })
	if err != nil {
		return fmt.Errorf("naming network namespace of process %d %s: %w", pid, name, err)
	}
	return nil
}

// DeleteNetns takes a name away; it is no error when there is none. The
// namespace and its devices go when no process and no open handle uses it.
func DeleteNetns(name string) error {
	path := filepath.Join(NetnsDir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting network namespace %s: %w", name, err)
	}
	return nil
}

// NetnsNames lists the named network namespaces.
func NetnsNames() ([]string, error) {
	entries, err := os.ReadDir(NetnsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing network namespaces: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// mountNetns makes the mount point of a name and has mount mount on it; it
// returns fs.ErrExist when the name is taken.
func mountNetns(name string, mount func(path string) error) error {
	if err := shareNetnsDir(); err != nil {
		return err
	}
	path := filepath.Join(NetnsDir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if isNetns(path) {
		return fs.ErrExist
	}
	if err := mount(path); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

func isNetns(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

func bindNetns(from, path string) error {
	return unix.Mount(from, path, "none", unix.MS_BIND, "")
}

// shareNetnsDir makes the directory a shared mount of its own, as iproute2 does
// before its first namespace: when iproute2 did it later, it would cover the
// names that we made before. The lock is the one iproute2 takes.
func shareNetnsDir() error {
	if err := os.MkdirAll(NetnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(NetnsDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	err = unix.Mount("", NetnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Mount(NetnsDir, NetnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", NetnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

// inNewNetns runs fn on a thread in a network namespace of its own.
func inNewNetns(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer back.Close()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err = fn()
		if netns.Set(back) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
