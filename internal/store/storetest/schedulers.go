package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"acrd/internal/store"
	"acrd/runner"
	"acrd/triggers"
)

// schedulers lets three daemons, with connections of their own, serve the same
// timers on a clock that runs 600 times as fast. One is killed.
func schedulers(t *testing.T, url string) {
	key := Key(t)
	first := timerStore{Open(t, url, key)}
	first.SaveTimers(t, "app",
		runner.TimerTrigger{Name: "a", Schedule: "* * * * *", CatchUp: runner.CatchUpAll},
		runner.TimerTrigger{Name: "b", Schedule: "*/5 * * * *", CatchUp: runner.CatchUpAll})
	begin := time.Now()
	now := func() time.Time { return begin.Add(600 * time.Since(begin)) }
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	killed, kill := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer kill()
	var all sync.WaitGroup
	for i, life := range []context.Context{ctx, killed, ctx} {
		db := first.DB
		if i > 0 {
			db = Open(t, url, key)
		}
		all.Go(func() { serveFast(life, t, db, now) })
	}
	all.Wait()
	checkFired(t, first.All(t, "app"), "a", time.Minute)
	checkFired(t, first.All(t, "app"), "b", 5*time.Minute)
}

// serveFast wakes a scheduler often: it does not know that its clock is fast.
func serveFast(ctx context.Context, t *testing.T, db *store.DB, now func() time.Time) {
	for ctx.Err() == nil {
		short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		if err := (&triggers.Timers{Store: db, Now: now, Most: 1000}).Serve(short); err != nil {
			t.Error(err)
		}
		stop()
	}
}

// checkFired: each time once, and none left out.
func checkFired(t *testing.T, all []triggers.Settled, timer string, every time.Duration) {
	t.Helper()
	var fired []time.Time
	for _, s := range all {
		if s.Cause.Timer.Name != timer {
			continue
		}
		at, err := time.Parse(time.RFC3339, s.Cause.Timer.Occurrence)
		if err != nil || !s.Decision.At.IsZero() {
			t.Errorf("%+v, %v", s, err)
		}
		fired = append(fired, at)
	}
	slices.SortFunc(fired, time.Time.Compare)
	if len(fired) < int(20*time.Minute/every) {
		t.Errorf("timer %s has fired %d times", timer, len(fired))
	}
	for i := 1; i < len(fired); i++ {
		if fired[i].Sub(fired[i-1]) != every {
			t.Errorf("timer %s has fired for %s", timer, fmt.Sprint(fired[i-1:i+1]))
		}
	}
}
