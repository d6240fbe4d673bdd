package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"acrd/eventing"
)

// FuzzPublish: whatever a token for publishing sends, it is none of acrd's own
// types and sources, and can be delivered in every schema.
func FuzzPublish(f *testing.F) {
	f.Add(gridType, "", `[{"id":"1","subject":"s","eventType":"com.example.x","eventTime":"2026-11-20T10:00:00.5Z","dataVersion":"2","data":{"a":1}}]`)
	f.Add(cloudType, "", `{"specversion":"1.0","id":"1","source":"/my/app","type":"com.example.x","time":"2026-11-20T10:00:00Z","data":[null],"n":1e300}`)
	f.Add(batchType, "", `[{"specversion":"1.0","id":"1","source":"shop","type":"x"},{"specversion":"1.0","id":"2","source":"/connectedRegistries","type":"y"}]`)
	f.Add("text/plain", "com.example.x", `"text"`)
	f.Fuzz(func(t *testing.T, media, binaryType, body string) {
		o := &outbox{}
		handler := &Publisher{Events: o, Registry: ResourceID}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, PublishPath, strings.NewReader(body))
		r.Header.Set("Content-Type", media)
		if binaryType != "" {
			r.Header.Set("Ce-Specversion", "1.0")
			r.Header.Set("Ce-Id", "1")
			r.Header.Set("Ce-Source", "shop")
			r.Header.Set("Ce-Type", binaryType)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= http.StatusInternalServerError {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for _, e := range o.events {
			for _, reserved := range eventing.Types() {
				if strings.EqualFold(e.Type, reserved) {
					t.Errorf("type %q was published", e.Type)
				}
			}
			if at := strings.ToLower(eventing.Topic(ResourceID, e.Topic)); e.Topic != "" && strings.HasPrefix(at, strings.ToLower(ResourceID)) {
				t.Errorf("source %q was published", e.Topic)
			}
			for _, schema := range []eventing.Schema{eventing.EventGridSchema, eventing.CloudEvents10, eventing.WebhookSchema} {
				b, _, err := eventing.EncodeBatch(eventing.Delivery{Registry: ResourceID, Schema: schema, Events: []eventing.Attempted{{Event: e}}})
				if err != nil || !json.Valid(b) {
					t.Errorf("as %s it is %s, %v", schema, b, err)
				}
			}
		}
	})
}

// FuzzSubscription: what passes as an event subscription has a filter that can
// be compiled.
func FuzzSubscription(f *testing.F) {
	f.Add("abc", `{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://e.example/x"}},"filter":{"subjectBeginsWith":"a","includedEventTypes":["All"],"advancedFilters":[{"operatorType":"NumberInRange","key":"data.a","values":[[1,2]]}]}}`)
	f.Add("abc", `{"destination":{"endpointType":"StorageQueue","properties":{"resourceId":"/x/storageAccounts/a/queueServices/default/queues/q"}},"retryPolicy":{"maxDeliveryAttempts":3}}`)
	f.Add("abc", `{"destination":{"endpointType":"Task","properties":{"resourceId":"hello"}},"deadLetterDestination":null}`)
	f.Fuzz(func(t *testing.T, name, body string) {
		var p EventSubscriptionProperties
		if json.Unmarshal([]byte(body), &p) != nil {
			return
		}
		r := &eventReader{task: func(string) error { return nil }}
		s := r.subscription(name, &p)
		if len(r.faults) > 0 {
			return
		}
		m, err := s.Matcher()
		if err != nil {
			t.Fatal(err)
		}
		m.Match((&eventing.Event{Type: "x", Data: json.RawMessage(`{"a":[1,{"b":null}]}`)}).Decode(ResourceID))
	})
}

// FuzzExchange: a form that nobody has signed opens nothing.
func FuzzExchange(f *testing.F) {
	f.Add("grant_type=refresh_token&refresh_token=" + wrap("acrd_x", time.Unix(1<<31, 0)))
	f.Add("grant_type=password&password=x")
	f.Add("access_token=a.e30.b")
	f.Fuzz(func(t *testing.T, form string) {
		h := (&Gate{Owner: "owners", Tokens: nobody{}}).Exchange()
		for _, path := range []string{"exchange", "token"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, exchangeRoot+path, strings.NewReader(form))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusUnauthorized && !strings.Contains(form, "owners") {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}

// nobody has a token.
type nobody struct{ Tokens }

func (nobody) TokenByHash(ctx context.Context, hash string) (*Token, error) {
	return keys{}.TokenByHash(ctx, "none of "+hash)
}
