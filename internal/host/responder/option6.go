package responder

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Option codes of DHCPv6 that answers or requests have a rule about (IANA, "Dynamic Host Configuration Protocol for IPv6").
const (
	opt6ClientID    = 1
	opt6ServerID    = 2
	opt6IANA        = 3
	opt6IATA        = 4
	opt6IAAddr      = 5
	opt6Wanted      = 6 // "option request"
	opt6Preference  = 7
	opt6Status      = 13
	opt6RapidCommit = 14
	opt6UserClass   = 15
	opt6DNS         = 23
	opt6Search      = 24
	opt6IAPD        = 25
	opt6Refresh     = 32
	opt6FQDN        = 39
)

// firstFree6 is above the codes that the protocol itself uses: those below that users may give have a name.
const firstFree6 = 21

// named6 is an option of DHCPv6 as users may name it.
type named6 struct {
	name string
	code uint16
	form form
}

// options6 are the options of DHCPv6 that have a name, which is dnsmasq's. Nothing changes this table.
var options6 = []named6{
	{"sip-server-domain", 21, formNames},
	{"sip-server", 22, formAddrs6},
	{"dns-server", 23, formAddrs6},
	{"domain-search", 24, formNames},
	{"nis-server", 27, formAddrs6},
	{"nis+-server", 28, formAddrs6},
	{"nis-domain", 29, formNames},
	{"nis+-domain", 30, formNames},
	{"sntp-server", 31, formAddrs6},
	{"information-refresh-time", 32, formUint32},
	{"posix-timezone", 41, formText},
	{"tzdb-timezone", 42, formText},
	{"ntp-server", 56, formNTP6},
	{"bootfile-url", 59, formText},
	{"bootfile-param", 60, formStrings},
}

// ours6 are options above firstFree6 that belong to the protocol or to what the port is.
var ours6 = []uint16{opt6IAPD, 26, opt6FQDN}

// option6 is one option of an answer.
type option6 struct {
	code  uint16
	value []byte
}

// extra6 is an option that the user gave a port.
type extra6 struct {
	option6
	when condition
}

// parseExtra6 reads an option as users give it to a port: dnsmasq's name or a number, with "tag:ipxe6," or "tag:!ipxe6," in
// front for network boot.
func parseExtra6(given, value string) (extra6, error) {
	var e extra6
	name, err := checkText(given, value)
	if err != nil {
		return e, err
	}
	name, e.when = splitCondition(name, "ipxe6")
	opt, found := findOption6(strings.TrimPrefix(name, "option6:"))
	if !found {
		return e, fmt.Errorf("DHCPv6 option %q is unknown", given)
	}
	if opt.code < firstFree6 || slices.Contains(ours6, opt.code) {
		return e, fmt.Errorf("DHCPv6 option %q is part of the protocol", given)
	}
	b, err := encodeValue(opt.form, value)
	if err != nil {
		return e, fmt.Errorf("DHCPv6 option %q: %w", given, err)
	}
	if len(b) > mostExtra6 {
		return e, fmt.Errorf("DHCPv6 option %q has %d bytes, more than %d", given, len(b), mostExtra6)
	}
	e.option6 = option6{opt.code, b}
	return e, nil
}

// mostExtra6 leaves room for an address in the smallest packet that every link carries (RFC 8200, 5).
const mostExtra6 = 768

// findOption6 looks an option up by name or number. Numbers without a name are options too.
func findOption6(s string) (named6, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	for _, o := range options6 {
		if o.name == s || err == nil && uint64(o.code) == n {
			return o, true
		}
	}
	if err != nil || n == 0 {
		return named6{}, false
	}
	return named6{code: uint16(n), form: formGuess6}, true
}

// encodeAddrs6 reads IPv6 addresses, which may be in brackets as in dnsmasq.
func encodeAddrs6(list []string) ([]byte, error) {
	var b []byte
	for _, s := range list {
		a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
		if err != nil || !a.Is6() || a.Zone() != "" {
			return nil, fmt.Errorf("%q is not an IPv6 address", s)
		}
		b = append(b, a.AsSlice()...)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("no address")
	}
	return b, nil
}

// encodeNTP6 writes time servers as in RFC 5908: an address or a name each.
func encodeNTP6(list []string) ([]byte, error) {
	const serverAddr, serverName = 1, 3
	var b []byte
	for _, s := range list {
		kind := uint16(serverAddr)
		v, err := encodeAddrs6([]string{s})
		if err != nil {
			kind = serverName
			if v, err = encodeNames([]string{s}); err != nil {
				return nil, err
			}
		}
		b = appendOption6(b, kind, v)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("no server")
	}
	return b, nil
}

// encodeStrings writes each string behind its length (RFC 5970, 3.2).
func encodeStrings(list []string) []byte {
	var b []byte
	for _, s := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return b
}

// guessValue6 is for options without a form: addresses, else what guessValue sees in it.
func guessValue6(s string) ([]byte, error) {
	if list := splitList(s); len(list) > 0 {
		if b, err := encodeAddrs6(list); err == nil {
			return b, nil
		}
	}
	return guessValue(s)
}

// appendOption6 writes an option (RFC 8415, 21.1).
func appendOption6(b []byte, code uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(min(len(value), math.MaxUint16)))
	return append(b, value...)
}
