package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"acrd/internal/api"

	"github.com/spf13/pflag"
)

// startLocal runs the daemon in this process, for the length of one command:
// the same daemon on the same state folder, so that what it builds is there
// for the next one.
func startLocal(ctx context.Context, s *session, state, listen string) (stop func(context.Context) error, err error) {
	if os.Getuid() != 0 {
		return nil, &hostError{errors.New("no daemon runs, and starting one for this command needs root: use sudo, or start 'acrd serve' as root and give its address with --server")}
	}
	if err := checkHost(ctx, state, true); err != nil {
		return nil, err
	}
	defaults := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	limits, cache := limitFlags(defaults), cacheFlags(defaults)
	o := daemonOptions{
		identity: identity{id: api.ResourceID, location: api.Location},
		state:    state, listen: cmp.Or(listen, defaultListen), slots: defaultSlots(),
		log: slog.New(slog.NewTextHandler(io.Writer(s.stderr), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if o.limits, o.disk, err = limits.read(state); err != nil {
		return nil, err
	}
	if o.cache, err = cache.read(state); err != nil {
		return nil, err
	}
	secretSources := secretValues{provider: s.getenv("ACRD_SECRETS"), file: s.getenv("ACRD_SECRETS_ALIASES")}
	if o.secrets, err = secretSources.read(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	o.ready = func(string) { close(ready) }
	// Ctrl-C cancels the command's run; the daemon ends after that.
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- runDaemon(life, o) }()
	select {
	case <-ready:
	case err := <-done:
		cancel(nil)
		return nil, fmt.Errorf("start a daemon for this command: %w", err)
	}
	return func(ctx context.Context) error {
		cancel(nil)
		t := time.NewTimer(20 * time.Second)
		defer t.Stop()
		select {
		case err := <-done:
			return err
		case <-t.C:
			return errors.New("the daemon of this command does not end")
		}
	}, nil
}
