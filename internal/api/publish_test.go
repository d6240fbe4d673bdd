package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

// outbox keeps what was published.
type outbox struct{ events []eventing.Event }

func (o *outbox) PublishEvents(_ context.Context, events ...eventing.Event) error {
	for i, e := range events {
		if e.ID == "taken" {
			return &TakenError{i}
		}
	}
	o.events = append(o.events, events...)
	return nil
}

// keys are tokens by their scope.
type keys struct{ Tokens }

func (keys) TokenByHash(_ context.Context, hash string) (*Token, error) {
	for _, s := range Scopes {
		if hash == HashToken(tokenPrefix+string(s)) {
			return &Token{Name: string(s), Scopes: []Scope{s}}, nil
		}
	}
	return nil, runner.ErrNotFound
}

const gridType, cloudType, batchType = "application/json; charset=utf-8", "application/cloudevents+json", "application/cloudevents-batch+json; charset=utf-8"

func TestPublish(t *testing.T) {
	grid := func(fields string) string {
		return `[{"id":"1","subject":"s","eventType":"com.example.x","eventTime":"2026-11-20T10:00:00.5Z","dataVersion":"2","data":{"a":1}` + fields + `}]`
	}
	cloud := func(fields string) string {
		return `{"specversion":"1.0","id":"1","source":"shop","type":"com.example.x","time":"2026-11-20T10:00:00Z","data":{"a":1}` + fields + `}`
	}
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	data := json.RawMessage(`{"a":1}`)
	connected := ResourceID + "/connectedRegistries/edge"
	acr := strings.NewReplacer("com.example.x", eventing.ImagePushed)
	const publish, owner = string(ScopePublish), string(ScopeOwner)
	for _, c := range []struct {
		name, scope, media, body string
		status                   int
		faults                   []string // targets
		want                     []eventing.Event
	}{
		{
			"Event Grid", publish, gridType, grid(`,"topic":"` + ResourceID + `","metadataVersion":"1"`), 200, nil,
			[]eventing.Event{{ID: "1", Type: "com.example.x", Subject: "s", Time: at.Add(time.Second / 2), DataVersion: "2", Data: data}},
		},
		{
			"CloudEvent", publish, cloudType, cloud(`,"subject":"s","traceparent":"00-1","n":5,"dataschema":"#"`), 200, nil,
			[]eventing.Event{{ID: "1", Type: "com.example.x", Topic: "shop", Subject: "s", Time: at, Data: data, Extensions: json.RawMessage(`{"dataschema":"#","n":5,"traceparent":"00-1"}`)}},
		},
		{"batch", publish, batchType, "[" + cloud("") + "," + strings.Replace(cloud(""), `"id":"1"`, `"id":"2"`, 1) + "]", 200, nil, []eventing.Event{
			{ID: "1", Type: "com.example.x", Topic: "shop", Time: at, Data: data},
			{ID: "2", Type: "com.example.x", Topic: "shop", Time: at, Data: data},
		}},
		{
			"no data", owner, gridType, strings.Replace(grid(""), `,"data":{"a":1}`, "", 1), 200, nil,
			[]eventing.Event{{ID: "1", Type: "com.example.x", Subject: "s", Time: at.Add(time.Second / 2), DataVersion: "2", Data: json.RawMessage("null")}},
		},
		{
			"the owner says that an image was pushed", owner, gridType, acr.Replace(grid("")), 200, nil,
			[]eventing.Event{{ID: "1", Type: eventing.ImagePushed, Subject: "s", Time: at.Add(time.Second / 2), DataVersion: "2", Data: data}},
		},
		{
			"the owner speaks for another registry", owner, cloudType, acr.Replace(strings.Replace(cloud(""), "shop", connected, 1)), 200, nil,
			[]eventing.Event{{ID: "1", Type: eventing.ImagePushed, Topic: "/connectedRegistries/edge", Time: at, Data: data}},
		},

		{"who may not", string(ScopeSubmit), gridType, grid(""), 403, nil, nil},
		{"nobody", "", gridType, grid(""), 401, nil, nil},
		{"forged type", publish, gridType, acr.Replace(grid("")), 403, nil, nil},
		{"forged type, in small letters", publish, cloudType, strings.Replace(cloud(""), "com.example.x", strings.ToLower(eventing.ImagePushed), 1), 403, nil, nil},
		{"forged run", publish, cloudType, strings.Replace(cloud(""), "com.example.x", eventing.RunSucceeded, 1), 403, nil, nil},
		{"forged source", publish, cloudType, strings.Replace(cloud(""), "shop", strings.ToUpper(ResourceID), 1), 403, nil, nil},
		{"forged connected registry", publish, cloudType, strings.Replace(cloud(""), "shop", connected, 1), 403, nil, nil},
		{"forged connected registry, short", publish, cloudType, strings.Replace(cloud(""), "shop", "/connectedRegistries/edge", 1), 403, nil, nil},

		{"forged type, with a long s", publish, gridType, strings.Replace(grid(""), "com.example.x", "Microſoft.ContainerRegistry.ImagePushed", 1), 403, nil, nil},
		{"forged source, with a long s", publish, cloudType, strings.Replace(cloud(""), "shop", strings.Replace(ResourceID, "s", "ſ", 1), 1), 403, nil, nil},
		{"forged connected registry, without a name", publish, cloudType, strings.Replace(cloud(""), "shop", "/connectedRegistries", 1), 403, nil, nil},
		{"no UTF-8", publish, gridType, strings.Replace(grid(""), `{"a":1}`, "\"\xff\"", 1), 400, []string{"body"}, nil},
		{"the year 10000", publish, gridType, strings.Replace(grid(""), "2026-11-20T10:00:00.5Z", "9999-12-31T23:00:00-10:00", 1), 400, []string{"[0].eventTime"}, nil},
		{"another topic", publish, gridType, grid(`,"topic":"/subscriptions/x"`), 400, []string{"[0].topic"}, nil},
		{"everything is missing", publish, gridType, `[{"metadataVersion":"2"}]`, 400, []string{"[0].id", "[0].subject", "[0].eventType", "[0].eventTime", "[0].metadataVersion"}, nil},
		{"no header", publish, gridType, strings.Replace(strings.Replace(grid(""), `"id":"1"`, `"id":"1\u007f"`, 1), `"dataVersion":"2"`, `"dataVersion":"2\r\nX: y"`, 1), 400, []string{"[0].id", "[0].dataVersion"}, nil},
		{"a long version", publish, gridType, strings.Replace(grid(""), `"dataVersion":"2"`, `"dataVersion":"`+strings.Repeat("2", 257)+`"`, 1), 400, []string{"[0].dataVersion"}, nil},
		{"no array", publish, gridType, `{}`, 400, []string{"body"}, nil},
		{"none", publish, gridType, `[]`, 400, []string{"body"}, nil},
		{"too many", publish, gridType, `[` + strings.Repeat("{},", 5000) + `{}]`, 400, []string{"body"}, nil},
		{"too large", publish, gridType, `["` + strings.Repeat("x", 1<<20) + `"]`, 413, nil, nil},
		{"a wrong field", publish, gridType, strings.Replace(grid(""), `"s"`, "7", 1), 400, []string{"[0].subject", "[0].subject"}, nil},
		{"the second event", publish, batchType, "[" + cloud("") + `,{"specversion":"0.3","id":"2","source":"a","type":"b","data_base64":"eA=="}]`, 400, []string{"[1].specversion", "[1].data"}, nil},
		{"attributes", publish, cloudType, cloud(`,"Bad":"x","list":[1]`), 400, []string{"[0].Bad", "[0].list"}, nil},
		{"the id of another event", publish, cloudType, strings.Replace(cloud(""), `"id":"1"`, `"id":"taken"`, 1), 400, []string{"[0].id"}, nil},
	} {
		o := &outbox{}
		handler := (&Gate{Owner: "owner's", Tokens: keys{}}).Publish(&Publisher{Events: o, Registry: ResourceID})
		r := httptest.NewRequestWithContext(t.Context(), "POST", PublishPath+"?api-version=2018-01-01", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.media)
		if c.scope != "" {
			r.Header.Set("Aeg-Sas-Key", tokenPrefix+c.scope)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.status)
			continue
		}
		if diff := cmp.Diff(c.want, o.events); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", c.name, diff)
		}
		if c.faults == nil {
			continue
		}
		if diff := cmp.Diff(fmt.Sprint(c.faults), fmt.Sprint(targets(t, w.Body.Bytes()))); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s\n%s", c.name, diff, w.Body)
		}
	}
}

// targets are the fields that an answer finds fault with.
func targets(t *testing.T, body []byte) []string {
	t.Helper()
	var answer errorBody
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if len(answer.Error.Details) == 0 {
		return []string{answer.Error.Target}
	}
	var all []string
	for _, d := range answer.Error.Details {
		all = append(all, d.Target)
	}
	return all
}

func TestPublishBinary(t *testing.T) {
	o := &outbox{}
	r := httptest.NewRequestWithContext(t.Context(), "POST", PublishPath, strings.NewReader(`{"a":1}`))
	for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "shop", "Ce-Type": "x.y", "Ce-Trace": "t", "Content-Type": "application/json", "Authorization": "Bearer owner's"} {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	(&Gate{Owner: "owner's"}).Publish(&Publisher{Events: o, Registry: ResourceID}).ServeHTTP(w, r)
	if w.Code != http.StatusOK || len(o.events) != 1 || string(o.events[0].Extensions) != `{"trace":"t"}` || o.events[0].Topic != "shop" || o.events[0].Time.IsZero() {
		t.Errorf("%d %s %+v", w.Code, w.Body, o.events)
	}
}

// TestHooksNameAnOrigin: senders of CloudEvents are no browsers.
func TestHooksNameAnOrigin(t *testing.T) {
	h := Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), []string{"acrd.example"})
	for path, want := range map[string]int{"/hooks/acr/x": 200, "/subscriptions/x": 403} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "http://acrd.example"+path, nil)
		r.Header.Set("Origin", "https://eventgrid.azure.net")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
