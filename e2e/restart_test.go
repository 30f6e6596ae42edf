package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/labcmd"
)

// pair is two guests on two hosts that reach each other.
func (w *world) pair(t testing.TB, prefix, cidr string, more ...func(*labcmd.VMOptions)) (to string) {
	t.Helper()
	n := w.network(t, cidr, nil)
	w.vm(t, prefix+"a", "compute1", n, more...)
	b := w.vm(t, prefix+"b", "compute2", n, more...)
	to = b.Addrs[0].String()
	w.reaches(t, prefix+"a", to)
	return to
}

// settled waits until an agent has a session and is done.
func (w *world) settled(t testing.TB, host string) {
	t.Helper()
	w.eventually(t, host+" has a session and is done", func() bool {
		m := w.metrics(t, host)
		return m["weft_agent_session_up"] == 1 && m["weft_agent_passes_total"] >= 2
	})
}

func TestAgentRestart_isANonEvent(t *testing.T) {
	bothDrivers(t, agentRestartIsANonEvent)
}

func agentRestartIsANonEvent(t *testing.T, which func(*labcmd.VMOptions)) {
	to := w.pair(t, "ar-", "10.30.0.0/24", which)
	for _, c := range []struct {
		name    string
		end     func(string) error
		server  bool
		resumes bool
	}{
		{"in good order", func(h string) error { return w.lab.Stop(t.Context(), h, lab.Agent) }, true, true},
		{"killed", func(h string) error { return w.lab.Kill(t.Context(), h, lab.Agent) }, true, false},
		{"killed while the server is away", func(h string) error { return w.lab.Kill(t.Context(), h, lab.Agent) }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.server {
				if err := w.lab.Kill(t.Context(), "", lab.Server); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if pid, _ := w.lab.PID("", lab.Server); pid == 0 {
						w.lab.Start(context.Background(), "", lab.Server)
					}
				})
			}
			stop := w.pinging(t, "ar-a", to)
			for _, h := range []string{"compute1", "compute2"} {
				if err := c.end(h); err != nil {
					t.Fatal(err)
				}
				if err := w.lab.Start(t.Context(), h, lab.Agent); err != nil {
					t.Fatal(err)
				}
			}
			for _, h := range []string{"compute1", "compute2"} {
				if c.server {
					w.settled(t, h)
				} else {
					w.eventually(t, h+" works from its last view", func() bool { return w.metrics(t, h)["weft_agent_passes_total"] >= 2 })
				}
			}
			sent, lost := stop()
			for _, h := range []string{"compute1", "compute2"} {
				if n := w.writes(t, h); n != 0 {
					t.Errorf("the agent of %s wrote %v times on a converged host", h, n)
				}
				if c.resumes && w.metrics(t, h)["weft_agent_session_resumes_total"] != 1 {
					t.Errorf("the agent of %s did not resume from the view on its disk", h)
				}
			}
			if !c.server {
				if err := w.lab.Start(t.Context(), "", lab.Server); err != nil {
					t.Fatal(err)
				}
				w.settled(t, "compute1")
				w.settled(t, "compute2")
				for _, h := range []string{"compute1", "compute2"} {
					if n := w.writes(t, h); n != 0 {
						t.Errorf("the server's return made the agent of %s write %v times", h, n)
					}
				}
			}
			if lost != 0 {
				t.Errorf("%d of %d pings lost", lost, sent)
			}
		})
	}
}

func TestSwitchRestart_everythingIsBackWithoutHelp(t *testing.T) {
	to := w.pair(t, "sw-", "10.31.0.0/24")
	if err := w.lab.Kill(t.Context(), "compute1", lab.VSwitchd); err != nil {
		t.Fatal(err)
	}
	if w.ping(t, "sw-a", to, 1) != 0 {
		t.Error("packets pass without a switch")
	}
	if err := w.lab.Start(t.Context(), "compute1", lab.VSwitchd); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.reaches(t, "sw-a", to)
	t.Logf("forwarding again %s after ovs-vswitchd answered", time.Since(began).Round(time.Millisecond))
}

func TestDatabaseRestart_isANonEvent(t *testing.T) {
	to := w.pair(t, "db-", "10.32.0.0/24")
	before := w.writes(t, "compute1")
	stop := w.pinging(t, "db-a", to)
	if err := w.lab.Kill(t.Context(), "compute1", lab.OVSDB); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.Start(t.Context(), "compute1", lab.OVSDB); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, "the agent is connected again", func() bool {
		log := w.host(t, "compute1", "cat", "/var/log/weft-agent.log")
		return strings.Count(log, "ovsdb connected") >= 2
	})
	sent, lost := stop()
	if lost != 0 {
		t.Errorf("%d of %d pings lost", lost, sent)
	}
	if after := w.writes(t, "compute1"); after != before {
		t.Errorf("the agent wrote %v times", after-before)
	}
}

func TestDamageByHand_isRepairedAndReported(t *testing.T) {
	to := w.pair(t, "rp-", "10.33.0.0/24")
	for _, c := range []struct {
		name, metric string
		damage       []string
	}{
		{"flows of br-int", `weft_agent_repairs_total{what="flows"}`, []string{"ovs-ofctl", "del-flows", "br-int"}},
		{"meters of br-int", `weft_agent_repairs_total{what="flows"}`, []string{"ovs-ofctl", "-O", "OpenFlow14", "del-meters", "br-int"}},
		{"flows of br-tun", `weft_agent_repairs_total{what="flows"}`, []string{"ovs-ofctl", "del-flows", "br-tun"}},
		{"a chain", `weft_agent_repairs_total{what="filters"}`, []string{"iptables", "-F", "neutron-openvswi-sg-chain"}},
		{"all of iptables", `weft_agent_repairs_total{what="filters"}`, []string{"iptables", "-F"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.metrics(t, "compute1")[c.metric]
			w.host(t, "compute1", c.damage...)
			w.eventually(t, "the repair is counted", func() bool { return w.metrics(t, "compute1")[c.metric] > before })
			w.reaches(t, "rp-a", to)
		})
	}
	t.Run("a port's tag", func(t *testing.T) {
		port := strings.Fields(w.host(t, "compute1", "sh", "-c", "ovs-vsctl list-ports br-int | grep qvo"))[0]
		tag := w.host(t, "compute1", "ovs-vsctl", "get", "port", port, "tag")
		w.host(t, "compute1", "ovs-vsctl", "set", "port", port, "tag=4000")
		w.eventually(t, "the tag is back", func() bool { return w.host(t, "compute1", "ovs-vsctl", "get", "port", port, "tag") == tag })
	})
	t.Run("a tunnel", func(t *testing.T) {
		w.host(t, "compute1", "ovs-vsctl", "del-port", "br-tun", "gre-0a000120")
		w.reaches(t, "rp-a", to)
	})
}

func TestServerKilled_losesNothingThatItAcknowledged(t *testing.T) {
	n := w.network(t, "10.34.0.0/16", nil)
	w.must(t, "PUT", "quotas/killed", "quota", body{"port": -1})
	t.Cleanup(func() { w.must(t, "DELETE", "quotas/killed", "", nil) })
	acknowledged := make(chan string, 10000)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			status, out, err := w.call(t.Context(), "POST", "ports", body{"port": body{"network_id": n, "project_id": "killed", "security_groups": []string{}}})
			if err == nil && status == 201 {
				acknowledged <- out["port"].(body)["id"].(string)
			}
		}
	}()
	for range 3 {
		w.eventually(t, "writes are acknowledged", func() bool { return len(acknowledged) > 0 })
		before := len(acknowledged)
		w.eventually(t, "more writes", func() bool { return len(acknowledged) > before+50 })
		if err := w.lab.Kill(t.Context(), "", lab.Server); err != nil {
			t.Fatal(err)
		}
		if err := w.lab.Start(t.Context(), "", lab.Server); err != nil {
			t.Fatal(err)
		}
		at := len(acknowledged)
		w.eventually(t, "the server takes writes again", func() bool { return len(acknowledged) > at })
	}
	close(stop)
	<-done
	close(acknowledged)
	ids := 0
	for id := range acknowledged {
		ids++
		if status, _, err := w.call(t.Context(), "GET", "ports/"+id, nil); err != nil || status != 200 {
			t.Fatalf("acknowledged port %s is lost: %d %v", id, status, err)
		}
		w.must(t, "DELETE", "ports/"+id, "", nil)
	}
	t.Logf("%d acknowledged ports were all there", ids)
	_, out, err := w.call(t.Context(), "GET", "ports?network_id="+n+"&fields=id&device_owner=", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range out["ports"].([]any) { // written, but the answer was lost with the server
		w.must(t, "DELETE", "ports/"+p.(body)["id"].(string), "", nil)
	}
}
