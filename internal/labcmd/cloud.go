package labcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"weft/internal/client"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// NewCloud returns the Cloud behind an API client.
func NewCloud(c *client.Client) Cloud { return cloud{c} }

type cloud struct{ api *client.Client }

var (
	networks = client.Resource{Name: "network", Collection: "networks", Path: "networks", NameKey: "name"}
	groups   = client.Resource{Name: "security_group", Collection: "security_groups", Path: "security-groups", NameKey: "name"}
	ports    = client.Resource{Name: "port", Collection: "ports", Path: "ports", NameKey: "name"}
)

// CreatePort is Cloud.
func (c cloud) CreatePort(ctx context.Context, s PortSpec) (Port, error) {
	network, err := c.api.Find(ctx, networks, s.Network)
	if err != nil {
		return Port{}, err
	}
	attributes := client.Object{
		"name": s.Name, "network_id": network.ID(), "binding:host_id": s.Host, "device_id": s.Device.String(), "device_owner": "compute:nova",
	}
	profile, err := s.profile()
	if err != nil {
		return Port{}, err
	}
	if len(profile) > 0 {
		attributes["binding:profile"] = profile
	}
	if s.Instance.Hostname != "" {
		attributes["dns_name"] = s.Instance.Hostname
	}
	if s.SecurityGroups != nil {
		ids := []string{}
		for _, name := range s.SecurityGroups {
			g, err := c.api.Find(ctx, groups, name)
			if err != nil {
				return Port{}, err
			}
			ids = append(ids, g.ID())
		}
		attributes["security_groups"] = ids
	}
	if len(s.FixedIPs) > 0 {
		var fixed []client.Object
		for _, ip := range s.FixedIPs {
			fixed = append(fixed, client.Object{"ip_address": ip})
		}
		attributes["fixed_ips"] = fixed
	}
	p, err := c.api.Create(ctx, ports, attributes)
	if err != nil {
		return Port{}, err
	}
	return portOf(p, network)
}

// profile is the binding profile that says what metadata tells the VM and which driver filters its port.
func (s PortSpec) profile() (client.Object, error) {
	profile := client.Object{}
	if !s.Instance.IsZero() {
		b, err := s.Instance.Profile()
		if err == nil {
			err = json.Unmarshal(b, &profile)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.Firewall != "" {
		profile["firewall"] = s.Firewall
	}
	return profile, nil
}

// Port is Cloud.
func (c cloud) Port(ctx context.Context, id model.PortID) (Port, error) {
	p, err := c.api.Get(ctx, ports, id.String())
	if err != nil {
		return Port{}, err
	}
	network, err := c.api.Get(ctx, networks, p.Text("network_id"))
	if err != nil {
		return Port{}, err
	}
	return portOf(p, network)
}

// SetFirewall is Cloud.
func (c cloud) SetFirewall(ctx context.Context, id model.PortID, driver string) (Port, error) {
	p, err := c.api.Get(ctx, ports, id.String())
	if err != nil {
		return Port{}, err
	}
	profile := client.Object{} // what else it says stays
	if was, ok := p["binding:profile"].(map[string]any); ok {
		profile = was
	}
	profile["firewall"] = driver
	if _, err := c.api.Update(ctx, ports, id.String(), client.Object{"binding:profile": profile}, ""); err != nil {
		return Port{}, err
	}
	return c.Port(ctx, id)
}

// DeletePort is Cloud.
func (c cloud) DeletePort(ctx context.Context, id model.PortID) error {
	return c.api.Delete(ctx, ports, id.String())
}

func portOf(p, network client.Object) (Port, error) {
	var body struct {
		ID       model.PortID `json:"id"`
		MAC      model.MAC    `json:"mac_address"`
		Status   string       `json:"status"`
		FixedIPs []struct {
			Addr netip.Addr `json:"ip_address"`
		} `json:"fixed_ips"`
		VIF struct {
			Hybrid *bool `json:"ovs_hybrid_plug"`
		} `json:"binding:vif_details"`
	}
	var net struct {
		MTU int `json:"mtu"`
	}
	if err := p.Decode(&body); err != nil {
		return Port{}, fmt.Errorf("reading port %s: %w", p.ID(), err)
	}
	if err := network.Decode(&net); err != nil {
		return Port{}, fmt.Errorf("reading network %s: %w", network.ID(), err)
	}
	out := Port{ID: body.ID, MAC: body.MAC, MTU: net.MTU, Status: body.Status, Mode: vif.Hybrid}
	if h := body.VIF.Hybrid; h != nil && !*h {
		out.Mode = vif.Direct
	}
	for _, f := range body.FixedIPs {
		out.Addrs = append(out.Addrs, f.Addr)
	}
	return out, nil
}
