// Package apibench loads a server of the Networking API v2.0 from outside: it knows nothing but plain HTTP, so that the
// same requests can be made to any other server of that API.
//
// It measures and judges nothing. Called by weft/bench.
package apibench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Client speaks the API at one address.
type Client struct {
	url  string
	http *http.Client
}

// Object is a JSON object.
type Object = map[string]any

// New returns a client of the API at url (without /v2.0) that keeps a connection for each of clients.
func New(url string, clients int) *Client {
	return &Client{url: url, http: &http.Client{
		Timeout:   2 * time.Minute, // for hangs only
		Transport: &http.Transport{MaxIdleConns: 2 * clients, MaxIdleConnsPerHost: 2 * clients, DisableCompression: true},
	}}
}

// Close ends the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do makes a request below /v2.0 and returns the body; another status than want is an error.
func (c *Client) Do(ctx context.Context, method, path string, want int, body any) ([]byte, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+"/v2.0"+path, in)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: status %d, want %d: %.300s", method, path, resp.StatusCode, want, b)
	}
	return b, err
}

// Get fills out from the answer to a GET.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	b, err := c.Do(ctx, http.MethodGet, path, http.StatusOK, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// Post makes one object, or several when the body names a list, and fills out from the answer.
func (c *Client) Post(ctx context.Context, path string, body, out any) error {
	b, err := c.Do(ctx, http.MethodPost, path, http.StatusCreated, body)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// Create makes one object and returns its id.
func (c *Client) Create(ctx context.Context, path, key string, o Object) (string, error) {
	var out map[string]struct {
		ID string `json:"id"`
	}
	err := c.Post(ctx, path, Object{key: o}, &out)
	return out[key].ID, err
}

// Step runs f(0) to f(n-1) from a number of clients at once and returns how long each took and all of them together.
// The first error ends it.
func Step(clients, n int, f func(i int) error) (took []time.Duration, wall time.Duration, err error) {
	took = make([]time.Duration, n)
	var next atomic.Int64
	var once sync.Once
	var wg sync.WaitGroup
	began := time.Now()
	for range min(clients, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if e := f(i); e != nil {
					once.Do(func() { err = e })
					next.Store(int64(n))
					return
				}
				took[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	return took, time.Since(began), err
}
