// Package triggerstest helps to test triggers: a store for them in memory, and
// the suite that says what a store must do.
package triggerstest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"acrd/runner"
	"acrd/triggers"
)

// A Memory is a store of triggers that does not last.
type Memory struct {
	mu       sync.Mutex // guards what follows
	timers   []triggers.TimerState
	intents  []triggers.Settled
	runs     map[string]bool // those that have not ended
	changed  chan struct{}
	Orphaned int // how often a step came too late
}

var (
	_ triggers.TimerStore = (*Memory)(nil)
	_ triggers.Intents    = (*Memory)(nil)
)

// SaveTimers makes the timers of a task be these from now on.
func (m *Memory) SaveTimers(task string, since time.Time, timers ...runner.TimerTrigger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.timers
	m.timers = slices.DeleteFunc(slices.Clone(old), func(s triggers.TimerState) bool { return s.Task == task })
	for _, timer := range timers {
		if !timer.Status.Active() {
			continue
		}
		state := triggers.TimerState{Task: task, Timer: timer, Since: since}
		if i := slices.IndexFunc(old, func(s triggers.TimerState) bool { return s.Task == task && s.Timer == timer }); i >= 0 {
			state = old[i]
		}
		m.timers = append(m.timers, state)
	}
	m.ring()
}

func (m *Memory) ring() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// TimersChanged implements triggers.TimerStore.
func (m *Memory) TimersChanged() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.changed
}

// SyncTimers implements triggers.TimerStore.
func (m *Memory) SyncTimers(context.Context) error { return nil }

func (m *Memory) list(which func(triggers.TimerState) bool) []triggers.TimerState {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []triggers.TimerState
	for _, s := range m.timers {
		if which(s) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b triggers.TimerState) int {
		return cmp.Or(a.Next.Compare(b.Next), strings.Compare(a.Task, b.Task), strings.Compare(a.Timer.Name, b.Timer.Name))
	})
	return all
}

// Timers implements triggers.TimerStore.
func (m *Memory) Timers(context.Context) ([]triggers.TimerState, error) {
	return m.list(func(triggers.TimerState) bool { return true }), nil
}

// DueTimers implements triggers.TimerStore.
func (m *Memory) DueTimers(_ context.Context, now time.Time, limit int) ([]triggers.TimerState, error) {
	all := m.list(func(s triggers.TimerState) bool { return !s.Never && !s.Held && !s.Next.After(now) })
	return all[:min(limit, len(all))], nil
}

// HeldTimers implements triggers.TimerStore.
func (m *Memory) HeldTimers(context.Context) ([]triggers.TimerState, error) {
	return m.list(func(s triggers.TimerState) bool { return s.Held }), nil
}

// NextTimer implements triggers.TimerStore.
func (m *Memory) NextTimer(_ context.Context, after time.Time) (time.Time, error) {
	all := m.list(func(s triggers.TimerState) bool { return !s.Never && !s.Held && s.Next.After(after) })
	if len(all) == 0 {
		return time.Time{}, nil
	}
	return all[0].Next, nil
}

// MoveTimers implements triggers.TimerStore.
func (m *Memory) MoveTimers(_ context.Context, moves []triggers.TimerMove) ([]bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	moved := make([]bool, len(moves))
	for i, move := range moves {
		at := slices.Index(m.timers, move.From)
		if at < 0 {
			m.Orphaned++
			continue
		}
		m.timers[at], moved[i] = move.To, true
		for _, s := range move.Skip {
			m.intend(s)
		}
		for _, in := range move.Fire {
			m.intend(triggers.Settled{Intent: in})
		}
	}
	return moved, nil
}

func (m *Memory) intend(s triggers.Settled) bool {
	if slices.ContainsFunc(m.intents, func(old triggers.Settled) bool { return old.Task == s.Task && old.Key == s.Key }) {
		return false
	}
	m.intents = append(m.intents, s)
	m.ring()
	return true
}

// Intend implements triggers.Intents.
func (m *Memory) Intend(_ context.Context, all ...triggers.Intent) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := 0
	for _, in := range all {
		if m.intend(triggers.Settled{Intent: in}) {
			fresh++
		}
	}
	return fresh, nil
}

// All lists all intents in the order in which they came.
func (m *Memory) All() []triggers.Settled {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.intents)
}

// Open implements triggers.Intents.
func (m *Memory) Open(context.Context) ([]triggers.Intent, error) {
	var open []triggers.Intent
	for _, s := range m.All() {
		if s.Decision.At.IsZero() {
			open = append(open, s.Intent)
		}
	}
	slices.SortStableFunc(open, func(a, b triggers.Intent) int { return a.At.Compare(b.At) })
	return open, nil
}

// Decide implements triggers.Intents.
func (m *Memory) Decide(_ context.Context, task string, keys []string, d triggers.Decision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.At.IsZero() {
		d.At = time.Now()
	}
	for i, s := range m.intents {
		if s.Task == task && slices.Contains(keys, s.Key) && s.Decision.At.IsZero() {
			m.intents[i].Decision = d
		}
	}
	return nil
}

// Decided implements triggers.Intents.
func (m *Memory) Decided(_ context.Context, task string, limit int) ([]triggers.Settled, error) {
	all := slices.DeleteFunc(m.All(), func(s triggers.Settled) bool { return s.Task != task || s.Decision.At.IsZero() })
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b triggers.Settled) int { return b.Decision.At.Compare(a.Decision.At) })
	return all[:min(limit, len(all))], nil
}

// StartRun lets a run begin that answers intents.
func (m *Memory) StartRun(ctx context.Context, run, task string, keys ...string) error {
	m.mu.Lock()
	if m.runs == nil {
		m.runs = map[string]bool{}
	}
	m.runs[run] = true
	m.mu.Unlock()
	return m.Decide(ctx, task, keys, triggers.Decision{Run: run})
}

// EndRun lets a run end.
func (m *Memory) EndRun(run string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, run)
	m.ring()
}

// TimerRuns implements triggers.TimerStore.
func (m *Memory) TimerRuns(_ context.Context, task, timer string) (keys, runs []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.intents {
		switch {
		case s.Task != task || !strings.HasPrefix(s.Key, triggers.TimerKey(timer, time.Time{})):
		case s.Decision.At.IsZero():
			keys = append(keys, s.Key)
		case m.runs[s.Run]:
			runs = append(runs, s.Run)
		}
	}
	return keys, runs, nil
}
