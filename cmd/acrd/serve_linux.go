package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"acrd/internal/buildkit/engine"
)

// daemonCommands are those that only Linux has.
func daemonCommands() []command {
	return []command{
		{name: "serve", summary: "Run the daemon", run: serve},
		{name: "backup", summary: "Write what must not be lost to a file", run: backup},
		{name: "restore", summary: "Put such a file into a state folder", run: restore},
		{name: "doctor", summary: "Say what this host lacks, and what to do about it", run: doctor},
		{name: "engine", hidden: true, run: func(context.Context, *session, []string) error {
			os.Exit(engine.Main()) // a process of its own, with exit codes of its own
			return nil
		}},
	}
}

func serve(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "serve [FLAGS]", `Run the daemon: engine, registry and API on one address, until SIGTERM or
Ctrl-C. Runs in progress are then given time to finish; a second signal ends
everything at once.`)
	v := serveFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	o, err := v.read(fs)
	if err != nil {
		return err
	}
	o.log = slog.New(slog.NewTextHandler(s.stderr, nil))
	if v.logJSON {
		o.log = slog.New(slog.NewJSONHandler(s.stderr, nil))
	}
	o.ready = func(registry string) {
		fmt.Fprintf(s.stderr, "acrd %s serves on %s (registry, API); state in %s\n", version, registry, o.state)
	}
	if err := checkHost(ctx, o.state, o.engine == ""); err != nil {
		return err
	}
	var stop func()
	o.hurry, stop = hurryOnSignal(os.Exit)
	defer stop()
	return runDaemon(ctx, o)
}
