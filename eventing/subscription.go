package eventing

import (
	"context"
	"errors"
	"time"
)

// What the callers of a store test for.
var (
	// ErrNotFound says that there is no such subscription, delivery or event.
	ErrNotFound = errors.New("not found")
	// ErrFenced says that somebody else empties the queue by now.
	ErrFenced = errors.New("the queue was taken over")
)

// A Kind says as what a subscription was made.
type Kind string

// The kinds of subscriptions. Each has its own names.
const (
	// EventSubscription is Microsoft.EventGrid/eventSubscriptions.
	EventSubscription Kind = "eventSubscription"
	// Webhook is Microsoft.ContainerRegistry/registries/webhooks.
	Webhook Kind = "webhook"
)

// A Schema is the shape that events have on the wire.
type Schema string

// The schemas. The first two are Event Grid's eventDeliverySchema.
const (
	EventGridSchema Schema = "EventGridSchema"
	CloudEvents10   Schema = "CloudEventSchemaV1_0"
	// WebhookSchema is the bare data of an event, as ACR's webhooks have it.
	WebhookSchema Schema = "AcrWebhook"
)

// A State is Azure's provisioningState. Events go to a subscription that is
// Succeeded, and no other.
type State string

// The states of a subscription.
const (
	Creating             State = "Creating"
	Updating             State = "Updating"
	Succeeded            State = "Succeeded"
	Failed               State = "Failed"
	AwaitingManualAction State = "AwaitingManualAction"
)

// A Subscription says who wants to be told what, and how. It is stored sealed
// as a whole, for it holds secrets.
type Subscription struct {
	Kind Kind
	// Name is unique within Kind, without regard to case.
	Name  string
	State State
	// Why says, where State is Failed or Hook.Disabled, what the daemon has
	// found: "the receiver has gone (410)".
	Why    string
	Filter Filter
	// Hook is set for the Kind Webhook, whose filter is not Filter.
	Hook        *Hook
	Schema      Schema
	Destination Destination
	// DeadLetter receives what could not be delivered; nil drops it.
	DeadLetter *Destination
	Retry      Retry
	// Ordered keeps the order of events with one Key: one that cannot be
	// delivered holds up those behind it. Event Grid has no such thing.
	Ordered bool
	// InFlight bounds deliveries at a time; 0 is DefaultInFlight.
	InFlight int
	// Rate is how many deliveries a minute the receiver has allowed; 0 is any
	// number.
	Rate int
	// Statuses overrides what is done about an HTTP status, by its number.
	Statuses map[int]Answer
	Labels   []string
	// Expires removes the subscription; zero is never.
	Expires time.Time
	// Validation is what a handshake in progress waits for; nil otherwise.
	Validation       *Validation
	Created, Updated time.Time
}

// DefaultInFlight is how many deliveries of one subscription go on at a time.
const DefaultInFlight = 4

// A Validation is a handshake that somebody has to end by hand: with a GET of
// URL, before Until.
type Validation struct {
	Token, URL string
	Until      time.Time
}

// Retry says how long a delivery is tried. Zero fields are Event Grid's
// defaults: 30 attempts, 24 hours.
type Retry struct {
	MaxAttempts int
	TTL         time.Duration
}

// An Answer is what is done about a status.
type Answer string

// The answers to a status.
const (
	AnswerDelivered Answer = "delivered"
	AnswerRetry     Answer = "retry"
	AnswerDead      Answer = "dead"
)

// A Hook is what is special about ACR's webhooks.
type Hook struct {
	Actions  []string // push, delete, quarantine, chart_push, chart_delete; ours: untag
	Scope    string   // "", "foo:*", "foo:bar", "foo"
	Disabled bool
	Location string
	Tags     map[string]string
	// TagsOnDelete tells the tags of an image that was deleted, in target.tags;
	// ACR tells none.
	TagsOnDelete bool
}

// A DestinationType is Event Grid's endpointType.
type DestinationType string

// The types of destinations. Those from AMQP on are not Azure's.
const (
	ToWebHook         DestinationType = "WebHook"
	ToAzureFunction   DestinationType = "AzureFunction"
	ToStorageQueue    DestinationType = "StorageQueue"
	ToStorageBlob     DestinationType = "StorageBlob" // dead letters only
	ToServiceBusQueue DestinationType = "ServiceBusQueue"
	ToServiceBusTopic DestinationType = "ServiceBusTopic"
	ToEventHub        DestinationType = "EventHub"
	ToAMQP            DestinationType = "AMQP"
	ToNATS            DestinationType = "NATS"
	ToKafka           DestinationType = "Kafka"
	ToFolder          DestinationType = "Folder" // dead letters only
	ToTask            DestinationType = "Task"   // starts a run of a task of this daemon
)

// A Destination is where events go.
type Destination struct {
	Type DestinationType
	// URL says where: https://host/path?code=secret for a WebHook,
	// https://account.queue.core.windows.net/queue for a StorageQueue,
	// https://account.blob.core.windows.net/container for a StorageBlob,
	// amqps://host/address, nats://host:4222/subject, kafka://host:9092/topic,
	// file:///folder, task:NAME. It may hold secrets, and is told by getFullUrl alone.
	URL string
	// ResourceID is Azure's name of it, told as it was given.
	ResourceID string
	// MaxEvents and PreferredKB bound a batch; 0 is 1 and 64.
	MaxEvents, PreferredKB int
	// Attributes are sent with each delivery: headers, or properties.
	Attributes []Attribute
	// Secret names a secret of acrd that holds the credential: a connection
	// string, a key, user:password, a bearer token. See docs/events.md.
	Secret string
	// Sign signs deliveries.
	Sign Signing
	// CA is a bundle of certificates, in PEM, beside the system's; Insecure
	// believes any.
	CA       string
	Insecure bool
	// MessageTTL is how long a queue keeps a message; 0 is its default,
	// negative for ever.
	MessageTTL time.Duration
	// Trusted destinations were named by the owner of the daemon, and may be at
	// private addresses.
	Trusted bool
}

// An Attribute is one of Event Grid's deliveryAttributeMappings.
type Attribute struct {
	Name string
	// Value is a static one. If it is Secret, only getDeliveryAttributes tells
	// it.
	Value  string
	Secret bool
	// Field is where a dynamic one comes from: "data.target.tag".
	Field string
}

// Signing names the secrets of acrd that deliveries are signed with; empty
// does not sign.
type Signing struct {
	// Standard is for Standard Webhooks: whsec_..., several during a rotation.
	Standard []string
	// Hub is for X-Hub-Signature-256.
	Hub string
}

// Subscriptions keep subscriptions. internal/store implements it. It is safe
// for concurrent use.
type Subscriptions interface {
	// Subscriptions lists those of a kind by name; kind "" is all.
	Subscriptions(ctx context.Context, kind Kind) ([]Subscription, error)
	// Subscription is ErrNotFound if there is none.
	Subscription(ctx context.Context, kind Kind, name string) (*Subscription, error)
	// ChangeSubscription reads one, lets change change it, and saves it. If there
	// is none, change gets nil. If change returns nil it is removed, with its
	// queue and its history. Change may be called again.
	ChangeSubscription(ctx context.Context, kind Kind, name string, change func(*Subscription) (*Subscription, error)) error
}
