package neutron

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/portforwarding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"

	"weft/internal/model"
	"weft/internal/server/store"
)

func (r *rig) addHost(t *testing.T, name string, id byte, roles ...string) {
	t.Helper()
	if _, err := r.store.Update(t.Context(), func(tx *store.Tx) error {
		tx.PutHost(&model.Host{Name: name, AgentID: model.AgentID{UUID: model.UUID{id}}, Roles: roles, AdminStateUp: true,
			TunnelAddr: netip.AddrFrom4([4]byte{10, 0, 1, id}), TunnelTypes: []model.NetworkType{model.TypeGRE}})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// routed makes a network of demo's that a router connects with an external network, and a port on it.
func (r *rig) routed(t *testing.T) (ext, router, port string) {
	t.Helper()
	ext = external(t, r)
	n := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	subnet := str(r.must(t, demo, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": n, "ip_version": 4, "cidr": "10.7.0.0/24"}}), "id")
	router = str(r.must(t, demo, "POST", "/v2.0/routers", obj{"router": obj{"external_gateway_info": obj{"network_id": ext}}}), "id")
	r.must(t, demo, "PUT", "/v2.0/routers/"+router+"/add_router_interface", obj{"subnet_id": subnet})
	return ext, router, str(r.must(t, demo, "POST", "/v2.0/ports", obj{"port": obj{"network_id": n}}), "id")
}

// OSSN-0102: a port forwarding is its floating IP's alone. The id of another's is not found below one's own,
// whatever is done with it, and the other's floating IP is not there at all.
func TestForwardingsAreFoundBelowTheirFloatingIPOnly(t *testing.T) {
	r := newRig(t, unlimited)
	ext, _, port := r.routed(t)
	forward := func(who caller, fip string) string {
		return str(r.must(t, who, "POST", "/v2.0/floatingips/"+fip+"/port_forwardings", obj{"port_forwarding": obj{
			"protocol": "tcp", "internal_port_id": port, "internal_port": 80, "external_port": 8080}}), "id")
	}
	theirs := str(r.must(t, demo, "POST", "/v2.0/floatingips", obj{"floatingip": obj{"floating_network_id": ext}}), "id")
	pf := forward(demo, theirs)
	mine := str(r.must(t, demo2, "POST", "/v2.0/floatingips", obj{"floatingip": obj{"floating_network_id": ext}}), "id")
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		var body any
		if method == "PUT" {
			body = obj{"port_forwarding": obj{"external_port": 1}}
		}
		r.refused(t, 404, "PortForwardingNotFound", demo2, method, "/v2.0/floatingips/"+mine+"/port_forwardings/"+pf, body)
		r.refused(t, 404, "PortForwardingNotFound", admin, method, "/v2.0/floatingips/"+mine+"/port_forwardings/"+pf, body)
		r.refused(t, 404, "FloatingIPNotFound", demo2, method, "/v2.0/floatingips/"+theirs+"/port_forwardings/"+pf, body)
	}
	r.refused(t, 404, "FloatingIPNotFound", demo2, "GET", "/v2.0/floatingips/"+theirs+"/port_forwardings", nil)
	r.refused(t, 404, "FloatingIPNotFound", demo2, "POST", "/v2.0/floatingips/"+theirs+"/port_forwardings", obj{"port_forwarding": obj{"protocol": "tcp", "internal_port_id": port}})
	if got := r.list(t, demo2, "/v2.0/floatingips/"+mine+"/port_forwardings"); len(got) != 0 {
		t.Errorf("another's forwardings: %v", got)
	}
	if got := r.must(t, demo, "GET", "/v2.0/floatingips/"+theirs+"/port_forwardings/"+pf, nil); got["external_port"] != 8080.0 {
		t.Errorf("changed: %v", got)
	}
	r.refused(t, 404, "HTTPNotFound", demo, "GET", "/v2.0/floatingips/"+theirs+"/port_forwardings/"+pf+"/x", nil)
	page := r.do(demo, "GET", "/v2.0/floatingips/"+theirs+"/port_forwardings?limit=1", nil)
	if !strings.Contains(page.Body.String(), "/v2.0/floatingips/"+theirs+"/port_forwardings?limit=1&marker="+pf) {
		t.Errorf("the link to the next page: %s", page.Body)
	}
	r.must(t, demo, "DELETE", "/v2.0/floatingips/"+theirs+"/port_forwardings/"+pf, nil)
}

// TestSchedulers: an operator sees which hosts serve a router and a network, and moves routers.
func TestSchedulers(t *testing.T) {
	r := newRig(t, unlimited)
	r.addHost(t, "c1", 7, "compute")
	r.addHost(t, "gw1", 8, model.RoleGateway)
	r.addHost(t, "gw2", 9, model.RoleGateway)
	n := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	router := str(r.must(t, demo, "POST", "/v2.0/routers", obj{"router": obj{}}), "id")
	at := "/v2.0/routers/" + router + "/l3-agents"
	hosts := func() string {
		var names []string
		for _, a := range r.list(t, admin, at) {
			if str(a, "agent_type") != "L3 agent" {
				t.Errorf("agent %v", a)
			}
			if _, ok := a["ha_state"]; !ok {
				t.Error("no ha_state")
			}
			names = append(names, str(a, "host"))
		}
		return strings.Join(names, " ")
	}
	if got := hosts(); got != "gw1 gw2" {
		t.Fatalf("hosts %q", got)
	}
	agent := "/v2.0/agents/" + str(r.list(t, admin, "/v2.0/agents?host=gw1&agent_type=L3+agent")[0], "id")
	if got := r.must(t, admin, "GET", agent, nil); str(got, "binary") != "neutron-l3-agent" {
		t.Errorf("agent %v", got)
	}
	if got := r.list(t, admin, agent+"/l3-routers"); len(got) != 1 || str(got[0], "id") != router {
		t.Errorf("routers %v", got)
	}
	for _, path := range []string{at, agent + "/l3-routers", agent + "/dhcp-networks", "/v2.0/networks/" + n + "/dhcp-agents"} {
		r.refused(t, 403, "PolicyNotAuthorized", demo, "GET", path, nil)
	}
	r.refused(t, 403, "PolicyNotAuthorized", demo, "POST", agent+"/l3-routers", obj{"router_id": router})
	r.refused(t, 403, "PolicyNotAuthorized", demo, "DELETE", agent+"/l3-routers/"+router, nil)
	r.must(t, admin, "DELETE", agent+"/l3-routers/"+router, nil)
	if got := hosts(); got != "gw2" {
		t.Errorf("after removal %q", got)
	}
	if w := r.do(admin, "POST", agent+"/l3-routers", obj{"router_id": router}); w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := hosts(); got != "gw2 gw1" {
		t.Errorf("after it was added again %q", got)
	}
	r.refused(t, 409, "RouterHostedByL3Agent", admin, "POST", agent+"/l3-routers", obj{"router_id": router})
	r.refused(t, 405, "HTTPMethodNotAllowed", admin, "PUT", agent+"/l3-routers", nil)
	dhcp := "/v2.0/networks/" + n + "/dhcp-agents"
	if got := r.list(t, admin, dhcp); len(got) != 0 {
		t.Errorf("a network without subnets has DHCP agents: %v", got)
	}
	r.must(t, demo, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": n, "ip_version": 4, "cidr": "10.7.0.0/24"}})
	if got := r.list(t, admin, dhcp); len(got) != 3 {
		t.Errorf("every host answers: %v", got)
	}
	if got := r.list(t, admin, agent+"/dhcp-networks"); len(got) != 1 || str(got[0], "id") != n {
		t.Errorf("networks %v", got)
	}
	r.refused(t, 409, "NetworkHostedByDHCPAgent", admin, "POST", agent+"/dhcp-networks", obj{"network_id": n})
	r.refused(t, 409, "Conflict", admin, "DELETE", agent+"/dhcp-networks/"+n, nil)
}

// TestAgents_ofManyRouters: one request moves more routers than one transaction may.
func TestAgents_ofManyRouters(t *testing.T) {
	r := newRig(t, nil)
	r.addHost(t, "gw1", 8, model.RoleGateway)
	r.addHost(t, "gw2", 9, model.RoleGateway)
	const routers = 1201
	if _, err := r.store.Update(t.Context(), func(tx *store.Tx) error {
		for i := range routers {
			tx.PutRouter(&model.Router{ID: model.RouterID{UUID: model.UUID{1, 14: byte(i >> 8), 15: byte(i)}}, HA: true, AdminStateUp: true, Hosts: []string{"gw1"}})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	count := func(host string) (n int) {
		for range r.store.Snapshot().RoutersByHost(host) {
			n++
		}
		return n
	}
	agent := "/v2.0/agents/" + str(r.list(t, admin, "/v2.0/agents?host=gw1&agent_type=L3+agent")[0], "id")
	before := r.store.Snapshot().Revision()
	if got := r.must(t, admin, "PUT", agent, obj{"agent": obj{"admin_state_up": false}}); got["admin_state_up"] != false || got["agent_type"] != "L3 agent" {
		t.Errorf("switched off: %v", got)
	}
	if count("gw1") != 0 || count("gw2") != routers {
		t.Errorf("switched off: %d and %d routers", count("gw1"), count("gw2"))
	}
	if n := r.store.Snapshot().Revision() - before; n < 3 {
		t.Errorf("in %d transactions", n)
	}
	r.must(t, admin, "PUT", agent, obj{"agent": obj{"admin_state_up": true}})
	if count("gw1") != routers {
		t.Errorf("switched on: %d routers", count("gw1"))
	}
	r.must(t, admin, "DELETE", agent, nil)
	if count("gw1") != 0 || count("gw2") != routers || r.store.Snapshot().Host("gw1") != nil {
		t.Errorf("deleted: %d and %d routers", count("gw1"), count("gw2"))
	}
}

// TestHAState_followsTheGatewayThatAnswers: and so do the states of the router's ports and floating IPs.
func TestHAState_followsTheGatewayThatAnswers(t *testing.T) {
	r := newRig(t, nil)
	r.addHost(t, "c1", 7, "compute")
	for i, gw := range []string{"gw1", "gw2"} {
		r.addHost(t, gw, byte(8+i), model.RoleGateway)
	}
	ext := external(t, r)
	n := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	subnet := str(r.must(t, demo, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": n, "ip_version": 4, "cidr": "10.7.0.0/24"}}), "id")
	guest := str(r.must(t, demo, "POST", "/v2.0/ports", obj{"port": obj{"network_id": n}}), "id")
	router := str(r.must(t, demo, "POST", "/v2.0/routers", obj{"router": obj{"external_gateway_info": obj{"network_id": ext}}}), "id")
	r.must(t, demo, "PUT", "/v2.0/routers/"+router+"/add_router_interface", obj{"subnet_id": subnet})
	floating := str(r.must(t, demo, "POST", "/v2.0/floatingips", obj{"floatingip": obj{"floating_network_id": ext, "port_id": guest}}), "id")

	say := func(host string, state model.ReportState) {
		t.Helper()
		if _, err := r.store.Update(t.Context(), func(tx *store.Tx) error {
			for p := range tx.PortsByDevice(router) {
				word := model.HostReport{Host: host, Revision: p.SpecRevision, State: state}
				tx.PutPortReport(tx.PortReport(p.ID).With(p.ID, word))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(rule, status string, want map[string]any) {
		t.Helper()
		for _, a := range r.list(t, admin, "/v2.0/routers/"+router+"/l3-agents") {
			if a["ha_state"] != want[str(a, "host")] {
				t.Errorf("%s: %s is %v, want %v", rule, a["host"], a["ha_state"], want[str(a, "host")])
			}
		}
		for _, p := range r.list(t, admin, "/v2.0/ports?device_id="+router) {
			if p["status"] != status {
				t.Errorf("%s: port of %s is %v, want %s", rule, p["device_owner"], p["status"], status)
			}
		}
		if got := r.must(t, demo, "GET", "/v2.0/floatingips/"+floating, nil)["status"]; got != status {
			t.Errorf("%s: floating IP is %v, want %s", rule, got, status)
		}
	}
	check("nobody has spoken", "DOWN", nil)
	say("gw2", model.ReportStandby)
	check("only the stand-by has spoken", "DOWN", map[string]any{"gw2": "standby"})
	say("gw1", model.ReportActive)
	check("the preferred one answers", "ACTIVE", map[string]any{"gw1": "active", "gw2": "standby"})
	say("gw2", model.ReportActive)
	check("the other took over from one that died", "ACTIVE", map[string]any{"gw1": "standby", "gw2": "active"})
	agent := str(r.list(t, admin, "/v2.0/agents?host=gw2&agent_type=L3+agent")[0], "id")
	r.must(t, admin, "DELETE", "/v2.0/agents/"+agent+"/l3-routers/"+router, nil)
	check("the other was taken off", "ACTIVE", map[string]any{"gw1": "active"})
	say("gw1", model.ReportFailed)
	check("it fails", "ERROR", nil)
}

// TestGophercloudRouters lives through routers, floating IPs and port forwardings with the library that Terraform
// and Kubernetes use.
func TestGophercloudRouters(t *testing.T) {
	r := newRig(t, nil)
	client, check := gopher(t, r)
	ctx := t.Context()
	ext := external(t, r)
	n := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	subnet := str(r.must(t, demo, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": n, "ip_version": 4, "cidr": "10.7.0.0/24"}}), "id")
	port := str(r.must(t, demo, "POST", "/v2.0/ports", obj{"port": obj{"network_id": n}}), "id")
	rt, err := routers.Create(ctx, client, routers.CreateOpts{Name: "r", GatewayInfo: &routers.GatewayInfo{NetworkID: ext}}).Extract()
	check(err)
	if len(rt.GatewayInfo.ExternalFixedIPs) != 1 || rt.GatewayInfo.NetworkID != ext || *rt.GatewayInfo.EnableSNAT != true || rt.Status != "ACTIVE" {
		t.Errorf("router: %+v", rt)
	}
	leg, err := routers.AddInterface(ctx, client, rt.ID, routers.AddInterfaceOpts{SubnetID: subnet}).Extract()
	check(err)
	if leg.SubnetID != subnet || leg.PortID == "" || leg.ID != rt.ID {
		t.Errorf("leg: %+v", leg)
	}
	routes := []routers.Route{{DestinationCIDR: "192.168.77.0/24", NextHop: "10.7.0.9"}}
	rt, err = routers.Update(ctx, client, rt.ID, routers.UpdateOpts{Routes: &routes}).Extract()
	check(err)
	if len(rt.Routes) != 1 || rt.Routes[0] != routes[0] {
		t.Errorf("routes: %+v", rt.Routes)
	}
	routes = []routers.Route{}
	_, err = routers.Update(ctx, client, rt.ID, routers.UpdateOpts{Routes: &routes}).Extract()
	check(err)
	fip, err := floatingips.Create(ctx, client, floatingips.CreateOpts{FloatingNetworkID: ext, PortID: port}).Extract()
	check(err)
	if fip.RouterID != rt.ID || fip.PortID != port || fip.FixedIP == "" || fip.Status != "DOWN" {
		t.Errorf("floating IP: %+v", fip)
	}
	if err := routers.Delete(ctx, client, rt.ID).ExtractErr(); !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		t.Errorf("deleting a router in use: %v", err)
	}
	none := ""
	fip, err = floatingips.Update(ctx, client, fip.ID, floatingips.UpdateOpts{PortID: &none}).Extract()
	check(err)
	if fip.PortID != "" {
		t.Errorf("disassociated: %+v", fip)
	}
	pf, err := portforwarding.Create(ctx, client, fip.ID, portforwarding.CreateOpts{Protocol: "tcp", InternalPort: 25, ExternalPort: 2230,
		InternalIPAddress: r.fixedIP(t, port), InternalPortID: port}).Extract()
	check(err)
	if pf.ExternalPort != 2230 || pf.InternalPort != 25 {
		t.Errorf("forwarding: %+v", pf)
	}
	pf, err = portforwarding.Update(ctx, client, fip.ID, pf.ID, portforwarding.UpdateOpts{ExternalPort: 2231}).Extract()
	check(err)
	if pf.ExternalPort != 2231 {
		t.Errorf("changed forwarding: %+v", pf)
	}
	check(portforwarding.Delete(ctx, client, fip.ID, pf.ID).ExtractErr())
	check(floatingips.Delete(ctx, client, fip.ID).ExtractErr())
	_, err = routers.RemoveInterface(ctx, client, rt.ID, routers.RemoveInterfaceOpts{SubnetID: subnet}).Extract()
	check(err)
	check(routers.Delete(ctx, client, rt.ID).ExtractErr())
	if _, err := routers.Get(ctx, client, rt.ID).Extract(); !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("after all: %v", err)
	}
}

func (r *rig) fixedIP(t *testing.T, port string) string {
	t.Helper()
	ips := r.must(t, demo, "GET", "/v2.0/ports/"+port, nil)["fixed_ips"].([]any)
	return str(ips[0].(map[string]any), "ip_address")
}
