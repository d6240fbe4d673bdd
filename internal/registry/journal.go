package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"

	"acrd/eventing"
)

// A Journal keeps drafts of events where a crash does not reach them. What it
// returns nil for is durable. internal/store implements it.
type Journal interface {
	// Begin keeps a draft and settles others, in one transaction. An error that
	// is syscall.ENOSPC says that there is no space for it.
	Begin(ctx context.Context, d eventing.Draft, settled ...eventing.Settled) error
	// Settle tells the events of those drafts that have happened, and forgets
	// all of them. One that is settled already stays as it was.
	Settle(ctx context.Context, settled ...eventing.Settled) error
	// Drafts lists what was kept before a time and is not settled.
	Drafts(ctx context.Context, before time.Time) ([]eventing.Draft, error)
}

const (
	// settleDelay lets whoever waits for a push go on first: a run has its own
	// end to write down, and the disk does one thing after the other.
	settleDelay = 20 * time.Millisecond
	// settleAgain is how long it takes until what could not be settled is tried
	// again.
	settleAgain = time.Second
	// reconcileEvery is how often drafts are looked for that nobody has settled,
	// and reconcileAge how old those must be.
	reconcileEvery = time.Minute
	reconcileAge   = time.Minute
)

// A ledger writes to the journal so that a client waits for one durable write
// only: the draft of its change. What has become of the change follows later,
// but never after the draft of a next one in the same repository. For by what
// is in the repository one can tell only of the last change whether it was
// made.
type ledger struct {
	journal Journal // nil keeps nothing
	log     *slog.Logger
	wake    chan struct{}

	turn sync.Mutex // held while the journal is written, before mu
	mu   sync.Mutex // guards what follows
	// decided are drafts whose fate is known and not written down.
	decided []eventing.Settled
}

func newLedger(j Journal, log *slog.Logger) *ledger {
	return &ledger{journal: j, log: log, wake: make(chan struct{}, 1)}
}

// begin keeps a draft before its change is made.
func (l *ledger) begin(ctx context.Context, d eventing.Draft) *fault {
	l.turn.Lock()
	defer l.turn.Unlock()
	settled := l.take()
	err := l.journal.Begin(context.WithoutCancel(ctx), d, settled...)
	if err == nil {
		return nil
	}
	// The draft may be there, if the answer was lost.
	l.putBack(append(settled, eventing.Settled{Draft: d}))
	l.log.Error("keep draft of event", "image", d.Event.Subject, "err", err)
	if errors.Is(err, syscall.ENOSPC) {
		return faultNoSpace
	}
	return faultJournal
}

// decide says what has become of a draft.
func (l *ledger) decide(d eventing.Draft, happened bool) {
	l.mu.Lock()
	l.decided = append(l.decided, eventing.Settled{Draft: d, Happened: happened})
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// settle writes down all that is decided.
func (l *ledger) settle(ctx context.Context) error {
	l.turn.Lock()
	defer l.turn.Unlock()
	settled := l.take()
	if len(settled) == 0 {
		return nil
	}
	if err := l.journal.Settle(ctx, settled...); err != nil {
		l.putBack(settled)
		return fmt.Errorf("tell of the registry: %w", err)
	}
	return nil
}

// settleRepository is settle if something of one repository is decided. Who
// changes it without a draft must wait for that.
func (l *ledger) settleRepository(ctx context.Context, name string) *fault {
	l.turn.Lock()
	l.mu.Lock()
	owed := slices.ContainsFunc(l.decided, func(s eventing.Settled) bool { return s.Event.Key == name })
	l.mu.Unlock()
	l.turn.Unlock()
	if !owed {
		return nil
	}
	if err := l.settle(context.WithoutCancel(ctx)); err != nil {
		l.log.Error("settle before another change", "image", name, "err", err)
		return faultJournal
	}
	return nil
}

func (l *ledger) take() []eventing.Settled {
	l.mu.Lock()
	defer l.mu.Unlock()
	settled := l.decided
	l.decided = nil
	return settled
}

// putBack keeps the order: of two words about a draft the first counts.
func (l *ledger) putBack(settled []eventing.Settled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decided = append(settled, l.decided...)
}

// serve settles until ctx has ended.
func (l *ledger) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleDelay):
		}
		for err := l.settle(ctx); err != nil && ctx.Err() == nil; err = l.settle(ctx) {
			l.log.Warn("events of the registry wait", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(settleAgain):
			}
		}
	}
}
