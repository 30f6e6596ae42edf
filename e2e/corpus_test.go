package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	stdhex "encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/host/vif"
	"weft/internal/lab"
	"weft/internal/labcmd"
	"weft/internal/model"
	"weft/internal/testkit/filtertest"
)

// rawEnv makes the test program, started inside a guest, speak raw frames: "send" what stands in its input, or
// "receive" and print. Frames are lines of hexadecimal digits.
const rawEnv = "WEFT_E2E_RAW"

// speakRaw is the test program inside a guest.
func speakRaw(what string) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL
	if err != nil {
		return err
	}
	card, err := net.InterfaceByName(vif.GuestDevice)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: card.Index}); err != nil {
		return err
	}
	if what == "send" {
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			f, err := stdhex.DecodeString(s.Text())
			if err != nil {
				return err
			}
			if _, err := unix.Write(fd, f); err != nil {
				return fmt.Errorf("%x: %w", f, err)
			}
		}
		return nil
	}
	fmt.Println("ready")
	for buf := make([]byte, 4096); ; {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return err
		}
		if _, err := fmt.Printf("%x\n", buf[:n]); err != nil {
			return nil // nobody listens any more
		}
	}
}

// hears has one guest send frames, and returns what the other receives until a marker that follows them: an ARP probe,
// which every port may send.
func (w *world) hears(t testing.TB, from, to string, sender model.MAC, frames [][]byte) (got [][]byte) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	raw := func(what string) []string { return []string{"env", rawEnv + "=" + what, exe} }
	ctx, cancel := context.WithCancel(t.Context())
	r, out := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.lab.VMExec(ctx, to, lab.Streams{Out: out}, raw("receive")...)
		out.Close()
	}()
	defer func() { r.Close(); cancel(); <-ended }()
	lines := bufio.NewScanner(r)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the receiver says %q", lines.Text())
	}
	mark := arp(1, sender, sender, "0.0.0.0", everyone, "10.255.0.1")
	var in strings.Builder
	// Three times: the userspace datapath drops a packet now and then while the switch is being changed.
	for range 3 {
		for _, f := range frames {
			fmt.Fprintf(&in, "%x\n", f)
		}
	}
	for range 3 {
		fmt.Fprintf(&in, "%x\n", mark)
	}
	if err := w.lab.VMExec(t.Context(), from, lab.Streams{In: strings.NewReader(in.String())}, raw("send")...); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		f, err := stdhex.DecodeString(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(f, mark) {
			return got
		}
		got = append(got, f)
	}
	t.Fatal("the marker did not arrive")
	return nil
}

var everyone = model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arp makes an ARP packet (RFC 826).
func arp(op uint16, from, sha model.MAC, spa string, to model.MAC, tpa string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, 1, 8, 0, 6, 4}, op)
	b = append(append(b, sha[:]...), netip.MustParseAddr(spa).AsSlice()...)
	b = append(append(b, make([]byte, 6)...), netip.MustParseAddr(tpa).AsSlice()...)
	return filtertest.Ethernet(from, to, 0x0806, append(b, make([]byte, 18)...))
}

// tagged puts a VLAN tag into a frame.
func tagged(f []byte, tpid, vlan uint16) []byte {
	b := binary.BigEndian.AppendUint16(bytes.Clone(f[:12]), tpid)
	return append(binary.BigEndian.AppendUint16(b, vlan), f[12:]...)
}

// behind puts an IPv6 extension header of 8 bytes before what an IPv6 packet holds (RFC 8200, section 4).
func behind(f []byte, header byte) []byte {
	p := bytes.Clone(f)
	next := p[14+6]
	p[14+6] = header
	binary.BigEndian.PutUint16(p[14+4:], binary.BigEndian.Uint16(p[14+4:])+8)
	ext := []byte{next, 0, 1, 4, 0, 0, 0, 0} // PadN
	if header == 44 {                        // a fragment that is all of it
		ext = []byte{next, 0, 0, 0, 0, 0, 0, 1}
	}
	return append(append(bytes.Clone(p[:14+40]), ext...), p[14+40:]...)
}

// TestCorpus sends what attackers send from a guest that may otherwise do everything, by both drivers, to a guest
// that accepts everything: nothing of it arrives.
func TestCorpus(t *testing.T) { bothDrivers(t, corpus) }

func corpus(t *testing.T, which func(*labcmd.VMOptions)) {
	n := w.network(t, "10.29.0.0/24", nil)
	g := w.group(t, "all")
	for _, e := range []string{"IPv4", "IPv6"} {
		w.rule(t, g, body{"ethertype": e})
	}
	a := w.vm(t, "co-a", "compute1", n, in(g), which)
	b := w.vm(t, "co-b", "compute2", n, in(g), which)
	w.reaches(t, "co-a", b.Addrs[0].String())
	own4, far4 := a.Addrs[0].String(), b.Addrs[0].String()
	local := func(m model.MAC) string {
		return fmt.Sprintf("fe80::%x:%xff:fe%02x:%x", uint16(m[0]^2)<<8|uint16(m[1]), m[2], m[3], uint16(m[4])<<8|uint16(m[5]))
	}
	own6, far6, router6 := local(a.MAC), local(b.MAC), "fe80::1"
	other := model.MAC{0xfa, 0x16, 0x3e, 9, 9, 9}
	flow := func(src, dst string) filtertest.Flow {
		return filtertest.Flow{SrcMAC: a.MAC, DstMAC: b.MAC, Src: src, Dst: dst}
	}
	good4, good6 := flow(own4, far4).UDP(4000, 5000), flow(own6, far6).UDP(4000, 5000)
	ra := flow(own6, far6).ICMP(134, 0, 0)
	cases := []struct {
		name   string
		frame  []byte
		passes bool
	}{
		{"own IPv4", good4, true},
		{"own IPv6", good6, true},
		{"own ARP", arp(2, a.MAC, a.MAC, own4, b.MAC, far4), true},
		{"own neighbour advertisement", flow(own6, far6).ICMP(136, 0, 0), true},
		{"ARP for another's address", arp(2, a.MAC, a.MAC, far4, b.MAC, far4), false},
		{"ARP for the gateway", arp(2, a.MAC, a.MAC, "10.29.0.1", b.MAC, far4), false},
		{"announcement of the gateway", arp(1, a.MAC, a.MAC, "10.29.0.1", everyone, "10.29.0.1"), false},
		{"ARP with another's hardware address", arp(2, a.MAC, other, own4, b.MAC, far4), false},
		{"ARP from another MAC", arp(2, other, a.MAC, own4, b.MAC, far4), false},
		{"ARP behind a VLAN tag", tagged(arp(2, a.MAC, a.MAC, far4, b.MAC, far4), 0x8100, 0), false},
		{"IPv4 of another", flow("10.29.0.99", far4).UDP(1, 2), false},
		{"IPv4 from another MAC", flow(own4, far4).As(other).UDP(1, 2), false},
		{"IPv6 of another", flow("fe80::99", far6).UDP(1, 2), false},
		{"IPv6 of another behind options", behind(flow("fe80::99", far6).UDP(1, 2), 60), false},
		{"IPv6 of another in a fragment", behind(flow("fe80::99", far6).UDP(1, 2), 44), false},
		{"neighbour advertisement of another", flow(router6, far6).ICMP(136, 0, 0), false},
		{"router advertisement", ra, false},
		{"router advertisement behind hop-by-hop options", behind(ra, 0), false},
		{"router advertisement behind destination options", behind(ra, 60), false},
		{"router advertisement of the gateway", flow(router6, far6).ICMP(134, 0, 0), false},
		{"redirect", flow(own6, far6).ICMP(137, 0, 0), false},
		{"DHCP server", flow(own4, far4).UDP(67, 68), false},
		{"DHCP server as the network's", flow("10.29.0.2", far4).UDP(67, 68), false},
		{"DHCPv6 server", flow(own6, far6).UDP(547, 546), false},
		{"VLAN tag of no VLAN", tagged(flow(own4, far4).UDP(4000, 5001), 0x8100, 0), false},
		{"VLAN tag", tagged(flow(own4, far4).UDP(4000, 5002), 0x8100, 1), false},
		{"service tag", tagged(flow(own4, far4).UDP(4000, 5003), 0x88a8, 1), false},
		{"two VLAN tags", tagged(tagged(flow(own4, far4).UDP(4000, 5004), 0x8100, 1), 0x8100, 0), false},
		{"router advertisement behind a VLAN tag", tagged(ra, 0x8100, 0), false},
		{"router advertisement in SNAP", filtertest.SNAP(ra), false},
		{"router advertisement in SNAP behind a VLAN tag", tagged(filtertest.SNAP(ra), 0x8100, 0), false},
		{"IPv4 of another in SNAP", filtertest.SNAP(flow("10.29.0.99", far4).UDP(1, 2)), false},
		{"ARP of another in SNAP", filtertest.SNAP(arp(2, a.MAC, a.MAC, far4, b.MAC, far4)), false},
		{"LLDP", filtertest.Ethernet(a.MAC, model.MAC{1, 0x80, 0xc2, 0, 0, 0x0e}, 0x88cc, make([]byte, 46)), false},
		{"EAPOL", filtertest.Ethernet(a.MAC, b.MAC, 0x888e, make([]byte, 46)), false},
		{"spanning tree", filtertest.Ethernet(a.MAC, model.MAC{1, 0x80, 0xc2}, 38, append([]byte{0x42, 0x42, 3}, make([]byte, 43)...)), false},
		{"MPLS", filtertest.Ethernet(a.MAC, b.MAC, 0x8847, append([]byte{0, 0, 0x11, 0x40}, good4[14:]...)), false},
		{"an unknown type", filtertest.Ethernet(a.MAC, b.MAC, 0x88b5, make([]byte, 46)), false},
	}
	var frames [][]byte
	for _, c := range cases {
		frames = append(frames, c.frame)
	}
	heard := make([]bool, len(cases))
	complete := func() bool {
		for i, c := range cases {
			if c.passes && !heard[i] {
				return false
			}
		}
		return true
	}
	// The datapath may lose a frame while the switch is being changed. What is forbidden must not pass in any round.
	for round := 0; round == 0 || round < 5 && !complete(); round++ {
		for _, f := range w.hears(t, "co-a", "co-b", a.MAC, frames) {
			for i, c := range cases {
				heard[i] = heard[i] || filtertest.IsFrame(f, c.frame)
			}
		}
	}
	for i, c := range cases {
		if heard[i] != c.passes {
			t.Errorf("%s: passes %v, want %v", c.name, heard[i], c.passes)
		}
	}
}

// TestCorpus_behindLLC sends what the groups of the sender or of the receiver refuse behind an LLC/SNAP header, which
// iptables does not see. What is removed by hand comes back, and a port without port security is free to speak as it likes.
func TestCorpus_behindLLC(t *testing.T) {
	bothDrivers(t, func(t *testing.T, which func(*labcmd.VMOptions)) {
		n := w.network(t, "10.28.0.0/24", nil)
		open, closed := w.group(t, "open"), w.group(t, "closed")
		w.rule(t, open, body{})
		for _, r := range w.must(t, "GET", "security-groups/"+closed, "security_group", nil)["security_group_rules"].([]any) {
			w.must(t, "DELETE", "security-group-rules/"+r.(body)["id"].(string), "", nil)
		}
		a := w.vm(t, "ll-a", "compute1", n, in(open), which)
		b := w.vm(t, "ll-b", "compute2", n, in(closed), which)
		w.reaches(t, "ll-a", "10.28.0.2")
		udp := func(from, to labcmd.Port) []byte {
			return filtertest.Flow{SrcMAC: from.MAC, DstMAC: to.MAC, Src: from.Addrs[0].String(), Dst: to.Addrs[0].String()}.UDP(4000, 5000)
		}
		refused := func(when string) {
			t.Helper()
			for _, d := range []struct {
				name     string
				from, to string
				ports    [2]labcmd.Port
			}{{"to one that accepts nothing", "ll-a", "ll-b", [2]labcmd.Port{a, b}}, {"from one that may send nothing", "ll-b", "ll-a", [2]labcmd.Port{b, a}}} {
				f := udp(d.ports[0], d.ports[1])
				for _, got := range w.hears(t, d.from, d.to, d.ports[0].MAC, [][]byte{f, filtertest.SNAP(f)}) {
					if filtertest.IsFrame(got, f) || filtertest.IsFrame(got, filtertest.SNAP(f)) {
						t.Errorf("%s, %s: passed: %x", when, d.name, got)
					}
				}
			}
		}
		refused("at first")
		if !strings.HasSuffix(t.Name(), model.FirewallHybrid) {
			return
		}
		guarded := func() bool {
			out, err := w.lab.Output(t.Context(), "compute2", "nft", "list", "table", "bridge", "weft-llc")
			return err == nil && strings.Contains(out, "tap"+b.ID.DeviceSuffix())
		}
		w.host(t, "compute2", "nft", "delete", "table", "bridge", "weft-llc")
		w.eventually(t, "what was removed by hand is back", guarded)
		refused("after a repair")
		w.must(t, "PUT", "ports/"+b.ID.String(), "port", body{"port_security_enabled": false, "security_groups": []string{}})
		w.eventually(t, "the port is no longer filtered", func() bool { return !guarded() })
	})
}
