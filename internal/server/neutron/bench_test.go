package neutron

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weft/internal/server/network"
)

// fill makes a network with n ports and returns the network's id and a port's.
func fill(b testing.TB, r *rig, n int) (networkID, portID string) {
	b.Helper()
	networkID = str(r.must(b, admin, "POST", "/v2.0/networks", obj{"network": obj{"name": "n"}}), "id")
	r.must(b, admin, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": networkID, "ip_version": 4, "cidr": "10.0.0.0/8"}})
	for made := 0; made < n; {
		var ports []any
		for range min(500, n-made) {
			ports = append(ports, obj{"network_id": networkID, "name": fmt.Sprintf("p%d", made), "device_id": fmt.Sprintf("dev-%d", made)})
			made++
		}
		r.must(b, admin, "POST", "/v2.0/ports", obj{"ports": ports})
	}
	portID = str(r.list(b, admin, "/v2.0/ports?fields=id&limit=1")[0], "id")
	return networkID, portID
}

func unlimited(c *network.Config) {
	for k := range c.Quotas {
		c.Quotas[k] = -1
	}
}

// sink takes an answer without keeping it.
type sink struct {
	header http.Header
	n      int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(b []byte) (int, error) { s.n += len(b); return len(b), nil }

func (r *rig) serve(b *testing.B, who caller, method, path, body string) {
	req := httptest.NewRequest(method, "http://127.0.0.1:9696"+path, strings.NewReader(body))
	who.sign(req)
	r.api.ServeHTTP(&sink{header: http.Header{}}, req)
}

func BenchmarkAPI(b *testing.B) {
	r := newRig(b, unlimited)
	networkID, portID := fill(b, r, 10_000)
	for _, bench := range []struct {
		name, method, path, body string
		who                      caller
	}{
		{"get port", "GET", "/v2.0/ports/" + portID, "", admin},
		{"get port fields", "GET", "/v2.0/ports/" + portID + "?fields=id&fields=fixed_ips", "", admin},
		{"list 10000 full", "GET", "/v2.0/ports", "", admin},
		{"list 10000 full as member", "GET", "/v2.0/ports", "", caller{admin.project, "member"}},
		{"list 10000 fields=id", "GET", "/v2.0/ports?fields=id", "", admin},
		{"list 10000 sort name", "GET", "/v2.0/ports?sort_key=name&sort_dir=desc", "", admin},
		{"list by device_id", "GET", "/v2.0/ports?device_id=dev-77", "", admin},
		{"list by fixed ip", "GET", "/v2.0/ports?fixed_ips=ip_address%3D10.0.0.9", "", admin},
		{"list page 100", "GET", "/v2.0/ports?limit=100", "", admin},
		{"create port", "POST", "/v2.0/ports", `{"port":{"network_id":"` + networkID + `","name":"x","device_id":"d","device_owner":"compute:nova"}}`, admin},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.serve(b, bench.who, bench.method, bench.path, bench.body)
			}
		})
	}
}

// BenchmarkCreateOverhead is a create without rules and store: decoding the
// request and encoding the answer.
func BenchmarkCreateOverhead(b *testing.B) {
	r := newRig(b, unlimited)
	networkID, portID := fill(b, r, 1)
	res := portResource(r.api.Rules).finish()
	body := []byte(`{"port":{"network_id":"` + networkID + `","name":"x","device_id":"d","device_owner":"compute:nova","fixed_ips":[{"ip_address":"10.0.0.9"}]}}`)
	c := &call{view: view{Snapshot: r.store.Snapshot(), api: r.api}}
	row, err := func() (any, error) { c.who.Admin = true; return res.find(c, portID) }()
	if err != nil {
		b.Fatal(err)
	}
	_ = row
	b.ReportAllocs()
	for b.Loop() {
		o, err := decodeBody(body)
		if err != nil {
			b.Fatal(err)
		}
		inner, _ := objectOf(o, "port")
		var spec network.PortSpec
		if err := res.fill(c, &spec, inner, true); err != nil {
			b.Fatal(err)
		}
		found, _ := res.find(c, portID)
		res.encode(nil, &c.view, found.Obj)
	}
}
