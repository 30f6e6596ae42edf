package view

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// Distributed is what flows of br-int do of a distributed router: they route between ports that are known,
// everything else is the business of the gateway.
type Distributed struct {
	ID     string `json:"id"`
	Flows  int    `json:"flows"`
	Asked  Count  `json:"asked"`  // what ports of this host have sent to the router
	Routed Count  `json:"routed"` // what of it has gone to another subnet from here
}

// distributed lists the distributed routers that the host routes for.
func (f *facts) distributed() []Distributed {
	var out []Distributed
	for id, v := range f.view.Routers {
		if !v.Distributed {
			continue
		}
		d := Distributed{ID: id.String()}
		key := uint64(binary.BigEndian.Uint32(id.UUID[:4]))
		for _, s := range f.intFlows {
			reg, tagged := s.Flow.Match.Get(pipeline.RegRouter)
			kind, prefix := pipeline.Object(s.Flow.Cookie)
			ours := kind == model.KindRouter && prefix != "" && strings.HasPrefix(d.ID, prefix)
			switch {
			case s.Flow.Table == pipeline.IntLocalEgress && ours:
				d.Asked = d.Asked.plus(count(s))
			case s.Flow.Table == pipeline.IntRoute && ours:
			case s.Flow.Table == pipeline.IntRouted && tagged && reg.Uint() == key:
				d.Routed = d.Routed.plus(count(s))
			default:
				continue
			}
			d.Flows++
		}
		if d.Flows > 0 {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Distributed) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// distributedLane says what there is to say of a distributed router on the host of its ports.
func distributedLane(d *Distributed) lane {
	return lane{
		name: "router " + shortID(d.ID), plugged: true, plug: []string{plural(d.Flows, "flow"), "tables 30 32 33"},
		details: []string{"distributed, by flows", fmt.Sprintf("routed here: %s of %s", number(d.Routed.Packets), number(d.Asked.Packets))},
	}
}
