package eventing

import (
	"context"
	"time"
)

// A Sink passes events on to one destination. It is safe for concurrent use.
type Sink interface {
	// Deliver returns when the receiver has all of d for good, or none, or has
	// not said so in half a minute. It does not try again by itself. An error
	// is a *DeliveryError. The exchange is for the history, without secrets,
	// and may be nil.
	Deliver(ctx context.Context, d Delivery) (*Exchange, error)
	// Close lets go of connections.
	Close() error
}

// A Delivery is what is sent at once: one event, or a batch.
type Delivery struct {
	Subscription string // its name
	Schema       Schema
	// Registry is the registry's resource id, which topics are below of.
	Registry string
	// Quiet says that nobody wants the exchange.
	Quiet  bool
	Events []Attempted
	// Tags says that a webhook is told the tags of a manifest that is deleted.
	Tags bool
}

// Attempted is an event and how often it was tried before.
type Attempted struct {
	Event
	Count int
	// Attributes are the subscription's, their values found in this event.
	Attributes map[string]string
	// Dead is set where the event is sent to where dead letters go.
	Dead *Death
}

// A Death is what a dead letter says beside its event.
type Death struct {
	Reason    Reason
	Attempts  int
	Outcome   Outcome
	Published time.Time
	Tried     time.Time // zero if it never was
}

// A Reason is Event Grid's deadLetterReason.
type Reason string

// The reasons. What is not tried again for its outcome has the reason
// UndeliverableDueTo and that.
const (
	TooManyAttempts Reason = "MaxDeliveryAttemptsExceeded"
	TooOld          Reason = "TimeToLiveExceeded"
	QueueFull       Reason = "BacklogExceeded" // ours: older ones made room
	Undeliverable   Reason = "UndeliverableDueTo"
)

// An Outcome is Event Grid's lastDeliveryOutcome: what became of an attempt.
type Outcome string

// The outcomes of attempts. Delivered is not Event Grid's.
const (
	Delivered        Outcome = "Delivered"
	NotFound         Outcome = "NotFound"
	Disabled         Outcome = "Disabled"
	Full             Outcome = "Full"
	Unauthorized     Outcome = "Unauthorized"
	BadRequest       Outcome = "BadRequest"
	TimedOut         Outcome = "TimedOut"
	Busy             Outcome = "Busy"
	PayloadTooLarge  Outcome = "PayloadTooLarge"
	Probation        Outcome = "Probation"
	Canceled         Outcome = "Canceled"
	Aborted          Outcome = "Aborted"
	SocketError      Outcome = "SocketError"
	ResolutionError  Outcome = "ResolutionError"
	Forbidden        Outcome = "Forbidden"
	InvalidConfigure Outcome = "InvalidConfiguration" // a credential or CA that cannot be used
)

// A DeliveryError says why a delivery failed.
type DeliveryError struct {
	Outcome Outcome
	// Status is HTTP's, 0 for everything else.
	Status int
	// RetryAfter is what the receiver asked for; 0 is nothing.
	RetryAfter time.Duration
	// Gone says that the receiver wants no more deliveries at all (410).
	Gone bool
	Err  error
}

func (e *DeliveryError) Error() string { return e.Err.Error() }
func (e *DeliveryError) Unwrap() error { return e.Err }

// An Exchange is a request and what was answered, as the history shows it:
// secret values are masked, bodies are cut.
type Exchange struct {
	Method, URL, Version string
	Headers              map[string]string
	Status               int
	Reason               string
	AnswerVersion        string
	AnswerHeaders        map[string]string
	Answer               string
}
