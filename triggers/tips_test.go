package triggers

import (
	"testing"
	"time"

	"acrd/runner"
)

// TestObsolete asks about runs when their turn has come.
func TestObsolete(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("web-app", nil)}, func(r *commitRig) {
		push := func(commit string) {
			r.git.push(testRepository, "refs/heads/main", commit)
			r.pass(2 * time.Minute)
		}
		// queued is a run of the latest intent, made now.
		queued := func() *runner.Run {
			all := r.store.wanted()
			in := all[len(all)-1]
			return &runner.Run{Created: time.Now(), Request: runner.Request{Task: in.Task, Intents: []string{in.Key}, Cause: in.Cause}}
		}
		want := func(what, why string, run *runner.Run) {
			t.Helper()
			if got := r.Obsolete(run); got != why {
				t.Errorf("%s: %q; want %q", what, got, why)
			}
		}
		push(commit(1))
		push(commit(2))
		second := queued()
		want("the tip", "", second)
		push(commit(3))
		third := queued()
		want("older", "superseded by commit "+commit(3)[:12], second)
		want("newest", "", third)
		also, again, late, elsewhere := *second, *second, *second, *second
		also.Request.Intents = append(also.Request.Intents, "timer")
		want("of something else, too", "", &also)
		again.Request.Intents = nil
		want("asked for again", "", &again)
		late.Created = time.Now()
		want("made after it was superseded", "", &late)
		elsewhere.Request.Intents = []string{"commit x refs/heads/main 04 9"}
		want("of a move that another daemon saw", "", &elsewhere)
		want("by hand", "", &runner.Run{Request: runner.Request{Task: "web-app"}})
		push(commit(2))
		want("put back by force", "", second)
		want("and what was put away", "superseded by commit "+commit(2)[:12], third)
		push("")
		want("deleted", "its branch main was deleted", second)
		push(commit(4))
		want("there again", "", queued())
	})
}
