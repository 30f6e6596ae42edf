package network

import (
	"iter"
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/policy"
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

// dhcpView is what AnswersDHCP looks at beside the host and the network.
type dhcpView interface {
	SubnetsByNetwork(model.NetworkID) iter.Seq[*model.Subnet]
}

// AnswersDHCP reports whether the guests of a network would have their DHCP from a host, were they there.
func AnswersDHCP(rd dhcpView, h *model.Host, n *model.Network) bool {
	if !slices.ContainsFunc(n.Segments, func(s model.Segment) bool { return reaches(h, s) }) {
		return false
	}
	for s := range rd.SubnetsByNetwork(n.ID) {
		if s.EnableDHCP {
			return true
		}
	}
	return false
}

// ChangeDHCPAgent answers who wants to give a network to a host's DHCP, or take it away: every host answers
// that reaches the network, so that there is nothing to change.
func (r *Rules) ChangeDHCPAgent(tx *store.Tx, who authn.Principal, agent model.AgentID, id model.NetworkID, add bool) error {
	action := "delete_dhcp-network"
	if add {
		action = "create_dhcp-network"
	}
	if err := ask(who, action, policy.Target{}).err(); err != nil {
		return err
	}
	h := tx.HostByAgent(agent)
	if h == nil {
		return agentNotFound(agent)
	}
	n, err := r.Network(tx, who, id)
	if err != nil {
		return err
	}
	switch answers := AnswersDHCP(tx, h, n); {
	case add && answers:
		return fault.New(fault.Conflict, "NetworkHostedByDHCPAgent", "The network %s has been already hosted by the DHCP Agent %s.", id, agent)
	case !add && !answers:
		return fault.New(fault.Conflict, "NetworkNotHostedByDhcpAgent", "The network %s is not hosted by the DHCP Agent %s.", id, agent)
	}
	return fault.New(fault.Conflict, "Conflict", "Every host that reaches network %s answers its DHCP, and no other: agent %s cannot be an exception.", id, agent)
}
