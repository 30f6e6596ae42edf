package network

import (
	"slices"

	"weft/internal/model"
	"weft/internal/server/store"
)

// syncDHCP makes a network's DHCP port what its subnets ask for: one port with
// an address on each subnet that has DHCP, none when there is no such subnet. It
// is called in the transaction that changed the subnets.
//
// DHCP is answered on every host from memory; the port reserves the address that
// answers come from, and shows it. A subnet without a free address has none:
// its guests are then not answered, which is no reason to refuse the subnet.
func (r *Rules) syncDHCP(tx *store.Tx, env Env, n *model.Network) error {
	old := dhcpPort(tx, n.ID)
	var serve []*model.Subnet
	for s := range tx.SubnetsByNetwork(n.ID) {
		if s.EnableDHCP {
			serve = append(serve, s)
		}
	}
	if len(serve) == 0 {
		if old != nil {
			deletePort(tx, old.ID)
		}
		return nil
	}
	var p *model.Port
	if old != nil {
		p = old.Clone()
	} else {
		var err error
		if p, err = r.servicePort(tx, env, n, n.ProjectID, model.OwnerDHCP, model.DHCPDeviceID(n.ID)); err != nil {
			return err
		}
	}
	a := &addressing{tx: tx, env: env, port: p}
	for _, s := range serve {
		if a.keep(s, p.FixedIPs) {
			continue
		}
		if autoAddress(s) {
			if err := a.takeAuto(s); err != nil {
				return err
			}
		} else if addr, ok := a.lowest(s); ok {
			a.take(s, addr)
		}
	}
	switch {
	case old == nil:
		p.FixedIPs = a.got
	case slices.Equal(old.FixedIPs, a.got):
		return nil
	default:
		p.FixedIPs = a.got
		env.touch(&p.Meta)
	}
	putPort(tx, p)
	return nil
}

// dhcpPort returns the network's DHCP port, nil when there is none.
func dhcpPort(tx *store.Tx, n model.NetworkID) *model.Port {
	for p := range tx.PortsByDevice(model.DHCPDeviceID(n)) {
		if p.IsDHCPService() {
			return p
		}
	}
	return nil
}
