package openflow

import (
	"fmt"
	"net"
	"testing"

	"weft/internal/host/flow"
)

// many returns n flows such as br-tun has: a known MAC behind a tunnel.
func many(n int) []flow.Flow {
	out := make([]flow.Flow, n)
	for i := range out {
		mac := net.HardwareAddr{0xfa, 0x16, 0x3e, byte(i >> 16), byte(i >> 8), byte(i)}
		out[i] = flow.Flow{
			Table: 20, Priority: 2, Cookie: 0x1234,
			Match:   flow.Match{}.Vlan(uint16(i % 4000)).EthDst(mac),
			Actions: []flow.Action{flow.PopVLAN{}, flow.SetTunnel(uint64(i)), flow.Output{Port: 2}},
		}
	}
	return out
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			sw := start(b)
			flows := many(n)
			b.ReportAllocs()
			for b.Loop() {
				if n > 1 {
					b.StopTimer()
					sw.Ofctl("del-flows", "br0")
					b.StartTimer()
				}
				if err := sw.Apply(b.Context(), flows, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "flows/s")
		})
	}
}

func BenchmarkDump(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			sw := start(b)
			if err := sw.Apply(b.Context(), many(n), nil); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if got, err := sw.Dump(b.Context(), AllTables); err != nil || len(got) != n {
					b.Fatalf("%d flows, error %v", len(got), err)
				}
			}
		})
	}
}

func BenchmarkDiff(b *testing.B) {
	want, have := many(100_000), many(100_000)
	for b.Loop() {
		if add, del := flow.Diff(want, have, nil); len(add)+len(del) != 0 {
			b.Fatal("not equal")
		}
	}
}
