package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"weft/internal/client"
	"weft/internal/labcmd"
)

// api speaks the v2.0 API plainly, so that tests see what a client sees.
type api struct {
	url string
}

// cloud is the API as the lab's commands use it.
func (a *api) cloud() labcmd.Cloud {
	c, err := client.New(client.Options{URL: a.url})
	if err != nil {
		panic(err) // the URL is a constant of the tests
	}
	return labcmd.NewCloud(c)
}

// body is a JSON object.
type body = map[string]any

// call makes a request and returns status and answer.
func (a *api) call(ctx context.Context, method, path string, in any) (int, body, error) {
	var r io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+"/v2.0/"+path, r)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err
	}
	out := body{}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &out); err != nil {
			return resp.StatusCode, nil, fmt.Errorf("%s %s: %w: %s", method, path, err, b)
		}
	}
	return resp.StatusCode, out, nil
}

// must makes a request that has to succeed, and returns the object under key.
func (a *api) must(t testing.TB, method, path, key string, in any) body {
	t.Helper()
	var wrapped any
	if in != nil {
		wrapped = body{key: in}
	}
	status, out, err := a.call(context.Background(), method, path, wrapped)
	if err != nil || status >= 300 {
		t.Fatalf("%s %s: %d %v %v", method, path, status, out, err)
	}
	object, _ := out[key].(body)
	return object
}
