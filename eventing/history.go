package eventing

import "time"

// An Attempt is one delivery of an event, as the history tells it.
type Attempt struct {
	Event Event
	// Count is how often it was tried before.
	Count   int
	Time    time.Time
	Outcome Outcome
	// Next is when it is tried again; zero is never.
	Next time.Time
	// Exchange is what was sent and answered; nil if nothing was.
	Exchange *Exchange
}
