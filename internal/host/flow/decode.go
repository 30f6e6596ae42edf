package flow

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// errShort says that a length in a message points outside of it.
var errShort = errors.New("flow: truncated")

// onfVendor is the experimenter of the fields that OpenFlow 1.5 made standard.
const onfVendor = 0x4f4e4600

// fieldsByHeader finds a field by its OXM header without mask: both the one it
// is sent with and the NXM one.
var fieldsByHeader = func() map[uint32]Field {
	m := make(map[uint32]Field, 2*numFields)
	for f := fieldNone + 1; f < numFields; f++ {
		m[fields[f].oxm] = f
		m[fields[f].sub] = f
	}
	m[oxmOF(42, 2)] = TCPFlags
	return m
}()

// nxmIPTOS is the DSCP in its NXM form, shifted left by two.
var nxmIPTOS = nxmOF(5, 1)

// DecodeMatch reads an ofp_match from the front of b and returns the bytes
// behind it and its padding. If only fields of b are unknown, err is not nil and
// rest is valid.
func DecodeMatch(b []byte) (m Match, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := int(be.Uint16(b[2:]))
	padded := (n + 7) / 8 * 8
	if n < 4 || padded > len(b) {
		return nil, nil, errShort
	}
	if kind := be.Uint16(b); kind != 1 {
		return nil, b[padded:], fmt.Errorf("flow: match type %d is not OXM", kind)
	}
	m, err = decodeFields(b[4:n])
	return m, b[padded:], err
}

func decodeFields(b []byte) (Match, error) {
	m := make(Match, 0, 8)
	sorted := true
	for len(b) > 0 {
		fm, tail, err := decodeOXM(b)
		if err != nil {
			return nil, err
		}
		b = tail
		if fm.Mask == (Value{}) {
			continue
		}
		if fm.Field.hasNormalForm() {
			slices.SortFunc(m, byField)
			m = m.Bytes(fm.Field, fm.Value, fm.Mask)
			sorted = true
			continue
		}
		if n := len(m); n > 0 && m[n-1].Field >= fm.Field {
			sorted = false
		}
		m = append(m, fm)
	}
	if !sorted {
		slices.SortFunc(m, byField)
	}
	for i := 1; i < len(m); i++ {
		if m[i].Field == m[i-1].Field {
			return nil, fmt.Errorf("flow: %s is matched twice", m[i].Field)
		}
	}
	return m, nil
}

func byField(a, b FieldMatch) int { return int(a.Field) - int(b.Field) }

// hasNormalForm reports whether Match.Bytes says the field by another.
func (f Field) hasNormalForm() bool {
	return f == VlanVID || f == VlanPCP || f == VlanTCI || f == InPort16 || f >= XReg0 && f <= XXReg3
}

// decodeOXM reads one field with its mask and clears bits that it has not.
func decodeOXM(b []byte) (fm FieldMatch, rest []byte, err error) {
	if len(b) < 4 {
		return fm, nil, errShort
	}
	h := be.Uint32(b)
	n := int(h & 0xff)
	if len(b) < 4+n {
		return fm, nil, errShort
	}
	payload, rest := b[4:4+n], b[4+n:]
	masked := h&oxmHasMask != 0
	if h>>16 == 0xffff { // experimenter: its id stands before the value
		if n < 4 || be.Uint32(payload) != onfVendor {
			return fm, nil, fmt.Errorf("flow: unknown experimenter field %#08x", h)
		}
		payload = payload[4:]
		h = h&0xfe00 | oxmOF(0, 0)
	}
	size := len(payload)
	if masked {
		size /= 2
	}
	base := h&^0x1ff | uint32(size)
	if base == nxmIPTOS && size == 1 {
		fm = FieldMatch{Field: IPDSCP, Value: Value{payload[0] >> 2}, Mask: ones(IPDSCP)}
		return fm, rest, nil
	}
	f, ok := fieldsByHeader[base]
	if !ok {
		return fm, nil, fmt.Errorf("flow: unknown field %#08x", h)
	}
	fm = FieldMatch{Field: f, Mask: ones(f)}
	if masked {
		for i, k := range payload[size:][:size] {
			fm.Mask[i] &= k
		}
	}
	for i, v := range payload[:size] {
		fm.Value[i] = v & fm.Mask[i]
	}
	return fm, rest, nil
}

// DecodeInstructions reads the instructions of a flow. What it does not know
// becomes Raw, as far as it stands in an action list.
func DecodeInstructions(b []byte) ([]Action, error) {
	var out []Action
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, errShort
		}
		kind, n := be.Uint16(b), int(be.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return nil, errShort
		}
		body := b[4:n]
		b = b[n:]
		switch kind {
		case instrGotoTable:
			out = append(out, GotoTable{body[0]})
		case instrMeter:
			out = append(out, Meter{be.Uint32(body)})
		case instrClearActions:
			out = append(out, ClearActions{})
		case instrWriteMetadata:
			if len(body) < 20 {
				return nil, errShort
			}
			out = append(out, WriteMetadata{be.Uint64(body[4:]), be.Uint64(body[12:])})
		case instrApplyActions, instrWriteActions:
			actions, err := DecodeActions(body[4:])
			if err != nil {
				return nil, err
			}
			if kind == instrWriteActions {
				out = append(out, WriteActions{actions})
			} else {
				out = append(out, actions...)
			}
		default:
			return nil, fmt.Errorf("flow: unknown instruction %d", kind)
		}
	}
	return out, nil
}

// DecodeActions reads an action list. Actions that it does not know, or that
// would not come out the same when encoded again, become Raw.
func DecodeActions(b []byte) ([]Action, error) {
	var out []Action
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, errShort
		}
		n := int(be.Uint16(b[2:]))
		if n < 8 || n%8 != 0 || n > len(b) {
			return nil, errShort
		}
		a, ok := decodeAction(be.Uint16(b), b[:n])
		if !ok {
			a = Raw{bytes.Clone(b[:n])}
		}
		out = append(out, a)
		b = b[n:]
	}
	return out, nil
}

// decodeAction reads one action of at least 8 bytes, a multiple of 8.
func decodeAction(kind uint16, b []byte) (Action, bool) {
	switch {
	case kind == ofpatOutput && len(b) == 16:
		return decodeOutput(b)
	case kind == ofpatPushVLAN && len(b) == 8:
		return PushVLAN{be.Uint16(b[4:])}, true
	case kind == ofpatPopVLAN && len(b) == 8:
		return PopVLAN{}, true
	case kind == ofpatSetQueue && len(b) == 8:
		return SetQueue{be.Uint32(b[4:])}, true
	case kind == ofpatGroup && len(b) == 8:
		return Group{be.Uint32(b[4:])}, true
	case kind == ofpatDecTTL && len(b) == 8:
		return DecTTL{}, true
	case kind == ofpatSetField:
		fm, _, err := decodeOXM(b[4:])
		if err != nil || !fm.Exact() {
			return nil, false
		}
		return SetField{Field: fm.Field, Value: fm.Value}, true
	case kind == ofpatVendor && len(b) >= 16 && be.Uint32(b[4:]) == nxVendor:
		return decodeVendor(be.Uint16(b[8:]), b)
	}
	return nil, false
}

func decodeOutput(b []byte) (Action, bool) {
	o := Output{Port: be.Uint32(b[4:])}
	if o.Port == PortController {
		maxLen := be.Uint16(b[8:])
		if maxLen == 0 {
			return nil, false
		}
		o.MaxLen = fromMaxLen(maxLen)
	}
	return o, true
}

// fromMaxLen is the MaxLen of an action: 0 stands for the whole packet.
func fromMaxLen(wire uint16) uint16 {
	if wire == maxLenAll {
		return 0
	}
	return wire
}

// decodeVendor reads a Nicira action of at least 16 bytes.
func decodeVendor(subtype uint16, b []byte) (Action, bool) {
	switch subtype {
	case nxResubmit:
		return decodeResubmit(be.Uint16(b[10:]), 255, false)
	case nxResubmitTable, nxResubmitCT:
		return decodeResubmit(be.Uint16(b[10:]), b[12], subtype == nxResubmitCT)
	case nxRegMove:
		return decodeMove(b)
	case nxRegLoad:
		return decodeRegLoad(b)
	case nxRegLoad2:
		fm, _, err := decodeOXM(b[10:])
		if err != nil || fm.Mask == (Value{}) {
			return nil, false
		}
		return SetField{Field: fm.Field, Value: fm.Value, Mask: fm.Mask}, true
	case nxNote:
		return Note{bytes.Clone(b[10:])}, true
	case nxOutputReg:
		if len(b) != 24 || be.Uint16(b[16:]) != maxLenAll {
			return nil, false
		}
		src, ok := decodeOfsBits(be.Uint32(b[12:]), be.Uint16(b[10:]))
		return OutputReg{src}, ok
	case nxController:
		if b[14] != reasonAction || be.Uint16(b[10:]) == 0 {
			return nil, false
		}
		return Controller{MaxLen: fromMaxLen(be.Uint16(b[10:])), ID: be.Uint16(b[12:])}, true
	case nxController2:
		return decodeController2(b[16:])
	case nxLearn:
		return decodeLearn(b)
	case nxConjunction:
		return Conjunction{ID: be.Uint32(b[12:]), Clause: b[10] + 1, N: b[11]}, true
	case nxCT:
		return decodeCT(b)
	case nxCTClear:
		return CTClear{}, true
	case nxBundle:
		return decodeBundle(b)
	case nxCheckPktLarger:
		if len(b) != 24 {
			return nil, false
		}
		dst, ok := makeBits(be.Uint32(b[14:]), be.Uint16(b[12:]), 1)
		return CheckPktLarger{Len: be.Uint16(b[10:]), Dst: dst}, ok
	}
	return nil, false
}

// decodeBundle reads the one kind of bundle that has a text here.
func decodeBundle(b []byte) (Action, bool) {
	if len(b) < 32 || be.Uint64(b[8:])&0xffffffffffff != 0 || be.Uint32(b[16:]) != nxmInPort || be.Uint16(b[22:]) != 0 || be.Uint64(b[24:]) != 0 {
		return nil, false
	}
	n := int(be.Uint16(b[20:]))
	if n == 0 || (32+2*n+7)/8*8 != len(b) {
		return nil, false
	}
	a := Bundle{}
	for i := range n {
		m := be.Uint16(b[32+2*i:])
		if m == 0 || m >= 0xff00 {
			return nil, false
		}
		a.Members = append(a.Members, uint32(m))
	}
	for _, pad := range b[32+2*n:] {
		if pad != 0 {
			return nil, false
		}
	}
	return a, true
}

func decodeResubmit(port uint16, table uint8, ct bool) (Action, bool) {
	r := Resubmit{Table: table, CT: ct}
	if port == 0 {
		return nil, false // 0 is said for the port of entry
	}
	if port != PortInPort&0xffff {
		r.InPort = widePort(port)
	}
	return r, true
}

func decodeMove(b []byte) (Action, bool) {
	if len(b) != 24 {
		return nil, false
	}
	n := be.Uint16(b[10:])
	src, ok1 := makeBits(be.Uint32(b[16:]), be.Uint16(b[12:]), n)
	dst, ok2 := makeBits(be.Uint32(b[20:]), be.Uint16(b[14:]), n)
	return Move{src, dst}, ok1 && ok2
}

func decodeRegLoad(b []byte) (Action, bool) {
	if len(b) != 24 {
		return nil, false
	}
	dst, ok := decodeOfsBits(be.Uint32(b[12:]), be.Uint16(b[10:]))
	v := be.Uint64(b[16:])
	if !ok || dst.N < 64 && v>>dst.N != 0 {
		return nil, false
	}
	if dst.whole() {
		return SetField{Field: dst.Field, Value: putUint(v, dst.Field.size())}, true
	}
	return Load{Value: v, Dst: dst}, true
}

// decodeOfsBits is the reverse of Bits.ofsBits.
func decodeOfsBits(header uint32, ofsBits uint16) (Bits, bool) {
	return makeBits(header, ofsBits>>6, ofsBits&0x3f+1)
}

func makeBits(header uint32, ofs, n uint16) (Bits, bool) {
	f, ok := fieldsByHeader[header]
	if !ok || n == 0 || uint32(ofs)+uint32(n) > uint32(fields[f].bits) {
		return Bits{}, false
	}
	return Bits{f, ofs, n}, true
}

func decodeController2(b []byte) (Action, bool) {
	c := Controller{}
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, false
		}
		kind, n := be.Uint16(b), int(be.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			return nil, false
		}
		body := b[4:n]
		switch {
		case kind == ctlrMaxLen && len(body) >= 2 && be.Uint16(body) != 0:
			c.MaxLen = fromMaxLen(be.Uint16(body))
		case kind == ctlrID && len(body) >= 2:
			c.ID = be.Uint16(body)
		case kind == ctlrReason && len(body) >= 1 && body[0] == reasonAction:
		case kind == ctlrUserdata:
			c.Userdata = bytes.Clone(body)
		default:
			return nil, false
		}
		b = b[min((n+7)/8*8, len(b)):]
	}
	return c, true
}

func decodeLearn(b []byte) (Action, bool) {
	if len(b) < 32 {
		return nil, false
	}
	flags := be.Uint16(b[24:])
	if flags&^(learnSendFlowRem|learnDeleteLearned) != 0 {
		return nil, false
	}
	l := Learn{
		IdleTimeout:    be.Uint16(b[10:]),
		HardTimeout:    be.Uint16(b[12:]),
		Priority:       be.Uint16(b[14:]),
		Cookie:         be.Uint64(b[16:]),
		SendFlowRem:    flags&learnSendFlowRem != 0,
		DeleteLearned:  flags&learnDeleteLearned != 0,
		Table:          b[26],
		FinIdleTimeout: be.Uint16(b[28:]),
		FinHardTimeout: be.Uint16(b[30:]),
	}
	for b = b[32:]; len(b) >= 2 && be.Uint16(b) != 0; {
		spec, rest, ok := decodeLearnSpec(be.Uint16(b), b[2:])
		if !ok {
			return nil, false
		}
		l.Specs = append(l.Specs, spec)
		b = rest
	}
	return l, true
}

func decodeLearnSpec(header uint16, b []byte) (s LearnSpec, rest []byte, ok bool) {
	n := header & learnBitsMask
	switch header &^ learnBitsMask {
	case learnSrcField | learnDstMatch:
		s.kind = learnMatch
	case learnSrcImmediate | learnDstMatch:
		s.kind = learnMatchValue
	case learnSrcField | learnDstLoad:
		s.kind = learnLoad
	case learnSrcImmediate | learnDstLoad:
		s.kind = learnLoadValue
	case learnSrcField | learnDstOutput:
		s.kind = learnOutput
	default:
		return s, nil, false
	}
	ranged := func() (r Bits, ok bool) {
		if len(b) < 6 {
			return Bits{}, false
		}
		r, ok = makeBits(be.Uint32(b), be.Uint16(b[4:]), n)
		b = b[6:]
		return r, ok
	}
	if header&learnSrcImmediate != 0 {
		size := immediateSize(n)
		if size > len(s.value) || size > len(b) {
			return s, nil, false
		}
		copy(s.value[:], b[:size])
		b = b[size:]
		if extra := 8*size - int(n); s.value[0]>>max(0, 8-extra) != 0 && extra > 0 || extra > 8 && s.value[1]>>(16-extra) != 0 {
			return s, nil, false
		}
	} else if s.src, ok = ranged(); !ok {
		return s, nil, false
	}
	if s.kind != learnOutput {
		if s.dst, ok = ranged(); !ok {
			return s, nil, false
		}
	}
	return s, b, true
}

func decodeCT(b []byte) (Action, bool) {
	if len(b) < 24 {
		return nil, false
	}
	flags := be.Uint16(b[10:])
	if flags&^(ctCommit|ctForce) != 0 {
		return nil, false
	}
	a := CT{Commit: flags&ctCommit != 0, Force: flags&ctForce != 0, ALG: be.Uint16(b[22:])}
	if src, zone := be.Uint32(b[12:]), be.Uint16(b[16:]); src == 0 {
		a.Zone = zone
	} else if r, ok := decodeOfsBits(src, zone); ok {
		a.ZoneSrc = r
	} else {
		return nil, false
	}
	switch b[18] {
	case 0:
		return nil, false // 0 is said for "nowhere"
	case ctNoTable:
	default:
		a.Table = b[18]
	}
	for b = b[24:]; len(b) > 0; {
		n := 0
		if len(b) >= 8 {
			n = int(be.Uint16(b[2:]))
		}
		if n < 8 || n%8 != 0 || n > len(b) {
			return nil, false
		}
		if n >= 16 && be.Uint16(b) == ofpatVendor && be.Uint32(b[4:]) == nxVendor && be.Uint16(b[8:]) == nxNAT {
			nat, ok := decodeNAT(b[:n])
			if !ok || a.NAT != nil {
				return nil, false
			}
			a.NAT = nat
		} else {
			x, ok := decodeAction(be.Uint16(b), b[:n])
			if !ok || !execAction(x) {
				return nil, false
			}
			a.Exec = append(a.Exec, x)
		}
		b = b[n:]
	}
	return a, true
}

// execAction reports whether an action may stand in exec(): only writes of
// CTMark and CTLabel may, so brackets never nest deeper.
func execAction(a Action) bool {
	var f Field
	switch a := a.(type) {
	case SetField:
		f = a.Field
	case Load:
		f = a.Dst.Field
	}
	return f == CTMark || f == CTLabel
}

func decodeNAT(b []byte) (*NAT, bool) {
	flags, present := be.Uint16(b[12:]), be.Uint16(b[14:])
	if flags&^(natSrc|natDst|natPersistent|natHash|natRandom) != 0 {
		return nil, false
	}
	n := &NAT{
		Src: flags&natSrc != 0, Dst: flags&natDst != 0, Persistent: flags&natPersistent != 0,
		Hash: flags&natHash != 0, Random: flags&natRandom != 0,
	}
	b = b[16:]
	addr := func(bit uint16, size int, to *netip.Addr) {
		if present&bit != 0 && len(b) >= size {
			*to, _ = netip.AddrFromSlice(b[:size])
			b = b[size:]
			present &^= bit
		}
	}
	addr(natIPv4Min, 4, &n.AddrMin)
	addr(natIPv4Max, 4, &n.AddrMax)
	addr(natIPv6Min, 16, &n.AddrMin)
	addr(natIPv6Max, 16, &n.AddrMax)
	port := func(bit uint16, to *uint16) {
		if present&bit != 0 && len(b) >= 2 {
			*to = be.Uint16(b)
			b = b[2:]
			present &^= bit
		}
	}
	port(natPortMin, &n.PortMin)
	port(natPortMax, &n.PortMax)
	ranged := n.AddrMin.IsValid() || n.PortMin != 0 || n.Persistent || n.Hash || n.Random
	return n, present == 0 && !(n.Src && n.Dst) && (n.Src || n.Dst || !ranged)
}

// DecodeKnownFields reads OXM fields and leaves out those it does not know, for
// the metadata of packet-ins, where the switch may add any.
func DecodeKnownFields(b []byte) Match {
	var m Match
	for len(b) >= 4 {
		n := 4 + int(b[3])
		if n > len(b) {
			break
		}
		if fm, _, err := decodeOXM(b[:n]); err == nil {
			m = m.Bytes(fm.Field, fm.Value, fm.Mask)
		}
		b = b[n:]
	}
	return m
}
