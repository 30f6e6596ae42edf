package labcmd

import (
	"context"

	"github.com/spf13/cobra"

	"weft/internal/lab"
)

// host is "weft lab host": a host as a whole.
func (c *commands) host() *cobra.Command {
	cmd := &cobra.Command{
		Use: "host", Short: "Crash and boot whole hosts, to see what survives",
		Example: `  weft lab host kill network1
  weft lab host start network1`,
	}
	verb := func(use, short, long string, do func(context.Context, *lab.Lab, string) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " HOST", Short: short, Long: short + ". " + long, Args: cobra.ExactArgs(1),
			Example:           "  weft lab host " + use + " network1",
			ValidArgsFunction: c.hosts,
			RunE:              func(cmd *cobra.Command, args []string) error { return do(cmd.Context(), c.lab(), args[0]) },
		}
	}
	cmd.AddCommand(
		verb("kill", "Crash a host", "All its processes end at once, its devices go, its disk stays. VMs on it are gone.",
			func(ctx context.Context, l *lab.Lab, h string) error { return l.KillHost(ctx, h) }),
		verb("start", "Boot a host that was killed", "It has the disk that it had, and its agent starts.",
			func(ctx context.Context, l *lab.Lab, h string) error { return l.StartHost(ctx, h) }),
	)
	return cmd
}

// hosts completes hosts.
func (c *commands) hosts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	st, err := c.lab().Status()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, h := range st.Hosts {
		out = append(out, h.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
