package flow

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
)

// parseBits reads a range such as NXM_NX_REG6[0..15].
func parseBits(text string) (Bits, error) {
	name, rest, ok := strings.Cut(text, "[")
	if !ok || !strings.HasSuffix(rest, "]") {
		return Bits{}, fmt.Errorf("%q is not a range of bits", text)
	}
	rest = strings.TrimSuffix(rest, "]")
	f, ok := fieldByNXM(name)
	if !ok {
		return Bits{}, fmt.Errorf("no field %q", name)
	}
	if rest == "" {
		return Whole(f).norm(), nil
	}
	from, to, ranged := strings.Cut(rest, "..")
	lo, err := number(from, 16)
	hi := lo
	if ranged && err == nil {
		hi, err = number(to, 16)
	}
	if err != nil || hi < lo || hi >= uint64(fields[f].bits) {
		return Bits{}, fmt.Errorf("no bits %q of %s", rest, name)
	}
	return Range(f, uint16(lo), uint16(hi)), nil
}

// fieldByNXM finds a field by the name it has in bit ranges.
func fieldByNXM(name string) (Field, bool) {
	for f := fieldNone + 1; f < numFields; f++ {
		if fields[f].nxm == name || fields[f].name == name {
			return f, true
		}
	}
	return fieldNone, false
}

// actions reads a list; instructions tells whether those are allowed in it.
func (p *parser) actions(text string, instructions bool) ([]Action, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, errors.New("too many brackets")
	}
	defer func() { p.depth-- }()
	if text == "drop" || text == "" {
		return nil, nil
	}
	items, err := splitActions(text)
	if err != nil {
		return nil, err
	}
	var out []Action
	for _, item := range items {
		a, err := p.action(item)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", item, err)
		}
		if !instructions && isInstruction(a) {
			return nil, fmt.Errorf("%s: not in this list", item)
		}
		out = append(out, a)
	}
	return out, nil
}

// splitActions cuts at commas outside of brackets and quotes.
func splitActions(text string) ([]string, error) {
	var out []string
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			if depth--; depth < 0 {
				return nil, errors.New("bracket without its other half")
			}
		case c == ',' && depth == 0:
			out = append(out, strings.TrimSpace(text[start:i]))
			start = i + 1
		}
	}
	if depth != 0 || quoted {
		return nil, errors.New("bracket or quote without its other half")
	}
	return append(out, strings.TrimSpace(text[start:])), nil
}

// verb cuts an action into its name and its arguments: name:args, name=args or
// name(args).
func verb(text string) (name, args string) {
	i := strings.IndexAny(text, ":(=")
	switch {
	case i < 0:
		return text, ""
	case text[i] == '(' && strings.HasSuffix(text, ")"):
		return text[:i], text[i+1 : len(text)-1]
	}
	return text[:i], text[i+1:]
}

func (p *parser) action(text string) (Action, error) {
	name, args := verb(text)
	switch name {
	case "output":
		return p.output(args)
	case "CONTROLLER":
		a := Output{Port: PortController}
		if args == "" {
			return a, nil
		}
		err := into16(&a.MaxLen, args)
		if err == nil && a.MaxLen == 0 {
			err = errors.New("no length 0")
		}
		a.MaxLen = fromMaxLen(a.MaxLen)
		return a, err
	case "controller":
		return parseController(args)
	case "resubmit":
		return p.resubmit(text, args)
	case "goto_table":
		var a GotoTable
		err := into8(&a.Table, args)
		return a, err
	case "push_vlan":
		var a PushVLAN
		err := into16(&a.EtherType, args)
		return a, err
	case "pop_vlan", "strip_vlan":
		return PopVLAN{}, nil
	case "set_field":
		return p.setField(args)
	case "set_tunnel", "set_tunnel64":
		id, err := number(args, 64)
		return SetTunnel(id), err
	case "load":
		return parseLoad(args)
	case "move":
		return parseMove(args)
	case "learn":
		return p.learn(args)
	case "ct":
		return p.ct(args)
	case "ct_clear":
		return CTClear{}, nil
	case "conjunction":
		return parseConjunction(args)
	case "note":
		b, err := parseDotted(args)
		return Note{b}, err
	case "dec_ttl":
		return DecTTL{}, nil
	case "meter":
		var a Meter
		err := into32(&a.ID, args)
		return a, err
	case "group":
		var a Group
		err := into32(&a.ID, args)
		return a, err
	case "set_queue":
		var a SetQueue
		err := into32(&a.ID, args)
		return a, err
	case "write_metadata":
		return parseWriteMetadata(args)
	case "clear_actions":
		return ClearActions{}, nil
	case "write_actions":
		actions, err := p.actions(args, false)
		return WriteActions{actions}, err
	case "bundle":
		return p.bundle(args)
	case "check_pkt_larger":
		return parseCheckPktLarger(args)
	case "raw":
		return parseRaw(args)
	}
	if port, err := p.port(text); err == nil {
		return Output{Port: port}, nil
	}
	return nil, errUnknown
}

func (p *parser) output(args string) (Action, error) {
	if strings.HasSuffix(args, "]") {
		r, err := parseBits(args)
		return OutputReg{r}, err
	}
	port, err := p.port(args)
	return Output{Port: port}, err
}

func parseController(args string) (Action, error) {
	var a Controller
	for _, it := range strings.Split(args, ",") {
		name, value, _ := strings.Cut(it, "=")
		var err error
		switch name {
		case "max_len":
			if err = into16(&a.MaxLen, value); err == nil && a.MaxLen == 0 {
				err = errors.New("no length 0")
			}
			a.MaxLen = fromMaxLen(a.MaxLen)
		case "id":
			err = into16(&a.ID, value)
		case "userdata":
			a.Userdata, err = parseDotted(value)
		case "reason":
			if value != "action" {
				err = errUnknown
			}
		case "":
		default:
			err = errUnknown
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", it, err)
		}
	}
	return a, nil
}

// parseDotted reads bytes as 01.02.0a.
func parseDotted(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ".")
	for _, part := range parts {
		if len(part) != 2 {
			return nil, fmt.Errorf("%q is not a byte", part)
		}
	}
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if len(b) > maxBytes {
		return nil, errors.New("too long")
	}
	return b, err
}

// maxBytes bounds notes and user data: an action has 16 bits for its length.
const maxBytes = 32 << 10

func (p *parser) resubmit(text, args string) (Action, error) {
	a := Resubmit{Table: 255}
	port, rest, bracket := strings.Cut(args, ",")
	if !bracket && strings.HasSuffix(text, ")") {
		return nil, errors.New("no table")
	}
	table, ct, hasCT := strings.Cut(rest, ",")
	if hasCT && ct != "ct" {
		return nil, errUnknown
	}
	a.CT = hasCT
	var err error
	if port != "" {
		if a.InPort, err = p.port(port); err != nil {
			return nil, err
		}
		if a.InPort == PortInPort {
			a.InPort = 0
		} else if a.InPort == 0 || a.InPort >= 0xff00 && a.InPort < 0xffffff00 {
			return nil, fmt.Errorf("no port %s", port)
		}
	}
	if table != "" {
		err = into8(&a.Table, table)
	}
	return a, err
}

func (p *parser) setField(args string) (Action, error) {
	value, to, ok := strings.Cut(args, "->")
	f, known := fieldByName(to)
	if !ok || !known {
		return nil, fmt.Errorf("no field %q", to)
	}
	v, mask, err := p.value(f, value)
	if err == nil && mask == (Value{}) {
		err = errors.New("empty mask")
	}
	return SetField{Field: f, Value: v, Mask: mask}, err
}

func parseLoad(args string) (Action, error) {
	value, to, _ := strings.Cut(args, "->")
	dst, err := parseBits(to)
	if err != nil {
		return nil, err
	}
	v, err := number(value, 64)
	if err != nil {
		return nil, err
	}
	if dst.N > 64 || dst.N < 64 && v>>dst.N != 0 {
		return nil, fmt.Errorf("%s does not fit %s", value, to)
	}
	return Load{Value: v, Dst: dst}, nil
}

func parseMove(args string) (Action, error) {
	from, to, _ := strings.Cut(args, "->")
	src, err := parseBits(from)
	if err != nil {
		return nil, err
	}
	dst, err := parseBits(to)
	if err == nil && src.N != dst.N {
		err = errors.New("sizes differ")
	}
	return Move{src, dst}, err
}

func parseConjunction(args string) (Action, error) {
	id, rest, _ := strings.Cut(args, ",")
	k, n, _ := strings.Cut(rest, "/")
	var a Conjunction
	err := errors.Join(into32(&a.ID, id), into8(&a.Clause, strings.TrimSpace(k)), into8(&a.N, n))
	return a, err
}

func parseWriteMetadata(args string) (Action, error) {
	value, mask, masked := strings.Cut(args, "/")
	a := WriteMetadata{Mask: ^uint64(0)}
	var err error
	if a.Value, err = number(value, 64); err == nil && masked {
		if a.Mask, err = number(mask, 64); err == nil && a.Mask == 0 {
			err = errors.New("empty mask")
		}
	}
	return a, err
}

// bundle reads the members by number or name; the other words have one form here.
func (p *parser) bundle(args string) (Action, error) {
	list, ok := strings.CutPrefix(args, "eth_src,0,active_backup,ofport,members:")
	if !ok {
		return nil, errors.New("a bundle other than eth_src,0,active_backup,ofport,members:PORT,…")
	}
	var a Bundle
	for text := range strings.SplitSeq(list, ",") {
		m, err := p.port(text)
		if err != nil {
			return nil, err
		}
		if m == 0 || m >= 0xff00 {
			return nil, fmt.Errorf("port %d cannot be of a bundle", m)
		}
		a.Members = append(a.Members, m)
	}
	return a, nil
}

func parseCheckPktLarger(args string) (Action, error) {
	size, to, ok := strings.Cut(args, ")->")
	dst, err := parseBits(to)
	if err != nil || !ok || dst.N != 1 {
		return nil, fmt.Errorf("%q is not one bit", to)
	}
	a := CheckPktLarger{Dst: dst}
	err = into16(&a.Len, size)
	return a, err
}

func parseRaw(args string) (Action, error) {
	b, err := hex.DecodeString(args)
	if err != nil {
		return nil, err
	}
	actions, err := DecodeActions(b)
	if err != nil || len(actions) != 1 {
		return nil, errors.New("not the bytes of one action")
	}
	return actions[0], nil
}

func (p *parser) learn(args string) (Action, error) {
	a := Learn{Priority: defaultPriority, Table: 1}
	items, err := splitActions(args)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		name, value, has := strings.Cut(it, "=")
		var err error
		switch name {
		case "table":
			err = into8(&a.Table, value)
		case "priority":
			err = into16(&a.Priority, value)
		case "idle_timeout":
			err = into16(&a.IdleTimeout, value)
		case "hard_timeout":
			err = into16(&a.HardTimeout, value)
		case "fin_idle_timeout":
			err = into16(&a.FinIdleTimeout, value)
		case "fin_hard_timeout":
			err = into16(&a.FinHardTimeout, value)
		case "cookie":
			a.Cookie, err = number(value, 64)
		case "send_flow_rem":
			a.SendFlowRem = true
		case "delete_learned":
			a.DeleteLearned = true
		default:
			var s LearnSpec
			s, err = p.learnSpec(it, name, value, has)
			a.Specs = append(a.Specs, s)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", it, err)
		}
	}
	return a, nil
}

func (p *parser) learnSpec(text, name, value string, has bool) (LearnSpec, error) {
	var s LearnSpec
	if out, ok := strings.CutPrefix(text, "output:"); ok {
		src, err := parseBits(out)
		return LearnOutput(src), err
	}
	if load, ok := strings.CutPrefix(text, "load:"); ok {
		from, to, _ := strings.Cut(load, "->")
		dst, err := parseBits(to)
		if err != nil {
			return s, err
		}
		if strings.HasSuffix(from, "]") {
			src, err := parseBits(from)
			if err == nil && src.N != dst.N {
				err = errors.New("sizes differ")
			}
			return LearnLoad(src, dst), err
		}
		return learnConstant(learnLoadValue, dst, from)
	}
	if !strings.HasSuffix(name, "]") { // a whole field and a value in its manner
		f, ok := fieldByName(name)
		if !ok || !has {
			return s, errUnknown
		}
		v, mask, err := p.value(f, value)
		if err != nil || mask != ones(f) {
			return s, fmt.Errorf("%q is not a value of %s", value, name)
		}
		s = LearnSpec{kind: learnMatchValue, dst: Whole(f).norm()}
		copy(s.value[immediateSize(s.dst.N)-f.size():], v[:f.size()])
		return s, nil
	}
	dst, err := parseBits(name)
	switch {
	case err != nil:
		return s, err
	case !has:
		return LearnMatch(dst, dst), nil
	case !strings.HasSuffix(value, "]"):
		return learnConstant(learnMatchValue, dst, value)
	}
	src, err := parseBits(value)
	if err == nil && src.N != dst.N {
		err = errors.New("sizes differ")
	}
	return LearnMatch(dst, src), err
}

func learnConstant(kind learnKind, dst Bits, text string) (LearnSpec, error) {
	s := LearnSpec{kind: kind, dst: dst}
	n, ok := new(big.Int).SetString(text, 0)
	if !ok || n.Sign() < 0 || n.BitLen() > int(dst.N) || strings.Contains(text, "_") {
		return s, fmt.Errorf("%q is not a number of %d bits", text, dst.N)
	}
	n.FillBytes(s.value[:immediateSize(dst.N)])
	return s, nil
}

func (p *parser) ct(args string) (Action, error) {
	var a CT
	items, err := splitActions(args)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		name, value := verb(it)
		var err error
		switch name {
		case "commit":
			a.Commit = true
		case "force":
			a.Force = true
		case "table":
			if err = into8(&a.Table, value); err == nil && (a.Table == 0 || a.Table == ctNoTable) {
				err = errUnknown
			}
		case "zone":
			if strings.HasSuffix(value, "]") {
				a.ZoneSrc, err = parseBits(value)
			} else {
				err = into16(&a.Zone, value)
			}
		case "nat":
			a.NAT, err = parseNAT(value)
		case "exec":
			a.Exec, err = p.actions(value, false)
			for _, x := range a.Exec {
				if !execAction(x) {
					err = errors.New("writes neither ct_mark nor ct_label")
				}
			}
		case "alg":
			switch value {
			case "ftp":
				a.ALG = 21
			case "tftp":
				a.ALG = 69
			default:
				err = into16(&a.ALG, value)
			}
		case "":
		default:
			err = errUnknown
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", it, err)
		}
	}
	return a, nil
}

func parseNAT(args string) (*NAT, error) {
	n := &NAT{}
	for i, it := range strings.Split(args, ",") {
		name, value, ranged := strings.Cut(it, "=")
		var err error
		switch {
		case i == 0 && name == "":
		case i == 0 && (name == "src" || name == "dst"):
			n.Src, n.Dst = name == "src", name == "dst"
			if ranged {
				err = n.parseRange(value)
			}
		case i > 0 && (n.Src || n.Dst) && it == "persistent":
			n.Persistent = true
		case i > 0 && (n.Src || n.Dst) && it == "hash":
			n.Hash = true
		case i > 0 && (n.Src || n.Dst) && it == "random":
			n.Random = true
		default:
			err = errUnknown
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", it, err)
		}
	}
	return n, nil
}

// parseRange reads addr[-addr][:port[-port]], IPv6 addresses in brackets.
func (n *NAT) parseRange(text string) error {
	addrs, ports := text, ""
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, ']') {
		addrs, ports = text[:i], text[i+1:]
	}
	if addrs != "" {
		lo, hi, ranged := strings.Cut(addrs, "-")
		var err error
		if n.AddrMin, err = natAddr(lo); err != nil {
			return err
		}
		if ranged {
			if n.AddrMax, err = natAddr(hi); err != nil {
				return err
			}
		}
	}
	if ports == "" {
		return nil
	}
	lo, hi, ranged := strings.Cut(ports, "-")
	if err := into16(&n.PortMin, lo); err != nil || !ranged {
		return err
	}
	return into16(&n.PortMax, hi)
}

func natAddr(text string) (netip.Addr, error) {
	inner, bracket := strings.CutPrefix(text, "[")
	a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
	if err == nil && (bracket != a.Is6() || a.Zone() != "") {
		err = fmt.Errorf("%q: brackets are for IPv6", text)
	}
	return a, err
}
