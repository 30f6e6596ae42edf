package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// A resource declares the commands of one resource of the API. What is declared once here serves
// every verb: an option says itself which verbs have it.
type resource struct {
	client.Resource
	noun   string // words of the commands: "network agent"
	about  string // what it is, in a sentence for help
	arg    string // what help calls one: "NETWORK"
	plural string // "networks"

	columns []column // of list
	fields  []column // of show and create
	options []option

	verbs  map[verb]help // those that there are
	create operand       // what stands behind create; zero: a name
	list   operand       // what may stand behind list; zero: nothing
	finish addition      // completes what create sends; nil: nothing to add
}

// help is what the help of one command says beyond what its declaration says.
type help struct{ long, example string }

// on gives a command its help.
func (h help) on(cmd *cobra.Command) {
	text := strings.Join(strings.Fields(cmd.Short+". "+h.long), " ")
	cmd.Long, cmd.Example = strings.Join(wrap(text, helpWidth), "\n"), h.example
}

// An operand is an argument without a flag, and the attribute that it gives.
type operand struct {
	arg, key string
	as       kind
}

func (o operand) apply(ctx context.Context, r *request, text string) error {
	if r.verb == onList {
		return r.filter(ctx, o.key, o.as, []string{text})
	}
	v, err := o.as.valueOf(ctx, r, text)
	if err != nil {
		return err
	}
	r.body[o.key] = v
	return nil
}

// commands are the resource's commands, without the group that they are in.
func (a app) commands(r resource) []*cobra.Command {
	var out []*cobra.Command
	for _, v := range []struct {
		verb verb
		make func(resource) *cobra.Command
	}{
		{onCreate, a.create}, {onList, a.list}, {onShow, a.show}, {onSet, a.set}, {onUnset, a.unset}, {onDelete, a.delete},
	} {
		h, ok := r.verbs[v.verb]
		if !ok {
			continue
		}
		cmd := v.make(r)
		h.on(cmd)
		out = append(out, cmd)
	}
	return out
}

// said is the resource's name with its article.
func (r resource) said() string {
	if strings.ContainsRune("aeiou", rune(r.Words()[0])) {
		return "an " + r.Words()
	}
	return "a " + r.Words()
}
