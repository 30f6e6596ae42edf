package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// line runs a command line in this process and returns its error's text.
func line(t *testing.T, args ...string) string {
	t.Helper()
	root := rootCommand(args)
	root.SetArgs(args)
	root.SetOut(&bytes.Buffer{})
	root.SetErr(&bytes.Buffer{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what gets as far as running ends at once
	if err := root.ExecuteContext(ctx); err != nil {
		return err.Error()
	}
	return ""
}

func TestBadInput_isRefusedInOneLineBeforeAnythingIsTouched(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "weft.yaml")
	if err := os.WriteFile(file, []byte("data_dirr: /x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := "--data-dir=" + filepath.Join(dir, "data")
	for _, c := range []struct {
		rule string
		args []string
		want string
	}{
		{"the API beyond loopback without authentication", []string{"server", data, "--listen=0.0.0.0:9696"}, "--allow-unauthenticated"},
		{"the API on all addresses without authentication", []string{"server", data, "--listen=:9696"}, "--allow-unauthenticated"},
		{"an address without a port", []string{"server", data, "--listen=localhost"}, "want HOST:PORT"},
		{"an unknown flag", []string{"server", "--listn=x"}, "unknown flag: --listn"},
		{"an argument where none belongs", []string{"server", "now"}, "unknown command"},
		{"a config file with an unknown key", []string{"server", "--config=" + file}, `weft.yaml:1: unknown key "data_dirr"`},
		{"a config file that is not there", []string{"server", "--config=" + file + "x"}, "no such file"},
		{"a range that is none", []string{"server", data, "--gre-id-ranges=1-5"}, "--gre-id-ranges 1-5: want FIRST:LAST"},
		{"a range that is upside down", []string{"server", data, "--gre-id-ranges=9:5"}, "9:5 is not a range"},
		{"an unknown network type", []string{"server", data, "--tenant-network-types=mpls"}, `"mpls"`},
		{"a quota of an unknown resource", []string{"server", data, "--default-quotas=prts=5"}, "--default-quotas prts=5"},
		{"a log level that is none", []string{"server", data, "--log-level=loud"}, `log level "loud"`},
		{"an agent with an unknown role", []string{"agent", "--host=h", "--roles=storage"}, `role "storage"`},
		{"an agent with a bad tunnel address", []string{"agent", "--host=h", "--tunnel-address=10.0.1"}, "--tunnel-address 10.0.1"},
		{"an agent with a tunnel address that nobody reaches", []string{"agent", "--host=h", "--tunnel-address=127.0.0.1"}, "tunnel address 127.0.0.1"},
		{"an agent with a bad name", []string{"agent", "--host=a b"}, `host name "a b"`},
		{"an agent with a bad datapath", []string{"agent", "--host=h", "--datapath=kernel"}, `datapath "kernel"`},
		{"an agent with a bad iptables backend", []string{"agent", "--host=h", "--iptables=pf"}, "--iptables pf"},
		{"a token where there is no authority", []string{"agent", "token", data}, "no certificate authority"},
		{"a token for a time that is over", []string{"agent", "token", data, "--valid=-1s"}, "no certificate authority"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got := line(t, c.args...)
			if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("weft %s: %q, want one line with %q", strings.Join(c.args, " "), got, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
				t.Error("the data directory was made")
			}
		})
	}
}

func TestEveryCommandTeaches(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s says not what it does", c.CommandPath())
		}
		if c.Runnable() && !c.HasSubCommands() && c.Example == "" && c.Name() != "help" && c.Parent().Name() != "completion" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand(nil))
}
