package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/internal/host/iptables/table"
)

// Backend is the kernel interface behind the iptables commands. Both can hold
// rules at the same time and both then filter, so one host must stick to one.
type Backend string

// The backends.
const (
	Auto   Backend = ""       // the one that already has our chains, else the one that "iptables" is
	NFT    Backend = "nft"    // nf_tables
	Legacy Backend = "legacy" // x_tables
)

// namespace runs things inside a network namespace.
type namespace struct{ path string } // empty: where the caller is

// do calls f on a thread that is in the namespace; processes that f starts and
// sockets that it opens are in it too.
func (n namespace) do(f func() error) error {
	if n.path == "" {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread is in another namespace and ends with this goroutine.
		runtime.LockOSThread()
		h, err := netns.GetFromPath(n.path)
		if err != nil {
			done <- fmt.Errorf("opening network namespace %s: %w", n.path, err)
			return
		}
		defer h.Close()
		if err := netns.Set(h); err != nil {
			done <- fmt.Errorf("entering network namespace %s: %w", n.path, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// CommandError is a command that did not succeed.
type CommandError struct {
	Command string
	Stderr  string
	Err     error
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.Command, e.Err, strings.TrimSpace(e.Stderr))
}

// Unwrap returns how the command ended.
func (e *CommandError) Unwrap() error { return e.Err }

// run executes a command in the namespace and returns what it prints.
func (n namespace) run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	var out strings.Builder
	err := n.runTo(ctx, &out, stdin, name, args...)
	if err != nil {
		return "", err
	}
	return out.String(), nil
}

// runTo is run that writes what the command prints.
func (n namespace) runTo(ctx context.Context, out io.Writer, stdin, name string, args ...string) error {
	var errs bytes.Buffer
	err := n.do(func() error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), out, &errs
		return cmd.Run()
	})
	if err != nil {
		return &CommandError{Command: strings.Join(append([]string{name}, args...), " "), Stderr: errs.String(), Err: err}
	}
	return nil
}

// tools are the commands of one backend.
type tools struct{ save4, save6, restore4, restore6 string }

func toolsOf(b Backend) tools {
	return tools{"iptables-" + string(b) + "-save", "ip6tables-" + string(b) + "-save",
		"iptables-" + string(b) + "-restore", "ip6tables-" + string(b) + "-restore"}
}

// detect chooses the backend.
func (n namespace) detect(ctx context.Context, ownPrefix string) (Backend, error) {
	for _, b := range []Backend{NFT, Legacy} {
		if b == Legacy && !n.legacyInUse() {
			continue // legacy-save would make the tables that it looks for
		}
		t := toolsOf(b)
		for _, save := range []string{t.save4, t.save6} {
			text, err := n.run(ctx, "", save)
			if errors.Is(err, exec.ErrNotFound) {
				continue
			}
			if err != nil {
				return "", err
			}
			if strings.Contains(text, "\n:"+ownPrefix) {
				return b, nil
			}
		}
	}
	text, err := n.run(ctx, "", "iptables", "--version")
	if err != nil {
		return "", err
	}
	if strings.Contains(text, "nf_tables") {
		return NFT, nil
	}
	return Legacy, nil
}

// legacyInUse reports whether the namespace has legacy tables.
func (n namespace) legacyInUse() bool {
	used := false
	for _, family := range []string{"ip", "ip6"} {
		// An error leaves it unused: the file is missing where x_tables is.
		_ = n.do(func() error {
			names, err := os.ReadFile("/proc/thread-self/net/" + family + "_tables_names")
			used = used || err == nil && len(names) > 0
			return err
		})
	}
	return used
}

// hasIPv6Tables reports whether the namespace may have rules for IPv6: most routers have none, and to ask is
// cheaper than a process.
func (n namespace) hasIPv6Tables(b Backend) bool {
	found := true // unless it is known that there are none
	err := n.do(func() error {
		if b == Legacy {
			names, err := os.ReadFile("/proc/thread-self/net/ip6_tables_names")
			found = len(names) > 0
			return err
		}
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET6, Version: nl.NFNETLINK_V0})
		tables, err := req.Execute(unix.NETLINK_NETFILTER, 0)
		found = len(tables) > 0
		return err
	})
	return found || err != nil
}

// bridgeSettings make frames that cross a Linux bridge pass iptables. Tagged
// frames are included: a guest could otherwise send past its filter with a
// priority tag (VLAN 0), which an access port takes off.
var bridgeSettings = [...]string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-filter-vlan-tagged", "bridge-nf-filter-pppoe-tagged"}

// filterBridges switches bridge filtering on and tells how many settings it changed.
func (n namespace) filterBridges(ctx context.Context) (int, error) {
	changed := 0
	set := func() error {
		for _, name := range bridgeSettings {
			path := "/proc/sys/net/bridge/" + name
			now, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if v, err := strconv.Atoi(strings.TrimSpace(string(now))); err == nil && v != 0 {
				continue
			}
			if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
				return err
			}
			changed++
		}
		return nil
	}
	err := n.do(set)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := n.run(ctx, "", "modprobe", "br_netfilter"); err != nil {
			return changed, fmt.Errorf("loading the kernel's bridge filter: %w", err)
		}
		err = n.do(set)
	}
	if err != nil {
		return changed, fmt.Errorf("switching bridge filtering on: %w", err)
	}
	return changed, nil
}

// protocolNames reads /etc/protocols, whose names iptables-save prints. A host
// without the file prints numbers.
func protocolNames() table.Protocols {
	names := table.Protocols{}
	text, err := os.ReadFile("/etc/protocols")
	if err != nil {
		return names
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) >= 2 {
			if v, err := strconv.ParseUint(f[1], 10, 8); err == nil {
				names[strings.ToLower(f[0])] = uint8(v)
			}
		}
	}
	return names
}
