package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"weft/bench/apibench"
	"weft/bench/benchlab"
	"weft/bench/probe"
	"weft/internal/host/link"
	"weft/internal/host/vif"
	"weft/internal/lab"
	"weft/internal/labcmd"
	"weft/internal/model"
)

const (
	labName = "wdata"
	labAddr = "127.0.0.1:49695"
	// underlay is the card of a lab's host that carries its tunnels.
	underlay = "ens4"
	// unlimited takes the quotas away: a bench makes more than a project usually may.
	unlimited = "--default-quotas=network=-1,subnet=-1,port=-1,security_group=-1,security_group_rule=-1,router=-1,floatingip=-1"
)

// mtus of networks over Ethernet, in bytes.
var mtus = map[model.NetworkType]int{model.TypeGRE: 1458, model.TypeVXLAN: 1450, model.TypeGeneve: 1442}

// world is a lab with two compute hosts and a gateway host.
type world struct {
	*bench
	lab      *lab.Lab
	api      *apibench.Client
	one, two *benchlab.Host // compute1, compute2
	gateway  *benchlab.Host // network1
	outside  *link.Namespace
	groups   map[int]string // by the number of their rules
	networks int            // made so far
	guests   int
	stop     context.CancelFunc
}

func (w *world) hosts() []*benchlab.Host { return []*benchlab.Host{w.one, w.two, w.gateway} }

// open brings the lab up.
func (b *bench) open(ctx context.Context) (_ *world, err error) {
	w := &world{bench: b, lab: lab.New(labName, ""), api: apibench.New("http://"+labAddr, 1), groups: map[int]string{}}
	if err := errors.Join(w.lab.Down(ctx), benchlab.DeleteBareGuests()); err != nil { // what a run that crashed may have left
		return nil, err
	}
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
	for name, h := range map[string]**benchlab.Host{"compute1": &w.one, "compute2": &w.two, "network1": &w.gateway} {
		if *h, err = benchlab.Open(background, w.lab, name); err != nil {
			return nil, err
		}
	}
	w.outside, err = link.OpenNetns(labName + "-" + lab.Outside)
	return w, err
}

// close takes everything down.
func (w *world) close() error {
	w.step("taking the lab down")
	w.stop()
	w.api.Close()
	for _, h := range w.hosts() {
		h.Close()
	}
	if w.outside != nil {
		w.outside.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), benchlab.Patience)
	defer cancel()
	return errors.Join(w.lab.Down(ctx), benchlab.DeleteBareGuests())
}

// group returns a security group of n ingress rules, all of which a packet may meet: those that open the measured ports
// and ICMP, and for the rest TCP ports that nobody uses. A group of one rule opens everything.
func (w *world) group(ctx context.Context, n int) (id string, err error) {
	if id := w.groups[n]; id != "" {
		return id, nil
	}
	w.step("making a group of %d rule(s)", n)
	if id, err = w.api.Create(ctx, "/security-groups", "security_group", apibench.Object{"name": fmt.Sprintf("rules-%d", n)}); err != nil {
		return "", err
	}
	rule := func(attrs apibench.Object) apibench.Object {
		attrs["security_group_id"], attrs["direction"], attrs["ethertype"] = id, "ingress", "IPv4"
		return attrs
	}
	ports := func(protocol string, first, last int) apibench.Object {
		return rule(apibench.Object{"protocol": protocol, "port_range_min": first, "port_range_max": last})
	}
	rules := []apibench.Object{rule(apibench.Object{})}
	if n > 1 {
		rules = nil
		for i := range n - 3 {
			rules = append(rules, ports("tcp", 20000+2*i, 20000+2*i))
		}
		rules = append(rules, ports("udp", probe.Port, probe.Port), ports("tcp", 5201, probe.Port), rule(apibench.Object{"protocol": "icmp"}))
	}
	for len(rules) > 0 {
		k := min(100, len(rules))
		if err := w.api.Post(ctx, "/security-group-rules", apibench.Object{"security_group_rules": rules[:k]}, nil); err != nil {
			return "", err
		}
		rules = rules[k:]
	}
	w.groups[n] = id
	return id, nil
}

// network makes a network of a type.
func (w *world) network(ctx context.Context, typ model.NetworkType) (id string, err error) {
	w.networks++
	return benchlab.MakeNetwork(ctx, w.api, fmt.Sprintf("10.%d.0.0/24", 100+w.networks), apibench.Object{
		"name": fmt.Sprintf("n%d", w.networks), "provider:network_type": typ,
	})
}

// end is a port where a guest is plugged in while its row is measured.
type end struct {
	benchlab.Port
	host  *benchlab.Host
	guest string
	mtu   int
}

// What filters a port.
const (
	off    = "off" // nothing: no port security, and the TAP straight on br-int
	hybrid = model.FirewallHybrid
	native = model.FirewallNative
)

// end makes a port.
func (w *world) end(ctx context.Context, network string, host *benchlab.Host, typ model.NetworkType, driver string, rules int) (end, error) {
	attrs := apibench.Object{"binding:host_id": host.Name}
	if driver == off {
		attrs["port_security_enabled"] = false
	} else {
		group, err := w.group(ctx, rules)
		if err != nil {
			return end{}, err
		}
		attrs["security_groups"], attrs["binding:profile"] = []string{group}, apibench.Object{"firewall": driver}
	}
	ports, err := benchlab.MakePorts(ctx, w.api, network, 1, attrs)
	if err != nil {
		return end{}, err
	}
	w.guests++
	e := end{Port: ports[0], host: host, guest: fmt.Sprintf("g%d", w.guests), mtu: mtus[typ]}
	if driver == off {
		e.Mode = vif.Direct
	}
	if driver == native && e.Mode != vif.Direct {
		return end{}, missing("hosts do not filter in the switch")
	}
	return e, nil
}

// plug makes the guest of a port and returns its namespace.
func (w *world) plug(ctx context.Context, e end) (*link.Namespace, error) {
	gateway := e.IP.As4()
	gateway[3] = 1
	_, err := w.lab.VMCreate(ctx, lab.VMSpec{
		Host: e.host.Name, Name: e.guest, PortID: e.ID, MAC: e.MAC, UUID: e.ID.UUID, MTU: e.mtu, Mode: e.Mode,
		Static: []netip.Prefix{netip.PrefixFrom(e.IP, 24)}, Gateway: netip.AddrFrom4(gateway),
	})
	if err != nil {
		return nil, err
	}
	return e.host.Guest(e.guest)
}

// between is the path from one port to another.
func (w *world) between(from, to end) opener {
	return func(ctx context.Context) (p path, err error) {
		p.close = func() error { return w.unplug(&p, from, to) }
		p.Addr = to.IP
		if p.From, err = w.plug(ctx, from); err != nil {
			return p, err
		}
		p.To, err = w.plug(ctx, to)
		return p, err
	}
}

// unplug removes the guests of ports, those that are there.
func (w *world) unplug(p *path, ends ...end) error {
	ctx, cancel := context.WithTimeout(context.Background(), benchlab.Patience)
	defer cancel()
	var errs []error
	for _, n := range []*link.Namespace{p.From, p.To} {
		if n != nil && n != w.outside {
			n.Close()
		}
	}
	vms, err := w.lab.VMs()
	errs = append(errs, err)
	for _, vm := range vms {
		for _, e := range ends {
			if vm.Name == e.guest {
				errs = append(errs, w.lab.VMDelete(ctx, vm.Name))
			}
		}
	}
	return errors.Join(errs...)
}
