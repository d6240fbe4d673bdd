package main

import (
	"context"
	"net/http"
	"time"

	"acrd/eventing/inbound"
	"acrd/internal/address"
	"acrd/internal/images"
	"acrd/internal/metrics"
	"acrd/internal/secrets"
	"acrd/internal/store"
	"acrd/triggers"

	"golang.org/x/sync/errgroup"
)

// openHooks makes what hooks come in at, of git servers and of registries.
func (d *daemon) openHooks(local *secrets.Local, counts *metrics.Metrics) {
	secret := func(ctx context.Context, name string) (string, error) {
		value, err := local.Get(ctx, secrets.Ref{Name: name})
		return string(value), err
	}
	d.verifier = &inbound.Verifier{
		Sources: d.store, Queue: d.store, Secret: secret, Pushed: d.bases.Announced, Location: d.identity.location, Log: d.log,
		Registries: d.images(), Alone: !store.Shared(d.records.url),
		Observe: func(k inbound.Kind, o inbound.Outcome) { counts.Notice(string(k), string(o)) },
	}
	d.receiver = &inbound.Receiver{Sources: d.store, Queue: d.store, Secret: secret, Woken: d.verifier.Wake, Log: d.log}
	d.hooks = &triggers.Hooks{Tasks: d.store, Deliveries: d.store, Commits: d.commits, Log: d.log}
}

// serveHooks asks registries whether it is true what was said of them.
func (d *daemon) serveHooks(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return d.verifier.Serve(ctx) })
}

// images looks at images in all registries.
func (d *daemon) images() *images.Client {
	return &images.Client{Own: d.host(), Handler: d.registry, PlainHTTP: d.plainHTTP, Transport: registryTransport(), TokenServers: d.tokenServers}
}

// registryTransport is http.DefaultTransport, but for addresses that no
// registry has, wherever a redirect or a name leads.
func registryTransport() http.RoundTripper {
	dialer := address.Dialer{Private: true, Timeout: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		MaxIdleConns: 100, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		ExpectContinueTimeout: time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
}
