package neutron

import (
	"iter"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// networkResource declares networks: the core attributes and those of the
// extensions provider, multi-provider, external-net, net-mtu, port-security,
// dns-integration, availability zones, l2_adjacency and address-scope.
func networkResource(rules *network.Rules) *resource[model.Network, network.NetworkSpec] {
	type (
		M    = model.Network
		S    = network.NetworkSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	meta := func(n *M) *model.Meta { return &n.Meta }
	// The provider attributes describe a network of one segment; one of several
	// shows the list "segments" in their place.
	single := func(n *M) *model.Segment {
		if len(n.Segments) == 1 {
			return &n.Segments[0]
		}
		return nil
	}
	provider := func(name string, show func(b []byte, s *model.Segment) []byte, text func(s *model.Segment) string) attr {
		return attr{
			name:    name,
			guarded: true,
			show: func(b []byte, _ *view, n *M) []byte {
				if s := single(n); s != nil {
					return show(b, s)
				}
				return b
			},
			match: func(_ *view, values []string) (func(*M) bool, error) {
				keep, err := matchString(text)(nil, values)
				return func(n *M) bool {
					for i := range n.Segments {
						if keep(&n.Segments[i]) {
							return true
						}
					}
					return false
				}, err
			},
		}
	}
	r := &resource[M, S]{
		name: "network", collection: "networks", path: "networks",
		id:      func(n *M) model.UUID { return n.ID.UUID },
		meta:    meta,
		target:  func(_ *view, n *M) policy.Target { return policy.NetworkTarget(n) },
		missing: notFound("NetworkNotFound", "Network %s could not be found."),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },
		tagKind: network.TagNetworks,

		row:  func(v *view, id model.UUID) *store.Row[M] { return v.NetworkRow(model.NetworkID{UUID: id}) },
		rows: func(v *view) iter.Seq[*store.Row[M]] { return v.NetworkRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] {
			row := func(n *M) *store.Row[M] { return v.NetworkRow(n.ID) }
			return chain(v.NetworkRowsByProject(project), rowsOf(v.SharedNetworks(), row), rowsOf(v.ExternalNetworks(), row))
		},
		depends: func(v *view, n *M) any {
			d := networkDependency{v4: v.NetworkScope(n.ID, 4), v6: v.NetworkScope(n.ID, 6)}
			for s := range v.SubnetsByNetwork(n.ID) {
				d.subnets.add(s.ID.UUID, 0)
			}
			return d
		},

		create: rules.CreateNetwork,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateNetwork(tx, env, who, model.NetworkID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteNetwork(tx, env, who, model.NetworkID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.NetworkRowsByProject(project) }
	r.attributes = append([]attr{
		d.id("id", func(n *M) model.UUID { return n.ID.UUID }).by(byID(r.row)),
		d.str("name", func(n *M) string { return n.Name }, text(255), func(s *S) *network.Opt[string] { return &s.Name }).
			by(func(v *view, name string) iter.Seq[*store.Row[M]] {
				return rowsOf(v.NetworksByName(name), func(n *M) *store.Row[M] { return v.NetworkRow(n.ID) })
			}),
		d.other("subnets", func(b []byte, v *view, n *M) []byte {
			b = append(b, '[')
			sep := false
			for s := range v.SubnetsByNetwork(n.ID) {
				if sep {
					b = append(b, ',')
				}
				b, sep = appendUUID(b, s.ID.UUID), true
			}
			return append(b, ']')
		}),
		d.flag("admin_state_up", func(n *M) bool { return n.AdminStateUp }, func(s *S) *network.Opt[bool] { return &s.AdminStateUp }),
		d.str("status", func(*M) string { return "ACTIVE" }, nil, nil),
		d.flag("shared", func(n *M) bool { return n.Shared }, func(s *S) *network.Opt[bool] { return &s.Shared }),
		d.flag("router:external", func(n *M) bool { return n.External }, func(s *S) *network.Opt[bool] { return &s.External }),
		d.flag("is_default", func(n *M) bool { return n.IsDefault }, func(s *S) *network.Opt[bool] { return &s.IsDefault }),
		d.num("mtu", func(n *M) int64 { return int64(n.MTU) }, atLeast(0), func(s *S) *network.Opt[int] { return &s.MTU }).orNull(),
		d.flag("port_security_enabled", func(n *M) bool { return n.PortSecurity }, func(s *S) *network.Opt[bool] { return &s.PortSecurity }),
		d.constant("l2_adjacency", "true"),
		field(d.other("availability_zone_hints", func(b []byte, _ *view, n *M) []byte { return appendStrings(b, n.ZoneHints) }),
			unique(plainText(255)), func(s *S) *network.Opt[[]string] { return &s.ZoneHints }).postOnly(),
		d.constant("availability_zones", "[]"),
		d.str("dns_domain", func(n *M) string { return n.DNSDomain }, dnsDomain, func(s *S) *network.Opt[string] { return &s.DNSDomain }),
		d.strOrNull("qos_policy_id", func(n *M) string { return n.QoSPolicyID }, uuidText, func(s *S) *network.Opt[string] { return &s.QoSPolicyID }),
		d.other("ipv4_address_scope", func(b []byte, v *view, n *M) []byte { return appendUUID(b, v.NetworkScope(n.ID, 4).UUID) }),
		d.other("ipv6_address_scope", func(b []byte, v *view, n *M) []byte { return appendUUID(b, v.NetworkScope(n.ID, 6).UUID) }),
		field(provider("provider:network_type",
			func(b []byte, s *model.Segment) []byte { return appendString(b, string(s.Type)) },
			func(s *model.Segment) string { return string(s.Type) }),
			text(32), func(s *S) *network.Opt[string] { return &s.NetworkType }).orNull(),
		field(provider("provider:physical_network",
			func(b []byte, s *model.Segment) []byte { return appendStringOrNull(b, s.Physical) },
			func(s *model.Segment) string { return s.Physical }),
			text(64), func(s *S) *network.Opt[string] { return &s.PhysicalNetwork }).orNull(),
		field(provider("provider:segmentation_id", appendSegmentTag, segmentTag),
			integer, func(s *S) *network.Opt[int] { return &s.SegmentationID }).orNull(),
		field(d.other("segments", func(b []byte, _ *view, n *M) []byte {
			if len(n.Segments) <= 1 {
				return b
			}
			return appendList(b, n.Segments, func(b []byte, s model.Segment) []byte {
				b = append(b, `{"provider:network_type":`...)
				b = appendString(b, string(s.Type))
				b = append(b, `,"provider:physical_network":`...)
				b = appendStringOrNull(b, s.Physical)
				b = append(b, `,"provider:segmentation_id":`...)
				b = appendSegmentTag(b, &s)
				return append(b, '}')
			})
		}).guard(), list(segmentSpec), func(s *S) *network.Opt[[]network.SegmentSpec] { return &s.Segments }).postOnly(),
		d.tags(meta),
	}, d.standard(meta, func(s *S) *network.Opt[string] { return &s.Description })...)
	r.index("project_id", byProject)
	r.index("tenant_id", byProject)
	return r
}

// networkDependency is what a network is shown with beside itself.
type networkDependency struct {
	subnets fingerprint
	v4, v6  model.AddressScopeID
}

func segmentTag(s *model.Segment) string { return string(appendSegmentTag(nil, s)) }

// appendSegmentTag appends the segmentation id, null for types without one.
func appendSegmentTag(b []byte, s *model.Segment) []byte {
	if s.Type == model.TypeFlat || s.Type == model.TypeLocal {
		return append(b, "null"...)
	}
	return appendInt(b, int64(s.Tag))
}

func segmentSpec(name string, v any) (network.SegmentSpec, error) {
	var s network.SegmentSpec
	o, ok := v.(*object)
	if !ok {
		return s, invalidAttribute(name, "%s is not a dictionary.", quoted(v))
	}
	for i, k := range o.keys {
		value := o.values[i]
		if value == nil {
			continue
		}
		switch k {
		case "provider:network_type":
			t, err := text(32)(k, value)
			if err != nil {
				return s, err
			}
			s.NetworkType = network.Some(t)
		case "provider:physical_network":
			t, err := text(64)(k, value)
			if err != nil {
				return s, err
			}
			s.PhysicalNetwork = network.Some(t)
		case "provider:segmentation_id":
			n, err := integer(k, value)
			if err != nil {
				return s, err
			}
			s.SegmentationID = network.Some(n)
		default:
			return s, invalidAttribute(name, "Unexpected keys supplied: %s.", k)
		}
	}
	return s, nil
}

// fingerprint identifies a set of objects as a comparable value: they are the
// same set, in the same revisions, when their number, the exclusive or of their
// ids, and the sum of their revisions are the same.
type fingerprint struct {
	n         int
	ids       model.UUID
	revisions int64
}

func (f *fingerprint) add(id model.UUID, revision int64) {
	f.n++
	f.revisions += revision
	for i := range f.ids {
		f.ids[i] ^= id[i]
	}
}

// chain yields several sequences one after the other.
func chain[T any](seqs ...iter.Seq[*store.Row[T]]) iter.Seq[*store.Row[T]] {
	return func(yield func(*store.Row[T]) bool) {
		for _, s := range seqs {
			for row := range s {
				if !yield(row) {
					return
				}
			}
		}
	}
}

// rowsOf finds the rows of objects, for indexes that yield objects.
func rowsOf[T any](objects iter.Seq[*T], row func(o *T) *store.Row[T]) iter.Seq[*store.Row[T]] {
	return func(yield func(*store.Row[T]) bool) {
		for o := range objects {
			if !yield(row(o)) {
				return
			}
		}
	}
}
