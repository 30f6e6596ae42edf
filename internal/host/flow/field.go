package flow

import "fmt"

// Field names one packet or metadata field of ovs-fields(7). The order of the
// constants is the canonical order of a Match: it is the order in which
// ovs-ofctl prints fields, and every field stands behind the fields it needs
// (eth_type before ip_proto before tcp_dst), as OXM demands.
type Field uint8

// The fields. Comments give what is not obvious from ovs-fields(7).
const (
	fieldNone Field = iota
	PktMark
	ConjID
	ActsetOutput
	CTState // bits CTNew … CTDNAT
	CTZone
	CTMark
	CTLabel
	EthType
	IPProto
	CTNWProto
	CTNWSrc
	CTNWDst
	CTIPv6Src
	CTIPv6Dst
	CTTPSrc
	CTTPDst
	Reg0
	Reg1
	Reg2
	Reg3
	Reg4
	Reg5
	Reg6
	Reg7
	Reg8
	Reg9
	Reg10
	Reg11
	Reg12
	Reg13
	Reg14
	Reg15
	XReg0 // Reg0 and Reg1 as one; a Match holds the two registers instead
	XReg1
	XReg2
	XReg3
	XReg4
	XReg5
	XReg6
	XReg7
	XXReg0 // Reg0 … Reg3 as one; a Match holds the four registers instead
	XXReg1
	XXReg2
	XXReg3
	TunID
	TunSrc
	TunDst
	TunIPv6Src
	TunIPv6Dst
	TunGBPID
	TunGBPFlags
	TunFlags
	Metadata
	InPort   // the 32-bit OpenFlow port number
	InPort16 // its 16-bit NXM form, for bit ranges; a Match holds InPort instead
	VlanTCI  // the 802.1Q TCI, with bit 0x1000 set if there is a tag
	VlanVID  // 12 bits and 0x1000 "there is a tag"; a Match holds VlanTCI instead
	VlanPCP  // a Match holds VlanTCI instead
	EthSrc
	EthDst
	IPv4Src
	IPv4Dst
	IPv6Src
	IPv6Dst
	IPv6Label
	ARPOp
	ARPSPA
	ARPTPA
	ARPSHA
	ARPTHA
	IPDSCP // the six bits; text nw_tos shows them shifted left by two
	IPECN
	NWTTL
	MPLSLabel
	MPLSTC
	MPLSBOS
	MPLSTTL
	IPFrag // bits FragAny, FragLater
	TCPSrc
	TCPDst
	UDPSrc
	UDPDst
	SCTPSrc
	SCTPDst
	TCPFlags
	ICMPType
	ICMPCode
	ICMPv6Type
	ICMPv6Code
	NDTarget
	NDSLL
	NDTLL
	numFields
)

// Bits of CTState (ovs-fields(7), "Connection Tracking Fields").
const (
	CTNew  = 1 << 0 // first packet of a connection
	CTEst  = 1 << 1 // part of a committed connection
	CTRel  = 1 << 2 // related to one
	CTRpl  = 1 << 3 // in the reply direction
	CTInv  = 1 << 4 // the tracker could not make sense of it
	CTTrk  = 1 << 5 // went through ct()
	CTSNAT = 1 << 6
	CTDNAT = 1 << 7
)

// Bits of IPFrag.
const (
	FragAny   = 1 << 0 // a fragment
	FragLater = 1 << 1 // a fragment with an offset
)

// Ethernet types and IP protocols that matches are built from.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeVLAN = 0x8100
	EtherTypeIPv6 = 0x86dd

	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// vlanPresent is the bit of VlanTCI and VlanVID that says there is a tag.
const vlanPresent = 0x1000

// Reg returns register n, 0 to 15.
func Reg(n int) Field {
	if n < 0 || n > 15 {
		panic(fmt.Sprintf("flow: no register %d", n))
	}
	return Reg0 + Field(n)
}

// String returns the name that ovs-ofctl uses, such as "nw_src".
func (f Field) String() string {
	if f == fieldNone || f >= numFields {
		return fmt.Sprintf("field(%d)", uint8(f))
	}
	return fields[f].name
}

// Bits returns the width of the field in a match, in bits.
func (f Field) Bits() int { return int(f.info().bits) }

func (f Field) info() *fieldInfo {
	if f == fieldNone || f >= numFields {
		panic(fmt.Sprintf("flow: no field %d", uint8(f)))
	}
	return &fields[f]
}

// size is the number of bytes of a value on the wire.
func (f Field) size() int { return int(fields[f].oxm & 0xff) }

// format says how text shows a value.
type format uint8

const (
	asDecimal format = iota
	asHex
	asMAC
	asIPv4
	asIPv6
	asPort
	asCTState
	asFrag
	asTCPFlags
)

type fieldInfo struct {
	name   string // in matches and set_field
	nxm    string // in bit ranges
	oxm    uint32 // header in matches and set_field
	sub    uint32 // header in move, load, learn, output and zones
	bits   uint16
	format format
	mask   bool // may be matched in part
}

// OXM header: class 16 bits, field 7, has-mask 1, length of the payload 8.
func header(class, field, size uint32) uint32 { return class<<16 | field<<9 | size }

func nxmOF(field, size uint32) uint32 { return header(0, field, size) }
func nxmNX(field, size uint32) uint32 { return header(1, field, size) }
func oxmOF(field, size uint32) uint32 { return header(0x8000, field, size) }
func oxmPR(field, size uint32) uint32 { return header(0x8001, field, size) }

const oxmHasMask = 0x100

// fields describes every Field. Numbers are from openvswitch's meta-flow and
// the OpenFlow 1.4 specification, 7.2.3.7.
var fields = [numFields]fieldInfo{
	PktMark:      {"pkt_mark", "NXM_NX_PKT_MARK", nxmNX(33, 4), nxmNX(33, 4), 32, asHex, true},
	ConjID:       {"conj_id", "NXM_NX_CONJ_ID", nxmNX(37, 4), nxmNX(37, 4), 32, asDecimal, false},
	ActsetOutput: {"actset_output", "ONFOXM_ET_ACTSET_OUTPUT", oxmOF(43, 4), oxmOF(43, 4), 32, asPort, false},
	CTState:      {"ct_state", "NXM_NX_CT_STATE", nxmNX(105, 4), nxmNX(105, 4), 32, asCTState, true},
	CTZone:       {"ct_zone", "NXM_NX_CT_ZONE", nxmNX(106, 2), nxmNX(106, 2), 16, asDecimal, false},
	CTMark:       {"ct_mark", "NXM_NX_CT_MARK", nxmNX(107, 4), nxmNX(107, 4), 32, asHex, true},
	CTLabel:      {"ct_label", "NXM_NX_CT_LABEL", nxmNX(108, 16), nxmNX(108, 16), 128, asHex, true},
	EthType:      {"eth_type", "NXM_OF_ETH_TYPE", oxmOF(5, 2), nxmOF(3, 2), 16, asHex, false},
	IPProto:      {"nw_proto", "NXM_OF_IP_PROTO", oxmOF(10, 1), nxmOF(6, 1), 8, asDecimal, false},
	CTNWProto:    {"ct_nw_proto", "NXM_NX_CT_NW_PROTO", nxmNX(119, 1), nxmNX(119, 1), 8, asDecimal, false},
	CTNWSrc:      {"ct_nw_src", "NXM_NX_CT_NW_SRC", nxmNX(120, 4), nxmNX(120, 4), 32, asIPv4, true},
	CTNWDst:      {"ct_nw_dst", "NXM_NX_CT_NW_DST", nxmNX(121, 4), nxmNX(121, 4), 32, asIPv4, true},
	CTIPv6Src:    {"ct_ipv6_src", "NXM_NX_CT_IPV6_SRC", nxmNX(122, 16), nxmNX(122, 16), 128, asIPv6, true},
	CTIPv6Dst:    {"ct_ipv6_dst", "NXM_NX_CT_IPV6_DST", nxmNX(123, 16), nxmNX(123, 16), 128, asIPv6, true},
	CTTPSrc:      {"ct_tp_src", "NXM_NX_CT_TP_SRC", nxmNX(124, 2), nxmNX(124, 2), 16, asDecimal, true},
	CTTPDst:      {"ct_tp_dst", "NXM_NX_CT_TP_DST", nxmNX(125, 2), nxmNX(125, 2), 16, asDecimal, true},
	Reg0:         {"reg0", "NXM_NX_REG0", nxmNX(0, 4), nxmNX(0, 4), 32, asHex, true},
	Reg1:         {"reg1", "NXM_NX_REG1", nxmNX(1, 4), nxmNX(1, 4), 32, asHex, true},
	Reg2:         {"reg2", "NXM_NX_REG2", nxmNX(2, 4), nxmNX(2, 4), 32, asHex, true},
	Reg3:         {"reg3", "NXM_NX_REG3", nxmNX(3, 4), nxmNX(3, 4), 32, asHex, true},
	Reg4:         {"reg4", "NXM_NX_REG4", nxmNX(4, 4), nxmNX(4, 4), 32, asHex, true},
	Reg5:         {"reg5", "NXM_NX_REG5", nxmNX(5, 4), nxmNX(5, 4), 32, asHex, true},
	Reg6:         {"reg6", "NXM_NX_REG6", nxmNX(6, 4), nxmNX(6, 4), 32, asHex, true},
	Reg7:         {"reg7", "NXM_NX_REG7", nxmNX(7, 4), nxmNX(7, 4), 32, asHex, true},
	Reg8:         {"reg8", "NXM_NX_REG8", nxmNX(8, 4), nxmNX(8, 4), 32, asHex, true},
	Reg9:         {"reg9", "NXM_NX_REG9", nxmNX(9, 4), nxmNX(9, 4), 32, asHex, true},
	Reg10:        {"reg10", "NXM_NX_REG10", nxmNX(10, 4), nxmNX(10, 4), 32, asHex, true},
	Reg11:        {"reg11", "NXM_NX_REG11", nxmNX(11, 4), nxmNX(11, 4), 32, asHex, true},
	Reg12:        {"reg12", "NXM_NX_REG12", nxmNX(12, 4), nxmNX(12, 4), 32, asHex, true},
	Reg13:        {"reg13", "NXM_NX_REG13", nxmNX(13, 4), nxmNX(13, 4), 32, asHex, true},
	Reg14:        {"reg14", "NXM_NX_REG14", nxmNX(14, 4), nxmNX(14, 4), 32, asHex, true},
	Reg15:        {"reg15", "NXM_NX_REG15", nxmNX(15, 4), nxmNX(15, 4), 32, asHex, true},
	XReg0:        {"xreg0", "OXM_OF_PKT_REG0", oxmPR(0, 8), oxmPR(0, 8), 64, asHex, true},
	XReg1:        {"xreg1", "OXM_OF_PKT_REG1", oxmPR(1, 8), oxmPR(1, 8), 64, asHex, true},
	XReg2:        {"xreg2", "OXM_OF_PKT_REG2", oxmPR(2, 8), oxmPR(2, 8), 64, asHex, true},
	XReg3:        {"xreg3", "OXM_OF_PKT_REG3", oxmPR(3, 8), oxmPR(3, 8), 64, asHex, true},
	XReg4:        {"xreg4", "OXM_OF_PKT_REG4", oxmPR(4, 8), oxmPR(4, 8), 64, asHex, true},
	XReg5:        {"xreg5", "OXM_OF_PKT_REG5", oxmPR(5, 8), oxmPR(5, 8), 64, asHex, true},
	XReg6:        {"xreg6", "OXM_OF_PKT_REG6", oxmPR(6, 8), oxmPR(6, 8), 64, asHex, true},
	XReg7:        {"xreg7", "OXM_OF_PKT_REG7", oxmPR(7, 8), oxmPR(7, 8), 64, asHex, true},
	XXReg0:       {"xxreg0", "NXM_NX_XXREG0", nxmNX(111, 16), nxmNX(111, 16), 128, asHex, true},
	XXReg1:       {"xxreg1", "NXM_NX_XXREG1", nxmNX(112, 16), nxmNX(112, 16), 128, asHex, true},
	XXReg2:       {"xxreg2", "NXM_NX_XXREG2", nxmNX(113, 16), nxmNX(113, 16), 128, asHex, true},
	XXReg3:       {"xxreg3", "NXM_NX_XXREG3", nxmNX(114, 16), nxmNX(114, 16), 128, asHex, true},
	TunID:        {"tun_id", "NXM_NX_TUN_ID", oxmOF(38, 8), nxmNX(16, 8), 64, asHex, true},
	TunSrc:       {"tun_src", "NXM_NX_TUN_IPV4_SRC", nxmNX(31, 4), nxmNX(31, 4), 32, asIPv4, true},
	TunDst:       {"tun_dst", "NXM_NX_TUN_IPV4_DST", nxmNX(32, 4), nxmNX(32, 4), 32, asIPv4, true},
	TunIPv6Src:   {"tun_ipv6_src", "NXM_NX_TUN_IPV6_SRC", nxmNX(109, 16), nxmNX(109, 16), 128, asIPv6, true},
	TunIPv6Dst:   {"tun_ipv6_dst", "NXM_NX_TUN_IPV6_DST", nxmNX(110, 16), nxmNX(110, 16), 128, asIPv6, true},
	TunGBPID:     {"tun_gbp_id", "NXM_NX_TUN_GBP_ID", nxmNX(38, 2), nxmNX(38, 2), 16, asDecimal, true},
	TunGBPFlags:  {"tun_gbp_flags", "NXM_NX_TUN_GBP_FLAGS", nxmNX(39, 1), nxmNX(39, 1), 8, asHex, true},
	TunFlags:     {"tun_flags", "NXM_NX_TUN_FLAGS", nxmNX(104, 2), nxmNX(104, 2), 16, asDecimal, true},
	Metadata:     {"metadata", "OXM_OF_METADATA", oxmOF(2, 8), oxmOF(2, 8), 64, asHex, true},
	InPort:       {"in_port_oxm", "OXM_OF_IN_PORT", oxmOF(0, 4), oxmOF(0, 4), 32, asPort, false},
	InPort16:     {"in_port", "NXM_OF_IN_PORT", nxmOF(0, 2), nxmOF(0, 2), 16, asPort, false},
	VlanTCI:      {"vlan_tci", "NXM_OF_VLAN_TCI", nxmOF(4, 2), nxmOF(4, 2), 16, asHex, true},
	VlanVID:      {"vlan_vid", "OXM_OF_VLAN_VID", oxmOF(6, 2), oxmOF(6, 2), 13, asDecimal, true},
	VlanPCP:      {"vlan_pcp", "OXM_OF_VLAN_PCP", oxmOF(7, 1), oxmOF(7, 1), 3, asDecimal, false},
	EthSrc:       {"eth_src", "NXM_OF_ETH_SRC", oxmOF(4, 6), nxmOF(2, 6), 48, asMAC, true},
	EthDst:       {"eth_dst", "NXM_OF_ETH_DST", oxmOF(3, 6), nxmOF(1, 6), 48, asMAC, true},
	IPv4Src:      {"ip_src", "NXM_OF_IP_SRC", oxmOF(11, 4), nxmOF(7, 4), 32, asIPv4, true},
	IPv4Dst:      {"ip_dst", "NXM_OF_IP_DST", oxmOF(12, 4), nxmOF(8, 4), 32, asIPv4, true},
	IPv6Src:      {"ipv6_src", "NXM_NX_IPV6_SRC", oxmOF(26, 16), nxmNX(19, 16), 128, asIPv6, true},
	IPv6Dst:      {"ipv6_dst", "NXM_NX_IPV6_DST", oxmOF(27, 16), nxmNX(20, 16), 128, asIPv6, true},
	IPv6Label:    {"ipv6_label", "NXM_NX_IPV6_LABEL", oxmOF(28, 4), nxmNX(27, 4), 20, asHex, true},
	ARPOp:        {"arp_op", "NXM_OF_ARP_OP", oxmOF(21, 2), nxmOF(15, 2), 16, asDecimal, false},
	ARPSPA:       {"arp_spa", "NXM_OF_ARP_SPA", oxmOF(22, 4), nxmOF(16, 4), 32, asIPv4, true},
	ARPTPA:       {"arp_tpa", "NXM_OF_ARP_TPA", oxmOF(23, 4), nxmOF(17, 4), 32, asIPv4, true},
	ARPSHA:       {"arp_sha", "NXM_NX_ARP_SHA", oxmOF(24, 6), nxmNX(17, 6), 48, asMAC, true},
	ARPTHA:       {"arp_tha", "NXM_NX_ARP_THA", oxmOF(25, 6), nxmNX(18, 6), 48, asMAC, true},
	IPDSCP:       {"ip_dscp", "OXM_OF_IP_DSCP", oxmOF(8, 1), oxmOF(8, 1), 6, asDecimal, false},
	IPECN:        {"nw_ecn", "NXM_NX_IP_ECN", oxmOF(9, 1), nxmNX(28, 1), 2, asDecimal, false},
	NWTTL:        {"nw_ttl", "NXM_NX_IP_TTL", nxmNX(29, 1), nxmNX(29, 1), 8, asDecimal, false},
	MPLSLabel:    {"mpls_label", "OXM_OF_MPLS_LABEL", oxmOF(34, 4), oxmOF(34, 4), 20, asDecimal, false},
	MPLSTC:       {"mpls_tc", "OXM_OF_MPLS_TC", oxmOF(35, 1), oxmOF(35, 1), 3, asDecimal, false},
	MPLSBOS:      {"mpls_bos", "OXM_OF_MPLS_BOS", oxmOF(36, 1), oxmOF(36, 1), 1, asDecimal, false},
	MPLSTTL:      {"mpls_ttl", "NXM_NX_MPLS_TTL", nxmNX(30, 1), nxmNX(30, 1), 8, asDecimal, false},
	IPFrag:       {"ip_frag", "NXM_NX_IP_FRAG", nxmNX(26, 1), nxmNX(26, 1), 2, asFrag, true},
	TCPSrc:       {"tcp_src", "NXM_OF_TCP_SRC", oxmOF(13, 2), nxmOF(9, 2), 16, asDecimal, true},
	TCPDst:       {"tcp_dst", "NXM_OF_TCP_DST", oxmOF(14, 2), nxmOF(10, 2), 16, asDecimal, true},
	UDPSrc:       {"udp_src", "NXM_OF_UDP_SRC", oxmOF(15, 2), nxmOF(11, 2), 16, asDecimal, true},
	UDPDst:       {"udp_dst", "NXM_OF_UDP_DST", oxmOF(16, 2), nxmOF(12, 2), 16, asDecimal, true},
	SCTPSrc:      {"sctp_src", "OXM_OF_SCTP_SRC", oxmOF(17, 2), oxmOF(17, 2), 16, asDecimal, true},
	SCTPDst:      {"sctp_dst", "OXM_OF_SCTP_DST", oxmOF(18, 2), oxmOF(18, 2), 16, asDecimal, true},
	TCPFlags:     {"tcp_flags", "NXM_NX_TCP_FLAGS", nxmNX(34, 2), nxmNX(34, 2), 12, asTCPFlags, true},
	ICMPType:     {"icmp_type", "NXM_OF_ICMP_TYPE", oxmOF(19, 1), nxmOF(13, 1), 8, asDecimal, false},
	ICMPCode:     {"icmp_code", "NXM_OF_ICMP_CODE", oxmOF(20, 1), nxmOF(14, 1), 8, asDecimal, false},
	ICMPv6Type:   {"icmpv6_type", "NXM_NX_ICMPV6_TYPE", oxmOF(29, 1), nxmNX(21, 1), 8, asDecimal, false},
	ICMPv6Code:   {"icmpv6_code", "NXM_NX_ICMPV6_CODE", oxmOF(30, 1), nxmNX(22, 1), 8, asDecimal, false},
	NDTarget:     {"nd_target", "NXM_NX_ND_TARGET", oxmOF(31, 16), nxmNX(23, 16), 128, asIPv6, true},
	NDSLL:        {"nd_sll", "NXM_NX_ND_SLL", oxmOF(32, 6), nxmNX(24, 6), 48, asMAC, true},
	NDTLL:        {"nd_tll", "NXM_NX_ND_TLL", oxmOF(33, 6), nxmNX(25, 6), 48, asMAC, true},
}
