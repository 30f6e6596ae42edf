package neutron

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/network"
	"weft/internal/server/store"
)

// Store is what the dialect needs of the store. *store.Store is one.
type Store interface {
	// Update runs fn as one durable transaction; see store.Store.
	Update(ctx context.Context, fn func(tx *store.Tx) error) (revision uint64, err error)
	// Read returns a snapshot that has every acknowledged write.
	Read(ctx context.Context) (*store.Snapshot, error)
	// Snapshot returns the latest durable state without asking anybody.
	Snapshot() *store.Snapshot
}

// Authenticator finds out who asks. authn.ErrUnauthorized is answered 401 in
// Keystone's form, any other error 503.
type Authenticator interface {
	Authenticate(r *http.Request) (authn.Principal, error)
}

// Metrics takes the figures of requests. Route is the template, never the path,
// so that ids do not become label values.
type Metrics interface {
	Request(method, route string, status int, took time.Duration)
}

// Config is what the API is made of. Store, Rules and Authenticator are needed.
type Config struct {
	Store         Store
	Rules         *network.Rules
	Authenticator Authenticator

	// Now and Random are the world that rules may see; nil: the real one.
	Now    func() time.Time
	Random func() [16]byte

	// Alive reports whether the agent of a host has a session; nil: none has.
	Alive func(host string) bool
	// Progress tells how far a host is that has a session; nil: not known.
	Progress func(host string) (p model.Progress, ok bool)

	Log     *slog.Logger // nil: no log
	Metrics Metrics      // nil: no figures
}

// API serves the v2.0 dialect. It is an http.Handler, safe for many requests at
// once, and holds no state of its own.
type API struct {
	Config
	routes map[string]*endpoint // by first path element below /v2.0
}

// New returns the API. It only assigns.
func New(c Config) *API {
	if c.Now == nil {
		c.Now = func() time.Time { return time.Now().UTC() }
	}
	if c.Random == nil {
		c.Random = func() (b [16]byte) { rand.Read(b[:]); return b }
	}
	if c.Alive == nil {
		c.Alive = func(string) bool { return false }
	}
	if c.Progress == nil {
		c.Progress = func(string) (model.Progress, bool) { return model.Progress{}, false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{Config: c}
	a.routes = a.table()
	return a
}

// call is one request on its way through the API.
type call struct {
	view
	who      authn.Principal
	req      *http.Request
	w        http.ResponseWriter
	rawQuery string
	route    string // template, for figures

	body    []byte // of the answer, what is not yet sent
	begun   bool   // the answer's object is open
	sent    bool   // the header is out
	status  int
	payload []byte // of the request
}

// flushBytes is how much of a long list is collected before it is sent.
const flushBytes = 64 << 10

// buffers keeps the answers' buffers, which are all about as large.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, flushBytes+8<<10)} }}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	started := time.Now()
	buf := buffers.Get().(*buffer)
	c := &call{view: view{api: a}, req: req, w: w, rawQuery: req.URL.RawQuery, body: buf.b[:0]}
	id := "req-" + model.RandomUUID(a.Random()).String()
	w.Header().Set("X-Openstack-Request-Id", id)
	w.Header().Set("Content-Type", "application/json")
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.Log.Error("request panicked", "request", id, "method", req.Method, "path", req.URL.Path, "panic", p)
			c.fail(fault.New(fault.Internal, "", "panic"))
		}
		took := time.Since(started)
		if a.Metrics != nil {
			a.Metrics.Request(req.Method, c.route, c.status, took)
		}
		if a.Log.Enabled(req.Context(), slog.LevelDebug) { // else not even the arguments are made
			a.Log.Debug("request", "request", id, "method", req.Method, "path", req.URL.Path,
				"status", c.status, "took", took, "project", c.who.ProjectID, "user", c.who.UserID)
		}
		if cap(c.body) <= 1<<20 {
			buf.b = c.body
			buffers.Put(buf)
		}
	}()
	if err := a.dispatch(c); err != nil {
		if fault.Of(err) == fault.Internal && !isDialect(err) {
			a.Log.Error("request", "request", id, "method", req.Method, "path", req.URL.Path, "error", errors.Unwrap(err), "message", err.Error())
		}
		c.fail(err)
	}
}

// isDialect tells the errors that are the dialect's own, which have no kind.
func isDialect(err error) bool {
	switch err.(type) {
	case tooLarge, notAllowed:
		return true
	}
	return false
}

// read gives the call its snapshot.
func (c *call) read() error {
	s, err := c.api.Store.Read(c.req.Context())
	if err != nil {
		return err
	}
	c.Snapshot = s
	return nil
}

// write runs a rule as one transaction, and gives the call the snapshot that has it.
// It outlives the client: what was begun is finished, and told if anybody listens.
func (c *call) write(fn func(tx *store.Tx, env network.Env) error) error {
	env := network.Env{Now: c.api.Now(), Random: c.api.Random}
	_, err := c.api.Store.Update(context.WithoutCancel(c.req.Context()), func(tx *store.Tx) error { return fn(tx, env) })
	if err != nil {
		return err
	}
	c.Snapshot = c.api.Store.Snapshot()
	return nil
}

// decode reads and decodes the request's body.
func (c *call) decode() (*object, error) {
	data, err := readBody(c.req)
	if err != nil {
		return nil, err
	}
	return decodeBody(data)
}

// fields returns the names of a show's `fields`.
func (c *call) fields() []string {
	if c.rawQuery == "" {
		return nil
	}
	params, _ := parseParams(c.rawQuery)
	var out []string
	for _, p := range params {
		if p.name == "fields" && p.value != "" {
			out = append(out, p.value)
		}
	}
	return out
}

// ifMatch reads the revision that the object must have, nil when none is asked
// for. What is not of the form revision_number=N is ignored, as the peer does.
func (c *call) ifMatch() *int64 {
	s, ok := strings.CutPrefix(strings.TrimSpace(c.req.Header.Get("If-Match")), "revision_number=")
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// base is the URL that the client reached us under.
func (c *call) base() string {
	scheme := "http"
	if c.req.TLS != nil || strings.EqualFold(c.req.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return scheme + "://" + c.req.Host
}

// begin opens the answer's object with its one name.
func (c *call) begin(name string) {
	c.body = append(c.body, `{"`...)
	c.body = append(c.body, name...)
	c.body = append(c.body, `":`...)
	c.begun = true
}

// flush sends what is collected when it is much. From then on the answer
// cannot fail.
func (c *call) flush() {
	if len(c.body) < flushBytes {
		return
	}
	c.header(http.StatusOK)
	c.w.Write(c.body) // a client that is gone is no error of ours
	c.body = c.body[:0]
}

func (c *call) header(status int) {
	if !c.sent {
		c.sent, c.status = true, status
		c.w.WriteHeader(status)
	}
}

// end closes the answer's object and sends it.
func (c *call) end(status int) {
	if c.begun {
		c.body = append(c.body, '}')
	}
	if status == http.StatusNoContent || len(c.body) == 0 {
		c.w.Header().Del("Content-Type")
		c.header(status)
		return
	}
	if !c.sent {
		c.w.Header()["Content-Length"] = []string{strconv.Itoa(len(c.body))}
	}
	c.header(status)
	c.w.Write(c.body)
}

// fail answers an error, unless part of an answer is out already.
func (c *call) fail(err error) {
	if c.sent {
		panic(http.ErrAbortHandler) // cut the connection: the client must not take half a list for a whole one
	}
	c.body, c.begun = c.body[:0], false
	var status int
	switch e := err.(type) {
	case notAllowed:
		c.w.Header().Set("Allow", e.allow)
	case noPath:
		c.body = append(c.body, `{"code":404,"title":"Not Found","description":null}`...)
		c.end(http.StatusNotFound)
		return
	}
	if fault.Of(err) == fault.Unauthorized {
		c.w.Header().Set("WWW-Authenticate", `Keystone uri="`+c.base()+`"`)
		c.body = append(c.body, `{"error":{"code":401,"title":"Unauthorized","message":"The request you have made requires authentication."}}`...)
		c.end(http.StatusUnauthorized)
		return
	}
	c.body, status = appendError(c.body, err)
	if status == http.StatusServiceUnavailable {
		c.w.Header().Set("Retry-After", "1")
	}
	c.end(status)
}

// noPath is the answer to a path outside of /v2.0.
type noPath struct{}

func (noPath) Error() string { return "no such path" }
