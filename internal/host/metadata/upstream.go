package metadata

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"weft/internal/host/standin"
)

// Upstream is Nova's metadata service (nova-api-metadata) as Neutron's proxy speaks to it.
type Upstream struct {
	base   *url.URL
	secret []byte
}

// NewUpstream takes the service's URL, such as http://192.0.2.10:8775, and the secret that Nova has as
// [neutron] metadata_proxy_shared_secret.
func NewUpstream(base string, secret []byte) (*Upstream, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("metadata service %q: want http://HOST:PORT or https://HOST:PORT", base)
	}
	if len(secret) == 0 {
		return nil, errors.New("the metadata service needs the secret that it shares with Nova")
	}
	return &Upstream{base: u, secret: secret}, nil
}

// Sign is the signature of an instance's id (X-Instance-ID-Signature): HMAC-SHA256 in hexadecimal.
func (u *Upstream) Sign(instance string) string {
	h := hmac.New(sha256.New, u.secret)
	h.Write([]byte(instance))
	return hex.EncodeToString(h.Sum(nil))
}

// passed are the headers of a guest that go on to Nova. All others end here: those that say who asks or by
// which way (X-Forwarded-For, X-Instance-ID, X-Neutron-…, Forwarded, Via), whatever their case or number,
// and those that nobody has thought of (LP#1865036).
var passed = [...]string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "If-Modified-Since", "If-None-Match", "Range", "User-Agent"}

type guestKey struct{}

func withGuest(ctx context.Context, g standin.Guest) context.Context {
	return context.WithValue(ctx, guestKey{}, g)
}

// handler sends requests on. The guest is in the request's context.
func (u *Upstream) handler(log *slog.Logger) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: u.rewrite,
		Transport: &http.Transport{
			Proxy:               nil, // a proxy of the environment must not see guests' secrets
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 30 * time.Second, ExpectContinueTimeout: time.Second,
			MaxIdleConnsPerHost: 32, MaxConnsPerHost: 128, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		FlushInterval: -1, // an answer is passed on as it comes
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			var tooLarge *http.MaxBytesError
			switch {
			case errors.As(err, &tooLarge):
				fail(w, http.StatusRequestEntityTooLarge)
			case r.Context().Err() != nil:
				fail(w, http.StatusServiceUnavailable) // nobody reads it
			default:
				log.Warn("metadata service of Nova not reached", "url", u.base.Redacted(), "err", err)
				fail(w, http.StatusBadGateway)
			}
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g, _ := r.Context().Value(guestKey{}).(standin.Guest)
		switch {
		case g.Port == nil || g.Port.DeviceID == "" || strings.HasPrefix(g.Port.DeviceOwner, "network:"):
			fail(w, http.StatusNotFound) // no instance that Nova could know
		case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost && r.Method != http.MethodPut:
			fail(w, http.StatusMethodNotAllowed)
		case r.ContentLength > maxBody:
			fail(w, http.StatusRequestEntityTooLarge)
		default:
			proxy.ServeHTTP(w, r)
		}
	})
}

func (u *Upstream) rewrite(r *httputil.ProxyRequest) {
	g, _ := r.In.Context().Value(guestKey{}).(standin.Guest)
	r.SetURL(u.base)
	r.Out.Host = u.base.Host
	h := http.Header{}
	for _, name := range passed {
		if v := r.In.Header.Values(name); len(v) == 1 {
			h[name] = v
		}
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // net/http would put in its own
	}
	h["X-Forwarded-For"] = []string{g.Addr.String()}
	h["X-Instance-Id"] = []string{g.Port.DeviceID}
	h["X-Tenant-Id"] = []string{g.Port.ProjectID}
	h["X-Instance-Id-Signature"] = []string{u.Sign(g.Port.DeviceID)}
	r.Out.Header = h
	r.Out.Trailer = nil
}
