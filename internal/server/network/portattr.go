package network

import (
	"net/netip"
	"slices"
	"strings"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/store"
)

// addressPairs parses allowed address pairs. A pair without a MAC has the
// port's. Prefixes are stored masked: what reaches a host's filter has no host
// bits. A prefix of length 0 is allowed and means every address of its family.
func (r *Rules) addressPairs(given []AddressPairSpec, own model.MAC) ([]model.AddressPair, error) {
	if len(given) > r.MaxAddressPairs {
		return nil, fault.New(fault.Invalid, "AllowedAddressPairExhausted",
			"The number of allowed address pair exceeds the maximum %d.", r.MaxAddressPairs)
	}
	var out []model.AddressPair
	for _, g := range given {
		ip, ok := g.IP.Get()
		if !ok || ip == "" {
			return nil, fault.New(fault.Invalid, "AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address")
		}
		p := model.AddressPair{MAC: own, Bare: !strings.Contains(ip, "/")}
		if p.Bare {
			a, err := netip.ParseAddr(ip)
			if err != nil || a.Zone() != "" || a.Is4In6() {
				return nil, badAttr("allowed_address_pairs", "'%s' is not a valid IP address.", ip)
			}
			p.Prefix = netip.PrefixFrom(a, a.BitLen())
		} else {
			q, err := netip.ParsePrefix(ip)
			if err != nil || q.Addr().Is4In6() {
				return nil, badAttr("allowed_address_pairs", "'%s' is not a valid IP subnet.", ip)
			}
			p.Prefix = q.Masked()
		}
		macText := "None"
		if m, ok := g.MAC.Get(); ok {
			macText = m
			mac, err := model.ParseMAC(m)
			if err != nil {
				return nil, badAttr("allowed_address_pairs", "'%s' is not a valid MAC address.", m)
			}
			p.MAC = mac
		}
		if slices.ContainsFunc(out, func(o model.AddressPair) bool { return o.Prefix == p.Prefix && o.MAC == p.MAC }) {
			return nil, fault.New(fault.Invalid, "DuplicateAddressPairInRequest",
				"Request contains duplicate address pair: mac_address %s ip_address %s.", macText, ip)
		}
		out = append(out, p)
	}
	return out, nil
}

// Longest name and value of an extra DHCP option, in bytes: a name is dnsmasq's word or
// a number, a value must fit one DHCP option (RFC 2132 section 2).
const (
	maxOptionName  = 64
	maxOptionValue = 255
)

// dhcpOptions merges the extra DHCP options of a request into those that a
// port has: an option replaces the one of its name and IP version, a null value removes it.
func (r *Rules) dhcpOptions(given []DHCPOptionSpec, have []model.DHCPOption) ([]model.DHCPOption, error) {
	out := slices.Clone(have)
	seen := map[model.DHCPOption]bool{}
	for _, g := range given {
		o := model.DHCPOption{Name: g.Name, IPVersion: g.IPVersion}
		if o.IPVersion == 0 {
			o.IPVersion = 4
		}
		switch {
		case o.Name == "" || len(o.Name) > maxOptionName || hasControl(o.Name) || strings.ContainsAny(o.Name, " ,=:"):
			return nil, badAttr("extra_dhcp_opts", "%q is not the name of a DHCP option.", o.Name)
		case o.IPVersion != 4 && o.IPVersion != 6:
			return nil, badAttr("extra_dhcp_opts", "%d is not an IP version.", o.IPVersion)
		case seen[o]:
			return nil, badAttr("extra_dhcp_opts", "Duplicate option '%s'.", o.Name)
		}
		seen[o] = true
		out = slices.DeleteFunc(out, func(h model.DHCPOption) bool { return h.Name == o.Name && h.IPVersion == o.IPVersion })
		v, ok := g.Value.Get()
		if !ok {
			continue
		}
		if len(v) > maxOptionValue || hasControl(v) {
			return nil, badAttr("extra_dhcp_opts", "the value of '%s' is longer than %d bytes or has control characters.",
				o.Name, maxOptionValue)
		}
		if v == "" && o.Name != "router" && o.Name != "classless-static-route" {
			return nil, badAttr("extra_dhcp_opts", "the value of '%s' is blank.", o.Name)
		}
		o.Value = v
		out = append(out, o)
	}
	if len(out) > r.MaxDHCPOptions {
		return nil, badAttr("extra_dhcp_opts", "a port cannot have more than %d options.", r.MaxDHCPOptions)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// maxGroups bounds the security groups of one port: each of its changes is
// looked at for each of them.
const maxGroups = 100

// portGroups checks that the groups exist and are visible, and drops doubles.
func (r *Rules) portGroups(tx *store.Tx, who authn.Principal, ids []model.SecurityGroupID) ([]model.SecurityGroupID, error) {
	var out []model.SecurityGroupID
	for _, id := range ids {
		if slices.Contains(out, id) {
			continue
		}
		if _, err := r.SecurityGroup(tx, who, id); err != nil {
			return nil, err
		}
		if out = append(out, id); len(out) > maxGroups {
			return nil, badInput("a port cannot have more than %d security groups", maxGroups)
		}
	}
	return out, nil
}

// newMAC makes a MAC address that the network does not have: the configured
// first octets and random ones.
func (r *Rules) newMAC(tx *store.Tx, env Env, n model.NetworkID) (model.MAC, error) {
	for range 16 {
		random := env.Random()
		m := model.MAC{r.MACBase[0], r.MACBase[1], r.MACBase[2], random[0], random[1], random[2]}
		if tx.PortByMAC(n, m) == nil {
			return m, nil
		}
	}
	return model.MAC{}, fault.New(fault.Unavailable, "MacAddressGenerationFailure",
		"Unable to generate unique mac on network %s.", n)
}

// claimMAC refuses a MAC address that another port of the network has, and
// those that no NIC can have.
func claimMAC(tx *store.Tx, p *model.Port) error {
	if p.MAC.IsZero() || p.MAC.IsMulticast() {
		return badAttr("mac_address", "'%s' is not a valid MAC address.", p.MAC)
	}
	if o := tx.PortByMAC(p.NetworkID, p.MAC); o != nil && o.ID != p.ID {
		return fault.New(fault.Conflict, "MacAddressInUse",
			"Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)
	}
	return nil
}

// checkPortTexts checks what is text in a port.
func checkPortTexts(s *PortSpec) error {
	if err := checkTexts(s.Name, s.Description); err != nil {
		return err
	}
	for _, a := range []struct {
		name  string
		value Opt[string]
	}{
		{"device_id", s.DeviceID}, {"device_owner", s.DeviceOwner}, {"dns_name", s.DNSName}, {"dns_domain", s.DNSDomain},
		{"device_profile", s.DeviceProfile},
	} {
		if err := checkText(a.name, a.value); err != nil {
			return err
		}
		if hasControl(a.value.Or("")) {
			return badAttr(a.name, "%q has control characters.", a.value.Value)
		}
	}
	if q := s.QoSPolicyID.Or(""); q != "" {
		return qosPolicyNotFound(q)
	}
	if v := s.DataPlaneStatus.Or(""); v != "" && v != "ACTIVE" && v != "DOWN" {
		return badAttr("data_plane_status", "%s is not in valid_values.", v)
	}
	if v := s.NUMAPolicy.Or(""); v != "" && !slices.Contains([]string{"required", "preferred", "legacy", "socket"}, v) {
		return badAttr("numa_affinity_policy", "%s is not in valid_values.", v)
	}
	return checkBinding(s)
}
