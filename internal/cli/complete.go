package cli

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weft/internal/client"
)

// Completion must never make a shell wait.
const (
	completionTime = time.Second
	completionMost = 500 // names
)

// complete adds completion of the command's arguments and flags.
func (a app) complete(f *flags, names *client.Resource) {
	f.cmd.ValidArgsFunction = cobra.NoFileCompletions
	if names != nil {
		once := f.verb != onDelete
		f.cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if once && len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.names(cmd, *names), cobra.ShellCompDirectiveNoFileComp
		}
	}
	f.cmd.Flags().VisitAll(func(p *pflag.Flag) {
		t, ok := p.Value.(*texted)
		if !ok {
			return
		}
		// An error means that the flag is not there or has one already: neither can be.
		_ = f.cmd.RegisterFlagCompletionFunc(p.Name, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			if t.as.names != nil {
				return a.names(cmd, *t.as.names), cobra.ShellCompDirectiveNoFileComp
			}
			return t.as.choices, cobra.ShellCompDirectiveNoFileComp
		})
	})
}

// names returns what objects can be called: the name of those that have one of their own, the
// id of others. Whatever goes wrong, there is nothing to complete.
func (a app) names(cmd *cobra.Command, r client.Resource) []string {
	api, _, err := a.connect(cmd)
	if err != nil {
		return nil
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	query := url.Values{"fields": {r.ID()}, "limit": {strconv.Itoa(completionMost)}}
	if r.NameKey != "" {
		query.Add("fields", r.NameKey)
	}
	var objects []client.Object
	count := map[string]int{}
	for o, err := range api.List(ctx, r, query) {
		if err != nil {
			return nil
		}
		objects = append(objects, o)
		count[o.Text(r.NameKey)]++
		if len(objects) == completionMost {
			break
		}
	}
	var out []string
	for _, o := range objects {
		id, name := o.Text(r.ID()), o.Text(r.NameKey)
		switch {
		case name == "":
			out = append(out, id)
		case count[name] > 1:
			out = append(out, id+"\t"+printable(name))
		default:
			out = append(out, printable(name)+"\t"+id)
		}
	}
	return out
}
