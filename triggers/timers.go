package triggers

import (
	"net/url"
	"time"

	"acrd/runner"
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
