package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"acrd/internal/api"
	"acrd/runner"
	"acrd/steps"
)

const encodedTask = `{"properties": {"step": {"type": "EncodedTask", "encodedTaskContent": "c3RlcHM6IFtdCg=="}}}`

func TestVersions(t *testing.T) {
	d := newDesk(t)
	for version, status := range map[string]int{
		"": http.StatusOK, "?api-version=2018-09-01": http.StatusOK, "?api-version=2019-06-01-preview": http.StatusOK, "?api-version=2025-03-01-preview": http.StatusOK,
		"?api-version=": http.StatusBadRequest, "?api-version=latest": http.StatusBadRequest, "?api-version=2019-6-1": http.StatusBadRequest,
	} {
		text := d.want(status, "GET", root+"/runs"+version, "")
		if status != http.StatusOK && !strings.Contains(text, "InvalidApiVersionParameter") {
			t.Errorf("%s: %s", version, text)
		}
	}
}

func TestPaths(t *testing.T) {
	d := newDesk(t)
	d.want(200, "GET", strings.ToLower(root)+"/taskruns", "", `"value":[]`)
	d.want(200, "GET", strings.ToUpper(root)+"/RUNS", "", `"value":[]`)
	d.want(201, "PUT", root+"/tasks/Tasks-Runs", encodedTask, `"name":"Tasks-Runs"`) // a name is a name
	d.want(200, "GET", root+"/TASKS/Tasks-Runs", "")
	d.want(404, "GET", root+"/tasks/tasks-runs", "", "ResourceNotFound")
	d.want(404, "GET", root+"/agentPools", "", "ResourceNotFound")
	d.want(405, "DELETE", root+"/runs", "", "MethodNotAllowed")
	_, header, _ := d.ask("GET", root, "")
	if header.Get("X-Ms-Request-Id") == "" {
		t.Error("an answer has no request id")
	}
	d.want(200, "GET", "/subscriptions/s/providers/Microsoft.ContainerRegistry/registries", "", `"loginServer":"localhost:5000"`)
	d.want(200, "GET", "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries", "", `/resourceGroups/g/`)
}

// TestFaults wants ARM's error with everything that is wrong.
func TestFaults(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               []string
	}{
		{"POST", "/scheduleRun", `{`, 400, []string{`"code":"InvalidRequestContent"`}},
		{"POST", "/scheduleRun", `{"type": 1}`, 400, []string{`"target":"type"`}},
		{"POST", "/scheduleRun", `{"type": "Magic"}`, 400, []string{`"code":"InvalidRunRequestType"`, "TaskRunRequest"}},
		{"POST", "/scheduleRun", `{"type": "FileTaskRunRequest", "timeout": 5, "platform": {"os": "Windows"}}`, 400, []string{
			`"code":"BadRequest"`, `"target":"taskFilePath"`, `"target":"timeout"`, `"target":"platform.os"`,
		}},
		{"POST", "/scheduleRun", `{"type": "EncodedTaskRunRequest", "encodedTaskContent": "%"}`, 400, []string{"not base64"}},
		{"POST", "/scheduleRun", `{"type": "EncodedTaskRunRequest", "encodedTaskContent": "c3RlcHM6IFt7aWQ6IGF9LCB7aWQ6IGJ9XQ=="}`, 400, []string{
			`"code":"InvalidTaskFile"`, `"target":"task.yaml:1"`, "Fault 2",
		}},
		{"POST", "/scheduleRun", `{"type": "FileTaskRunRequest", "taskFilePath": "a", "sourceLocation": "source/202601010000/00000000-0000-0000-0000-000000000000.tar.gz"}`, 400, []string{`"code":"InvalidSourceLocation"`}},
		{"POST", "/scheduleRun", `{"type": "FileTaskRunRequest", "taskFilePath": "a", "sourceLocation": "source/../../etc/passwd"}`, 400, []string{`"code":"InvalidSourceLocation"`}},
		{"POST", "/scheduleRun", `{"type": "TaskRunRequest", "taskId": "/x/tasks/none-such"}`, 404, []string{"task none-such: not found"}},
		{"PUT", "/tasks/x", `{"properties": {}}`, 400, []string{`"code":"InvalidResourceName"`, `"target":"properties.step.type"`}},
		{"PUT", "/tasks/task-name", `{"properties": {"timeout": "long"}}`, 400, []string{`timeout`}},
		{"PATCH", "/tasks/none-such", `{}`, 404, []string{"ResourceNotFound"}},
		{"PUT", "/taskRuns/a_b", `{"properties": {"runRequest": {"type": "EncodedTaskRunRequest", "encodedTaskContent": "c3RlcHM6IFtdCg=="}}}`, 400, []string{`"code":"InvalidResourceName"`}},
		{"PUT", "/taskRuns/task-run", `{}`, 400, []string{`"target":"properties.runRequest"`}},
		{"GET", "/runs/ca99", ``, 404, []string{"ResourceNotFound"}},
		{"GET", "/runs?$top=0", ``, 400, []string{`"target":"$top"`}},
		{"GET", "/runs?$skipToken=abc", ``, 400, []string{`"target":"$skipToken"`}},
		{"POST", "/runs/ca99/cancel", ``, 404, []string{"ResourceNotFound"}},
		{"POST", "/runs/ca99/listLogSasUrl", ``, 404, []string{"ResourceNotFound"}},
	} {
		says := c.says
		if says[len(says)-1] == "Fault 2" { // both faults of the file
			text := d.want(c.status, c.method, root+c.path, c.body, says[:len(says)-1]...)
			if n := strings.Count(text, "InvalidTaskFile"); n != 2 {
				t.Errorf("%d faults of the file: %s", n, text)
			}
			continue
		}
		d.want(c.status, c.method, root+c.path, c.body, says...)
	}
}

// TestPatch says what absent and null mean.
func TestPatch(t *testing.T) {
	d := newDesk(t)
	path := root + "/tasks/patch-me"
	d.want(201, "PUT", path, `{"location": "eastus", "tags": {"a": "1", "b": "2"}, "properties": {
		"agentPoolName": "pool", "step": {"type": "Docker", "dockerFilePath": "Dockerfile", "contextPath": "https://h.example/r.git", "contextAccessToken": "CANARY",
			"imageNames": ["a:1", "b:1"], "target": "t", "arguments": [{"name": "A", "value": "1"}, {"name": "S", "value": "CANARY", "isSecret": true}]},
		"trigger": {"timerTriggers": [{"name": "t1", "schedule": "1 * * * *"}, {"name": "t2", "schedule": "2 * * * *"}],
			"baseImageTrigger": {"name": "b", "baseImageTriggerType": "All"}},
		"credentials": {"customRegistries": {"r.example": {"userName": {"value": "u"}, "password": {"value": "CANARY", "type": "Opaque"}}}}}}`)
	for _, c := range []struct {
		patch    string
		has, not []string
	}{
		{`{}`, []string{`"agentPoolName":"pool"`, `"target":"t"`, `"a":"1"`, `"eastus"`}, nil},
		{`{"tags": {"a": "3", "b": null}}`, []string{`"a":"3"`}, []string{`"b":"2"`}},
		{`{"properties": {"agentPoolName": null}}`, nil, []string{"agentPoolName"}},
		{`{"properties": {"step": {"type": "Docker", "target": null, "imageNames": ["c:1"]}}}`, []string{`"imageNames":["c:1"]`, `"dockerFilePath":"Dockerfile"`}, []string{`"target"`}},
		{`{"properties": {"trigger": {"timerTriggers": [{"name": "t2", "status": "Disabled"}, {"name": "t3", "schedule": "3 * * * *"}]}}}`, []string{
			`{"name":"t1","schedule":"1 * * * *","status":"Enabled"},{"name":"t2","schedule":"2 * * * *","status":"Disabled"},{"name":"t3"`, `"baseImageTriggerType":"All"`,
		}, nil},
		{`{"properties": {"trigger": {"baseImageTrigger": null}}}`, []string{`"t3"`}, []string{"baseImageTrigger"}},
		{`{"properties": {"step": {"type": "EncodedTask", "encodedTaskContent": "c3RlcHM6IFtdCg=="}}}`, []string{"c3RlcHM6IFtdCg=="}, []string{"dockerFilePath", "h.example"}},
		{`{"properties": {"credentials": {"customRegistries": {"r.example": null}}}}`, nil, []string{"r.example"}},
	} {
		text := d.want(200, "PATCH", path, c.patch, c.has...)
		for _, not := range append(c.not, "CANARY") {
			if strings.Contains(text, not) {
				t.Errorf("%s: %s: has %s", c.patch, text, not)
			}
		}
	}
}

// A client that writes back what it has read keeps the secrets, and an
// unchanged task stays as old as it is.
func TestReadWriteBack(t *testing.T) {
	d := newDesk(t)
	path := root + "/tasks/write-back"
	d.want(201, "PUT", path, `{"properties": {"step": {"type": "Docker", "dockerFilePath": "Dockerfile", "contextPath": "https://h.example/r.git",
		"imageNames": ["a:1"], "arguments": [{"name": "S", "value": "CANARY", "isSecret": true}]}}}`)
	_, _, before := d.ask("POST", path+"/listDetails", "")
	after := d.want(200, "PUT", path, before)
	if before != after {
		t.Errorf("written back: %s, was %s", after, before)
	}
	stored, err := d.api.Tasks.Task(t.Context(), "write-back")
	if err != nil || stored.Step.Arguments[0].Value != "CANARY" {
		t.Errorf("the secret is gone: %v", err)
	}
	d.want(200, "PUT", path, strings.Replace(before, `"timeout":3600`, `"timeout":900`, 1))
	if now, _ := d.api.Tasks.Task(t.Context(), "write-back"); !now.Updated.After(stored.Updated) {
		t.Error("a changed task is not newer")
	}
}

func TestTaskPages(t *testing.T) {
	d := newDesk(t)
	const n = 230
	for i := range n {
		name := "task-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		_, err := d.api.Tasks.ChangeTask(t.Context(), name, func(*runner.Task) (*runner.Task, error) { return &runner.Task{Name: name}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	seen, pages := map[string]bool{}, 0
	for link := root + "/tasks"; link != ""; pages++ {
		var p struct {
			Value    []struct{ Name string }
			NextLink string
		}
		_, _, text := d.ask("GET", link, "")
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		for _, one := range p.Value {
			seen[one.Name] = true
		}
		link = strings.TrimPrefix(p.NextLink, d.server.URL)
	}
	if len(seen) != n || pages != 3 {
		t.Errorf("%d tasks in %d pages, want %d in 3", len(seen), pages, n)
	}
}

// TestUploads puts archives the ways that Azure's storage clients do.
func TestUploads(t *testing.T) {
	d := newDesk(t)
	address := func() (url, path string) {
		var got struct{ UploadURL, RelativePath string }
		_, _, text := d.ask("POST", root+"/listBuildSourceUploadUrl", "")
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^source/\d{12}/[0-9a-f-]{36}\.tar\.gz$`).MatchString(got.RelativePath) {
			t.Errorf("path %s", got.RelativePath)
		}
		return got.UploadURL, got.RelativePath
	}
	put := func(url, body string, header map[string]string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := d.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	content := func(path string) string {
		f, err := d.api.Archives.Open(path)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(f)
		return b.String()
	}
	url, path := address()
	blob := map[string]string{"X-Ms-Blob-Type": "BlockBlob", "X-Ms-Version": "2021-08-06"}
	if got := put(url, "whole", blob); got != 201 || content(path) != "whole" {
		t.Errorf("whole: %d %q", got, content(path))
	}
	if got := put(url, "again", nil); got != 201 || content(path) != "again" {
		t.Errorf("again: %d %q", got, content(path))
	}
	url, path = address()
	for id, text := range map[string]string{"QQ==": "one,", "Qg==": "two,", "Qw==": "never listed"} {
		if got := put(url+"&comp=block&blockid="+id, text, nil); got != 201 {
			t.Errorf("block %s: %d", id, got)
		}
	}
	list := func(ids ...string) string {
		text := `<?xml version="1.0" encoding="utf-8"?><BlockList>`
		for _, id := range ids {
			text += "<Latest>" + id + "</Latest>"
		}
		return text + "</BlockList>"
	}
	if got := put(url+"&comp=blocklist", list("QQ==", "Zg=="), nil); got != 400 {
		t.Errorf("a list with a block that is not there: %d", got)
	}
	if got := put(url+"&comp=blocklist", list("Qg==", "QQ==", "Qg=="), nil); got != 201 || content(path) != "two,one,two," {
		t.Errorf("blocks: %d %q", got, content(path))
	}
	url, path = address()
	big := strings.Repeat("x", 1<<20+1)
	for what, got := range map[string]int{
		"wrong signature":   put(strings.Replace(url, "sig=", "sig=A", 1), "x", blob),
		"another path":      put(strings.Replace(url, ".tar.gz", "0.tar.gz", 1), "x", blob),
		"later expiry":      put(strings.Replace(url, "se=1", "se=2", 1), "x", blob),
		"no query":          put(strings.Split(url, "?")[0], "x", blob),
		"climbing":          put(strings.Replace(url, "/uploads/source/", "/uploads/source/..%2f..%2f", 1), "x", blob),
		"page blob":         put(url, "x", map[string]string{"X-Ms-Blob-Type": "PageBlob"}),
		"too large":         put(url, big, blob),
		"block too large":   put(url+"&comp=block&blockid=QQ==", big, nil),
		"not a known thing": put(url+"&comp=lease", "x", nil),
		"not XML":           put(url+"&comp=blocklist", "x", nil),
	} {
		if got < 400 || got >= 500 {
			t.Errorf("%s: %d", what, got)
		}
	}
	if _, err := d.api.Archives.Open(path); err == nil {
		t.Error("a refused upload has left something")
	}
	if _, err := d.api.Archives.Sweep(time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := d.api.Archives.Open(path); err == nil {
		t.Error("a swept archive is there")
	}
}

// failing is a runner that does not take anything.
type failing struct {
	*runner.Runner
	err error
}

func (f failing) Submit(context.Context, runner.Request) (*runner.Run, error) { return nil, f.err }

func TestFailures(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		err    error
		status int
		says   string
	}{
		{runner.ErrDraining, 503, "ServiceUnavailable"},
		{errors.New("the password is hunter2"), 500, "its log says why"},
		{fmt.Errorf("write /var/hunter2: %w", runner.ErrNoSpace), 507, "no space is left"},
		{fmt.Errorf("dial hunter2: %w", runner.ErrUnavailable), 503, "does not answer"},
	} {
		d.api.Runs = failing{nil, c.err}
		text := d.want(c.status, "POST", root+"/scheduleRun", `{"type": "EncodedTaskRunRequest", "encodedTaskContent": "c3RlcHM6IFtdCg=="}`, c.says)
		if strings.Contains(text, "hunter2") {
			t.Errorf("the inside is told: %s", text)
		}
	}
}

// TestQueue: a limit of a task holds its runs back, and each says its place.
func TestQueue(t *testing.T) {
	d := newDesk(t)
	free := make(chan struct{})
	d.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error {
		<-free
		return nil
	}
	d.want(201, "PUT", root+"/tasks/one-at-a-time", `{"properties": {"concurrency": 1, "step": {"type": "EncodedTask", "encodedTaskContent": "c3RlcHM6IFt7Y21kOiBhfV0="}}}`)
	var ids []string
	for range 3 {
		var run api.Run
		text := d.want(200, "POST", root+"/scheduleRun", `{"type": "TaskRunRequest", "taskId": "one-at-a-time"}`)
		if err := json.Unmarshal([]byte(text), &run); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, run.Properties.RunID)
	}
	d.await(ids[0], runner.Running)
	d.want(200, "GET", root+"/runs/"+ids[1], "", `"status":"Queued"`, `"queuePosition":1`)
	d.want(200, "GET", root+"/runs/"+ids[2], "", `"status":"Queued"`, `"queuePosition":2`)
	close(free)
	for _, id := range ids {
		d.await(id, runner.Succeeded)
	}
	text := d.want(200, "POST", root+"/runs/"+ids[0]+"/rerun", "", `"task":"one-at-a-time"`, `"runType":"AutoRun"`)
	if strings.Contains(text, `"runId":"`+ids[0]+`"`) {
		t.Errorf("run again: %s", text)
	}
}

// await waits for a status of a run.
func (d *desk) await(id string, want runner.Status) {
	d.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if run, err := d.api.Records.Run(d.Context(), id); err == nil && run.Status == want {
			return
		}
	}
	d.Fatalf("run %s is not %s", id, want)
}

// What the owner has granted, others do not get by asking for it again, or with
// another source.
func TestGrantedOnce(t *testing.T) {
	d := newDesk(t)
	stranger := httptest.NewServer(d.api.Handler()) // nobody is the owner here
	defer stranger.Close()
	d.server.Close()
	d.server = stranger
	run, err := d.api.Runs.Submit(t.Context(), runner.Request{Inline: []byte("steps: []"), Allow: []string{"network.host"}})
	if err != nil {
		t.Fatal(err)
	}
	d.want(403, "POST", root+"/runs/"+run.ID+"/rerun", "", "AuthorizationFailed")
	_, err = d.api.Tasks.ChangeTask(t.Context(), "granted", func(*runner.Task) (*runner.Task, error) {
		return &runner.Task{Name: "granted", TaskSpec: runner.TaskSpec{Allow: []string{"network.host"}, Step: runner.TaskStep{Type: runner.EncodedTaskStep, Content: []byte("steps: []")}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := `{"type": "TaskRunRequest", "taskId": "granted", "overrideTaskStepProperties": {`
	d.want(403, "POST", root+"/scheduleRun", ask+`"contextPath": "https://evil.example/r.git"}}`, "AuthorizationFailed")
	d.want(200, "POST", root+"/scheduleRun", ask+`"values": [{"name": "a", "value": "b"}]}}`)
	d.want(403, "POST", root+"/scheduleRun", `{"type": "TaskRunRequest", "taskId": "granted", "entitlements": ["device"]}`, "AuthorizationFailed")
}
