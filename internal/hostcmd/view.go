package hostcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/fault"
	"weft/internal/host/view"
	"weft/internal/lab"
)

// viewOptions are the flags of "weft host view".
type viewOptions struct {
	sources view.Sources
	draw    view.Options
	lab     string
	local   bool
	output  string
	file    string
	color   string
}

func viewCommand() *cobra.Command {
	o := &viewOptions{}
	cmd := &cobra.Command{
		Use:   "view [HOST]",
		Short: "Draw a host: every device and router between its VMs and the wire, with what has passed",
		Long: `Draw a host as it is at this moment: each VM with its TAP, Linux bridge, veth pair and port on br-int,
the VLAN ids, the way to br-tun, the tunnels and the hosts behind them, the iptables chains and ipsets
of its security groups, or the flows of a port that the switch filters; the services that answer
guests (metadata, DNS); beside each element what it is for and what has passed or was dropped there.

On a gateway host, each router: its namespace, its legs, who answers for it, and what is translated;
BFD, the watch of the tunnels by which gateways take over from each other. On the hosts of its ports, what
flows do for a distributed router.

HOST is this host, or a host of the running lab; without it, this host is drawn. Nothing is changed.

Counters are of the kernel, the switch and iptables, since the device or rule was made. Those of patch
ports and tunnels are refreshed by Open vSwitch every few seconds.`,
		Example: `  weft host view                              this host, in the terminal
  weft host view compute1                     a host of the lab
  weft host view network1 --all               with each floating IP and each route of its routers
  weft host view compute1 --rules             with each rule of the security groups and its counters
  weft host view compute1 -o svg --file compute1.svg
  weft host view -o json | jq '.ports[] | select(.state != "active") | .reason'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			host := ""
			if len(args) > 0 {
				host = args[0]
			}
			return o.run(cmd.Context(), host, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "text", "text, svg or json (what was read)")
	f.StringVar(&o.file, "file", "", "write to this file")
	f.BoolVar(&o.draw.All, "all", false, "every port, router, translation and tunnel, not the first few")
	f.BoolVar(&o.draw.Rules, "rules", false, "text: the rules of each chain with their counters")
	f.BoolVar(&o.draw.ASCII, "ascii", false, "text: draw with plain characters")
	f.StringVar(&o.color, "color", "auto", "text: colours: auto, always or never")
	f.StringVar(&o.lab, "lab", lab.DefaultName, "name of the lab that HOST is in")
	f.BoolVar(&o.local, "local", false, "read this host, whatever HOST is called")
	f.StringVar(&o.sources.OVSDB, "ovsdb", defaultOVSDB, "the switch's database")
	f.StringVar(&o.sources.RunDir, "ovs-run-dir", "/run/openvswitch", "where ovs-vswitchd has its sockets")
	f.StringVar(&o.sources.StateDir, "state-dir", "/var/lib/weft/agent", "the agent's --state-dir")
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "svg", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// run collects the host, draws it and writes the drawing.
func (o *viewOptions) run(ctx context.Context, host string, out io.Writer) error {
	switch o.output {
	case "text", "svg", "json":
	default:
		return fmt.Errorf("--output %s: want text, svg or json", o.output)
	}
	switch o.color {
	case "always":
		o.draw.Color = true
	case "never":
	case "auto":
		o.draw.Color = o.file == "" && isTerminal(out) && os.Getenv("NO_COLOR") == ""
	default:
		return fmt.Errorf("--color %s: want auto, always or never", o.color)
	}
	h, err := o.collect(ctx, host)
	if err != nil {
		return err
	}
	text, err := o.render(h)
	if err != nil {
		return err
	}
	if o.file == "" {
		_, err := io.WriteString(out, text)
		return err
	}
	if err := os.WriteFile(o.file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the drawing: %w", err)
	}
	return nil
}

func (o *viewOptions) render(h *view.Host) (string, error) {
	switch o.output {
	case "svg":
		return view.SVG(h, o.draw), nil
	case "json":
		b, err := json.MarshalIndent(h, "", "  ")
		if err != nil {
			return "", fmt.Errorf("encoding the host: %w", err)
		}
		return string(b) + "\n", nil
	}
	return view.Text(h, o.draw), nil
}

// collect reads the host: this one, or one of the lab.
func (o *viewOptions) collect(ctx context.Context, host string) (*view.Host, error) {
	self, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("asking for this host's name: %w", err)
	}
	if o.local || host == "" || host == self {
		o.sources.Host = self
		if host != "" {
			o.sources.Host = host
		}
		h, err := view.Collect(ctx, o.sources)
		if err != nil && host == "" {
			return nil, fmt.Errorf("%w%s", err, o.hint())
		}
		return h, err
	}
	l := lab.New(o.lab, "")
	st, err := l.Status()
	if fault.Of(err) == fault.NotFound {
		return nil, fmt.Errorf("%s is not this host (%s), and lab %s is not up: run the command on %s, or start a lab with \"weft lab up\"", host, self, o.lab, host)
	}
	if err != nil {
		return nil, err
	}
	for _, h := range st.Hosts {
		if h.Name == host {
			return o.inLab(ctx, l, st, host)
		}
	}
	return nil, fmt.Errorf("%s is neither this host (%s) nor one of lab %s: %s", host, self, o.lab, strings.Join(hostNames(st), ", "))
}

// hint names what else could be looked at.
func (o *viewOptions) hint() string {
	st, err := lab.New(o.lab, "").Status()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("; hosts of lab %s: %s", o.lab, strings.Join(hostNames(st), ", "))
}

func hostNames(st lab.Status) []string {
	var out []string
	for _, h := range st.Hosts {
		out = append(out, h.Name)
	}
	return out
}

// inLab runs this command within a host of the lab, and adds the names that only the lab knows.
func (o *viewOptions) inLab(ctx context.Context, l *lab.Lab, st lab.Status, host string) (*view.Host, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the weft program: %w", err)
	}
	var out, errs bytes.Buffer
	err = l.Exec(ctx, host, lab.Streams{Out: &out, Err: &errs}, program, "host", "view", host, "--local", "--output", "json",
		"--ovsdb", o.sources.OVSDB, "--ovs-run-dir", o.sources.RunDir, "--state-dir", o.sources.StateDir)
	if err != nil {
		if said := strings.TrimSpace(errs.String()); said != "" {
			return nil, fmt.Errorf("on %s: %w", host, errors.New(strings.TrimPrefix(said, "weft: ")))
		}
		return nil, fmt.Errorf("on %s: %w", host, err)
	}
	var h view.Host
	if err := json.Unmarshal(out.Bytes(), &h); err != nil {
		return nil, fmt.Errorf("reading what %s says of itself: %w", host, err)
	}
	name(&h, st)
	return &h, nil
}

// name adds the lab's names of remote hosts and of VMs.
func name(h *view.Host, st lab.Status) {
	for i := range h.Tunnels {
		for _, other := range st.Hosts {
			if other.Tunnel == h.Tunnels[i].Remote {
				h.Tunnels[i].RemoteName = other.Name
			}
		}
	}
	for i := range h.Ports {
		for _, vm := range st.VMs {
			if vm.PortID.String() == h.Ports[i].ID {
				h.Ports[i].VMName = vm.Name
			}
		}
	}
}

// complete offers this host and the hosts of the lab.
func (o *viewOptions) complete(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	if st, err := lab.New(o.lab, "").Status(); err == nil {
		out = hostNames(st)
	}
	if self, err := os.Hostname(); err == nil {
		out = append(out, self)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// isTerminal reports whether output goes to a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
