package benchlab

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"weft/internal/host/ovs/ovsdb"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// Port is a port as it is plugged.
type Port struct {
	ID   model.PortID
	MAC  model.MAC
	IP   netip.Addr
	Mode vif.Mode // how its binding wants it plugged
}

// noSwitch is a vif.Switch that leaves the port on the switch to be inserted later.
type noSwitch struct{}

func (noSwitch) Bridge(context.Context, string) (vif.Bridge, error) {
	return vif.Bridge{Datapath: "netdev"}, nil
}
func (noSwitch) AddPort(context.Context, vif.Port) error   { return nil }
func (noSwitch) DelPorts(context.Context, ...string) error { return nil }

// Prepare makes the devices of ports on the host (tap, qbr, qvb, qvo), all but the port on the switch.
func (h *Host) Prepare(ctx context.Context, mtu int, ports []Port) error {
	plugger := vif.New(h.Links, noSwitch{})
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, p := range ports {
		g.Go(func() error {
			return plugger.Plug(ctx, vif.Spec{PortID: p.ID, MAC: p.MAC, VMUUID: p.ID.UUID, MTU: mtu, Mode: vif.Hybrid, Bridge: "br-int"})
		})
	}
	return g.Wait()
}

// Insert puts prepared ports on a bridge of the switch in one transaction, as os-vif describes them.
func (h *Host) Insert(ctx context.Context, bridge string, mode vif.Mode, mtu int, ports ...Port) error {
	var ops []ovsdb.Operation
	var rows []ovsdb.Atom
	for i, p := range ports {
		name := vif.NamesOf(p.ID).SwitchPort(mode)
		row, iface := fmt.Sprintf("p%d", i), fmt.Sprintf("i%d", i)
		ops = append(ops,
			ovsdb.Insert("Interface", iface, ovsdb.Values{"name": ovsdb.Str(name), "mtu_request": ovsdb.Int(int64(mtu)), "external_ids": ovsdb.StrMap(map[string]string{
				"iface-id": p.ID.String(), "iface-status": "active", "attached-mac": p.MAC.String(), "vm-uuid": p.ID.String(),
			})}),
			ovsdb.Insert("Port", row, ovsdb.Values{"name": ovsdb.Str(name), "interfaces": ovsdb.Set(ovsdb.NamedAtom(iface))}))
		rows = append(rows, ovsdb.NamedAtom(row))
	}
	ops = append(ops, ovsdb.Mutate("Bridge", []ovsdb.Mutation{{Column: "ports", Mutator: "insert", Value: ovsdb.Set(rows...)}},
		ovsdb.Condition{Column: "name", Function: "==", Value: ovsdb.Str(bridge)}))
	done, err := h.DB.Transact(ctx, ops...)
	if err == nil && done[len(done)-1].Count != 1 {
		err = fmt.Errorf("%s has no bridge %s", h.Name, bridge)
	}
	return err
}
