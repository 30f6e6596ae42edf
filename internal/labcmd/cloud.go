package labcmd

import (
	"context"
	"fmt"
	"net/netip"

	"weft/internal/client"
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
	if !s.Instance.IsZero() {
		profile, err := s.Instance.Profile()
		if err != nil {
			return Port{}, err
		}
		attributes["binding:profile"] = profile
		if s.Instance.Hostname != "" {
			attributes["dns_name"] = s.Instance.Hostname
		}
	}
	p, err := c.api.Create(ctx, ports, attributes)
	if err != nil {
		return Port{}, err
	}
	return portOf(p, network)
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
	out := Port{ID: body.ID, MAC: body.MAC, MTU: net.MTU, Status: body.Status}
	for _, f := range body.FixedIPs {
		out.Addrs = append(out.Addrs, f.Addr)
	}
	return out, nil
}
