package triggers_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acrd/runner"
	"acrd/triggers"
	"acrd/triggers/triggerstest"

	"github.com/google/go-cmp/cmp"
)

// serve lets timers fire for a while.
func serve(t *testing.T, timers *triggers.Timers, d time.Duration) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	if err := timers.Serve(ctx); err != nil {
		t.Fatal(err)
	}
}

// what lists what timers made, as the time, and ! if it is not to run.
func what(m *triggerstest.Memory) []string {
	var all []string
	for _, s := range m.All() {
		_, at, _ := strings.Cut(strings.TrimPrefix(s.Key, "timer/"), "/")
		at = strings.TrimSuffix(strings.TrimPrefix(at, "2000-01-"), ":00Z")
		if !s.Decision.At.IsZero() && s.Run == "" {
			at = "!" + at
		}
		all = append(all, at)
	}
	return all
}

func check(t *testing.T, m *triggerstest.Memory, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, what(m)); diff != "" {
		t.Errorf("intents (-want +got):\n%s", diff)
	}
}

func timer(schedule string) runner.TimerTrigger {
	return runner.TimerTrigger{Name: "t", Schedule: schedule, Status: runner.Enabled}
}

func TestTimersFireOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(triggerstest.Memory)
		time.Sleep(90 * time.Second)
		m.SaveTimers("app", time.Now().UTC(), timer("*/15 * * * *"))
		serve(t, &triggers.Timers{Store: m}, time.Hour)
		check(t, m, "01T00:15", "01T00:30", "01T00:45", "01T01:00")
		for _, s := range m.All() {
			if want := s.Cause.Timer.Occurrence; s.Intent.At.Format(time.RFC3339) != want {
				t.Errorf("the time %s fired at %s", want, s.Intent.At)
			}
		}
		want := triggers.Intent{
			Task: "app", Kind: triggers.Timer, Key: "timer/t/2000-01-01T00:15:00Z", At: time.Date(2000, 1, 1, 0, 15, 0, 0, time.UTC),
			Reason: "timer t (*/15 * * * * UTC) at 2000-01-01T00:15:00Z",
			Cause:  &runner.Cause{Timer: &runner.TimerCause{Name: "t", Occurrence: "2000-01-01T00:15:00Z"}},
		}
		if diff := cmp.Diff(want, m.All()[0].Intent); diff != "" {
			t.Errorf("intent (-want +got):\n%s", diff)
		}
	})
}

// Several timers of a task that come at the same time each fire, as ACR's do.
func TestTimersCoincide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(triggerstest.Memory)
		a, b, off := timer("0 1 * * *"), timer("0 */1 * * *"), timer("* * * * *")
		a.Name, b.Name, off.Name, off.Status = "a", "b", "off", runner.Disabled
		m.SaveTimers("app", time.Now().UTC(), a, b, off)
		serve(t, &triggers.Timers{Store: m}, 61*time.Minute)
		check(t, m, "01T01:00", "01T01:00")
	})
}

// A timer that is saved while Serve sleeps fires in time all the same.
func TestTimersAreSavedWhileServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(triggerstest.Memory)
		go func() {
			time.Sleep(59 * time.Second)
			m.SaveTimers("app", time.Now().UTC(), timer("* * * * *"))
		}()
		serve(t, &triggers.Timers{Store: m}, 61*time.Second)
		check(t, m, "01T00:01")
		if late := m.All()[0].Intent.At.Sub(time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC)); late > 0 {
			t.Errorf("it was %s late", late)
		}
	})
}

func TestCatchUp(t *testing.T) {
	for _, test := range []struct {
		name, catchUp string
		away          time.Duration
		most          int
		deadline      time.Duration
		want          []string
	}{
		{name: "the latest is the default", away: 190 * time.Minute, want: []string{"!01T02:00", "01T03:00"}},
		{name: "one", away: 90 * time.Minute, want: []string{"01T01:00"}},
		{name: "none", away: 50 * time.Minute},
		{name: "skip", catchUp: runner.CatchUpSkip, away: 190 * time.Minute, want: []string{"!01T03:00"}},
		{name: "skip, but in time", catchUp: runner.CatchUpSkip, away: 181 * time.Minute, want: []string{"!01T02:00", "01T03:00"}},
		{name: "all", catchUp: runner.CatchUpAll, away: 190 * time.Minute, want: []string{"01T01:00", "01T02:00", "01T03:00"}},
		{name: "all, but at most two", catchUp: runner.CatchUpAll, most: 2, away: 250 * time.Minute, want: []string{"!01T02:00", "01T03:00", "01T04:00"}},
		{name: "all, but none too late", catchUp: runner.CatchUpAll, deadline: 100 * time.Minute, away: 250 * time.Minute, want: []string{"!01T01:00", "01T03:00", "01T04:00"}},
		{name: "latest, but not too late", deadline: 5 * time.Minute, away: 190 * time.Minute, want: []string{"!01T01:00"}},
		{name: "a long time", away: 72 * time.Hour, want: []string{"!03T23:00", "04T00:00"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := new(triggerstest.Memory)
				one := timer("0 * * * *")
				one.CatchUp = test.catchUp
				m.SaveTimers("app", time.Now().UTC(), one)
				time.Sleep(test.away)
				serve(t, &triggers.Timers{Store: m, Most: test.most, Deadline: test.deadline}, time.Minute)
				check(t, m, test.want...)
			})
		})
	}
}

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		overlap   string
		want      []string
		cancelled []string
	}{
		{runner.OverlapAllow, []string{"01T01:00", "01T02:00", "01T03:00", "01T04:00"}, nil},
		{runner.OverlapSkip, []string{"01T01:00", "!01T02:00", "!01T03:00", "01T04:00"}, nil},
		{runner.OverlapQueue, []string{"01T01:00", "!01T02:00", "01T03:00"}, nil}, // whose run has not begun at 04:00
		{runner.OverlapReplace, []string{"01T01:00", "!01T02:00", "01T03:00", "01T04:00"}, []string{"ca1"}},
	} {
		t.Run(test.overlap, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := new(triggerstest.Memory)
				one := timer("0 * * * *")
				one.Overlap = test.overlap
				m.SaveTimers("app", time.Now().UTC(), one)
				go func() { // the run of 01:00 lasts until 03:30
					time.Sleep(61 * time.Minute)
					if err := m.StartRun(t.Context(), "ca1", "app", "timer/t/2000-01-01T01:00:00Z"); err != nil {
						t.Error(err)
					}
					time.Sleep(149 * time.Minute)
					m.EndRun("ca1")
					for _, s := range m.All() { // what is left are runs that have ended
						if s.Decision.At.IsZero() {
							_ = m.StartRun(t.Context(), s.Key, "app", s.Key)
							m.EndRun(s.Key)
						}
					}
				}()
				var cancelled []string
				serve(t, &triggers.Timers{Store: m, Cancel: func(_ context.Context, run string) error {
					cancelled = append(cancelled, run)
					m.EndRun(run)
					return nil
				}}, 4*time.Hour+time.Minute)
				check(t, m, test.want...)
				if !slices.Equal(cancelled, test.cancelled) {
					t.Errorf("cancelled %v, want %v", cancelled, test.cancelled)
				}
			})
		})
	}
}

// A time that was queued fires as soon as the run has ended, and says so.
func TestQueuedTimerFires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(triggerstest.Memory)
		one := timer("0 * * * *")
		one.Overlap = runner.OverlapQueue
		m.SaveTimers("app", time.Now().UTC(), one)
		go func() {
			time.Sleep(61 * time.Minute)
			_ = m.StartRun(t.Context(), "ca1", "app", "timer/t/2000-01-01T01:00:00Z")
			time.Sleep(74 * time.Minute)
			m.EndRun("ca1")
		}()
		serve(t, &triggers.Timers{Store: m}, 150*time.Minute)
		check(t, m, "01T01:00", "01T02:00")
		last := m.All()[1]
		if want := time.Date(2000, 1, 1, 2, 15, 0, 0, time.UTC); !last.Intent.At.Equal(want) {
			t.Errorf("fired at %s, want %s", last.Intent.At, want)
		}
	})
}

// setClock is a clock that can be set.
type setClock struct{ offset time.Duration }

func (c *setClock) now() time.Time { return time.Now().Add(c.offset) }

func TestClockIsSet(t *testing.T) {
	for _, test := range []struct {
		name string
		by   time.Duration
		want []string
	}{
		{"an hour ahead", time.Hour, []string{"01T01:00", "01T02:00", "01T03:00"}},
		{"two hours ahead", 2 * time.Hour, []string{"01T01:00", "!01T02:00", "01T03:00", "01T04:00"}},
		{"two hours back", -2 * time.Hour, []string{"01T01:00"}},
		{"a year back", -365 * 24 * time.Hour, []string{"01T01:00", "1999-01-01T02:00"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := new(triggerstest.Memory)
				m.SaveTimers("app", time.Now().UTC(), timer("0 * * * *"))
				c := &setClock{}
				go func() {
					time.Sleep(70 * time.Minute) // 01:10
					c.offset = test.by
				}()
				serve(t, &triggers.Timers{Store: m, Now: c.now}, 135*time.Minute)
				check(t, m, test.want...)
			})
		})
	}
}

// A clock that was far ahead when a timer was armed does not hold it back.
func TestClockWasWrongAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(triggerstest.Memory)
		c := &setClock{offset: 10 * 365 * 24 * time.Hour}
		m.SaveTimers("app", c.now().UTC(), timer("0 5 * * *"))
		serve(t, &triggers.Timers{Store: m, Now: c.now}, time.Minute)
		c.offset = 0
		serve(t, &triggers.Timers{Store: m, Now: c.now}, 6*time.Hour)
		check(t, m, "01T05:00")
	})
}
