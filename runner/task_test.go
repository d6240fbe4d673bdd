package runner_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/runner"
	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

// canary is part of every secret here, and must be nowhere else.
const canary = "CANARY"

const dockerTask = `{
  "name": "build-web", "location": "eastus", "tags": {"team": "web"},
  "properties": {
    "status": "enabled", "platform": {"os": "Linux", "architecture": "arm64", "variant": "v8"}, "timeout": 600,
    "agentConfiguration": {"cpu": 2},
    "step": {"type": "Docker", "contextPath": "https://github.com/o/r.git#main", "contextAccessToken": "CANARY-context",
      "imageNames": ["web:{{.Run.ID}}"], "dockerFilePath": "Dockerfile", "target": "final", "noCache": true,
      "arguments": [{"name": "A", "value": "1"}, {"name": "S", "value": "CANARY-arg", "isSecret": true}]},
    "trigger": {
      "timerTriggers": [{"name": "t1", "schedule": "0 4 * * *"}],
      "sourceTriggers": [{"name": "s1", "sourceTriggerEvents": ["Commit"], "sourceRepository": {"sourceControlType": "github",
        "repositoryUrl": "https://github.com/o/r", "branch": "main",
        "sourceControlAuthProperties": {"tokenType": "PAT", "token": "CANARY-pat", "scope": "repo"}}}],
      "baseImageTrigger": {"name": "b1", "baseImageTriggerType": "Runtime", "updateTriggerEndpoint": "https://u:CANARY@h.example"}},
    "credentials": {"customRegistries": {
      "r.example": {"userName": {"value": "CANARY-user", "type": "Opaque"}, "password": {"value": "CANARY-password", "type": "Opaque"}},
      "v.example": {"userName": {"value": "https://v.vault.azure.net/secrets/u", "type": "Vaultsecret"}, "password": {"value": "https://v.vault.azure.net/secrets/p", "type": "Vaultsecret"}}}}}}`

func readTask(t *testing.T, text string) *runner.Task {
	t.Helper()
	task := new(runner.Task)
	if err := json.Unmarshal([]byte(text), task); err != nil {
		t.Fatal(err)
	}
	task.Normalize()
	return task
}

func TestTaskSecrets(t *testing.T) {
	task := readTask(t, dockerTask)
	if err := task.Check(); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{string(b), fmt.Sprintf("%v %+v %s", task.Step.ContextAccessToken, task.Step.ContextAccessToken, *task.Step.ContextAccessToken)} {
		if strings.Contains(shown, canary) {
			t.Errorf("secrets are shown: %s", shown)
		}
	}
	secrets := task.Secrets()
	want := []string{
		"argument S", "context https://github.com/o/r.git#main", "endpoint b1", "password r.example",
		"token s1 https://github.com/o/r", "user r.example",
	}
	if got := slices.Sorted(maps.Keys(secrets)); !slices.Equal(got, want) {
		t.Errorf("secrets are of %q, want %q", got, want)
	}
	back := readTask(t, string(b))
	back.SetSecrets(secrets)
	if diff := cmp.Diff(task, back); diff != "" {
		t.Errorf("through JSON and back (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(task, task.Clone()); diff != "" {
		t.Errorf("clone:\n%s", diff)
	}
}

// A secret goes only where it was given for.
func TestTaskSecretsKept(t *testing.T) {
	old := readTask(t, dockerTask)
	for _, c := range []struct {
		name   string
		change func(*runner.Task)
		want   []string // what is lost
	}{
		{"nothing", func(*runner.Task) {}, nil},
		{"another source", func(t *runner.Task) { t.Step.ContextPath = "https://evil.example/r.git" }, []string{"context"}},
		{"another repository", func(t *runner.Task) { t.Trigger.Sources[0].Repository.URL = "https://evil.example/r" }, []string{"token"}},
		{"explicitly none", func(t *runner.Task) { t.Step.ContextAccessToken = runner.NewSecret("") }, []string{"context"}},
		{"no longer secret", func(t *runner.Task) { t.Step.Arguments[1].IsSecret = false }, []string{"argument"}},
		{"no auth", func(t *runner.Task) { t.Trigger.Sources[0].Repository.Auth = nil }, []string{"token"}},
	} {
		b, err := json.Marshal(old)
		if err != nil {
			t.Fatal(err)
		}
		task := readTask(t, string(b))
		c.change(task)
		task.SetSecrets(old.Secrets())
		got := task.Secrets()
		var lost []string
		for k := range old.Secrets() {
			if _, ok := got[k]; !ok {
				lost = append(lost, strings.Fields(k)[0])
			}
		}
		if !slices.Equal(lost, c.want) {
			t.Errorf("%s: lost %q, want %q", c.name, lost, c.want)
		}
	}
}

func TestTaskRequest(t *testing.T) {
	task := readTask(t, dockerTask)
	req, err := task.Request(runner.Overrides{
		Target: "test", Arguments: []runner.Argument{{Name: "A", Value: "2"}, {Name: "S", Value: "new"}, {Name: "B", Value: "3"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := runner.Request{
		Task: "build-web", Platform: task.Platform, Source: "https://github.com/o/r.git#main", SourceToken: "CANARY-context", Timeout: 600 * time.Second,
		Values: map[string]string{}, SecretValues: map[string]string{},
		Build: &runner.BuildRequest{
			Flags:      []string{"--no-cache", "--target", "test", "--platform", "linux/arm64/v8", "--build-arg", "A=2", "--build-arg", "B=3"},
			SecretArgs: []string{"S=new"}, Tags: []string{"web:{{.Run.ID}}"}, Dockerfile: "Dockerfile", Push: true,
		},
		Credentials:      []steps.Credential{{Registry: "r.example", Username: "CANARY-user", Password: "CANARY-password"}},
		VaultCredentials: req.VaultCredentials,
	}
	if diff := cmp.Diff(want, req); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v := req.VaultCredentials; len(v) != 1 || v[0].Password != "https://v.vault.azure.net/secrets/p" || !v[0].PasswordVault {
		t.Errorf("vault credentials: %d", len(v))
	}
	req, err = task.Request(runner.Overrides{ContextPath: "https://github.com/fork/r.git", File: "other/Dockerfile"})
	if err != nil {
		t.Fatal(err)
	}
	if req.SourceToken != "" || req.Source != "https://github.com/fork/r.git" || req.Build.Dockerfile != "other/Dockerfile" {
		t.Errorf("another source: %q with token %q and file %q", req.Source, req.SourceToken, req.Build.Dockerfile)
	}
}

func TestTaskRequestFiles(t *testing.T) {
	file := readTask(t, `{"name": "files", "properties": {"platform": {"os": "linux"}, "step": {"type": "FileTask", "taskFilePath": "acb.yaml",
		"contextPath": "source/202601010000/x.tar.gz", "values": [{"name": "a", "value": "1"}, {"name": "s", "value": "2", "isSecret": true}]}}}`)
	req, err := file.Request(runner.Overrides{Values: []runner.Argument{{Name: "a", Value: "3"}}, File: "b.yaml", UpdateTriggerToken: "dG9r"})
	if err != nil {
		t.Fatal(err)
	}
	if req.Source != "upload:source/202601010000/x.tar.gz" || req.File != "b.yaml" || req.Values["a"] != "3" || req.SecretValues["s"] != "2" || req.UpdateTriggerToken != "dG9r" {
		t.Errorf("request %+v", req)
	}
	encoded := readTask(t, `{"name": "inline", "properties": {"platform": {"os": "linux"}, "step": {"type": "EncodedTask", "encodedTaskContent": "c3RlcHM6IFtdCg==", "contextPath": "/dev/null"}}}`)
	if req, err = encoded.Request(runner.Overrides{}); err != nil || string(req.Inline) != "steps: []\n" || req.Source != "" {
		t.Errorf("request %+v, %v", req, err)
	}
	if _, err = encoded.Request(runner.Overrides{File: "x"}); err == nil {
		t.Error("the file of an encoded task was overridden")
	}
}

func TestTaskCheck(t *testing.T) {
	task := readTask(t, `{"name": "a b", "properties": {"status": "On", "platform": {"os": "windows", "architecture": "mips"}, "timeout": 5,
		"step": {"type": "EncodedTask"}, "entitlements": ["root"],
		"trigger": {"timerTriggers": [{"name": "t", "schedule": "@daily"}, {"name": "t", "schedule": "* * * * *", "timeZone": "Local", "catchUp": "some", "overlap": "never"}, {"name": "u", "schedule": "* * * * *", "timeZone": "Europe/Berlin", "catchUp": "all", "overlap": "skip"}],
			"sourceTriggers": [{"name": "s", "sourceRepository": {"repositoryUrl": "here", "sourceControlType": "SVN"}}],
			"baseImageTrigger": {"baseImageTriggerType": "Some"}},
		"credentials": {"customRegistries": {"r.io": {"userName": {"value": "u", "type": "Magic"}}}}}}`)
	err := task.Check()
	faults, ok := err.(runner.Faults) //nolint:errorlint // the contract is the type itself
	if !ok {
		t.Fatalf("got %v, want Faults", err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, f.Code+" "+strings.TrimPrefix(f.Target, "properties."))
	}
	slices.Sort(got)
	want := []string{
		"InvalidProperty credentials.customRegistries[r.io].userName.type",
		"InvalidProperty entitlements",
		"InvalidProperty platform.architecture",
		"InvalidProperty platform.os",
		"InvalidProperty status",
		"InvalidProperty timeout",
		"InvalidProperty trigger.baseImageTrigger.baseImageTriggerType",
		"InvalidProperty trigger.sourceTriggers[0].sourceRepository.sourceControlType",
		"InvalidProperty trigger.timerTriggers[0].schedule",
		"InvalidProperty trigger.timerTriggers[1].catchUp",
		"InvalidProperty trigger.timerTriggers[1].name",
		"InvalidProperty trigger.timerTriggers[1].overlap",
		"InvalidProperty trigger.timerTriggers[1].timeZone",
		"InvalidRepositoryUrl trigger.sourceTriggers[0].sourceRepository.repositoryUrl",
		"InvalidResourceName name",
		"MissingRequiredProperty credentials.customRegistries[r.io].password",
		"MissingRequiredProperty step.encodedTaskContent",
		"MissingRequiredProperty trigger.baseImageTrigger.name",
		"MissingRequiredProperty trigger.sourceTriggers[0].sourceTriggerEvents",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A task file that travels with the task is checked with it.
	bad := readTask(t, `{"name": "inline", "properties": {"platform": {"os": "linux"}, "step": {"type": "EncodedTask", "encodedTaskContent": "c3RlcHM6IFt7aWQ6IGF9XQ=="}}}`)
	if err := bad.Check(); err == nil || !strings.Contains(err.Error(), "missing a cmd, build, or push") {
		t.Errorf("got %v, want the fault of the task file", err)
	}
}
