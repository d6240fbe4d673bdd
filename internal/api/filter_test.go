package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/runner"
	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

var aa = strings.Repeat("a", 64)

func day(d int) time.Time { return time.Date(2026, 1, d, 12, 0, 0, 0, time.UTC) }

// filterRuns are what TestFilter chooses from.
var filterRuns = []*runner.Run{
	{ID: "ca1", Type: runner.QuickBuild, Status: runner.Succeeded, Created: day(1), Finished: day(1).Add(time.Minute), Pushed: []*steps.Pushed{{Ref: "r.io/app:v1", Digest: "sha256:" + aa}}},
	{ID: "ca2", Type: runner.AutoRun, Status: runner.Failed, Created: day(2), Finished: day(2).Add(time.Minute), Request: runner.Request{Task: "it's"}, Archived: true},
	{ID: "ca3", Type: runner.AutoBuild, Status: runner.Queued, Created: day(3), Request: runner.Request{Task: "other", AgentPool: "pool"}},
}

func TestFilter(t *testing.T) {
	yes := true
	for _, c := range []struct {
		text  string
		want  []string
		query runner.Filter // what is left to the store
		exact bool
	}{
		{"", []string{"ca1", "ca2", "ca3"}, runner.Filter{}, true},
		{"Status eq 'Failed'", []string{"ca2"}, runner.Filter{Statuses: []runner.Status{runner.Failed}}, true},
		{"status EQ 'failed'", []string{"ca2"}, runner.Filter{Statuses: []runner.Status{runner.Failed}}, true},
		{"status ne 'Failed'", []string{"ca1", "ca3"}, runner.Filter{}, false},
		{"(Status eq 'Queued' or Status eq 'Failed') and TaskName eq 'it''s'", []string{"ca2"}, runner.Filter{Statuses: []runner.Status{runner.Queued, runner.Failed}, Task: "it's"}, true},
		{"Status eq 'Queued' or TaskName eq 'it''s'", []string{"ca2", "ca3"}, runner.Filter{}, false},
		{"Status eq 'Queued' or Status eq 'Failed' and IsArchiveEnabled eq false", []string{"ca3"}, runner.Filter{}, false},
		{"Status eq 'Queued' and Status eq 'Failed'", nil, runner.Filter{Statuses: []runner.Status{runner.Queued}}, false},
		{"Properties/RunType eq 'AutoRun'", []string{"ca2"}, runner.Filter{Type: runner.AutoRun}, true},
		{"RunType eq 'Nonsense'", nil, runner.Filter{}, false},
		{"IsArchiveEnabled eq true", []string{"ca2"}, runner.Filter{Archived: &yes}, true},
		{"CreateTime ge 2026-01-02T12:00:00Z", []string{"ca2", "ca3"}, runner.Filter{CreatedFrom: day(2)}, true},
		{"CreateTime gt 2026-01-02T12:00:00Z", []string{"ca3"}, runner.Filter{CreatedFrom: day(2).Add(1)}, true},
		{"CreateTime lt datetime'2026-01-02T12:00:00Z'", []string{"ca1"}, runner.Filter{CreatedTo: day(2)}, true},
		{"CreateTime le '2026-01-02T12:00:00Z' and CreateTime ge '2026-01-02T12:00:00Z'", []string{"ca2"}, runner.Filter{CreatedFrom: day(2), CreatedTo: day(2).Add(1)}, true},
		{"FinishTime ge 2026-01-02T00:00:00Z", []string{"ca2"}, runner.Filter{FinishedFrom: day(2).Add(-12 * time.Hour)}, false},
		{"FinishTime lt 2026-01-02T00:00:00Z", []string{"ca1"}, runner.Filter{FinishedTo: day(2).Add(-12 * time.Hour)}, false},
		{"contains(OutputImageManifests, 'app@sha256:" + aa + "')", []string{"ca1"}, runner.Filter{Image: "app@sha256:" + aa}, true},
		{"contains(OutputImageManifests, 'r.io/app@sha256:" + aa + "')", []string{"ca1"}, runner.Filter{Image: "r.io/app@sha256:" + aa}, true},
		{"contains(OutputImageManifests,'app:v1')", []string{"ca1"}, runner.Filter{}, false},
		{"contains(OutputImageManifests, 'app@sha256:a')", []string{"ca1"}, runner.Filter{}, false},
		{"contains(TaskName, 'the')", []string{"ca3"}, runner.Filter{}, false},
		{"AgentPoolName eq 'pool'", []string{"ca3"}, runner.Filter{}, false},
		{"RunId gt 'ca1'", []string{"ca2", "ca3"}, runner.Filter{}, false},
		{"((RunId eq 'ca2'))", []string{"ca2"}, runner.Filter{}, false},
	} {
		f, err := parseFilter(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		var got []string
		for _, r := range filterRuns {
			if f.match(r) {
				got = append(got, r.ID)
			}
		}
		query, exact := f.narrow()
		if !slices.Equal(got, c.want) || exact != c.exact {
			t.Errorf("%s: got %v (exact: %v), want %v (%v)", c.text, got, exact, c.want, c.exact)
		}
		if diff := cmp.Diff(c.query, query); diff != "" {
			t.Errorf("%s: query of the store (-want +got):\n%s", c.text, diff)
		}
	}
}

func TestFilterFaults(t *testing.T) {
	for _, text := range []string{
		"Weather eq 'fine'", "Status", "Status is 'x'", "Status eq", "Status eq Failed", "Status eq 'Failed", "not Status eq 'Failed'",
		"Status eq 'a' Status eq 'b'", "(Status eq 'a'", "Status eq 'a')", "Status eq 'a' and", "contains(Status)", "contains(CreateTime, 'x')",
		"CreateTime ge 'yesterday'", "IsArchiveEnabled eq maybe", "startswith(Status, 'F')", "Status add 1", "has(Status)",
		"((((((((((((((((((((((((Status eq 'a'))))))))))))))))))))))))",
	} {
		if f, err := parseFilter(text); err == nil {
			t.Errorf("%s: got %+v, want an error", text, f)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("Status eq 'Failed' and (TaskName eq 'a' or contains(OutputImageManifests, 'x'))")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseFilter(text)
		if err != nil {
			return
		}
		query, exact := parsed.narrow()
		for _, r := range filterRuns {
			// What a store is asked for must have all that matches.
			if parsed.match(r) && query.Archived != nil && *query.Archived != r.Archived {
				t.Errorf("%q (exact: %v): the store would leave out %s", text, exact, r.ID)
			}
		}
	})
}
