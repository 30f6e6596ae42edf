package neutron

import (
	"iter"
	"net/http"
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/pyrepr"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// floatingIPResource declares floating IPs: the extension router, with fip-port-details,
// expose-port-forwarding-in-fip and floating-ip-port-forwarding-detail.
func floatingIPResource(rules *network.Rules) *resource[model.FloatingIP, network.FloatingIPSpec] {
	type (
		M    = model.FloatingIP
		S    = network.FloatingIPSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	meta := func(f *M) *model.Meta { return &f.Meta }
	r := &resource[M, S]{
		name: "floatingip", collection: "floatingips", path: "floatingips",
		id:      func(f *M) model.UUID { return f.ID.UUID },
		meta:    meta,
		target:  func(_ *view, f *M) policy.Target { return policy.FloatingIPTarget(f) },
		missing: notFound("FloatingIPNotFound", "Floating IP %s could not be found"),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },
		tagKind: network.TagFloatingIPs,

		row:   func(v *view, id model.UUID) *store.Row[M] { return v.FloatingIPRow(model.FloatingIPID{UUID: id}) },
		rows:  func(v *view) iter.Seq[*store.Row[M]] { return v.FloatingIPRows() },
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] { return v.FloatingIPRowsByProject(project) },
		depends: func(v *view, f *M) any {
			dep := floatingDependency{status: floatingStatus(v, f)}
			if p := v.Port(f.PortID); p != nil {
				dep.port, dep.portStatus = p, p.Status(v.PortReport(p.ID))
			}
			for pf := range v.PortForwardingsByFloatingIP(f.ID) {
				dep.forwardings.add(pf.ID.UUID, pf.Revision)
			}
			return dep
		},

		create: rules.CreateFloatingIP,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdateFloatingIP(tx, env, who, model.FloatingIPID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeleteFloatingIP(tx, env, who, model.FloatingIPID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.FloatingIPRowsByProject(project) }
	rowsFrom := func(find func(v *view, id model.UUID) iter.Seq[*M]) func(*view, string) iter.Seq[*store.Row[M]] {
		return byKey(func(v *view, id model.UUID) iter.Seq[*store.Row[M]] {
			return rowsOf(find(v, id), func(f *M) *store.Row[M] { return v.FloatingIPRow(f.ID) })
		})
	}
	r.attributes = append([]attr{
		d.id("id", func(f *M) model.UUID { return f.ID.UUID }).by(byID(r.row)),
		field(d.str("floating_ip_address", func(f *M) string { return f.Addr.String() }, nil, nil), address,
			func(s *S) *network.Opt[netip.Addr] { return &s.Addr }).postOnly().orNull(),
		field(d.id("floating_network_id", func(f *M) model.UUID { return f.NetworkID.UUID }), networkID,
			func(s *S) *network.Opt[model.NetworkID] { return &s.NetworkID }).must().postOnly().
			by(rowsFrom(func(v *view, id model.UUID) iter.Seq[*M] { return v.FloatingIPsByNetwork(model.NetworkID{UUID: id}) })),
		field(d.id("subnet_id", func(*M) model.UUID { return model.UUID{} }), subnetID,
			func(s *S) *network.Opt[model.SubnetID] { return &s.SubnetID }).postOnly().orNull().hidden().noFilter().noSort(),
		d.id("router_id", func(f *M) model.UUID { return f.RouterID.UUID }),
		field(d.id("port_id", func(f *M) model.UUID { return f.PortID.UUID }), portID,
			func(s *S) *network.Opt[model.PortID] { return &s.PortID }).orNull(),
		field(d.str("fixed_ip_address", func(f *M) string { return addrText(f.FixedAddr) }, nil, nil), address,
			func(s *S) *network.Opt[netip.Addr] { return &s.FixedAddr }).orNull().
			as(func(b []byte, _ *view, f *M) []byte { return appendAddr(b, f.FixedAddr) }),
		attr{
			name: "status",
			show: func(b []byte, v *view, f *M) []byte { return appendString(b, floatingStatus(v, f)) },
			match: func(v *view, values []string) (func(*M) bool, error) {
				return matchString(func(f *M) string { return floatingStatus(v, f) })(v, values)
			},
		},
		d.other("port_details", appendPortDetails),
		d.other("port_forwardings", func(b []byte, v *view, f *M) []byte {
			return appendList(b, slices.Collect(v.PortForwardingsByFloatingIP(f.ID)), appendForwardingDetail)
		}),
		d.str("dns_name", func(f *M) string { return f.DNSName }, dnsName, func(s *S) *network.Opt[string] { return &s.DNSName }).postOnly(),
		d.str("dns_domain", func(f *M) string { return f.DNSDomain }, dnsDomain, func(s *S) *network.Opt[string] { return &s.DNSDomain }).postOnly(),
		d.strOrNull("qos_policy_id", func(f *M) string { return f.QoSPolicyID }, uuidText, func(s *S) *network.Opt[string] { return &s.QoSPolicyID }),
		d.tags(meta),
	}, d.standard(meta, func(s *S) *network.Opt[string] { return &s.Description })...)
	r.index("project_id", byProject)
	r.index("tenant_id", byProject)
	r.children = map[string]func(c *call, path []string) error{"port_forwardings": nest(r, portForwardingResource(rules))}
	return r
}

// floatingDependency is what a floating IP is shown with beside itself.
type floatingDependency struct {
	status, portStatus string
	port               *model.Port
	forwardings        fingerprint
}

func floatingStatus(v *view, f *model.FloatingIP) string {
	rt := v.Router(f.RouterID)
	if rt == nil || rt.External == nil {
		return "DOWN"
	}
	return f.Status(rt, v.Port(rt.External.PortID), v.PortReport(rt.External.PortID))
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func subnetID(name string, v any) (model.SubnetID, error) {
	u, err := parseUUID(name, v)
	return model.SubnetID{UUID: u}, err
}

func portID(name string, v any) (model.PortID, error) {
	u, err := parseUUID(name, v)
	return model.PortID{UUID: u}, err
}

// appendPortDetails appends what the owner of a floating IP may know of its port, null when there is none.
func appendPortDetails(b []byte, v *view, f *model.FloatingIP) []byte {
	p := v.Port(f.PortID)
	if p == nil {
		return append(b, "null"...)
	}
	b = append(b, `{"name":`...)
	b = appendString(b, p.Name)
	b = append(b, `,"network_id":`...)
	b = appendUUID(b, p.NetworkID.UUID)
	b = append(b, `,"mac_address":`...)
	b = appendMAC(b, p.MAC)
	b = append(b, `,"admin_state_up":`...)
	b = appendBool(b, p.AdminStateUp)
	b = append(b, `,"status":`...)
	b = appendString(b, p.Status(v.PortReport(p.ID)))
	b = append(b, `,"device_id":`...)
	b = appendString(b, p.DeviceID)
	b = append(b, `,"device_owner":`...)
	b = appendString(b, p.DeviceOwner)
	return append(b, '}')
}

// appendForwardingDetail appends a forwarding as floating IPs show it. Ranges of more than one port are not.
func appendForwardingDetail(b []byte, pf *model.PortForwarding) []byte {
	b = append(b, `{"id":`...)
	b = appendUUID(b, pf.ID.UUID)
	b = append(b, `,"protocol":`...)
	b = appendString(b, pf.Protocol)
	b = append(b, `,"internal_ip_address":`...)
	b = appendAddr(b, pf.InternalAddr)
	b = append(b, `,"internal_port_id":`...)
	b = appendUUID(b, pf.PortID.UUID)
	if pf.ExternalMin != 0 && pf.ExternalMin == pf.ExternalMax {
		b = append(b, `,"external_port":`...)
		b = appendInt(b, int64(pf.ExternalMin))
	}
	if pf.InternalMin != 0 && pf.InternalMin == pf.InternalMax {
		b = append(b, `,"internal_port":`...)
		b = appendInt(b, int64(pf.InternalMin))
	}
	return append(b, '}')
}

// listPools serves /v2.0/floatingip_pools: the IPv4 subnets of external networks, which everybody may have floating IPs of.
func listPools(c *call) error {
	q, err := parseQuery(c.rawQuery)
	if err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	var pools []*model.Subnet
	for n := range c.ExternalNetworks() {
		for s := range c.SubnetsByNetwork(n.ID) {
			values := map[string]string{"network_id": n.ID.String(), "subnet_id": s.ID.String(), "subnet_name": s.Name, "cidr": s.CIDR.String(),
				"project_id": c.who.ProjectID, "tenant_id": c.who.ProjectID}
			keep := s.IPVersion() == 4
			for _, f := range q.filters {
				value, ok := values[f.name]
				if !ok {
					return badRequest("%s is invalid attribute for filtering", pyrepr.Of([]any{f.name}))
				}
				keep = keep && slices.Contains(f.values, value)
			}
			if keep {
				pools = append(pools, s)
			}
		}
	}
	c.begin("floatingip_pools")
	c.body = appendList(c.body, pools, func(b []byte, s *model.Subnet) []byte {
		b = append(b, `{"network_id":`...)
		b = appendUUID(b, s.NetworkID.UUID)
		b = append(b, `,"subnet_id":`...)
		b = appendUUID(b, s.ID.UUID)
		b = append(b, `,"subnet_name":`...)
		b = appendString(b, s.Name)
		b = append(b, `,"cidr":`...)
		b = appendPrefix(b, s.CIDR)
		b = append(b, `,"project_id":`...)
		b = appendString(b, c.who.ProjectID)
		b = append(b, `,"tenant_id":`...)
		b = appendString(b, c.who.ProjectID)
		return append(b, '}')
	})
	c.end(http.StatusOK)
	return nil
}
