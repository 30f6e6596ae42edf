package view

import (
	"fmt"
	"net/netip"
	"time"
)

// The hosts that are drawn in the tests.

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// hybridPort is a port of demo-net with all that a port has on a host.
func hybridPort(id, name, ip, mac string, ofport int) Port {
	short := id[:11]
	n := uint64(ofport)
	chain := func(letter, kind string, rules int, seen uint64, drops ...Drop) Chain {
		c := Chain{Name: chainPrefix + letter + short[:10], Kind: kind, Entered: Count{seen, seen * 84}, Drops: drops}
		for i := range rules {
			c.Rules = append(c.Rules, Rule{Family: "IPv4", Text: fmt.Sprintf("-p tcp -m tcp --dport %d -j RETURN", 22+i), Count: Count{uint64(i), uint64(i) * 60}})
		}
		return c
	}
	return Port{
		ID: id, State: Active, VMName: name, VMUUID: "7c1f2d4e-0b5a-4a53-9b0e-5d1f0a9c3e2" + short[:1], MAC: mac, Addrs: []netip.Addr{addr(ip)}, Owner: "compute:nova",
		NetworkID: demoNet, VLAN: 1, Mode: Hybrid, Filtered: true,
		Devices: []Device{
			{Name: "tap" + short, Role: RoleTAP, Present: true, Up: true, MTU: 1458, Rx: Count{120 * n, 11520 * n}, Tx: Count{98 * n, 9310 * n}},
			{Name: "qbr" + short, Role: RoleBridge, Present: true, Up: true, MTU: 1458},
			{Name: "qvb" + short, Role: RoleVethIn, Present: true, Up: true, MTU: 1458, Rx: Count{104 * n, 9880 * n}, Tx: Count{117 * n, 11232 * n}},
			{Name: "qvo" + short, Role: RoleVethOut, Present: true, Up: true, MTU: 1458, OFPort: ofport, Rx: Count{117 * n, 11232 * n}, Tx: Count{104 * n, 9880 * n}},
		},
		Chains: []Chain{
			chain("i", Ingress, 6, 104*n, Drop{"no security group rule allows it", Count{6 * n, 360 * n}}),
			chain("o", Egress, 8, 120*n),
			chain("s", Spoofing, 2, 118*n, Drop{"source is not an address of the port", Count{3 * n, 126 * n}}),
		},
		SetNames: []string{"NIPv4c1d5e0f2-4b7a-4e19-8a33-"},
		Flows:    14, DHCP: Count{2, 684},
	}
}

const demoNet = "b1a9cf5c-2f5b-4d8e-9b36-0a7c1f5d2e44"

// compute1 is the compute node of the reference deployment: two VMs on one network, a GRE tunnel to the network node.
func compute1() *Host {
	return &Host{
		Name: "compute1", CollectedAt: time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC), TunnelAddr: addr("10.0.1.31"), OVSVersion: "3.1.0", Revision: 17,
		Ports: []Port{
			hybridPort("37b25c08-e8aa-4d0e-8d2a-5f1f5c8e7a11", "vm1", "10.0.0.11", "fa:16:3e:1c:0d:11", 2),
			hybridPort("9e4d1c55-0f2b-4c7e-a1d3-6b8f0e2d9c70", "vm2", "10.0.0.12", "fa:16:3e:1c:0d:12", 3),
		},
		Networks: []Network{{
			ID: demoNet, Name: "demo-net", VLAN: 1, Type: "gre", Segmentation: 1, MTU: 1458, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
			Ports: 2, Peers: 1, FromTunnels: Count{161, 15456}, Unicast: Count{182, 17472}, Flooded: Count{9, 378}, ARPAnswered: Count{4, 168},
		}},
		Int: Bridge{Name: "br-int", Present: true, FailMode: "secure", Datapath: "system", Flows: 55, Drops: []FlowDrop{
			{Table: 24, Name: "neighbours", Count: Count{5, 210}},
		}},
		Tun:      Bridge{Name: "br-tun", Present: true, FailMode: "secure", Datapath: "system", Flows: 17},
		PatchTun: Device{Name: "patch-tun", Role: RolePatch, Present: true, Up: true, OFPort: 1, Rx: Count{161, 15456}, Tx: Count{191, 17850}},
		PatchInt: Device{Name: "patch-int", Role: RolePatch, Present: true, Up: true, OFPort: 1, Rx: Count{191, 17850}, Tx: Count{161, 15456}},
		Tunnels: []Tunnel{{
			Device: Device{Name: "gre-0a000115", Role: RoleTunnel, Present: true, Up: true, OFPort: 2, Rx: Count{161, 15456}, Tx: Count{191, 17850}},
			Type:   "gre", Local: addr("10.0.1.31"), Remote: addr("10.0.1.21"), RemoteName: "network1", Peers: 1,
		}},
		Services: &Services{
			Device: Device{Name: "weft-svc", Role: RoleServices, Present: true, Up: true, OFPort: 9, MTU: 1280, Rx: Count{31, 9800}, Tx: Count{34, 3100}},
			Netns:  "weft-services", There: true, Metadata: Count{28, 2700}, DNS: Count{6, 400},
		},
		Sets: []Set{{Name: "NIPv4c1d5e0f2-4b7a-4e19-8a33-", Family: "IPv4", Group: "c1d5e0f2-4b7a-4e19-8a33-2f1e6d7c8b90", Members: 2}},
	}
}

// nativeHost has a port that the switch filters, and routes for a distributed router.
func nativeHost() *Host {
	h := compute1()
	p := &h.Ports[0]
	p.Mode, p.SetNames = Direct, nil
	p.Devices = []Device{{Name: p.Devices[0].Name, Role: RoleTAP, Present: true, Up: true, OFPort: 2, MTU: 1458, Rx: Count{240, 23040}, Tx: Count{196, 18620}}}
	for i, table := range []string{"br-int table 82", "br-int table 72", "br-int table 71"} {
		p.Chains[i].Name = table
	}
	h.Distributed = []Distributed{{ID: "5a43ad40-4f1a-4b4c-a8dc-6e3a3c2bff31", Flows: 9, Asked: Count{140, 13720}, Routed: Count{123, 12054}}}
	h.Int.Drops = append(h.Int.Drops, FlowDrop{Table: 0, Name: "classify", Match: "in_port=4", Count: Count{19, 1500}})
	h.Physicals = network1().Physicals
	return h
}

// emptyHost has an agent and nothing to do.
func emptyHost() *Host {
	h := compute1()
	h.Name, h.TunnelAddr = "compute9", netip.Addr{}
	h.Ports, h.Networks, h.Tunnels, h.Sets, h.Services = nil, nil, nil, nil, nil
	h.Int.Drops = nil
	h.PatchTun.Rx, h.PatchTun.Tx = Count{}, Count{}
	return h
}

// manyPorts has n ports and as many tunnels as fit into an octet, some of them in trouble.
func manyPorts(n int) *Host {
	h := compute1()
	h.Ports, h.Tunnels = nil, nil
	for i := range n {
		p := hybridPort(fmt.Sprintf("%08x-%04x-4d0e-8d2a-5f1f5c8e7a11", 0x10000000+i*0x01234567, 0xe800+i), fmt.Sprintf("vm%d", i+1), fmt.Sprintf("10.0.%d.%d", i/200, 11+i%200),
			fmt.Sprintf("fa:16:3e:1c:%02x:%02x", i/256, i%256), i+2)
		if i == n-2 {
			p.State, p.Reason = Failed, p.Devices[1].Name+" is down"
			p.Devices[1].Up = false
		}
		h.Ports = append(h.Ports, p)
	}
	for i := range min(n, 200) {
		a := fmt.Sprintf("10.0.1.%d", i+32)
		h.Tunnels = append(h.Tunnels, Tunnel{
			Device: Device{Name: fmt.Sprintf("gre-0a0001%02x", i+32), Role: RoleTunnel, Present: true, Up: true, OFPort: 2 + i}, Type: "gre", Remote: addr(a), Peers: i,
		})
	}
	h.Networks[0].Ports, h.Networks[0].Peers = n, n
	return h
}

// troubledHost has a port in each state that is not well, and other things that are not as they should be.
func troubledHost() *Host {
	h := compute1()
	h.Problems = []string{"reading the flows of br-tun: no answer at /run/openvswitch/br-tun.mgmt: context deadline exceeded"}
	refused := h.Ports[0]
	refused.State, refused.Reason = Failed, "Open vSwitch cannot use qvo37b25c08-e8: could not open network device qvo37b25c08-e8 (No such device)"
	refused.Devices = append([]Device(nil), refused.Devices...)
	refused.Devices[3] = Device{Name: "qvo37b25c08-e8", Role: RoleVethOut, OFPort: -1, Error: "could not open network device qvo37b25c08-e8 (No such device)"}
	refused.Chains, refused.SetNames, refused.Flows = nil, nil, 0

	waiting := h.Ports[1]
	waiting.State, waiting.Reason = Waiting, "not plugged in: no port of br-int bears its id (external_ids:iface-id)"
	waiting.VMName, waiting.VLAN, waiting.Chains, waiting.Flows, waiting.DHCP = "", 0, nil, 0, Count{}
	waiting.Devices = nil
	for _, d := range h.Ports[1].Devices {
		waiting.Devices = append(waiting.Devices, Device{Name: d.Name, Role: d.Role})
	}

	direct := hybridPort("c7710f4a-5b2d-4e19-b0c4-1d2e3f405162", "vm3 with a name that is far longer than it should be", "2001:db8:1234:5678:f816:3eff:fe1c:d13", "fa:16:3e:1c:0d:13", 4)
	direct.Mode, direct.Chains, direct.SetNames = Direct, nil, nil
	direct.Addrs = append(direct.Addrs, addr("10.0.0.13"), addr("10.0.0.14"), addr("2001:db8::15"), addr("2001:db8::16"))
	direct.Devices = []Device{{Name: "tapc7710f4a-5b", Role: RoleTAP, Present: true, Up: true, OFPort: 4, Rx: Count{1, 90}}}

	open := hybridPort("d0000000-0000-4e19-b0c4-1d2e3f405162", "vm4", "10.0.0.17", "fa:16:3e:1c:0d:14", 5)
	open.Filtered, open.Chains, open.SetNames = false, nil, nil

	h.Ports = []Port{refused, waiting, direct, open}
	h.PatchInt.Present, h.Services.There = false, false
	h.Physicals = []Physical{{
		Bridge: "br-ex",
		Int:    Device{Name: "int-br-ex", Role: RolePatch, Present: true, Up: true, OFPort: 6, Rx: Count{1200, 96000}, Tx: Count{900, 81000}},
		Phy:    Device{Name: "phy-br-ex", Role: RolePatch, Present: true, Up: true, OFPort: 2},
	}}
	h.Tunnels = append(h.Tunnels, Tunnel{
		Device: Device{Name: "geneve-0a000120", Role: RoleTunnel, Present: true, OFPort: -1, Error: "Address family not supported by protocol"},
		Type:   "geneve", Remote: addr("10.0.1.32"),
	})
	h.Networks = append(h.Networks, Network{ID: "0d3f7c11-9a40-4b0e-8a0c-7f3b2e1d6c55", VLAN: 2, Type: "vlan", Segmentation: 1203, Physical: "physnet1", MTU: 1500})
	h.Others = []Device{{Name: "tap-of-mine", Role: RoleOther, Present: true, Up: true, OFPort: 9, Rx: Count{3, 180}}}
	h.Cut = Count{12, 720}
	return h
}
