package neutron

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

// tame checks what every answer must be, whatever was asked: no 5xx, valid JSON.
func tame(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if b := w.Body.Bytes(); len(b) > 0 && (!json.Valid(b) || !utf8.Valid(b)) {
		t.Fatalf("not JSON: %q", b)
	}
}

func FuzzQuery(f *testing.F) {
	r := newRig(f, unlimited)
	fill(f, r, 5)
	for _, e := range []string{"", "limit=2&marker=x", "sort_key=id&sort_dir=asc&page_reverse=True&limit=1", "fixed_ips=ip_address%3D10.0.0.1",
		"fixed_ips=ip_address_substr=1&fixed_ips=subnet_id=", "tags=a,b&not-tags-any=", "fields=id&fields=", "%zz=%", "name=%00", "changed_since=2020-01-01",
		"limit=99999999999999999999", "limit=2147483647", "status=ACTIVE&binding:host_id=&device_id=", "&&&=", "mtu=1&mtu=x", "\xff=\xfe"} {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, path := range []string{"ports", "networks", "subnets", "security-groups", "security-group-rules", "agents", "availability_zones", "quotas", "network-ip-availabilities"} {
			for _, who := range []caller{admin, demo} {
				req := httptest.NewRequest("GET", "/v2.0/"+path, nil)
				req.URL.RawQuery = raw
				who.sign(req)
				w := httptest.NewRecorder()
				r.api.ServeHTTP(w, req)
				tame(t, w)
			}
		}
	})
}

func FuzzBody(f *testing.F) {
	for _, e := range []string{`{"port":{"network_id":"NET","fixed_ips":[{"ip_address":"10.0.0.9"}]}}`, `{"network":{"name":"x","mtu":1e3}}`,
		`{"networks":[{},{"network":{}}]}`, `{"subnet":{"network_id":"NET","ip_version":6,"cidr":"fd00::/64","allocation_pools":[{"start":"fd00::2","end":"fd00::1"}]}}`,
		`{"subnet":{"network_id":"NET","ip_version":4,"cidr":"0.0.0.0/0"}}`, `{"subnet":{"network_id":"NET","ip_version":4,"cidr":"255.255.255.255/32"}}`,
		`{"security_group_rule":{"security_group_id":"NET","direction":"ingress","port_range_min":-1}}`, `{"quota":{"port":-1}}`, `{"tags":["a"]}`,
		`{"port":{"network_id":"NET","allowed_address_pairs":[{"ip_address":"::ffff:1.2.3.4/0","mac_address":1}],"extra_dhcp_opts":[{"opt_name":"a\nb","opt_value":null}],"binding:profile":{"a":[1,{"b":null}]}}}`,
		"", "null", "[]", `{"network":`, "\xef\xbb\xbf{}", `{"network":{"name":"\ud800"}}`, `{"agent":{"admin_state_up":null}}`} {
		f.Add(e)
	}
	r := newRig(f, nil)
	net, port := fill(f, r, 1)
	f.Fuzz(func(t *testing.T, body string) {
		body = strings.ReplaceAll(body, "NET", net)
		for _, path := range []string{"ports", "networks", "subnets", "security-groups", "security-group-rules"} {
			tame(t, r.do(demo, "POST", "/v2.0/"+path, body))
			tame(t, r.do(admin, "POST", "/v2.0/"+path, body))
		}
		tame(t, r.do(admin, "PUT", "/v2.0/ports/"+port, body))
		tame(t, r.do(admin, "PUT", "/v2.0/ports/"+port+"/tags", body))
		tame(t, r.do(admin, "PUT", "/v2.0/networks/"+net, body))
		tame(t, r.do(admin, "PUT", "/v2.0/quotas/p", body))
		tame(t, r.do(admin, "GET", "/v2.0/ports", nil))
	})
}

// FuzzParser: what the parser takes, encoding/json takes, and reads the same.
func FuzzParser(f *testing.F) {
	f.Add([]byte(`{"a":[1,-2.5e3,"x\u00e9\n",true,false,null,{"b":{}}]}`))
	f.Add([]byte(` { "a" : "\\\"" , "b":[ ] } `))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decodeBody(data)
		if err != nil || len(strings.TrimSpace(string(data))) == 0 {
			return
		}
		var want, got any
		if err := json.Unmarshal(data, &want); err != nil {
			return // a number that no float64 holds
		}
		if err := json.Unmarshal(appendValue(nil, o), &got); err != nil {
			t.Fatalf("%q: %v", appendValue(nil, o), err)
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if string(a) != string(b) {
			t.Fatalf("%s, want %s", b, a)
		}
	})
}
