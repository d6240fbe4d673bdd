package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"acrd/runner"
)

// TaskRuns are where task runs are kept. What it returns is the caller's own
// copy.
type TaskRuns interface {
	// TaskRun is runner.ErrNotFound if there is none.
	TaskRun(ctx context.Context, name string) (*runner.TaskRun, error)
	// TaskRuns are at most limit, by name, from the one after the name.
	TaskRuns(ctx context.Context, after string, limit int) ([]*runner.TaskRun, error)
	SaveTaskRun(ctx context.Context, t *runner.TaskRun) error
	// RemoveTaskRun is runner.ErrNotFound if there is none.
	RemoveTaskRun(ctx context.Context, name string) error
}

// A TaskRun is the resource of a task run.
type TaskRun struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Identity   *runner.Identity  `json:"identity,omitempty"`
	SystemData systemData        `json:"systemData"`
	Properties TaskRunProperties `json:"properties"`
}

// TaskRunProperties are the request of a task run and what has become of it.
type TaskRunProperties struct {
	ProvisioningState string          `json:"provisioningState"`
	ForceUpdateTag    string          `json:"forceUpdateTag,omitempty"`
	RunRequest        json.RawMessage `json:"runRequest"`
	RunResult         *Run            `json:"runResult,omitempty"`
}

// taskRunBody is what clients send. What it does not have, a PATCH keeps.
type taskRunBody struct {
	Location   *string           `json:"location"`
	Tags       map[string]string `json:"tags"`
	Identity   *runner.Identity  `json:"identity"`
	Properties struct {
		ForceUpdateTag *string         `json:"forceUpdateTag"`
		RunRequest     json.RawMessage `json:"runRequest"`
	} `json:"properties"`
}

// requestSecret is the whole request, under which a task run keeps its
// secrets.
const requestSecret = "request"

// taskRun is the resource of t, with its run as it is now.
func (s *Server) taskRun(r *http.Request, t *runner.TaskRun) (*TaskRun, error) {
	out := &TaskRun{
		ID: rootOf(r) + "/taskRuns/" + t.Name, Name: t.Name, Type: "Microsoft.ContainerRegistry/registries/taskRuns",
		Location: t.Location, Tags: t.Tags, Identity: t.Identity, SystemData: systemData{moment(t.Created), moment(t.Updated)},
		Properties: TaskRunProperties{ForceUpdateTag: t.ForceUpdateTag, RunRequest: t.Request, ProvisioningState: "Succeeded"},
	}
	run, err := s.Records.Run(r.Context(), t.RunID)
	if errors.Is(err, runner.ErrNotFound) { // removed meanwhile
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Properties.RunResult = newRun(rootOf(r), run)
	out.Properties.ProvisioningState = progress(run.Status)
	return out, nil
}

// progress is the provisioning state of what lasts as long as a run.
func progress(s runner.Status) string {
	if s.Final() {
		return provisioning(s)
	}
	return "Creating"
}

func (s *Server) listTaskRuns(w http.ResponseWriter, r *http.Request) error {
	c, err := readCursor(r.URL.Query())
	if err != nil {
		return err
	}
	n := c.size()
	all, err := s.TaskRuns.TaskRuns(r.Context(), c.After, n+1)
	if err != nil {
		return err
	}
	p := page[*TaskRun]{Value: []*TaskRun{}}
	for _, t := range all[:min(n, len(all))] {
		one, err := s.taskRun(r, t)
		if err != nil {
			return err
		}
		p.Value = append(p.Value, one)
	}
	if len(all) > n {
		if next, ok := c.next(all[n-1].Name, n); ok {
			p.NextLink = nextLink(r, s.address(r), next)
		}
	}
	return reply(w, http.StatusOK, p)
}

// showTaskRun answers GET and listDetails.
func (s *Server) showTaskRun(w http.ResponseWriter, r *http.Request) error {
	t, err := s.TaskRuns.TaskRun(r.Context(), r.PathValue("taskRun"))
	if err != nil {
		return err
	}
	out, err := s.taskRun(r, t)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, out)
}

func (s *Server) createTaskRun(w http.ResponseWriter, r *http.Request) error {
	var body taskRunBody
	if err := read(w, r, &body); err != nil {
		return err
	}
	s.taskRunsMu.Lock()
	defer s.taskRunsMu.Unlock()
	old, err := s.TaskRuns.TaskRun(r.Context(), r.PathValue("taskRun"))
	if err != nil && !errors.Is(err, runner.ErrNotFound) {
		return err
	}
	t := &runner.TaskRun{Name: r.PathValue("taskRun"), Location: Location, Created: time.Now().UTC()}
	if old != nil {
		t.Created = old.Created
	}
	return s.saveTaskRun(w, r, t, old, &body)
}

func (s *Server) updateTaskRun(w http.ResponseWriter, r *http.Request) error {
	var body taskRunBody
	if err := read(w, r, &body); err != nil {
		return err
	}
	s.taskRunsMu.Lock()
	defer s.taskRunsMu.Unlock()
	old, err := s.TaskRuns.TaskRun(r.Context(), r.PathValue("taskRun"))
	if err != nil {
		return err
	}
	return s.saveTaskRun(w, r, old.Clone(), old, &body)
}

// saveTaskRun puts the body over t, and starts a run if it asks for another
// than old did. The run comes first: if the daemon dies in between, the client
// has no answer and asks again.
func (s *Server) saveTaskRun(w http.ResponseWriter, r *http.Request, t, old *runner.TaskRun, body *taskRunBody) error {
	text, err := body.over(t)
	if err != nil {
		return err
	}
	if err := runner.CheckTaskRunName(t.Name); err != nil {
		return err
	}
	t.Updated = time.Now().UTC()
	status := http.StatusCreated
	if old != nil {
		t.RunID, status = old.RunID, http.StatusOK
	}
	if old == nil || t.ForceUpdateTag != old.ForceUpdateTag || !bytes.Equal(text, []byte(old.Secrets()[requestSecret])) {
		run, err := s.start(r.Context(), text)
		if err != nil {
			return err
		}
		t.RunID, status = run.ID, http.StatusCreated
	}
	if err := s.TaskRuns.SaveTaskRun(r.Context(), t); err != nil {
		return err
	}
	out, err := s.taskRun(r, t)
	if err != nil {
		return err
	}
	if out.Properties.ProvisioningState == "Creating" {
		w.Header().Set("Azure-AsyncOperation", s.operation(r, t.RunID))
		w.Header().Set("Retry-After", "1")
	}
	return reply(w, status, out)
}

// over changes t to what the body says, and returns the request in one and the
// same spelling.
func (b *taskRunBody) over(t *runner.TaskRun) ([]byte, error) {
	if b.Location != nil {
		t.Location = *b.Location
	}
	if b.Tags != nil {
		t.Tags = b.Tags
	}
	if b.Identity != nil {
		t.Identity = b.Identity
	}
	if b.Properties.ForceUpdateTag != nil {
		t.ForceUpdateTag = *b.Properties.ForceUpdateTag
	}
	if b.Properties.RunRequest == nil {
		if text, ok := t.Secrets()[requestSecret]; ok {
			return []byte(text), nil
		}
		return nil, runner.Faults{{Code: "MissingRequiredProperty", Target: "properties.runRequest", Message: "Missing required property 'runRequest'."}}
	}
	var req RunRequest
	if err := badBody(json.Unmarshal(b.Properties.RunRequest, &req)); err != nil {
		return nil, err
	}
	text, err := json.Marshal(&req)
	if err != nil {
		return nil, err
	}
	t.SetSecrets(map[string]string{requestSecret: string(text)})
	t.Request, err = json.Marshal(req.shown())
	return text, err
}

// start queues the run that a stored request asks for.
func (s *Server) start(ctx context.Context, text []byte) (*runner.Run, error) {
	var body RunRequest
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	return s.submit(ctx, &body)
}

func (s *Server) deleteTaskRun(w http.ResponseWriter, r *http.Request) error {
	s.taskRunsMu.Lock()
	defer s.taskRunsMu.Unlock()
	return deleted(w, s.TaskRuns.RemoveTaskRun(r.Context(), r.PathValue("taskRun")))
}
