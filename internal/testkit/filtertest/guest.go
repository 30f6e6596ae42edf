package filtertest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/model"
)

// Guest is one end of a wire: a namespace with a device eth0 that has no address,
// so that its kernel answers nothing.
type Guest struct {
	NS  string
	MAC model.MAC
	fd  int // AF_PACKET on eth0, -1 once it has an address
}

// sandboxes tells the namespaces of one process apart.
var sandboxes atomic.Int32

// NewNamespace makes a network namespace, which ends with the test.
func NewNamespace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("wf-%d-%d", time.Now().UnixNano()%1e9, sandboxes.Add(1))
	Sh(t, "ip netns add "+name)
	t.Cleanup(func() { Sh(t, "ip netns del "+name) })
	Sh(t, "ip -n "+name+" link set lo up")
	return name
}

// Sh runs a shell command and returns what it prints; a failure ends the test.
func Sh(t testing.TB, command string) string {
	t.Helper()
	out, err := exec.Command("bash", "-e", "-o", "pipefail", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// In is a shell command inside a namespace.
func In(ns, command string) string { return "ip netns exec " + ns + " " + command }

// NewGuest makes a guest. plug connects the device eth0 in its namespace.
func NewGuest(t testing.TB, mac model.MAC, plug func(ns string)) *Guest {
	t.Helper()
	g := &Guest{NS: NewNamespace(t), MAC: mac}
	Sh(t, In(g.NS, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"))
	plug(g.NS)
	Sh(t, "ip -n "+g.NS+" link set eth0 up")
	g.open(t)
	return g
}

// open makes the packet socket.
func (g *Guest) open(t testing.TB) {
	t.Helper()
	InThread(t, g.NS, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		eth, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		g.fd = fd
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: eth.Index})
	})
	t.Cleanup(func() {
		if g.fd >= 0 {
			unix.Close(g.fd)
		}
	})
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// InThread calls f on a thread that is in a namespace.
func InThread(t testing.TB, ns string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Send puts frames on the wire. All frames of a process are sent on CPU 0, so that
// they stay in order on their way through the kernel.
func (g *Guest) Send(t testing.TB, frames ...[]byte) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with its affinity
		var cpu unix.CPUSet
		cpu.Set(0)
		err := unix.SchedSetaffinity(0, &cpu)
		for _, f := range frames {
			if err == nil {
				_, err = unix.Write(g.fd, f)
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Receive returns the next frame; ten seconds without one mean that the wire is
// broken.
func (g *Guest) Receive(t testing.TB, buf []byte) []byte {
	t.Helper()
	f, ok := g.receive(t, buf, 10_000)
	if !ok {
		t.Fatal("the marker did not arrive: the wire is broken")
	}
	return f
}

// Waiting returns the next frame if one is there already.
func (g *Guest) Waiting(t testing.TB, buf []byte) ([]byte, bool) {
	t.Helper()
	return g.receive(t, buf, 0)
}

func (g *Guest) receive(t testing.TB, buf []byte, timeout int) ([]byte, bool) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}}, timeout)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			t.Fatal(err)
		case n == 0:
			return nil, false
		}
		n, err = unix.Read(g.fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		return buf[:n], true
	}
}

// IsFrame reports whether a frame that was received is one that was sent.
func IsFrame(got, sent []byte) bool {
	return len(got) >= len(sent) && bytes.Equal(got[:len(sent)], sent) || bytes.Equal(got, untagged(sent))
}

// Address gives a guest an IPv4 address and a TCP stack that uses it, in place of
// the packet socket.
func (g *Guest) Address(t testing.TB, a string) {
	t.Helper()
	Sh(t, In(g.NS, "ethtool -K eth0 tx off >/dev/null")) // a switch does not finish checksums
	Sh(t, "ip -n "+g.NS+" addr add "+a+"/24 dev eth0")
	unix.Close(g.fd)
	g.fd = -1
}
