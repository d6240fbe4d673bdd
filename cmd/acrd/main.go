// Command acrd is Azure Container Registry Tasks on your own machine: the
// daemon (acrd serve), and the commands that talk to it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// A command is one subcommand. The name's first line of help is in summary.
type command struct {
	name, summary string
	run           func(ctx context.Context, s *session, args []string) error
	hidden        bool
}

// commands are in the order in which help lists them.
func commands() []command {
	all := []command{
		{name: "build", summary: "Build an image from a folder, a git repository or an archive, and push it", run: build},
		{name: "run", summary: "Run a multi-step task, or one command", run: runTask},
		{name: "scan", summary: "Say which images a Dockerfile is built from", run: scan},
		{name: "logs", summary: "Show the log of a run", run: showLogs},
		{name: "render", summary: "Print a task file after its aliases and templates", run: render},
		{name: "lint", summary: "Say what is wrong, or probably not meant, in a task file", run: lint},
		{name: "token", summary: "Let others in over TCP", run: group("token", "Let others in over TCP", tokenCommands())},
		{name: "secret", summary: "Keep secrets for task files", run: group("secret", "Keep secrets for task files", secretCommands())},
		{name: "version", summary: "Show the version of acrd and of the daemon", run: showVersion},
	}
	return append(all, daemonCommands()...)
}

// A session is what a command has of the outside world.
type session struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, &session{os.Stdin, os.Stdout, os.Stderr, os.Getenv}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run is the whole program, for main and for tests.
func run(ctx context.Context, s *session, args []string) int {
	if len(args) == 0 {
		usage(s.stdout)
		return exitUsage
	}
	if args[0] == "-h" || args[0] == "--help" || args[0] == "help" && len(args) == 1 {
		usage(s.stdout)
		return exitOK
	}
	if args[0] == "--version" {
		args[0] = "version"
	}
	if args[0] == "help" {
		args = []string{args[1], "--help"}
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		fmt.Fprintf(s.stderr, "acrd: unknown command %q%s\nRun 'acrd help' for the list.\n", args[0], suggestion(args[0], all))
		return exitUsage
	}
	err := all[i].run(ctx, s, args[1:])
	code := exitCode(err)
	if err != nil && !silent(err) {
		fmt.Fprintln(s.stderr, "acrd:", err)
	}
	return code
}

func usage(w io.Writer) {
	fmt.Fprint(w, "acrd builds container images and runs ACR tasks on this machine.\n\nUsage: acrd COMMAND [FLAGS]\n\nCommands:\n")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(w, "  %-10s %s\n", c.name, c.summary)
		}
	}
	fmt.Fprint(w, "\nRun 'acrd COMMAND --help' for the flags of a command.\n")
}

// suggestion finds a command that was probably meant.
func suggestion(word string, all []command) string {
	for _, c := range all {
		if !c.hidden && (strings.HasPrefix(c.name, word) || strings.HasPrefix(word, c.name)) {
			return fmt.Sprintf(": did you mean %q?", c.name)
		}
	}
	return ""
}
