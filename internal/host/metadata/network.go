package metadata

import (
	"net"
	"net/netip"
	"strconv"

	"weft/internal/host/standin"
	"weft/internal/model"
)

// networkData is network_data.json (Nova's network_data.json schema, version 1).
type networkData struct {
	Links    []networkLink    `json:"links"`
	Networks []networkNetwork `json:"networks"`
	Services []networkService `json:"services"`
}

type networkLink struct {
	ID   string `json:"id"`
	VIF  string `json:"vif_id"`
	Type string `json:"type"`
	MTU  int    `json:"mtu,omitempty"`
	MAC  string `json:"ethernet_mac_address"`
}

type networkNetwork struct {
	ID        string           `json:"id"`
	Type      string           `json:"type"`
	Link      string           `json:"link"`
	NetworkID string           `json:"network_id"`
	Address   string           `json:"ip_address,omitempty"`
	Netmask   string           `json:"netmask,omitempty"`
	Gateway   string           `json:"gateway,omitempty"`
	Routes    []networkRoute   `json:"routes,omitempty"`
	Services  []networkService `json:"services,omitempty"`
}

type networkRoute struct {
	Network string `json:"network"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway"`
}

type networkService struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// networkData lists the machine's ports on this host. Addresses that DHCP gives are left to it.
func (m *machine) networkData() networkData {
	out := networkData{Links: []networkLink{}, Networks: []networkNetwork{}, Services: []networkService{}}
	seen := map[netip.Addr]bool{}
	for _, g := range m.ports {
		link := networkLink{ID: "tap" + g.Port.ID.DeviceSuffix(), VIF: g.Port.ID.String(), Type: "ovs", MTU: g.Network.MTU, MAC: g.Port.MAC.String()}
		out.Links = append(out.Links, link)
		for _, f := range g.Port.FixedIPs {
			s := subnetOf(g, f)
			if s == nil {
				continue
			}
			n := networkOf(f.Addr.Unmap(), s)
			n.ID, n.Link, n.NetworkID = "network"+strconv.Itoa(len(out.Networks)), link.ID, g.Network.ID.String()
			out.Networks = append(out.Networks, n)
			for _, a := range s.DNS {
				if !seen[a] {
					seen[a] = true
					out.Services = append(out.Services, networkService{"dns", a.String()})
				}
			}
		}
	}
	return out
}

func subnetOf(g standin.Guest, f model.FixedIP) *model.SubnetView {
	for i := range g.Network.Subnets {
		if s := &g.Network.Subnets[i]; s.ID == f.SubnetID {
			return s
		}
	}
	return nil
}

func networkOf(a netip.Addr, s *model.SubnetView) networkNetwork {
	switch {
	case a.Is4() && s.EnableDHCP:
		return networkNetwork{Type: "ipv4_dhcp"}
	case a.Is6() && s.AddressMode == model.IPv6SLAAC:
		return networkNetwork{Type: "ipv6_slaac", Address: a.String()}
	case a.Is6() && s.AddressMode != "" && s.EnableDHCP:
		return networkNetwork{Type: "ipv6_" + string(s.AddressMode), Address: a.String()}
	}
	n := networkNetwork{Type: "ipv4", Address: a.String(), Netmask: netmask(s.CIDR), Gateway: addrOf(s.Gateway)}
	if a.Is6() {
		n.Type = "ipv6"
	}
	if s.Gateway.IsValid() {
		n.Routes = append(n.Routes, networkRoute{netip.PrefixFrom(s.Gateway, 0).Masked().Addr().String(), netmask(netip.PrefixFrom(s.Gateway, 0)), addrOf(s.Gateway)})
	}
	for _, r := range s.Routes {
		n.Routes = append(n.Routes, networkRoute{r.Destination.Addr().String(), netmask(r.Destination), addrOf(r.NextHop)})
	}
	for _, d := range s.DNS {
		n.Services = append(n.Services, networkService{"dns", d.String()})
	}
	return n
}

// netmask is a prefix's mask in the notation of its family's addresses.
func netmask(p netip.Prefix) string {
	return net.IP(net.CIDRMask(p.Bits(), p.Addr().BitLen())).String()
}
