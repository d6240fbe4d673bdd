package runner

import (
	"context"
	"errors"
	"time"

	"acrd/eventing"
)

// What a Store's callers test for.
var (
	// ErrFenced says that a run belongs to somebody else by now: this daemon
	// was taken for dead, or the run has ended without it. Whoever executes
	// it here must stop, and must not write.
	ErrFenced = errors.New("the run was taken over")
	// ErrDecided says that an intent of Request.Intents is unknown, or was
	// answered by somebody else. The run was not queued.
	ErrDecided = errors.New("what the run is for was decided already")
	// ErrNoSpace says that the disk or the database is full. Nothing of what
	// was asked has happened; it may work later.
	ErrNoSpace = errors.New("no space is left for state: free some, or wait until old runs are removed")
	// ErrUnavailable says that the database does not answer. Nothing of what
	// was asked may have happened; it may work later.
	ErrUnavailable = errors.New("the database does not answer")
)

// A Store keeps runs and their queue. Each method is one transaction, and what
// it has returned nil for is durable. What it returns is the caller's own
// copy. It is safe for concurrent use.
type Store interface {
	Records
	Queue
}

// Records are all runs, past and present. The request in a run that is read
// here is Public.
type Records interface {
	// AddRun gives the run an id, calls ready, and queues the run with the
	// events that ready returns, unless ready fails. It is ErrDecided if
	// not all of the request's Intents are undecided.
	AddRun(ctx context.Context, r *Run, ready func(*Run) ([]eventing.Event, error)) error
	// ChangeRun reads a run, lets change change it, and saves it with the
	// events that change returns, unless change fails. Change must not touch
	// the request, and may be called again. A run that is in progress
	// elsewhere and gets another status is taken from there: see ErrFenced.
	ChangeRun(ctx context.Context, id string, change func(*Run) ([]eventing.Event, error)) (*Run, error)
	// RemoveRun forgets a run that has ended.
	RemoveRun(ctx context.Context, id string) error
	// Run is ErrNotFound if there is none.
	Run(ctx context.Context, id string) (*Run, error)
	// Runs are the newest first.
	Runs(ctx context.Context, f Filter) ([]*Run, error)
	// Request is the whole request of a run, secrets and all.
	Request(ctx context.Context, id string) (*Request, error)
	// Expired lists runs that have ended, are not archived, and are beyond
	// what p keeps, oldest first, at most limit.
	Expired(ctx context.Context, p Retention, limit int) ([]string, error)
}

// A Queue hands runs to daemons. A daemon holds the runs that it has taken for
// as long as it beats; then they are orphans.
type Queue interface {
	// Join makes d known. Runs of an earlier process of the same name are
	// orphans from now on.
	Join(ctx context.Context, d Daemon) error
	// Beat says that d lives, and lists the runs that it holds.
	Beat(ctx context.Context, d Daemon) ([]Held, error)
	// Leave says that d is gone.
	Leave(ctx context.Context, d Daemon) error
	// TakeRun returns the next queued run as Started and held by d, its
	// request whole; or waits for one. A request that cannot be read any
	// more is an *UnreadableError.
	TakeRun(ctx context.Context, d Daemon) (*Run, error)
	// SaveRun saves a run that its Owner holds in its Attempt. It is
	// ErrFenced if that is not so any more, and nothing if the same end has
	// been saved before.
	SaveRun(ctx context.Context, r *Run, events ...eventing.Event) error
	// Orphans lists the runs in progress whose daemons are gone, and the
	// queued ones that only a daemon gone for long could execute.
	Orphans(ctx context.Context) ([]string, error)
	// Position is how many queued runs come before this one, plus one; 0 if
	// it is not in the queue.
	Position(ctx context.Context, id string) (int, error)
	// Hint returns a channel that is closed when something has changed
	// elsewhere that Beat would tell. It may miss changes.
	Hint() <-chan struct{}
}

// A Daemon is one process that executes runs.
type Daemon struct {
	// ID is different for each process, Name the same for all that have used
	// one state folder.
	ID, Name string
	// Lease is how long after a Beat it counts as alive.
	Lease time.Duration
	// Global is how many runs may execute at a time on all daemons
	// together; 0 is no limit.
	Global int
}

// A Held is a run that a daemon holds.
type Held struct {
	ID      string
	Attempt int
	// Cancel says that somebody wants it cancelled.
	Cancel bool
}

// An UnreadableError says that a run was taken, but its request cannot be
// opened.
type UnreadableError struct {
	Run *Run
	Err error
}

func (e *UnreadableError) Error() string {
	return "the request of run " + e.Run.ID + " cannot be read: " + e.Err.Error()
}
func (e *UnreadableError) Unwrap() error { return e.Err }
