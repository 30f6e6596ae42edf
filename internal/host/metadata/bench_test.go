package metadata

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"weft/internal/host/fair"
	"weft/internal/host/standin"
	"weft/internal/model"
)

// BenchmarkServer_200Ports is whole requests by TCP, of 200 ports in turn, each with a connection that stays.
func BenchmarkServer_200Ports(b *testing.B) {
	const ports = 200
	guests := make([]standin.Guest, ports)
	for i := range guests {
		guests[i] = guest()
		p := *guests[i].Port
		p.ID = model.PortID{UUID: model.UUID{1, byte(i)}}
		guests[i].Port = &p
	}
	var next atomic.Int64
	c := config(guest())
	c.Guest = func(netip.Addr) (standin.Guest, bool) { return guests[next.Add(1)%ports], true }
	c.Requests = fair.Limits{PerSecond: 1e9, Burst: 1e9, AtOnce: 100, All: 10000}
	c.Connections = fair.Limits{PerSecond: 1e9, Burst: 1e9, AtOnce: 100, All: 10000}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(c).Serve(ctx, []net.Listener{l}) }()
	defer func() { cancel(); <-done }()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: ports}}
	url := "http://" + l.Addr().String() + "/openstack/latest/meta_data.json"
	b.SetParallelism(ports / 2)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := client.Get(url)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode != 200 {
				b.Errorf("status %d", r.StatusCode)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
