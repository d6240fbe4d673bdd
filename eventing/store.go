package eventing

import (
	"context"
	"time"
)

// A Store keeps the outbox and the queues. internal/store implements it. It is
// safe for concurrent use. Its methods are transactions.
type Store interface {
	Subscriptions
	// SubscriptionsVersion is another text after each change of a subscription.
	SubscriptionsVersion(ctx context.Context) (string, error)
	// Subscribers lists all subscriptions.
	Subscribers(ctx context.Context) ([]Subscriber, error)
	// EventsChanged returns a channel that is closed when there are new events,
	// or a subscription has changed. It may miss changes.
	EventsChanged() <-chan struct{}

	// Outbox lists events that are not settled, oldest first, at most limit.
	Outbox(ctx context.Context, limit int) ([]Stored, error)
	// Pass settles events, and puts them into queues. What somebody else has
	// settled meanwhile is left out of the queues, and of the answer, which
	// says how many are left.
	Pass(ctx context.Context, events []int64, into []Fan, at time.Time) (int, error)
	// SettleAll settles what nobody wants, as long as the subscriptions are
	// those of version.
	SettleAll(ctx context.Context, version string) error
	// Stored lists those of the events that there are, in any order.
	Stored(ctx context.Context, events []int64) ([]Stored, error)

	// TakeQueues keeps the queues that owner empties for the length of a lease,
	// and adds such that nobody has, up to its share: the queues are spread over
	// all who have called this within their leases. If owner is alone, all are
	// its. It returns the subscriptions.
	TakeQueues(ctx context.Context, owner string, lease time.Duration, alone bool) (held []int64, share int, err error)
	// LeaveQueue gives one back, which somebody else may take then.
	LeaveQueue(ctx context.Context, owner string, subscription int64) error
	// LeaveQueues gives all back: owner ends.
	LeaveQueues(ctx context.Context, owner string) error
	// Waiting lists those subscriptions of owner, and of nobody, that have
	// something due.
	Waiting(ctx context.Context, owner string, now time.Time) ([]int64, error)
	// Due lists what is to be delivered at now, see Cursor.
	Due(ctx context.Context, c Cursor, now time.Time, limit int) ([]Queued, error)
	// NextDue is when something of a queue is due that is not at now; zero is
	// never.
	NextDue(ctx context.Context, subscription int64, now time.Time) (time.Time, error)
	// Depths counts the queues that are not empty.
	Depths(ctx context.Context) (map[int64]Depth, error)
	// Settle writes down what became of deliveries. It leaves out, and returns,
	// the subscriptions that owner does not empty any more.
	Settle(ctx context.Context, owner string, all []Settlement) (lost []int64, err error)
	// Overflow makes dead letters of what is oldest in a queue, until keep
	// are left.
	Overflow(ctx context.Context, owner string, subscription int64, keep int, d DeadLetter) (int, error)

	// Lanes says which lanes of a queue wait, and until when.
	Lanes(ctx context.Context, subscription int64) ([]Lane, error)
	// ReleaseLanes makes all of these lanes due.
	ReleaseLanes(ctx context.Context, owner string, subscription int64, lanes []int64) error

	// DueDead lists dead letters that are still to be written, by when.
	DueDead(ctx context.Context, subscription int64, limit int) ([]DeadLetter, error)
	// BuryDead says that they are, or never will be.
	BuryDead(ctx context.Context, owner string, subscription int64, letters []int64) error
	// TrimDead forgets all but the newest of a subscription's dead letters that
	// need not be written.
	TrimDead(ctx context.Context, subscription int64, keep int) error
	// LastSlot is where the history of a subscription has got to.
	LastSlot(ctx context.Context, subscription int64) (int, error)

	// FindEvent is ErrNotFound if no event has the id.
	FindEvent(ctx context.Context, id string) (*Stored, error)
	// EventsSince lists events of a time and later, in the order of their
	// numbers, from the one after a number.
	EventsSince(ctx context.Context, since time.Time, after int64, limit int) ([]Stored, error)
	// AddEventFor adds an event, which nobody else gets, to the queue of a
	// subscription.
	AddEventFor(ctx context.Context, kind Kind, name string, e Event) (subscription int64, err error)
	// Requeue makes events of a queue due, and adds those that are not in it.
	Requeue(ctx context.Context, fan Fan, at time.Time) error
}

// Stored is an event with its number in the store. Who has it must not change
// it.
type Stored struct {
	Seq int64
	Event
}

// A Subscriber is a subscription as a dispatcher knows it.
type Subscriber struct {
	Seq int64
	Subscription
	Health Health
}

// A Fan says which events go into the queues of which subscriptions. Lanes is
// nil, or says for each event which it must not overtake.
type Fan struct {
	Subscriptions []int64
	Events, Lanes []int64
}

// Queued is an event in the queue of a subscription.
type Queued struct {
	Subscription, Event int64
	// Next is when it is due; zero if at once.
	Next   time.Time
	Queued time.Time
	// Lane is the same for events whose order is kept.
	Lane     int64
	Attempts int
	// The last attempt.
	Tried   time.Time
	Outcome Outcome
	Status  int
}

// A Cursor says which part of a queue to list: what waits for another attempt,
// by time, or the rest by number, from the one after After.
type Cursor struct {
	Subscription int64
	Retries      bool
	After        int64
}

// A Lane is events of a queue that must not overtake each other.
type Lane struct {
	ID    int64
	Until time.Time
}

// A Depth is how many events a queue has, and since when the oldest waits.
type Depth struct {
	Events int
	Oldest time.Time
}

// A Settlement is what became of deliveries of one subscription.
type Settlement struct {
	Subscription int64
	// Done are no longer in the queue. Again are: they were in Done.
	Done, Again []Queued
	Dead        []DeadLetter
	// Park keeps whole lanes back until a time.
	Park []Lane
	// Recovered makes everything due: the receiver is back.
	Recovered time.Time
	// History goes into the slots from Slot on.
	History []Attempt
	Slot    int
	Health  *Health // nil: as it was
}

// A DeadLetter is an event that could not be delivered. Seq is the store's.
type DeadLetter struct {
	Seq int64
	Queued
	Reason Reason
	At     time.Time // of its death
	// Due is when it is to be written; zero if it was, or nowhere.
	Due time.Time
	// ID, Type and Subject are the event's, for lists.
	ID, Type, Subject string
}
