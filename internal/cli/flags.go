package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The groups that a command's help has its flags in, in this order.
const (
	groupAttributes = "Attributes"
	groupFilters    = "Show only those with"
	groupRemove     = "What to remove"
	groupTags       = "Tags"
	groupPages      = "Pages"
	groupOutput     = "Output"
	groupOther      = "Other"
	groupServer     = "Server and identity"
)

func groups() []string {
	return []string{groupAttributes, groupFilters, groupRemove, groupTags, groupPages, groupOutput, groupOther}
}

// groupKey is the annotation of a flag that says its group.
const groupKey = "weft_group"

// flags declares the flags of one command, and checks what was given of them.
type flags struct {
	cmd      *cobra.Command
	verb     verb
	group    string // of the flags that are declared next
	checks   []func() error
	required []string
}

func (f *flags) annotate(name string) {
	// The only error is a flag that is not declared.
	_ = f.cmd.Flags().SetAnnotation(name, groupKey, []string{f.group})
}

// texted is a flag that takes a text, once or several times.
type texted struct {
	arg   string // what help calls it
	many  bool
	as    kind
	given []string
}

// Set implements pflag.Value.
func (t *texted) Set(text string) error {
	if t.as.check != nil {
		if err := t.as.check(text); err != nil {
			return err
		}
	}
	if !t.many {
		t.given = nil // the last one counts
	}
	t.given = append(t.given, text)
	return nil
}

// Type implements pflag.Value. Help prints it behind the flag's name.
func (t *texted) Type() string { return t.arg }

// String implements pflag.Value: there is never a default.
func (t *texted) String() string { return "" }

// last returns the text, "" when there is none.
func (t *texted) last() string {
	if len(t.given) == 0 {
		return ""
	}
	return t.given[len(t.given)-1]
}

func (f *flags) declare(t *texted, name, help string) *texted {
	name, letter, _ := strings.Cut(name, ",")
	f.cmd.Flags().VarP(t, name, letter, f.help(help))
	f.annotate(name)
	return t
}

// text declares a flag with a text. A name "format,f" has a letter, too.
func (f *flags) text(name, arg, help string, as kind) *texted {
	return f.declare(&texted{arg: arg, as: as}, name, help)
}

// texts declares a flag that can be repeated.
func (f *flags) texts(name, arg, help string, as kind) *texted {
	return f.declare(&texted{arg: arg, as: as, many: true}, name, help)
}

// yes declares a flag that has no value.
func (f *flags) yes(name, help string) *bool {
	name, letter, _ := strings.Cut(name, ",")
	p := f.cmd.Flags().BoolP(name, letter, false, f.help(help))
	f.annotate(name)
	return p
}

// help makes the help of a flag that several verbs have fit the command: what it says of a
// default holds when something is created.
func (f *flags) help(text string) string {
	const when = " (default when created"
	before, rest, found := strings.Cut(text, when)
	switch {
	case !found:
		return text
	case f.verb == onCreate:
		return before + " (default" + rest
	}
	_, after, _ := strings.Cut(rest, ")")
	return before + after
}

// check adds what must hold before anything is sent.
func (f *flags) check(fn func() error) { f.checks = append(f.checks, fn) }

func (f *flags) given(name string) bool { return f.cmd.Flags().Changed(name) }

// exclusive allows at most one of the flags.
func (f *flags) exclusive(names ...string) {
	f.check(func() error {
		given := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !f.given(n) })
		if len(given) > 1 {
			return usage("--%s: only one of them can be", strings.Join(given, " and --"))
		}
		return nil
	})
}

// needed requires a flag.
func (f *flags) needed(name string) {
	f.required = append(f.required, name)
	f.check(func() error {
		if !f.given(name) {
			return usage("--%s is missing", name)
		}
		return nil
	})
}

// something requires that there is anything to do.
func (f *flags) something(groups ...string) {
	f.check(func() error {
		found := false
		f.cmd.Flags().Visit(func(p *pflag.Flag) {
			found = found || slices.ContainsFunc(p.Annotations[groupKey], func(g string) bool { return slices.Contains(groups, g) })
		})
		if !found {
			return usage("nothing to change: give at least one option")
		}
		return nil
	})
}

func (f *flags) validate() error {
	for _, check := range f.checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// usageError is a command line that cannot be right.
type usageError struct {
	message string
	command string // whose help says more
}

func (e *usageError) Error() string {
	if e.command == "" {
		return e.message
	}
	return fmt.Sprintf("%s (%s --help says more)", e.message, e.command)
}

func usage(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}
