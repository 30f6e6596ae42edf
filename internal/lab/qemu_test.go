//go:build machines

package lab

import (
	"bufio"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Needs qemu-system-x86 and a Debian mirror; `go test -tags machines`.
func TestMachineGetsItsAddressAndSpeaksTCP(t *testing.T) {
	ctx := deadline(t)
	l := newLab(t, "wlq")
	ok(t, l.Up(ctx, Config{Compute: 1}))
	l.must(t, ctx, "compute1", "ovs-vsctl", "add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev", "fail_mode=secure")
	l.must(t, ctx, "compute1", "ovs-ofctl", "add-flow", "br-int", "priority=0,actions=NORMAL")
	before := l.devices(t, ctx, "compute1")
	began := time.Now()
	m, err := PrepareMachine(ctx, t.TempDir())
	ok(t, err)
	t.Logf("machine prepared: %v", time.Since(began).Round(time.Millisecond))

	server := testVM("compute1", "server", 1)
	server.Static = []netip.Prefix{netip.MustParsePrefix("10.5.0.1/24")}
	_, err = l.VMCreate(ctx, server)
	ok(t, err)
	startDHCP(t, ctx, l)
	spec := testVM("compute1", "machine", 2)
	spec.Qemu = m
	began = time.Now()
	vm, err := l.VMCreate(ctx, spec)
	ok(t, err)
	line := awaitConsole(t, vm.Console, "weft: lease")
	t.Logf("after %v: %s", time.Since(began).Round(time.Millisecond), line)
	if !strings.Contains(line, "10.5.0.100/24") || !strings.Contains(line, "mtu=1400") {
		t.Errorf("lease: %s", line)
	}
	out, err := l.VMOutput(ctx, "server", "ping", "-c3", "-i0.2", "-w15", "10.5.0.100")
	if err != nil || strings.Contains(out, "DUP") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = l.VMOutput(ctx, "server", "busybox", "nc", "-w", "10", "10.5.0.100", "22")
	if err != nil || strings.TrimSpace(out) != "weft: machine" {
		t.Errorf("over TCP: %q, %v", out, err)
	}
	ok(t, l.VMDelete(ctx, "machine"))
	ok(t, l.VMDelete(ctx, "server"))
	if after := l.devices(t, ctx, "compute1"); after != before {
		t.Errorf("after\n%s\nbefore\n%s", after, before)
	}
}

// awaitConsole reads a console as it grows until a line has a text.
func awaitConsole(t *testing.T, console, text string) string {
	t.Helper()
	cmd := exec.CommandContext(deadline(t), "tail", "-n", "+1", "-f", console)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		t.Log(lines.Text())
		if strings.Contains(lines.Text(), text) {
			return lines.Text()
		}
	}
	t.Fatalf("the console never said %q", text)
	return ""
}
