package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"weft/bench/apibench"
	"weft/bench/benchlab"
	"weft/internal/host/vif"
	"weft/internal/lab"
	"weft/internal/labcmd"
)

const (
	labName   = "wbench"
	labAddr   = "127.0.0.1:49696"
	guestA    = "bench-a" // on compute1, where the idle ports are
	guestB    = "bench-b" // on compute2
	mtu       = 1458      // of a GRE network over Ethernet
	reporting = "weft_dispatch_reports_total"
)

// world is the lab with a network and a guest on each compute host.
type world struct {
	*bench
	lab           *lab.Lab
	api           *apibench.Client
	one, two      *benchlab.Host // compute1, compute2
	gateway       *benchlab.Host // network1
	network       string
	group         string // the default one
	a, b          guest
	idle          []benchlab.Port // plugged on compute1
	stop          context.CancelFunc
	throughputFew map[string]float64 // by path, Mbit/s
}

// guest is a guest of the lab.
type guest struct {
	benchlab.Port
	name string
}

// lab brings the lab up and boots the two guests.
func (b *bench) lab(ctx context.Context) (_ *world, err error) {
	w := &world{bench: b, lab: lab.New(labName, ""), api: apibench.New("http://"+labAddr, 8)}
	if err := w.lab.Down(ctx); err != nil { // what a run that crashed may have left
		return nil, err
	}
	began := time.Now()
	b.step("bringing a lab up: two compute hosts and a gateway host")
	if err := labcmd.Up(ctx, w.lab, labcmd.Options{Compute: 2, Gateway: 1, Listen: labAddr, Self: b.weft, ServerArgs: []string{unlimited}}); err != nil {
		return nil, fmt.Errorf("bringing the lab up: %w", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	b.time("lab up: server, three hosts, agents", time.Since(began), "< 10 s", 0)
	for name, h := range map[string]**benchlab.Host{"compute1": &w.one, "compute2": &w.two, "network1": &w.gateway} {
		if *h, err = benchlab.Open(background, w.lab, name); err != nil {
			return nil, err
		}
	}
	return w, w.populate(ctx)
}

// close takes everything down.
func (w *world) close() error {
	w.step("taking the lab down")
	w.stop()
	w.api.Close()
	for _, h := range []*benchlab.Host{w.one, w.two, w.gateway} {
		h.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), benchlab.Patience)
	defer cancel()
	return errors.Join(w.lab.Down(ctx), benchlab.DeleteBareGuests())
}

// populate makes the network and its two guests.
func (w *world) populate(ctx context.Context) (err error) {
	if w.network, err = benchlab.MakeNetwork(ctx, w.api, "10.40.0.0/16", apibench.Object{"name": "bench"}); err != nil {
		return err
	}
	var groups struct {
		SecurityGroups []struct{ ID string } `json:"security_groups"`
	}
	if err := w.api.Get(ctx, "/security-groups?name=default&fields=id", &groups); err != nil {
		return err
	}
	if len(groups.SecurityGroups) != 1 {
		return fmt.Errorf("%d default groups", len(groups.SecurityGroups))
	}
	w.group = groups.SecurityGroups[0].ID
	for _, g := range []struct {
		at         *guest
		name, host string
	}{{&w.a, guestA, "compute1"}, {&w.b, guestB, "compute2"}} {
		ports, err := benchlab.MakePorts(ctx, w.api, w.network, 1, apibench.Object{"binding:host_id": g.host})
		if err != nil {
			return err
		}
		*g.at = guest{Port: ports[0], name: g.name}
		_, err = w.lab.VMCreate(ctx, lab.VMSpec{Host: g.host, Name: g.name, PortID: ports[0].ID, MAC: ports[0].MAC, UUID: ports[0].ID.UUID, MTU: mtu})
		if err != nil {
			return err
		}
	}
	return benchlab.Wait(ctx, "the guests reach each other", 10*time.Millisecond, func() (bool, error) {
		_, err := w.lab.VMOutput(ctx, guestA, "ping", "-c", "1", "-W", "1", w.b.IP.String())
		return err == nil, nil
	})
}

// fillIdle plugs ports on compute1 until there are n idle ones, all ACTIVE.
func (w *world) fillIdle(ctx context.Context, n int) error {
	if len(w.idle) >= n {
		return nil
	}
	w.step("plugging %d more idle ports on compute1", n-len(w.idle))
	ports, err := benchlab.MakePorts(ctx, w.api, w.network, n-len(w.idle), apibench.Object{"binding:host_id": "compute1"})
	if err != nil {
		return err
	}
	if err := w.one.Prepare(ctx, mtu, ports); err != nil {
		return err
	}
	w.step("their devices are there")
	w.idle = append(w.idle, ports...)
	if err := w.one.Insert(ctx, "br-int", vif.Hybrid, mtu, ports...); err != nil {
		return err
	}
	return w.allActive(ctx)
}

// allActive waits until every port plugged on compute1 is ACTIVE.
func (w *world) allActive(ctx context.Context) error {
	want := len(w.idle) + 1
	return benchlab.Wait(ctx, fmt.Sprintf("%d ports are ACTIVE", want), 2*time.Millisecond, func() (bool, error) {
		var active struct{ Ports []struct{ ID string } }
		err := w.api.Get(ctx, "/ports?binding:host_id=compute1&status=ACTIVE&fields=id", &active)
		if len(active.Ports) > want {
			err = fmt.Errorf("%d ports are ACTIVE, but %d are plugged", len(active.Ports), want)
		}
		return len(active.Ports) == want, err
	})
}

// serverMetrics reads the server's figures.
func (w *world) serverMetrics(ctx context.Context) (map[string]float64, error) {
	return scrape(ctx, http.DefaultClient, "http://"+labAddr+"/metrics")
}

// agentMetrics reads the figures of a host's agent; it listens on the host's loopback.
func agentMetrics(ctx context.Context, h *benchlab.Host) (map[string]float64, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (c net.Conn, err error) {
			derr := h.Links.Do(func() error { c, err = net.Dial("tcp", "127.0.0.1:9698"); return nil })
			return c, errors.Join(err, derr)
		},
	}}
	return scrape(ctx, client, "http://127.0.0.1:9698/metrics")
}

func scrape(ctx context.Context, client *http.Client, url string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return parseMetrics(string(text)), err
}
