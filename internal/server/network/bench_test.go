package network

import (
	"fmt"
	"testing"

	"weft/internal/model"
	"weft/internal/server/store"
)

// BenchmarkCreatePort measures the rules of one port on a store of 10,000, with
// the tables, the encoding and the journal in memory, in transactions of 1,000.
func BenchmarkCreatePort(b *testing.B) {
	w := newWorld(b, func(c *Config) { c.Quotas[QuotaPort], c.Quotas[QuotaSubnet] = -1, -1 })
	var nets []*model.Network
	for i := range 10 {
		n := w.network(demo, NetworkSpec{})
		w.subnet(demo, n, fmt.Sprintf("10.%d.0.0/16", i))
		w.subnet(demo, n, fmt.Sprintf("fd00:%d::/64", i), slaac)
		nets = append(nets, n)
	}
	create := func(tx *store.Tx, i int) error {
		_, err := w.rules.CreatePort(tx, w.env, demo, PortSpec{NetworkID: Some(nets[i%len(nets)].ID), Name: Some("p")})
		return err
	}
	w.chunks(b, 10_000, create)
	b.ReportAllocs()
	b.ResetTimer()
	w.chunks(b, b.N, create)
}

// chunks runs fn n times, in transactions of at most 1,000.
func (w *world) chunks(b *testing.B, n int, fn func(tx *store.Tx, i int) error) {
	b.Helper()
	for done := 0; done < n; done += 1000 {
		if err := w.do(func(tx *store.Tx) error {
			for i := done; i < min(done+1000, n); i++ {
				if err := fn(tx, i); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateNetwork measures the choice of a segment id among 10,000 in use.
func BenchmarkCreateNetwork(b *testing.B) {
	w := newWorld(b, func(c *Config) {
		c.Quotas[QuotaNetwork] = -1
		c.TunnelRanges[model.TypeGRE] = []IDRange{{1, 1 << 31}}
	})
	create := func(tx *store.Tx, _ int) error {
		_, err := w.rules.CreateNetwork(tx, w.env, demo, NetworkSpec{})
		return err
	}
	w.chunks(b, 10_000, create)
	b.ReportAllocs()
	b.ResetTimer()
	w.chunks(b, b.N, create)
}
