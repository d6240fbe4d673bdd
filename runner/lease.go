package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// A daemon that executes runs holds them only as long as it says so. These are
// its side: to say so, to notice what it has lost, and to settle what others
// have left.

// beatsPerLease is how often a daemon beats within a lease, so that one beat
// that fails is no loss.
const beatsPerLease = 3

// join makes this daemon known and settles what an earlier one has left. It
// is an error only if ctx has ended before.
func (r *Runner) join(ctx context.Context, d Daemon) error {
	var pause pause
	for {
		err := r.Store.Join(ctx, d)
		if err == nil {
			err = r.settle(ctx)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.log().Warn("store cannot be joined", "err", err)
		if !pause.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}

func (r *Runner) leave(ctx context.Context, d Daemon) {
	ctx, cancel := context.WithTimeoutCause(ctx, cleanUpTimeout, errors.New("the store does not answer"))
	defer cancel()
	if err := r.Store.Leave(ctx, d); err != nil {
		r.log().Warn("store cannot be left", "err", err)
	}
}

// beat says that this daemon lives, until ctx has ended.
func (r *Runner) beat(ctx context.Context, d Daemon) {
	last := time.Now()
	strays := strays{}
	tick := time.NewTicker(d.Lease / beatsPerLease)
	defer tick.Stop()
	for {
		hint := r.Store.Hint()
		if err := r.beatOnce(ctx, d, strays); err == nil || errors.Is(err, ErrNoSpace) {
			last = time.Now() // where nobody can write, nobody takes over
		} else if ctx.Err() == nil {
			r.log().Warn("store does not answer", "err", err)
		}
		if !r.Alone && time.Since(last) > d.Lease {
			r.fence(func(string, holding) bool { return true })
		}
		select {
		case <-tick.C:
		case <-hint:
		case <-ctx.Done():
			return
		}
	}
}

// beatOnce beats, and does what the store says in reply.
func (r *Runner) beatOnce(ctx context.Context, d Daemon, strays strays) error {
	before := r.holdings()
	limited, cancel := context.WithTimeoutCause(ctx, d.Lease, errors.New("the store does not answer"))
	defer cancel()
	held, err := r.Store.Beat(limited, d)
	if err != nil {
		return err
	}
	kept := map[string]Held{}
	for _, h := range held {
		kept[h.ID] = h
	}
	// What was not here before the beat may have been taken after it.
	r.fence(func(id string, h holding) bool {
		_, wasHere := before[id]
		return wasHere && kept[id].Attempt != h.attempt
	})
	for id, h := range r.holdings() {
		if kept[id].Cancel {
			h.cancel(ErrCanceled)
		}
	}
	if !r.Alone {
		r.letGo(limited, d)
	}
	for _, h := range strays.since(held, before, r.holdings(), d.Lease) {
		if err := r.settleRun(limited, h.ID); err != nil {
			return fmt.Errorf("settle run %s: %w", h.ID, err)
		}
	}
	return r.settle(limited)
}

// strays are runs that the store says this daemon holds, and that do not
// execute here: it was taken when the store's answer was lost, or it was given
// up when the store did not answer at all. They are settled after a lease, as
// if this daemon had died.
type strays map[Held]time.Time

// since updates the strays, and lists those that are old enough.
func (s strays) since(held []Held, before, now map[string]holding, age time.Duration) []Held {
	seen := map[Held]bool{}
	var old []Held
	for _, h := range held {
		h.Cancel = false
		_, was := before[h.ID]
		_, is := now[h.ID]
		if was || is {
			continue
		}
		seen[h] = true
		if first, ok := s[h]; !ok {
			s[h] = time.Now()
		} else if time.Since(first) >= age {
			old = append(old, h)
		}
	}
	for h := range s {
		if !seen[h] {
			delete(s, h)
		}
	}
	return old
}

// letGoAtOnce bounds how many runs that wait are looked up with a beat.
const letGoAtOnce = 200

// letGo gives up the logs of runs that were submitted here and that another
// daemon has taken, or cancelled in the queue.
func (r *Runner) letGo(ctx context.Context, d Daemon) {
	r.mu.Lock()
	var ids []string
	for id := range r.waiting {
		if ids = append(ids, id); len(ids) == letGoAtOnce {
			break
		}
	}
	r.mu.Unlock()
	for _, id := range ids {
		run, err := r.Store.Run(ctx, id)
		if err != nil || run.Status == Queued || run.Owner == d.ID {
			continue
		}
		if run.Status == Canceled && run.Started.IsZero() {
			r.endLog(ctx, run, canceledInQueue, id)
			continue
		}
		if log := r.takeWaiting(id).log; log != nil {
			r.yieldLog(id, log)
		}
	}
}

// yieldLog gives up a log to which nothing was written.
func (r *Runner) yieldLog(id string, log Log) {
	err := log.Close()
	if err == nil {
		err = r.Logs.Yield(id)
	}
	if err != nil {
		r.log().Warn("log could not be given up", "run", id, "err", err)
	}
}

func (r *Runner) holdings() map[string]holding {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]holding, len(r.active))
	maps.Copy(all, r.active)
	return all
}

// fence stops runs that are not this daemon's any more.
func (r *Runner) fence(lost func(id string, h holding) bool) {
	for id, h := range r.holdings() {
		if !h.ending && lost(id, h) {
			r.log().Error("run was lost to another daemon", "run", id, "attempt", h.attempt)
			h.cancel(ErrFenced)
		}
	}
}

// settle decides about the runs of daemons that are gone.
func (r *Runner) settle(ctx context.Context) error {
	orphans, err := r.Store.Orphans(ctx)
	if err != nil {
		return fmt.Errorf("list orphans: %w", err)
	}
	here := r.holdings()
	for _, id := range orphans {
		if _, ok := here[id]; ok {
			continue // this daemon was suspended after its last beat, and goes on
		}
		if err := r.settleRun(ctx, id); err != nil {
			return fmt.Errorf("settle run %s: %w", id, err)
		}
	}
	return nil
}
