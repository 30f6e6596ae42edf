package flow

import (
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Parse reads a flow in the syntax of ovs-ofctl(8): what Flow.String prints, a
// line for add-flow, or a line of dump-flows, whose counters it drops.
//
// It reads the fields and actions of this package in the words that ovs-ofctl
// prints with OpenFlow 1.3 or 1.4, and the older names of matches; it refuses
// the words of OpenFlow 1.0 for VLANs and for actions that set fields.
func Parse(text string) (Flow, error) { return ParseNamed(text, nil) }

// ParseNamed is Parse with names for ports.
func ParseNamed(text string, ports map[string]uint32) (Flow, error) {
	p := parser{ports: ports}
	f, err := p.flow(text)
	if err != nil {
		return Flow{}, fmt.Errorf("parsing flow %q: %w", text, err)
	}
	return f, nil
}

// ParseActions reads an action list.
func ParseActions(text string, ports map[string]uint32) ([]Action, error) {
	p := parser{ports: ports}
	actions, err := p.actions(text, true)
	if err != nil {
		return nil, fmt.Errorf("parsing actions %q: %w", text, err)
	}
	return actions, nil
}

type parser struct {
	ports map[string]uint32
	depth int
}

const (
	defaultPriority = 0x8000 // OFP_DEFAULT_PRIORITY
	maxDepth        = 8      // of brackets in actions
	maxText         = 64 << 10
)

func (p *parser) flow(text string) (Flow, error) {
	f := Flow{Priority: defaultPriority}
	if len(text) > maxText {
		return f, errors.New("too long")
	}
	head, tail, ok := strings.Cut(text, "actions=")
	if !ok {
		return f, errors.New("no actions=")
	}
	if head != "" && !strings.ContainsAny(head[len(head)-1:], " ,\t") {
		return f, fmt.Errorf("actions= stuck to %q", head)
	}
	var pending []pair
	for _, item := range splitItems(head) {
		name, value, has := strings.Cut(item, "=")
		handled, err := f.setAttribute(name, value, has)
		if err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
		if !handled {
			pending = append(pending, pair{name, value, has})
		}
	}
	var err error
	if f.Match, err = p.match(pending); err != nil {
		return f, err
	}
	f.Actions, err = p.actions(strings.TrimSpace(tail), true)
	return f, err
}

// pair is name or name=value.
type pair struct {
	name, value string
	has         bool
}

// splitItems cuts at commas and spaces outside of quotes.
func splitItems(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ',' || r == ' ' || r == '\t' || r == '\n')
	})
}

// setAttribute takes what is not match: it reports whether it knew the name.
func (f *Flow) setAttribute(name, value string, has bool) (bool, error) {
	var err error
	switch name {
	case "cookie":
		f.Cookie, err = number(value, 64)
	case "table":
		err = into8(&f.Table, value)
	case "priority":
		err = into16(&f.Priority, value)
	case "idle_timeout":
		err = into16(&f.IdleTimeout, value)
	case "hard_timeout":
		err = into16(&f.HardTimeout, value)
	case "duration", "n_packets", "n_bytes", "idle_age", "hard_age", "importance":
	case "reset_counts", "send_flow_rem", "check_overlap", "no_packet_counts", "no_byte_counts":
		return !has, nil
	default:
		return false, nil
	}
	return true, err
}

func number(s string, bits int) (uint64, error) { return strconv.ParseUint(s, 0, bits) }

func into8(to *uint8, s string) error {
	v, err := number(s, 8)
	*to = uint8(v)
	return err
}

func into16(to *uint16, s string) error {
	v, err := number(s, 16)
	*to = uint16(v)
	return err
}

func into32(to *uint32, s string) error {
	v, err := number(s, 32)
	*to = uint32(v)
	return err
}

// match reads the fields; words for protocols count first, since names such as
// tp_src mean what they say.
func (p *parser) match(pairs []pair) (Match, error) {
	var m Match
	for _, it := range pairs {
		var err error
		switch it.name {
		case "dl_type", "eth_type":
			m, err = p.matchField(m, EthType, it.value)
		case "nw_proto", "ip_proto":
			// below: of ARP it is the operation
		default:
			for _, s := range shorthands {
				if !it.has && s.word == it.name {
					m = m.EthType(s.etherType)
					if s.proto >= 0 {
						m = m.IPProto(uint8(s.proto))
					}
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", it.name, err)
		}
	}
	et, _ := m.Get(EthType)
	isARP := et.Uint() == EtherTypeARP || et.Uint() == 0x8035
	for _, it := range pairs {
		if it.name == "nw_proto" || it.name == "ip_proto" {
			var err error
			if m, err = p.matchField(m, pick(isARP, ARPOp, IPProto), it.value); err != nil {
				return nil, fmt.Errorf("%s: %w", it.name, err)
			}
		}
	}
	proto, _ := m.Get(IPProto)
	for _, it := range pairs {
		if it.name == "dl_type" || it.name == "eth_type" || it.name == "nw_proto" || it.name == "ip_proto" {
			continue
		}
		var err error
		if m, err = p.matchItem(m, it, isARP, int(proto.Uint())); err != nil {
			return nil, fmt.Errorf("%s: %w", it.name, err)
		}
	}
	return m, nil
}

var errUnknown = errors.New("unknown")

func (p *parser) matchItem(m Match, it pair, isARP bool, proto int) (Match, error) {
	if !it.has {
		for _, s := range shorthands {
			if s.word == it.name {
				return m, nil
			}
		}
		return nil, errUnknown
	}
	switch it.name {
	case "dl_vlan":
		v, err := number(it.value, 16)
		if err == nil && v == 0xffff {
			return m.Untagged(), nil
		}
		if err != nil || v > 0xfff {
			return nil, fmt.Errorf("no VLAN id %q", it.value)
		}
		return m.Vlan(uint16(v)), nil
	case "dl_vlan_pcp":
		v, err := number(it.value, 3)
		if err != nil {
			return nil, err
		}
		return m.taggedPCP(uint8(v)), nil
	case "nw_tos":
		v, err := number(it.value, 8)
		if err != nil || v&3 != 0 {
			return nil, fmt.Errorf("%q is not a DSCP shifted by two", it.value)
		}
		return m.Uint(IPDSCP, v>>2), nil
	}
	f, ok := fieldByText(it.name, isARP, proto)
	if !ok {
		return nil, errUnknown
	}
	return p.matchField(m, f, it.value)
}

// taggedPCP is dl_vlan_pcp, which asks for a tag as well.
func (m Match) taggedPCP(pcp uint8) Match {
	old, _ := m.Get(VlanTCI)
	v, k := old.Uint()&0x1fff|vlanPresent, getUint(old.Mask, 2)&0x1fff|vlanPresent
	return m.Masked(VlanTCI, v|uint64(pcp)<<13, k|0xe000)
}

// fieldByText finds a field by any name it may have in a match.
func fieldByText(name string, isARP bool, proto int) (Field, bool) {
	if isARP {
		switch name {
		case "nw_src":
			return ARPSPA, true
		case "nw_dst":
			return ARPTPA, true
		}
	}
	for f, n := range classicNames {
		if n == name {
			return f, true
		}
	}
	for f, n := range transportNames {
		if n == name && transportProto[f] == proto {
			return f, true
		}
	}
	return fieldByName(name)
}

// fieldByName finds a field by the name of set_field.
func fieldByName(name string) (Field, bool) {
	for f := fieldNone + 1; f < numFields; f++ {
		if fields[f].name == name {
			return f, true
		}
	}
	return fieldNone, false
}

func (p *parser) matchField(m Match, f Field, text string) (Match, error) {
	value, mask, err := p.value(f, text)
	if err != nil {
		return nil, err
	}
	if !fields[f].mask && mask != ones(f) && mask != (Value{}) {
		return nil, errors.New("takes no mask")
	}
	return m.Bytes(f, value, mask), nil
}

// value reads value or value/mask in the manner of the field.
func (p *parser) value(f Field, text string) (value, mask Value, err error) {
	format := fields[f].format
	switch format {
	case asCTState:
		if strings.ContainsAny(text, "+-") {
			return parseFlags(f, text, ctStateNames[:])
		}
	case asTCPFlags:
		if strings.ContainsAny(text, "+-") {
			return parseFlags(f, text, tcpFlagNames[:])
		}
	case asFrag:
		for _, n := range fragNames {
			if n.word == text {
				return Value{n.value}, Value{n.mask}, nil
			}
		}
	}
	text, maskText, masked := strings.Cut(text, "/")
	if value, err = p.plain(f, text); err != nil {
		return value, mask, err
	}
	mask = ones(f)
	if !masked {
		return value, mask, nil
	}
	if format == asIPv4 || format == asIPv6 {
		if n, err := strconv.ParseUint(maskText, 10, 8); err == nil {
			if int(n) > 8*f.size() {
				return value, mask, fmt.Errorf("no prefix length %d", n)
			}
			return value, prefixMask(int(n)), nil
		}
	}
	mask, err = p.plain(f, maskText)
	return value, mask, err
}

func parseFlags(f Field, text string, names []string) (value, mask Value, err error) {
	var v, k uint64
	for text != "" {
		sign := text[0]
		end := strings.IndexAny(text[1:], "+-") + 1
		if end == 0 {
			end = len(text)
		}
		bit := -1
		for i, n := range names {
			if n == text[1:end] {
				bit = i
			}
		}
		if bit < 0 || sign != '+' && sign != '-' {
			return value, mask, fmt.Errorf("no flag %q", text[:end])
		}
		k |= 1 << bit
		if sign == '+' {
			v |= 1 << bit
		}
		text = text[end:]
	}
	return putUint(v, f.size()), putUint(k, f.size()), nil
}

// plain reads one value without a mask.
func (p *parser) plain(f Field, text string) (Value, error) {
	var v Value
	switch fields[f].format {
	case asMAC:
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != 6 {
			return v, fmt.Errorf("%q is not a MAC", text)
		}
		copy(v[:], mac)
		return v, nil
	case asIPv4, asIPv6:
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || a.Is4() != (fields[f].format == asIPv4) {
			return v, fmt.Errorf("%q is not an address for %s", text, f)
		}
		copy(v[:], a.AsSlice())
		return v, nil
	case asPort:
		n, err := p.port(text)
		if err == nil && f == InPort16 {
			n &= 0xffff
		}
		return putUint(uint64(n), f.size()), err
	}
	n, ok := new(big.Int).SetString(text, 0)
	if !ok || n.Sign() < 0 || n.BitLen() > int(fields[f].bits) || strings.Contains(text, "_") {
		return v, fmt.Errorf("%q is not a number of %d bits", text, fields[f].bits)
	}
	n.FillBytes(v[:f.size()])
	return v, nil
}

func (p *parser) port(text string) (uint32, error) {
	if q, err := strconv.Unquote(text); err == nil && len(text) > 1 && text[0] == '"' {
		if n, ok := p.ports[q]; ok {
			return n, nil
		}
		return 0, fmt.Errorf("no port %s", text)
	}
	for n, word := range reservedPorts {
		if strings.EqualFold(word, text) {
			return n, nil
		}
	}
	if n, ok := p.ports[text]; ok {
		return n, nil
	}
	n, err := number(text, 32)
	if err != nil {
		return 0, fmt.Errorf("no port %q", text)
	}
	return uint32(n), nil
}
