package flow

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strconv"
)

// String returns the flow in the syntax of ovs-ofctl(8), as
// ovs-ofctl -O OpenFlow14 add-flows reads it, with ports as numbers.
func (f Flow) String() string { return f.Text(nil) }

// Text is String with the names of ports in place of their numbers.
func (f Flow) Text(ports map[uint32]string) string {
	p := printer{ports: ports}
	p.add("cookie=0x%x, table=%d, ", f.Cookie, f.Table)
	if f.IdleTimeout != 0 {
		p.add("idle_timeout=%d, ", f.IdleTimeout)
	}
	if f.HardTimeout != 0 {
		p.add("hard_timeout=%d, ", f.HardTimeout)
	}
	p.add("priority=%d", f.Priority)
	if len(f.Match) > 0 {
		p.add(",")
		p.match(f.Match)
	}
	p.add(" actions=")
	p.actions(f.Actions)
	return string(p.b)
}

// String returns the match as ovs-ofctl prints it: arp,in_port=5.
func (m Match) String() string {
	var p printer
	p.match(m)
	return string(p.b)
}

// ActionsText returns an action list as ovs-ofctl prints it, "drop" if it is empty.
func ActionsText(actions []Action, ports map[uint32]string) string {
	p := printer{ports: ports}
	p.actions(actions)
	return string(p.b)
}

type printer struct {
	b     []byte
	ports map[uint32]string
}

func (p *printer) add(format string, args ...any) { p.b = fmt.Appendf(p.b, format, args...) }

// shorthand is a word that stands for eth_type and ip_proto.
type shorthand struct {
	word      string
	etherType uint16
	proto     int // -1: only eth_type
}

var shorthands = []shorthand{
	{"icmp", EtherTypeIPv4, ProtoICMP},
	{"tcp", EtherTypeIPv4, ProtoTCP},
	{"udp", EtherTypeIPv4, ProtoUDP},
	{"sctp", EtherTypeIPv4, ProtoSCTP},
	{"icmp6", EtherTypeIPv6, ProtoICMPv6},
	{"tcp6", EtherTypeIPv6, ProtoTCP},
	{"udp6", EtherTypeIPv6, ProtoUDP},
	{"sctp6", EtherTypeIPv6, ProtoSCTP},
	{"ip", EtherTypeIPv4, -1},
	{"ipv6", EtherTypeIPv6, -1},
	{"arp", EtherTypeARP, -1},
	{"rarp", 0x8035, -1},
	{"mpls", 0x8847, -1},
	{"mplsm", 0x8848, -1},
}

// shorthandOf finds the longest word for a match.
func shorthandOf(m Match) (shorthand, bool) {
	et, ok := m.Get(EthType)
	if !ok {
		return shorthand{}, false
	}
	proto, hasProto := m.Get(IPProto)
	for _, s := range shorthands {
		if uint64(s.etherType) == et.Uint() && (s.proto < 0 || hasProto && uint64(s.proto) == proto.Uint()) {
			return s, true
		}
	}
	return shorthand{}, false
}

// classicNames are the names that ovs-ofctl prints in matches where they
// differ from those in set_field.
var classicNames = map[Field]string{
	EthType: "dl_type", EthSrc: "dl_src", EthDst: "dl_dst", InPort: "in_port",
	IPv4Src: "nw_src", IPv4Dst: "nw_dst", IPFrag: "nw_frag",
}

// transportNames are printed instead if the match has a word for the protocol.
var transportNames = map[Field]string{
	TCPSrc: "tp_src", TCPDst: "tp_dst", UDPSrc: "tp_src", UDPDst: "tp_dst", SCTPSrc: "tp_src", SCTPDst: "tp_dst",
	ICMPv6Type: "icmp_type", ICMPv6Code: "icmp_code",
}

// transportProto is the protocol whose word resolves a transport name.
var transportProto = map[Field]int{
	TCPSrc: ProtoTCP, TCPDst: ProtoTCP, UDPSrc: ProtoUDP, UDPDst: ProtoUDP, SCTPSrc: ProtoSCTP, SCTPDst: ProtoSCTP,
	ICMPType: ProtoICMP, ICMPCode: ProtoICMP, ICMPv6Type: ProtoICMPv6, ICMPv6Code: ProtoICMPv6,
}

func (p *printer) match(m Match) {
	start := len(p.b)
	comma := func() {
		if len(p.b) > start {
			p.add(",")
		}
	}
	word, hasWord := shorthandOf(m)
	for _, fm := range m {
		name, ok := classicNames[fm.Field]
		if !ok {
			name = fm.Field.String()
		}
		switch fm.Field {
		case EthType:
			comma()
			if hasWord {
				p.add("%s", word.word)
			} else {
				p.field(name, fm)
			}
			continue
		case IPProto:
			if hasWord && word.proto >= 0 {
				continue
			}
		case VlanTCI:
			comma()
			p.vlan(fm)
			continue
		case IPDSCP:
			comma()
			p.add("nw_tos=%d", fm.Value[0]<<2)
			continue
		default:
			if t, ok := transportNames[fm.Field]; ok && hasWord && transportProto[fm.Field] == word.proto {
				name = t
			}
		}
		comma()
		p.field(name, fm)
	}
}

func (p *printer) field(name string, fm FieldMatch) {
	p.add("%s=", name)
	if fm.Field.info().format == asTCPFlags && fm.Exact() {
		p.add("0x%x/0x%x", fm.Uint(), getUint(fm.Mask, 2))
		return
	}
	p.value(fm)
}

// vlan prints a TCI as dl_vlan and dl_vlan_pcp if it asks for a tag and all of
// one of them.
func (p *printer) vlan(fm FieldMatch) {
	value, mask := be.Uint16(fm.Value[:]), be.Uint16(fm.Mask[:])
	vidMask, pcpMask := mask&0xfff, mask>>13
	tagged := value&mask&vlanPresent != 0
	if !tagged || vidMask != 0 && vidMask != 0xfff || pcpMask != 0 && pcpMask != 7 || vidMask == 0 && pcpMask == 0 {
		p.add("vlan_tci=0x%04x/0x%04x", value, mask)
		return
	}
	if vidMask != 0 {
		p.add("dl_vlan=%d", value&0xfff)
	}
	if pcpMask != 0 {
		if vidMask != 0 {
			p.add(",")
		}
		p.add("dl_vlan_pcp=%d", value>>13)
	}
}

// value prints value and mask in the manner of the field.
func (p *printer) value(fm FieldMatch) {
	size := fm.Field.size()
	v, k := fm.Value[:size], fm.Mask[:size]
	switch fm.Field.info().format {
	case asMAC:
		p.add("%s", net.HardwareAddr(v))
		if !fm.Exact() {
			p.add("/%s", net.HardwareAddr(k))
		}
	case asIPv4, asIPv6:
		p.addr(v)
		if n, ok := prefixLen(k); ok && !fm.Exact() {
			p.add("/%d", n)
		} else if !ok {
			p.add("/")
			p.addr(k)
		}
	case asPort:
		p.port(uint32(fm.Uint()))
	case asCTState:
		p.flags(fm, ctStateNames[:])
	case asTCPFlags:
		p.flags(fm, tcpFlagNames[:])
	case asFrag:
		p.frag(fm)
	default:
		decimal := fm.Field.info().format == asDecimal && fm.Exact()
		p.number(v, decimal)
		if !fm.Exact() {
			p.add("/")
			p.number(k, false)
		}
	}
}

func (p *printer) addr(b []byte) {
	a, _ := netip.AddrFromSlice(b)
	p.add("%s", a)
}

func (p *printer) number(b []byte, decimal bool) {
	if decimal {
		p.add("%d", new(big.Int).SetBytes(b))
		return
	}
	if len(b) <= 8 {
		p.add("%s", hexText(getUint(Value(append(b[:len(b):len(b)], make([]byte, 16-len(b))...)), len(b))))
		return
	}
	p.add("0x%x", new(big.Int).SetBytes(b))
}

// hexText is %#x of C, which has no 0x before a zero.
func hexText(v uint64) string {
	if v == 0 {
		return "0"
	}
	return "0x" + strconv.FormatUint(v, 16)
}

var ctStateNames = [...]string{"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"}

var tcpFlagNames = [...]string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"}

// flags prints +name and -name for each bit of the mask, or numbers if one has
// no name.
func (p *printer) flags(fm FieldMatch, names []string) {
	v, k := fm.Uint(), getUint(fm.Mask, fm.Field.size())
	if k>>len(names) != 0 || fm.Exact() {
		p.add("0x%x/0x%x", v, k)
		return
	}
	for i, name := range names {
		switch {
		case k>>i&1 == 0:
		case v>>i&1 != 0:
			p.add("+%s", name)
		default:
			p.add("-%s", name)
		}
	}
}

// fragNames are the words of ovs-fields(7) for ip_frag: value and mask.
var fragNames = []struct {
	word        string
	value, mask byte
}{
	{"no", 0, FragAny | FragLater},
	{"first", FragAny, FragAny | FragLater},
	{"later", FragAny | FragLater, FragAny | FragLater},
	{"no", 0, FragAny},
	{"yes", FragAny, FragAny},
	{"not_later", 0, FragLater},
	{"later", FragLater, FragLater},
}

func (p *printer) frag(fm FieldMatch) {
	for _, n := range fragNames {
		if n.value == fm.Value[0] && n.mask == fm.Mask[0] {
			p.add("%s", n.word)
			return
		}
	}
	p.add("0x%x/0x%x", fm.Value[0], fm.Mask[0])
}

var reservedPorts = map[uint32]string{
	PortInPort: "IN_PORT", PortTable: "TABLE", PortNormal: "NORMAL", PortFlood: "FLOOD",
	PortAll: "ALL", PortController: "CONTROLLER", PortLocal: "LOCAL", PortAny: "ANY",
}

func (p *printer) port(n uint32) {
	if word, ok := reservedPorts[n]; ok {
		p.add("%s", word)
		return
	}
	name, ok := p.ports[n]
	switch {
	case !ok:
		p.add("%d", n)
	case plainName(name):
		p.add("%s", name)
	default:
		p.add("%q", name)
	}
}

// plainName reports whether ovs-ofctl prints a port name without quotes.
func plainName(s string) bool {
	for i, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (p *printer) actions(actions []Action) {
	if len(actions) == 0 {
		p.add("drop")
		return
	}
	for i, a := range actions {
		if i > 0 {
			p.add(",")
		}
		p.action(a)
	}
}

func (p *printer) action(a Action) {
	switch a := a.(type) {
	case Output:
		p.output(a)
	case OutputReg:
		p.add("output:%s", a.Src)
	case Controller:
		p.controller(a)
	case Resubmit:
		p.resubmit(a)
	case GotoTable:
		p.add("goto_table:%d", a.Table)
	case PushVLAN:
		p.add("push_vlan:0x%04x", a.etherType())
	case PopVLAN:
		p.add("pop_vlan")
	case SetField:
		p.setField(a)
	case Load:
		if a.Dst.whole() {
			p.setField(SetField{Field: a.Dst.Field, Value: putUint(a.Value, a.Dst.Field.size())})
			return
		}
		p.add("load:%s->%s", hexText(a.Value), a.Dst)
	case Move:
		p.add("move:%s->%s", a.Src, a.Dst)
	case Learn:
		p.learn(a)
	case CT:
		p.ct(a)
	case CTClear:
		p.add("ct_clear")
	case Conjunction:
		p.add("conjunction(%d,%d/%d)", a.ID, a.Clause, a.N)
	case Note:
		p.add("note:")
		p.dotted(a.Data)
	case DecTTL:
		p.add("dec_ttl")
	case Meter:
		p.add("meter:%d", a.ID)
	case Group:
		p.add("group:%d", a.ID)
	case SetQueue:
		p.add("set_queue:%d", a.ID)
	case WriteMetadata:
		p.add("write_metadata:%s", hexText(a.norm().Value))
		if k := a.norm().Mask; k != ^uint64(0) {
			p.add("/0x%x", k)
		}
	case ClearActions:
		p.add("clear_actions")
	case WriteActions:
		p.add("write_actions(")
		p.actions(a.Actions)
		p.add(")")
	case Bundle:
		p.add("bundle(eth_src,0,active_backup,ofport,members:")
		for i, m := range a.Members {
			if i > 0 {
				p.add(",")
			}
			p.add("%d", m)
		}
		p.add(")")
	case CheckPktLarger:
		p.add("check_pkt_larger(%d)->%s", a.Len, a.Dst)
	case Raw:
		p.add("raw(%s)", hex.EncodeToString(a.Bytes))
	}
}

func (p *printer) output(a Output) {
	if a.Port == PortController {
		p.add("CONTROLLER:%d", a.maxLen())
		return
	}
	if _, reserved := reservedPorts[a.Port]; !reserved {
		p.add("output:")
	}
	p.port(a.Port)
}

func (p *printer) controller(a Controller) {
	maxLen := a.MaxLen
	if maxLen == 0 {
		maxLen = maxLenAll
	}
	p.add("controller(max_len=%d,id=%d", maxLen, a.ID)
	if len(a.Userdata) > 0 {
		p.add(",userdata=")
		p.dotted(a.Userdata)
	}
	p.add(")")
}

func (p *printer) dotted(b []byte) {
	for i, c := range b {
		if i > 0 {
			p.add(".")
		}
		p.add("%02x", c)
	}
}

func (p *printer) resubmit(a Resubmit) {
	p.add("resubmit(")
	if a.InPort != 0 && a.InPort != PortInPort {
		p.port(a.InPort)
	}
	p.add(",%d", a.Table)
	if a.CT {
		p.add(",ct")
	}
	p.add(")")
}

func (p *printer) setField(a SetField) {
	a = a.norm()
	if dst, v, ok := a.bits(); ok && a.Mask != ones(a.Field) {
		p.add("load:%s->%s", hexText(v), dst)
		return
	}
	p.add("set_field:")
	p.setValue(FieldMatch{a.Field, a.Value, a.Mask})
	p.add("->%s", a.Field)
}

// setValue is value with numbers where set_field reads no words.
func (p *printer) setValue(fm FieldMatch) {
	switch fm.Field.info().format {
	case asCTState, asTCPFlags, asFrag:
		p.add("%s", hexText(fm.Uint()))
		if !fm.Exact() {
			p.add("/%s", hexText(getUint(fm.Mask, fm.Field.size())))
		}
	default:
		p.value(fm)
	}
}

// String returns the range as ovs-ofctl prints it: NXM_NX_REG6[0..15].
func (b Bits) String() string {
	name := fields[b.Field].nxm
	b = b.norm()
	switch {
	case b.whole():
		return name + "[]"
	case b.N == 1:
		return fmt.Sprintf("%s[%d]", name, b.Ofs)
	}
	return fmt.Sprintf("%s[%d..%d]", name, b.Ofs, b.Ofs+b.N-1)
}

func (p *printer) learn(a Learn) {
	p.add("learn(table=%d", a.Table)
	for _, t := range []struct {
		name string
		v    uint16
	}{
		{"idle_timeout", a.IdleTimeout}, {"hard_timeout", a.HardTimeout},
		{"fin_idle_timeout", a.FinIdleTimeout}, {"fin_hard_timeout", a.FinHardTimeout},
	} {
		if t.v != 0 {
			p.add(",%s=%d", t.name, t.v)
		}
	}
	p.add(",priority=%d", a.Priority)
	if a.SendFlowRem {
		p.add(",send_flow_rem")
	}
	if a.DeleteLearned {
		p.add(",delete_learned")
	}
	if a.Cookie != 0 {
		p.add(",cookie=0x%x", a.Cookie)
	}
	for _, s := range a.Specs {
		p.add(",")
		p.learnSpec(s)
	}
	p.add(")")
}

func (p *printer) learnSpec(s LearnSpec) {
	switch s.kind {
	case learnMatch:
		p.add("%s", s.dst)
		if s.src != s.dst {
			p.add("=%s", s.src)
		}
	case learnMatchValue:
		if s.dst.whole() {
			p.add("%s=", s.dst.Field)
			p.setValue(FieldMatch{s.dst.Field, s.fieldValue(), ones(s.dst.Field)})
			return
		}
		p.add("%s=", s.dst)
		p.immediate(s)
	case learnLoad:
		p.add("load:%s->%s", s.src, s.dst)
	case learnLoadValue:
		p.add("load:")
		p.immediate(s)
		p.add("->%s", s.dst)
	case learnOutput:
		p.add("output:%s", s.src)
	}
}

// fieldValue is the constant of a spec on a whole field, in the field's size:
// the space in the spec may be one byte more.
func (s LearnSpec) fieldValue() Value {
	var v Value
	copy(v[:], s.value[immediateSize(s.dst.N)-s.dst.Field.size():])
	return v
}

func (p *printer) immediate(s LearnSpec) {
	n := new(big.Int).SetBytes(s.value[:immediateSize(s.dst.N)])
	if n.Sign() == 0 {
		p.add("0")
		return
	}
	p.add("0x%x", n)
}

func (p *printer) ct(a CT) {
	p.add("ct(")
	start := len(p.b)
	item := func(format string, args ...any) {
		if len(p.b) > start {
			p.add(",")
		}
		p.add(format, args...)
	}
	if a.Commit {
		item("commit")
	}
	if a.Force {
		item("force")
	}
	if a.Table != 0 {
		item("table=%d", a.Table)
	}
	if a.ZoneSrc.Field != fieldNone {
		item("zone=%s", a.ZoneSrc)
	} else if a.Zone != 0 {
		item("zone=%d", a.Zone)
	}
	if a.NAT != nil {
		item("")
		p.nat(*a.NAT)
	}
	if len(a.Exec) > 0 {
		item("exec(")
		p.actions(a.Exec)
		p.add(")")
	}
	switch a.ALG {
	case 0:
	case 21:
		item("alg=ftp")
	case 69:
		item("alg=tftp")
	default:
		item("alg=%d", a.ALG)
	}
	p.add(")")
}

func (p *printer) nat(n NAT) {
	p.add("nat")
	if !n.Src && !n.Dst {
		return
	}
	p.add("(%s", pick(n.Src, "src", "dst"))
	if n.AddrMin.IsValid() || n.PortMin != 0 {
		p.add("=")
	}
	bracket := func(a netip.Addr) {
		if a.Is4() {
			p.add("%s", a)
			return
		}
		p.add("[")
		p.addr(a.AsSlice())
		p.add("]")
	}
	if n.AddrMin.IsValid() {
		bracket(n.AddrMin)
		if n.hasAddrMax() {
			p.add("-")
			bracket(n.AddrMax)
		}
	}
	if n.PortMin != 0 {
		p.add(":%d", n.PortMin)
		if n.PortMax > n.PortMin {
			p.add("-%d", n.PortMax)
		}
	}
	for _, f := range []struct {
		on   bool
		word string
	}{{n.Persistent, "persistent"}, {n.Hash, "hash"}, {n.Random, "random"}} {
		if f.on {
			p.add(",%s", f.word)
		}
	}
	p.add(")")
}
