// Package sinktest holds every sink to the contract of [eventing.Sink], against
// a receiver that is really there.
package sinktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"acrd/eventing"
)

// Secret is the value of the attribute that no error and no exchange may tell.
const Secret = "attribute-5e1f2c"

// A Message is what a receiver has got.
type Message struct {
	ID, ContentType string
	Body            []byte
	Properties      map[string]string
}

// A Peer is a receiver, and what is special about it.
type Peer struct {
	// Open returns a sink to a receiver that has got nothing yet, through a
	// proxy that it leads there. It is called for each test.
	Open func(t *testing.T, proxy *Proxy, trusted bool) eventing.Sink
	// Again opens one more sink to what Open has opened one to.
	Again func(t *testing.T, proxy *Proxy) eventing.Sink
	// Connects says that a sink has a connection of its own, and delivers no
	// more after Close.
	Connects bool
	// Received waits for n messages that were not received before, and returns
	// them in order.
	Received func(t *testing.T, n int) []Message
	// Bodies says that a batch is one body, as requests and files have it.
	Bodies bool
	// NoProperties says that a message has nothing but a body.
	NoProperties bool
	// Largest is how many bytes an event may have; TooLarge, how many it may
	// not have. 0 is not tested.
	Largest, TooLarge int
	// Wrong opens sinks whose deliveries end in an outcome.
	Wrong map[eventing.Outcome]func(t *testing.T, proxy *Proxy) eventing.Sink
	// Secrets are texts that no error and no exchange may tell.
	Secrets []string
	// Lasting are functions whose goroutines belong to the receiver.
	Lasting []goleak.Option
}

// Event is one of the registry's.
func Event(id string) eventing.Attempted {
	return eventing.Attempted{Event: eventing.Event{
		ID: id, Type: eventing.ImagePushed, Subject: "app:v1", Key: "app",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC),
		Data: json.RawMessage(`{"action":"push","id":"` + id + `"}`),
	}}
}

// Delivery is one of events, or of a new one.
func Delivery(schema eventing.Schema, events ...eventing.Attempted) eventing.Delivery {
	if len(events) == 0 {
		events = []eventing.Attempted{Event(newID())}
	}
	for i := range events {
		if events[i].Attributes == nil {
			events[i].Attributes = map[string]string{"x-plain": "one", "x-secret": Secret}
		}
	}
	return eventing.Delivery{
		Subscription: "mysub", Schema: schema, Events: events,
		Registry: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/demo",
	}
}

var (
	idTurn sync.Mutex
	lastID int
)

func newID() string {
	idTurn.Lock()
	defer idTurn.Unlock()
	lastID++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", lastID)
}

// Attributes are those of Delivery, as a destination has them.
func Attributes() []eventing.Attribute {
	return []eventing.Attribute{{Name: "x-plain", Value: "one"}, {Name: "x-secret", Value: Secret, Secret: true}}
}

type fixture struct {
	*Peer
	proxy *Proxy
	sink  eventing.Sink
}

// Run is the suite.
func Run(t *testing.T, p Peer) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *fixture)
	}{
		{"one event", one},
		{"CloudEvents", cloudEvents},
		{"batch", batch},
		{"repeated", repeated},
		{"large", large},
		{"concurrent", concurrent},
		{"down", down},
		{"reset while idle", idle},
		{"reset midway", midway},
		{"slow", slow},
		{"stalled", stalled},
		{"canceled", canceled},
		{"closed", closed},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fixture{Peer: &p, proxy: NewProxy(t)}
			f.sink = p.Open(t, f.proxy, true)
			defer f.sink.Close()
			test.run(t, f)
		})
	}
	t.Run("private address", func(t *testing.T) { private(t, &p) })
	for outcome, open := range p.Wrong {
		t.Run(string(outcome), func(t *testing.T) { wrong(t, &p, outcome, open) })
	}
}

// deliver delivers within a bound, and looks for secrets in what is told.
func (f *fixture) deliver(t *testing.T, d eventing.Delivery) error {
	t.Helper()
	return f.deliverWithin(t, 20*time.Second, d)
}

func (f *fixture) deliverWithin(t *testing.T, bound time.Duration, d eventing.Delivery) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	began := time.Now()
	exchange, err := f.sink.Deliver(ctx, d)
	if took := time.Since(began); took > bound+3*time.Second {
		t.Errorf("a delivery took %v, its context %v", took, bound)
	}
	told, _ := json.Marshal(exchange)
	if err != nil {
		told = append(told, err.Error()...)
		if e := (*eventing.DeliveryError)(nil); !errors.As(err, &e) || e.Outcome == "" || e.Outcome == eventing.Delivered {
			t.Errorf("error %v (%T) is no DeliveryError with an outcome", err, err)
		}
	}
	for _, secret := range append(slices.Clone(f.Secrets), Secret) {
		if strings.Contains(string(told), secret) {
			t.Errorf("the exchange or the error tells a secret: %s", told)
		}
	}
	return err
}

func (f *fixture) mustDeliver(t *testing.T, d eventing.Delivery) {
	t.Helper()
	if err := f.deliver(t, d); err != nil {
		t.Fatalf("deliver: %v (%s)", err, outcome(err))
	}
}

func outcome(err error) eventing.Outcome {
	if e := (*eventing.DeliveryError)(nil); errors.As(err, &e) {
		return e.Outcome
	}
	return ""
}

// ids are those of the events in messages.
func (f *fixture) ids(t *testing.T, messages []Message) (ids []string) {
	t.Helper()
	for _, m := range messages {
		var events []struct{ ID string }
		body := m.Body
		if !bytes.HasPrefix(body, []byte{'['}) {
			body = append(append([]byte{'['}, body...), ']')
		}
		if err := json.Unmarshal(body, &events); err != nil {
			t.Fatalf("body %.200q: %v", m.Body, err)
		}
		for _, e := range events {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func one(t *testing.T, f *fixture) {
	d := Delivery(eventing.EventGridSchema)
	d.Events[0].Count = 3
	f.mustDeliver(t, d)
	m := f.Received(t, 1)[0]
	f.check(t, d, m)
	if f.NoProperties {
		return
	}
	want := d.Properties()
	maps.Copy(want, d.Attributes())
	for name, value := range want {
		if m.Properties[name] != value {
			t.Errorf("property %s is %q, want %q", name, m.Properties[name], value)
		}
	}
	if want["aeg-delivery-count"] != "3" || want["aeg-subscription-name"] != "MYSUB" {
		t.Errorf("properties %v", want)
	}
}

// check holds a message to what the encoders say.
func (f *fixture) check(t *testing.T, d eventing.Delivery, m Message) {
	t.Helper()
	want, err := eventing.Encode(d, d.Events[0])
	contentType := "application/json"
	if d.Schema == eventing.CloudEvents10 {
		contentType = "application/cloudevents+json"
	}
	if f.Bodies {
		want, _, err = eventing.EncodeBatch(d)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Body, want) {
		t.Errorf("body\n%.300s, want\n%.300s", m.Body, want)
	}
	if f.NoProperties {
		return
	}
	if !strings.HasPrefix(strings.ToLower(m.ContentType), contentType) {
		t.Errorf("content type %q, want %q", m.ContentType, contentType)
	}
	if m.ID != d.Events[0].ID {
		t.Errorf("message id %q, want the event's %q", m.ID, d.Events[0].ID)
	}
}

func cloudEvents(t *testing.T, f *fixture) {
	d := Delivery(eventing.CloudEvents10)
	f.mustDeliver(t, d)
	f.check(t, d, f.Received(t, 1)[0])
}

func batch(t *testing.T, f *fixture) {
	var events []eventing.Attempted
	var want []string
	for range 20 {
		e := Event(newID())
		e.Attributes = map[string]string{"x-plain": "of " + e.ID}
		events, want = append(events, e), append(want, e.ID)
	}
	f.mustDeliver(t, Delivery(eventing.CloudEvents10, events...))
	n := len(events)
	if f.Bodies {
		n = 1
	}
	messages := f.Received(t, n)
	if got := f.ids(t, messages); !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
	for i, m := range messages {
		if got := m.Properties["x-plain"]; !f.NoProperties && got != "of "+want[i] {
			t.Errorf("the message of %s has the attribute %q", want[i], got)
		}
	}
}

// repeated delivers an event twice: a receiver that tells the two to be one
// does so by the id.
func repeated(t *testing.T, f *fixture) {
	d := Delivery(eventing.CloudEvents10)
	for range 2 {
		f.mustDeliver(t, d)
		d.Events[0].Count++
	}
	last := Delivery(eventing.CloudEvents10)
	f.mustDeliver(t, last)
	var got []string
	for len(got) == 0 || got[len(got)-1] != last.Events[0].ID {
		got = append(got, f.ids(t, f.Received(t, 1))...)
	}
	if len(got) > 3 || got[0] != d.Events[0].ID || len(got) == 3 && got[1] != got[0] {
		t.Errorf("received %v, want %s once or twice, then %s", got, d.Events[0].ID, last.Events[0].ID)
	}
}

func large(t *testing.T, f *fixture) {
	d := sized(t, f.Largest)
	f.mustDeliver(t, d)
	f.check(t, d, f.Received(t, 1)[0])
	if f.TooLarge == 0 {
		return
	}
	if err := f.deliver(t, sized(t, f.TooLarge)); outcome(err) != eventing.PayloadTooLarge {
		t.Errorf("%d bytes: %v (%s), want %s", f.TooLarge, err, outcome(err), eventing.PayloadTooLarge)
	}
	f.mustDeliver(t, Delivery(eventing.CloudEvents10))
	f.Received(t, 1)
}

// sized is a delivery whose one event has so many bytes on the wire.
func sized(t *testing.T, bytes int) eventing.Delivery {
	t.Helper()
	d := Delivery(eventing.CloudEvents10)
	d.Events[0].Data = json.RawMessage(`{"padding":""}`)
	empty, err := eventing.Encode(d, d.Events[0])
	if err != nil {
		t.Fatal(err)
	}
	d.Events[0].Data = json.RawMessage(`{"padding":"` + strings.Repeat("x", bytes-len(empty)) + `"}`)
	return d
}

func concurrent(t *testing.T, f *fixture) {
	const each = 10
	var all sync.WaitGroup
	want := make([]string, 0, 4*each)
	for range 4 * each {
		want = append(want, newID())
	}
	for i := range 4 {
		all.Go(func() {
			for _, id := range want[i*each : (i+1)*each] {
				if err := f.deliver(t, Delivery(eventing.CloudEvents10, Event(id))); err != nil {
					t.Errorf("deliver: %v", err)
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	got := f.ids(t, f.Received(t, len(want)))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("received %d events %v, want %d", len(got), got, len(want))
	}
}

// recovers delivers again, as the next attempt would. What it delivers was
// received in the end, whatever else was.
func (f *fixture) recovers(t *testing.T, d eventing.Delivery) {
	t.Helper()
	f.mustDeliver(t, d)
	want := d.Events[len(d.Events)-1].ID
	for range 3 {
		if got := f.ids(t, f.Received(t, 1)); slices.Contains(got, want) {
			return
		}
	}
	t.Errorf("event %s was not received", want)
}

func down(t *testing.T, f *fixture) {
	f.mustDeliver(t, Delivery(eventing.CloudEvents10))
	f.Received(t, 1)
	f.proxy.Down()
	d := Delivery(eventing.CloudEvents10)
	for range 2 {
		if err := f.deliver(t, d); outcome(err) != eventing.SocketError {
			t.Errorf("nobody listens: %v (%s), want %s", err, outcome(err), eventing.SocketError)
		}
	}
	f.proxy.Up(t)
	f.recovers(t, d)
}

// idle resets the connection that the next delivery would use. A sink may need
// one attempt to see it.
func idle(t *testing.T, f *fixture) {
	f.mustDeliver(t, Delivery(eventing.CloudEvents10))
	f.Received(t, 1)
	f.proxy.Reset()
	d := Delivery(eventing.CloudEvents10)
	if err := f.deliver(t, d); err != nil {
		t.Logf("the first attempt saw it: %v", err)
		if outcome(err) != eventing.SocketError {
			t.Errorf("outcome %s, want %s", outcome(err), eventing.SocketError)
		}
		f.recovers(t, d)
		return
	}
	f.Received(t, 1)
}

func midway(t *testing.T, f *fixture) {
	d := sized(t, min(f.Largest, 60_000))
	f.proxy.ResetAfter(20_000)
	if err := f.deliver(t, d); outcome(err) != eventing.SocketError {
		t.Errorf("reset midway: %v (%s), want %s", err, outcome(err), eventing.SocketError)
	}
	f.proxy.Up(t)
	f.recovers(t, d)
}

func slow(t *testing.T, f *fixture) {
	f.proxy.Slow(50 * time.Millisecond)
	d := Delivery(eventing.CloudEvents10)
	f.recovers(t, d)
}

func stalled(t *testing.T, f *fixture) {
	for _, connected := range []bool{false, true} {
		if connected {
			f.proxy.Up(t)
			f.recovers(t, Delivery(eventing.CloudEvents10))
		}
		f.proxy.Stall()
		if err := f.deliverWithin(t, time.Second, Delivery(eventing.CloudEvents10)); outcome(err) != eventing.TimedOut {
			t.Errorf("no answer, connected before: %v: %v (%s), want %s", connected, err, outcome(err), eventing.TimedOut)
		}
	}
	f.proxy.Up(t)
	f.recovers(t, Delivery(eventing.CloudEvents10))
}

func canceled(t *testing.T, f *fixture) {
	f.proxy.Stall()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	began := time.Now()
	_, err := f.sink.Deliver(ctx, Delivery(eventing.CloudEvents10))
	if outcome(err) != eventing.Canceled || time.Since(began) > 3*time.Second {
		t.Errorf("canceled after 200 ms: %v (%s) after %v, want %s", err, outcome(err), time.Since(began), eventing.Canceled)
	}
}

// closed looks for goroutines that Close leaves behind. Those of a receiver in
// this process are there before.
func closed(t *testing.T, f *fixture) {
	f.mustDeliver(t, Delivery(eventing.CloudEvents10))
	f.Received(t, 1)
	before := append(f.Lasting, goleak.IgnoreCurrent())
	other := &fixture{Peer: f.Peer, proxy: f.proxy, sink: f.sink}
	other.sink = f.Again(t, f.proxy)
	other.mustDeliver(t, Delivery(eventing.CloudEvents10))
	if err := other.sink.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	f.proxy.Reset()
	if err := goleak.Find(before...); err != nil {
		t.Errorf("after Close: %v", err)
	}
	if err := other.deliver(t, Delivery(eventing.CloudEvents10)); f.Connects && err == nil {
		t.Error("a sink that is closed delivers")
	}
}

// private opens a destination that a stranger has named. Nobody is connected
// to.
func private(t *testing.T, p *Peer) {
	f := &fixture{Peer: p, proxy: NewProxy(t)}
	f.sink = p.Open(t, f.proxy, false)
	defer f.sink.Close()
	if err := f.deliver(t, Delivery(eventing.CloudEvents10)); outcome(err) != eventing.Forbidden {
		t.Errorf("an address of this host: %v (%s), want %s", err, outcome(err), eventing.Forbidden)
	}
	if n := f.proxy.Accepted.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func wrong(t *testing.T, p *Peer, want eventing.Outcome, open func(*testing.T, *Proxy) eventing.Sink) {
	f := &fixture{Peer: p, proxy: NewProxy(t)}
	f.sink = open(t, f.proxy)
	defer f.sink.Close()
	for range 2 {
		if err := f.deliver(t, Delivery(eventing.CloudEvents10)); outcome(err) != want {
			t.Errorf("deliver: %v (%s), want %s", err, outcome(err), want)
		}
	}
}
