package main

import (
	"context"

	"acrd/internal/api"
	"acrd/internal/registry"
	"acrd/internal/store"
)

// openRegistry opens the registry, and finds out what a crash has left open in
// it. On PostgreSQL each daemon has a registry of its own.
func (d *daemon) openRegistry(ctx context.Context) error {
	owner := "alone"
	if store.Shared(d.records.url) {
		var err error
		if owner, err = daemonName(d.path(nameFile)); err != nil {
			return err
		}
	}
	var err error
	d.registry, err = registry.Open(ctx, registry.Options{
		Dir: d.path("registry"), Log: d.log, Pushed: d.pushed, Location: "local",
		MayRelease: api.Owns, Journal: &store.Journal{DB: d.store, Owner: owner},
	})
	if err != nil {
		return err
	}
	d.later(d.registry.Close)
	return nil
}
