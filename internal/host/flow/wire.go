package flow

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

var be = binary.BigEndian

// Action types of OpenFlow 1.4, 7.2.4.
const (
	ofpatOutput   = 0
	ofpatPushVLAN = 17
	ofpatPopVLAN  = 18
	ofpatSetQueue = 21
	ofpatGroup    = 22
	ofpatDecTTL   = 24
	ofpatSetField = 25
	ofpatVendor   = 0xffff
)

// Nicira action subtypes (openvswitch, lib/ofp-actions.c).
const (
	nxVendor = 0x00002320

	nxResubmit       = 1
	nxRegMove        = 6
	nxRegLoad        = 7
	nxNote           = 8
	nxResubmitTable  = 14
	nxOutputReg      = 15
	nxLearn          = 16
	nxController     = 20
	nxRegLoad2       = 33
	nxConjunction    = 34
	nxCT             = 35
	nxNAT            = 36
	nxController2    = 37
	nxCTClear        = 43
	nxResubmitCT     = 44
	nxBundle         = 12
	nxCheckPktLarger = 49
)

// Instruction types of OpenFlow 1.4, 7.2.3.
const (
	instrGotoTable     = 1
	instrWriteMetadata = 2
	instrWriteActions  = 3
	instrApplyActions  = 4
	instrClearActions  = 5
	instrMeter         = 6
)

const (
	maxLenAll = 0xffff // OFPCML_NO_BUFFER: the whole packet
	ctNoTable = 0xff   // NX_CT_RECIRC_NONE

	ctCommit = 1 << 0
	ctForce  = 1 << 1

	learnSendFlowRem   = 1 << 0
	learnDeleteLearned = 1 << 1

	natSrc        = 1 << 0
	natDst        = 1 << 1
	natPersistent = 1 << 2
	natHash       = 1 << 3
	natRandom     = 1 << 4

	natIPv4Min = 1 << 0
	natIPv4Max = 1 << 1
	natIPv6Min = 1 << 2
	natIPv6Max = 1 << 3
	natPortMin = 1 << 4
	natPortMax = 1 << 5
)

// AppendMatch appends an ofp_match, padded to 8 bytes.
func AppendMatch(b []byte, m Match) []byte {
	at := len(b)
	b = append(b, 0, 1, 0, 0) // OFPMT_OXM
	b = appendFields(b, m)
	be.PutUint16(b[at+2:], uint16(len(b)-at))
	return pad8(b, at)
}

// appendFields appends the OXM fields of a match.
func appendFields(b []byte, m Match) []byte {
	for _, fm := range m {
		if fm.Field == VlanTCI {
			b = appendTCI(b, fm)
			continue
		}
		b = appendOXM(b, fm.Field, fm.Value, fm.Mask)
	}
	return b
}

func appendOXM(b []byte, f Field, value, mask Value) []byte {
	info := &fields[f]
	size := info.oxm & 0xff
	if mask == ones(f) {
		b = be.AppendUint32(b, info.oxm)
		return append(b, value[:size]...)
	}
	b = be.AppendUint32(b, info.oxm|oxmHasMask+size)
	b = append(b, value[:size]...)
	return append(b, mask[:size]...)
}

// appendTCI says a match on the TCI as VLAN_VID and VLAN_PCP, which is how the
// switch returns it. Only a part of the priority, or a priority of packets that
// may be untagged, needs the NXM field.
func appendTCI(b []byte, fm FieldMatch) []byte {
	value, mask := be.Uint16(fm.Value[:]), be.Uint16(fm.Mask[:])
	vid := uintValue(VlanVID, uint64(value&0x1fff))
	vidMask := uintValue(VlanVID, uint64(mask&0x1fff))
	switch {
	case mask>>13 == 0:
		return appendOXM(b, VlanVID, vid, vidMask)
	case mask>>13 == 7 && value&vlanPresent != 0:
		b = appendOXM(b, VlanVID, vid, vidMask)
		return appendOXM(b, VlanPCP, uintValue(VlanPCP, uint64(value>>13)), ones(VlanPCP))
	default:
		return appendOXM(b, VlanTCI, fm.Value, fm.Mask)
	}
}

// AppendInstructions appends the instructions that run a flow's actions.
func AppendInstructions(b []byte, actions []Action) []byte {
	for _, a := range actions {
		if m, ok := a.(Meter); ok {
			b = be.AppendUint16(b, instrMeter)
			b = be.AppendUint16(b, 8)
			b = be.AppendUint32(b, m.ID)
		}
	}
	at := len(b)
	b = append(b, 0, instrApplyActions, 0, 0, 0, 0, 0, 0)
	for _, a := range actions {
		if !isInstruction(a) {
			b = appendAction(b, a)
		}
	}
	if len(b) == at+8 {
		b = b[:at]
	} else {
		be.PutUint16(b[at+2:], uint16(len(b)-at))
	}
	for _, a := range actions {
		if _, ok := a.(ClearActions); ok {
			b = append(b, 0, instrClearActions, 0, 8, 0, 0, 0, 0)
		}
	}
	for _, a := range actions {
		if w, ok := a.(WriteActions); ok {
			at := len(b)
			b = append(b, 0, instrWriteActions, 0, 0, 0, 0, 0, 0)
			b = AppendActions(b, w.Actions)
			be.PutUint16(b[at+2:], uint16(len(b)-at))
		}
	}
	for _, a := range actions {
		if w, ok := a.(WriteMetadata); ok {
			w = w.norm()
			b = append(b, 0, instrWriteMetadata, 0, 24, 0, 0, 0, 0)
			b = be.AppendUint64(b, w.Value)
			b = be.AppendUint64(b, w.Mask)
		}
	}
	for _, a := range actions {
		if g, ok := a.(GotoTable); ok {
			b = append(b, 0, instrGotoTable, 0, 8, g.Table, 0, 0, 0)
		}
	}
	return b
}

func (w WriteMetadata) norm() WriteMetadata {
	if w.Mask == 0 {
		w.Mask = ^uint64(0)
	}
	w.Value &= w.Mask
	return w
}

func isInstruction(a Action) bool {
	switch a.(type) {
	case GotoTable, Meter, WriteMetadata, ClearActions, WriteActions:
		return true
	}
	return false
}

// AppendActions appends an action list, as in a packet-out or a group bucket.
// It panics on what is an instruction on the wire.
func AppendActions(b []byte, actions []Action) []byte {
	for _, a := range actions {
		b = appendAction(b, a)
	}
	return b
}

func appendAction(b []byte, a Action) []byte {
	switch a := a.(type) {
	case Output:
		b = append(b, 0, ofpatOutput, 0, 16)
		b = be.AppendUint32(b, a.Port)
		b = be.AppendUint16(b, a.maxLen())
		return append(b, 0, 0, 0, 0, 0, 0)
	case PushVLAN:
		b = append(b, 0, ofpatPushVLAN, 0, 8)
		b = be.AppendUint16(b, a.etherType())
		return append(b, 0, 0)
	case PopVLAN:
		return append(b, 0, ofpatPopVLAN, 0, 8, 0, 0, 0, 0)
	case SetQueue:
		return be.AppendUint32(append(b, 0, ofpatSetQueue, 0, 8), a.ID)
	case Group:
		return be.AppendUint32(append(b, 0, ofpatGroup, 0, 8), a.ID)
	case DecTTL:
		return append(b, 0, ofpatDecTTL, 0, 8, 0, 0, 0, 0)
	case SetField:
		return appendSetField(b, a)
	case Load:
		return appendLoad(b, a)
	case Raw:
		return append(b, a.Bytes...)
	default:
		return appendVendor(b, a)
	}
}

func (o Output) maxLen() uint16 {
	switch {
	case o.Port != PortController:
		return 0
	case o.MaxLen == 0:
		return maxLenAll
	}
	return o.MaxLen
}

func (p PushVLAN) etherType() uint16 {
	if p.EtherType == 0 {
		return EtherTypeVLAN
	}
	return p.EtherType
}

// norm spells out the mask and clears what is outside of it.
func (s SetField) norm() SetField {
	full := ones(s.Field)
	if s.Mask == (Value{}) {
		s.Mask = full
	}
	for i := range s.Mask {
		s.Mask[i] &= full[i]
		s.Value[i] &= s.Mask[i]
	}
	return s
}

// bits returns the range that the mask covers if it is one range of at most 64
// bits, and its value.
func (s SetField) bits() (Bits, uint64, bool) {
	size := s.Field.size()
	lo, hi := -1, -1
	for i := range 8 * size {
		if s.Mask[size-1-i/8]>>(i%8)&1 == 0 {
			continue
		}
		if lo < 0 {
			lo = i
		} else if hi != i-1 {
			return Bits{}, 0, false
		}
		hi = i
	}
	if lo < 0 || hi-lo >= 64 {
		return Bits{}, 0, false
	}
	return Range(s.Field, uint16(lo), uint16(hi)), getBits(s.Value, size, lo), true
}

// getBits returns up to 64 bits from bit lo up.
func getBits(v Value, size, lo int) uint64 {
	var out uint64
	for i := lo; i < 8*size && i < lo+64; i++ {
		out |= uint64(v[size-1-i/8]>>(i%8)&1) << (i - lo)
	}
	return out
}

// appendSetField writes a whole field as OFPAT_SET_FIELD, a range of bits as
// NXAST_REG_LOAD and the rest as NXAST_REG_LOAD2: in OpenFlow 1.4 Open vSwitch
// returns each as it came.
func appendSetField(b []byte, s SetField) []byte {
	s = s.norm()
	at := len(b)
	if s.Mask == ones(s.Field) {
		b = append(b, 0, ofpatSetField, 0, 0)
		b = appendOXM(b, s.Field, s.Value, s.Mask)
		return endAction(b, at)
	}
	if dst, v, ok := s.bits(); ok {
		return appendRegLoad(b, dst, v)
	}
	b = vendor(b, nxRegLoad2)
	b = appendOXM(b, s.Field, s.Value, s.Mask)
	return endAction(b, at)
}

func appendLoad(b []byte, l Load) []byte {
	dst := l.Dst.norm()
	if dst.N > 64 || bits.Len64(l.Value) > int(dst.N) {
		panic(fmt.Sprintf("flow: load of %#x does not fit %d bits of %s", l.Value, dst.N, dst.Field))
	}
	if dst.whole() {
		return appendSetField(b, SetField{Field: dst.Field, Value: putUint(l.Value, dst.Field.size())})
	}
	return appendRegLoad(b, dst, l.Value)
}

func appendRegLoad(b []byte, dst Bits, v uint64) []byte {
	at := len(b)
	b = vendor(b, nxRegLoad)
	b = be.AppendUint16(b, dst.ofsBits())
	b = be.AppendUint32(b, fields[dst.Field].sub)
	b = be.AppendUint64(b, v)
	return endAction(b, at)
}

// nxmInPort is the header of NXM_OF_IN_PORT, the type of a bundle's members.
const nxmInPort = 0x00000002

// ofsBits packs offset and size as NXAST_REG_LOAD, OUTPUT_REG and CT have them.
func (b Bits) ofsBits() uint16 { return b.Ofs<<6 | (b.N - 1) }

func vendor(b []byte, subtype uint16) []byte {
	b = append(b, 0xff, 0xff, 0, 0)
	b = be.AppendUint32(b, nxVendor)
	return be.AppendUint16(b, subtype)
}

// endAction pads the action that starts at b[at] and sets its length.
func endAction(b []byte, at int) []byte {
	b = pad8(b, at)
	be.PutUint16(b[at+2:], uint16(len(b)-at))
	return b
}

func pad8(b []byte, at int) []byte {
	for (len(b)-at)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendVendor(b []byte, a Action) []byte {
	at := len(b)
	switch a := a.(type) {
	case Resubmit:
		b = appendResubmit(b, a)
	case Move:
		src, dst := a.Src.norm(), a.Dst.norm()
		b = vendor(b, nxRegMove)
		b = be.AppendUint16(b, src.N)
		b = be.AppendUint16(b, src.Ofs)
		b = be.AppendUint16(b, dst.Ofs)
		b = be.AppendUint32(b, fields[src.Field].sub)
		b = be.AppendUint32(b, fields[dst.Field].sub)
	case OutputReg:
		src := a.Src.norm()
		b = vendor(b, nxOutputReg)
		b = be.AppendUint16(b, src.ofsBits())
		b = be.AppendUint32(b, fields[src.Field].sub)
		b = be.AppendUint16(b, maxLenAll)
		b = append(b, 0, 0, 0, 0, 0, 0)
	case Controller:
		b = appendController(b, a)
	case Learn:
		b = appendLearn(b, a)
	case CT:
		b = appendCT(b, a)
	case CTClear:
		b = vendor(b, nxCTClear)
	case Conjunction:
		b = vendor(b, nxConjunction)
		b = append(b, a.Clause-1, a.N)
		b = be.AppendUint32(b, a.ID)
	case Note:
		b = append(vendor(b, nxNote), a.Data...)
	case Bundle:
		b = append(vendor(b, nxBundle), 0, 0, 0, 0, 0, 0) // active_backup by eth_src, basis 0: of no effect
		b = be.AppendUint32(b, nxmInPort)
		b = be.AppendUint16(b, uint16(len(a.Members)))
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		for _, m := range a.Members {
			b = be.AppendUint16(b, uint16(m))
		}
	case CheckPktLarger:
		dst := a.Dst.norm()
		b = vendor(b, nxCheckPktLarger)
		b = be.AppendUint16(b, a.Len)
		b = be.AppendUint16(b, dst.Ofs)
		b = be.AppendUint32(b, fields[dst.Field].sub)
	default:
		panic(fmt.Sprintf("flow: %T is not an action of a list", a))
	}
	return endAction(b, at)
}

func appendResubmit(b []byte, a Resubmit) []byte {
	port := uint16(a.InPort)
	if a.InPort == 0 {
		port = PortInPort & 0xffff
	}
	switch {
	case a.CT:
		b = vendor(b, nxResubmitCT)
	case a.Table == 255 && port != PortInPort&0xffff:
		return be.AppendUint16(vendor(b, nxResubmit), port)
	default:
		b = vendor(b, nxResubmitTable)
	}
	b = be.AppendUint16(b, port)
	return append(b, a.Table, 0, 0, 0)
}

// Properties of NXAST_CONTROLLER2.
const (
	ctlrMaxLen   = 0
	ctlrID       = 1
	ctlrReason   = 2
	ctlrUserdata = 3

	reasonAction = 1 // OFPR_APPLY_ACTION
)

func appendController(b []byte, a Controller) []byte {
	maxLen := a.MaxLen
	if maxLen == 0 {
		maxLen = maxLenAll
	}
	if len(a.Userdata) == 0 {
		b = vendor(b, nxController)
		b = be.AppendUint16(b, maxLen)
		b = be.AppendUint16(b, a.ID)
		return append(b, reasonAction, 0)
	}
	b = append(vendor(b, nxController2), 0, 0, 0, 0, 0, 0)
	if maxLen != maxLenAll {
		b = append(b, 0, ctlrMaxLen, 0, 8)
		b = append(be.AppendUint16(b, maxLen), 0, 0)
	}
	if a.ID != 0 {
		b = append(b, 0, ctlrID, 0, 8)
		b = append(be.AppendUint16(b, a.ID), 0, 0)
	}
	b = append(b, 0, ctlrUserdata)
	b = be.AppendUint16(b, uint16(4+len(a.Userdata)))
	return append(b, a.Userdata...)
}

// Header of a learn spec: 11 bits of size, destination kind, source kind.
const (
	learnBitsMask     = 0x7ff
	learnDstMatch     = 0 << 11
	learnDstLoad      = 1 << 11
	learnDstOutput    = 2 << 11
	learnSrcField     = 0 << 13
	learnSrcImmediate = 1 << 13
)

func appendLearn(b []byte, a Learn) []byte {
	b = vendor(b, nxLearn)
	b = be.AppendUint16(b, a.IdleTimeout)
	b = be.AppendUint16(b, a.HardTimeout)
	b = be.AppendUint16(b, a.Priority)
	b = be.AppendUint64(b, a.Cookie)
	var flags uint16
	if a.SendFlowRem {
		flags |= learnSendFlowRem
	}
	if a.DeleteLearned {
		flags |= learnDeleteLearned
	}
	b = be.AppendUint16(b, flags)
	b = append(b, a.Table, 0)
	b = be.AppendUint16(b, a.FinIdleTimeout)
	b = be.AppendUint16(b, a.FinHardTimeout)
	for _, s := range a.Specs {
		b = appendLearnSpec(b, s)
	}
	return b
}

func appendLearnSpec(b []byte, s LearnSpec) []byte {
	switch s.kind {
	case learnMatch:
		b = be.AppendUint16(b, s.src.N|learnSrcField|learnDstMatch)
		return appendBits(appendBits(b, s.src), s.dst)
	case learnMatchValue:
		b = be.AppendUint16(b, s.dst.N|learnSrcImmediate|learnDstMatch)
		return appendBits(append(b, s.value[:immediateSize(s.dst.N)]...), s.dst)
	case learnLoad:
		b = be.AppendUint16(b, s.src.N|learnSrcField|learnDstLoad)
		return appendBits(appendBits(b, s.src), s.dst)
	case learnLoadValue:
		b = be.AppendUint16(b, s.dst.N|learnSrcImmediate|learnDstLoad)
		return appendBits(append(b, s.value[:immediateSize(s.dst.N)]...), s.dst)
	default:
		b = be.AppendUint16(b, s.src.N|learnSrcField|learnDstOutput)
		return appendBits(b, s.src)
	}
}

func appendBits(b []byte, r Bits) []byte {
	b = be.AppendUint32(b, fields[r.Field].sub)
	return be.AppendUint16(b, r.Ofs)
}

func appendCT(b []byte, a CT) []byte {
	b = vendor(b, nxCT)
	var flags uint16
	if a.Commit {
		flags |= ctCommit
	}
	if a.Force {
		flags |= ctForce
	}
	b = be.AppendUint16(b, flags)
	if a.ZoneSrc.Field != fieldNone {
		src := a.ZoneSrc.norm()
		b = be.AppendUint32(b, fields[src.Field].sub)
		b = be.AppendUint16(b, src.ofsBits())
	} else {
		b = be.AppendUint32(b, 0)
		b = be.AppendUint16(b, a.Zone)
	}
	table := a.Table
	if table == 0 {
		table = ctNoTable
	}
	b = append(b, table, 0, 0, 0)
	b = be.AppendUint16(b, a.ALG)
	if a.NAT != nil {
		b = appendNAT(b, *a.NAT)
	}
	return AppendActions(b, a.Exec)
}

func appendNAT(b []byte, n NAT) []byte {
	at := len(b)
	b = append(vendor(b, nxNAT), 0, 0)
	var flags, present uint16
	for _, f := range []struct {
		on  bool
		bit uint16
	}{{n.Src, natSrc}, {n.Dst, natDst}, {n.Persistent, natPersistent}, {n.Hash, natHash}, {n.Random, natRandom}} {
		if f.on {
			flags |= f.bit
		}
	}
	b = be.AppendUint16(b, flags)
	b = append(b, 0, 0)
	if n.AddrMin.IsValid() {
		four := n.AddrMin.Is4()
		b = append(b, n.AddrMin.AsSlice()...)
		present |= pick[uint16](four, natIPv4Min, natIPv6Min)
		if n.hasAddrMax() {
			b = append(b, n.AddrMax.AsSlice()...)
			present |= pick[uint16](four, natIPv4Max, natIPv6Max)
		}
	}
	if n.PortMin != 0 {
		b = be.AppendUint16(b, n.PortMin)
		present |= natPortMin
		if n.PortMax > n.PortMin {
			b = be.AppendUint16(b, n.PortMax)
			present |= natPortMax
		}
	}
	be.PutUint16(b[at+14:], present)
	return endAction(b, at)
}

// hasAddrMax reports whether the range has more than one address; Open vSwitch
// leaves the upper end out otherwise.
func (n NAT) hasAddrMax() bool {
	return n.AddrMax.IsValid() && n.AddrMax.Is4() == n.AddrMin.Is4() && n.AddrMin.Less(n.AddrMax)
}

func pick[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}
