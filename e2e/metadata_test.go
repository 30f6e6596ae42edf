package e2e

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/labcmd"
	"weft/internal/model"
)

// sshKey is a public key as in authorized_keys.
func sshKey(comment string) string {
	public := make([]byte, ed25519.PublicKeySize)
	wire := binary.BigEndian.AppendUint32(nil, 11)
	wire = append(wire, "ssh-ed25519"...)
	wire = append(binary.BigEndian.AppendUint32(wire, uint32(len(public))), public...)
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(wire) + " " + comment
}

// tells has a VM be told things by metadata.
func tells(i model.Instance) func(*labcmd.VMOptions) {
	return func(o *labcmd.VMOptions) { o.Instance = i }
}

// get reads a URL in a guest, headers first; status is 0 when there is no answer.
func (w *world) get(t testing.TB, vm, url string, args ...string) (status int, text string) {
	t.Helper()
	argv := append([]string{"curl", "-sS", "-m", "3", "-w", "\n%{http_code}", "-g"}, append(args, url)...)
	out, err := w.lab.VMOutput(t.Context(), vm, argv...)
	if err != nil {
		t.Logf("%s: %v", url, err)
	}
	i := strings.LastIndex(out, "\n")
	if i < 0 {
		return 0, out
	}
	fmt.Sscan(out[i+1:], &status)
	return status, out[:i]
}

func (w *world) metadata(t testing.TB, vm, path string) string {
	t.Helper()
	var text string
	w.eventually(t, vm+" reads "+path, func() bool {
		status, body := w.get(t, vm, "http://169.254.169.254"+path)
		text = body
		return status == 200
	})
	return text
}

func TestMetadata_isReadInBothFormats(t *testing.T) {
	n := w.network(t, "10.60.0.0/24", nil)
	p := w.vm(t, "md1", "compute1", n, tells(model.Instance{Hostname: "web1", SSHKeys: []string{sshKey("me@laptop")}, UserData: []byte("#cloud-config\n{}\n")}))
	var meta struct {
		UUID, Name, Hostname string
		PublicKeys           map[string]string `json:"public_keys"`
	}
	if err := json.Unmarshal([]byte(w.metadata(t, "md1", "/openstack/latest/meta_data.json")), &meta); err != nil {
		t.Fatal(err)
	}
	port := w.must(t, "GET", "ports/"+p.ID.String(), "port", nil)
	if meta.UUID != port["device_id"] || meta.Name != "web1" || meta.Hostname != "web1.openstacklocal" || strings.TrimSpace(meta.PublicKeys["default"]) != sshKey("me@laptop") {
		t.Errorf("meta_data.json says %+v", meta)
	}
	for path, want := range map[string]string{
		"/openstack/latest/user_data":                      "#cloud-config\n{}",
		"/latest/user-data":                                "#cloud-config\n{}",
		"/latest/meta-data/local-ipv4":                     p.Addrs[0].String(),
		"/latest/meta-data/mac":                            p.MAC.String(),
		"/latest/meta-data/hostname":                       "web1.openstacklocal",
		"/2009-04-04/meta-data/public-keys/":               "0=default",
		"/2009-04-04/meta-data/public-keys/0/openssh-key/": sshKey("me@laptop"),
	} {
		if got := strings.TrimSpace(w.metadata(t, "md1", path)); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	// The kernel gives a card its link-local address up to a second after the card is up.
	w.eventually(t, "metadata over IPv6", func() bool {
		status, _ := w.get(t, "md1", "http://[fe80::a9fe:a9fe%25eth0]/openstack")
		return status == 200
	})
}

// TestMetadata_knowsOverlappingTenantsApart: who asks is the port, not the address, and not what it says of itself.
func TestMetadata_knowsOverlappingTenantsApart(t *testing.T) {
	red, blue := w.network(t, "10.61.0.0/24", nil), w.network(t, "10.61.0.0/24", nil)
	same := func(o *labcmd.VMOptions) { o.FixedIPs = []string{"10.61.0.10"} }
	w.vm(t, "red", "compute1", red, same, tells(model.Instance{Hostname: "red"}))
	b := w.vm(t, "blue", "compute1", blue, same, tells(model.Instance{Hostname: "blue"}))
	port := w.must(t, "GET", "ports/"+b.ID.String(), "port", nil)
	for vm, want := range map[string]string{"red": "red.openstacklocal", "blue": "blue.openstacklocal"} {
		if got := w.metadata(t, vm, "/latest/meta-data/hostname"); got != want {
			t.Errorf("%s is told that it is %s", vm, got)
		}
	}
	for _, h := range []string{"X-Forwarded-For: 10.61.0.11", "X-Instance-ID: " + port["device_id"].(string), "X-Neutron-Port-ID: " + b.ID.String(), "Forwarded: for=10.61.0.11"} {
		if status, got := w.get(t, "red", "http://169.254.169.254/latest/meta-data/hostname", "-H", h); status != 200 || got != "red.openstacklocal" {
			t.Errorf("with %q red is told %d %q", h, status, got)
		}
	}
	// An address that is not the port's has no metadata, and neither has one that stands for another guest.
	for _, foreign := range []string{"10.61.0.99/24", "100.64.0.64/10"} {
		if _, err := w.lab.VMOutput(t.Context(), "red", "ip", "address", "add", foreign, "dev", "eth0"); err != nil {
			t.Fatal(err)
		}
		addr, _, _ := strings.Cut(foreign, "/")
		if status, got := w.get(t, "red", "http://169.254.169.254/latest/meta-data/hostname", "--interface", addr, "-m", "1"); status != 0 {
			t.Errorf("from %s red is told %d %q", addr, status, got)
		}
	}
}

// TestMetadata_passesWhateverTheGroupSays, like DHCP; and nothing else of the host is reached.
func TestMetadata_passesWhateverTheGroupSays(t *testing.T) {
	n := w.network(t, "10.62.0.0/24", nil)
	g := w.group(t, "no-egress")
	group := w.must(t, "GET", "security-groups/"+g, "security_group", nil)
	for _, r := range group["security_group_rules"].([]any) {
		w.must(t, "DELETE", "security-group-rules/"+r.(body)["id"].(string), "", nil)
	}
	w.vm(t, "shut", "compute1", n, func(o *labcmd.VMOptions) { o.SecurityGroups = []string{g} })
	w.metadata(t, "shut", "/openstack")
	if w.connects(t, "shut", "169.254.169.254", 53) || w.connects(t, "shut", "169.254.169.254", 22) {
		t.Error("another port of the metadata service's address answers")
	}
	w.vm(t, "scan", "compute1", n)
	out, _ := w.lab.VMOutput(t.Context(), "scan", "sh", "-c",
		"for p in 1 21 22 23 25 53 80 111 443 2379 6640 8080 8775 9696 9697 9698; do timeout 0.3 nc -z 169.254.169.254 $p && echo $p; done; true")
	if strings.TrimSpace(out) != "80" {
		t.Errorf("open ports of 169.254.169.254: %q, want 80 alone", out)
	}
	out, _ = w.lab.VMOutput(t.Context(), "scan", "sh", "-c", "for p in 22 53 80 9697; do timeout 0.3 nc -z 10.62.0.2 $p && echo $p; done; true")
	if strings.TrimSpace(out) != "53" {
		t.Errorf("open ports of the DHCP port: %q, want 53 alone", out)
	}
}

// TestMetadata_limitsAPort and no other.
func TestMetadata_limitsAPort(t *testing.T) {
	n := w.network(t, "10.63.0.0/24", nil)
	w.vm(t, "greedy", "compute1", n)
	w.vm(t, "modest", "compute1", n)
	w.metadata(t, "greedy", "/openstack")
	w.metadata(t, "modest", "/openstack")
	out, _ := w.lab.VMOutput(t.Context(), "greedy", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\n", "http://169.254.169.254/openstack?[1-400]")
	if got := strings.Count(out, "429"); got == 0 || strings.Count(out, "200") < 50 {
		t.Errorf("of 400 requests at once %d are answered and %d refused", strings.Count(out, "200"), got)
	}
	if status, _ := w.get(t, "modest", "http://169.254.169.254/openstack"); status != 200 {
		t.Errorf("another guest is told %d", status)
	}
}

// TestMetadata_survivesTheAgentAndTheServer: a restarted agent answers as before, without a server too.
func TestMetadata_survivesTheAgentAndTheServer(t *testing.T) {
	n := w.network(t, "10.64.0.0/24", nil)
	w.vm(t, "md2", "compute1", n, tells(model.Instance{Hostname: "steady"}))
	w.metadata(t, "md2", "/openstack")
	w.settled(t, "compute1")
	if err := w.lab.Kill(t.Context(), "", lab.Server); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if pid, _ := w.lab.PID("", lab.Server); pid == 0 {
			w.lab.Start(context.Background(), "", lab.Server)
		}
	})
	if err := w.lab.Kill(t.Context(), "compute1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.Start(t.Context(), "compute1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	if got := w.metadata(t, "md2", "/latest/meta-data/hostname"); got != "steady.openstacklocal" {
		t.Errorf("after the restart the guest is told %q", got)
	}
	if err := w.lab.Start(t.Context(), "", lab.Server); err != nil {
		t.Fatal(err)
	}
	w.settled(t, "compute1")
	w.settled(t, "compute2")
	if n := w.writes(t, "compute1"); n != 0 {
		t.Errorf("the agent wrote %v times on a converged host", n)
	}
}

// TestServices_holdNothingElse: what a guest could misuse is not there; and what somebody deletes comes back.
func TestServices_holdNothingElse(t *testing.T) {
	inside := func(argv ...string) string {
		return w.host(t, "compute1", append([]string{"ip", "netns", "exec", "weft-services"}, argv...)...)
	}
	if out := inside("ss", "-Htuln"); strings.Count(out, "\n") != 6 || strings.Count(out, ":53 ") != 4 || strings.Count(out, ":80 ") != 2 {
		t.Errorf("sockets:\n%s", out)
	}
	if out := inside("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"); strings.Contains(out, "1") {
		t.Errorf("forwarding: %s", out)
	}
	if out := inside("ip", "-4", "route") + inside("ip", "-6", "route"); strings.Contains(out, "default") {
		t.Errorf("routes:\n%s", out)
	}
	if out := w.host(t, "compute1", "ip", "address", "show", "dev", "weft-svc"); strings.Contains(out, "inet") {
		t.Errorf("the host's own end has an address:\n%s", out)
	}
	n := w.network(t, "10.68.0.0/24", nil)
	w.vm(t, "md3", "compute1", n)
	w.metadata(t, "md3", "/openstack")
	w.host(t, "compute1", "ip", "link", "delete", "weft-svc")
	w.metadata(t, "md3", "/openstack")
	w.host(t, "compute1", "ip", "netns", "delete", "weft-services")
	w.metadata(t, "md3", "/openstack")
}
