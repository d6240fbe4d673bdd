package triggers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrd/runner"
)

// A held pull request is from a fork: it runs once somebody has approved its
// commit, and no other.
type heldPull struct {
	Task    string `json:"task"`
	Trigger string `json:"trigger"`
	Pull    Pull   `json:"pull"`
}

// Pull makes a run of a pull request, if the trigger waits for some. One from a
// fork is kept until [Commits.Approve].
func (c *Commits) Pull(ctx context.Context, task, trigger, provider string, p *Pull) error {
	t, err := c.Tasks.Task(ctx, task)
	if err != nil {
		return err
	}
	s := sourceTrigger(t, trigger)
	if s == nil || !s.waitsFor(p) {
		return nil
	}
	if p.Fork {
		return c.hold(ctx, task, trigger, p)
	}
	return c.intendPull(ctx, t, s, p)
}

type sourceOf struct{ *runner.SourceTrigger }

func sourceTrigger(t *runner.Task, name string) *sourceOf {
	if t.Trigger == nil {
		return nil
	}
	for i := range t.Trigger.Sources {
		if s := &t.Trigger.Sources[i]; s.Name == name && s.Status.Active() {
			return &sourceOf{s}
		}
	}
	return nil
}

func (s *sourceOf) waitsFor(p *Pull) bool {
	if !slices.Contains(s.Events, runner.PullRequestEvent) {
		return false
	}
	// Hosts have more than one name, but the repository has only one.
	_, path, _ := strings.Cut(RepositoryName(s.Repository.URL), "/")
	if !strings.HasSuffix("/"+strings.ToLower(strings.ReplaceAll(path, "/_git/", "/")), "/"+strings.ToLower(p.Repository)) {
		return false
	}
	w := newWant("", s.SourceTrigger)
	if !w.patterned() {
		return w.branch == "" || w.branch == p.Branch
	}
	return newGlob(w.branches).match(p.Branch)
}

func (c *Commits) hold(ctx context.Context, task, trigger string, p *Pull) error {
	doc, err := json.Marshal(heldPull{task, trigger, *p})
	if err != nil {
		return err
	}
	return c.Watches.AddWatch(ctx, pulls, task+" "+p.ID+" "+p.Commit, doc, never())
}

// Approve lets a task run for a commit of a pull request from a fork. The run
// gets no secret and pushes nothing. It is runner.ErrNotFound if there is no
// such request.
func (c *Commits) Approve(ctx context.Context, task, commit string) error {
	waiting, err := c.Watches.Watches(ctx, pulls)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		var held heldPull
		if err := json.Unmarshal(w.Doc, &held); err != nil || held.Task != task || !strings.EqualFold(held.Pull.Commit, commit) {
			continue
		}
		t, err := c.Tasks.Task(ctx, task)
		if err != nil {
			return err
		}
		s := sourceTrigger(t, held.Trigger)
		if s == nil || !s.waitsFor(&held.Pull) {
			continue
		}
		if err := c.intendPull(ctx, t, s, &held.Pull); err != nil {
			return err
		}
		return c.Watches.DeleteWatch(ctx, pulls, w.ID)
	}
	return fmt.Errorf("a pull request at commit %s that waits for approval by task %s: %w", commit, task, runner.ErrNotFound)
}

func (c *Commits) intendPull(ctx context.Context, t *runner.Task, s *sourceOf, p *Pull) error {
	name := RepositoryName(s.Repository.URL)
	who := "pull request " + p.ID
	if p.Fork {
		who += " from a fork, approved"
	}
	_, err := c.Intents.Intend(ctx, Intent{
		Task: t.Name, Kind: PullRequest, Key: fmt.Sprintf("pull %s %s %s", name, p.ID, p.Commit), At: time.Now(),
		Reason: fmt.Sprintf("commit %.12s to be merged into %s of %s (%s)", p.Commit, p.Branch, name, who),
		Source: pinned(t.Step.ContextPath, s.Repository.URL, p.Commit),
		Commit: p.Commit, Branch: p.Branch, Repository: s.Repository.URL, Untrusted: p.Fork,
		Cause: &runner.Cause{Source: &runner.SourceCause{
			ID: s.Name, EventType: runner.PullRequestEvent, CommitID: p.Commit, PullRequestID: p.ID,
			RepositoryURL: s.Repository.URL, BranchName: p.Branch, ProviderType: s.Repository.Type,
		}},
	})
	return err
}
