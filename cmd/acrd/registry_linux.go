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

// An identity is what events call the registry, and where they come from.
type identity struct {
	id, location string
	// origin is what receivers of CloudEvents are asked to allow; empty is the
	// daemon's name.
	origin string
}

func identityFlags(fs *pflag.FlagSet) *identity {
	i := &identity{}
	fs.StringVar(&i.id, "resource-id", api.ResourceID, "what events call the registry, as Azure calls its resources")
	fs.StringVar(&i.location, "location", api.Location, "where events say that it is, as a region of Azure")
	fs.StringVar(&i.origin, "event-origin", "", "name that receivers of CloudEvents are asked to allow (default the first --host-name, or this machine's); eventgrid.azure.net for those that allow Azure alone")
	return i
}

var originName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
})

var resourceID = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.ContainerRegistry/registries/[^/\s]+$`)
})

func (i *identity) check() error {
	if !resourceID().MatchString(i.id) {
		return &usageError{"--resource-id: write /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.ContainerRegistry/registries/NAME"}
	}
	if i.origin != "" && !originName().MatchString(i.origin) {
		return &usageError{"--event-origin: write a DNS name, such as acrd.example"}
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
