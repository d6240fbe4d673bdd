package eventing

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A settler writes settlements of all queues down together: what arrives while
// one transaction waits for the disk is the next. Its zero value is not ready.
type settler struct {
	write func(context.Context, []Settlement) (lost []int64, err error)
	bell  chan struct{}

	mu      sync.Mutex // guards waiting
	waiting []unsettled
}

type unsettled struct {
	Settlement
	done func(lost bool) // must not block
}

const (
	// linger is how long a settlement waits for company.
	linger = 10 * time.Millisecond
	// settleRetry is the pause after a failure.
	settleRetry = 500 * time.Millisecond
)

func (s *settler) add(st Settlement, done func(lost bool)) {
	s.mu.Lock()
	s.waiting = append(s.waiting, unsettled{st, done})
	s.mu.Unlock()
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

func (s *settler) take() []unsettled {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.waiting
	s.waiting = nil
	return taken
}

// serve ends with ctx, after a last look.
func (s *settler) serve(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-s.bell:
			pause(ctx, linger)
			s.settle(ctx, s.take(), log)
		case <-ctx.Done():
			s.settle(ctx, s.take(), log)
			return
		}
	}
}

// settle repeats until it has succeeded, or ctx has ended.
func (s *settler) settle(ctx context.Context, batch []unsettled, log *slog.Logger) {
	if len(batch) == 0 {
		return
	}
	all := make([]Settlement, len(batch))
	for i := range batch {
		all[i] = batch[i].Settlement
	}
	for {
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), settlePatience)
		lost, err := s.write(writing, all)
		cancel()
		if err == nil {
			for _, u := range batch {
				u.done(slices.Contains(lost, u.Subscription))
			}
			return
		}
		log.Warn("deliveries are not written down", "err", err)
		if ctx.Err() != nil {
			return // they are delivered again
		}
		pause(ctx, settleRetry)
	}
}

// settlePatience bounds one transaction.
const settlePatience = 20 * time.Second

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
