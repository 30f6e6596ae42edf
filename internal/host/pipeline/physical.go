package pipeline

import (
	"cmp"
	"maps"
	"slices"

	"weft/internal/host/flow"
	"weft/internal/model"
)

// phyFixed lets the bridge of a physical network be a switch for everybody but us.
func (b *builder) phyFixed() {
	c := Cookie(model.KindHost, model.UUID{})
	for _, phy := range b.physical() {
		b.brPhy(phy.Bridge, c, prioMiss, flow.Match{}, flow.Output{Port: flow.PortNormal})
		if phy.Phy != 0 {
			b.brPhy(phy.Bridge, c, prioUplink, flow.Match{}.InPort(phy.Phy))
		}
	}
}

// physical lists the bridges of physical networks, each once: several networks
// may share one.
func (b *builder) physical() []Physical {
	all := slices.SortedFunc(maps.Values(b.in.Local.Physical), func(x, y Physical) int { return cmp.Compare(x.Bridge, y.Bridge) })
	return slices.CompactFunc(all, func(x, y Physical) bool { return x.Bridge == y.Bridge })
}

// phyNetwork translates a network's local VLAN id to its segment.
func (b *builder) phyNetwork(n *network) {
	var translate flow.Action = flow.PopVLAN{}
	if n.view.Segment.Type == model.TypeVLAN {
		translate = flow.SetVlan(uint16(n.view.Segment.Tag))
	}
	b.brPhy(n.phy.Bridge, Cookie(model.KindNetwork, n.view.ID.UUID), prioTranslate,
		flow.Match{}.InPort(n.phy.Phy).Vlan(n.vlan), translate, flow.Output{Port: flow.PortNormal})
}

// outside matches packets of a flat or VLAN network as its segment carries them.
func (n *network) outside(m flow.Match) flow.Match {
	if n.view.Segment.Type == model.TypeVLAN {
		return m.Vlan(uint16(n.view.Segment.Tag))
	}
	return m.Untagged()
}
