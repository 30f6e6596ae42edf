package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// weftCall finds what the demo runs of weft: by its functions weft and value, or by the program itself.
var weftCall = regexp.MustCompile(`(?m)(?:^|[;|&(]|if |until )\s*(?:weft|"\$weft"|value) ([a-z].*)$`)

// bare is a word of the shell that is certain to be what it is: no variable, no quotes.
var bare = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// TestTheDemosCommandsExist asks of each command that scripts/demo runs or recommends that it is there, and has the flags.
func TestTheDemosCommandsExist(t *testing.T) {
	text, err := os.ReadFile("../../scripts/demo")
	if err != nil {
		t.Fatal(err)
	}
	script := string(text)
	var calls []string
	for _, m := range weftCall.FindAllStringSubmatch(script, -1) {
		calls = append(calls, m[1])
	}
	for _, m := range regexp.MustCompile(`bin/weft ([^;\n]*)`).FindAllStringSubmatch(script, -1) {
		calls = append(calls, m[1])
	}
	if len(calls) < 30 {
		t.Fatalf("only %d commands found: %q", len(calls), calls)
	}
	for _, call := range calls {
		words := strings.Fields(call)
		for i, w := range words { // another program, or the end of the command
			if w == "--" || strings.ContainsAny(w, "|>;)&") || strings.HasPrefix(w, "…") || w == "" {
				words = words[:i]
				break
			}
		}
		path := words
		if i := slices.IndexFunc(words, func(w string) bool { return !bare.MatchString(w) }); i >= 0 {
			path = words[:i]
		}
		if len(path) == 0 {
			continue // the function's own "$@"
		}
		cmd, _, err := rootCommand(nil).Find(path)
		if err != nil || !cmd.Runnable() || cmd.HasSubCommands() { // a group says what it has
			t.Errorf("weft %s: there is no such command (%v, %s)", call, err, cmd.CommandPath())
			continue
		}
		for _, w := range words {
			name, long := strings.CutPrefix(w, "--")
			name, _, _ = strings.Cut(name, "=")
			switch {
			case long && cmd.Flag(name) == nil && cmd.InheritedFlags().Lookup(name) == nil:
				t.Errorf("weft %s: %q has no flag --%s", call, cmd.CommandPath(), name)
			case !long && len(w) == 2 && w[0] == '-' && cmd.Flags().ShorthandLookup(w[1:]) == nil && cmd.InheritedFlags().ShorthandLookup(w[1:]) == nil:
				t.Errorf("weft %s: %q has no flag %s", call, cmd.CommandPath(), w)
			}
		}
	}
}
