package eventing

import "time"

// An Attempt is one delivery of an event, as the history tells it.
type Attempt struct {
	// Event is the first of Events.
	Event  Event
	Events int
	// Count is how often it was tried before.
	Count   int
	Time    time.Time
	Took    time.Duration
	Outcome Outcome
	Error   string `json:",omitempty"`
	// Next is when it is tried again; zero is never.
	Next time.Time `json:",omitzero"`
	// Exchange is what was sent and answered; nil if nothing was.
	Exchange *Exchange `json:",omitempty"`
}

// HistorySlots is how many attempts of a subscription are remembered. Where
// there are more than historyRate a second, not all are.
const (
	HistorySlots = 100
	historyRate  = 20
)

// A sampler says which attempts are remembered.
type sampler struct {
	tokens float64
	last   time.Time
	slot   int
}

func (s *sampler) take(now time.Time) bool {
	s.tokens = min(HistorySlots, s.tokens+now.Sub(s.last).Seconds()*historyRate)
	s.last = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// next is the slot of the attempt that is remembered next.
func (s *sampler) next() int {
	s.slot = (s.slot + 1) % HistorySlots
	return s.slot
}
