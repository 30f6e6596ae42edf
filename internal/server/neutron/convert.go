package neutron

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"weft/internal/model"
	"weft/internal/pyrepr"
)

// A converter turns the JSON value of the attribute `name` into what a spec
// holds, or says in the peer's words why it cannot. v is never null unless the
// attribute refuses null, and then the converter must.
type converter[V any] func(name string, v any) (V, error)

// text accepts strings of at most max characters.
func text(max int) converter[string] {
	return func(name string, v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", invalidAttribute(name, "%s is not a valid string.", quoted(v))
		}
		// A byte is never more than a character, so that most strings need no counting.
		if len(s) > max && len([]rune(s)) > max {
			return "", invalidAttribute(name, "'%s' exceeds maximum length of %d.", s, max)
		}
		return s, nil
	}
}

// oneOf accepts the listed strings only.
func oneOf[V ~string](allowed ...V) converter[V] {
	return func(name string, v any) (V, error) {
		if s, ok := v.(string); ok {
			for _, a := range allowed {
				if V(s) == a {
					return a, nil
				}
			}
		}
		return "", invalidAttribute(name, "%s is not in valid_values.", pyrepr.Str(v))
	}
}

// boolean accepts JSON booleans, 0 and 1, and their usual texts in any case.
func boolean(_ string, v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case json.Number:
		switch v {
		case "0":
			return false, nil
		case "1":
			return true, nil
		}
	case string:
		if b, ok := parseBool(v); ok {
			return b, nil
		}
	}
	return false, invalidInput("%s cannot be converted to boolean.", quoted(v))
}

func parseBool(s string) (value, ok bool) {
	switch {
	case s == "1" || strings.EqualFold(s, "true"):
		return true, true
	case s == "0" || strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// integer accepts whole numbers that an int64 holds, also as text; rules
// know the narrower bounds of each.
func integer(_ string, v any) (int, error) {
	var s string
	switch v := v.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = strings.TrimSpace(v)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return int(n), nil
	}
	return 0, invalidInput("%s is not an integer.", quoted(v))
}

// integerOf accepts the listed numbers only.
func integerOf(allowed ...int) converter[int] {
	return func(name string, v any) (int, error) {
		n, err := integer(name, v)
		if err != nil {
			return 0, err
		}
		for _, a := range allowed {
			if n == a {
				return n, nil
			}
		}
		return 0, invalidAttribute(name, "%d is not in valid_values.", n)
	}
}

// atLeast accepts numbers from min on.
func atLeast(min int) converter[int] {
	return func(name string, v any) (int, error) {
		n, err := integer(name, v)
		if err == nil && n < min {
			err = invalidAttribute(name, "'%d' is too small - must be at least '%d'.", n, min)
		}
		return n, err
	}
}

func parseUUID(name string, v any) (model.UUID, error) {
	if s, ok := v.(string); ok {
		if u, err := model.ParseUUID(s); err == nil {
			return u, nil
		}
	}
	return model.UUID{}, invalidAttribute(name, "%s is not a valid UUID.", quoted(v))
}

// uuidText accepts ids that are kept as text, of resources without a table.
func uuidText(name string, v any) (string, error) {
	u, err := parseUUID(name, v)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

func networkID(name string, v any) (model.NetworkID, error) {
	u, err := parseUUID(name, v)
	return model.NetworkID{UUID: u}, err
}

func poolID(name string, v any) (model.SubnetPoolID, error) {
	u, err := parseUUID(name, v)
	return model.SubnetPoolID{UUID: u}, err
}

func scopeID(name string, v any) (model.AddressScopeID, error) {
	u, err := parseUUID(name, v)
	return model.AddressScopeID{UUID: u}, err
}

func groupID(name string, v any) (model.SecurityGroupID, error) {
	u, err := parseUUID(name, v)
	return model.SecurityGroupID{UUID: u}, err
}

func addressGroupID(name string, v any) (model.AddressGroupID, error) {
	u, err := parseUUID(name, v)
	return model.AddressGroupID{UUID: u}, err
}

func macAddress(name string, v any) (model.MAC, error) {
	if s, ok := v.(string); ok {
		if m, err := model.ParseMAC(s); err == nil && !m.IsZero() && !m.IsMulticast() {
			return m, nil
		}
	}
	return model.MAC{}, invalidAttribute(name, "%s is not a valid MAC address.", quoted(v))
}

// parseAddr accepts an IPv4 or IPv6 address without a zone. IPv4 mapped in IPv6
// is refused: it would be a second name of the same address.
func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, false
	}
	return a, true
}

func address(name string, v any) (netip.Addr, error) {
	if s, ok := v.(string); ok {
		if a, ok := parseAddr(s); ok {
			return a, nil
		}
	}
	return netip.Addr{}, invalidAttribute(name, "%s is not a valid IP address.", quoted(v))
}

// cidr is passed on as text: the rules cut host bits and name the errors of
// overlap. Only what is no prefix at all is refused here.
func cidr(_ string, v any) (string, error) {
	s, ok := v.(string)
	if ok {
		p, err := netip.ParsePrefix(s)
		if err == nil && !p.Addr().Is4In6() {
			return s, nil
		}
	}
	return "", invalidInput("%s is not in a CIDR format.", pyrepr.Str(v))
}

// prefix accepts a network's addresses; host bits mean nothing.
func prefix(name string, v any) (netip.Prefix, error) {
	s, _ := v.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, invalidAttribute(name, "%s is not a valid IP subnet.", quoted(v))
	}
	return p.Masked(), nil
}

// addressOrSubnet accepts an address, or a network's addresses without host bits: what has some may have been meant
// as the one address.
func addressOrSubnet(name string, v any) (netip.Prefix, error) {
	s, _ := v.(string)
	if a, ok := parseAddr(s); ok {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := prefix(name, v)
	if given, _ := netip.ParsePrefix(s); err == nil && given.Addr() != p.Addr() {
		return p, invalidAttribute(name, "%s isn't a recognized IP subnet cidr, '%s' is recommended.", quoted(v), p)
	}
	return p, err
}

// list accepts arrays whose elements a function accepts.
func list[E any](each converter[E]) converter[[]E] {
	return func(name string, v any) ([]E, error) {
		elements, ok := v.([]any)
		if !ok {
			return nil, invalidAttribute(name, "%s is not a list.", quoted(v))
		}
		out := make([]E, 0, len(elements))
		for _, e := range elements {
			x, err := each(name, e)
			if err != nil {
				return nil, err
			}
			out = append(out, x)
		}
		return out, nil
	}
}

// unique is list, and refuses an element that comes twice.
func unique[E comparable](each converter[E]) converter[[]E] {
	plainList := list(each)
	return func(name string, v any) ([]E, error) {
		out, err := plainList(name, v)
		if err != nil {
			return nil, err
		}
		seen := make(map[E]bool, len(out))
		for i, e := range out {
			if seen[e] {
				return nil, invalidAttribute(name, "Duplicate items in the list: '%s'.", pyrepr.Str(v.([]any)[i]))
			}
			seen[e] = true
		}
		return out, nil
	}
}

// nameservers accepts a list of distinct addresses.
func nameservers(name string, v any) ([]netip.Addr, error) {
	elements, ok := v.([]any)
	if !ok {
		return nil, invalidAttribute(name, "%s is not a list.", quoted(v))
	}
	out := make([]netip.Addr, 0, len(elements))
	seen := map[netip.Addr]bool{}
	for _, e := range elements {
		s, _ := e.(string)
		a, ok := parseAddr(s)
		if !ok {
			return nil, invalidAttribute(name, "%[1]s is not a valid nameserver. %[1]s is not a valid IP address.", quoted(e))
		}
		if seen[a] {
			return nil, invalidAttribute(name, "Duplicate nameserver '%s'.", s)
		}
		seen[a] = true
		out = append(out, a)
	}
	return out, nil
}

// exactKeys checks that an object has the wanted keys, all and no others.
func exactKeys(name string, v any, want ...string) (*object, error) {
	o, ok := v.(*object)
	if !ok {
		return nil, invalidAttribute(name, "%s is not a dictionary.", quoted(v))
	}
	right := len(o.keys) == len(want)
	for _, k := range want {
		_, has := o.get(k)
		right = right && has
	}
	if !right {
		return nil, invalidAttribute(name, "Validation of dictionary's keys failed. Expected keys: %s Provided keys: %s.", keySet(want), keySet(o.keys))
	}
	return o, nil
}

func keySet(keys []string) string {
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(pyrepr.Of(k))
	}
	return "{" + b.String() + "}"
}

func addressRange(name string, v any) (model.Range, error) {
	o, ok := v.(*object)
	if !ok {
		return model.Range{}, invalidAttribute(name, "Invalid data format for IP pool: %s.", quoted(v))
	}
	o, err := exactKeys(name, o, "start", "end")
	if err != nil {
		return model.Range{}, err
	}
	first, _ := o.get("start")
	last, _ := o.get("end")
	var r model.Range
	if r.First, err = address(name, first); err != nil {
		return r, err
	}
	r.Last, err = address(name, last)
	return r, err
}

func route(name string, v any) (model.Route, error) {
	o, err := exactKeys(name, v, "destination", "nexthop")
	if err != nil {
		return model.Route{}, err
	}
	var r model.Route
	dst, _ := o.get("destination")
	hop, _ := o.get("nexthop")
	s, _ := dst.(string)
	p, perr := netip.ParsePrefix(s)
	if perr != nil || p.Addr().Is4In6() {
		return r, invalidAttribute(name, "%s is not a valid CIDR.", quoted(dst))
	}
	if p != p.Masked() {
		return r, invalidAttribute(name, "'%s' isn't a recognized IP subnet cidr, '%s' is recommended.", s, p.Masked())
	}
	r.Destination = p
	r.NextHop, err = address(name, hop)
	return r, err
}

// plainText refuses control characters: what it guards ends up in options and
// names that other programs read line by line.
func plainText(max int) converter[string] {
	base := text(max)
	return func(name string, v any) (string, error) {
		s, err := base(name, v)
		if err == nil && strings.IndexFunc(s, unicode.IsControl) >= 0 {
			err = invalidAttribute(name, "%s contains control characters.", quoted(s))
		}
		return s, err
	}
}

// jsonObject accepts an object, to be kept as it is.
func jsonObject(max int) converter[json.RawMessage] {
	return func(name string, v any) (json.RawMessage, error) {
		o, ok := v.(*object)
		if !ok {
			return nil, invalidAttribute(name, "%s is not a dictionary.", quoted(v))
		}
		if len(o.keys) == 0 {
			return json.RawMessage(`{}`), nil
		}
		b := appendValue(nil, o)
		if len(b) > max {
			return nil, invalidAttribute(name, "is larger than %d bytes.", max)
		}
		return b, nil
	}
}

// appendValue appends a decoded value as JSON.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return appendBool(b, v)
	case string:
		return appendString(b, v)
	case json.Number:
		return append(b, v...)
	case []any:
		return appendList(b, v, appendValue)
	case *object:
		b = append(b, '{')
		for i, k := range v.keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, k)
			b = append(b, ':')
			b = appendValue(b, v.values[i])
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}
