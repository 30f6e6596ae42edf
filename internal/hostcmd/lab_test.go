package hostcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/host/view"
	"weft/internal/lab"
	"weft/internal/labcmd"
	"weft/internal/model"
)

// TestMain lets this program stand in for weft where a command of this package runs itself within a host of the lab.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "host" {
		cmd := Command()
		cmd.SetArgs(os.Args[2:])
		if err := cmd.Execute(); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const (
	labName = "wviewt"
	apiAddr = "127.0.0.1:39697"
)

// api is the little of the Networking API that these tests need.
type api struct{}

func (a api) call(method, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+apiAddr+"/v2.0/"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// port is a port as the API tells it.
type port struct {
	ID       string `json:"id"`
	MAC      string `json:"mac_address"`
	Status   string `json:"status"`
	FixedIPs []struct {
		Addr netip.Addr `json:"ip_address"`
	} `json:"fixed_ips"`
}

func (p port) labcmd() (labcmd.Port, error) {
	id, err := model.ParseUUID(p.ID)
	if err != nil {
		return labcmd.Port{}, err
	}
	mac, err := model.ParseMAC(p.MAC)
	out := labcmd.Port{ID: model.PortID{UUID: id}, MAC: mac, MTU: 1458, Status: p.Status}
	for _, f := range p.FixedIPs {
		out.Addrs = append(out.Addrs, f.Addr)
	}
	return out, err
}

// CreatePort is labcmd.Cloud.
func (a api) CreatePort(_ context.Context, s labcmd.PortSpec) (labcmd.Port, error) {
	var out struct{ Port port }
	err := a.call("POST", "ports", map[string]any{"port": map[string]any{
		"name": s.Name, "network_id": s.Network, "binding:host_id": s.Host, "device_id": s.Device.String(), "device_owner": "compute:nova",
	}}, &out)
	if err != nil {
		return labcmd.Port{}, err
	}
	return out.Port.labcmd()
}

// Port is labcmd.Cloud.
func (a api) Port(_ context.Context, id model.PortID) (labcmd.Port, error) {
	var out struct{ Port port }
	if err := a.call("GET", "ports/"+id.String(), nil, &out); err != nil {
		return labcmd.Port{}, err
	}
	return out.Port.labcmd()
}

// DeletePort is labcmd.Cloud.
func (a api) DeletePort(_ context.Context, id model.PortID) error {
	return a.call("DELETE", "ports/"+id.String(), nil, nil)
}

// SetFirewall is labcmd.Cloud.
func (a api) SetFirewall(ctx context.Context, id model.PortID, driver string) (labcmd.Port, error) {
	body := map[string]any{"port": map[string]any{"binding:profile": map[string]any{"firewall": driver}}}
	if err := a.call("PUT", "ports/"+id.String(), body, nil); err != nil {
		return labcmd.Port{}, err
	}
	return a.Port(ctx, id)
}

// bringUp starts a lab of two compute hosts and a gateway that the test's end removes.
func bringUp(t *testing.T) *lab.Lab {
	weft := filepath.Join(t.TempDir(), "weft")
	if out, err := exec.Command("go", "build", "-o", weft, "weft/cmd/weft").CombinedOutput(); err != nil {
		t.Fatalf("building weft: %v\n%s", err, out)
	}
	l := lab.New(labName, "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Down(ctx); err != nil {
		t.Fatal(err)
	}
	if err := labcmd.Up(ctx, l, labcmd.Options{Compute: 2, Gateway: 1, Listen: apiAddr, Self: weft}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// look reads a host until what is seen is right.
func look(t *testing.T, host, what string, ok func(*view.Host) bool) *view.Host {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		text, err := run("view", host, "--lab", labName, "-o", "json")
		if err != nil {
			t.Fatal(err)
		}
		var h view.Host
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			t.Fatal(err)
		}
		if ok(&h) {
			return &h
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s\n%s", what, view.Text(&h, view.Options{Rules: true}))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestAHostOfTheLabIsSeenAsItIs(t *testing.T) {
	l := bringUp(t)
	a := api{}
	var made struct{ Network struct{ ID string } }
	if err := a.call("POST", "networks", map[string]any{"network": map[string]any{"name": "seen"}}, &made); err != nil {
		t.Fatal(err)
	}
	subnet := map[string]any{"network_id": made.Network.ID, "cidr": "10.77.0.0/24", "ip_version": 4}
	if err := a.call("POST", "subnets", map[string]any{"subnet": subnet}, nil); err != nil {
		t.Fatal(err)
	}
	vm := func(name, host string) labcmd.Port {
		p, err := labcmd.CreateVM(t.Context(), l, a, labcmd.VMOptions{Name: name, Host: host, Network: made.Network.ID})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p1 := vm("v1", "compute1")
	p2 := vm("v2", "compute2")
	if out, err := l.VMOutput(t.Context(), "v1", "ping", "-c", "3", "-i", "0.05", "-W", "2", p2.Addrs[0].String()); err != nil {
		t.Fatalf("%v %s", err, out)
	}

	t.Run("a VM from its card to the other host", func(t *testing.T) {
		h := look(t, "compute1", "an active port with traffic", func(h *view.Host) bool {
			return len(h.Ports) == 1 && h.Ports[0].State == view.Active &&
				h.PatchTun.Tx.Packets >= 3 && h.PatchInt.Rx.Packets >= 3 &&
				len(h.Tunnels) == 1 && h.Tunnels[0].Tx.Packets >= 3 && h.Tunnels[0].Rx.Packets >= 3
		})
		p := h.Ports[0]
		if p.ID != p1.ID.String() || p.VMName != "v1" || p.MAC != p1.MAC.String() || !slices.Equal(p.Addrs, p1.Addrs) || p.VLAN == 0 || p.VMUUID == "" {
			t.Errorf("port %+v", p)
		}
		if len(p.Devices) != 4 || p.Devices[0].FromVM().Packets < 3 || p.Devices[3].FromVM().Packets < 3 || p.DHCP.Packets < 2 || p.Flows == 0 {
			t.Errorf("devices %+v, DHCP %v, flows %d", p.Devices, p.DHCP, p.Flows)
		}
		if len(p.Chains) != 3 || p.Chains[1].Entered.Packets == 0 {
			t.Errorf("chains %+v", p.Chains)
		}
		if i := slices.IndexFunc(h.Sets, func(s view.Set) bool { return s.Family == "IPv4" }); i < 0 || h.Sets[i].Members != 2 || !slices.Contains(p.SetNames, h.Sets[i].Name) {
			t.Errorf("sets %+v", h.Sets)
		}
		if s := h.Services; s == nil || !s.There || s.OFPort <= 0 {
			t.Errorf("services %+v", s)
		}
		if len(h.Tunnels) != 1 || h.Tunnels[0].RemoteName != "compute2" || h.Tunnels[0].Peers != 1 || h.Tunnels[0].Type != "gre" {
			t.Errorf("tunnels %+v", h.Tunnels)
		}
		if n := h.Networks[0]; n.ID != made.Network.ID || n.Ports != 1 || n.Peers != 1 || n.Unicast.Packets+n.Flooded.Packets == 0 || n.FromTunnels.Packets == 0 {
			t.Errorf("network %+v", n)
		}
		if len(h.Problems) > 0 {
			t.Errorf("problems %q", h.Problems)
		}
		began := time.Now()
		text, err := run("view", "compute1", "--lab", labName)
		if err != nil || !strings.Contains(text, "v1") || !strings.Contains(text, h.Tunnels[0].Name) {
			t.Errorf("%v\n%s", err, text)
		}
		t.Logf("drawn in %s", time.Since(began).Round(time.Millisecond))
	})
	t.Run("to a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "compute1.svg")
		if out, err := run("view", "compute1", "--lab", labName, "-o", "svg", "--file", file); err != nil || out != "" {
			t.Fatal(out, err)
		}
		if b, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(b, []byte("<svg ")) || !bytes.Contains(b, []byte("tap"+p1.ID.DeviceSuffix())) {
			t.Errorf("%v %.200s", err, b)
		}
	})
	t.Run("a host that the lab lacks", func(t *testing.T) {
		if _, err := run("view", "compute7", "--lab", labName); err == nil || !strings.Contains(err.Error(), "compute1, compute2") {
			t.Error(err)
		}
	})
	t.Run("a router with its legs and a floating IP", func(t *testing.T) { routerSeen(t, l, a, made.Network.ID, p1) })
	t.Run("a card plugged and unplugged by hand", func(t *testing.T) { plugByHand(t, l, a, made.Network.ID) })
}

// routerSeen leads the world to a VM by a router and a floating IP, and sees both on the gateway host.
func routerSeen(t *testing.T, l *lab.Lab, a api, network string, vm labcmd.Port) {
	create := func(path, what string, attributes map[string]any) map[string]any {
		var out map[string]map[string]any
		if err := a.call("POST", path, map[string]any{what: attributes}, &out); err != nil {
			t.Fatal(err)
		}
		return out[what]
	}
	ext := create("networks", "network", map[string]any{
		"name": "world", "router:external": true, "provider:network_type": "flat", "provider:physical_network": lab.ExternalNetwork,
	})["id"]
	create("subnets", "subnet", map[string]any{"network_id": ext, "cidr": "203.0.113.0/24", "ip_version": 4, "enable_dhcp": false})
	var subnets struct{ Subnets []struct{ ID string } }
	if err := a.call("GET", "subnets?network_id="+network, nil, &subnets); err != nil {
		t.Fatal(err)
	}
	id := create("routers", "router", map[string]any{"external_gateway_info": map[string]any{"network_id": ext}})["id"].(string)
	if err := a.call("PUT", "routers/"+id+"/add_router_interface", map[string]any{"subnet_id": subnets.Subnets[0].ID}, nil); err != nil {
		t.Fatal(err)
	}
	floating := create("floatingips", "floatingip", map[string]any{"floating_network_id": ext, "port_id": vm.ID.String()})["floating_ip_address"].(string)
	look(t, "network1", "a router that works", func(h *view.Host) bool { return len(h.Routers) == 1 && h.Routers[0].State == view.Active })
	if out, err := l.Output(t.Context(), lab.Outside, "ping", "-c", "1", "-W", "5", floating); err == nil {
		t.Errorf("no rule lets a ping in, but: %s", out)
	}
	if out, err := l.VMOutput(t.Context(), "v1", "ping", "-c", "3", "-i", "0.05", "-W", "2", "198.51.100.1"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	h := look(t, "network1", "a connection from the floating IP", func(h *view.Host) bool { return len(h.Routers[0].Floating) == 1 && h.Routers[0].Floating[0].Out > 0 })
	r := h.Routers[0]
	if r.ID != id || r.Netns != "qrouter-"+id || r.Duty != view.Answers || len(r.Gateways) != 1 || r.Gateways[0].Seen != view.Here {
		t.Errorf("router %+v", r)
	}
	if len(r.Legs) != 2 || r.Legs[0].External || !r.Legs[1].External || r.Legs[0].VLAN == 0 || r.Legs[0].Flows == 0 || r.Legs[0].FromVM().Packets == 0 || !slices.Equal(r.Legs[0].Addrs, []string{"10.77.0.1/24"}) {
		t.Errorf("legs %+v", r.Legs)
	}
	if f := r.Floating[0]; f.Outside != floating || f.Inside != vm.Addrs[0].String() || f.In == 0 {
		t.Errorf("floating IP %+v", f)
	}
	if len(r.Sources) != 1 || !strings.HasPrefix(r.Sources[0].Outside, "203.0.113.") || len(r.Routes) != 1 || r.Routes[0].Via.String() != "203.0.113.1" {
		t.Errorf("source NAT %+v, routes %+v", r.Sources, r.Routes)
	}
	if len(h.Others) != 0 || len(h.Problems) != 0 || len(h.Physicals) != 1 || len(h.Physicals[0].Others) != 1 || len(h.Ports) != 0 {
		t.Errorf("others %+v, problems %q, physical networks %+v, ports %+v", h.Others, h.Problems, h.Physicals, h.Ports)
	}
	if h := look(t, "compute1", "the gateway's tunnel", func(h *view.Host) bool { return len(h.Tunnels) == 2 }); h.Tunnels[0].RemoteName != "network1" || h.Tunnels[0].Routers != 1 {
		t.Errorf("tunnels %+v", h.Tunnels)
	}
}

// plugByHand plugs a guest in twice, sees it become active, and unplugs it twice.
func plugByHand(t *testing.T, l *lab.Lab, a api, network string) {
	p, err := a.CreatePort(t.Context(), labcmd.PortSpec{Name: "hand", Network: network, Host: "compute2"})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := func(h *view.Host) view.State {
		for _, q := range h.Ports {
			if q.ID == p.ID.String() {
				return q.State
			}
		}
		return ""
	}
	look(t, "compute2", "a port that waits", func(h *view.Host) bool { return state(h) == view.Waiting })
	on := func(args ...string) string {
		out, err := l.Output(t.Context(), "compute2", append([]string{self, "host"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	trace := func() string {
		out, err := l.Output(t.Context(), "compute2", "sh", "-c", "ip -o link; ovs-vsctl list-ports br-int; ip netns; nft list tables")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, flags := range [][]string{{"--guest", "hand"}, nil} {
		for range 2 {
			out := on(append([]string{"plug", "--port-id", p.ID.String(), "--mac", p.MAC.String(), "--mtu", "1458"}, flags...)...)
			if !strings.Contains(out, "plugged: tap"+p.ID.DeviceSuffix()+" - qbr") {
				t.Errorf("it said %s", out)
			}
		}
		h := look(t, "compute2", "a port that is active", func(h *view.Host) bool { return state(h) == view.Active })
		if flags == nil {
			i := slices.IndexFunc(h.Ports, func(q view.Port) bool { return q.ID == p.ID.String() })
			if !strings.Contains(h.Ports[i].Reason, "no hypervisor has tap") {
				t.Errorf("nobody has the TAP open, but: %+v", h.Ports[i])
			}
		}
		for range 2 {
			on("unplug", p.ID.String())
		}
		if left := trace(); strings.Contains(left, p.ID.DeviceSuffix()) || strings.Contains(left, "vm-hand") {
			t.Errorf("unplugged, but left:\n%s", left)
		}
		look(t, "compute2", "a port that waits again", func(h *view.Host) bool { return state(h) == view.Waiting })
	}
}
