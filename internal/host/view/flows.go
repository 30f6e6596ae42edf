package view

import (
	"fmt"
	"strings"

	"weft/internal/host/flow"
	"weft/internal/host/ovs/openflow"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// vlanPresent is the bit of VLAN TCI that says that there is a tag (ovs-fields(7), "vlan_tci").
const vlanPresent = 0x1000

// countFlows adds up a bridge's flows, and keeps those that have dropped something.
func countFlows(b *Bridge, flows []openflow.FlowStats) {
	b.Flows = len(flows)
	names := map[uint8]string{}
	for _, t := range pipeline.Tables() {
		if string(t.Bridge) == b.Name {
			names[t.Number] = t.Name
		}
	}
	for _, s := range flows {
		if len(s.Flow.Actions) > 0 || s.Packets == 0 || s.Err != nil {
			continue
		}
		kind, object := pipeline.Object(s.Flow.Cookie)
		if b.Name == string(pipeline.BridgeInt) && s.Flow.Table == pipeline.IntDropped && kind == model.KindPort {
			continue // its port tells
		}
		b.Drops = append(b.Drops, FlowDrop{
			Table: s.Flow.Table, Name: names[s.Flow.Table], Match: s.Flow.Match.String(), Object: object, Count: count(s),
		})
	}
}

func count(s openflow.FlowStats) Count { return Count{s.Packets, s.Bytes} }

// portFlows counts the flows of br-int that a port causes. Its cookie bears the first ten digits of its id.
func (f *facts) portFlows(p *Port, suffix string) {
	for _, s := range f.intFlows {
		kind, id := pipeline.Object(s.Flow.Cookie)
		if kind != model.KindPort || id == "" || !strings.HasPrefix(suffix, id) {
			continue
		}
		p.Flows++
		for _, a := range s.Flow.Actions {
			if _, up := a.(flow.Controller); up {
				p.DHCP = p.DHCP.plus(count(s))
			}
		}
	}
}

// filterFlows reads the tables of br-int that filter a port as if they were its chains.
func (f *facts) filterFlows(p *Port, ofport int) {
	for _, t := range []struct {
		kind    string
		table   uint8
		dropped uint64 // on which side of the port
		none    bool   // nothing is dropped here
	}{
		{Ingress, pipeline.IntIngressRules, pipeline.SideTo, false},
		{Egress, pipeline.IntEgressRules, pipeline.SideFrom, false},
		{Spoofing, pipeline.IntEgressBase, 0, true},
	} {
		c := Chain{Name: fmt.Sprintf("br-int table %d", t.table), Kind: t.kind}
		for _, s := range f.intFlows {
			if port, ok := s.Flow.Match.Get(pipeline.RegPort); !ok || port.Uint() != uint64(ofport) {
				continue
			}
			switch s.Flow.Table {
			case t.table:
				c.Rules = append(c.Rules, Rule{Family: familyOf(s.Flow.Match), Text: s.Flow.Match.String() + " " + flow.ActionsText(s.Flow.Actions, nil), Count: count(s)})
				c.Entered = c.Entered.plus(count(s))
			case pipeline.IntDropped:
				side, _ := s.Flow.Match.Get(pipeline.RegSide)
				if t.none || side.Uint() != t.dropped || s.Packets == 0 {
					continue
				}
				c.Drops = append(c.Drops, Drop{Reason: "no rule allows it", Count: count(s)})
				c.Entered = c.Entered.plus(count(s))
			}
		}
		if len(c.Rules) > 0 {
			p.Chains = append(p.Chains, c)
		}
	}
}

func familyOf(m flow.Match) string {
	if t, ok := m.Get(flow.EthType); ok && t.Uint() == flow.EtherTypeIPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// networkFlows reads what a network has sent and received from the counters of br-tun.
func (f *facts) networkFlows(n *Network) {
	for _, s := range f.tunFlows {
		switch s.Flow.Table {
		case pipeline.TunGRE, pipeline.TunVXLAN, pipeline.TunGeneve:
			key, ok := s.Flow.Match.Get(flow.TunID)
			if ok && key.Uint() == uint64(n.Segmentation) && s.Flow.Table == tableOf(n.Type) {
				n.FromTunnels = n.FromTunnels.plus(count(s))
			}
		case pipeline.TunUnicast, pipeline.TunARP, pipeline.TunFlood:
			tci, ok := s.Flow.Match.Get(flow.VlanTCI)
			if !ok || n.VLAN == 0 || tci.Uint()&^vlanPresent != uint64(n.VLAN) {
				continue
			}
			into := map[uint8]*Count{pipeline.TunUnicast: &n.Unicast, pipeline.TunARP: &n.ARPAnswered, pipeline.TunFlood: &n.Flooded}[s.Flow.Table]
			*into = into.plus(count(s))
		}
	}
}

// tableOf is the table of br-tun that takes a type's packets in.
func tableOf(networkType string) uint8 {
	switch model.NetworkType(networkType) {
	case model.TypeVXLAN:
		return pipeline.TunVXLAN
	case model.TypeGeneve:
		return pipeline.TunGeneve
	}
	return pipeline.TunGRE
}
