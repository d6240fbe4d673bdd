package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

// jsonOf runs a command that prints JSON.
func (d *desk) jsonOf(args ...string) map[string]any {
	d.Helper()
	code, out, errs := d.acrd(append(args, "-o", "json")...)
	if code != exitOK {
		d.Fatalf("acrd %v: exit code %d: %s%s", args, code, errs, out)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		d.Fatalf("acrd %v: %v: %s", args, err, out)
	}
	return v
}

// at is what is in a document at a path like step.arguments.0.name.
func at(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch inner := v.(type) {
		case map[string]any:
			v = inner[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(inner) {
				return nil
			}
			v = inner[i]
		default:
			return nil
		}
	}
	return v
}

// TestTaskFlags says what each flag of task create does, the defaults first.
func TestTaskFlags(t *testing.T) {
	d := newDesk(t)
	d.env["FROM_ENV"] = "env"
	dir := d.project(map[string]string{"local.yaml": "steps: []\n", "values.yaml": "a: b\n"})
	git := []string{"-c", "https://github.com/o/r.git#dev:sub", "-f", "Dockerfile", "-t", "app:{{.Run.ID}}"}
	inline := []string{"-c", "/dev/null", "--cmd", "busybox true"}
	for _, row := range []struct {
		args []string
		want map[string]any
	}{
		{git, map[string]any{
			"status": "Enabled", "platform.os": "linux", "timeout": 3600.0, "agentConfiguration.cpu": 2.0,
			"step.type": "Docker", "step.contextPath": "https://github.com/o/r.git#dev:sub", "step.dockerFilePath": "Dockerfile",
			"step.imageNames.0": "app:{{.Run.ID}}", "step.isPushEnabled": true,
			"trigger.sourceTriggers.0.name": "defaultSourceTriggerName", "trigger.sourceTriggers.0.sourceTriggerEvents.0": "commit",
			"trigger.sourceTriggers.0.sourceTriggerEvents.1": nil, "trigger.sourceTriggers.0.status": "Enabled",
			"trigger.sourceTriggers.0.sourceRepository.branch": "dev", "trigger.sourceTriggers.0.sourceRepository.repositoryUrl": "https://github.com/o/r.git",
			"trigger.sourceTriggers.0.sourceRepository.sourceControlType": "Github",
			"trigger.baseImageTrigger.name":                               "defaultBaseimageTriggerName", "trigger.baseImageTrigger.baseImageTriggerType": "Runtime",
			"trigger.baseImageTrigger.status": "Enabled", "trigger.timerTriggers": nil, "identity": nil,
			"properties.step.type": "Docker", // ARM's shape beside az's
		}},
		{[]string{"-c", "https://dev.azure.com/o/p/_git/r", "-f", "acb.yaml", "--git-access-token", "t0ken", "--values", "v.yaml"}, map[string]any{
			"step.type": "FileTask", "step.taskFilePath": "acb.yaml", "step.valuesFilePath": "v.yaml", "step.contextAccessToken": nil,
			"trigger.sourceTriggers.0.sourceRepository.branch":                                "master",
			"trigger.sourceTriggers.0.sourceRepository.sourceControlType":                     "VisualStudioTeamService",
			"trigger.sourceTriggers.0.sourceRepository.sourceControlAuthProperties.tokenType": "PAT",
			"trigger.sourceTriggers.0.sourceRepository.sourceControlAuthProperties.token":     nil,
		}},
		{inline, map[string]any{
			"step.type": "EncodedTask", "trigger.sourceTriggers": nil, "trigger.baseImageTrigger.status": "Enabled",
			"step.encodedTaskContent": "dmVyc2lvbjogdjEuMS4wCnN0ZXBzOgogIC0gY21kOiAnYnVzeWJveCB0cnVlJwogICAgZGlzYWJsZVdvcmtpbmdEaXJlY3RvcnlPdmVycmlkZTogdHJ1ZQogICAgdGltZW91dDogMzYwMAo=",
		}},
		{[]string{"-c", "/dev/null", "-f", filepath.Join(dir, "local.yaml"), "--values", filepath.Join(dir, "values.yaml"), "--set", "a=1", "--set", "b", "--set-secret", "s=x=y"}, map[string]any{
			"step.encodedTaskContent": "c3RlcHM6IFtdCg==", "step.encodedValuesContent": "YTogYgo=",
			"step.values.0.value": "1", "step.values.1.value": "", "step.values.2.name": "s", "step.values.2.isSecret": true, "step.values.2.value": nil,
		}},
		{append(git[:4:4], "--arg", "A=1", "--arg", "FROM_ENV", "--secret-arg", "S=1", "--target", "t", "--no-cache"), map[string]any{
			"step.isPushEnabled": false, "step.noCache": true, "step.target": "t", "step.arguments.0.value": "1", "step.arguments.1.value": "env",
			"step.arguments.2.isSecret": true, "step.arguments.2.value": nil,
		}},
		{append(git[:6:6], "--no-push", "--commit-trigger-enabled", "false", "--base-image-trigger-enabled", "false"), map[string]any{
			"step.isPushEnabled": false, "trigger.sourceTriggers": nil, "trigger.baseImageTrigger": nil,
		}},
		{append(git[:6:6], "--pull-request-trigger-enabled", "--source-trigger-name", "mine", "--base-image-trigger-type", "All", "--base-image-trigger-name", "bases",
			"--update-trigger-endpoint", "https://h.example", "--update-trigger-payload-type", "Token"), map[string]any{
			"trigger.sourceTriggers.0.name": "mine", "trigger.sourceTriggers.0.sourceTriggerEvents.1": "pullrequest",
			"trigger.baseImageTrigger.name": "bases", "trigger.baseImageTrigger.baseImageTriggerType": "All",
			"trigger.baseImageTrigger.updateTriggerEndpoint": nil, "trigger.baseImageTrigger.updateTriggerPayloadType": "Token",
		}},
		{append(inline[:4:4], "--schedule", "0 4 * * *", "--schedule", "nightly:30 3 * * 1", "--schedule", "5 5 * * *"), map[string]any{
			"trigger.timerTriggers.0.name": "t1", "trigger.timerTriggers.1.name": "nightly", "trigger.timerTriggers.1.schedule": "30 3 * * 1", "trigger.timerTriggers.2.name": "t3",
		}},
		{append(inline[:4:4], "--status", "Disabled", "--platform", "linux/arm64/v8", "--timeout", "900", "--cpu", "4", "--auth-mode", "None", "--agent-pool", "p", "--log-template", "l:1",
			"--allow", "network.host", "--max-runs", "1"), map[string]any{
			"status": "Disabled", "platform.architecture": "arm64", "platform.variant": "v8", "timeout": 900.0, "agentConfiguration.cpu": 4.0,
			"credentials.sourceRegistry.loginMode": "None", "agentPoolName": "p", "logTemplate": "l:1", "entitlements.0": "network.host", "concurrency": 1.0,
		}},
		{append(inline[:4:4], "--assign-identity"), map[string]any{"identity.type": "SystemAssigned"}},
		{append(inline[:4:4], "--assign-identity", "[system]", "/subscriptions/x/id1"), map[string]any{
			"identity.type": "SystemAssigned, UserAssigned", "identity.userAssignedIdentities./subscriptions/x/id1": map[string]any{},
		}},
	} {
		got := d.jsonOf(append([]string{"task", "create", "-n", "task-flags"}, row.args...)...)
		for path, want := range row.want {
			if diff := cmp.Diff(want, at(got, path)); diff != "" {
				t.Errorf("%v: %s (-want +got):\n%s", row.args, path, diff)
			}
		}
	}
	if got := d.jsonOf("task", "create", "-n", "quicktask", "--is-system-task"); at(got, "isSystemTask") != true {
		t.Errorf("system task: %v", got)
	}
}

// TestTaskLife is a task from its making to its end, by the command line.
func TestTaskLife(t *testing.T) {
	d := newDesk(t)
	hello := d.project(map[string]string{"Dockerfile": "FROM scratch\n", "acb.yaml": "steps: [{cmd: busybox hello}]\n"})
	if err := os.WriteFile(filepath.Join(hello, "task.yaml"), []byte("version: v1.1.0\nsteps:\n  - cmd: busybox '{{.Values.who}}'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inline := filepath.Join(hello, "task.yaml")
	apply := filepath.Join(hello, "tasks.yaml")
	if err := os.WriteFile(apply, []byte("name: applied\nproperties:\n  step: {type: EncodedTask, encodedTaskContent: c3RlcHM6IFtdCg==}\n  trigger:\n    timerTriggers: [{name: t1, schedule: 0 4 * * *}]\n---\nresources:\n- {type: Microsoft.Other/things, name: x}\n- type: Microsoft.ContainerRegistry/registries/tasks\n  name: myregistry/in-template\n  properties:\n    step: {type: EncodedTask, encodedTaskContent: c3RlcHM6IFtdCg==}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args []string
		code int
		says string // a pattern for standard error and output together
	}{
		{[]string{"task"}, exitUsage, `(?s)Usage: acrd task COMMAND.*list-runs`},
		{[]string{"task", "--help"}, exitOK, `timer +Timers of a task`},
		{[]string{"task", "mend"}, exitUsage, `unknown command "mend"`},
		{[]string{"task", "create", "-n", "hello-task"}, exitUsage, `--context is missing`},
		{[]string{"task", "create", "-n", "hello-task", "-c", "/dev/null"}, exitUsage, `missing --file/-f argument`},
		{[]string{"task", "create", "-n", "hello-task", "-c", "/dev/null", "--cmd", "x", "-f", "y"}, exitUsage, `Task can be created with either --cmd myCommand -c /dev/null or -f myFile -c myContext, but not both.`},
		{[]string{"task", "create", "-n", "hello-task", "-c", hello, "-f", "acb.yaml"}, exitUsage, `is a folder: a task fetches its source`},
		{[]string{"task", "create", "-n", "hello-task", "-c", "/dev/null", "-f", inline, "--platform", "plan9"}, exitUsage, `'plan9' is not a valid value for OS specified in --platform. Valid options are linux,windows`},
		{[]string{"task", "create", "-n", "x", "-c", "/dev/null", "-f", inline, "--timeout", "5", "--schedule", "daily"}, exitUsage, `(?s)5 to 50 letters.*not between 300 and 28800.*invalid crontab`},
		{[]string{"task", "create", "-n", "hello-task", "-c", "/dev/null", "-f", inline, "--set", "who=world", "--set-secret", "s=CANARY", "--schedule", "0 4 * * *"}, exitOK, `(?m)^hello-task +linux +Enabled +BASE_IMAGE, TIMER$`},
		{[]string{"task", "list"}, exitOK, `(?m)^NAME +PLATFORM +STATUS +SOURCE REPOSITORY +TRIGGERS$`},
		{[]string{"task", "run", "-n", "hello-task"}, exitOK, `(?s)Queued a run with ID: ca1.*busybox world`},
		{[]string{"task", "run", "-n", "hello-task", "--set", "who=moon", "-o", "table"}, exitOK, `(?m)^ca2 +hello-task +linux +Succeeded +Manual +\S+Z +00:00:0\d$`},
		{[]string{"task", "run", "-n", "hello-task", "--set", "who=stars", "--no-logs"}, exitOK, `Run ID: ca3 was successful`},
		{[]string{"task", "run", "-n", "no-such-task"}, exitFailed, `task no-such-task: not found`},
		{[]string{"task", "list-runs", "-n", "hello-task", "--top", "2", "-o", "tsv"}, exitOK, `^ca3\thello-task\tlinux\tSucceeded\tManual\t\S+\t\S+\nca2\t[^\n]+\n$`},
		{[]string{"task", "list-runs", "--run-status", "Failed", "-o", "json"}, exitOK, `^\[\]\n$`},
		{[]string{"task", "list-runs", "--run-status", "Failed"}, exitOK, `^RUN ID +TASK +PLATFORM +STATUS +TRIGGER +STARTED +DURATION\n$`},
		{[]string{"task", "logs", "-n", "hello-task"}, exitOK, `(?s)Showing logs of the last created run for task 'hello-task'.\nRun ID: ca3\n.*was successful`},
		{[]string{"task", "logs", "--run-id", "ca1"}, exitOK, `busybox world`},
		{[]string{"task", "logs", "-n", "never-run"}, exitFailed, `Could not find the last created run for task 'never-run'.`},
		{[]string{"task", "show-run", "--run-id", "ca1", "-o", "yaml"}, exitOK, `(?m)^runType: AutoRun$`},
		{[]string{"task", "show-run"}, exitUsage, `--run-id is missing`},
		{[]string{"task", "cancel-run", "--run-id", "ca1"}, exitOK, `Succeeded`},
		{[]string{"task", "update-run", "--run-id", "ca1", "--no-archive", "false", "-o", "json"}, exitOK, `"isArchiveEnabled": true`},
		{[]string{"task", "update-run", "--run-id", "ca1", "--no-archive", "-o", "json"}, exitOK, `"isArchiveEnabled": false`},
		{[]string{"runs", "watch", "ca1", "--exit-status"}, exitOK, `(?s)Run ca1 of task hello-task \(Manual\).*step acb_step_0: Succeeded`},
		{[]string{"runs", "list", "--top", "1", "-o", "tsv"}, exitOK, `^ca3`},
		{[]string{"runs", "rerun", "ca2"}, exitOK, `(?s)Queued a run with ID: ca4.*busybox moon`},
		{[]string{"runs", "rerun", "ca99"}, exitFailed, `run ca99: not found`},

		{[]string{"task", "timer", "add", "-n", "hello-task", "--timer-name", "t2", "--schedule", "0 5 * * *", "--enabled", "false"}, exitOK, `(?m)^t2 +0 5 \* \* \* +Disabled$`},
		{[]string{"task", "timer", "add", "-n", "hello-task", "--timer-name", "t2", "--schedule", "0 5 * * *"}, exitFailed, `already exists`},
		{[]string{"task", "timer", "update", "-n", "hello-task", "--timer-name", "t2", "--enabled"}, exitOK, `(?m)^t2 +0 5 \* \* \* +Enabled$`},
		{[]string{"task", "timer", "update", "-n", "hello-task", "--timer-name", "t2", "--schedule", "0 5 * * 7"}, exitUsage, `timerTriggers\[1\].schedule: 7 is higher than the maximum allowable value for the \[DayOfWeek\] field`},
		{[]string{"task", "timer", "update", "-n", "hello-task", "--timer-name", "t2", "--time-zone", "Mars/Base"}, exitUsage, `timerTriggers\[1\].timeZone: 'Mars/Base' is not the name of a time zone`},
		{[]string{"task", "timer", "update", "-n", "hello-task", "--timer-name", "t2", "--catch-up", "some", "--overlap", "never"}, exitUsage, `(?s)catchUp: 'some' is not one of latest, skip, all.*overlap: 'never' is not one of allow`},
		{[]string{"task", "timer", "update", "-n", "hello-task", "--timer-name", "t2", "--time-zone", "Europe/Berlin", "--overlap", "queue"}, exitOK, `(?m)^t2 +0 5 `},
		{[]string{"task", "timer", "list", "-n", "hello-task"}, exitOK, `(?s)^NAME +SCHEDULE +TIME ZONE +STATUS +NEXT +LAST\n.*t2 +0 5 \* \* \* +Europe/Berlin +Enabled `},
		{[]string{"task", "timer", "list", "-n", "hello-task", "-o", "json"}, exitOK, `(?s)"overlap": "queue".*"timeZone": "Europe/Berlin"`},
		{[]string{"task", "timer", "update", "-n", "hello-task", "--timer-name", "t9"}, exitFailed, `The timer 't9' does not exist for the task 'hello-task'.`},
		{[]string{"task", "timer", "remove", "-n", "hello-task", "--timer-name", "t1"}, exitOK, `^NAME +SCHEDULE +STATUS\nt2 [^\n]+\n$`},
		{[]string{"task", "timer", "remove", "-n", "hello-task", "--timer-name", "t2"}, exitOK, `^NAME +SCHEDULE +STATUS\n$`},
		{[]string{"task", "timer", "remove", "-n", "hello-task", "--timer-name", "t2"}, exitFailed, `No timer triggers exist for the task 'hello-task'.`},
		{[]string{"task", "timer", "list", "-n", "hello-task", "-o", "json"}, exitOK, `^\[\]\n$`},

		{[]string{"task", "credential", "add", "-n", "hello-task", "--login-server", "r.example", "-u", "u", "-p", "CANARY"}, exitOK, `(?m)^r.example +Opaque$`},
		{[]string{"task", "credential", "add", "-n", "hello-task", "--login-server", "r.example", "-u", "u", "-p", "p"}, exitFailed, `Login server 'r.example' already exists. You cannot add it again.`},
		{[]string{"task", "credential", "update", "-n", "hello-task", "--login-server", "r.example", "-u", "https://v.vault.azure.net/secrets/u", "-p", "https://v.vault.azure.net/secrets/p"}, exitOK, `(?m)^r.example +Vaultsecret$`},
		{[]string{"task", "credential", "update", "-n", "hello-task", "--login-server", "x.example", "-u", "u", "-p", "p"}, exitFailed, `Login server 'x.example' not found.`},
		{[]string{"task", "credential", "add", "-n", "hello-task", "--login-server", "i.example", "--use-identity", "[system]"}, exitOK, `(?m)^i.example +Identity$`},
		{[]string{"task", "credential", "remove", "-n", "hello-task", "--login-server", "i.example"}, exitOK, `^LOGIN SERVER +TYPE\nr.example`},
		{[]string{"task", "credential", "remove", "-n", "hello-task", "--login-server", "r.example"}, exitOK, `^LOGIN SERVER +TYPE\n$`},
		{[]string{"task", "credential", "list", "-n", "hello-task", "-o", "json"}, exitOK, `^\{\}\n$`},

		{[]string{"task", "identity", "assign", "-n", "hello-task", "--identities", "/a", "/b"}, exitOK, `(?m)^/a\n/b$`},
		{[]string{"task", "identity", "assign", "-n", "hello-task"}, exitOK, `(?m)^\[system\]$`},
		{[]string{"task", "identity", "remove", "-n", "hello-task", "--identities", "/a"}, exitOK, `^IDENTITY\n\[system\]\n/b\n$`},
		{[]string{"task", "identity", "remove", "-n", "hello-task", "--identities", "[all]"}, exitOK, `^IDENTITY\n$`},
		{[]string{"task", "identity", "show", "-n", "hello-task", "-o", "json"}, exitOK, `^null\n$`},

		{[]string{"task", "update", "-n", "hello-task", "--timeout", "600"}, exitUsage, `cannot update the task with change of 'timeout' only, please use create instead`},
		{[]string{"task", "update", "-n", "hello-task", "--status", "Disabled", "--base-image-trigger-enabled", "false"}, exitOK, `(?m)^hello-task +linux +Disabled *$`},
		{[]string{"task", "run", "-n", "hello-task"}, exitFailed, `task hello-task is disabled`},
		{[]string{"task", "update", "-n", "hello-task", "--status", "Enabled", "--set", "who=sun"}, exitOK, `Enabled`},
		{[]string{"task", "run", "-n", "hello-task"}, exitOK, `busybox sun`},

		{[]string{"task", "apply", "-f", apply}, exitOK, `(?m)^applied +created\nin-template +created$`},
		{[]string{"task", "apply", "-f", apply}, exitOK, `(?m)^applied +unchanged\nin-template +unchanged$`},
		{[]string{"task", "timer", "update", "-n", "applied", "--timer-name", "t1", "--enabled", "false"}, exitOK, `Disabled`},
		{[]string{"task", "apply", "-f", apply}, exitOK, `(?m)^applied +configured\nin-template +unchanged$`},
		{[]string{"task", "apply", "-f", filepath.Join(hello, "acb.yaml")}, exitUsage, `a task has a name and properties`},

		{[]string{"task", "delete", "-n", "applied"}, exitUsage, `(?s)Are you sure you want to delete the task 'applied' .*--yes`},
		{[]string{"task", "delete", "-n", "applied", "--yes"}, exitOK, `^$`},
		{[]string{"task", "delete", "-n", "applied", "-y"}, exitFailed, `not found`},
		{[]string{"taskrun", "list"}, exitOK, `^NAME +RUN ID +TASK +PLATFORM +STATUS +STARTED +DURATION\n$`},
		{[]string{"taskrun", "show", "-n", "none-such"}, exitFailed, `task run none-such: not found`},
		{[]string{"completion", "bash"}, exitOK, `complete -o default -F _acrd acrd`},
		{[]string{"completion", "tcsh"}, exitUsage, `none of bash, zsh, fish`},
		{[]string{"__complete", "task", "ti"}, exitOK, `^timer\n$`},
		{[]string{"__complete", "task", "timer", "add", "--timer"}, exitOK, `^--timer-name\n$`},
		{[]string{"__complete", "task", "show", "-n", "hello"}, exitOK, `^hello-task\n$`},
		{[]string{"__complete", "task", "list", "-o", ""}, exitOK, `^table\njson\nyaml\ntsv\n$`},
		{[]string{"__complete", "task", "why", "hello"}, exitOK, `^hello-task\n$`},
		{[]string{"__complete", "taskrun", "show", "-n", ""}, exitOK, `^$`},
		{[]string{"__complete", "build", "-t", ""}, exitOK, `^$`},
		{[]string{"__complete", "completion", ""}, exitOK, `^bash\nfish\nzsh\n$`},
		{[]string{"__complete", "token", "create", "--scope", "registry"}, exitOK, `^registry-push\nregistry-pull\n$`},
	} {
		code, out, errs := d.acrd(row.args...)
		if both := errs + out; code != row.code || !regexp.MustCompile(row.says).MatchString(both) || strings.Contains(both, "CANARY") {
			t.Errorf("acrd %s: exit code %d, want %d and %q:\n%s", strings.Join(row.args, " "), code, row.code, row.says, both)
		}
	}
}

// TestTaskUpdate says what stays and what does not.
func TestTaskUpdate(t *testing.T) {
	d := newDesk(t)
	create := []string{"task", "create", "-n", "update-me", "-c", "https://github.com/o/r.git#main", "-f", "Dockerfile", "-t", "a:1", "--no-push", "--arg", "A=1", "--git-access-token", "CANARY"}
	for _, row := range []struct {
		args []string
		want map[string]any
	}{
		// az's surprise: what was not pushed is, unless --no-push is said again.
		{[]string{"--timeout", "900"}, map[string]any{"timeout": 900.0, "step.isPushEnabled": true, "step.arguments.0.value": "1", "step.dockerFilePath": "Dockerfile"}},
		{[]string{"--no-push", "--target", "t"}, map[string]any{"step.isPushEnabled": false, "step.target": "t"}},
		{[]string{"--arg", "B=2"}, map[string]any{"step.arguments.0.name": "B", "step.arguments.1": nil}},
		{[]string{"--commit-trigger-enabled", "false"}, map[string]any{"trigger.sourceTriggers.0.status": "Disabled", "trigger.baseImageTrigger.status": "Enabled"}},
		{[]string{"--pull-request-trigger-enabled", "true"}, map[string]any{
			"trigger.sourceTriggers.0.status": "Enabled", "trigger.sourceTriggers.0.sourceTriggerEvents.0": "commit", "trigger.sourceTriggers.0.sourceTriggerEvents.1": "pullrequest",
		}},
		{[]string{"-c", "https://github.com/o/other.git"}, map[string]any{
			"step.contextPath": "https://github.com/o/other.git", "trigger.sourceTriggers.0.sourceRepository.repositoryUrl": "https://github.com/o/other.git",
			"trigger.sourceTriggers.0.sourceRepository.branch": "master", "step.type": "Docker",
		}},
		{[]string{"-f", "acb.yaml"}, map[string]any{"step.type": "FileTask", "step.taskFilePath": "acb.yaml", "step.dockerFilePath": nil, "step.contextPath": "https://github.com/o/r.git#main"}},
		{[]string{"-c", "/dev/null", "--cmd", "busybox"}, map[string]any{"step.type": "EncodedTask", "step.contextPath": "/dev/null", "step.dockerFilePath": nil, "trigger.sourceTriggers.0.status": "Disabled"}},
		{[]string{"--base-image-trigger-type", "All", "--base-image-trigger-enabled", "false"}, map[string]any{
			"trigger.baseImageTrigger.name": "defaultBaseimageTriggerName", "trigger.baseImageTrigger.baseImageTriggerType": "All", "trigger.baseImageTrigger.status": "Disabled",
		}},
	} {
		d.jsonOf(create...)
		got := d.jsonOf(append([]string{"task", "update", "-n", "update-me"}, row.args...)...)
		for path, want := range row.want {
			if diff := cmp.Diff(want, at(got, path)); diff != "" {
				t.Errorf("%v: %s (-want +got):\n%s", row.args, path, diff)
			}
		}
	}
}

// TestClientTimeout: the command line may ask for less time than ACR's API.
func TestClientTimeout(t *testing.T) {
	d := newDesk(t)
	if code, out, errs := d.acrd("run", "--timeout", "20", "--cmd", "busybox true", "/dev/null"); code != exitOK {
		t.Errorf("exit code %d: %s%s", code, errs, out)
	}
	if runner.MinTaskTimeout != 300 {
		t.Error("the bound of the API is ACR's")
	}
}

// TestTaskApply_Azure makes of what 'az acr task show' has printed a task here.
func TestTaskApply_Azure(t *testing.T) {
	d := newDesk(t)
	for _, result := range []string{"created", "unchanged"} {
		code, out, errs := d.acrd("task", "apply", "-f", "testdata/az-task.json")
		if code != exitOK || !strings.Contains(out, "nightly-app  "+result) {
			t.Fatalf("exit code %d, want %s:\n%s%s", code, result, out, errs)
		}
	}
	task := d.jsonOf("task", "show", "-n", "nightly-app")
	for path, want := range map[string]any{
		"location":                                    "westeurope",
		"properties.step.type":                        "FileTask",
		"properties.step.contextPath":                 "https://github.com/alice/app.git#main",
		"properties.trigger.timerTriggers.0.schedule": "0 4 * * *",
		"properties.trigger.sourceTriggers.0.sourceRepository.branch": "main",
		"properties.trigger.baseImageTrigger.baseImageTriggerType":    "Runtime",
	} {
		if got := at(task, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
}
