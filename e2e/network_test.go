package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/internal/labcmd"
)

// network makes a network with one IPv4 subnet that the test's end removes.
func (w *world) network(t testing.TB, cidr string, attrs body) (id string) {
	t.Helper()
	in := body{"name": t.Name()}
	for k, v := range attrs {
		in[k] = v
	}
	n := w.must(t, "POST", "networks", "network", in)
	id = n["id"].(string)
	t.Cleanup(func() { w.must(t, "DELETE", "networks/"+id, "", nil) })
	w.must(t, "POST", "subnets", "subnet", body{"network_id": id, "cidr": cidr, "ip_version": 4})
	return id
}

// vm boots a guest that the test's end removes, and returns its port.
func (w *world) vm(t testing.TB, name, host, network string, more ...func(*labcmd.VMOptions)) labcmd.Port {
	t.Helper()
	o := labcmd.VMOptions{Name: name, Network: network, Host: host}
	for _, f := range more {
		f(&o)
	}
	p, err := labcmd.CreateVM(t.Context(), w.lab, w.Cloud, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := labcmd.DeleteVM(context.Background(), w.lab, w.Cloud, name); err != nil {
			t.Error(err)
		}
	})
	return p
}

// ping sends n pings every 10 ms and returns how many were answered.
func (w *world) ping(t testing.TB, vm, to string, n int) int {
	t.Helper()
	out, _ := w.lab.VMOutput(t.Context(), vm, "ping", "-i", "0.01", "-c", fmt.Sprint(n), "-W", "0.5", to)
	return strings.Count(out, "bytes from")
}

// reaches waits until pings are answered.
func (w *world) reaches(t testing.TB, vm, to string) {
	t.Helper()
	w.eventually(t, vm+" pings "+to, func() bool { return w.ping(t, vm, to, 1) == 1 })
}

func (w *world) eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestGuestsOnTwoHostsReachEachOtherOverGRE(t *testing.T) {
	n := w.network(t, "10.20.0.0/24", nil)
	w.vm(t, "a1", "compute1", n)
	b := w.vm(t, "b1", "compute2", n)
	w.reaches(t, "a1", b.Addrs[0].String())
	if p, err := w.Port(t.Context(), b.ID); err != nil || p.Status != "ACTIVE" {
		t.Errorf("the port of a guest that is reached is %s, %v", p.Status, err)
	}
	if got := w.ping(t, "a1", b.Addrs[0].String(), 100); got != 100 {
		t.Errorf("%d of 100 pings answered", got)
	}
}
