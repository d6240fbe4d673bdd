package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/runner"
)

// submissions notes what is asked of the runner, and runs nothing.
type submissions struct {
	Runs
	last *runner.Request
	keep bool
}

var errNoted = errors.New("noted")

func (s *submissions) Submit(_ context.Context, req runner.Request) (*runner.Run, error) {
	s.last, s.keep = &req, req.KeepRegistry
	return nil, errNoted
}

func (s *submissions) Rerun(_ context.Context, _ string, keep bool) (*runner.Run, error) {
	s.keep = keep
	return nil, errNoted
}

// oneRun is the run that there is.
type oneRun struct{ Records }

func (oneRun) Run(context.Context, string) (*runner.Run, error) { return &runner.Run{ID: "ca1"}, nil }

type allTasks interface{ Tasks }

type oneTask struct {
	allTasks
	task *runner.Task
}

func (o oneTask) Task(context.Context, string) (*runner.Task, error) { return o.task, nil }

// TestRunsKeepTheRegistry: a run deletes in the registry only if whoever asked
// for it may, and what is said again is held to who says it.
func TestRunsKeepTheRegistry(t *testing.T) {
	m := &memoryTokens{}
	tokens := map[string]string{
		"owners": "owners", "submit": add(t, m, "submit", time.Time{}, ScopeSubmit),
		"both": add(t, m, "both", time.Time{}, ScopeSubmit, ScopePush), "owner": add(t, m, "owner", time.Time{}, ScopeOwner),
	}
	for _, open := range []bool{false, true} { // where everybody may delete by himself
		for who, token := range tokens {
			noted := &submissions{}
			h := (&Gate{Owner: "owners", Tokens: m, OpenRegistry: open}).Management((&Server{Runs: noted, Records: oneRun{}}).Handler())
			for _, path := range []string{"/scheduleRun", "/runs/ca1/rerun"} {
				noted.keep = false
				body := `{"type":"EncodedTaskRunRequest","encodedTaskContent":"c3RlcHM6IFtdCg==","platform":{"os":"linux"}}`
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusInternalServerError { // noted
					t.Fatalf("%s of %s: %d %s", path, who, w.Code, w.Body)
				}
				if want := who == "submit" && !open; noted.keep != want {
					t.Errorf("%s of %s, open %v: the registry is kept: %v, want %v", path, who, open, noted.keep, want)
				}
			}
		}
	}
}

// TestEntitledTasks: what a token says to a task with entitlements are words,
// not flags: it may not make of it what it may not ask for.
func TestEntitledTasks(t *testing.T) {
	m := &memoryTokens{}
	token := add(t, m, "ci", time.Time{}, ScopeSubmit)
	for allow, want := range map[string][]string{"": nil, "security.insecure": {"image", "other"}} {
		task := &runner.Task{Name: "deploy"}
		task.Status, task.Step = runner.Enabled, runner.TaskStep{Type: runner.EncodedTaskStep, Content: []byte("steps: []")}
		if allow != "" {
			task.Allow = []string{allow}
		}
		noted := &submissions{}
		h := (&Gate{Owner: "owners", Tokens: m}).Management((&Server{Runs: noted, Tasks: oneTask{task: task}}).Handler())
		for who, token := range map[string]string{"the token": token, "the owner": "owners"} {
			body := `{"type":"TaskRunRequest","taskId":"` + base + `/tasks/deploy","overrideTaskStepProperties":{"values":[{"name":"image","value":"--privileged x"},{"name":"other","value":"y"}]}}`
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, base+"/scheduleRun", strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if noted.last == nil {
				t.Fatalf("%s: %d %s", who, w.Code, w.Body)
			}
			if who == "the owner" {
				if len(noted.last.Foreign) > 0 {
					t.Errorf("allow %q: the owner's values are foreign: %v", allow, noted.last.Foreign)
				}
				continue
			}
			if !slices.Equal(noted.last.Foreign, want) {
				t.Errorf("allow %q, %s: foreign values %v, want %v", allow, who, noted.last.Foreign, want)
			}
		}
	}
}
