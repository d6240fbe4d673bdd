package runner

import (
	"encoding/json"
	"maps"
	"time"
)

// A TaskRun is a run that is itself a resource with a name: creating it starts
// the run, and so does changing its request or ForceUpdateTag.
type TaskRun struct {
	Name     string            `json:"name"`
	Location string            `json:"location,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Identity *Identity         `json:"identity,omitempty"`

	ForceUpdateTag string `json:"forceUpdateTag,omitempty"`
	// Request is the body of the request as it came, its secrets taken out.
	Request json.RawMessage `json:"runRequest,omitempty"`
	// RunID is the last run that it has started.
	RunID string `json:"runId,omitempty"`

	Created time.Time `json:"created,omitzero"`
	Updated time.Time `json:"updated,omitzero"`

	secrets map[string]string
}

// Secrets are what was taken out of the request. They are not in t's JSON.
func (t *TaskRun) Secrets() map[string]string { return maps.Clone(t.secrets) }

// SetSecrets puts back what Secrets returned.
func (t *TaskRun) SetSecrets(secrets map[string]string) { t.secrets = maps.Clone(secrets) }

// Clone is a copy that shares nothing that changes.
func (t *TaskRun) Clone() *TaskRun {
	c := *t
	c.Tags, c.secrets = maps.Clone(t.Tags), maps.Clone(t.secrets)
	return &c
}

// CheckTaskRunName refuses what is not a name for a task run; the error is
// Faults.
func CheckTaskRunName(name string) error {
	if !taskRunName().MatchString(name) {
		return Faults{{Code: "InvalidResourceName", Target: "name", Message: "'" + name + "' is not a name for a task run: it has 5 to 50 letters, digits and '-'."}}
	}
	return nil
}
