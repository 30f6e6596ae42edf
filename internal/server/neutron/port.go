package neutron

import (
	"encoding/json"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/pyrepr"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// portResource declares ports: the core attributes and those of the extensions
// binding, port-security, allowed-address-pairs, extra_dhcp_opt,
// dns-integration, data-plane-status, ip_allocation, uplink-status-propagation,
// port-numa-affinity-policy and port-device-profile.
func portResource(rules *network.Rules) *resource[model.Port, network.PortSpec] {
	type (
		M    = model.Port
		S    = network.PortSpec
		attr = attribute[M, S]
	)
	var d declare[M, S]
	meta := func(p *M) *model.Meta { return &p.Meta }
	r := &resource[M, S]{
		name: "port", collection: "ports", path: "ports",
		id:      func(p *M) model.UUID { return p.ID.UUID },
		meta:    meta,
		target:  func(v *view, p *M) policy.Target { return policy.PortTarget(p, v.Network(p.NetworkID)) },
		missing: notFound("PortNotFound", "Port %s could not be found."),
		project: func(s *S) *network.Opt[string] { return &s.ProjectID },
		tagKind: network.TagPorts,

		row:  func(v *view, id model.UUID) *store.Row[M] { return v.PortRow(model.PortID{UUID: id}) },
		rows: func(v *view) iter.Seq[*store.Row[M]] { return v.PortRows() },
		// A network's owner sees whatever is on it.
		reach: func(v *view, project string) iter.Seq[*store.Row[M]] {
			return func(yield func(*store.Row[M]) bool) {
				for row := range v.PortRowsByProject(project) {
					if !yield(row) {
						return
					}
				}
				for n := range v.NetworksByProject(project) {
					for row := range v.PortRowsByNetwork(n.ID) {
						if row.Obj.ProjectID != project && !yield(row) {
							return
						}
					}
				}
			}
		},
		depends: func(v *view, p *M) any {
			report := v.PortReport(p.ID)
			if t := datapathOf(v, p); t != "system" {
				return portDependency{report, t}
			}
			return report // a pointer in an interface allocates nothing
		},

		create: rules.CreatePort,
		update: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, s S, ifMatch *int64) (*M, error) {
			return rules.UpdatePort(tx, env, who, model.PortID{UUID: id}, s, ifMatch)
		},
		remove: func(tx *store.Tx, env network.Env, who authn.Principal, id model.UUID, ifMatch *int64) error {
			return rules.DeletePort(tx, env, who, model.PortID{UUID: id}, ifMatch)
		},
	}
	byProject := func(v *view, project string) iter.Seq[*store.Row[M]] { return v.PortRowsByProject(project) }
	rowOf := func(v *view) func(p *M) *store.Row[M] {
		return func(p *M) *store.Row[M] { return v.PortRow(p.ID) }
	}
	// The order of the indexed filters is from the most to the least selective:
	// the first that a query has serves it.
	r.attributes = append([]attr{
		d.id("id", func(p *M) model.UUID { return p.ID.UUID }).by(byID(r.row)),
		field(d.other("fixed_ips", func(b []byte, _ *view, p *M) []byte { return appendList(b, p.FixedIPs, appendFixedIP) }),
			fixedIPs, func(s *S) *network.Opt[[]network.FixedIPSpec] { return &s.FixedIPs }).orNull().
			where(matchFixedIPs).by(indexFixedIPs),
		d.str("device_id", func(p *M) string { return p.DeviceID }, text(255), func(s *S) *network.Opt[string] { return &s.DeviceID }).
			by(byText(func(v *view, device string) iter.Seq[*store.Row[M]] { return v.PortRowsByDevice(device) })),
		d.str("name", func(p *M) string { return p.Name }, text(255), func(s *S) *network.Opt[string] { return &s.Name }).
			by(byText(func(v *view, name string) iter.Seq[*store.Row[M]] { return rowsOf(v.PortsByName(name), rowOf(v)) })),
		d.str("binding:host_id", func(p *M) string { return p.Binding.HostID }, plainText(255), func(s *S) *network.Opt[string] { return &s.HostID }).
			orNull().guard().
			by(byText(func(v *view, host string) iter.Seq[*store.Row[M]] { return v.PortRowsByHost(host) })),
		field(d.id("network_id", func(p *M) model.UUID { return p.NetworkID.UUID }), networkID,
			func(s *S) *network.Opt[model.NetworkID] { return &s.NetworkID }).must().postOnly().
			by(byKey(func(v *view, id model.UUID) iter.Seq[*store.Row[M]] {
				return v.PortRowsByNetwork(model.NetworkID{UUID: id})
			})),
		field(d.other("security_groups", func(b []byte, _ *view, p *M) []byte {
			return appendList(b, p.SecurityGroups, func(b []byte, g model.SecurityGroupID) []byte { return appendUUID(b, g.UUID) })
		}), list(groupID), func(s *S) *network.Opt[[]model.SecurityGroupID] { return &s.SecurityGroups }).orNull().
			where(matchGroups).
			by(byKey(func(v *view, id model.UUID) iter.Seq[*store.Row[M]] {
				return rowsOf(v.PortsBySecurityGroup(model.SecurityGroupID{UUID: id}), rowOf(v))
			})),
		field(attr{
			name:    "mac_address",
			show:    func(b []byte, _ *view, p *M) []byte { return appendMAC(b, p.MAC) },
			match:   matchMAC,
			compare: func(a, b *M) int { return slices.Compare(a.MAC[:], b.MAC[:]) },
		}, macAddress, func(s *S) *network.Opt[model.MAC] { return &s.MAC }).orNull(),
		d.str("device_owner", func(p *M) string { return p.DeviceOwner }, text(255), func(s *S) *network.Opt[string] { return &s.DeviceOwner }),
		d.flag("admin_state_up", func(p *M) bool { return p.AdminStateUp }, func(s *S) *network.Opt[bool] { return &s.AdminStateUp }),
		attr{
			name: "status",
			show: func(b []byte, v *view, p *M) []byte { return appendString(b, p.Status(v.PortReport(p.ID))) },
			match: func(v *view, values []string) (func(*M) bool, error) {
				return matchString(func(p *M) string { return p.Status(v.PortReport(p.ID)) })(v, values)
			},
		},
		d.flag("port_security_enabled", func(p *M) bool { return p.PortSecurity }, func(s *S) *network.Opt[bool] { return &s.PortSecurity }),
		field(d.other("allowed_address_pairs", func(b []byte, _ *view, p *M) []byte { return appendList(b, p.AddressPairs, appendAddressPair) }),
			list(addressPair), func(s *S) *network.Opt[[]network.AddressPairSpec] { return &s.AddressPairs }).orNull(),
		field(d.other("extra_dhcp_opts", func(b []byte, _ *view, p *M) []byte { return appendList(b, p.DHCPOptions, appendDHCPOption) }),
			list(dhcpOption), func(s *S) *network.Opt[[]network.DHCPOptionSpec] { return &s.DHCPOptions }).orNull(),
		d.str("ip_allocation", ipAllocation, nil, nil),
		field(d.str("binding:vnic_type", vnicType, nil, nil), oneOf(vnicTypes...), func(s *S) *network.Opt[string] { return &s.VNICType }),
		field(d.other("binding:profile", func(b []byte, _ *view, p *M) []byte {
			if len(p.Binding.Profile) == 0 {
				return append(b, "{}"...)
			}
			return append(b, p.Binding.Profile...)
		}), jsonObject(4095), func(s *S) *network.Opt[json.RawMessage] { return &s.Profile }).orNull().guard(),
		d.str("binding:vif_type", vifType, nil, nil).guard(),
		d.other("binding:vif_details", appendVIFDetails).guard(),
		d.str("dns_name", func(p *M) string { return p.DNSName }, dnsName, func(s *S) *network.Opt[string] { return &s.DNSName }),
		d.str("dns_domain", func(p *M) string { return p.DNSDomain }, dnsDomain, func(s *S) *network.Opt[string] { return &s.DNSDomain }),
		d.other("dns_assignment", appendDNSAssignment),
		d.strOrNull("qos_policy_id", func(p *M) string { return p.QoSPolicyID }, uuidText, func(s *S) *network.Opt[string] { return &s.QoSPolicyID }),
		d.constant("qos_network_policy_id", "null"),
		d.constant("resource_request", "null").guard(),
		d.strOrNull("data_plane_status", func(p *M) string { return p.DataPlaneStatus }, oneOf("ACTIVE", "DOWN"),
			func(s *S) *network.Opt[string] { return &s.DataPlaneStatus }).putOnly(),
		d.flag("propagate_uplink_status", func(p *M) bool { return p.UplinkStatus == nil || *p.UplinkStatus },
			func(s *S) *network.Opt[bool] { return &s.UplinkStatus }).postOnly(),
		d.strOrNull("numa_affinity_policy", func(p *M) string { return p.NUMAPolicy }, oneOf("required", "preferred", "legacy"),
			func(s *S) *network.Opt[string] { return &s.NUMAPolicy }),
		d.strOrNull("device_profile", func(p *M) string { return p.DeviceProfile }, plainText(255),
			func(s *S) *network.Opt[string] { return &s.DeviceProfile }).postOnly(),
		d.tags(meta),
	}, d.standard(meta, func(s *S) *network.Opt[string] { return &s.Description })...)
	r.index("project_id", byProject)
	r.index("tenant_id", byProject)
	return r
}

// portDependency is what a port's body depends on when its host's datapath is
// not the usual one.
type portDependency struct {
	report   *model.PortReport
	datapath string
}

// vnicTypes are those that the API knows (Neutron API reference,
// "binding:vnic_type"); which of them can be bound is for the rules.
var vnicTypes = []string{"normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder",
	"smart-nic", "vdpa", "accelerator-direct", "accelerator-direct-physical", "remote-managed"}

func vnicType(p *model.Port) string {
	if p.Binding.VNICType == "" {
		return "normal"
	}
	return p.Binding.VNICType
}

func vifType(p *model.Port) string {
	if p.Binding.VIFType == "" {
		return "unbound"
	}
	return p.Binding.VIFType
}

func ipAllocation(p *model.Port) string {
	if len(p.FixedIPs) == 0 {
		return "none"
	}
	return "immediate"
}

// datapathOf is the datapath type of the bridge that the port is plugged into:
// os-vif makes bridges of this type, so it must be that of the host.
func datapathOf(v *view, p *model.Port) string {
	if p.Binding.VIFType != "ovs" {
		return "system"
	}
	if h := v.Host(p.Binding.HostID); h != nil && h.Datapath != "" {
		return h.Datapath
	}
	return "system"
}

// appendVIFDetails appends what Nova needs to plug the port.
func appendVIFDetails(b []byte, v *view, p *model.Port) []byte {
	if p.Binding.VIFType != "ovs" {
		return append(b, "{}"...)
	}
	b = append(b, `{"connectivity":"l2","port_filter":true,"ovs_hybrid_plug":`...)
	b = appendBool(b, p.Binding.Firewall != model.FirewallNative)
	b = append(b, `,"datapath_type":`...)
	b = appendString(b, datapathOf(v, p))
	return append(b, `,"bridge_name":"br-int","bound_drivers":{"0":"openvswitch"}}`...)
}

func appendFixedIP(b []byte, ip model.FixedIP) []byte {
	b = append(b, `{"subnet_id":`...)
	b = appendUUID(b, ip.SubnetID.UUID)
	b = append(b, `,"ip_address":`...)
	b = appendAddr(b, ip.Addr)
	return append(b, '}')
}

func appendAddressPair(b []byte, p model.AddressPair) []byte {
	b = append(b, `{"ip_address":`...)
	if p.Bare {
		b = appendAddr(b, p.Prefix.Addr())
	} else {
		b = appendPrefix(b, p.Prefix)
	}
	b = append(b, `,"mac_address":`...)
	b = appendMAC(b, p.MAC)
	return append(b, '}')
}

func appendDHCPOption(b []byte, o model.DHCPOption) []byte {
	b = append(b, `{"opt_name":`...)
	b = appendString(b, o.Name)
	b = append(b, `,"opt_value":`...)
	b = appendString(b, o.Value)
	b = append(b, `,"ip_version":`...)
	b = appendInt(b, int64(o.IPVersion))
	return append(b, '}')
}

// appendDNSAssignment appends the names of the port's addresses: its own, or
// one that is made of the address.
func appendDNSAssignment(b []byte, v *view, p *model.Port) []byte {
	return appendList(b, p.FixedIPs, func(b []byte, ip model.FixedIP) []byte {
		addr := ip.Addr.String()
		host := p.DNSName
		if host == "" {
			host = "host-" + strings.Map(func(r rune) rune {
				if r == '.' || r == ':' {
					return '-'
				}
				return r
			}, addr)
		}
		fqdn := host
		if !strings.HasSuffix(host, ".") {
			fqdn += "." + v.api.Rules.DNSDomain
		} else {
			host, _, _ = strings.Cut(host, ".")
		}
		if !strings.HasSuffix(fqdn, ".") {
			fqdn += "."
		}
		b = append(b, `{"ip_address":`...)
		b = appendString(b, addr)
		b = append(b, `,"hostname":`...)
		b = appendString(b, host)
		b = append(b, `,"fqdn":`...)
		b = appendString(b, fqdn)
		return append(b, '}')
	})
}

// fixedIPFilter is the value of a fixed_ips filter taken apart. All of the given
// conditions must hold for one and the same address.
type fixedIPFilter struct {
	addrs   []netip.Addr
	subnets []model.SubnetID
	substrs []string
	asked   [3]bool // that there was one at all, if only one that cannot match
}

func parseFixedIPs(values []string) fixedIPFilter {
	var f fixedIPFilter
	for _, v := range values {
		k, v, _ := strings.Cut(v, "=")
		switch k {
		case "ip_address":
			f.asked[0] = true
			if a, ok := parseAddr(v); ok {
				f.addrs = append(f.addrs, a)
			}
		case "subnet_id":
			f.asked[1] = true
			if u, err := model.ParseUUID(v); err == nil {
				f.subnets = append(f.subnets, model.SubnetID{UUID: u})
			}
		case "ip_address_substr":
			f.asked[2] = true
			f.substrs = append(f.substrs, v)
		}
	}
	return f
}

// matchFixedIPs is the filter fixed_ips=ip_address=…, subnet_id=…,
// ip_address_substr=…; other keys say nothing, as the peer has it.
func matchFixedIPs(_ *view, values []string) (func(*model.Port) bool, error) {
	f := parseFixedIPs(values)
	if f.asked == [3]bool{} {
		return nil, nil
	}
	return func(p *model.Port) bool {
		return slices.ContainsFunc(p.FixedIPs, func(ip model.FixedIP) bool {
			return (!f.asked[0] || slices.Contains(f.addrs, ip.Addr)) &&
				(!f.asked[1] || slices.Contains(f.subnets, ip.SubnetID)) &&
				(!f.asked[2] || slices.ContainsFunc(f.substrs, func(s string) bool { return strings.Contains(ip.Addr.String(), s) }))
		})
	}, nil
}

// indexFixedIPs serves one value of the filter; nil: this one has no index.
func indexFixedIPs(v *view, value string) iter.Seq[*store.Row[model.Port]] {
	f := parseFixedIPs([]string{value})
	switch {
	case len(f.addrs) == 1:
		return rowsOf(v.PortsByAddr(f.addrs[0]), func(p *model.Port) *store.Row[model.Port] { return v.PortRow(p.ID) })
	case len(f.subnets) == 1:
		return func(yield func(*store.Row[model.Port]) bool) {
			for _, p := range v.AddrsInSubnet(f.subnets[0], netip.Addr{}) {
				if !yield(v.PortRow(p.ID)) {
					return
				}
			}
		}
	case f.asked[0], f.asked[1]:
		return none[model.Port]
	}
	return nil
}

func matchGroups(_ *view, values []string) (func(*model.Port) bool, error) {
	want := map[model.SecurityGroupID]bool{}
	for _, s := range values {
		if u, err := model.ParseUUID(s); err == nil {
			want[model.SecurityGroupID{UUID: u}] = true
		}
	}
	return func(p *model.Port) bool {
		return slices.ContainsFunc(p.SecurityGroups, func(g model.SecurityGroupID) bool { return want[g] })
	}, nil
}

func matchMAC(_ *view, values []string) (func(*model.Port) bool, error) {
	want := map[model.MAC]bool{}
	for _, s := range values {
		if m, err := model.ParseMAC(s); err == nil {
			want[m] = true
		}
	}
	return func(p *model.Port) bool { return want[p.MAC] }, nil
}

// fixedIPs accepts the addresses that a port shall have.
func fixedIPs(name string, v any) ([]network.FixedIPSpec, error) {
	elements, ok := v.([]any)
	if !ok {
		return nil, invalidAttribute(name, "Invalid data format for fixed IP: %s.", quoted(v))
	}
	out := make([]network.FixedIPSpec, 0, len(elements))
	seen := map[netip.Addr]bool{}
	for _, e := range elements {
		o, ok := e.(*object)
		if !ok {
			return nil, invalidAttribute(name, "Invalid data format for fixed IP: %s.", quoted(e))
		}
		var spec network.FixedIPSpec
		if ip, ok := o.get("ip_address"); ok {
			a, err := address(name, ip)
			if err != nil {
				return nil, err
			}
			if seen[a] {
				return nil, invalidAttribute(name, "Duplicate IP address '%s'.", a)
			}
			seen[a] = true
			spec.Addr = a
		}
		if id, ok := o.get("subnet_id"); ok {
			u, err := parseUUID(name, id)
			if err != nil {
				return nil, err
			}
			spec.SubnetID = model.SubnetID{UUID: u}
		}
		if spec == (network.FixedIPSpec{}) {
			return nil, invalidInput("IP allocation requires subnet_id or ip_address.")
		}
		out = append(out, spec)
	}
	return out, nil
}

// addressPair passes the texts on: the rules have their own names for what can
// be wrong with them.
func addressPair(name string, v any) (network.AddressPairSpec, error) {
	var s network.AddressPairSpec
	o, ok := v.(*object)
	if !ok {
		return s, invalidAttribute(name, "%s is not a dictionary.", quoted(v))
	}
	for i, k := range o.keys {
		var at *network.Opt[string]
		switch k {
		case "ip_address":
			at = &s.IP
		case "mac_address":
			at = &s.MAC
		default:
			return s, invalidAttribute(name, "Unrecognized attribute(s) '%s'", k)
		}
		if o.values[i] == nil {
			continue
		}
		t, err := plainText(64)(name, o.values[i])
		if err != nil {
			return s, err
		}
		*at = network.Some(t)
	}
	return s, nil
}

func dhcpOption(_ string, v any) (network.DHCPOptionSpec, error) {
	var s network.DHCPOptionSpec
	bad := invalidInput("No valid key specs matched for: %s.", pyrepr.Of(v))
	o, ok := v.(*object)
	if !ok {
		return s, bad
	}
	for i, k := range o.keys {
		value := o.values[i]
		var err error
		switch k {
		case "opt_name":
			s.Name, err = plainText(64)(k, value)
		case "opt_value":
			if value == nil {
				s.Value = network.NullOf[string]()
				break
			}
			var t string
			t, err = plainText(255)(k, value)
			s.Value = network.Some(t)
		case "ip_version":
			s.IPVersion, err = integerOf(4, 6)(k, value)
		default:
			return s, bad
		}
		if err != nil {
			return s, err
		}
	}
	if s.Name == "" || !s.Value.Set {
		return s, bad
	}
	return s, nil
}

// dnsName accepts a partly or fully qualified domain name, or none
// (RFC 1123 section 2.1).
func dnsName(name string, v any) (string, error) {
	s, err := text(255)(name, v)
	if err != nil || s == "" {
		return s, err
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		bad := label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.ContainsFunc(label, func(r rune) bool {
				return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
			})
		if bad {
			return "", invalidAttribute(name, "'%s' not a valid PQDN or FQDN. Reason: Name '%s' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen.", s, label)
		}
	}
	return s, nil
}

// dnsDomain accepts a fully qualified domain name, or none.
func dnsDomain(name string, v any) (string, error) {
	s, err := dnsName(name, v)
	if err == nil && s != "" && !strings.HasSuffix(s, ".") {
		err = invalidAttribute(name, "'%s' is not a FQDN.", s)
	}
	return s, err
}
