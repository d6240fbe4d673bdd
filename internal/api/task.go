package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"acrd/eventing"
	"acrd/runner"
	"acrd/triggers"
)

// Tasks are where tasks are kept. What it returns is the caller's own copy,
// secrets included.
type Tasks interface {
	// Task is runner.ErrNotFound if there is none.
	Task(ctx context.Context, name string) (*runner.Task, error)
	// Tasks are at most limit, by name, from the one after the name.
	Tasks(ctx context.Context, after string, limit int) ([]*runner.Task, error)
	// ChangeTask saves what change makes of a task, which is nil if there is
	// none, in one transaction; or nothing, if change fails. Change may be
	// called again.
	ChangeTask(ctx context.Context, name string, change func(old *runner.Task) (*runner.Task, error)) (*runner.Task, error)
	// RemoveTask is runner.ErrNotFound if there is none.
	RemoveTask(ctx context.Context, name string) error
}

// A Task is the resource of a task.
type Task struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Identity   *runner.Identity  `json:"identity,omitempty"`
	SystemData systemData        `json:"systemData"`
	Properties TaskProperties    `json:"properties"`
}

// TaskProperties are what a task is, but for its secrets.
type TaskProperties struct {
	ProvisioningState string `json:"provisioningState"`
	runner.TaskSpec
}

// systemData is ARM's record of a resource's life.
type systemData struct {
	CreatedAt  *time.Time `json:"createdAt,omitempty"`
	ModifiedAt *time.Time `json:"lastModifiedAt,omitempty"`
}

// Location is where every resource is that does not say.
const Location = "local"

func newTask(base string, t *runner.Task) *Task {
	return &Task{
		ID: base + "/tasks/" + t.Name, Name: t.Name, Type: "Microsoft.ContainerRegistry/registries/tasks",
		Location: t.Location, Tags: t.Tags, Identity: t.Identity, SystemData: systemData{moment(t.Created), moment(t.Updated)},
		Properties: TaskProperties{"Succeeded", t.TaskSpec},
	}
}

func (s *Server) listTasks(w http.ResponseWriter, r *http.Request) error {
	c, err := readCursor(r.URL.Query())
	if err != nil {
		return err
	}
	n := c.size()
	tasks, err := s.Tasks.Tasks(r.Context(), c.After, n+1)
	if err != nil {
		return err
	}
	p := page[*Task]{Value: []*Task{}}
	for _, t := range tasks[:min(n, len(tasks))] {
		p.Value = append(p.Value, newTask(rootOf(r), t))
	}
	if len(tasks) > n {
		if next, ok := c.next(tasks[n-1].Name, n); ok {
			p.NextLink = nextLink(r, s.address(r), next)
		}
	}
	return reply(w, http.StatusOK, p)
}

// showTask answers both GET and listDetails: secrets are never told, so there
// are no more details.
func (s *Server) showTask(w http.ResponseWriter, r *http.Request) error {
	t, err := s.Tasks.Task(r.Context(), r.PathValue("task"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newTask(rootOf(r), t))
}

// createTask replaces the whole task. Secrets that the body leaves out stay:
// nobody can read them back to send them again.
func (s *Server) createTask(w http.ResponseWriter, r *http.Request) error {
	var body json.RawMessage
	if err := read(w, r, &body); err != nil {
		return err
	}
	return s.saveTask(w, r, func(old *runner.Task) ([]byte, error) { return body, nil })
}

// updateTask merges the body into the task.
func (s *Server) updateTask(w http.ResponseWriter, r *http.Request) error {
	var patch map[string]any
	if err := read(w, r, &patch); err != nil {
		return err
	}
	return s.saveTask(w, r, func(old *runner.Task) ([]byte, error) {
		if old == nil {
			return nil, fmt.Errorf("task %s: %w", r.PathValue("task"), runner.ErrNotFound)
		}
		return patched(old, patch)
	})
}

// saveTask saves the task whose JSON body makes of the old one, which is nil
// if there is none.
func (s *Server) saveTask(w http.ResponseWriter, r *http.Request, body func(old *runner.Task) ([]byte, error)) error {
	status := http.StatusOK
	t, err := s.Tasks.ChangeTask(r.Context(), r.PathValue("task"), func(old *runner.Task) (*runner.Task, error) {
		b, err := body(old)
		if err != nil {
			return nil, err
		}
		t := new(runner.Task)
		if err := badBody(json.Unmarshal(b, t)); err != nil {
			return nil, err
		}
		t.Name = r.PathValue("task")
		status = http.StatusOK
		if old == nil {
			status = http.StatusCreated
		}
		return t, s.finishTask(t, old)
	})
	if err != nil {
		return err
	}
	return reply(w, status, newTask(rootOf(r), t))
}

// finishTask sets what clients may not, and checks the rest.
func (s *Server) finishTask(t, old *runner.Task) error {
	t.Updated = time.Now().UTC()
	t.Created, t.Step.BaseImages = t.Updated, nil
	if old != nil {
		t.Created = old.Created
		if t.Step.Type == old.Step.Type && t.Step.ContextPath == old.Step.ContextPath {
			t.Step.BaseImages = old.Step.BaseImages
		}
		t.SetSecrets(old.Secrets())
	} else {
		t.SetSecrets(nil)
	}
	if t.Location == "" {
		t.Location = Location
	}
	t.Normalize()
	if old != nil && same(t, old) {
		t.Updated = old.Updated
	}
	err := t.Check()
	faults, _ := errors.AsType[runner.Faults](err)
	faults = append(faults, scheduleFaults(t, faults)...)
	if faults = append(faults, s.patternFaults(t)...); len(faults) > 0 {
		return faults
	}
	return err
}

// scheduleFaults are what is wrong with the fields of schedules, beyond what
// is known.
func scheduleFaults(t *runner.Task, known runner.Faults) runner.Faults {
	if t.Trigger == nil {
		return nil
	}
	var faults runner.Faults
	for i, timer := range t.Trigger.Timers {
		at := fmt.Sprintf("properties.trigger.timerTriggers[%d].schedule", i)
		if slices.ContainsFunc(known, func(f runner.Fault) bool { return f.Target == at }) {
			continue
		}
		if _, err := triggers.ParseSchedule(timer.Schedule, ""); err != nil {
			faults = append(faults, runner.Fault{Code: "InvalidSchedule", Target: at, Message: err.Error()})
		}
	}
	return faults
}

// patternFaults are what is wrong with the tag patterns of a base image
// trigger.
func (s *Server) patternFaults(t *runner.Task) runner.Faults {
	if s.CheckTagPattern == nil || t.Trigger == nil || t.Trigger.BaseImage == nil {
		return nil
	}
	var faults runner.Faults
	for i, p := range t.Trigger.BaseImage.TagPatterns {
		if err := s.CheckTagPattern(p); err != nil {
			at := fmt.Sprintf("properties.trigger.baseImageTrigger.tagPatterns[%d]", i)
			faults = append(faults, runner.Fault{Code: "InvalidTagPattern", Target: at, Message: err.Error()})
		}
	}
	return faults
}

// same tells whether nothing has changed but the time.
func same(t, old *runner.Task) bool {
	c := old.Clone()
	c.Updated = t.Updated
	now, err1 := json.Marshal(t)
	was, err2 := json.Marshal(c)
	return err1 == nil && err2 == nil && bytes.Equal(now, was) && maps.Equal(t.Secrets(), c.Secrets())
}

func (s *Server) deleteTask(w http.ResponseWriter, r *http.Request) error {
	return deleted(w, s.Tasks.RemoveTask(r.Context(), r.PathValue("task")))
}

// deleted answers a DELETE: what is not there is gone already.
func deleted(w http.ResponseWriter, err error) error {
	switch {
	case errors.Is(err, runner.ErrNotFound), errors.Is(err, eventing.ErrNotFound):
		w.WriteHeader(http.StatusNoContent)
	case err != nil:
		return err
	default:
		w.WriteHeader(http.StatusOK)
	}
	return nil
}
