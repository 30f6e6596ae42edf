package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := OpenAuthority(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpenAuthority_isTheSameAfterARestart(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAuthority(dir, t0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenAuthority(dir, t0.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if string(a.Certificate()) != string(b.Certificate()) {
		t.Fatal("a second authority was made")
	}
	st, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("ca.key: mode %v, %v", st.Mode(), err)
	}
}

func TestCheckToken(t *testing.T) {
	a, other := authority(t), authority(t)
	token := func(a *Authority, host string) string {
		s, err := a.Token(host, t0.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		rule, token, host string
		at                time.Time
		want              string // part of the error, "" for none
	}{
		{"a token for any host lets any join", token(a, ""), "compute1", t0, ""},
		{"a token for a host lets it join", token(a, "compute1"), "compute1", t0, ""},
		{"a token for a host lets no other join", token(a, "compute1"), "compute2", t0, "is for host"},
		{"an expired token is refused", token(a, ""), "compute1", t0.Add(time.Hour), "expired"},
		{"a token of another authority is refused", token(other, ""), "compute1", t0, "not of this server"},
		{"a changed token is refused", strings.Replace(token(a, "compute1"), ".ey", ".fy", 1), "compute1", t0, "no join token"},
		{"nonsense is refused", "hello", "compute1", t0, "no join token"},
		{"an empty token is refused", "", "compute1", t0, "no join token"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			err := a.CheckToken(c.token, c.host, c.at)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

// serve accepts connections with the server's certificate until the test ends.
func serve(t *testing.T, a *Authority) string {
	t.Helper()
	cert, err := a.IssueServer(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: a.Pool(), ClientAuth: tls.VerifyClientCertIfGiven})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				if c.(*tls.Conn).Handshake() == nil {
					c.Write([]byte{1})
				}
			}(c)
		}
	}()
	return ln.Addr().String()
}

func dial(addr string, cfg *tls.Config) error {
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1))
	return err
}

func TestJoin_fromTokenToMutualTLS(t *testing.T) {
	a := authority(t)
	addr := serve(t, a)
	dir := t.TempDir()
	token, err := a.Token("compute1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	j, err := Join(dir, "compute1", token)
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(addr, j.TLS()); err != nil {
		t.Fatalf("the pinned server is refused: %v", err)
	}
	der, err := a.IssueHost("compute1", j.CSR, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := j.Finish(der, a.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	if id.Host != "compute1" {
		t.Fatalf("identity of %q", id.Host)
	}
	if err := dial(addr, id.ClientTLS()); err != nil {
		t.Fatalf("mutual TLS: %v", err)
	}
	if _, err := LoadIdentity(dir); err != nil {
		t.Fatalf("identity does not survive a restart: %v", err)
	}
}

func TestJoin_aServerOfAnotherAuthorityIsRefused(t *testing.T) {
	a, evil := authority(t), authority(t)
	token, err := a.Token("", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	j, err := Join(t.TempDir(), "compute1", token)
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(serve(t, evil), j.TLS()); err == nil || !strings.Contains(err.Error(), "not the one in the join token") {
		t.Fatalf("got %v", err)
	}
}

func TestIssueHost_aHostCannotNameItselfServer(t *testing.T) {
	a := authority(t)
	j, err := Renew(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ServerName, "", "a..b", "-a", "a b", strings.Repeat("a", 64)} {
		if _, err := a.IssueHost(name, j.CSR, t0); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	der, err := a.IssueHost("compute1", j.CSR, t0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Fatalf("a host's certificate may be used for %v", c.ExtKeyUsage)
	}
}
