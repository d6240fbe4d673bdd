package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"acrd/triggers"
)

const timerTask = `{"location": "local", "properties": {"platform": {"os": "linux"}, "step": {"type": "EncodedTask", "encodedTaskContent": "c3RlcHM6IFtdCg=="},
	"trigger": {"timerTriggers": [{"name": "t1", "schedule": "SCHEDULE", "timeZone": "Europe/Berlin", "catchUp": "All", "overlap": "skip"}, {"name": "t2", "schedule": "0 0 31 2 *"}, {"name": "off", "schedule": "* * * * *", "status": "Disabled"}]}}}`

// TestTimers: what ACR does not have is left out where it is not said, and the
// list tells when timers fire.
func TestTimers(t *testing.T) {
	d := newDesk(t)
	path := root + "/tasks/with-timers"
	d.want(400, "PUT", path, strings.Replace(timerTask, "SCHEDULE", "0 0 * * 7", 1), `"code":"InvalidSchedule"`,
		`"target":"properties.trigger.timerTriggers[0].schedule"`, "7 is higher than the maximum allowable value for the [DayOfWeek] field.")
	d.want(400, "PUT", path, strings.Replace(timerTask, "SCHEDULE", "0 0 * *", 1), "It must contain 5 components of a schedule")
	d.want(400, "PUT", path, strings.Replace(strings.Replace(timerTask, "SCHEDULE", "0 0 * * *", 1), "Europe/Berlin", "Mars", 1),
		`"target":"properties.trigger.timerTriggers[0].timeZone"`)
	d.want(201, "PUT", path, strings.Replace(timerTask, "SCHEDULE", "0 5 * * *", 1),
		`{"name":"t1","schedule":"0 5 * * *","status":"Enabled","timeZone":"Europe/Berlin","catchUp":"all","overlap":"skip"},{"name":"t2","schedule":"0 0 31 2 *","status":"Enabled"},`)
	d.want(404, "GET", root+"/tasks/without/timers", "", "not found")

	// A day later, as far as the timers know.
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	timers := &triggers.Timers{Store: d.runs, Now: func() time.Time { return time.Now().Add(25 * time.Hour) }}
	if err := timers.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	text := d.want(200, "GET", path+"/timers", "", `{"name":"t1",`, `"nextFire":"`, `"lastFire":"`, `{"name":"t2","schedule":"0 0 31 2 *","status":"Enabled"}`, `{"name":"off","schedule":"* * * * *","status":"Disabled"}`)
	if strings.Count(text, "nextFire") != 1 {
		t.Errorf("timers: %s", text)
	}
}
