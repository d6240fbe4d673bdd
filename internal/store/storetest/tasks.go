package storetest

import (
	"errors"
	"sync"
	"testing"

	"acrd/internal/store"
	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

func tasks(t *testing.T, db *store.DB) {
	secret := runner.NewSecret("s3cr3tcanary")
	task := &runner.Task{Name: "build-app", TaskSpec: runner.TaskSpec{
		Status: runner.Enabled, Timeout: 600,
		Step: runner.TaskStep{Type: runner.DockerStep, ContextPath: "https://git.example.com/a.git", ContextAccessToken: secret},
	}}
	put := func(name string) func(*runner.Task) (*runner.Task, error) {
		return func(*runner.Task) (*runner.Task, error) {
			c := task.Clone()
			c.Name = name
			return c, nil
		}
	}
	for _, name := range []string{"c-task", "a-task", "b-task"} {
		if _, err := db.ChangeTask(t.Context(), name, put(name)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Task(t.Context(), "a-task")
	if err != nil || got.Step.ContextAccessToken.Reveal() != secret.Reveal() || got.Timeout != 600 {
		t.Errorf("task is %+v (%v)", got, err)
	}
	refused := errors.New("refused")
	if _, err := db.ChangeTask(t.Context(), "a-task", func(old *runner.Task) (*runner.Task, error) {
		if old == nil || old.Step.ContextAccessToken.Reveal() != secret.Reveal() {
			t.Errorf("old task is %+v", old)
		}
		return nil, refused
	}); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	names := func(after string, limit int) []string {
		list, err := db.Tasks(t.Context(), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, l := range list {
			all = append(all, l.Name)
		}
		return all
	}
	if diff := cmp.Diff([]string{"a-task", "b-task"}, names("", 2)); diff != "" {
		t.Errorf("first page (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"c-task"}, names("b-task", 2)); diff != "" {
		t.Errorf("second page (-want +got):\n%s", diff)
	}
	if err := db.RemoveTask(t.Context(), "a-task"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{second(db.Task(t.Context(), "a-task")), db.RemoveTask(t.Context(), "a-task")} {
		if !errors.Is(err, runner.ErrNotFound) {
			t.Errorf("a task that is gone: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// tasksTogether makes and changes one task from many sides.
func tasksTogether(t *testing.T, db *store.DB) {
	const n = 20
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			_, err := db.ChangeTask(t.Context(), "counter", func(old *runner.Task) (*runner.Task, error) {
				if old == nil {
					old = &runner.Task{Name: "counter"}
				}
				old.Timeout++
				return old, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := db.Task(t.Context(), "counter"); err != nil || got.Timeout != n {
		t.Errorf("task is %+v (%v), want a count of %d", got, err, n)
	}
}

func taskRuns(t *testing.T, db *store.DB) {
	tr := &runner.TaskRun{Name: "once-only", RunID: "ca1", Request: []byte(`{"type":"x"}`)}
	tr.SetSecrets(map[string]string{"a": "s3cr3tcanary"})
	for _, id := range []string{"ca1", "ca2"} {
		tr.RunID = id
		if err := db.SaveTaskRun(t.Context(), tr); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.TaskRun(t.Context(), "once-only")
	if err != nil || got.RunID != "ca2" || string(got.Request) != `{"type":"x"}` {
		t.Errorf("task run is %+v (%v)", got, err)
	}
	if diff := cmp.Diff(tr.Secrets(), got.Secrets()); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	if list, err := db.TaskRuns(t.Context(), "", 10); err != nil || len(list) != 1 {
		t.Errorf("task runs %v (%v)", list, err)
	}
	if err := db.RemoveTaskRun(t.Context(), "once-only"); err != nil {
		t.Fatal(err)
	}
	if err := second(db.TaskRun(t.Context(), "once-only")); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("a task run that is gone: %v", err)
	}
}
