package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"weft/bench/apibench"
	"weft/bench/benchlab"
	"weft/internal/host/vif"
	"weft/internal/lab"
	"weft/internal/model"
)

// Names of rows that are in several tables.
const (
	plainSwitch = "plain Open vSwitch, one NORMAL flow"
	plainBridge = "the same behind Linux bridges, without iptables"
	noFirewall  = "no port security"
)

// outsideAddr is the world outside: the gateway of the external network, from which answers come with the address that was asked.
var outsideAddr = netip.MustParseAddr("203.0.113.1")

// tables makes what all rows need but their guests, which come and go with each visit.
func (w *world) tables(ctx context.Context) (out []*table, err error) {
	for _, t := range []struct {
		title string
		make  func(context.Context, *table) error
	}{
		{"Same host", func(ctx context.Context, t *table) error { return w.direct(ctx, t, model.TypeGRE, w.one, 1, 100, 1000) }},
		{"Across hosts, GRE", func(ctx context.Context, t *table) error { return w.direct(ctx, t, model.TypeGRE, w.two, 1, 100, 1000) }},
		{"Across hosts, VXLAN", func(ctx context.Context, t *table) error { return w.direct(ctx, t, model.TypeVXLAN, w.two, 1) }},
		{"Across hosts, Geneve", func(ctx context.Context, t *table) error { return w.direct(ctx, t, model.TypeGeneve, w.two, 1) }},
		{"Through routers, GRE", w.routed},
	} {
		if !strings.Contains(strings.ToLower(t.title), strings.ToLower(w.only)) {
			continue
		}
		made := &table{title: t.title}
		if err := t.make(ctx, made); err != nil {
			return nil, fmt.Errorf("%s: %w", t.title, err)
		}
		out = append(out, made)
	}
	if len(out) == 0 {
		err = fmt.Errorf("-only %s: no table is called like that", w.only)
	}
	return out, err
}

// plain is a row of the bare switch.
func (w *world) plain(name string, typ model.NetworkType, far *benchlab.Host, mode vif.Mode) *row {
	return &row{name: name, open: func(ctx context.Context) (p path, err error) {
		pair := &benchlab.BarePair{Hosts: [2]*benchlab.Host{w.one, far}, Tunnel: typ, Mode: mode, MTU: mtus[typ]}
		p.close = pair.Close
		p.From, p.To, p.Addr, err = pair.Open(ctx)
		return p, err
	}}
}

// direct is the rows of two guests on one network, the first on compute1.
func (w *world) direct(ctx context.Context, t *table, typ model.NetworkType, far *benchlab.Host, rules ...int) error {
	t.rows = []*row{w.plain(plainSwitch, typ, far, vif.Direct)}
	if len(rules) > 1 {
		t.rows = append(t.rows, w.plain(plainBridge, typ, far, vif.Hybrid))
	}
	open, err := w.pair(ctx, typ, far, off, 0)
	if err := t.add(noFirewall, open, err); err != nil {
		return err
	}
	for _, driver := range []string{hybrid, native} {
		for _, n := range rules {
			open, err := w.pair(ctx, typ, far, driver, n)
			if err := t.add(named(driver, n), open, err); err != nil {
				return err
			}
		}
	}
	return nil
}

func named(driver string, rules int) string {
	if rules == 1 {
		return driver + ", 1 rule"
	}
	return fmt.Sprintf("%s, %s rules", driver, benchlab.Number(float64(rules)))
}

// pair makes a network with two ports, the first on compute1.
func (w *world) pair(ctx context.Context, typ model.NetworkType, far *benchlab.Host, driver string, rules int) (opener, error) {
	network, err := w.network(ctx, typ)
	if err != nil {
		return nil, err
	}
	return w.across(ctx, network, network, typ, far, driver, rules)
}

// across makes two ports on one or two networks, the first on compute1.
func (w *world) across(ctx context.Context, network, farNetwork string, typ model.NetworkType, far *benchlab.Host, driver string, rules int) (opener, error) {
	from, err := w.end(ctx, network, w.one, typ, driver, rules)
	if err != nil {
		return nil, err
	}
	to, err := w.end(ctx, farNetwork, far, typ, driver, rules)
	if err != nil {
		return nil, err
	}
	return w.between(from, to), nil
}

// routed is the rows of packets that a router forwards. Each kind of router has two networks.
func (w *world) routed(ctx context.Context, t *table) error {
	t.rows = []*row{w.plain(plainSwitch, model.TypeGRE, w.two, vif.Direct)}
	external, err := benchlab.MakeNetwork(ctx, w.api, "203.0.113.0/24", apibench.Object{
		"name": "external", "router:external": true, "provider:network_type": "flat", "provider:physical_network": lab.ExternalNetwork,
	})
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name        string
		distributed bool
	}{{"centralised", false}, {"distributed", true}} {
		var networks [2]string
		for i := range networks {
			if networks[i], err = w.network(ctx, model.TypeGRE); err != nil {
				return err
			}
		}
		if err := w.router(ctx, kind.name, kind.distributed, external, networks[:]...); err != nil {
			return err
		}
		for _, driver := range []string{hybrid, native} {
			open, err := w.across(ctx, networks[0], networks[1], model.TypeGRE, w.two, driver, 1)
			if err := t.add(fmt.Sprintf("%s router, two networks, %s", kind.name, driver), open, err); err != nil {
				return err
			}
			t.rows[len(t.rows)-1].local = kind.distributed
			if !kind.distributed {
				open, err = w.sourceNAT(ctx, networks[0], driver)
				if err := t.add("source NAT to outside, "+driver, open, err); err != nil {
					return err
				}
			}
			open, err = w.floating(ctx, external, networks[0], driver)
			if err := t.add(fmt.Sprintf("floating IP of a %s router, from outside, %s", kind.name, driver), open, err); err != nil {
				return err
			}
			t.rows[len(t.rows)-1].local = kind.distributed
		}
	}
	return nil
}

// router makes a router with a gateway and a leg on each network.
func (w *world) router(ctx context.Context, name string, distributed bool, external string, networks ...string) error {
	id, err := w.api.Create(ctx, "/routers", "router", apibench.Object{
		"name": name, "distributed": distributed, "external_gateway_info": apibench.Object{"network_id": external},
	})
	if err != nil {
		return err
	}
	for _, n := range networks {
		var out struct{ Subnets []struct{ ID string } }
		if err := w.api.Get(ctx, "/subnets?network_id="+n, &out); err != nil {
			return err
		}
		for _, s := range out.Subnets {
			if _, err := w.api.Do(ctx, "PUT", "/routers/"+id+"/add_router_interface", 200, apibench.Object{"subnet_id": s.ID}); err != nil {
				return err
			}
		}
	}
	return nil
}

// sourceNAT is the path from a guest without a public address to the world outside.
func (w *world) sourceNAT(ctx context.Context, network, driver string) (opener, error) {
	from, err := w.end(ctx, network, w.one, model.TypeGRE, driver, 1)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (p path, err error) {
		p.close = func() error { return w.unplug(&p, from) }
		p.To, p.Addr = w.outside, outsideAddr
		p.From, err = w.plug(ctx, from)
		return p, err
	}, nil
}

// floating is the path from outside to the floating IP of a guest.
func (w *world) floating(ctx context.Context, external, network, driver string) (opener, error) {
	if err := w.api.Get(ctx, "/floatingips", new(any)); err != nil {
		return nil, missing("the API has no floating IPs")
	}
	to, err := w.end(ctx, network, w.one, model.TypeGRE, driver, 1)
	if err != nil {
		return nil, err
	}
	var out struct {
		FloatingIP struct {
			Addr netip.Addr `json:"floating_ip_address"`
		}
	}
	err = w.api.Post(ctx, "/floatingips", apibench.Object{"floatingip": apibench.Object{"floating_network_id": external, "port_id": to.ID}}, &out)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (p path, err error) {
		p.close = func() error { return w.unplug(&p, to) }
		p.From, p.Addr = w.outside, out.FloatingIP.Addr
		p.To, err = w.plug(ctx, to)
		return p, err
	}, nil
}
