package cli

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"weft/internal/client"
	"weft/internal/pyrepr"
)

func securityGroupAPI() client.Resource {
	return client.Resource{Name: "security_group", Collection: "security_groups", Path: "security-groups", NameKey: "name"}
}

func securityGroups() resource {
	return resource{
		Resource: securityGroupAPI(), noun: "security group", arg: "GROUP", plural: "security groups",
		about: "Security groups: what may reach a port, and what it may reach",

		columns: []column{
			{head: "ID", key: "id"},
			{head: "Name", key: "name"},
			{head: "Description", key: "description"},
			{head: "Project", key: "project_id"},
			{head: "Tags", key: "tags"},
			{head: "Shared", key: "shared"},
		},
		fields: []column{
			{head: "created_at", key: "created_at"},
			{head: "description", key: "description"},
			{head: "id", key: "id"},
			{head: "is_shared", key: "shared"},
			{head: "name", key: "name"},
			{head: "project_id", key: "project_id"},
			{head: "revision_number", key: "revision_number"},
			{head: "rules", key: "security_group_rules", text: rulesText},
			{head: "stateful", key: "stateful"},
			{head: "tags", key: "tags"},
			{head: "updated_at", key: "updated_at"},
		},

		options: options(
			attr{flag: "name", arg: "NAME", key: "name", help: "name", on: onSet | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description (default when created: the name)", on: onCreate | onSet},
			toggle{key: "stateful", on: onCreate | onSet, yes: "stateful", yesHelp: "answers to what is allowed are allowed (default when created)",
				no: "stateless", noHelp: "each direction needs rules of its own"},
			toggle{key: "shared", on: onList, yes: "share", yesHelp: "shared with one's project", no: "no-share", noHelp: "not shared"},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
			tags(),
		),
		finish: func(_ context.Context, r *request) error {
			if _, said := r.body["description"]; !said {
				r.body["description"] = r.body["name"]
			}
			return nil
		},

		verbs: map[verb]help{
			onCreate: {`A new group allows all that ports send and nothing that reaches them; see
"weft security group rule create".`, `  weft security group create --description "web servers" web`},
			onList:   {`Those of one's project and shared ones; all of them for admins.`, `  weft security group list --project 3d84212e92fb47d8bedc2643525fa5eb`},
			onShow:   {`By name or id, with its rules.`, `  weft security group show default`},
			onSet:    {`What is not named stays as it is.`, `  weft security group set --name www web`},
			onUnset:  {`These are tags; other attributes are changed with set.`, `  weft security group unset --all-tag web`},
			onDelete: {`No port may use it. Several can be given; what can be deleted is.`, `  weft security group delete web`},
		},
	}
}

// rulesText writes the rules inside a group, one a line, without what is empty or known.
func rulesText(v any) string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, e := range list {
		r, _ := e.(map[string]any)
		r = maps.Clone(r)
		maps.DeleteFunc(r, func(k string, v any) bool {
			known := k == "security_group_id" || k == "tenant_id" || k == "project_id"
			return known || slices.Contains([]string{"None", "False", "[]", ""}, pyrepr.Str(v)) || k == "revision_number" && pyrepr.Str(v) == "0"
		})
		out[i] = dict(r)
	}
	return strings.Join(out, "\n")
}

func securityGroupRuleAPI() client.Resource {
	return client.Resource{Name: "security_group_rule", Collection: "security_group_rules", Path: "security-group-rules"}
}

func securityGroupRules() resource {
	group := operand{arg: "GROUP", key: "security_group_id", as: reference(securityGroupAPI())}
	return resource{
		Resource: securityGroupRuleAPI(), noun: "security group rule", arg: "RULE", plural: "security group rules",
		about:  "Rules of security groups: each allows something",
		create: group, list: group,

		columns: []column{
			{head: "ID", key: "id"},
			{head: "IP Protocol", key: "protocol"},
			{head: "Ethertype", key: "ethertype"},
			{head: "IP Range", value: prefixOf, needs: []string{"remote_ip_prefix", "ethertype"}},
			{head: "Port Range", value: portsOf, needs: []string{"protocol", "port_range_min", "port_range_max"}},
			{head: "Direction", key: "direction"},
			{head: "Remote Security Group", key: "remote_group_id"},
			{head: "Remote Address Group", key: "remote_address_group_id"},
			{head: "Security Group", key: "security_group_id", when: func(args []string) bool { return len(args) == 0 }},
		},
		fields: []column{
			{head: "created_at", key: "created_at"},
			{head: "description", key: "description"},
			{head: "direction", key: "direction"},
			{head: "ether_type", key: "ethertype"},
			{head: "id", key: "id"},
			{head: "normalized_cidr", key: "normalized_cidr"},
			{head: "port_range_max", key: "port_range_max"},
			{head: "port_range_min", key: "port_range_min"},
			{head: "project_id", key: "project_id"},
			{head: "protocol", key: "protocol"},
			{head: "remote_address_group_id", key: "remote_address_group_id"},
			{head: "remote_group_id", key: "remote_group_id"},
			{head: "remote_ip_prefix", value: prefixOf},
			{head: "revision_number", key: "revision_number"},
			{head: "security_group_id", key: "security_group_id"},
			{head: "updated_at", key: "updated_at"},
		},

		options: options(
			attr{flag: "protocol", arg: "PROTOCOL", key: "protocol", help: "IP protocol: a name as tcp, udp, icmp, ipv6-icmp, a number, or any (default)", as: kind{value: protocolOf}, on: onCreate | onList},
			rulePorts(),
			remote(),
			toggle{key: "direction", on: onCreate | onList, yes: "ingress", yesHelp: "what reaches the port (default when created)", yesValue: "ingress",
				no: "egress", noHelp: "what the port sends", noValue: "egress"},
			attr{flag: "ethertype", arg: "TYPE", key: "ethertype", help: "IPv4 or IPv6 (default when created: that of protocol and --remote-ip, else IPv4)", as: ethertypes(), on: onCreate | onList},
			attr{flag: "description", arg: "TEXT", key: "description", help: "description", on: onCreate},
			attr{flag: "project", arg: "ID", key: "project_id", help: "project that owns it", on: onCreate | onList},
			option{onList, allColumns},
		),
		finish: ruleDefaults,

		verbs: map[verb]help{
			onCreate: {`It holds for all ports of the group at once. GROUP is a name or id; what it allows comes
from anywhere, unless --remote-ip, --remote-group or --remote-address-group say otherwise.`,
				`  weft security group rule create --protocol tcp --dst-port 22 --ingress default
  weft security group rule create --protocol tcp --dst-port 8000:8099 --remote-ip 192.0.2.0/24 web
  weft security group rule create --protocol icmp --icmp-type 8 --remote-group web db
  weft security group rule create --protocol tcp --dst-port 443 --remote-address-group offices web`},
			onList: {`Those of a group, or all.`, `  weft security group rule list default
  weft security group rule list --protocol tcp --ingress`},
			onShow:   {`By id: rules have no names.`, `  weft security group rule show 7a3e7d3c-93cb-4c0d-9c44-1d1a4b4ae2b3`},
			onDelete: {`By id: rules have no names. Several can be given; what can be deleted is.`, `  weft security group rule delete 7a3e7d3c-93cb-4c0d-9c44-1d1a4b4ae2b3`},
		},
	}
}

// protocolOf reads --protocol: any is the API's null.
func protocolOf(_ context.Context, _ *request, text string) (any, error) {
	if strings.EqualFold(text, "any") {
		return nil, nil
	}
	return strings.ToLower(text), nil
}

func ethertypes() kind {
	k := kind{choices: []string{"IPv4", "IPv6"}}
	spelled := func(text string) (string, bool) {
		i := slices.IndexFunc(k.choices, func(c string) bool { return strings.EqualFold(c, text) })
		if i < 0 {
			return "", false
		}
		return k.choices[i], true
	}
	k.check = func(text string) error {
		if _, ok := spelled(text); !ok {
			return oneOf(k.choices...).check(text)
		}
		return nil
	}
	k.value = func(_ context.Context, _ *request, text string) (any, error) {
		s, _ := spelled(text)
		return s, nil
	}
	return k
}

func isICMP(protocol any) bool {
	return slices.Contains([]any{"icmp", "icmpv6", "ipv6-icmp", "1", "58"}, protocol)
}

// rulePorts are the ports of a rule, or the ICMP type and code, which the API has in the same
// two attributes.
func rulePorts() option {
	return option{onCreate, func(f *flags) addition {
		ports := f.text("dst-port", "PORT[:PORT]", "destination port, or first and last of a range", kind{check: func(text string) error {
			_, _, err := portRange(text)
			return err
		}})
		typ := f.text("icmp-type", "NUMBER", "ICMP type", number(0, 255))
		code := f.text("icmp-code", "NUMBER", "ICMP code", number(0, 255))
		f.exclusive("dst-port", "icmp-type")
		f.exclusive("dst-port", "icmp-code")
		f.check(func() error {
			if f.given("icmp-code") && !f.given("icmp-type") {
				return usage("--icmp-code needs --icmp-type")
			}
			return nil
		})
		return func(ctx context.Context, r *request) error {
			icmp := isICMP(r.body["protocol"]) // set by --protocol, which is declared before
			switch {
			case typ.last() != "" && !icmp:
				return usage("--icmp-type needs --protocol icmp or ipv6-icmp")
			case ports.last() != "" && icmp:
				return usage("--dst-port is not for ICMP: see --icmp-type")
			}
			if text := ports.last(); text != "" {
				r.body["port_range_min"], r.body["port_range_max"], _ = portRange(text)
			}
			for key, flag := range map[string]*texted{"port_range_min": typ, "port_range_max": code} {
				if flag.last() == "" {
					continue
				}
				v, err := flag.as.valueOf(ctx, r, flag.last())
				if err != nil {
					return err
				}
				r.body[key] = v
			}
			return nil
		}
	}}
}

// portRange reads FIRST:LAST, or one port.
func portRange(text string) (first, last int, err error) {
	a, b, isRange := strings.Cut(text, ":")
	if !isRange {
		b = a
	}
	port := number(0, 65535)
	for _, p := range []struct {
		text string
		to   *int
	}{{a, &first}, {b, &last}} {
		if err := port.check(p.text); err != nil {
			return 0, 0, err
		}
		v, err := port.value(nil, nil, p.text)
		if err != nil {
			return 0, 0, err
		}
		*p.to = v.(int)
	}
	if first > last {
		return 0, 0, errors.New("want the smaller port first")
	}
	return first, last, nil
}

// remote is who the other end may be: one of three attributes.
func remote() option {
	return option{onCreate, func(f *flags) addition {
		ip := attr{flag: "remote-ip", arg: "CIDR", key: "remote_ip_prefix", help: "addresses of the other end (default: all)", on: onCreate}
		group := attr{flag: "remote-group", arg: "GROUP", key: "remote_group_id", help: "the other end is a port of this security group (name or id)", as: reference(securityGroupAPI()), on: onCreate}
		addresses := attr{flag: "remote-address-group", arg: "GROUP", key: "remote_address_group_id", help: "the other end is in this address group (name or id)", as: reference(addressGroupAPI()), on: onCreate}
		add := bind(f, options(ip, group, addresses))
		f.exclusive(ip.flag, group.flag, addresses.flag)
		return add
	}}
}

// ruleDefaults completes a rule as the openstack command does: the API would take null for
// most, but shows it otherwise.
func ruleDefaults(_ context.Context, r *request) error {
	b := r.body
	if b["direction"] == nil {
		b["direction"] = "ingress"
	}
	if _, said := b["protocol"]; !said {
		b["protocol"] = nil
	}
	if b["ethertype"] == nil {
		b["ethertype"] = "IPv4"
		if isIPv6(b["protocol"]) || strings.Contains(b.Text("remote_ip_prefix"), ":") {
			b["ethertype"] = "IPv6"
		}
	}
	if b["remote_group_id"] == nil && b["remote_address_group_id"] == nil && b["remote_ip_prefix"] == nil {
		b["remote_ip_prefix"] = anywhere(b["ethertype"])
	}
	return nil
}

func isIPv6(protocol any) bool {
	p, _ := protocol.(string)
	return strings.HasPrefix(p, "ipv6-") || slices.Contains([]string{"icmpv6", "41", "43", "44", "58", "59", "60"}, p)
}

// anywhere is all addresses of an ethertype.
func anywhere(ethertype any) any {
	switch ethertype {
	case "IPv4":
		return "0.0.0.0/0"
	case "IPv6":
		return "::/0"
	}
	return nil
}

// prefixOf is the remote prefix of a rule, spelled out when it is all.
func prefixOf(o client.Object) any {
	if p := o["remote_ip_prefix"]; p != nil {
		return p
	}
	return anywhere(o["ethertype"])
}

// portsOf writes a rule's ports as first:last, an ICMP type and code as type=8:code=0.
func portsOf(o client.Object) any {
	low, high := o["port_range_min"], o["port_range_max"]
	switch {
	case isICMP(o["protocol"]):
		text := ""
		if low != nil {
			text = "type=" + pyrepr.Str(low)
		}
		if high != nil {
			text += ":code=" + pyrepr.Str(high)
		}
		return text
	case low == nil && high == nil:
		return ""
	case low == nil:
		low = high
	case high == nil:
		high = low
	}
	return pyrepr.Str(low) + ":" + pyrepr.Str(high)
}
