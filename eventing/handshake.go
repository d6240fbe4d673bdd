package eventing

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Handshake asks receivers whether they want events, as Event Grid does,
// before they get any. It is an http.Handler for the answers of people and of
// programs that take their time: mount it at HandshakePrefix, where no token is
// asked for. Set the fields before use. It is safe for concurrent use.
type Handshake struct {
	Subscriptions Subscriptions
	// Client is what reaches a destination, and nothing that it must not. What it
	// is not to reach is a *DeliveryError.
	Client func(Destination) (*http.Client, error)
	// Origin is the DNS name that CloudEvents' receivers are asked to allow;
	// empty is the host of the address that the callback has.
	Origin string
	// Rate is how many deliveries a minute CloudEvents' receivers are asked
	// for; 0 does not ask, and takes what they say.
	Rate int
	Log  *slog.Logger // nil discards

	mu      sync.Mutex // guards waiting
	waiting map[string]*consent
}

// A consent is what has come back while a receiver is being asked.
type consent struct {
	given bool
	rate  int
}

// HandshakePrefix is where the answers of receivers come in.
const HandshakePrefix = "/eventsubscriptions/"

const (
	handshakeTimeout = 30 * time.Second
	handshakePause   = 5 * time.Second
	// handshakeLife is how long somebody may take to answer by hand.
	handshakeLife = 5 * time.Minute
)

// A HandshakeError says why a receiver was not found to want events.
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string {
	return "the endpoint did not pass the validation handshake: " + e.Err.Error()
}
func (e *HandshakeError) Unwrap() error { return e.Err }

// A Place is what receivers are told of the one who asks.
type Place struct {
	Topic string // the registry's resource id
	Base  string // the address of this daemon: https://host
}

// Validate asks the receiver of s, twice if it must, and sets State, Validation
// and Rate: Succeeded, or AwaitingManualAction if the receiver has answered and
// not said yes. What is no HTTP endpoint is not asked. Then it calls save, which
// must keep s. An error is a *HandshakeError, or save's.
func (h *Handshake) Validate(ctx context.Context, s *Subscription, from Place, save func() error) error {
	s.State, s.Validation, s.Why = Succeeded, nil, ""
	if !s.Destination.Type.isHTTP() || s.Schema == WebhookSchema {
		return save()
	}
	q := question{Place: from, code: NewID(), token: rand.Text(), asked: time.Now().UTC()}
	c := h.wait(q.token)
	defer h.forget(q.token)
	err := h.askTwice(ctx, s, &q)
	given, rate := h.consent(c)
	if s.Rate = rate; !given {
		if !errors.Is(err, errNoConsent) {
			return &HandshakeError{err}
		}
		s.State = AwaitingManualAction
		s.Validation = &Validation{Token: q.token, URL: q.callback(s.Name), Until: q.asked.Add(handshakeLife)}
	}
	if err := save(); err != nil {
		return err
	}
	h.forget(q.token) // who comes from now on finds what is saved
	if again, rate := h.consent(c); again && !given {
		return h.acceptStored(ctx, s.Name, q.token, rate)
	}
	return nil
}

func (h *Handshake) askTwice(ctx context.Context, s *Subscription, q *question) error {
	err := h.ask(ctx, s, q)
	_, ours := errors.AsType[*DeliveryError](err) // and will be the same again
	if err == nil || ours || errors.Is(err, errNoConsent) {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(handshakePause):
	}
	return h.ask(ctx, s, q)
}

func (t DestinationType) isHTTP() bool { return t == ToWebHook || t == ToAzureFunction }

func (h *Handshake) wait(token string) *consent {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting = map[string]*consent{}
	}
	c := &consent{}
	h.waiting[token] = c
	return c
}

func (h *Handshake) forget(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, token)
}

func (h *Handshake) consent(c *consent) (given bool, rate int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return c.given, c.rate
}

// errNoConsent says that the receiver has answered, and has not said yes: that
// may still come.
var errNoConsent = errors.New("it has answered without saying yes")

// A question is one handshake.
type question struct {
	Place
	code, token string
	asked       time.Time
}

func (q *question) callback(name string) string {
	v := url.Values{"id": {q.code}, "t": {handshakeTime(q.asked)}, "apiVersion": {"2022-06-15"}, "token": {q.token}}
	return q.Base + HandshakePrefix + url.PathEscape(strings.ToLower(name)) + "/validate?" + v.Encode()
}

func (h *Handshake) ask(ctx context.Context, s *Subscription, q *question) error {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, errors.New("it has not answered within 30 s"))
	defer cancel()
	var err error
	if s.Schema == CloudEvents10 {
		err = h.askCloudEvents(ctx, s, q)
	} else {
		err = h.askEventGrid(ctx, s, q)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// askEventGrid wants the code of a validation event back, and exactly a 200.
func (h *Handshake) askEventGrid(ctx context.Context, s *Subscription, q *question) error {
	body, err := plainJSON([]systemEvent{{
		ID: NewID(), Topic: q.Topic, Data: validationData{q.code, q.callback(s.Name)},
		EventType: "Microsoft.EventGrid.SubscriptionValidationEvent", EventTime: handshakeTime(q.asked), MetadataVersion: "1", DataVersion: "1",
	}})
	if err != nil {
		return err
	}
	resp, err := h.send(ctx, s, http.MethodPost, "SubscriptionValidation", body, nil)
	if err != nil {
		return err
	}
	var answer struct {
		ValidationResponse string `json:"validationResponse"`
	}
	switch {
	case json.Unmarshal(resp.body, &answer) != nil, answer.ValidationResponse == "":
		return errNoConsent
	case answer.ValidationResponse != q.code:
		return errors.New("it has answered with another validationResponse than the validationCode")
	}
	h.agree(q.token, 0)
	return nil
}

// askCloudEvents wants the receiver to allow our origin, as CloudEvents'
// webhooks do.
func (h *Handshake) askCloudEvents(ctx context.Context, s *Subscription, q *question) error {
	origin := h.origin(q.Base)
	header := http.Header{}
	header.Set("WebHook-Request-Origin", origin)
	header.Set("WebHook-Request-Callback", q.callback(s.Name))
	if h.Rate > 0 {
		header.Set("WebHook-Request-Rate", strconv.Itoa(h.Rate))
	}
	resp, err := h.send(ctx, s, http.MethodOptions, "", nil, header)
	if err != nil {
		return err
	}
	allowed := resp.header.Get("WebHook-Allowed-Origin")
	switch {
	case allowed == "":
		return errNoConsent
	case allowed != "*" && !strings.EqualFold(allowed, origin):
		return fmt.Errorf("its WebHook-Allowed-Origin is not %s", origin)
	}
	h.agree(q.token, allowedRate(resp.header))
	return nil
}

func (h *Handshake) origin(base string) string {
	if h.Origin != "" {
		return h.Origin
	}
	if u, err := url.Parse(base); err == nil {
		return u.Hostname()
	}
	return base
}

// allowedRate is WebHook-Allowed-Rate, 0 if it sets no limit.
func allowedRate(header http.Header) int {
	n, err := strconv.Atoi(header.Get("WebHook-Allowed-Rate"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// agree notes that the receiver wants events, if it is being asked just now.
func (h *Handshake) agree(token string, rate int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.waiting[token]
	if ok {
		c.given, c.rate = true, rate
	}
	return ok
}

// systemEvent is one of Event Grid's own.
type systemEvent struct {
	ID              string `json:"id"`
	Topic           string `json:"topic"`
	Subject         string `json:"subject"`
	Data            any    `json:"data"`
	EventType       string `json:"eventType"`
	EventTime       string `json:"eventTime"`
	MetadataVersion string `json:"metadataVersion"`
	DataVersion     string `json:"dataVersion"`
}

type validationData struct {
	ValidationCode string `json:"validationCode"`
	ValidationURL  string `json:"validationUrl"`
}

// handshakeTime has the digits of .NET's clock.
func handshakeTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// handshakeAnswer is what of an answer counts.
type handshakeAnswer struct {
	header http.Header
	body   []byte
}

// send makes a request of the destination, with the headers that all of its
// requests have. Only 200 is an answer; where it redirects to is of no matter.
func (h *Handshake) send(ctx context.Context, s *Subscription, method, kind string, body []byte, header http.Header) (*handshakeAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.Destination.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("its URL is none")
	}
	for _, a := range s.Destination.Attributes {
		if a.Field == "" {
			req.Header.Set(a.Name, a.Value)
		}
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Aeg-Subscription-Name", strings.ToUpper(s.Name))
	if kind != "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
		req.Header.Set("Aeg-Event-Type", kind)
		req.Header.Set("Aeg-Delivery-Count", "0")
		req.Header.Set("Aeg-Data-Version", "1")
		req.Header.Set("Aeg-Metadata-Version", "1")
	}
	client, err := h.Client(s.Destination)
	if err != nil {
		return nil, err
	}
	direct := *client
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := direct.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it has answered %d, and 200 is wanted", resp.StatusCode)
	}
	read, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, withoutURL(err)
	}
	return &handshakeAnswer{resp.Header, read}, nil
}

// withoutURL takes the address off an error: there may be a secret in it.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// Deleted tells a receiver that it will get no more events. It is tried once.
func (h *Handshake) Deleted(ctx context.Context, s *Subscription, topic string) error {
	if !s.Destination.Type.isHTTP() || s.State != Succeeded || s.Schema == WebhookSchema {
		return nil
	}
	id := topic + "/providers/Microsoft.EventGrid/eventSubscriptions/" + s.Name
	body, err := deletedEvent(s.Schema, topic, id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, handshakePause, errors.New("it has not answered within 5 s"))
	defer cancel()
	header := http.Header{}
	if s.Schema == CloudEvents10 {
		header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	}
	_, err = h.send(ctx, s, http.MethodPost, "SubscriptionDeletion", body, header)
	return err
}

func deletedEvent(schema Schema, topic, id string) ([]byte, error) {
	const kind = "Microsoft.EventGrid.SubscriptionDeletedEvent"
	data := struct {
		EventSubscriptionID string `json:"eventSubscriptionId"`
	}{id}
	now := handshakeTime(time.Now())
	if schema != CloudEvents10 {
		return plainJSON([]systemEvent{{ID: NewID(), Topic: topic, Data: data, EventType: kind, EventTime: now, MetadataVersion: "1", DataVersion: "1"}})
	}
	return plainJSON(struct {
		ID          string `json:"id"`
		Source      string `json:"source"`
		SpecVersion string `json:"specversion"`
		Type        string `json:"type"`
		Time        string `json:"time"`
		Data        any    `json:"data"`
	}{NewID(), topic, "1.0", kind, now, data})
}
