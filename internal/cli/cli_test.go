package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

func TestNoServer(t *testing.T) {
	s := newShell(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	s.url = gone.URL
	gone.Close()
	_, err, code := s.run("network", "list")
	if want := "weft: no server at " + s.url + ": start one with `weft server --data-dir DIR`, or give --url\n"; err != want || code != 1 {
		t.Errorf("exit %d: %swant %s", code, err, want)
	}
	// Of several, none is tried after it.
	_, err, code = s.run("network", "delete", "a", "b")
	if strings.Count(err, "\n") != 1 || code != 1 {
		t.Errorf("exit %d: %s", code, err)
	}
	s.fails(t, 1, "no server at http://host.invalid:1 (", "--url", "http://host.invalid:1", "network", "list")
}

func TestSilentServer(t *testing.T) {
	s := newShell(t)
	stop := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	defer silent.Close()
	defer close(stop)
	s.fails(t, 1, "no answer from "+silent.URL+" within 10ms: --timeout gives it longer", "--url", silent.URL, "--timeout", "10ms", "network", "list")
}

func TestServerOfSomethingElse(t *testing.T) {
	s := newShell(t)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	s.fails(t, 1, "GET /v2.0/networks?fields=id&fields=name&fields=subnets: 404 Not Found, and the answer is not the Networking API's", "--url", other.URL, "network", "list")
}

func TestURLAndIdentity(t *testing.T) {
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		io.WriteString(w, `{"networks":[]}`)
	}))
	defer server.Close()
	s := &shell{url: "http://127.0.0.1:1"}
	s.ok(t, "--url "+server.URL+"/v2.0/ network list --project-id p --user-id u --roles member,reader")
	if seen.Get("X-Project-Id") != "p" || seen.Get("X-User-Id") != "u" || seen.Get("X-Roles") != "member,reader" {
		t.Errorf("identity: %v", seen)
	}
}

func TestDebugAndTimingDoNotDisturbTheOutput(t *testing.T) {
	s := newShell(t)
	out, errs, code := s.run("network", "create", "--debug", "--timing", "-f", "value", "-c", "name", "n")
	if out != "n\n" || code != 0 {
		t.Errorf("exit %d, prints %q", code, out)
	}
	for _, want := range []string{
		"> POST " + s.url + "/v2.0/networks\n> {\"network\":{\"name\":\"n\"}}\n< 201 in ", "< {\"network\":{\"id\":",
		"| Request ", "| POST " + s.url + "/v2.0/networks |", "| Total ",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
}

// TestListAsksForWhatItShows: a list of ten thousand ports should not be sent with
// all attributes.
func TestListAsksForWhatItShows(t *testing.T) {
	s := newShell(t)
	s.ok(t, "port list")
	if want := "GET /v2.0/ports?fields=id&fields=name&fields=mac_address&fields=fixed_ips&fields=status"; !slices.Equal(s.reads, []string{want}) {
		t.Errorf("asked for %v", s.reads)
	}
}

// TestSetMergesWithWhatOthersAdd: adding to a list reads and writes it; whoever changes it in
// between is not undone.
func TestSetMergesWithWhatOthersAdd(t *testing.T) {
	s := newShell(t)
	s.ok(t, "network create n")
	s.ok(t, "subnet create --network n --subnet-range 10.0.0.0/24 s")
	others, most := 0, 2
	route := func(n int) string { return fmt.Sprintf(" --host-route destination=10.%d.0.0/16,gateway=10.0.0.2", n) }
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && others < most {
			others++
			s.run(strings.Fields("subnet set s" + route(others))...)
		}
		proxy.ServeHTTP(w, r)
	}))
	defer between.Close()
	s.ok(t, "subnet set s"+route(99)+" --url "+between.URL)
	if got := s.ok(t, "subnet show s -f value -c host_routes"); strings.Count(got, "destination") != 3 || !strings.Contains(got, "10.99.") {
		t.Errorf("routes %s", got)
	}
	most = 1000
	s.fails(t, 1, "RevisionNumberConstraintFailed", strings.Fields("subnet set s"+route(98)+" --url "+between.URL)...)
	if others != 2+attempts {
		t.Errorf("tried %d times", others-2)
	}
}

func TestAddingWhatIsThereChangesNothing(t *testing.T) {
	s := newShell(t)
	s.ok(t, "network create n")
	s.ok(t, "port create --network n --security-group default p")
	before := s.ok(t, "port show p -f value -c security_group_ids")
	s.ok(t, "port set --security-group default p")
	if after := s.ok(t, "port show p -f value -c security_group_ids"); after != before {
		t.Errorf("groups %safter adding one of them: %s", before, after)
	}
}

func TestCreateSaysWhenTagsAreMissing(t *testing.T) {
	s := newShell(t)
	long := strings.Repeat("x", 256)
	_, errs, code := s.run("network", "create", "--tag", long, "n")
	if code != 1 || !strings.Contains(errs, " is made, but without its tags: ") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if s.ok(t, "network list -f value -c Name") != "n\n" {
		t.Error("it is not made")
	}
}

// TestWrongOptionsChangeNothing: what cannot be printed is not done first.
func TestWrongOptionsChangeNothing(t *testing.T) {
	s := newShell(t)
	s.fails(t, 2, `no column "none"`, "network", "create", "-c", "none", "n")
	s.fails(t, 2, "--max-width", "network", "create", "--max-width", "-1", "n")
	if len(s.requests) > 0 {
		t.Errorf("sent %v", s.requests)
	}
}

func TestNames(t *testing.T) {
	s := newShell(t)
	id := s.id(t, "network create same")
	s.id(t, "network create same")
	s.fails(t, 1, `2 objects are called network "same", give the id of the one that is meant: `, "subnet", "create", "--network", "same", "--subnet-range", "10.0.0.0/24", "s")
	s.ok(t, "subnet create --subnet-range 10.0.0.0/24 s --network "+id)
	if got := s.id(t, "subnet show s -c network_id"); !strings.HasPrefix(got, id) && !strings.Contains(got, id) {
		t.Errorf("subnet on %s, want %s", got, id)
	}
	// A name may look like anything.
	for _, name := range []string{"a b&c=d", "ü/../x", "aaaaaaaa-d670-44ca-af0e-0d36c8496db7", "-x", "'"} {
		_, errs, code := s.run("network", "create", "--", name)
		if code != 0 {
			t.Fatal(errs)
		}
		out, errs, code := s.run("network", "show", "-f", "value", "-c", "name", "--", name)
		if code != 0 || out != name+"\n" {
			t.Errorf("%s: %q %s", name, out, errs)
		}
	}
}

func TestCompletion(t *testing.T) {
	s := newShell(t)
	one := s.id(t, "network create net-1")
	two, three := s.id(t, "network create twin"), s.id(t, "network create twin")
	twins := []string{two + "\ttwin", three + "\ttwin"}
	all := append([]string{"net-1\t" + one}, twins...)
	for line, want := range map[string][]string{
		"network show":                      all,
		"network show net-1":                nil,
		"network delete":                    all,
		"network delete net-1":              all,
		"port create --network":             all,
		"network create":                    nil,
		"network list -f":                   {"table", "json", "yaml", "value", "csv"},
		"port list --status":                {"ACTIVE", "BUILD", "DOWN", "ERROR"},
		"network show --url http://x.nope.": nil,
	} {
		out := s.ok(t, "__complete "+line, "")
		var got []string
		for l := range strings.Lines(out) {
			if !strings.HasPrefix(l, ":") {
				got = append(got, strings.TrimSuffix(l, "\n"))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if out := s.ok(t, "__complete extension show", ""); !strings.Contains(out, "port-security\n") {
		t.Errorf("extensions: %s", out)
	}
	if out := s.ok(t, "completion bash"); !strings.Contains(out, "__complete") {
		t.Error("no completion for bash")
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("x"), 1}, {usage("x"), 2}, {&client.Error{Status: 409}, 1},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestConnectIsForOthersToo(t *testing.T) {
	cmd := &cobra.Command{Use: "x", Run: func(*cobra.Command, []string) {}}
	AddGlobalFlags(cmd)
	cmd.SetArgs([]string{"--project-id", "p"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]string{"": defaultURL, "http://h:1": "http://h:1"} {
		api, err := Connect(cmd, Options{Env: func(string) string { return env }})
		if err != nil || api.URL() != want {
			t.Errorf("WEFT_URL=%s: %v, %v", env, api, err)
		}
	}
	if _, err := Connect(&cobra.Command{}, Options{}); err == nil {
		t.Error("a command without the flags connects")
	}
}

// TestNamesOfOthersDoNotReachTheTerminal: a name with control characters moves no cursor.
func TestNamesOfOthersDoNotReachTheTerminal(t *testing.T) {
	s := newShell(t)
	var out bytes.Buffer
	r := root(Options{Env: func(string) string { return s.url }})
	r.SetOut(&out)
	r.SetArgs([]string{"network", "create", "--description", "a\x1b[2Jb\u202ec\td", "n"})
	if err := r.ExecuteContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `a\x1b[2Jb\u202ec d`) || strings.ContainsAny(out.String(), "\x1b\u202e\t") {
		t.Errorf("prints %q", out.String())
	}
}
