// Command weft is all of Weft: the server, the agent of a host, the client of the API, the lab, and the eyes.
//
// This package turns flags into configurations and calls constructors; what
// the parts do is theirs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weft/internal/config"
	"weft/internal/lab"
)

// version is that of the next release.
const version = "0.1.0-dev"

func main() {
	runtime.MemProfileRate = 0 // samples, a megabyte of them, that nobody can ask for
	// The first process of a lab's host, before anything else runs.
	if len(os.Args) > 1 && os.Args[1] == "lab-init" {
		if err := lab.HostInit(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "weft lab-init:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx)
	stop()
	os.Exit(code)
}

// execute runs the command line and returns the exit code.
func execute(ctx context.Context) int {
	root := rootCommand(os.Args[1:])
	err := root.ExecuteContext(ctx)
	return report(err)
}

// configFlag adds --config to a daemon's command, and reads it and the environment before it runs.
func configFlag(cmd *cobra.Command) {
	file := cmd.Flags().String("config", "", "YAML file with options: the names of these flags, with _ for -")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		path := *file
		if path == "" {
			path = os.Getenv("WEFT_CONFIG")
		}
		own := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { own.AddFlag(f) })
		return config.Apply(own, path, os.LookupEnv, "config")
	}
}
