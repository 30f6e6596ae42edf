package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"testing"

	"weft/internal/labcmd"
	"weft/internal/model"
)

// api speaks the v2.0 API plainly, so that tests see what a client sees.
type api struct {
	url string
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
func (a *api) must(t testing.TB, method, path, key string, in body) body {
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

// CreatePort is labcmd.Cloud.
func (a *api) CreatePort(ctx context.Context, s labcmd.PortSpec) (labcmd.Port, error) {
	port := body{
		"name": s.Name, "network_id": s.Network, "binding:host_id": s.Host, "device_id": s.Device.String(), "device_owner": "compute:nova",
	}
	if s.SecurityGroups != nil {
		port["security_groups"] = s.SecurityGroups
	}
	var fixed []body
	for _, ip := range s.FixedIPs {
		fixed = append(fixed, body{"ip_address": ip})
	}
	if fixed != nil {
		port["fixed_ips"] = fixed
	}
	status, out, err := a.call(ctx, "POST", "ports", body{"port": port})
	if err != nil || status != http.StatusCreated {
		return labcmd.Port{}, fmt.Errorf("creating port: %d %v %w", status, out, err)
	}
	return a.port(ctx, out["port"].(body))
}

func (a *api) port(ctx context.Context, p body) (labcmd.Port, error) {
	id, err := model.ParseUUID(p["id"].(string))
	if err != nil {
		return labcmd.Port{}, err
	}
	mac, err := model.ParseMAC(p["mac_address"].(string))
	if err != nil {
		return labcmd.Port{}, err
	}
	_, out, err := a.call(ctx, "GET", "networks/"+p["network_id"].(string), nil)
	if err != nil {
		return labcmd.Port{}, err
	}
	port := labcmd.Port{ID: model.PortID{UUID: id}, MAC: mac, MTU: int(out["network"].(body)["mtu"].(float64)), Status: p["status"].(string)}
	for _, f := range p["fixed_ips"].([]any) {
		port.Addrs = append(port.Addrs, netip.MustParseAddr(f.(body)["ip_address"].(string)))
	}
	return port, nil
}

// Port is labcmd.Cloud.
func (a *api) Port(ctx context.Context, id model.PortID) (labcmd.Port, error) {
	_, out, err := a.call(ctx, "GET", "ports/"+id.String(), nil)
	if err != nil {
		return labcmd.Port{}, err
	}
	return a.port(ctx, out["port"].(body))
}

// DeletePort is labcmd.Cloud.
func (a *api) DeletePort(ctx context.Context, id model.PortID) error {
	status, out, err := a.call(ctx, "DELETE", "ports/"+id.String(), nil)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("deleting port %s: %d %v", id, status, out)
	}
	return err
}
