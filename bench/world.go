package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/bench/apibench"
	"weft/internal/host/link"
	"weft/internal/host/ovs/ovsdb"
	"weft/internal/host/vif"
	"weft/internal/lab"
	"weft/internal/labcmd"
	"weft/internal/model"
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
	one, two      *host // compute1, compute2
	network       string
	group         string // the default one
	a, b          guest
	idle          []port // plugged on compute1
	stop          context.CancelFunc
	throughputFew map[string]float64 // by path, Mbit/s
}

// host is a host of the lab from outside: its devices and its switch's database.
type host struct {
	name  string
	links *link.Namespace
	db    *ovsdb.Client
}

// port is a port as it is plugged.
type port struct {
	ID  model.PortID
	MAC model.MAC
	IP  netip.Addr
}

// guest is a guest of the lab.
type guest struct {
	port
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
	for name, h := range map[string]**host{"compute1": &w.one, "compute2": &w.two} {
		if *h, err = w.open(background, name); err != nil {
			return nil, err
		}
	}
	return w, w.populate(ctx)
}

// open reaches into a host.
func (w *world) open(ctx context.Context, name string) (*host, error) {
	root, err := w.rootOf(name)
	if err != nil {
		return nil, err
	}
	links, err := link.OpenNetns(labName + "-" + name)
	if err != nil {
		return nil, err
	}
	h := &host{name: name, links: links, db: ovsdb.New(ovsdb.Config{
		Addr: "unix:" + root + "/run/openvswitch/db.sock", Database: "Open_vSwitch",
		Monitors: []ovsdb.Monitor{{Table: "Bridge", Columns: []string{"name"}}},
	})}
	go h.db.Run(ctx)
	return h, wait(ctx, "the database of "+name+" answers", time.Millisecond, func() (bool, error) {
		return h.db.Snapshot().Epoch > 0, nil
	})
}

// rootOf is a host's file system as the machine reaches it.
func (w *world) rootOf(name string) (string, error) {
	pid, err := w.lab.PID(name, lab.VSwitchd)
	if err == nil && pid == 0 {
		err = fmt.Errorf("ovs-vswitchd of %s does not run", name)
	}
	return fmt.Sprintf("/proc/%d/root", pid), err
}

// close takes everything down.
func (w *world) close() error {
	w.step("taking the lab down")
	w.stop()
	w.api.Close()
	for _, h := range []*host{w.one, w.two} {
		if h != nil {
			h.links.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(w.lab.Down(ctx), link.DeleteNetns(vif.GuestNetns(bareA)), link.DeleteNetns(vif.GuestNetns(bareB)))
}

// populate makes the network and its two guests.
func (w *world) populate(ctx context.Context) (err error) {
	if w.network, err = w.makeNetwork(ctx, "bench", "10.40.0.0/16"); err != nil {
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
		ports, err := w.makePorts(ctx, w.network, 1, apibench.Object{"binding:host_id": g.host})
		if err != nil {
			return err
		}
		*g.at = guest{ports[0], g.name}
		_, err = w.lab.VMCreate(ctx, lab.VMSpec{Host: g.host, Name: g.name, PortID: ports[0].ID, MAC: ports[0].MAC, UUID: ports[0].ID.UUID, MTU: mtu})
		if err != nil {
			return err
		}
	}
	return wait(ctx, "the guests reach each other", 10*time.Millisecond, func() (bool, error) {
		_, err := w.lab.VMOutput(ctx, guestA, "ping", "-c", "1", "-W", "1", w.b.IP.String())
		return err == nil, nil
	})
}

func (w *world) makeNetwork(ctx context.Context, name, cidr string) (string, error) {
	id, err := w.api.Create(ctx, "/networks", "network", apibench.Object{"name": name})
	if err != nil {
		return "", err
	}
	_, err = w.api.Create(ctx, "/subnets", "subnet", apibench.Object{"network_id": id, "ip_version": 4, "cidr": cidr})
	return id, err
}

// makePorts makes ports of a network, a hundred at a time.
func (w *world) makePorts(ctx context.Context, network string, n int, attrs apibench.Object) ([]port, error) {
	var out []port
	for len(out) < n {
		in := make([]apibench.Object, min(100, n-len(out)))
		for i := range in {
			in[i] = apibench.Object{"network_id": network, "device_owner": "compute:bench"}
			for k, v := range attrs {
				in[i][k] = v
			}
		}
		var made struct {
			Ports []struct {
				ID    model.PortID
				MAC   model.MAC `json:"mac_address"`
				Fixed []struct {
					IP netip.Addr `json:"ip_address"`
				} `json:"fixed_ips"`
			}
		}
		if err := w.api.Post(ctx, "/ports", apibench.Object{"ports": in}, &made); err != nil {
			return nil, err
		}
		for _, p := range made.Ports {
			if len(p.Fixed) == 0 {
				return nil, fmt.Errorf("port %s has no address", p.ID)
			}
			out = append(out, port{p.ID, p.MAC, p.Fixed[0].IP})
		}
	}
	return out, nil
}

// noSwitch is a vif.Switch that leaves the port on the switch to be inserted later.
type noSwitch struct{}

func (noSwitch) Bridge(context.Context, string) (vif.Bridge, error) {
	return vif.Bridge{Datapath: "netdev"}, nil
}
func (noSwitch) AddPort(context.Context, vif.Port) error   { return nil }
func (noSwitch) DelPorts(context.Context, ...string) error { return nil }

// prepare makes the devices of ports on a host (tap, qbr, qvb, qvo), all but the port on the switch.
func (h *host) prepare(ctx context.Context, ports []port) error {
	plugger := vif.New(h.links, noSwitch{})
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, p := range ports {
		g.Go(func() error {
			return plugger.Plug(ctx, vif.Spec{PortID: p.ID, MAC: p.MAC, VMUUID: p.ID.UUID, MTU: mtu, Mode: vif.Hybrid, Bridge: "br-int"})
		})
	}
	return g.Wait()
}

// insert puts prepared ports on a bridge of the switch in one transaction, as os-vif describes them.
func (h *host) insert(ctx context.Context, bridge string, mode vif.Mode, ports ...port) error {
	var ops []ovsdb.Operation
	var rows []ovsdb.Atom
	for i, p := range ports {
		name := vif.NamesOf(p.ID).SwitchPort(mode)
		row, iface := fmt.Sprintf("p%d", i), fmt.Sprintf("i%d", i)
		ops = append(ops,
			ovsdb.Insert("Interface", iface, ovsdb.Values{"name": ovsdb.Str(name), "mtu_request": ovsdb.Int(mtu), "external_ids": ovsdb.StrMap(map[string]string{
				"iface-id": p.ID.String(), "iface-status": "active", "attached-mac": p.MAC.String(), "vm-uuid": p.ID.String(),
			})}),
			ovsdb.Insert("Port", row, ovsdb.Values{"name": ovsdb.Str(name), "interfaces": ovsdb.Set(ovsdb.NamedAtom(iface))}))
		rows = append(rows, ovsdb.NamedAtom(row))
	}
	ops = append(ops, ovsdb.Mutate("Bridge", []ovsdb.Mutation{{Column: "ports", Mutator: "insert", Value: ovsdb.Set(rows...)}},
		ovsdb.Condition{Column: "name", Function: "==", Value: ovsdb.Str(bridge)}))
	done, err := h.db.Transact(ctx, ops...)
	if err == nil && done[len(done)-1].Count != 1 {
		err = fmt.Errorf("%s has no bridge %s", h.name, bridge)
	}
	return err
}

// fillIdle plugs ports on compute1 until there are n idle ones, all ACTIVE.
func (w *world) fillIdle(ctx context.Context, n int) error {
	if len(w.idle) >= n {
		return nil
	}
	w.step("plugging %d more idle ports on compute1", n-len(w.idle))
	ports, err := w.makePorts(ctx, w.network, n-len(w.idle), apibench.Object{"binding:host_id": "compute1"})
	if err != nil {
		return err
	}
	if err := w.one.prepare(ctx, ports); err != nil {
		return err
	}
	w.step("their devices are there")
	w.idle = append(w.idle, ports...)
	if err := w.one.insert(ctx, "br-int", vif.Hybrid, ports...); err != nil {
		return err
	}
	return w.allActive(ctx)
}

// allActive waits until every port plugged on compute1 is ACTIVE.
func (w *world) allActive(ctx context.Context) error {
	want := len(w.idle) + 1
	return wait(ctx, fmt.Sprintf("%d ports are ACTIVE", want), 2*time.Millisecond, func() (bool, error) {
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
func (h *host) agentMetrics(ctx context.Context) (map[string]float64, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (c net.Conn, err error) {
			derr := h.links.Do(func() error { c, err = net.Dial("tcp", "127.0.0.1:9698"); return nil })
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
