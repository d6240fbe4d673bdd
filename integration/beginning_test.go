package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// beginnings is how often what is new to acrd is changed at once.
const beginnings = 20

// TestBeginning_Base pushes the base image of a task as soon as the task is
// made, before anybody can have looked at its source: the task runs, each time.
// For every other task there was an image before.
func TestBeginning_Base(t *testing.T) {
	need(t)
	dockerfiles := map[string]string{}
	for i := range beginnings {
		dockerfiles[fmt.Sprintf("app%02d", i)] = fmt.Sprintf("FROM REGISTRY/base/os%02d:1\nCOPY app%02d.Dockerfile /\n", i, i)
	}
	c := newSource(t, []string{"--base-image-quiet", "0"}, dockerfiles)
	pushed := map[string]string{}
	for i, image := range slices.Sorted(maps.Keys(dockerfiles)) {
		base := fmt.Sprintf("base/os%02d", i)
		if i%2 == 0 {
			c.push(base+":1", c.some())
		}
		content := c.some()
		c.task(image)
		pushed[base] = c.push(base+":1", content)
	}
	runs := c.settle(beginnings)
	if len(runs) != beginnings {
		t.Errorf("%d runs; want one of each task: %v", len(runs), tasksOf(runs))
	}
	for _, r := range runs {
		p := r.Properties
		on := p.Image.Images[0]
		if p.Status != "Succeeded" || on.Digest != pushed[on.Repository] {
			t.Errorf("run %s of %s is %s %s, on %s@%s; want %s", p.RunID, p.Task, p.Status, p.RunErrorMessage, on.Repository, on.Digest, pushed[on.Repository])
		}
	}
	eventually(t, time.Minute, "task why does not say which run has told of the base", func() bool {
		return strings.Contains(c.succeed(c.acrd(c.dir, "task", "why", "task-app00")).stdout, "run "+runs[slices.Index(tasksOf(runs), "app00")].Properties.RunID)
	})
}

// TestBeginning_Before has nothing pushed after tasks are made: none of them
// runs, whatever was pushed just before.
func TestBeginning_Before(t *testing.T) {
	need(t)
	c := newSource(t, []string{"--base-image-quiet", "0"}, map[string]string{"app": "FROM REGISTRY/base/os:1\nCOPY app.Dockerfile /\n"})
	c.push("base/os:1", c.some())
	c.push("base/os:1", c.some())
	c.task("app")
	eventually(t, time.Minute, "the base is not found in the source", func() bool {
		return strings.Contains(c.succeed(c.acrd(c.dir, "task", "why", "task-app")).stdout, "sha256:")
	})
	if runs := c.settle(0); len(runs) != 0 {
		t.Errorf("built %v", tasksOf(runs))
	}
}

// TestBeginning_Commit pushes to the branch of a task as soon as the task is
// made: it runs, each time, and no webhook is needed.
func TestBeginning_Commit(t *testing.T) {
	need(t, "git")
	f := newForge(t)
	want := map[string]string{}
	for i := range beginnings {
		branch := fmt.Sprintf("branch%02d", i)
		f.commits(branch, "before", "a")
		f.succeed(f.acrd(f.TempDir(), "task", "create", "-n", branch, "-c", f.url+"#"+branch, "-f", "Dockerfile", "-t", branch+":1", "--base-image-trigger-enabled=false"))
		want[branch] = f.commits(branch, "after", "b")
	}
	c := &chain{daemon: f.daemon, dir: f.TempDir()}
	got := map[string]string{}
	for _, r := range c.settled(beginnings, c.all) {
		if _, twice := got[r.Properties.Task]; twice || r.Properties.Status != "Succeeded" {
			t.Errorf("run %s of %s is one too many, or %s %s", r.Properties.RunID, r.Properties.Task, r.Properties.Status, r.Properties.RunErrorMessage)
		}
		got[r.Properties.Task] = r.Properties.Source.CommitID
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("built (-want +got):\n%s", diff)
	}
}
