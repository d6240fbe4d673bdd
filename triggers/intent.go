// Package triggers starts runs of tasks by themselves: at times, when a
// repository has changed, when a base image has.
//
// Every trigger ends in the same thing, an [Intent]: that a task should run,
// and why. Intents are kept until they have been decided, so that nothing that
// was noticed is lost; two with the same key are one. What is noticed twice (a
// webhook and a poll, two schedulers) is so built once.
//
//	Timers  --+
//	Commits --+--> Intent --> Scheduler (holds, debounces, orders) --> runner.Submit
//	Bases   --+
//
// The events of a subscription become intents, too; see [Reaction].
//
// Parsing, matching and deciding are pure functions. Only what is named Serve
// or ServeHTTP touches the world.
package triggers

import (
	"context"
	"time"

	"acrd/runner"
)

// A Kind says what made an intent.
type Kind string

// The kinds of intents.
const (
	Timer       Kind = "timer"
	Commit      Kind = "commit"
	PullRequest Kind = "pullrequest"
	BaseImage   Kind = "baseimage"
	// Event is what a subscription has passed on to the task.
	Event Kind = "event"
)

// An Intent is the wish that a task runs.
type Intent struct {
	Task string
	Kind Kind
	// Key is the same for the same wish, whoever noticed it: trigger and
	// nominal time, or repository, ref and commit, or image and digest. An
	// intent whose task and key are known is not a new one.
	Key string
	// Reason is for people: "base image node:22 sha256:aa.. -> sha256:bb..
	// (registry event 12 ms ago)".
	Reason string
	// Cause is for ACR's wire, and goes into the run's record.
	Cause *runner.Cause
	// Source replaces the task's source: it is pinned to a commit.
	Source string
	// Commit, Branch, GitTag and Repository fill {{.Run}}.
	Commit, Branch, GitTag, Repository string
	// Pins are base images that the build must resolve to these digests, by
	// reference.
	Pins map[string]string
	// Values are added to the task's own, for {{.Values}}.
	Values map[string]string
	// Lineage are the tasks whose runs led here, oldest first: a task that is
	// in it is not started again.
	Lineage []string
	// Untrusted runs come from a fork: they get no secrets and push nothing.
	Untrusted bool
	At        time.Time
}

// A Decision is what became of an intent.
type Decision struct {
	// Run is the run that it led to; empty if there is none.
	Run string
	// Why says for people what was decided, if that was not to run at once:
	// "held for a build of base/os", "skipped: [skip ci]", "superseded by ...".
	Why string
	At  time.Time
}

// Intents keep intents until they are decided, and remember what they became.
// Each method is one transaction, which also writes the events that report it.
// internal/store implements it.
//
// A run that answers intents names them in [runner.Request.Intents]: they are
// decided in the transaction that queues it, or it is not queued, with
// [runner.ErrDecided]. So are those that it makes needless.
type Intents interface {
	// Intend keeps intents that are not known yet, and says how many were new.
	Intend(ctx context.Context, all ...Intent) (int, error)
	// Open lists those that are undecided, oldest first.
	Open(ctx context.Context) ([]Intent, error)
	// Decide settles those of a task that have these keys and are undecided.
	// Its Run, if any, is one that is there already.
	Decide(ctx context.Context, task string, keys []string, d Decision) error
	// Decided lists what became of a task's intents, the newest first.
	Decided(ctx context.Context, task string, limit int) ([]Settled, error)
}

// Settled is an intent and what became of it.
type Settled struct {
	Intent
	Decision
}
