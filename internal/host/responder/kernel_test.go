package responder

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/model"
)

// TestKernelBelievesAdvertisements lets a real guest, the kernel of a namespace, hear of a router that comes, goes, and of a subnet that goes.
func TestKernelBelievesAdvertisements(t *testing.T) {
	device := guestLink(t)
	link, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("packet socket (root is needed): %v", err)
	}
	t.Cleanup(func() { unix.Close(wire) })
	hear := func(adverts ...Advert) {
		t.Helper()
		for i := range adverts {
			if err := unix.Sendto(wire, adverts[i].Frame(), 0, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
				t.Fatal(err)
			}
		}
	}
	show := func() string {
		return command(t, "-n", namespace(), "-6", "addr", "show", "dev", "eth0") + command(t, "-n", namespace(), "-6", "route") +
			"mtu " + command(t, "netns", "exec", namespace(), "cat", "/proc/sys/net/ipv6/conf/eth0/mtu")
	}
	// The kernel of a namespace takes advertisements once its link-local address is known to be free.
	until := func(rule string, ok func(string) bool) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for !ok(show()) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within 20 s:\n%s", rule, show())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	until("the guest is up", func(s string) bool { return strings.Contains(s, "scope link") && !strings.Contains(s, "tentative") })

	p, n := views()
	v6(p, n)
	slaac(p, n)
	legs := []*model.LegView{leg(routerMAC, "2001:db8:1::1/64", "2001:db8:2::1/64", "2001:db8:3::1/64")}
	routed, alone := Adverts(n, legs), Adverts(n, nil)
	const formed, router = "2001:db8:3:0:f816:3eff:fe00:b/64", "default via fe80::f816:3eff:fe00:1 dev eth0 proto ra"
	has := func(words ...string) func(string) bool {
		return func(s string) bool {
			for _, w := range words {
				if want, absent := strings.CutPrefix(w, "!"); strings.Contains(s, want) == absent {
					return false
				}
			}
			return true
		}
	}
	hear(alone...)
	until("no router", has(formed, "2001:db8:1::/64 dev eth0", "!2001:db8:1:0:f816", "2001:db8:2:0:f816", "!default via", "mtu 1458"))
	hear(Withdrawn(alone, routed)...)
	hear(routed...)
	until("a router comes", has(formed, router))
	hear(Withdrawn(routed, alone)...)
	hear(alone...)
	until("a router goes", has(formed, "!default via"))

	n.Subnets = n.Subnets[:len(n.Subnets)-1]
	rest := Adverts(n, nil)
	hear(Withdrawn(alone, rest)...)
	hear(rest...)
	until("a subnet goes", func(s string) bool {
		for line := range strings.Lines(s) {
			if strings.Contains(line, formed) {
				return strings.Contains(line, "deprecated")
			}
		}
		return false
	})
}
