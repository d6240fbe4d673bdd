package apitest

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	acr "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerregistry/armcontainerregistry"
)

const taskName = "sdk-task"

// task is one with every kind of trigger, and a secret wherever there can be
// one.
func (d *desk) task() acr.Task {
	return acr.Task{
		Location: new("eastus"), Tags: map[string]*string{"team": new("web")},
		Properties: &acr.TaskProperties{
			Platform: linux, Status: to.Ptr(acr.TaskStatusEnabled), Timeout: to.Ptr[int32](900),
			AgentConfiguration: &acr.AgentProperties{CPU: to.Ptr[int32](2)},
			Step: &acr.DockerBuildStep{
				Type: to.Ptr(acr.StepTypeDocker), ContextPath: &d.source, DockerFilePath: new("Dockerfile"),
				ImageNames: []*string{new("sdk/task:{{.Run.ID}}")}, IsPushEnabled: new(true), NoCache: new(false),
				Arguments: []*acr.Argument{{Name: new("A"), Value: new("1")}, {Name: new("S"), Value: new(canary), IsSecret: new(true)}},
			},
			Trigger: &acr.TriggerProperties{
				TimerTriggers: []*acr.TimerTrigger{{Name: new("t1"), Schedule: new("0 4 31 2 *"), Status: to.Ptr(acr.TriggerStatusEnabled)}},
				SourceTriggers: []*acr.SourceTrigger{{
					Name: new("s1"), SourceTriggerEvents: []*acr.SourceTriggerEvent{to.Ptr(acr.SourceTriggerEventCommit)}, Status: to.Ptr(acr.TriggerStatusDisabled),
					SourceRepository: &acr.SourceProperties{
						RepositoryURL: new("https://git.invalid/o/r"), SourceControlType: to.Ptr(acr.SourceControlTypeGithub), Branch: new("main"),
						SourceControlAuthProperties: &acr.AuthInfo{TokenType: to.Ptr(acr.TokenTypePAT), Token: new(canary)},
					},
				}},
				BaseImageTrigger: &acr.BaseImageTrigger{Name: new("b1"), BaseImageTriggerType: to.Ptr(acr.BaseImageTriggerTypeRuntime), Status: to.Ptr(acr.TriggerStatusDisabled)},
			},
			Credentials: &acr.Credentials{CustomRegistries: map[string]*acr.CustomRegistryCredentials{"r.invalid": {
				UserName: &acr.SecretObject{Type: to.Ptr(acr.SecretObjectTypeOpaque), Value: new("user")},
				Password: &acr.SecretObject{Type: to.Ptr(acr.SecretObjectTypeOpaque), Value: new(canary)},
			}}},
		},
	}
}

func (d *desk) tasks() {
	tasks := d.NewTasksClient()
	p, err := tasks.BeginCreate(d.Context(), group, registry, taskName, d.task(), nil)
	created := done(d, p, err).Task
	got, err := tasks.Get(d.Context(), group, registry, taskName, nil)
	must(d, got, err)
	details, err := tasks.GetDetails(d.Context(), group, registry, taskName, nil)
	must(d, details, err)
	for what, t := range map[string]acr.Task{"created": created, "got": got.Task, "details": details.Task} {
		b, err := json.Marshal(t)
		if text := string(must(d, b, err)); strings.Contains(text, canary) || !strings.Contains(text, "sdk/task") {
			d.Errorf("%s: %s", what, text)
		}
		step, ok := t.Properties.Step.(*acr.DockerBuildStep)
		if !ok || *step.ContextPath != d.source || len(step.Arguments) != 2 || *t.Location != "eastus" || *t.Name != taskName ||
			*t.Properties.ProvisioningState != acr.ProvisioningStateSucceeded || t.Properties.CreationDate == nil {
			d.Errorf("%s: %+v", what, t)
		}
	}
	d.updateTask()
	d.runTask()
	var names []string
	for pager := tasks.NewListPager(group, registry, nil); pager.More(); {
		p, err := pager.NextPage(d.Context())
		for _, t := range must(d, p, err).Value {
			names = append(names, *t.Name)
		}
	}
	if !slices.Contains(names, taskName) {
		d.Errorf("tasks %v", names)
	}
	for range 2 { // the second time there is none any more
		del, err := tasks.BeginDelete(d.Context(), group, registry, taskName, nil)
		done(d, del, err)
	}
	_, err = tasks.Get(d.Context(), group, registry, taskName, nil)
	d.wantError(err, http.StatusNotFound, "ResourceNotFound")
}

// updateTask changes a timer, adds another, and leaves the rest.
func (d *desk) updateTask() {
	p, err := d.NewTasksClient().BeginUpdate(d.Context(), group, registry, taskName, acr.TaskUpdateParameters{
		Properties: &acr.TaskPropertiesUpdateParameters{
			Timeout: to.Ptr[int32](1200),
			Trigger: &acr.TriggerUpdateParameters{TimerTriggers: []*acr.TimerTriggerUpdateParameters{
				{Name: new("t1"), Status: to.Ptr(acr.TriggerStatusDisabled)},
				{Name: new("t2"), Schedule: new("0 5 31 2 *")},
			}},
			Step: &acr.DockerBuildStepUpdateParameters{Type: to.Ptr(acr.StepTypeDocker), NoCache: new(true)},
		},
	}, nil)
	got := done(d, p, err).Properties
	step, _ := got.Step.(*acr.DockerBuildStep)
	timers := got.Trigger.TimerTriggers
	if len(timers) != 2 || *timers[0].Schedule != "0 4 31 2 *" || *timers[0].Status != acr.TriggerStatusDisabled || *timers[1].Status != acr.TriggerStatusEnabled ||
		len(got.Trigger.SourceTriggers) != 1 || *got.Timeout != 1200 || step == nil || !*step.NoCache || *step.DockerFilePath != "Dockerfile" {
		b, _ := json.Marshal(got)
		d.Errorf("updated: %s", b)
	}
}

// runTask is the fourth kind of run request.
func (d *desk) runTask() {
	before := time.Now().Add(-time.Second)
	queued := d.schedule(&acr.TaskRunRequest{
		Type:   new("TaskRunRequest"),
		TaskID: new("/subscriptions/s/resourceGroups/" + group + "/providers/Microsoft.ContainerRegistry/registries/" + registry + "/tasks/" + taskName),
		OverrideTaskStepProperties: &acr.OverrideTaskStepProperties{
			Arguments: []*acr.Argument{{Name: new("A"), Value: new("2")}}, UpdateTriggerToken: encoded("token"),
		},
	})
	p := d.end(*queued.RunID)
	if *p.Status != acr.RunStatusSucceeded || *p.RunType != acr.RunTypeAutoBuild || *p.Task != taskName || *p.UpdateTriggerToken != *encoded("token") {
		d.Errorf("run %s: %s %s of %s: %s\n%s", *p.RunID, *p.Status, *p.RunType, deref(p.Task), deref(p.RunErrorMessage), d.log(*p.RunID))
	}
	for _, filter := range []string{
		"TaskName eq '" + taskName + "' and Status eq 'Succeeded'",
		"(Status eq 'Failed' or Status eq 'Succeeded') and TaskName eq '" + taskName + "' and RunType eq 'AutoBuild'",
		"CreateTime ge " + before.UTC().Format(time.RFC3339) + " and TaskName eq '" + taskName + "'",
		"RunId eq '" + *p.RunID + "'",
	} {
		if got := d.list(filter, nil); !slices.Equal(got, []string{*p.RunID}) {
			d.Errorf("%s: found %v, want %s", filter, got, *p.RunID)
		}
	}
	if got := d.list("TaskName eq '"+taskName+"' and Status eq 'Failed'", nil); len(got) != 0 {
		d.Errorf("found %v, want none", got)
	}
	d.archiveRun(*p.RunID)
}

func (d *desk) archiveRun(id string) {
	for _, keep := range []bool{true, false} {
		p, err := d.NewRunsClient().BeginUpdate(d.Context(), group, registry, id, acr.RunUpdateParameters{IsArchiveEnabled: &keep}, nil)
		if got := done(d, p, err).Properties.IsArchiveEnabled; *got != keep {
			d.Errorf("archived: %v, want %v", *got, keep)
		}
		found := slices.Contains(d.list("IsArchiveEnabled eq true", nil), id)
		if found != keep {
			d.Errorf("listed as archived: %v, want %v", found, keep)
		}
	}
}

// pages lists more runs than a page has.
func (d *desk) pages() {
	const n = 105
	since := time.Now().UTC()
	var want []string
	for range n {
		want = append(want, *d.schedule(&acr.EncodedTaskRunRequest{Type: new("EncodedTaskRunRequest"), Platform: linux, EncodedTaskContent: encoded("steps: []")}).RunID)
	}
	slices.Reverse(want) // the newest first
	filter := "CreateTime ge " + since.Format(time.RFC3339Nano)
	got, pages := d.listPages(filter, nil)
	if !slices.Equal(got, want) || pages != 2 {
		d.Errorf("%d runs in %d pages, want %d in 2", len(got), pages, n)
	}
	for _, top := range []int32{1, 15, 102} {
		if got, _ := d.listPages(filter, &top); !slices.Equal(got, want[:top]) {
			d.Errorf("top %d: %d runs", top, len(got))
		}
	}
	for _, id := range want {
		if p := d.end(id); *p.Status != acr.RunStatusSucceeded {
			d.Errorf("run %s: %s %s", id, *p.Status, deref(p.RunErrorMessage))
		}
	}
}

func (d *desk) cancel() {
	queued := d.schedule(&acr.EncodedTaskRunRequest{
		Type: new("EncodedTaskRunRequest"), Platform: linux, EncodedTaskContent: encoded("steps: [{cmd: nothing, startDelay: 300}]"),
	})
	for range 2 { // the second time it is canceled already
		p, err := d.NewRunsClient().BeginCancel(d.Context(), group, registry, *queued.RunID, nil)
		done(d, p, err)
	}
	got, err := d.NewRunsClient().Get(d.Context(), group, registry, *queued.RunID, nil)
	if p := must(d, got, err).Properties; *p.Status != acr.RunStatusCanceled || *p.ProvisioningState != acr.ProvisioningStateCanceled {
		d.Errorf("canceled run is %s", *p.Status)
	}
}

func (d *desk) taskRuns() {
	const name = "sdk-task-run"
	runs := d.NewTaskRunsClient()
	body := acr.TaskRun{Location: new("eastus"), Properties: &acr.TaskRunProperties{
		ForceUpdateTag: new("1"),
		RunRequest: &acr.EncodedTaskRunRequest{
			Type: new("EncodedTaskRunRequest"), Platform: linux, EncodedTaskContent: encoded("steps: []"),
			Values: []*acr.SetValue{{Name: new("v"), Value: new(canary), IsSecret: new(true)}},
		},
	}}
	ids := map[string]bool{}
	for range 2 { // the second time nothing has changed
		p, err := runs.BeginCreate(d.Context(), group, registry, name, body, nil)
		got := done(d, p, err)
		if *got.Properties.ProvisioningState != acr.ProvisioningStateSucceeded || *got.Properties.RunResult.Properties.Status != acr.RunStatusSucceeded {
			d.Errorf("task run %+v", got.Properties)
		}
		ids[*got.Properties.RunResult.Properties.RunID] = true
	}
	if len(ids) != 1 {
		d.Errorf("the same task run twice has made %d runs", len(ids))
	}
	p, err := runs.BeginUpdate(d.Context(), group, registry, name, acr.TaskRunUpdateParameters{Properties: &acr.TaskRunPropertiesUpdateParameters{ForceUpdateTag: new("2")}}, nil)
	updated := done(d, p, err)
	if ids[*updated.Properties.RunResult.Properties.RunID] {
		d.Error("forceUpdateTag has not made a run")
	}
	details, err := runs.GetDetails(d.Context(), group, registry, name, nil)
	b, err := json.Marshal(must(d, details, err).TaskRun)
	if text := string(must(d, b, err)); strings.Contains(text, canary) || !strings.Contains(text, "EncodedTaskRunRequest") {
		d.Errorf("details: %s", text)
	}
	page, err := runs.NewListPager(group, registry, nil).NextPage(d.Context())
	if list := must(d, page, err).Value; len(list) != 1 || *list[0].Name != name {
		d.Errorf("%d task runs", len(list))
	}
	del, err := runs.BeginDelete(d.Context(), group, registry, name, nil)
	done(d, del, err)
	_, err = runs.Get(d.Context(), group, registry, name, nil)
	d.wantError(err, http.StatusNotFound, "ResourceNotFound")
}

func (d *desk) faults() {
	task := d.task()
	task.Properties.Timeout, task.Properties.Trigger.TimerTriggers[0].Schedule = to.Ptr[int32](5), new("daily")
	_, err := d.NewTasksClient().BeginCreate(d.Context(), group, registry, "sdk-bad", task, nil)
	d.wantError(err, http.StatusBadRequest, "BadRequest", "properties.timeout", "properties.trigger.timerTriggers[0].schedule")
	_, err = d.NewRegistriesClient().BeginScheduleRun(d.Context(), group, registry, &acr.TaskRunRequest{Type: new("TaskRunRequest"), TaskID: new("no-such-task")}, nil)
	d.wantError(err, http.StatusNotFound, "ResourceNotFound")
	_, err = d.NewRegistriesClient().BeginScheduleRun(d.Context(), group, registry, &acr.EncodedTaskRunRequest{
		Type: new("EncodedTaskRunRequest"), Platform: linux, EncodedTaskContent: encoded("steps: [{cmd: a, when: [b]}, {id: b}]"),
	}, nil)
	d.wantError(err, http.StatusBadRequest, "BadRequest")
	_, err = d.NewRunsClient().NewListPager(group, registry, &acr.RunsClientListOptions{Filter: new("Weather eq 'fine'")}).NextPage(d.Context())
	d.wantError(err, http.StatusBadRequest, "InvalidParameter")
}

func (d *desk) wantError(err error, status int, code string, says ...string) {
	d.Helper()
	got, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || got.StatusCode != status || got.ErrorCode != code {
		d.Errorf("got %v, want %d %s", err, status, code)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			d.Errorf("got %v, want it to say %s", err, s)
		}
	}
}
