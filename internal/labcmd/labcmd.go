// Package labcmd is the commands "weft lab": it joins the lab, which makes hosts and guests, with the API,
// which makes the guests' ports.
//
// It makes no namespaces itself; package lab does. Called by the main package and by
// the end-to-end tests, which bring labs up the same way as users do.
package labcmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/host/vif"
	"weft/internal/lab"
	"weft/internal/model"
	"weft/internal/pki"
)

// Port is a port as a guest needs it.
type Port struct {
	ID     model.PortID
	MAC    model.MAC
	MTU    int // of its network, in bytes
	Addrs  []netip.Addr
	Status string
	Mode   vif.Mode // how it is to be plugged in
}

// PortSpec is the port to make for a guest.
type PortSpec struct {
	Name, Network, Host string
	Device              model.UUID
	FixedIPs            []string
	SecurityGroups      []string // none: the project's default group
	Instance            model.Instance
	Firewall            string // hybrid or native; empty: the host's
}

// Cloud is what the lab's commands need of the API.
type Cloud interface {
	// CreatePort makes a port for a guest on a host.
	CreatePort(ctx context.Context, s PortSpec) (Port, error)
	// Port returns a port as it is.
	Port(ctx context.Context, id model.PortID) (Port, error)
	DeletePort(ctx context.Context, id model.PortID) error
	// SetFirewall asks for another firewall driver, and returns the port as it is then.
	SetFirewall(ctx context.Context, id model.PortID, driver string) (Port, error)
}

// Options of a lab's start.
type Options struct {
	Compute, Gateway int
	Listen           string   // of the API
	ServerArgs       []string // further ones
	AgentArgs        []string
	Firewall         string // of the hosts: hybrid or native
	Self             string // the weft program; empty: the running one
	Progress         func(lab.Step)
}

// Up brings a lab up with a server and an agent on each host, joined by tokens.
func Up(ctx context.Context, l *lab.Lab, o Options) error {
	self := o.Self
	if self == "" {
		var err error
		if self, err = os.Executable(); err != nil {
			return fmt.Errorf("finding the weft program: %w", err)
		}
	}
	hosts := func(i lab.Info) string { return netip.AddrPortFrom(i.Management, 9697).String() }
	err := l.Up(ctx, lab.Config{
		Compute: o.Compute, Gateway: o.Gateway, Self: self, Progress: o.Progress,
		Server: func(i lab.Info) []string {
			return append([]string{self, "server", "--data-dir", i.ServerDir, "--listen", o.Listen, "--host-listen", hosts(i)}, o.ServerArgs...)
		},
		ServerReady: func(ctx context.Context, i lab.Info) error {
			return waitHealthy(ctx, l, i, "http://"+o.Listen+"/healthz")
		},
		Agent: func(ctx context.Context, i lab.Info, h lab.Host) ([]string, error) {
			authority, err := pki.LoadAuthority(filepath.Join(i.ServerDir, "pki"))
			if err != nil {
				return nil, err
			}
			token, err := authority.Token(h.Name, time.Now().Add(time.Hour))
			if err != nil {
				return nil, err
			}
			role := "compute"
			if h.Gateway {
				role = "gateway"
			}
			return append([]string{self, "agent", "--host", h.Name, "--roles", role, "--servers", hosts(i), "--token", token,
				"--tunnel-address", h.Tunnel.String(), "--bridge-mappings", lab.ExternalNetwork + "=" + lab.ExternalBridge,
				"--firewall", cmp.Or(o.Firewall, model.FirewallHybrid)}, o.AgentArgs...), nil
		},
	})
	if err != nil {
		return err
	}
	if err := waitWired(ctx, l, "http://"+o.Listen); err != nil {
		return errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return nil
}

// waitWired waits until each host has its bridges and the server has each agent: before that, a port
// could not be bound, and a guest not be plugged.
func waitWired(ctx context.Context, l *lab.Lab, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	st, err := l.Status()
	if err != nil {
		return err
	}
	for _, h := range st.Hosts {
		for _, br := range []string{"br-int", "br-tun"} {
			if _, err := l.Output(ctx, h.Name, "ovs-vsctl", "wait-until", "Bridge", br, "datapath_id!=[]"); err != nil {
				return fmt.Errorf("the agent of %s has not made %s (see /var/log/weft-agent.log there): %w", h.Name, br, err)
			}
		}
	}
	for {
		alive, err := aliveAgents(ctx, url)
		if err == nil && alive >= len(st.Hosts) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d agents have a session with the server: %w", alive, len(st.Hosts), errors.Join(err, ctx.Err()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func aliveAgents(ctx context.Context, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v2.0/agents?fields=alive&agent_type=Open+vSwitch+agent", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var list struct {
		Agents []struct {
			Alive bool `json:"alive"`
		} `json:"agents"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return 0, err
	}
	n := 0
	for _, a := range list.Agents {
		if a.Alive {
			n++
		}
	}
	return n, nil
}

// waitHealthy asks until the server answers. Who answers may be somebody else, while the lab's own server has
// found its address taken and ended: then its last words are the error.
func waitHealthy(ctx context.Context, l *lab.Lab, i lab.Info, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		said, err := os.ReadFile(filepath.Join(i.Dir, "server.log"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if pid, _ := l.PID("", lab.Server); pid == 0 {
			text := strings.TrimSpace(string(said))
			return fmt.Errorf("the server has ended: %s", text[strings.LastIndexByte(text, '\n')+1:])
		}
		if !strings.Contains(string(said), "weft server ready") {
			select {
			case <-ctx.Done():
				return fmt.Errorf("the server is not ready (see server.log in %s): %w", i.Dir, ctx.Err())
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("it answers %s", resp.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready at %s (see server.log in the lab's directory): %w", url, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Connect returns the API that a command's flags name.
type Connect func(*cobra.Command) (*client.Client, error)

// commands are the state that all commands share.
type commands struct {
	name    string
	connect Connect
}

func (c *commands) cloud(cmd *cobra.Command) (Cloud, error) {
	api, err := c.connect(cmd)
	if err != nil {
		return nil, err
	}
	return NewCloud(api), nil
}

func (c *commands) lab() *lab.Lab { return lab.New(c.name, "") }

// Command is the tree "weft lab".
func Command(connect Connect) *cobra.Command {
	c := &commands{connect: connect}
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A cloud of several hosts on this machine, for learning and for tests",
		Long: `A lab is a cloud on one machine: a server, and hosts made of namespaces, each with its own
Open vSwitch and its own agent. VMs are namespaces with a card, or real machines in qemu (--qemu).`,
		Example: `  weft lab up --compute 2 --gateway 1
  weft network create demo-net
  weft subnet create --network demo-net --subnet-range 10.0.0.0/24 demo-subnet
  weft lab vm create --network demo-net --host compute1 vm1
  weft lab exec vm1 -- ip addr
  weft lab exec compute1 -- ovs-vsctl show
  weft lab down`,
	}
	cmd.PersistentFlags().StringVar(&c.name, "lab", lab.DefaultName, "name of the lab")
	cmd.AddCommand(c.up(), c.down(), c.status(), c.vm(), c.exec(), c.shell(), c.process(), c.host(), c.cut())
	return cmd
}

func (c *commands) up() *cobra.Command {
	o := Options{}
	cmd := &cobra.Command{
		Use: "up", Short: "Start a server and hosts", Args: cobra.NoArgs,
		Example: "  weft lab up --compute 2 --gateway 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			var mu sync.Mutex
			o.Progress = func(s lab.Step) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(cmd.OutOrStdout(), "  %5.2f s  %-10s %s\n", s.Took.Seconds(), orDash(s.Host, "lab"), s.What)
			}
			if err := Up(cmd.Context(), c.lab(), o); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "lab %s is up in %.1f s: API http://%s\n", c.name, time.Since(began).Seconds(), o.Listen)
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Compute, "compute", 2, "compute hosts: compute1, compute2 …")
	f.IntVar(&o.Gateway, "gateway", 1, "gateway hosts: network1 …")
	f.StringVar(&o.Firewall, "firewall", model.FirewallHybrid, "what filters the hosts' ports: hybrid (iptables) or native (flows)")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:9696", "address of the API")
	f.StringArrayVar(&o.ServerArgs, "server-arg", nil, "further argument of \"weft server\", may be repeated")
	f.StringArrayVar(&o.AgentArgs, "agent-arg", nil, "further argument of \"weft agent\", may be repeated")
	return cmd
}

func orDash(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

func (c *commands) down() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "End the lab and remove every trace of it", Args: cobra.NoArgs,
		Example: "  weft lab down",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.lab().Down(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "lab %s is gone\n", c.name)
			return nil
		},
	}
}

func (c *commands) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show hosts, processes and VMs", Args: cobra.NoArgs,
		Example: "  weft lab status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := c.lab().Status()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "lab %s in %s, server %s\n", st.Name, st.Dir, running(st.Server))
			for _, h := range st.Hosts {
				fmt.Fprintf(out, "%-10s tunnel %-12s management %-14s", h.Name, h.Tunnel, h.Management)
				for _, p := range []string{lab.OVSDB, lab.VSwitchd, lab.Agent} {
					fmt.Fprintf(out, "  %s %s", p, running(h.Procs[p]))
				}
				fmt.Fprintln(out)
			}
			for _, v := range st.VMs {
				fmt.Fprintf(out, "%-10s on %-10s %s port %s\n", v.Name, v.Host, v.MAC, v.PortID)
			}
			return nil
		},
	}
}

func running(pid int) string {
	if pid == 0 {
		return "does not run"
	}
	return fmt.Sprintf("pid %d", pid)
}

// isHost reports whether a name is one of the lab's hosts.
func isHost(l *lab.Lab, name string) (bool, error) {
	st, err := l.Status()
	if err != nil {
		return false, err
	}
	for _, h := range st.Hosts {
		if h.Name == name {
			return true, nil
		}
	}
	return false, nil
}

func (c *commands) enter(cmd *cobra.Command, name string, argv []string) error {
	l := c.lab()
	if name == lab.Outside {
		return l.Exec(cmd.Context(), name, lab.Streams{In: cmd.InOrStdin(), Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()}, argv...)
	}
	host, err := isHost(l, name)
	if err != nil {
		return err
	}
	streams := lab.Streams{In: cmd.InOrStdin(), Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()}
	if host {
		return l.Exec(cmd.Context(), name, streams, argv...)
	}
	return l.VMExec(cmd.Context(), name, streams, argv...)
}

// ExitCode is the exit status of a command that was run in a VM or host, and whether err is one.
func ExitCode(err error) (int, bool) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), true
	}
	return 0, false
}

func (c *commands) exec() *cobra.Command {
	return &cobra.Command{
		Use: "exec VM|HOST -- COMMAND…", Short: "Run a command in a VM or on a host", Args: cobra.MinimumNArgs(2),
		Example: `  weft lab exec vm1 -- ping -c 3 10.0.0.12
  weft lab exec compute1 -- iptables -S
  weft lab exec outside -- ping -c 3 203.0.113.10`,
		ValidArgsFunction: c.names,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.enter(cmd, args[0], args[1:]) },
	}
}

func (c *commands) shell() *cobra.Command {
	return &cobra.Command{
		Use: "shell VM|HOST", Short: "Open a shell in a VM or on a host", Args: cobra.ExactArgs(1),
		Example:           "  weft lab shell vm1",
		ValidArgsFunction: c.names,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.enter(cmd, args[0], []string{"env", "PS1=" + args[0] + "# ", "sh", "-i"})
		},
	}
}

// names completes hosts and VMs.
func (c *commands) names(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	st, err := c.lab().Status()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	out := []string{lab.Outside}
	for _, h := range st.Hosts {
		out = append(out, h.Name)
	}
	for _, v := range st.VMs {
		out = append(out, v.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (c *commands) process() *cobra.Command {
	cmd := &cobra.Command{
		Use: "process", Short: "Stop, kill and start single processes, to see what survives",
		Example: `  weft lab process kill compute1 agent
  weft lab process start compute1 agent
  weft lab process stop - server`,
	}
	verb := func(use, short string, do func(context.Context, *lab.Lab, string, string) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " HOST|- PROCESS", Short: short, Args: cobra.ExactArgs(2),
			Long:    short + `. PROCESS is agent, ovs-vswitchd or ovsdb-server of a host, host for all of it (start and kill), or the lab's server, with - for the host.`,
			Example: "  weft lab process " + use + " compute1 agent",
			RunE: func(cmd *cobra.Command, args []string) error {
				host := strings.TrimPrefix(args[0], "-")
				return do(cmd.Context(), c.lab(), host, args[1])
			},
		}
	}
	cmd.AddCommand(
		verb("start", "Start a process that does not run", func(ctx context.Context, l *lab.Lab, h, p string) error {
			if p == wholeHost {
				return l.StartHost(ctx, h)
			}
			return l.Start(ctx, h, p)
		}),
		verb("stop", "Stop a process in good order (SIGTERM)", func(ctx context.Context, l *lab.Lab, h, p string) error { return l.Stop(ctx, h, p) }),
		verb("kill", "Kill a process (SIGKILL)", func(ctx context.Context, l *lab.Lab, h, p string) error {
			if p == wholeHost {
				return l.KillHost(ctx, h)
			}
			return l.Kill(ctx, h, p)
		}),
	)
	return cmd
}

// wholeHost, in place of a process, is all of a host's at once.
const wholeHost = "host"

// cut is "weft lab cut HOST".
func (c *commands) cut() *cobra.Command {
	mend := false
	cmd := &cobra.Command{
		Use: "cut HOST", Short: "Take a host off the underlay, as a pulled cable does", Args: cobra.ExactArgs(1),
		Example: `  weft lab cut network1
  weft lab cut --mend network1`,
		ValidArgsFunction: c.hosts,
		RunE: func(_ *cobra.Command, args []string) error {
			if mend {
				return c.lab().Mend(args[0])
			}
			return c.lab().Cut(args[0])
		},
	}
	cmd.Flags().BoolVar(&mend, "mend", false, "put it back")
	return cmd
}
