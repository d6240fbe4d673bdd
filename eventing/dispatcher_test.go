package eventing_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
	"acrd/internal/store"

	gocmp "github.com/google/go-cmp/cmp"
)

// plain is a Sealer that seals nothing.
type plain struct{}

func (plain) SealFor(_ string, b []byte) ([]byte, error) { return b, nil }
func (plain) OpenFor(_ string, b []byte) ([]byte, error) { return b, nil }

// A receiver is a Sink that answers as it is told.
type receiver struct {
	answer func(d eventing.Delivery) error // nil accepts all
	then   func(context.Context) error     // nil, or it answers so

	mu  sync.Mutex // guards what follows
	got []received
}

type received struct {
	ids    string
	counts string
	at     time.Time
	death  *eventing.Death
	// attributes are those of each event, as JSON.
	attributes string
}

func (r *receiver) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	var ids, counts, attributes []string
	for _, e := range d.Events {
		ids, counts = append(ids, e.ID), append(counts, fmt.Sprint(e.Count))
		b, err := json.Marshal(e.Attributes)
		if err != nil {
			return nil, err
		}
		attributes = append(attributes, string(b))
	}
	r.mu.Lock()
	r.got = append(r.got, received{strings.Join(ids, " "), strings.Join(counts, " "), time.Now(), d.Events[0].Dead, strings.Join(attributes, " ")})
	r.mu.Unlock()
	if r.then != nil {
		return nil, r.then(ctx)
	}
	if r.answer == nil {
		return nil, nil
	}
	return &eventing.Exchange{URL: "x"}, r.answer(d)
}

func (r *receiver) Close() error { return nil }

func (r *receiver) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, g := range r.got {
		all = append(all, g.ids)
	}
	return all
}

// since are the times of all attempts, from a time on.
func (r *receiver) since(start time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, g := range r.got {
		all = append(all, g.at.Sub(start).Round(time.Second).String())
	}
	return all
}

// A bench is a dispatcher on a store of its own. It is used within a bubble of
// synctest: its clock is fake.
type bench struct {
	t         *testing.T
	db        *store.DB
	d         *eventing.Dispatcher
	receivers map[string]*receiver // by URL
	stop      func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: filepath.Join(t.TempDir(), "acrd.db"), Sealer: plain{}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, db: db, receivers: map[string]*receiver{}}
	b.d = &eventing.Dispatcher{
		Store: db, Registry: "/registry", Alone: true, Lease: time.Minute, DeadDelay: eventing.DefaultDeadDelay, Log: slog.New(slog.DiscardHandler),
		Jitter: func(d time.Duration) time.Duration { return d },
		Open: func(d eventing.Destination) (eventing.Sink, error) {
			if r := b.receivers[d.URL]; r != nil {
				return r, nil
			}
			return nil, errors.New("no such place")
		},
	}
	b.serve()
	return b
}

func (b *bench) serve() {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.d.Serve(ctx); err != nil {
			b.t.Error(err)
		}
	}()
	b.stop = func() { cancel(); <-done }
}

func (b *bench) close() {
	b.stop()
	if err := b.db.Close(); err != nil {
		b.t.Error(err)
	}
}

// subscribe makes a subscription whose receiver answers as it is told.
func (b *bench) subscribe(s eventing.Subscription, answer func(eventing.Delivery) error) *receiver {
	b.t.Helper()
	s.Kind, s.Name, s.State = eventing.EventSubscription, cmp.Or(s.Name, "s"), eventing.Succeeded
	s.Schema, s.Filter.Types = eventing.EventGridSchema, []string{"x"}
	s.Destination.Type = cmp.Or(s.Destination.Type, eventing.ToWebHook)
	s.Destination.URL = "http://" + s.Name
	r := &receiver{answer: answer}
	b.receivers[s.Destination.URL] = r
	err := b.db.ChangeSubscription(b.t.Context(), s.Kind, s.Name, func(*eventing.Subscription) (*eventing.Subscription, error) { return &s, nil })
	if err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	return r
}

func (b *bench) publish(ids ...string) {
	b.t.Helper()
	var events []eventing.Event
	for _, id := range ids {
		key, _, _ := strings.Cut(id, "-")
		events = append(events, eventing.Event{ID: id, Type: "x", Subject: id, Key: key, Time: time.Now(), Data: []byte("{}")})
	}
	if err := b.db.AddEvents(b.t.Context(), events...); err != nil {
		b.t.Fatal(err)
	}
}

// dead are the dead letters of a subscription: event, reason, attempts, outcome.
func (b *bench) dead(name string) []string {
	b.t.Helper()
	letters, err := b.db.DeadLetters(b.t.Context(), eventing.EventSubscription, name, 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, l := range slices.Backward(letters) {
		all = append(all, fmt.Sprint(l.ID, " ", l.Reason, " ", l.Attempts, " ", l.Outcome))
	}
	return all
}

func status(code int, outcome eventing.Outcome) func(eventing.Delivery) error {
	return func(eventing.Delivery) error {
		return &eventing.DeliveryError{Status: code, Outcome: outcome, Err: fmt.Errorf("answered %d", code)}
	}
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestSchedule holds attempts to Event Grid's times, to the second.
func TestSchedule(t *testing.T) {
	all := strings.Fields("0s 10s 40s 1m40s 6m40s 16m40s 46m40s 1h46m40s 4h46m40s 10h46m40s 22h46m40s")
	for _, row := range []struct {
		name     string
		s        eventing.Subscription
		answer   func(eventing.Delivery) error
		attempts []string
		dead     string
		deadAt   time.Duration
	}{
		{"the whole day", eventing.Subscription{}, status(500, eventing.Aborted), all, "e TimeToLiveExceeded 11 Aborted", 34*time.Hour + 46*time.Minute + 40*time.Second},
		{"30 minutes are 6 attempts", eventing.Subscription{Retry: eventing.Retry{TTL: 30 * time.Minute}}, status(500, eventing.Aborted), all[:6], "e TimeToLiveExceeded 6 Aborted", 46*time.Minute + 40*time.Second},
		{"3 attempts", eventing.Subscription{Retry: eventing.Retry{MaxAttempts: 3}}, status(302, eventing.Aborted), all[:3], "e MaxDeliveryAttemptsExceeded 3 Aborted", 40 * time.Second},
		{"1 attempt", eventing.Subscription{Retry: eventing.Retry{MaxAttempts: 1}}, status(429, eventing.Busy), all[:1], "e MaxDeliveryAttemptsExceeded 1 Busy", 0},
		{"400", eventing.Subscription{}, status(400, eventing.BadRequest), all[:1], "e UndeliverableDueToBadRequest 1 BadRequest", 0},
		{"413", eventing.Subscription{}, status(413, eventing.PayloadTooLarge), all[:1], "e UndeliverableDueToPayloadTooLarge 1 PayloadTooLarge", 0},
		{"403", eventing.Subscription{}, status(403, eventing.Forbidden), all[:1], "e UndeliverableDueToForbidden 1 Forbidden", 0},
		{"401 of a webhook", eventing.Subscription{}, status(401, eventing.Unauthorized), all[:1], "e UndeliverableDueToUnauthorized 1 Unauthorized", 0},
		{
			"401 of a function",
			eventing.Subscription{Destination: eventing.Destination{Type: eventing.ToAzureFunction}, Retry: eventing.Retry{MaxAttempts: 3}},
			status(401, eventing.Unauthorized),
			strings.Fields("0s 5m0s 10m0s"), "e MaxDeliveryAttemptsExceeded 3 Unauthorized", 10 * time.Minute,
		},
		{
			"403 of a queue, whose key may be a new one soon",
			eventing.Subscription{Destination: eventing.Destination{Type: eventing.ToStorageQueue}, Retry: eventing.Retry{MaxAttempts: 3}},
			status(403, eventing.Unauthorized),
			strings.Fields("0s 5m0s 10m0s"), "e MaxDeliveryAttemptsExceeded 3 Unauthorized", 10 * time.Minute,
		},
		{
			"403 of an account that is switched off",
			eventing.Subscription{Destination: eventing.Destination{Type: eventing.ToStorageQueue}, Retry: eventing.Retry{MaxAttempts: 2}},
			status(403, eventing.Disabled),
			strings.Fields("0s 5m0s"), "e MaxDeliveryAttemptsExceeded 2 Disabled", 5 * time.Minute,
		},
		{
			"404 is 5 minutes at least",
			eventing.Subscription{Retry: eventing.Retry{MaxAttempts: 6}},
			status(404, eventing.NotFound),
			strings.Fields("0s 5m0s 10m0s 15m0s 20m0s 30m0s"), "e MaxDeliveryAttemptsExceeded 6 NotFound", 30 * time.Minute,
		},
		{
			"408 is 2 minutes at least",
			eventing.Subscription{Retry: eventing.Retry{MaxAttempts: 4}},
			status(408, eventing.TimedOut),
			strings.Fields("0s 2m0s 4m0s 6m0s"), "e MaxDeliveryAttemptsExceeded 4 TimedOut", 6 * time.Minute,
		},
		{
			"503 is 30 seconds at least",
			eventing.Subscription{Retry: eventing.Retry{MaxAttempts: 4}},
			status(503, eventing.Busy),
			strings.Fields("0s 30s 1m0s 2m0s"), "e MaxDeliveryAttemptsExceeded 4 Busy", 2 * time.Minute,
		},
		{
			"no connection",
			eventing.Subscription{Retry: eventing.Retry{MaxAttempts: 4}},
			status(0, eventing.SocketError),
			all[:4], "e MaxDeliveryAttemptsExceeded 4 SocketError", time.Minute + 40*time.Second,
		},
		{
			"an override that retries",
			eventing.Subscription{Retry: eventing.Retry{MaxAttempts: 2}, Statuses: map[int]eventing.Answer{403: eventing.AnswerRetry}},
			status(403, eventing.Forbidden),
			all[:2], "e MaxDeliveryAttemptsExceeded 2 Forbidden", 10 * time.Second,
		},
		{
			"an override that does not",
			eventing.Subscription{Statuses: map[int]eventing.Answer{500: eventing.AnswerDead}},
			status(500, eventing.Aborted),
			all[:1], "e UndeliverableDueToAborted 1 Aborted", 0,
		},
		{"an override that is content", eventing.Subscription{Statuses: map[int]eventing.Answer{302: eventing.AnswerDelivered}}, status(302, eventing.Aborted), all[:1], "", 0},
		{
			"Retry-After",
			eventing.Subscription{Retry: eventing.Retry{MaxAttempts: 3}},
			retryAfter(90 * time.Second),
			strings.Fields("0s 1m30s 3m0s"), "e MaxDeliveryAttemptsExceeded 3 Busy", 3 * time.Minute,
		},
		{
			"Retry-After beyond the event's time",
			eventing.Subscription{Retry: eventing.Retry{TTL: time.Hour}},
			retryAfter(100 * time.Hour),
			strings.Fields("0s"), "", 0,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				defer b.close()
				r := b.subscribe(row.s, row.answer)
				start := time.Now()
				b.publish("e")
				if row.dead != "" && row.deadAt > 0 {
					time.Sleep(row.deadAt - time.Second)
					synctest.Wait()
					same(t, "dead too early", b.dead("s"), nil)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if row.dead != "" {
					same(t, "dead letters", b.dead("s"), []string{row.dead})
				}
				time.Sleep(row.deadAt + 48*time.Minute)
				synctest.Wait()
				same(t, "attempts", r.since(start), row.attempts)
			})
		})
	}
}

func retryAfter(d time.Duration) func(eventing.Delivery) error {
	return func(eventing.Delivery) error {
		return &eventing.DeliveryError{Status: 429, Outcome: eventing.Busy, RetryAfter: d, Err: errors.New("answered 429")}
	}
}
