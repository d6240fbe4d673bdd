package forge

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

// TestRequest is where and what each forge is told.
func TestRequest(t *testing.T) {
	const commit = "0123456789012345678901234567890123456789"
	for _, tt := range []struct{ kind, repository, url, authorization, body string }{
		{
			GitHub, "https://github.com/alice/app.git", "https://api.github.com/repos/alice/app/statuses/" + commit, "Bearer c4n4ry",
			`{"context":"acrd/web-app","description":"run ca1: Failed","state":"failure"}`,
		},
		{
			GitHub, "git@github.example.com:alice/app", "https://github.example.com/api/v3/repos/alice/app/statuses/" + commit, "Bearer c4n4ry",
			`{"context":"acrd/web-app","description":"run ca1: Failed","state":"failure"}`,
		},
		{
			GitLab, "https://gitlab.com/group/sub/app.git", "https://gitlab.com/api/v4/projects/group%2Fsub%2Fapp/statuses/" + commit, "Bearer c4n4ry",
			`{"context":"acrd/web-app","description":"run ca1: Failed","state":"failed"}`,
		},
		{
			Gitea, "ssh://git@gitea.example.com:2222/alice/app", "https://gitea.example.com/api/v1/repos/alice/app/statuses/" + commit, "token c4n4ry",
			`{"context":"acrd/web-app","description":"run ca1: Failed","state":"failure"}`,
		},
		{
			Azure, "https://dev.azure.com/o/p/_git/app", "https://dev.azure.com/o/p/_apis/git/repositories/app/commits/" + commit + "/statuses?api-version=7.1", "Basic OmM0bjRyeQ==",
			`{"context":{"genre":"acrd","name":"acrd/web-app"},"description":"run ca1: Failed","state":"failed"}`,
		},
	} {
		req, err := request(t.Context(), tt.kind, tt.repository, "c4n4ry", commit, Status{Failure, "acrd/web-app", "run ca1: Failed"})
		if err != nil {
			t.Error(err)
			continue
		}
		body, _ := io.ReadAll(req.Body)
		if diff := cmp.Diff([]string{tt.url, tt.authorization, tt.body}, []string{req.URL.String(), req.Header.Get("Authorization"), string(body)}); diff != "" {
			t.Errorf("%s: %s", tt.repository, diff)
		}
		if got := Kind(tt.repository); got != tt.kind {
			t.Errorf("%s is %q", tt.repository, got)
		}
	}
	if Kind("https://git.example.com/a/b") != "" || Kind("/dev/null") != "" {
		t.Error("a host that says nothing is of a kind")
	}
}

type oneTask struct{ task *runner.Task }

func (o oneTask) Task(context.Context, string) (*runner.Task, error) { return o.task, nil }

// TestStatuses posts those of a run, against a server that is not always well.
func TestStatuses(t *testing.T) {
	got := make(chan string, 10)
	sick := 2
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sick > 0 {
			sick--
			http.Error(w, "", http.StatusBadGateway)
			return
		}
		var body struct{ State string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		got <- r.Method + " " + r.URL.Path + " " + body.State
		w.WriteHeader(http.StatusCreated)
	}))
	defer web.Close()
	repository := web.URL + "/alice/app.git"
	task := &runner.Task{Name: "web-app"}
	task.Trigger = &runner.TaskTrigger{Sources: []runner.SourceTrigger{{
		Name: "src", Provider: Gitea, Repository: runner.SourceRepository{URL: repository, Auth: &runner.SourceAuth{Token: runner.NewSecret("c4n4ry")}},
	}}}
	s := &Statuses{Tasks: oneTask{task}, Client: web.Client(), Wait: time.Millisecond}
	run := &runner.Run{ID: "ca1", Status: runner.Queued, Request: runner.Request{Task: "web-app", Cause: &runner.Cause{
		Source: &runner.SourceCause{ID: "src", CommitID: "abc", RepositoryURL: repository},
	}}}
	o := s.Observer()
	o.Queued(run)
	_, ended := o.Run(t.Context(), run)
	run.Status = runner.Succeeded
	ended(run)
	o.Queued(&runner.Run{ID: "ca2"}) // a person's
	elsewhere := *run
	elsewhere.Request.Cause = &runner.Cause{Source: &runner.SourceCause{ID: "src", CommitID: "abc", RepositoryURL: "https://other.example.com/a"}}
	o.Queued(&elsewhere) // the token is not for it
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	for _, want := range []string{"pending", "pending", "success"} {
		if line := <-got; line != "POST /api/v1/repos/alice/app/statuses/abc "+want {
			t.Errorf("got %s; want %s", line, want)
		}
	}
	cancel(nil)
	if err := <-done; err != nil || len(got) > 0 {
		t.Errorf("%v; and %d more", err, len(got))
	}
}

func TestShort(t *testing.T) {
	if got := short(strings.Repeat("é", 200)); len([]rune(got)) != 140 {
		t.Errorf("%d characters", len([]rune(got)))
	}
}
