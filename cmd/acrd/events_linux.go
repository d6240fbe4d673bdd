package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"acrd/eventing"
	"acrd/internal/address"
	"acrd/internal/api"
	"acrd/internal/metrics"
	"acrd/internal/secrets"
	"acrd/internal/sinks"
	"acrd/internal/store"
	"acrd/triggers"

	"golang.org/x/sync/errgroup"
)

// openEvents makes what tells others of events.
func (d *daemon) openEvents(local *secrets.Local, counts *metrics.Metrics) {
	s := &sinkOpener{secrets: local, dialer: address.Dialer{Allow: d.allowPrivate}, origin: d.origin(), react: func(task string) eventing.Sink {
		return &triggers.Reaction{Task: task, Intents: d.store, Tasks: d.store, Runs: d.store}
	}}
	d.dispatcher = &eventing.Dispatcher{
		Store: d.store, Open: s.open, Registry: d.identity.id, Alone: !store.Shared(d.records.url), Lease: d.records.lease,
		DeadDelay: eventing.DefaultDeadDelay, Log: d.log,
		Observe: func(t eventing.DestinationType, err error) { counts.Delivery(string(t), err) },
	}
	d.handshake = &eventing.Handshake{Subscriptions: d.store, Client: s.client, Origin: s.origin, Log: d.log}
	counts.Gauge("acrd_event_queue_length", "Events that wait to be delivered, for all subscriptions.", func() float64 {
		n, _ := d.dispatcher.Waiting()
		return float64(n)
	})
	counts.Gauge("acrd_event_queue_oldest_seconds", "How long the oldest of them has waited.", func() float64 {
		_, age := d.dispatcher.Waiting()
		return age.Seconds()
	})
}

// tellOf gives the API what it shows of events.
func (d *daemon) tellOf(s *api.Server) {
	s.Subscriptions, s.Handshake, s.Base, s.ResourceID = d.store, d.handshake, d.base(), d.identity.id
	s.Deliveries = struct {
		*store.DB
		*eventing.Dispatcher
	}{d.store, d.dispatcher}
}

// serveEvents ends a moment after ctx, which lives until the runs have ended:
// what is not delivered then waits for the next daemon.
func (d *daemon) serveEvents(ctx context.Context, g *errgroup.Group) {
	if !d.followed {
		return // it is there for one command
	}
	g.Go(func() error { return d.dispatcher.Serve(ctx) })
}

// origin is what receivers of CloudEvents know this daemon as.
func (d *daemon) origin() string {
	if d.identity.origin != "" {
		return d.identity.origin
	}
	if len(d.hosts) > 0 {
		return d.hosts[0]
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// base is the address under which others reach this daemon, as far as it knows.
func (d *daemon) base() string {
	scheme, host := "http", d.host()
	if d.certificate != nil {
		scheme = "https"
	}
	if _, port, err := net.SplitHostPort(host); err == nil && len(d.hosts) > 0 {
		host = net.JoinHostPort(d.hosts[0], port)
	}
	return scheme + "://" + host
}

// A sinkOpener makes the sinks of destinations, and finds the secrets that they
// name.
type sinkOpener struct {
	secrets *secrets.Local
	dialer  address.Dialer
	origin  string
	react   func(task string) eventing.Sink
}

func (o *sinkOpener) client(d eventing.Destination) (*http.Client, error) {
	keys := &keyring{secrets: o.secrets, destination: d}
	w, err := sinks.NewWebHook(d, keys.get, o.origin, o.dialer)
	if err != nil {
		return nil, err
	}
	return w.Client(), nil
}

func (o *sinkOpener) open(d eventing.Destination) (eventing.Sink, error) {
	if task, ok := strings.CutPrefix(d.URL, "task:"); ok && d.Type == eventing.ToTask {
		return o.react(task), nil
	}
	keys := &keyring{secrets: o.secrets, destination: d}
	if d.Type == eventing.ToWebHook || d.Type == eventing.ToAzureFunction {
		return sinks.NewWebHook(d, keys.get, o.origin, o.dialer)
	}
	return &lazySink{open: func(ctx context.Context) (eventing.Sink, error) {
		k, err := keys.get(ctx)
		if err != nil {
			return nil, &eventing.DeliveryError{Outcome: eventing.InvalidConfigure, Err: err}
		}
		return sinks.Open(d, k.Credential, o.dialer)
	}}, nil
}

// A keyring finds the secrets that a destination names, and remembers them for
// a minute, so that a new value is used soon.
type keyring struct {
	secrets     *secrets.Local
	destination eventing.Destination

	mu    sync.Mutex // guards what follows
	keys  sinks.Keys
	until time.Time
}

func (k *keyring) get(ctx context.Context) (sinks.Keys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().Before(k.until) {
		return k.keys, nil
	}
	var found sinks.Keys
	var err error
	if found.Credential, err = k.value(ctx, k.destination.Secret); err != nil {
		return found, err
	}
	if found.Hub, err = k.value(ctx, k.destination.Sign.Hub); err != nil {
		return found, err
	}
	for _, name := range k.destination.Sign.Standard {
		v, err := k.value(ctx, name)
		if err != nil {
			return found, err
		}
		found.Standard = append(found.Standard, v)
	}
	k.keys, k.until = found, time.Now().Add(time.Minute)
	return found, nil
}

// value is empty for no name.
func (k *keyring) value(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	b, err := k.secrets.Get(ctx, secrets.Ref{Name: name})
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	return string(b), nil
}

// A lazySink opens a sink when something is delivered to it, for its secret may
// be far away. Where a login is refused, the next delivery opens another: the
// secret may have a new value.
type lazySink struct {
	open func(context.Context) (eventing.Sink, error)

	mu   sync.Mutex // guards sink
	sink eventing.Sink
}

func (l *lazySink) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	sink, err := l.opened(ctx)
	if err != nil {
		return nil, err
	}
	x, err := sink.Deliver(ctx, d)
	if e := (*eventing.DeliveryError)(nil); errors.As(err, &e) && e.Outcome == eventing.Unauthorized {
		l.forget(sink)
	}
	return x, err
}

// forget lets go of a sink, unless another has taken its place.
func (l *lazySink) forget(sink eventing.Sink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sink == sink {
		l.sink = nil
		_ = sink.Close() // what it has said of deliveries stands
	}
}

func (l *lazySink) opened(ctx context.Context) (eventing.Sink, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sink != nil {
		return l.sink, nil
	}
	sink, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	l.sink = sink
	return sink, nil
}

func (l *lazySink) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sink == nil {
		return nil
	}
	return l.sink.Close()
}
