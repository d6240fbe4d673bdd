package triggers

import (
	"context"
	"time"

	"acrd/runner"
)

// A TimerState is one timer of a task that may run, and how far it is.
type TimerState struct {
	Task  string
	Timer runner.TimerTrigger
	// Since is when the timer got its schedule: it owes nothing before.
	Since time.Time
	// Next is the time that it fires for next. None is known if it is zero,
	// and there is none if Never.
	Next  time.Time
	Never bool
	// Last is the last time that it has dealt with, and Fired the last that
	// it has fired for.
	Last, Fired time.Time
	// Held says that it is due and waits for its run to end.
	Held bool
}

// A TimerMove is a step of a timer, and the intents that come of it: those that
// are skipped, and those to run.
type TimerMove struct {
	From, To TimerState
	Skip     []Settled // before those of Fire
	Fire     []Intent
}

// A TimerStore keeps timers. Each method is one transaction. internal/store
// implements it.
type TimerStore interface {
	// SyncTimers makes the timers be those of the tasks, in case they were
	// saved by a version that knew none.
	SyncTimers(ctx context.Context) error
	// Timers lists all timers that may run.
	Timers(ctx context.Context) ([]TimerState, error)
	// DueTimers lists those that are not held, whose Next is not known or not
	// after now, in that order, at most limit.
	DueTimers(ctx context.Context, now time.Time, limit int) ([]TimerState, error)
	// HeldTimers lists those that are held.
	HeldTimers(ctx context.Context) ([]TimerState, error)
	// NextTimer is the earliest Next after a time of those that are not
	// held; zero if there is none.
	NextTimer(ctx context.Context, after time.Time) (time.Time, error)
	// MoveTimers makes the steps whose timers are where From says, and says
	// which. Of several schedulers that try the same step, one succeeds.
	MoveTimers(ctx context.Context, moves []TimerMove) ([]bool, error)
	// TimerRuns lists what a timer has started that has not ended: the keys
	// of intents that are undecided, and runs.
	TimerRuns(ctx context.Context, task, timer string) (keys, runs []string, err error)
	// TimersChanged returns a channel that is closed when a task has changed
	// or a run has ended. It may miss changes.
	TimersChanged() <-chan struct{}
	// Decide is that of Intents.
	Decide(ctx context.Context, task string, keys []string, d Decision) error
}
