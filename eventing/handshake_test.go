package eventing

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// memory keeps the subscriptions of one test.
type memory map[string]*Subscription

func (m memory) Subscriptions(context.Context, Kind) ([]Subscription, error) {
	var all []Subscription
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, *m[name])
	}
	return all, nil
}

func (m memory) Subscription(_ context.Context, _ Kind, name string) (*Subscription, error) {
	if s := m[strings.ToLower(name)]; s != nil {
		return s, nil
	}
	return nil, ErrNotFound
}

func (m memory) ChangeSubscription(_ context.Context, _ Kind, name string, change func(*Subscription) (*Subscription, error)) error {
	s, err := change(m[strings.ToLower(name)])
	if err != nil {
		return err
	}
	m[strings.ToLower(name)] = s
	return nil
}

// A receiver answers requests without a network.
type receiver func(r *http.Request) (*http.Response, error)

func (f receiver) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// validationOf is the event of a handshake.
func validationOf(t *testing.T, r *http.Request) validationData {
	t.Helper()
	var all []struct {
		EventType, DataVersion, MetadataVersion, ID, Topic string
		Data                                               validationData
	}
	if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].EventType != "Microsoft.EventGrid.SubscriptionValidationEvent" || all[0].DataVersion != "1" || all[0].MetadataVersion != "1" || all[0].Topic != registry {
		t.Errorf("validation event: %+v", all)
	}
	return all[0].Data
}

func echo(t *testing.T, status int) receiver {
	return func(r *http.Request) (*http.Response, error) {
		return answer(status, `{"validationResponse": "`+validationOf(t, r).ValidationCode+`"}`), nil
	}
}

// slow never answers.
func slow(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestHandshakes(t *testing.T) {
	allow := func(header ...string) receiver {
		return func(*http.Request) (*http.Response, error) { return answer(200, "", header...), nil }
	}
	for _, c := range []struct {
		name   string
		schema Schema
		to     DestinationType
		first  receiver
		second receiver // nil: it must not be asked twice
		state  State    // empty: it fails
		rate   int
		took   time.Duration
	}{
		{name: "code", first: echo(t, 200), state: Succeeded},
		{name: "code to a function", to: ToAzureFunction, first: echo(t, 200), state: Succeeded},
		{name: "202", first: echo(t, 202), second: echo(t, 202), took: 5 * time.Second},
		{name: "201 then 200", first: echo(t, 201), second: echo(t, 200), state: Succeeded, took: 5 * time.Second},
		{name: "redirect", first: echo(t, 302), second: echo(t, 307), took: 5 * time.Second},
		{name: "never", first: slow, second: slow, took: 65 * time.Second},
		{name: "slow, then quick", first: slow, second: echo(t, 200), state: Succeeded, took: 35 * time.Second},
		{name: "wrong code", first: func(*http.Request) (*http.Response, error) { return answer(200, `{"validationResponse":"1"}`), nil }, second: echo(t, 200), state: Succeeded, took: 5 * time.Second},
		{name: "no code", first: allow(), state: AwaitingManualAction},
		{name: "unreachable", first: func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }, second: echo(t, 500), took: 5 * time.Second},
		{name: "not to be reached", first: func(*http.Request) (*http.Response, error) { return nil, &DeliveryError{Err: errors.New("denied")} }},
		{name: "origin", schema: CloudEvents10, first: allow("WebHook-Allowed-Origin", "ACRD.example"), state: Succeeded},
		{name: "any origin", schema: CloudEvents10, first: allow("WebHook-Allowed-Origin", "*", "WebHook-Allowed-Rate", "120"), state: Succeeded, rate: 120},
		{name: "any rate", schema: CloudEvents10, first: allow("WebHook-Allowed-Origin", "*", "WebHook-Allowed-Rate", "*"), state: Succeeded},
		{name: "another origin", schema: CloudEvents10, first: allow("WebHook-Allowed-Origin", "other.example"), second: allow("WebHook-Allowed-Origin", "*"), state: Succeeded, took: 5 * time.Second},
		{name: "status is no consent", schema: CloudEvents10, first: allow(), state: AwaitingManualAction},
		{name: "no OPTIONS", schema: CloudEvents10, first: echoStatus(405), second: echoStatus(405), took: 5 * time.Second},
		{name: "queue", to: ToStorageQueue, state: Succeeded},
		{name: "webhook of ACR", schema: WebhookSchema, state: Succeeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Subscription{Name: "Sub-1", Schema: c.schema, Destination: Destination{Type: ToWebHook, URL: "https://receiver.example/in?code=CANARY", Attributes: []Attribute{{Name: "X-Key", Value: "k"}, {Name: "X-Field", Field: "data.x"}}}}
				if c.to != "" {
					s.Destination.Type = c.to
				}
				asked := 0
				h := &Handshake{Client: client(receiver(func(r *http.Request) (*http.Response, error) {
					asked++
					checkQuestion(t, c.schema, r)
					return []receiver{c.first, c.second}[asked-1](r)
				}))}
				start := time.Now()
				err := h.Validate(t.Context(), s, Place{registry, "https://acrd.example"}, func() error { return nil })
				if took := time.Since(start); took != c.took {
					t.Errorf("it took %s, want %s", took, c.took)
				}
				if _, ok := errors.AsType[*HandshakeError](err); ok != (c.state == "") || err != nil && !ok {
					t.Errorf("error %v, and the state is to be %q", err, c.state)
				}
				if err != nil && strings.Contains(err.Error(), "CANARY") {
					t.Errorf("the error tells the URL: %v", err)
				}
				if err == nil && (s.State != c.state || s.Rate != c.rate) {
					t.Errorf("state %s and rate %d, want %s and %d", s.State, s.Rate, c.state, c.rate)
				}
				if (s.Validation != nil) != (c.state == AwaitingManualAction) {
					t.Errorf("validation %+v", s.Validation)
				}
				if want := 2; c.second != nil && asked != want {
					t.Errorf("asked %d times, want %d", asked, want)
				}
			})
		})
	}
}

func echoStatus(status int) receiver {
	return func(*http.Request) (*http.Response, error) { return answer(status, ""), nil }
}

func client(f receiver) func(Destination) (*http.Client, error) {
	return func(Destination) (*http.Client, error) { return &http.Client{Transport: f}, nil }
}

func checkQuestion(t *testing.T, schema Schema, r *http.Request) {
	t.Helper()
	want := map[string]string{"X-Key": "k", "X-Field": "", "Aeg-Subscription-Name": "SUB-1"}
	if schema == CloudEvents10 {
		if r.Method != http.MethodOptions || r.Header.Get("WebHook-Request-Origin") != "acrd.example" || r.Header.Get("WebHook-Request-Callback") == "" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
	} else {
		maps.Copy(want, map[string]string{
			"Content-Type": "application/json; charset=utf-8", "Aeg-Event-Type": "SubscriptionValidation",
			"Aeg-Delivery-Count": "0", "Aeg-Data-Version": "1", "Aeg-Metadata-Version": "1",
		})
	}
	for name, value := range want {
		if got := r.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

// TestManualValidation ends a handshake by the address that the event has.
func TestManualValidation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := memory{}
		h := &Handshake{Subscriptions: all, Client: client(echoStatus(200))}
		made := func(schema Schema) *Subscription {
			s := &Subscription{Kind: EventSubscription, Name: "Sub", Schema: schema, Destination: Destination{Type: ToWebHook, URL: "https://receiver.example/"}}
			if err := h.Validate(t.Context(), s, Place{registry, "https://acrd.example"}, func() error { return nil }); err != nil || s.State != AwaitingManualAction {
				t.Fatalf("state %s, error %v", s.State, err)
			}
			all["sub"] = s
			return s
		}
		s := made(EventGridSchema)
		u := s.Validation.URL
		if !strings.HasPrefix(u, "https://acrd.example/eventsubscriptions/sub/validate?") {
			t.Errorf("address %s", u)
		}
		for _, wrong := range []string{strings.Replace(u, "/sub/", "/other/", 1), u + "x", strings.Replace(u, "/validate", "", 1), strings.Split(u, "?")[0]} {
			if got := visit(h, http.MethodGet, wrong); got != 404 {
				t.Errorf("%s: %d, want 404", wrong, got)
			}
		}
		if got := visit(h, http.MethodDelete, u); got != 404 {
			t.Errorf("DELETE: %d, want 404", got)
		}
		time.Sleep(handshakeLife - time.Second)
		if got := visit(h, http.MethodGet, u); got != 200 || s.State != Succeeded || s.Validation != nil {
			t.Errorf("GET: %d, state %s", got, s.State)
		}
		if got := visit(h, http.MethodGet, u); got != 404 {
			t.Errorf("the same again: %d, want 404", got)
		}
		s = made(EventGridSchema)
		time.Sleep(handshakeLife)
		if got := s.Settled(time.Now()); got != Failed {
			t.Errorf("after 5 minutes: %s, want Failed", got)
		}
		if got := visit(h, http.MethodGet, s.Validation.URL); got != 410 || s.State != AwaitingManualAction {
			t.Errorf("after 5 minutes: %d, state %s", got, s.State)
		}
		s = made(CloudEvents10)
		if got := visit(h, http.MethodPost, s.Validation.URL, "WebHook-Allowed-Rate", "30"); got != 200 || s.State != Succeeded || s.Rate != 30 {
			t.Errorf("POST: %d, state %s, rate %d", got, s.State, s.Rate)
		}
	})
}

func visit(h http.Handler, method, target string, header ...string) int {
	r := httptest.NewRequestWithContext(context.Background(), method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// TestCallbackBeforeTheAnswer is a receiver that visits the address before it
// answers, and answers without the code.
func TestCallbackBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handshake{Subscriptions: memory{}}
		h.Client = client(func(r *http.Request) (*http.Response, error) {
			if got := visit(h, http.MethodGet, validationOf(t, r).ValidationURL); got != 200 {
				t.Errorf("callback: %d", got)
			}
			return answer(200, ""), nil
		})
		s := &Subscription{Name: "sub", Destination: Destination{Type: ToWebHook, URL: "https://receiver.example/"}}
		if err := h.Validate(t.Context(), s, Place{registry, "https://acrd.example"}, func() error { return nil }); err != nil || s.State != Succeeded {
			t.Errorf("state %s, error %v", s.State, err)
		}
	})
}

// TestCallbackWhileItIsSaved is a receiver that visits the address at once after
// its answer.
func TestCallbackWhileItIsSaved(t *testing.T) {
	all := memory{}
	s := &Subscription{Kind: EventSubscription, Name: "sub", Destination: Destination{Type: ToWebHook, URL: "https://receiver.example/"}}
	h := &Handshake{Subscriptions: all, Client: client(echoStatus(200))}
	err := h.Validate(t.Context(), s, Place{registry, "https://acrd.example"}, func() error {
		if got := visit(h, http.MethodGet, s.Validation.URL); got != 200 {
			t.Errorf("callback: %d", got)
		}
		all["sub"] = s
		return nil
	})
	if err != nil || all["sub"].State != Succeeded {
		t.Errorf("state %s, error %v", s.State, err)
	}
}

// TestCallbackAsItEnds has somebody consent at the moment in which the question
// is over: who is told that it was taken was heard.
func TestCallbackAsItEnds(t *testing.T) {
	lost := 0
	for range 20_000 {
		all := &locked{memory: memory{}}
		s := &Subscription{Kind: EventSubscription, Name: "sub", Destination: Destination{Type: ToWebHook, URL: "https://receiver.example/"}}
		h := &Handshake{Subscriptions: all, Client: client(echoStatus(200))}
		var saved atomic.Bool
		taken := make(chan error, 1)
		err := h.Validate(t.Context(), s, Place{registry, "https://acrd.example"}, func() error {
			kept, ready := *s, make(chan struct{})
			all.memory["sub"] = &kept
			go func() {
				close(ready)
				for !saved.Load() {
					runtime.Gosched()
				}
				taken <- h.accept(t.Context(), "sub", kept.Validation.Token, 0)
			}()
			<-ready
			saved.Store(true)
			return nil
		})
		if err := errors.Join(err, <-taken); err != nil {
			t.Fatal(err)
		}
		if now, err := all.Subscription(t.Context(), EventSubscription, "sub"); err != nil || now.State != Succeeded {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d were told that their consent was taken, and it was not", lost)
	}
}

// locked is a memory that several may use.
type locked struct {
	mu sync.Mutex // guards memory
	memory
}

func (l *locked) Subscription(ctx context.Context, kind Kind, name string) (*Subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.memory.Subscription(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	found := *s
	return &found, nil
}

func (l *locked) ChangeSubscription(ctx context.Context, kind Kind, name string, change func(*Subscription) (*Subscription, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.ChangeSubscription(ctx, kind, name, change)
}

func TestDeletedNotice(t *testing.T) {
	for schema, want := range map[Schema]string{
		EventGridSchema: `"eventType":"Microsoft.EventGrid.SubscriptionDeletedEvent"`,
		CloudEvents10:   `"type":"Microsoft.EventGrid.SubscriptionDeletedEvent"`,
	} {
		var got string
		h := &Handshake{Client: client(func(r *http.Request) (*http.Response, error) {
			b, err := io.ReadAll(r.Body)
			got = r.Header.Get("Aeg-Event-Type") + " " + string(b)
			return answer(200, ""), err
		})}
		s := &Subscription{Name: "sub", State: Succeeded, Schema: schema, Destination: Destination{Type: ToWebHook, URL: "https://receiver.example/"}}
		if err := h.Deleted(t.Context(), s, registry); err != nil {
			t.Error(err)
		}
		for _, says := range []string{"SubscriptionDeletion ", want, `"eventSubscriptionId":"` + registry + `/providers/Microsoft.EventGrid/eventSubscriptions/sub"`} {
			if !strings.Contains(got, says) {
				t.Errorf("%s: %s: want it to say %s", schema, got, says)
			}
		}
	}
}
