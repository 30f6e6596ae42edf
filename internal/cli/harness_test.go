package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/neutron"
	"weft/internal/server/store"
	"weft/internal/testkit/storetest"
)

// shell runs commands against a server. Every request is recorded.
type shell struct {
	url      string
	store    *store.Store
	alive    sync.Map // host -> true
	requests []string // "POST /v2.0/networks {…}", without GETs
	reads    []string // GETs
}

// newShell starts a server in memory whose clock and dice are the same in every run.
func newShell(t testing.TB) *shell {
	t.Helper()
	config := network.DefaultConfig()
	config.FlatNetworks = []string{"physnet1"}
	rules, err := network.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{store: storetest.Open(t)}
	var ticks atomic.Int64
	var mu sync.Mutex
	dice := rand.NewChaCha8([32]byte{1})
	api := neutron.New(neutron.Config{
		Store: s.store, Rules: rules, Authenticator: authn.None{}, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Unix(1_800_000_000+ticks.Add(1), 0).UTC() },
		Random: func() (b [16]byte) {
			mu.Lock()
			defer mu.Unlock()
			dice.Read(b[:])
			return b
		},
		Alive: func(host string) bool { _, ok := s.alive.Load(host); return ok },
	})
	s.serve(t, api)
	return s
}

// addHosts makes two hosts, of which compute1 is alive.
func (s *shell) addHosts(t testing.TB) {
	t.Helper()
	storetest.Update(t, s.store, func(tx *store.Tx) {
		for i, name := range []string{"compute1", "network1"} {
			tx.PutHost(&model.Host{
				Name: name, AgentID: model.AgentID{UUID: model.UUID{15: byte(i + 1)}}, Roles: []string{[]string{"compute", "gateway"}[i]}, Zone: "nova",
				TunnelAddr: netip.AddrFrom4([4]byte{10, 0, 1, 31 - 10*byte(i)}), TunnelTypes: []model.NetworkType{model.TypeGRE},
				Mappings: map[string]string{"physnet1": "br-ex"}, Datapath: "netdev", AdminStateUp: true, SeenAt: time.Unix(1_700_000_000, 0),
			})
		}
	})
	s.alive.Store("compute1", true)
}

func (s *shell) serve(t testing.TB, h http.Handler) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		line := strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
		if m := r.Header.Get("If-Match"); m != "" {
			line += " If-Match: " + m
		}
		if r.Method == http.MethodGet {
			s.reads = append(s.reads, line)
		} else {
			s.requests = append(s.requests, line)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
}

// root is a command tree as the main package makes it.
func root(o Options) *cobra.Command {
	r := &cobra.Command{Use: "weft", SilenceUsage: true, SilenceErrors: true}
	AddGlobalFlags(r)
	r.AddCommand(Commands(o)...)
	return r
}

// run runs a command line and returns what it printed, and its exit code.
func (s *shell) run(args ...string) (out, err string, code int) {
	r := root(Options{Env: func(name string) string {
		if name == "WEFT_URL" {
			return s.url
		}
		return ""
	}})
	var stdout, stderr bytes.Buffer
	r.SetOut(&stdout)
	r.SetErr(&stderr)
	r.SetArgs(args)
	fail := r.ExecuteContext(context.Background())
	if fail != nil {
		stderr.WriteString("weft: " + fail.Error() + "\n")
	}
	return stdout.String(), stderr.String(), ExitCode(fail)
}

// ok runs a command line that has to succeed. Words are split at spaces.
func (s *shell) ok(t testing.TB, line string, more ...string) string {
	t.Helper()
	out, err, code := s.run(append(strings.Fields(line), more...)...)
	if code != 0 {
		t.Fatalf("weft %s %q: exit %d: %s", line, more, code, err)
	}
	return out
}

// id makes something and returns its id.
func (s *shell) id(t testing.TB, line string, more ...string) string {
	t.Helper()
	return strings.TrimSpace(s.ok(t, line+" -f value -c id", more...))
}

// fails runs a command line that has to fail, and checks its exit code and what it says.
func (s *shell) fails(t testing.TB, code int, says string, args ...string) {
	t.Helper()
	out, err, got := s.run(args...)
	if got != code || !strings.Contains(err, says) {
		t.Errorf("weft %q: exit %d, want %d; it says\n%s%swant\n%s", args, got, code, err, out, says)
	}
}
