package triggers

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"acrd/runner"
)

// Tips are where the branches that tasks wait for have moved to, as far as this
// process has seen. Where it has not, a commit too many is built.
type tips struct {
	mu   sync.Mutex // guards seen
	seen map[tip]standing
}

type tip struct{ task, repository, branch string }

// A standing is where a branch was: nowhere, if commit is empty.
type standing struct {
	commit string
	moves  int // of the sight
	at     time.Time
}

// mostTips bounds what is remembered.
const mostTips = 10_000

func (t *tips) set(task, repository, branch string, s standing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil || len(t.seen) >= mostTips {
		t.seen = map[tip]standing{}
	}
	t.seen[tip{task, repository, branch}] = s
}

// gone is called when a ref has been deleted.
func (t *tips) gone(r *repository, ref string, moves int) {
	m := move{ref: ref, branch: shortBranch(ref)}
	for i := range r.wants {
		if w := &r.wants[i]; m.branch != "" && w.match(&m) {
			t.set(w.task, r.remote.URL, m.branch, standing{"", moves, time.Now()})
		}
	}
}

func (t *tips) get(task, repository, branch string) (standing, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.seen[tip{task, repository, branch}]
	return s, ok
}

// Obsolete says why a run that waited need not be done: its branch has another
// commit by now, for which there is a run, or is gone. A run that something
// else has led to as well is always done. It counts moves, for the clocks of
// daemons differ, and compares times, for a watch that is made anew counts
// anew.
func (c *Commits) Obsolete(run *runner.Run) string {
	req := &run.Request
	if req.Cause == nil || req.Cause.Source == nil || len(req.Intents) != 1 {
		return ""
	}
	s := req.Cause.Source
	if s.EventType != runner.CommitEvent || s.BranchName == "" {
		return ""
	}
	now, known := c.tips.get(req.Task, s.RepositoryURL, s.BranchName)
	switch moves := movesOf(req.Intents[0]); {
	case !known || now.commit == s.CommitID || moves < 0 || !now.at.After(run.Created):
		return ""
	case now.commit == "" && now.moves >= moves:
		return "its branch " + s.BranchName + " was deleted"
	case now.commit != "" && now.moves > moves:
		return fmt.Sprintf("superseded by commit %.12s", now.commit)
	}
	return ""
}

// movesOf reads from the key of an intent what Commits.key put there; -1 if it
// is of something else.
func movesOf(key string) int {
	n := -1
	if i := strings.LastIndexByte(key, ' '); strings.HasPrefix(key, "commit ") {
		if _, err := fmt.Sscan(key[i+1:], &n); err != nil {
			return -1
		}
	}
	return n
}
