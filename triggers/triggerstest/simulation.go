package triggerstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acrd/runner"
	"acrd/triggers"
)

// Simulate lets three schedulers serve the timers of a task on one store, in a
// world that the seed makes: clocks that are set and differ, the changes of
// summer time, restarts, answers of the store that are lost. Through all of it
// timers must fire strictly in order, never twice, and none of their times may
// be lost that their CatchUp does not give up. Fresh makes the store; it is
// called in the bubble in which the simulation runs.
func Simulate(t *testing.T, seed uint64, fresh func(t *testing.T) SimulatedStore) {
	w := newWorld(seed)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(w.begin))
		w.simulate(t, fresh(t))
	})
	if t.Failed() {
		t.Fatalf("seed %d: %+v", seed, w.timers)
	}
}

// transitions are moments at which clocks somewhere are set.
var transitions = []string{
	"2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z", // New York
	"2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", // Berlin
	"2026-09-06T04:00:00Z", "2026-04-05T03:00:00Z", // Santiago, at midnight
	"2026-10-03T15:30:00Z", "2026-04-04T15:00:00Z", // Lord Howe, by half an hour
	"2028-02-29T00:00:00Z", "2026-12-31T23:59:59Z",
}

var (
	zones     = []string{"", "America/New_York", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu"}
	schedules = []string{"* * * * *", "*/5 * * * *", "17 * * * *", "30 1 * * *", "30 2 * * *", "0 0 * * *", "15,45 0-4 * * *", "0 */2 * * Sun", "59 23 31 12 *", "0 0 29 2 *"}
)

// A world is what one seed makes.
type world struct {
	seed   uint64
	rand   *rand.Rand
	begin  time.Time
	timers []runner.TimerTrigger

	mu       sync.Mutex    // guards what follows
	offset   time.Duration // of the wall clock now
	farthest time.Time     // the latest that any scheduler has taken for now
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 5))
	at, _ := time.Parse(time.RFC3339, transitions[r.IntN(len(transitions))])
	w := &world{seed: seed, rand: r, begin: at.Add(-time.Duration(r.IntN(7200)) * time.Second)}
	for i := range 1 + r.IntN(3) {
		w.timers = append(w.timers, runner.TimerTrigger{
			Name: fmt.Sprint("t", i), Schedule: schedules[r.IntN(len(schedules))], TimeZone: zones[r.IntN(len(zones))], Status: runner.Enabled,
			CatchUp: []string{runner.CatchUpAll, runner.CatchUpLatest, runner.CatchUpSkip}[r.IntN(3)],
		})
	}
	return w
}

// wall is what the clock shows, of a daemon that goes before by skew.
func (w *world) wall(skew time.Duration) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset + skew).UTC()
}

func (w *world) set(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += by
}

func (w *world) saw(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.After(w.farthest) {
		w.farthest = now
	}
}

// A frail store fails now and then, before or after it has done its work.
type frail struct {
	triggers.TimerStore
	w *world
	r *rand.Rand
}

var errFrail = errors.New("frail")

func (f *frail) DueTimers(ctx context.Context, now time.Time, limit int) ([]triggers.TimerState, error) {
	f.w.saw(now)
	if f.r.IntN(50) == 0 {
		return nil, errFrail
	}
	return f.TimerStore.DueTimers(ctx, now, 1+f.r.IntN(limit))
}

func (f *frail) MoveTimers(ctx context.Context, moves []triggers.TimerMove) ([]bool, error) {
	switch f.r.IntN(20) {
	case 0:
		return nil, errFrail
	case 1: // it dies with the answer on its way
		_, _ = f.TimerStore.MoveTimers(ctx, moves)
		return nil, errFrail
	}
	time.Sleep(time.Duration(f.r.IntN(1000)) * time.Microsecond) // others come between
	return f.TimerStore.MoveTimers(ctx, moves)
}

// A SimulatedStore is what the simulation needs of a store.
type SimulatedStore interface {
	triggers.TimerStore
	// SaveTimers saves a task with these timers.
	SaveTimers(t *testing.T, task string, timers ...runner.TimerTrigger)
	// All lists all intents of a task in the order in which they came.
	All(t *testing.T, task string) []triggers.Settled
}

func (w *world) simulate(t *testing.T, store SimulatedStore) {
	since := time.Now().UTC()
	store.SaveTimers(t, "app", w.timers...)
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Minute)
	defer stop()
	var all sync.WaitGroup
	for i := range 3 {
		r := rand.New(rand.NewPCG(w.seed, uint64(100+i)))
		all.Go(func() { w.schedule(ctx, t, store, r) })
	}
	for range w.rand.IntN(4) {
		time.Sleep(time.Duration(w.rand.IntN(25)) * time.Minute)
		w.set(time.Duration(w.rand.IntN(4*3600)-2*3600) * time.Second)
	}
	all.Wait()
	// In the end somebody serves undisturbed, and the clock is past all that
	// anybody has seen.
	if behind := w.farthest.Sub(w.wall(0)); behind > 0 {
		w.set(behind)
	}
	now := func() time.Time { return w.wall(0) }
	calm, done := context.WithTimeout(t.Context(), 2*time.Minute)
	defer done()
	seen := &frailNot{store, w}
	if err := (&triggers.Timers{Store: seen, Now: now, Most: 1 << 30, Deadline: 1000 * time.Hour}).Serve(calm); err != nil {
		t.Error(err)
	}
	w.judge(t, since, store.All(t, "app"))
}

// frailNot only notes what the scheduler takes for now.
type frailNot struct {
	triggers.TimerStore
	w *world
}

func (f *frailNot) DueTimers(ctx context.Context, now time.Time, limit int) ([]triggers.TimerState, error) {
	f.w.saw(now)
	return f.TimerStore.DueTimers(ctx, now, limit)
}

// schedule is a daemon that is killed and started again, until it is not.
func (w *world) schedule(ctx context.Context, t *testing.T, store SimulatedStore, r *rand.Rand) {
	skew := time.Duration(r.IntN(6000)-3000) * time.Millisecond
	for ctx.Err() == nil && r.IntN(8) > 0 {
		life, kill := context.WithTimeout(ctx, time.Duration(r.IntN(3600))*time.Second)
		timers := &triggers.Timers{
			Store: &frail{store, w, r}, Now: func() time.Time { return w.wall(skew) }, Most: 1 << 30, Deadline: 1000 * time.Hour,
		}
		if err := timers.Serve(life); err != nil {
			t.Error(err)
		}
		kill()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(r.IntN(1200)) * time.Second):
		}
	}
}

// judge compares what has fired with what the schedules say.
func (w *world) judge(t *testing.T, since time.Time, all []triggers.Settled) {
	for _, timer := range w.timers {
		var fired []time.Time
		var lastAt time.Time
		for _, s := range all {
			if s.Cause.Timer.Name != timer.Name || !s.Decision.At.IsZero() {
				continue
			}
			at, err := time.Parse(time.RFC3339, s.Cause.Timer.Occurrence)
			if err != nil {
				t.Error(err)
			}
			if !at.After(lastAt) {
				t.Errorf("timer %s fires for %s after %s", timer.Name, at, lastAt)
			}
			if late := s.Intent.At.Sub(at); late < 0 || timer.CatchUp == runner.CatchUpSkip && late > time.Minute {
				t.Errorf("timer %s fires for %s at %s", timer.Name, at, s.Intent.At)
			}
			lastAt = at
			fired = append(fired, at)
		}
		want := occurrences(t, timer, since, w.farthest)
		switch timer.CatchUp {
		case runner.CatchUpAll:
			if !slices.Equal(fired, want) {
				t.Errorf("timer %+v since %s\nfired %v\n want %v", timer, since, fired, want)
			}
		case runner.CatchUpLatest:
			if len(want) > 0 && (len(fired) == 0 || !lastAt.Equal(want[len(want)-1])) {
				t.Errorf("timer %+v since %s\nfired %v\n last of %v", timer, since, fired, want)
			}
		}
		for _, at := range fired {
			if !slices.Contains(want, at) {
				t.Errorf("timer %+v fires for %s, which its schedule does not say", timer, at)
			}
		}
	}
}

// occurrences are the times of a timer in (since, until], found by looking at
// the clocks of its zone each minute.
func occurrences(t *testing.T, timer runner.TimerTrigger, since, until time.Time) []time.Time {
	plain, err := triggers.ParseSchedule(timer.Schedule, "")
	if err != nil {
		t.Fatal(err)
	}
	zone, err := time.LoadLocation(timer.TimeZone)
	if err != nil {
		t.Fatal(err)
	}
	shows := func(at time.Time) time.Time {
		l := at.In(zone)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	at := since.Truncate(time.Minute).Add(-3 * time.Hour) // an hour that is shown again may have begun
	shown := shows(at)
	var all []time.Time
	for at = at.Add(time.Minute); !at.After(until); at = at.Add(time.Minute) {
		wall := shows(at)
		if !wall.After(shown) {
			continue // it was shown before
		}
		// What was skipped is now, like what is shown now.
		if next := plain.Next(shown); !next.After(wall) && at.After(since) {
			all = append(all, at)
		}
		shown = wall
	}
	return all
}
