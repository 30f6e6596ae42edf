package responder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// guestScript is what udhcpc runs: it prints what it was given.
const guestScript = `#!/bin/sh
[ "$1" = bound ] || exit 0
echo "ip=$ip mask=$mask router=$router dns=$dns mtu=$mtu lease=$lease server=$serverid host=$hostname domain=$domain broadcast=$broadcast routes=$staticroutes"
`

// TestUdhcpcGetsItsLease lets a real client in a namespace of its own ask over a
// veth; each of its frames is answered by Answer.
func TestUdhcpcGetsItsLease(t *testing.T) {
	device := guestLink(t)
	serve(t, newDHCP(t), device)

	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(guestScript), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule string
		args []string
	}{
		{"discover", nil},
		{"a wrong address is asked for", []string{"-r", "10.0.0.99"}},
		{"answers are broadcast", []string{"-B"}},
	} {
		args := append([]string{"netns", "exec", namespace(), "busybox", "udhcpc", "-f", "-q", "-n", "-t", "5", "-T", "2",
			"-i", "eth0", "-s", script, "-O", "mtu", "-O", "staticroutes"}, c.args...)
		got := command(t, args...)
		for _, want := range []string{"ip=10.0.0.11 mask=24 router=10.0.0.1 dns=8.8.4.4 8.8.8.8 mtu=1458 lease=86400 server=10.0.0.2",
			"host=host-10-0-0-11 domain=openstacklocal broadcast=10.0.0.255",
			"169.254.169.254/32 10.0.0.2", "0.0.0.0/0 10.0.0.1"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is missing in %q", c.rule, want, got)
			}
		}
	}
}

func namespace() string { return fmt.Sprintf("wr-%d", os.Getpid()) }

// command runs ip with arguments and returns what it prints.
func command(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs strings.Builder
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ip %s (root is needed): %v\n%s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return string(out)
}

// guestLink makes a namespace with eth0 in it and returns the name of its other end.
func guestLink(t *testing.T) string {
	t.Helper()
	ns, device := namespace(), fmt.Sprintf("wrh%d", os.Getpid())
	command(t, "netns", "add", ns)
	t.Cleanup(func() { command(t, "netns", "del", ns) })
	command(t, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", ns)
	t.Cleanup(func() { command(t, "link", "del", device) }) // a namespace lives on for a moment
	command(t, "-n", ns, "link", "set", "eth0", "address", guestMAC.String(), "up")
	command(t, "link", "set", device, "up")
	return device
}

// serve answers what comes in on a device until the test ends.
func serve(t *testing.T, d *Guests, device string) {
	t.Helper()
	link, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	const ipv4 = etherTypeIPv4>>8 | etherTypeIPv4&0xff<<8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, ipv4)
	if err != nil {
		t.Fatalf("packet socket (root is needed): %v", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: link.Index}); err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(fd), device)
	done := make(chan struct{})
	t.Cleanup(func() {
		socket.Close()
		<-done
	})
	go func() {
		defer close(done)
		frame := make([]byte, 2048)
		for {
			n, err := socket.Read(frame)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				t.Errorf("reading from %s: %v", device, err)
				return
			}
			// Our own frames come in as well, and are no requests.
			if answer, err := single(d.Answer(testPort, frame[:n])); err == nil && answer != nil {
				if _, err := socket.Write(answer); err != nil {
					t.Errorf("writing to %s: %v", device, err)
				}
			}
		}
	}()
}
