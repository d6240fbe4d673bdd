package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// MemoryTasks implements what the management API needs of tasks and task runs.
// It is safe for concurrent use.
type MemoryTasks struct {
	mu       sync.Mutex // guards what follows
	tasks    map[string]*runner.Task
	taskRuns map[string]*runner.TaskRun
}

// Task finds a task by its name.
func (m *MemoryTasks) Task(_ context.Context, name string) (*runner.Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return find(m.tasks, "task", name)
}

// Tasks lists tasks by name.
func (m *MemoryTasks) Tasks(_ context.Context, after string, limit int) ([]*runner.Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pageOf(m.tasks, after, limit), nil
}

// ChangeTask saves what change makes of a task.
func (m *MemoryTasks) ChangeTask(_ context.Context, name string, change func(old *runner.Task) (*runner.Task, error)) (*runner.Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var old *runner.Task
	if t, ok := m.tasks[name]; ok {
		old = t.Clone()
	}
	t, err := change(old)
	if err != nil {
		return nil, err
	}
	if m.tasks == nil {
		m.tasks = map[string]*runner.Task{}
	}
	m.tasks[name] = t.Clone()
	return t, nil
}

// RemoveTask forgets a task.
func (m *MemoryTasks) RemoveTask(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return remove(m.tasks, name)
}

// TaskRun finds a task run by its name.
func (m *MemoryTasks) TaskRun(_ context.Context, name string) (*runner.TaskRun, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return find(m.taskRuns, "task run", name)
}

// TaskRuns lists task runs by name.
func (m *MemoryTasks) TaskRuns(_ context.Context, after string, limit int) ([]*runner.TaskRun, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pageOf(m.taskRuns, after, limit), nil
}

// SaveTaskRun keeps a task run in place of the one of its name.
func (m *MemoryTasks) SaveTaskRun(_ context.Context, t *runner.TaskRun) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taskRuns == nil {
		m.taskRuns = map[string]*runner.TaskRun{}
	}
	m.taskRuns[t.Name] = t.Clone()
	return nil
}

// RemoveTaskRun forgets a task run.
func (m *MemoryTasks) RemoveTaskRun(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return remove(m.taskRuns, name)
}

func find[T interface{ Clone() T }](all map[string]T, kind, name string) (T, error) {
	t, ok := all[name]
	if !ok {
		return t, fmt.Errorf("%s %s: %w", kind, name, runner.ErrNotFound)
	}
	return t.Clone(), nil
}

// pageOf are at most limit of all, by name, from the one after the name.
func pageOf[T interface{ Clone() T }](all map[string]T, after string, limit int) []T {
	var list []T
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name > after && len(list) < limit {
			list = append(list, all[name].Clone())
		}
	}
	return list
}

func remove[T any](all map[string]T, name string) error {
	if _, ok := all[name]; !ok {
		return runner.ErrNotFound
	}
	delete(all, name)
	return nil
}

// MemoryRecords lets the management API look at runs in memory.
type MemoryRecords struct{ *Memory }

// Runs are the newest first.
func (m MemoryRecords) Runs(ctx context.Context, f runner.Filter) ([]*runner.Run, error) {
	all, err := m.Memory.Runs(ctx, 0)
	if err != nil {
		return nil, err
	}
	var found []*runner.Run
	for _, r := range all {
		if f.Limit > 0 && len(found) == f.Limit {
			break
		}
		if matches(&f, r) {
			found = append(found, r)
		}
	}
	return found, nil
}

func matches(f *runner.Filter, r *runner.Run) bool {
	older := f.Before == "" || len(r.ID) < len(f.Before) || len(r.ID) == len(f.Before) && r.ID < f.Before
	within := func(at, from, to time.Time) bool {
		return (from.IsZero() || !at.Before(from)) && (to.IsZero() || at.Before(to) && !at.IsZero())
	}
	image := f.Image == "" || slices.ContainsFunc(r.Pushed, func(p *steps.Pushed) bool {
		ref := runner.NewReference(p.Ref, p.Digest)
		return strings.HasSuffix(ref.Registry+"/"+ref.Repository+"@"+ref.Digest, f.Image)
	})
	return older && image && (f.Task == "" || r.Request.Task == f.Task) && (f.Type == "" || r.Type == f.Type) &&
		(f.Statuses == nil || slices.Contains(f.Statuses, r.Status)) && (f.Archived == nil || *f.Archived == r.Archived) &&
		within(r.Created, f.CreatedFrom, f.CreatedTo) && within(r.Finished, f.FinishedFrom, f.FinishedTo)
}
