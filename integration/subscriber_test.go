package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"acrd/eventing"
)

// A subscriber is told of events over HTTP. It agrees to both handshakes.
type subscriber struct {
	testing.TB
	*httptest.Server

	mu  sync.Mutex // guards got
	got []delivered
}

// delivered is one request.
type delivered struct {
	header http.Header
	body   []byte
	event  eventing.Event
}

func newSubscriber(t testing.TB) *subscriber {
	t.Helper()
	r := &subscriber{TB: t}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *subscriber) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // cut off: it comes again
	}
	if req.Method == http.MethodOptions {
		w.Header().Set("WebHook-Allowed-Origin", req.Header.Get("WebHook-Request-Origin"))
		return
	}
	var one struct {
		ID, Subject, EventType, Type string
		EventTime, Time              time.Time
		Data                         json.RawMessage
	}
	text := strings.TrimSuffix(strings.TrimPrefix(string(body), "["), "]")
	if err := json.Unmarshal([]byte(text), &one); err != nil {
		r.Errorf("%v: %s", err, body)
		return
	}
	if req.Header.Get("Aeg-Event-Type") == "SubscriptionValidation" {
		var asked struct{ ValidationCode string }
		_ = json.Unmarshal(one.Data, &asked)
		_ = json.NewEncoder(w).Encode(map[string]string{"validationResponse": asked.ValidationCode})
		return
	}
	e := eventing.Event{ID: one.ID, Type: one.EventType + one.Type, Subject: one.Subject, Data: one.Data, Time: one.EventTime}
	if one.EventTime.IsZero() {
		e.Time = one.Time
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, delivered{req.Header, body, e})
}

// told is what has come until there is so much of it, or patience has ended.
func (r *subscriber) told(n int, patience time.Duration) []delivered {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		got := r.got
		r.mu.Unlock()
		if len(got) >= n || time.Now().After(deadline) {
			return got
		}
	}
}

// subscribe has events delivered to it.
func (r *subscriber) subscribe(d *daemon, name, schema string, types ...string) {
	r.Helper()
	d.succeed(d.acrd("", append([]string{
		"event-subscription", "create", "-n", name, "--endpoint", r.URL, "--insecure", "--trusted",
		"--event-delivery-schema", schema, "--included-event-types",
	}, types...)...))
}
