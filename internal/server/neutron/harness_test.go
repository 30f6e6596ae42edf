package neutron

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/journal"
	"weft/internal/server/network"
	"weft/internal/server/store"
)

// rig is an API on a store that lives in memory.
type rig struct {
	api      *API
	store    *store.Store
	alive    map[string]bool
	progress map[string]model.Progress
}

// newRig starts a store and puts the API on it. The clock ticks a second a
// reading and the dice fall as always, so that tests repeat exactly. (TestPeer
// needs that: the rules pick addresses at random, the recorded requests name some,
// and with other dice, about one run in ten has one of these taken already.)
func newRig(t testing.TB, change func(*network.Config)) *rig {
	t.Helper()
	config := network.DefaultConfig()
	config.VLANRanges = map[string][]network.IDRange{"physnet1": {{First: 3000, Last: 3099}}}
	config.FlatNetworks = []string{"physnet1"}
	if change != nil {
		change(&config)
	}
	rules, err := network.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s := store.New(journal.NewMemory(), store.Options{Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	<-s.Ready()
	r := &rig{store: s, alive: map[string]bool{}, progress: map[string]model.Progress{}}
	var ticks atomic.Int64
	var mu sync.Mutex
	dice := rand.NewChaCha8([32]byte{6})
	r.api = New(Config{
		Store: s, Rules: rules, Authenticator: authn.None{},
		Now: func() time.Time { return time.Unix(1_800_000_000+ticks.Add(1), 0).UTC() },
		Random: func() (b [16]byte) {
			mu.Lock()
			defer mu.Unlock()
			dice.Read(b[:])
			return b
		},
		Alive:    func(host string) bool { return r.alive[host] },
		Progress: func(host string) (model.Progress, bool) { p, ok := r.progress[host]; return p, ok },
	})
	return r
}

// caller is who a request of a test is from.
type caller struct{ project, roles string }

var (
	admin  = caller{"149148c928df409eb274d00e3837b6cb", "admin"}
	demo   = caller{"3d84212e92fb47d8bedc2643525fa5eb", "member"}
	demo2  = caller{"ae4ad6dbafb04a4abefbbcc57fe20fbc", "member"}
	reader = caller{"3d84212e92fb47d8bedc2643525fa5eb", "reader"}
)

func (who caller) sign(r *http.Request) {
	r.Header.Set("X-Project-Id", who.project)
	r.Header.Set("X-User-Id", "u")
	r.Header.Set("X-Roles", who.roles)
}

// do sends one request; body may be nil, a string as it is, or a value to encode.
func (r *rig) do(who caller, method, path string, body any, header ...string) *httptest.ResponseRecorder {
	var rd io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		rd = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			panic(err)
		}
		rd = bytes.NewReader(j)
	}
	req := httptest.NewRequest(method, "http://127.0.0.1:9697"+path, rd)
	who.sign(req)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, req)
	return w
}

// must sends a request that has to succeed, and returns what is under the one
// name of the answer.
func (r *rig) must(t testing.TB, who caller, method, path string, body any, header ...string) map[string]any {
	t.Helper()
	w := r.do(who, method, path, body, header...)
	if w.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	if w.Body.Len() == 0 {
		return nil
	}
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
	}
	for k, v := range answer {
		if o, ok := v.(map[string]any); ok && !strings.HasSuffix(k, "_links") {
			return o
		}
	}
	return answer
}

// list returns the objects of a list answer.
func (r *rig) list(t testing.TB, who caller, path string) []map[string]any {
	t.Helper()
	answer := r.must(t, who, "GET", path, nil)
	for k, v := range answer {
		if l, ok := v.([]any); ok && !strings.HasSuffix(k, "_links") {
			out := make([]map[string]any, len(l))
			for i := range l {
				out[i] = l[i].(map[string]any)
			}
			return out
		}
	}
	t.Fatalf("GET %s: no list in the answer", path)
	return nil
}

// refused checks that a request is refused with a status and an error type.
func (r *rig) refused(t testing.TB, status int, typ string, who caller, method, path string, body any, header ...string) string {
	t.Helper()
	w := r.do(who, method, path, body, header...)
	var answer struct {
		NeutronError struct{ Type, Message string }
	}
	json.Unmarshal(w.Body.Bytes(), &answer)
	if w.Code != status || typ != "" && answer.NeutronError.Type != typ {
		t.Errorf("%s %s: %d %s, want %d %s", method, path, w.Code, w.Body, status, typ)
	}
	return answer.NeutronError.Message
}

func str(o map[string]any, key string) string { s, _ := o[key].(string); return s }

type obj = map[string]any
