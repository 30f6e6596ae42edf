package benchlab

import (
	"context"
	"fmt"
	"maps"
	"net/netip"

	"weft/bench/apibench"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// MakeNetwork makes a network with one IPv4 subnet.
func MakeNetwork(ctx context.Context, api *apibench.Client, cidr string, attrs apibench.Object) (id string, err error) {
	if id, err = api.Create(ctx, "/networks", "network", attrs); err != nil {
		return "", err
	}
	_, err = api.Create(ctx, "/subnets", "subnet", apibench.Object{"network_id": id, "ip_version": 4, "cidr": cidr})
	return id, err
}

// MakePorts makes ports of a network, a hundred at a time.
func MakePorts(ctx context.Context, api *apibench.Client, network string, n int, attrs apibench.Object) ([]Port, error) {
	var out []Port
	for len(out) < n {
		in := make([]apibench.Object, min(100, n-len(out)))
		for i := range in {
			in[i] = apibench.Object{"network_id": network, "device_owner": "compute:bench"}
			maps.Copy(in[i], attrs)
		}
		var made struct {
			Ports []struct {
				ID    model.PortID
				MAC   model.MAC `json:"mac_address"`
				Fixed []struct {
					IP netip.Addr `json:"ip_address"`
				} `json:"fixed_ips"`
				VIF struct {
					Hybrid *bool `json:"ovs_hybrid_plug"`
				} `json:"binding:vif_details"`
			}
		}
		if err := api.Post(ctx, "/ports", apibench.Object{"ports": in}, &made); err != nil {
			return nil, err
		}
		for _, p := range made.Ports {
			if len(p.Fixed) == 0 {
				return nil, fmt.Errorf("port %s has no address", p.ID)
			}
			port := Port{ID: p.ID, MAC: p.MAC, IP: p.Fixed[0].IP, Mode: vif.Hybrid}
			if h := p.VIF.Hybrid; h != nil && !*h {
				port.Mode = vif.Direct
			}
			out = append(out, port)
		}
	}
	return out, nil
}
