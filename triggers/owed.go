package triggers

import (
	"fmt"
	"time"

	"acrd/runner"
)

// An owed is what a timer has to deal with at a moment.
type owed struct {
	was, state TimerState
	// times are to fire, missed is the last of those that are not, and first
	// the first of them; missed is zero if there are none.
	times         []time.Time
	first, missed time.Time
}

// owed finds the times that have come since the timer has last dealt with one,
// and which of them its CatchUp lets fire.
func (t *Timers) owed(schedule *Schedule, s TimerState, now time.Time) owed {
	o := owed{was: s, state: s}
	if s.since().After(now.Add(wrongClock)) {
		t.log().Warn("timer begins anew: it has fired for a time that is far ahead, so the clock was wrong then", "task", s.Task, "timer", s.Timer.Name, "time", s.since())
		o.state.Since, o.state.Last = now, time.Time{}
		return o
	}
	deadline := t.Deadline
	if deadline == 0 {
		deadline = 24 * time.Hour
	}
	from := latest(s.since(), now.Add(-deadline).Add(-time.Nanosecond))
	if first := schedule.Next(s.since()); !first.IsZero() && !first.After(from) {
		o.first, o.missed = first, first
	}
	var times []time.Time
	for at := schedule.Next(from); !at.IsZero() && !at.After(now); at = schedule.Next(at) {
		times = append(times, at)
	}
	if s.Held && len(times) == 0 {
		times, o.first, o.missed = []time.Time{s.Next}, time.Time{}, time.Time{}
	}
	fire := t.catchUp(s, times, now)
	for _, at := range times[:len(times)-fire] {
		if o.first.IsZero() {
			o.first = at
		}
		o.missed = at
	}
	o.times = times[len(times)-fire:]
	return o
}

// catchUp is how many of the times fire, the newest ones.
func (t *Timers) catchUp(s TimerState, times []time.Time, now time.Time) int {
	most := t.Most
	if most == 0 {
		most = 10
	}
	switch {
	case len(times) == 0:
		return 0
	case s.Timer.CatchUp == runner.CatchUpSkip && !s.Held && now.Sub(times[len(times)-1]) > punctual:
		return 0
	case s.Timer.CatchUp == runner.CatchUpAll && (s.Timer.Overlap == "" || s.Timer.Overlap == runner.OverlapAllow):
		return min(most, len(times))
	}
	return 1
}

// move is the step that deals with what is owed, while runs of the timer have
// not ended.
func (o owed) move(runs busy, now time.Time) TimerMove {
	m := TimerMove{From: o.was, To: o.state}
	if len(o.times) == 0 && o.missed.IsZero() {
		return m
	}
	if len(o.times) > 0 && runs.any() && o.state.Timer.Overlap == runner.OverlapQueue {
		if !m.To.Held {
			m.To.Held, m.To.Next = true, o.times[0]
		}
		return m
	}
	m.To.Held = false
	m.To.Last = o.missed
	if !o.missed.IsZero() {
		m.Skip = append(m.Skip, o.skip(o.missed, o.missedWhy(), now))
	}
	for _, at := range o.times {
		m.To.Last = at
		if runs.any() && o.state.Timer.Overlap == runner.OverlapSkip {
			m.Skip = append(m.Skip, o.skip(at, "skipped: "+runs.String(), now))
			continue
		}
		m.To.Fired = at
		m.Fire = append(m.Fire, o.intent(at, now))
	}
	return m
}

func (o owed) missedWhy() string {
	if o.state.Held {
		return "skipped: a later time has come before the timer's run had ended"
	}
	if o.first.Equal(o.missed) {
		return "skipped: the time was missed"
	}
	return fmt.Sprintf("skipped: the times from %s to %s were missed", o.first.Format(time.RFC3339), o.missed.Format(time.RFC3339))
}

func (o owed) intent(at, now time.Time) Intent {
	s := o.state
	return Intent{
		Task: s.Task, Kind: Timer, Key: TimerKey(s.Timer.Name, at), At: now, Reason: timerReason(s, at, now),
		Cause: &runner.Cause{Timer: &runner.TimerCause{Name: s.Timer.Name, Occurrence: at.UTC().Format(time.RFC3339)}},
	}
}

func (o owed) skip(at time.Time, why string, now time.Time) Settled {
	return Settled{o.intent(at, now), Decision{Why: why, At: now}}
}
