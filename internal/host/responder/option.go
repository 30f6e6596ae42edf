package responder

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// Option codes that answers or requests have a rule about (IANA, "BOOTP Vendor
// Extensions and DHCP Options").
const (
	optPad           = 0
	optNetmask       = 1
	optRouter        = 3
	optDNS           = 6
	optHostname      = 12
	optDomain        = 15
	optMTU           = 26
	optBroadcast     = 28
	optRequestedAddr = 50
	optLeaseTime     = 51
	optOverload      = 52
	optMessageType   = 53
	optServerID      = 54
	optParameterList = 55
	optMessage       = 56
	optMaxSize       = 57
	optRenewal       = 58
	optRebinding     = 59
	optClientID      = 61
	optTFTPServer    = 66
	optBootFile      = 67
	optRelayInfo     = 82
	optRoutes        = 121 // RFC 3442
	optIPXE          = 175
	optRoutesMS      = 249 // Microsoft's number for option 121
	optEnd           = 255
)

// form is how an option's value is written in bytes.
type form uint8

const (
	formGuess   form = iota // of options that have no name: told by how the value looks
	formText                // any characters
	formAddrs               // IPv4 addresses
	formUint8               // one byte
	formUint16              // two bytes
	formUint32              // four bytes
	formNames               // domain names (RFC 1035 section 3.1, RFC 3397)
	formRoutes              // destination, next hop, … (RFC 3442)
	formSIP                 // names or addresses (RFC 3361)
	formNext                // not an option: the siaddr field
	formGuess6              // as formGuess, of DHCPv6
	formAddrs6              // IPv6 addresses
	formStrings             // strings, each behind its length (RFC 5970)
	formNTP6                // addresses and names (RFC 5908)
)

// named is an option as users may name it.
type named struct {
	code byte
	form form
}

// options are the options that have a name, which is dnsmasq's: the one that
// Neutron's users know. Nothing changes this table.
var options = []struct {
	name string
	named
}{
	{"netmask", named{1, formAddrs}},
	{"time-offset", named{2, formUint32}},
	{"router", named{3, formAddrs}},
	{"time-server", named{4, formAddrs}},
	{"dns-server", named{6, formAddrs}},
	{"log-server", named{7, formAddrs}},
	{"lpr-server", named{9, formAddrs}},
	{"hostname", named{12, formText}},
	{"boot-file-size", named{13, formUint16}},
	{"domain-name", named{15, formText}},
	{"swap-server", named{16, formAddrs}},
	{"root-path", named{17, formText}},
	{"extension-path", named{18, formText}},
	{"ip-forward-enable", named{19, formUint8}},
	{"non-local-source-routing", named{20, formUint8}},
	{"policy-filter", named{21, formAddrs}},
	{"max-datagram-reassembly", named{22, formUint16}},
	{"default-ttl", named{23, formUint8}},
	{"mtu", named{26, formUint16}},
	{"all-subnets-local", named{27, formUint8}},
	{"broadcast", named{28, formAddrs}},
	{"router-discovery", named{31, formUint8}},
	{"router-solicitation", named{32, formAddrs}},
	{"static-route", named{33, formAddrs}},
	{"trailer-encapsulation", named{34, formUint8}},
	{"arp-timeout", named{35, formUint32}},
	{"ethernet-encap", named{36, formUint8}},
	{"tcp-ttl", named{37, formUint8}},
	{"tcp-keepalive", named{38, formUint32}},
	{"nis-domain", named{40, formText}},
	{"nis-server", named{41, formAddrs}},
	{"ntp-server", named{42, formAddrs}},
	{"vendor-encap", named{43, formGuess}},
	{"netbios-ns", named{44, formAddrs}},
	{"netbios-dd", named{45, formAddrs}},
	{"netbios-nodetype", named{46, formUint8}},
	{"netbios-scope", named{47, formText}},
	{"x-windows-fs", named{48, formAddrs}},
	{"x-windows-dm", named{49, formAddrs}},
	{"lease-time", named{51, formUint32}},
	{"T1", named{58, formUint32}},
	{"T2", named{59, formUint32}},
	{"vendor-class", named{60, formText}},
	{"nis+-domain", named{64, formText}},
	{"nis+-server", named{65, formAddrs}},
	{"tftp-server", named{66, formText}},
	{"bootfile-name", named{67, formText}},
	{"mobile-ip-home", named{68, formAddrs}},
	{"smtp-server", named{69, formAddrs}},
	{"pop3-server", named{70, formAddrs}},
	{"nntp-server", named{71, formAddrs}},
	{"irc-server", named{74, formAddrs}},
	{"client-arch", named{93, formUint16}},
	{"posix-timezone", named{100, formText}},
	{"tzdb-timezone", named{101, formText}},
	{"ipv6-only", named{108, formUint32}},
	{"domain-search", named{119, formNames}},
	{"sip-server", named{120, formSIP}},
	{"classless-static-route", named{121, formRoutes}},
	{"vendor-id-encap", named{125, formGuess}},
	{"tftp-server-address", named{150, formAddrs}},
	{"server-ip-address", named{0, formNext}},
}

// findOption looks an option up by name or number. Numbers without a name are
// options too; 255 is dnsmasq's number for the siaddr field.
func findOption(s string) (named, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err == nil && n == optEnd {
		return named{0, formNext}, true
	}
	if err == nil && n == optPad {
		return named{}, false
	}
	for _, o := range options {
		if o.name == s || err == nil && o.code == byte(n) {
			return o.named, true
		}
	}
	switch {
	case err != nil:
		return named{}, false
	case n == optRoutesMS:
		return named{optRoutesMS, formRoutes}, true
	}
	return named{byte(n), formGuess}, true
}

// option is one option of an answer.
type option struct {
	code  byte
	value []byte
}

// condition says which clients an option is for.
type condition uint8

const (
	always  condition = iota
	ifIPXE            // tag:ipxe
	notIPXE           // tag:!ipxe
)

// extra is an option that the user gave a port.
type extra struct {
	option
	when condition
	next bool // value is for the siaddr field
}

// parseExtra reads an option as users give it to a port: dnsmasq's name or a
// number, with "tag:ipxe," or "tag:!ipxe," in front for network boot.
func parseExtra(full, value string) (extra, error) {
	var e extra
	name, err := checkText(full, value)
	if err != nil {
		return e, err
	}
	name, e.when = splitCondition(name, "ipxe")
	opt, found := findOption(strings.TrimPrefix(name, "option:"))
	if !found {
		return e, fmt.Errorf("DHCP option %q is unknown", full)
	}
	switch opt.code {
	case optRequestedAddr, optOverload, optMessageType, optServerID, optParameterList,
		optMessage, optMaxSize, optClientID, optRelayInfo:
		return e, fmt.Errorf("DHCP option %q is part of the protocol", full)
	}
	b, err := encodeValue(opt.form, value)
	if err != nil {
		return e, fmt.Errorf("DHCP option %q: %w", full, err)
	}
	if len(b) > 255 {
		return e, fmt.Errorf("DHCP option %q has %d bytes, more than 255", full, len(b))
	}
	e.option = option{opt.code, b}
	e.next = opt.form == formNext
	return e, nil
}

// checkText returns an option's name unless it or the value has characters that no option needs.
func checkText(name, value string) (string, error) {
	if strings.ContainsFunc(name+value, unicode.IsControl) {
		return "", fmt.Errorf("DHCP option %q has control characters", name)
	}
	return name, nil
}

// splitCondition takes off the name of an option which clients it is for.
func splitCondition(name, tag string) (string, condition) {
	if rest, found := strings.CutPrefix(name, "tag:"+tag+","); found {
		return rest, ifIPXE
	}
	if rest, found := strings.CutPrefix(name, "tag:!"+tag+","); found {
		return rest, notIPXE
	}
	return name, always
}

func encodeValue(f form, s string) ([]byte, error) {
	switch f {
	case formText:
		return []byte(s), nil
	case formAddrs:
		return encodeAddrs(splitList(s))
	case formNext:
		list := splitList(s)
		if len(list) != 1 {
			return nil, fmt.Errorf("%q is not one address", s)
		}
		return encodeAddrs(list)
	case formUint8, formUint16, formUint32:
		return encodeUint(s, 1<<(f-formUint8))
	case formNames:
		return encodeNames(splitList(s))
	case formRoutes:
		return encodeRouteList(splitList(s))
	case formSIP:
		list := splitList(s)
		if b, err := encodeAddrs(list); err == nil {
			return append([]byte{1}, b...), nil
		}
		b, err := encodeNames(list)
		return append([]byte{0}, b...), err
	case formGuess6:
		return guessValue6(s)
	case formAddrs6:
		return encodeAddrs6(splitList(s))
	case formStrings:
		return encodeStrings(splitList(s)), nil
	case formNTP6:
		return encodeNTP6(splitList(s))
	}
	return guessValue(s)
}

// guessValue is for options without a form: addresses, bytes in hex with
// colons, a decimal number (in the fewest of 1, 2 or 4 bytes), or text.
func guessValue(s string) ([]byte, error) {
	if list := splitList(s); len(list) > 0 {
		if b, err := encodeAddrs(list); err == nil {
			return b, nil
		}
	}
	if octets := strings.Split(s, ":"); len(octets) > 1 {
		if b, err := encodeHex(octets); err == nil {
			return b, nil
		}
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		switch {
		case n <= math.MaxUint8:
			return []byte{byte(n)}, nil
		case n <= math.MaxUint16:
			return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
		}
		return binary.BigEndian.AppendUint32(nil, uint32(n)), nil
	}
	return []byte(s), nil
}

func encodeHex(octets []string) ([]byte, error) {
	var b []byte
	for _, o := range octets {
		if len(o) == 1 {
			o = "0" + o
		}
		if len(o) != 2 {
			return nil, fmt.Errorf("%q is not an octet", o)
		}
		var err error
		if b, err = hex.AppendDecode(b, []byte(o)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func splitList(s string) []string {
	var list []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func encodeAddrs(list []string) ([]byte, error) {
	var b []byte
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			return nil, fmt.Errorf("%q is not an IPv4 address", s)
		}
		b = appendAddr(b, a)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("no address")
	}
	return b, nil
}

// encodeUint reads a number; "infinite" is all ones, as in dnsmasq.
func encodeUint(s string, size int) ([]byte, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	if s == "infinite" {
		n, err = -1, nil
	}
	limit := int64(1) << (8 * size)
	if err != nil || n >= limit || n < -limit/2 {
		return nil, fmt.Errorf("%q is not a number of %d bytes", s, size)
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(n))
	return b[8-size:], nil
}

// encodeNames writes domain names one behind the other, without compression.
func encodeNames(list []string) ([]byte, error) {
	var b []byte
	for _, name := range list {
		start := len(b)
		for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
			if label == "" || len(label) > 63 {
				return nil, fmt.Errorf("%q is not a domain name", name)
			}
			b = append(append(b, byte(len(label))), label...)
		}
		if b = append(b, 0); len(b)-start > 255 {
			return nil, fmt.Errorf("%q is too long for a domain name", name)
		}
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("no domain name")
	}
	return b, nil
}

// encodeRouteList reads destination and next hop in turn.
func encodeRouteList(list []string) ([]byte, error) {
	if len(list) == 0 || len(list)%2 != 0 {
		return nil, fmt.Errorf("routes are pairs of destination and next hop")
	}
	var b []byte
	for i := 0; i < len(list); i += 2 {
		to, err := netip.ParsePrefix(list[i])
		if a, e := netip.ParseAddr(list[i]); e == nil {
			to, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		via, viaErr := netip.ParseAddr(list[i+1])
		if err != nil || viaErr != nil || !to.Addr().Is4() || !via.Is4() {
			return nil, fmt.Errorf("%q via %q is not a route", list[i], list[i+1])
		}
		b = appendRoute(b, to, via)
	}
	return b, nil
}

// appendRoute writes one route as in RFC 3442: the destination has only as many
// bytes as its mask needs.
func appendRoute(b []byte, to netip.Prefix, via netip.Addr) []byte {
	b = append(b, byte(to.Bits()))
	dst := to.Masked().Addr().As4()
	b = append(b, dst[:(to.Bits()+7)/8]...)
	return appendAddr(b, via)
}

// appendAddr writes an IPv4 address.
func appendAddr(b []byte, a netip.Addr) []byte {
	v := a.As4()
	return append(b, v[:]...)
}
