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
	"syscall"
	_ "time/tzdata" // for hosts without

	"github.com/spf13/pflag"
)

// A command is one subcommand, or a group of them. The name's first line of
// help is in summary.
type command struct {
	name, summary string
	run           func(ctx context.Context, s *session, args []string) error
	hidden        bool
	subs          []command
}

// commands are in the order in which help lists them.
func commands() []command {
	all := []command{
		{name: "build", summary: "Build an image from a folder, a git repository or an archive, and push it", run: build},
		{name: "run", summary: "Run a multi-step task, or one command", run: runTask},
		{name: "scan", summary: "Say which images a Dockerfile is built from", run: scan},
		{name: "task", summary: "Make, change, run and show tasks", subs: taskCommands()},
		{name: "taskrun", summary: "Show task runs", subs: taskRunCommands()},
		{name: "runs", summary: "List runs, and watch them", subs: runsCommands()},
		{name: "logs", summary: "Show the log of a run", run: showLogs},
		{name: "render", summary: "Print a task file after its aliases and templates", run: render},
		{name: "lint", summary: "Say what is wrong, or probably not meant, in a task file", run: lint},
		{name: "event", summary: "Publish events", subs: eventCommands()},
		{name: "event-source", summary: "Let other registries tell what happens there", subs: eventSourceCommands()},
		{name: "repository", summary: "Show, lock and delete what is in the registry", subs: repositoryCommands()},
		{name: "manifest", summary: "Show, lock and delete manifests", subs: manifestCommands()},
		{name: "purge", summary: "Remove old tags, and manifests that have none", run: purge},
		{name: "gc", summary: "Give back the disk space of what was deleted from the registry", run: collectGarbage},
		{name: "token", summary: "Let others in over TCP", subs: tokenCommands()},
		{name: "secret", summary: "Keep secrets for task files", subs: secretCommands()},
		{name: "config", summary: "Policies of the registry", subs: configCommands()},
		{name: "event-subscription", summary: "Tell others of events, as Azure Event Grid does", subs: eventSubscriptionCommands()},
		{name: "webhook", summary: "Tell others what the registry has, as ACR's webhooks do", subs: webhookCommands()},
		{name: "version", summary: "Show the version of acrd and of the daemon", run: showVersion},
		{name: completionCommand, summary: "Print the completion script of a shell", run: printCompletion},
		{name: completeCommand, run: complete, hidden: true},
	}
	return append(all, daemonCommands()...)
}

// A session is what a command has of the outside world.
type session struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	// defined, if set, is told of the flags of a command.
	defined func(*pflag.FlagSet)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, &session{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run is the whole program, for main and for tests.
func run(ctx context.Context, s *session, args []string) int {
	if len(args) > 0 && args[0] == "--version" {
		args = []string{"version"}
	}
	if len(args) > 1 && args[0] == "help" {
		args = append(args[1:], "--help")
	}
	err := dispatch(ctx, s, command{name: "acrd", subs: commands()}, args)
	code := exitCode(err)
	if err != nil && !silent(err) {
		fmt.Fprintln(s.stderr, "acrd:", err)
	}
	return code
}

// dispatch finds the command of a group that args begin with, and runs it.
func dispatch(ctx context.Context, s *session, group command, args []string) error {
	if len(args) == 0 {
		usage(s.stdout, group)
		return errShown
	}
	if slices.Contains([]string{"-h", "--help", "help"}, args[0]) {
		usage(s.stdout, group)
		return nil
	}
	i := slices.IndexFunc(group.subs, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return &usageError{unknownCommand(group, args[0])}
	}
	c := group.subs[i]
	if c.subs == nil {
		return advised(c.run(ctx, s, args[1:]), group, c)
	}
	c.name = group.name + " " + c.name
	return dispatch(ctx, s, c, args[1:])
}

func usage(w io.Writer, group command) {
	if group.summary == "" {
		group.summary = "acrd builds container images and runs ACR tasks on this machine"
	}
	fmt.Fprintf(w, "%s.\n\nUsage: %s COMMAND [FLAGS]\n\nCommands:\n", group.summary, group.name)
	for _, c := range group.subs {
		if !c.hidden {
			fmt.Fprintf(w, "  %-18s %s\n", c.name, c.summary)
		}
	}
	fmt.Fprintf(w, "\nRun '%s COMMAND --help' for the flags of a command.\n", group.name)
}

// elsewhere is what does what az acr has a command for, and acrd has not.
var elsewhere = map[string]string{
	"agentpool":    "every run has this machine: acrd serve --max-runs and --run-cpus bound it",
	"check-health": "acrd doctor",
	"credential":   "acrd token create",
	"import":       "copy images with skopeo copy or crane copy",
	"login":        "docker login -u anybody HOST, with a token of 'acrd token create' as password; over loopback none is needed",
	"pack":         "run the builder's image in a cmd step",
	"scope-map":    "acrd token create --scope",
	"show":         "acrd version shows the registry's address",
}

func unknownCommand(group command, word string) string {
	if instead, ok := elsewhere[word]; ok && group.name == "acrd" {
		return fmt.Sprintf("there is no command %q here: %s", word, instead)
	}
	return fmt.Sprintf("unknown command %q%s\nRun '%s --help' for the list.", word, suggestion(word, group.subs), group.name)
}

// suggestion finds a command that was probably meant.
func suggestion(word string, all []command) string {
	var names []string
	for _, c := range all {
		if !c.hidden {
			names = append(names, c.name)
		}
	}
	meant := closest(word, names)
	if meant == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", meant)
}
