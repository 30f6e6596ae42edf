package iptables

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/model"
)

// guest is one end of the wire: a namespace with a device eth0 that has no
// address, so that its kernel answers nothing.
type guest struct {
	ns  string
	mac model.MAC
	fd  int // AF_PACKET on eth0
	seq atomic.Uint64
}

// wire is a TAP and a qvb on a Linux bridge in a host namespace, with a VM
// behind the one and the network behind the other.
type wire struct {
	host     string
	vm, peer *guest
}

func newWire(t testing.TB, v *model.PortView) *wire {
	t.Helper()
	w := &wire{host: newNamespace(t)}
	w.vm = w.attach(t, v, "tap", v.MAC)
	w.peer = w.attach(t, v, "qvb", model.MAC{0xfa, 0x16, 0x3e, 0, 0xd, 0xd})
	return w
}

// attach adds a guest to the port's bridge by a device of that prefix.
func (w *wire) attach(t testing.TB, v *model.PortView, kind string, mac model.MAC) *guest {
	t.Helper()
	s := v.ID.DeviceSuffix()
	g := &guest{ns: newNamespace(t), mac: mac}
	sh(t, in(g.ns, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"))
	sh(t, in(w.host, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"))
	sh(t, "ip -n "+w.host+" link show qbr"+s+" >/dev/null 2>&1 || ip -n "+w.host+" link add qbr"+s+" type bridge forward_delay 0 mcast_snooping 0")
	sh(t, "ip -n "+w.host+" link set qbr"+s+" up")
	sh(t, "ip -n "+w.host+" link add "+kind+s+" type veth peer name eth0 address "+mac.String()+" netns "+g.ns)
	sh(t, "ip -n "+w.host+" link set "+kind+s+" master qbr"+s+" up")
	sh(t, "ip -n "+g.ns+" link set eth0 up")
	g.open(t)
	return g
}

// open makes the packet socket. All frames of a process are sent on CPU 0, so
// that they stay in order on their way through the bridge.
func (g *guest) open(t testing.TB) {
	t.Helper()
	err := namespace{"/run/netns/" + g.ns}.do(func() error {
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
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(g.fd) })
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// send puts frames on the wire.
func (g *guest) send(t testing.TB, frames ...[]byte) {
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

// passes sends a frame from one guest to the other and tells whether it
// arrives. A marker that no rule touches follows it: when the marker is there,
// the frame is there or was dropped.
func passes(t testing.TB, from, to *guest, f []byte) bool {
	t.Helper()
	tag := make([]byte, 46)
	binary.BigEndian.PutUint64(tag[8:], from.seq.Add(1))
	copy(tag, "wf-mark.")
	from.send(t, f, ethernet(from.mac, model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x88b5, tag)) // IEEE 802 local experimental ethertype
	seen := false
	buf := make([]byte, 4096)
	for {
		pollFor(t, to.fd)
		n, err := unix.Read(to.fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		got := buf[:n]
		switch {
		case bytes.Contains(got, tag[:16]):
			return seen
		case n >= len(f) && bytes.Equal(got[:len(f)], f), bytes.Equal(got, untagged(f)):
			seen = true
		}
	}
}

// untagged is the frame as a receiver reads it: the kernel takes the VLAN tag out.
func untagged(f []byte) []byte {
	if f[12] == 0x81 && f[13] == 0 {
		return append(bytes.Clone(f[:12]), f[16:]...)
	}
	return f
}

// pollFor waits for a frame; ten seconds without one mean that the wire is broken.
func pollFor(t testing.TB, fd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			t.Fatal(err)
		case n == 0:
			t.Fatal("the marker did not arrive: the wire is broken")
		default:
			return
		}
	}
}

func ethernet(src, dst model.MAC, typ uint16, payload []byte) []byte {
	f := append(append(bytes.Clone(dst[:]), src[:]...), byte(typ>>8), byte(typ))
	return append(f, payload...)
}

// priorityTagged puts a VLAN tag with id 0 into a frame.
func priorityTagged(f []byte) []byte {
	return append(append(bytes.Clone(f[:12]), 0x81, 0, 0, 0), f[12:]...)
}

func sum(b []byte, s uint32) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// ip makes an IP packet with a right header.
func ip(src, dst netip.Addr, proto byte, payload []byte) (ethertype uint16, packet []byte) {
	if src.Is4() {
		h := []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, proto, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
		h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(h[10:], fold(sum(h, 0)))
		return 0x0800, append(h, payload...)
	}
	h := []byte{0x60, 0, 0, 0, 0, 0, proto, 255}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	return 0x86dd, append(h, payload...)
}

// checksummed sets the 16-bit checksum at an offset, with the pseudo header
// where the protocol has one.
func checksummed(src, dst netip.Addr, proto byte, b []byte, at int) []byte {
	var s uint32
	if proto != 1 {
		s = sum(src.AsSlice(), sum(dst.AsSlice(), uint32(proto)+uint32(len(b))))
	}
	binary.BigEndian.PutUint16(b[at:], fold(sum(b, s)))
	return b
}

// flow makes packets between two addresses, as the guest with a MAC sends them.
type flow struct {
	srcMAC, dstMAC model.MAC
	src, dst       string
}

func (f flow) packet(proto byte, payload []byte) []byte {
	typ, p := ip(addr(f.src), addr(f.dst), proto, payload)
	return ethernet(f.srcMAC, f.dstMAC, typ, p)
}

func (f flow) udp(sport, dport uint16) []byte {
	b := make([]byte, 8+8)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	return f.packet(17, checksummed(addr(f.src), addr(f.dst), 17, b, 6))
}

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

func (f flow) tcp(sport, dport uint16, flags byte, seq, ackn uint32) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ackn)
	b[12], b[13], b[14] = 5<<4, flags, 0x40
	return f.packet(6, checksummed(addr(f.src), addr(f.dst), 6, b, 16))
}

func (f flow) icmp(typ, code byte, ident uint16) []byte {
	proto := byte(1)
	if strings.Contains(f.src, ":") {
		proto = 58
	}
	b := make([]byte, 8+24)
	b[0], b[1] = typ, code
	binary.BigEndian.PutUint16(b[4:], ident)
	return f.packet(proto, checksummed(addr(f.src), addr(f.dst), proto, b, 2))
}

func (f flow) back() flow { return flow{f.dstMAC, f.srcMAC, f.dst, f.src} }

// as changes the sender's MAC.
func (f flow) as(m model.MAC) flow { f.srcMAC = m; return f }

// inThread runs f in a namespace, for tests that use its TCP stack.
func inThread(t testing.TB, ns string, f func() error) {
	t.Helper()
	if err := (namespace{"/run/netns/" + ns}).do(f); err != nil {
		t.Fatal(err)
	}
}
