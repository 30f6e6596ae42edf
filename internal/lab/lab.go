// Package lab makes a cloud of several hosts on one machine, for learning, for
// demonstrations and for tests with real packets.
//
// A host is one process tree with network, mount, UTS and PID namespaces of its
// own: /run, /etc/openvswitch, /var/lib/openvswitch, /var/lib/weft and /var/log
// are private, so every tool works on its default paths, and `kill -9` of the
// host's first process is a clean crash of the host. Each host runs an Open
// vSwitch with the userspace datapath; the kernel needs no module for it. The
// hosts meet on three networks:
//
//	underlay    10.0.1.0/24     br-phy on each host, carries the tunnels
//	external    203.0.113.0/24  br-ex on each host, leads to the world outside
//	management  172.31.n.0/24   a bridge in the machine's own namespace, where
//	                            the server listens on .1
//
// What it does not do: it creates nothing through the API, and knows of the
// server and the agents only the command lines that it is given. Called by
// `weft lab` and by the end-to-end tests.
//
// A lab outlives the process that made it. Everything that must be known later
// is in one file, state.json; Down needs not even that, since each trace of a
// lab has the lab's name on it.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/internal/fault"
)

// DefaultName is the lab of who asks for no other.
const DefaultName = "weft"

// Names of devices and bridges that a host has.
const (
	managementDevice = "ens3"
	underlayDevice   = "ens4"
	underlayBridge   = "br-phy" // carries the tunnel address
)

// downTime bounds the cleaning up after Up failed.
const downTime = 30 * time.Second

// Lab is a lab on this machine, up or not.
type Lab struct {
	name string
	dir  string
}

// New returns the lab of a name; empty: DefaultName. Everything of it is kept
// under dir; empty: /run/weft-lab/<name>.
func New(name, dir string) *Lab {
	if name == "" {
		name = DefaultName
	}
	if dir == "" {
		dir = filepath.Join("/run/weft-lab", name)
	}
	return &Lab{name: name, dir: dir}
}

// Config is the lab to bring up.
type Config struct {
	Compute int // hosts compute1 …
	Gateway int // hosts network1 …
	MTU     int // of the underlay in bytes; 0: 1500

	// Self is the program that runs as each host's first process: it must hand
	// the arguments after "lab-init" to HostInit. Empty: the running program.
	Self string
	// Server returns the command line of the server; nil: none is started.
	Server func(Info) []string
	// ServerReady waits until the server answers; nil: agents do not wait for it.
	ServerReady func(context.Context, Info) error
	// Agent returns the command line of a host's agent; nil: none is started. It
	// is called when the server is ready and the host has everything else.
	Agent func(context.Context, Info, Host) ([]string, error)
	// Progress is told each step; it may be called from several goroutines at once.
	Progress func(Step)
}

// Step is something that Up has done.
type Step struct {
	Host string // empty: it concerns the lab
	What string
	Took time.Duration // since Up began
}

// Info is what the command lines of a lab may need to know.
type Info struct {
	Name       string
	Dir        string
	ServerDir  string     // for the server's data; removed by Down
	Management netip.Addr // where hosts reach the server
}

// Host is a host of a lab.
type Host struct {
	Name       string     `json:"name"`
	Gateway    bool       `json:"gateway"`
	Management netip.Addr `json:"management"`
	Tunnel     netip.Addr `json:"tunnel"` // on br-phy
}

var (
	labName = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)
	// underlayNet is the same in each lab: it is in a namespace of the lab's own.
	underlayNet = netip.MustParsePrefix("10.0.1.0/24")
)

// Up brings the lab up and returns when every host has its switch and its agent
// is started. When it fails, what it made is removed again.
func (l *Lab) Up(ctx context.Context, cfg Config) (err error) {
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	if err := l.check(cfg); err != nil {
		return err
	}
	if cfg.Self == "" {
		if cfg.Self, err = os.Executable(); err != nil {
			return fmt.Errorf("finding the program to run hosts with: %w", err)
		}
	}
	// From the claim on there is something to remove; before, there may be
	// another lab of this name, which is not ours to remove.
	st, err := l.claim(cfg)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTime)
			defer cancel()
			err = errors.Join(err, l.Down(after))
		}
	}()
	if err := l.build(ctx, cfg, st); err != nil {
		if ctx.Err() != nil { // says more than which tool was killed for it
			err = errors.Join(context.Cause(ctx), err)
		}
		return fmt.Errorf("bringing lab %s up: %w", l.name, err)
	}
	return l.update(func(s *state) error { s.Ready = true; return nil })
}

// build makes the parts side by side, each as soon as what it needs is there.
func (l *Lab) build(ctx context.Context, cfg Config, st state) error {
	began := time.Now()
	tell := func(host, what string) {
		if cfg.Progress != nil {
			cfg.Progress(Step{Host: host, What: what, Took: time.Since(began)})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	networks, server := make(chan struct{}), make(chan struct{})
	g.Go(func() error {
		if err := l.makeNetworks(st); err != nil {
			return err
		}
		tell("", "networks are there")
		close(networks)
		if err := l.startServer(ctx, cfg, st); err != nil {
			return err
		}
		if cfg.Server != nil {
			tell("", "server is started")
		}
		close(server)
		return nil
	})
	for _, h := range st.Hosts {
		g.Go(func() error {
			if err := l.boot(ctx, st, h, networks); err != nil {
				return fmt.Errorf("host %s: %w", h.Name, err)
			}
			tell(h.Name, "Open vSwitch is up")
			if cfg.Agent == nil || !arrived(ctx, server) {
				return ctx.Err()
			}
			argv, err := cfg.Agent(ctx, l.info(st), h)
			if err != nil {
				return fmt.Errorf("agent of %s: %w", h.Name, err)
			}
			if err := l.setCommand(h.Name, Agent, argv); err != nil {
				return err
			}
			if err := l.Start(ctx, h.Name, Agent); err != nil {
				return err
			}
			tell(h.Name, "agent is started")
			return nil
		})
	}
	return g.Wait()
}

func (l *Lab) startServer(ctx context.Context, cfg Config, st state) error {
	if cfg.Server == nil {
		return nil
	}
	info := l.info(st)
	if err := os.MkdirAll(info.ServerDir, 0o700); err != nil {
		return err
	}
	if err := l.setCommand("", Server, cfg.Server(info)); err != nil {
		return err
	}
	if err := l.Start(ctx, "", Server); err != nil {
		return err
	}
	if cfg.ServerReady == nil {
		return nil
	}
	if err := cfg.ServerReady(ctx, info); err != nil {
		return fmt.Errorf("waiting for the server: %w", err)
	}
	return nil
}

// arrived waits for a step of another goroutine.
func arrived(ctx context.Context, step <-chan struct{}) bool {
	select {
	case <-step:
		return true
	case <-ctx.Done():
		return false
	}
}

// check returns what keeps a lab from coming up, before anything is made.
func (l *Lab) check(cfg Config) error {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "InvalidLab", format, args...)
	}
	switch {
	case !labName.MatchString(l.name):
		return invalid("a lab's name is a letter and up to 7 letters or digits, in lower case: not %q", l.name)
	case !filepath.IsAbs(l.dir):
		return invalid("the lab's directory %q is not an absolute path", l.dir)
	case cfg.Compute < 0 || cfg.Gateway < 0 || cfg.Compute+cfg.Gateway == 0:
		return invalid("a lab needs at least one host: not %d compute and %d gateway", cfg.Compute, cfg.Gateway)
	case cfg.Gateway > 10 || cfg.Compute > 200:
		return invalid("a lab has at most 200 compute and 10 gateway hosts")
	case cfg.MTU < 576 || cfg.MTU > 9216:
		return invalid("underlay mtu %d is not between 576 and 9216", cfg.MTU)
	case os.Geteuid() != 0:
		return invalid("a lab makes namespaces and devices: it must be run as root")
	}
	var missing []string
	for _, tool := range []struct{ program, pkg string }{
		{"ovsdb-tool", "openvswitch-switch"}, {"ovsdb-server", "openvswitch-switch"}, {"ovs-vswitchd", "openvswitch-switch"},
		{"ovs-vsctl", "openvswitch-switch"}, {"nft", "nftables"}, {"busybox", "busybox-static"},
	} {
		if _, err := exec.LookPath(tool.program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (package %s)", tool.program, tool.pkg))
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		missing = append(missing, "/dev/net/tun (kernel module tun)")
	}
	if len(missing) > 0 {
		return invalid("a lab needs %s", strings.Join(missing, ", "))
	}
	return nil
}

// planHosts names the hosts and gives them their addresses: .21 and on for
// gateways, .31 and on for compute hosts, in both networks.
func planHosts(cfg Config, management netip.Prefix) []Host {
	var hosts []Host
	add := func(prefix string, count, octet int, gateway bool) {
		for i := 1; i <= count; i++ {
			hosts = append(hosts, Host{
				Name: fmt.Sprintf("%s%d", prefix, i), Gateway: gateway,
				Management: hostAddr(management, octet+i), Tunnel: hostAddr(underlayNet, octet+i),
			})
		}
	}
	add("network", cfg.Gateway, 20, true)
	add("compute", cfg.Compute, 30, false)
	return hosts
}

func hostAddr(net netip.Prefix, octet int) netip.Addr {
	a := net.Addr().As4()
	a[3] = byte(octet)
	return netip.AddrFrom4(a)
}

func (l *Lab) info(st state) Info {
	return Info{Name: l.name, Dir: l.dir, ServerDir: filepath.Join(l.dir, "server"), Management: hostAddr(st.Management, 1)}
}

func (l *Lab) managementBridge() string { return l.name + "-mgmt" }

// managementPort is the machine's end of a host's management link.
func (l *Lab) managementPort(h Host) string {
	return fmt.Sprintf("%s-m%d", l.name, h.Management.As4()[3])
}

func (l *Lab) underlayNetns() string { return l.name + "-underlay" }

// hostNetns is what `ip netns` knows a host by.
func (l *Lab) hostNetns(host string) string { return l.name + "-" + host }

func (l *Lab) hostDir(host string) string { return filepath.Join(l.dir, "hosts", host) }
