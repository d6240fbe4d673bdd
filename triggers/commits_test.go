package triggers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

// A commitRig is Commits at work, in a time of its own.
type commitRig struct {
	*Commits
	t     *testing.T
	store *commitStore
	git   *commitGit
}

// withCommits calls f with Commits that serve, in a bubble: from the moment on
// when f lets time pass.
func withCommits(t *testing.T, tasks []*runner.Task, f func(*commitRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &commitRig{t: t, store: newCommitStore(tasks...), git: newCommitGit()}
		r.Commits = &Commits{Tasks: r.store, Watches: r.store, Intents: r.store, Git: r.git, Events: r.store}
		ctx, cancel := context.WithCancelCause(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() {
			time.Sleep(time.Nanosecond)
			_ = r.Serve(ctx)
		})
		f(r)
		cancel(nil)
		serving.Wait()
	})
}

// pass lets time pass.
func (r *commitRig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// built are the commits of the intents since the last call, with their refs.
func (r *commitRig) built(from int) []string {
	var all []string
	for _, in := range r.store.wanted()[from:] {
		all = append(all, fmt.Sprintf("%s %s%s %s", in.Task, in.Branch, in.GitTag, strings.TrimLeft(in.Commit, "0")))
	}
	return all
}

func (r *commitRig) want(what string, from int, want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.built(from)); diff != "" {
		r.t.Errorf("%s: %s", what, diff)
	}
}

func TestCommitsPoll(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("web-app", nil)}, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(2 * time.Minute)
		r.want("what was there before is no news", 0)
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.pass(61 * time.Second)
		r.want("a push", 0, "web-app main 2")
		in := r.store.wanted()[0]
		if in.Source != testRepository+"#"+commit(2)+":svc" || in.Cause.Source.EventType != "commit" || !strings.Contains(in.Reason, "commit 000000000000 on main of git.example.com/alice/app (poll)") {
			t.Errorf("got %+v", in)
		}
		r.pass(time.Hour)
		r.want("and never again", 1)
		r.git.push(testRepository, "refs/heads/main2", commit(9))
		r.pass(2 * time.Minute)
		r.want("another branch that begins alike", 1)
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(2 * time.Minute)
		r.want("put back by force", 1, "web-app main 1")
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.pass(2 * time.Minute)
		r.want("and forth", 2, "web-app main 2")
		r.git.push(testRepository, "refs/heads/main", "")
		r.pass(2 * time.Minute)
		r.want("deleted", 3)
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.pass(2 * time.Minute)
		r.want("there again", 3, "web-app main 2")
	})
}

// TestCommitsACR152 pushes three commits at once: the last one is built.
func TestCommitsACR152(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("web-app", nil)}, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(2 * time.Minute)
		for i := 2; i <= 4; i++ {
			r.git.push(testRepository, "refs/heads/main", commit(i))
			r.Look("web-app", "src")
		}
		r.pass(5 * time.Second)
		r.want("three commits", 0, "web-app main 4")
	})
}

// TestCommitsACR398 lets a webhook and the poll find the same, and a webhook
// come twice.
func TestCommitsACR398(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("web-app", nil)}, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(time.Minute - time.Millisecond)
		r.git.push(testRepository, "refs/heads/main", commit(2))
		for range 50 {
			r.Look("web-app", "src")
		}
		r.pass(10 * time.Millisecond)
		if len(r.built(0)) != 1 {
			t.Errorf("10 ms after a webhook: %v", r.built(0))
		}
		looks := r.git.looked()
		for range 1000 {
			r.Look("web-app", "src")
			r.pass(10 * time.Millisecond)
		}
		if n := r.git.looked() - looks; n > 12 {
			t.Errorf("%d looks in 10 s, whatever many webhooks", n)
		}
		r.pass(time.Hour)
		r.want("one run", 0, "web-app main 2")
		for _, in := range r.store.wanted() {
			if in.Commit == "" {
				t.Error("no commit")
			}
		}
	})
}

// TestCommitsAzureCLI10153 are the patterns that ACR does not have.
func TestCommitsAzureCLI10153(t *testing.T) {
	tasks := []*runner.Task{
		commitTask("release", func(s *runner.SourceTrigger) {
			s.Branches, s.Tags = []string{"release/*", "!release/old*"}, []string{"v*"}
		}),
		commitTask("everything", func(s *runner.SourceTrigger) { s.Branches = []string{"**"} }),
		commitTask("not-main", func(s *runner.SourceTrigger) { s.Branches = []string{"!main"} }),
		commitTask("frontend", func(s *runner.SourceTrigger) { s.Paths = []string{"web/", "!web/docs", "*.md"} }),
	}
	withCommits(t, tasks, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(2 * time.Minute)
		push := func(ref string, n int, paths ...string) {
			r.git.mu.Lock()
			r.git.changes[commit(n)] = &Change{Message: "x", Paths: paths}
			r.git.mu.Unlock()
			r.git.push(testRepository, ref, commit(n))
		}
		next := func(what string, want ...string) {
			t.Helper()
			from := len(r.store.wanted())
			r.pass(61 * time.Second)
			got := r.built(from)
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s: got %q; want %q", what, got, want)
			}
		}
		push("refs/heads/release/1", 2)
		next("release", "everything release/1 2", "not-main release/1 2", "release release/1 2")
		push("refs/heads/release/1/fix", 3)
		next("* is no slash", "everything release/1/fix 3", "not-main release/1/fix 3")
		push("refs/heads/release/old1", 4)
		next("taken out", "everything release/old1 4", "not-main release/old1 4")
		push("refs/tags/v1", 5)
		next("tag", "release v1 5")
		push("refs/tags/w1", 6)
		next("another tag")
		push("refs/heads/main", 7, "api/x.go", "web/docs/x")
		next("paths of others", "everything main 7")
		push("refs/heads/main", 8, "api/x.go", "web/x.js")
		next("its paths", "everything main 8", "frontend main 8")
		push("refs/heads/main", 9, "README.md")
		next("a file", "everything main 9", "frontend main 9")
		if skipped := r.store.told(eventing.TriggerSkipped); len(skipped) != 1 || !strings.Contains(string(skipped[0].Data), "touches none of the paths") {
			t.Errorf("events %v", skipped)
		}
		watched, err := r.Watched(t.Context(), "frontend")
		if err != nil || len(watched) != 1 || len(watched[0].Skipped) != 1 || watched[0].Refs["refs/heads/main"] != commit(9) {
			t.Errorf("watched %+v, %v", watched, err)
		}
	})
}

func TestCommitsSkipCI(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("web-app", nil)}, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(2 * time.Minute)
		r.git.changes[commit(2)] = &Change{Message: "words\n\n[Skip CI]"}
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.pass(2 * time.Minute)
		r.want("skipped", 0)
		if len(r.store.told(eventing.TriggerSkipped)) != 1 {
			t.Error("nobody is told")
		}
	})
}

// TestCommitsEmpty begins with a repository that has nothing.
func TestCommitsEmpty(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("web-app", nil)}, func(r *commitRig) {
		r.pass(2 * time.Minute)
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(2 * time.Minute)
		r.want("the first push", 0, "web-app main 1")
	})
}

// TestCommitsRename renames the default branch, which is no new commit.
func TestCommitsRename(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("web-app", func(s *runner.SourceTrigger) { s.Repository.Branch = "" })}, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/master", commit(1))
		r.git.head[testRepository] = "refs/heads/master"
		r.pass(2 * time.Minute)
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.git.push(testRepository, "refs/heads/master", "")
		r.git.mu.Lock()
		r.git.head[testRepository] = "refs/heads/main"
		r.git.mu.Unlock()
		r.pass(2 * time.Minute)
		r.want("renamed", 0)
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.pass(2 * time.Minute)
		r.want("pushed", 0, "web-app main 2")
	})
}

// TestCommitsShared looks once for all tasks with the same credential.
func TestCommitsShared(t *testing.T) {
	var tasks []*runner.Task
	for i := range 80 {
		tasks = append(tasks, commitTask(fmt.Sprintf("task-%02d", i), nil))
	}
	withCommits(t, tasks, func(r *commitRig) {
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(10 * time.Minute)
		if n := r.git.looked(); n > 12 {
			t.Errorf("%d looks in 10 minutes", n)
		}
		if r.store.saves > 3 {
			t.Errorf("%d looks were saved, of which one has seen something", r.store.saves)
		}
		// A task that is new misses no push from its start, and builds nothing old.
		r.store.put(commitTask("task-new", func(s *runner.SourceTrigger) { s.Branches = []string{"dev"} }))
		r.git.push(testRepository, "refs/heads/dev", commit(5))
		r.pass(3 * time.Second)
		r.want("dev was there", 0)
		r.git.push(testRepository, "refs/heads/dev", commit(6))
		r.pass(2 * time.Minute)
		r.want("dev", 0, "task-new dev 6")
		// Another credential is another watch, which goes on from here.
		r.git.push(testRepository, "refs/heads/dev", commit(7))
		r.store.put(commitTask("task-new", func(s *runner.SourceTrigger) {
			s.Branches = []string{"dev"}
			s.Repository.Auth = &runner.SourceAuth{Token: runner.NewSecret("c4n4ry")}
		}))
		r.pass(2 * time.Minute)
		r.want("pushed while the credential was changed", 1, "task-new dev 7")
		for _, w := range r.store.watches {
			if strings.Contains(string(w.Doc)+w.ID, "c4n4ry") {
				t.Errorf("the token is in %s", w.Doc)
			}
		}
	})
}

func TestCommitsSuspend(t *testing.T) {
	for _, status := range []int{401, 403, 404} {
		task := commitTask("web-app", nil)
		withCommits(t, []*runner.Task{task}, func(r *commitRig) {
			r.git.push(testRepository, "refs/heads/main", commit(1))
			r.pass(2 * time.Minute)
			r.git.fail(&RefusedError{Status: status})
			r.pass(time.Hour)
			looks := r.git.looked()
			r.pass(24 * time.Hour)
			if n := r.git.looked() - looks; n > 0 {
				t.Errorf("%d: %d looks after it was suspended", status, n)
			}
			if told := r.store.told(eventing.TriggerSuspended); len(told) != 1 || told[0].Subject != "web-app" {
				t.Errorf("%d: events %v", status, told)
			}
			watched, _ := r.Watched(t.Context(), "web-app")
			if len(watched) != 1 || !watched[0].Suspended || watched[0].Err == "" {
				t.Errorf("watched %+v", watched)
			}
			r.git.fail(nil)
			r.git.push(testRepository, "refs/heads/main", commit(2))
			r.store.put(task) // saved again
			r.pass(3 * time.Second)
			r.want("and goes on", 0, "web-app main 2")
		})
	}
}

// TestCommitsBackOff asks a server that fails less and less often, and one
// that says when as it says, but not for ever.
func TestCommitsBackOff(t *testing.T) {
	for _, tt := range []struct {
		err  error
		most int // looks in a day
	}{
		{errors.New("connection refused"), 55},
		{&RefusedError{Status: 500}, 55},
		{&RefusedError{Status: 429, RetryAfter: 10 * time.Minute}, 150},
		{&RefusedError{Status: 429, RetryAfter: 1000 * time.Hour}, 50},
	} {
		withCommits(t, []*runner.Task{commitTask("web-app", nil)}, func(r *commitRig) {
			r.git.push(testRepository, "refs/heads/main", commit(1))
			r.pass(2 * time.Minute)
			looks := r.git.looked()
			r.git.fail(tt.err)
			r.pass(24 * time.Hour)
			if n := r.git.looked() - looks; n > tt.most || n < 40 {
				t.Errorf("%v: %d looks in a day", tt.err, n)
			}
			r.git.fail(nil)
			r.git.push(testRepository, "refs/heads/main", commit(2))
			r.pass(longestBackOff + time.Minute)
			r.want("after it", 0, "web-app main 2")
		})
	}
}

// TestCommitsAdaptive polls less where webhooks come, or nothing happens.
func TestCommitsAdaptive(t *testing.T) {
	withCommits(t, []*runner.Task{commitTask("web-app", nil)}, func(r *commitRig) {
		perHour := func() int {
			before := r.git.looked()
			r.pass(time.Hour)
			return r.git.looked() - before
		}
		r.git.push(testRepository, "refs/heads/main", commit(1))
		r.pass(2 * time.Minute)
		if n := perHour(); n < 55 || n > 61 {
			t.Errorf("%d looks an hour", n)
		}
		r.git.push(testRepository, "refs/heads/main", commit(2))
		r.Look("web-app", "src")
		r.pass(time.Second)
		if n := perHour(); n > 5 {
			t.Errorf("%d looks an hour where webhooks come", n)
		}
		r.git.push(testRepository, "refs/heads/main", commit(3)) // and none comes
		r.pass(16 * time.Minute)
		r.want("the safety net", 1, "web-app main 3")
		if n := perHour(); n < 55 {
			t.Errorf("%d looks an hour where webhooks are lost", n)
		}
		r.pass(8 * 24 * time.Hour)
		if n := perHour(); n > 13 {
			t.Errorf("%d looks an hour where nothing happens", n)
		}
	})
}

// TestCommitsSlowHost does not let one host keep the others waiting.
func TestCommitsSlowHost(t *testing.T) {
	var tasks []*runner.Task
	for i := range 40 {
		tasks = append(tasks, commitTask(fmt.Sprintf("slow-%02d", i), func(s *runner.SourceTrigger) {
			s.Repository.URL = fmt.Sprintf("https://slow.example.com/%d.git", i)
		}))
	}
	tasks = append(tasks, commitTask("web-app", nil))
	synctest.Test(t, func(t *testing.T) {
		store, git := newCommitStore(tasks...), newCommitGit()
		git.push(testRepository, "refs/heads/main", commit(1))
		c := &Commits{Tasks: store, Watches: store, Intents: store, Git: slowHost{git}}
		ctx, cancel := context.WithCancelCause(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { _ = c.Serve(ctx) })
		time.Sleep(5 * time.Minute)
		git.push(testRepository, "refs/heads/main", commit(2))
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if len(store.wanted()) != 1 {
			t.Errorf("got %v", store.wanted())
		}
		cancel(nil)
		serving.Wait()
	})
}

type slowHost struct{ *commitGit }

func (s slowHost) Refs(ctx context.Context, r Remote, prefixes []string) (*Listing, error) {
	if strings.Contains(r.URL, "slow") {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return s.commitGit.Refs(ctx, r, prefixes)
}

// TestCommitsRestart goes on where an earlier process has ended, and two of
// them on one store make one intent.
func TestCommitsRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, git := newCommitStore(commitTask("web-app", nil)), newCommitGit()
		git.push(testRepository, "refs/heads/main", commit(1))
		serve := func(daemons int, during func()) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var serving sync.WaitGroup
			for range daemons {
				c := &Commits{Tasks: store, Watches: store, Intents: store, Git: git}
				serving.Go(func() { _ = c.Serve(ctx) })
			}
			during()
			cancel(nil)
			serving.Wait()
		}
		serve(1, func() { time.Sleep(3 * time.Minute) })
		git.push(testRepository, "refs/heads/main", commit(2))
		serve(3, func() { time.Sleep(3 * time.Minute) })
		serve(3, func() {
			git.push(testRepository, "refs/heads/main", commit(3))
			time.Sleep(3 * time.Minute)
		})
		if got := store.wanted(); len(got) != 2 || got[0].Commit != commit(2) || got[1].Commit != commit(3) {
			t.Errorf("got %v", got)
		}
	})
}

func TestRepositoryName(t *testing.T) {
	for address, want := range map[string]string{
		"https://github.com/Alice/App.git":    "github.com/alice/app",
		"https://token@github.com/alice/app/": "github.com/alice/app",
		"git@github.com:alice/app.git":        "github.com/alice/app",
		"ssh://git@github.com/alice/app":      "github.com/alice/app",
		"HTTPS://Git.Example.com:443/a/B":     "git.example.com/a/B",
		"http://git.example.com:3000/a/b.git": "git.example.com:3000/a/b",
		"https://dev.azure.com/o/p/_git/r":    "dev.azure.com/o/p/_git/r",
		"https://o@dev.azure.com/o/p/_git/r":  "dev.azure.com/o/p/_git/r",
	} {
		if got := RepositoryName(address); got != want {
			t.Errorf("%s: %s; want %s", address, got, want)
		}
	}
}

func TestPinned(t *testing.T) {
	for _, tt := range [][3]string{
		{testRepository + "#main:a/b", testRepository, testRepository + "#c:a/b"},
		{testRepository, "git@git.example.com:alice/app.git", testRepository + "#c"},
		{"https://x@git.example.com/alice/app.git#main", testRepository, "https://x@git.example.com/alice/app.git#c"},
		{"https://git.example.com/alice/other.git", testRepository, ""},
		{"/dev/null", testRepository, ""},
	} {
		if got := pinned(tt[0], tt[1], "c"); got != tt[2] {
			t.Errorf("%s at %s: %q; want %q", tt[0], tt[1], got, tt[2])
		}
	}
}
