package pipeline

import (
	"weft/internal/host/flow"
	"weft/internal/model"
)

// Forget says which learned flows must go when a local VLAN id is taken from a
// network, before another gets it: they would send that one's packets with the
// old one's tunnel key, or to its ports. Each result stands for all flows of its
// Table that its Match covers (a non-strict deletion), of those whose cookie
// equals Cookie in the bits of CookieKindMask.
func Forget(vlan uint16) (brInt, brTun flow.Flow) {
	c := Cookie(model.KindLearned, model.UUID{})
	brInt = flow.Flow{Table: IntLearned, Cookie: c, Match: flow.Match{}.Uint(RegNetwork, uint64(vlan))}
	brTun = flow.Flow{Table: TunUnicast, Cookie: c, Match: flow.Match{}.Masked(flow.VlanTCI, uint64(vlan), 0xfff)}
	return brInt, brTun
}

// ForgetPort says which learned flows must go, of those of all cookie bits, when a
// port may no more use any MAC or receive for it: it has port security now, or is
// down.
func ForgetPort(id model.PortID) flow.Flow {
	return flow.Flow{Table: IntLearned, Cookie: Cookie(model.KindLearned, id.UUID)}
}
