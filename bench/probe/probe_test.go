package probe

import (
	"net/netip"
	"testing"
	"time"

	"weft/internal/host/link"
)

// self is a path that leaves no namespace.
func self(t *testing.T) Path {
	n, err := link.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return Path{From: n, To: n, Addr: netip.MustParseAddr("127.0.0.1")}
}

func TestEachProbeCountsItsRoundTrips(t *testing.T) {
	p := self(t)
	udp, err := p.UDP(50)
	if err != nil || len(udp) != 50 {
		t.Errorf("%d round trips over UDP, %v", len(udp), err)
	}
	opened, tcp, err := p.TCP(50)
	if err != nil || len(opened) != 50 || len(tcp) != 50 {
		t.Errorf("%d connections, %d round trips over TCP, %v", len(opened), len(tcp), err)
	}
	icmp, err := p.ICMP(t.Context(), 20)
	if err != nil || len(icmp) != 20 {
		t.Errorf("%d echoes, %v", len(icmp), err)
	}
	if rate, err := p.Packets(8, 20*time.Millisecond); err != nil || rate <= 0 {
		t.Errorf("%f packets a second, %v", rate, err)
	}
}

func TestItsPortIsFreeAfterwards(t *testing.T) {
	p := self(t)
	for range 5 {
		if _, err := p.UDP(1); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.TCP(1); err != nil {
			t.Fatal(err)
		}
	}
}
