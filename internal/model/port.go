package model

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// FixedIP is an address that a port has on a subnet.
type FixedIP struct {
	SubnetID SubnetID   `json:"subnet_id"`
	Addr     netip.Addr `json:"ip_address"`
}

// AddressPair is a further source that a port may send from, and receives for
// (Neutron API reference, "allowed_address_pairs").
type AddressPair struct {
	Prefix netip.Prefix `json:"ip_address"`
	MAC    MAC          `json:"mac_address"` // never zero: the port's own when the user gave none
	// Bare tells that the user wrote an address without a mask, so that it is
	// shown as it was given.
	Bare bool `json:"bare,omitempty"`
}

// DHCPOption is an extra option that a port's guest is told.
type DHCPOption struct {
	Name      string `json:"opt_name"` // dnsmasq's name of the option, or its number
	Value     string `json:"opt_value"`
	IPVersion int    `json:"ip_version"` // 4 or 6
}

// Device owners that Weft itself acts on.
const (
	OwnerDHCP = "network:dhcp"
)

// Firewall drivers: what filters a port's traffic on its host.
const (
	FirewallHybrid = "hybrid" // TAP - Linux bridge - iptables
	FirewallNative = "native" // TAP on br-int, ct() flows
)

// Binding is where a port is plugged. HostID, VNICType and Profile are the
// user's (Nova's); the rest follows from the host's agent.
type Binding struct {
	HostID   string          `json:"host_id,omitempty"`
	VNICType string          `json:"vnic_type,omitempty"` // "normal" when empty
	Profile  json.RawMessage `json:"profile,omitempty"`   // a JSON object, or nothing
	VIFType  string          `json:"vif_type,omitempty"`  // unbound, ovs, binding_failed
	Firewall string          `json:"firewall,omitempty"`  // FirewallHybrid or FirewallNative when bound
	// Since is the port's revision at which its host, MAC address or admin state last changed: a
	// report about an older revision says nothing of the present binding.
	Since int64 `json:"since,omitempty"`
}

// Port is an attachment to a network.
type Port struct {
	Meta
	ID              PortID            `json:"id"`
	NetworkID       NetworkID         `json:"network_id"`
	MAC             MAC               `json:"mac_address"`
	FixedIPs        []FixedIP         `json:"fixed_ips,omitempty"`
	AdminStateUp    bool              `json:"admin_state_up"`
	DeviceID        string            `json:"device_id,omitempty"`
	DeviceOwner     string            `json:"device_owner,omitempty"`
	PortSecurity    bool              `json:"port_security"`
	SecurityGroups  []SecurityGroupID `json:"security_groups,omitempty"`
	AddressPairs    []AddressPair     `json:"allowed_address_pairs,omitempty"`
	DHCPOptions     []DHCPOption      `json:"extra_dhcp_opts,omitempty"`
	Binding         Binding           `json:"binding"`
	DNSName         string            `json:"dns_name,omitempty"`
	DNSDomain       string            `json:"dns_domain,omitempty"`
	QoSPolicyID     string            `json:"qos_policy_id,omitempty"`
	DataPlaneStatus string            `json:"data_plane_status,omitempty"`
	UplinkStatus    *bool             `json:"propagate_uplink_status,omitempty"`
	NUMAPolicy      string            `json:"numa_affinity_policy,omitempty"`
	DeviceProfile   string            `json:"device_profile,omitempty"`
	// SpecRevision is the revision of the last change that hosts have to act on:
	// a new name or tag is none.
	SpecRevision int64 `json:"spec_revision,omitempty"`
}

// Settle brings SpecRevision and Binding.Since up to date after the other fields of a port,
// its revision included, were changed from before (nil for a new port).
func (p *Port) Settle(before *Port) {
	if before == nil {
		p.SpecRevision, p.Binding.Since = p.Revision, p.Revision
		return
	}
	p.SpecRevision, p.Binding.Since = before.SpecRevision, before.Binding.Since
	if p.Binding.HostID != before.Binding.HostID || p.Binding.VIFType != before.Binding.VIFType || p.MAC != before.MAC || p.AdminStateUp != before.AdminStateUp {
		p.Binding.Since = p.Revision
		p.SpecRevision = p.Revision
		return
	}
	if !slices.Equal(p.FixedIPs, before.FixedIPs) || !slices.Equal(p.SecurityGroups, before.SecurityGroups) ||
		!slices.Equal(p.AddressPairs, before.AddressPairs) || !slices.Equal(p.DHCPOptions, before.DHCPOptions) ||
		p.PortSecurity != before.PortSecurity || p.DeviceOwner != before.DeviceOwner || p.DeviceID != before.DeviceID ||
		p.DNSName != before.DNSName || p.Binding.Firewall != before.Binding.Firewall {
		p.SpecRevision = p.Revision
	}
}

// Clone returns a deep copy to change.
func (p *Port) Clone() *Port {
	c := *p
	c.Tags = slices.Clone(p.Tags)
	c.FixedIPs = slices.Clone(p.FixedIPs)
	c.SecurityGroups = slices.Clone(p.SecurityGroups)
	c.AddressPairs = slices.Clone(p.AddressPairs)
	c.DHCPOptions = slices.Clone(p.DHCPOptions)
	c.Binding.Profile = slices.Clone(p.Binding.Profile)
	return &c
}

// ReportState is what a host says of an object.
type ReportState string

// The states of a report.
const (
	ReportActive  ReportState = "ACTIVE"  // applied: traffic flows
	ReportWaiting ReportState = "WAITING" // the device is not there yet
	ReportFailed  ReportState = "ERROR"   // cannot be applied, see Error
	ReportStandby ReportState = "STANDBY" // applied: a leg of a router that the host does not answer for
)

// HostReport is the last word of one host about a port.
type HostReport struct {
	Host     string      `json:"host"`
	Revision int64       `json:"revision"` // of the port's binding and addresses that the report is about
	State    ReportState `json:"state"`
	Error    string      `json:"error,omitempty"`
	At       time.Time   `json:"at"`
}

// PortReport is what hosts say about a port: the host that it is bound to or, when it is a leg of a router, each
// of the router's gateways. The dispatcher writes it, and the rules take out the words of gateways that serve the router no
// more; a port's status is derived from it and the port, never stored.
type PortReport struct {
	PortID     PortID       `json:"port_id"`
	HostReport              // the one that counts
	Others     []HostReport `json:"others,omitempty"` // of the other gateways, in the order in which they would count
}

// With returns what hosts say after one of them has spoken; the receiver itself, which may be nil, when that is nothing
// new. A host does not go back behind what it said of a later revision.
//
// What counts is the word of the gateway that answers, of several the one that was the last to begin: a host that
// died does not say so. Without one, a failure is told before that the port waits.
func (r *PortReport) With(id PortID, word HostReport) *PortReport {
	words := []HostReport{word}
	if r != nil {
		for _, w := range r.words() {
			switch {
			case w.Host != word.Host:
				words = append(words, w)
			case w.Revision > word.Revision, w.Revision == word.Revision && w.State == word.State && w.Error == word.Error:
				return r
			}
		}
	}
	return reportOf(id, words)
}

// Without returns what hosts say when one of them no longer serves the port's router; nil when nobody says anything, the
// receiver itself when the host had said nothing.
func (r *PortReport) Without(host string) *PortReport {
	words := slices.DeleteFunc(r.words(), func(w HostReport) bool { return w.Host == host })
	switch len(words) {
	case 0:
		return nil
	case 1 + len(r.Others):
		return r
	}
	return reportOf(r.PortID, words)
}

// Of returns the last word of a host, false when it has said nothing.
func (r *PortReport) Of(host string) (HostReport, bool) {
	words := r.words()
	i := slices.IndexFunc(words, func(w HostReport) bool { return w.Host == host })
	if i < 0 {
		return HostReport{}, false
	}
	return words[i], true
}

// Applied reports whether a host has said that a port is there as it is since a revision, be it that the host answers for the
// port's router or stands by. Nobody has said anything in a nil report.
func (r *PortReport) Applied(host string, since int64) bool {
	if r == nil {
		return false
	}
	w, ok := r.Of(host)
	return ok && w.Revision >= since && (w.State == ReportActive || w.State == ReportStandby)
}

func (r *PortReport) words() []HostReport { return append([]HostReport{r.HostReport}, r.Others...) }

// reportOf puts words in the order in which they count; of equal ones, the first is before.
func reportOf(id PortID, words []HostReport) *PortReport {
	order := []ReportState{ReportActive, ReportFailed, ReportWaiting, ReportStandby}
	slices.SortStableFunc(words, func(a, b HostReport) int {
		return cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State))
	})
	return &PortReport{PortID: id, HostReport: words[0], Others: words[1:]}
}

// Status derives the API's port status (ACTIVE, DOWN, ERROR) from a port and the last
// report about it (nil when there is none). A report of another host than the
// port's or, for a leg, than its router's gateways, or about a revision from before the present binding, counts for nothing.
func (p *Port) Status(r *PortReport) string {
	switch {
	case p.IsDHCPService():
		// Answered on every host from memory: there is no device to wait for.
		return "ACTIVE"
	case r == nil || p.Binding.HostID == "" || r.Host != p.Binding.HostID && !p.IsRouterPort() || r.Revision < p.Binding.Since || !p.AdminStateUp:
		return "DOWN"
	case r.State == ReportActive:
		return "ACTIVE"
	case r.State == ReportFailed:
		return "ERROR"
	}
	return "DOWN"
}

// DHCPDeviceID is the device id of the port that a network's DHCP service has
// its addresses by: at most one port of a network has it, and only the rules
// give it. Other ports with OwnerDHCP are their user's affair.
func DHCPDeviceID(n NetworkID) string { return "dhcp-" + n.String() }

// IsDHCPService reports whether the port is its network's own DHCP port, which
// only the rules make. Other ports with OwnerDHCP are their user's affair.
func (p *Port) IsDHCPService() bool {
	return p.DeviceOwner == OwnerDHCP && p.DeviceID == DHCPDeviceID(p.NetworkID)
}

// VIF types: what became of a binding (Neutron API reference, "binding:vif_type").
const (
	VIFUnbound       = "unbound"        // no host was named
	VIFBindingFailed = "binding_failed" // the host is unknown, or cannot reach the network
	VIFOVS           = "ovs"
)
