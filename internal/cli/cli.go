package cli

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weft/internal/client"
)

// Options are what commands need of the world. The zero value is the real one.
type Options struct {
	Env       func(string) string // environment variables; nil: os.Getenv
	Transport http.RoundTripper   // nil: http.DefaultTransport
}

// app is the options, with commands.
type app struct{ Options }

// Commands returns the command trees of the Networking API, to be added to the root. Whatever
// they are added to must have the flags of AddGlobalFlags.
func Commands(o Options) []*cobra.Command {
	if o.Env == nil {
		o.Env = os.Getenv
	}
	a := app{o}
	root := &cobra.Command{}
	for _, r := range resources() {
		group(root, r.noun, r.about).AddCommand(a.commands(r)...)
	}
	group(root, "quota", "Limits on what a project may have").AddCommand(a.quotaCommands()...)
	group(root, "floating ip port forwarding", "Port forwardings of floating IPs").AddCommand(a.forwardingCommands()...)
	a.addRouterCommands(root)
	commands := root.Commands()
	root.RemoveCommand(commands...)
	return commands
}

// resources are all declarations.
func resources() []resource {
	return []resource{networks(), subnets(), subnetPools(), addressScopes(), addressGroups(), ports(), securityGroups(), securityGroupRules(), routers(), floatingIPs(), floatingPools(), agents(), extensions(), zones()}
}

// group returns the group of commands of a noun below root, and makes it and those above it if
// need be.
func group(root *cobra.Command, noun, about string) *cobra.Command {
	at := root
	words := strings.Fields(noun)
	for i, word := range words {
		var next *cobra.Command
		for _, c := range at.Commands() {
			if c.Name() == word {
				next = c
			}
		}
		if next == nil {
			next = &cobra.Command{Use: word, Short: "Commands of " + strings.Join(words[:i+1], " "), RunE: unknown, SuggestionsMinimumDistance: 2}
			usageErrors(next)
			at.AddCommand(next)
		}
		at = next
	}
	at.Short, at.Long = about, about+"."
	return at
}

// unknown is what a group does when it is called itself: help, or, of a word that is none of its
// commands, an error.
func unknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	text := "no command " + args[0]
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return &usageError{message: text, command: cmd.CommandPath()}
}

// arguments checks the number of arguments; most is -1 for any.
func arguments(least, most int, arg string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("%s is missing", arg)
		case most >= 0 && len(args) > most:
			return usage("%q is one argument too many", args[most])
		}
		return nil
	}
}

// finish makes a command of its flags and what it does: usage errors come with the
// command that explains them, requests with a client, and names are completed.
func (a app) finish(f *flags, args cobra.PositionalArgs, names *client.Resource, do func(ctx context.Context, api *client.Client, args []string) error) {
	cmd := f.cmd
	usageErrors(cmd)
	cmd.SetUsageFunc(writeUsage)
	for _, name := range f.required {
		cmd.Use += " --" + name + " " + cmd.Flags().Lookup(name).Value.Type()
	}
	cmd.Flags().SortFlags = false
	f.group = groupOther
	f.yes("help,h", "this help")
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "page-size" {
			name = "limit"
		}
		return pflag.NormalizedName(name)
	})
	a.complete(f, names)
	cmd.Args = func(cmd *cobra.Command, given []string) error { return explain(cmd, args(cmd, given)) }
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.validate(); err != nil {
			return explain(cmd, err)
		}
		api, done, err := a.connect(cmd)
		if err != nil {
			return explain(cmd, err)
		}
		defer done()
		return explain(cmd, do(cmd.Context(), api, args))
	}
}

// usageErrors makes wrong flags of a command errors of this package, and leaves their printing to
// the caller.
func usageErrors(cmd *cobra.Command) {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err.Error(), cmd.CommandPath()}
	})
}

// explain adds to an error what the user can do about it.
func explain(cmd *cobra.Command, err error) error {
	var wrong *usageError
	if errors.As(err, &wrong) && wrong.command == "" {
		return &usageError{wrong.message, cmd.CommandPath()}
	}
	var gone *client.Unreachable
	if errors.As(err, &gone) {
		timeout, _ := cmd.Flags().GetDuration("timeout")
		return &unreachable{gone, timeout}
	}
	return err
}

// ExitCode returns what a command that ended with err exits with: 0 for nil, 2 for a command
// line that cannot be right, 1 for all else.
func ExitCode(err error) int {
	var wrong *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		return 2
	}
	return 1
}
