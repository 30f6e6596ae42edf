package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var thing = Resource{Name: "big_thing", Collection: "big_things", Path: "big-things", NameKey: "name"}

// fake answers requests by "METHOD /path?query" and records them with their headers and bodies.
type fake struct {
	*Client
	requests []string
	headers  []http.Header
}

func newFake(t *testing.T, o Options, answer func(method, uri string) (status int, body string)) *fake {
	t.Helper()
	f := &fake{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		f.headers = append(f.headers, r.Header)
		status, text := answer(r.Method, r.URL.RequestURI())
		if status >= 300 && status < 400 {
			w.Header().Set("Location", "/v2.0/elsewhere")
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	o.URL = server.URL
	var err error
	if f.Client, err = New(o); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRequestsHaveTheAPIsForm(t *testing.T) {
	f := newFake(t, Options{ProjectID: "p", UserID: "u", Roles: []string{"member", "reader"}}, func(method, uri string) (int, string) {
		switch {
		case method == "DELETE":
			return 204, ""
		case strings.HasSuffix(uri, "/tags"):
			return 200, `{"tags":[]}`
		}
		return 200, `{"big_thing":{"id":"a/b","size":9007199254740993}}`
	})
	ctx := context.Background()
	made, err := f.Create(ctx, thing, Object{"name": "x"})
	if err != nil || fmt.Sprint(made["size"]) != "9007199254740993" || made.ID() != "a/b" {
		t.Fatalf("made %v, %v: numbers keep their digits", made, err)
	}
	for _, err := range []error{
		second(f.Get(ctx, thing, "a/b")),
		second(f.Update(ctx, thing, "a/b", Object{"name": nil}, "7")),
		second(f.Update(ctx, thing, "a/b", Object{}, "")),
		f.SetTags(ctx, thing, "a/b", nil),
		f.Delete(ctx, thing, "a/b"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		`POST /v2.0/big-things {"big_thing":{"name":"x"}}`,
		`GET /v2.0/big-things/a%2Fb`,
		`PUT /v2.0/big-things/a%2Fb {"big_thing":{"name":null}}`,
		`PUT /v2.0/big-things/a%2Fb {"big_thing":{}}`,
		`PUT /v2.0/big-things/a%2Fb/tags {"tags":[]}`,
		`DELETE /v2.0/big-things/a%2Fb`,
	}
	if !slices.Equal(f.requests, want) {
		t.Errorf("requests\n%s\nwant\n%s", strings.Join(f.requests, "\n"), strings.Join(want, "\n"))
	}
	for i, h := range f.headers {
		if h.Get("X-Project-Id") != "p" || h.Get("X-User-Id") != "u" || h.Get("X-Roles") != "member,reader" {
			t.Errorf("request %d: identity in %v", i, h)
		}
		if wantMatch := map[bool]string{true: "revision_number=7"}[i == 2]; h.Get("If-Match") != wantMatch {
			t.Errorf("request %d: If-Match %q", i, h.Get("If-Match"))
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestWithoutIdentityThereAreNoHeadersOfOne(t *testing.T) {
	f := newFake(t, Options{}, func(string, string) (int, string) { return 200, `{"big_thing":{}}` })
	if _, err := f.Get(context.Background(), thing, "x"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-Project-Id", "X-User-Id", "X-Roles"} {
		if _, ok := f.headers[0][name]; ok {
			t.Errorf("header %s is sent", name)
		}
	}
}

// TestListFollowsPagesOnItsOwnServer: the query of the next link is followed, its host is not.
func TestListFollowsPagesOnItsOwnServer(t *testing.T) {
	f := newFake(t, Options{}, func(_, uri string) (int, string) {
		switch uri {
		case "/v2.0/big-things?limit=2":
			return 200, `{"big_things":[{"id":"1"},{"id":"2"}],"big_things_links":[{"rel":"previous","href":"http://x/?no"},{"rel":"next","href":"http://elsewhere.invalid/v2.0/big-things?limit=2&marker=2"}]}`
		case "/v2.0/big-things?limit=2&marker=2":
			return 200, `{"big_things":[{"id":"3"}],"big_things_links":[{"rel":"previous","href":"http://x/?no"}]}`
		}
		return 404, uri
	})
	var ids []string
	for o, err := range f.List(context.Background(), thing, url.Values{"limit": {"2"}}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, o.ID())
	}
	if strings.Join(ids, "") != "123" {
		t.Errorf("listed %v", ids)
	}
	f.requests = nil
	for range f.List(context.Background(), thing, url.Values{"limit": {"2"}}) {
		break
	}
	if len(f.requests) != 1 {
		t.Errorf("a list that is left early asks on: %v", f.requests)
	}
}

func TestListEndsWhenPagesLeadNowhere(t *testing.T) {
	for name, body := range map[string]string{
		"to itself": `{"big_things":[{"id":"1"}],"big_things_links":[{"rel":"next","href":"http://x/?limit=1"}]}`,
		"empty":     `{"big_things":[],"big_things_links":[{"rel":"next","href":"http://x/?limit=1&marker=9"}]}`,
	} {
		f := newFake(t, Options{}, func(string, string) (int, string) { return 200, body })
		n := 0
		for _, err := range f.List(context.Background(), thing, url.Values{"limit": {"1"}}) {
			if n++; err != nil || n > 3 {
				t.Fatalf("%s: %d objects, %v", name, n, err)
			}
		}
	}
}

func TestRefusalsAreReadWhateverTheirForm(t *testing.T) {
	for _, c := range []struct {
		name, body, says string
		status           int
	}{
		{"neutron", `{"NeutronError":{"type":"NetworkInUse","message":"It is in use.","detail":""}}`, "It is in use. (NetworkInUse, HTTP 409)", 409},
		{"neutron with detail", `{"NeutronError":{"type":"X","message":"No.","detail":"Really."}}`, "No. Really. (X, HTTP 400)", 400},
		{"keystone", `{"error":{"code":401,"title":"Unauthorized","message":"Who are you?"}}`, "Who are you? (Unauthorized, HTTP 401)", 401},
		{"html", `<html>`, "GET /v2.0/big-things/x: 502 Bad Gateway, and the answer is not the Networking API's", 502},
		{"redirect", ``, "GET /v2.0/big-things/x: 307 Temporary Redirect, and the answer is not the Networking API's", 307},
	} {
		f := newFake(t, Options{}, func(string, string) (int, string) { return c.status, c.body })
		_, err := f.Get(context.Background(), thing, "x")
		if err == nil || err.Error() != c.says || Status(err) != c.status {
			t.Errorf("%s: %v (%d), want %s", c.name, err, Status(err), c.says)
		}
		if len(f.requests) != 1 {
			t.Errorf("%s: %v", c.name, f.requests)
		}
	}
}

func TestAnswersOfSomethingElseAreErrors(t *testing.T) {
	for _, body := range []string{``, `<html>`, `[]`, `{}`, `{"big_thing":[]}`, `{"big_things":{}}`, `{"big_things":[],"big_things_links":7}`} {
		f := newFake(t, Options{}, func(string, string) (int, string) { return 200, body })
		if o, err := f.Get(context.Background(), thing, "x"); err == nil {
			t.Errorf("get answered %q gives %v", body, o)
		}
		for o, err := range f.List(context.Background(), thing, nil) {
			if err == nil {
				t.Errorf("list answered %q gives %v", body, o)
			}
		}
	}
}

func TestFind(t *testing.T) {
	const id = "0cd87274-d670-44ca-af0e-0d36c8496db7"
	objects := map[string]string{
		"one": `{"id":"1","name":"one"}`,
		"two": `{"id":"1","name":"two","project_id":"p"},{"id":"2","name":"two","project_id":"q"}`,
		"own": `{"id":"1","name":"own","project_id":"p"},{"id":"2","name":"own","project_id":"mine"}`,
		"bad": `{"id":"1","name":"bad","project_id":"mine"},{"id":"2","name":"bad","project_id":"mine"}`,
		// A name that looks like an id is found as well, but an id goes first.
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": `{"id":"3"}`,
		id:                                 `{"id":"4"}`,
	}
	f := newFake(t, Options{ProjectID: "mine"}, func(_, uri string) (int, string) {
		if uri == "/v2.0/big-things/"+id {
			return 200, `{"big_thing":{"id":"` + id + `"}}`
		}
		if name, ok := strings.CutPrefix(uri, "/v2.0/big-things?name="); ok {
			return 200, `{"big_things":[` + objects[name] + `]}`
		}
		return 404, `{"NeutronError":{"type":"ThingNotFound","message":"no","detail":""}}`
	})
	for ref, want := range map[string]string{"one": "1", "own": "2", id: id, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": "3"} {
		if o, err := f.Find(context.Background(), thing, ref); err != nil || o.ID() != want {
			t.Errorf("%s: %v, %v, want %s", ref, o, err, want)
		}
	}
	_, err := f.Find(context.Background(), thing, "two")
	var several *Ambiguous
	if !errors.As(err, &several) || err.Error() != `2 objects are called big thing "two", give the id of the one that is meant: 1 of project p, 2 of project q` {
		t.Errorf("several: %v", err)
	}
	if _, err := f.Find(context.Background(), thing, "bad"); !errors.As(err, &several) {
		t.Errorf("several of one's own: %v", err)
	}
	_, err = f.Find(context.Background(), thing, "none")
	var none *NotFound
	if !errors.As(err, &none) || err.Error() != `no big thing with the name or id "none"` {
		t.Errorf("none: %v", err)
	}
	nameless := thing
	nameless.NameKey = ""
	if _, err := f.Find(context.Background(), nameless, "one"); !errors.As(err, &none) || err.Error() != `no big thing with the id "one"` {
		t.Errorf("by name where there are no names: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{URL: "http://" + ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	_, err = c.Get(context.Background(), thing, "x")
	var gone *Unreachable
	if !errors.As(err, &gone) || gone.Timeout || gone.URL != c.URL() {
		t.Errorf("refused: %v", err)
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, err = New(Options{URL: "http://" + silent.Addr().String(), Timeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Get(context.Background(), thing, "x"); !errors.As(err, &gone) || !gone.Timeout {
		t.Errorf("silent: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = c.Get(ctx, thing, "x"); !errors.Is(err, context.Canceled) || errors.As(err, &gone) {
		t.Errorf("given up by the caller: %v", err)
	}
}

func TestObserve(t *testing.T) {
	var seen []Exchange
	f := newFake(t, Options{Observe: func(x Exchange) { seen = append(seen, x) }}, func(string, string) (int, string) { return 201, `{"big_thing":{}}` })
	if _, err := f.Create(context.Background(), thing, Object{"a": 1}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0].Method != "POST" || seen[0].Status != 201 || string(seen[0].Request) != `{"big_thing":{"a":1}}` || string(seen[0].Response) != `{"big_thing":{}}` || seen[0].Took <= 0 {
		t.Errorf("observed %+v", seen)
	}
}

func TestURLs(t *testing.T) {
	for text, want := range map[string]string{
		"http://h:9696": "http://h:9696", "https://h/": "https://h", "http://h/network/v2.0/": "http://h/network", "http://[::1]:1//": "http://[::1]:1",
		"": "", "h:9696": "", "ftp://h": "", "http://": "", "http://h?x": "", "http://h#x": "", "http://h\x7f": "",
	} {
		c, err := New(Options{URL: text})
		if (err == nil) != (want != "") || err == nil && c.URL() != want {
			t.Errorf("%q: %v, %v", text, c, err)
		}
	}
}

func TestDecodeObject(t *testing.T) {
	var into struct {
		ID    string `json:"id"`
		Fixed []struct {
			Addr string `json:"ip_address"`
		} `json:"fixed_ips"`
	}
	o := Object{"id": "x", "fixed_ips": []any{map[string]any{"ip_address": "10.0.0.1"}}}
	if err := o.Decode(&into); err != nil || into.ID != "x" || len(into.Fixed) != 1 || into.Fixed[0].Addr != "10.0.0.1" {
		t.Errorf("%+v, %v", into, err)
	}
	if len(o.List("fixed_ips")) != 1 || o.List("id") != nil || o.Text("fixed_ips") != "" {
		t.Error("getters take only what is of their kind")
	}
}

// FuzzParseError: whatever a server says, it makes an error with a message of one kind or the other.
func FuzzParseError(f *testing.F) {
	f.Add(409, []byte(`{"NeutronError":{"type":"X","message":"m","detail":"d"}}`))
	f.Add(500, []byte(`{"NeutronError":"text"}`))
	f.Add(401, []byte(`{"error":{"message":"m"}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if e := parseError("GET", "/x", status, body); e.Error() == "" || e.Status != status {
			t.Errorf("%+v", e)
		}
	})
}
