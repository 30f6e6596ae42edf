package agent

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/host/iptables"
	"weft/internal/host/pipeline"
	"weft/internal/host/responder"
	"weft/internal/model"
	"weft/internal/testkit/ovstest"
)

// guestsVariable makes the test's program play guests instead: a load in JSON.
const guestsVariable = "WEFT_TEST_GUESTS"

// load is what guests ask: each of Ports cards p<n> sends a question, waits for the answer and sends the next one.
type load struct {
	Ports   int
	Rate    float64 // questions a second of all guests; 0: as fast as they are answered
	Seconds float64
	IPv6    bool
	Flood   bool // card p0 does not wait, and nobody else asks
}

// heard is what became of a load.
type heard struct{ Asked, Answered int64 }

func TestMain(m *testing.M) {
	if s := os.Getenv(guestsVariable); s != "" {
		var l load
		if err := json.Unmarshal([]byte(s), &l); err != nil {
			panic(err)
		}
		out, _ := json.Marshal(l.play())
		fmt.Println(string(out))
		os.Exit(0)
	}
	if s := os.Getenv(passVariable); s != "" {
		var sc scene
		if err := json.Unmarshal([]byte(s), &sc); err != nil {
			panic(err)
		}
		out, _ := json.Marshal(sc.play())
		fmt.Println(string(out))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func guestMAC(i int) model.MAC { return model.MAC{0xfa, 0x16, 0x3e, 1, byte(i >> 8), byte(i)} }

func guestAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 1, byte(1 + i/200), byte(10 + i%200)})
}

func (l load) play() (h heard) {
	end := time.Now().Add(time.Duration(l.Seconds * float64(time.Second)))
	if l.Flood {
		card, frame := openCard("p0", l.IPv6), question4(0, 1)
		for time.Now().Before(end) {
			if _, err := unix.Write(card, frame); err == nil {
				h.Asked++
			}
		}
		return h
	}
	var guests sync.WaitGroup
	for i := range l.Ports {
		guests.Go(func() {
			card := openCard(fmt.Sprintf("p%d", i), l.IPv6)
			unix.SetsockoptTimeval(card, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
			every := time.Duration(0)
			if l.Rate > 0 {
				every = time.Duration(float64(l.Ports) / l.Rate * float64(time.Second))
				<-time.After(every * time.Duration(i) / time.Duration(l.Ports))
			}
			buf := make([]byte, 2048)
			next := time.Now()
			for xid := uint32(1); time.Now().Before(end); xid++ {
				frame := question4(i, xid)
				if l.IPv6 {
					frame = question6(i, xid)
				}
				if _, err := unix.Write(card, frame); err != nil {
					continue
				}
				atomic.AddInt64(&h.Asked, 1)
				for {
					n, err := unix.Read(card, buf)
					if err != nil {
						break
					}
					at, want := 14+20+8+4, xid
					if l.IPv6 {
						at, want = 14+40+8, 2<<24|xid&0xffffff
					}
					if n > at+4 && binary.BigEndian.Uint32(buf[at:]) == want {
						atomic.AddInt64(&h.Answered, 1)
						break
					}
				}
				next = next.Add(every)
				if every > 0 {
					<-time.After(time.Until(next))
				}
			}
		})
	}
	guests.Wait()
	return h
}

func openCard(name string, ipv6 bool) int {
	proto := uint16(0x0008) // in network order
	if ipv6 {
		proto = 0xdd86
	}
	link, err := net.InterfaceByName(name)
	if err != nil {
		panic(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(proto))
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Index})
	}
	if err != nil {
		panic(err)
	}
	return fd
}

// question4 is a DHCPv4 discovery or, in turn, the request that follows (RFC 2131).
func question4(i int, xid uint32) []byte {
	mac := guestMAC(i)
	b := append([]byte{255, 255, 255, 255, 255, 255}, mac[:]...)
	b = append(b, 8, 0, 0x45, 0, 1, 72, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255)
	b = append(b, 0, 68, 0, 67, 1, 52, 0, 0, 1, 1, 6, 0)
	b = binary.BigEndian.AppendUint32(b, xid)
	b = append(append(append(b, make([]byte, 20)...), mac[:]...), make([]byte, 202)...)
	b = append(b, 99, 130, 83, 99)
	if xid%2 == 1 {
		b = append(b, 53, 1, 1)
	} else {
		a := guestAddr(i).As4()
		b = append(append(b, 53, 1, 3, 50, 4), a[:]...)
		b = append(b, 54, 4, 10, 1, 0, 2)
	}
	b = append(b, 55, 8, 1, 3, 6, 12, 15, 26, 28, 121, 255)
	return append(b, make([]byte, 14+328-len(b))...)
}

// question6 is a DHCPv6 solicit.
func question6(i int, xid uint32) []byte {
	mac := guestMAC(i)
	b := append([]byte{0x33, 0x33, 0, 1, 0, 2}, mac[:]...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 1)
	eui := mac.EUI64()
	b = append(append(append(b, 0xfe, 0x80), make([]byte, 6)...), eui[:]...)
	b = append(b, netip.MustParseAddr("ff02::1:2").AsSlice()...)
	b = append(b, 2, 34, 2, 35, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, 1<<24|xid&0xffffff)
	b = append(append(b, 0, 1, 0, 10, 0, 3, 0, 1), mac[:]...)
	b = append(b, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 4, 0, 23, 0, 24)
	size := len(b) - 54
	binary.BigEndian.PutUint16(b[18:], uint16(size))
	binary.BigEndian.PutUint16(b[58:], uint16(size))
	return b
}

// host is a switch with guests that are answered as an agent answers them.
type host struct {
	*ovstest.Switch
	server *guestServer
}

// newHost plugs guests, and two more with an address that can ping each other: pa and pb, the latter in a namespace of its own.
func newHost(b *testing.B, ports int, meters bool, adjust func(*guestServer)) *host {
	b.Helper()
	h := &host{Switch: ovstest.Start(b)}
	h.AddBridge("br-int")
	network := &model.NetworkView{
		ID: model.NetworkID{UUID: model.UUID{1}}, AdminStateUp: true, MTU: 1500, Segment: model.Segment{Type: model.TypeLocal},
		DHCPMAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}, DHCPAddrs: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("2001:db8::2")},
		Subnets: []model.SubnetView{
			{ID: model.SubnetID{UUID: model.UUID{4}}, CIDR: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.1"), EnableDHCP: true},
			{ID: model.SubnetID{UUID: model.UUID{6}}, CIDR: netip.MustParsePrefix("2001:db8::/64"), EnableDHCP: true, RAMode: model.IPv6Stateful, AddressMode: model.IPv6Stateful},
		},
	}
	in := pipeline.Input{
		Networks: map[model.NetworkID]pipeline.Network{network.ID: {View: network, VLAN: 1}},
		Ports:    map[model.PortID]*model.PortView{}, Local: pipeline.Local{Ports: map[model.PortID]uint32{}},
	}
	var vsctl, up []string
	plug := func(i int, name string) {
		p := &model.PortView{
			ID: model.PortID{UUID: model.UUID{2, byte(i >> 8), byte(i)}}, NetworkID: network.ID, MAC: guestMAC(i), AdminStateUp: true, PortSecurity: true, Firewall: model.FirewallHybrid,
			FixedIPs: []model.FixedIP{{SubnetID: network.Subnets[0].ID, Addr: guestAddr(i)},
				{SubnetID: network.Subnets[1].ID, Addr: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(1 + i>>8), 15: byte(i)})}},
		}
		in.Ports[p.ID], in.Local.Ports[p.ID] = p, uint32(10+i)
		vsctl = append(vsctl, "--", "add-port", "br-int", name, "--", "set", "interface", name, "type=internal", fmt.Sprintf("ofport_request=%d", 10+i), `mac="`+p.MAC.String()+`"`)
		up = append(up, "sysctl -qw net.ipv6.conf."+name+".disable_ipv6=1; ip link set "+name+" up")
	}
	for i := range ports {
		plug(i, fmt.Sprintf("p%d", i))
	}
	plug(ports, "pa")
	plug(ports+1, "pb")
	h.Vsctl(vsctl[1:]...)
	h.Exec("sh", "-ec", strings.Join(up, "\n")+fmt.Sprintf(`
ip addr add %s/16 dev pa
unshare -n sleep 600 >/dev/null 2>&1 & echo $! >%[3]s/peer
until [ "$(readlink /proc/$(cat %[3]s/peer)/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
ip link set pb netns $(cat %[3]s/peer)
nsenter -n -t $(cat %[3]s/peer) sh -c 'ip addr add %[2]s/16 dev pb; ip link set pb up'`, guestAddr(ports), guestAddr(ports+1), h.RunDir))

	h.server = newGuestServer(responder.NewGuests(responder.Settings{}), slog.New(slog.DiscardHandler), newMetrics(nil, nil, func() iptables.Stats { return iptables.Stats{} }))
	for _, p := range in.Ports {
		h.server.set(p, network, &announced{})
	}
	adjust(h.server)
	connected := make(chan struct{}, 1)
	br := newBridge("br-int", h.Mgmt("br-int"), func() {
		select {
		case connected <- struct{}{}:
		default:
		}
	}, h.server.packet, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { br.client.Run(ctx) })
	running.Go(func() { h.server.run(ctx, br.client) })
	b.Cleanup(func() { cancel(); running.Wait() })
	<-connected
	if err := br.greet(ctx); err != nil {
		b.Fatal(err)
	}
	if meters {
		in.Local.MeterLimit = br.limit
	}
	out := pipeline.Compute(in)
	if err := br.sync(ctx, want{flows: out.BrInt, meters: portMeters(out.Meters)}, true); err != nil || len(out.Wired) != ports+2 {
		b.Fatalf("%d of %d ports wired, %v", len(out.Wired), ports+2, err)
	}
	return h
}

// cpu is the processor time used so far by the agent, which is this process, and by ovs-vswitchd.
func (h *host) cpu(b *testing.B) (agent, vswitchd time.Duration) {
	var self unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &self); err != nil {
		b.Fatal(err)
	}
	stat := strings.Fields(h.Exec("sh", "-c", "cat /proc/$(cat "+filepath.Join(h.RunDir, "ovs-vswitchd.pid")+")/stat"))
	user, _ := strconv.Atoi(stat[13])
	system, _ := strconv.Atoi(stat[14])
	return time.Duration(self.Utime.Nano() + self.Stime.Nano()), time.Duration(user+system) * 10 * time.Millisecond
}

// bear lets guests ask while a ping runs every 10 ms through the same switch.
func (h *host) bear(b *testing.B, l load, to netip.Addr) {
	b.Helper()
	spec, _ := json.Marshal(l)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	guests := exec.Command("nsenter", "-t", strconv.Itoa(h.PID()), "-n", "--", self)
	guests.Env = append(os.Environ(), guestsVariable+"="+string(spec))
	guests.Stderr = os.Stderr
	h.Exec("ping", "-c", "1", "-W", "5", to.String()) // knows its neighbour
	agent, vswitchd := h.cpu(b)
	pinged := make(chan string, 1)
	go func() {
		pinged <- h.Exec("sh", "-c", fmt.Sprintf("ping -q -i 0.01 -c %d %s || true", int(l.Seconds*95), to))
	}()
	said, err := guests.Output()
	if err != nil {
		b.Fatal(err)
	}
	var got heard
	if err := json.Unmarshal(said, &got); err != nil {
		b.Fatal(err)
	}
	agentAfter, vswitchdAfter := h.cpu(b)
	ping := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received(?s:.*)= [\d.]+/([\d.]+)/([\d.]+)/`).FindStringSubmatch(<-pinged)
	if ping == nil {
		b.Fatal(errors.New("ping has no summary"))
	}
	sent, _ := strconv.Atoi(ping[1])
	received, _ := strconv.Atoi(ping[2])
	average, _ := strconv.ParseFloat(ping[3], 64)
	most, _ := strconv.ParseFloat(ping[4], 64)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(got.Asked)/l.Seconds, "asked/s")
	b.ReportMetric(float64(got.Answered)/l.Seconds, "answered/s")
	b.ReportMetric(100*(agentAfter-agent).Seconds()/l.Seconds, "agent-%core")
	b.ReportMetric(100*(vswitchdAfter-vswitchd).Seconds()/l.Seconds, "vswitchd-%core")
	b.ReportMetric(float64(sent-received), "pings-lost")
	b.ReportMetric(average, "ping-ms")
	b.ReportMetric(most, "ping-max-ms")
}

// unlimited takes the limits off, to see what the machine can do.
func unlimited(s *guestServer) {
	for _, p := range s.ports {
		p.limiter = responder.NewLimiter(1e9, 1e9)
	}
}

func limited(*guestServer) {}

// BenchmarkGuests asks by way of a real switch, packets in and out, while others ping. Run with -benchtime 1x.
func BenchmarkGuests(b *testing.B) {
	const seconds = 5
	for _, c := range []struct {
		name   string
		load   load
		meters bool
		adjust func(*guestServer)
	}{
		{"nobody asks", load{Ports: 1, Rate: 0.1, Seconds: seconds}, true, limited},
		{"DHCPv4 1000 a second", load{Ports: 125, Rate: 1000, Seconds: seconds}, true, limited},
		{"DHCPv6 1000 a second", load{Ports: 125, Rate: 1000, Seconds: seconds, IPv6: true}, true, limited},
		{"DHCPv4 without limits", load{Ports: 16, Seconds: seconds}, false, unlimited},
		{"DHCPv6 without limits", load{Ports: 16, Seconds: seconds, IPv6: true}, false, unlimited},
		{"one guest floods, meter", load{Ports: 1, Flood: true, Seconds: seconds}, true, limited},
		{"one guest floods, no meter", load{Ports: 1, Flood: true, Seconds: seconds}, false, limited},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := newHost(b, c.load.Ports, c.meters, c.adjust)
			for b.Loop() {
				h.bear(b, c.load, guestAddr(c.load.Ports+1))
			}
		})
	}
}
