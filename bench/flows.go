package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"weft/bench/benchlab"
	"weft/internal/host/flow"
	"weft/internal/host/ovs/openflow"
)

// flows measures how fast flows get into Open vSwitch, on a scratch bridge of the gateway host.
func (w *world) flows(ctx context.Context) (err error) {
	const bridge = "br-flows"
	_, err = w.gateway.Output(ctx, "ovs-vsctl", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev", "fail_mode=secure",
		"protocols=OpenFlow10,OpenFlow13,OpenFlow14")
	if err != nil {
		return err
	}
	defer func() {
		_, e := w.gateway.Output(context.WithoutCancel(ctx), "ovs-vsctl", "del-br", bridge)
		err = errors.Join(err, e)
	}()
	root, err := w.gateway.Root()
	if err != nil {
		return err
	}
	connected := make(chan struct{}, 1)
	c := openflow.New(root+"/run/openvswitch/"+bridge+".mgmt", openflow.Events{Connected: func(uint64) { connected <- struct{}{} }}, slog.New(slog.DiscardHandler))
	run, stop := context.WithCancel(ctx)
	defer stop()
	go c.Run(run)
	select {
	case <-connected:
	case <-time.After(benchlab.Patience):
		return errors.New("no connection to the bridge")
	}
	for _, n := range []int{10_000, 100_000} {
		w.step("writing %d flows in one bundle", n)
		flows := unicast(n)
		began := time.Now()
		if err := c.Apply(ctx, flows, nil); err != nil {
			return err
		}
		w.rate(fmt.Sprintf("flows into Open vSwitch, one atomic bundle of %s", benchlab.Number(float64(n))), float64(n)/time.Since(began).Seconds(), "", 0)
		if err := c.Apply(ctx, nil, flows); err != nil {
			return err
		}
	}
	return nil
}

// unicast returns flows such as br-tun has: a known MAC behind a tunnel.
func unicast(n int) []flow.Flow {
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
