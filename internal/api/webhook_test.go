package api_test

import (
	"strings"
	"testing"
	"time"

	"acrd/eventing"
)

const hookBody = `{"location": "local", "properties": {"serviceUri": "https://h.example/CANARY", "actions": ["push", "PUSH", "untag"],
	"customHeaders": {"Authorization": "CANARY", "content-type": "text/plain"}, "scope": "app", "tagsOnDelete": true,
	"retryPolicy": {"maxDeliveryAttempts": 3}, "sign": {"hub": "a-secret"}}}`

// TestWebhookLife is what the SDK does not show: what is told to nobody, and
// what a PATCH leaves.
func TestWebhookLife(t *testing.T) {
	d := newDesk(t)
	path := root + "/webhooks/Hook1"
	d.want(404, "PATCH", path, `{}`, "ResourceNotFound")
	d.want(404, "GET", path, ``, "ResourceNotFound")
	d.want(204, "DELETE", path, ``)
	d.want(201, "PUT", path, hookBody, `"actions":["push","untag"]`, `"scope":"app"`, `"status":"enabled"`,
		`"tagsOnDelete":true,"retryPolicy":{"maxDeliveryAttempts":3,"eventTimeToLiveInMinutes":0},"sign":{"hub":"a-secret"}`)
	d.want(200, "PUT", root+"/WEBHOOKS/hook1", hookBody, `"name":"Hook1"`)
	for _, c := range []struct {
		patch    string
		has, not []string
	}{
		{`{}`, []string{`"tags":{}`, `"scope":"app"`}, nil},
		{`{"tags": {"a": "1"}, "properties": {"scope": "", "status": "Disabled", "actions": ["chart_push"]}}`, []string{`"a":"1"`, `"scope":""`, `"disabled"`, `["chart_push"]`}, nil},
		{`{"tags": {"b": "2"}, "properties": {"status": null}}`, []string{`"b":"2"`, `"enabled"`}, []string{`"a":"1"`}},
		{`{"tags": null}`, []string{`"tags":{}`}, nil},
	} {
		text := d.want(200, "PATCH", path, c.patch, c.has...)
		for _, not := range append(c.not, "CANARY") {
			if strings.Contains(text, not) {
				t.Errorf("%s: %s: has %s", c.patch, text, not)
			}
		}
	}
	d.want(200, "POST", path+"/getCallbackConfig", ``, `{"serviceUri":"https://h.example/CANARY","customHeaders":{"Authorization":"CANARY","content-type":"text/plain"}}`)
	d.want(200, "PATCH", path, `{"properties": {"customHeaders": {}}}`)
	d.want(200, "POST", path+"/getCallbackConfig", ``, `{"serviceUri":"https://h.example/CANARY","customHeaders":{}}`)
	d.want(400, "PATCH", path, `{"location": "eastus"}`, "InvalidResourceLocation")
	d.want(200, "PATCH", path, `{"location": "Local"}`)
	if text := d.want(200, "GET", root+"/webhooks", ``, "Hook1"); strings.Contains(text, "CANARY") {
		t.Errorf("list: %s", text)
	}
	hook, err := d.told.Subscription(t.Context(), eventing.Webhook, "hook1")
	if err != nil || hook.Schema != eventing.WebhookSchema || !hook.Hook.TagsOnDelete || hook.Created.After(hook.Updated) {
		t.Errorf("stored %+v, %v", hook, err)
	}
	d.want(200, "DELETE", path, ``)
}

// TestWebhookTrust: over TCP nobody gets a webhook to where others may not, be
// he the owner.
func TestWebhookTrust(t *testing.T) {
	d := newDesk(t)
	path := root + "/webhooks/hook1"
	d.want(403, "PUT", path, strings.Replace(hookBody, `"scope"`, `"trusted": true, "scope"`, 1), "on the daemon's own socket")
	d.want(201, "PUT", path, hookBody)
	d.want(403, "PATCH", path, `{"properties": {"trusted": true}}`)
	err := d.told.ChangeSubscription(t.Context(), eventing.Webhook, "hook1", func(w *eventing.Subscription) (*eventing.Subscription, error) {
		w.Destination.Trusted = true
		return w, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d.want(200, "PATCH", path, `{"properties": {"status": "disabled"}}`, `"trusted":true`)
	d.want(403, "PATCH", path, `{"properties": {"serviceUri": "http://127.0.0.1/"}}`)
	d.want(200, "PATCH", path, `{"properties": {"serviceUri": "http://127.0.0.1/", "trusted": false}}`)
}

func TestWebhookFaults(t *testing.T) {
	d := newDesk(t)
	path := root + "/webhooks/hook1"
	d.want(201, "PUT", path, hookBody)
	for body, says := range map[string]string{
		`{"properties": {"serviceUri": "https://u:CANARY@h.example"}}`:               "the header Authorization",
		`{"properties": {"serviceUri": "https://CANARY%zz"}}`:                        "is not a URL",
		`{"properties": {"serviceUri": null}}`:                                       "Missing required property 'serviceUri'",
		`{"properties": {"actions": []}}`:                                            "Missing required property 'actions'",
		`{"properties": {"actions": ["ping"]}}`:                                      "'ping' is not one of push, delete, quarantine, chart_push, chart_delete, untag",
		`{"properties": {"actions": "push"}}`:                                        "InvalidRequestContent",
		`{"properties": []}`:                                                         "InvalidRequestContent",
		`{"properties": {"status": "on"}}`:                                           "'on' is not one of enabled, disabled",
		`{"properties": {"scope": "foo/*"}}`:                                         "REPOSITORY:TAG, REPOSITORY:*, REPOSITORY or empty",
		`{"properties": {"customHeaders": {"a b": "1"}}}`:                            "properties.customHeaders.a b",
		`{"properties": {"customHeaders": {"A": "1\r\nB: 2"}}}`:                      "a value that no header can have",
		`{"properties": {"customHeaders": {"Content-Length": "1"}}}`:                 "a header of the connection",
		`{"properties": {"ca": "x"}}`:                                                "a bundle in PEM",
		`{"properties": {"retryPolicy": {"maxDeliveryAttempts": 31}}}`:               "31 is not between 1 and 30",
		`{"properties": {"retryPolicy": {"eventTimeToLiveInMinutes": -1}}}`:          "-1 is not between 1 and 1440",
		`{"properties": {"scope": "Foo", "status": "on", "customHeaders": {"":""}}}`: "properties.customHeaders.",
	} {
		if text := d.want(400, "PATCH", path, body, says); strings.Contains(text, "CANARY") {
			t.Errorf("%s: %s", body, text)
		}
	}
	for name, want := range map[string]int{"hook": 400, "my-hook": 400, "hook_1": 400, strings.Repeat("a", 51): 400, strings.Repeat("a", 50): 201} {
		d.want(want, "PUT", root+"/webhooks/"+name, hookBody)
	}
	d.want(400, "PUT", root+"/webhooks/hook2", `{"properties": {"serviceUri": "http://h.example", "actions": ["push"]}}`, "LocationRequired")
}

func TestWebhookRedelivery(t *testing.T) {
	d := newDesk(t)
	path := root + "/webhooks/hook1"
	d.want(404, "POST", path+"/redeliver", `{"id": "x"}`)
	d.want(201, "PUT", path, hookBody)
	e := eventing.Event{ID: "e1", Type: eventing.ImagePushed, Time: time.Now(), Data: []byte(`{"id":"e1","timestamp":"2026-01-02T03:04:05Z","action":"push","location":"local","target":{"repository":"app","tag":"v1"}}`)}
	if err := d.told.Enqueue(t.Context(), eventing.Webhook, "hook1", e); err != nil {
		t.Fatal(err)
	}
	d.want(200, "POST", path+"/redeliver", `{"id": "e1"}`, `{"count":1}`)
	d.want(200, "POST", path+"/redeliver", `{"since": "2026-01-02T03:04:05Z"}`, `{"count":2}`)
	d.want(404, "POST", path+"/redeliver", `{"id": "e2"}`)
	for _, body := range []string{`{}`, `{"id": "e1", "since": "2026-01-02T03:04:05Z"}`, `{"since": "yesterday"}`} {
		d.want(400, "POST", path+"/redeliver", body)
	}
	text := d.want(200, "POST", path+"/listEvents", ``, `"id":"e1"`, `"content":{"id":"e1","timestamp":"2026-01-02T03:04:05Z","action":"push","target":{"repository":"app","tag":"v1"}}`, `"reasonPhrase":"ResolutionError"`, `"attempt":1`)
	if n := strings.Count(text, `"eventRequestMessage"`); n != 4 {
		t.Errorf("%d events: %s", n, text)
	}
}
