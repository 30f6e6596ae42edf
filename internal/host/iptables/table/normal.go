package table

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Protocols maps the names of /etc/protocols to numbers. iptables-save prints
// protocols by the names of its host, so a reader needs them to compare.
type Protocols map[string]uint8

// ianaName gives the protocol names that rules are written with in normal
// form. They are those that iptables knows without /etc/protocols and that an
// operator expects to read; all other protocols are numbers.
func ianaName(n uint8) string {
	switch n {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 33:
		return "dccp"
	case 50:
		return "esp"
	case 51:
		return "ah"
	case 58:
		return "ipv6-icmp"
	case 132:
		return "sctp"
	case 136:
		return "udplite"
	}
	return ""
}

// ProtocolName returns a protocol's spelling in normal form.
func ProtocolName(n uint8) string {
	if s := ianaName(n); s != "" {
		return s
	}
	return strconv.Itoa(int(n))
}

// knownProtocols are the names that iptables-save prints for our rules on
// hosts whose /etc/protocols is Debian's or missing.
var knownProtocols = Protocols{
	"ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "ipip": 94, "st": 5, "tcp": 6, "egp": 8, "igp": 9,
	"pup": 12, "udp": 17, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36, "ddp": 37,
	"idpr-cmtp": 38, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46, "gre": 47, "esp": 50,
	"ah": 51, "skip": 57, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81,
	"eigrp": 88, "ospf": 89, "ax.25": 93, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108, "vrrp": 112,
	"l2tp": 115, "isis": 124, "sctp": 132, "fc": 133, "mobility-header": 135, "ipv6-mh": 135, "mh": 135,
	"udplite": 136, "mpls-in-ip": 137, "manet": 138, "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142, "ethernet": 143,
}

func (p Protocols) canonical(s string) string {
	s = strings.ToLower(s)
	if n, err := strconv.ParseUint(s, 0, 8); err == nil {
		return ProtocolName(uint8(n))
	}
	if n, ok := p[s]; ok {
		return ProtocolName(n)
	}
	if n, ok := knownProtocols[s]; ok {
		return ProtocolName(n)
	}
	return s
}

var errQuote = errors.New("a quote is not closed")

// Normalize returns the rule in normal form. The differences that it levels
// are those between versions of iptables-save and hand-written rules: protocol
// names and numbers, addresses without a mask or with a dotted one, host bits,
// letter case of hardware addresses, order of connection states, quoting. It
// changes no rule's meaning, and applied twice it changes nothing more.
func (p Protocols) Normalize(rule string) (Rule, error) {
	words, err := split(rule)
	if err != nil {
		return "", err
	}
	for i := 0; i+1 < len(words); i++ {
		value := &words[i+1]
		switch words[i] {
		case "-p", "--protocol":
			words[i] = "-p"
			*value = p.canonical(*value)
		case "-s", "--source":
			words[i] = "-s"
			*value = canonicalPrefix(*value)
		case "-d", "--destination":
			words[i] = "-d"
			*value = canonicalPrefix(*value)
		case "--mac-source":
			*value = strings.ToLower(*value)
		case "--state", "--ctstate":
			*value = canonicalStates(*value)
		case "--comment":
		default:
			continue
		}
		i++ // a value is never taken for an option
	}
	return Rule(join(words)), nil
}

func canonicalPrefix(s string) string {
	if q, ok := ParsePrefix(s); ok {
		return q.String()
	}
	return s
}

// ParsePrefix reads an address with a prefix length, with a dotted mask, or
// alone, and returns it masked.
func ParsePrefix(s string) (netip.Prefix, bool) {
	if q, err := netip.ParsePrefix(s); err == nil {
		return q.Masked(), true
	}
	addr, mask, dotted := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	if !dotted {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.Zone() != "" || m.BitLen() != a.BitLen() {
		return netip.Prefix{}, false
	}
	ones, bits := net.IPMask(m.AsSlice()).Size()
	if bits == 0 {
		return netip.Prefix{}, false // not contiguous
	}
	return netip.PrefixFrom(a, ones).Masked(), true
}

// canonicalStates puts connection states into the order in which
// iptables-save prints them.
func canonicalStates(s string) string {
	order := []string{"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED"}
	given := strings.Split(s, ",")
	out := make([]string, 0, len(given))
	for _, o := range order {
		for _, g := range given {
			if g == o {
				out = append(out, o)
				break
			}
		}
	}
	if len(out) != len(given) {
		return s
	}
	return strings.Join(out, ",")
}

// split cuts a rule into words. A word in double quotes may hold spaces, and
// there a backslash takes the next character as it is (iptables-restore(8)
// reads the same way).
func split(s string) ([]string, error) {
	words := make([]string, 0, 16)
	for i := 0; i < len(s); {
		if isSpace(s[i]) {
			i++
			continue
		}
		start, plain := i, true
		for i < len(s) && !isSpace(s[i]) {
			if s[i] == '"' {
				plain = false
				break
			}
			i++
		}
		if plain {
			words = append(words, s[start:i])
			continue
		}
		var b strings.Builder
		quoted := false
		for i = start; i < len(s) && (quoted || !isSpace(s[i])); i++ {
			switch {
			case s[i] == '"':
				quoted = !quoted
			case quoted && s[i] == '\\' && i+1 < len(s):
				i++
				b.WriteByte(s[i])
			default:
				b.WriteByte(s[i])
			}
		}
		if quoted {
			return nil, errQuote
		}
		words = append(words, b.String())
	}
	return words, nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func join(words []string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		writeWord(&b, w)
	}
	return b.String()
}

func writeWord(b *strings.Builder, w string) {
	if w != "" && !strings.ContainsAny(w, " \t\r\n\"\\'") {
		b.WriteString(w)
		return
	}
	b.WriteByte('"')
	for i := 0; i < len(w); i++ {
		if w[i] == '"' || w[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(w[i])
	}
	b.WriteByte('"')
}

// Quote returns a word as it stands in a rule: as it is, or in quotes.
func Quote(w string) string {
	var b strings.Builder
	writeWord(&b, w)
	return b.String()
}
