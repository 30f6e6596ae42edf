package firewall

import (
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// Protocol numbers (IANA) that rules treat apart.
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

// match is a rule that has been checked: what it takes to write it as text and
// to decide about a connection. The zero match matches every packet.
type match struct {
	family    table.Family
	direction model.Direction
	protocol  int // model.ProtocolAny for any
	min, max  int // -1 for any; type and code for ICMP
	remote    netip.Prefix
	set       model.UUID // zero: none
}

// compile checks a rule. The error's text says why it can match nothing.
func compile(r *model.RuleView) (match, error) {
	bad := func(why string) (match, error) { return match{}, &RuleError{Rule: r.ID, Why: why} }
	m := match{direction: r.Direction, protocol: r.Protocol, min: r.PortMin, max: r.PortMax, remote: r.RemotePrefix}
	switch r.EtherType {
	case model.IPv4:
		m.family = table.IPv4
	case model.IPv6:
		m.family = table.IPv6
	default:
		return bad("no such ethertype")
	}
	if r.Direction != model.Ingress && r.Direction != model.Egress {
		return bad("no such direction")
	}
	if why := m.checkRemote(r); why != "" {
		return bad(why)
	}
	if why := m.checkProtocol(); why != "" {
		return bad(why)
	}
	return m, nil
}

func (m *match) checkRemote(r *model.RuleView) string {
	kinds := 0
	if r.RemotePrefix != (netip.Prefix{}) {
		kinds++
		if !usable(r.RemotePrefix) {
			return "its remote prefix is not valid"
		}
		if familyOf(r.RemotePrefix.Addr()) != m.family {
			return "its remote prefix is not of its ethertype"
		}
		m.remote = r.RemotePrefix.Masked()
	}
	if !r.RemoteGroup.IsZero() {
		kinds++
		m.set = r.RemoteGroup.UUID
	}
	if !r.RemoteAddressGroup.IsZero() {
		kinds++
		m.set = r.RemoteAddressGroup.UUID
	}
	if kinds > 1 {
		return "it has more than one remote"
	}
	return ""
}

func (m *match) checkProtocol() string {
	if m.protocol != model.ProtocolAny && (m.protocol < 1 || m.protocol > 255) {
		// To iptables protocol 0 is any protocol.
		return "no such protocol"
	}
	if m.family == table.IPv6 && m.protocol == protoICMP {
		m.protocol = protoICMPv6 // Neutron takes "icmp" in an IPv6 rule for ICMPv6
	}
	switch {
	case m.isICMP():
		return m.checkICMP()
	case m.min < 0 && m.max < 0:
		m.min, m.max = -1, -1
	case !m.hasPorts():
		return "it has ports, its protocol has none"
	case m.min < 0 || m.min > m.max || m.max > 65535:
		return "its port range is not valid"
	}
	return ""
}

func (m *match) checkICMP() string {
	switch {
	case m.min < 0 && m.max < 0:
		m.min, m.max = -1, -1
		return ""
	case m.min < 0:
		return "it has an ICMP code without a type"
	case m.min > 255 || m.max > 255:
		return "its ICMP type or code is not valid"
	case m.family == table.IPv4 && m.min == 255:
		// The kernel's icmp match takes type 255 for any type.
		return "ICMP type 255 is reserved"
	}
	m.max = max(m.max, -1)
	return ""
}

func (m *match) isICMP() bool {
	return m.family == table.IPv4 && m.protocol == protoICMP || m.family == table.IPv6 && m.protocol == protoICMPv6
}

func (m *match) hasPorts() bool {
	switch m.protocol {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoUDPLite:
		return true
	}
	return false
}

// neverSeen reports protocols that are no protocol to a packet filter: IPv6
// extension headers are skipped on the way to the upper layer (ip6tables(8)
// "-p"), so that such a rule matches nothing. It is no error: the API takes it.
func (m *match) neverSeen() bool {
	if m.family != table.IPv6 {
		return false
	}
	switch m.protocol {
	case 43, 44, 51, 60:
		return true
	}
	return false
}

// text writes the rule as iptables-save prints it.
func (m *match) text() table.Rule {
	var b strings.Builder
	b.Grow(96)
	end, set := "-s ", " src"
	if m.direction == model.Egress {
		end, set = "-d ", " dst"
	}
	if m.remote.IsValid() && m.remote.Bits() > 0 {
		b.WriteString(end)
		b.WriteString(m.remote.String())
		b.WriteByte(' ')
	}
	if m.protocol != model.ProtocolAny {
		b.WriteString("-p ")
		b.WriteString(table.ProtocolName(uint8(m.protocol)))
		b.WriteByte(' ')
	}
	if !m.set.IsZero() {
		b.WriteString("-m set --match-set ")
		b.WriteString(SetName(m.set, m.family))
		b.WriteString(set)
		b.WriteByte(' ')
	}
	m.writePorts(&b)
	b.WriteString("-j RETURN")
	return table.Rule(b.String())
}

func (m *match) writePorts(b *strings.Builder) {
	if m.min < 0 {
		return
	}
	switch {
	case m.isICMP():
		if m.family == table.IPv4 {
			b.WriteString("-m icmp --icmp-type ")
		} else {
			b.WriteString("-m icmp6 --icmpv6-type ")
		}
		b.WriteString(strconv.Itoa(m.min))
		if m.max >= 0 {
			b.WriteByte('/')
			b.WriteString(strconv.Itoa(m.max))
		}
	case m.min == m.max && m.protocol != protoUDPLite: // udplite has no match of its own
		b.WriteString("-m ")
		b.WriteString(table.ProtocolName(uint8(m.protocol)))
		b.WriteString(" --dport ")
		b.WriteString(strconv.Itoa(m.min))
	default:
		b.WriteString("-m multiport --dports ")
		b.WriteString(strconv.Itoa(m.min))
		if m.min != m.max {
			b.WriteByte(':')
			b.WriteString(strconv.Itoa(m.max))
		}
	}
	b.WriteByte(' ')
}
