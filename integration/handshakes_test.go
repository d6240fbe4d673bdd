package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/eventgrid/azsystemevents"
	"github.com/google/go-containerregistry/pkg/crane"
)

// A documented receiver is one of events as Microsoft's documents have it written,
// with its types. How it agrees differs.
type documented struct {
	*testing.T
	*httptest.Server
	// agree answers a validation event; nil allows the origin of CloudEvents.
	agree func(w http.ResponseWriter, v azsystemevents.SubscriptionValidationEventData)

	mu   sync.Mutex // guards told
	told []string   // the kind of each request, and the subject of its event
}

func newDocumented(t *testing.T, agree func(http.ResponseWriter, azsystemevents.SubscriptionValidationEventData)) *documented {
	s := &documented{T: t, agree: agree}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *documented) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		w.Header().Set("WebHook-Allowed-Origin", r.Header.Get("WebHook-Request-Origin"))
		w.Header().Set("WebHook-Allowed-Rate", "*")
		return
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var one struct {
		Subject string
		Data    json.RawMessage
	}
	text := strings.TrimSuffix(strings.TrimPrefix(string(b), "["), "]")
	if err := json.Unmarshal([]byte(text), &one); err != nil {
		s.Errorf("%v: %s", err, b)
	}
	kind := r.Header.Get("Aeg-Event-Type")
	if kind == "SubscriptionValidation" {
		var v azsystemevents.SubscriptionValidationEventData
		if err := json.Unmarshal(one.Data, &v); err != nil || v.ValidationCode == nil || v.ValidationURL == nil {
			s.Errorf("%v: %s", err, b)
			return
		}
		s.agree(w, v)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, strings.TrimSpace(kind+" "+one.Subject))
}

// wait wants it to have been told this by now, and nothing else.
func (s *documented) wait(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		got = slices.Clone(s.told)
		s.mu.Unlock()
		if len(got) >= len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func echoCode(w http.ResponseWriter, v azsystemevents.SubscriptionValidationEventData) {
	_ = json.NewEncoder(w).Encode(azsystemevents.SubscriptionValidationResponse{ValidationResponse: v.ValidationCode})
}

func visit(t *testing.T, address string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	ok(t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	ok(t, err)
	ok(t, resp.Body.Close())
	return resp.StatusCode
}

// TestHandshakes has receivers agree in every way that there is, or not, and
// looks at what they are told of a push.
func TestHandshakes(t *testing.T) {
	need(t)
	d := start(t)
	create := func(name, address string, flags ...string) result {
		return d.acrd("", append([]string{
			"event-subscription", "create", "-n", name, "--endpoint", address, "--insecure", "--advanced-filter", "data.target.repository", "StringIn", "team/app",
		}, flags...)...)
	}
	visitor := func(w http.ResponseWriter, v azsystemevents.SubscriptionValidationEventData) {
		w.WriteHeader(http.StatusOK)
		ok(t, http.NewResponseController(w).Flush())
		go func() { // as functions that answer at once do
			time.Sleep(50 * time.Millisecond)
			if status := visit(t, *v.ValidationURL); status != http.StatusOK {
				t.Errorf("visit: %d", status)
			}
		}()
	}
	echo, later := newDocumented(t, echoCode), newDocumented(t, visitor)
	person := newDocumented(t, func(http.ResponseWriter, azsystemevents.SubscriptionValidationEventData) {})
	cloud := newDocumented(t, nil)
	accepted := newDocumented(t, func(w http.ResponseWriter, v azsystemevents.SubscriptionValidationEventData) {
		w.WriteHeader(http.StatusAccepted)
		echoCode(w, v)
	})
	d.succeed(create("echo", echo.URL+"/?code=CANARY", "--trusted"))
	d.succeed(create("later", later.URL, "--trusted"))
	d.succeed(create("cloud", cloud.URL, "--trusted", "--event-delivery-schema", "cloudeventschemav1_0"))
	asked := d.succeed(create("person", person.URL, "--trusted"))
	address := regexp.MustCompile(`http://\S+/eventsubscriptions/person/validate\?\S+`).FindString(asked.stderr)
	if !strings.Contains(asked.stdout, "AwaitingManualAction") || address == "" {
		t.Fatalf("by hand: %s", asked)
	}
	if status := visit(t, strings.Replace(address, "token=", "token=x", 1)); status != http.StatusNotFound {
		t.Errorf("another token: %d", status)
	}
	if status := visit(t, address); status != http.StatusOK {
		t.Errorf("by hand: %d", status)
	}
	for name, r := range map[string]result{"202": create("refused", accepted.URL, "--trusted"), "allow-private": create("refused", echo.URL)} {
		if r.code != 2 || !strings.Contains(r.stderr, name) {
			t.Errorf("%s: %d %s", name, r.code, r)
		}
	}
	if r := d.acrd("", "event-subscription", "update", "-n", "echo", "--endpoint", accepted.URL); r.code != 2 {
		t.Errorf("an update to what does not agree: %d %s", r.code, r)
	}
	list := d.succeed(d.acrd("", "event-subscription", "list", "-o", "tsv"))
	if n := strings.Count(list.stdout, "Succeeded"); n != 4 || strings.Count(list.stdout, "\n") != 4 || strings.Contains(list.String(), "CANARY") {
		t.Errorf("list: %s", list)
	}

	ok(t, crane.Push(someImage(t), d.registry+"/team/other:v1", crane.Insecure))
	ok(t, crane.Push(someImage(t), d.registry+"/team/app:v1", crane.Insecure))
	for _, s := range []*documented{echo, later, person, cloud} {
		s.wait(t, "Notification team/app:v1")
	}
	accepted.wait(t)
	for _, name := range []string{"echo", "later", "person", "cloud"} {
		history := d.succeed(d.acrd("", "event-subscription", "events", "-n", name, "-o", "tsv"))
		if strings.Count(history.stdout, "\n") != 1 || !strings.Contains(history.stdout, "\tteam/app:v1\t1\tDelivered\t200") {
			t.Errorf("events of %s: %s", name, history)
		}
	}
	d.succeed(d.acrd("", "event-subscription", "redeliver", "-n", "cloud", "--since", "1h"))
	cloud.wait(t, "Notification team/app:v1", "Notification team/app:v1")
	d.succeed(d.acrd("", "event-subscription", "delete", "-n", "echo"))
	echo.wait(t, "Notification team/app:v1", "SubscriptionDeletion")
}
