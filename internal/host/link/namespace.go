// Package link is the kernel's networking as the rest of Weft sees it: bridges,
// veth pairs, taps, addresses, routes, sysctls and network namespaces.
//
// It is the only package that speaks netlink. What it does not do: it knows no
// ports, networks or hosts, and it starts no process except nft (see Quiet).
// A Namespace is one network namespace, held open; every method acts there,
// whatever namespace the calling thread is in. Functions that ensure something
// write nothing when it is already so.
//
// Called by the agent, by vif and by lab.
package link

import (
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is an open network namespace. Its methods may be called from many
// goroutines at once. Close it when it is no longer needed: an open Namespace
// keeps the kernel's one alive.
type Namespace struct {
	handle *netlink.Handle
	fd     netns.NsHandle
}

// Current opens the network namespace of the calling thread.
func Current() (*Namespace, error) { return OpenPath("/proc/thread-self/ns/net") }

// OpenNetns opens a namespace by the name that `ip netns` knows it by.
func OpenNetns(name string) (*Namespace, error) { return OpenPath(filepath.Join(NetnsDir, name)) }

// OpenPath opens the namespace behind a file such as /proc/PID/ns/net.
func OpenPath(path string) (*Namespace, error) {
	fd, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("opening network namespace %s: %w", path, err)
	}
	h, err := netlink.NewHandleAt(fd, unix.NETLINK_ROUTE)
	if err != nil {
		fd.Close()
		return nil, fmt.Errorf("netlink socket in %s: %w", path, err)
	}
	return &Namespace{handle: h, fd: fd}, nil
}

// Close gives back the socket and lets the namespace go.
func (n *Namespace) Close() {
	n.handle.Close()
	n.fd.Close()
}

// Same reports whether two handles are of one namespace.
func (n *Namespace) Same(o *Namespace) bool { return n.fd.Equal(o.fd) }

// Do runs fn on a thread inside the namespace and returns its error. Sockets
// opened, files under /proc/sys read and processes started by fn itself belong
// to the namespace; goroutines that fn starts do not.
func (n *Namespace) Do(fn func() error) error {
	// A goroutine of its own: when the thread cannot be brought back, it ends
	// together with the goroutine, and the caller was never in a wrong place.
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("own network namespace: %w", err)
			return
		}
		defer back.Close()
		if err := netns.Set(n.fd); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("entering network namespace: %w", err)
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
