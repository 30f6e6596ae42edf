package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// defaultURL is where "weft server" listens when it is told nothing else.
const defaultURL = "http://127.0.0.1:9696"

// AddGlobalFlags adds the flags that say which server to ask, and as whom, to a command and all
// below it.
func AddGlobalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.String("url", "", "`URL` of the server (default: $WEFT_URL, else "+defaultURL+")")
	f.String("project-id", "", "act for the project with this `ID`")
	f.String("user-id", "", "act as the user with this `ID`")
	f.StringSlice("roles", nil, "act with these `ROLES`, separated by commas; with no project, user or role: as an admin")
	f.Duration("timeout", time.Minute, "give up a request after this `TIME`; 0: never")
	f.Bool("debug", false, "print requests and answers")
	f.Bool("timing", false, "print how long each request took")
}

// Connect returns a client of the server that the flags of AddGlobalFlags name.
func Connect(cmd *cobra.Command, o Options) (*client.Client, error) {
	api, _, err := app{o}.connect(cmd)
	return api, err
}

// connect makes the client. done prints what is to be printed when all is over.
func (a app) connect(cmd *cobra.Command) (api *client.Client, done func(), err error) {
	f := cmd.Flags()
	o := client.Options{Transport: a.Transport}
	var debug, timing bool
	var errs [7]error
	o.URL, errs[0] = f.GetString("url")
	o.ProjectID, errs[1] = f.GetString("project-id")
	o.UserID, errs[2] = f.GetString("user-id")
	o.Roles, errs[3] = f.GetStringSlice("roles")
	o.Timeout, errs[4] = f.GetDuration("timeout")
	debug, errs[5] = f.GetBool("debug")
	timing, errs[6] = f.GetBool("timing")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, nil, err
	}
	env := ""
	if a.Env != nil {
		env = a.Env("WEFT_URL")
	}
	o.URL = cmp.Or(o.URL, env, defaultURL)
	log := &exchanges{w: cmd.ErrOrStderr(), debug: debug}
	if debug || timing {
		o.Observe = log.add
	}
	api, err = client.New(o)
	if err != nil {
		return nil, nil, usage("%v", err)
	}
	return api, func() {
		if timing {
			log.report()
		}
	}, nil
}

// exchanges prints requests as they come, and how long they took in the end.
type exchanges struct {
	w     io.Writer
	debug bool
	all   []client.Exchange
}

func (l *exchanges) add(x client.Exchange) {
	l.all = append(l.all, client.Exchange{Method: x.Method, URL: x.URL, Status: x.Status, Took: x.Took})
	if !l.debug {
		return
	}
	fmt.Fprintf(l.w, "> %s %s\n", x.Method, x.URL)
	if x.Request != nil {
		fmt.Fprintf(l.w, "> %s\n", x.Request)
	}
	if x.Err != nil {
		fmt.Fprintf(l.w, "< %v\n", x.Err)
		return
	}
	fmt.Fprintf(l.w, "< %d in %.1f ms\n", x.Status, milliseconds(x.Took))
	if len(x.Response) > 0 {
		fmt.Fprintf(l.w, "< %s\n", printable(string(x.Response)))
	}
}

// report goes where errors go, so that an output for programs stays one.
func (l *exchanges) report() {
	var total time.Duration
	rows := [][]string{}
	for _, x := range l.all {
		total += x.Took
		rows = append(rows, []string{x.Method + " " + x.URL, fmt.Sprintf("%.1f", milliseconds(x.Took))})
	}
	rows = append(rows, []string{"Total", fmt.Sprintf("%.1f", milliseconds(total))})
	io.WriteString(l.w, table([]string{"Request", "Milliseconds"}, rows, []bool{false, true}, 0))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// unreachable says what to do about a server that does not answer.
type unreachable struct {
	cause   *client.Unreachable
	timeout time.Duration
}

func (e *unreachable) Unwrap() error { return e.cause }

func (e *unreachable) Error() string {
	const remedy = "start one with `weft server --data-dir DIR`, or give --url"
	switch c := e.cause; {
	case c.Timeout:
		return fmt.Sprintf("no answer from %s within %s: --timeout gives it longer, --debug shows the request", c.URL, e.timeout)
	case errors.Is(c.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no server at %s: %s", c.URL, remedy)
	default:
		return fmt.Sprintf("no server at %s (%v): %s", c.URL, c.Err, remedy)
	}
}
