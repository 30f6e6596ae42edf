package benchlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"weft/internal/host/link"
	"weft/internal/host/vif"
	"weft/internal/model"
)

const (
	bareBridge = "br-bare"
	// bareKey is the tunnel key of the bare switches: the server gives out no such key, in no type of network.
	bareKey = "16000000"
)

// BarePair is two guests of bare switches: one NORMAL flow, nothing else. They are namespaces of the machine, so that the
// lab knows nothing of them.
type BarePair struct {
	Hosts  [2]*Host          // twice the same: one switch, no tunnel
	Tunnel model.NetworkType // between two hosts: gre, vxlan or geneve
	Mode   vif.Mode          // how the guests' cards reach the switch
	MTU    int               // bytes

	guests [2]*link.Namespace
}

func bareName(i int) string { return "wbench-bare-" + string(rune('a'+i)) }

func barePort(i int) Port {
	id := byte(i + 1)
	return Port{
		ID: model.PortID{UUID: model.UUID{0xba, 0x5e, id}}, MAC: model.MAC{0xfa, 0x16, 0x3e, 0xba, 0x5e, id},
		IP: netip.AddrFrom4([4]byte{10, 99, 0, id}),
	}
}

// Open plugs the guests in and returns their namespaces and the address of the second when they reach each other. What it
// made must be taken away by Close, also when it fails.
func (b *BarePair) Open(ctx context.Context) (from, to *link.Namespace, addr netip.Addr, err error) {
	for i, h := range b.Hosts {
		if i == 0 || h != b.Hosts[0] {
			if err := b.makeSwitch(ctx, h, b.Hosts[1-i]); err != nil {
				return nil, nil, addr, err
			}
		}
		p := barePort(i)
		plugger := vif.New(h.Links, bareSwitch{host: h, pair: b, port: p})
		err := plugger.Plug(ctx, vif.Spec{PortID: p.ID, MAC: p.MAC, VMUUID: p.ID.UUID, MTU: b.MTU, Mode: b.Mode, Guest: bareName(i), Bridge: bareBridge})
		if err != nil {
			return nil, nil, addr, err
		}
		if b.guests[i], err = link.OpenNetns(vif.GuestNetns(bareName(i))); err != nil {
			return nil, nil, addr, err
		}
		if err := b.guests[i].EnsureAddr(vif.GuestDevice, netip.PrefixFrom(p.IP, 24)); err != nil {
			return nil, nil, addr, err
		}
	}
	addr = barePort(1).IP
	return b.guests[0], b.guests[1], addr, Reach(ctx, b.guests[0], addr)
}

func (b *BarePair) makeSwitch(ctx context.Context, h, other *Host) error {
	argv := []string{"ovs-vsctl", "add-br", bareBridge, "--", "set", "bridge", bareBridge, "datapath_type=netdev", "fail_mode=secure"}
	if h != other {
		argv = append(argv, "--", "add-port", bareBridge, "bare-tunnel", "--", "set", "interface", "bare-tunnel", "type="+string(b.Tunnel),
			"options:local_ip="+h.Tunnel.String(), "options:remote_ip="+other.Tunnel.String(), "options:key="+bareKey, "options:df_default=true")
	}
	if _, err := h.Output(ctx, argv...); err != nil {
		return err
	}
	_, err := h.Output(ctx, "ovs-ofctl", "add-flow", bareBridge, "actions=NORMAL")
	return err
}

// Close takes guests and switches away.
func (b *BarePair) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var errs []error
	for i, h := range b.Hosts {
		if b.guests[i] != nil {
			b.guests[i].Close()
			b.guests[i] = nil
		}
		_, err := h.Output(ctx, "ovs-vsctl", "--if-exists", "del-br", bareBridge)
		errs = append(errs, err, vif.New(h.Links, noSwitch{}).Unplug(ctx, barePort(i).ID, bareBridge, bareName(i)))
	}
	return errors.Join(errs...)
}

// DeleteBareGuests removes what a run that crashed may have left on the machine.
func DeleteBareGuests() error {
	return errors.Join(link.DeleteNetns(vif.GuestNetns(bareName(0))), link.DeleteNetns(vif.GuestNetns(bareName(1))))
}

// bareSwitch inserts the port that a plug ends with.
type bareSwitch struct {
	noSwitch
	host *Host
	pair *BarePair
	port Port
}

func (s bareSwitch) AddPort(ctx context.Context, _ vif.Port) error {
	if err := s.host.Insert(ctx, bareBridge, s.pair.Mode, s.pair.MTU, s.port); err != nil {
		return fmt.Errorf("bare switch: %w", err)
	}
	return nil
}
