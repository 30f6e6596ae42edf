package neutron

import (
	"net/netip"
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/server/store"
)

// TestAgents: hosts are shown as agents, alive as long as their session is, to admins
// only; a live one is not deleted.
func TestAgents(t *testing.T) {
	r := newRig(t, nil)
	if _, err := r.store.Update(t.Context(), func(tx *store.Tx) error {
		for i, name := range []string{"gw1", "c1"} {
			tx.PutHost(&model.Host{Name: name, AgentID: model.AgentID{UUID: model.UUID{byte(9 - i)}}, Roles: []string{[]string{"gateway", "compute"}[i]},
				TunnelAddr: netip.MustParseAddr("10.0.1.31"), TunnelTypes: []model.NetworkType{model.TypeGRE}, Mappings: map[string]string{"physnet1": "br-ex"},
				Datapath: "netdev", AdminStateUp: true, SeenAt: time.Unix(1_700_000_000, 0)})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r.alive["c1"] = true
	r.progress["c1"] = model.Progress{Sent: 9, Applied: 8, Failed: 1}
	agents := r.list(t, admin, "/v2.0/agents")
	if len(agents) != 3 || str(agents[0], "host") != "c1" || agents[0]["alive"] != true || agents[1]["alive"] != false {
		t.Fatalf("agents in order of id: %v", agents)
	}
	if got := str(agents[1], "heartbeat_timestamp"); got != "2023-11-14 22:13:20" {
		t.Errorf("a dead agent was seen at %s", got)
	}
	for query, want := range map[string]int{"host=c1": 1, "alive=false": 2, "agent_type=L3+agent": 1, "host=gw1": 2, "alive=True&host=gw1": 0, "agent_type=Open+vSwitch+agent": 2, "binary=x": 0} {
		if l := r.list(t, admin, "/v2.0/agents?"+query); len(l) != want {
			t.Errorf("agents?%s: %d, want %d", query, len(l), want)
		}
	}
	if set := agents[0]["configurations"].(obj); set["sent_revision"] != 9.0 || set["applied_revision"] != 8.0 || set["failed_ports"] != 1.0 {
		t.Errorf("configurations of a live agent: %v", set)
	}
	if set := agents[1]["configurations"].(obj); set["applied_revision"] != nil {
		t.Errorf("configurations of a dead agent: %v", set)
	}
	zones := r.list(t, demo, "/v2.0/availability_zones")
	if len(zones) != 2 || str(zones[0], "state") != "available" || str(zones[1], "state") != "unavailable" {
		t.Errorf("zones: %v", zones)
	}
	c1, gw := "/v2.0/agents/"+str(agents[0], "id"), "/v2.0/agents/"+str(agents[1], "id")
	if len(r.list(t, demo, "/v2.0/agents")) != 0 {
		t.Error("a member sees agents")
	}
	r.refused(t, 404, "AgentNotFound", demo, "GET", c1, nil)
	r.refused(t, 404, "AgentNotFound", demo, "PUT", c1, obj{"agent": obj{"admin_state_up": false}})
	if got := r.must(t, admin, "PUT", c1, obj{"agent": obj{"admin_state_up": false, "description": "broken"}}); got["admin_state_up"] != false || str(got, "description") != "broken" {
		t.Errorf("updated: %v", got)
	}
	r.refused(t, 400, "HTTPBadRequest", admin, "PUT", c1, obj{"agent": obj{"host": "x"}})
	r.refused(t, 409, "AgentInUse", admin, "DELETE", c1, nil)
	r.must(t, admin, "DELETE", gw, nil)
	r.refused(t, 404, "AgentNotFound", admin, "GET", gw, nil)
}
