package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"weft/bench/apibench"
	"weft/bench/benchlab"
)

// unlimited takes the quotas away: a bench makes more than a project usually may.
const unlimited = "--default-quotas=network=-1,subnet=-1,port=-1,security_group=-1,security_group_rule=-1"

// loneAddr is where the server without a lab listens; its hosts' listener takes any free port.
const loneAddr = "127.0.0.1:49697"

// peerAPI is what Neutron did with one client and with eight.
type peerAPI struct {
	p50, p99  time.Duration
	perSecond float64
}

var peerCreate = map[int]peerAPI{
	1: {171300 * time.Microsecond, 480700 * time.Microsecond, 5.38},
	8: {1310300 * time.Microsecond, 1775500 * time.Microsecond, 5.91},
}

var peerGet = map[int]float64{1: 63.93, 8: 133.84}

// listed is how many ports there are when they are listed.
const listed = 10_000

// data is where that server keeps its state.
func (b *bench) data() string { return filepath.Join(b.dir, "data") }

// loneServer is a server without hosts.
type loneServer struct {
	cmd *exec.Cmd
	api *apibench.Client
}

// startServer starts a server with its own etcd in a directory and waits until it answers.
func (b *bench) startServer(ctx context.Context) (*loneServer, error) {
	log, err := os.Create(filepath.Join(b.dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(b.weft, "server", "--data-dir", b.data(), "--listen", loneAddr, "--host-listen", "127.0.0.1:0", unlimited)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &loneServer{cmd: cmd, api: apibench.New("http://"+loneAddr, 8)}
	err = benchlab.Wait(ctx, "the server answers", 10*time.Millisecond, func() (bool, error) {
		resp, err := http.Get("http://" + loneAddr + "/healthz")
		if err != nil {
			return false, nil
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, errors.Join(err, fmt.Errorf("it said: %s", text), s.stop())
	}
	return s, nil
}

func (s *loneServer) stop() error {
	s.api.Close()
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}

// api measures a server without hosts: its requests, its memory, or both.
func (b *bench) api(ctx context.Context, requests, memory bool) (err error) {
	b.step("starting a server")
	s, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	l := &requestLoad{bench: b, ctx: ctx, api: s.api}
	if l.network, err = s.api.Create(ctx, "/networks", "network", apibench.Object{"name": "load"}); err != nil {
		return err
	}
	_, err = s.api.Create(ctx, "/subnets", "subnet", apibench.Object{"network_id": l.network, "ip_version": 4, "cidr": "10.128.0.0/15"})
	if err != nil {
		return err
	}
	if requests {
		if l.sync, err = syncTime(ctx, b.data()); err != nil {
			return err
		}
		b.time(fmt.Sprintf("one fdatasync of %d bytes in the data directory: p50", syncedBytes), l.sync, "", 0)
		if err := l.single(); err != nil {
			return err
		}
	}
	if err := l.fill(requests); err != nil {
		return err
	}
	if requests {
		if err := l.lists(); err != nil {
			return err
		}
	}
	if !memory {
		return nil
	}
	return b.serverMemory(s.cmd.Process.Pid)
}

// requestLoad is the requests of the section api.
type requestLoad struct {
	*bench
	ctx     context.Context
	api     *apibench.Client
	network string
	ports   []string
	sync    time.Duration // what one write to the disk takes
}

func (l *requestLoad) port(name, device string) apibench.Object {
	return apibench.Object{"network_id": l.network, "name": name, "device_id": device, "device_owner": "compute:bench"}
}

// single measures requests for one port each.
func (l *requestLoad) single() error {
	// Connections, the default group, the journal's first pages: not what is measured.
	if _, _, err := apibench.Step(8, 50, l.create(nil)); err != nil {
		return err
	}
	for _, c := range []struct {
		clients, creates, gets int
		created, got           string // what we aim at
	}{{1, 4000, 20000, "> 2,500/s", ""}, {8, 4000, 40000, "> 8,000/s", "> 10,000/s"}} {
		l.step("creating and reading ports from %d clients", c.clients)
		ids := make([]string, c.creates)
		took, wall, err := apibench.Step(c.clients, c.creates, l.create(ids))
		if err != nil {
			return err
		}
		l.ports = append(l.ports, ids...)
		peer, who := peerCreate[c.clients], fmt.Sprintf("port create, %d client%s: ", c.clients, plural(c.clients))
		aim := ""
		if c.clients == 1 {
			aim = "< 1 ms"
		}
		l.time(who+"p50", benchlab.Percentile(took, .5), aim, peer.p50)
		l.time(who+"p99", benchlab.Percentile(took, .99), "", peer.p99)
		l.rate(who+"rate", float64(c.creates)/wall.Seconds(), c.created, peer.perSecond)
		_, wall, err = apibench.Step(c.clients, c.gets, func(i int) error {
			_, err := l.api.Do(l.ctx, "GET", "/ports/"+ids[i%len(ids)], 200, nil)
			return err
		})
		if err != nil {
			return err
		}
		gets := float64(c.gets) / wall.Seconds()
		l.rate(fmt.Sprintf("port get, %d client%s: rate", c.clients, plural(c.clients)), gets, c.got, peerGet[c.clients])
		if err := l.floor(c.clients, c.gets, gets); err != nil {
			return err
		}
	}
	return nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// create makes port i and notes its id.
func (l *requestLoad) create(ids []string) func(int) error {
	return func(i int) error {
		id, err := l.api.Create(l.ctx, "/ports", "port", l.port(fmt.Sprintf("p%d", i), fmt.Sprintf("device-%d", i)))
		if ids != nil {
			ids[i] = id
		}
		return err
	}
}

// fill makes ports a hundred at a time, until there are enough to list.
func (l *requestLoad) fill(measured bool) error {
	var have struct {
		Ports []struct{ ID string }
	}
	if err := l.api.Get(l.ctx, "/ports?fields=id", &have); err != nil {
		return err
	}
	missing := listed - len(have.Ports)
	l.step("creating %d ports in bulk", missing)
	var took []time.Duration
	for no := 0; missing > 0; no++ {
		n := min(missing, 100)
		ports := make([]apibench.Object, n)
		for i := range ports {
			ports[i] = l.port(fmt.Sprintf("b%d-%d", no, i), fmt.Sprintf("bulk-%d", no))
		}
		began := time.Now()
		if err := l.api.Post(l.ctx, "/ports", apibench.Object{"ports": ports}, nil); err != nil {
			return err
		}
		if n == 100 {
			took = append(took, time.Since(began))
		}
		missing -= n
	}
	if measured {
		l.time("bulk create of 100 ports: p50", benchlab.Percentile(took, .5), "< 30 ms", 16092600*time.Microsecond)
	}
	return nil
}

// lists measures lists. What Neutron's took is for a tenth of the ports.
func (l *requestLoad) lists() error {
	l.step("listing %d ports", listed)
	for _, q := range []struct {
		name, path, aim string
		peer            time.Duration
		want            int
	}{
		{"full", "/ports", "< 30 ms", 420600 * time.Microsecond, listed},
		{"fields=id", "/ports?fields=id", "< 30 ms", 324000 * time.Microsecond, listed},
		{"device_id filter", "/ports?device_id=bulk-1", "< 30 ms", 45100 * time.Microsecond, 100},
	} {
		var got struct{ Ports []struct{ ID string } }
		if err := l.api.Get(l.ctx, q.path, &got); err != nil {
			return err
		}
		if len(got.Ports) != q.want {
			return fmt.Errorf("GET %s lists %d ports, want %d", q.path, len(got.Ports), q.want)
		}
		took, _, err := apibench.Step(1, 20, func(int) error {
			_, err := l.api.Do(l.ctx, "GET", q.path, 200, nil)
			return err
		})
		if err != nil {
			return err
		}
		p50 := benchlab.Percentile(took, .5)
		l.add(figure{fmt.Sprintf("list of 10,000 ports, %s: p50", q.name), round(p50), q.aim, round(q.peer) + " (1,000 ports)", ratio(q.peer.Seconds(), p50.Seconds())})
	}
	return nil
}

// serverMemory measures the server once it is at rest.
func (b *bench) serverMemory(pid int) error {
	b.step("memory of the server at rest")
	time.Sleep(5 * time.Second) // its garbage is collected in the background
	m, err := memoryOf(pid)
	if err != nil {
		return err
	}
	const peer = 949 + 143 + 341 // neutron-server, RabbitMQ, MariaDB
	b.add(figure{"memory of the server, 10,000 ports, its etcd included", fmt.Sprintf("%.0f MiB (most: %.0f)", m.now, m.most), "< 120 MB", fmt.Sprintf("%d MiB", peer), ratio(peer, m.now)})
	return nil
}
