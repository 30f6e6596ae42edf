package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// How help is laid out, in characters.
const (
	helpWidth = 100 // where there is no terminal
	helpText  = 32  // where the text about a flag begins
)

// writeUsage prints how a command is used, with its flags in groups, in the order in which they
// are declared.
func writeUsage(cmd *cobra.Command) error {
	w := cmd.OutOrStderr()
	columns := terminalWidth(w)
	if columns < 2*helpText {
		columns = helpWidth
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	for _, g := range groups() {
		writeFlags(&b, g, cmd.LocalFlags(), columns, func(f *pflag.Flag) bool { return slices.Contains(f.Annotations[groupKey], g) })
	}
	writeFlags(&b, groupServer, cmd.InheritedFlags(), columns, func(*pflag.Flag) bool { return true })
	_, err := io.WriteString(w, b.String())
	return err
}

// writeFlags prints a group of flags. The text about a long one begins on a line of its own.
func writeFlags(b *strings.Builder, title string, set *pflag.FlagSet, columns int, in func(*pflag.Flag) bool) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || !in(f) {
			return
		}
		if title != "" {
			fmt.Fprintf(b, "\n%s:\n", title)
			title = ""
		}
		arg, text := pflag.UnquoteUsage(f)
		left := "      --" + f.Name
		if f.Shorthand != "" {
			left = "  -" + f.Shorthand + ", --" + f.Name
		}
		if arg != "" {
			left += " " + arg
		}
		if f.Value.Type() == "duration" {
			text += " (default " + f.DefValue + ")"
		}
		indent := strings.Repeat(" ", helpText)
		lines := wrap(text, columns-helpText)
		if len(left)+2 > helpText {
			fmt.Fprintf(b, "%s\n%s%s\n", left, indent, lines[0])
		} else {
			fmt.Fprintf(b, "%-*s%s\n", helpText, left, lines[0])
		}
		for _, l := range lines[1:] {
			fmt.Fprintf(b, "%s%s\n", indent, l)
		}
	})
}
