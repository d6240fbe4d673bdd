package runner_test

import (
	"testing"
	"time"

	"acrd/eventing"
	"acrd/runner"
	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

func TestNewRunEvent(t *testing.T) {
	at, three := time.Now(), 3
	queued := &runner.Run{
		ID: "ca1", Type: runner.AutoRun, Status: runner.Queued, Updated: at, LogURL: "https://acrd/runs/ca1/log",
		Request: runner.Request{Task: "nightly", Values: map[string]string{"password": "s3cr3t"}, SourceToken: "s3cr3t"},
	}
	failed := queued.Clone()
	failed.Status, failed.Attempt, failed.Err, failed.FailedStep, failed.ExitCode = runner.Failed, 1, "step test: exit code 3", "test", &three
	succeeded := failed.Clone()
	succeeded.Status, succeeded.Err, succeeded.FailedStep, succeeded.ExitCode = runner.Succeeded, "", "", nil
	succeeded.Pushed = []*steps.Pushed{{Ref: "localhost:5000/app:v1", Digest: "sha256:1"}}
	alone := queued.Clone()
	alone.Request.Task = ""
	const begin, log = `{"runId":"ca1","runType":"AutoRun",`, `"logLink":"https://acrd/runs/ca1/log"}`
	for _, tt := range []struct {
		what, kind, key, data string
		run                   *runner.Run
	}{
		{eventing.RunQueued, "Acrd.RunQueued", "nightly", begin + `"task":"nightly","status":"Queued",` + log, queued},
		{eventing.RunQueued, "Acrd.RunQueued", "ca1", begin + `"status":"Queued",` + log, alone},
		{
			runner.RunFinished, "Acrd.RunFailed", "nightly",
			begin + `"task":"nightly","status":"Failed","attempt":1,"runErrorMessage":"step test: exit code 3","failedStep":"test","exitCode":3,` + log, failed,
		},
		{
			runner.RunFinished, "Acrd.RunSucceeded", "nightly",
			begin + `"task":"nightly","status":"Succeeded","attempt":1,"outputImages":[{"ref":"localhost:5000/app:v1","digest":"sha256:1"}],` + log, succeeded,
		},
	} {
		e := runner.NewRunEvent(tt.what, tt.run)
		if len(e.ID) != 36 {
			t.Errorf("the id %s is no GUID", e.ID)
		}
		e.ID = ""
		want := eventing.Event{Type: tt.kind, Subject: "ca1", Key: tt.key, Time: at, Data: []byte(tt.data)}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, diff)
		}
	}
}
