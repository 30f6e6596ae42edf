package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"weft/internal/host/link"
)

func envOf(text string) func(string) string {
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		vars[name] = value
	}
	return func(name string) string { return vars[name] }
}

func TestLeaseOfUdhcpc(t *testing.T) {
	def := netip.MustParsePrefix("0.0.0.0/0")
	for name, c := range map[string]struct {
		env  string
		want Lease
	}{
		"plain": {
			"ip=10.0.0.5\nmask=24\nrouter=10.0.0.1 10.0.0.9\ndns=8.8.8.8 8.8.4.4\nmtu=1458\nserverid=10.0.0.2\nlease=86400",
			Lease{
				Address: netip.MustParsePrefix("10.0.0.5/24"), Routes: []link.Route{{Dst: def, Gateway: netip.MustParseAddr("10.0.0.1")}},
				DNS: []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.4.4")}, MTU: 1458,
				Server: netip.MustParseAddr("10.0.0.2"), Time: 24 * time.Hour,
			},
		},
		"classless routes win over the router": {
			"ip=10.0.0.5\nmask=24\nrouter=10.0.0.1\nstaticroutes=169.254.169.254/32 0.0.0.0 0.0.0.0/0 10.0.0.7",
			Lease{
				Address: netip.MustParsePrefix("10.0.0.5/24"),
				Routes:  []link.Route{{Dst: netip.MustParsePrefix("169.254.169.254/32")}, {Dst: def, Gateway: netip.MustParseAddr("10.0.0.7")}},
			},
		},
		"no router": {"ip=10.0.0.5\nmask=32", Lease{Address: netip.MustParsePrefix("10.0.0.5/32")}},
	} {
		got, err := parseLease(envOf(c.env))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, c.want)
		}
	}
}

func TestBadLeaseIsRefused(t *testing.T) {
	for _, env := range []string{
		"", "ip=x\nmask=24", "ip=::1\nmask=24", "ip=10.0.0.5\nmask=33", "ip=10.0.0.5\nmask=24\nmtu=0",
		"ip=10.0.0.5\nmask=24\ndns=x", "ip=10.0.0.5\nmask=24\nstaticroutes=10.0.0.0/8", "ip=10.0.0.5\nmask=24\nstaticroutes=::/0 ::1",
	} {
		if l, err := parseLease(envOf(env)); err == nil {
			t.Errorf("%q: accepted as %+v", env, l)
		}
	}
}

func FuzzParseLease(f *testing.F) {
	f.Add("10.0.0.5", "24", "10.0.0.1", "10.1.0.0/16 10.0.0.2 0.0.0.0/0 0.0.0.0", "1458")
	f.Fuzz(func(t *testing.T, ip, mask, router, routes, mtu string) {
		vars := map[string]string{"ip": ip, "mask": mask, "router": router, "staticroutes": routes, "mtu": mtu}
		l, err := parseLease(func(name string) string { return vars[name] })
		if err != nil {
			return
		}
		if !l.Address.IsValid() || !l.Address.Addr().Is4() || (l.MTU != 0 && l.MTU < 68) {
			t.Errorf("accepted %+v", l)
		}
		for _, r := range l.Routes {
			if !r.Dst.IsValid() || r.Dst != r.Dst.Masked() {
				t.Errorf("accepted route %+v", r)
			}
		}
	})
}

func TestNewcArchiveIsReadByCpio(t *testing.T) {
	var b bytes.Buffer
	ok(t, writeNewc(&b, []archived{
		{name: "etc", mode: 0o755 | 1<<31}, {name: "etc/a", mode: 0o644, data: []byte("hello")}, {name: "init", mode: 0o755, data: []byte("#!/bin/sh\n")},
	}))
	cmd := exec.Command("busybox", "cpio", "-tv")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	var names []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 5 {
			names = append(names, f[0]+" "+f[2]+" "+f[len(f)-1])
		}
	}
	if want := "drwxr-xr-x 0 etc,-rw-r--r-- 5 etc/a,-rwxr-xr-x 10 init"; err != nil || strings.Join(names, ",") != want {
		t.Errorf("%v: %s\n%q", err, out, names)
	}
}
