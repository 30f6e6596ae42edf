package neutron

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// page is one answer of a paged list.
type page struct {
	ids            []string
	next, previous string
}

func (r *rig) page(t *rapid.T, who caller, path string) page {
	w := r.do(who, "GET", path, nil)
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	var answer struct {
		Ports []struct{ ID string }
		Links []struct{ Rel, Href string } `json:"ports_links"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	var p page
	for _, port := range answer.Ports {
		p.ids = append(p.ids, port.ID)
	}
	for _, l := range answer.Links {
		u, err := url.Parse(l.Href)
		if err != nil {
			t.Fatal(err)
		}
		if l.Rel == "next" {
			p.next = u.RequestURI()
		} else {
			p.previous = u.RequestURI()
		}
	}
	return p
}

// TestPaging: whatever the filters, sort keys, caller and limit, walking the
// links forwards yields exactly the list, and walking them backwards, from the
// end, the same list.
func TestPaging(t *testing.T) {
	r := newRig(t, unlimited)
	net := str(r.must(t, demo, "POST", "/v2.0/networks", obj{"network": obj{}}), "id")
	r.must(t, demo, "POST", "/v2.0/subnets", obj{"subnet": obj{"network_id": net, "ip_version": 4, "cidr": "10.7.0.0/24"}})
	for i := range 23 {
		r.must(t, demo, "POST", "/v2.0/ports", obj{"port": obj{"network_id": net, "name": fmt.Sprint("n", i%4), "device_id": fmt.Sprint("d", i%3), "admin_state_up": i%2 == 0}})
	}
	rapid.Check(t, func(t *rapid.T) {
		who := rapid.SampledFrom([]caller{admin, demo, demo2}).Draw(t, "who")
		keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"id", "name", "device_id", "admin_state_up", "mac_address", "created_at"}), 0, 3, rapid.ID).Draw(t, "keys")
		query := "fields=id"
		for _, k := range keys {
			query += "&sort_key=" + k + "&sort_dir=" + rapid.SampledFrom([]string{"asc", "desc"}).Draw(t, "dir")
		}
		query += rapid.SampledFrom([]string{"", "&device_id=d1", "&name=n0&name=n2", "&network_id=" + net, "&status=DOWN"}).Draw(t, "filter")
		limit := rapid.IntRange(1, 30).Draw(t, "limit")

		all := r.page(t, who, "/v2.0/ports?"+query).ids
		first := fmt.Sprintf("/v2.0/ports?%s&limit=%d", query, limit)

		var forwards []string
		for at := first; at != ""; {
			p := r.page(t, who, at)
			if len(p.ids) > limit {
				t.Fatalf("%d on a page of %d", len(p.ids), limit)
			}
			forwards = append(forwards, p.ids...)
			at = p.next
		}
		if !slices.Equal(forwards, all) {
			t.Fatalf("forwards %v, want %v", forwards, all)
		}
		var backwards []string
		for at := first + "&page_reverse=True"; at != ""; {
			p := r.page(t, who, at)
			backwards = append(p.ids, backwards...)
			at = p.previous
		}
		if !slices.Equal(backwards, all) {
			t.Fatalf("backwards %v, want %v", backwards, all)
		}
	})
}

// TestStreamedListIsWhole: a list longer than what is sent at once is the
// same as its pages.
func TestStreamedListIsWhole(t *testing.T) {
	r := newRig(t, unlimited)
	fill(t, r, 1000)
	list := r.list(t, admin, "/v2.0/ports")
	ids := map[string]bool{}
	for _, p := range list {
		ids[str(p, "id")] = true
	}
	if want := 1001; len(list) != want || len(ids) != want { // and the port for DHCP
		t.Errorf("%d ports, %d distinct, want %d", len(list), len(ids), want)
	}
	if w := r.do(admin, "HEAD", "/v2.0/ports?limit=3", nil); w.Code != 200 || !strings.Contains(w.Body.String(), "ports_links") {
		t.Errorf("HEAD: %d", w.Code) // net/http leaves the body out, not the handler
	}
}
