package runner

import "time"

// A Cause is what started a run by itself, in ACR's words. A run that somebody
// asked for has none; otherwise one of the fields is set.
type Cause struct {
	Timer  *TimerCause  `json:"timerTrigger,omitempty"`
	Source *SourceCause `json:"sourceTrigger,omitempty"`
	Image  *ImageCause  `json:"imageUpdateTrigger,omitempty"`
	// Event is not ACR's.
	Event *EventCause `json:"eventTrigger,omitempty"`
}

// A TimerCause is a time that has come.
type TimerCause struct {
	Name       string `json:"timerTriggerName"`
	Occurrence string `json:"scheduleOccurrence"`
}

// A SourceCause is a change of a repository.
type SourceCause struct {
	ID            string `json:"id"` // of the trigger
	EventType     string `json:"eventType"`
	CommitID      string `json:"commitId,omitempty"`
	PullRequestID string `json:"pullRequestId,omitempty"`
	RepositoryURL string `json:"repositoryUrl,omitempty"`
	BranchName    string `json:"branchName,omitempty"`
	ProviderType  string `json:"providerType,omitempty"`
}

// An ImageCause is a change of base images.
type ImageCause struct {
	ID     string         `json:"id"`
	Time   time.Time      `json:"timestamp"`
	Images []UpdatedImage `json:"images"`
}

// An UpdatedImage is a base image as it is now.
type UpdatedImage struct {
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"`
	Digest     string `json:"digest,omitempty"`
}

// An EventCause is an event that the task was subscribed to.
type EventCause struct {
	ID      string    `json:"id"`
	Type    string    `json:"eventType"`
	Subject string    `json:"subject"`
	Time    time.Time `json:"eventTime"`
}

// Trigger is ACR's word for the cause, as its tables have it.
func (c *Cause) Trigger() string {
	switch {
	case c == nil:
		return "Manual"
	case c.Source != nil:
		return c.Source.EventType
	case c.Timer != nil:
		return "Timer"
	case c.Image != nil:
		return "Image Update"
	case c.Event != nil:
		return "Event"
	}
	return "Manual"
}
