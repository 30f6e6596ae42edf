package flow

import (
	"fmt"
	"net"
	"net/netip"
)

// Action is one step of a flow, in the words of ovs-actions(7). The actions of
// this package are the only ones.
//
// GotoTable, Meter, WriteMetadata, WriteActions and ClearActions are
// instructions on the wire: wherever they stand in Flow.Actions, the switch
// runs Meter first and GotoTable last.
type Action interface{ isAction() }

// Reserved port numbers (OpenFlow 1.4, 7.2.1).
const (
	PortInPort     = 0xfffffff8 // back out of the port of entry
	PortTable      = 0xfffffff9 // in a packet-out: go through the flow tables
	PortNormal     = 0xfffffffa // the bridge's own MAC learning
	PortFlood      = 0xfffffffb
	PortAll        = 0xfffffffc
	PortController = 0xfffffffd
	PortLocal      = 0xfffffffe // the bridge's own device
	PortAny        = 0xffffffff
)

// Bits is a range of bits of a field: N bits from bit Ofs, counted from the
// lowest. N == 0 means the whole field.
type Bits struct {
	Field Field
	Ofs   uint16
	N     uint16
}

// Whole returns all bits of a field.
func Whole(f Field) Bits { return Bits{Field: f} }

// Range returns the bits lo to hi of a field, both included, as f[lo..hi].
func Range(f Field, lo, hi uint16) Bits { return Bits{Field: f, Ofs: lo, N: hi - lo + 1} }

// norm spells out N.
func (b Bits) norm() Bits {
	if b.N == 0 && b.Field != fieldNone {
		b.N = b.Field.info().bits - b.Ofs
	}
	return b
}

func (b Bits) whole() bool {
	b = b.norm()
	return b.Ofs == 0 && b.N == b.Field.info().bits
}

// Output sends the packet out of a port. To PortController it sends at most
// MaxLen bytes, 0 meaning all.
type Output struct {
	Port   uint32
	MaxLen uint16
}

// OutputReg sends the packet out of the port whose number is in Src.
type OutputReg struct{ Src Bits }

// Controller sends the packet to the controller connection with id ID with
// Userdata in the packet-in. MaxLen 0 means all of the packet.
type Controller struct {
	MaxLen   uint16
	ID       uint16
	Userdata []byte
}

// Resubmit looks the packet up in Table, then goes on behind this action.
// InPort 0 keeps the port of entry; Table 255 is the current table. CT looks
// up with the addresses of the original direction of the connection.
type Resubmit struct {
	InPort uint32
	Table  uint8
	CT     bool
}

// GotoTable goes on in a later table once the actions are done.
type GotoTable struct{ Table uint8 }

// PushVLAN adds an 802.1Q tag. EtherType 0 means 0x8100.
type PushVLAN struct{ EtherType uint16 }

// PopVLAN takes the outer tag off.
type PopVLAN struct{}

// SetField writes the bits of Mask of a field. A zero Mask means the whole
// field. Use the Set functions for the common cases.
type SetField struct {
	Field Field
	Value Value
	Mask  Value
}

// Set writes a whole field of at most 64 bits. For VlanVID v must have the bit
// 0x1000; SetVlan does that.
func Set(f Field, v uint64) SetField { return SetField{Field: f, Value: uintValue(f, v)} }

// SetMasked writes the bits of mask of a field of at most 64 bits.
func SetMasked(f Field, v, mask uint64) SetField {
	return SetField{Field: f, Value: uintValue(f, v&mask), Mask: uintValue(f, mask)}
}

// SetVlan writes the VLAN id of the outer tag, which must be there.
func SetVlan(vid uint16) SetField { return Set(VlanVID, uint64(vid&0xfff)|vlanPresent) }

// SetMAC writes a MAC field.
func SetMAC(f Field, mac net.HardwareAddr) SetField {
	return SetField{Field: f, Value: macValue(f, mac)}
}

// SetAddr writes an address field.
func SetAddr(f Field, a netip.Addr) SetField { return SetField{Field: f, Value: addrValue(f, a)} }

// SetTunnel writes the tunnel key that the output tunnel will use.
func SetTunnel(id uint64) SetField { return Set(TunID, id) }

// Load writes Value into at most 64 bits. A Load of a whole field is the same
// action as Set.
type Load struct {
	Value uint64
	Dst   Bits
}

// Move copies Src to Dst; both have the same number of bits.
type Move struct{ Src, Dst Bits }

// Learn adds a flow to Table, made from the packet by Specs (ovs-actions(7), learn).
type Learn struct {
	Table          uint8
	Priority       uint16
	IdleTimeout    uint16 // seconds
	HardTimeout    uint16 // seconds
	FinIdleTimeout uint16
	FinHardTimeout uint16
	Cookie         uint64
	SendFlowRem    bool
	DeleteLearned  bool // flows of Cookie in Table go when this flow goes
	Specs          []LearnSpec
}

// LearnSpec is one field match or action of a learned flow. Make it with
// LearnMatch, LearnMatchValue, LearnLoad, LearnLoadValue or LearnOutput.
type LearnSpec struct {
	kind  learnKind
	src   Bits
	value Value // right-aligned bits in (n+15)/16*2 bytes, left in the array
	dst   Bits
}

type learnKind uint8

const (
	learnMatch learnKind = iota
	learnMatchValue
	learnLoad
	learnLoadValue
	learnOutput
)

// LearnMatch lets the learned flow match dst on what src is in the packet:
// NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[], and NXM_OF_VLAN_TCI[0..11] if both are equal.
func LearnMatch(dst, src Bits) LearnSpec {
	return LearnSpec{kind: learnMatch, src: src.norm(), dst: dst.norm()}
}

// LearnMatchValue lets the learned flow match a constant.
func LearnMatchValue(dst Bits, v uint64) LearnSpec {
	dst = dst.norm()
	return LearnSpec{kind: learnMatchValue, value: immediate(dst, v), dst: dst}
}

// LearnLoad lets the learned flow write what src is in the packet to dst.
func LearnLoad(src, dst Bits) LearnSpec {
	return LearnSpec{kind: learnLoad, src: src.norm(), dst: dst.norm()}
}

// LearnLoadValue lets the learned flow write a constant to dst.
func LearnLoadValue(v uint64, dst Bits) LearnSpec {
	dst = dst.norm()
	return LearnSpec{kind: learnLoadValue, value: immediate(dst, v), dst: dst}
}

// LearnOutput lets the learned flow output to the port in src.
func LearnOutput(src Bits) LearnSpec { return LearnSpec{kind: learnOutput, src: src.norm()} }

func immediate(dst Bits, v uint64) Value {
	if dst.N < 64 && v>>dst.N != 0 {
		panic(fmt.Sprintf("flow: %#x does not fit %d bits of %s", v, dst.N, dst.Field))
	}
	return putUint(v, immediateSize(dst.N))
}

// immediateSize is the space of n bits in a learn spec: a multiple of two bytes.
func immediateSize(n uint16) int { return int(n+15) / 16 * 2 }

// CT sends the packet through the connection tracker (ovs-actions(7), ct).
// Table is where a copy of it goes on with ct_state set; 0 means nowhere.
// The zone is the number Zone, or what ZoneSrc holds if its Field is set.
// Exec may hold writes of CTMark and CTLabel.
type CT struct {
	Commit  bool
	Force   bool
	Table   uint8
	Zone    uint16
	ZoneSrc Bits
	ALG     uint16 // 21 for FTP, 69 for TFTP
	NAT     *NAT
	Exec    []Action
}

// NAT translates the connection. With neither Src nor Dst it applies what the
// connection was committed with. A zero AddrMax means AddrMin; PortMin 0 keeps ports.
type NAT struct {
	Src, Dst         bool
	Persistent       bool
	Hash, Random     bool
	AddrMin, AddrMax netip.Addr
	PortMin, PortMax uint16
}

// CTClear forgets what the connection tracker said about the packet.
type CTClear struct{}

// Conjunction says that this flow is clause Clause (1 to N) of N of conjunction
// ID: if all match, the flow with conj_id=ID is used. It may stand with others
// and with Note only.
type Conjunction struct {
	ID     uint32
	Clause uint8
	N      uint8
}

// Note is a comment in the switch; it is padded with zeros to 6 + 8n bytes.
type Note struct{ Data []byte }

// DecTTL takes one from the TTL or hop limit.
type DecTTL struct{}

// Meter passes the packet through a meter, which may drop it.
type Meter struct{ ID uint32 }

// Group sends the packet to a group.
type Group struct{ ID uint32 }

// SetQueue names the queue for outputs that follow.
type SetQueue struct{ ID uint32 }

// WriteMetadata writes the bits of Mask of the metadata. Mask 0 means all.
type WriteMetadata struct{ Value, Mask uint64 }

// ClearActions empties the action set.
type ClearActions struct{}

// WriteActions adds to the action set, which runs at the end of the pipeline.
type WriteActions struct{ Actions []Action }

// CheckPktLarger writes to one bit whether the packet is longer than Len bytes,
// Ethernet header included.
type CheckPktLarger struct {
	Len uint16
	Dst Bits
}

// Bundle sends the packet out of the first of Members, which are port numbers below 0xff00, that is alive
// (ovs-actions(7), bundle with active_backup): its link is up and its BFD session, if it has one, too. When none is
// alive the packet goes nowhere.
type Bundle struct{ Members []uint32 }

// Raw is an action that this package does not know, or that does not have the
// usual form, kept as its bytes. Text shows it as raw(hex), which ovs-ofctl
// does not read.
type Raw struct{ Bytes []byte }

func (Output) isAction()         {}
func (OutputReg) isAction()      {}
func (Controller) isAction()     {}
func (Resubmit) isAction()       {}
func (GotoTable) isAction()      {}
func (PushVLAN) isAction()       {}
func (PopVLAN) isAction()        {}
func (SetField) isAction()       {}
func (Load) isAction()           {}
func (Move) isAction()           {}
func (Learn) isAction()          {}
func (CT) isAction()             {}
func (CTClear) isAction()        {}
func (Conjunction) isAction()    {}
func (Note) isAction()           {}
func (DecTTL) isAction()         {}
func (Meter) isAction()          {}
func (Group) isAction()          {}
func (SetQueue) isAction()       {}
func (WriteMetadata) isAction()  {}
func (ClearActions) isAction()   {}
func (WriteActions) isAction()   {}
func (CheckPktLarger) isAction() {}
func (Bundle) isAction()         {}
func (Raw) isAction()            {}
