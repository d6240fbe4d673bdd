package triggers

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"acrd/runner"
)

// Timers make an intent of each time that a timer of a task says. Any number of
// daemons may serve the same store: each time is one intent, whoever is first.
//
// What a timer owes are the times since it was saved or has last dealt with
// one. As a rule that is the one which has just come. After a time without a
// daemon it is more, and the timer's CatchUp says what becomes of them; its
// Overlap says what becomes of one that comes while the timer's last run has
// not ended. A timer's times are dealt with in order, and never go back: a
// clock that is set back has to pass them again before the timer fires.
type Timers struct {
	Store TimerStore
	// Cancel cancels a run, for timers that replace theirs.
	Cancel func(ctx context.Context, run string) error
	// Deadline is how late a time is still caught up; 0 is a day.
	Deadline time.Duration
	// Most is how many times a timer with CatchUpAll catches up, the newest
	// ones; 0 is 10.
	Most int
	// Now is the clock on the wall; nil is time.Now.
	Now func() time.Time
	Log *slog.Logger // nil discards

	schedules map[scheduleText]*Schedule // Serve's
}

type scheduleText struct{ fields, zone string }

const (
	// rearm is how long Serve sleeps at most, so that a clock that was set
	// is noticed.
	rearm = time.Minute
	// heldEvery is how often it looks whether a run that is waited for has
	// ended on another daemon.
	heldEvery = 5 * time.Second
	// retry is when it tries again after the store has failed.
	retry = time.Second
	// punctual is how late a time is not missed.
	punctual = time.Minute
	// wrongClock is how far ahead of the clock a timer cannot be, but for a
	// clock that was wrong when it fired.
	wrongClock = 24 * time.Hour
	// batch is how many timers move in one transaction.
	batch = 100
)

// ActiveTimers are the timers of a task that may run, by their names.
func ActiveTimers(t *runner.Task) map[string]runner.TimerTrigger {
	active := map[string]runner.TimerTrigger{}
	if !t.Status.Active() || t.Trigger == nil {
		return active
	}
	for _, timer := range t.Trigger.Timers {
		if timer.Status.Active() {
			active[timer.Name] = timer
		}
	}
	return active
}

// TimerKey is the key of the intent of a timer for a time. Without a time it is
// what they all begin with.
func TimerKey(timer string, at time.Time) string {
	prefix := "timer/" + url.PathEscape(timer) + "/"
	if at.IsZero() {
		return prefix
	}
	return prefix + at.UTC().Format(time.RFC3339)
}

// Serve lets timers fire until ctx has ended.
func (t *Timers) Serve(ctx context.Context) error {
	t.schedules = map[scheduleText]*Schedule{}
	clock := wallClock{now: t.Now}
	begun := false
	sleep := time.NewTimer(rearm)
	defer sleep.Stop()
	for {
		changed := t.Store.TimersChanged()
		now, back := clock.read()
		wait, err := t.look(ctx, now, back || !begun, !begun)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			t.log().Warn("timers wait for the store", "err", err)
			wait = retry
		}
		begun = begun || err == nil
		sleep.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-sleep.C:
		}
	}
}

func (t *Timers) log() *slog.Logger {
	if t.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return t.Log
}

// look does what is due at now, and says when to look again. All asks it to
// look at all timers, and sync to read them from the tasks before.
func (t *Timers) look(ctx context.Context, now time.Time, all, sync bool) (time.Duration, error) {
	if sync {
		if err := t.Store.SyncTimers(ctx); err != nil {
			return 0, err
		}
	}
	if all {
		if err := t.lookAtAll(ctx, now); err != nil {
			return 0, err
		}
	}
	for {
		due, err := t.Store.DueTimers(ctx, now, batch)
		if err != nil {
			return 0, err
		}
		if len(due) == 0 {
			break
		}
		if err := t.move(ctx, due, now); err != nil {
			return 0, err
		}
	}
	held, err := t.Store.HeldTimers(ctx)
	if err != nil {
		return 0, err
	}
	if err := t.move(ctx, held, now); err != nil {
		return 0, err
	}
	next, err := t.Store.NextTimer(ctx, now)
	if err != nil {
		return 0, err
	}
	wait := rearm
	if !next.IsZero() {
		wait = min(wait, next.Sub(now))
	}
	if len(held) > 0 {
		wait = min(wait, heldEvery)
	}
	return wait, nil
}

// lookAtAll moves timers whose Next does not fit the clock: it may have been
// set, and the schedule of an earlier version may have meant another time.
func (t *Timers) lookAtAll(ctx context.Context, now time.Time) error {
	all, err := t.Store.Timers(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(s TimerState) bool { return s.Held || s.Never })
	for some := range slices.Chunk(all, batch) {
		if err := t.move(ctx, some, now); err != nil {
			return err
		}
	}
	return nil
}

// move makes the steps of timers that have one to make.
func (t *Timers) move(ctx context.Context, timers []TimerState, now time.Time) error {
	var moves []TimerMove
	var replaced []func()
	for _, s := range timers {
		m, undo, err := t.step(ctx, s, now)
		if err != nil {
			return err
		}
		if m.To != m.From {
			moves, replaced = append(moves, m), append(replaced, undo)
		}
	}
	if len(moves) == 0 {
		return nil
	}
	moved, err := t.Store.MoveTimers(ctx, moves)
	if err != nil {
		return err
	}
	for i, m := range moves {
		if moved[i] {
			t.report(m)
			replaced[i]()
		}
	}
	return nil
}

func (t *Timers) report(m TimerMove) {
	for _, in := range m.Fire {
		t.log().Info("timer fires", "task", in.Task, "timer", m.From.Timer.Name, "reason", in.Reason)
	}
	for _, s := range m.Skip {
		t.log().Info("timer does not fire", "task", s.Task, "timer", m.From.Timer.Name, "why", s.Why)
	}
}

// step is what a timer does at now. After it was stored, undo ends what is
// replaced.
func (t *Timers) step(ctx context.Context, s TimerState, now time.Time) (m TimerMove, undo func(), err error) {
	m, undo = TimerMove{From: s, To: s}, func() {}
	schedule, err := t.schedule(s.Timer)
	if err != nil { // it was saved by a version that took it
		t.log().Warn("timer cannot fire", "task", s.Task, "timer", s.Timer.Name, "err", err)
		m.To.Never = true
		return m, undo, nil
	}
	var runs busy
	if s.Timer.Overlap != "" && s.Timer.Overlap != runner.OverlapAllow {
		if runs.keys, runs.runs, err = t.Store.TimerRuns(ctx, s.Task, s.Timer.Name); err != nil {
			return m, undo, err
		}
	}
	o := t.owed(schedule, s, now)
	m = o.move(runs, now)
	m.To.advance(schedule, now)
	if s.Timer.Overlap == runner.OverlapReplace && len(m.Fire) > 0 && runs.any() {
		undo = func() { t.replace(ctx, m, runs) }
	}
	return m, undo, nil
}

// advance sets when the timer is next looked at.
func (s *TimerState) advance(schedule *Schedule, now time.Time) {
	if s.Held {
		return
	}
	s.Next = schedule.Next(latest(now, s.since()))
	s.Never = s.Next.IsZero()
}

// since is the time after which the timer owes what its schedule says.
func (s *TimerState) since() time.Time { return latest(s.Since, s.Last) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (t *Timers) schedule(timer runner.TimerTrigger) (*Schedule, error) {
	key := scheduleText{timer.Schedule, timer.TimeZone}
	if s := t.schedules[key]; s != nil {
		return s, nil
	}
	s, err := scheduleOf(timer)
	if err != nil {
		return nil, err
	}
	if t.schedules == nil || len(t.schedules) >= 10_000 {
		t.schedules = map[scheduleText]*Schedule{}
	}
	t.schedules[key] = s
	return s, nil
}

// replace ends what a timer has started before it fired again.
func (t *Timers) replace(ctx context.Context, m TimerMove, old busy) {
	why := "replaced: " + m.Fire[0].Reason
	err := t.Store.Decide(ctx, m.From.Task, old.keys, Decision{Why: why})
	if err != nil {
		t.log().Warn("what a timer replaces is not withdrawn", "task", m.From.Task, "err", err)
	}
	if t.Cancel == nil {
		return
	}
	for _, run := range old.runs {
		if err := t.Cancel(ctx, run); err != nil {
			t.log().Warn("run that a timer replaces is not cancelled", "run", run, "err", err)
		}
	}
}

// busy is what a timer has started that has not ended.
type busy struct{ keys, runs []string }

func (b busy) any() bool { return len(b.keys) > 0 || len(b.runs) > 0 }

func (b busy) String() string {
	if len(b.runs) > 0 {
		return "run " + b.runs[0] + " of this timer has not ended"
	}
	return "the last time of this timer has not become a run yet"
}

// A wallClock notices when the clock is set back.
type wallClock struct {
	now  func() time.Time
	wall time.Time
	mono time.Time // time.Now, of which only its monotonic part counts
}

func (c *wallClock) read() (now time.Time, back bool) {
	mono := time.Now()
	now = mono
	if c.now != nil {
		now = c.now()
	}
	now = now.Round(0).UTC()
	back = !c.wall.IsZero() && now.Sub(c.wall) < mono.Sub(c.mono)-time.Second
	c.wall, c.mono = now, mono
	return now, back
}

func timerReason(s TimerState, at, now time.Time) string {
	zone := s.Timer.TimeZone
	if zone == "" {
		zone = "UTC"
	}
	reason := fmt.Sprintf("timer %s (%s %s) at %s", s.Timer.Name, s.Timer.Schedule, zone, at.Format(time.RFC3339))
	if late := now.Sub(at).Round(time.Second); late > punctual {
		reason += fmt.Sprintf(", %s late", late)
	}
	return reason
}
