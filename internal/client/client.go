package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options say which server to speak to, and as whom.
type Options struct {
	URL string // http://127.0.0.1:9696; a path /v2.0 at its end is understood

	// Identity for servers without authentication, as Neutron's noauth takes it. With none
	// of them the server takes the caller for an admin.
	ProjectID, UserID string
	Roles             []string

	Timeout   time.Duration     // of one request; 0: none
	Transport http.RoundTripper // nil: http.DefaultTransport
	Observe   func(Exchange)    // told of each request when it is over; may be nil
}

// An Exchange is one request and its answer.
type Exchange struct {
	Method, URL string
	Request     []byte // body, nil for none
	Status      int    // 0: there was no answer
	Response    []byte
	Took        time.Duration
	Err         error // why there was no answer
}

// Client is a client of one server. It is safe for use by several goroutines.
type Client struct {
	options Options
	base    string // URL without a slash or version at its end
	http    *http.Client
}

// New checks the URL. It does not connect.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of a server: want http://HOST:PORT", o.URL)
	}
	base := strings.TrimSuffix(strings.TrimRight(o.URL, "/"), "/v2.0")
	return &Client{options: o, base: strings.TrimRight(base, "/"), http: &http.Client{
		Transport: o.Transport, Timeout: o.Timeout,
		// A redirect is an answer like another: a body is not sent to where nobody asked for it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// URL returns the server's URL.
func (c *Client) URL() string { return c.base }

// Create makes an object and returns it as the server made it.
func (c *Client) Create(ctx context.Context, r Resource, attributes Object) (Object, error) {
	return c.one(ctx, http.MethodPost, r, r.Path, attributes, nil)
}

// Get returns the object with an id.
func (c *Client) Get(ctx context.Context, r Resource, id string) (Object, error) {
	return c.one(ctx, http.MethodGet, r, r.Path+"/"+url.PathEscape(id), nil, nil)
}

// Update changes attributes of an object. With a revision that is not "" it changes them only
// while the object has that revision_number, and is refused with 412 otherwise.
func (c *Client) Update(ctx context.Context, r Resource, id string, attributes Object, revision string) (Object, error) {
	var header http.Header
	if revision != "" {
		header = http.Header{"If-Match": {"revision_number=" + revision}}
	}
	return c.one(ctx, http.MethodPut, r, r.Path+"/"+url.PathEscape(id), attributes, header)
}

// Delete deletes an object.
func (c *Client) Delete(ctx context.Context, r Resource, id string) error {
	_, err := c.Do(ctx, http.MethodDelete, r.Path+"/"+url.PathEscape(id), nil)
	return err
}

// SetTags makes tags the only tags of an object.
func (c *Client) SetTags(ctx context.Context, r Resource, id string, tags []string) error {
	if tags == nil {
		tags = []string{}
	}
	_, err := c.Do(ctx, http.MethodPut, r.Path+"/"+url.PathEscape(id)+"/tags", map[string]any{"tags": tags})
	return err
}

// List yields the objects that match a query, in the server's order; pages are fetched as they
// are needed, when the query has a limit. After an error it ends.
func (c *Client) List(ctx context.Context, r Resource, query url.Values) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for raw := query.Encode(); ; {
			page, next, err := c.page(ctx, r, raw)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
			}
			// A page without objects, or one that leads to itself, would be read for ever.
			if len(page) == 0 || next == "" || next == raw {
				return
			}
			raw = next
		}
	}
}

// page returns one page of a list and the query of the next, "" after the last.
func (c *Client) page(ctx context.Context, r Resource, query string) (page []Object, next string, err error) {
	path := r.Path
	if query != "" {
		path += "?" + query
	}
	body, err := c.Do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, "", err
	}
	var answer map[string]json.RawMessage
	if err := Decode(body, &answer); err != nil {
		return nil, "", c.garbled(path, err)
	}
	if err := Decode(answer[r.Collection], &page); err != nil {
		return nil, "", c.garbled(path, err)
	}
	var links []struct{ Rel, Href string }
	if l, ok := answer[r.Collection+"_links"]; ok {
		if err := Decode(l, &links); err != nil {
			return nil, "", c.garbled(path, err)
		}
	}
	for _, l := range links {
		if l.Rel == "next" {
			// Only the query of the link is followed: behind a proxy the server may think
			// itself elsewhere than it is reached, and an identity goes to no other host.
			if u, err := url.Parse(l.Href); err == nil {
				next = u.RawQuery
			}
		}
	}
	return page, next, nil
}

func (c *Client) garbled(path string, err error) error {
	return fmt.Errorf("%s/v2.0/%s: the answer is not the Networking API's: %w", c.base, path, err)
}

// Find returns the object that a person calls by its id or name. An id goes before a name; of
// several objects with one name, the only one of the caller's project goes before others.
// Errors: *NotFound, *Ambiguous, or those of Get and List.
func (c *Client) Find(ctx context.Context, r Resource, reference string) (Object, error) {
	if isID(reference) || r.NameKey == "" {
		o, err := c.Get(ctx, r, reference)
		if err == nil || Status(err) != http.StatusNotFound {
			return o, err
		}
		if r.NameKey == "" {
			return nil, &NotFound{r, reference}
		}
	}
	var found, own []Object
	query := url.Values{r.NameKey: {reference}}
	if k, v, ok := strings.Cut(r.Among, "="); ok {
		query.Set(k, v)
	}
	for o, err := range c.List(ctx, r, query) {
		if err != nil {
			return nil, err
		}
		found = append(found, o)
		if o.Text("project_id") == c.options.ProjectID {
			own = append(own, o)
		}
	}
	switch {
	case len(found) == 0:
		return nil, &NotFound{r, reference}
	case len(found) == 1:
		return found[0], nil
	case len(own) == 1:
		return own[0], nil
	}
	return nil, &Ambiguous{r, reference, found}
}

// isID reports whether a text can be an id of the API: a UUID, with or without dashes.
func isID(s string) bool {
	if len(s) != 36 && len(s) != 32 {
		return false
	}
	for i, ch := range []byte(s) {
		dash := len(s) == 36 && (i == 8 || i == 13 || i == 18 || i == 23)
		hex := ch >= '0' && ch <= '9' || ch >= 'a' && ch <= 'f' || ch >= 'A' && ch <= 'F'
		if dash != (ch == '-') || !dash && !hex {
			return false
		}
	}
	return true
}

// one sends a request whose body and answer hold one object.
func (c *Client) one(ctx context.Context, method string, r Resource, path string, attributes Object, header http.Header) (Object, error) {
	var body any
	if attributes != nil {
		body = map[string]any{r.Name: attributes}
	}
	answer, err := c.do(ctx, method, path, body, header)
	if err != nil {
		return nil, err
	}
	var objects map[string]Object
	if err := Decode(answer, &objects); err != nil {
		return nil, c.garbled(path, err)
	}
	o, ok := objects[r.Name]
	if !ok {
		return nil, c.garbled(path, fmt.Errorf("it has no %q", r.Name))
	}
	return o, nil
}

// Do sends a request to a path below /v2.0 and returns the body of the answer. It serves what
// is no resource with objects like others, such as quotas. Errors: *Error, *Unreachable.
func (c *Client) Do(ctx context.Context, method, path string, body any) ([]byte, error) {
	return c.do(ctx, method, path, body, nil)
}

func (c *Client) do(ctx context.Context, method, path string, body any, header http.Header) ([]byte, error) {
	x := Exchange{Method: method, URL: c.base + "/v2.0/" + path}
	var reader io.Reader
	if body != nil {
		var err error
		if x.Request, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		reader = bytes.NewReader(x.Request)
	}
	req, err := http.NewRequestWithContext(ctx, method, x.URL, reader)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	c.identify(req)
	began := time.Now()
	x.Status, x.Response, x.Err = c.send(req)
	x.Took = time.Since(began)
	if c.options.Observe != nil {
		c.options.Observe(x)
	}
	switch {
	case ctx.Err() != nil && x.Err != nil:
		return nil, ctx.Err() // the caller's wish, not the server's fault
	case x.Err != nil:
		var timeout net.Error
		return nil, &Unreachable{URL: c.base, Timeout: errors.As(x.Err, &timeout) && timeout.Timeout(), Err: x.Err}
	case x.Status < 200 || x.Status > 299:
		return nil, parseError(method, req.URL.RequestURI(), x.Status, x.Response)
	}
	return x.Response, nil
}

func (c *Client) identify(req *http.Request) {
	req.Header.Set("Accept", "application/json")
	if req.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range map[string]string{
		"X-Project-Id": c.options.ProjectID, "X-User-Id": c.options.UserID, "X-Roles": strings.Join(c.options.Roles, ","),
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
}

// send returns the whole answer.
func (c *Client) send(req *http.Request) (status int, body []byte, err error) {
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error // method and URL are said elsewhere
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer: %w", err)
	}
	return resp.StatusCode, body, nil
}
