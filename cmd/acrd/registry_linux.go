package main

import (
	"context"
	"regexp"
	"sync"

	"acrd/internal/api"
	"acrd/internal/registry"
	"acrd/internal/store"

	"github.com/spf13/pflag"
)

// An identity is what events call the registry.
type identity struct {
	id, location string
}

func identityFlags(fs *pflag.FlagSet) *identity {
	i := &identity{}
	fs.StringVar(&i.id, "resource-id", api.ResourceID, "what events call the registry, as Azure calls its resources")
	fs.StringVar(&i.location, "location", api.Location, "where events say that it is, as a region of Azure")
	return i
}

var resourceID = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.ContainerRegistry/registries/[^/\s]+$`)
})

func (i *identity) check() error {
	if !resourceID().MatchString(i.id) {
		return &usageError{"--resource-id: write /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.ContainerRegistry/registries/NAME"}
	}
	return nil
}

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
		Dir: d.path("registry"), Log: d.log, Pushed: d.pushed, Location: d.identity.location,
		MayRelease: api.Owns, Journal: &store.Journal{DB: d.store, Owner: owner},
	})
	if err != nil {
		return err
	}
	d.later(d.registry.Close)
	return nil
}
