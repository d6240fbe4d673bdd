package eventing

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHookMatches is the scope grammar of ACR's webhooks.
func TestHookMatches(t *testing.T) {
	all := strings.Join(Actions, " ")
	push := Event{Type: ImagePushed, Data: json.RawMessage(`{"target":{"repository":"team/app","tag":"v1"}}`)}
	latest := Event{Type: ImagePushed, Data: json.RawMessage(`{"target":{"repository":"team/app","tag":"latest"}}`)}
	bare := Event{Type: ImagePushed, Data: json.RawMessage(`{"target":{"repository":"team/app","digest":"sha256:1"}}`)}
	gone := Event{Type: ImageDeleted, Data: json.RawMessage(`{"target":{"repository":"team/app","digest":"sha256:1"}}`)}
	untag := Event{Type: ImageUntagged, Data: json.RawMessage(`{"target":{"repository":"team/app","tag":"v1"}}`)}
	chart := Event{Type: ChartPushed, Data: json.RawMessage(`{"target":{"repository":"charts/web","tag":"web-1.0.0+b.tgz","name":"web","version":"1.0.0+b"}}`)}
	held := Event{Type: ImageQuarantined, Data: push.Data}
	edge := push
	edge.Topic = "/connectedRegistries/edge"
	for _, c := range []struct {
		actions, scope string
		event          Event
		want           bool
	}{
		{"push", "", push, true},
		{"delete", "", push, false},
		{"push", "", gone, false},
		{"delete", "", gone, true},
		{"push delete", "", untag, false},
		{"untag", "", untag, true},
		{"push", "", held, false},
		{"quarantine", "", held, true},
		{"push", "", chart, false},
		{"chart_push", "", chart, true},
		{all, "", edge, false},
		{all, "", Event{Type: RunFailed}, false},
		{all, "team/app:*", push, true},
		{all, "team/app:v1", push, true},
		{all, "team/app:v2", push, false},
		{all, "team/app:V1", push, false},
		{all, "team/app", push, false},
		{all, "team/app", latest, true},
		{all, "team/app:latest", latest, true},
		{all, "app:*", push, false},
		{all, "team/app2:*", push, false},
		{all, "team:*", push, false},
		{all, "", bare, true},
		{all, "team/app:*", bare, false},
		{all, "team/app", bare, false},
		{all, "team/app:v7", gone, true},
		{all, "team/app", gone, true},
		{all, "app", gone, false},
		{all, "team/app:v1", untag, true},
		{all, "team/app:v2", untag, false},
		{all, "charts/web:*", chart, true},
		{all, "charts/web:1.0.0_b", chart, true},
		{all, "charts/web:1.0.1", chart, false},
		{all, "charts/web:*", Event{Type: ChartPushed, Data: json.RawMessage(`{"target":null}`)}, false},
		{all, "charts/web:*", Event{Type: ChartPushed, Data: json.RawMessage(`no JSON`)}, false},
	} {
		for _, disabled := range []bool{false, true} {
			s := Subscription{Hook: &Hook{Actions: strings.Fields(c.actions), Scope: c.scope, Disabled: disabled}}
			m, err := s.Matcher()
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Match(c.event.Decode("/subscriptions/s")); got != (c.want && !disabled) {
				t.Errorf("actions %q scope %q disabled %v: %s %s: got %v", c.actions, c.scope, disabled, c.event.Type, c.event.Data, got)
			}
		}
	}
}

func TestCheckScope(t *testing.T) {
	for scope, want := range map[string]bool{
		"": true, "foo": true, "foo:*": true, "foo:bar": true, "a/b_c-d.e/f:V1.0_x-y": true,
		"*": false, "foo/*": false, "foo:": false, ":bar": false, "foo:a*": false, "Foo:bar": false, "foo:.x": false,
		"host.example:5000/foo": false, "foo//bar": false, "foo:b r": false, "/foo": false, "foo@sha256:1": false,
	} {
		if err := CheckScope(scope); (err == nil) != want {
			t.Errorf("%q: %v", scope, err)
		}
	}
}

func TestPing(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	e := Ping(at)
	want := fmt.Sprintf(`{"id":%q,"timestamp":"2026-01-02T03:04:05.000000006Z","action":"ping"}`, e.ID)
	if string(e.Data) != want || len(e.ID) != 36 || e.ID == Ping(at).ID {
		t.Errorf("got %s, want %s", e.Data, want)
	}
}
