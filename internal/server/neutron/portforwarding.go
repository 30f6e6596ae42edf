package neutron

import (
	"cmp"
	"encoding/json"
	"iter"
	"net/netip"
	"strings"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// portForwardingResource declares the port forwardings of a floating IP: the extension
// floating-ip-port-forwarding, with port ranges and a description.
func portForwardingResource(rules *network.Rules) *resource[model.PortForwarding, network.PortForwardingSpec] {
	type (
		M    = model.PortForwarding
		S    = network.PortForwardingSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	port := func(name string, ends func(*M) (int, int), at func(*S) *network.Opt[int]) attr {
		return field(attr{
			name: name,
			show: func(b []byte, _ *view, pf *M) []byte {
				if first, last := ends(pf); first != 0 && first == last {
					return appendInt(b, int64(first))
				}
				return append(b, "null"...)
			},
			match:   matchInt(func(pf *M) int64 { first, _ := ends(pf); return int64(first) }),
			compare: func(a, b *M) int { x, _ := ends(a); y, _ := ends(b); return cmp.Compare(x, y) },
		}, integer, at).orNull()
	}
	ports := func(name string, ends func(*M) (int, int), at func(*S) *network.Opt[string]) attr {
		text := func(pf *M) string {
			first, last := ends(pf)
			if first == 0 {
				return ""
			}
			return string(appendInt(append(appendInt(nil, int64(first)), ':'), int64(last)))
		}
		return d.strOrNull(name, text, portRange, at)
	}
	external := func(pf *M) (int, int) { return pf.ExternalMin, pf.ExternalMax }
	internal := func(pf *M) (int, int) { return pf.InternalMin, pf.InternalMax }
	r := &resource[M, S]{
		name: "port_forwarding", collection: "port_forwardings", path: "floatingips/{parent}/port_forwardings",
		getAction: "get_floatingip_port_forwarding",
		id:        func(pf *M) model.UUID { return pf.ID.UUID },
		target: func(v *view, pf *M) policy.Target {
			return policy.PortForwardingTarget(pf, v.FloatingIP(pf.FloatingIPID))
		},
		missing: notFound("PortForwardingNotFound", "Port Forwarding %s could not be found."),
		adopt:   func(s *S, parent model.UUID) { s.FloatingIPID = model.FloatingIPID{UUID: parent} },

		row: func(v *view, id model.UUID) *store.Row[M] {
			row := v.PortForwardingRow(model.PortForwardingID{UUID: id})
			if row == nil || row.Obj.FloatingIPID.UUID != v.parent {
				return nil
			}
			return row
		},
		rows: func(v *view) iter.Seq[*store.Row[M]] {
			return v.PortForwardingRowsByFloatingIP(model.FloatingIPID{UUID: v.parent})
		},

		create: rules.CreatePortForwarding,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdatePortForwarding(tx, env, who, model.PortForwardingID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeletePortForwarding(tx, env, who, model.PortForwardingID{UUID: id}, ifMatch)
		},
	}
	r.attributes = []attr{
		d.id("id", func(pf *M) model.UUID { return pf.ID.UUID }),
		field(d.str("protocol", func(pf *M) string { return pf.Protocol }, nil, nil), oneOf("tcp", "udp", "icmp", "sctp", "dccp"),
			func(s *S) *network.Opt[string] { return &s.Protocol }).must(),
		field(d.id("internal_port_id", func(pf *M) model.UUID { return pf.PortID.UUID }), portID,
			func(s *S) *network.Opt[model.PortID] { return &s.PortID }).must(),
		field(d.str("internal_ip_address", func(pf *M) string { return pf.InternalAddr.String() }, nil, nil), address,
			func(s *S) *network.Opt[netip.Addr] { return &s.InternalAddr }),
		port("external_port", external, func(s *S) *network.Opt[int] { return &s.ExternalPort }),
		port("internal_port", internal, func(s *S) *network.Opt[int] { return &s.InternalPort }),
		ports("external_port_range", external, func(s *S) *network.Opt[string] { return &s.ExternalRange }),
		ports("internal_port_range", internal, func(s *S) *network.Opt[string] { return &s.InternalRange }),
		d.str("description", func(pf *M) string { return pf.Description }, text(255), func(s *S) *network.Opt[string] { return &s.Description }),
	}
	return r
}

// portRange accepts FIRST:LAST, or one port as text or number.
func portRange(name string, v any) (string, error) {
	if n, ok := v.(json.Number); ok {
		return n.String(), nil
	}
	return plainText(16)(name, v)
}

// nest serves a resource whose objects each belong to one of another. The parent is looked up first, and an object of
// another parent is not there, whatever its id (OSSN-0102).
func nest[P, Q, T, S any](parent *resource[P, Q], r *resource[T, S]) func(c *call, path []string) error {
	e := endpointOf(r)
	return func(c *call, path []string) error {
		c.route = "/v2.0/" + strings.ReplaceAll(r.path, "{parent}", "{id}")
		if err := c.read(); err != nil {
			return err
		}
		row, err := parent.find(c, path[0])
		if err != nil {
			return err
		}
		c.parent = parent.id(row.Obj)
		switch len(path) {
		case 2:
			return e.collection(c)
		case 3:
			c.route += "/{child}"
			if _, err := r.find(c, path[2]); err != nil {
				return err
			}
			return e.member(c, path[2])
		}
		return errNoSuchResource()
	}
}
