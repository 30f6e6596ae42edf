package unixctl

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/testkit/ovstest"
)

func TestTraceSaysWhereAPacketGoes(t *testing.T) {
	s := ovstest.Start(t)
	s.AddBridge("br0")
	s.AddPort("br0", "tap1", 1)
	s.AddPort("br0", "tap2", 2)
	s.Ofctl("add-flow", "br0", "table=0,in_port=1,actions=set_field:0x7->reg5,goto_table:5")
	s.Ofctl("add-flow", "br0", "table=5,reg5=0x7,actions=output:2")
	c := New(s.RunDir)
	got, err := c.Trace(t.Context(), "br0", "in_port=1,ip,nw_dst=10.0.0.5")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "goto_table:5") || !strings.Contains(got, "output:2") {
		t.Errorf("trace: %s", got)
	}
	s.KillVswitchd()
	s.StartVswitchd()
	if _, err := c.Call(t.Context(), "version"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestARefusedCommandIsAnError(t *testing.T) {
	s := ovstest.Start(t)
	_, err := New(s.RunDir).Trace(t.Context(), "nobridge", "in_port=1")
	var refused *Error
	if !errors.As(err, &refused) || refused.Command != "ofproto/trace" || refused.Text == "" {
		t.Errorf("error %v", err)
	}
}

func TestNoDaemon(t *testing.T) {
	if _, err := New(t.TempDir()).Call(t.Context(), "version"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestAContextEndsAWaitForASilentDaemon(t *testing.T) {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "ovs-vswitchd.7.ctl"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(filepath.Join(dir, "ovs-vswitchd.pid"), []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		nc.Read(make([]byte, 1)) // the request has come
		cancel()
		nc.Read(make([]byte, 1<<10))
		nc.Read(make([]byte, 1)) // until the client goes
	}()
	if _, err := New(dir).Call(ctx, "version"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkTrace(b *testing.B) {
	s := ovstest.Start(b)
	s.AddBridge("br0")
	s.AddPort("br0", "tap1", 1)
	c := New(s.RunDir)
	for b.Loop() {
		if _, err := c.Trace(b.Context(), "br0", "in_port=1,ip,nw_dst=10.0.0.5"); err != nil {
			b.Fatal(err)
		}
	}
}
