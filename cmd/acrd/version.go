package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"acrd/internal/api"
)

// Set by the linker, see the Makefile.
var (
	version = "dev"
	commit  = ""
)

// info is what this binary is made of.
func info() api.Info {
	i := api.Info{Version: version, Commit: commit}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, d := range b.Deps {
			if d.Path == "github.com/moby/buildkit" {
				i.BuildKit = d.Version
			}
		}
	}
	return i
}

func showVersion(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "version [FLAGS]", "Show the version of acrd, and of the daemon if one runs.")
	out := outputFlag(fs)
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	client := info()
	daemon, err := where.askInfo(ctx)
	if out.document() {
		both := map[string]any{"client": client}
		t := table{head: []string{"PROGRAM", "VERSION", "COMMIT", "BUILDKIT", "REGISTRY"}}
		t.add("acrd", client.Version, client.Commit, client.BuildKit, "")
		if err == nil {
			both["daemon"] = daemon
			t.add("daemon", daemon.Version, daemon.Commit, daemon.BuildKit, daemon.Registry)
		}
		return out.print(s, both, t)
	}
	line := func(name string, i api.Info) {
		fmt.Fprintf(s.stdout, "%-8s %s (commit %s), BuildKit %s", name, i.Version, orUnknown(i.Commit), orUnknown(i.BuildKit))
	}
	line("acrd", client)
	fmt.Fprintf(s.stdout, ", %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if err == nil {
		line("daemon", daemon)
		fmt.Fprintf(s.stdout, ", registry %s\n", daemon.Registry)
	}
	return nil
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
