package neutron

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weft/internal/server/network"
)

// exchange is one recorded request and what a real Neutron answered.
type exchange struct {
	Name    string
	Ours    bool // a step that the peer did not have: only its status counts
	As      string
	Method  string
	Path    string
	Request json.RawMessage
	Headers map[string]string `json:"request_headers"`
	Status  int
	Body    any
}

// deviation is a line of deviations.txt: requests, a place in the answer, and
// why we differ there on purpose.
type deviation struct {
	request, place, reason string
	used                   bool
}

func readDeviations(t *testing.T) []*deviation {
	t.Helper()
	data, err := os.ReadFile("testdata/peer/deviations.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []*deviation
	for n, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "|")
		if len(f) != 3 || strings.TrimSpace(f[2]) == "" {
			t.Fatalf("deviations.txt:%d: not of the form request | place | reason", n+1)
		}
		out = append(out, &deviation{request: strings.TrimSpace(f[0]), place: strings.TrimSpace(f[1]), reason: strings.TrimSpace(f[2])})
	}
	return out
}

func readExchanges(t *testing.T) []exchange {
	t.Helper()
	data, err := os.ReadFile("testdata/peer/exchanges.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var out []exchange
	for d := json.NewDecoder(bytes.NewReader(data)); d.More(); {
		var e exchange
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

var (
	anyUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// The external network of the recorded run: floating addresses are of the server's choice.
	anyFloating = regexp.MustCompile(`\b172\.25\.0\.\d+\b`)
	anyMAC      = regexp.MustCompile(`fa:16:3e(:[0-9a-f]{2}){3}`)
)

// peer replays the recorded requests. Ids, MACs and addresses that a server
// makes up differ from run to run: names holds ours for each of the peer's.
type peer struct {
	names map[string]string
	next  string // the link to the next page in the last answer that had one
}

func (p *peer) translate(s string) string {
	s = anyUUID.ReplaceAllStringFunc(s, p.name)
	s = anyMAC.ReplaceAllStringFunc(s, p.name)
	return anyFloating.ReplaceAllStringFunc(s, p.name)
}

func (p *peer) name(s string) string {
	if ours, ok := p.names[s]; ok {
		return ours
	}
	return s
}

// free are the values that no two servers have in common.
var free = map[string]bool{
	"created_at": true, "updated_at": true, "fqdn": true, "hostname": true,
	"heartbeat_timestamp": true, "standard_attr_id": true,
}

// compare walks both answers and calls differ for each place where they differ.
// On the way it learns names, and addresses that the servers picked.
func (p *peer) compare(place string, theirs, ours any, differ func(place, what string)) {
	switch a := theirs.(type) {
	case map[string]any:
		b, ok := ours.(map[string]any)
		if !ok {
			differ(place, fmt.Sprintf("is %T, want an object", ours))
			return
		}
		for k, v := range a {
			if w, ok := b[k]; ok {
				p.compare(place+"."+k, v, w, differ)
			} else {
				differ(place+"."+k, "is missing")
			}
		}
		for k := range b {
			if _, ok := a[k]; !ok {
				differ(place+"."+k, "is more than the peer shows")
			}
		}
	case []any:
		b, ok := ours.([]any)
		if !ok {
			differ(place, fmt.Sprintf("is %T, want a list", ours))
			return
		}
		if len(a) != len(b) {
			differ(place, fmt.Sprintf("has %d elements, want %d", len(b), len(a)))
			return
		}
		a, b = p.sorted(a, true), p.sorted(b, false)
		for i := range a {
			p.compare(place+"[]", a[i], b[i], differ)
		}
	case string:
		b, ok := ours.(string)
		if !ok {
			differ(place, fmt.Sprintf("is %T, want a string", ours))
			return
		}
		p.compareString(place, a, b, differ)
	default:
		if theirs != ours {
			if fmt.Sprintf("%T", theirs) != fmt.Sprintf("%T", ours) {
				differ(place, fmt.Sprintf("is %v (%T), want %v (%T)", ours, ours, theirs, theirs))
			} else if !free[place[strings.LastIndexByte(place, '.')+1:]] {
				differ(place, fmt.Sprintf("is %v, want %v", ours, theirs))
			}
		}
	}
}

func (p *peer) compareString(place, theirs, ours string, differ func(place, what string)) {
	key := place[strings.LastIndexByte(place, '.')+1:]
	if free[key] {
		return
	}
	if anyUUID.FindString(theirs) == theirs && anyUUID.FindString(ours) == ours ||
		anyMAC.FindString(theirs) == theirs && anyMAC.FindString(ours) == ours || key == "ip_address" || key == "floating_ip_address" {
		if _, known := p.names[theirs]; !known {
			p.names[theirs] = ours
		}
	}
	want := p.name(p.translate(theirs))
	if key == "href" { // of a page: the parameters and their order count
		want, ours = anyUUID.ReplaceAllString(want, "ID"), anyUUID.ReplaceAllString(ours, "ID")
	}
	if want != ours {
		differ(place, fmt.Sprintf("is %q, want %q", ours, want))
	}
}

// sorted puts lists into an order that both servers have: lists of objects in
// that of what is fixed in them, others by value. The order that a server lists
// in is tested where it is promised.
func (p *peer) sorted(list []any, theirs bool) []any {
	list = slices.Clone(list)
	key := func(v any) string {
		j, _ := json.Marshal(v)
		s := string(j)
		if theirs {
			s = p.translate(s)
		}
		if o, ok := v.(map[string]any); ok {
			s = ""
			for _, k := range []string{"rel", "name", "collection", "cidr", "direction", "ethertype", "protocol", "port_range_min", "remote_ip_prefix", "opt_name", "start", "destination", "provider:network_type"} {
				s += fmt.Sprint(o[k], "|")
			}
			for _, k := range []string{"subnet_id", "ip_address", "id"} {
				t := fmt.Sprint(o[k])
				if theirs {
					t = p.name(p.translate(t))
				}
				s += t + "|"
			}
		}
		return s
	}
	slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(key(a), key(b)) })
	return list
}

// TestPeer replays what a real Neutron 21 was asked and compares our answers:
// status, error type and message, and the body's shape and values. Every
// difference must be listed in deviations.txt with its reason, and every
// listed one must be there.
func TestPeer(t *testing.T) {
	r := newRig(t, func(c *network.Config) {
		c.VLANRanges = map[string][]network.IDRange{"physnet1": {{First: 3000, Last: 3099}}}
		c.DNSDomain = "peer.example."
		c.RouterHA = false
	})
	deviations := readDeviations(t)
	p := &peer{names: map[string]string{}}
	callers := map[string]caller{"admin": admin, "demo": demo, "demo2": demo2}
	for _, e := range readExchanges(t) {
		w := p.send(r, callers[e.As], e)
		if e.Ours {
			if w.Code != e.Status {
				t.Fatalf("%s: %d %s", e.Name, w.Code, w.Body)
			}
			continue
		}
		differ := func(place, what string) {
			place = strings.TrimPrefix(place, ".")
			for _, d := range deviations {
				if ok, _ := path.Match(d.request, e.Name); !ok {
					continue
				}
				if ok, _ := path.Match(d.place, strings.ReplaceAll(place, "[]", "")); ok {
					d.used = true
					return
				}
			}
			t.Errorf("%s (%s %s): %s %s", e.Name, e.Method, e.Path, place, what)
		}
		if w.Code != e.Status {
			differ("status", fmt.Sprintf("is %d, want %d: %s", w.Code, e.Status, w.Body))
			continue
		}
		var ours any
		if w.Body.Len() > 0 {
			if err := json.Unmarshal(w.Body.Bytes(), &ours); err != nil {
				t.Errorf("%s: %v: %s", e.Name, err, w.Body)
				continue
			}
		}
		p.compare("", e.Body, ours, differ)
	}
	for _, d := range deviations {
		if !d.used {
			t.Errorf("deviations.txt: %q %q is stale: we do what the peer does", d.request, d.place)
		}
	}
}

func (p *peer) send(r *rig, who caller, e exchange) *httptest.ResponseRecorder {
	var header []string
	for k, v := range e.Headers {
		header = append(header, k, v)
	}
	var body any
	if len(e.Request) > 0 && string(e.Request) != "null" {
		body = string(e.Request)
		var raw string
		if json.Unmarshal(e.Request, &raw) == nil { // recorded as text: sent as it was
			body = raw
		}
		body = p.translate(body.(string))
	}
	target := p.translate(e.Path)
	if e.Name == "page_next" { // ids are random: the marker is where our own page ended
		target = p.next
	}
	w := r.do(who, e.Method, target, body, header...)
	if m := nextLink.FindSubmatch(w.Body.Bytes()); m != nil {
		p.next = string(m[1])
	}
	return w
}

var nextLink = regexp.MustCompile(`"rel":"next","href":"http://[^/]+([^"]+)"`)

// TestExtensionsAreThePeers: alias, name and date are what clients know.
func TestExtensionsAreThePeers(t *testing.T) {
	data, err := os.ReadFile("testdata/peer/extensions.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []struct{ Alias, Name, Updated string }
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	for _, e := range extensions() {
		if !slices.ContainsFunc(recorded, func(x struct{ Alias, Name, Updated string }) bool {
			return x.Alias == e.alias && x.Name == e.name && x.Updated == e.updated
		}) {
			t.Errorf("extension %s is not as the peer has it", e.alias)
		}
	}
	r := newRig(t, nil)
	if got := len(r.list(t, demo, "/v2.0/extensions")); got != len(extensions()) {
		t.Errorf("%d extensions listed, want %d", got, len(extensions()))
	}
	if got := r.must(t, demo, "GET", "/v2.0/extensions/agent.json", nil); str(got, "alias") != "agent" {
		t.Errorf("extension shown: %v", got)
	}
	r.refused(t, 404, "ExtensionNotFound", demo, "GET", "/v2.0/extensions/nothing", nil)
}
