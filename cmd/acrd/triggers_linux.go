package main

import (
	"cmp"
	"context"

	"acrd/internal/buildkit"
	"acrd/internal/source"
	"acrd/runner"
	"acrd/steps"
	"acrd/triggers"

	"golang.org/x/sync/errgroup"
)

// openTriggers makes what starts runs by itself.
func (d *daemon) openTriggers(fetcher *source.Fetcher) {
	remotes := gitRemotes{fetcher}
	d.intake = &triggers.Intake{Definitions: d.store, Store: d.store, Git: remotes}
	d.commits = &triggers.Commits{
		Tasks: d.store, Watches: d.store, Intents: d.store, Events: d.store, Git: remotes, Every: d.poll, Log: d.log,
	}
	d.runner.Obsolete = d.commits.Obsolete
	d.bases = &triggers.Bases{
		Store: d.store, Tasks: d.store, Records: d.store, Intents: d.store, Events: d.store, Own: d.host(), Log: d.log,
		Registries: d.images(),
	}
	d.scans = &triggers.Scans{Bases: d.bases, Tasks: d.store, Scan: d.scanTask, Log: d.log}
	if d.followed { // who is there for one command has no time for it
		d.intake.Scans = d.scans
	}
	d.timers = &triggers.Timers{Store: d.store, Cancel: d.runner.Cancel, Log: d.log}
	d.scheduler = &triggers.Scheduler{
		Intents: d.store, Tasks: d.store, Runs: d.store, Submit: d.runner, Images: d.bases, Events: d.store,
		Quiet: d.quiet, Limit: cmp.Or(d.automatic, max(1, d.slots-1)), Changed: d.store.TriggersChanged, Log: d.log,
	}
}

// scanTask reads what the builds of a task start from.
func (d *daemon) scanTask(ctx context.Context, t *runner.Task) ([]*steps.Image, error) {
	req, err := t.Request(runner.Overrides{})
	if err != nil {
		return nil, err
	}
	return d.runner.Scan(ctx, req, buildkit.Scan)
}

// pushed is called by the registry. It has no clients before all is open.
func (d *daemon) pushed(name, tag, _ string) { d.bases.Pushed(name, tag) }

// serveTriggers ends with ctx, as the runner stops taking runs then: intents
// that are open wait for the next daemon.
func (d *daemon) serveTriggers(ctx context.Context, g *errgroup.Group) {
	if !d.followed {
		return // it is there for one command
	}
	g.Go(func() error { return d.statuses.Serve(ctx) })
	g.Go(func() error { return d.commits.Serve(ctx) })
	g.Go(func() error { return d.bases.Serve(ctx) })
	g.Go(func() error { return d.scans.Serve(ctx) })
	g.Go(func() error { return d.timers.Serve(ctx) })
	g.Go(func() error { return d.scheduler.Serve(ctx) })
	d.serveHooks(ctx, g)
}
