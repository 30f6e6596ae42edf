package neutron

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"weft/internal/server/authn"
)

// TestRouting: the paths that net/http's own multiplexer gets wrong, and those
// that lead nowhere.
func TestRouting(t *testing.T) {
	r := newRig(t, nil)
	id := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{"name": "n"}}), "id")
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"POST", "/", 405},
		{"GET", "/v2.0", 200}, {"GET", "/v2.0/", 200}, {"GET", "//v2.0//", 200}, {"DELETE", "/v2.0", 405},
		{"GET", "/v2.0/networks", 200}, {"GET", "/v2.0/networks/", 200}, {"GET", "/v2.0//networks", 200},
		{"GET", "/v2.0/networks.json", 200}, {"HEAD", "/v2.0/networks", 200},
		{"GET", "/v2.0/networks/" + id, 200}, {"GET", "/v2.0/networks/" + id + ".json", 200}, {"GET", "/v2.0/networks/" + id + "/", 200},
		{"GET", "/v2.0/networks/" + strings.ToUpper(id), 200}, {"GET", "/v2.0/networks/" + strings.ReplaceAll(id, "-", ""), 200},
		{"GET", "/v2.0/networks/a%2Fb", 404}, {"GET", "/v2.0/networks/%zz", 404}, {"GET", "/v2.0/networks/" + id + "/x", 404},
		{"GET", "/v2.0/networks/" + id + "/tags/a/b", 404},
		{"PATCH", "/v2.0/networks", 405}, {"PUT", "/v2.0/networks", 405}, {"POST", "/v2.0/networks/" + id, 405},
		{"BREW", "/v2.0/networks", 405}, {"POST", "/v2.0/agents", 405}, {"POST", "/v2.0/extensions", 405},
		{"PUT", "/v2.0/network-ip-availabilities/" + id, 405}, {"PATCH", "/v2.0/networks/" + id + "/tags", 405},
		{"GET", "/v2.0/nonsense", 404}, {"GET", "/v2.0/nonsense/x/y/z", 404}, {"GET", "/v3", 404}, {"GET", "/v2.0x", 404},
		{"GET", "/v2.0/quotas/x/y", 404}, {"POST", "/v2.0/quotas/x/details", 405},
		{"GET", "/v2.0/../v2.0/networks", 404},
	} {
		req := httptest.NewRequest(c.method, "http://h/", nil)
		req.URL.Path, req.URL.RawPath = unescape(c.path), c.path
		demo.sign(req)
		w := httptest.NewRecorder()
		r.api.ServeHTTP(w, req)
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, w.Code, c.status, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: not JSON: %q", c.method, c.path, w.Body)
		}
		if c.status == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: 405 without Allow", c.method, c.path)
		}
		if id := w.Header().Get("X-Openstack-Request-Id"); len(id) != len("req-")+36 {
			t.Errorf("%s %s: request id %q", c.method, c.path, id)
		}
	}
}

// TestStrictBody: what encoding/json would let through is refused, and nothing
// is made.
func TestStrictBody(t *testing.T) {
	r := newRig(t, nil)
	for name, body := range map[string]string{
		"duplicate key":      `{"network":{"name":"a","name":"b"}}`,
		"duplicate outside":  `{"network":{},"network":{}}`,
		"case of a name":     `{"network":{"Name":"a"}}`,
		"deep":               `{"network":{"name":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`,
		"very deep":          strings.Repeat(`{"network":`, 9000) + "1" + strings.Repeat("}", 9000),
		"invalid UTF-8":      "{\"network\":{\"name\":\"\xff\"}}",
		"trailing data":      `{"network":{}} x`,
		"two values":         `{"network":{}}{"network":{}}`,
		"huge integer":       `{"network":{"mtu":1` + strings.Repeat("0", 400) + `}}`,
		"float":              `{"network":{"mtu":1500.5}}`,
		"exponent":           `{"network":{"mtu":1e999999}}`,
		"bulk of strings":    `{"networks":["x"]}`,
		"bulk is an object":  `{"networks":{}}`,
		"bulk one unknown":   `{"networks":[{"name":"a"},{"colour":1}]}`,
		"null":               `null`,
		"null network":       `{"network":null}`,
		"null for a name":    `{"network":{"name":null}}`,
		"boolean text":       `{"network":{"admin_state_up":"maybe"}}`,
		"list for a boolean": `{"network":{"admin_state_up":[]}}`,
	} {
		r.refused(t, 400, "", demo, "POST", "/v2.0/networks", body)
		_ = name
	}
	r.refused(t, 413, "HTTPRequestEntityTooLarge", demo, "POST", "/v2.0/networks", `{"network":{"name":"`+strings.Repeat("x", maxBodyBytes)+`"}}`)
	if n := len(r.list(t, admin, "/v2.0/networks")); n != 0 {
		t.Errorf("%d networks were made of refused requests", n)
	}
}

// TestDefaultGroupOfOwnProjectOnly: looking at security groups makes the
// default group of who looks, and of nobody else (CVE-2022-3277).
func TestDefaultGroupOfOwnProjectOnly(t *testing.T) {
	r := newRig(t, nil)
	for range 2 {
		if l := r.list(t, demo, "/v2.0/security-groups?name=default"); len(l) != 1 {
			t.Fatalf("the caller's default group: %v", l)
		}
	}
	for _, project := range []string{"p1", "p2", "p3"} {
		if l := r.list(t, admin, "/v2.0/security-groups?project_id="+project); len(l) != 0 {
			t.Fatalf("a group for a project that was asked about: %v", l)
		}
	}
	for _, resource := range []string{"security-groups", "security-group-rules"} { // nor for one that a member asks about
		if l := r.list(t, demo, "/v2.0/"+resource+"?project_id=p1"); len(l) != 0 {
			t.Fatalf("%s of another project: %v", resource, l)
		}
	}
	if l := r.list(t, caller{"readers", "reader"}, "/v2.0/security-groups"); len(l) != 0 {
		t.Fatalf("a reader wrote: %v", l)
	}
	if n := r.store.Snapshot().SecurityGroupCount("p1"); n != 0 {
		t.Fatalf("%d groups of p1", n)
	}
}

// TestServiceTypesAreNoFilter: neutron-lib does not mark them as one, and Neutron refuses what is none.
func TestServiceTypesAreNoFilter(t *testing.T) {
	r := newRig(t, nil)
	const want = "['service_types'] is invalid attribute for filtering"
	if got := r.refused(t, 400, "HTTPBadRequest", demo, "GET", "/v2.0/subnets?service_types=compute:nova", nil); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestTags walks through the life of an object's tags, odd names included.
func TestTags(t *testing.T) {
	r := newRig(t, nil)
	path := "/v2.0/networks/" + str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	for _, tag := range []string{"a.json", "b%2Fc", "d%20e", "%C3%A9"} {
		if w := r.do(demo, "PUT", path+"/tags/"+tag, nil); w.Code != 201 {
			t.Fatalf("%s: %d %s", tag, w.Code, w.Body)
		}
		if w := r.do(demo, "GET", path+"/tags/"+tag, nil); w.Code != 204 {
			t.Fatalf("%s: %d %s", tag, w.Code, w.Body)
		}
	}
	if l := r.list(t, demo, "/v2.0/networks?tags=b/c,a.json&not-tags=zz"); len(l) != 1 {
		t.Errorf("filtered by tags: %v", l)
	}
	for query, want := range map[string]int{
		"tags=a.json,no": 0, "tags-any=no,d+e": 1, "not-tags=a.json,no": 1, "not-tags=a.json": 0, "not-tags-any=no": 1, "not-tags-any=no,%C3%A9": 0,
	} {
		if l := r.list(t, demo, "/v2.0/networks?"+query); len(l) != want {
			t.Errorf("%s: %d networks, want %d", query, len(l), want)
		}
	}
	r.refused(t, 404, "TagResourceNotFound", demo2, "PUT", path+"/tags/x", nil)
	r.refused(t, 404, "TagResourceNotFound", demo2, "GET", path+"/tags", nil)
	r.refused(t, 400, "InvalidInput", demo, "PUT", path+"/tags", obj{"tags": []string{"a", "a"}})
	r.refused(t, 400, "InvalidInput", demo, "PUT", path+"/tags", obj{"tags": []any{1}})
	r.must(t, demo, "DELETE", path+"/tags", nil)
	if got := r.must(t, demo, "GET", path, nil)["tags"].([]any); len(got) != 0 {
		t.Errorf("tags left: %v", got)
	}
}

type refuser struct{ err error }

func (f refuser) Authenticate(*http.Request) (authn.Principal, error) {
	return authn.Principal{}, f.err
}

// TestAuthentication: not proven is 401 with the header that clients need, an
// outage of the authenticator 503, and the versions are everybody's.
func TestAuthentication(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		err    error
		path   string
		status int
	}{
		{authn.ErrUnauthorized, "/v2.0/networks", 401}, {authn.ErrUnauthorized, "/v2.0/nonsense", 401}, {authn.ErrUnauthorized, "/", 200},
		{errors.New("no route to host"), "/v2.0/networks", 503},
	} {
		config := r.api.Config
		config.Authenticator = refuser{c.err}
		w := httptest.NewRecorder()
		New(config).ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if w.Code != c.status {
			t.Errorf("%v %s: %d %s", c.err, c.path, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "route to host") {
			t.Errorf("the cause is shown: %s", w.Body)
		}
		if (w.Header().Get("WWW-Authenticate") != "") != (c.status == 401) {
			t.Errorf("%s: WWW-Authenticate %q", c.path, w.Header().Get("WWW-Authenticate"))
		}
	}
}

type figures struct{ got []string }

func (f *figures) Request(method, route string, status int, _ time.Duration) {
	f.got = append(f.got, method+" "+route+" "+http.StatusText(status))
}

// TestMetricsByTemplate: no id, no made-up path becomes a label value.
func TestMetricsByTemplate(t *testing.T) {
	r := newRig(t, nil)
	f := &figures{}
	r.api.Metrics = f
	for _, path := range []string{"/v2.0/ports/0dec71fb-fa1b-4685-b9dc-f576832a6b5a", "/v2.0/made/up", "/up", "/v2.0/networks/x/tags/secret", "/v2.0/quotas/p/details"} {
		r.do(admin, "GET", path, nil)
	}
	want := "GET /v2.0/ports/{id} Not Found,GET /v2.0/unknown Not Found,GET unknown Not Found,GET /v2.0/networks/{id}/tags/{tag} Not Found,GET /v2.0/quotas/{id}/details OK"
	if got := strings.Join(f.got, ","); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestPanicIsA500 and the server goes on.
func TestPanicIsA500(t *testing.T) {
	r := newRig(t, nil)
	r.api.routes["boom"] = &endpoint{list: func(*call) error { panic("boom") }}
	if msg := r.refused(t, 500, "HTTPInternalServerError", demo, "GET", "/v2.0/boom", nil); strings.Contains(msg, "boom") {
		t.Errorf("the panic is shown: %s", msg)
	}
}
