// Package store keeps runs. For now it keeps them in memory, and on disk only
// the number of the next one; the durable store will take its place.
package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"acrd/runner"
)

// Memory implements runner.Store. It is safe for concurrent use.
type Memory struct {
	// Counter is a file that keeps run ids from being given twice, across
	// restarts. Empty keeps them apart within this process only.
	Counter string
	// Keep is how many ended runs are remembered; 0 means 1,000.
	Keep int

	mu       sync.Mutex // guards what follows
	runs     map[string]*runner.Run
	order    []string // oldest first
	queue    []string
	queued   chan struct{} // closed and renewed when the queue grows
	next     uint64
	reserved uint64
}

// idPrefix and base 36 make run ids look like ACR's: ca1, ca2, ... caz, ca10.
const (
	idPrefix = "ca"
	// reserve is how many ids are taken from the counter at a time, so that
	// not every run waits for a disk.
	reserve = 32
	keep    = 1000
)

// AddRun gives the run the next id, calls ready, and queues it.
func (m *Memory) AddRun(_ context.Context, r *runner.Run, ready func(*runner.Run) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.init(); err != nil {
		return err
	}
	id, err := m.nextID()
	if err != nil {
		return err
	}
	r.ID = id
	if err := ready(r); err != nil {
		return err
	}
	m.runs[id] = r.Clone()
	m.order = append(m.order, id)
	m.queue = append(m.queue, id)
	m.forget()
	close(m.queued)
	m.queued = make(chan struct{})
	return nil
}

// SaveRun replaces what is known of a run.
func (m *Memory) SaveRun(_ context.Context, r *runner.Run) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.runs[r.ID]; !ok {
		return fmt.Errorf("run %s: %w", r.ID, runner.ErrNotFound)
	}
	m.runs[r.ID] = r.Clone()
	if r.Status.Final() {
		m.queue = slices.DeleteFunc(m.queue, func(id string) bool { return id == r.ID })
	}
	return nil
}

// TakeRun waits for a queued run.
func (m *Memory) TakeRun(ctx context.Context) (*runner.Run, error) {
	for {
		m.mu.Lock()
		if err := m.init(); err != nil {
			m.mu.Unlock()
			return nil, err
		}
		if len(m.queue) > 0 {
			r := m.runs[m.queue[0]]
			m.queue = m.queue[1:]
			r.Status, r.Updated = runner.Started, time.Now()
			taken := r.Clone()
			m.mu.Unlock()
			return taken, nil
		}
		queued := m.queued
		m.mu.Unlock()
		select {
		case <-queued:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Run finds a run by its id.
func (m *Memory) Run(_ context.Context, id string) (*runner.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.runs[id]
	if !ok {
		return nil, fmt.Errorf("run %s: %w", id, runner.ErrNotFound)
	}
	return r.Clone(), nil
}

// Runs lists the newest runs; limit 0 is all.
func (m *Memory) Runs(_ context.Context, limit int) ([]*runner.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*runner.Run
	for _, id := range slices.Backward(m.order) {
		if limit > 0 && len(all) == limit {
			break
		}
		all = append(all, m.runs[id].Clone())
	}
	return all, nil
}

// init and the functions below are called with the lock held.
func (m *Memory) init() error {
	if m.runs != nil {
		return nil
	}
	m.next = 1
	if m.Counter != "" {
		b, err := os.ReadFile(m.Counter)
		switch {
		case err == nil:
			if m.next, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil {
				return fmt.Errorf("run counter %s: %w", m.Counter, err)
			}
		case !os.IsNotExist(err):
			return fmt.Errorf("run counter: %w", err)
		}
	}
	m.reserved = m.next
	m.runs, m.queued = map[string]*runner.Run{}, make(chan struct{})
	return nil
}

func (m *Memory) nextID() (string, error) {
	if m.next == m.reserved && m.Counter != "" {
		if err := writeDurably(m.Counter, strconv.FormatUint(m.reserved+reserve, 10)); err != nil {
			return "", fmt.Errorf("run counter: %w", err)
		}
		m.reserved += reserve
	}
	id := idPrefix + strconv.FormatUint(m.next, 36)
	m.next++
	return id, nil
}

// forget drops the oldest ended runs.
func (m *Memory) forget() {
	limit := m.Keep
	if limit <= 0 {
		limit = keep
	}
	for i := 0; len(m.order) > limit && i < len(m.order); {
		id := m.order[i]
		if !m.runs[id].Status.Final() {
			i++
			continue
		}
		delete(m.runs, id)
		m.order = slices.Delete(m.order, i, i+1)
	}
}

func writeDurably(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
