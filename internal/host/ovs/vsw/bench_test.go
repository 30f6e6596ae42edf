package vsw

import (
	"fmt"
	"testing"
	"time"

	"weft/internal/testkit/ovstest"
)

const many = 1000

func tunnels(n int) []DesiredPort {
	ports := make([]DesiredPort, n)
	for i := range ports {
		ports[i] = DesiredPort{Bridge: "br-tun", Name: fmt.Sprintf("gre-%08x", i), Type: "gre",
			Options: greOptions(fmt.Sprintf("10.1.%d.%d", i/250, i%250+1))}
	}
	return ports
}

// BenchmarkThousandTunnels adds 1,000 GRE ports to a switch that has none, with so
// many in a transaction. committed-ms is until the last transaction is durable,
// ofports-ms until the last port has its OpenFlow number.
func BenchmarkThousandTunnels(b *testing.B) {
	for _, per := range []int{1, 50, many} {
		b.Run(fmt.Sprintf("%d-per-transaction", per), func(b *testing.B) {
			sw := ovstest.Start(b)
			c := connect(b, sw)
			base := Desired{Bridges: []DesiredBridge{{Name: "br-tun", DatapathType: "netdev", FailMode: "secure"}}}
			all := tunnels(many)
			var committed, numbered time.Duration
			for b.Loop() {
				b.StopTimer()
				if _, err := c.Converge(patience(b), base, ours); err != nil {
					b.Fatal(err)
				}
				if _, err := c.WaitConfigured(patience(b)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				start := time.Now()
				for n := per; n <= many; n += per {
					// A batch is planned by itself: that no port of an earlier one goes is the caller's ownership rule.
					batch := all[n-per : n]
					d := Desired{Ports: batch}
					mine := func(_, port string) bool { return port >= batch[0].Name && port <= batch[per-1].Name }
					if err := c.Apply(patience(b), Plan(c.State(), d, mine)); err != nil {
						b.Fatal(err)
					}
				}
				committed += time.Since(start)
				for _, p := range all {
					if _, err := c.WaitOFPort(patience(b), p.Name); err != nil {
						b.Fatal(err)
					}
				}
				numbered += time.Since(start)
			}
			b.ReportMetric(float64(committed.Milliseconds())/float64(b.N), "committed-ms")
			b.ReportMetric(float64(numbered.Milliseconds())/float64(b.N), "ofports-ms")
		})
	}
}

// BenchmarkPlanConverged is the price of finding out that nothing is to be done on a host with 1,000 ports.
func BenchmarkPlanConverged(b *testing.B) {
	d := Desired{Ports: tunnels(many)}
	bridge := Bridge{Name: "br-tun", UUID: "b"}
	var ports []Port
	var interfaces []Interface
	for _, p := range d.Ports {
		bridge.Ports = append(bridge.Ports, p.Name)
		ports = append(ports, Port{Name: p.Name, Bridge: "br-tun", Interfaces: []string{p.Name}})
		interfaces = append(interfaces, Interface{Name: p.Name, Type: p.Type, Options: p.Options})
	}
	s := NewState(Root{UUID: "r"}, []Bridge{bridge}, ports, interfaces)
	for b.Loop() {
		if ops := Plan(s, d, ours); len(ops) != 0 {
			b.Fatal(ops)
		}
	}
}
