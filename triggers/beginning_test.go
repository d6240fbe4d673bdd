package triggers

import (
	"errors"
	"slices"
	"testing"
	"time"

	"acrd/runner"
)

// save does with a task what a person would.
func (r *commitRig) save(t *runner.Task) {
	r.t.Helper()
	in := &Intake{Definitions: r.store, Store: r.store, Git: r.git}
	if _, err := in.ChangeTask(r.t.Context(), t.Name, func(*runner.Task) (*runner.Task, error) { return t.Clone(), nil }); err != nil {
		r.t.Fatal(err)
	}
}

// hook does what a webhook does about main.
func (r *commitRig) hook(task string) {
	r.t.Helper()
	if err := r.Told(r.t.Context(), task, "src", []string{"refs/heads/main"}); err != nil {
		r.t.Fatal(err)
	}
	r.Look(task, "src")
}

// notes is how many beginnings and refs that were told are kept.
func (r *commitRig) notes() (n int) {
	for _, kind := range TaskWatches() {
		all, _ := r.store.Watches(r.t.Context(), kind)
		n += len(all)
	}
	return n
}

// TestBegin_Push pushes right after a task was made: no look was in between,
// and none is needed.
func TestBegin_Push(t *testing.T) {
	withCommits(t, nil, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.save(commitTask("web-app", nil))
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.pass(5 * time.Second)
		r.want("a push after the creation", 0, "web-app main 2")
		if n := r.notes(); n != 0 {
			t.Errorf("%d notes are left", n)
		}
		r.pass(time.Hour)
		r.want("and only once", 1)
	})
}

// TestBegin_Empty pushes the first commit that there is.
func TestBegin_Empty(t *testing.T) {
	withCommits(t, nil, func(r *commitRig) {
		r.git.head[testRepository] = "refs/heads/main"
		r.save(commitTask("web-app", nil))
		r.save(commitTask("default", func(s *runner.SourceTrigger) { s.Repository.Branch = "" }))
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(5 * time.Second)
		got := r.built(0)
		slices.Sort(got) // they may come of one look or of two
		if want := []string{"default main 1", "web-app main 1"}; !slices.Equal(got, want) {
			t.Errorf("the first commit: built %q; want %q", got, want)
		}
	})
}

// TestBegin_Before makes a second task on a repository that has moved since it
// was last looked at: that was before, for the second task.
func TestBegin_Before(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("old", nil)}, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(2 * time.Minute)
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.save(commitTask("young", nil))
		r.pass(2 * time.Minute)
		r.want("what was there before", 0, "old main 2")
		r.git.push(testRepository, "refs/heads/main", commit(3))
		r.pass(2 * time.Minute)
		r.want("and after", 1, "old main 3", "young main 3")
	})
}

// TestBegin_Update adds a branch to a trigger, and pushes to it at once. What
// was pushed to the old one just before is not lost.
func TestBegin_Update(t *testing.T) {
	withCommits(t, nil, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.git.push(testRepository, "refs/heads/next", commit(2))
		branches := func(names ...string) *runner.Task {
			return commitTask("web-app", func(s *runner.SourceTrigger) { s.Branches = names })
		}
		r.save(branches("main"))
		r.pass(2 * time.Minute)
		r.git.push(testRepository, "refs/heads/main", commit(3))
		r.save(branches("main", "next"))
		r.git.push(testRepository, "refs/heads/next", commit(4))
		r.pass(5 * time.Second)
		r.want("both branches", 0, "web-app main 3", "web-app next 4")
		r.save(branches("main"))
		r.git.push(testRepository, "refs/heads/next", commit(5))
		r.save(branches("main", "next"))
		r.pass(2 * time.Minute)
		r.want("while nobody waited for it", 2)
	})
}

// TestBegin_UpdateAtOnce adds a branch before the first look at the other.
func TestBegin_UpdateAtOnce(t *testing.T) {
	withCommits(t, nil, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.save(commitTask("web-app", func(s *runner.SourceTrigger) { s.Branches = []string{"main"} }))
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.save(commitTask("web-app", func(s *runner.SourceTrigger) { s.Branches = []string{"main", "next"} }))
		r.git.push(testRepository, "refs/heads/next", commit(3))
		r.pass(5 * time.Second)
		r.want("both branches", 0, "web-app main 2", "web-app next 3")
	})
}

// TestBegin_Disabled: what is pushed while a task is disabled is not built when
// it is enabled, and what is pushed right after is.
func TestBegin_Disabled(t *testing.T) {
	withCommits(t, nil, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		on, off := commitTask("web-app", nil), commitTask("web-app", nil)
		off.Status = runner.Disabled
		r.save(on)
		r.save(off)
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.save(on)
		r.pass(2 * time.Minute)
		r.want("while it was disabled", 0)
		r.save(off)
		r.pass(2 * time.Minute)
		r.save(on)
		r.git.push(testRepository, "refs/heads/main", commit(3))
		r.pass(5 * time.Second)
		r.want("after it was enabled", 0, "web-app main 3")
	})
}

// TestBegin_Blind: where the repository could not be asked when the task was
// made, the first look says what was there, and a webhook that came before it
// says what was not.
func TestBegin_Blind(t *testing.T) {
	blind := func(t *testing.T, f func(r *commitRig)) {
		withCommits(t, nil, func(r *commitRig) {
			r.git.push(testRepository, "refs/heads/main", commit(1))
			r.git.fail(errors.New("no route to host"))
			r.save(commitTask("web-app", nil))
			r.git.fail(nil)
			f(r)
		})
	}
	t.Run("no webhook", func(t *testing.T) {
		blind(t, func(r *commitRig) {
			r.pass(2 * time.Minute)
			r.want("what the first look saw", 0)
			r.git.push(testRepository, "refs/heads/main", commit(2))
			r.pass(2 * time.Minute)
			r.want("and then", 0, "web-app main 2")
		})
	})
	t.Run("webhook first", func(t *testing.T) {
		blind(t, func(r *commitRig) {
			r.git.push(testRepository, "refs/heads/main", commit(2))
			r.hook("web-app")
			r.pass(5 * time.Second)
			r.want("what a webhook told of", 0, "web-app main 2")
			r.hook("web-app")
			r.pass(time.Hour)
			r.want("and only once", 1)
		})
	})
	t.Run("look first", func(t *testing.T) {
		blind(t, func(r *commitRig) {
			r.git.push(testRepository, "refs/heads/main", commit(2))
			r.pass(2 * time.Minute) // the server is slow to tell
			r.want("what the first look saw", 0)
			r.hook("web-app")
			r.pass(5 * time.Second)
			r.want("what a webhook told of", 0, "web-app main 2")
			r.hook("web-app")
			r.pass(time.Hour)
			r.want("and only once", 1)
			r.git.push(testRepository, "refs/heads/main", commit(3))
			r.hook("web-app")
			r.pass(time.Hour)
			r.want("the next push", 1, "web-app main 3")
			r.git.push(testRepository, "refs/heads/main", commit(2))
			r.hook("web-app")
			r.pass(time.Hour)
			r.want("put back", 2, "web-app main 2")
		})
	})
}

// TestBegin_Quiet: a host that does not answer is not asked for each task.
func TestBegin_Quiet(t *testing.T) {
	store, git := newCommitStore(), newCommitGit()
	in := &Intake{Definitions: store, Store: store, Git: git}
	git.fail(errors.New("no route to host"))
	for _, name := range []string{"a", "b"} {
		if _, err := in.ChangeTask(t.Context(), name, func(*runner.Task) (*runner.Task, error) { return commitTask(name, nil), nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := git.looked(); n != 1 {
		t.Errorf("%d looks; want 1", n)
	}
}
