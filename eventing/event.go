// Package eventing tells others what has happened, and takes in what others
// tell: events of the registry, of runs and of triggers go to whoever has
// subscribed, in the shapes of Azure Event Grid, of CloudEvents, and of ACR's
// webhooks.
//
//	registry --+            +--> queue of subscription --> Sink
//	runner   --+--> outbox -+--> queue of subscription --> Sink
//	triggers --+            +--> queue of subscription --> Sink
//
// An [Event] is written to the outbox in the transaction of the change that it
// reports. From there it is copied to the queue of every [Subscription] that
// wants it, and each queue is emptied by itself: a receiver that is slow or
// gone delays nobody else. A delivery is repeated until it has succeeded or is
// dead, always with the same id: receivers see an event at least once.
//
// Matching, encoding and scheduling are pure functions. Only what is named
// Serve, ServeHTTP or Deliver touches the world.
package eventing

import (
	"encoding/json"
	"time"
)

// An Event tells others of a change. It never holds a secret: what it says,
// every subscriber may read.
type Event struct {
	// ID tells a receiver that it has had this event already. It is kept over
	// all repetitions.
	ID string
	// Type is one of the constants of this package, or what a publisher has
	// chosen.
	Type string
	// Topic is what the event comes from, below the registry's own resource
	// id: empty for the registry itself, "/connectedRegistries/edge" for
	// another. Any other topic is whole: a publisher's own.
	Topic string
	// Subject is what has changed, as a filter sees it: "app:v1", a run's id.
	Subject string
	// Key is what order is kept by, where a subscription asks for order: a
	// repository, a task. Empty is Subject.
	Key  string
	Time time.Time
	// DataVersion is the version of the shape of Data; empty is "1.0".
	DataVersion string
	// Data is a JSON object.
	Data json.RawMessage
	// Extensions are attributes of CloudEvents that a publisher has added, a
	// JSON object of scalars; nil is none.
	Extensions json.RawMessage `json:",omitempty"`
}

// The types of the registry's events, as Azure names them. A subscription that
// names no types gets these.
const (
	ImagePushed  = "Microsoft.ContainerRegistry.ImagePushed"
	ImageDeleted = "Microsoft.ContainerRegistry.ImageDeleted"
	ChartPushed  = "Microsoft.ContainerRegistry.ChartPushed"
	ChartDeleted = "Microsoft.ContainerRegistry.ChartDeleted"
)

// The types of events that Azure has not. A subscription gets them if it names
// them.
const (
	// ImageUntagged says that a tag was removed, and its manifest was not.
	ImageUntagged = "Acrd.ImageUntagged"

	RunQueued    = "Acrd.RunQueued"
	RunStarted   = "Acrd.RunStarted"
	RunRequeued  = "Acrd.RunRequeued"
	RunSucceeded = "Acrd.RunSucceeded"
	// RunFailed says that a run has ended, and its data how: Failed, Canceled,
	// Error or Timeout.
	RunFailed = "Acrd.RunFailed"

	TriggerFired     = "Acrd.TriggerFired"
	TriggerHeld      = "Acrd.TriggerHeld"
	TriggerSkipped   = "Acrd.TriggerSkipped"
	TriggerSuspended = "Acrd.TriggerSuspended"
)

// Types are those that there are here. A publisher may have others.
func Types() []string {
	return []string{
		ImagePushed, ImageDeleted, ChartPushed, ChartDeleted, ImageUntagged, ImageQuarantined,
		RunQueued, RunStarted, RunRequeued, RunSucceeded, RunFailed, TriggerFired, TriggerHeld, TriggerSkipped, TriggerSuspended,
	}
}
