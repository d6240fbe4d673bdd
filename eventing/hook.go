package eventing

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The types of events that webhooks get beside the others.
const (
	// ImageQuarantined says that an image was pushed, and waits for its release:
	// ImagePushed comes then.
	ImageQuarantined = "Acrd.ImageQuarantined"
	// WebhookPing asks the receiver of one webhook whether it is there.
	WebhookPing = "Acrd.WebhookPing"
)

// The actions of webhooks. The last is not ACR's.
const (
	ActionPush        = "push"
	ActionDelete      = "delete"
	ActionQuarantine  = "quarantine"
	ActionChartPush   = "chart_push"
	ActionChartDelete = "chart_delete"
	ActionUntag       = "untag"
)

// Actions lists those that a webhook may name.
var Actions = []string{ActionPush, ActionDelete, ActionQuarantine, ActionChartPush, ActionChartDelete, ActionUntag}

// hookAction is what webhooks call a type of event; empty if they have none.
func hookAction(eventType string) string {
	switch eventType {
	case ImagePushed:
		return ActionPush
	case ImageDeleted:
		return ActionDelete
	case ImageQuarantined:
		return ActionQuarantine
	case ChartPushed:
		return ActionChartPush
	case ChartDeleted:
		return ActionChartDelete
	case ImageUntagged:
		return ActionUntag
	}
	return ""
}

// matcher is what events the webhook wants. Events of other registries are not
// for it.
func (h *Hook) matcher() *Matcher {
	if h.Disabled {
		return &Matcher{tests: []test{func(*Decoded) bool { return false }}}
	}
	m := &Matcher{tests: []test{h.namesAction}}
	if h.Scope != "" {
		m.tests = append(m.tests, h.scopeTest())
	}
	return m
}

func (h *Hook) namesAction(d *Decoded) bool {
	action := hookAction(d.Type)
	return action != "" && d.Topic == "" && slices.Contains(h.Actions, action)
}

// scopeTest compares with the target. A deletion has no tag: the repository
// counts.
func (h *Hook) scopeTest() test {
	repository, tag := cutScope(h.Scope)
	return func(d *Decoded) bool {
		switch {
		case d.target("repository") != repository:
			return false
		case d.Type == ImageDeleted || d.Type == ChartDeleted:
			return true
		case tag == "*":
			return d.target("tag") != ""
		}
		version := d.target("version") // of a chart
		return tag == d.target("tag") || version != "" && (tag == version || tag == chartTag(version))
	}
}

// target is a text of data.target; empty if there is none.
func (d *Decoded) target(name string) string {
	f := field{path: []string{"target", name}}
	s, _ := f.in(d).(string)
	return s
}

// chartTag is the tag under which helm pushes a version: + may be in no tag.
func chartTag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// cutScope is the repository and tag of a scope that is not empty.
func cutScope(scope string) (repository, tag string) {
	repository, tag, found := strings.Cut(scope, ":")
	if !found {
		tag = "latest"
	}
	return repository, tag
}

// CheckScope says what is wrong with the scope of a webhook.
func CheckScope(scope string) error {
	if scope == "" {
		return nil
	}
	repository, tag := cutScope(scope)
	switch {
	case !isRepository(repository):
		return fmt.Errorf("%q is no repository", repository)
	case tag != "*" && !isTag(tag):
		return fmt.Errorf("%q is neither a tag nor *", tag)
	}
	return nil
}

const lowerAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789"

func isRepository(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.Trim(part, lowerAndDigits+"._-") != "" || strings.Trim(part, "._-") != part {
			return false
		}
	}
	return len(name) <= 255
}

func isTag(tag string) bool {
	const first = lowerAndDigits + "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	return tag != "" && len(tag) <= 128 && strings.Trim(tag, first+".-") == "" && !strings.HasPrefix(tag, ".") && !strings.HasPrefix(tag, "-")
}

// Ping is an event for one webhook, whatever its actions and scope.
func Ping(now time.Time) Event {
	now = now.UTC()
	e := Event{ID: NewID(), Type: WebhookPing, Subject: "ping", Time: now}
	e.Data, _ = plainJSON(RegistryData{ID: e.ID, Timestamp: now.Format(imageTimeLayout), Action: "ping"}) // plain values
	return e
}
