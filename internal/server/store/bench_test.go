package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/server/journal"
	"weft/internal/server/journal/etcd"
)

// The figures of docs/adr/0001-tables.md:
//
//	go test -run '^$' -bench . -benchtime 2s ./internal/server/store

// benchPort is a port as Nova makes it: 200 ports a network, 1000 a project, 50
// a host, two addresses, one group.
func benchPort(n int) *model.Port {
	at := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	p := &model.Port{
		Meta:         model.Meta{ProjectID: fmt.Sprintf("%032x", n/1000), CreatedAt: at, UpdatedAt: at},
		NetworkID:    model.NetworkID{UUID: mixed(1, n/200)},
		ID:           model.PortID{UUID: mixed(2, n)},
		AdminStateUp: true, PortSecurity: true,
		DeviceID:       mixed(3, n).String(),
		DeviceOwner:    "compute:nova",
		SecurityGroups: []model.SecurityGroupID{{UUID: mixed(4, n/1000)}},
		Binding:        model.Binding{HostID: fmt.Sprintf("compute-%04d.example.org", n/50), VNICType: "normal", VIFType: "ovs", Firewall: model.FirewallHybrid},
	}
	p.MAC = model.MAC{0xfa, 0x16, 0x3e, byte(n >> 16), byte(n >> 8), byte(n)}
	var v6 [16]byte
	copy(v6[:], "\x20\x01\x0d\xb8")
	binary.BigEndian.PutUint32(v6[12:], uint32(n))
	p.FixedIPs = []model.FixedIP{
		{SubnetID: model.SubnetID{UUID: mixed(5, n/200)}, Addr: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})},
		{SubnetID: model.SubnetID{UUID: mixed(6, n/200)}, Addr: netip.AddrFrom16(v6)},
	}
	return p
}

// mixed returns an id that looks random, always the same for the same input.
func mixed(kind byte, n int) (u model.UUID) {
	x := uint64(n)*0x9e3779b97f4a7c15 + uint64(kind)*0xbf58476d1ce4e5b9
	for i := range 2 {
		x ^= x >> 31
		x *= 0x94d049bb133111eb
		x ^= x >> 29
		binary.BigEndian.PutUint64(u[i*8:], x)
	}
	return model.RandomUUID(u)
}

func benchEtcd(b *testing.B, dir string) *etcd.Journal {
	j, err := etcd.Start(context.Background(), etcd.Embedded{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return j
}

// BenchmarkPutPort is a durable port creation with the reads that rules make.
func BenchmarkPutPort(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("etcd/writers=%d", writers), func(b *testing.B) {
			j := benchEtcd(b, b.TempDir())
			s, stop := started(b, j, Options{})
			benchPut(b, s, writers)
			b.StopTimer()
			stop()
			if err := j.Close(); err != nil {
				b.Error(err)
			}
		})
	}
	b.Run("memory/writers=1", func(b *testing.B) {
		s, stop := started(b, journal.NewMemory(), Options{})
		benchPut(b, s, 1)
		stop()
	})
}

func benchPut(b *testing.B, s *Store, writers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= b.N; n = int(next.Add(1)) {
				p := benchPort(n)
				_, err := s.Update(context.Background(), func(tx *Tx) error {
					for _, ip := range p.FixedIPs {
						if tx.PortByAddr(ip.SubnetID, ip.Addr) != nil {
							return fmt.Errorf("address of port %d is taken", n)
						}
					}
					if tx.PortByMAC(p.NetworkID, p.MAC) != nil || tx.PortCount(p.ProjectID) > 1000 {
						return fmt.Errorf("port %d breaks a rule", n)
					}
					tx.PutPort(p)
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ports/s")
}

const manyPorts = 100_000

func fillPorts(b *testing.B, s *Store, from, n int) {
	for at := from; at < from+n; at += 1000 {
		update(b, s, func(tx *Tx) {
			for i := range 1000 {
				tx.PutPort(benchPort(at + i))
			}
		})
	}
}

// BenchmarkRestart starts a server on a journal with 100,000 ports.
func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	j := benchEtcd(b, dir)
	s, stop := started(b, j, Options{})
	fillPorts(b, s, 0, manyPorts)
	stop()
	j.Close()
	for b.Loop() {
		j := benchEtcd(b, dir)
		s, stop := started(b, j, Options{})
		b.StopTimer()
		if n := s.Snapshot().t.ports.rows.tree.len(); n != manyPorts {
			b.Errorf("%d ports", n)
		}
		stop()
		j.Close()
		b.StartTimer()
	}
}

// BenchmarkMemory reports what a port takes, as loaded and as written one
// transaction after the other.
func BenchmarkMemory(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		ports := make([]*model.Port, manyPorts)
		for i := range ports {
			ports[i] = benchPort(i)
		}
		objects := heap()
		t := newTables()
		for _, p := range ports {
			put(&t.ports, p)
		}
		written := heap()
		b.ReportMetric(float64(objects-before)/manyPorts, "object-B/port")
		b.ReportMetric(float64(written-objects)/manyPorts, "written-B/port")
		l := refillTables(t)
		loaded := heap()
		// The rows are shared with the first tables: add them.
		b.ReportMetric(float64(loaded-written)/manyPorts+40, "loaded-B/port")
		runtime.KeepAlive(t)
		runtime.KeepAlive(l)
		runtime.KeepAlive(ports)
	}
}

func BenchmarkTables(b *testing.B) {
	j := journal.NewMemory()
	s, stop := started(b, j, Options{})
	defer stop()
	fillPorts(b, s, 0, manyPorts)
	b.Run("get", func(b *testing.B) {
		snap, n := s.Snapshot(), 0
		ids := make([]model.PortID, 1<<14)
		for i := range ids {
			ids[i] = model.PortID{UUID: mixed(2, i*7919%manyPorts)}
		}
		for b.Loop() {
			if snap.Port(ids[n&(len(ids)-1)]) == nil {
				b.Fatal("no such port")
			}
			n++
		}
	})
	b.Run("list 50 by host", func(b *testing.B) {
		snap, n := s.Snapshot(), 0
		for b.Loop() {
			host := fmt.Sprintf("compute-%04d.example.org", n%(manyPorts/50))
			if number(snap.PortsByHost(host)) != 50 {
				b.Fatal("not 50")
			}
			n++
		}
	})
	b.Run("list all", func(b *testing.B) {
		snap := s.Snapshot()
		for b.Loop() {
			if number(snap.Ports()) != manyPorts {
				b.Fatal("not all")
			}
		}
	})
	// Each in its own batch: with the freezing of a snapshot, and the copying of
	// nodes that it makes necessary.
	b.Run("replace one row and freeze", func(b *testing.B) {
		t := s.Snapshot().t.freeze()
		n := 0
		b.ReportAllocs()
		for b.Loop() {
			p := *benchPort(n % manyPorts)
			p.Revision++
			put(&t.ports, &p)
			t.freeze()
			n++
		}
	})
	b.Run("insert one row and freeze", func(b *testing.B) {
		t := s.Snapshot().t.freeze()
		n := manyPorts
		b.ReportAllocs()
		for b.Loop() {
			put(&t.ports, benchPort(n))
			t.freeze()
			n++
		}
	})
	b.Run("insert one row of a large batch", func(b *testing.B) {
		t := s.Snapshot().t.freeze()
		n := manyPorts
		b.ReportAllocs()
		for b.Loop() {
			put(&t.ports, benchPort(n))
			n++
		}
	})
	b.Run("make a port to insert", func(b *testing.B) { // to be subtracted
		n := 0
		for b.Loop() {
			benchPort(n)
			n++
		}
	})
}
