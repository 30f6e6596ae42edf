//go:build machines

package e2e

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/labcmd"
	"weft/internal/model"
)

// debianImage is kept from run to run: to make it takes minutes.
const debianImage = "/var/cache/weft/machine/debian.qcow2"

// An image that nobody prepared for us: Debian with its own cloud-init, in qemu. It takes its address by DHCP, finds
// the metadata service by itself, and lets in who has the key. In software emulation this takes two minutes.
func TestImage_cloudInitFindsItsDataAndTheKeyOpensSSH(t *testing.T) {
	if _, err := os.Stat(debianImage); err != nil {
		if err := os.MkdirAll(filepath.Dir(debianImage), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("../scripts/image", debianImage).CombinedOutput(); err != nil {
			t.Fatalf("making the image: %v\n%s", err, out)
		}
	}
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	n := w.network(t, "10.67.0.0/24", nil)
	w.vm(t, "near", "compute1", n)
	p := w.vm(t, "image1", "compute1", n, tells(model.Instance{
		Hostname: "web1", SSHKeys: []string{strings.TrimSpace(string(public))},
		UserData: []byte("#cloud-config\nwrite_files:\n- {path: /etc/told, content: by user data}\n"),
	}), func(o *labcmd.VMOptions) { o.Image = debianImage })

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	ssh := func(command string) (string, error) {
		return w.lab.VMOutput(ctx, "near", "ssh", "-i", key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "ConnectTimeout=5", "debian@"+p.Addrs[0].String(), command)
	}
	var told string
	for again := time.NewTicker(2 * time.Second); ; {
		if told, err = ssh("cloud-init status --wait >/dev/null; cloud-id; hostname; cat /etc/told; ip -4 -o addr show scope global"); err == nil {
			break
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%v\n%s", err, w.console(t, "image1"))
		}
	}
	for _, want := range []string{"openstack\n", "web1\n", "by user data", netip.PrefixFrom(p.Addrs[0], 24).String()} {
		if !strings.Contains(told, want) {
			t.Errorf("the machine does not say %q:\n%s", want, told)
		}
	}
}

// console is the end of what a machine printed.
func (w *world) console(t testing.TB, name string) string {
	t.Helper()
	vms, err := w.lab.VMs()
	if err != nil {
		return err.Error()
	}
	for _, v := range vms {
		if v.Name == name {
			b, _ := os.ReadFile(v.Console)
			return string(b[max(0, len(b)-4000):])
		}
	}
	return "no machine " + name
}
