// Package pki is the small certificate authority between Weft's server and its
// hosts: the authority in the server's data directory, join tokens, and the
// certificate that each host has.
//
// It does not listen or dial. Called by the dispatcher (issue), the agent
// (request), and the commands of both.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ServerName is the name in every server's certificate. Agents ask for it, whatever
// address they dial, so that a server may move.
const ServerName = "weft-server"

// Lifetimes of certificates.
const (
	authorityLife = 20 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
)

// Authority signs the certificates of servers and hosts, and makes and checks join tokens.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenAuthority reads the authority in dir (ca.crt, ca.key), or makes one when there is none.
// The key file is readable by its owner only.
func OpenAuthority(dir string, now time.Time) (*Authority, error) {
	a, err := LoadAuthority(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "weft authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the authority's directory: %w", err)
	}
	// The certificate is written last: an authority without it does not count as made.
	if err := writeKey(filepath.Join(dir, "ca.key"), key); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, "ca.crt"), encodeCert(der), 0o644); err != nil {
		return nil, err
	}
	return LoadAuthority(dir)
}

// LoadAuthority reads the authority in dir; fs.ErrNotExist when there is none.
func LoadAuthority(dir string) (*Authority, error) {
	cert, err := readCert(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s: ca.key does not belong to ca.crt", dir)
	}
	return &Authority{cert: cert, key: key}, nil
}

// Certificate returns the authority's certificate in DER.
func (a *Authority) Certificate() []byte { return a.cert.Raw }

// Pool returns a pool that holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// IssueServer makes a certificate for this server process.
func (a *Authority) IssueServer(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the server's key: %w", err)
	}
	der, err := a.issue(ServerName, key.Public(), x509.ExtKeyUsageServerAuth, now)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, nil
}

// IssueHost signs a host's request; the name in the certificate is host, whatever the request says.
func (a *Authority) IssueHost(host string, csr []byte, now time.Time) ([]byte, error) {
	if err := CheckHostName(host); err != nil {
		return nil, err
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("certificate request of %s: %w", host, err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request of %s: %w", host, err)
	}
	return a.issue(host, req.PublicKey, x509.ExtKeyUsageClientAuth, now)
}

func (a *Authority) issue(name string, pub any, usage x509.ExtKeyUsage, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", name, err)
	}
	return der, nil
}

// CheckHostName refuses names that are not a DNS name of at most 253 letters.
func CheckHostName(host string) error {
	if host == "" || len(host) > 253 || host == ServerName {
		return fmt.Errorf("host name %q: want 1 to 253 letters, digits, dots and dashes", host)
	}
	for _, label := range strings.Split(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("host name %q: a part between dots is empty, too long, or begins or ends with a dash", host)
		}
		for _, c := range label {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return fmt.Errorf("host name %q: want letters, digits, dots and dashes", host)
			}
		}
	}
	return nil
}

// claims are what a join token says.
type claims struct {
	Host    string `json:"host,omitempty"` // empty: any host
	Expires int64  `json:"exp"`            // Unix seconds
	CA      []byte `json:"ca"`             // SHA-256 of the authority's certificate: the agent knows its server by it
}

// Token makes a join token for a host ("" for any) that is good until expires.
func (a *Authority) Token(host string, expires time.Time) (string, error) {
	if host != "" {
		if err := CheckHostName(host); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(a.cert.Raw)
	body, err := json.Marshal(claims{Host: host, Expires: expires.Unix(), CA: sum[:]})
	if err != nil {
		return "", fmt.Errorf("making a join token: %w", err)
	}
	mac, err := a.tokenMAC(body)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	return "weft1." + enc.EncodeToString(body) + "." + enc.EncodeToString(mac), nil
}

// CheckToken returns an error that says why when the token does not let host join now.
func (a *Authority) CheckToken(token, host string, now time.Time) error {
	c, body, mac, err := parseToken(token)
	if err != nil {
		return err
	}
	want, err := a.tokenMAC(body)
	if err != nil {
		return err
	}
	switch {
	case !hmac.Equal(mac, want):
		return errors.New("the join token is not of this server")
	case now.Unix() >= c.Expires:
		return errors.New("the join token has expired: make a new one with \"weft agent token\"")
	case c.Host != "" && c.Host != host:
		return fmt.Errorf("the join token is for host %q, not for %q", c.Host, host)
	}
	return nil
}

func (a *Authority) tokenMAC(body []byte) ([]byte, error) {
	// The signing key doubles as the token secret, through a hash with a purpose of its own.
	raw, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's key: %w", err)
	}
	secret := sha256.Sum256(append([]byte("weft join token\x00"), raw...))
	m := hmac.New(sha256.New, secret[:])
	m.Write(body)
	return m.Sum(nil), nil
}

func parseToken(token string) (c claims, body, mac []byte, err error) {
	bad := errors.New("this is no join token: want what \"weft agent token\" prints")
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 || parts[0] != "weft1" {
		return c, nil, nil, bad
	}
	enc := base64.RawURLEncoding
	if body, err = enc.DecodeString(parts[1]); err != nil {
		return c, nil, nil, bad
	}
	if mac, err = enc.DecodeString(parts[2]); err != nil {
		return c, nil, nil, bad
	}
	if err := json.Unmarshal(body, &c); err != nil || len(c.CA) != sha256.Size {
		return c, nil, nil, bad
	}
	return c, body, mac, nil
}

// Identity is a host's key and certificate in a directory: host.key, host.crt, ca.crt.
type Identity struct {
	Cert tls.Certificate
	Pool *x509.CertPool
	Host string
	Leaf *x509.Certificate
}

// RenewAt is when the host should ask for a new certificate: after two thirds of its life.
func (i *Identity) RenewAt() time.Time {
	return i.Leaf.NotBefore.Add(i.Leaf.NotAfter.Sub(i.Leaf.NotBefore) * 2 / 3)
}

// ClientTLS is the configuration of a connection from this host to any server.
func (i *Identity) ClientTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{i.Cert}, RootCAs: i.Pool, ServerName: ServerName, MinVersion: tls.VersionTLS13}
}

// LoadIdentity reads a host's identity; fs.ErrNotExist when it has not joined yet.
func LoadIdentity(dir string) (*Identity, error) {
	leaf, err := readCert(filepath.Join(dir, "host.crt"))
	if err != nil {
		return nil, err
	}
	ca, err := readCert(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, "host.key"))
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("%s: host.key does not belong to host.crt", dir)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &Identity{
		Cert: tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf},
		Pool: pool, Host: leaf.Subject.CommonName, Leaf: leaf,
	}, nil
}

// Joining is a host's request for its identity, from the token to the stored certificate.
type Joining struct {
	dir, host string
	key       *ecdsa.PrivateKey
	caSum     []byte // nil when an old identity is renewed
	CSR       []byte // DER
}

// Join begins with a join token.
func Join(dir, host, token string) (*Joining, error) {
	if err := CheckHostName(host); err != nil {
		return nil, err
	}
	c, _, _, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	if c.Host != "" && c.Host != host {
		return nil, fmt.Errorf("the join token is for host %q, not for %q", c.Host, host)
	}
	return request(dir, host, c.CA)
}

// Renew begins with the identity that the host has.
func Renew(dir, host string) (*Joining, error) { return request(dir, host, nil) }

func request(dir, host string, caSum []byte) (*Joining, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the host's key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: host}}, key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate request: %w", err)
	}
	return &Joining{dir: dir, host: host, key: key, caSum: caSum, CSR: csr}, nil
}

// TLS is the configuration of the connection that carries the request. The server is
// known by the fingerprint of its authority, which the token brought.
func (j *Joining) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection below checks the chain against the pinned authority
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) < 2 {
				return errors.New("the server did not show its authority")
			}
			ca := cs.PeerCertificates[len(cs.PeerCertificates)-1]
			if sum := sha256.Sum256(ca.Raw); !hmac.Equal(sum[:], j.caSum) {
				return errors.New("the server's authority is not the one in the join token")
			}
			roots := x509.NewCertPool()
			roots.AddCert(ca)
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: ServerName})
			return err
		},
	}
}

// Finish stores the certificate that the server gave and returns the identity.
func (j *Joining) Finish(cert, ca []byte) (*Identity, error) {
	leaf, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate from the server: %w", err)
	}
	if !j.key.PublicKey.Equal(leaf.PublicKey) || leaf.Subject.CommonName != j.host {
		return nil, errors.New("the server sent the certificate of somebody else")
	}
	if sum := sha256.Sum256(ca); j.caSum != nil && !hmac.Equal(sum[:], j.caSum) {
		return nil, errors.New("the server's authority is not the one in the join token")
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making %s: %w", j.dir, err)
	}
	// All three or none: a crash in between leaves a key that does not match, which LoadIdentity refuses
	// with a clear error, and a new token repairs.
	if err := writeFile(filepath.Join(j.dir, "ca.crt"), encodeCert(ca), 0o644); err != nil {
		return nil, err
	}
	if err := writeKey(filepath.Join(j.dir, "host.key"), j.key); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(j.dir, "host.crt"), encodeCert(cert), 0o644); err != nil {
		return nil, err
	}
	return LoadIdentity(j.dir)
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return n, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func readCert(path string) (*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: no PEM certificate in it", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "EC PRIVATE KEY" {
		return nil, fmt.Errorf("%s: no PEM key in it", path)
	}
	k, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// writeFile replaces a file as a whole: a crash leaves the old content or the new.
func writeFile(path string, b []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
