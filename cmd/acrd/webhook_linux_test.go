package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/acr"
)

// answered deliver nothing: what is queued has been answered at once.
type answered struct {
	mu  sync.Mutex // guards all
	all []eventing.Attempt
}

func (a *answered) History(context.Context, eventing.Kind, string, int) ([]eventing.Attempt, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all), nil
}

func (a *answered) Enqueue(_ context.Context, _ eventing.Kind, _ string, e eventing.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := &eventing.Exchange{Method: "POST", URL: "https://h.example/", Status: 202, Reason: "Accepted"}
	a.all = slices.Insert(a.all, 0, eventing.Attempt{Event: e, Time: e.Time, Outcome: eventing.Delivered, Exchange: x})
	return nil
}

func (a *answered) Redeliver(_ context.Context, _ eventing.Kind, _, id string) error {
	if id != a.all[0].Event.ID {
		return eventing.ErrNotFound
	}
	return nil
}

func (a *answered) RedeliverSince(_ context.Context, _ eventing.Kind, _ string, since time.Time) (int, error) {
	if time.Since(since) > 3*time.Hour {
		return 0, nil
	}
	return len(a.all), nil
}

// rules are policies that are kept in memory.
type rules struct{ now acr.Policies }

func (r *rules) Policies() acr.Policies { return r.now }
func (r *rules) ChangePolicies(change func(*acr.Policies) error) (acr.Policies, error) {
	now := r.now
	err := change(&now)
	if err == nil {
		r.now = now
	}
	return r.now, err
}

// TestWebhookLife is a webhook from its making to its end, by the command line.
func TestWebhookLife(t *testing.T) {
	d := newDesk(t)
	push := eventing.Event{ID: "event-1", Type: eventing.ImagePushed, Time: time.Now(), Data: []byte(`{"id":"event-1","timestamp":"2026-01-02T03:04:05Z","action":"push","target":{"repository":"team/app","tag":"v1"}}`)}
	if err := d.deliveries.Enqueue(t.Context(), eventing.Webhook, "", push); err != nil {
		t.Fatal(err)
	}
	lost := eventing.Attempt{Event: eventing.Event{ID: "event-0", Data: []byte(`{"action":"delete","target":{"repository":"team/app","digest":"sha256:12"}}`)}, Outcome: eventing.SocketError}
	d.deliveries.all = append(d.deliveries.all, lost)
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("Bearer CANARY==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args string // "acrd webhook" with _ for a space within a word
		code int
		says string // a pattern for standard error and output together
	}{
		{"", exitUsage, `(?s)Usage: acrd webhook COMMAND.*get-config.*list-events.*redeliver`},
		{"create -n hook1 --uri https://h.example/x", exitUsage, `--actions is missing`},
		{"create -n hook1 --actions push", exitUsage, `--uri is missing`},
		{"create -n my-hook --uri h.example --actions push pull --scope A", exitUsage, `(?s)5 to 50 letters and digits.*not the URL of an HTTP server.*'pull' is not one of push.*REPOSITORY:TAG`},
		{"create -n hook1 -r myregistry --uri https://h.example/?code=CANARY --actions push delete --headers Authorization=Basic_CANARY X-Empty --tags team=web -l westus", exitOK, `(?m)^NAME +LOCATION +ACTIONS +SCOPE +STATUS\nhook1 +westus +push, delete +enabled$`},
		{"create -n hook2 --uri http://h.example --actions untag --scope team/app --status disabled", exitOK, `(?m)^hook2 +local +untag +team/app +disabled$`},
		{"list -o tsv", exitOK, "^hook1\twestus\tpush, delete\t\tenabled\nhook2\tlocal\tuntag\tteam/app\tdisabled\n$"},
		{"show -n HOOK1 -o json", exitOK, `(?s)"location": "westus".*"team": "web"`},
		{"show -n hook9", exitFailed, `hook9.*not found`},
		{"update -n hook9", exitFailed, `hook9.*not found`},
		{"update -n hook1 --status disabled", exitOK, `(?m)^hook1 +westus +push, delete +disabled$`},
		{"update -n hook1 --actions chart_push --scope web:*", exitOK, `(?m)^hook1 +westus +chart_push +web:\* +disabled$`},
		{"update -n hook1 --tags= --tags-on-delete -o json", exitOK, `(?s)"tags": \{\},.*"tagsOnDelete": true`},
		{"update -n hook1 --headers a=@/no/such/file", exitUsage, `/no/such/file`},
		{"update -n hook1 --headers X-From=acrd Authorization=@" + headers, exitOK, `hook1`},
		{"update -n hook1 --trusted", exitFailed, `on the daemon's own socket`},
		{"update -n hook1 --ca-file /no/such/file", exitUsage, `--ca-file: open /no/such/file`},
		{"update -n hook1 --event-ttl 9999 --max-delivery-attempts 99", exitUsage, `(?s)99 is not between 1 and 30.*9999 is not between 1 and 1440`},
		{"update -n hook1 --max-delivery-attempts 7", exitOK, `hook1`},
		{"update -n hook1 --event-ttl 60 --sign-hub-secret key1 --sign-secret key2 key3 --insecure -o json", exitOK, `(?s)"insecure": true.*"eventTimeToLiveInMinutes": 60,\s+"maxDeliveryAttempts": 7.*"hub": "key1",\s+"standard": \[\s+"key2",\s+"key3"`},
		{"update -n hook1 --sign-hub-secret= -o json", exitOK, `(?s)"insecure": true`},
		{"ping -n hook1", exitOK, `^ID\n[0-9a-f-]{36}\n$`},
		{"list-events -n hook1", exitOK, `(?m)^ID +ACTION +IMAGE +HTTP STATUS +TIMESTAMP\n[0-9a-f-]{36} +ping +202 +20\S+Z\nevent-1 +push +team/app:v1 +202 +2026-01-02T03:04:05Z\nevent-0 +delete +team/app@sha256:12 +SocketError`},
		{"list-events -n hook1 -o json", exitOK, `(?s)"statusCode": "202"`},
		{"redeliver -n hook1", exitUsage, `give --event-id or --since`},
		{"redeliver -n hook1 --since yesterday", exitUsage, `"yesterday" is neither a time`},
		{"redeliver -n hook1 --since 2h", exitOK, `^COUNT\n3\n$`},
		{"redeliver -n hook1 --since 2026-01-02T03:04:05Z -o json", exitOK, `"count": 0`},
		{"redeliver -n hook1 --event-id event-7", exitFailed, `not found`},
		{"delete -n hook2", exitOK, `^$`},
		{"delete -n hook2", exitFailed, `not found`},
	} {
		var args []string
		for word := range strings.FieldsSeq(row.args) {
			args = append(args, strings.ReplaceAll(word, "Basic_", "Basic "))
		}
		code, out, errs := d.acrd(append([]string{"webhook"}, args...)...)
		if both := errs + out; code != row.code || !regexp.MustCompile(row.says).MatchString(both) || strings.Contains(both, "CANARY") {
			t.Errorf("acrd webhook %s: exit code %d, want %d and %q:\n%s", row.args, code, row.code, row.says, both)
		}
	}
	for _, row := range [][2]string{
		{"show", `^POLICY +STATUS +DAYS\nquarantine +disabled *\n$`},
		{"update --status enabled", `quarantine +enabled`},
		{"show -o json", `^\{\s+"status": "enabled"\s+\}\n$`},
		{"update --status on", `enabled or disabled`},
		{"update", `--status is missing`},
	} {
		_, out, errs := d.acrd(append([]string{"config", "quarantine"}, strings.Fields(row[0])...)...)
		if !regexp.MustCompile(row[1]).MatchString(errs + out) {
			t.Errorf("acrd config quarantine %s: %s%s", row[0], errs, out)
		}
	}
	for _, row := range [][2]string{
		{"soft-delete show", `^POLICY +STATUS +DAYS\nsoft-delete +disabled +7\n$`},
		{"soft-delete update --status enabled --days 30 --yes", `soft-delete +enabled +30`},
		{"soft-delete show -o json", `(?s)^\{.*"retentionDays": 30,\s+"status": "enabled"`},
		{"soft-delete update --days 91", `It is a number of days, 1 to 90`},
		{"soft-delete update", `give --status or --days`},
		{"retention update --days 0 --type untaggedmanifests", `retention +disabled +0`},
		{"retention update --status enabled -r x", `retention +enabled +0`},
		{"retention update --status enabled --type all", `want UntaggedManifests`},
	} {
		_, out, errs := d.acrd(append([]string{"config"}, strings.Fields(row[0])...)...)
		if !regexp.MustCompile(row[1]).MatchString(errs + out) {
			t.Errorf("acrd config %s: %s%s", row[0], errs, out)
		}
	}
	want := "(?m)^https://h.example/\\?code=CANARY +Authorization=Bearer CANARY== X-From=acrd$"
	if code, out, errs := d.acrd("webhook", "get-config", "-n", "hook1"); code != exitOK || !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("get-config: %d %s%s", code, errs, out)
	}
	for words, want := range map[string]string{
		"webhook list-": "list-events\n", "webhook show -n h": "hook1\n", "webhook create --actions ch": "chart_push\nchart_delete\n", "webhook create --status e": "enabled\n",
	} {
		if _, out, _ := d.acrd(append([]string{"__complete"}, strings.Fields(words)...)...); out != want {
			t.Errorf("completion of %q: %q, want %q", words, out, want)
		}
	}
}
