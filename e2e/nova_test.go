package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	hexadecimal "encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"weft/internal/host/link"
	"weft/internal/lab"
	"weft/internal/labcmd"
)

// TestMetadata_ofNova: with Nova's metadata service in place, guests are answered by it, and it is told who
// asks by nobody but the host. Here it is a server in the host's own namespace that checks what Nova checks.
func TestMetadata_ofNova(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := another(t, "n", 95, labcmd.Options{Compute: 1, AgentArgs: []string{"--nova-metadata=http://127.0.0.1:8775", "--metadata-secret-file=" + secret}})
	pid, err := x.lab.PID("compute1", lab.Agent)
	if err != nil {
		t.Fatal(err)
	}
	host, err := link.OpenPath(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	var l net.Listener
	if err := host.Do(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:8775"); return err }); err != nil {
		t.Fatal(err)
	}
	nova := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := hmac.New(sha256.New, []byte("s3cret"))
		io.WriteString(h, r.Header.Get("X-Instance-ID"))
		if !hmac.Equal([]byte(hexadecimal.EncodeToString(h.Sum(nil))), []byte(r.Header.Get("X-Instance-ID-Signature"))) {
			http.Error(rw, "bad signature", http.StatusForbidden)
			return
		}
		fmt.Fprintf(rw, "%s %s %s", r.Header["X-Instance-Id"], r.Header["X-Forwarded-For"], r.URL.Path)
	})}
	done := make(chan error, 1)
	go func() { done <- nova.Serve(l) }()
	t.Cleanup(func() { nova.Close(); <-done })

	n := x.network(t, "10.67.0.0/24", nil)
	p := x.vm(t, "nova1", "compute1", n)
	device := x.must(t, "GET", "ports/"+p.ID.String(), "port", nil)["device_id"]
	want := fmt.Sprintf("[%s] [%s] /latest/meta-data/", device, p.Addrs[0])
	if got := x.metadata(t, "nova1", "/latest/meta-data/"); got != want {
		t.Errorf("Nova was asked by %q, want %q", got, want)
	}
	if _, got := x.get(t, "nova1", "http://169.254.169.254/latest/meta-data/", "-H", "X-Instance-ID: other", "-H", "X-Forwarded-For: 10.67.0.99"); got != want {
		t.Errorf("with lies Nova was asked by %q, want %q", got, want)
	}
}
